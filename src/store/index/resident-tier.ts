/**
 * The RAM tier: slices whose bytes are in the arena, by generation and slice number. A slice enters when it is offered (`queued` until its
 * write ends) or when it was read whole; it leaves when the arena needs its slot, in SIEVE order, or with its object. A slot that is
 * queued, or that somebody else holds a lease on, is passed over.
 *
 * A lap of the hand ends at what was the newest when it began. SIEVE's goes on into what came since, and where each victim makes room for
 * one that is asked for again only later (an object that is read over and over), it stays there for ever, and so does what is old and dead.
 *
 * The tier owns one lease on each of its slots. It is bounded by the arena itself.
 */
import { assert } from '../../base/assert.ts';
import type { Lease } from '../../memory/lease.ts';

/** One slice in memory. */
export interface ResidentSlice {
  readonly generation: number;
  readonly sliceNumber: number;
  readonly lengthBytes: number;
  readonly lease: Lease;
  /** Waiting for or in its write. */
  isQueued: boolean;
  isVisited: boolean;
  /** Left the tier while its write was in progress: the writer ends the lease and keeps nothing. */
  isForfeited: boolean;
  /** Rises with each that enters. */
  readonly order: number;
  newer: ResidentSlice | undefined;
  older: ResidentSlice | undefined;
}

/** Slots looked at for one that can be given up; the hand goes on from there at the next call. */
const RECLAIM_STEPS_MAX = 1024;

/** Slices in memory; tells `onVanish` whenever one leaves. */
export class ResidentTier {
  readonly #onVanish: (slice: ResidentSlice) => void;
  readonly #generations = new Map<number, Map<number, ResidentSlice>>();
  #newest: ResidentSlice | undefined;
  #oldest: ResidentSlice | undefined;
  #hand: ResidentSlice | undefined;
  /** Order of the newest when the hand began its lap. */
  #lapEnd = 0;
  #entered = 0;
  #count = 0;

  constructor(onVanish: (slice: ResidentSlice) => void) {
    this.#onVanish = onVanish;
  }

  get count(): number {
    return this.#count;
  }

  find(generation: number, sliceNumber: number): ResidentSlice | undefined {
    return this.#generations.get(generation)?.get(sliceNumber);
  }

  /** All of them, oldest first; the tier must not change meanwhile. */
  *slices(): Generator<ResidentSlice> {
    for (let slice = this.#oldest; slice !== undefined; slice = slice.newer) yield slice;
  }

  /** Those of one generation; the tier must not change meanwhile. */
  slicesOf(generation: number): Iterable<ResidentSlice> {
    return this.#generations.get(generation)?.values() ?? [];
  }

  /** Takes over `lease`; the key must be absent. */
  add(slice: {
    readonly generation: number;
    readonly sliceNumber: number;
    readonly lengthBytes: number;
    readonly lease: Lease;
  }): ResidentSlice {
    assert(this.find(slice.generation, slice.sliceNumber) === undefined, 'slice is resident once');
    const { generation, sliceNumber, lengthBytes, lease } = slice;
    this.#entered += 1;
    const added: ResidentSlice = {
      generation,
      sliceNumber,
      lengthBytes,
      lease,
      isQueued: false,
      isVisited: false,
      isForfeited: false,
      order: this.#entered,
      newer: undefined,
      older: this.#newest,
    };
    if (this.#newest === undefined) this.#oldest = added;
    else this.#newest.newer = added;
    this.#newest = added;
    const siblings = this.#generations.get(generation);
    if (siblings === undefined) this.#generations.set(generation, new Map([[sliceNumber, added]]));
    else siblings.set(sliceNumber, added);
    this.#count += 1;
    return added;
  }

  /** Takes a slice out; its lease ends now, or by the writer when it is queued. */
  remove(slice: ResidentSlice): void {
    const siblings = this.#generations.get(slice.generation);
    assert(siblings?.get(slice.sliceNumber) === slice, 'removed slice is resident');
    siblings.delete(slice.sliceNumber);
    if (siblings.size === 0) this.#generations.delete(slice.generation);
    if (this.#hand === slice) this.#hand = slice.newer;
    if (slice.newer === undefined) this.#newest = slice.older;
    else slice.newer.older = slice.older;
    if (slice.older === undefined) this.#oldest = slice.newer;
    else slice.older.newer = slice.newer;
    this.#count -= 1;
    if (slice.isQueued) slice.isForfeited = true;
    this.#onVanish(slice);
    if (!slice.isQueued) slice.lease.end();
  }

  /** Takes out every slice of a generation. */
  removeGeneration(generation: number): void {
    for (const slice of [...(this.#generations.get(generation)?.values() ?? [])]) this.remove(slice);
  }

  /** Takes out everything. */
  removeAll(): void {
    while (this.#oldest !== undefined) this.remove(this.#oldest);
  }

  /** The arena's reclaimer: gives up one slot. @returns whether it did */
  reclaim(): boolean {
    let slice = this.#onLap(this.#hand);
    const steps = Math.min(RECLAIM_STEPS_MAX, 2 * this.#count);
    for (let step = 0; step < steps && slice !== undefined; step += 1) {
      const isHeld = slice.isQueued || slice.lease.isShared;
      if (!isHeld && !slice.isVisited) {
        this.#hand = slice;
        this.remove(slice);
        return true;
      }
      if (!isHeld) slice.isVisited = false;
      slice = this.#onLap(slice.newer);
    }
    this.#hand = slice;
    return false;
  }

  /** Where the hand goes on: there, or at the oldest when its lap is over. */
  #onLap(slice: ResidentSlice | undefined): ResidentSlice | undefined {
    if (slice !== undefined && slice.order <= this.#lapEnd) return slice;
    this.#lapEnd = this.#entered;
    return this.#oldest;
  }
}
