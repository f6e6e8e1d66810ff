/**
 * A first-in, first-out queue over a ring of fixed capacity. It refuses when full, so that every queue has a limit and its owner decides
 * what a refusal means (decline, drop, wait) and counts it.
 */
import { assert } from './assert.ts';

/** Fixed-capacity queue; `capacity` >= 1 items. */
export class BoundedQueue<T> {
  readonly #ring: (T | undefined)[];
  #first = 0;
  #count = 0;

  constructor(capacity: number) {
    assert(Number.isSafeInteger(capacity) && capacity >= 1, 'BoundedQueue: capacity must be at least 1');
    this.#ring = new Array<T | undefined>(capacity).fill(undefined);
  }

  get length(): number {
    return this.#count;
  }

  get isFull(): boolean {
    return this.#count === this.#ring.length;
  }

  /** Appends `item`; false when the queue is full and nothing was done. */
  tryPush(item: T): boolean {
    if (this.isFull) return false;
    this.#ring[(this.#first + this.#count) % this.#ring.length] = item;
    this.#count += 1;
    return true;
  }

  /** The oldest item, which stays; undefined when there is none. */
  get first(): T | undefined {
    return this.#ring[this.#first];
  }

  /** Removes and returns the oldest item, or undefined when there is none. */
  shift(): T | undefined {
    if (this.#count === 0) return undefined;
    const item = this.#ring[this.#first];
    this.#ring[this.#first] = undefined;
    this.#first = (this.#first + 1) % this.#ring.length;
    this.#count -= 1;
    return item;
  }
}
