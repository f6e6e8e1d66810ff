/**
 * The rules of one transfer, asserted alike by every implementation of BlockDevice: whole blocks, within the device, from and to
 * page-aligned arena memory. Breaking one is a programmer's error, found here instead of as EINVAL from the kernel.
 */
import { assert } from '../base/assert.ts';
import { isAligned, PAGE_BYTES } from '../base/units.ts';
import type { BlockDevice } from './block-device.ts';

/**
 * Checks a transfer against `device`.
 *
 * @returns its length in bytes, > 0
 * @throws AssertionFailure
 */
export function checkTransfer(device: BlockDevice, buffers: readonly Buffer[], offsetBytes: number): number {
  assert(Number.isSafeInteger(offsetBytes) && offsetBytes >= 0, () => `transfer: offset ${offsetBytes} is not a byte offset`);
  assert(isAligned(offsetBytes, device.blockSizeBytes), () => `transfer: offset ${offsetBytes} is not on a block`);
  let lengthBytes = 0;
  for (const buffer of buffers) {
    assert(buffer.buffer instanceof SharedArrayBuffer, 'transfer: buffer is arena memory');
    assert(isAligned(buffer.byteOffset, PAGE_BYTES), () => `transfer: buffer begins ${buffer.byteOffset % PAGE_BYTES} bytes into a page`);
    assert(buffer.length > 0, 'transfer: buffer is not empty');
    assert(isAligned(buffer.length, device.blockSizeBytes), () => `transfer: buffer of ${buffer.length} bytes is not whole blocks`);
    lengthBytes += buffer.length;
  }
  assert(lengthBytes > 0, 'transfer: at least one buffer');
  assert(offsetBytes + lengthBytes <= device.capacityBytes, () => `transfer: ${offsetBytes} + ${lengthBytes} is beyond the device's end`);
  return lengthBytes;
}
