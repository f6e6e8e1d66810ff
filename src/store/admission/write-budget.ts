/**
 * Bytes a day that may be written, as an account: it grows evenly with time, up to an hour's worth, and each write is taken from it. A write
 * is allowed while the account is not in debt, whatever its length, so that large slices are not put at a disadvantage; writes that nobody
 * asked the account about (rules that say *always*) bring it into debt, a day's worth at most. Used by admission-ladder.ts.
 */
import { assert } from '../../base/assert.ts';
import type { Clock } from '../../base/clock.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** One account. */
export class WriteBudget {
  readonly #clock: Clock;
  readonly #bytesPerDay: number;
  #balanceBytes: number;
  #countedAtMs: number;

  /** Begins with an hour's worth. */
  constructor(options: { readonly clock: Clock; readonly bytesPerDay: number }) {
    assert(options.bytesPerDay > 0, 'WriteBudget: something may be written');
    this.#clock = options.clock;
    this.#bytesPerDay = options.bytesPerDay;
    this.#balanceBytes = this.#limitBytes;
    this.#countedAtMs = options.clock.monotonicMs();
  }

  /** What is in the account; negative in debt. */
  get balanceBytes(): number {
    const nowMs = this.#clock.monotonicMs();
    const earnedBytes = ((nowMs - this.#countedAtMs) / DAY_MS) * this.#bytesPerDay;
    this.#countedAtMs = nowMs;
    this.#balanceBytes = Math.min(this.#limitBytes, this.#balanceBytes + earnedBytes);
    return this.#balanceBytes;
  }

  spend(lengthBytes: number): void {
    this.#balanceBytes = Math.max(-this.#bytesPerDay, this.balanceBytes - lengthBytes);
  }

  get #limitBytes(): number {
    return (this.#bytesPerDay * HOUR_MS) / DAY_MS;
  }
}
