/** Builders for tests of several devices as one cache: simulated disks of one cache, and a set over them. */
import type { Clock } from '../../src/base/clock.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import { Arena } from '../../src/memory/arena.ts';
import { formatDevice } from '../../src/store/device-format.ts';
import type { MemberDevice } from '../../src/store/devices/device-member.ts';
import { type DeviceSet, openDeviceSet } from '../../src/store/devices/device-set.ts';
import type { StoreLimits } from '../../src/store/store-limits.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { clock as systemClock, tinyParameters } from './store-bench.ts';

/** A disk that can be unplugged. */
export interface Slot {
  readonly path: string;
  readonly disk: SimulatedDisk;
  isPresent: boolean;
}

export interface SetBench {
  readonly store: DeviceSet;
  readonly arena: Arena;
}

/** Fresh disks, formatted as one cache. */
export async function makeSlots(seed: number, count: number, capacityBytes = 6 * MIB): Promise<Slot[]> {
  const random = new SeededRandom(seed);
  const cacheUuid = random.bytes(16);
  const slots: Slot[] = [];
  for (let number = 0; number < count; number += 1) {
    const disk = new SimulatedDisk({ capacityBytes, random: new SeededRandom(seed * 100 + number) });
    const device = disk.open();
    await formatDevice(device, { clock: systemClock, random, parameters: tinyParameters(), cacheUuid });
    await device.close();
    slots.push({ path: `disk-${number}`, disk, isPresent: true });
  }
  return slots;
}

/** How the set reaches a slot. */
export function memberOf(slot: Slot): MemberDevice {
  return {
    path: slot.path,
    open: async () => {
      const { EdgeError } = await import('../../src/base/errors.ts');
      if (!slot.isPresent) throw new EdgeError('DEVICE_ABSENT', `${slot.path} does not exist`);
      return slot.disk.open();
    },
  };
}

/** Opens the set and loads its indexes. @param seed names the mount: another one for each */
export async function openSet(
  slots: readonly Slot[],
  seed: number,
  options: { clock?: Clock; limits?: Partial<StoreLimits>; arena?: Arena } = {},
): Promise<SetBench> {
  const clock = options.clock ?? systemClock;
  const arena = options.arena ?? new Arena({ sizeBytes: 8 * MIB, clock });
  const random = new SeededRandom(seed);
  const shared = { arena, clock, random, logger: createSilentLogger(), limits: options.limits };
  const store = await openDeviceSet({ ...shared, devices: slots.map(memberOf) });
  await store.recover();
  return { store, arena };
}
