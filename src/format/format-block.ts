/**
 * The format block: first block of each label, written once. Its first line is plain ASCII, so that `head -1` or `file` on the bare disk
 * says what it is; then who the device is, where its zones lie, and the key of its MACs.
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { crc32Around, MAC_KEY_BYTES } from './checksum.ts';
import { defineLayout, getBytes, getNumber, isAscii, putAscii, putBytes, putNumber } from './field-layout.ts';
import { computeGeometry, type Geometry, LABEL_COUNT } from './geometry.ts';

/** The only version that this program reads and writes. */
export const FORMAT_VERSION = 2;
/** First words of the device, exactly; a probe looks for them. */
export const FORMAT_FIRST_WORDS = 'rawslice cache device';
/** Second magic, behind the text line. */
export const FORMAT_MAGIC = 'RSFORMAT';
const FIRST_LINE = `${FORMAT_FIRST_WORDS}, format ${FORMAT_VERSION}; look at it with: rawslice inspect PATH\n`;

/** FORMAT.md, "Format block". The rest of the block is zero. */
export const FORMAT_BLOCK = defineLayout(512, [
  ['firstLine', 'ascii', 128],
  ['magic', 'ascii', 8],
  ['version', 'u32'],
  ['labelNumber', 'u32'],
  ['featuresCompatible', 'u64'],
  ['featuresReadOnly', 'u64'],
  ['featuresIncompatible', 'u64'],
  ['deviceUuid', 'bytes', 16],
  ['cacheUuid', 'bytes', 16],
  ['macKeyId', 'bytes', 8],
  ['macKey', 'bytes', 32],
  ['blockSizeBytes', 'u32'],
  ['entryCount', 'u32'],
  ['capacityBytes', 'u64'],
  ['labelBytes', 'u64'],
  ['journalBytes', 'u64'],
  ['groupBytes', 'u64'],
  ['checkpointBytes', 'u64'],
  ['journalOffset', 'u64'],
  ['checkpointOffsetA', 'u64'],
  ['checkpointOffsetB', 'u64'],
  ['groupsOffset', 'u64'],
  ['groupsBlocks', 'u64'],
  ['createdAtMs', 'u64'],
  ['reserved', 'zero', 172],
  ['crc', 'u32'],
]);

/** What a device is: the same in all four labels but for `labelNumber`. */
export interface FormatBlock {
  readonly labelNumber: number;
  readonly deviceUuid: Uint8Array;
  readonly cacheUuid: Uint8Array;
  readonly macKeyId: Uint8Array;
  readonly macKey: Uint8Array;
  readonly createdAtMs: number;
  readonly geometry: Geometry;
}

/** What a block turned out to be. `foreign`: no format block of ours; `version`: ours, but of another version or with unknown features. */
export type FormatBlockVerdict =
  | { readonly kind: 'valid'; readonly block: FormatBlock }
  | { readonly kind: 'foreign' }
  | { readonly kind: 'version'; readonly version: number }
  | { readonly kind: 'damaged'; readonly reason: string };

/** Fills `target` (at least 4 KiB) with the format block of one label. */
export function encodeFormatBlock(block: FormatBlock, target: Buffer): void {
  assert(target.length >= PAGE_BYTES, 'format block takes a page');
  assert(block.macKey.length === MAC_KEY_BYTES, 'MAC key has 32 bytes');
  const { geometry } = block;
  target.fill(0);
  putAscii(target, 0, FORMAT_BLOCK.firstLine, FIRST_LINE);
  putAscii(target, 0, FORMAT_BLOCK.magic, FORMAT_MAGIC);
  putNumber(target, 0, FORMAT_BLOCK.version, FORMAT_VERSION);
  putNumber(target, 0, FORMAT_BLOCK.labelNumber, block.labelNumber);
  putBytes(target, 0, FORMAT_BLOCK.deviceUuid, block.deviceUuid);
  putBytes(target, 0, FORMAT_BLOCK.cacheUuid, block.cacheUuid);
  putBytes(target, 0, FORMAT_BLOCK.macKeyId, block.macKeyId);
  putBytes(target, 0, FORMAT_BLOCK.macKey, block.macKey);
  for (const [name, value] of geometryFields(geometry)) putNumber(target, 0, FORMAT_BLOCK[name], value);
  putNumber(target, 0, FORMAT_BLOCK.createdAtMs, block.createdAtMs);
  putNumber(target, 0, FORMAT_BLOCK.crc, crc32Around(target, 512, FORMAT_BLOCK.crc));
}

/** Reads a format block from any bytes (at least 512). */
export function decodeFormatBlock(source: Buffer): FormatBlockVerdict {
  if (source.length < 512 || !isAscii(source, 0, FORMAT_BLOCK.magic, FORMAT_MAGIC)) return { kind: 'foreign' };
  const version = getNumber(source, 0, FORMAT_BLOCK.version);
  const isWhole = getNumber(source, 0, FORMAT_BLOCK.crc) === crc32Around(source, 512, FORMAT_BLOCK.crc);
  // A later version may move its checksum, so it is believed without one; earlier ones had theirs here.
  const isOther = version > FORMAT_VERSION || (version >= 1 && version < FORMAT_VERSION && isWhole);
  if (version !== FORMAT_VERSION) return isOther ? { kind: 'version', version } : { kind: 'damaged', reason: 'version' };
  if (!isWhole) return { kind: 'damaged', reason: 'checksum' };
  if (getNumber(source, 0, FORMAT_BLOCK.featuresIncompatible) !== 0) return { kind: 'version', version };
  const geometry = computeGeometry({
    blockSizeBytes: getNumber(source, 0, FORMAT_BLOCK.blockSizeBytes),
    capacityBytes: getNumber(source, 0, FORMAT_BLOCK.capacityBytes),
    labelBytes: getNumber(source, 0, FORMAT_BLOCK.labelBytes),
    journalBytes: getNumber(source, 0, FORMAT_BLOCK.journalBytes),
    groupBytes: getNumber(source, 0, FORMAT_BLOCK.groupBytes),
    entryCount: getNumber(source, 0, FORMAT_BLOCK.entryCount),
  });
  if (geometry === undefined) return { kind: 'damaged', reason: 'geometry' };
  for (const [name, value] of geometryFields(geometry)) {
    if (getNumber(source, 0, FORMAT_BLOCK[name]) !== value) return { kind: 'damaged', reason: `geometry (${name})` };
  }
  const labelNumber = getNumber(source, 0, FORMAT_BLOCK.labelNumber);
  if (labelNumber >= LABEL_COUNT) return { kind: 'damaged', reason: 'label number' };
  return {
    kind: 'valid',
    block: {
      labelNumber,
      deviceUuid: getBytes(source, 0, FORMAT_BLOCK.deviceUuid),
      cacheUuid: getBytes(source, 0, FORMAT_BLOCK.cacheUuid),
      macKeyId: getBytes(source, 0, FORMAT_BLOCK.macKeyId),
      macKey: getBytes(source, 0, FORMAT_BLOCK.macKey),
      createdAtMs: getNumber(source, 0, FORMAT_BLOCK.createdAtMs),
      geometry,
    },
  };
}

type GeometryField = 'blockSizeBytes' | 'entryCount' | 'capacityBytes' | 'labelBytes' | 'journalBytes' | 'groupBytes' | DerivedField;
type DerivedField = 'checkpointBytes' | 'journalOffset' | 'checkpointOffsetA' | 'checkpointOffsetB' | 'groupsOffset' | 'groupsBlocks';

function geometryFields(geometry: Geometry): readonly (readonly [GeometryField, number])[] {
  return [
    ['blockSizeBytes', geometry.blockSizeBytes],
    ['entryCount', geometry.entryCount],
    ['capacityBytes', geometry.capacityBytes],
    ['labelBytes', geometry.labelBytes],
    ['journalBytes', geometry.journalBytes],
    ['groupBytes', geometry.groupBytes],
    ['checkpointBytes', geometry.checkpointBytes],
    ['journalOffset', geometry.journalOffset],
    ['checkpointOffsetA', geometry.checkpointOffsets[0]],
    ['checkpointOffsetB', geometry.checkpointOffsets[1]],
    ['groupsOffset', geometry.groupsOffset],
    ['groupsBlocks', geometry.groupsBlocks],
  ];
}

/** A UUID's 16 bytes in the usual text form. */
export function formatUuid(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
