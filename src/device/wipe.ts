/**
 * Zeroes both edges of a device, so that no signature of its former life remains: probe.ts lets a foreign signature win over a rawslice
 * label. Called by format before it writes the labels.
 */
import { EdgeError } from '../base/errors.ts';
import { alignUp, KIB } from '../base/units.ts';
import type { Arena } from '../memory/arena.ts';
import type { BlockDevice } from './block-device.ts';
import { EDGE_BYTES } from './signatures.ts';

const STEP_BYTES = 256 * KIB;
const SLOT_WAIT_MS = 1000;

/**
 * Writes zeros over the first and last EDGE_BYTES (or everything, where the device is smaller) and flushes.
 *
 * @throws EdgeError DEVICE_FAULT; STORE_UNAVAILABLE when the arena has no room
 */
export async function wipeEdges(device: BlockDevice, arena: Arena): Promise<void> {
  const lease = await arena.lease('staging', STEP_BYTES, { waitMs: SLOT_WAIT_MS });
  if (lease === undefined) throw new EdgeError('STORE_UNAVAILABLE', 'No memory is free to wipe the device; make memory.arena larger');
  try {
    lease.bytes.fill(0);
    // A tail that the block size does not divide is covered from the block before.
    const lengthBytes = Math.min(alignUp(EDGE_BYTES, device.blockSizeBytes), device.capacityBytes);
    for (const start of [0, device.capacityBytes - lengthBytes]) {
      for (let done = 0; done < lengthBytes; done += STEP_BYTES) {
        await device.write([lease.bytes.subarray(0, Math.min(STEP_BYTES, lengthBytes - done))], start + done);
      }
    }
    await device.flush();
  } finally {
    lease.end();
  }
}
