/**
 * Keys of which something is remembered for a while: that their response was not storable, so that nobody waits for anybody there; that the
 * origin failed, so that it is not asked behind a client's back again. Bounded in number and time.
 */
import { LRUCache } from 'lru-cache';
import type { Clock } from '../base/clock.ts';
import type { ObjectHash } from '../format/manifest.ts';

/** A set of keys that forgets. */
export class KeyMarks {
  readonly #untilMs: LRUCache<ObjectHash, number>;
  readonly #clock: Clock;
  readonly #lifeMs: number;

  constructor(options: { clock: Clock; lifeMs: number; countMax: number }) {
    this.#clock = options.clock;
    this.#lifeMs = options.lifeMs;
    this.#untilMs = new LRUCache({ max: options.countMax });
  }

  add(objectHash: ObjectHash): void {
    this.#untilMs.set(objectHash, this.#clock.monotonicMs() + this.#lifeMs);
  }

  has(objectHash: ObjectHash): boolean {
    const untilMs = this.#untilMs.get(objectHash);
    return untilMs !== undefined && this.#clock.monotonicMs() < untilMs;
  }

  delete(objectHash: ObjectHash): void {
    this.#untilMs.delete(objectHash);
  }
}
