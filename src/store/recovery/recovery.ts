/**
 * Brings the index back: checkpoint, then journal, then what cannot stand is dropped (overlaps, orphans). Reads only; the store, inspect
 * and fsck use it alike. Whatever is damaged is forgotten, with one exception that must forget more: when a purge that counted may lie in
 * an unreadable part of the journal, everything is dropped, because a cache may forget but must not bring back what was purged.
 */
import { assert } from '../../base/assert.ts';
import { divFloor, KIB } from '../../base/units.ts';
import { CHECKPOINT_KINDS, type CheckpointEntry } from '../../format/checkpoint-part.ts';
import { ENTRY_FLAGS } from '../../format/entry-flags.ts';
import {
  decodeJournalHeader,
  decodeJournalRecord,
  JOURNAL_HEADER_BYTES,
  JOURNAL_RECORD_BYTES,
  JOURNAL_TYPES,
  type JournalHeader,
  type JournalRecord,
  journalRecordsPerBlock,
  MANIFEST_NUMBER,
  peekJournalRecord,
} from '../../format/journal-block.ts';
import { U48_MAX } from '../../format/manifest-record.ts';
import type { CheckpointReference } from '../../format/superblock.ts';
import { BloomFilter } from '../admission/bloom-filter.ts';
import { tryRead, withStaging } from '../device-io.ts';
import { BlockAllocator, bandOf } from '../index/block-allocator.ts';
import { COUNTER_MAX, EXTENT_BLOCKS_MAX, NO_SLOT, SliceIndex } from '../index/slice-index.ts';
import { isEpoch, type Purge, purgeOfEntry, purgeOfRecord } from '../purges/purge.ts';
import type { RememberedPurges } from '../purges/purge-memory.ts';
import { PurgeTable } from '../purges/purge-table.ts';
import type { CheckpointPlace } from './checkpoint.ts';
import { CheckpointLoader } from './checkpoint-loader.ts';
import type { LoadingView } from './early-reader.ts';
import type { JournalPosition } from './journal.ts';
import type { DeviceRoot } from './root-area.ts';

const READ_BYTES = 128 * KIB;
/** Entries that are settled before others may run: a few milliseconds. */
const ENTRIES_PER_TURN = 8192;
/** Generations and write sequences above it are nonsense, unless the superblock knows of them: to go on behind one leaves few to give. */
export const NUMBER_MAX = 2 ** 37;
/** Blocks behind the end of the chain that are searched for purges. */
const LOOKAHEAD_BLOCKS = 1024;

/** What recovery met, for the log, metrics and fsck. */
export interface RecoveryReport {
  /** Records in the index at the end. */
  records: number;
  checkpointEntries: number;
  damagedParts: number;
  /** The checkpoint that the superblock names was read whole. */
  isCheckpointWhole: boolean;
  /** The older checkpoint had to serve. */
  usedPrevious: boolean;
  journalBlocks: number;
  journalRecords: number;
  orphans: number;
  overlaps: number;
  /** Records that were dropped because they lie on bad blocks. */
  onBadBlocks: number;
  /** Entries or records that name what cannot be. */
  invalid: number;
  /** Records beyond the number of entries: their deletes were never written. */
  surplus: number;
  /** A purge may be missing: everything was dropped. */
  isForgotten: boolean;
  /** Purges that were found behind the end of the chain. */
  purgesBehind: number;
}

/** The state of a device after its last writer. */
export interface RecoveredState {
  readonly index: SliceIndex;
  readonly allocator: BlockAllocator;
  readonly journal: JournalPosition;
  /** Sequence from which a replay would begin. */
  readonly journalStart: number;
  readonly purges: RememberedPurges;
  /** What was concluded here would be lost when the journal goes on: a checkpoint is to be written before anything else. */
  readonly needsCheckpoint: boolean;
  /** The checkpoint that was read. */
  readonly checkpoint: CheckpointReference;
  /** Above every generation and write sequence that was seen. */
  readonly generation: number;
  readonly writeSequence: number;
  readonly report: RecoveryReport;
}

/** Reads checkpoint and journal. Never throws on what the device holds; @throws EdgeError STORE_UNAVAILABLE when the arena has no slot */
export async function recoverState(place: CheckpointPlace, root: DeviceRoot, hooks: RecoveryHooks = {}): Promise<RecoveredState> {
  const recovery = new Recovery(place, root, hooks);
  return recovery.run();
}

/** First block of the allocation groups, as a device-wide block number. */
export function makeAllocator(geometry: CheckpointPlace['geometry']): BlockAllocator {
  return new BlockAllocator({
    firstBlock: divFloor(geometry.groupsOffset, geometry.blockSizeBytes),
    blockCount: geometry.groupsBlocks,
    groupBlocks: divFloor(geometry.groupBytes, geometry.blockSizeBytes),
    badRunsMax: geometry.badRunsMax,
  });
}

/**
 * Replay passes through states that never were: a checkpoint is copied while the index changes, so entries of its end stand beside those that
 * gave way to them, and slices outlast their object until the end. Each of them was put by a record of the journal or is in the image.
 */
function makeIndex(geometry: CheckpointPlace['geometry']): SliceIndex {
  return new SliceIndex(geometry.entryCount, 2 * geometry.journalBlocks * journalRecordsPerBlock(geometry.blockSizeBytes));
}

/**
 * Gets the index while it fills, as soon as whatever the journal does not name can be looked up in it; undefined when that turned out not to be
 * so. Never called where a purge may be missing.
 */
export type OnReadable = (view: LoadingView | undefined) => void;

/** For a store that others use while it recovers; tools go without. */
export interface RecoveryHooks {
  readonly onReadable?: OnReadable | undefined;
  /** Lets others run; called every few milliseconds of work. */
  readonly pause?: (() => Promise<void>) | undefined;
}

/** What the journal says of objects and purges, before it is replayed. */
interface JournalOutlook {
  readonly named: BloomFilter;
  readonly epochs: readonly Purge[];
  readonly purgedGeneration: number;
}

class Recovery {
  readonly #place: CheckpointPlace;
  readonly #root: DeviceRoot;
  readonly #onReadable: OnReadable | undefined;
  readonly #pause: RecoveryHooks['pause'];
  /** What the journal says, before it is replayed; undefined where it cannot be believed. */
  #foreseen: JournalOutlook | undefined;
  #index: SliceIndex;
  #allocator: BlockAllocator;
  #purgeSequence = 0;
  #purgedGeneration: number;
  #epochs = new PurgeTable();
  #recentPurges: Purge[] = [];
  #generation: number;
  #writeSequence: number;
  readonly #report: RecoveryReport = {
    records: 0,
    checkpointEntries: 0,
    damagedParts: 0,
    isCheckpointWhole: true,
    usedPrevious: false,
    journalBlocks: 0,
    journalRecords: 0,
    orphans: 0,
    overlaps: 0,
    onBadBlocks: 0,
    invalid: 0,
    surplus: 0,
    isForgotten: false,
    purgesBehind: 0,
  };

  constructor(place: CheckpointPlace, root: DeviceRoot, hooks: RecoveryHooks) {
    this.#place = place;
    this.#root = root;
    this.#onReadable = hooks.onReadable;
    this.#pause = hooks.pause;
    this.#index = makeIndex(place.geometry);
    this.#allocator = makeAllocator(place.geometry);
    this.#generation = root.superblock.generationFloor;
    this.#writeSequence = root.superblock.writeSequenceFloor;
    this.#purgedGeneration = root.superblock.purgedGeneration;
  }

  async run(): Promise<RecoveredState> {
    const { superblock } = this.#root;
    if (this.#onReadable !== undefined) this.#foreseen = await this.#lookAhead(superblock.checkpoint);
    const { reference, arePurgesWhole } = await this.#loadCheckpoint();
    this.#purgeSequence = reference.purgeSequence;
    const replay = await this.#replay({ nextSequence: reference.journalStart, previousCrc: reference.journalPreviousCrc });
    const isPurgeMissing = !arePurgesWhole || replay.isPurgeMissing || superblock.purgeSequence > this.#purgeSequence;
    // More epochs than a checkpoint holds are met only where the older one had to serve.
    if (isPurgeMissing || this.#epochs.size > this.#place.geometry.purgesMax) this.#forgetEverything();
    const steps = this.#settle();
    while (steps.next().done !== true) await this.#pause?.();
    const { usedPrevious, isForgotten, purgesBehind } = this.#report;
    // A chain that ends before the newest checkpoint began must not give its sequences a second time.
    const isBroken = replay.position.nextSequence < superblock.checkpoint.journalStart;
    const journal = isBroken ? { nextSequence: superblock.journalHead, previousCrc: 0 } : replay.position;
    return {
      index: this.#index,
      allocator: this.#allocator,
      journal,
      journalStart: isBroken ? journal.nextSequence : reference.journalStart,
      checkpoint: reference,
      needsCheckpoint: usedPrevious || isForgotten || purgesBehind > 0 || isBroken,
      purges: {
        epochs: [...this.#epochs.values()],
        recent: this.#recentPurges,
        newestSequence: this.#purgeSequence,
        purgedGeneration: this.#purgedGeneration,
      },
      generation: this.#generation,
      writeSequence: this.#writeSequence,
      report: this.#report,
    };
  }

  async #loadCheckpoint(): Promise<{ reference: CheckpointReference; arePurgesWhole: boolean }> {
    const { checkpoint, previous } = this.#root.superblock;
    const loader = new CheckpointLoader(this.#place, checkpoint, {
      take: (entry) => this.#takeEntry(entry),
      onPurgesTaken: () => this.#becomeReadable(loader),
    });
    const current = await loader.load();
    this.#report.damagedParts = current.damagedParts;
    this.#report.checkpointEntries = current.entries;
    this.#report.isCheckpointWhole = current.isWhole;
    const isUsable = current.arePurgesWhole && (current.isWhole || current.entries > 0);
    if (isUsable || previous.sequence === 0) return { reference: checkpoint, arePurgesWhole: current.arePurgesWhole };
    this.#reset();
    const older = await new CheckpointLoader(this.#place, previous, { take: (entry) => this.#takeEntry(entry) }).load();
    this.#report.checkpointEntries = older.entries;
    this.#report.usedPrevious = true;
    return { reference: previous, arePurgesWhole: older.arePurgesWhole };
  }

  /** Every purge of the checkpoint is known, and every object that the journal names. */
  #becomeReadable(loader: CheckpointLoader): void {
    if (this.#foreseen === undefined) return;
    const { named, epochs } = this.#foreseen;
    const known = [...this.#epochs.values(), ...epochs];
    const purgedGeneration = Math.max(this.#purgedGeneration, this.#foreseen.purgedGeneration);
    this.#onReadable?.({ index: this.#index, loader, named, epochs: known, purgedGeneration });
  }

  #reset(): void {
    this.#onReadable?.(undefined);
    this.#index = makeIndex(this.#place.geometry);
    this.#epochs = new PurgeTable();
    this.#recentPurges = [];
  }

  /** A purge is missing that may have been of anything. */
  #forgetEverything(): void {
    this.#report.isForgotten = true;
    this.#reset();
    this.#purgeSequence = Math.max(this.#purgeSequence, this.#root.superblock.purgeSequence);
    this.#purgedGeneration = Math.max(this.#purgedGeneration, this.#generation);
  }

  #takeEntry(entry: CheckpointEntry): void {
    if (entry.kind === CHECKPOINT_KINDS.purge) return this.#takePurgeEntry(entry);
    if (entry.kind === CHECKPOINT_KINDS.badRun) return this.#markBad(entry);
    const isSlice = entry.kind === CHECKPOINT_KINDS.slice;
    if (!isSlice && entry.kind !== CHECKPOINT_KINDS.manifest) {
      this.#report.invalid += 1;
      return;
    }
    const slot = isSlice ? this.#putSlice(entry) : this.#putManifest(entry);
    if (slot === NO_SLOT) return;
    if ((entry.flags & ENTRY_FLAGS.visited) !== 0) this.#index.markVisited(slot);
    if ((entry.flags & ENTRY_FLAGS.unproved) !== 0) this.#index.markUnproved(slot);
  }

  /**
   * A first look at the journal, without an index: which objects it names, and its purges.
   *
   * @returns undefined when a purge may be missing
   */
  async #lookAhead(reference: CheckpointReference): Promise<JournalOutlook | undefined> {
    const { superblock } = this.#root;
    const named = new BloomFilter(this.#place.geometry.journalBlocks * journalRecordsPerBlock(this.#place.geometry.blockSizeBytes));
    const epochs = new PurgeTable();
    let purgedGeneration = 0;
    let newest = reference.purgeSequence;
    let isPurgeMissing = false;
    await this.#followChain(
      { nextSequence: reference.journalStart, previousCrc: reference.journalPreviousCrc },
      (block, header, isBehind) => {
        if (isBehind && header.purgeSequence > newest) isPurgeMissing = true;
        for (let record = 0; record < header.count; record += 1) {
          const { type, isObject, tagLow, tagHigh } = peekJournalRecord(block, JOURNAL_HEADER_BYTES + record * JOURNAL_RECORD_BYTES);
          if (type !== JOURNAL_TYPES.purge) {
            if (isObject && !isBehind) named.add(tagLow, tagHigh);
            continue;
          }
          const purge = purgeOfRecord(decodeJournalRecord(block, JOURNAL_HEADER_BYTES + record * JOURNAL_RECORD_BYTES));
          if (purge === undefined) continue;
          newest = Math.max(newest, purge.sequence);
          if (purge.kind === 'object') named.add(tagLow, tagHigh);
          else if (isEpoch(purge)) epochs.add(purge);
          else purgedGeneration = Math.max(purgedGeneration, purge.generation);
        }
      },
    );
    return isPurgeMissing || superblock.purgeSequence > newest ? undefined : { named, epochs: [...epochs.values()], purgedGeneration };
  }

  /** Follows the chain from `position` to its end, then looks behind the end for purges. */
  async #replay(position: JournalPosition): Promise<{ position: JournalPosition; isPurgeMissing: boolean }> {
    let isPurgeMissing = false;
    const end = await this.#followChain(position, (block, header, isBehind) => {
      if (!isBehind) this.#report.journalBlocks += 1;
      else if (header.purgeSequence > this.#purgeSequence) isPurgeMissing = true;
      for (const record of records(block, header)) {
        if (isBehind && record.type !== JOURNAL_TYPES.purge) continue;
        if (isBehind) this.#report.purgesBehind += 1;
        this.#apply(record);
      }
    });
    return { position: end, isPurgeMissing };
  }

  /** Hands over the blocks of the chain, and those behind its end that are of its last writer. @returns where the chain ends */
  async #followChain(
    position: JournalPosition,
    take: (block: Buffer, header: JournalHeader, isBehind: boolean) => void,
  ): Promise<JournalPosition> {
    let at = position;
    let epoch = 0;
    const blocksMax = this.#place.geometry.journalBlocks;
    let gap = 0;
    await this.#eachJournalBlock(at.nextSequence, (block, header, sequence) => {
      const isNext = gap === 0 && header?.sequence === sequence && header.previousCrc === at.previousCrc && header.epoch >= epoch;
      if (isNext) {
        at = { nextSequence: sequence + 1, previousCrc: header.crc };
        epoch = header.epoch;
        take(block, header, false);
        return sequence - position.nextSequence + 1 < blocksMax;
      }
      gap += 1;
      // What an older writer left behind the end of its chain says nothing: only the last writer's purges can be missing.
      const isLater = header !== undefined && header.sequence >= sequence && header.epoch >= Math.max(epoch, this.#root.superblock.epoch);
      if (isLater) take(block, header, true);
      return gap < LOOKAHEAD_BLOCKS && sequence - position.nextSequence + 1 < blocksMax;
    });
    return at;
  }

  /** Hands over the blocks from `sequence` on until `take` returns false. */
  async #eachJournalBlock(
    firstSequence: number,
    take: (block: Buffer, header: JournalHeader | undefined, sequence: number) => boolean,
  ): Promise<void> {
    const { geometry, device, arena, deviceTag } = this.#place;
    const blocksPerRead = Math.min(geometry.journalBlocks, Math.max(1, divFloor(READ_BYTES, geometry.blockSizeBytes)));
    let sequence = firstSequence;
    await withStaging(arena, blocksPerRead * geometry.blockSizeBytes, async (bytes) => {
      for (;;) {
        const place = sequence % geometry.journalBlocks;
        const count = Math.min(blocksPerRead, geometry.journalBlocks - place);
        const piece = bytes.subarray(0, count * geometry.blockSizeBytes);
        const isRead = await tryRead(device, piece, geometry.journalOffset + place * geometry.blockSizeBytes);
        for (let index = 0; index < count; index += 1) {
          const block = piece.subarray(index * geometry.blockSizeBytes, (index + 1) * geometry.blockSizeBytes);
          const ownOffset = geometry.journalOffset + (place + index) * geometry.blockSizeBytes;
          const header = isRead ? decodeJournalHeader(block, { ownOffset, deviceTag }) : undefined;
          if (!take(block, header, sequence)) return;
          sequence += 1;
        }
      }
    });
  }

  #apply(record: JournalRecord): void {
    this.#report.journalRecords += 1;
    const isManifest = record.sliceNumber === MANIFEST_NUMBER;
    if (record.type === JOURNAL_TYPES.put) {
      if (isManifest) this.#putManifest(record);
      else this.#putSlice(record);
    } else if (record.type === JOURNAL_TYPES.delete) this.#delete(record, isManifest);
    else if (record.type === JOURNAL_TYPES.refresh) {
      const tagSlot = this.#index.findTag(record);
      if (tagSlot === NO_SLOT || this.#index.generation(this.#index.recordOf(tagSlot)) !== record.generation) return;
      if (record.receivedAtMs <= U48_MAX && record.freshUntilMs <= U48_MAX) this.#index.setFreshness(tagSlot, record);
    } else if (record.type === JOURNAL_TYPES.purge) this.#replayPurge(record);
    else if (record.type === JOURNAL_TYPES.badBlock) this.#markBad(record);
  }

  /** The image of the index knows what came of it, but for epochs that were not walked yet. */
  #takePurgeEntry(entry: CheckpointEntry): void {
    const known = purgeOfEntry(entry);
    if (known === undefined) {
      this.#report.invalid += 1;
      return;
    }
    this.#noteRecent(known.purge);
    if (isEpoch(known.purge) && !known.isDone) this.#epochs.add(known.purge);
  }

  #replayPurge(record: JournalRecord): void {
    const purge = purgeOfRecord(record);
    if (purge === undefined) {
      this.#report.invalid += 1;
      return;
    }
    this.#purgeSequence = Math.max(this.#purgeSequence, purge.sequence);
    this.#noteRecent(purge);
    if (isEpoch(purge)) this.#epochs.add(purge);
    else if (purge.kind === 'everything') this.#purgedGeneration = Math.max(this.#purgedGeneration, purge.generation);
    else this.#purgeObject(record, purge);
  }

  /** By generation, so that it does not matter whether it was found in the chain or behind it. No put of what it covers comes after it. */
  #purgeObject(record: JournalRecord, purge: Purge): void {
    const index = this.#index;
    const tagSlot = index.findTag(record);
    if (tagSlot === NO_SLOT || index.generation(index.recordOf(tagSlot)) >= purge.generation) return;
    if (!purge.isSoft) return index.removeManifest(tagSlot);
    const freshness = index.freshness(tagSlot);
    if (freshness.freshUntilMs > purge.atMs) index.setFreshness(tagSlot, { ...freshness, freshUntilMs: purge.atMs });
  }

  /** A journal may hold more purges than anybody is ever told of. */
  #noteRecent(purge: Purge): void {
    const max = this.#place.geometry.purgesMax;
    this.#recentPurges.push(purge);
    if (this.#recentPurges.length >= 2 * max) this.#recentPurges = this.#recentPurges.slice(-max);
  }

  *#dropBelow(generation: number): Generator<void> {
    const index = this.#index;
    if (generation === 0) return;
    for (let slot = 0; slot < index.slotLimit; slot += 1) {
      if (slot % ENTRIES_PER_TURN === ENTRIES_PER_TURN - 1) yield;
      if (index.kind(slot) === 'manifest' && index.generation(slot) < generation) index.removeManifest(index.tagSlotOf(slot));
    }
  }

  /** Before any extent is claimed, so that one that lies there is dropped. Known from the checkpoint and the journal alike: no harm. */
  #markBad({ block, blocks }: CheckpointEntry | JournalRecord): void {
    if (!this.#allocator.markBad(block, blocks)) this.#report.invalid += 1;
  }

  #delete(record: JournalRecord, isManifest: boolean): void {
    if (isManifest) {
      const tagSlot = this.#index.findTag(record);
      if (tagSlot !== NO_SLOT && this.#index.generation(this.#index.recordOf(tagSlot)) === record.generation)
        this.#index.removeManifest(tagSlot);
      return;
    }
    const slot = this.#index.findSlice(record.generation, record.sliceNumber);
    if (slot !== NO_SLOT && this.#index.writeSequence(slot) <= record.writeSequence) this.#index.removeSlice(slot);
  }

  /** @returns the slice's slot, or NO_SLOT when the entry is not to be trusted or there is no room */
  #putSlice(entry: CheckpointEntry | JournalRecord): number {
    if (entry.sliceNumber >= MANIFEST_NUMBER) {
      this.#report.invalid += 1;
      return NO_SLOT;
    }
    if (!this.#isSound(entry)) return NO_SLOT;
    const slot = this.#index.ensureSlice(entry.generation, entry.sliceNumber);
    if (slot === NO_SLOT) return NO_SLOT;
    const isNewer = this.#index.blocks(slot) === 0 || this.#index.writeSequence(slot) < entry.writeSequence;
    if (isNewer) this.#index.setPlace(slot, entry);
    return slot;
  }

  /** @returns the slot of the object's record, or NO_SLOT when the entry is not to be trusted, is of the past, or there is no room */
  #putManifest(entry: CheckpointEntry | JournalRecord): number {
    if (!this.#isSound(entry) || entry.receivedAtMs > U48_MAX || entry.freshUntilMs > U48_MAX) return NO_SLOT;
    const index = this.#index;
    const { writeSequence, generation } = entry;
    let tagSlot = index.findTag(entry);
    if (tagSlot !== NO_SLOT) {
      const record = index.recordOf(tagSlot);
      const known = index.generation(record);
      if (known === generation && index.writeSequence(record) > writeSequence) return record;
      if (known > generation) return NO_SLOT;
      if (known < generation) {
        index.removeManifest(tagSlot);
        tagSlot = NO_SLOT;
      }
    }
    if (tagSlot === NO_SLOT) {
      // Two objects never share a generation; an entry that says so is not to be trusted.
      if (index.findManifest(generation) !== NO_SLOT) return NO_SLOT;
      tagSlot = index.putManifest(entry, generation);
      if (tagSlot === NO_SLOT) return NO_SLOT;
    }
    index.setPlace(index.recordOf(tagSlot), entry);
    index.setFreshness(tagSlot, entry);
    return index.recordOf(tagSlot);
  }

  #isSound(entry: CheckpointEntry | JournalRecord): boolean {
    const first = this.#allocator.firstBlock;
    const isInside = entry.blocks >= 1 && entry.block >= first && entry.block + entry.blocks <= first + this.#allocator.blockCount;
    const { generationFloor, writeSequenceFloor } = this.#root.superblock;
    const isGiven = isPossible(entry.generation, generationFloor) && isPossible(entry.writeSequence, writeSequenceFloor);
    const isSound = isInside && isGiven && entry.generation >= 1 && entry.blocks <= EXTENT_BLOCKS_MAX;
    if (!isSound) {
      this.#report.invalid += 1;
      return false;
    }
    this.#generation = Math.max(this.#generation, entry.generation + 1);
    this.#writeSequence = Math.max(this.#writeSequence, entry.writeSequence + 1);
    return true;
  }

  /** Derives bitmap and counts, newest records first: where two claim a block, the higher write sequence has it. Yields now and then. */
  *#settle(): Generator<void> {
    const index = this.#index;
    yield* this.#dropBelow(this.#purgedGeneration);
    const sorted = yield* index.sortInPieces();
    for (let at = sorted.length - 1; at >= 0; at -= 1) {
      if (at % ENTRIES_PER_TURN === ENTRIES_PER_TURN - 1) yield;
      this.#claim(sorted[at] ?? NO_SLOT);
    }
    const { isClean } = this.#root.superblock;
    for (let slot = 0; slot < index.slotLimit; slot += 1) {
      if (slot % ENTRIES_PER_TURN === ENTRIES_PER_TURN - 1) yield;
      if (index.kind(slot) === 'free') continue;
      if (!isClean) index.markUnproved(slot);
      this.#countSlice(slot);
    }
    this.#trim();
    this.#report.records = index.recordCount;
  }

  #claim(slot: number): void {
    const index = this.#index;
    const [block, blocks] = [index.block(slot), index.blocks(slot)];
    const isManifest = index.kind(slot) === 'manifest';
    const kind = isManifest && !index.hasBody(slot) ? 'manifest' : 'slice';
    if (this.#allocator.tryClaim(block, blocks, bandOf(kind, blocks))) return;
    if (this.#allocator.isBad(block, blocks)) this.#report.onBadBlocks += 1;
    else this.#report.overlaps += 1;
    if (isManifest) index.removeManifest(index.tagSlotOf(slot));
    else index.removeSlice(slot);
  }

  /** Counts it at its object; an orphan goes. */
  #countSlice(slot: number): void {
    const index = this.#index;
    const generation = index.generation(slot);
    if (index.kind(slot) === 'manifest') {
      // The slice that rides in it, unless it has a record of its own too.
      if (index.hasBody(slot) && index.findSlice(generation, 0) === NO_SLOT) index.addSlices(index.tagSlotOf(slot), 1);
      return;
    }
    const record = index.findManifest(generation);
    if (record !== NO_SLOT) {
      if (!index.isPartial(slot)) index.addSlices(index.tagSlotOf(record), 1);
      return;
    }
    this.#allocator.release(index.block(slot), index.blocks(slot));
    index.removeSlice(slot);
    this.#report.orphans += 1;
  }

  /** Gives up the oldest until no spare entry is in use; seldom anything, when deletes were dropped or not yet written. */
  #trim(): void {
    const index = this.#index;
    while (index.freeEntries < 0) {
      const slot = index.nextVictim();
      assert(slot !== NO_SLOT, 'what is surplus is records');
      this.#report.surplus += 1;
      this.#allocator.release(index.block(slot), index.blocks(slot));
      if (index.kind(slot) === 'manifest') {
        index.removeManifest(index.tagSlotOf(slot));
        continue;
      }
      const record = index.findManifest(index.generation(slot));
      const rides = record !== NO_SLOT && index.sliceNumber(slot) === 0 && index.hasBody(record);
      if (record !== NO_SLOT && !rides && !index.isPartial(slot)) index.addSlices(index.tagSlotOf(record), -1);
      index.removeSlice(slot);
    }
  }
}

function isPossible(number: number, floor: number): boolean {
  return number <= Math.min(COUNTER_MAX, Math.max(NUMBER_MAX, floor - 1));
}

function* records(block: Buffer, header: JournalHeader): Generator<JournalRecord> {
  for (let index = 0; index < header.count; index += 1) {
    yield decodeJournalRecord(block, JOURNAL_HEADER_BYTES + index * JOURNAL_RECORD_BYTES);
  }
}
