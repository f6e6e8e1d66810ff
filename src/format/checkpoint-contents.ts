/**
 * The table of contents of a checkpoint: for each part the order of its first entry (checkpoint-order.ts) and its CRC. It stands behind the
 * last part, where the zone has room for it, in parts of its own of 64 KiB. A superblock does not name it: it is the right one when the CRCs
 * that it lists give the one that the superblock has.
 */
import { assert } from '../base/assert.ts';
import { divFloor } from '../base/units.ts';
import { SLICE_ORDER } from './checkpoint-order.ts';
import { crc32Around } from './checksum.ts';
import { defineLayout, getNumber, isAscii, putAscii, putNumber } from './field-layout.ts';
import { CHECKPOINT_PART_BYTES } from './geometry.ts';

/** First bytes of a part of it. */
export const CONTENTS_MAGIC = 'RSCONTEN';

/** A part of it begins with a header of so many bytes. */
export const CONTENTS_HEADER_BYTES = 64;
/** Bytes of one of its entries. */
export const CONTENTS_ENTRY_BYTES = 8;

/** FORMAT.md, "Table of contents". */
export const CONTENTS_HEADER = defineLayout(CONTENTS_HEADER_BYTES, [
  ['magic', 'ascii', 8],
  ['sequence', 'u64'],
  ['ownOffset', 'u64'],
  ['deviceTag', 'bytes', 8],
  ['firstPart', 'u32'],
  ['count', 'u32'],
  ['objectPlaces', 'u32'],
  ['slicePlaces', 'u32'],
  ['reserved', 'zero', 12],
  ['crc', 'u32'],
]);

/** FORMAT.md, "Table of contents entry". */
export const CONTENTS_ENTRY = defineLayout(CONTENTS_ENTRY_BYTES, [
  ['firstOrder', 'u32'],
  ['crc', 'u32'],
]);
/** Parts of a checkpoint that one part of its table of contents lists. */
export const CONTENTS_PART_ENTRIES = divFloor(CHECKPOINT_PART_BYTES - CONTENTS_HEADER_BYTES, CONTENTS_ENTRY_BYTES);

/** How many places objects and slices were put in order by. */
export interface CheckpointPlaces {
  readonly objectPlaces: number;
  readonly slicePlaces: number;
}

/** One part of a checkpoint, as its table of contents has it. */
export interface ContentsEntry {
  readonly firstOrder: number;
  readonly crc: number;
}

/** Identity of one part of a table of contents. */
export interface ContentsPartPlace {
  readonly sequence: number;
  readonly ownOffset: number;
  readonly deviceTag: Uint8Array;
  /** Number of the first part that it lists. */
  readonly firstPart: number;
}

/** Fills a part of a table of contents. */
export function encodeContentsPart(
  part: Buffer,
  place: ContentsPartPlace,
  { places, entries }: { readonly places: CheckpointPlaces; readonly entries: readonly ContentsEntry[] },
): void {
  assert(part.length === CHECKPOINT_PART_BYTES, 'part of a table of contents has its size');
  assert(entries.length <= CONTENTS_PART_ENTRIES, 'part of a table of contents is not overfull');
  part.fill(0);
  putAscii(part, 0, CONTENTS_HEADER.magic, CONTENTS_MAGIC);
  putNumber(part, 0, CONTENTS_HEADER.sequence, place.sequence);
  putNumber(part, 0, CONTENTS_HEADER.ownOffset, place.ownOffset);
  part.set(place.deviceTag, CONTENTS_HEADER.deviceTag.offset);
  putNumber(part, 0, CONTENTS_HEADER.firstPart, place.firstPart);
  putNumber(part, 0, CONTENTS_HEADER.count, entries.length);
  putNumber(part, 0, CONTENTS_HEADER.objectPlaces, places.objectPlaces);
  putNumber(part, 0, CONTENTS_HEADER.slicePlaces, places.slicePlaces);
  for (const [number, entry] of entries.entries()) {
    putNumber(part, CONTENTS_HEADER_BYTES + number * CONTENTS_ENTRY_BYTES, CONTENTS_ENTRY.firstOrder, entry.firstOrder);
    putNumber(part, CONTENTS_HEADER_BYTES + number * CONTENTS_ENTRY_BYTES, CONTENTS_ENTRY.crc, entry.crc);
  }
  putNumber(part, 0, CONTENTS_HEADER.crc, crc32Around(part, part.length, CONTENTS_HEADER.crc));
}

/** What the part says if it is whole and the one that belongs there; any bytes are fine. */
export function decodeContentsPart(
  part: Buffer,
  place: ContentsPartPlace,
): { readonly places: CheckpointPlaces; readonly entries: readonly ContentsEntry[] } | undefined {
  if (part.length !== CHECKPOINT_PART_BYTES || !isAscii(part, 0, CONTENTS_HEADER.magic, CONTENTS_MAGIC)) return undefined;
  const number = (name: Exclude<keyof typeof CONTENTS_HEADER, 'magic' | 'deviceTag' | 'reserved'>): number =>
    getNumber(part, 0, CONTENTS_HEADER[name]);
  if (number('sequence') !== place.sequence || number('ownOffset') !== place.ownOffset) return undefined;
  if (number('firstPart') !== place.firstPart || number('count') > CONTENTS_PART_ENTRIES) return undefined;
  const tagAt = CONTENTS_HEADER.deviceTag.offset;
  if (Buffer.compare(part.subarray(tagAt, tagAt + 8), place.deviceTag) !== 0) return undefined;
  if (number('crc') !== crc32Around(part, part.length, CONTENTS_HEADER.crc)) return undefined;
  const places = { objectPlaces: number('objectPlaces'), slicePlaces: number('slicePlaces') };
  if (Math.min(places.objectPlaces, places.slicePlaces) < 1 || Math.max(places.objectPlaces, places.slicePlaces) > SLICE_ORDER)
    return undefined;
  const entries = Array.from({ length: number('count') }, (_, entry) => ({
    firstOrder: getNumber(part, CONTENTS_HEADER_BYTES + entry * CONTENTS_ENTRY_BYTES, CONTENTS_ENTRY.firstOrder),
    crc: getNumber(part, CONTENTS_HEADER_BYTES + entry * CONTENTS_ENTRY_BYTES, CONTENTS_ENTRY.crc),
  }));
  return { places, entries };
}

/** Whether the part was written as the one that belongs there, though it may be damaged; what an older checkpoint left there is not. */
export function isContentsPartOf(part: Buffer, place: ContentsPartPlace): boolean {
  const tagAt = CONTENTS_HEADER.deviceTag.offset;
  const isOfSequence = getNumber(part, 0, CONTENTS_HEADER.sequence) === place.sequence;
  const traits = [
    isAscii(part, 0, CONTENTS_HEADER.magic, CONTENTS_MAGIC),
    isOfSequence,
    getNumber(part, 0, CONTENTS_HEADER.ownOffset) === place.ownOffset,
    Buffer.compare(part.subarray(tagAt, tagAt + 8), place.deviceTag) === 0,
  ];
  const isWhole = getNumber(part, 0, CONTENTS_HEADER.crc) === crc32Around(part, part.length, CONTENTS_HEADER.crc);
  return traits.filter(Boolean).length >= traits.length - 1 && (isOfSequence || !isWhole);
}
