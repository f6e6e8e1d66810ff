/**
 * The journal's blocks: a header of 64 bytes and records of 64 bytes. Each block names its sequence, epoch, own offset and the CRC of the
 * block before, so that replay knows where the chain ends. A written block is sealed: never written again before the ring comes round.
 */
import { assert } from '../base/assert.ts';
import { divFloor } from '../base/units.ts';
import { crc32Around } from './checksum.ts';
import { defineLayout, getNumber, isAscii, putAscii, putNumber } from './field-layout.ts';

/** First bytes of a journal block. */
export const JOURNAL_MAGIC = 'RSJOURNL';
/** A block begins with a header of so many bytes. */
export const JOURNAL_HEADER_BYTES = 64;
/** Bytes of one record. */
export const JOURNAL_RECORD_BYTES = 64;

/** Numbers that go on from here must stay exact. */
const COUNT_MAX = 2 ** 52;

/** FORMAT.md, "Journal block". */
export const JOURNAL_HEADER = defineLayout(JOURNAL_HEADER_BYTES, [
  ['magic', 'ascii', 8],
  ['sequence', 'u64'],
  ['epoch', 'u64'],
  ['ownOffset', 'u64'],
  ['deviceTag', 'bytes', 8],
  ['purgeSequence', 'u64'],
  ['count', 'u16'],
  ['padding', 'zero', 6],
  ['previousCrc', 'u32'],
  ['crc', 'u32'],
]);

/** FORMAT.md, "Journal record". */
export const JOURNAL_RECORD = defineLayout(JOURNAL_RECORD_BYTES, [
  ['type', 'u8'],
  ['flags', 'u8'],
  ['blocks', 'u16'],
  ['block', 'u32'],
  ['generation', 'u64'],
  ['writeSequence', 'u64'],
  ['objectHash', 'bytes', 16],
  ['sliceNumber', 'u32'],
  ['initialAgeSeconds', 'u32'],
  ['receivedAtMs', 'u64'],
  ['freshUntilMs', 'u64'],
]);

/** Values of a record's `type`. In a purge, `receivedAtMs` holds its sequence. */
export const JOURNAL_TYPES = { put: 1, delete: 2, refresh: 3, purge: 4, epoch: 5, badBlock: 6 } as const;
/** Slice number that stands for the manifest. */
export const MANIFEST_NUMBER = 2 ** 32 - 1;

/** Identity of one block, checked when it is read. */
export interface JournalBlockPlace {
  readonly sequence: number;
  readonly ownOffset: number;
  /** First 8 bytes of the device's UUID. */
  readonly deviceTag: Uint8Array;
}

/** What a block's header says. */
export interface JournalHeader {
  readonly sequence: number;
  readonly epoch: number;
  readonly count: number;
  readonly previousCrc: number;
  /** Newest purge in the blocks before this one: tells whether a block that cannot be read held one. */
  readonly purgeSequence: number;
  /** The block's own checksum; the next block names it. */
  readonly crc: number;
}

/** Records that fit into a block. */
export function journalRecordsPerBlock(blockSizeBytes: number): number {
  return divFloor(blockSizeBytes - JOURNAL_HEADER_BYTES, JOURNAL_RECORD_BYTES);
}

/**
 * Seals a block whose records stand already behind the header; the rest of the block becomes zero.
 *
 * @returns the block's CRC, for the next block's header
 */
export function sealJournalBlock(block: Buffer, place: JournalBlockPlace, header: Omit<JournalHeader, 'sequence' | 'crc'>): number {
  assert(header.count <= journalRecordsPerBlock(block.length), 'journal block is not overfull');
  block.fill(0, 0, JOURNAL_HEADER_BYTES);
  block.fill(0, JOURNAL_HEADER_BYTES + header.count * JOURNAL_RECORD_BYTES);
  putAscii(block, 0, JOURNAL_HEADER.magic, JOURNAL_MAGIC);
  putNumber(block, 0, JOURNAL_HEADER.sequence, place.sequence);
  putNumber(block, 0, JOURNAL_HEADER.epoch, header.epoch);
  putNumber(block, 0, JOURNAL_HEADER.ownOffset, place.ownOffset);
  block.set(place.deviceTag, JOURNAL_HEADER.deviceTag.offset);
  putNumber(block, 0, JOURNAL_HEADER.purgeSequence, header.purgeSequence);
  putNumber(block, 0, JOURNAL_HEADER.count, header.count);
  putNumber(block, 0, JOURNAL_HEADER.previousCrc, header.previousCrc);
  const crc = crc32Around(block, block.length, JOURNAL_HEADER.crc);
  putNumber(block, 0, JOURNAL_HEADER.crc, crc);
  return crc;
}

/** The header of the block that should stand at `place`, or undefined when it is not there whole; any bytes are fine. */
export function decodeJournalHeader(block: Buffer, place: Omit<JournalBlockPlace, 'sequence'>): JournalHeader | undefined {
  if (block.length < JOURNAL_HEADER_BYTES || !isAscii(block, 0, JOURNAL_HEADER.magic, JOURNAL_MAGIC)) return undefined;
  if (getNumber(block, 0, JOURNAL_HEADER.ownOffset) !== place.ownOffset) return undefined;
  const tagAt = JOURNAL_HEADER.deviceTag.offset;
  if (Buffer.compare(block.subarray(tagAt, tagAt + 8), place.deviceTag) !== 0) return undefined;
  const crc = getNumber(block, 0, JOURNAL_HEADER.crc);
  if (crc !== crc32Around(block, block.length, JOURNAL_HEADER.crc)) return undefined;
  const count = getNumber(block, 0, JOURNAL_HEADER.count);
  if (count > journalRecordsPerBlock(block.length)) return undefined;
  for (const name of ['sequence', 'epoch', 'purgeSequence'] as const)
    if (getNumber(block, 0, JOURNAL_HEADER[name]) > COUNT_MAX) return undefined;
  return {
    sequence: getNumber(block, 0, JOURNAL_HEADER.sequence),
    epoch: getNumber(block, 0, JOURNAL_HEADER.epoch),
    count,
    previousCrc: getNumber(block, 0, JOURNAL_HEADER.previousCrc),
    purgeSequence: getNumber(block, 0, JOURNAL_HEADER.purgeSequence),
    crc,
  };
}

/**
 * One change of the index. Fields that a type does not use are 0. A hash is given as four 32-bit numbers: `tagLow` and `tagHigh` are its
 * first 8 bytes, which is all that the index keeps of an object's; the rest is there in purges only.
 */
export interface JournalRecord {
  readonly type: number;
  /** ENTRY_FLAGS of a put; kind of a purge (PURGE_KINDS, perhaps with PURGE_SOFT). */
  readonly flags: number;
  readonly blocks: number;
  readonly block: number;
  readonly generation: number;
  readonly writeSequence: number;
  readonly tagLow: number;
  readonly tagHigh: number;
  readonly restLow: number;
  readonly restHigh: number;
  /** Of a slice, or MANIFEST_NUMBER; in a purge by prefix, the length of the prefix in bytes. */
  readonly sliceNumber: number;
  readonly initialAgeSeconds: number;
  readonly receivedAtMs: number;
  readonly freshUntilMs: number;
}

/** A record with everything zero, to be spread from. */
export const EMPTY_RECORD: JournalRecord = {
  type: 0,
  flags: 0,
  blocks: 0,
  block: 0,
  generation: 0,
  writeSequence: 0,
  tagLow: 0,
  tagHigh: 0,
  restLow: 0,
  restHigh: 0,
  sliceNumber: 0,
  initialAgeSeconds: 0,
  receivedAtMs: 0,
  freshUntilMs: 0,
};

const NUMBERS = [
  'type',
  'flags',
  'blocks',
  'block',
  'generation',
  'writeSequence',
  'sliceNumber',
  'initialAgeSeconds',
  'receivedAtMs',
  'freshUntilMs',
] as const;

/** Writes a record at `base`. */
export function encodeJournalRecord(record: JournalRecord, target: Buffer, base: number): void {
  for (const name of NUMBERS) putNumber(target, base, JOURNAL_RECORD[name], record[name]);
  const hashAt = base + JOURNAL_RECORD.objectHash.offset;
  target.writeUInt32LE(record.tagLow, hashAt);
  target.writeUInt32LE(record.tagHigh, hashAt + 4);
  target.writeUInt32LE(record.restLow, hashAt + 8);
  target.writeUInt32LE(record.restHigh, hashAt + 12);
}

/** Reads the record at `base` of a block that verified; the caller checks the values' ranges. */
export function decodeJournalRecord(source: Buffer, base: number): JournalRecord {
  const number = (name: (typeof NUMBERS)[number]): number => getNumber(source, base, JOURNAL_RECORD[name]);
  const hashAt = base + JOURNAL_RECORD.objectHash.offset;
  return {
    type: number('type'),
    flags: number('flags'),
    blocks: number('blocks'),
    block: number('block'),
    generation: number('generation'),
    writeSequence: number('writeSequence'),
    tagLow: source.readUInt32LE(hashAt),
    tagHigh: source.readUInt32LE(hashAt + 4),
    restLow: source.readUInt32LE(hashAt + 8),
    restHigh: source.readUInt32LE(hashAt + 12),
    sliceNumber: number('sliceNumber'),
    initialAgeSeconds: number('initialAgeSeconds'),
    receivedAtMs: number('receivedAtMs'),
    freshUntilMs: number('freshUntilMs'),
  };
}

/** Type of the record at `base`, whether it is about an object, and that object's tag: what a first look at a journal needs, without the rest. */
export function peekJournalRecord(
  source: Buffer,
  base: number,
): { readonly type: number; readonly isObject: boolean; readonly tagLow: number; readonly tagHigh: number } {
  const hashAt = base + JOURNAL_RECORD.objectHash.offset;
  return {
    type: source[base + JOURNAL_RECORD.type.offset] ?? 0,
    isObject: source.readUInt32LE(base + JOURNAL_RECORD.sliceNumber.offset) === MANIFEST_NUMBER,
    tagLow: source.readUInt32LE(hashAt),
    tagHigh: source.readUInt32LE(hashAt + 4),
  };
}
