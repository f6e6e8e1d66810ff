/**
 * Walks over the journal's ring place by place and says what lies in each, whether a replay would use it or not. Called by
 * `rawslice inspect journal`, by the check and by the rebuild.
 */
import { divFloor, KIB } from '../../base/units.ts';
import { isAscii } from '../../format/field-layout.ts';
import type { FormatBlock } from '../../format/format-block.ts';
import {
  decodeJournalHeader,
  decodeJournalRecord,
  JOURNAL_HEADER,
  JOURNAL_HEADER_BYTES,
  JOURNAL_MAGIC,
  JOURNAL_RECORD_BYTES,
  type JournalHeader,
  type JournalRecord,
} from '../../format/journal-block.ts';
import type { CheckpointReference } from '../../format/superblock.ts';
import { isZero, type ScanSource, tryReadCopy } from './read-copy.ts';

const READ_BYTES = 128 * KIB;

/** One place of the ring. `foreign`: bytes that were never a block of this device; `damaged`: a block of it, no longer whole. */
export type JournalPlace = { readonly place: number; readonly offsetBytes: number } & (
  | { readonly kind: 'blank' | 'foreign' | 'damaged' | 'unreadable' }
  | { readonly kind: 'block'; readonly header: JournalHeader; readonly records: readonly JournalRecord[] }
);

/** Places `first` to `first + count` of the ring, going on at its beginning behind its end. */
export async function* scanJournal(
  source: ScanSource,
  format: FormatBlock,
  range: { readonly first: number; readonly count: number },
): AsyncGenerator<JournalPlace> {
  const { blockSizeBytes, journalBlocks, journalOffset } = format.geometry;
  const blocksPerRead = Math.max(1, divFloor(READ_BYTES, blockSizeBytes));
  for (let done = 0; done < range.count; ) {
    const first = (range.first + done) % journalBlocks;
    const count = Math.min(blocksPerRead, journalBlocks - first, range.count - done);
    const offsetBytes = journalOffset + first * blockSizeBytes;
    const bytes = await tryReadCopy(source, offsetBytes, count * blockSizeBytes);
    for (let index = 0; index < count; index += 1) {
      const place = { place: first + index, offsetBytes: offsetBytes + index * blockSizeBytes };
      const block =
        bytes?.subarray(index * blockSizeBytes, (index + 1) * blockSizeBytes) ??
        (await tryReadCopy(source, place.offsetBytes, blockSizeBytes));
      yield block === undefined ? { ...place, kind: 'unreadable' } : judgeJournalBlock(block, format, place);
    }
    done += count;
  }
}

function judgeJournalBlock(
  block: Buffer,
  format: FormatBlock,
  place: { readonly place: number; readonly offsetBytes: number },
): JournalPlace {
  const deviceTag = format.deviceUuid.subarray(0, 8);
  const header = decodeJournalHeader(block, { ownOffset: place.offsetBytes, deviceTag });
  if (header !== undefined && header.sequence % format.geometry.journalBlocks === place.place) {
    const records = Array.from({ length: header.count }, (_, index) =>
      decodeJournalRecord(block, JOURNAL_HEADER_BYTES + index * JOURNAL_RECORD_BYTES),
    );
    return { ...place, kind: 'block', header, records };
  }
  if (isZero(block)) return { ...place, kind: 'blank' };
  const tagAt = JOURNAL_HEADER.deviceTag.offset;
  // Formatting clears the beginning of the ring only; what another device or program left further on says nothing.
  const isOurs =
    isAscii(block, 0, JOURNAL_HEADER.magic, JOURNAL_MAGIC) || Buffer.compare(block.subarray(tagAt, tagAt + 8), deviceTag) === 0;
  return { ...place, kind: isOurs ? 'damaged' : 'foreign' };
}

/** Sequence of the block behind the last that a replay from `reference` would use. */
export async function followChain(source: ScanSource, format: FormatBlock, reference: CheckpointReference): Promise<number> {
  const { journalBlocks } = format.geometry;
  let sequence = reference.journalStart;
  let previousCrc = reference.journalPreviousCrc;
  let epoch = 0;
  for await (const place of scanJournal(source, format, { first: sequence % journalBlocks, count: journalBlocks })) {
    if (place.kind !== 'block' || place.header.sequence !== sequence) break;
    if (place.header.previousCrc !== previousCrc || place.header.epoch < epoch) break;
    sequence += 1;
    previousCrc = place.header.crc;
    epoch = place.header.epoch;
  }
  return sequence;
}
