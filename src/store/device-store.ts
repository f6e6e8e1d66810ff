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
import type { Geometry } from '../format/geometry.ts';
import type { Manifest, ManifestFreshness, ObjectHash } from '../format/manifest.ts';
import type { Superblock } from '../format/superblock.ts';
import type { Arena } from '../memory/arena.ts';
import type { Lease } from '../memory/lease.ts';
import { AdmissionLadder } from './admission/admission-ladder.ts';
import { ADMIT_EVERYTHING, type AdmissionPolicy } from './admission/admission-policy.ts';
import { withStaging } from './device-io.ts';
import type { MountHistory } from './devices/membership.ts';
import type { PlaceableDevice } from './devices/placement.ts';
import { type ChunkCodec, INLINE_CODEC } from './extents/chunk-codec.ts';
import type { CompressionMode } from './extents/compression-policy.ts';
import { ExtentReader } from './extents/extent-reader.ts';
import { type Degradation, DeviceHealth } from './health/device-health.ts';
import { WatchedDevice } from './health/watched-device.ts';
import { HeldGenerations } from './index/held-generations.ts';
import { ManifestShelf } from './index/manifest-shelf.ts';
import { objectTag } from './index/slice-index.ts';
import { MountedStore } from './mounted-store.ts';
import { type Purge, purgeRecord } from './purges/purge.ts';
import { type MissedPurges, PurgeDesk } from './purges/purge-desk.ts';
import type { PurgeProgress } from './purges/purge-ledger.ts';
import { PurgeMemory } from './purges/purge-memory.ts';
import { EarlyReader, type LoadingView } from './recovery/early-reader.ts';
import type { Journal } from './recovery/journal.ts';
import { type NumberSequence, PersistentCounter } from './recovery/persistent-counter.ts';
import { type RecoveredState, type RecoveryReport, recoverState } from './recovery/recovery.ts';
import { type DeviceRoot, readRoot } from './recovery/root-area.ts';
import { RootKeeper } from './recovery/root-keeper.ts';
import type {
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
import { DEFAULT_STORE_LIMITS, type StoreLimits } from './store-limits.ts';
import { STORE_METRICS } from './store-metrics.ts';
import { buildParts, type StoreParts, type StorePartsOptions } from './store-parts.ts';

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
  /** Whether the device is told of room that stays free; not when undefined. */
  readonly trims?: boolean | undefined;
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
  readonly #holds: HeldGenerations;
  readonly #policy: AdmissionPolicy;
  readonly #codec: ChunkCodec;
  readonly #compression: CompressionMode;
  readonly #scrubPeriodMs: number;
  readonly #trims: boolean;
  readonly #purges: PurgeMemory;
  readonly #desk: PurgeDesk;
  readonly #health: DeviceHealth;
  readonly #onDegraded: () => void;
  readonly #generations: PersistentCounter;
  readonly #writeSequences: PersistentCounter;
  #state: StoreState = 'loading';
  #parts: StoreParts | undefined;
  /** Answers from them. */
  #mounted: MountedStore | undefined;
  /** While the index is loading and can be read. */
  #early: EarlyReader | undefined;
  /** What was dropped while the index is loading: it is dropped from it when it is whole. */
  readonly #dropped = new Set<ObjectHash>();
  /** More than are told apart: any object of the index may be one of them. */
  #isAllDropped = false;
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
    this.#trims = options.trims ?? false;
    this.#deviceRoot = root;
    this.geometry = root.format.geometry;
    this.#shelf = new ManifestShelf(this.#limits);
    this.#holds = new HeldGenerations(this.#limits.heldGenerations);
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
      holds: this.#holds,
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
      this.#stopEarly();
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

  /** The manifest of this generation, if it is in memory. */
  manifestInMemory(objectHash: ObjectHash, generation: number): Manifest | undefined {
    return this.#shelf.find(objectHash, generation);
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
    if (this.#policy.noteRequest(objectTag(objectHash), startBytes)) this.#mounted?.onWanted(objectHash);
  }

  /** Generation of the object in the index, purged or not; 0 when there is none. */
  generationOf(objectHash: ObjectHash): number {
    return this.#mounted?.generationOf(objectHash) ?? 0;
  }

  /** Freshness of the object's generation as the index has it. */
  freshnessOf(objectHash: ObjectHash, generation: number): ManifestFreshness | undefined {
    return this.#mounted?.freshnessOf(objectHash, generation);
  }

  /** Whether readSlice may find the slice here; unlike hasSlice it does not ask purges. */
  mayHoldSlice(generation: number, sliceNumber: number): boolean {
    return this.#mounted?.mayHoldSlice(generation, sliceNumber) ?? false;
  }

  findManifest(objectHash: ObjectHash): ManifestEntry | undefined {
    return this.#early === undefined ? this.#mounted?.findManifest(objectHash) : this.#early.findManifest(objectHash);
  }

  tryReadManifest(objectHash: ObjectHash): Manifest | undefined {
    return this.#early === undefined ? this.#mounted?.tryReadManifest(objectHash) : undefined;
  }

  async readManifest(objectHash: ObjectHash, signal?: AbortSignal | undefined): Promise<ManifestVerdict> {
    const early = this.#early;
    if (early === undefined) return this.#mounted?.readManifest(objectHash, signal) ?? this.#miss();
    const found = await early.readManifest(objectHash, signal);
    // Whole meanwhile, or not to be believed: what it says now counts.
    return this.#early === early ? found : this.readManifest(objectHash, signal);
  }

  offerManifest(offered: Manifest, purgeSequence: number): OfferVerdict {
    return this.#mounted?.offerManifest(offered, purgeSequence) ?? this.#decline();
  }

  refreshManifest(objectHash: ObjectHash, generation: number, freshness: ManifestFreshness): void {
    // While loading nothing can be noted: it stays as fresh as it was, unless it is less so now.
    const known = this.#state === 'loading' ? this.#shelf.find(objectHash, generation) : undefined;
    if (known !== undefined && known.freshUntilMs > freshness.freshUntilMs) this.#dropLater(objectHash);
    else this.#mounted?.refreshManifest(objectHash, generation, freshness);
  }

  dropManifest(objectHash: ObjectHash, generation: number | undefined): void {
    if (this.#state === 'loading') this.#dropLater(objectHash);
    else this.#mounted?.dropManifest(objectHash, generation);
  }

  holdGeneration(manifest: Manifest): () => void {
    if (!this.#holds.hold(manifest)) {
      this.metrics.add('holdsRefused');
      return () => undefined;
    }
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      if (this.#holds.release(manifest.generation)) this.#mounted?.dropRetired(manifest.generation);
    };
  }

  hasSlice(generation: number, sliceNumber: number): boolean {
    const answerer = this.#early ?? this.#mounted;
    return answerer?.hasSlice(generation, sliceNumber) ?? false;
  }

  tryReadResident(read: SliceRead): { readonly lease: Lease; readonly bytes: Buffer } | undefined {
    return this.#mounted?.tryReadResident(read);
  }

  hasPart(generation: number, sliceNumber: number): boolean {
    return this.#mounted?.hasPart(generation, sliceNumber) ?? false;
  }

  async readPart(address: SliceAddress, signal?: AbortSignal | undefined): Promise<PartVerdict> {
    return this.#mounted?.readPart(address, signal) ?? this.#miss();
  }

  async readSlice(read: SliceRead, signal?: AbortSignal | undefined): Promise<SliceVerdict> {
    const early = this.#early;
    if (early === undefined) return this.#mounted?.readSlice(read, signal) ?? this.#miss();
    const found = await early.readSlice(read, signal);
    if (this.#early === early) return found;
    if (found.kind === 'hit') found.lease.end();
    return this.readSlice(read, signal);
  }

  offerSlice(offer: SliceOffer): OfferVerdict {
    return this.#mounted?.offerSlice(offer) ?? this.#decline();
  }

  /** What the index knows of a slice's extent, or of the manifest's when `sliceNumber` is undefined (S6); for the simulation. */
  extentState(generation: number, sliceNumber?: number | undefined): 'absent' | 'unproved' | 'sure' {
    return this.#mounted?.extentState(generation, sliceNumber) ?? 'absent';
  }

  async purge(target: PurgeTarget, options: PurgeOptions = {}): Promise<PurgeResult> {
    const order = this.#desk.order(target, options.isSoft === true);
    if (!this.#purges.hasRoomFor(order)) await this.#retireEpochs();
    const purge = this.#desk.take(order, target, options);
    this.#early?.onPurge();
    const parts = this.#parts;
    if (parts === undefined || this.#state !== 'online') {
      this.metrics.add('purgesRefused', 1, 'unavailable');
      throw new EdgeError(
        'STORE_UNAVAILABLE',
        `The purge holds in memory only: the store is ${this.#state}; purge again when it is online`,
      );
    }
    if (purge.kind !== 'object') parts.walker.start();
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
    return { sequence: purge.sequence, ...(this.purgeProgress(purge.sequence) ?? { objects: 0, isDone: false }) };
  }

  mayHold(objectHash: ObjectHash): boolean {
    return (this.#state !== 'online' && this.#state !== 'readonly') || this.generationOf(objectHash) > 0;
  }

  purgeProgress(sequence: number): PurgeProgress | undefined {
    return this.#purges.ledger.find(sequence);
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

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Epochs that were carried out make room when a checkpoint that began after that is durable. */
  async #retireEpochs(): Promise<void> {
    if (this.#purges.retiringEpochs === 0 || this.#state !== 'online') return;
    await this.#keeper.idle();
    await this.#keeper.checkpoint().catch((error: unknown) => this.#logger.warn({ err: error }, 'No checkpoint made room for a purge'));
  }

  #miss(): { readonly kind: 'absent' } {
    this.metrics.add('reads', 1, 'absent');
    return { kind: 'absent' };
  }

  #decline(): OfferVerdict {
    this.metrics.add('declined', 1, 'unavailable');
    return { kind: 'declined', reason: 'unavailable' };
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
    // Of the index may be, where numbers were damaged, what is above those that were known to be given.
    if (this.#isAllDropped) this.#purges.foresee([], this.#generations.next);
    const parts = this.#build(recovered);
    const { metrics, geometry } = this;
    const shared = { shelf: this.#shelf, holds: this.#holds, purges: this.#purges, desk: this.#desk, generations: this.#generations };
    this.#mounted = new MountedStore({ parts, ...shared, geometry, metrics, state: () => this.#state });
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
    if (this.#purges.activeEpochs > 0 || late.length > 0 || this.#isAllDropped) parts.walker.start();
    parts.scrubber?.start();
    parts.trimmer?.start();
    this.#logger.info({ ...recovered.report, tookMs: this.#clock.monotonicMs() - startedAtMs, state: this.#state }, 'The index was loaded');
    return recovered.report;
  }

  /** From here on hits come out of an index that is not whole yet. */
  #readEarly(view: LoadingView | undefined): void {
    this.#stopEarly();
    if (view === undefined || this.#state !== 'loading') return;
    this.#purges.foresee(view.epochs, view.purgedGeneration);
    const { format } = this.#deviceRoot;
    const media = { device: this.#device, arena: this.#arena, metrics: this.metrics, codec: this.#codec };
    const { blockSizeBytes } = this.geometry;
    const extents = new ExtentReader({ ...media, identity: format, blockSizeBytes, slotWaitMs: this.#limits.slotWaitMs });
    const shared = { shelf: this.#shelf, purges: this.#purges, clock: this.#clock, limits: this.#limits, metrics: this.metrics };
    this.#early = new EarlyReader({ ...shared, view, extents, dropped: this.#dropped });
  }

  /** Nobody is served it from here on; the index that loads may hold it all the same. */
  #dropLater(objectHash: ObjectHash): void {
    const { purgesRemembered } = this.#limits;
    if (this.#dropped.has(objectHash) || this.#dropped.size < purgesRemembered) this.#dropped.add(objectHash);
    else if (!this.#isAllDropped) {
      this.#isAllDropped = true;
      this.#purges.foresee([], this.#generations.next);
      this.#shelf.clear();
      this.metrics.add('purges', 1, 'everything');
      this.#logger.warn(
        { purgesRemembered },
        'More objects were invalidated while the index was loading than are told apart; all are forgotten',
      );
    }
    this.#shelf.forget(objectHash);
    this.#early?.onPurge();
  }

  /** The index is whole: what was read before is read anew from it, and what was dropped meanwhile is dropped. */
  #endEarly(): void {
    this.#stopEarly();
    for (const objectHash of this.#dropped) this.dropManifest(objectHash, undefined);
    this.#dropped.clear();
  }

  /** Nothing more comes out of an index that is not whole. */
  #stopEarly(): void {
    if (this.#early === undefined) return;
    this.#early.end();
    this.#early = undefined;
    this.#shelf.clear();
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

  #build(recovered: RecoveredState): StoreParts {
    const isOnline = (): boolean => this.#state === 'online';
    const base = { device: this.#device, arena: this.#arena, clock: this.#clock, limits: this.#limits, metrics: this.metrics };
    const options: StorePartsOptions = {
      ...base,
      root: this.#deviceRoot,
      keeper: this.#keeper,
      health: this.#health,
      shelf: this.#shelf,
      purges: this.#purges,
      policy: this.#policy,
      codec: this.#codec,
      compression: this.#compression,
      scrubPeriodMs: this.#scrubPeriodMs,
      trims: this.#trims,
      writeSequences: this.#writeSequences,
      isOnline,
      isWritable: () => isOnline() || this.#isDraining,
    };
    return buildParts(options, recovered);
  }

  #degrade({ state, reason, error }: Degradation): void {
    if (this.#state === 'closed' || this.#state === 'failed' || this.#state === state) return;
    // What is still loading is not served before it is whole; it ends read-only then.
    if (this.#state !== 'loading' || state === 'failed') this.#state = state;
    // Nor is a failed one asked: what is dropped from here on is not remembered, and whoever waits for a part of its checkpoint may wait for ever.
    if (state === 'failed') this.#stopEarly();
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
      parts.trimmer?.stop();
      await parts.writer.idle();
      await parts.reader.idle();
      this.#isDraining = false;
      if (wasOnline && !this.#isGivenUp) await this.#closeCleanly(parts);
      else await this.#keeper.idle();
      parts.journal.stop();
      this.#removeReclaimer();
      parts.catalogue.resident.removeAll();
    }
    await this.#device.close();
  }

  /** Whatever readers still hold is over, so that the last checkpoint has no orphans. */
  async #closeCleanly({ catalogue }: StoreParts): Promise<void> {
    for (const generation of catalogue.retiredGenerations()) catalogue.dropRetired(generation, 'other');
    catalogue.freeRemains(Number.POSITIVE_INFINITY);
    await this.#keeper.closeCleanly();
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
    this.metrics.setGauge('heldGenerations', () => this.#holds.count);
    this.metrics.setGauge('retiredGenerations', () => this.#parts?.catalogue.retiredCount ?? 0);
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
