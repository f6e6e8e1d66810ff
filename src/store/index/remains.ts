/**
 * Slices of objects that are gone from the index, and whose blocks are yet to be freed: an object may have tens of thousands, and forgetting
 * it must not take as long. They are orphans: nothing finds them, a start gives them up, and whoever needs room takes theirs first.
 */
import { BoundedQueue } from '../../base/bounded-queue.ts';
import type { ResidentTier } from './resident-tier.ts';

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

/** What holds slices. */
export interface RemainsOptions {
  readonly resident: ResidentTier;
  /** Whether the slice is on the device, whole. */
  readonly isStored: (generation: number, sliceNumber: number) => boolean;
  /** Frees a slice's blocks and entry; says whether it was there, whole. */
  readonly free: (generation: number, sliceNumber: number) => boolean;
  /** So many slices of an object are left to be evicted: too many objects wait, or they are not where they were looked for. */
  readonly onGivenUp: (slices: number) => void;
}

/** One per catalogue. */
export class Remains {
  readonly #options: RemainsOptions;
  readonly #waiting = new BoundedQueue<Remainder>(OBJECTS_MAX);

  constructor(options: RemainsOptions) {
    this.#options = options;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** An object is gone that had so many whole slices. */
  add(generation: number, slices: number): void {
    if (this.#waiting.tryPush({ generation, slices, nextSlice: 0 })) return;
    this.#options.resident.removeGeneration(generation);
    this.#options.onGivenUp(slices);
  }

  /** Frees some, oldest first: what is in memory, then what is on the device. @param probes slices looked at */
  freeSome(probes: number): void {
    for (let left = probes; left > 0; ) {
      const remainder = this.#waiting.first;
      if (remainder === undefined) return;
      left -= this.#freeResident(remainder, left);
      if (left === 0) return;
      left -= this.#freeStored(remainder, left);
      const isOver = remainder.slices <= 0;
      if (!isOver && remainder.nextSlice < PROBES_MAX) continue;
      this.#waiting.shift();
      if (!isOver) this.#options.onGivenUp(remainder.slices);
    }
  }

  #freeResident(remainder: Remainder, probes: number): number {
    const { resident, isStored } = this.#options;
    let used = 0;
    for (const slice of resident.slicesOf(remainder.generation)) {
      if (used === probes) break;
      if (!isStored(slice.generation, slice.sliceNumber)) remainder.slices -= 1;
      resident.remove(slice);
      used += 1;
    }
    return used;
  }

  #freeStored(remainder: Remainder, probes: number): number {
    let used = 0;
    while (used < probes && remainder.slices > 0 && remainder.nextSlice < PROBES_MAX) {
      if (this.#options.free(remainder.generation, remainder.nextSlice)) remainder.slices -= 1;
      remainder.nextSlice += 1;
      used += 1;
    }
    return used;
  }
}
