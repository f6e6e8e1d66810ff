/**
 * A counter that never gives a number twice, crash or no crash: the superblock holds a floor ahead of it, raised in large steps.
 */
import { assert } from '../../base/assert.ts';
import { COUNTER_MAX } from '../index/slice-index.ts';

/**
 * Numbers given between two superblocks at most; at half of it a new superblock is due. A mount that did not end in order leaves so many
 * unused: of the 2^38 that there are, a 65,536th.
 */
export const COUNTER_STEP = 2 ** 22;

/** The next number of a sequence. Devices of one cache share that of the generations, each with a floor of its own. */
export interface NumberSequence {
  next: number;
}

/** Generations and write sequences. */
export class PersistentCounter {
  readonly #sequence: NumberSequence;
  #floor: number;

  /** @param next the first number to give, at least @param floor numbers below it are covered by the superblock */
  constructor(next: number, floor: number, sequence: NumberSequence = { next }) {
    assert(next >= 1 && floor >= 0, 'counter begins at 1');
    this.#sequence = sequence;
    this.#floor = floor;
    this.skipTo(next);
  }

  get next(): number {
    return this.#sequence.next;
  }

  /** Whether the next `count` numbers are covered. */
  covers(count: number): boolean {
    return this.next + count <= Math.min(this.#floor, COUNTER_MAX + 1);
  }

  /** Whether every number was given that the index can hold. */
  get isExhausted(): boolean {
    return this.next > COUNTER_MAX;
  }

  get needsRaise(): boolean {
    return this.#floor - this.next < COUNTER_STEP / 2;
  }

  take(): number {
    const value = this.next;
    this.#sequence.next += 1;
    return value;
  }

  /** Numbers below `next` were seen on the device; none of them is given again. */
  skipTo(next: number): void {
    this.#sequence.next = Math.max(this.next, next);
  }

  /** A superblock with this floor is durable. */
  raise(floor: number): void {
    this.#floor = Math.max(this.#floor, floor);
  }
}
