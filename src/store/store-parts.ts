/**
 * Builds the parts of a mounted store out of what recovery found, bottom-up: journal, catalogue, reader, writer, gate, and what works in the
 * background. Called by device-store.ts, once.
 */
import type { Clock } from '../base/clock.ts';
import type { MetricSet } from '../base/metrics.ts';
import type { Arena } from '../memory/arena.ts';
import type { AdmissionPolicy } from './admission/admission-policy.ts';
import { SliceGate } from './admission/slice-gate.ts';
import type { ChunkCodec } from './extents/chunk-codec.ts';
import { type CompressionMode, CompressionPolicy } from './extents/compression-policy.ts';
import { ExtentPacker } from './extents/extent-packer.ts';
import { ExtentReader } from './extents/extent-reader.ts';
import { ExtentWriter } from './extents/extent-writer.ts';
import { HeaderCache } from './extents/header-cache.ts';
import { SliceParts } from './extents/slice-parts.ts';
import { SliceReader } from './extents/slice-reader.ts';
import { SliceWriter } from './extents/slice-writer.ts';
import type { DeviceHealth } from './health/device-health.ts';
import { Scrubber } from './health/scrubber.ts';
import type { WatchedDevice } from './health/watched-device.ts';
import { Catalogue } from './index/catalogue.ts';
import type { ManifestShelf } from './index/manifest-shelf.ts';
import { Trimmer } from './index/trimmer.ts';
import type { PurgeMemory } from './purges/purge-memory.ts';
import { PurgeWalker } from './purges/purge-walker.ts';
import { Journal } from './recovery/journal.ts';
import type { PersistentCounter } from './recovery/persistent-counter.ts';
import type { RecoveredState } from './recovery/recovery.ts';
import type { DeviceRoot } from './recovery/root-area.ts';
import type { RootKeeper } from './recovery/root-keeper.ts';
import type { StoreLimits } from './store-limits.ts';
import type { STORE_METRICS } from './store-metrics.ts';

/** The parts that exist once the index is loaded. */
export interface StoreParts {
  readonly catalogue: Catalogue;
  readonly writer: SliceWriter;
  readonly gate: SliceGate;
  readonly sliceParts: SliceParts;
  readonly reader: SliceReader;
  readonly journal: Journal;
  readonly walker: PurgeWalker;
  /** Undefined where nobody wants it. */
  readonly scrubber: Scrubber | undefined;
  /** The same. */
  readonly trimmer: Trimmer | undefined;
}

/** What the parts are built from. */
export interface StorePartsOptions {
  readonly device: WatchedDevice;
  readonly arena: Arena;
  readonly clock: Clock;
  readonly limits: StoreLimits;
  readonly metrics: MetricSet<typeof STORE_METRICS>;
  readonly root: DeviceRoot;
  readonly keeper: RootKeeper;
  readonly health: DeviceHealth;
  readonly shelf: ManifestShelf;
  readonly purges: PurgeMemory;
  readonly policy: AdmissionPolicy;
  readonly codec: ChunkCodec;
  readonly compression: CompressionMode;
  /** 0: nothing is scrubbed. */
  readonly scrubPeriodMs: number;
  /** Whether the device is told of free room. */
  readonly trims: boolean;
  readonly writeSequences: PersistentCounter;
  readonly isOnline: () => boolean;
  /** Online, or closing with writes still to be done. */
  readonly isWritable: () => boolean;
}

/** The parts, put together; nothing runs yet. */
export function buildParts(options: StorePartsOptions, recovered: RecoveredState): StoreParts {
  const { format, superblock } = options.root;
  const { geometry } = format;
  const { device, arena, clock, limits, metrics, shelf, purges, isOnline } = options;
  const shared = { device, arena, clock, limits, metrics };
  const epoch = superblock.epoch + 1;
  const journal = new Journal({
    ...shared,
    geometry,
    deviceTag: format.deviceUuid.subarray(0, 8),
    epoch,
    position: recovered.journal,
    startSequence: recovered.journalStart,
    purgeSequence: recovered.purges.newestSequence,
    onCrowded: () => options.keeper.checkpointBeside(),
    onFailure: (_operation, error) => options.health.metadataFailed(error),
  });
  const catalogue = new Catalogue({
    index: recovered.index,
    allocator: recovered.allocator,
    journal,
    limits,
    metrics,
    policy: options.policy,
    clock: options.clock,
    onVanish: (slice) => gate.forget(slice),
  });
  const { blockSizeBytes } = geometry;
  const media = { ...shared, identity: format, blockSizeBytes };
  const stored = { ...shared, catalogue, blockSizeBytes };
  const reading = { ...media, codec: options.codec, slotWaitMs: limits.slotWaitMs };
  const reader = new SliceReader({
    ...stored,
    // Nobody waits any longer for a read that has not begun by then.
    extents: new ExtentReader({
      ...reading,
      headers: new HeaderCache(limits, metrics),
      transferOptions: { beginWithinMs: limits.readDeadlineMs },
    }),
    onCorrupt: () => options.health.corrupt(),
    onManifestLost: (objectHash) => shelf.forget(objectHash),
  });
  const packer = new ExtentPacker({ ...media, codec: options.codec, policy: new CompressionPolicy(options.compression) });
  const writer = new SliceWriter({
    ...stored,
    reader,
    extents: new ExtentWriter({ ...media, epoch, newestPurge: () => purges.newestSequence }),
    packer,
    shelf,
    writeSequences: options.writeSequences,
    isWritable: options.isWritable,
    onRoom: () => gate.onRoom(),
  });
  const walker = new PurgeWalker({
    ...stored,
    extents: new ExtentReader({ ...media, slotWaitMs: limits.slotWaitMs }),
    shelf,
    purges,
    isOnline,
  });
  const gate = new SliceGate({
    catalogue,
    writer,
    policy: options.policy,
    metrics,
    blockSizeBytes,
    isOpen: isOnline,
  });
  const sliceParts = new SliceParts({ ...stored, shelf, gate, reader, writer, packer });
  // Without kept headers: the scrubber looks at what lies on the device.
  const background = new ExtentReader({ ...reading, transferOptions: { priority: 'background' } });
  const scrubber = makeScrubber(options, catalogue, (slot) => reader.check(slot, background));
  return { catalogue, writer, gate, sliceParts, reader, journal, walker, scrubber, trimmer: makeTrimmer(options, catalogue) };
}

function makeScrubber(options: StorePartsOptions, catalogue: Catalogue, check: SliceReader['check']): Scrubber | undefined {
  const { scrubPeriodMs: periodMs, clock, metrics, device, isOnline, root } = options;
  if (periodMs === 0) return undefined;
  return new Scrubber({
    clock,
    metrics,
    catalogue,
    reader: { check },
    blockSizeBytes: root.format.geometry.blockSizeBytes,
    periodMs,
    isOpen: isOnline,
    isBusy: () => device.inFlight > 0,
  });
}

function makeTrimmer(options: StorePartsOptions, { allocator }: Catalogue): Trimmer | undefined {
  const { trims, clock, metrics, device, isOnline, root } = options;
  if (!trims) return undefined;
  const { blockSizeBytes } = root.format.geometry;
  return new Trimmer({ clock, metrics, allocator, device, blockSizeBytes, isOpen: isOnline, isBusy: () => device.inFlight > 0 });
}
