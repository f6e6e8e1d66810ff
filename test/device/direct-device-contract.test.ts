/** The block device contract on the real device: over a file, over a file without O_DIRECT where one can be had, over a loop device. */
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { SystemClock } from '../../src/base/clock.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { type DeviceAccess, type DeviceIo, openDirectDevice } from '../../src/device/direct-device.ts';
import type { Arena } from '../../src/memory/arena.ts';
import { type BlockDeviceFixture, runBlockDeviceContract } from '../contract/block-device.ts';
import { withReadyThreads } from '../helpers/device-threads.ts';
import { attach, loopObstacle, mountObstacle, mountScratch } from '../helpers/loop-device.ts';

const clock = new SystemClock();
const opener =
  (devicePath: string, io: DeviceIo = 'pool') =>
  async (access: DeviceAccess, arena: Arena) => {
    const open = () => openDirectDevice({ path: devicePath, access, io, arena, clock, logger: createSilentLogger() });
    return (await withReadyThreads(open)).result;
  };

for (const io of ['pool', 'threads'] as const) {
  runBlockDeviceContract(`direct device on a file, I/O by ${io}`, async (): Promise<BlockDeviceFixture> => {
    const folder = await mkdtemp(path.join(tmpdir(), 'rawslice-device-'));
    const file = path.join(folder, 'device');
    await writeFile(file, '');
    // Not whole blocks: the rest at the end is not addressed.
    await truncate(file, 8 * MIB + 1000);
    return { open: opener(file, io), dispose: () => rm(folder, { recursive: true }) };
  });

  for (const sectorBytes of [512, 4 * KIB, 16 * KIB]) {
    runBlockDeviceContract(
      `direct device on a loop device with sectors of ${sectorBytes} bytes, I/O by ${io}`,
      async (): Promise<BlockDeviceFixture> => {
        const { loop, detach } = attach(8 * MIB, { sectorBytes });
        return { open: opener(loop.path, io), dispose: async () => detach() };
      },
      { skip: loopObstacle({ sectorBytes }) },
    );
  }
}

// A file system in memory that knows no O_DIRECT.
runBlockDeviceContract(
  'direct device on a file without O_DIRECT',
  async (): Promise<BlockDeviceFixture> => {
    const { mountPoint, unmount } = mountScratch('ramfs');
    const file = path.join(mountPoint, 'device');
    await writeFile(file, '');
    await truncate(file, 8 * MIB);
    return { open: opener(file), dispose: async () => unmount() };
  },
  { skip: mountObstacle('ramfs') },
);

runBlockDeviceContract(
  'direct device on tmpfs',
  async (): Promise<BlockDeviceFixture> => {
    const { mountPoint, unmount } = mountScratch('tmpfs');
    const file = path.join(mountPoint, 'device');
    await writeFile(file, '');
    await truncate(file, 8 * MIB);
    return { open: opener(file), dispose: async () => unmount() };
  },
  { skip: mountObstacle('tmpfs') },
);
