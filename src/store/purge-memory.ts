/**
 * Which objects were purged lately, so that an answer that was asked for before a purge is not stored after it. Bounded: when an object is
 * forgotten, every answer older than its purge is refused, whichever object it is of.
 */
import type { ObjectHash } from '../format/manifest.ts';

/** What was current when an object was purged. */
export interface PurgeMark {
  readonly purgeSequence: number;
  /** Generations below this one were given before the purge. */
  readonly generation: number;
}

/** Newest purge of each of the last `capacity` purged objects. */
export class PurgeMemory {
  readonly #capacity: number;
  readonly #marks = new Map<ObjectHash, PurgeMark>();
  /** Purges up to this one are no longer told apart. */
  #floor: PurgeMark = { purgeSequence: 0, generation: 0 };

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  remember(objectHash: ObjectHash, mark: PurgeMark): void {
    this.#marks.delete(objectHash);
    this.#marks.set(objectHash, mark);
    if (this.#marks.size <= this.#capacity) return;
    for (const [oldest, forgotten] of this.#marks) {
      this.#marks.delete(oldest);
      this.#floor = forgotten;
      return;
    }
  }

  /** Whether a purge that came after the offer's request, or after its generation was given, may cover the object. */
  covers(objectHash: ObjectHash, offer: PurgeMark): boolean {
    const mark = this.#marks.get(objectHash) ?? this.#floor;
    const isOlder = offer.purgeSequence < mark.purgeSequence || offer.generation < mark.generation;
    return isOlder || offer.purgeSequence < this.#floor.purgeSequence;
  }

  /** Objects that are remembered, oldest purge first. */
  objects(): Iterable<ObjectHash> {
    return this.#marks.keys();
  }
}
