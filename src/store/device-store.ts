/**
 * The store on one device: builds the parts, recovers, and answers every question of SliceStore. It decides what state the device is in;
 * the parts do the work (catalogue, slice-writer, slice-reader, journal, root-area).
 *
 *   loading --recover()--> online --errors--> readonly --more errors--> failed        any --close()--> closed
 */
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { EdgeError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { MetricSet } from '../base/metrics.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { extentBlocks, PAYLOAD_BYTES_MAX } from '../format/extent-header.ts';
import type { Geometry } from '../format/geometry.ts';
import { EMPTY_RECORD, JOURNAL_TYPES, MANIFEST_NUMBER } from '../format/journal-block.ts';
import type { Manifest, ManifestFreshness, ObjectHash } from '../format/manifest.ts';
import { encodeManifestRecord, isSliceSize } from '../format/manifest-record.ts';
import type { Arena } from '../memory/arena.ts';
import type { Lease } from '../memory/lease.ts';
import { AdmissionLadder } from './admission-ladder.ts';
import { ADMIT_EVERYTHING, type AdmissionPolicy } from './admission-policy.ts';
import { Catalogue } from './catalogue.ts';
import { ExtentReader } from './extent-reader.ts';
import { ExtentWriter } from './extent-writer.ts';
import { FaultBucket } from './fault-bucket.ts';
import { Journal } from './journal.ts';
import { ManifestShelf } from './manifest-shelf.ts';
import { PersistentCounter } from './persistent-counter.ts';
import { PurgeMemory } from './purge-memory.ts';
import { type RecoveredState, type RecoveryReport, recoverState } from './recovery.ts';
import { type DeviceRoot, readRoot } from './root-area.ts';
import { RootKeeper } from './root-keeper.ts';
import { SliceGate } from './slice-gate.ts';
import { NO_SLOT, objectTag } from './slice-index.ts';
import { SliceReader } from './slice-reader.ts';
import type {
  DeclineReason,
  ManifestEntry,
  ManifestVerdict,
  OfferVerdict,
  PurgeResult,
  PurgeTarget,
  SliceOffer,
  SliceRead,
  SliceStore,
  SliceVerdict,
  StoreState,
} from './slice-store.ts';
import { SliceWriter } from './slice-writer.ts';
import { DEFAULT_STORE_LIMITS, type StoreLimits } from './store-limits.ts';
import { STORE_METRICS } from './store-metrics.ts';

/** What a store is built from. Once created it owns `device` and closes it; the arena is shared, its reclaimer becomes the store's. */
export interface StoreOptions {
  readonly device: BlockDevice;
  readonly arena: Arena;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits?: Partial<StoreLimits> | undefined;
  /** How a full device chooses; undefined: everything is admitted. `writeBudgetBytes` a day, undefined for no limit. */
  readonly admission?: { readonly writeBudgetBytes: number | undefined } | undefined;
}

/** Numbers for people and readiness checks. */
export interface StoreUsage {
  readonly entries: number;
  readonly entriesMax: number;
  readonly usedBytes: number;
  readonly freeBytes: number;
}

/** The parts that exist once the index is loaded. */
interface Parts {
  readonly catalogue: Catalogue;
  readonly writer: SliceWriter;
  readonly gate: SliceGate;
  readonly reader: SliceReader;
  readonly journal: Journal;
}

/**
 * Reads the labels. The store is `loading`: everything is absent until recover() has been awaited.
 *
 * @throws EdgeError FORMAT_VERSION, FORMAT_DAMAGED, DEVICE_TRUNCATED, DEVICE_UNSUITABLE, DEVICE_FAULT
 */
export async function createStore(options: StoreOptions): Promise<DeviceStore> {
  return new DeviceStore(options, await readRoot(options.device, options.arena));
}

/** createStore and recover in one. */
export async function openStore(options: StoreOptions): Promise<DeviceStore> {
  const store = await createStore(options);
  await store.recover();
  return store;
}

/** See SliceStore; made by createStore or openStore. */
export class DeviceStore implements SliceStore {
  readonly metrics = new MetricSet(STORE_METRICS);
  readonly geometry: Geometry;
  readonly #device: BlockDevice;
  readonly #arena: Arena;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #limits: StoreLimits;
  readonly #deviceRoot: DeviceRoot;
  readonly #keeper: RootKeeper;
  readonly #shelf: ManifestShelf;
  readonly #policy: AdmissionPolicy;
  readonly #purges: PurgeMemory;
  readonly #faults: FaultBucket;
  readonly #generations: PersistentCounter;
  readonly #writeSequences: PersistentCounter;
  #state: StoreState = 'loading';
  #parts: Parts | undefined;
  #purgeSequence: number;
  #recovering: Promise<RecoveryReport> | undefined;
  /** Closing, and what was admitted is still being written. */
  #isDraining = false;
  #closing: Promise<void> | undefined;

  /** Use createStore or openStore. */
  constructor(options: StoreOptions, root: DeviceRoot) {
    this.#device = options.device;
    this.#arena = options.arena;
    this.#clock = options.clock;
    this.#logger = options.logger;
    const limits = { ...DEFAULT_STORE_LIMITS, ...options.limits };
    // What is queued cannot be reclaimed, so it may hold only a part of the arena.
    this.#limits = { ...limits, queueBytes: Math.min(limits.queueBytes, this.#arena.sizeBytes / 4) };
    this.#deviceRoot = root;
    this.geometry = root.format.geometry;
    this.#shelf = new ManifestShelf(this.#limits);
    const { entryCount } = this.geometry;
    this.#policy =
      options.admission === undefined ? ADMIT_EVERYTHING : new AdmissionLadder({ ...options.admission, clock: this.#clock, entryCount });
    this.#purges = new PurgeMemory(this.#limits.purgesRemembered);
    this.#faults = new FaultBucket(this.#clock);
    // Numbers given while loading are covered by the superblock that recover() writes before anything can be stored.
    this.#generations = new PersistentCounter(root.superblock.generationFloor, root.superblock.generationFloor);
    this.#writeSequences = new PersistentCounter(root.superblock.writeSequenceFloor, root.superblock.writeSequenceFloor);
    this.#purgeSequence = root.superblock.purgeSequence;
    this.#keeper = new RootKeeper({
      device: this.#device,
      arena: this.#arena,
      clock: this.#clock,
      logger: this.#logger,
      limits: this.#limits,
      metrics: this.metrics,
      root,
      generations: this.#generations,
      writeSequences: this.#writeSequences,
      newestPurge: () => this.#purgeSequence,
      isOnline: () => this.#state === 'online',
      onFailure: (operation, error) => this.#onMetadataFailure(operation, error),
    });
    this.#setGauges();
  }

  get state(): StoreState {
    return this.#state;
  }

  get purgeSequence(): number {
    return this.#purgeSequence;
  }

  get usage(): StoreUsage {
    const { blockSizeBytes, entryCount, groupsBlocks } = this.geometry;
    const freeBlocks = this.#parts?.catalogue.allocator.freeBlocks ?? groupsBlocks;
    return {
      entries: this.#parts?.catalogue.index.usedEntries ?? 0,
      entriesMax: entryCount,
      usedBytes: (groupsBlocks - freeBlocks) * blockSizeBytes,
      freeBytes: freeBlocks * blockSizeBytes,
    };
  }

  /** Loads the index and goes online (read-only where the device is). Called once. @returns what it met */
  recover(): Promise<RecoveryReport> {
    assert(this.#recovering === undefined && this.#state === 'loading', 'recover is called once, after createStore');
    this.#recovering = this.#recover().catch((error: unknown) => {
      // Not `loading` for ever: readiness says what happened, and the origin serves.
      this.#degrade('failed', error);
      throw error;
    });
    return this.#recovering;
  }

  nextGeneration(): number {
    this.#keeper.raiseFloors();
    return this.#generations.take();
  }

  noteRequest(objectHash: ObjectHash, startBytes: number): void {
    if (this.#policy.noteRequest(objectTag(objectHash), startBytes)) this.#readable()?.gate.onWanted(objectHash);
  }

  findManifest(objectHash: ObjectHash): ManifestEntry | undefined {
    const catalogue = this.#readable()?.catalogue;
    const tagSlot = catalogue?.findObject(objectHash) ?? NO_SLOT;
    if (catalogue === undefined || tagSlot === NO_SLOT) return undefined;
    return { generation: catalogue.generationOf(tagSlot), storedSlices: catalogue.index.slices(tagSlot) };
  }

  async readManifest(objectHash: ObjectHash, signal?: AbortSignal | undefined): Promise<ManifestVerdict> {
    const parts = this.#readable();
    const tagSlot = parts?.catalogue.findObject(objectHash) ?? NO_SLOT;
    if (parts === undefined || tagSlot === NO_SLOT) return this.#miss('absent');
    const { index } = parts.catalogue;
    index.markVisited(index.recordOf(tagSlot));
    const known = this.#shelf.find(objectHash, parts.catalogue.generationOf(tagSlot));
    if (known !== undefined) {
      this.metrics.add('reads', 1, 'ram');
      return { kind: 'hit', manifest: known };
    }
    // Offered, not written, and no longer in memory: nothing is left of it.
    if (index.blocks(index.recordOf(tagSlot)) === 0) return this.#miss('absent');
    const verdict = await parts.reader.readManifest(objectHash, tagSlot, signal);
    if (verdict.kind === 'hit') {
      this.metrics.add('reads', 1, 'device');
      this.#shelf.keep(verdict.manifest);
      return verdict;
    }
    return this.#miss(verdict.kind);
  }

  offerManifest(manifest: Manifest, purgeSequence: number): OfferVerdict {
    const { objectHash, generation } = manifest;
    assert(isSliceSize(manifest.sliceSizeBytes), 'slice size is a power of two, 64 KiB to 8 MiB');
    const parts = this.#writable();
    if (parts === undefined) return this.#decline('unavailable');
    if (this.#purges.covers(objectHash, { purgeSequence, generation })) return this.#decline('purged');
    const isGrowing = manifest.lengthBytes === undefined;
    if (encodeManifestRecord(isGrowing ? { ...manifest, lengthBytes: 0 } : manifest) === undefined) return this.#decline('too-large');
    if (parts.journal.isFull) return this.#decline('journal-full');
    const { catalogue, writer } = parts;
    let tagSlot = catalogue.findObject(objectHash);
    const known = tagSlot === NO_SLOT ? 0 : catalogue.generationOf(tagSlot);
    if (known > generation) return this.#decline('superseded');
    if (!writer.hasRoom(0) || !this.#makePendingRoom(objectHash, catalogue)) return this.#decline('queue-full');
    if (known !== generation) {
      // Also when the index knows nothing: an evicted object may have left its manifest waiting.
      this.#shelf.forget(objectHash);
      if (tagSlot !== NO_SLOT) catalogue.dropObject(tagSlot, 'other');
      if (!catalogue.reserveEntries(2) || catalogue.index.findManifest(generation) !== NO_SLOT) return this.#decline('no-space');
      tagSlot = catalogue.index.putManifest(objectTag(objectHash), generation);
    }
    catalogue.setFreshness(tagSlot, manifest);
    const pending = this.#shelf.pending(objectHash) ?? this.#shelf.addPending(manifest);
    pending.manifest = manifest;
    if (isGrowing) {
      // Its slices are written meanwhile; without a record they are orphans after a crash, as a body that broke off must be.
      pending.state = 'growing';
      return { kind: 'admitted' };
    }
    if (pending.state === 'growing') pending.state = 'waiting';
    const isDue = manifest.lengthBytes === 0 || catalogue.isWritten(tagSlot);
    if (pending.state === 'waiting' && isDue) writer.enqueueManifest(pending);
    return { kind: 'admitted' };
  }

  refreshManifest(objectHash: ObjectHash, generation: number, freshness: ManifestFreshness): void {
    const catalogue = this.#readable()?.catalogue;
    const tagSlot = catalogue?.findCurrent(objectHash, generation) ?? NO_SLOT;
    if (catalogue === undefined || tagSlot === NO_SLOT) return;
    catalogue.setFreshness(tagSlot, freshness);
    const known = this.#shelf.find(objectHash, generation);
    const { receivedAtMs, initialAgeSeconds, freshUntilMs } = freshness;
    if (known !== undefined) this.#shelf.keep({ ...known, receivedAtMs, initialAgeSeconds, freshUntilMs });
  }

  dropManifest(objectHash: ObjectHash, generation: number): void {
    const catalogue = this.#readable()?.catalogue;
    const tagSlot = catalogue?.findCurrent(objectHash, generation) ?? NO_SLOT;
    if (catalogue === undefined || tagSlot === NO_SLOT) return;
    this.#shelf.forget(objectHash);
    catalogue.dropObject(tagSlot, 'other');
  }

  async purge(target: PurgeTarget): Promise<PurgeResult> {
    const { objectHash } = target;
    this.metrics.add('purges');
    this.#purgeSequence += 1;
    const purgeSequence = this.#purgeSequence;
    this.#purges.remember(objectHash, { purgeSequence, generation: this.#generations.next });
    const parts = this.#parts;
    const wasStored = parts !== undefined && this.#forget(objectHash, parts.catalogue);
    if (parts === undefined || this.#state !== 'online') {
      throw new EdgeError(
        'STORE_UNAVAILABLE',
        `The purge holds in memory only: the store is ${this.#state}; purge again when it is online`,
      );
    }
    if (!this.#appendPurge(objectHash, purgeSequence, parts.journal)) {
      throw new EdgeError('STORE_UNAVAILABLE', 'The purge holds in memory only: the journal is full; purge again in a moment');
    }
    await parts.journal.flush();
    return { knownObjects: wasStored ? 1 : 0 };
  }

  hasSlice(generation: number, sliceNumber: number): boolean {
    const catalogue = this.#readable()?.catalogue;
    if (catalogue === undefined || catalogue.index.findManifest(generation) === NO_SLOT) return false;
    if (catalogue.resident.find(generation, sliceNumber) !== undefined) return true;
    return catalogue.index.findSlice(generation, sliceNumber) !== NO_SLOT;
  }

  tryReadResident(read: SliceRead): { readonly lease: Lease; readonly bytes: Buffer } | undefined {
    assert(read.startBytes >= 0 && read.startBytes < read.endBytes, 'a read wants at least a byte');
    const parts = this.#readable();
    const slice = parts?.catalogue.resident.find(read.generation, read.sliceNumber);
    if (parts === undefined || slice === undefined || read.endBytes > slice.lengthBytes) return undefined;
    const { catalogue, gate } = parts;
    if (catalogue.findCurrent(read.objectHash, read.generation) === NO_SLOT) return undefined;
    slice.isVisited = true;
    gate.onRead(slice);
    const slot = catalogue.index.findSlice(read.generation, read.sliceNumber);
    if (slot !== NO_SLOT) catalogue.index.markVisited(slot);
    this.metrics.add('reads', 1, 'ram');
    const lease = slice.lease.share();
    return { lease, bytes: lease.bytes.subarray(read.startBytes, read.endBytes) };
  }

  async readSlice(read: SliceRead, signal?: AbortSignal | undefined): Promise<SliceVerdict> {
    const resident = this.tryReadResident(read);
    if (resident !== undefined) return { kind: 'hit', ...resident, tier: 'ram' };
    const parts = this.#readable();
    if (parts === undefined || parts.catalogue.findCurrent(read.objectHash, read.generation) === NO_SLOT) return this.#miss('absent');
    const slot = parts.catalogue.index.findSlice(read.generation, read.sliceNumber);
    if (slot === NO_SLOT) return this.#miss('absent');
    parts.catalogue.index.markVisited(slot);
    const verdict = await parts.reader.readSlice(read, slot, signal);
    if (verdict.kind !== 'hit') return this.#miss(verdict.kind);
    this.metrics.add('reads', 1, 'device');
    return verdict;
  }

  offerSlice(offer: SliceOffer): OfferVerdict {
    const { objectHash, generation, sliceNumber, lengthBytes } = offer;
    assert(lengthBytes > 0 && lengthBytes <= offer.lease.sizeBytes, 'an offered slice lies in its slot');
    assert(sliceNumber >= 0 && sliceNumber < MANIFEST_NUMBER, 'slice number is in range');
    const parts = this.#writable();
    if (parts === undefined) return this.#decline('unavailable');
    const { blockSizeBytes, groupBytes } = this.geometry;
    const isTooLarge = lengthBytes > PAYLOAD_BYTES_MAX || extentBlocks(lengthBytes, blockSizeBytes) * blockSizeBytes > groupBytes;
    if (isTooLarge) return this.#decline('too-large');
    const { catalogue, gate } = parts;
    if (catalogue.findCurrent(objectHash, generation) === NO_SLOT) return this.#decline('superseded');
    this.#assertWhole(offer);
    const known = catalogue.resident.find(generation, sliceNumber);
    if (known?.isQueued === true) return { kind: 'admitted' };
    const stored = catalogue.index.findSlice(generation, sliceNumber);
    if (stored !== NO_SLOT && !catalogue.index.isUnproved(stored)) return { kind: 'admitted' };
    // An unproved one is from before a crash, its data may never have arrived; these bytes are sure and replace it once written.
    const lease = offer.lease.share();
    const slice = known ?? catalogue.addResident({ generation, sliceNumber, lengthBytes, lease });
    const reason = gate.offer(slice, { objectHash, admission: offer.admission ?? 'auto' });
    // Either way it stays readable; a declined one until its slot is needed.
    if (known !== undefined) lease.end();
    else if (reason !== undefined) lease.moveTo('resident');
    return reason === undefined ? { kind: 'admitted' } : this.#decline(reason);
  }

  async drain(): Promise<void> {
    const parts = this.#parts;
    if (parts === undefined) return;
    await parts.writer.idle();
    if (this.#state !== 'online') return;
    try {
      await this.#keeper.idle();
      await parts.journal.flush();
    } catch (error) {
      this.#logger.warn({ err: error }, 'The journal was not flushed');
    }
  }

  /** Writes a checkpoint now and makes it count. @throws EdgeError when it cannot be written; the device is read-only then */
  checkpoint(): Promise<void> {
    return this.#keeper.checkpoint();
  }

  /** Checks index against bitmap and counts (S1, S2); slow, for tests and the simulation. @returns what is wrong, or undefined */
  findContradiction(): string | undefined {
    return this.#parts?.catalogue.findContradiction();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #readable(): Parts | undefined {
    return this.#state === 'online' || this.#state === 'readonly' ? this.#parts : undefined;
  }

  #writable(): Parts | undefined {
    return this.#state === 'online' ? this.#parts : undefined;
  }

  /** A slice that is shorter than its manifest says could never be read and would never heal. */
  #assertWhole(offer: SliceOffer): void {
    const manifest = this.#shelf.find(offer.objectHash, offer.generation);
    if (manifest?.lengthBytes === undefined) return;
    const startBytes = offer.sliceNumber * manifest.sliceSizeBytes;
    const expected = Math.min(manifest.sliceSizeBytes, manifest.lengthBytes - startBytes);
    assert(offer.lengthBytes === expected, () => `slice ${offer.sliceNumber} is offered whole: ${offer.lengthBytes} of ${expected} bytes`);
  }

  #miss<Kind extends 'absent' | 'corrupt' | 'busy'>(kind: Kind): { readonly kind: Kind } {
    this.metrics.add('reads', 1, kind);
    return { kind };
  }

  #decline(reason: DeclineReason): OfferVerdict {
    this.metrics.add('declined', 1, reason);
    return { kind: 'declined', reason };
  }

  /** Room for one more manifest in memory; the one that waits longest for its first slice gives way. */
  #makePendingRoom(objectHash: ObjectHash, catalogue: Catalogue): boolean {
    if (!this.#shelf.isPendingFull || this.#shelf.pending(objectHash) !== undefined) return true;
    const oldest = this.#shelf.oldestWaiting();
    if (oldest === undefined) return false;
    this.dropManifest(oldest.objectHash, oldest.generation);
    this.#shelf.forget(oldest.objectHash);
    assert(catalogue.findCurrent(oldest.objectHash, oldest.generation) === NO_SLOT, 'a manifest that gave way is gone');
    return true;
  }

  #forget(objectHash: ObjectHash, catalogue: Catalogue): boolean {
    this.#shelf.forget(objectHash);
    const tagSlot = catalogue.findObject(objectHash);
    if (tagSlot === NO_SLOT) return false;
    catalogue.dropObject(tagSlot, 'purge');
    return true;
  }

  #appendPurge(objectHash: ObjectHash, purgeSequence: number, journal: Journal): boolean {
    return journal.append({
      ...EMPTY_RECORD,
      type: JOURNAL_TYPES.purge,
      sliceNumber: MANIFEST_NUMBER,
      writeSequence: this.#writeSequences.next,
      ...objectTag(objectHash),
      receivedAtMs: purgeSequence,
    });
  }

  async #recover(): Promise<RecoveryReport> {
    const startedAtMs = this.#clock.monotonicMs();
    const recovered = await recoverState(this.#keeper.checkpointPlace, this.#deviceRoot);
    this.#generations.skipTo(recovered.generation);
    this.#writeSequences.skipTo(recovered.writeSequence);
    const parts = this.#build(recovered);
    this.#purgeSequence = Math.max(this.#purgeSequence, recovered.purgeSequence);
    this.#parts = parts;
    this.#countReport(recovered.report);
    const isWritable = !this.#device.isReadOnly && (await this.#keeper.mount(parts, recovered.needsCheckpoint));
    // Purges that came while the index was loading could not be journalled; they are applied now.
    for (const objectHash of this.#purges.objects()) {
      this.#forget(objectHash, parts.catalogue);
      this.#purgeSequence += 1;
      if (isWritable) this.#appendPurge(objectHash, this.#purgeSequence, parts.journal);
    }
    this.#arena.setReclaimer(() => parts.catalogue.resident.reclaim());
    if (this.#state === 'loading') this.#state = isWritable ? 'online' : 'readonly';
    this.#keeper.start();
    this.#logger.info({ ...recovered.report, tookMs: this.#clock.monotonicMs() - startedAtMs, state: this.#state }, 'The index was loaded');
    return recovered.report;
  }

  #build(recovered: RecoveredState): Parts {
    const { format, superblock } = this.#deviceRoot;
    const shared = { device: this.#device, arena: this.#arena, clock: this.#clock, limits: this.#limits, metrics: this.metrics };
    const epoch = superblock.epoch + 1;
    const journal = new Journal({
      ...shared,
      geometry: this.geometry,
      deviceTag: format.deviceUuid.subarray(0, 8),
      epoch,
      position: recovered.journal,
      startSequence: recovered.journalStart,
      purgeSequence: recovered.purgeSequence,
      onCrowded: () => this.#keeper.checkpointBeside(),
      onFailure: (operation, error) => this.#onMetadataFailure(operation, error),
    });
    const catalogue = new Catalogue({
      index: recovered.index,
      allocator: recovered.allocator,
      journal,
      limits: this.#limits,
      metrics: this.metrics,
      policy: this.#policy,
      onVanish: (slice) => gate.forget(slice),
    });
    const { blockSizeBytes } = this.geometry;
    const media = { ...shared, identity: format, blockSizeBytes };
    const options = { ...shared, catalogue, blockSizeBytes, onError: (error: unknown) => this.#onDeviceError(error) };
    const reader = new SliceReader({
      ...options,
      // Nobody waits any longer for a read that has not begun by then.
      extents: new ExtentReader({
        ...media,
        slotWaitMs: this.#limits.slotWaitMs,
        transferOptions: { beginWithinMs: this.#limits.readDeadlineMs },
      }),
      onManifestLost: (objectHash) => this.#shelf.forget(objectHash),
    });
    const writer = new SliceWriter({
      ...options,
      extents: new ExtentWriter({ ...media, epoch, newestPurge: () => this.#purgeSequence }),
      shelf: this.#shelf,
      writeSequences: this.#writeSequences,
      isWritable: () => this.#state === 'online' || this.#isDraining,
      onRoom: () => gate.onRoom(),
    });
    const gate = new SliceGate({
      catalogue,
      writer,
      policy: this.#policy,
      metrics: this.metrics,
      blockSizeBytes: this.geometry.blockSizeBytes,
      isOpen: () => this.#state === 'online',
    });
    return { catalogue, writer, gate, reader, journal };
  }

  /** A failed metadata write or flush: what is durable is unknown, so nothing is written any more. */
  #onMetadataFailure(operation: 'write' | 'flush', error: unknown): void {
    this.metrics.add('deviceErrors', 1, operation);
    this.#degrade('readonly', error);
  }

  #onDeviceError(error: unknown): void {
    const advice = this.#faults.add();
    if (advice !== 'go-on') this.#degrade(advice, error);
  }

  #degrade(state: 'readonly' | 'failed', error: unknown): void {
    if (this.#state === 'closed' || this.#state === 'failed' || this.#state === state) return;
    this.#state = state;
    this.#logger.error({ err: error, path: this.#device.path, state }, 'The device was degraded');
  }

  async #close(): Promise<void> {
    await this.#recovering?.catch(() => undefined);
    const wasOnline = this.#state === 'online';
    this.#isDraining = wasOnline;
    this.#state = 'closed';
    this.#keeper.stop();
    const parts = this.#parts;
    if (parts !== undefined) {
      await parts.writer.idle();
      await parts.reader.idle();
      this.#isDraining = false;
      if (wasOnline) await this.#keeper.closeCleanly();
      parts.journal.stop();
      this.#arena.setReclaimer(() => false);
      parts.catalogue.resident.removeAll();
    }
    await this.#device.close();
  }

  #countReport(report: RecoveryReport): void {
    this.metrics.add('recoveredEntries', report.records);
    this.metrics.add('recoveryDropped', report.orphans, 'orphan');
    this.metrics.add('recoveryDropped', report.overlaps, 'overlap');
    this.metrics.add('recoveryDropped', report.invalid, 'damage');
    if (!report.isCheckpointWhole) this.#logger.warn({ damagedParts: report.damagedParts }, 'The checkpoint was not whole');
    if (report.isForgotten) this.#logger.error({}, 'The journal was damaged where a purge may have been; the cache starts empty');
  }

  #setGauges(): void {
    this.metrics.setGauge('entries', () => this.usage.entries);
    this.metrics.setGauge('entriesMax', () => this.usage.entriesMax);
    this.metrics.setGauge('usedBytes', () => this.usage.usedBytes);
    this.metrics.setGauge('freeBytes', () => this.usage.freeBytes);
    this.metrics.setGauge('queuedSlices', () => this.#parts?.writer.queuedSlices ?? 0);
    this.metrics.setGauge('queuedBytes', () => this.#parts?.writer.queuedBytes ?? 0);
    this.metrics.setGauge('residentSlices', () => this.#parts?.catalogue.resident.count ?? 0);
    this.metrics.setGauge('pendingManifests', () => this.#shelf.pendingCount);
    this.metrics.setGauge('journalBlocks', () => this.#parts?.journal.usedBlocks ?? 0);
    this.metrics.setGauge('isFull', () => (this.#parts?.catalogue.isFull === true ? 1 : 0));
    this.metrics.setGauge('declinedSlices', () => this.#parts?.gate.declinedCount ?? 0);
    this.metrics.setGauge('requestFilterFill', () => this.#policy.requestsFill);
    this.metrics.setGauge('writeBudgetBytes', () => this.#policy.budgetBytes);
    this.metrics.setGauge('isWritable', () => (this.#state === 'online' ? 1 : 0));
  }
}
