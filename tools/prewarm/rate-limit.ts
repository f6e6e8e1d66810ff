/** A limit of bytes per second over everything that prewarm receives. Takers wait in the order in which they came; nobody is refused. */
import type { Clock } from '../../src/base/clock.ts';
import { SECOND_MS } from '../../src/base/units.ts';

/** What was not used in this time is lost, so that a pause is not followed by a flood. */
const BURST_MS = 100;

/** Tokens are bytes; the debt of the last taker is what the next one waits for. */
export class RateLimit {
  readonly #clock: Clock;
  readonly #bytesPerSecond: number;
  /** When everything taken so far is paid. */
  #paidAtMs: number;

  constructor(clock: Clock, bytesPerSecond: number) {
    this.#clock = clock;
    this.#bytesPerSecond = bytesPerSecond;
    this.#paidAtMs = clock.monotonicMs();
  }

  /** Takes `bytes` that have arrived; resolves when more may be read, or when `signal` aborts. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    this.#paidAtMs = Math.max(this.#paidAtMs, nowMs - BURST_MS) + (bytes * SECOND_MS) / this.#bytesPerSecond;
    const waitMs = this.#paidAtMs - nowMs;
    if (waitMs > 0) await this.#clock.sleep(waitMs, signal);
  }
}
