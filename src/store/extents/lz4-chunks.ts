/**
 * LZ4 over the chunks of a payload, each by itself (FORMAT.md, "Extents"): as its raw length (u32) and an LZ4 block, which is what the library
 * makes; a chunk that does not shrink is stored as it came. Pure work on bytes, for whichever thread has the time (chunk-codec.ts).
 */
import { compressSync, uncompressSync } from 'lz4-napi';
import { divFloor, KIB } from '../../base/units.ts';
import { CHUNK_BYTES } from '../../format/geometry.ts';

const SAMPLE_BYTES = 16 * KIB;
const PREFIX_BYTES = 4;

/**
 * Compresses `source` into `target`, which is at least as long.
 *
 * @returns the stored length of each chunk; they lie in `target` one behind the other
 */
export function compressChunks(source: Buffer, target: Buffer): number[] {
  const lengths: number[] = [];
  let at = 0;
  for (let start = 0; start < source.length; start += CHUNK_BYTES) {
    const raw = source.subarray(start, start + CHUNK_BYTES);
    const compressed = compressSync(raw);
    const stored = compressed.length < raw.length ? compressed : raw;
    stored.copy(target, at);
    lengths.push(stored.length);
    at += stored.length;
    release(compressed);
  }
  return lengths;
}

/**
 * Decodes verified chunks that lie in `source` one behind the other into `target`, which is exactly as long as they were. The length prefix
 * is compared before the library sees it: it would believe a forged one and allocate that much.
 *
 * @param lengths stored length of each chunk
 * @returns false when they are not what a compressor made of that many bytes
 */
export function decompressChunks(source: Buffer, lengths: readonly number[], target: Buffer): boolean {
  let from = 0;
  let to = 0;
  for (const lengthBytes of lengths) {
    const stored = source.subarray(from, from + lengthBytes);
    const rawBytes = Math.min(CHUNK_BYTES, target.length - to);
    const raw = lengthBytes === rawBytes ? stored : tryUncompress(stored, rawBytes);
    if (raw?.length !== rawBytes) return false;
    raw.copy(target, to);
    if (raw !== stored) release(raw);
    from += lengthBytes;
    to += rawBytes;
  }
  return to === target.length;
}

/** Whether three samples of `source` shrink by an eighth; short ones are all sample, so that compressing them tells as much. */
export function looksCompressible(source: Buffer): boolean {
  if (source.length <= 2 * CHUNK_BYTES) return true;
  const gap = divFloor(source.length - SAMPLE_BYTES, 2);
  let compressedBytes = 0;
  for (let sample = 0; sample < 3; sample += 1) {
    const compressed = compressSync(source.subarray(sample * gap, sample * gap + SAMPLE_BYTES));
    compressedBytes += compressed.length;
    release(compressed);
  }
  return compressedBytes * 8 <= 3 * SAMPLE_BYTES * 7;
}

/**
 * Gives back at once what the library allocated. It is memory outside the heap, of which a thread that has nothing else to collect would
 * pile up 100 MiB and more before it collects (DECISIONS.md).
 */
function release(bytes: Buffer): void {
  const { buffer } = bytes;
  if (buffer instanceof ArrayBuffer && buffer.byteLength === bytes.length) buffer.transfer(0);
}

function tryUncompress(stored: Buffer, rawBytes: number): Buffer | undefined {
  if (stored.length <= PREFIX_BYTES || stored.readUInt32LE(0) !== rawBytes) return undefined;
  try {
    return uncompressSync(stored);
  } catch {
    // The library has no verdict but an error; a block that it refuses is damage.
    return undefined;
  }
}
