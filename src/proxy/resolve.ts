/** Stage *resolve*: makes the object known and usable, asking the origin where needed. */
import { hasField } from '../http/header-fields.ts';
import { notCached, startBytes, wantedRange } from './identify.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';
import { selectingFields } from './upstream-request.ts';

export async function resolve(context: RequestContext, services: ProxyServices): Promise<StageOutcome> {
  const lookup = context.need('lookup');
  const isHead = context.method === 'HEAD';
  const resolution = await services.resolver.resolve({
    target: context.need('target'),
    selectingFields: selectingFields(context, services),
    startBytes: startBytes(context),
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
