/**
 * The journal: what changed in the index since the last checkpoint. Records are gathered for a short time or until a block is full, written
 * as sealed blocks one batch after the other, flushed every few seconds, and never waited for - but for purges, which are flushed before
 * anything later is written.
 *
 *   start (checkpoint)          next
 *      v                         v
 *   ...|#########################|.....................|    ring of blocks; block n lies at place n modulo the ring
 *      ^ half full: a checkpoint is asked for;  3/4: offers are declined;  7/8: only purges
 *
 * Every record but a purge may be dropped when there is no room: a lost put is forgotten after a crash, a lost delete is a stale entry
 * that the extent's header refutes.
 */
import { assert } from '../../base/assert.ts';
import type { Clock, Timer } from '../../base/clock.ts';
import { EdgeError } from '../../base/errors.ts';
import type { MetricSet } from '../../base/metrics.ts';
import { divCeil, divFloor } from '../../base/units.ts';
import type { BlockDevice } from '../../device/block-device.ts';
import type { Geometry } from '../../format/geometry.ts';
import {
  encodeJournalRecord,
  JOURNAL_HEADER_BYTES,
  JOURNAL_RECORD_BYTES,
  JOURNAL_TYPES,
  type JournalRecord,
  journalRecordsPerBlock,
  sealJournalBlock,
} from '../../format/journal-block.ts';
import type { Arena } from '../../memory/arena.ts';
import { withStaging } from '../device-io.ts';
import type { StoreLimits } from '../store-limits.ts';
import type { STORE_METRICS } from '../store-metrics.ts';

const BATCH_BLOCKS_MAX = 16;

/** Where the chain stands. */
export interface JournalPosition {
  /** Sequence of the next block to be sealed. */
  readonly nextSequence: number;
  /** CRC of the block before it. */
  readonly previousCrc: number;
}

/** Dependencies of a journal and where it goes on. */
export interface JournalOptions {
  readonly device: BlockDevice;
  readonly arena: Arena;
  readonly clock: Clock;
  readonly limits: StoreLimits;
  readonly metrics: MetricSet<typeof STORE_METRICS>;
  readonly geometry: Geometry;
  readonly deviceTag: Uint8Array;
  readonly epoch: number;
  readonly position: JournalPosition;
  /** Sequence from which replay begins. */
  readonly startSequence: number;
  readonly purgeSequence: number;
  /** Called when half of the ring is used: a checkpoint is due. */
  readonly onCrowded: () => void;
  /** Called once, when a write or a flush failed; nothing is written after it. */
  readonly onFailure: (operation: 'write' | 'flush', error: unknown) => void;
}

/** Appends, seals, writes and flushes; one per mounted store. */
export class Journal {
  readonly #options: JournalOptions;
  readonly #recordsPerBlock: number;
  readonly #flushTimer: Timer;
  #batchTimer: Timer | undefined;
  #pending: JournalRecord[] = [];
  #position: JournalPosition;
  #startSequence: number;
  /** Records ever appended, written and flushed; each at most the one before. */
  #appended = 0;
  #written = 0;
  #flushed = 0;
  /** Newest purge in blocks that are sealed, written and flushed. */
  #sealedPurge: number;
  #writtenPurge: number;
  #flushedPurge: number;
  #writing: Promise<void> | undefined;
  #flushing: Promise<void> | undefined;
  #failure: unknown;

  constructor(options: JournalOptions) {
    this.#options = options;
    this.#recordsPerBlock = journalRecordsPerBlock(options.geometry.blockSizeBytes);
    this.#position = options.position;
    this.#startSequence = options.startSequence;
    this.#sealedPurge = options.purgeSequence;
    this.#writtenPurge = options.purgeSequence;
    this.#flushedPurge = options.purgeSequence;
    this.#flushTimer = options.clock.startInterval(options.limits.journalFlushMs, () => this.#flushIdly());
  }

  get position(): JournalPosition {
    return this.#position;
  }

  /** Newest purge that is on stable storage. */
  get flushedPurgeSequence(): number {
    return this.#flushedPurge;
  }

  /** Blocks from the start of replay on, waiting records included. */
  get usedBlocks(): number {
    return this.#position.nextSequence - this.#startSequence + divCeil(this.#pending.length, this.#recordsPerBlock);
  }

  /** Whether offers should be declined. */
  get isFull(): boolean {
    return this.usedBlocks >= this.#share(3 / 4) || this.#pending.length >= this.#options.limits.journalRecords;
  }

  get hasChanges(): boolean {
    return this.#position.nextSequence > this.#startSequence || this.#pending.length > 0;
  }

  /** Appends a record. @returns false when it was dropped for want of room */
  append(record: JournalRecord): boolean {
    const isPurge = record.type === JOURNAL_TYPES.purge;
    const hasRoom = isPurge
      ? this.usedBlocks < this.#options.geometry.journalBlocks - 1 && this.#pending.length < 2 * this.#options.limits.journalRecords
      : this.usedBlocks < this.#share(7 / 8) && this.#pending.length < this.#options.limits.journalRecords;
    if (this.usedBlocks >= this.#share(1 / 2)) this.#options.onCrowded();
    if (!hasRoom || this.#failure !== undefined) {
      this.#options.metrics.add('journalDropped');
      return false;
    }
    this.#pending.push(record);
    this.#appended += 1;
    this.#options.metrics.add('journalRecords');
    if (this.#pending.length >= this.#recordsPerBlock) void this.#write();
    else this.#schedule();
    return true;
  }

  /**
   * Resolves when everything appended so far is on stable storage.
   *
   * @throws EdgeError STORE_UNAVAILABLE when it cannot be
   */
  async flush(): Promise<void> {
    const target = this.#appended;
    while (this.#written < target && this.#failure === undefined) {
      const before = this.#written;
      await this.#write();
      if (this.#written === before) break;
    }
    while (this.#flushed < target && this.#written >= target && this.#failure === undefined) await this.#flushDevice();
    if (this.#flushed >= target) return;
    throw new EdgeError('STORE_UNAVAILABLE', 'The journal cannot be made durable; look at the log for the device error', {
      cause: this.#failure,
    });
  }

  /** A checkpoint is durable: what lies before `sequence` may be written over. */
  setStart(sequence: number): void {
    assert(sequence >= this.#startSequence && sequence <= this.#position.nextSequence, 'journal start moves forward');
    this.#startSequence = sequence;
  }

  /** Ends the timers; what is not yet written stays so. */
  stop(): void {
    this.#batchTimer?.stop();
    this.#flushTimer.stop();
  }

  #share(part: number): number {
    return Math.floor(this.#options.geometry.journalBlocks * part);
  }

  #schedule(): void {
    this.#batchTimer ??= this.#options.clock.startTimer(this.#options.limits.journalBatchMs, () => void this.#write());
  }

  /** Writes everything pending; joins the write in progress. Never throws. */
  #write(): Promise<void> {
    this.#batchTimer?.stop();
    this.#batchTimer = undefined;
    if (this.#writing === undefined && this.#pending.length > 0) this.#writing = this.#writeBatches();
    return this.#writing ?? Promise.resolve();
  }

  async #writeBatches(): Promise<void> {
    try {
      while (this.#pending.length > 0) await this.#writeBatch();
    } catch (error) {
      // No slot in time: the records stay and are tried again.
      if (error instanceof EdgeError && error.code === 'STORE_UNAVAILABLE') this.#schedule();
      else this.#fail('write', error);
    } finally {
      this.#writing = undefined;
    }
  }

  async #writeBatch(): Promise<void> {
    const { geometry, arena, device } = this.#options;
    const place = this.#position.nextSequence % geometry.journalBlocks;
    const blocksMax = Math.min(BATCH_BLOCKS_MAX, geometry.journalBlocks - place, divCeil(this.#pending.length, this.#recordsPerBlock));
    let hasPurge = false;
    await withStaging(arena, blocksMax * geometry.blockSizeBytes, async (bytes) => {
      const { records, endsWithPurge } = this.#takePending(blocksMax);
      hasPurge = endsWithPurge;
      const blocks = divCeil(records.length, this.#recordsPerBlock);
      for (let index = 0; index < blocks; index += 1) {
        const block = bytes.subarray(index * geometry.blockSizeBytes, (index + 1) * geometry.blockSizeBytes);
        this.#seal(block, records.slice(index * this.#recordsPerBlock, (index + 1) * this.#recordsPerBlock));
      }
      await device.write([bytes.subarray(0, blocks * geometry.blockSizeBytes)], geometry.journalOffset + place * geometry.blockSizeBytes);
      this.#written += records.length;
      this.#writtenPurge = this.#sealedPurge;
    });
    // A later block on the device must never outlive a purge before it: recovery would know that there was one, and not of what.
    const written = this.#written;
    while (hasPurge && this.#flushed < written && this.#failure === undefined) await this.#flushDevice();
  }

  /** Records for the next write: at most `blocksMax` blocks, and none behind that with the first purge, since a write may be torn. */
  #takePending(blocksMax: number): { readonly records: readonly JournalRecord[]; readonly endsWithPurge: boolean } {
    const perBlock = this.#recordsPerBlock;
    const purgeAt = this.#pending.findIndex(({ type }) => type === JOURNAL_TYPES.purge);
    const endsWithPurge = purgeAt >= 0 && purgeAt < blocksMax * perBlock;
    const records = this.#pending.splice(0, endsWithPurge ? (divFloor(purgeAt, perBlock) + 1) * perBlock : blocksMax * perBlock);
    return { records, endsWithPurge };
  }

  #seal(block: Buffer, records: readonly JournalRecord[]): void {
    const { geometry, deviceTag, epoch } = this.#options;
    const purgeSequence = this.#sealedPurge;
    for (const [index, record] of records.entries()) {
      encodeJournalRecord(record, block, JOURNAL_HEADER_BYTES + index * JOURNAL_RECORD_BYTES);
      if (record.type === JOURNAL_TYPES.purge) this.#sealedPurge = Math.max(this.#sealedPurge, record.receivedAtMs);
    }
    const sequence = this.#position.nextSequence;
    const ownOffset = geometry.journalOffset + (sequence % geometry.journalBlocks) * geometry.blockSizeBytes;
    const header = { epoch, count: records.length, previousCrc: this.#position.previousCrc, purgeSequence };
    const crc = sealJournalBlock(block, { sequence, ownOffset, deviceTag }, header);
    this.#position = { nextSequence: sequence + 1, previousCrc: crc };
  }

  /** One flush at a time; it covers what was written before it began. Never throws. */
  #flushDevice(): Promise<void> {
    this.#flushing ??= this.#flushOnce();
    return this.#flushing;
  }

  async #flushOnce(): Promise<void> {
    const written = this.#written;
    const purge = this.#writtenPurge;
    try {
      await this.#options.device.flush();
      this.#flushed = Math.max(this.#flushed, written);
      this.#flushedPurge = Math.max(this.#flushedPurge, purge);
    } catch (error) {
      this.#fail('flush', error);
    } finally {
      this.#flushing = undefined;
    }
  }

  #flushIdly(): void {
    if (this.#failure === undefined && this.#written > this.#flushed) void this.#flushDevice();
  }

  #fail(operation: 'write' | 'flush', error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#pending = [];
    this.stop();
    this.#options.onFailure(operation, error);
  }
}
