/**
 * Tells the device of room that stays free, a little at a time and when nobody else wants the device: a flash drive wears less and a sparse
 * file shrinks. Free blocks hold nothing, and what reads them proves itself, so that a crash in the middle changes nothing. A device that
 * cannot be told says so itself and is not asked again. Built by store-parts.ts when `device.trim` is set.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import type { MetricSet } from '../../base/metrics.ts';
import { MIB, SECOND_MS } from '../../base/units.ts';
import type { BlockDevice, DiscardOutcome } from '../../device/block-device.ts';
import type { STORE_METRICS } from '../store-metrics.ts';
import type { BlockAllocator } from './block-allocator.ts';
import { IdleRuns } from './idle-runs.ts';

/** Bytes told of in one turn, and the pause after it: 256 MiB a second at most. */
const TURN_BYTES_MAX = 64 * MIB;
const PAUSE_MS = SECOND_MS / 4;
/** A round takes at least this long, so that room is free for as long before it is told of: what was purged or evicted is often refilled. */
const ROUND_MS = 60 * SECOND_MS;

/** Dependencies of a trimmer. */
export interface TrimmerOptions {
  readonly clock: Clock;
  readonly allocator: BlockAllocator;
  readonly device: Required<Pick<BlockDevice, 'discard'>>;
  readonly metrics: MetricSet<typeof STORE_METRICS>;
  readonly blockSizeBytes: number;
  /** Whether the device may be written. */
  readonly isOpen: () => boolean;
  /** Whether somebody else uses the device now. */
  readonly isBusy: () => boolean;
}

/** One per store whose device is told. */
export class Trimmer {
  readonly #options: TrimmerOptions;
  readonly #idle: IdleRuns;
  #roundEndMs = 0;
  #isEnded = false;
  #timer: Timer | undefined;

  constructor(options: TrimmerOptions) {
    this.#options = options;
    this.#idle = new IdleRuns(options.allocator, options.blockSizeBytes);
  }

  /** Begins; once. */
  start(): void {
    this.#roundEndMs = this.#options.clock.monotonicMs() + ROUND_MS;
    this.#sleep(PAUSE_MS);
  }

  /** Asks for nothing any more. What the device was asked last it may still do; its close waits for that. */
  stop(): void {
    this.#isEnded = true;
    this.#timer?.stop();
  }

  #sleep(delayMs: number): void {
    if (!this.#isEnded) this.#timer = this.#options.clock.startTimer(delayMs, () => void this.#turn());
  }

  async #turn(): Promise<void> {
    const { isOpen, isBusy } = this.#options;
    if (isOpen() && !isBusy() && (await this.#discardNext()) === 'unable') this.#isEnded = true;
    this.#sleep(this.#idle.isRoundOver ? this.#endRound() : PAUSE_MS);
  }

  /** @returns what the device said, or undefined when it was asked nothing */
  async #discardNext(): Promise<DiscardOutcome | undefined> {
    const { device, blockSizeBytes } = this.#options;
    const run = this.#idle.lend(TURN_BYTES_MAX / blockSizeBytes);
    if (run === undefined) return undefined;
    const outcome = await device.discard(run.block * blockSizeBytes, run.blocks * blockSizeBytes);
    this.#idle.takeBack(run, outcome === 'done');
    return outcome;
  }

  /** @returns how long to wait for the next round */
  #endRound(): number {
    const { clock, metrics } = this.#options;
    const nowMs = clock.monotonicMs();
    const waitMs = Math.max(PAUSE_MS, this.#roundEndMs - nowMs);
    this.#roundEndMs = nowMs + waitMs + ROUND_MS;
    this.#idle.beginRound();
    metrics.add('trimRounds');
    return waitMs;
  }
}
