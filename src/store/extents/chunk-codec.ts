/**
 * The door to whoever compresses and decompresses. Two implementations: this file's does it at once, where it is called (the simulation,
 * tests, tools); thread-codec.ts has threads of its own, so that the event loop never waits for it.
 */
import { compressChunks, decompressChunks, looksCompressible } from './lz4-chunks.ts';

/** Compresses and decompresses chunks in arena memory. Buffers are the callee's until the promise settles. */
export interface ChunkCodec {
  /** Takes no more jobs to compress for now; what comes is stored raw. */
  readonly isCompressorBusy: boolean;
  /** Takes no more jobs to decompress for now; the caller does it itself. */
  readonly isDecompressorBusy: boolean;

  /**
   * Compresses `source` into `target`, which is at least as long. Never rejects.
   *
   * @returns stored length of each chunk, or undefined when samples say that it does not pay (or the thread is gone)
   */
  compress(source: Buffer, target: Buffer): Promise<readonly number[] | undefined>;

  /**
   * Decompresses verified chunks of the given stored lengths from `source` into `target`, which is exactly as long as they were.
   *
   * @returns false when they do not decode
   */
  decompress(source: Buffer, lengths: readonly number[], target: Buffer): Promise<boolean>;

  /** Ends the threads; the caller has no job under way. */
  close(): Promise<void>;
}

/** Does it at once, on the thread of the caller. */
export const INLINE_CODEC: ChunkCodec = {
  isCompressorBusy: false,
  isDecompressorBusy: false,
  compress: (source, target) => Promise.resolve(looksCompressible(source) ? compressChunks(source, target) : undefined),
  decompress: (source, lengths, target) => Promise.resolve(decompressChunks(source, lengths, target)),
  close: () => Promise.resolve(),
};
