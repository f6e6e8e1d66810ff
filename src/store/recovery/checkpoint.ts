/**
 * Checkpoints: the index as an image, A and B in turn, written beside traffic and read at start. Entries are copied slot by slot while the
 * index goes on changing: replay of the journal from where it stood at the beginning makes up for that, since records are upserts.
 */
import { assert } from '../../base/assert.ts';
import { divFloor } from '../../base/units.ts';
import type { BlockDevice } from '../../device/block-device.ts';
import {
  CHECKPOINT_KINDS,
  type CheckpointEntry,
  decodeCheckpointEntry,
  EMPTY_ENTRY,
  encodeCheckpointEntry,
  sealCheckpointPart,
  verifyCheckpointPart,
} from '../../format/checkpoint-part.ts';
import { crc32 } from '../../format/checksum.ts';
import { CHECKPOINT_PART_BYTES, CHECKPOINT_PART_ENTRIES, type Geometry } from '../../format/geometry.ts';
import type { CheckpointReference } from '../../format/superblock.ts';
import type { Arena } from '../../memory/arena.ts';
import { tryRead, withStaging } from '../device-io.ts';
import type { BlockAllocator } from '../index/block-allocator.ts';
import { NO_SLOT, type SliceIndex } from '../index/slice-index.ts';

/** Parts that are read at a time. Between two turns of the event loop so many are taken in at most, a millisecond or two each. */
const PARTS_IN_FLIGHT = 4;
/** Slots that are looked at for one part; an index that has become empty is not walked through in one turn. */
const SLOTS_PER_PART = 65_536;

/** Where a checkpoint is written to or read from. */
export interface CheckpointPlace {
  readonly device: BlockDevice;
  readonly arena: Arena;
  readonly geometry: Geometry;
  readonly deviceTag: Uint8Array;
}

/** What a checkpoint is made of. */
export interface CheckpointSource {
  readonly index: SliceIndex;
  /** Entries besides those of the index; they come first, and of them the purges. At most as many as the geometry sets apart. */
  readonly besides: readonly CheckpointEntry[];
}

/** Bad blocks as entries of a checkpoint. */
export function badRunEntries(allocator: BlockAllocator): CheckpointEntry[] {
  return allocator.badRuns.map((run) => ({ ...EMPTY_ENTRY, kind: CHECKPOINT_KINDS.badRun, ...run }));
}

/**
 * Writes the index and what stands besides it into a zone; not flushed.
 *
 * @throws EdgeError DEVICE_FAULT, STORE_UNAVAILABLE (no slot)
 */
export async function writeCheckpoint(
  place: CheckpointPlace,
  source: CheckpointSource,
  target: { readonly zone: number; readonly sequence: number },
): Promise<{ readonly entries: number; readonly parts: number; readonly crc: number }> {
  // What is put beyond it meanwhile is in the journal. Following it would write part after part, each for a few entries, out of the zone.
  const cursor = { besides: 0, slot: 0, endSlot: source.index.slotLimit };
  let entries = 0;
  let parts = 0;
  let crc = 0;
  while (cursor.besides < source.besides.length || cursor.slot < cursor.endSlot) {
    await withStaging(place.arena, CHECKPOINT_PART_BYTES, async (bytes) => {
      const count = fillPart(bytes, source, cursor);
      if (count === 0 && cursor.slot === cursor.endSlot) return;
      const ownOffset = partOffset(place.geometry, target.zone, parts);
      assert((parts + 1) * CHECKPOINT_PART_BYTES <= place.geometry.checkpointBytes, 'a checkpoint stays in its zone');
      const identity = { sequence: target.sequence, partNumber: parts, ownOffset, deviceTag: place.deviceTag };
      const partCrc = sealCheckpointPart(bytes, identity, count);
      await place.device.write([bytes], ownOffset);
      entries += count;
      parts += 1;
      crc = chainCrc(crc, partCrc);
    });
  }
  return { entries, parts, crc };
}

/** What reading a checkpoint met. */
export interface CheckpointReport {
  readonly entries: number;
  readonly damagedParts: number;
  /** All parts verified and their CRCs are the ones that the superblock vouches for. */
  readonly isWhole: boolean;
  /** No purge is missing: the parts up to the first entry of another kind verified. */
  readonly arePurgesWhole: boolean;
}

/** Reads a checkpoint part by part; damaged ones are left out (their entries are forgotten). `take` gets every entry, unchecked, and whether all purges came before it. */
export async function readCheckpoint(
  place: CheckpointPlace,
  reference: CheckpointReference,
  take: (entry: CheckpointEntry, arePurgesWhole: boolean) => void,
): Promise<CheckpointReport> {
  let entries = 0;
  let damagedParts = 0;
  let crc = 0;
  let purgesDamaged = false;
  let arePurgesOver = false;
  const partsMax = divFloor(place.geometry.checkpointBytes, CHECKPOINT_PART_BYTES);
  const parts = reference.zone <= 1 ? Math.min(reference.parts, partsMax) : 0;
  const inFlight = Math.max(1, Math.min(PARTS_IN_FLIGHT, parts));
  await withStaging(place.arena, inFlight * CHECKPOINT_PART_BYTES, async (staging) => {
    const bytesOf = (partNumber: number): Buffer => {
      const at = (partNumber % inFlight) * CHECKPOINT_PART_BYTES;
      return staging.subarray(at, at + CHECKPOINT_PART_BYTES);
    };
    const read = (partNumber: number): Promise<boolean> =>
      tryRead(place.device, bytesOf(partNumber), partOffset(place.geometry, reference.zone, partNumber));
    const reads: Promise<boolean>[] = [];
    try {
      while (reads.length < Math.min(inFlight, parts)) reads.push(read(reads.length));
      for (let partNumber = 0; partNumber < parts; partNumber += 1) {
        const bytes = bytesOf(partNumber);
        const ownOffset = partOffset(place.geometry, reference.zone, partNumber);
        const identity = { sequence: reference.sequence, partNumber, ownOffset, deviceTag: place.deviceTag };
        const part = (await reads[partNumber % inFlight]) === true ? verifyCheckpointPart(bytes, identity) : undefined;
        if (part === undefined) {
          damagedParts += 1;
          purgesDamaged ||= !arePurgesOver;
        }
        for (let number = 0; number < (part?.count ?? 0); number += 1) {
          const entry = decodeCheckpointEntry(bytes, number);
          arePurgesOver ||= entry.kind !== CHECKPOINT_KINDS.purge;
          take(entry, arePurgesOver && !purgesDamaged);
        }
        entries += part?.count ?? 0;
        if (part !== undefined) crc = chainCrc(crc, part.crc);
        if (partNumber + inFlight < parts) reads[partNumber % inFlight] = read(partNumber + inFlight);
      }
    } finally {
      // The device must be through with the slot before it is given back.
      await Promise.allSettled(reads);
    }
  });
  const isWhole = damagedParts === 0 && parts === reference.parts && crc === reference.crc && entries === reference.entries;
  // Parts that verify and are not those that the superblock vouches for may be of an earlier attempt, which knew of fewer purges.
  const isOfAnother = !isWhole && damagedParts === 0;
  return { entries, damagedParts, isWhole, arePurgesWhole: reference.purgeSequence === 0 || !(purgesDamaged || isOfAnother) };
}

/** Encodes the next entries. @returns how many */
function fillPart(bytes: Buffer, source: CheckpointSource, cursor: { besides: number; slot: number; readonly endSlot: number }): number {
  let count = 0;
  const end = Math.min(cursor.endSlot, cursor.slot + SLOTS_PER_PART);
  while (count < CHECKPOINT_PART_ENTRIES && (cursor.besides < source.besides.length || cursor.slot < end)) {
    const besides = source.besides[cursor.besides];
    const entry = besides ?? checkpointEntry(source.index, cursor.slot);
    if (besides === undefined) cursor.slot += 1;
    else cursor.besides += 1;
    if (entry === undefined) continue;
    encodeCheckpointEntry(entry, bytes, count);
    count += 1;
  }
  return count;
}

const NO_TAG = { tagLow: 0, tagHigh: 0 };
const NO_FRESHNESS = { initialAgeSeconds: 0, receivedAtMs: 0, freshUntilMs: 0 };

function checkpointEntry(index: SliceIndex, slot: number): CheckpointEntry | undefined {
  const kind = index.kind(slot);
  if (kind === 'free' || index.blocks(slot) === 0) return undefined;
  const tagSlot = kind === 'manifest' ? index.tagSlotOf(slot) : NO_SLOT;
  // Replaced, and kept for its readers: a start must not find it. Its slices are orphans there, and given up.
  if (tagSlot !== NO_SLOT && !index.isFoundByTag(tagSlot)) return undefined;
  const { tagLow, tagHigh } = tagSlot === NO_SLOT ? NO_TAG : index.tag(tagSlot);
  const { initialAgeSeconds, receivedAtMs, freshUntilMs } = tagSlot === NO_SLOT ? NO_FRESHNESS : index.freshness(tagSlot);
  return {
    kind: CHECKPOINT_KINDS[kind],
    flags: index.flags(slot),
    blocks: index.blocks(slot),
    block: index.block(slot),
    generation: index.generation(slot),
    writeSequence: index.writeSequence(slot),
    sliceNumber: index.sliceNumber(slot),
    tagLow,
    tagHigh,
    initialAgeSeconds,
    receivedAtMs,
    freshUntilMs,
  };
}

function partOffset(geometry: Geometry, zone: number, partNumber: number): number {
  return (geometry.checkpointOffsets[zone] ?? 0) + partNumber * CHECKPOINT_PART_BYTES;
}

function chainCrc(crc: number, partCrc: number): number {
  const word = new Uint8Array(4);
  new DataView(word.buffer).setUint32(0, partCrc, true);
  return crc32(word, crc);
}
