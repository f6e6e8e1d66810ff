/** What a request has in common with those that should reach the same node of its group, where the group balances by that. Used by identify and bypass. */
import { fieldValue } from '../http/header-fields.ts';
import type { RequestContext } from './request-context.ts';

/** @returns undefined where the group does not hash, or the request has nothing to be hashed */
export function affinityOf(context: RequestContext): string | undefined {
  const { hashOn } = context.need('route').site;
  switch (hashOn?.kind) {
    case undefined:
      return undefined;
    case 'client':
      return context.clientAddress;
    case 'path':
      return context.path;
    case 'key':
      return context.key?.keyText ?? context.path;
    case 'header':
      return fieldValue(context.fields, hashOn.name);
  }
}
