/**
 * The objects of the index: a row of 36 bytes each, found by the first 64 bits of the object hash, on shared memory with one writer. A row
 * has the newest freshness, the count of stored slices, and the slot of the object's record. Called by slice-index.ts.
 *
 *   word      0          1             2                3        4         5     6       7       8
 *   row    tag low   tag high   record's slot       slices   received   age   chain   fresh   fresh.high | received.high
 */
import { assert } from '../../base/assert.ts';
import { hashOfTag } from '../../format/checkpoint-order.ts';
import type { ManifestFreshness } from '../../format/manifest.ts';
import { storedTime } from '../../format/manifest-record.ts';
import { BUCKET_BYTES_PER_ROW, BucketTable, NO_ROW } from './bucket-table.ts';

const WORDS = 9;
/** Memory of an object, its share of the buckets included. */
export const OBJECT_BYTES = WORDS * 4 + BUCKET_BYTES_PER_ROW;
const TAG_LOW = 0;
const TAG_HIGH = 1;
const RECORD = 2;
const SLICES = 3;
const RECEIVED = 4;
const AGE = 5;
const CHAIN = 6;
const FRESH = 7;
const TIME_HIGHS = 8;

/** First 64 bits of an object hash, in halves. */
export interface ObjectTag {
  readonly tagLow: number;
  readonly tagHigh: number;
}

/** Fixed-size table; `rowCount` >= 1. */
export class ObjectTable {
  readonly #words: Uint32Array;
  readonly #buckets: BucketTable;
  /** Rows that were given back, chained; beyond #rowLimit none was ever used. */
  #freeHead = NO_ROW;
  #rowLimit = 0;
  #used = 0;
  readonly #rowCount: number;

  constructor(rowCount: number) {
    this.#rowCount = rowCount;
    this.#words = new Uint32Array(new SharedArrayBuffer(rowCount * WORDS * 4));
    this.#buckets = new BucketTable(rowCount, { words: this.#words, stride: WORDS, chain: CHAIN });
  }

  /** Rows that a tag finds lie in so many places (checkpoint-order.ts). */
  get places(): number {
    return this.#buckets.count;
  }

  /** First of the rows that are found in `place`, or NO_ROW. */
  firstAt(place: number): number {
    return this.#buckets.first(place);
  }

  /** The row that is found behind `row` in its place, or NO_ROW. */
  nextOf(row: number): number {
    return this.#buckets.next(row);
  }

  get used(): number {
    return this.#used;
  }

  find(tag: ObjectTag): number {
    for (
      let row = this.#buckets.first(this.#buckets.bucketOf(hashOfTag(tag)));
      row !== NO_ROW;
      row = this.#words[row * WORDS + CHAIN] ?? NO_ROW
    ) {
      if (this.#words[row * WORDS + TAG_LOW] === tag.tagLow && this.#words[row * WORDS + TAG_HIGH] === tag.tagHigh) return row;
    }
    return NO_ROW;
  }

  /** Adds a row; the tag must be absent and a row free. */
  put(tag: ObjectTag, record: number): number {
    assert(this.find(tag) === NO_ROW, 'tag is put once');
    assert(this.#used < this.#rowCount, 'an object finds a row');
    const isNew = this.#freeHead === NO_ROW;
    const row = isNew ? this.#rowLimit : this.#freeHead;
    const at = row * WORDS;
    if (isNew) this.#rowLimit += 1;
    else this.#freeHead = this.#words[at + CHAIN] ?? NO_ROW;
    this.#words.fill(0, at, at + WORDS);
    this.#words[at + TAG_LOW] = tag.tagLow;
    this.#words[at + TAG_HIGH] = tag.tagHigh;
    this.#words[at + RECORD] = record;
    this.#buckets.add(this.#buckets.bucketOf(hashOfTag(tag)), row);
    this.#used += 1;
    return row;
  }

  /** The row is not found by its tag any more, so that another may take that; it stays until it is removed. */
  hide(row: number): void {
    assert(this.isFound(row), 'a row is hidden once');
    this.#buckets.remove(this.#buckets.bucketOf(hashOfTag(this.tag(row))), row);
  }

  /** Whether the row is the one that its tag finds. */
  isFound(row: number): boolean {
    return this.find(this.tag(row)) === row;
  }

  remove(row: number): void {
    if (this.isFound(row)) this.hide(row);
    this.#words[row * WORDS + CHAIN] = this.#freeHead;
    this.#freeHead = row;
    this.#used -= 1;
  }

  recordOf(row: number): number {
    return this.#words[row * WORDS + RECORD] ?? NO_ROW;
  }

  tag(row: number): ObjectTag {
    return { tagLow: this.#words[row * WORDS + TAG_LOW] ?? 0, tagHigh: this.#words[row * WORDS + TAG_HIGH] ?? 0 };
  }

  slices(row: number): number {
    return this.#words[row * WORDS + SLICES] ?? 0;
  }

  addSlices(row: number, amount: number): void {
    const count = this.slices(row) + amount;
    assert(count >= 0, 'count of slices is not negative');
    this.#words[row * WORDS + SLICES] = count;
  }

  freshness(row: number): ManifestFreshness {
    const at = row * WORDS;
    const highs = this.#words[at + TIME_HIGHS] ?? 0;
    return {
      receivedAtMs: (this.#words[at + RECEIVED] ?? 0) + Math.floor(highs / 65536) * 2 ** 32,
      initialAgeSeconds: this.#words[at + AGE] ?? 0,
      freshUntilMs: (this.#words[at + FRESH] ?? 0) + (highs % 65536) * 2 ** 32,
    };
  }

  setFreshness(row: number, freshness: ManifestFreshness): void {
    const received = storedTime(freshness.receivedAtMs);
    const fresh = storedTime(freshness.freshUntilMs);
    const at = row * WORDS;
    this.#words[at + RECEIVED] = received % 2 ** 32;
    this.#words[at + FRESH] = fresh % 2 ** 32;
    this.#words[at + TIME_HIGHS] = Math.floor(received / 2 ** 32) * 65536 + Math.floor(fresh / 2 ** 32);
    this.#words[at + AGE] = storedTime(freshness.initialAgeSeconds, 2 ** 32 - 1);
  }
}
