/** Walks over the parts of a checkpoint and says which are whole. Called by `rawslice inspect checkpoint` and by the check. */
import { divFloor } from '../../base/units.ts';
import { type CheckpointEntry, decodeCheckpointEntry, verifyCheckpointPart } from '../../format/checkpoint-part.ts';
import type { FormatBlock } from '../../format/format-block.ts';
import { CHECKPOINT_PART_BYTES } from '../../format/geometry.ts';
import type { CheckpointReference } from '../../format/superblock.ts';
import { type ScanSource, tryReadCopy } from './read-copy.ts';

/** One part. */
export type CheckpointPart = { readonly partNumber: number; readonly offsetBytes: number } & (
  | { readonly kind: 'damaged' | 'unreadable' }
  | { readonly kind: 'part'; readonly crc: number; readonly entries: readonly CheckpointEntry[] }
);

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
    yield { ...place, kind: 'part', crc: sealed.crc, entries };
  }
}
