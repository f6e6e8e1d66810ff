/** Labels and superblocks: at whatever moment the power fails, a whole superblock is read, and what commit() acknowledged is in it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import { Arena } from '../../src/memory/arena.ts';
import { RootArea, superblockOffset } from '../../src/store/recovery/root-area.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { CrashStates } from './crash-states.ts';
import { formatDisk, lookAtLabels } from './root-bench.ts';
import { clock } from './store-bench.ts';

const CAPACITY_BYTES = 4 * MIB;
/** More than a label has places, so that the ring comes round. */
const COMMITS = 10;

async function openArea(disk: SimulatedDisk): Promise<RootArea> {
  const arena = new Arena({ sizeBytes: 4 * MIB, clock });
  return new RootArea({ device: disk.open(), arena, clock, root: await lookAtLabels(disk) });
}

test('a crash at any moment of a commit leaves the old superblock or the new one, and never the old one after commit() has returned', async (context) => {
  const states = new CrashStates({ capacityBytes: CAPACITY_BYTES, seed: 71 });
  await formatDisk(states.disk);
  const area = await openArea(states.disk);
  let [begun, acknowledged] = [0, 0];
  const commit = async (): Promise<void> => {
    begun += 1;
    await area.commit(() => ({ mounts: area.current.mounts + 1 }));
    acknowledged += 1;
  };
  await states.judgeAll(
    async () => {
      for (let count = 0; count < COMMITS; count += 1) await commit();
      // Two at once: one after the other all the same.
      await Promise.all([commit(), commit()]);
    },
    async (disk, title) => {
      const [atLeast, atMost] = [acknowledged, begun];
      const { superblock } = await lookAtLabels(disk);
      assert.ok(superblock.mounts >= atLeast && superblock.mounts <= atMost, `${title}: ${superblock.mounts} of ${atLeast} to ${atMost}`);
      assert.equal(superblock.sequence, 1 + superblock.mounts, title);
    },
  );
  assert.equal(acknowledged, COMMITS + 2);
  context.diagnostic(`survived: ${JSON.stringify({ crashStates: states.judged })}`);
});

test('a superblock whose every copy is damaged gives way to the one before it', async () => {
  const disk = new SimulatedDisk({ capacityBytes: CAPACITY_BYTES, random: new SeededRandom(72) });
  await formatDisk(disk);
  const area = await openArea(disk);
  for (let count = 0; count < COMMITS; count += 1) await area.commit(() => ({ mounts: area.current.mounts + 1 }));
  const { format, superblock } = await lookAtLabels(disk);
  for (const copy of [0, 1, 2, 3]) disk.flipBit(superblockOffset(format, copy, superblock.sequence) + 100, copy);
  const { superblock: older, labels } = await lookAtLabels(disk);
  assert.deepEqual([older.sequence, older.mounts], [superblock.sequence - 1, COMMITS - 1]);
  assert.deepEqual(
    labels.map(({ newestSequence }) => newestSequence),
    [older.sequence, older.sequence, older.sequence, older.sequence],
  );
});

test('one copy of the newest superblock is enough', async () => {
  const disk = new SimulatedDisk({ capacityBytes: CAPACITY_BYTES, random: new SeededRandom(73) });
  await formatDisk(disk);
  const area = await openArea(disk);
  await area.commit(() => ({ mounts: 7 }));
  const { format, superblock } = await lookAtLabels(disk);
  const image = disk.snapshot();
  for (const whole of [0, 1, 2, 3]) {
    const again = new SimulatedDisk({ capacityBytes: CAPACITY_BYTES, random: new SeededRandom(74) });
    again.restore(image);
    for (const copy of [0, 1, 2, 3]) if (copy !== whole) again.flipBit(superblockOffset(format, copy, superblock.sequence) + 9, 1);
    assert.equal((await lookAtLabels(again)).superblock.mounts, 7, `copy ${whole}`);
  }
});
