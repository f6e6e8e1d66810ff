/** Stage *resolve*: makes the object known and usable, asking the origin where needed. */
import { hasField } from '../http/header-fields.ts';
import { notCached, startBytes } from './identify.ts';
import { passInterim } from './interim.ts';
import { isSurplusUsedUp } from './plan-ranges.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';
import { selectingFields } from './upstream-request.ts';

export async function resolve(context: RequestContext, services: ProxyServices): Promise<StageOutcome> {
  const lookup = context.need('lookup');
  const isHead = context.method === 'HEAD';
  const reason = isHead ? 'head' : 'not-storable';
  const ranges = context.ranges ?? [];
  const isUsedUp = ranges.length > 0 && isSurplusUsedUp(context, services);
  const resolution = await services.resolver.resolve({
    target: context.need('target'),
    selectingFields: selectingFields(context),
    startBytes: startBytes(context),
    method: isHead ? 'HEAD' : 'GET',
    // A client's ranges are none for slices when it has had too many.
    lookup: isUsedUp ? { ...lookup, onlyIfCached: true } : lookup,
    ranges,
    credentials: context.fields.filter(([name]) => name === 'authorization'),
    acceptsSharedAnswer: !hasField(context.fields, 'cookie'),
    signal: context.signal,
    onForward: (reason) => {
      context.forward = reason;
    },
    onInterim: (head) => passInterim(context, services, head),
  });
  switch (resolution.kind) {
    case 'object':
      context.resolution = resolution;
      context.forward = resolution.forward;
      return NEXT;
    case 'answer':
      context.answer = resolution;
      context.forward = resolution.forward;
      return { kind: 'bypass', reason };
    case 'bypass':
      context.forward = resolution.forward;
      return { kind: 'bypass', reason };
    case 'absent':
      if (lookup.onlyIfCached) return notCached();
      if (isHead) return { kind: 'bypass', reason: 'head' };
      services.metrics.add('rangeLimits', 1, 'client');
      return { kind: 'bypass', reason: 'ranges' };
  }
}
