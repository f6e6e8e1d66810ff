/** Says which part of the device a block is in. Called by `rawslice inspect block, hex` and by the check. */
import { divFloor } from '../../base/units.ts';
import { CHECKPOINT_PART_BYTES, type Geometry } from '../../format/geometry.ts';

/** A zone, and the number of the block (or part, or group) in it. `behind`: past the end of what is used of the device. */
export type BlockPlace =
  | { readonly zone: 'format block'; readonly labelNumber: number }
  | { readonly zone: 'superblock'; readonly labelNumber: number; readonly place: number }
  | { readonly zone: 'journal'; readonly place: number }
  | { readonly zone: 'checkpoint'; readonly checkpointZone: number; readonly partNumber: number }
  | { readonly zone: 'group'; readonly group: number }
  | { readonly zone: 'gap' | 'behind' };

/** The place of the block at `offsetBytes`. */
export function locateBlock(geometry: Geometry, offsetBytes: number): BlockPlace {
  const { blockSizeBytes, labelBytes, labelOffsets, journalOffset, journalBytes, checkpointOffsets, checkpointBytes } = geometry;
  const isIn = (startBytes: number, lengthBytes: number): boolean => offsetBytes >= startBytes && offsetBytes < startBytes + lengthBytes;
  const labelNumber = labelOffsets.findIndex((start) => isIn(start, labelBytes));
  if (labelNumber >= 0) {
    const place = divFloor(offsetBytes - (labelOffsets[labelNumber] ?? 0), blockSizeBytes);
    return place === 0 ? { zone: 'format block', labelNumber } : { zone: 'superblock', labelNumber, place };
  }
  if (isIn(journalOffset, journalBytes)) return { zone: 'journal', place: divFloor(offsetBytes - journalOffset, blockSizeBytes) };
  const checkpointZone = checkpointOffsets.findIndex((start) => isIn(start, checkpointBytes));
  if (checkpointZone >= 0) {
    const partNumber = divFloor(offsetBytes - (checkpointOffsets[checkpointZone] ?? 0), CHECKPOINT_PART_BYTES);
    return { zone: 'checkpoint', checkpointZone, partNumber };
  }
  if (isIn(geometry.groupsOffset, geometry.groupsBlocks * blockSizeBytes))
    return { zone: 'group', group: divFloor(offsetBytes - geometry.groupsOffset, geometry.groupBytes) };
  return { zone: offsetBytes >= geometry.capacityBytes ? 'behind' : 'gap' };
}
