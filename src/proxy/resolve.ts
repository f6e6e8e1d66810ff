/** Stage *resolve*: makes the object known and usable, asking the origin where needed. */
import { fieldValue, hasField } from '../http/header-fields.ts';
import { parseRangeHeader, type RangeSpec } from '../http/range.ts';
import { notCached } from './identify.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';

export async function resolve(context: RequestContext, services: ProxyServices): Promise<StageOutcome> {
  const lookup = context.need('lookup');
  const isHead = context.method === 'HEAD';
  const resolution = await services.resolver.resolve({
    target: context.need('target'),
    // A HEAD is answered from what is stored; it is no reason to fetch a body.
    lookup: isHead ? { ...lookup, onlyIfCached: true } : lookup,
    range: wantedRange(context),
    acceptsSharedAnswer: !hasField(context.fields, 'cookie'),
    signal: context.signal,
  });
  switch (resolution.kind) {
    case 'object':
      context.resolution = resolution;
      return NEXT;
    case 'answer':
      context.answer = resolution;
      return { kind: 'bypass', reason: 'not-storable' };
    case 'bypass':
      return { kind: 'bypass', reason: 'not-storable' };
    case 'absent':
      return isHead && !lookup.onlyIfCached ? { kind: 'bypass', reason: 'head' } : notCached();
  }
}

/** The one range of a GET; several are answered with everything for now, as RFC 9110 s14.2 allows. */
export function wantedRange(context: RequestContext): RangeSpec | undefined {
  if (context.method !== 'GET') return undefined;
  const ranges = parseRangeHeader(fieldValue(context.fields, 'range'));
  return ranges?.length === 1 ? ranges[0] : undefined;
}
