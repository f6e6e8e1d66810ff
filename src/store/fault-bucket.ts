/**
 * How sick the device is: a leaky bucket of its errors. One bad sector a week is a device's right; a dozen a minute is its end.
 */
import type { Clock } from '../base/clock.ts';

const LEAK_PER_MS = 1 / 60_000;
const READONLY_LEVEL = 8;
const FAILED_LEVEL = 32;

/** What the level calls for. */
export type FaultAdvice = 'go-on' | 'readonly' | 'failed';

/** Rises by one with each error, falls by one a minute. */
export class FaultBucket {
  readonly #clock: Clock;
  #level = 0;
  #atMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#atMs = clock.monotonicMs();
  }

  /** Counts one error. */
  add(): FaultAdvice {
    const nowMs = this.#clock.monotonicMs();
    this.#level = Math.max(0, this.#level - (nowMs - this.#atMs) * LEAK_PER_MS) + 1;
    this.#atMs = nowMs;
    if (this.#level >= FAILED_LEVEL) return 'failed';
    return this.#level >= READONLY_LEVEL ? 'readonly' : 'go-on';
  }
}
