/**
 * Index, block allocator, journal and RAM tier kept in step: every change of what is stored goes through here, so that no two extents
 * overlap, the bitmap is the union of index and reservations, and an object's count is that of its slices on the device or in memory.
 */
import { assert } from '../../base/assert.ts';
import type { Clock } from '../../base/clock.ts';
import type { MetricSet } from '../../base/metrics.ts';
import { EMPTY_RECORD, JOURNAL_TYPES, MANIFEST_NUMBER } from '../../format/journal-block.ts';
import type { ManifestFreshness, ObjectHash } from '../../format/manifest.ts';
import type { Lease } from '../../memory/lease.ts';
import type { AdmissionPolicy } from '../admission/admission-policy.ts';
import type { Journal } from '../recovery/journal.ts';
import type { StoreLimits } from '../store-limits.ts';
import type { STORE_METRICS } from '../store-metrics.ts';
import { BlockAllocator, type BlockRun, bandOf } from './block-allocator.ts';
import type { ObjectTag } from './object-table.ts';
import { Remains } from './remains.ts';
import { type ResidentSlice, ResidentTier } from './resident-tier.ts';
import { type ExtentPlace, NO_SLOT, objectTag, type SliceIndex } from './slice-index.ts';

/** Slices of a gone object that are freed at once, and in each turn after it: a fraction of a millisecond. */
const FREED_PER_TURN = 128;
/** Between two turns, so that what waits for the purge that began them goes first. */
const TURN_MS = 1;
/** A device that had to evict is full until this share of its blocks and entries is free again. More than fragmentation leaves (3 to 6 %). */
const FREE_SHARE = 0.125;

/** What is stored, in every sense; one per mounted store. */
export class Catalogue {
  readonly index: SliceIndex;
  readonly allocator: BlockAllocator;
  readonly journal: Journal;
  readonly resident: ResidentTier;
  readonly #clock: Clock;
  readonly #remains: Remains;
  readonly #limits: StoreLimits;
  readonly #metrics: MetricSet<typeof STORE_METRICS>;
  readonly #policy: AdmissionPolicy;
  readonly #onVanish: (slice: ResidentSlice) => void;
  /** Objects that were replaced or dropped while somebody reads them, by generation: rows that no tag finds. */
  readonly #retired = new Map<number, number>();
  #isFull = false;
  #isFreeing = false;
  /** The object that was looked for last, since a hit looks for it several times. */
  #lastHash: ObjectHash | undefined;
  #lastTag: ObjectTag = { tagLow: 0, tagHigh: 0 };

  constructor(options: {
    index: SliceIndex;
    allocator: BlockAllocator;
    journal: Journal;
    limits: StoreLimits;
    metrics: MetricSet<typeof STORE_METRICS>;
    policy: AdmissionPolicy;
    clock: Clock;
    /** A slice left the RAM tier. */
    onVanish: (slice: ResidentSlice) => void;
  }) {
    this.index = options.index;
    this.allocator = options.allocator;
    this.journal = options.journal;
    this.#limits = options.limits;
    this.#metrics = options.metrics;
    this.#policy = options.policy;
    this.#onVanish = options.onVanish;
    this.#clock = options.clock;
    this.resident = new ResidentTier((slice) => this.#vanish(slice));
    this.#remains = new Remains({
      resident: this.resident,
      isStored: (generation, sliceNumber) => this.isStored(generation, sliceNumber),
      free: (generation, sliceNumber) => this.#freeRemnant(generation, sliceNumber),
      onGivenUp: (slices) => this.#metrics.add('orphaned', slices),
    });
  }

  /** Whether what comes in has to evict something: it had to, and not much has become free since. */
  get isFull(): boolean {
    const { allocator, index } = this;
    if (!this.#isFull) return false;
    this.#isFull = allocator.freeBlocks < allocator.blockCount * FREE_SHARE || index.freeEntries < index.entryCount * FREE_SHARE;
    return this.#isFull;
  }

  /** Tag entry of the object, or NO_SLOT. */
  findObject(objectHash: ObjectHash): number {
    if (objectHash !== this.#lastHash) {
      this.#lastHash = objectHash;
      this.#lastTag = objectTag(objectHash);
    }
    return this.index.findTag(this.#lastTag);
  }

  /** Tag entry of the object if `generation` is its current one. */
  findCurrent(objectHash: ObjectHash, generation: number): number {
    const tagSlot = this.findObject(objectHash);
    return tagSlot !== NO_SLOT && this.generationOf(tagSlot) === generation ? tagSlot : NO_SLOT;
  }

  /** Row of the object if `generation` is its current one, or was and is kept for its readers. */
  findReadable(objectHash: ObjectHash, generation: number): number {
    const current = this.findCurrent(objectHash, generation);
    const retired = current === NO_SLOT ? this.#retired.get(generation) : undefined;
    if (retired === undefined) return current;
    const { tagLow, tagHigh } = objectTag(objectHash);
    const own = this.index.tag(retired);
    return own.tagLow === tagLow && own.tagHigh === tagHigh ? retired : NO_SLOT;
  }

  /** Whether the generation is not current any more and kept for its readers. */
  isRetired(generation: number): boolean {
    return this.#retired.has(generation);
  }

  get retiredCount(): number {
    return this.#retired.size;
  }

  /** Generations that are kept for their readers. */
  retiredGenerations(): readonly number[] {
    return [...this.#retired.keys()];
  }

  generationOf(tagSlot: number): number {
    return this.index.generation(this.index.recordOf(tagSlot));
  }

  /** Reserves a run of blocks, evicting until one fits. @returns undefined when the bound of evictions was reached */
  reserveBlocks(blocks: number, kind: 'slice' | 'manifest'): number | undefined {
    const band = bandOf(kind, blocks);
    for (let evicted = 0; evicted <= this.#limits.evictionsPerRecord; evicted += 1) {
      const block = this.allocator.reserve(blocks, band);
      if (block !== undefined) return block;
      if (!this.#evict('blocks')) return undefined;
    }
    return undefined;
  }

  /** Reserves a run of blocks if one is free now. */
  tryReserveBlocks(blocks: number, kind: 'slice' | 'manifest'): number | undefined {
    return this.allocator.reserve(blocks, bandOf(kind, blocks));
  }

  /** Makes room for `count` index entries. */
  reserveEntries(count: number): boolean {
    for (let evicted = 0; evicted <= this.#limits.evictionsPerRecord; evicted += 1) {
      if (this.index.freeEntries >= count) return true;
      if (!this.#evict('entries')) return false;
    }
    return false;
  }

  /** A slice enters the RAM tier. Takes over `lease`. */
  addResident(slice: { generation: number; sliceNumber: number; lengthBytes: number; lease: Lease }): ResidentSlice {
    const wasHeld = this.#isHeld(slice.generation, slice.sliceNumber);
    const added = this.resident.add(slice);
    this.#recount(slice.generation, slice.sliceNumber, wasHeld);
    return added;
  }

  /** The entry of the record that holds the slice or a part of it: its own, or its object's where it rides in that; NO_SLOT when none does. */
  findStored(generation: number, sliceNumber: number): number {
    const slot = this.index.findSlice(generation, sliceNumber);
    if (slot !== NO_SLOT || sliceNumber > 0) return slot;
    const record = this.index.findManifest(generation);
    return record !== NO_SLOT && this.index.hasBody(record) ? record : NO_SLOT;
  }

  /** Whether all of the slice is on the device. */
  isStored(generation: number, sliceNumber: number): boolean {
    const slot = this.findStored(generation, sliceNumber);
    return slot !== NO_SLOT && !this.index.isPartial(slot);
  }

  /** Whether something of the object is on the device or on its way there, rather than all of it in memory only. */
  isWritten(tagSlot: number): boolean {
    const { index } = this;
    const generation = this.generationOf(tagSlot);
    if (index.blocks(index.recordOf(tagSlot)) > 0) return true;
    let inMemoryOnly = 0;
    for (const slice of this.resident.slicesOf(generation)) {
      if (!slice.isQueued && !this.isStored(generation, slice.sliceNumber)) inMemoryOnly += 1;
    }
    return index.slices(tagSlot) > inMemoryOnly;
  }

  /** Enters a written slice, in place of an older extent of it; its blocks are reserved. @returns false (blocks forfeited) when there is no entry for it */
  putSlice(generation: number, sliceNumber: number, place: ExtentPlace): boolean {
    assert(this.allocator.isUsed(place.block, place.blocks), 'index names reserved blocks only');
    const slot = this.index.findSlice(generation, sliceNumber);
    const wasHeld = this.#isHeld(generation, sliceNumber);
    if (slot !== NO_SLOT) {
      this.allocator.release(this.index.block(slot), this.index.blocks(slot));
      this.index.setPlace(slot, place);
      this.#recount(generation, sliceNumber, wasHeld);
      this.allocator.acquire(place.block, place.blocks);
      this.journal.append({ ...EMPTY_RECORD, type: JOURNAL_TYPES.put, generation, sliceNumber, ...place });
      return true;
    }
    if (!this.reserveEntries(1) || this.index.findManifest(generation) === NO_SLOT) {
      this.allocator.forfeit(place.block, place.blocks);
      return false;
    }
    this.index.putSlice(generation, sliceNumber, place);
    this.allocator.acquire(place.block, place.blocks);
    this.#recount(generation, sliceNumber, wasHeld);
    this.journal.append({ ...EMPTY_RECORD, type: JOURNAL_TYPES.put, generation, sliceNumber, ...place });
    return true;
  }

  /** Enters the written record of an object that is in the index; an older extent of it is freed, and one of the slice that rides in it. */
  putManifest(tagSlot: number, place: ExtentPlace): void {
    const record = this.index.recordOf(tagSlot);
    const generation = this.generationOf(tagSlot);
    const old = this.index.place(record);
    const wasHeld = this.#isHeld(generation, 0);
    this.index.setPlace(record, place);
    this.#recount(generation, 0, wasHeld);
    this.allocator.acquire(place.block, place.blocks);
    if (old.blocks > 0) this.allocator.release(old.block, old.blocks);
    this.journal.append({ ...this.#manifestRecord(tagSlot), type: JOURNAL_TYPES.put, ...place });
    const alone = this.index.hasBody(record) ? this.index.findSlice(generation, 0) : NO_SLOT;
    if (alone !== NO_SLOT) this.dropSlice(alone);
  }

  setFreshness(tagSlot: number, freshness: ManifestFreshness): void {
    this.index.setFreshness(tagSlot, freshness);
    if (this.index.blocks(this.index.recordOf(tagSlot)) === 0) return;
    this.journal.append({ ...this.#manifestRecord(tagSlot), type: JOURNAL_TYPES.refresh });
  }

  /** The object is stale from `atMs` on. Not journalled: the purge that wants it is. @returns false when it was stale before */
  makeStale(tagSlot: number, atMs: number): boolean {
    const freshness = this.index.freshness(tagSlot);
    if (freshness.freshUntilMs <= atMs) return false;
    this.index.setFreshness(tagSlot, { ...freshness, freshUntilMs: atMs });
    return true;
  }

  /** Takes a slice off the device; in memory it may stay. */
  dropSlice(slot: number): void {
    const { index } = this;
    const generation = index.generation(slot);
    const sliceNumber = index.sliceNumber(slot);
    const writeSequence = index.writeSequence(slot);
    this.#freeSlice(slot);
    this.journal.append({ ...EMPTY_RECORD, type: JOURNAL_TYPES.delete, generation, sliceNumber, writeSequence });
  }

  /** Forgets an object, its slices on the device and in memory. The caller journals a purge; anything else is journalled here. */
  dropObject(tagSlot: number, cause: 'purge' | 'other'): void {
    const { index } = this;
    const record = index.recordOf(tagSlot);
    const generation = index.generation(record);
    if (!this.#retired.delete(generation) && cause === 'other') this.#journalEnd(tagSlot);
    // The slice that rides in the record goes with it.
    const slices = index.slices(tagSlot) - (index.hasBody(record) && this.resident.find(generation, 0) === undefined ? 1 : 0);
    if (index.blocks(record) > 0) this.allocator.release(index.block(record), index.blocks(record));
    index.removeManifest(tagSlot);
    this.#freeRemains(generation, slices);
  }

  /** Frees what is left of objects that are gone. @param probes slice numbers looked at */
  freeRemains(probes: number): void {
    this.#remains.freeSome(probes);
  }

  /** Some at once, the rest turn by turn. */
  #freeRemains(generation: number, slices: number): void {
    if (slices === 0) return;
    this.#remains.add(generation, slices);
    this.freeRemains(FREED_PER_TURN);
    if (this.#isFreeing || this.#remains.isEmpty) return;
    this.#isFreeing = true;
    const turn = (): void => {
      this.freeRemains(FREED_PER_TURN);
      this.#isFreeing = !this.#remains.isEmpty;
      if (this.#isFreeing) this.#clock.startTimer(TURN_MS, turn);
    };
    this.#clock.startTimer(TURN_MS, turn);
  }

  #freeRemnant(generation: number, sliceNumber: number): boolean {
    const slot = this.index.findSlice(generation, sliceNumber);
    if (slot === NO_SLOT) return false;
    const isWhole = !this.index.isPartial(slot);
    // Nobody counts it any more.
    this.allocator.release(this.index.block(slot), this.index.blocks(slot));
    this.index.removeSlice(slot);
    return isWhole;
  }

  /**
   * Forgets an object but for those who read it: another generation may take its place, and for a start it is gone. What is kept of it is given
   * up for space like anything else, and by dropRetired().
   */
  retireObject(tagSlot: number): void {
    this.#journalEnd(tagSlot);
    this.index.hideManifest(tagSlot);
    this.#retired.set(this.generationOf(tagSlot), tagSlot);
  }

  /** The generation's last reader is gone, or it was purged. A no-op when nothing of it is kept. */
  dropRetired(generation: number, cause: 'purge' | 'other'): void {
    const tagSlot = this.#retired.get(generation);
    if (tagSlot !== undefined) this.dropObject(tagSlot, cause);
  }

  /**
   * Takes blocks out of use for good, as soon as no record owns them; the caller drops the record that it met there. Not waited for: a
   * journal that cannot be written says so itself, and the next checkpoint names the blocks again.
   */
  quarantine({ block, blocks }: BlockRun): void {
    const isMarked = this.allocator.markBad(block, blocks);
    this.#metrics.add('quarantines', 1, isMarked ? 'marked' : 'ignored');
    if (!isMarked) return;
    this.journal.append({ ...EMPTY_RECORD, type: JOURNAL_TYPES.badBlock, block, blocks });
    this.journal.flush().catch(() => undefined);
  }

  /**
   * Checks the invariants of this file (ARCHITECTURE.md S1, S2) over the whole index. For tests and the simulation; slow.
   *
   * @returns what is wrong, or undefined
   */
  findContradiction(): string | undefined {
    const { index, allocator } = this;
    const counts = new Map<number, number>();
    const claims = new BlockAllocator(allocator.shape);
    let blocks = 0;
    const count = (generation: number): void => {
      counts.set(generation, (counts.get(generation) ?? 0) + 1);
    };
    for (const slot of index.recordSlots()) {
      if (index.blocks(slot) === 0) continue;
      const isManifest = index.kind(slot) === 'manifest';
      const kind = isManifest && !index.hasBody(slot) ? 'manifest' : 'slice';
      if (!claims.tryClaim(index.block(slot), index.blocks(slot), bandOf(kind, index.blocks(slot))))
        return `two records claim block ${index.block(slot)}`;
      if (!allocator.isUsed(index.block(slot), index.blocks(slot))) return `block ${index.block(slot)} is in the index and free`;
      blocks += index.blocks(slot);
      const generation = index.generation(slot);
      const isCounted = isManifest ? index.hasBody(slot) && index.findSlice(generation, 0) === NO_SLOT : !index.isPartial(slot);
      if (isCounted) count(generation);
    }
    for (const slice of this.resident.slices()) if (!this.isStored(slice.generation, slice.sliceNumber)) count(slice.generation);
    const used = allocator.blockCount - allocator.freeBlocks;
    const { reservedBlocks, idleBadBlocks } = allocator;
    if (used !== blocks + reservedBlocks + idleBadBlocks)
      return `${used} blocks are used: ${blocks} + ${reservedBlocks} + ${idleBadBlocks}`;
    for (const slot of index.recordSlots()) {
      if (index.kind(slot) !== 'manifest') continue;
      const generation = index.generation(slot);
      const counted = index.slices(index.tagSlotOf(slot));
      if (counted !== (counts.get(generation) ?? 0))
        return `generation ${generation} counts ${counted} slices, has ${counts.get(generation)}`;
      if (index.isFoundByTag(index.tagSlotOf(slot)) === this.#retired.has(generation))
        return `generation ${generation} is lost or found twice`;
    }
    return undefined;
  }

  #freeSlice(slot: number): void {
    const { index } = this;
    const generation = index.generation(slot);
    const sliceNumber = index.sliceNumber(slot);
    const wasHeld = this.#isHeld(generation, sliceNumber);
    this.allocator.release(index.block(slot), index.blocks(slot));
    index.removeSlice(slot);
    this.#recount(generation, sliceNumber, wasHeld);
  }

  #evict(reason: 'blocks' | 'entries'): boolean {
    if (!this.#remains.isEmpty) {
      this.freeRemains(FREED_PER_TURN);
      return true;
    }
    const victim = this.index.nextVictim();
    // Manifests that only slices in memory hold are let go by taking those out of memory.
    if (victim === NO_SLOT) return this.resident.reclaim();
    this.#isFull = true;
    this.#metrics.add('evicted', 1, reason);
    const isManifest = this.index.kind(victim) === 'manifest';
    const manifest = isManifest ? victim : this.index.findManifest(this.index.generation(victim));
    if (manifest !== NO_SLOT && (!isManifest || this.index.hasBody(manifest))) {
      const sliceNumber = isManifest ? 0 : this.index.sliceNumber(victim);
      this.#policy.noteEvicted(this.index.tag(this.index.tagSlotOf(manifest)), sliceNumber);
    }
    if (isManifest) {
      this.dropObject(this.index.tagSlotOf(victim), 'other');
      return true;
    }
    this.dropSlice(victim);
    // An object of which nothing is left takes two entries and saves no byte; left to the hand it would stay for another round.
    const isEmpty = manifest !== NO_SLOT && this.index.blocks(manifest) > 0 && this.index.slices(this.index.tagSlotOf(manifest)) === 0;
    if (isEmpty) this.dropObject(this.index.tagSlotOf(manifest), 'other');
    return true;
  }

  #vanish(slice: ResidentSlice): void {
    this.#recount(slice.generation, slice.sliceNumber, true);
    this.#onVanish(slice);
  }

  /** Whether the slice is whole on the device or in memory: what an object's count counts. */
  #isHeld(generation: number, sliceNumber: number): boolean {
    return this.resident.find(generation, sliceNumber) !== undefined || this.isStored(generation, sliceNumber);
  }

  #recount(generation: number, sliceNumber: number, wasHeld: boolean): void {
    if (this.index.findManifest(generation) === NO_SLOT) return;
    const isHeld = this.#isHeld(generation, sliceNumber);
    if (isHeld !== wasHeld) this.#count(generation, isHeld ? 1 : -1);
  }

  /** Orphans have no manifest to be counted at. */
  #count(generation: number, amount: number): void {
    const record = this.index.findManifest(generation);
    if (record !== NO_SLOT) this.index.addSlices(this.index.tagSlotOf(record), amount);
  }

  /** After this a start does not find the object. */
  #journalEnd(tagSlot: number): void {
    const record = this.index.recordOf(tagSlot);
    if (this.index.blocks(record) === 0) return;
    const writeSequence = this.index.writeSequence(record);
    this.journal.append({ ...this.#manifestRecord(tagSlot), type: JOURNAL_TYPES.delete, writeSequence });
  }

  #manifestRecord(tagSlot: number): typeof EMPTY_RECORD {
    const { index } = this;
    return {
      ...EMPTY_RECORD,
      sliceNumber: MANIFEST_NUMBER,
      generation: this.generationOf(tagSlot),
      ...index.tag(tagSlot),
      ...index.freshness(tagSlot),
    };
  }
}
