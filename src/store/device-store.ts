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
import { alignDown } from '../base/units.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { extentBlocks, PAYLOAD_BYTES_MAX } from '../format/extent-header.ts';
import type { Geometry } from '../format/geometry.ts';
import { MANIFEST_NUMBER } from '../format/journal-block.ts';
import type { Manifest, ManifestFreshness, ObjectHash } from '../format/manifest.ts';
import { encodeManifestRecord, isSliceSize } from '../format/manifest-record.ts';
import type { Superblock } from '../format/superblock.ts';
import type { Arena } from '../memory/arena.ts';
import type { Lease } from '../memory/lease.ts';
import { AdmissionLadder } from './admission-ladder.ts';
import { ADMIT_EVERYTHING, type AdmissionPolicy } from './admission-policy.ts';
import { Catalogue } from './catalogue.ts';
import { type ChunkCodec, INLINE_CODEC } from './chunk-codec.ts';
import { type CompressionMode, CompressionPolicy } from './compression-policy.ts';
import { type Degradation, DeviceHealth } from './device-health.ts';
import { withStaging } from './device-io.ts';
import { EarlyReader, type LoadingView } from './early-reader.ts';
import { ExtentPacker } from './extent-packer.ts';
import { ExtentReader } from './extent-reader.ts';
import { ExtentWriter } from './extent-writer.ts';
import { Journal } from './journal.ts';
import { ManifestShelf } from './manifest-shelf.ts';
import type { MountHistory } from './membership.ts';
import { type NumberSequence, PersistentCounter } from './persistent-counter.ts';
import type { PlaceableDevice } from './placement.ts';
import { type Purge, purgeRecord } from './purge.ts';
import { type MissedPurges, PurgeDesk, staleFrom } from './purge-desk.ts';
import { PurgeMemory } from './purge-memory.ts';
import { PurgeWalker } from './purge-walker.ts';
import { type RecoveredState, type RecoveryReport, recoverState } from './recovery.ts';
import { type DeviceRoot, readRoot } from './root-area.ts';
import { RootKeeper } from './root-keeper.ts';
import { Scrubber } from './scrubber.ts';
import { SliceGate } from './slice-gate.ts';
import { NO_SLOT, objectTag } from './slice-index.ts';
import { SliceParts } from './slice-parts.ts';
import { SliceReader } from './slice-reader.ts';
import type {
  DeclineReason,
  ManifestEntry,
  ManifestVerdict,
  OfferVerdict,
  PartVerdict,
  PurgeOptions,
  PurgeResult,
  PurgeTarget,
  SliceAddress,
  SliceOffer,
  SliceRead,
  SliceStore,
  SliceVerdict,
  StoreState,
} from './slice-store.ts';
import { SliceWriter } from './slice-writer.ts';
import { DEFAULT_STORE_LIMITS, type StoreLimits } from './store-limits.ts';
import { STORE_METRICS } from './store-metrics.ts';
import { WatchedDevice } from './watched-device.ts';

/** What a store is built from. Once created it owns `device` and closes it; the arena is shared, its reclaimer becomes the store's. */
export interface StoreOptions {
  readonly device: BlockDevice;
  readonly arena: Arena;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits?: Partial<StoreLimits> | undefined;
  /** Whether slices are compressed where that pays; `off` when undefined. What is stored compressed is read either way. */
  readonly compression?: CompressionMode | undefined;
  /** Time in which everything stored is read once by the scrubber; not scrubbed when undefined or 0. */
  readonly scrubPeriodMs?: number | undefined;
  /** Who does it; the owner closes it after the store. INLINE_CODEC when undefined. */
  readonly codec?: ChunkCodec | undefined;
  /** How a full device chooses; undefined: everything is admitted. `writeBudgetBytes` a day, undefined for no limit. */
  readonly admission?: { readonly writeBudgetBytes: number | undefined } | undefined;
  /** Counts for it; one of its own when undefined. */
  readonly metrics?: MetricSet<typeof STORE_METRICS> | undefined;
  /** Generations of the cache, shared by its devices; a sequence of its own when undefined. */
  readonly generations?: NumberSequence | undefined;
  /** Told each time the device may be used less. */
  readonly onDegraded?: (() => void) | undefined;
}

/** Numbers for people and readiness checks. */
export interface StoreUsage {
  readonly entries: number;
  readonly entriesMax: number;
  readonly usedBytes: number;
  readonly freeBytes: number;
}

/** Places that are read before a device is taken back. */
const TRIAL_READS = 16;

/** What the state gauge shows. */
const STATE_NUMBERS: Readonly<Record<StoreState, number>> = { closed: 0, failed: 1, loading: 2, readonly: 3, online: 4 };

/** The parts that exist once the index is loaded. */
interface Parts {
  readonly catalogue: Catalogue;
  readonly writer: SliceWriter;
  readonly gate: SliceGate;
  readonly sliceParts: SliceParts;
  readonly reader: SliceReader;
  readonly journal: Journal;
  readonly walker: PurgeWalker;
  /** Undefined where nobody wants it. */
  readonly scrubber: Scrubber | undefined;
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
  readonly metrics: MetricSet<typeof STORE_METRICS>;
  readonly geometry: Geometry;
  readonly #device: WatchedDevice;
  readonly #arena: Arena;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #limits: StoreLimits;
  readonly #deviceRoot: DeviceRoot;
  readonly #keeper: RootKeeper;
  readonly #shelf: ManifestShelf;
  readonly #policy: AdmissionPolicy;
  readonly #codec: ChunkCodec;
  readonly #compression: CompressionMode;
  readonly #scrubPeriodMs: number;
  readonly #purges: PurgeMemory;
  readonly #desk: PurgeDesk;
  readonly #health: DeviceHealth;
  readonly #onDegraded: () => void;
  readonly #generations: PersistentCounter;
  readonly #writeSequences: PersistentCounter;
  #state: StoreState = 'loading';
  #parts: Parts | undefined;
  /** While the index is loading and can be read. */
  #early: EarlyReader | undefined;
  #missedPurges: MissedPurges | undefined;
  #recovering: Promise<RecoveryReport> | undefined;
  /** Closing, and what was admitted is still being written. */
  #isDraining = false;
  /** Closed without the device's consent. */
  #isGivenUp = false;
  #closing: Promise<void> | undefined;
  /** Everything that the device missed is durable. */
  #isUpToDate = true;
  #removeReclaimer = (): void => undefined;

  /** Use createStore or openStore. */
  constructor(options: StoreOptions, root: DeviceRoot) {
    const { device, clock, logger } = options;
    this.metrics = options.metrics ?? new MetricSet(STORE_METRICS);
    this.#arena = options.arena;
    this.#clock = clock;
    this.#logger = logger;
    const limits = { ...DEFAULT_STORE_LIMITS, ...options.limits };
    const onDegraded = (degradation: Degradation): void => this.#degrade(degradation);
    this.#onDegraded = options.onDegraded ?? (() => undefined);
    this.#health = new DeviceHealth({ clock, logger, path: device.path, metrics: this.metrics, onDegraded });
    this.#device = new WatchedDevice({ device, clock, health: this.#health, ...limits });
    // What is queued cannot be reclaimed, so it may hold only a part of the arena.
    this.#limits = { ...limits, queueBytes: Math.min(limits.queueBytes, this.#arena.sizeBytes / 4) };
    this.#codec = options.codec ?? INLINE_CODEC;
    this.#compression = options.compression ?? 'off';
    this.#scrubPeriodMs = options.scrubPeriodMs ?? 0;
    this.#deviceRoot = root;
    this.geometry = root.format.geometry;
    this.#shelf = new ManifestShelf(this.#limits);
    const { purgesRemembered: scopesMax, purgeClearedObjects: clearedMax } = this.#limits;
    this.#purges = new PurgeMemory({ scopesMax, clearedMax, epochsMax: this.geometry.purgesMax });
    const { entryCount, groupsBlocks, blockSizeBytes } = this.geometry;
    this.#policy =
      options.admission === undefined
        ? ADMIT_EVERYTHING
        : new AdmissionLadder({ ...options.admission, clock: this.#clock, entryCount, capacityBytes: groupsBlocks * blockSizeBytes });
    // Numbers given while loading are covered by the superblock that recover() writes before anything can be stored.
    const { generationFloor } = root.superblock;
    this.#generations = new PersistentCounter(generationFloor, generationFloor, options.generations);
    this.#writeSequences = new PersistentCounter(root.superblock.writeSequenceFloor, root.superblock.writeSequenceFloor);
    const { purgeSequence: newestSequence, purgedGeneration } = root.superblock;
    this.#purges.restore({ epochs: [], recent: [], newestSequence, purgedGeneration });
    this.#desk = new PurgeDesk({
      memory: this.#purges,
      shelf: this.#shelf,
      clock: this.#clock,
      limits: this.#limits,
      metrics: this.metrics,
      nextGeneration: () => this.#generations.next,
    });
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
      purges: this.#purges,
      isOnline: () => this.#state === 'online',
      onFailure: (_operation, error) => this.#health.metadataFailed(error),
      onExhausted: () => this.#degrade({ state: 'readonly', reason: 'its numbers for records are used up; format it anew' }),
    });
    this.#setGauges();
  }

  get state(): StoreState {
    return this.#state;
  }

  /** Why the device is not used as it should be; undefined while it is. */
  get degradation(): Degradation | undefined {
    return this.#health.degradation;
  }

  /** Faults of the device by class since the store was made. */
  get faults(): DeviceHealth['faults'] {
    return this.#health.faults;
  }

  get purgeSequence(): number {
    return this.#purges.newestSequence;
  }

  /** Number of the newest purge that survives a crash. While the index is loading it may be higher than this says. */
  get durablePurgeSequence(): number {
    return this.#parts?.journal.flushedPurgeSequence ?? this.#deviceRoot.superblock.purgeSequence;
  }

  /** The purges after `sequence`, for a device that was away; `unknown` when they are no longer all remembered. */
  purgesSince(sequence: number): readonly Purge[] | 'unknown' {
    return this.#purges.since(sequence);
  }

  get path(): string {
    return this.#device.path;
  }

  /** Whether I/O bypasses the page cache. */
  get isDirect(): boolean {
    return this.#device.isDirect;
  }

  /** Who the device is, and how much it takes. */
  get identity(): PlaceableDevice {
    const { groupsBlocks, blockSizeBytes } = this.geometry;
    return { uuid: this.#deviceRoot.format.deviceUuid, weight: groupsBlocks * blockSizeBytes };
  }

  get cacheUuid(): Uint8Array {
    return this.#deviceRoot.format.cacheUuid;
  }

  /** The newest superblock that is durable. */
  get superblock(): Superblock {
    return this.#keeper.superblock;
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

  /**
   * Loads the index and goes online (read-only where the device is). Called once.
   *
   * @param missedPurges those that came while this device was away from a cache of several, from durablePurgeSequence on or more
   * @returns what it met
   */
  recover(missedPurges?: MissedPurges): Promise<RecoveryReport> {
    assert(this.#recovering === undefined && this.#state === 'loading', 'recover is called once, after createStore');
    this.#missedPurges = missedPurges;
    this.#recovering = this.#recover().catch((error: unknown) => {
      // Not `loading` for ever: readiness says what happened, and the origin serves.
      this.#early = undefined;
      this.#degrade({ state: 'failed', reason: 'the index could not be loaded', error });
      throw error;
    });
    return this.#recovering;
  }

  nextGeneration(): number {
    this.#keeper.raiseFloors();
    return this.#generations.take();
  }

  /** Sees to it that the superblock covers generations that are about to be given. */
  raiseFloors(): void {
    this.#keeper.raiseFloors();
  }

  /** Generation of the object in the index, purged or not; 0 when there is none. */
  generationOf(objectHash: ObjectHash): number {
    const catalogue = this.#readable()?.catalogue;
    const tagSlot = catalogue?.findObject(objectHash) ?? NO_SLOT;
    return catalogue === undefined || tagSlot === NO_SLOT ? 0 : catalogue.generationOf(tagSlot);
  }

  /** Freshness of the object's generation as the index has it. */
  freshnessOf(objectHash: ObjectHash, generation: number): ManifestFreshness | undefined {
    const catalogue = this.#readable()?.catalogue;
    const tagSlot = catalogue?.findCurrent(objectHash, generation) ?? NO_SLOT;
    return catalogue === undefined || tagSlot === NO_SLOT ? undefined : catalogue.index.freshness(tagSlot);
  }

  /** The manifest of this generation, if it is in memory. */
  manifestInMemory(objectHash: ObjectHash, generation: number): Manifest | undefined {
    return this.#shelf.find(objectHash, generation);
  }

  /** Whether readSlice may find the slice here; unlike hasSlice it does not ask purges. */
  mayHoldSlice(generation: number, sliceNumber: number): boolean {
    const parts = this.#readable();
    if (parts === undefined) return false;
    const { catalogue, sliceParts } = parts;
    if (catalogue.resident.find(generation, sliceNumber) !== undefined || sliceParts.has(generation, sliceNumber)) return true;
    return catalogue.findStored(generation, sliceNumber) !== NO_SLOT;
  }

  /** Reads here and there, before a device is taken back. @throws EdgeError DEVICE_FAULT */
  async tryReading(): Promise<void> {
    const { blockSizeBytes, capacityBytes } = this.geometry;
    await withStaging(this.#arena, blockSizeBytes, async (bytes) => {
      for (let trial = 0; trial < TRIAL_READS; trial += 1) {
        await this.#device.read([bytes], alignDown((capacityBytes / TRIAL_READS) * trial, blockSizeBytes));
      }
    });
  }

  /** Names the mount that the device takes part in. Nothing happens where what it missed before is not durable. */
  async joinMount(history: MountHistory): Promise<void> {
    if (this.#state === 'online' && this.#isUpToDate) await this.#keeper.join(history);
  }

  noteRequest(objectHash: ObjectHash, startBytes: number): void {
    if (this.#policy.noteRequest(objectTag(objectHash), startBytes)) this.#readable()?.gate.onWanted(objectHash);
  }

  findManifest(objectHash: ObjectHash): ManifestEntry | undefined {
    if (this.#early !== undefined) return this.#early.findManifest(objectHash);
    const catalogue = this.#readable()?.catalogue;
    const tagSlot = catalogue?.findObject(objectHash) ?? NO_SLOT;
    if (catalogue === undefined || tagSlot === NO_SLOT) return undefined;
    const generation = catalogue.generationOf(tagSlot);
    return this.#isHidden(generation) ? undefined : { generation, storedSlices: catalogue.index.slices(tagSlot) };
  }

  async readManifest(objectHash: ObjectHash, signal?: AbortSignal | undefined): Promise<ManifestVerdict> {
    const early = this.#early;
    if (early !== undefined) {
      const found = await early.readManifest(objectHash, signal);
      // Whole meanwhile, or not to be believed: what it says now counts.
      return this.#early === early ? found : this.readManifest(objectHash, signal);
    }
    const parts = this.#readable();
    const tagSlot = parts?.catalogue.findObject(objectHash) ?? NO_SLOT;
    if (parts === undefined || tagSlot === NO_SLOT) return this.#miss('absent');
    const { index } = parts.catalogue;
    if (this.#purges.isForgotten(parts.catalogue.generationOf(tagSlot))) return this.#miss('absent');
    index.markVisited(index.recordOf(tagSlot));
    const known = this.#shelf.find(objectHash, parts.catalogue.generationOf(tagSlot));
    if (known !== undefined) {
      // Purges take what they cover out of memory at once, so what is there is not covered.
      this.#purges.clear(known.generation);
      this.metrics.add('reads', 1, 'ram');
      return { kind: 'hit', manifest: known };
    }
    // Offered, not written, and no longer in memory: nothing is left of it.
    if (index.blocks(index.recordOf(tagSlot)) === 0) return this.#miss('absent');
    const verdict = await parts.reader.readManifest(objectHash, tagSlot, signal);
    if (verdict.kind !== 'hit') return this.#miss(verdict.kind);
    const manifest = this.#desk.admit(verdict.manifest);
    if (manifest === undefined) return this.#miss('absent');
    this.metrics.add('reads', 1, 'device');
    // What was offered while the device was reading is newer.
    const newer = this.#shelf.find(objectHash, manifest.generation);
    if (newer !== undefined) return { kind: 'hit', manifest: newer };
    this.#shelf.keep(manifest);
    return { kind: 'hit', manifest };
  }

  offerManifest(offered: Manifest, purgeSequence: number): OfferVerdict {
    const { objectHash, generation } = offered;
    assert(isSliceSize(offered.sliceSizeBytes), 'slice size is a power of two, 64 KiB to 8 MiB');
    const parts = this.#writable();
    const isCurrent = parts !== undefined && parts.catalogue.findCurrent(objectHash, generation) !== NO_SLOT;
    const isStored = isCurrent && !this.#isHidden(generation);
    const verdict = this.#purges.judgeOffer({ ...offered, purgeSequence, isStored });
    if (verdict.kind === 'covered') return this.#decline('purged');
    if (parts === undefined) return this.#decline('unavailable');
    const manifest = verdict.kind === 'stale' ? staleFrom(offered, verdict.atMs) : offered;
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
    // Where devices share a counter, this one may not have given it; a purge that comes next has to cover it.
    this.#generations.skipTo(generation + 1);
    this.#purges.clear(generation);
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
    if (catalogue === undefined || tagSlot === NO_SLOT || this.#isHidden(generation)) return;
    catalogue.setFreshness(tagSlot, freshness);
    const known = this.#shelf.find(objectHash, generation);
    const { receivedAtMs, initialAgeSeconds, freshUntilMs } = freshness;
    if (known !== undefined) this.#shelf.keep({ ...known, receivedAtMs, initialAgeSeconds, freshUntilMs });
  }

  dropManifest(objectHash: ObjectHash, generation: number | undefined): void {
    if (this.#state === 'loading') return this.#early?.drop(objectHash);
    const catalogue = this.#readable()?.catalogue;
    const tagSlot = catalogue?.findObject(objectHash) ?? NO_SLOT;
    if (catalogue === undefined || tagSlot === NO_SLOT) return;
    if (generation !== undefined && catalogue.generationOf(tagSlot) !== generation) return;
    this.#shelf.forget(objectHash);
    catalogue.dropObject(tagSlot, 'other');
  }

  async purge(target: PurgeTarget, options: PurgeOptions = {}): Promise<PurgeResult> {
    const order = this.#desk.order(target, options.isSoft === true);
    if (!this.#purges.hasRoomFor(order)) await this.#retireEpochs();
    const { purge, knownObjects } = this.#desk.take(order, target, options);
    this.#early?.onPurge();
    const parts = this.#parts;
    if (parts === undefined || this.#state !== 'online') {
      this.metrics.add('purgesRefused', 1, 'unavailable');
      throw new EdgeError(
        'STORE_UNAVAILABLE',
        `The purge holds in memory only: the store is ${this.#state}; purge again when it is online`,
      );
    }
    const isWalkNeeded = purge.kind !== 'object';
    if (isWalkNeeded) parts.walker.start();
    if (!parts.journal.append(purgeRecord(purge))) {
      this.metrics.add('purgesRefused', 1, 'journal-full');
      throw new EdgeError('STORE_UNAVAILABLE', 'The purge holds in memory only: the journal is full; purge again in a moment');
    }
    try {
      await parts.journal.flush();
    } catch (error) {
      this.metrics.add('purgesRefused', 1, 'not-durable');
      throw error;
    }
    return { knownObjects, isWalkNeeded };
  }

  hasSlice(generation: number, sliceNumber: number): boolean {
    if (this.#early !== undefined) return this.#early.hasSlice(generation, sliceNumber);
    const catalogue = this.#readable()?.catalogue;
    if (catalogue === undefined || this.#isHidden(generation) || catalogue.index.findManifest(generation) === NO_SLOT) return false;
    if (catalogue.resident.find(generation, sliceNumber) !== undefined) return true;
    return catalogue.isStored(generation, sliceNumber);
  }

  tryReadResident(read: SliceRead): { readonly lease: Lease; readonly bytes: Buffer } | undefined {
    assert(read.startBytes >= 0 && read.startBytes < read.endBytes, 'a read wants at least a byte');
    const parts = this.#readable();
    const slice = parts?.catalogue.resident.find(read.generation, read.sliceNumber);
    if (parts === undefined || slice === undefined || read.endBytes > slice.lengthBytes) return undefined;
    if (this.#isHidden(read.generation)) return undefined;
    const { catalogue, gate } = parts;
    if (catalogue.findCurrent(read.objectHash, read.generation) === NO_SLOT) return undefined;
    slice.isVisited = true;
    gate.onRead(slice);
    const slot = catalogue.findStored(read.generation, read.sliceNumber);
    if (slot !== NO_SLOT) catalogue.index.markVisited(slot);
    this.metrics.add('reads', 1, 'ram');
    const lease = slice.lease.share();
    return { lease, bytes: lease.bytes.subarray(read.startBytes, read.endBytes) };
  }

  hasPart(generation: number, sliceNumber: number): boolean {
    const parts = this.#readable();
    if (parts === undefined || this.#isHidden(generation) || parts.catalogue.index.findManifest(generation) === NO_SLOT) return false;
    return parts.sliceParts.has(generation, sliceNumber);
  }

  async readPart(address: SliceAddress, signal?: AbortSignal | undefined): Promise<PartVerdict> {
    const obstacle = await this.#lookAt(address, signal);
    const parts = this.#readable();
    if (obstacle !== undefined) return this.#miss(obstacle);
    if (parts === undefined || parts.catalogue.findCurrent(address.objectHash, address.generation) === NO_SLOT) return this.#miss('absent');
    const verdict = await parts.sliceParts.read(address, signal);
    if (verdict.kind !== 'hit') return this.#miss(verdict.kind);
    // A purge may have come while the device was reading.
    const late = await this.#lookAt(address, signal);
    if (late === undefined && parts.catalogue.findCurrent(address.objectHash, address.generation) !== NO_SLOT) {
      this.metrics.add('reads', 1, 'device');
      return verdict;
    }
    verdict.lease.end();
    return this.#miss(late ?? 'absent');
  }

  async readSlice(read: SliceRead, signal?: AbortSignal | undefined): Promise<SliceVerdict> {
    const resident = this.tryReadResident(read);
    if (resident !== undefined) return { kind: 'hit', ...resident, tier: 'ram' };
    const early = this.#early;
    if (early !== undefined) {
      const found = await early.readSlice(read, signal);
      if (this.#early === early) return found;
      if (found.kind === 'hit') found.lease.end();
      return this.readSlice(read, signal);
    }
    const obstacle = await this.#lookAt(read, signal);
    if (obstacle !== undefined) return this.#miss(obstacle);
    const parts = this.#readable();
    if (parts === undefined || parts.catalogue.findCurrent(read.objectHash, read.generation) === NO_SLOT) return this.#miss('absent');
    const waiting = parts.sliceParts.tryRead(read);
    if (waiting !== undefined) {
      this.metrics.add('reads', 1, 'ram');
      return { kind: 'hit', ...waiting, tier: 'ram' };
    }
    const slot = parts.catalogue.findStored(read.generation, read.sliceNumber);
    if (slot === NO_SLOT) return this.#miss('absent');
    parts.catalogue.index.markVisited(slot);
    const lengthBytes = this.#sliceLength(read);
    const { index } = parts.catalogue;
    const isRiding = index.kind(slot) === 'manifest';
    const verdict = isRiding
      ? await parts.reader.readBody(read, index.tagSlotOf(slot), signal)
      : await parts.reader.readSlice(read, slot, { lengthBytes, signal });
    if (verdict.kind !== 'hit') return this.#miss(verdict.kind);
    // A purge may have come while the device was reading.
    const late = await this.#lookAt(read, signal);
    if (late === undefined) {
      this.metrics.add('reads', 1, 'device');
      return verdict;
    }
    verdict.lease.end();
    return this.#miss(late);
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
    if (catalogue.findCurrent(objectHash, generation) === NO_SLOT || this.#isHidden(generation)) return this.#decline('superseded');
    this.#assertWhole(offer);
    const known = catalogue.resident.find(generation, sliceNumber);
    if (known?.isQueued === true) return { kind: 'admitted' };
    const stored = catalogue.findStored(generation, sliceNumber);
    const isStored = catalogue.isStored(generation, sliceNumber);
    if (isStored && !catalogue.index.isUnproved(stored)) return { kind: 'admitted' };
    if (offer.present !== undefined) {
      const obstacle = known === undefined && !isStored ? parts.sliceParts.offer(offer) : undefined;
      return obstacle === undefined ? { kind: 'admitted' } : this.#decline(obstacle);
    }
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

  /** Resolves when no walk after a purge is under way. For tests and the simulation. */
  async walked(): Promise<void> {
    await this.#parts?.walker.idle();
  }

  /** Writes a checkpoint now and makes it count. @throws EdgeError when it cannot be written; the device is read-only then */
  async checkpoint(): Promise<void> {
    // A superblock that was not flushed may be on the device all the same, and name the zone that this one would be written to.
    if (this.#state !== 'online') throw new EdgeError('STORE_UNAVAILABLE', `No checkpoint is written: the store is ${this.#state}`);
    await this.#keeper.checkpoint();
  }

  /** Checks index against bitmap and counts (S1, S2); slow, for tests and the simulation. @returns what is wrong, or undefined */
  findContradiction(): string | undefined {
    return this.#parts?.catalogue.findContradiction();
  }

  /** What the index knows of a slice's extent, or of the manifest's when `sliceNumber` is undefined (S6); for the simulation. */
  extentState(generation: number, sliceNumber?: number | undefined): 'absent' | 'unproved' | 'sure' {
    const catalogue = this.#parts?.catalogue;
    if (catalogue === undefined) return 'absent';
    const { index } = catalogue;
    const slot = sliceNumber === undefined ? index.findManifest(generation) : catalogue.findStored(generation, sliceNumber);
    if (slot === NO_SLOT || index.blocks(slot) === 0) return 'absent';
    return index.isUnproved(slot) ? 'unproved' : 'sure';
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #readable(): Parts | undefined {
    return this.#state === 'online' || this.#state === 'readonly' ? this.#parts : undefined;
  }

  /** Whether a purge covers the generation, or may: until its record was looked at. */
  #isHidden(generation: number): boolean {
    return this.#purges.isForgotten(generation) || this.#purges.isSuspect(generation);
  }

  /** Reads an object's record if a purge may cover it. @returns why nothing of it may be handed out, or undefined */
  async #lookAt({ objectHash, generation }: SliceAddress, signal: AbortSignal | undefined): Promise<'absent' | 'busy' | undefined> {
    if (this.#purges.isForgotten(generation)) return 'absent';
    if (!this.#purges.isSuspect(generation)) return undefined;
    const verdict = await this.readManifest(objectHash, signal);
    if (verdict.kind === 'busy') return 'busy';
    return verdict.kind === 'hit' && verdict.manifest.generation === generation && !this.#isHidden(generation) ? undefined : 'absent';
  }

  /** Epochs that were carried out make room when a checkpoint that began after that is durable. */
  async #retireEpochs(): Promise<void> {
    if (this.#purges.retiringEpochs === 0 || this.#state !== 'online') return;
    await this.#keeper.idle();
    await this.#keeper.checkpoint().catch((error: unknown) => this.#logger.warn({ err: error }, 'No checkpoint made room for a purge'));
  }

  #writable(): Parts | undefined {
    return this.#state === 'online' ? this.#parts : undefined;
  }

  /** A slice that is shorter than its manifest says could never be read and would never heal. */
  #assertWhole(offer: SliceOffer): void {
    const expected = this.#sliceLength(offer) ?? offer.lengthBytes;
    assert(offer.lengthBytes === expected, () => `slice ${offer.sliceNumber} is offered whole: ${offer.lengthBytes} of ${expected} bytes`);
  }

  /** Bytes of a slice, as far as its manifest is in memory and says. */
  #sliceLength(address: SliceAddress): number | undefined {
    const manifest = this.#shelf.find(address.objectHash, address.generation);
    if (manifest?.lengthBytes === undefined) return undefined;
    return Math.min(manifest.sliceSizeBytes, manifest.lengthBytes - address.sliceNumber * manifest.sliceSizeBytes);
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

  async #recover(): Promise<RecoveryReport> {
    const startedAtMs = this.#clock.monotonicMs();
    const missed = this.#missedPurges?.purges ?? [];
    if (missed !== 'unknown') for (const purge of missed) this.#purges.remember(purge);
    const onReadable = missed === 'unknown' ? undefined : (view: LoadingView | undefined): void => this.#readEarly(view);
    const recovered = await recoverState(this.#keeper.checkpointPlace, this.#deviceRoot, {
      onReadable,
      pause: () => new Promise((resolve) => this.#clock.defer(resolve)),
    });
    this.#generations.skipTo(recovered.generation);
    this.#writeSequences.skipTo(recovered.writeSequence);
    const parts = this.#build(recovered);
    // Purges that came while the index was loading, or while the device was away, could not be journalled; they are carried out now.
    const late = this.#desk.attach(parts.catalogue, recovered.purges, this.#missedPurges);
    this.#parts = parts;
    this.#countReport(recovered.report);
    const isWritable = !this.#device.isReadOnly && (await this.#keeper.mount(parts, recovered));
    if (isWritable) await this.#journalPurges(late, parts.journal);
    const { resident } = parts.catalogue;
    this.#removeReclaimer = this.#arena.addReclaimer({ slotCount: () => resident.count, reclaim: () => resident.reclaim() });
    if (this.#state === 'loading') this.#state = isWritable && this.#health.degradation === undefined ? 'online' : 'readonly';
    this.#endEarly();
    this.#keeper.start();
    if (this.#purges.activeEpochs > 0 || late.length > 0) parts.walker.start();
    parts.scrubber?.start();
    this.#logger.info({ ...recovered.report, tookMs: this.#clock.monotonicMs() - startedAtMs, state: this.#state }, 'The index was loaded');
    return recovered.report;
  }

  /** From here on hits come out of an index that is not whole yet. */
  #readEarly(view: LoadingView | undefined): void {
    if (this.#state !== 'loading') return;
    this.#shelf.clear();
    this.#early = undefined;
    if (view === undefined) return;
    this.#purges.foresee(view.epochs, view.purgedGeneration);
    const { format } = this.#deviceRoot;
    const media = { device: this.#device, arena: this.#arena, metrics: this.metrics, codec: this.#codec };
    const { blockSizeBytes } = this.geometry;
    const extents = new ExtentReader({ ...media, identity: format, blockSizeBytes, slotWaitMs: this.#limits.slotWaitMs });
    const shared = { shelf: this.#shelf, purges: this.#purges, clock: this.#clock, limits: this.#limits, metrics: this.metrics };
    this.#early = new EarlyReader({ ...shared, view, extents });
  }

  /** The index is whole: what was read before is read anew from it, and what was dropped meanwhile is dropped. */
  #endEarly(): void {
    const early = this.#early;
    if (early === undefined) return;
    this.#early = undefined;
    this.#shelf.clear();
    for (const objectHash of early.dropped) this.dropManifest(objectHash, undefined);
  }

  async #journalPurges(purges: readonly Purge[], journal: Journal): Promise<void> {
    if (purges.length === 0) return;
    try {
      for (const purge of purges) if (!journal.append(purgeRecord(purge))) throw new EdgeError('STORE_UNAVAILABLE', 'The journal is full');
      await journal.flush();
    } catch (error) {
      // Nobody was told that they are durable.
      this.#isUpToDate = false;
      this.#logger.warn({ err: error }, 'Purges from before the index was loaded are not durable');
    }
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
      purgeSequence: recovered.purges.newestSequence,
      onCrowded: () => this.#keeper.checkpointBeside(),
      onFailure: (_operation, error) => this.#health.metadataFailed(error),
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
    const options = { ...shared, catalogue, blockSizeBytes };
    const reading = { ...media, codec: this.#codec, slotWaitMs: this.#limits.slotWaitMs };
    const reader = new SliceReader({
      ...options,
      // Nobody waits any longer for a read that has not begun by then.
      extents: new ExtentReader({ ...reading, transferOptions: { beginWithinMs: this.#limits.readDeadlineMs } }),
      onCorrupt: () => this.#health.corrupt(),
      onManifestLost: (objectHash) => this.#shelf.forget(objectHash),
    });
    const packer = new ExtentPacker({ ...media, codec: this.#codec, policy: new CompressionPolicy(this.#compression) });
    const writer = new SliceWriter({
      ...options,
      reader,
      extents: new ExtentWriter({ ...media, epoch, newestPurge: () => this.#purges.newestSequence }),
      packer,
      shelf: this.#shelf,
      writeSequences: this.#writeSequences,
      isWritable: () => this.#state === 'online' || this.#isDraining,
      onRoom: () => gate.onRoom(),
    });
    const walker = new PurgeWalker({
      ...options,
      extents: new ExtentReader({ ...media, slotWaitMs: this.#limits.slotWaitMs }),
      shelf: this.#shelf,
      purges: this.#purges,
      isOnline: () => this.#state === 'online',
    });
    const gate = new SliceGate({
      catalogue,
      writer,
      policy: this.#policy,
      metrics: this.metrics,
      blockSizeBytes: this.geometry.blockSizeBytes,
      isOpen: () => this.#state === 'online',
    });
    const sliceParts = new SliceParts({ ...options, shelf: this.#shelf, gate, reader, writer, packer });
    const background = new ExtentReader({ ...reading, transferOptions: { priority: 'background' } });
    const scrubber = this.#makeScrubber(catalogue, (slot) => reader.check(slot, background));
    return { catalogue, writer, gate, sliceParts, reader, journal, walker, scrubber };
  }

  #makeScrubber(catalogue: Catalogue, check: SliceReader['check']): Scrubber | undefined {
    const periodMs = this.#scrubPeriodMs;
    if (periodMs === 0) return undefined;
    return new Scrubber({
      clock: this.#clock,
      metrics: this.metrics,
      catalogue,
      reader: { check },
      blockSizeBytes: this.geometry.blockSizeBytes,
      periodMs,
      isOpen: () => this.#state === 'online',
      isBusy: () => this.#device.inFlight > 0,
    });
  }

  #degrade({ state, reason, error }: Degradation): void {
    if (this.#state === 'closed' || this.#state === 'failed' || this.#state === state) return;
    // What is still loading is not served before it is whole; it ends read-only then.
    if (this.#state !== 'loading' || state === 'failed') this.#state = state;
    this.#logger.error({ err: error, path: this.#device.path, state, reason, faults: this.#health.faults }, 'The device was degraded');
    this.#onDegraded();
  }

  /** In order; or, when the device answers nothing any more, without it: what it still owes ends by itself, if ever. */
  #close(): Promise<void> {
    const { closeSilenceMs } = this.#limits;
    return new Promise((resolve, reject) => {
      const watch = this.#clock.startInterval(closeSilenceMs / 4, () => {
        if (this.#device.silentMs() < closeSilenceMs) return;
        watch.stop();
        this.#isDraining = false;
        this.#isGivenUp = true;
        this.#logger.error({ path: this.#device.path, inFlight: this.#device.inFlight }, 'The device does not answer; it was given up');
        resolve();
      });
      this.#closeInOrder()
        .then(resolve, reject)
        .finally(() => watch.stop());
    });
  }

  async #closeInOrder(): Promise<void> {
    const early = this.#early;
    await this.#recovering?.catch(() => undefined);
    await early?.idle();
    const wasOnline = this.#state === 'online';
    this.#isDraining = wasOnline;
    this.#state = 'closed';
    this.#keeper.stop();
    const parts = this.#parts;
    if (parts !== undefined) {
      await parts.walker.stop();
      await parts.scrubber?.stop();
      await parts.writer.idle();
      await parts.reader.idle();
      this.#isDraining = false;
      if (wasOnline && !this.#isGivenUp) await this.#keeper.closeCleanly();
      else await this.#keeper.idle();
      parts.journal.stop();
      this.#removeReclaimer();
      parts.catalogue.resident.removeAll();
    }
    await this.#device.close();
  }

  #countReport(report: RecoveryReport): void {
    this.metrics.add('recoveredEntries', report.records);
    this.metrics.add('recoveryDropped', report.orphans, 'orphan');
    this.metrics.add('recoveryDropped', report.overlaps, 'overlap');
    this.metrics.add('recoveryDropped', report.surplus, 'surplus');
    this.metrics.add('recoveryDropped', report.invalid + report.onBadBlocks, 'damage');
    if (!report.isCheckpointWhole) this.#logger.warn({ damagedParts: report.damagedParts }, 'The checkpoint was not whole');
    if (report.isForgotten) this.#logger.error({}, 'The journal was damaged where a purge may have been; the cache starts empty');
  }

  #setGauges(): void {
    this.metrics.setGauge('entries', () => this.usage.entries);
    this.metrics.setGauge('entriesMax', () => this.usage.entriesMax);
    this.metrics.setGauge('usedBytes', () => this.usage.usedBytes);
    this.metrics.setGauge('freeBytes', () => this.usage.freeBytes);
    this.metrics.setGauge('badBlocks', () => this.#parts?.catalogue.allocator.badBlocks ?? 0);
    this.metrics.setGauge('queuedSlices', () => this.#parts?.writer.queuedSlices ?? 0);
    this.metrics.setGauge('queuedBytes', () => this.#parts?.writer.queuedBytes ?? 0);
    this.metrics.setGauge('residentSlices', () => this.#parts?.catalogue.resident.count ?? 0);
    this.metrics.setGauge('pendingManifests', () => this.#shelf.pendingCount);
    this.metrics.setGauge('journalBlocks', () => this.#parts?.journal.usedBlocks ?? 0);
    this.metrics.setGauge('purgeEpochs', () => this.#purges.activeEpochs);
    this.metrics.setGauge('purgeEpochsRetiring', () => this.#purges.retiringEpochs);
    this.metrics.setGauge('scrubProgress', () => this.#parts?.scrubber?.progress ?? 0);
    this.metrics.setGauge('purgeWalkEntries', () => this.#parts?.walker.remainingEntries ?? 0);
    this.metrics.setGauge('state', () => STATE_NUMBERS[this.#state]);
    this.metrics.setGauge('isFull', () => (this.#parts?.catalogue.isFull === true ? 1 : 0));
    this.metrics.setGauge('declinedSlices', () => this.#parts?.gate.declinedCount ?? 0);
    this.metrics.setGauge('requestFilterFill', () => this.#policy.requestsFill);
    this.metrics.setGauge('writeBudgetBytes', () => this.#policy.budgetBytes);
    this.metrics.setGauge('isWritable', () => (this.#state === 'online' ? 1 : 0));
  }
}
