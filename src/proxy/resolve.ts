/** Stage *resolve*: makes the object known and usable, asking the origin where needed. */
import { hasField } from '../http/header-fields.ts';
import { notCached } from './identify.ts';
import { passInterim } from './interim.ts';
import { isSurplusUsedUp } from './plan-ranges.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';

export async function resolve(context: RequestContext, services: ProxyServices): Promise<StageOutcome> {
  const lookup = context.need('lookup');
  const isHead = context.method === 'HEAD';
  const ranges = context.ranges ?? [];
  const isUsedUp = ranges.length > 0 && isSurplusUsedUp(context, services);
  const resolution = await services.resolver.resolve({
    target: context.need('target'),
    // A HEAD is answered from what is stored; it is no reason to fetch a body. A client's ranges are none for slices when it has had too many.
    lookup: isHead || isUsedUp ? { ...lookup, onlyIfCached: true } : lookup,
    ranges,
    acceptsSharedAnswer: !hasField(context.fields, 'cookie'),
    signal: context.signal,
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
      return { kind: 'bypass', reason: 'not-storable' };
    case 'bypass':
      context.forward = resolution.forward;
      return { kind: 'bypass', reason: 'not-storable' };
    case 'absent':
      if (lookup.onlyIfCached) return notCached();
      if (isHead) return { kind: 'bypass', reason: 'head' };
      services.metrics.add('rangeLimits', 1, 'client');
      return { kind: 'bypass', reason: 'ranges' };
  }
}
