/**
 * Which objects were asked for more than once lately: two Bloom filters, of which the newer one takes every request. At each turn it becomes
 * the older one, and what was the older one is forgotten: a request is remembered for one to two turns, in a fixed amount of memory. Its owner
 * says when it is time for a turn, at the latest when the newer filter has taken its number of keys (`fill` is 1).
 *
 * An object is *wanted* when the same place of it was asked for twice. A place is where a request begins, to the MiB: a viewer that takes
 * an object in many ranges asks for many places once, and makes it no more wanted than one that takes it with one request.
 */
import { divFloor, MIB } from '../../base/units.ts';
import type { ObjectTag } from '../index/object-table.ts';
import { BloomFilter } from './bloom-filter.ts';
import { placeHash } from './place-hash.ts';

const PLACE_BYTES = MIB;
/** The place that stands for the object being wanted. */
const WANTED = 2 ** 32 - 1;
const PLACE_MAX = WANTED - 1;

/** Requests of the last while. */
export class RequestMemory {
  readonly #keysMax: number;
  #newer: BloomFilter;
  #older: BloomFilter;

  /** @param keysMax keys of one filter: one for each place that is asked for, and one for each object that becomes wanted */
  constructor(keysMax: number) {
    this.#keysMax = keysMax;
    this.#newer = new BloomFilter(keysMax);
    this.#older = new BloomFilter(keysMax);
  }

  /** How far the newer filter is on its way to its turn, 0 to 1. */
  get fill(): number {
    return Math.min(1, this.#newer.keys / this.#keysMax);
  }

  /**
   * Takes note of a request.
   *
   * @param startBytes offset in the object at which it begins
   * @returns whether it is the one that makes the object wanted
   */
  note(tag: ObjectTag, startBytes: number): boolean {
    if (!this.#remember(placeHash(tag, Math.min(PLACE_MAX, divFloor(startBytes, PLACE_BYTES))))) return false;
    return !this.#remember(placeHash(tag, WANTED));
  }

  isWanted(tag: ObjectTag): boolean {
    const key = placeHash(tag, WANTED);
    return this.#newer.has(key.tagLow, key.tagHigh) || this.#older.has(key.tagLow, key.tagHigh);
  }

  /** @returns whether the key was known; it is from now on */
  #remember({ tagLow, tagHigh }: ObjectTag): boolean {
    const isNew = this.#newer.add(tagLow, tagHigh);
    return !isNew || this.#older.has(tagLow, tagHigh);
  }

  /** The newer filter becomes the older one, and what was that is forgotten. */
  turn(): void {
    [this.#newer, this.#older] = [this.#older, this.#newer];
    this.#newer.clear();
  }
}
