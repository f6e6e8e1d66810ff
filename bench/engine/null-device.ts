/** A device that takes everything and holds nothing: for benchmarks of what lies above it. */
import type { BlockDevice } from '../../src/device/block-device.ts';

/** A null device of `capacityBytes`. */
export function createNullDevice(capacityBytes: number): BlockDevice {
  const done = (): Promise<void> => Promise.resolve();
  return {
    path: 'null',
    blockSizeBytes: 4096,
    capacityBytes,
    isDirect: false,
    isReadOnly: false,
    read: done,
    write: done,
    flush: done,
    close: done,
  };
}
