/**
 * Walks over the labels block by block and says what lies in each: the format block, and every place of the ring of superblocks. Called by
 * `rawslice inspect labels` and by the check.
 */
import { divFloor, KIB } from '../../base/units.ts';
import { decodeFormatBlock, type FormatBlock } from '../../format/format-block.ts';
import { decodeSuperblock, type Superblock } from '../../format/superblock.ts';
import { isZero, type ScanSource, tryReadCopy } from './read-copy.ts';

const READ_BYTES = 128 * KIB;

/** One block of a label. Place 0 holds the format block, the others superblocks. */
export type LabelBlock = { readonly labelNumber: number; readonly place: number; readonly offsetBytes: number } & (
  | { readonly kind: 'format' | 'blank' | 'damaged' | 'unreadable' }
  | { readonly kind: 'superblock'; readonly superblock: Superblock }
);

/** Every block of label `labelNumber`, in order. */
export async function* scanLabel(source: ScanSource, format: FormatBlock, labelNumber: number): AsyncGenerator<LabelBlock> {
  const { blockSizeBytes, labelOffsets, superblockCount } = format.geometry;
  const blocksPerRead = Math.max(1, divFloor(READ_BYTES, blockSizeBytes));
  for (let first = 0; first <= superblockCount; first += blocksPerRead) {
    const count = Math.min(blocksPerRead, superblockCount + 1 - first);
    const offsetBytes = (labelOffsets[labelNumber] ?? 0) + first * blockSizeBytes;
    const bytes = await tryReadCopy(source, offsetBytes, count * blockSizeBytes);
    for (let index = 0; index < count; index += 1) {
      const place = { labelNumber, place: first + index, offsetBytes: offsetBytes + index * blockSizeBytes };
      // One bad block must not hide its neighbours.
      const block =
        bytes?.subarray(index * blockSizeBytes, (index + 1) * blockSizeBytes) ??
        (await tryReadCopy(source, place.offsetBytes, blockSizeBytes));
      yield block === undefined ? { ...place, kind: 'unreadable' } : judgeLabelBlock(block, format, place);
    }
  }
}

function judgeLabelBlock(
  block: Buffer,
  format: FormatBlock,
  place: { readonly labelNumber: number; readonly place: number; readonly offsetBytes: number },
): LabelBlock {
  if (place.place === 0) {
    const verdict = decodeFormatBlock(block);
    if (verdict.kind === 'valid' && isSameFormat(verdict.block, format, place.labelNumber)) return { ...place, kind: 'format' };
    return { ...place, kind: isZero(block) ? 'blank' : 'damaged' };
  }
  const superblock = decodeSuperblock(block, { ownOffset: place.offsetBytes, deviceUuid: format.deviceUuid, macKey: format.macKey });
  // A superblock belongs to the place that its sequence gives it.
  if (superblock !== undefined && 1 + (superblock.sequence % format.geometry.superblockCount) === place.place)
    return { ...place, kind: 'superblock', superblock };
  return { ...place, kind: isZero(block) ? 'blank' : 'damaged' };
}

function isSameFormat(block: FormatBlock, format: FormatBlock, labelNumber: number): boolean {
  const isSameDevice = Buffer.compare(block.deviceUuid, format.deviceUuid) === 0 && Buffer.compare(block.macKey, format.macKey) === 0;
  return isSameDevice && block.labelNumber === labelNumber && block.geometry.capacityBytes === format.geometry.capacityBytes;
}
