/**
 * The only door to chance. Product code takes a Random; tests pass a seeded one and print the seed.
 */
import { randomBytes, randomInt } from 'node:crypto';

/** A source of random numbers and bytes. */
export interface Random {
  /** A uniform integer in [0, end); 1 <= end <= 2^32. */
  integerBelow(end: number): number;
  /** `count` random bytes in a fresh array. */
  bytes(count: number): Uint8Array;
}

/** The operating system's generator, fit for keys and identifiers. */
export class SystemRandom implements Random {
  integerBelow(end: number): number {
    return randomInt(end);
  }

  bytes(count: number): Uint8Array {
    return new Uint8Array(randomBytes(count));
  }
}

/** A small deterministic generator (mulberry32, 32 bits of state), for tests, simulation and benchmarks; never for secrets. */
export class SeededRandom implements Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed % 2 ** 32;
  }

  #next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  integerBelow(end: number): number {
    return Math.floor((this.#next() / 2 ** 32) * end);
  }

  bytes(count: number): Uint8Array {
    const result = new Uint8Array(count);
    for (let index = 0; index < count; index += 1) result[index] = this.integerBelow(256);
    return result;
  }
}
