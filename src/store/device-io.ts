/**
 * Metadata transfers of the store: a staging slot for as long as the device works on it. Payloads have slots of their own.
 */
import { EdgeError } from '../base/errors.ts';
import { SECOND_MS } from '../base/units.ts';
import type { BlockDevice } from '../device/block-device.ts';
import type { Arena } from '../memory/arena.ts';
import type { Lease } from '../memory/lease.ts';

const SLOT_WAIT_MS = 5 * SECOND_MS;

/**
 * Runs `act` with `lengthBytes` of aligned memory, ended when `act` has settled.
 *
 * @throws EdgeError STORE_UNAVAILABLE when no slot is free in time
 */
export async function withStaging<T>(arena: Arena, lengthBytes: number, act: (bytes: Buffer) => Promise<T>): Promise<T> {
  const lease = await leaseStaging(arena, lengthBytes, SLOT_WAIT_MS);
  if (lease === undefined) throw new EdgeError('STORE_UNAVAILABLE', 'No slot of the arena is free; make memory.arena larger');
  try {
    return await act(lease.bytes.subarray(0, lengthBytes));
  } finally {
    lease.end();
  }
}

/** A staging slot; one that is free now is taken past those who wait, since they may want larger ones than there are. */
export async function leaseStaging(arena: Arena, lengthBytes: number, waitMs: number): Promise<Lease | undefined> {
  return arena.tryLease('staging', lengthBytes) ?? (await arena.lease('staging', lengthBytes, { waitMs }));
}

/** Reads into `bytes`; false when the device reports an error (whoever reads metadata has another copy or goes without). */
export async function tryRead(device: BlockDevice, bytes: Buffer, offsetBytes: number): Promise<boolean> {
  try {
    await device.read([bytes], offsetBytes);
    return true;
  } catch (error) {
    if (error instanceof EdgeError && error.source === 'device') return false;
    throw error;
  }
}
