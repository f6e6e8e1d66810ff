/**
 * Slices of objects that are gone from the index, and whose blocks are yet to be freed: an object may have tens of thousands, and forgetting
 * it must not take as long. They are orphans: nothing finds them, a start gives them up, and whoever needs room takes theirs first.
 */
import { BoundedQueue } from '../../base/bounded-queue.ts';

/** Objects whose slices wait at a time. */
const OBJECTS_MAX = 4096;
/** Slice numbers tried of one object. */
const PROBES_MAX = 1 << 20;

interface Remainder {
  readonly generation: number;
  /** Whole slices that are left, at most; some may have been evicted meanwhile. */
  slices: number;
  nextSlice: number;
}

/** One per catalogue. */
export class Remains {
  readonly #waiting = new BoundedQueue<Remainder>(OBJECTS_MAX);
  readonly #free: (generation: number, sliceNumber: number) => boolean;

  /** @param free frees a slice's blocks and entry; says whether it was there, whole */
  constructor(free: (generation: number, sliceNumber: number) => boolean) {
    this.#free = free;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** @returns false when too many wait: what is left then goes as it is evicted */
  add(generation: number, slices: number): boolean {
    return this.#waiting.tryPush({ generation, slices, nextSlice: 0 });
  }

  /** Frees some, oldest first. @param probes slice numbers looked at */
  freeSome(probes: number): void {
    for (let left = probes; left > 0 && !this.isEmpty; ) left -= this.#freeFrom(this.#waiting.first, left);
  }

  #freeFrom(remainder: Remainder | undefined, probes: number): number {
    if (remainder === undefined) return probes;
    let used = 0;
    while (used < probes && remainder.slices > 0 && remainder.nextSlice < PROBES_MAX) {
      if (this.#free(remainder.generation, remainder.nextSlice)) remainder.slices -= 1;
      remainder.nextSlice += 1;
      used += 1;
    }
    if (remainder.slices === 0 || remainder.nextSlice >= PROBES_MAX) this.#waiting.shift();
    return Math.max(used, 1);
  }
}
