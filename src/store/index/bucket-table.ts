/**
 * Hash buckets of a table of rows: each bucket is the head of a chain that goes on in a word of the rows themselves. Half as many buckets as
 * rows, so that a chain of a full table has two. 0 is an empty bucket: memory of buckets that were never used is never touched.
 * Called by slice-index.ts and object-table.ts.
 */
import { assert } from '../../base/assert.ts';
import { divCeil } from '../../base/units.ts';
import { placeOfHash } from '../../format/checkpoint-order.ts';

/** No row. */
export const NO_ROW = 2 ** 32 - 1;
/** Memory that buckets take for each row of a table. */
export const BUCKET_BYTES_PER_ROW = 2;

/** Where the rows are, and which of their words is the chain's. */
export interface ChainedRows {
  readonly words: Uint32Array;
  /** Words of a row. */
  readonly stride: number;
  readonly chain: number;
}

/** Buckets for `rowCount` rows. */
export class BucketTable {
  readonly #buckets: Uint32Array;
  readonly #words: Uint32Array;
  readonly #stride: number;
  readonly #chain: number;
  /** Buckets; in the order of the hashes. */
  readonly count: number;

  constructor(rowCount: number, rows: ChainedRows) {
    const buckets = divCeil(rowCount, 2);
    this.#buckets = new Uint32Array(new SharedArrayBuffer(buckets * 4));
    this.#words = rows.words;
    this.#stride = rows.stride;
    this.#chain = rows.chain;
    this.count = buckets;
  }

  /** Bucket number `step` behind the one of a 32-bit hash. Keys that are looked for one after the other lie side by side that way. */
  bucketOf(hash: number, step = 0): number {
    return placeOfHash(hash, this.count, step);
  }

  /** First row of a bucket's chain, or NO_ROW. */
  first(bucket: number): number {
    const head = this.#buckets[bucket] ?? 0;
    return head === 0 ? NO_ROW : head - 1;
  }

  /** The row behind `row` in its chain, or NO_ROW. */
  next(row: number): number {
    return this.#words[row * this.#stride + this.#chain] ?? NO_ROW;
  }

  add(bucket: number, row: number): void {
    this.#words[row * this.#stride + this.#chain] = this.first(bucket);
    this.#buckets[bucket] = row + 1;
  }

  remove(bucket: number, row: number): void {
    const next = this.#words[row * this.#stride + this.#chain] ?? NO_ROW;
    let at = this.first(bucket);
    if (at === row) {
      this.#buckets[bucket] = next === NO_ROW ? 0 : next + 1;
      return;
    }
    while (this.#words[at * this.#stride + this.#chain] !== row) {
      assert(at !== NO_ROW, 'row is in its chain');
      at = this.#words[at * this.#stride + this.#chain] ?? NO_ROW;
    }
    this.#words[at * this.#stride + this.#chain] = next;
  }
}
