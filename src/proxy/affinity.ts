/** What a request has in common with those that should reach the same node of its group, where the group balances by that. Used by identify and bypass. */
import { type FieldList, fieldValue } from '../http/header-fields.ts';
import type { HashSource } from './services.ts';

/** A request as far as it is hashed. */
export interface HashedRequest {
  /** Its address; undefined where it is not known. */
  readonly client: string | undefined;
  readonly path: string;
  /** Undefined where it is too long. */
  readonly keyText: string | undefined;
  readonly fields: FieldList;
}

/** @returns undefined where the group does not hash, or the request has nothing to be hashed */
export function affinityOf(hashOn: HashSource | undefined, { client, path, keyText, fields }: HashedRequest): string | undefined {
  switch (hashOn?.kind) {
    case undefined:
      return undefined;
    case 'client':
      return client;
    case 'path':
      return path;
    case 'key':
      return keyText ?? path;
    case 'header':
      return fieldValue(fields, hashOn.name);
  }
}
