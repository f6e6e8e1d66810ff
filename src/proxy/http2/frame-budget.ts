/**
 * How often a client may do what costs this side more than itself: a bucket that fills with time. One for streams that it resets (CVE-2023-44487) and
 * one for PING and SETTINGS, which want an answer each. Kept by http2-connection.ts, one of each for a connection.
 */
import type { Clock } from '../../base/clock.ts';
import { SECOND_MS } from '../../base/units.ts';

/** What is saved up, and what comes back in a second. */
export interface FrameRate {
  readonly burst: number;
  readonly perSecond: number;
}

/** One bucket. */
export class FrameBudget {
  readonly #clock: Clock;
  readonly #rate: FrameRate;
  #left: number;
  #filledMs: number;

  constructor(clock: Clock, rate: FrameRate) {
    this.#clock = clock;
    this.#rate = rate;
    this.#left = rate.burst;
    this.#filledMs = clock.monotonicMs();
  }

  /** @returns whether there was any left */
  take(): boolean {
    const nowMs = this.#clock.monotonicMs();
    this.#left = Math.min(this.#rate.burst, this.#left + ((nowMs - this.#filledMs) / SECOND_MS) * this.#rate.perSecond);
    this.#filledMs = nowMs;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
}
