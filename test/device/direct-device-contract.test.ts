/** The block device contract on the real device: over a file, over a file without O_DIRECT where one can be had, over a loop device. */
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { SystemClock } from '../../src/base/clock.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { MIB } from '../../src/base/units.ts';
import { type DeviceAccess, openDirectDevice } from '../../src/device/direct-device.ts';
import { Arena } from '../../src/memory/arena.ts';
import { type BlockDeviceFixture, runBlockDeviceContract } from '../contract/block-device.ts';
import { attach, loopObstacle } from '../helpers/loop-device.ts';

const clock = new SystemClock();
const arena = new Arena({ sizeBytes: 4 * MIB, clock });
const opener = (devicePath: string) => (access: DeviceAccess) =>
  openDirectDevice({ path: devicePath, access, arena, clock, logger: createSilentLogger() });

runBlockDeviceContract('direct device on a file', async (): Promise<BlockDeviceFixture> => {
  const folder = await mkdtemp(path.join(tmpdir(), 'rawslice-device-'));
  const file = path.join(folder, 'device');
  await writeFile(file, '');
  // Not whole blocks: the rest at the end is not addressed.
  await truncate(file, 8 * MIB + 1000);
  return { open: opener(file), dispose: () => rm(folder, { recursive: true }) };
});

runBlockDeviceContract(
  'direct device on a loop device',
  async (): Promise<BlockDeviceFixture> => {
    const { loop, detach } = attach(8 * MIB);
    return { open: opener(loop.path), dispose: async () => detach() };
  },
  { skip: loopObstacle() },
);
