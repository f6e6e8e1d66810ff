/**
 * A bit for each block of the allocation groups, 32 at a time: set is used. Blocks are numbered from 0 here and stay below 2^32 (the format's
 * bound), which is why bitwise operators are allowed on them. On shared memory; pages of it that were never written take none.
 * Called by block-allocator.ts.
 */
import { assert } from '../../base/assert.ts';
import { divCeil } from '../../base/units.ts';

const WORD_BITS = 32;
const ALL = -1;

/** `blockCount` bits, all clear at first. */
export class BlockBitmap {
  readonly #words: Int32Array;

  constructor(blockCount: number) {
    assert(blockCount >= 1 && blockCount < 2 ** 32, 'BlockBitmap: block numbers have 32 bits');
    this.#words = new Int32Array(new SharedArrayBuffer(divCeil(blockCount, WORD_BITS) * 4));
  }

  /** First clear bit in [from, end), or `end`. */
  nextFree(from: number, end: number): number {
    return this.#next(from, end, ALL);
  }

  /** First set bit in [from, end), or `end`. */
  nextUsed(from: number, end: number): number {
    return this.#next(from, end, 0);
  }

  /** Where the clear bits that end at `end` begin, not below `floor`. */
  freeRunStart(end: number, floor: number): number {
    let limit = end;
    while (limit > floor) {
      const word = (limit - 1) >>> 5;
      const low = word * WORD_BITS;
      const bits = (this.#words[word] ?? 0) & (ALL >>> (WORD_BITS - (limit - low)));
      if (bits !== 0) return Math.max(floor, low + WORD_BITS - Math.clz32(bits));
      limit = low;
    }
    return floor;
  }

  /** Whether no bit of the run is set. */
  isFree(start: number, blocks: number): boolean {
    return this.nextUsed(start, start + blocks) === start + blocks;
  }

  /** Whether every bit of the run is set. */
  isUsed(start: number, blocks: number): boolean {
    return this.nextFree(start, start + blocks) === start + blocks;
  }

  /** Sets a run whose bits are clear. */
  take(start: number, blocks: number): void {
    const end = start + blocks;
    for (let at = start; at < end; ) {
      const word = at >>> 5;
      const mask = maskOf(at, end);
      const bits = this.#words[word] ?? ALL;
      assert((bits & mask) === 0, 'blocks that are taken are free');
      this.#words[word] = bits | mask;
      at = (word + 1) * WORD_BITS;
    }
  }

  /** Clears a run whose bits are set. */
  give(start: number, blocks: number): void {
    const end = start + blocks;
    for (let at = start; at < end; ) {
      const word = at >>> 5;
      const mask = maskOf(at, end);
      const bits = this.#words[word] ?? 0;
      assert((bits & mask) === mask, 'blocks that are freed were used');
      this.#words[word] = bits & ~mask;
      at = (word + 1) * WORD_BITS;
    }
  }

  /** `flip` 0 looks for set bits, ALL for clear ones. */
  #next(from: number, end: number, flip: number): number {
    if (from >= end) return end;
    let word = from >>> 5;
    let bits = ((this.#words[word] ?? 0) ^ flip) & (ALL << (from & 31));
    while (bits === 0) {
      word += 1;
      if (word * WORD_BITS >= end) return end;
      bits = (this.#words[word] ?? 0) ^ flip;
    }
    return Math.min(end, word * WORD_BITS + 31 - Math.clz32(bits & -bits));
  }
}

/** Bits of the word of `from` that lie in [from, end). */
function maskOf(from: number, end: number): number {
  const bit = from & 31;
  const count = Math.min(end - from, WORD_BITS - bit);
  return (ALL >>> (WORD_BITS - count)) << bit;
}
