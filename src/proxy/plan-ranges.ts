/**
 * The part of stage *plan* that is about ranges: what the Range field comes to against the object, how the answer is framed, and whether the
 * slices around it may be fetched (RFC 9110 s13.1.5, s14.2, s15.3.7, s17.15). No set of ranges brings more bytes than the object, and what
 * the origin sends beyond what the client gets is bounded for each request and, over time, for each client.
 */
import { type RangeCost, rangeCost } from '../cache/range-plan.ts';
import type { SliceStep } from '../cache/slice-plan.ts';
import { validatorsOf } from '../cache/validators.ts';
import type { LiveObject } from '../fill/live-object.ts';
import { isRangeAllowedByIfRange } from '../http/conditional.ts';
import { type FieldList, fieldValue } from '../http/header-fields.ts';
import { layoutMultipart, type MultipartLayout } from '../http/multipart-ranges.ts';
import { type ByteRange, isAscending, resolveRangeSet } from '../http/range-set.ts';
import { clientNetwork } from './client-network.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';

/**
 * `whole`: there is no range, or it is ignored. `pass`: the client's own request is to go to the origin. `ranges`: disjoint, in the order
 * asked; several have a layout. `isExact`: what is missing is fetched as asked, past the cache.
 */
export type RangePlan =
  | { readonly kind: 'whole' }
  | { readonly kind: 'unsatisfiable'; readonly lengthBytes: number }
  | { readonly kind: 'pass' }
  | {
      readonly kind: 'ranges';
      readonly ranges: readonly ByteRange[];
      readonly multipart: MultipartLayout | undefined;
      readonly isExact: boolean;
    };

/** A multipart body may be longer than the object up to this; past it the object itself is the shorter answer (RFC 9110 s15.3.7.2). */
const SMALL_BODY_BYTES = 4096;
/** What a request of its own costs an origin beside the bytes, about. */
const REQUEST_COST_BYTES = 64 * 1024;
/** Random, so that no object contains it: 128 bits. */
const BOUNDARY_BYTES = 16;
/** Fields that say how the bytes of a part are to be read. */
const PART_FIELDS: ReadonlyMap<string, string> = new Map([
  ['content-type', 'Content-Type'],
  ['content-encoding', 'Content-Encoding'],
]);

const WHOLE: RangePlan = { kind: 'whole' };

/** Decides about the ranges of a GET whose other conditions hold. */
export function planRanges(context: RequestContext, services: ProxyServices): RangePlan {
  const { object } = context.need('resolution');
  const { lengthBytes } = object.manifest;
  // Of an empty object there is no range to send; a length that is not known yet has no end to count from.
  if (context.ranges === undefined || lengthBytes === undefined || lengthBytes === 0) return WHOLE;
  if (!isIfRangeTrue(context.fields, object.manifest.fields)) return WHOLE;
  const set = resolveRangeSet(context.ranges, lengthBytes);
  if (set.kind === 'unsatisfiable') return { kind: 'unsatisfiable', lengthBytes };
  const { ranges } = set;
  if (set.isMerged) services.metrics.add('rangeLimits', 1, 'overlap');
  let multipart: MultipartLayout | undefined;
  if (ranges.length > 1) {
    multipart = layOut(ranges, object, services);
    if (multipart === undefined) return WHOLE;
  }
  const fetching = judgeCost(context, services, ranges);
  return fetching === 'pass' ? { kind: 'pass' } : { kind: 'ranges', ranges, multipart, isExact: fetching === 'exact' };
}

/** Whether the surplus of `client` is used up, so that its ranges are not fetched in slices. */
export function isSurplusUsedUp(context: RequestContext, services: ProxyServices): boolean {
  return services.surplus.isUsedUp(clientNetwork(context.clientAddress));
}

function isIfRangeTrue(requestFields: FieldList, storedFields: FieldList): boolean {
  const { entityTag, lastModified, dateMs } = validatorsOf(storedFields);
  return isRangeAllowedByIfRange({
    ifRange: fieldValue(requestFields, 'if-range'),
    entityTag,
    lastModified: lastModified?.text,
    dateMs,
  });
}

/** Several parts, or undefined where the whole is the better answer. */
function layOut(ranges: readonly ByteRange[], object: LiveObject, services: ProxyServices): MultipartLayout | undefined {
  const { fields, lengthBytes = 0 } = object.manifest;
  // Where one response brings all bytes in order, one that went past a part before its turn may be the only one that there was.
  if (!object.isResumable && !isAscending(ranges)) {
    services.metrics.add('rangeLimits', 1, 'order');
    return undefined;
  }
  const partFields = fields.flatMap(([name, value]) => {
    const partName = PART_FIELDS.get(name);
    return partName === undefined ? [] : [[partName, value] as const];
  });
  const boundary = Buffer.from(services.random.bytes(BOUNDARY_BYTES)).toString('hex');
  const layout = layoutMultipart({ ranges, lengthBytes, partFields, boundary });
  if (layout !== undefined && layout.lengthBytes <= Math.max(lengthBytes, SMALL_BODY_BYTES)) return layout;
  services.metrics.add('rangeLimits', 1, 'length');
  return undefined;
}

/** Whether missing slices may be fetched whole. */
function judgeCost(context: RequestContext, services: ProxyServices, ranges: readonly ByteRange[]): 'fill' | 'exact' | 'pass' {
  const { object, state, isCollapsed } = context.need('resolution');
  const { surplus, limits, metrics } = services;
  // What this request has just asked for is on its account, though a run has claimed it.
  const isOwnFetch = state === 'fetched' && !isCollapsed;
  const { surplusBytes, missingRanges } = costOf(object, { ranges, isOwnFetch });
  if (surplusBytes === 0) return 'fill';
  const client = clientNetwork(context.clientAddress);
  if (!isOwnFetch && surplus.isUsedUp(client)) {
    metrics.add('rangeLimits', 1, 'client');
    return 'pass';
  }
  if (object.isResumable && surplusBytes > limits.rangeSurplusBytes) {
    metrics.add('rangeLimits', 1, 'request');
    surplus.charge(client, missingRanges * REQUEST_COST_BYTES);
    return 'exact';
  }
  surplus.charge(client, surplusBytes);
  return 'fill';
}

function costOf(
  object: LiveObject,
  { ranges, isOwnFetch }: { readonly ranges: readonly ByteRange[]; readonly isOwnFetch: boolean },
): RangeCost {
  const { lengthBytes = 0, sliceSizeBytes } = object.manifest;
  const isMissing = (step: SliceStep): boolean => !object.hasBytes(step) && (isOwnFetch || object.findRun(step.sliceNumber) === undefined);
  const cost = rangeCost(ranges, { lengthBytes, sliceSizeBytes }, isMissing);
  if (object.isResumable || cost.missingRanges === 0) return cost;
  // Everything before the last range comes, too.
  const endBytes = Math.max(...ranges.map(({ end }) => end));
  const wantedBytes = ranges.reduce((sum, { start, end }) => sum + end - start, 0);
  return { ...cost, surplusBytes: cost.surplusBytes + endBytes - wantedBytes };
}
