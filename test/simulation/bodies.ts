/**
 * Bytes that follow from their address alone, so that every byte that a store returns can be compared: some compress well, some not at all,
 * some in part.
 */
import { createCipheriv, createHash } from 'node:crypto';

/** Whose bytes. */
export interface BodyAddress {
  readonly keyText: string;
  readonly generation: number;
  readonly sliceNumber: number;
}

/** Bytes of one slice. */
export function bodyBytes(address: BodyAddress, lengthBytes: number): Buffer {
  const seed = createHash('sha256').update(`${address.keyText}/${address.generation}/${address.sliceNumber}`).digest();
  const kind = createHash('sha256').update(address.keyText).digest().readUInt8(0) % 3;
  const even = Buffer.alloc(lengthBytes, seed);
  // The same text in another place must not pass: every 512 bytes say where they are.
  for (let at = 0; at + 4 <= lengthBytes; at += 512) even.writeUInt32LE(at, at);
  if (kind === 0) return even;
  const noise = createCipheriv('aes-128-ctr', seed.subarray(0, 16), seed.subarray(16)).update(Buffer.alloc(lengthBytes));
  if (kind === 1) return noise;
  for (let at = 0; at < lengthBytes; at += 16_384) noise.copy(even, at, at, Math.min(at + 4096, lengthBytes));
  return even;
}
