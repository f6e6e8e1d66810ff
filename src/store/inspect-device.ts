/**
 * Looks at a cache on a device without opening it as a store: labels, usage, objects, slices. It reads only and claims nothing, so it may
 * run beside a server; what that server changes meanwhile shows as a state between, never as a failure. Called by `rawslice inspect`.
 */

import { divCeil, SECOND_MS } from '../base/units.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { extentBlocks } from '../format/extent-header.ts';
import { MANIFEST_NUMBER } from '../format/journal-block.ts';
import type { Manifest, ObjectHash } from '../format/manifest.ts';
import { BODY_BYTES_MAX, decodeManifestRecord, MANIFEST_RECORD_BYTES_MAX } from '../format/manifest-record.ts';
import type { Arena } from '../memory/arena.ts';
import type { BlockRun } from './check/extent-order.ts';
import { ExtentReader } from './extents/extent-reader.ts';
import { NO_SLOT, objectTag } from './index/slice-index.ts';
import { type RecoveredState, recoverState } from './recovery/recovery.ts';
import { type DeviceRoot, readRoot } from './recovery/root-area.ts';

/** For a slot of the arena; a tool's is small and used by nobody else. */
const SLOT_WAIT_MS = SECOND_MS;

/** Times that a device is read anew when it changes meanwhile. */
const ATTEMPTS_MAX = 4;

/** A device as its last writer left it, with the index in memory. */
export interface DeviceView {
  readonly device: BlockDevice;
  readonly arena: Arena;
  readonly root: DeviceRoot;
  readonly state: RecoveredState;
}

/** Numbers about what is stored. */
export interface DeviceUsage {
  readonly objects: number;
  readonly slices: number;
  readonly entriesUsed: number;
  readonly entriesMax: number;
  readonly usedBytes: number;
  readonly freeBytes: number;
  /** Journal blocks that a start has to replay, and how many there are. */
  readonly journalBlocksUsed: number;
  readonly journalBlocksMax: number;
}

/** An object whose record could be read. */
export interface StoredObject {
  readonly manifest: Manifest;
  /** Slices that the object has, and how many of them are stored. */
  readonly sliceCount: number;
  readonly storedSlices: number;
  /** Offset of its record on the device. */
  readonly recordOffsetBytes: number;
}

/** Slices `start` to `end` (not included) of one object. */
export interface SliceRun {
  readonly start: number;
  readonly end: number;
}

/** An entry of the index that names an object. `unreadable`: its record is damaged, or was overwritten by a running server. */
export type ObjectVerdict =
  | { readonly kind: 'object'; readonly object: StoredObject }
  | { readonly kind: 'unreadable'; readonly recordOffsetBytes: number };

/**
 * Reads labels, checkpoint and journal.
 *
 * @throws EdgeError FORMAT_DAMAGED, FORMAT_VERSION, DEVICE_TRUNCATED, DEVICE_UNSUITABLE
 */
export async function viewDevice(device: BlockDevice, arena: Arena): Promise<DeviceView> {
  for (let attempt = 1; ; attempt += 1) {
    const root = await readRoot(device, arena);
    const { geometry, deviceUuid } = root.format;
    const state = await recoverState({ device, arena, geometry, deviceTag: deviceUuid.subarray(0, 8) }, root);
    const view = { device, arena, root, state };
    const isWhole = state.report.isCheckpointWhole && !state.report.isForgotten;
    if (isWhole || attempt === ATTEMPTS_MAX) return view;
    // A server may have written over the checkpoint, or the journal, while they were read; then there is a newer one.
    const { superblock } = await readRoot(device, arena);
    if (superblock.checkpoint.sequence === root.superblock.checkpoint.sequence) return view;
  }
}

/** Counts what the index names. */
export function measureUsage(view: DeviceView): DeviceUsage {
  const { index, allocator, journal, journalStart } = view.state;
  const { geometry } = view.root.format;
  let objects = 0;
  let slices = 0;
  for (const slot of index.records()) {
    if (index.kind(slot) === 'manifest') objects += 1;
    if (index.kind(slot) === 'slice' || index.hasBody(slot)) slices += 1;
  }
  return {
    objects,
    slices,
    entriesUsed: index.usedEntries,
    entriesMax: index.entryCount,
    usedBytes: (geometry.groupsBlocks - allocator.freeBlocks) * geometry.blockSizeBytes,
    freeBytes: allocator.freeBlocks * geometry.blockSizeBytes,
    journalBlocksUsed: journal.nextSequence - journalStart,
    journalBlocksMax: geometry.journalBlocks,
  };
}

/** Every object, the one written longest ago first; one read each. */
export async function* listObjects(view: DeviceView): AsyncGenerator<ObjectVerdict> {
  const { index } = view.state;
  for (const slot of index.records()) if (index.kind(slot) === 'manifest') yield await readObject(view, slot);
}

/** The object with this hash; undefined when the index does not name it or its record cannot be read. */
export async function findObject(view: DeviceView, objectHash: ObjectHash): Promise<StoredObject | undefined> {
  const { index } = view.state;
  const tagSlot = index.findTag(objectTag(objectHash));
  if (tagSlot === NO_SLOT) return undefined;
  const verdict = await readObject(view, index.recordOf(tagSlot));
  return verdict.kind === 'object' && verdict.object.manifest.objectHash === objectHash ? verdict.object : undefined;
}

/** Which slices of the object are stored, in order; bounded by the index, however long the object says it is. */
export function findStoredRuns(view: DeviceView, object: StoredObject): readonly SliceRun[] {
  const { index } = view.state;
  const numbers: number[] = [];
  for (const slot of index.records()) {
    if (index.generation(slot) !== object.manifest.generation) continue;
    if (index.kind(slot) === 'slice') numbers.push(index.sliceNumber(slot));
    else if (index.hasBody(slot)) numbers.push(0);
  }
  const runs: { start: number; end: number }[] = [];
  for (const number of numbers.sort((left, right) => left - right)) {
    const last = runs.at(-1);
    if (last !== undefined && last.end > number) continue;
    if (last?.end === number) last.end += 1;
    else runs.push({ start: number, end: number + 1 });
  }
  return runs;
}

/** Key of the object that has this generation, or undefined when the index has none or its record cannot be read. */
export async function keyOfGeneration(view: DeviceView, generation: number): Promise<string | undefined> {
  const record = view.state.index.findManifest(generation);
  if (record === NO_SLOT) return undefined;
  const verdict = await readObject(view, record);
  return verdict.kind === 'object' ? verdict.object.manifest.keyText : undefined;
}

/** Blocks that were put out of use, in order. */
export function outOfUse(view: DeviceView): readonly BlockRun[] {
  return view.state.allocator.badRuns.map(({ block, blocks }) => ({ start: block, end: block + blocks }));
}

async function readObject(view: DeviceView, record: number): Promise<ObjectVerdict> {
  const { index } = view.state;
  const { format } = view.root;
  const { blockSizeBytes } = format.geometry;
  const place = index.place(record);
  const recordOffsetBytes = place.block * blockSizeBytes;
  const unreadable = { kind: 'unreadable', recordOffsetBytes } as const;
  if (place.blocks > extentBlocks(BODY_BYTES_MAX + MANIFEST_RECORD_BYTES_MAX, blockSizeBytes)) return unreadable;
  const extents = new ExtentReader({ ...view, identity: format, blockSizeBytes, slotWaitMs: SLOT_WAIT_MS });
  const outcome = await extents.read({ place, kind: 'manifest', generation: index.generation(record), sliceNumber: MANIFEST_NUMBER });
  if (outcome.kind !== 'loaded') return unreadable;
  const { header, lease } = outcome;
  const manifest = decodeManifestRecord(lease.bytes.subarray(header.presentEnd, header.rawBytes));
  lease.end();
  if (manifest === undefined) return unreadable;
  const tagSlot = index.tagSlotOf(record);
  const object = {
    manifest: { ...manifest, ...index.freshness(tagSlot) },
    sliceCount: divCeil(manifest.lengthBytes ?? 0, manifest.sliceSizeBytes),
    storedSlices: index.slices(tagSlot),
    recordOffsetBytes,
  };
  return { kind: 'object', object };
}
