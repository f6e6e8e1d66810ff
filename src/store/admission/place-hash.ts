/** One 64-bit key from an object's tag and a number within the object; for the memories of admission (request-memory.ts, ghost-ring.ts). */
import type { ObjectTag } from '../index/object-table.ts';

/** @param place an integer in [0, 2^32) */
export function placeHash({ tagLow, tagHigh }: ObjectTag, place: number): ObjectTag {
  return { tagLow: mix(tagLow ^ Math.imul(place, 0x9e3779b1)), tagHigh: mix(tagHigh ^ Math.imul(place, 0x85ebca6b)) };
}

/** The finalizer of MurmurHash3: every bit of the input moves about half of those of the output. */
function mix(value: number): number {
  let hash = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
