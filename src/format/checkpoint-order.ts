/**
 * The order of a checkpoint's entries, so that one of them can be looked for before all are read: purges and bad blocks (order 0), objects by a
 * hash of their tag, slices by a hash of their generation, those of one object side by side. The index has its buckets in the same order.
 */

/** Order of the first place of slices; objects come before it. */
export const SLICE_ORDER = 2 ** 31;

/** 32-bit hash of an object's tag. */
export function hashOfTag(tag: { readonly tagLow: number; readonly tagHigh: number }): number {
  return Math.imul(tag.tagLow ^ tag.tagHigh, 0x9e3779b1) >>> 0;
}

/** 32-bit hash of a generation. */
export function hashOfGeneration(generation: number): number {
  let hash = Math.imul(generation % 2 ** 32, 0x9e3779b1) ^ Math.imul(Math.floor(generation / 2 ** 32) + 1, 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  hash = Math.imul(hash ^ (hash >>> 13), 0x297a2d39);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** The place of `hash` among `places` (below 2^31), or the one `step` behind it; the last one is followed by the first. */
export function placeOfHash(hash: number, places: number, step = 0): number {
  const place = Math.floor(hash * (places / 2 ** 32)) + step;
  return place < places ? place : place % places;
}

/** How far a slice lies behind the place of its generation; what a manifest is found by stands before the first of them. */
export function stepOfSlice(sliceNumber: number): number {
  return sliceNumber + 1;
}
