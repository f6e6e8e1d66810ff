/**
 * The superblock: the root of everything that changes. Each label holds a ring of them; sequence n lies in place n modulo the ring. The
 * newest that verifies wins; one valid copy is enough, since a stale one costs misses only.
 */
import { crc32Around, macOf } from './checksum.ts';
import { defineLayout, getBytes, getNumber, isAscii, putAscii, putBytes, putNumber } from './field-layout.ts';

/** First bytes of a superblock. */
export const SUPERBLOCK_MAGIC = 'RSSUPERB';
const SUPERBLOCK_BYTES = 512;
const MOUNT_ID_BYTES = 8;
/** Mounts before the present one that a superblock remembers: they tell which device was away, and since when. */
export const EARLIER_MOUNTS_MAX = 15;
/** The mount id of a device that was never mounted. */
export const NO_MOUNT_ID = '0000000000000000';

/** Numbers that go on from here must stay exact, and floors within the 48 bits that generations and write sequences have. */
const COUNT_MAX = 2 ** 52;
const FLOOR_MAX = 2 ** 48 - 1;

/** FORMAT.md, "Superblock". The rest of the block is zero. */
export const SUPERBLOCK = defineLayout(SUPERBLOCK_BYTES, [
  ['magic', 'ascii', 8],
  ['ownOffset', 'u64'],
  ['deviceUuid', 'bytes', 16],
  ['sequence', 'u64'],
  ['epoch', 'u64'],
  ['isClean', 'u8'],
  ['checkpointZone', 'u8'],
  ['previousZone', 'u8'],
  ['padding', 'zero', 5],
  ['checkpointSequence', 'u64'],
  ['checkpointEntries', 'u64'],
  ['checkpointParts', 'u32'],
  ['checkpointCrc', 'u32'],
  ['journalStart', 'u64'],
  ['checkpointPurgeSequence', 'u64'],
  ['previousSequence', 'u64'],
  ['previousEntries', 'u64'],
  ['previousParts', 'u32'],
  ['previousCrc', 'u32'],
  ['previousJournalStart', 'u64'],
  ['previousPurgeSequence', 'u64'],
  ['journalHead', 'u64'],
  ['generationFloor', 'u64'],
  ['writeSequenceFloor', 'u64'],
  ['purgeSequence', 'u64'],
  ['writtenBytes', 'u64'],
  ['mounts', 'u64'],
  ['badBlocks', 'u64'],
  ['writtenAtMs', 'u64'],
  ['journalPreviousCrc', 'u32'],
  ['previousJournalPreviousCrc', 'u32'],
  ['purgedGeneration', 'u64'],
  ['mountId', 'bytes', 8],
  ['earlierMountIds', 'bytes', 120],
  ['reserved', 'zero', 148],
  ['crc', 'u32'],
  ['mac', 'bytes', 16],
]);

/** Which checkpoint counts, and where replay of the journal begins after it. `sequence` 0: none yet, the index was empty. */
export interface CheckpointReference {
  /** 0 is A, 1 is B. */
  readonly zone: number;
  readonly sequence: number;
  readonly entries: number;
  readonly parts: number;
  /** CRC-32 over the CRCs of all parts, in order. */
  readonly crc: number;
  /** Sequence of the first journal block to replay. */
  readonly journalStart: number;
  /** CRC of the block before that one: the first link of the chain. */
  readonly journalPreviousCrc: number;
  /** Newest purge that the checkpoint had seen when it began. */
  readonly purgeSequence: number;
}

/** One superblock. */
export interface Superblock {
  readonly sequence: number;
  /** Counts mounts that wrote; journal blocks carry it. */
  readonly epoch: number;
  /** The store was closed in order and wrote nothing since. */
  readonly isClean: boolean;
  readonly checkpoint: CheckpointReference;
  readonly previous: CheckpointReference;
  /** A hint: sequence of the next journal block when this was written. */
  readonly journalHead: number;
  /** No generation from here on was ever given. */
  readonly generationFloor: number;
  readonly writeSequenceFloor: number;
  readonly purgeSequence: number;
  readonly writtenBytes: number;
  readonly mounts: number;
  readonly badBlocks: number;
  readonly writtenAtMs: number;
  /** Generations below it were forgotten by a purge of everything. */
  readonly purgedGeneration: number;
  /** Random name of the mount that wrote this, the same on all devices that were mounted together; 16 hexadecimal digits. */
  readonly mountId: string;
  /** Names of the mounts before it, newest first, at most EARLIER_MOUNTS_MAX. */
  readonly earlierMountIds: readonly string[];
}

/** Whose superblock and where: part of what is verified. */
export interface SuperblockPlace {
  readonly ownOffset: number;
  readonly deviceUuid: Uint8Array;
  readonly macKey: Uint8Array;
}

/** Fills `target` (one block) with the copy that belongs at `place.ownOffset`. */
export function encodeSuperblock(superblock: Superblock, place: SuperblockPlace, target: Buffer): void {
  target.fill(0);
  putAscii(target, 0, SUPERBLOCK.magic, SUPERBLOCK_MAGIC);
  putNumber(target, 0, SUPERBLOCK.ownOffset, place.ownOffset);
  putBytes(target, 0, SUPERBLOCK.deviceUuid, place.deviceUuid);
  putNumber(target, 0, SUPERBLOCK.isClean, superblock.isClean ? 1 : 0);
  for (const name of PLAIN_FIELDS) putNumber(target, 0, SUPERBLOCK[name], superblock[name]);
  for (const [field, key] of CHECKPOINT_FIELDS) putNumber(target, 0, SUPERBLOCK[field], superblock.checkpoint[key]);
  for (const [field, key] of PREVIOUS_FIELDS) putNumber(target, 0, SUPERBLOCK[field], superblock.previous[key]);
  putBytes(target, 0, SUPERBLOCK.mountId, Buffer.from(superblock.mountId, 'hex'));
  putBytes(target, 0, SUPERBLOCK.earlierMountIds, Buffer.from(superblock.earlierMountIds.join(''), 'hex'));
  putBytes(target, 0, SUPERBLOCK.mac, macOf(place.macKey, target.subarray(0, SUPERBLOCK.crc.offset)));
  putNumber(target, 0, SUPERBLOCK.crc, crc32Around(target, SUPERBLOCK_BYTES, SUPERBLOCK.crc));
}

/** The superblock in `source` if it is whole, ours and in its own place; any bytes are fine. */
export function decodeSuperblock(source: Buffer, place: SuperblockPlace): Superblock | undefined {
  if (source.length < SUPERBLOCK_BYTES || !isAscii(source, 0, SUPERBLOCK.magic, SUPERBLOCK_MAGIC)) return undefined;
  if (getNumber(source, 0, SUPERBLOCK.crc) !== crc32Around(source, SUPERBLOCK_BYTES, SUPERBLOCK.crc)) return undefined;
  if (getNumber(source, 0, SUPERBLOCK.ownOffset) !== place.ownOffset) return undefined;
  if (Buffer.compare(getBytes(source, 0, SUPERBLOCK.deviceUuid), place.deviceUuid) !== 0) return undefined;
  const mac = macOf(place.macKey, source.subarray(0, SUPERBLOCK.crc.offset));
  if (Buffer.compare(getBytes(source, 0, SUPERBLOCK.mac), mac) !== 0) return undefined;
  const number = (name: keyof typeof SUPERBLOCK): number => getNumber(source, 0, SUPERBLOCK[name]);
  const counts = [...PLAIN_FIELDS, ...CHECKPOINT_FIELDS.map(([name]) => name), ...PREVIOUS_FIELDS.map(([name]) => name)];
  if (counts.some((name) => number(name) > COUNT_MAX)) return undefined;
  if (number('generationFloor') > FLOOR_MAX || number('writeSequenceFloor') > FLOOR_MAX) return undefined;
  return {
    sequence: number('sequence'),
    epoch: number('epoch'),
    isClean: number('isClean') === 1,
    checkpoint: {
      zone: number('checkpointZone'),
      sequence: number('checkpointSequence'),
      entries: number('checkpointEntries'),
      parts: number('checkpointParts'),
      crc: number('checkpointCrc'),
      journalStart: number('journalStart'),
      journalPreviousCrc: number('journalPreviousCrc'),
      purgeSequence: number('checkpointPurgeSequence'),
    },
    previous: {
      zone: number('previousZone'),
      sequence: number('previousSequence'),
      entries: number('previousEntries'),
      parts: number('previousParts'),
      crc: number('previousCrc'),
      journalStart: number('previousJournalStart'),
      journalPreviousCrc: number('previousJournalPreviousCrc'),
      purgeSequence: number('previousPurgeSequence'),
    },
    journalHead: number('journalHead'),
    generationFloor: number('generationFloor'),
    writeSequenceFloor: number('writeSequenceFloor'),
    purgeSequence: number('purgeSequence'),
    writtenBytes: number('writtenBytes'),
    mounts: number('mounts'),
    badBlocks: number('badBlocks'),
    writtenAtMs: number('writtenAtMs'),
    purgedGeneration: number('purgedGeneration'),
    mountId: Buffer.from(getBytes(source, 0, SUPERBLOCK.mountId)).toString('hex'),
    earlierMountIds: splitMountIds(getBytes(source, 0, SUPERBLOCK.earlierMountIds)),
  };
}

function splitMountIds(bytes: Uint8Array): string[] {
  const ids: string[] = [];
  for (let at = 0; at < bytes.length; at += MOUNT_ID_BYTES) {
    const id = Buffer.from(bytes.subarray(at, at + MOUNT_ID_BYTES)).toString('hex');
    if (id !== NO_MOUNT_ID) ids.push(id);
  }
  return ids;
}

const PLAIN_FIELDS = [
  'sequence',
  'epoch',
  'journalHead',
  'generationFloor',
  'writeSequenceFloor',
  'purgeSequence',
  'writtenBytes',
  'mounts',
  'badBlocks',
  'writtenAtMs',
  'purgedGeneration',
] as const;

const CHECKPOINT_FIELDS = [
  ['checkpointZone', 'zone'],
  ['checkpointSequence', 'sequence'],
  ['checkpointEntries', 'entries'],
  ['checkpointParts', 'parts'],
  ['checkpointCrc', 'crc'],
  ['journalStart', 'journalStart'],
  ['journalPreviousCrc', 'journalPreviousCrc'],
  ['checkpointPurgeSequence', 'purgeSequence'],
] as const;

const PREVIOUS_FIELDS = [
  ['previousZone', 'zone'],
  ['previousSequence', 'sequence'],
  ['previousEntries', 'entries'],
  ['previousParts', 'parts'],
  ['previousCrc', 'crc'],
  ['previousJournalStart', 'journalStart'],
  ['previousJournalPreviousCrc', 'journalPreviousCrc'],
  ['previousPurgeSequence', 'purgeSequence'],
] as const;
