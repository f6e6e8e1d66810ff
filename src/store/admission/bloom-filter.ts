/**
 * A Bloom filter over 64-bit keys: which keys were added, with false positives now and then and no false negatives, at 10 bits a key. Keys
 * come well mixed (they are hashes). request-memory.ts rotates two of them.
 */
import { assert } from '../../base/assert.ts';

const BITS_PER_KEY = 10;
/** ln 2 times the bits per key: the number of probes that gives the fewest false positives, 0.8 % when as many keys as planned are in. */
const PROBES = 7;
/** 256 MiB of bits: probes are numbers of 32 bits. */
const BITS_MAX = 2 ** 31;

/** A set of keys that may claim to know a stranger. */
export class BloomFilter {
  readonly #words: Uint32Array;
  readonly #bits: number;
  #keys = 0;

  /** @param keysMax keys that it is made for (>= 1); more make it claim more strangers */
  constructor(keysMax: number) {
    assert(keysMax >= 1, 'BloomFilter: it is made for a key or more');
    this.#words = new Uint32Array(Math.min(BITS_MAX, Math.ceil((keysMax * BITS_PER_KEY) / 32) * 32) / 32);
    this.#bits = this.#words.length * 32;
  }

  /** Keys added since the last clear, as far as the filter could tell them from those before. */
  get keys(): number {
    return this.#keys;
  }

  /** @param low, high halves of the key, 32 bits each */
  has(low: number, high: number): boolean {
    for (let probe = 0; probe < PROBES; probe += 1) {
      const bit = this.#bitAt(low, high, probe);
      if ((((this.#words[Math.floor(bit / 32)] ?? 0) >>> (bit % 32)) & 1) === 0) return false;
    }
    return true;
  }

  /** @returns whether the key was surely new */
  add(low: number, high: number): boolean {
    let isNew = false;
    for (let probe = 0; probe < PROBES; probe += 1) {
      const bit = this.#bitAt(low, high, probe);
      const at = Math.floor(bit / 32);
      const word = this.#words[at] ?? 0;
      const mask = (1 << (bit % 32)) >>> 0;
      if ((word & mask) !== 0) continue;
      this.#words[at] = (word | mask) >>> 0;
      isNew = true;
    }
    if (isNew) this.#keys += 1;
    return isNew;
  }

  clear(): void {
    this.#words.fill(0);
    this.#keys = 0;
  }

  /** Double hashing: the halves of the key are two hashes, of which any number can be made (Kirsch and Mitzenmacher). */
  #bitAt(low: number, high: number, probe: number): number {
    const hash = (low + Math.imul(probe, high | 1)) >>> 0;
    return Math.floor((hash / 2 ** 32) * this.#bits);
  }
}
