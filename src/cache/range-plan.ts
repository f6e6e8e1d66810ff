/**
 * Several ranges of one object version as slices: which of them one reader walks through, which range a fill for an unknown object begins
 * with, and how much more than the client gets the origin would have to send. Pure; called when a request is resolved, planned, delivered.
 */
import { divCeil, divFloor } from '../base/units.ts';
import type { RangeSpec } from '../http/range.ts';
import type { ByteRange } from '../http/range-set.ts';
import { planSlices, type SliceStep } from './slice-plan.ts';

/** Ranges that one reader walks through: ascending, each next one beginning in the slice in which the last ended or the one behind it. */
export interface RangeCluster {
  readonly ranges: readonly ByteRange[];
  /** From the first range's start to the last one's end. */
  readonly start: number;
  readonly end: number;
}

/** Cuts a list of disjoint ranges, in order, into clusters; joined in order they are the list again. */
export function clusterRanges(ranges: readonly ByteRange[], sliceSizeBytes: number): RangeCluster[] {
  const clusters: ByteRange[][] = [];
  for (const range of ranges) {
    const cluster = clusters.at(-1);
    const last = cluster?.at(-1);
    const isNext =
      last !== undefined && range.start >= last.end && divFloor(range.start, sliceSizeBytes) <= divCeil(last.end, sliceSizeBytes);
    if (isNext) cluster?.push(range);
    else clusters.push([range]);
  }
  return clusters.map((members) => spanOf(members));
}

/** All ranges as one cluster, whatever lies between them; they must ascend. */
export function spanOf(ranges: readonly ByteRange[]): RangeCluster {
  return { ranges, start: ranges[0]?.start ?? 0, end: ranges.at(-1)?.end ?? 0 };
}

/**
 * The range with which a fill begins while the object's length is not known: the one that is satisfiable if any is. That is the shortest
 * suffix, where there is one, else the range that begins first.
 *
 * @returns undefined when all are `-0`, which no object satisfies
 */
export function openingRange(specs: readonly RangeSpec[]): RangeSpec | undefined {
  let suffix: Extract<RangeSpec, { suffix: number }> | undefined;
  let first: Exclude<RangeSpec, { suffix: number }> | undefined;
  for (const spec of specs) {
    if ('suffix' in spec) {
      if (spec.suffix > 0 && (suffix === undefined || spec.suffix < suffix.suffix)) suffix = spec;
    } else if (first === undefined || spec.first < first.first) first = spec;
  }
  // What begins at the first byte is there whenever anything is.
  return first?.first === 0 ? first : (suffix ?? first);
}

/** What fetching ranges in whole slices costs beside the ranges. */
export interface RangeCost {
  /** Bytes of missing slices around what the ranges want of them. */
  readonly surplusBytes: number;
  /** Ranges of which something is missing. */
  readonly missingRanges: number;
}

/**
 * What the origin must send beyond the ranges when missing slices are fetched whole. Only the first and the last slice of a range can have
 * unwanted bytes, so the cost is two looks a range however long it is.
 *
 * @param ranges disjoint
 * @param isMissing whether the slice would have to be fetched for this part of it
 * Source: RFC 9110 s17.15; amplification towards an origin by many small ranges
 */
export function rangeCost(
  ranges: readonly ByteRange[],
  { lengthBytes, sliceSizeBytes }: { readonly lengthBytes: number; readonly sliceSizeBytes: number },
  isMissing: (step: SliceStep) => boolean,
): RangeCost {
  /** Wanted bytes of each missing slice at the edge of a range. */
  const wanted = new Map<number, number>();
  let missingRanges = 0;
  for (const { start, end } of ranges) {
    const plan = planSlices({ start, end, lengthBytes, sliceSizeBytes });
    const edges = new Set([plan.firstSlice, plan.endSlice - 1]);
    const missing = [...edges].map((slice) => plan.step(slice)).filter(isMissing);
    if (missing.length > 0) missingRanges += 1;
    for (const { sliceNumber, startBytes, endBytes } of missing)
      wanted.set(sliceNumber, (wanted.get(sliceNumber) ?? 0) + endBytes - startBytes);
  }
  let surplusBytes = 0;
  for (const [slice, bytes] of wanted) surplusBytes += Math.min(sliceSizeBytes, lengthBytes - slice * sliceSizeBytes) - bytes;
  return { surplusBytes, missingRanges };
}
