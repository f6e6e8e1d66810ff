/** Reads for looking at a device: bytes of their own, which may be kept. Called by the scans of this folder. */
import type { BlockDevice } from '../../device/block-device.ts';
import type { Arena } from '../../memory/arena.ts';
import { tryRead, withStaging } from '../device-io.ts';

/** Where to read from. */
export interface ScanSource {
  readonly device: BlockDevice;
  readonly arena: Arena;
}

/** Whole blocks as a copy, or undefined when the device reports an error. @throws EdgeError STORE_UNAVAILABLE (no slot) */
export function tryReadCopy(source: ScanSource, offsetBytes: number, lengthBytes: number): Promise<Buffer | undefined> {
  return withStaging(source.arena, lengthBytes, async (bytes) =>
    (await tryRead(source.device, bytes, offsetBytes)) ? Buffer.from(bytes) : undefined,
  );
}

/** Whether every byte is zero. */
export function isZero(bytes: Buffer): boolean {
  // The first byte, and every byte equal to the one before.
  return bytes.length === 0 || (bytes[0] === 0 && bytes.subarray(1).equals(bytes.subarray(0, -1)));
}
