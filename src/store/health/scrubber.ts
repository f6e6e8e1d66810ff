/**
 * Reads everything that is stored, a little at a time and when nobody else wants the device, so that a sector which rots is found while the
 * origin still has what was on it. Each record proves itself as it does for a reader; one that does not is dropped there, and its neighbours
 * are looked at next, since faults come together. A cycle takes a period, whatever the device's size, but never more than a bandwidth.
 */
import { assert } from '../../base/assert.ts';
import type { Clock, Timer } from '../../base/clock.ts';
import type { MetricSet } from '../../base/metrics.ts';
import { KIB, MIB, SECOND_MS } from '../../base/units.ts';
import type { SliceReader } from '../extents/slice-reader.ts';
import type { Catalogue } from '../index/catalogue.ts';
import { NO_SLOT } from '../index/slice-index.ts';
import type { STORE_METRICS } from '../store-metrics.ts';

/** Bytes a second at most, where a period would ask for more. */
const RATE_MAX = 64 * MIB;
/** Longest sleep; a longer pause is several. */
const SLEEP_MS_MAX = 600 * SECOND_MS;
/** How long it stands back when somebody else wants the device, and how often for one record: on a device that is never idle it goes on. */
const YIELD_MS = 100;
const YIELDS_MAX = 100;
/** Pause when there is nothing to read, or the device may not be read. */
const IDLE_MS = SECOND_MS;
/** Blocks on either side of a find within which records are looked at next, and how many of them. */
const NEIGHBOURHOOD_BYTES = 8 * MIB;
const NEIGHBOURS_MAX = 64;
/** Slots that are looked through in one go for records. */
const SLOTS_PER_TURN = 4096;
/** A device with less on it is read as slowly as if it had so much. */
const STORED_BYTES_MIN = 64 * KIB;

/** What it needs to know of what is stored. */
type ScrubbedCatalogue = Pick<Catalogue, 'index' | 'allocator'>;

/** Dependencies of a scrubber. */
export interface ScrubberOptions {
  readonly clock: Clock;
  readonly catalogue: ScrubbedCatalogue;
  readonly reader: Pick<SliceReader, 'check'>;
  readonly metrics: MetricSet<typeof STORE_METRICS>;
  readonly blockSizeBytes: number;
  /** Time for a cycle, > 0. */
  readonly periodMs: number;
  /** Whether the device is to be read at all. */
  readonly isOpen: () => boolean;
  /** Whether somebody else uses the device now. */
  readonly isBusy: () => boolean;
}

/** One per store that is scrubbed. */
export class Scrubber {
  readonly #options: ScrubberOptions;
  #neighbours: number[] = [];
  #slot = 0;
  /** Slots looked at in this cycle. */
  #seen = 0;
  #isStopped = false;
  #sleep: { readonly timer: Timer; readonly end: () => void } | undefined;
  #running: Promise<void> | undefined;

  constructor(options: ScrubberOptions) {
    assert(options.periodMs > 0, 'a cycle takes time');
    this.#options = options;
  }

  /** Share of the present cycle that is done. */
  get progress(): number {
    return this.#seen / Math.max(1, this.#options.catalogue.index.slotLimit);
  }

  /** Begins, somewhere: a program that is restarted more often than a cycle takes must not look at the same part each time. */
  start(): void {
    const { clock, catalogue } = this.#options;
    this.#slot = clock.wallMs() % Math.max(1, catalogue.index.slotLimit);
    this.#running ??= this.#run();
  }

  /** Ends; resolves when no read of it is under way. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#sleep?.timer.stop();
    this.#sleep?.end();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { catalogue, blockSizeBytes, metrics, isOpen } = this.#options;
    while (!this.#isStopped) {
      const slot = isOpen() ? this.#next() : NO_SLOT;
      if (slot === NO_SLOT) {
        await this.#rest(IDLE_MS);
        continue;
      }
      await this.#yield();
      if (this.#isStopped || !isRecord(catalogue, slot)) continue;
      const lengthBytes = catalogue.index.blocks(slot) * blockSizeBytes;
      const block = catalogue.index.block(slot);
      const outcome = await this.#options.reader.check(slot);
      metrics.add('scrubbed', 1, outcome);
      metrics.add('scrubbedBytes', lengthBytes);
      if (outcome === 'lost') this.#lookAround(block);
      await this.#pause(lengthBytes);
    }
  }

  /** The next record: a neighbour of a find, else by its slot. NO_SLOT when a turn met none, or the cycle is over. */
  #next(): number {
    const { catalogue, metrics } = this.#options;
    for (let slot = this.#neighbours.pop(); slot !== undefined; slot = this.#neighbours.pop()) if (isRecord(catalogue, slot)) return slot;
    const { slotLimit } = catalogue.index;
    for (let turn = 0; turn < SLOTS_PER_TURN; turn += 1) {
      if (this.#seen >= slotLimit) {
        this.#seen = 0;
        if (slotLimit > 0) metrics.add('scrubCycles');
        return NO_SLOT;
      }
      const slot = this.#slot % slotLimit;
      this.#slot = slot + 1;
      this.#seen += 1;
      if (isRecord(catalogue, slot)) return slot;
    }
    return NO_SLOT;
  }

  #lookAround(block: number): void {
    const { catalogue, blockSizeBytes } = this.#options;
    const reach = NEIGHBOURHOOD_BYTES / blockSizeBytes;
    const { index } = catalogue;
    const near: number[] = [];
    for (const slot of index.records()) if (Math.abs(index.block(slot) - block) <= reach) near.push(slot);
    near.sort((left, right) => Math.abs(index.block(right) - block) - Math.abs(index.block(left) - block));
    // The nearest come last and are taken first. Those that wait already are near another find.
    this.#neighbours = [...new Set([...this.#neighbours, ...near.slice(-NEIGHBOURS_MAX)])].slice(-NEIGHBOURS_MAX);
  }

  /** Sleeps for as long as `lengthBytes` may take. */
  async #pause(lengthBytes: number): Promise<void> {
    const { catalogue, periodMs, blockSizeBytes, clock } = this.#options;
    const storedBytes = Math.max(STORED_BYTES_MIN, (catalogue.allocator.blockCount - catalogue.allocator.freeBlocks) * blockSizeBytes);
    const bytesPerMs = Math.min(storedBytes / periodMs, RATE_MAX / SECOND_MS);
    const endMs = clock.monotonicMs() + lengthBytes / bytesPerMs;
    while (!this.#isStopped && clock.monotonicMs() < endMs) await this.#rest(Math.min(SLEEP_MS_MAX, endMs - clock.monotonicMs()));
  }

  async #yield(): Promise<void> {
    for (let turn = 0; turn < YIELDS_MAX && !this.#isStopped && this.#options.isBusy(); turn += 1) {
      this.#options.metrics.add('scrubYields');
      await this.#rest(YIELD_MS);
    }
  }

  #rest(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        this.#sleep = undefined;
        resolve();
      };
      this.#sleep = { timer: this.#options.clock.startTimer(delayMs, end), end };
    });
  }
}

/** Whether the slot holds a record that is on the device. */
function isRecord({ index }: ScrubbedCatalogue, slot: number): boolean {
  const kind = index.kind(slot);
  return (kind === 'slice' || kind === 'manifest') && index.blocks(slot) > 0;
}
