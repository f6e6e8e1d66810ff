/**
 * Writes records: a bounded queue, a few writes at a time, small records gathered for a moment into one write, since a call to the device costs
 * more than what it writes. It decides where a record goes and what a failed write means; what becomes of a record that is written is the job's
 * own business (slice-writer).
 *
 *   waiting -> wanted still? -> packed -> wanted still? -> blocks reserved -> written | dropped -> settled, exactly once
 */
import { assert } from '../../base/assert.ts';
import { BoundedQueue } from '../../base/bounded-queue.ts';
import type { Clock, Timer } from '../../base/clock.ts';
import { EdgeError } from '../../base/errors.ts';
import type { MetricSet } from '../../base/metrics.ts';
import { extentBlocks } from '../../format/extent-header.ts';
import { CHUNK_BYTES } from '../../format/geometry.ts';
import { classifyFault } from '../health/fault-class.ts';
import type { Catalogue } from '../index/catalogue.ts';
import type { ExtentPlace } from '../index/slice-index.ts';
import type { PersistentCounter } from '../recovery/persistent-counter.ts';
import type { StoreLimits } from '../store-limits.ts';
import type { STORE_METRICS } from '../store-metrics.ts';
import type { PackedExtent } from './extent-packer.ts';
import type { ExtentWriter, PlacedExtent } from './extent-writer.ts';

/** Records of up to so many bytes are gathered, and so many blocks into one write: the slots that they hold meanwhile stay few. */
const SMALL_BYTES = CHUNK_BYTES;
const GATHERED_BLOCKS_MAX = 64;

/** Why a record was not kept. */
type DropReason = 'forfeited' | 'no-space' | 'no-slot' | 'error' | 'unavailable';
/** Outcome of a job. The blocks of `written` are reserved: whoever takes the verdict acquires or forfeits them. */
export type WriteVerdict =
  | { readonly kind: 'written'; readonly place: ExtentPlace }
  | { readonly kind: 'dropped'; readonly reason: DropReason };

/** A record on its way to the device. */
export interface RecordJob {
  /** About how long it is; for gathering. */
  readonly lengthBytes: number;
  isWanted(): boolean;
  /** @returns undefined when there is no slot in time; may be called again then */
  pack(): PackedExtent | undefined | Promise<PackedExtent | undefined>;
  settle(verdict: WriteVerdict): void;
}

/** Dependencies of a writer. */
export interface RecordWriterOptions {
  readonly extents: ExtentWriter;
  readonly catalogue: Catalogue;
  readonly clock: Clock;
  readonly limits: StoreLimits;
  readonly metrics: MetricSet<typeof STORE_METRICS>;
  readonly writeSequences: PersistentCounter;
  /** Jobs that wait at most. */
  readonly capacity: number;
  /** False once the device takes no more writes. */
  readonly isWritable: () => boolean;
  /** A write ended. */
  readonly onProgress: () => void;
}

interface PackedJob {
  readonly job: RecordJob;
  readonly packed: PackedExtent;
}

/** The queue of one mounted store. */
export class RecordWriter {
  readonly #options: RecordWriterOptions;
  readonly #queue: BoundedQueue<RecordJob>;
  readonly #idlers: (() => void)[] = [];
  #active = 0;
  #isPumpDue = false;
  /** Of the jobs that came since the last pump. */
  #gatheredBlocks = 0;
  #gatherTimer: Timer | undefined;
  /** Jobs are left that should be under way. */
  #isBehind = false;

  constructor(options: RecordWriterOptions) {
    this.#options = options;
    this.#queue = new BoundedQueue(options.capacity);
  }

  /** Jobs that can still be pushed. */
  get room(): number {
    return this.#options.capacity - this.#queue.length;
  }

  /** Queues a job. The caller asked for room. */
  push(job: RecordJob): void {
    assert(this.#queue.tryPush(job), 'the write queue was asked for room');
    this.#gatheredBlocks += this.#blocksFor(job);
    const isDue = job.lengthBytes > SMALL_BYTES || this.#gatheredBlocks >= GATHERED_BLOCKS_MAX || this.#idlers.length > 0;
    if (isDue) this.#pumpSoon();
    else this.#gatherTimer ??= this.#options.clock.startTimer(this.#options.limits.gatherMs, () => this.#pump());
  }

  /** Resolves when nothing is queued or being written, which is not waited for longer than it takes. */
  async idle(): Promise<void> {
    while (this.#active > 0 || this.#queue.length > 0) {
      const ended = new Promise<void>((resolve) => this.#idlers.push(resolve));
      this.#pumpSoon();
      await ended;
    }
  }

  /** Those who wait for the slice's bytes come first: encoding and the call to the device are nobody's first byte. */
  #pumpSoon(): void {
    if (this.#isPumpDue) return;
    this.#isPumpDue = true;
    this.#options.clock.defer(() => {
      this.#isPumpDue = false;
      this.#pump();
    });
  }

  /** Begins as many writes as there may be; what is left over is begun as soon as one of them has ended. */
  #pump(): void {
    this.#gatherTimer?.stop();
    this.#gatherTimer = undefined;
    this.#gatheredBlocks = 0;
    while (this.#active < this.#options.limits.writesMax && this.#queue.length > 0) {
      this.#active += 1;
      void this.#run(this.#takeJobs()).finally(() => {
        this.#active -= 1;
        this.#options.onProgress();
        if (this.#isBehind || this.#idlers.length > 0) this.#pump();
        if (this.#active === 0 && this.#queue.length === 0) for (const resolve of this.#idlers.splice(0)) resolve();
      });
    }
    this.#isBehind = this.#queue.length > 0;
  }

  /** The next job, and the small ones behind it when it is small itself. */
  #takeJobs(): RecordJob[] {
    const jobs: RecordJob[] = [];
    let blocks = 0;
    for (let job = this.#queue.first; job !== undefined; job = this.#queue.first) {
      blocks += this.#blocksFor(job);
      if (jobs.length > 0 && (job.lengthBytes > SMALL_BYTES || blocks > GATHERED_BLOCKS_MAX)) break;
      this.#queue.shift();
      jobs.push(job);
      if (job.lengthBytes > SMALL_BYTES) break;
    }
    return jobs;
  }

  async #run(jobs: readonly RecordJob[]): Promise<void> {
    let ready: PackedJob[] = [];
    for (const job of jobs) {
      if (!this.#isDue(job)) continue;
      let packed = await job.pack();
      if (packed === undefined && ready.length > 0 && job.isWanted()) {
        // What is packed already holds the slots.
        await this.#writeAll(ready);
        ready = [];
        packed = await job.pack();
      }
      if (packed === undefined) job.settle({ kind: 'dropped', reason: job.isWanted() ? 'no-slot' : 'forfeited' });
      else ready.push({ job, packed });
    }
    await this.#writeAll(ready);
  }

  #isDue(job: RecordJob): boolean {
    const { isWritable, writeSequences } = this.#options;
    const reason = !job.isWanted() ? 'forfeited' : !isWritable() || !writeSequences.covers(1) ? 'unavailable' : undefined;
    if (reason !== undefined) job.settle({ kind: 'dropped', reason });
    return reason === undefined;
  }

  /** Records of one kind share a write where a run of blocks is free for all of them. */
  async #writeAll(ready: readonly PackedJob[]): Promise<void> {
    for (const kind of ['slice', 'manifest'] as const) {
      const group = ready.filter(({ job, packed }) => packed.band === kind && this.#isStillDue(job, packed));
      const placed = group.length > 1 ? this.#placeTogether(group, kind) : undefined;
      const hasFailed = placed === undefined || (await this.#transfer(placed)) !== undefined;
      for (const [number, member] of group.entries()) {
        const place = placed?.[number]?.place;
        if (!hasFailed && place !== undefined) this.#settle(member, { kind: 'written', place });
        else await this.#writeAlone(member, place);
      }
    }
  }

  #isStillDue(job: RecordJob, packed: PackedExtent): boolean {
    if (job.isWanted()) return true;
    this.#settle({ job, packed }, { kind: 'dropped', reason: 'forfeited' });
    return false;
  }

  /** One run of blocks for all; undefined when none is free, for nothing is evicted for the sake of one write instead of several. */
  #placeTogether(group: readonly PackedJob[], kind: PackedExtent['band']): PlacedExtent[] | undefined {
    const lengths = group.map(({ packed }) => this.#blocksOf(packed));
    const total = lengths.reduce((sum, blocks) => sum + blocks, 0);
    if (!this.#options.writeSequences.covers(group.length)) return undefined;
    let block = this.#options.catalogue.tryReserveBlocks(total, kind);
    if (block === undefined) return undefined;
    const placed: PlacedExtent[] = [];
    for (const [number, { packed }] of group.entries()) {
      const blocks = lengths[number] ?? 0;
      placed.push({ packed, place: this.#place(block, blocks, packed) });
      block += blocks;
    }
    return placed;
  }

  /** @param failed where it lies since a write of several failed; which of them is at fault only writes of their own tell */
  async #writeAlone(member: PackedJob, failed: ExtentPlace | undefined): Promise<void> {
    const { catalogue, writeSequences } = this.#options;
    const { job, packed } = member;
    if (failed === undefined && !job.isWanted()) return this.#settle(member, { kind: 'dropped', reason: 'forfeited' });
    let place = failed;
    if (place === undefined) {
      if (!writeSequences.covers(1)) return this.#settle(member, { kind: 'dropped', reason: 'unavailable' });
      const blocks = this.#blocksOf(packed);
      const block = catalogue.reserveBlocks(blocks, packed.band);
      if (block === undefined) return this.#settle(member, { kind: 'dropped', reason: 'no-space' });
      place = this.#place(block, blocks, packed);
    }
    const error = await this.#transfer([{ packed, place }]);
    if (error === undefined) return this.#settle(member, { kind: 'written', place });
    catalogue.allocator.forfeit(place.block, place.blocks);
    if (classifyFault('write', error) === 'media') catalogue.quarantine(place);
    this.#settle(member, { kind: 'dropped', reason: 'error' });
  }

  /** @returns the error of the device, if there was one */
  async #transfer(placed: readonly PlacedExtent[]): Promise<EdgeError | undefined> {
    const { extents, metrics } = this.#options;
    try {
      await extents.write(placed);
    } catch (error) {
      if (error instanceof EdgeError) return error;
      throw error;
    }
    metrics.add('writes');
    metrics.add('writtenRecords', placed.length);
    for (const { place } of placed) metrics.add('writtenBytes', place.blocks * extents.blockSizeBytes);
    return undefined;
  }

  #settle({ job, packed }: PackedJob, verdict: WriteVerdict): void {
    packed.end();
    job.settle(verdict);
  }

  #place(block: number, blocks: number, packed: PackedExtent): ExtentPlace {
    return { block, blocks, writeSequence: this.#options.writeSequences.take(), flags: packed.flags };
  }

  #blocksFor({ lengthBytes }: RecordJob): number {
    return extentBlocks(lengthBytes, this.#options.extents.blockSizeBytes);
  }

  #blocksOf(packed: PackedExtent): number {
    return extentBlocks(packed.storedBytes, this.#options.extents.blockSizeBytes);
  }
}
