/**
 * The first bytes that a request wants and that are not kept: a stale object is asked for these instead of being asked about, so that one
 * answer confirms what is kept and brings what is missing (RFC 9111 s3.4, s4.3.1).
 */
import { IntervalSet } from '../base/interval-set.ts';
import { planSlices } from '../cache/slice-plan.ts';
import type { RangeSpec } from '../http/range.ts';
import { resolveRangeSet } from '../http/range-set.ts';
import type { LiveObject } from './live-object.ts';
import { runEnd } from './run-starter.ts';

/** Slices that are looked up; a request that has so many of them is confirmed by itself. */
const LOOKED_UP_SLICES_MAX = 4096;

/** [start, end) of the object; `end` is undefined where it is the object's own. */
export interface MissingBytes {
  readonly start: number;
  readonly end: number | undefined;
}

/** @returns undefined when nothing is missing, when it is on its way, or when it is not known without reading the device what is */
export function findFirstMissing(object: LiveObject, ranges: readonly RangeSpec[]): MissingBytes | undefined {
  const { lengthBytes, sliceSizeBytes, generation } = object.manifest;
  if (lengthBytes === undefined || !object.isResumable) return undefined;
  const set = ranges.length === 0 ? undefined : resolveRangeSet(ranges, lengthBytes);
  if (set?.kind === 'unsatisfiable') return undefined;
  const wanted = set === undefined ? { start: 0, end: lengthBytes } : set.ranges[0];
  if (wanted === undefined) return undefined;
  const { store, partMemory } = object.context;
  const plan = planSlices({ ...wanted, lengthBytes, sliceSizeBytes });
  const endSlice = Math.min(plan.endSlice, plan.firstSlice + LOOKED_UP_SLICES_MAX);
  for (let sliceNumber = plan.firstSlice; sliceNumber < endSlice; sliceNumber += 1) {
    const step = plan.step(sliceNumber);
    if (object.hasBytes(step)) continue;
    if (object.findRun(sliceNumber) !== undefined || store.hasPart(generation, sliceNumber)) return undefined;
    const known = new IntervalSet();
    for (const { start, bytes } of partMemory.list(generation, sliceNumber)) known.add(start, start + bytes.length);
    const sliceLength = plan.sliceLengthBytes(sliceNumber);
    const gap = known.gapAt(known.at(step.startBytes)?.end ?? step.startBytes, sliceLength);
    if (gap === undefined) return undefined;
    const sliceStart = sliceNumber * sliceSizeBytes;
    const isOpen = gap.end === sliceLength;
    const end = isOpen ? Math.min(runEnd(object, sliceNumber, plan.endSlice) * sliceSizeBytes, lengthBytes) : sliceStart + gap.end;
    return { start: sliceStart + gap.start, end: end === lengthBytes ? undefined : end };
  }
  return undefined;
}
