/**
 * Keeps a mounted device's root true: superblocks with their floors, checkpoints beside traffic, the mount and the clean end. Whatever of it
 * fails is told to the store, which writes nothing more: what is durable is unknown then.
 */
import { assert } from '../../base/assert.ts';
import type { Clock, Timer } from '../../base/clock.ts';
import { EdgeError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { MetricSet } from '../../base/metrics.ts';
import type { BlockDevice } from '../../device/block-device.ts';
import { EMPTY_RECORD, JOURNAL_TYPES } from '../../format/journal-block.ts';
import type { CheckpointReference, Superblock } from '../../format/superblock.ts';
import type { Arena } from '../../memory/arena.ts';
import type { MountHistory } from '../devices/membership.ts';
import type { Catalogue } from '../index/catalogue.ts';
import { purgeEntry } from '../purges/purge.ts';
import type { PurgeMemory } from '../purges/purge-memory.ts';
import type { StoreLimits } from '../store-limits.ts';
import type { STORE_METRICS } from '../store-metrics.ts';
import { badRunEntries, type CheckpointPlace, writeCheckpoint } from './checkpoint.ts';
import type { Journal } from './journal.ts';
import { COUNTER_STEP, type PersistentCounter } from './persistent-counter.ts';
import type { RecoveredState } from './recovery.ts';
import { type DeviceRoot, RootArea } from './root-area.ts';

/** Dependencies of a root keeper. */
export interface RootKeeperOptions {
  readonly device: BlockDevice;
  readonly arena: Arena;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits: StoreLimits;
  readonly metrics: MetricSet<typeof STORE_METRICS>;
  readonly root: DeviceRoot;
  readonly generations: PersistentCounter;
  readonly writeSequences: PersistentCounter;
  readonly purges: PurgeMemory;
  /** Whether the store takes offers. */
  readonly isOnline: () => boolean;
  readonly onFailure: (operation: 'write' | 'flush', error: unknown) => void;
  /** Generations or write sequences are used up: nothing can be stored any more. */
  readonly onExhausted: () => void;
}

/** What a checkpoint is made of; known once the index is loaded. */
interface MountedParts {
  readonly catalogue: Catalogue;
  readonly journal: Journal;
}

/** One per store; idle until mount(). */
export class RootKeeper {
  readonly #options: RootKeeperOptions;
  readonly #area: RootArea;
  /** Counted before this store was made: a device that is attached anew keeps its counts. */
  readonly #countedBytes: number;
  #parts: MountedParts | undefined;
  /** The checkpoint that the present state can be recovered from. */
  #readable: CheckpointReference | undefined;
  #checkpointing: Promise<void> | undefined;
  #timer: Timer | undefined;
  #isRaising = false;

  constructor(options: RootKeeperOptions) {
    this.#options = options;
    const { device, arena, clock, root } = options;
    this.#countedBytes = options.metrics.value('writtenBytes');
    this.#area = new RootArea({ device, arena, clock, root });
  }

  /** The newest superblock that is durable. */
  get superblock(): Superblock {
    return this.#area.current;
  }

  /** Names the mount that the device takes part in. */
  join(history: MountHistory): Promise<void> {
    return this.#commit(() => history).catch((error: unknown) => this.#options.onFailure('write', error));
  }

  /** Where checkpoints of this device lie. */
  get checkpointPlace(): CheckpointPlace {
    const { device, arena, root } = this.#options;
    return { device, arena, geometry: root.format.geometry, deviceTag: root.format.deviceUuid.subarray(0, 8) };
  }

  /**
   * Makes durable what recovery concluded (`needsCheckpoint`), before the journal goes on and covers the traces that it concluded it from,
   * and then a superblock of a new epoch: from there on nobody gives the numbers below its floors again.
   *
   * @returns whether the device may be written
   */
  async mount(parts: MountedParts, recovered: Pick<RecoveredState, 'needsCheckpoint' | 'checkpoint'>): Promise<boolean> {
    this.#parts = parts;
    this.#readable = recovered.checkpoint;
    const { device, root, logger, generations, writeSequences, onFailure, onExhausted } = this.#options;
    if (generations.isExhausted || writeSequences.isExhausted) {
      onExhausted();
      return false;
    }
    try {
      // What was read may be in the disk's own memory only, such as a purge whose write failed towards us: the superblock speaks of it.
      await device.flush();
    } catch (error) {
      onFailure('flush', error);
      return false;
    }
    try {
      if (recovered.needsCheckpoint) await this.#writeCheckpoint(parts);
    } catch (error) {
      logger.error({ err: error }, 'What was recovered could not be made durable');
      return false;
    }
    try {
      await this.#commit(() => ({ isClean: false, epoch: root.superblock.epoch + 1, mounts: this.#area.current.mounts + 1 }));
    } catch (error) {
      onFailure('write', error);
      return false;
    }
    parts.journal.append({ ...EMPTY_RECORD, type: JOURNAL_TYPES.epoch });
    return true;
  }

  /** Begins to take checkpoints from time to time. */
  start(): void {
    this.#timer = this.#options.clock.startInterval(this.#options.limits.checkpointMs, () => this.checkpointBeside());
  }

  /** Takes no more checkpoints of its own accord. */
  stop(): void {
    this.#timer?.stop();
  }

  /** Resolves when no checkpoint is being written. Never throws. */
  async idle(): Promise<void> {
    await this.#checkpointing?.catch(() => undefined);
  }

  /** Sees to it that numbers below the floors do not run out. */
  raiseFloors(): void {
    const { generations, writeSequences, isOnline, onFailure, onExhausted } = this.#options;
    if (generations.isExhausted || writeSequences.isExhausted) return onExhausted();
    if (this.#parts === undefined || this.#isRaising || !isOnline()) return;
    if (!generations.needsRaise && !writeSequences.needsRaise) return;
    this.#isRaising = true;
    this.#commit(() => ({}))
      .catch((error: unknown) => onFailure('write', error))
      .finally(() => {
        this.#isRaising = false;
      });
  }

  /** Writes a checkpoint now and makes it count; joins one in progress. @throws EdgeError when it cannot be written */
  checkpoint(): Promise<void> {
    const parts = this.#parts;
    assert(parts !== undefined, 'checkpoint follows mount');
    this.#checkpointing ??= this.#writeCheckpoint(parts).finally(() => {
      this.#checkpointing = undefined;
    });
    return this.#checkpointing;
  }

  /** Begins a checkpoint if there is something to write and none is in progress. */
  checkpointBeside(): void {
    const { isOnline, logger } = this.#options;
    if (this.#parts === undefined || !isOnline() || this.#checkpointing !== undefined || !this.#parts.journal.hasChanges) return;
    this.raiseFloors();
    this.checkpoint().catch((error: unknown) => logger.error({ err: error }, 'The checkpoint failed'));
  }

  /** A last checkpoint and a superblock that says so; the floors come down to what was given. Never throws. */
  async closeCleanly(): Promise<void> {
    const { logger } = this.#options;
    try {
      await this.idle();
      if (this.#parts?.journal.hasChanges === true) await this.checkpoint();
      await this.#commit(() => ({ isClean: true }), 0);
    } catch (error) {
      logger.error({ err: error }, 'The store was not closed cleanly; its journal will be replayed');
    }
  }

  async #commit(changes: () => Partial<Superblock>, step = COUNTER_STEP): Promise<void> {
    const { generations, writeSequences, metrics, root, purges } = this.#options;
    const journal = this.#parts?.journal;
    assert(journal !== undefined, 'a superblock is written after recovery');
    let generationFloor = 0;
    let writeSequenceFloor = 0;
    await this.#area.commit(() => {
      generationFloor = generations.next + step;
      writeSequenceFloor = writeSequences.next + step;
      return {
        ...changes(),
        generationFloor,
        writeSequenceFloor,
        purgeSequence: journal.flushedPurgeSequence,
        purgedGeneration: Math.max(this.#area.current.purgedGeneration, purges.purgedGeneration),
        journalHead: journal.position.nextSequence,
        badBlocks: this.#parts?.catalogue.allocator.badBlocks ?? 0,
        writtenBytes: root.superblock.writtenBytes + metrics.value('writtenBytes') - this.#countedBytes,
      };
    });
    generations.raise(generationFloor);
    writeSequences.raise(writeSequenceFloor);
  }

  async #writeCheckpoint(parts: MountedParts): Promise<void> {
    const { device, metrics, clock, purges, writeSequences, onFailure } = this.#options;
    const { journal, catalogue } = parts;
    const current = this.#area.current.checkpoint;
    // Where the older one had to serve, the newer one's zone is the one that may be written over.
    const readable = this.#readable ?? current;
    const target = { zone: 1 - readable.zone, sequence: current.sequence + 1 };
    const { nextSequence, previousCrc } = journal.position;
    const purgeSequence = purges.newestSequence;
    const endSequence = writeSequences.next;
    const { active, recent, retired } = purges.forCheckpoint();
    const besides = [
      ...active.map((purge) => purgeEntry(purge, false)),
      ...recent.map((purge) => purgeEntry(purge, true)),
      ...badRunEntries(catalogue.allocator),
    ];
    try {
      const source = { index: catalogue.index, besides, endSequence, pause: () => new Promise<void>((resolve) => clock.defer(resolve)) };
      const written = await writeCheckpoint(this.checkpointPlace, source, target);
      // The copy was made while the index changed; it is only good together with the records of those changes.
      await journal.flush();
      await device.flush();
      const checkpoint = { ...target, ...written, journalStart: nextSequence, journalPreviousCrc: previousCrc, purgeSequence };
      await this.#commit(() => ({ checkpoint, previous: readable }));
      this.#readable = checkpoint;
    } catch (error) {
      // No slot in time is no fault of the device; the next occasion tries again.
      if (!(error instanceof EdgeError && error.code === 'STORE_UNAVAILABLE')) onFailure('write', error);
      throw error;
    }
    journal.setStart(nextSequence);
    purges.retire(retired);
    metrics.add('checkpoints');
  }
}
