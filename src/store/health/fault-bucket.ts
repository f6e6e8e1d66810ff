/**
 * How sick a device is: a leaky bucket of its faults, beside their share of its operations. A bad sector a week is a device's right; eight in
 * ten minutes are the end of writing to it, four times as many the end of reading.
 */
import type { Clock } from '../../base/clock.ts';
import { SECOND_MS } from '../../base/units.ts';

/** Faults that it takes at once, and time in which it leaks them. Source: reference/engine.md, "Fault policy". */
const READONLY_LEVEL = 8;
const LEAK_MS = 600 * SECOND_MS;
const FAILED_LEVEL = 32;
/** On a device that does little, fewer faults count when they are more than this share of what it did. */
const SHARE_MAX = 0.01;
const SHARE_FAULTS_MIN = 4;
const WINDOW_MS = 600 * SECOND_MS;

/** What the level calls for. */
export type FaultAdvice = 'go-on' | 'readonly' | 'failed';

/** One per device that is attached. */
export class FaultBucket {
  readonly #clock: Clock;
  #level = 0;
  #atMs: number;
  /** Operations and faults of the present window and of the one before. */
  #windowMs: number;
  #operations: [now: number, before: number] = [0, 0];
  #faults: [now: number, before: number] = [0, 0];

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#atMs = clock.monotonicMs();
    this.#windowMs = this.#atMs;
  }

  /** Counts one operation that ended, well or not. */
  countOperation(): void {
    this.#turnWindow(this.#clock.monotonicMs());
    this.#operations[0] += 1;
  }

  /** Counts a fault; one of several tries of the same thing weighs less than 1. */
  add(weight: number): FaultAdvice {
    const nowMs = this.#clock.monotonicMs();
    this.#turnWindow(nowMs);
    this.#faults[0] += weight;
    this.#level = Math.max(0, this.#level - ((nowMs - this.#atMs) * READONLY_LEVEL) / LEAK_MS) + weight;
    this.#atMs = nowMs;
    if (this.#level >= FAILED_LEVEL) return 'failed';
    const faults = this.#faults[0] + this.#faults[1];
    const isShare = faults >= SHARE_FAULTS_MIN && faults > SHARE_MAX * (this.#operations[0] + this.#operations[1]);
    return this.#level >= READONLY_LEVEL || isShare ? 'readonly' : 'go-on';
  }

  #turnWindow(nowMs: number): void {
    const windows = Math.floor((nowMs - this.#windowMs) / WINDOW_MS);
    if (windows === 0) return;
    this.#windowMs += windows * WINDOW_MS;
    this.#operations = [0, windows === 1 ? this.#operations[0] : 0];
    this.#faults = [0, windows === 1 ? this.#faults[0] : 0];
  }
}
