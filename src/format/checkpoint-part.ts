/**
 * A checkpoint is an image of the index in parts of 64 KiB: a header of 64 bytes and entries of 48 bytes, oldest damage confined to one
 * part by its CRC. The superblock names the checkpoint and holds a CRC over the CRCs of its parts.
 */
import { assert } from '../base/assert.ts';
import { crc32Around } from './checksum.ts';
import { defineLayout, getNumber, isAscii, putAscii, putNumber } from './field-layout.ts';
import { CHECKPOINT_ENTRY_BYTES, CHECKPOINT_PART_BYTES, CHECKPOINT_PART_ENTRIES, CHECKPOINT_PART_HEADER_BYTES } from './geometry.ts';

/** First bytes of a part. */
export const CHECKPOINT_MAGIC = 'RSCHECKP';

/** FORMAT.md, "Checkpoint part". */
export const CHECKPOINT_HEADER = defineLayout(CHECKPOINT_PART_HEADER_BYTES, [
  ['magic', 'ascii', 8],
  ['sequence', 'u64'],
  ['ownOffset', 'u64'],
  ['deviceTag', 'bytes', 8],
  ['partNumber', 'u32'],
  ['count', 'u32'],
  ['reserved', 'zero', 20],
  ['crc', 'u32'],
]);

/** FORMAT.md, "Checkpoint entry". Fields that a kind does not use are zero. */
export const CHECKPOINT_ENTRY = defineLayout(CHECKPOINT_ENTRY_BYTES, [
  ['kind', 'u8'],
  ['flags', 'u8'],
  ['blocks', 'u16'],
  ['block', 'u32'],
  ['generation', 'u48'],
  ['writeSequence', 'u48'],
  ['sliceNumber', 'u32'],
  ['tagLow', 'u32'],
  ['tagHigh', 'u32'],
  ['initialAgeSeconds', 'u32'],
  ['receivedAtMs', 'u48'],
  ['freshUntilMs', 'u48'],
]);

/**
 * Values of an entry's `kind`. Slices and manifests are the index (`flags`: ENTRY_FLAGS). `badRun`: blocks out of use. `purge`: one that
 * still counts; `flags` is its kind, `blocks` the length of its prefix, `generation` the first that it does not cover, `writeSequence` its
 * sequence, `receivedAtMs` when it came, and its hash stands in `sliceNumber`, `tagLow`, `tagHigh` and `initialAgeSeconds`.
 */
export const CHECKPOINT_KINDS = { slice: 1, manifest: 2, badRun: 3, purge: 4 } as const;

/** One entry. */
export type CheckpointEntry = { readonly [Name in keyof typeof CHECKPOINT_ENTRY]: number };

/** An entry with everything zero, to be spread from. */
export const EMPTY_ENTRY: CheckpointEntry = {
  kind: 0,
  flags: 0,
  blocks: 0,
  block: 0,
  generation: 0,
  writeSequence: 0,
  sliceNumber: 0,
  tagLow: 0,
  tagHigh: 0,
  initialAgeSeconds: 0,
  receivedAtMs: 0,
  freshUntilMs: 0,
};

const AT = CHECKPOINT_ENTRY;

/** Identity of one part, checked when it is read. */
export interface CheckpointPartPlace {
  readonly sequence: number;
  readonly partNumber: number;
  readonly ownOffset: number;
  readonly deviceTag: Uint8Array;
}

/** Writes entry number `entryNumber` of a part that is being built. Field by field, since an index has millions of entries. */
export function encodeCheckpointEntry(entry: CheckpointEntry, part: Buffer, entryNumber: number): void {
  const base = CHECKPOINT_PART_HEADER_BYTES + entryNumber * CHECKPOINT_ENTRY_BYTES;
  part.writeUInt8(entry.kind, base + AT.kind.offset);
  part.writeUInt8(entry.flags, base + AT.flags.offset);
  part.writeUInt16LE(entry.blocks, base + AT.blocks.offset);
  part.writeUInt32LE(entry.block, base + AT.block.offset);
  writeU48(part, entry.generation, base + AT.generation.offset);
  writeU48(part, entry.writeSequence, base + AT.writeSequence.offset);
  part.writeUInt32LE(entry.sliceNumber, base + AT.sliceNumber.offset);
  part.writeUInt32LE(entry.tagLow, base + AT.tagLow.offset);
  part.writeUInt32LE(entry.tagHigh, base + AT.tagHigh.offset);
  part.writeUInt32LE(entry.initialAgeSeconds, base + AT.initialAgeSeconds.offset);
  writeU48(part, entry.receivedAtMs, base + AT.receivedAtMs.offset);
  writeU48(part, entry.freshUntilMs, base + AT.freshUntilMs.offset);
}

/** Reads entry number `entryNumber` of a part that verified; the caller checks the values' ranges. */
export function decodeCheckpointEntry(part: Buffer, entryNumber: number): CheckpointEntry {
  const base = CHECKPOINT_PART_HEADER_BYTES + entryNumber * CHECKPOINT_ENTRY_BYTES;
  return {
    kind: part.readUInt8(base + AT.kind.offset),
    flags: part.readUInt8(base + AT.flags.offset),
    blocks: part.readUInt16LE(base + AT.blocks.offset),
    block: part.readUInt32LE(base + AT.block.offset),
    generation: readU48(part, base + AT.generation.offset),
    writeSequence: readU48(part, base + AT.writeSequence.offset),
    sliceNumber: part.readUInt32LE(base + AT.sliceNumber.offset),
    tagLow: part.readUInt32LE(base + AT.tagLow.offset),
    tagHigh: part.readUInt32LE(base + AT.tagHigh.offset),
    initialAgeSeconds: part.readUInt32LE(base + AT.initialAgeSeconds.offset),
    receivedAtMs: readU48(part, base + AT.receivedAtMs.offset),
    freshUntilMs: readU48(part, base + AT.freshUntilMs.offset),
  };
}

function writeU48(part: Buffer, value: number, at: number): void {
  part.writeUInt32LE(value % 2 ** 32, at);
  part.writeUInt16LE(Math.floor(value / 2 ** 32), at + 4);
}

function readU48(part: Buffer, at: number): number {
  return part.readUInt32LE(at) + part.readUInt16LE(at + 4) * 2 ** 32;
}

/** Completes a part of `count` entries. @returns its CRC */
export function sealCheckpointPart(part: Buffer, place: CheckpointPartPlace, count: number): number {
  assert(part.length === CHECKPOINT_PART_BYTES, 'checkpoint part has its size');
  assert(count <= CHECKPOINT_PART_ENTRIES, 'checkpoint part is not overfull');
  part.fill(0, 0, CHECKPOINT_PART_HEADER_BYTES);
  part.fill(0, CHECKPOINT_PART_HEADER_BYTES + count * CHECKPOINT_ENTRY_BYTES);
  putAscii(part, 0, CHECKPOINT_HEADER.magic, CHECKPOINT_MAGIC);
  putNumber(part, 0, CHECKPOINT_HEADER.sequence, place.sequence);
  putNumber(part, 0, CHECKPOINT_HEADER.ownOffset, place.ownOffset);
  part.set(place.deviceTag, CHECKPOINT_HEADER.deviceTag.offset);
  putNumber(part, 0, CHECKPOINT_HEADER.partNumber, place.partNumber);
  putNumber(part, 0, CHECKPOINT_HEADER.count, count);
  const crc = crc32Around(part, part.length, CHECKPOINT_HEADER.crc);
  putNumber(part, 0, CHECKPOINT_HEADER.crc, crc);
  return crc;
}

/** Count of entries and CRC of the part if it is whole and the one that belongs there; any bytes are fine. */
export function verifyCheckpointPart(
  part: Buffer,
  place: CheckpointPartPlace,
): { readonly count: number; readonly crc: number } | undefined {
  if (part.length !== CHECKPOINT_PART_BYTES || !isAscii(part, 0, CHECKPOINT_HEADER.magic, CHECKPOINT_MAGIC)) return undefined;
  const number = (name: 'sequence' | 'ownOffset' | 'partNumber' | 'count' | 'crc'): number => getNumber(part, 0, CHECKPOINT_HEADER[name]);
  if (number('sequence') !== place.sequence || number('ownOffset') !== place.ownOffset) return undefined;
  if (number('partNumber') !== place.partNumber || number('count') > CHECKPOINT_PART_ENTRIES) return undefined;
  const tagAt = CHECKPOINT_HEADER.deviceTag.offset;
  if (Buffer.compare(part.subarray(tagAt, tagAt + 8), place.deviceTag) !== 0) return undefined;
  if (number('crc') !== crc32Around(part, part.length, CHECKPOINT_HEADER.crc)) return undefined;
  return { count: number('count'), crc: number('crc') };
}
