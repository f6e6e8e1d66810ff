/**
 * The first block of every extent: it says what the extent is and proves it, so that a stale pointer is a miss and a planted frame is
 * refused. Behind it lies the payload (a slice's bytes or a manifest record), padded with zeros to a block.
 *
 *   | fixed fields 256 | chunk table: 6 bytes a chunk | key text | zeros to the end of the block | payload ... | zeros |
 */
import { assert } from '../base/assert.ts';
import { alignUp, divCeil, divFloor, MIB, PAGE_BYTES } from '../base/units.ts';
import { chunkCrcSeed, crc32, crc32Around, macOf } from './checksum.ts';
import { defineLayout, getBytes, getNumber, isAscii, putAscii, putBytes, putHex, putNumber } from './field-layout.ts';
import { CHUNK_BYTES } from './geometry.ts';
import type { ObjectHash } from './manifest.ts';

/** First bytes of an extent. */
export const EXTENT_MAGIC = 'RSEXTENT';
const EXTENT_VERSION = 2;
const FIXED_BYTES = 256;
const CHUNK_ENTRY_BYTES = 6;
/** Longest normalised key, in bytes of UTF-8. */
export const KEY_BYTES_MAX = 3072;
/** Longest payload: one slice of the largest slice size. */
export const PAYLOAD_BYTES_MAX = 8 * MIB;
/** Values of `kind`. */
export const EXTENT_KINDS = { slice: 1, manifest: 2 } as const;
/**
 * Values of `codec`. `raw`: stored as it came. `lz4`: each chunk by itself, as its raw length (u32) and an LZ4 block; a chunk whose stored
 * length is its raw length is stored as it came.
 */
export const CODECS = { raw: 0, lz4: 1 } as const;

/** FORMAT.md, "Extent header". */
export const EXTENT_HEADER = defineLayout(FIXED_BYTES, [
  ['magic', 'ascii', 8],
  ['version', 'u16'],
  ['headerBytes', 'u16'],
  ['kind', 'u8'],
  ['codec', 'u8'],
  ['chunkLog2', 'u8'],
  ['sliceSizeLog2', 'u8'],
  ['ownBlock', 'u64'],
  ['cacheUuid', 'bytes', 16],
  ['writeSequence', 'u64'],
  ['generation', 'u64'],
  ['keyHash', 'bytes', 16],
  ['objectKeyHash', 'bytes', 16],
  ['sliceNumber', 'u32'],
  ['presentStart', 'u32'],
  ['presentEnd', 'u32'],
  ['rawBytes', 'u32'],
  ['storedBytes', 'u32'],
  ['allocatedBytes', 'u32'],
  ['chunkCount', 'u16'],
  ['keyBytes', 'u16'],
  ['epoch', 'u64'],
  ['writtenAtMs', 'u64'],
  ['purgeSequence', 'u64'],
  ['reserved', 'zero', 96],
  ['crc', 'u32'],
  ['mac', 'bytes', 16],
]);

assert(FIXED_BYTES + divCeil(PAYLOAD_BYTES_MAX, CHUNK_BYTES) * CHUNK_ENTRY_BYTES + KEY_BYTES_MAX <= PAGE_BYTES, 'a header fits a page');

/** What a header says. */
export interface ExtentHeader {
  readonly kind: number;
  readonly codec: number;
  readonly ownBlock: number;
  readonly writeSequence: number;
  readonly generation: number;
  readonly objectHash: ObjectHash;
  /** MANIFEST_NUMBER for a manifest. */
  readonly sliceNumber: number;
  /** The part of the slice that the extent holds; of slice 0 in a manifest, whose payload begins with that part. */
  readonly presentStart: number;
  readonly presentEnd: number;
  /** Payload before encoding, as it lies on disk, and the whole extent; bytes. */
  readonly rawBytes: number;
  readonly storedBytes: number;
  readonly allocatedBytes: number;
  readonly epoch: number;
  readonly writtenAtMs: number;
  /** Newest purge when it was written, for rebuilding: what was purged later must not come back. */
  readonly purgeSequence: number;
  readonly keyText: string;
}

/** Whose extent it is: part of what is verified. */
export interface ExtentIdentity {
  readonly cacheUuid: Uint8Array;
  readonly macKey: Uint8Array;
}

/** Blocks of an extent whose payload has `payloadBytes`: a header block and the payload's. */
export function extentBlocks(payloadBytes: number, blockSizeBytes: number): number {
  return 1 + divCeil(payloadBytes, blockSizeBytes);
}

/**
 * Fills `target` (one block) with the header of an extent.
 *
 * @param payload the stored bytes, without padding
 * @param chunkLengths stored length of each chunk; those of a raw extent when undefined
 */
export function encodeExtentHeader(
  header: ExtentHeader,
  identity: ExtentIdentity,
  buffers: { readonly target: Buffer; readonly payload: Buffer; readonly chunkLengths?: readonly number[] | undefined },
): void {
  const { target, payload } = buffers;
  const keyBytes = Buffer.byteLength(header.keyText);
  const chunkCount = divCeil(header.rawBytes, CHUNK_BYTES);
  const headerBytes = FIXED_BYTES + chunkCount * CHUNK_ENTRY_BYTES + keyBytes;
  assert(keyBytes <= KEY_BYTES_MAX && payload.length <= PAYLOAD_BYTES_MAX, 'key and payload are within their limits');
  assert(header.storedBytes === payload.length, 'stored length is the payload');
  assert(header.allocatedBytes === target.length + alignUp(payload.length, target.length), 'allocation fits header and payload');
  target.fill(0);
  putAscii(target, 0, EXTENT_HEADER.magic, EXTENT_MAGIC);
  putNumber(target, 0, EXTENT_HEADER.version, EXTENT_VERSION);
  putNumber(target, 0, EXTENT_HEADER.headerBytes, headerBytes);
  putNumber(target, 0, EXTENT_HEADER.chunkLog2, Math.log2(CHUNK_BYTES));
  putBytes(target, 0, EXTENT_HEADER.cacheUuid, identity.cacheUuid);
  putHex(target, 0, EXTENT_HEADER.keyHash, header.objectHash);
  putHex(target, 0, EXTENT_HEADER.objectKeyHash, header.objectHash);
  putNumber(target, 0, EXTENT_HEADER.chunkCount, chunkCount);
  putNumber(target, 0, EXTENT_HEADER.keyBytes, keyBytes);
  for (const name of NUMBERS) putNumber(target, 0, EXTENT_HEADER[name], header[name]);
  const seed = chunkCrcSeed(header.writeSequence);
  let from = 0;
  for (let chunk = 0; chunk < chunkCount; chunk += 1) {
    const bytes = payload.subarray(from, from + (buffers.chunkLengths?.[chunk] ?? rawChunkBytes(header.rawBytes, chunk)));
    const at = FIXED_BYTES + chunk * CHUNK_ENTRY_BYTES;
    target.writeUInt16LE(bytes.length - 1, at);
    target.writeUInt32LE(crc32(bytes, seed), at + 2);
    from += bytes.length;
  }
  assert(from === payload.length, 'the chunks are the payload');
  target.write(header.keyText, FIXED_BYTES + chunkCount * CHUNK_ENTRY_BYTES);
  putBytes(target, 0, EXTENT_HEADER.mac, headerMac(target, headerBytes, identity));
  putNumber(target, 0, EXTENT_HEADER.crc, crc32Around(target, target.length, EXTENT_HEADER.crc));
}

/** The header in `block` if it is whole and of this cache; any bytes are fine. The caller compares it with what it looked for. */
export function decodeExtentHeader(block: Buffer, identity: ExtentIdentity): ExtentHeader | undefined {
  if (block.length < PAGE_BYTES || !isAscii(block, 0, EXTENT_HEADER.magic, EXTENT_MAGIC)) return undefined;
  if (getNumber(block, 0, EXTENT_HEADER.crc) !== crc32Around(block, block.length, EXTENT_HEADER.crc)) return undefined;
  const number = (name: keyof typeof EXTENT_HEADER): number => getNumber(block, 0, EXTENT_HEADER[name]);
  const chunkCount = number('chunkCount');
  const keyBytes = number('keyBytes');
  const headerBytes = FIXED_BYTES + chunkCount * CHUNK_ENTRY_BYTES + keyBytes;
  if (number('version') !== EXTENT_VERSION || number('chunkLog2') !== Math.log2(CHUNK_BYTES)) return undefined;
  if (headerBytes > block.length || number('headerBytes') !== headerBytes) return undefined;
  if (Buffer.compare(getBytes(block, 0, EXTENT_HEADER.mac), headerMac(block, headerBytes, identity)) !== 0) return undefined;
  if (Buffer.compare(getBytes(block, 0, EXTENT_HEADER.cacheUuid), identity.cacheUuid) !== 0) return undefined;
  const rawBytes = number('rawBytes');
  if (chunkCount !== divCeil(rawBytes, CHUNK_BYTES) || !isTableSound(block, rawBytes, number('storedBytes'))) return undefined;
  if (number('codec') === CODECS.raw && number('storedBytes') !== rawBytes) return undefined;
  const keyAt = headerBytes - keyBytes;
  return {
    kind: number('kind'),
    codec: number('codec'),
    ownBlock: number('ownBlock'),
    writeSequence: number('writeSequence'),
    generation: number('generation'),
    objectHash: Buffer.from(getBytes(block, 0, EXTENT_HEADER.keyHash)).toString('hex') as ObjectHash,
    sliceNumber: number('sliceNumber'),
    presentStart: number('presentStart'),
    presentEnd: number('presentEnd'),
    rawBytes,
    storedBytes: number('storedBytes'),
    allocatedBytes: number('allocatedBytes'),
    epoch: number('epoch'),
    writtenAtMs: number('writtenAtMs'),
    purgeSequence: number('purgeSequence'),
    keyText: block.toString('utf8', keyAt, headerBytes),
  };
}

/** What a header says of its chunks, in their order: the stored length in bytes times 2^32, and the CRC. A number each, since many are kept. */
export type ChunkTable = readonly number[];

/** The chunk table of a block that decodeExtentHeader() took for `header`. */
export function decodeChunkTable(block: Buffer, header: Pick<ExtentHeader, 'rawBytes'>): ChunkTable {
  return Array.from(
    { length: divCeil(header.rawBytes, CHUNK_BYTES) },
    (_, chunk) => chunkLength(block, chunk) * 2 ** 32 + block.readUInt32LE(FIXED_BYTES + chunk * CHUNK_ENTRY_BYTES + 2),
  );
}

/** Where chunks `firstChunk` to `endChunk` (not included) lie in the stored payload, and the stored length of each. */
export function storedChunks(
  chunks: ChunkTable,
  range: { readonly firstChunk: number; readonly endChunk: number },
): { readonly startBytes: number; readonly endBytes: number; readonly lengths: readonly number[] } {
  const sum = (lengths: readonly number[]): number => lengths.reduce((bytes, length) => bytes + length, 0);
  const startBytes = sum(chunks.slice(0, range.firstChunk).map(lengthOf));
  const lengths = chunks.slice(range.firstChunk, range.endChunk).map(lengthOf);
  return { startBytes, endBytes: startBytes + sum(lengths), lengths };
}

/**
 * Whether the chunks from `firstChunk` on, as far as `bytes` reaches, are those that the header (already decoded and verified) names.
 *
 * @param stored.writeSequence of the header
 * @param stored.bytes payload from the first byte of `firstChunk`; longer than the payload is fine (padding)
 */
export function verifyChunks(
  chunks: ChunkTable,
  stored: { readonly writeSequence: number; readonly firstChunk: number; readonly bytes: Buffer },
): boolean {
  const { firstChunk, bytes } = stored;
  const seed = chunkCrcSeed(stored.writeSequence);
  let at = 0;
  for (let chunk = firstChunk; at < bytes.length; chunk += 1) {
    const entry = chunks[chunk];
    if (entry === undefined) break;
    const endBytes = at + lengthOf(entry);
    if (endBytes > bytes.length || crc32(bytes.subarray(at, endBytes), seed) !== entry % 2 ** 32) return false;
    at = endBytes;
  }
  return true;
}

/** Whether no chunk is stored longer than it is, and all of them together are what is stored. */
function isTableSound(block: Buffer, rawBytes: number, storedBytes: number): boolean {
  let sum = 0;
  for (let chunk = 0; chunk * CHUNK_BYTES < rawBytes; chunk += 1) {
    const lengthBytes = chunkLength(block, chunk);
    if (lengthBytes > rawChunkBytes(rawBytes, chunk)) return false;
    sum += lengthBytes;
  }
  return sum === storedBytes;
}

function lengthOf(entry: number): number {
  return divFloor(entry, 2 ** 32);
}

function chunkLength(block: Buffer, chunk: number): number {
  return block.readUInt16LE(FIXED_BYTES + chunk * CHUNK_ENTRY_BYTES) + 1;
}

function rawChunkBytes(rawBytes: number, chunk: number): number {
  return Math.min(CHUNK_BYTES, rawBytes - chunk * CHUNK_BYTES);
}

const NUMBERS = [
  'kind',
  'codec',
  'ownBlock',
  'writeSequence',
  'generation',
  'sliceNumber',
  'presentStart',
  'presentEnd',
  'rawBytes',
  'storedBytes',
  'allocatedBytes',
  'epoch',
  'writtenAtMs',
  'purgeSequence',
] as const;

/** The MAC covers everything that is used but the CRC (which covers the MAC) and itself; the two end the fixed fields. */
function headerMac(block: Buffer, headerBytes: number, identity: ExtentIdentity): Uint8Array {
  return macOf(identity.macKey, block.subarray(0, EXTENT_HEADER.crc.offset), block.subarray(FIXED_BYTES, headerBytes));
}
