/**
 * Checksums of everything on disk. CRC-32 (IEEE, the values of zlib.crc32) finds what wear and accidents change; a keyed MAC
 * (HMAC-SHA-256 cut to 128 bits, key made at format) stops a client from planting a valid header inside a cached body.
 */
import { createHmac } from 'node:crypto';
import { crc32 as nativeCrc32 } from '@node-rs/crc32';
import type { Field } from './field-layout.ts';

/** Bytes of a MAC as it lies on disk. */
export const MAC_BYTES = 16;
/** Bytes of the key made at format. */
export const MAC_KEY_BYTES = 32;

const ZEROS = new Uint8Array(MAC_BYTES);

/** CRC-32 (IEEE) of `bytes`, going on from `initial`. */
export function crc32(bytes: Uint8Array, initial = 0): number {
  return nativeCrc32(bytes, initial);
}

/** Where the CRC of a record's chunks begins: depends on its write sequence, so that a chunk of another record cannot pass. */
export function chunkCrcSeed(writeSequence: number): number {
  const words = new Uint8Array(8);
  const view = new DataView(words.buffer);
  view.setUint32(0, writeSequence % 2 ** 32, true);
  view.setUint32(4, Math.floor(writeSequence / 2 ** 32), true);
  return crc32(words);
}

/** CRC-32 of the first `lengthBytes` of `buffer` as if `hole` (the field that holds the CRC) were zero. */
export function crc32Around(buffer: Buffer, lengthBytes: number, hole: Field): number {
  const before = crc32(buffer.subarray(0, hole.offset));
  const middle = crc32(ZEROS.subarray(0, hole.size), before);
  return crc32(buffer.subarray(hole.offset + hole.size, lengthBytes), middle);
}

/** MAC of `parts`, one after the other. */
export function macOf(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  const mac = createHmac('sha256', key);
  for (const part of parts) mac.update(part);
  return mac.digest().subarray(0, MAC_BYTES);
}
