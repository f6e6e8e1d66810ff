/**
 * The rules of one transfer, asserted alike by every implementation of BlockDevice: whole blocks, within the device, from and to
 * page-aligned arena memory. Breaking one is a programmer's error, found here instead of as EINVAL from the kernel. And what makes one
 * transfer of several system calls.
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
  checkOffset(device, offsetBytes);
  let lengthBytes = 0;
  for (const buffer of buffers) {
    assert(buffer.buffer instanceof SharedArrayBuffer, 'transfer: buffer is arena memory');
    assert(isAligned(buffer.byteOffset, PAGE_BYTES), () => `transfer: buffer begins ${buffer.byteOffset % PAGE_BYTES} bytes into a page`);
    assert(buffer.length > 0, 'transfer: buffer is not empty');
    assert(isAligned(buffer.length, device.blockSizeBytes), () => `transfer: buffer of ${buffer.length} bytes is not whole blocks`);
    lengthBytes += buffer.length;
  }
  checkRange(device, offsetBytes, lengthBytes);
  return lengthBytes;
}

/** Checks a range of whole blocks, not empty, within `device`. @throws AssertionFailure */
export function checkRange(device: BlockDevice, offsetBytes: number, lengthBytes: number): void {
  checkOffset(device, offsetBytes);
  assert(Number.isSafeInteger(lengthBytes) && lengthBytes > 0, 'transfer: at least one buffer');
  assert(isAligned(lengthBytes, device.blockSizeBytes), () => `transfer: ${lengthBytes} bytes are not whole blocks`);
  assert(offsetBytes + lengthBytes <= device.capacityBytes, () => `transfer: ${offsetBytes} + ${lengthBytes} is beyond the device's end`);
}

/** `buffers` without their first `count` bytes, which have been transferred. */
export function dropBytes(buffers: readonly Buffer[], count: number): readonly Buffer[] {
  let index = 0;
  let left = count;
  for (const buffer of buffers) {
    if (buffer.length > left) break;
    left -= buffer.length;
    index += 1;
  }
  const rest = buffers.slice(index);
  const first = rest[0];
  if (first !== undefined && left > 0) rest[0] = first.subarray(left);
  return rest;
}

function checkOffset(device: BlockDevice, offsetBytes: number): void {
  assert(Number.isSafeInteger(offsetBytes) && offsetBytes >= 0, () => `transfer: offset ${offsetBytes} is not a byte offset`);
  assert(isAligned(offsetBytes, device.blockSizeBytes), () => `transfer: offset ${offsetBytes} is not on a block`);
}
