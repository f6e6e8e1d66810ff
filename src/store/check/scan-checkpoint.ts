/** Walks over the parts of a checkpoint and says which are whole. Called by `rawslice inspect checkpoint` and by the check. */
import { divCeil, divFloor } from '../../base/units.ts';
import { CONTENTS_PART_ENTRIES, isContentsPartOf } from '../../format/checkpoint-contents.ts';
import { type CheckpointEntry, decodeCheckpointEntry, verifyCheckpointPart } from '../../format/checkpoint-part.ts';
import type { FormatBlock } from '../../format/format-block.ts';
import { CHECKPOINT_PART_BYTES } from '../../format/geometry.ts';
import type { CheckpointReference } from '../../format/superblock.ts';
import { withStaging } from '../device-io.ts';
import { contentsOffset } from '../recovery/checkpoint.ts';
import { readContents } from '../recovery/checkpoint-loader.ts';
import { type ScanSource, tryReadCopy } from './read-copy.ts';

/** One part. `other`: whole, and not the one that the table of contents has; it is of an attempt that came to nothing. */
export type CheckpointPart = { readonly partNumber: number; readonly offsetBytes: number } & (
  | { readonly kind: 'damaged' | 'unreadable' }
  | { readonly kind: 'part' | 'other'; readonly crc: number; readonly entries: readonly CheckpointEntry[] }
);

/** A table of contents. `none`: its zone has no room for one, or an older program wrote the checkpoint. */
export type ContentsScan =
  | { readonly kind: 'whole'; readonly crcs: Uint32Array }
  | { readonly kind: 'none' }
  | { readonly kind: 'damaged' | 'unreadable'; readonly offsetBytes: number };

/** The table of contents of the checkpoint that `reference` names. */
export async function scanContents(source: ScanSource, format: FormatBlock, reference: CheckpointReference): Promise<ContentsScan> {
  const { geometry } = format;
  const { sequence, zone, parts } = reference;
  const deviceTag = format.deviceUuid.subarray(0, 8);
  const end = parts + divCeil(parts, CONTENTS_PART_ENTRIES);
  if (sequence === 0 || geometry.checkpointOffsets[zone] === undefined || end * CHECKPOINT_PART_BYTES > geometry.checkpointBytes)
    return { kind: 'none' };
  const contents = await withStaging(source.arena, CHECKPOINT_PART_BYTES, (bytes) =>
    readContents({ ...source, geometry, deviceTag }, reference, bytes),
  );
  if (contents !== undefined) return { kind: 'whole', crcs: contents.crcs };
  for (let firstPart = 0; firstPart < parts; firstPart += CONTENTS_PART_ENTRIES) {
    const ownOffset = contentsOffset(geometry, { zone, parts }, firstPart);
    const bytes = await tryReadCopy(source, ownOffset, CHECKPOINT_PART_BYTES);
    if (bytes === undefined) return { kind: 'unreadable', offsetBytes: ownOffset };
    if (isContentsPartOf(bytes, { sequence, ownOffset, deviceTag, firstPart })) return { kind: 'damaged', offsetBytes: ownOffset };
  }
  return { kind: 'none' };
}

/** The parts of the checkpoint that `reference` names, in order. */
export async function* scanCheckpoint(
  source: ScanSource,
  format: FormatBlock,
  reference: CheckpointReference,
): AsyncGenerator<CheckpointPart> {
  const { checkpointBytes, checkpointOffsets } = format.geometry;
  const deviceTag = format.deviceUuid.subarray(0, 8);
  const zoneOffset = checkpointOffsets[reference.zone];
  if (reference.sequence === 0 || zoneOffset === undefined) return;
  const parts = Math.min(reference.parts, divFloor(checkpointBytes, CHECKPOINT_PART_BYTES));
  const contents = await scanContents(source, format, reference);
  for (let partNumber = 0; partNumber < parts; partNumber += 1) {
    const place = { partNumber, offsetBytes: zoneOffset + partNumber * CHECKPOINT_PART_BYTES };
    const bytes = await tryReadCopy(source, place.offsetBytes, CHECKPOINT_PART_BYTES);
    const identity = { sequence: reference.sequence, partNumber, ownOffset: place.offsetBytes, deviceTag };
    const sealed = bytes === undefined ? undefined : verifyCheckpointPart(bytes, identity);
    if (bytes === undefined || sealed === undefined) {
      yield { ...place, kind: bytes === undefined ? 'unreadable' : 'damaged' };
      continue;
    }
    const entries = Array.from({ length: sealed.count }, (_, index) => decodeCheckpointEntry(bytes, index));
    const isOther = contents.kind === 'whole' && contents.crcs[partNumber] !== sealed.crc;
    yield { ...place, kind: isOther ? 'other' : 'part', crc: sealed.crc, entries };
  }
}
