/** The contract of SliceStore over the simulated device, a regular file and, where root allows it, a loop device. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createSilentLogger } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import type { BlockDevice } from '../../src/device/block-device.ts';
import { createSparseFile } from '../../src/device/create-file.ts';
import { openDirectDevice } from '../../src/device/direct-device.ts';
import { Arena } from '../../src/memory/arena.ts';
import { runSliceStoreContract, type StoreUnderTest } from '../contract/slice-store.ts';
import { attach, loopObstacle } from '../helpers/loop-device.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { type BenchOptions, clock, formatTiny, openBench } from './store-bench.ts';

async function build(open: () => Promise<BlockDevice>, cleanUp: () => void, options: BenchOptions = {}): Promise<StoreUnderTest> {
  const wrap = async (device: BlockDevice): Promise<StoreUnderTest> => {
    const bench = await openBench(device, options);
    return {
      ...bench,
      reopen: async () => {
        await bench.store.close();
        return wrap(await open());
      },
      end: async () => {
        await bench.store.close();
        cleanUp();
      },
    };
  };
  const device = await open();
  await formatTiny(device);
  return wrap(device);
}

function openPath(devicePath: string): Promise<BlockDevice> {
  const arena = new Arena({ sizeBytes: 4 * MIB, clock });
  return openDirectDevice({ path: devicePath, access: 'read-write', arena, clock, logger: createSilentLogger() });
}

runSliceStoreContract('simulated:', async () => {
  const disk = new SimulatedDisk({ capacityBytes: 6 * MIB, random: new SeededRandom(1) });
  return build(
    async () => disk.open(),
    () => undefined,
  );
});

runSliceStoreContract('simulated, compressed:', async () => {
  const disk = new SimulatedDisk({ capacityBytes: 6 * MIB, random: new SeededRandom(1) });
  return build(
    async () => disk.open(),
    () => undefined,
    { compression: 'auto' },
  );
});

runSliceStoreContract('file:', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'rawslice-store-'));
  const filePath = path.join(folder, 'cache');
  await createSparseFile(filePath, 64 * MIB);
  return build(
    () => openPath(filePath),
    () => rmSync(folder, { recursive: true }),
  );
});

runSliceStoreContract(
  'loop:',
  async () => {
    const { loop, detach } = attach(8 * MIB);
    return build(() => openPath(loop.path), detach);
  },
  { skip: loopObstacle() },
);
