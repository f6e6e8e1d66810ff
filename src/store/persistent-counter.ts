/**
 * A counter that never gives a number twice, crash or no crash: the superblock holds a floor ahead of it, raised in large steps.
 */
import { assert } from '../base/assert.ts';
import { COUNTER_MAX } from './slice-index.ts';

/**
 * Numbers given between two superblocks at most; at half of it a new superblock is due. A mount that did not end in order leaves so many
 * unused: of the 2^38 that there are, a 65,536th.
 */
export const COUNTER_STEP = 2 ** 22;

/** Generations and write sequences. */
export class PersistentCounter {
  #next: number;
  #floor: number;

  /** @param next the first number to give @param floor numbers below it are covered by the superblock */
  constructor(next: number, floor: number) {
    assert(next >= 1 && floor >= 0, 'counter begins at 1');
    this.#next = next;
    this.#floor = floor;
  }

  get next(): number {
    return this.#next;
  }

  /** Whether the next `count` numbers are covered. */
  covers(count: number): boolean {
    return this.#next + count <= Math.min(this.#floor, COUNTER_MAX + 1);
  }

  /** Whether every number was given that the index can hold. */
  get isExhausted(): boolean {
    return this.#next > COUNTER_MAX;
  }

  get needsRaise(): boolean {
    return this.#floor - this.#next < COUNTER_STEP / 2;
  }

  take(): number {
    const value = this.#next;
    this.#next += 1;
    return value;
  }

  /** Numbers below `next` were seen on the device; none of them is given again. */
  skipTo(next: number): void {
    this.#next = Math.max(this.#next, next);
  }

  /** A superblock with this floor is durable. */
  raise(floor: number): void {
    this.#floor = Math.max(this.#floor, floor);
  }
}
