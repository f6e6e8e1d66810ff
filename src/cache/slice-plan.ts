/**
 * Which slices cover a byte range, as arithmetic: a plan for a terabyte costs as much as one for a byte. The steps lie side by side, none
 * is empty, and their lengths sum to end - start. Made by the planner of a request, walked by delivery and by fills.
 */
import { assert } from '../base/assert.ts';
import { divCeil, divFloor } from '../base/units.ts';
import { MANIFEST_NUMBER } from '../format/journal-block.ts';

/** The part of one slice that a plan wants; `startBytes` inclusive, `endBytes` exclusive, both relative to the slice's start. */
export interface SliceStep {
  readonly sliceNumber: number;
  readonly startBytes: number;
  readonly endBytes: number;
}

/** A range of one object version; 0 <= start <= end <= lengthBytes. */
export interface PlannedRange {
  readonly start: number;
  readonly end: number;
  /** Of the whole object. */
  readonly lengthBytes: number;
  /** > 0 */
  readonly sliceSizeBytes: number;
}

/** The slices that cover a range. */
export class SlicePlan {
  readonly start: number;
  readonly end: number;
  /** 0 is the object's first slice. */
  readonly firstSlice: number;
  /** Exclusive; equal to firstSlice when the range is empty. */
  readonly endSlice: number;
  readonly #lengthBytes: number;
  readonly #sliceSizeBytes: number;

  constructor({ start, end, lengthBytes, sliceSizeBytes }: PlannedRange) {
    assert(Number.isSafeInteger(start) && Number.isSafeInteger(lengthBytes), 'planSlices: offsets must be safe integers');
    assert(0 <= start && start <= end && end <= lengthBytes, 'planSlices: range must lie within the object');
    assert(Number.isSafeInteger(sliceSizeBytes) && sliceSizeBytes > 0, 'planSlices: slice size must be positive');
    this.start = start;
    this.end = end;
    this.firstSlice = divFloor(start, sliceSizeBytes);
    this.endSlice = start === end ? this.firstSlice : divCeil(end, sliceSizeBytes);
    this.#lengthBytes = lengthBytes;
    this.#sliceSizeBytes = sliceSizeBytes;
  }

  /** The wanted part of slice `sliceNumber`, which is one of the plan's. */
  step(sliceNumber: number): SliceStep {
    assert(this.firstSlice <= sliceNumber && sliceNumber < this.endSlice, 'SlicePlan.step: slice is not in the plan');
    const sliceStart = sliceNumber * this.#sliceSizeBytes;
    const startBytes = Math.max(0, this.start - sliceStart);
    const endBytes = Math.min(this.#sliceSizeBytes, this.end - sliceStart);
    assert(startBytes < endBytes, 'SlicePlan.step: step is empty');
    return { sliceNumber, startBytes, endBytes };
  }

  /** Bytes of the whole slice, fewer only for the object's last. */
  sliceLengthBytes(sliceNumber: number): number {
    const sliceStart = sliceNumber * this.#sliceSizeBytes;
    assert(sliceNumber >= 0 && sliceStart < this.#lengthBytes, 'SlicePlan.sliceLengthBytes: slice is past the object');
    return Math.min(this.#sliceSizeBytes, this.#lengthBytes - sliceStart);
  }
}

/**
 * Splits a byte range of one object version into the slices that cover it.
 *
 * @param range half-open, in bytes, as resolved by http/range (RFC 9110 s14.1.2)
 * Shape: n = divCeil(end, sliceSizeBytes) - divFloor(start, sliceSizeBytes) steps; none for an empty range
 */
export function planSlices(range: PlannedRange): SlicePlan {
  return new SlicePlan(range);
}

/** Whether every slice of an object of `lengthBytes` has a number of its own on a device: 2^32 - 1 of them do, 256 TiB in the smallest ones. */
export function isCuttable(lengthBytes: number, sliceSizeBytes: number): boolean {
  return sliceCount(lengthBytes, sliceSizeBytes) <= MANIFEST_NUMBER;
}

/** How many slices an object of `lengthBytes` has; none when it is empty. */
export function sliceCount(lengthBytes: number, sliceSizeBytes: number): number {
  return divCeil(lengthBytes, sliceSizeBytes);
}
