/** Looking at a device while a store writes to it: what changes under the reader is read again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../../src/base/random.ts';
import { MIB } from '../../../src/base/units.ts';
import type { BlockDevice } from '../../../src/device/block-device.ts';
import { Arena } from '../../../src/memory/arena.ts';
import { measureUsage, viewDevice } from '../../../src/store/inspect-device.ts';
import { SimulatedDisk } from '../../simulation/simulated-device.ts';
import { clock, formatTiny, openBench, storeObject, tinyParameters } from '../store-bench.ts';

test('checkpoints that are replaced while they are read are read anew', async () => {
  const disk = new SimulatedDisk({ capacityBytes: 4 * MIB, random: new SeededRandom(81) });
  const device = disk.open();
  await formatTiny(device, tinyParameters(), 81);
  await device.close();
  const bench = await openBench(disk.open());
  await storeObject(bench, 'a', 1000);
  await bench.store.checkpoint();
  const looking = disk.open('read-only');
  const [zoneA] = bench.store.geometry.checkpointOffsets;
  let changes = 0;
  // Two checkpoints come between the superblock and the checkpoint that it names, so that its zone is written over.
  const racing: BlockDevice = {
    path: looking.path,
    blockSizeBytes: looking.blockSizeBytes,
    capacityBytes: looking.capacityBytes,
    isDirect: looking.isDirect,
    isReadOnly: true,
    read: async (buffers, offsetBytes) => {
      if (offsetBytes >= zoneA && changes < 2) {
        for (let round = 0; round < 2; round += 1) {
          await storeObject(bench, `b-${changes}-${round}`, 1000);
          await bench.store.checkpoint();
        }
        changes += 1;
      }
      await looking.read(buffers, offsetBytes);
    },
    write: (buffers, offsetBytes) => looking.write(buffers, offsetBytes),
    flush: () => looking.flush(),
    close: () => looking.close(),
  };
  const view = await viewDevice(racing, new Arena({ sizeBytes: 4 * MIB, clock }));
  assert.equal(changes, 2);
  assert.deepEqual([view.state.report.isCheckpointWhole, measureUsage(view).objects], [true, 5]);
  await bench.store.close();
});
