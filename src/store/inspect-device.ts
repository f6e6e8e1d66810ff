/**
 * Looks at a device without changing it: what `rawslice inspect` prints. Works on a device that another process is writing to: what moves
 * away meanwhile is left out. Any bytes are fine; only a device without a readable root is an error.
 */
import { SystemClock } from '../base/clock.ts';
import { MIB } from '../base/units.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { CODEC_RAW, decodeExtentHeader, EXTENT_KINDS, verifyChunks } from '../format/extent-header.ts';
import { FORMAT_VERSION, formatUuid } from '../format/format-block.ts';
import { MANIFEST_NUMBER } from '../format/journal-block.ts';
import type { Manifest, ObjectHash } from '../format/manifest.ts';
import { decodeManifestRecord } from '../format/manifest-record.ts';
import type { CheckpointReference } from '../format/superblock.ts';
import { Arena } from '../memory/arena.ts';
import { tryRead, withStaging } from './device-io.ts';
import { type RecoveredState, type RecoveryReport, recoverState } from './recovery.ts';
import { type DeviceRoot, type LabelReport, readRoot } from './root-area.ts';
import { NO_SLOT, objectTag } from './slice-index.ts';

const ARENA_BYTES = 8 * MIB;

/** A zone and where it lies, in bytes. */
export interface ZoneSummary {
  readonly name: 'label 0' | 'label 1' | 'journal' | 'checkpoint A' | 'checkpoint B' | 'allocation groups' | 'label 2' | 'label 3';
  readonly startBytes: number;
  readonly endBytes: number;
}

/** Everything about a device but its objects. */
export interface DeviceSummary {
  readonly formatVersion: number;
  readonly deviceUuid: string;
  readonly cacheUuid: string;
  readonly createdAtMs: number;
  readonly capacityBytes: number;
  readonly blockSizeBytes: number;
  readonly zones: readonly ZoneSummary[];
  readonly labels: readonly LabelReport[];
  readonly superblockSequence: number;
  readonly epoch: number;
  readonly mounts: number;
  readonly isClean: boolean;
  readonly generationFloor: number;
  readonly purgeSequence: number;
  readonly writtenBytes: number;
  readonly checkpoint: CheckpointReference;
  /** Sequence of the block where replay begins, and of the one that would be written next. */
  readonly journalStart: number;
  readonly journalNext: number;
  readonly journalBlocks: number;
  readonly entries: number;
  readonly entriesMax: number;
  readonly objects: number;
  readonly slices: number;
  readonly usedBytes: number;
  readonly freeBytes: number;
  readonly recovery: RecoveryReport;
}

/** An object as it is stored. */
export interface StoredObject {
  readonly manifest: Manifest;
  readonly storedSlices: number;
  /** Bytes of the device that its slices and its record take. */
  readonly storedBytes: number;
}

/** One stored slice. */
export interface StoredSlice {
  readonly sliceNumber: number;
  /** First byte on the device, and bytes taken, header included. */
  readonly offsetBytes: number;
  readonly allocatedBytes: number;
  readonly writeSequence: number;
}

/** A device's root and index as of now, and memory to read with. */
interface Look {
  readonly device: BlockDevice;
  readonly arena: Arena;
  readonly root: DeviceRoot;
  readonly state: RecoveredState;
}

/** Everything but the objects themselves. @throws EdgeError FORMAT_VERSION, FORMAT_DAMAGED, DEVICE_TRUNCATED, DEVICE_UNSUITABLE */
export async function readDeviceSummary(device: BlockDevice): Promise<DeviceSummary> {
  const { root, state } = await lookAt(device);
  const { format, superblock } = root;
  const { geometry } = format;
  let slices = 0;
  let objects = 0;
  for (const slot of state.index.records()) {
    if (state.index.kind(slot) === 'slice') slices += 1;
    else objects += 1;
  }
  const { freeBlocks, blockCount } = state.allocator;
  return {
    formatVersion: FORMAT_VERSION,
    deviceUuid: formatUuid(format.deviceUuid),
    cacheUuid: formatUuid(format.cacheUuid),
    createdAtMs: format.createdAtMs,
    capacityBytes: geometry.capacityBytes,
    blockSizeBytes: geometry.blockSizeBytes,
    zones: zonesOf(root),
    labels: root.labels,
    superblockSequence: superblock.sequence,
    epoch: superblock.epoch,
    mounts: superblock.mounts,
    isClean: superblock.isClean,
    generationFloor: superblock.generationFloor,
    purgeSequence: state.purgeSequence,
    writtenBytes: superblock.writtenBytes,
    checkpoint: superblock.checkpoint,
    journalStart: state.journalStart,
    journalNext: state.journal.nextSequence,
    journalBlocks: geometry.journalBlocks,
    entries: state.index.usedEntries,
    entriesMax: geometry.entryCount,
    objects,
    slices,
    usedBytes: (blockCount - freeBlocks) * geometry.blockSizeBytes,
    freeBytes: freeBlocks * geometry.blockSizeBytes,
    recovery: state.report,
  };
}

/**
 * The objects whose key begins with `prefix`, in the order in which they were stored, at most `limit` of them.
 *
 * @throws EdgeError as readDeviceSummary
 */
export async function* listObjects(
  device: BlockDevice,
  options: { readonly prefix?: string | undefined; readonly limit?: number | undefined } = {},
): AsyncGenerator<StoredObject> {
  const look = await lookAt(device);
  const usage = usageByGeneration(look.state);
  const { prefix = '', limit = Number.POSITIVE_INFINITY } = options;
  let found = 0;
  for (const slot of look.state.index.recordSlots()) {
    if (found >= limit) return;
    if (look.state.index.kind(slot) !== 'manifest') continue;
    const manifest = await readManifestAt(look, slot);
    if (manifest === undefined || !manifest.keyText.startsWith(prefix)) continue;
    found += 1;
    const { slices, blocks } = usage.get(manifest.generation) ?? { slices: 0, blocks: 0 };
    yield { manifest, storedSlices: slices, storedBytes: blocks * look.root.format.geometry.blockSizeBytes };
  }
}

/** The object's manifest and its slices in order, or undefined when it is not stored. @throws EdgeError as readDeviceSummary */
export async function sliceMap(
  device: BlockDevice,
  objectHash: ObjectHash,
): Promise<{ readonly manifest: Manifest; readonly slices: readonly StoredSlice[] } | undefined> {
  const look = await lookAt(device);
  const { index } = look.state;
  const tagSlot = index.findTag(objectTag(objectHash));
  const manifest = tagSlot === NO_SLOT ? undefined : await readManifestAt(look, index.recordOf(tagSlot));
  if (manifest?.objectHash !== objectHash) return undefined;
  const { blockSizeBytes } = look.root.format.geometry;
  const slices: StoredSlice[] = [];
  for (const slot of index.records()) {
    if (index.kind(slot) !== 'slice' || index.generation(slot) !== manifest.generation) continue;
    slices.push({
      sliceNumber: index.sliceNumber(slot),
      offsetBytes: index.block(slot) * blockSizeBytes,
      allocatedBytes: index.blocks(slot) * blockSizeBytes,
      writeSequence: index.writeSequence(slot),
    });
  }
  slices.sort((left, right) => left.sliceNumber - right.sliceNumber);
  return { manifest, slices };
}

async function lookAt(device: BlockDevice): Promise<Look> {
  const arena = new Arena({ sizeBytes: ARENA_BYTES, clock: new SystemClock() });
  const root = await readRoot(device, arena);
  const { format } = root;
  const place = { device, arena, geometry: format.geometry, deviceTag: format.deviceUuid.subarray(0, 8) };
  return { device, arena, root, state: await recoverState(place, root) };
}

function usageByGeneration(state: RecoveredState): Map<number, { slices: number; blocks: number }> {
  const usage = new Map<number, { slices: number; blocks: number }>();
  for (const slot of state.index.records()) {
    const generation = state.index.generation(slot);
    const known = usage.get(generation) ?? { slices: 0, blocks: 0 };
    known.blocks += state.index.blocks(slot);
    if (state.index.kind(slot) === 'slice') known.slices += 1;
    usage.set(generation, known);
  }
  return usage;
}

/** The record that the index names, if it is still there and proves itself. */
async function readManifestAt(look: Look, slot: number): Promise<Manifest | undefined> {
  const { index } = look.state;
  const { format } = look.root;
  const { blockSizeBytes } = format.geometry;
  const { block, blocks, writeSequence } = index.place(slot);
  if (blocks * blockSizeBytes > MIB) return undefined;
  return withStaging(look.arena, blocks * blockSizeBytes, async (bytes) => {
    if (!(await tryRead(look.device, bytes, block * blockSizeBytes))) return undefined;
    const headerBlock = bytes.subarray(0, blockSizeBytes);
    const payload = bytes.subarray(blockSizeBytes);
    const header = decodeExtentHeader(headerBlock, format);
    const isRight = header?.kind === EXTENT_KINDS.manifest && header.codec === CODEC_RAW && header.sliceNumber === MANIFEST_NUMBER;
    if (!isRight || header.writeSequence !== writeSequence || header.ownBlock !== block || header.rawBytes > payload.length)
      return undefined;
    if (header.storedBytes !== header.rawBytes || !verifyChunks(headerBlock, header, { firstChunk: 0, bytes: payload })) return undefined;
    const manifest = decodeManifestRecord(payload.subarray(0, header.rawBytes));
    if (manifest?.generation !== index.generation(slot)) return undefined;
    return { ...manifest, ...index.freshness(index.tagSlotOf(slot)) };
  });
}

function zonesOf(root: DeviceRoot): ZoneSummary[] {
  const { geometry } = root.format;
  const { labelOffsets, labelBytes, journalOffset, journalBytes, checkpointOffsets, checkpointBytes, groupsOffset } = geometry;
  const zone = (name: ZoneSummary['name'], startBytes: number, bytes: number): ZoneSummary => ({
    name,
    startBytes,
    endBytes: startBytes + bytes,
  });
  return [
    zone('label 0', labelOffsets[0], labelBytes),
    zone('label 1', labelOffsets[1], labelBytes),
    zone('journal', journalOffset, journalBytes),
    zone('checkpoint A', checkpointOffsets[0], checkpointBytes),
    zone('checkpoint B', checkpointOffsets[1], checkpointBytes),
    zone('allocation groups', groupsOffset, geometry.groupsBlocks * geometry.blockSizeBytes),
    zone('label 2', labelOffsets[2], labelBytes),
    zone('label 3', labelOffsets[3], labelBytes),
  ];
}
