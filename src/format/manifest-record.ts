/**
 * How a manifest lies on disk: the payload of its extent. Decoding takes any bytes, never throws and allocates no more than the record
 * is long.
 *
 *   | fixed fields 128 | key text | field: name length u16, value length u16, name, value | field | ... | tag: length u16, text | ...
 */
import { assert } from '../base/assert.ts';
import { isPowerOfTwo, KIB, MIB } from '../base/units.ts';
import { crc32Around } from './checksum.ts';
import { KEY_BYTES_MAX } from './extent-header.ts';
import { defineLayout, getBytes, getNumber, isAscii, putAscii, putHex, putNumber } from './field-layout.ts';
import type { HeaderField, Manifest, ObjectHash } from './manifest.ts';

/** First bytes of a manifest record. */
export const MANIFEST_MAGIC = 'RSMANIFE';
const MANIFEST_VERSION = 2;
const FIXED_BYTES = 128;
/** Tags of one object. */
export const TAGS_MAX = 256;
/** Longest record; the fields' own limit is 16 KiB, names, values and a length pair each. */
export const MANIFEST_RECORD_BYTES_MAX = 32 * KIB;
/** Longest object whose bytes lie in the same extent, before its record. */
export const BODY_BYTES_MAX = 64 * KIB;
/** Longest name, value or tag: their lengths have 16 bits. */
const LIST_TEXT_BYTES_MAX = 0xffff;
const SLICE_SIZE_MIN = 64 * KIB;
const SLICE_SIZE_MAX = 8 * MIB;
/** Generations and times on disk have 48 bits. */
export const U48_MAX = 2 ** 48 - 1;

/** FORMAT.md, "Manifest record". */
export const MANIFEST_RECORD = defineLayout(FIXED_BYTES, [
  ['magic', 'ascii', 8],
  ['version', 'u16'],
  ['status', 'u16'],
  ['sliceSizeLog2', 'u8'],
  ['flags', 'u8'],
  ['keyBytes', 'u16'],
  ['recordBytes', 'u32'],
  ['fieldCount', 'u16'],
  ['tagCount', 'u16'],
  ['generation', 'u64'],
  ['objectHash', 'bytes', 16],
  ['lengthBytes', 'u64'],
  ['receivedAtMs', 'u64'],
  ['freshUntilMs', 'u64'],
  ['initialAgeSeconds', 'u32'],
  ['reserved', 'zero', 48],
  ['crc', 'u32'],
]);

/** Milliseconds or seconds as they are stored: whole, not negative, at most `max` (which stands for ever). */
export function storedTime(value: number, max = U48_MAX): number {
  return Math.min(max, Math.max(0, Math.floor(value)));
}

/** How long the manifest's record is, in bytes; undefined when there is none, since it is longer than MANIFEST_RECORD_BYTES_MAX or a part of it is too long. */
export function manifestRecordBytes(manifest: Manifest): number | undefined {
  const keyBytes = Buffer.byteLength(manifest.keyText);
  let recordBytes = FIXED_BYTES + keyBytes;
  for (const [name, value] of manifest.fields) {
    const [nameBytes, valueBytes] = [Buffer.byteLength(name), Buffer.byteLength(value)];
    if (nameBytes > LIST_TEXT_BYTES_MAX || valueBytes > LIST_TEXT_BYTES_MAX) return undefined;
    recordBytes += 4 + nameBytes + valueBytes;
  }
  for (const tag of manifest.tags) {
    const tagBytes = Buffer.byteLength(tag);
    if (tagBytes > LIST_TEXT_BYTES_MAX) return undefined;
    recordBytes += 2 + tagBytes;
  }
  const isTooLong = manifest.tags.length > TAGS_MAX || keyBytes > KEY_BYTES_MAX || recordBytes > MANIFEST_RECORD_BYTES_MAX;
  return isTooLong ? undefined : recordBytes;
}

/** Writes the manifest as a record into `record`, which is as long as manifestRecordBytes() says. */
export function putManifestRecord(record: Buffer, manifest: Manifest): void {
  assert(manifest.lengthBytes !== undefined, 'a growing manifest is not written');
  const keyBytes = record.write(manifest.keyText, FIXED_BYTES);
  let at = FIXED_BYTES + keyBytes;
  for (const [name, value] of manifest.fields) {
    const nameBytes = record.write(name, at + 4);
    const valueBytes = record.write(value, at + 4 + nameBytes);
    record.writeUInt16LE(nameBytes, at);
    record.writeUInt16LE(valueBytes, at + 2);
    at += 4 + nameBytes + valueBytes;
  }
  for (const tag of manifest.tags) {
    const tagBytes = record.write(tag, at + 2);
    record.writeUInt16LE(tagBytes, at);
    at += 2 + tagBytes;
  }
  assert(at === record.length, 'a record is as long as it was said to be');
  record.fill(0, 0, FIXED_BYTES);
  putAscii(record, 0, MANIFEST_RECORD.magic, MANIFEST_MAGIC);
  putNumber(record, 0, MANIFEST_RECORD.version, MANIFEST_VERSION);
  putNumber(record, 0, MANIFEST_RECORD.status, manifest.status);
  putNumber(record, 0, MANIFEST_RECORD.sliceSizeLog2, Math.log2(manifest.sliceSizeBytes));
  putNumber(record, 0, MANIFEST_RECORD.keyBytes, keyBytes);
  putNumber(record, 0, MANIFEST_RECORD.recordBytes, record.length);
  putNumber(record, 0, MANIFEST_RECORD.fieldCount, manifest.fields.length);
  putNumber(record, 0, MANIFEST_RECORD.tagCount, manifest.tags.length);
  putNumber(record, 0, MANIFEST_RECORD.generation, manifest.generation);
  putHex(record, 0, MANIFEST_RECORD.objectHash, manifest.objectHash);
  putNumber(record, 0, MANIFEST_RECORD.lengthBytes, manifest.lengthBytes);
  putNumber(record, 0, MANIFEST_RECORD.receivedAtMs, storedTime(manifest.receivedAtMs));
  putNumber(record, 0, MANIFEST_RECORD.freshUntilMs, storedTime(manifest.freshUntilMs));
  putNumber(record, 0, MANIFEST_RECORD.initialAgeSeconds, storedTime(manifest.initialAgeSeconds, 2 ** 32 - 1));
  putNumber(record, 0, MANIFEST_RECORD.crc, crc32Around(record, record.length, MANIFEST_RECORD.crc));
}

/** The manifest as a record in a fresh buffer, or undefined when it has none. */
export function encodeManifestRecord(manifest: Manifest): Buffer | undefined {
  const recordBytes = manifestRecordBytes(manifest);
  if (recordBytes === undefined) return undefined;
  const record = Buffer.alloc(recordBytes);
  putManifestRecord(record, manifest);
  return record;
}

/** The manifest in `source` (a record, perhaps with padding behind it), or undefined when it is not a whole, sound one. */
export function decodeManifestRecord(source: Buffer): Manifest | undefined {
  if (source.length < FIXED_BYTES || !isAscii(source, 0, MANIFEST_RECORD.magic, MANIFEST_MAGIC)) return undefined;
  const number = (name: keyof typeof MANIFEST_RECORD): number => getNumber(source, 0, MANIFEST_RECORD[name]);
  const recordBytes = number('recordBytes');
  const keyBytes = number('keyBytes');
  if (recordBytes > source.length || recordBytes > MANIFEST_RECORD_BYTES_MAX || recordBytes < FIXED_BYTES + keyBytes) return undefined;
  if (number('version') !== MANIFEST_VERSION || keyBytes > KEY_BYTES_MAX) return undefined;
  if (number('crc') !== crc32Around(source, recordBytes, MANIFEST_RECORD.crc)) return undefined;
  const listed = decodeLists(source.subarray(FIXED_BYTES + keyBytes, recordBytes), number('fieldCount'), number('tagCount'));
  const sliceSizeBytes = 2 ** number('sliceSizeLog2');
  const generation = number('generation');
  const lengthBytes = number('lengthBytes');
  if (listed === undefined || generation < 1 || generation > U48_MAX || lengthBytes > Number.MAX_SAFE_INTEGER) return undefined;
  if (!isSliceSize(sliceSizeBytes) || number('receivedAtMs') > U48_MAX || number('freshUntilMs') > U48_MAX) return undefined;
  return {
    generation,
    objectHash: Buffer.from(getBytes(source, 0, MANIFEST_RECORD.objectHash)).toString('hex') as ObjectHash,
    keyText: source.toString('utf8', FIXED_BYTES, FIXED_BYTES + keyBytes),
    status: number('status'),
    ...listed,
    lengthBytes,
    sliceSizeBytes,
    receivedAtMs: number('receivedAtMs'),
    initialAgeSeconds: number('initialAgeSeconds'),
    freshUntilMs: number('freshUntilMs'),
  };
}

/** Whether `bytes` is a slice size that a manifest may name. */
export function isSliceSize(bytes: number): boolean {
  return bytes >= SLICE_SIZE_MIN && bytes <= SLICE_SIZE_MAX && isPowerOfTwo(bytes);
}

/** Fields and tags, which must fill `source` exactly. */
function decodeLists(source: Buffer, fieldCount: number, tagCount: number): { fields: HeaderField[]; tags: string[] } | undefined {
  const fields: HeaderField[] = [];
  const tags: string[] = [];
  let at = 0;
  for (let index = 0; index < fieldCount; index += 1) {
    if (at + 4 > source.length) return undefined;
    const valueAt = at + 4 + source.readUInt16LE(at);
    const end = valueAt + source.readUInt16LE(at + 2);
    if (end > source.length) return undefined;
    fields.push([source.toString('utf8', at + 4, valueAt), source.toString('utf8', valueAt, end)]);
    at = end;
  }
  for (let index = 0; index < tagCount; index += 1) {
    if (at + 2 > source.length) return undefined;
    const end = at + 2 + source.readUInt16LE(at);
    if (end > source.length) return undefined;
    tags.push(source.toString('utf8', at + 2, end));
    at = end;
  }
  return at === source.length ? { fields, tags } : undefined;
}
