/** Bad blocks: out of use at once or when their record goes, in journal, checkpoint and superblock, and before everything else at start. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import { NO_SLOT } from '../../src/store/index/slice-index.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { formatDisk, leaveRoot, mountRoot, putObject } from './root-bench.ts';
import { hashOf } from './store-bench.ts';

test('bad blocks outlive their record, a crash and a checkpoint, and nothing is placed on them', async () => {
  const disk = new SimulatedDisk({ capacityBytes: 4 * MIB, random: new SeededRandom(61) });
  await formatDisk(disk);
  const first = await mountRoot(disk);
  const free = first.catalogue.allocator.freeBlocks;
  const place = putObject(first.catalogue, 'a', 1);
  putObject(first.catalogue, 'b', 2);
  first.catalogue.quarantine({ block: place.block + 1, blocks: 1 });
  first.catalogue.quarantine({ block: place.block + 20, blocks: 2 });
  assert.equal(first.catalogue.findContradiction(), undefined);
  assert.equal(first.catalogue.allocator.idleBadBlocks, 2, 'one is still owned');
  first.catalogue.dropObject(first.catalogue.findObject(hashOf('a')), 'other');
  assert.equal(first.catalogue.findContradiction(), undefined);
  assert.equal(first.catalogue.allocator.freeBlocks, free - 3 - 3);
  await first.journal.flush();
  await leaveRoot(first);

  const expected = [
    { block: place.block + 1, blocks: 1 },
    { block: place.block + 20, blocks: 2 },
  ];
  const second = await mountRoot(disk);
  assert.deepEqual(second.state.allocator.badRuns, expected, 'from the journal');
  assert.equal(second.catalogue.allocator.idleBadBlocks, 3);
  await second.keeper.checkpoint();
  await leaveRoot(second);

  const third = await mountRoot(disk);
  assert.deepEqual(third.state.allocator.badRuns, expected, 'from the checkpoint');
  assert.equal(third.state.report.checkpointEntries, 3);
  assert.equal(third.root.superblock.badBlocks, 3);
  assert.equal(third.catalogue.findContradiction(), undefined);
  const free3 = third.catalogue.allocator.freeBlocks;
  for (let count = 0; count < free3; count += 1) {
    const block = third.catalogue.allocator.reserve(1, 'small') ?? 0;
    assert.ok(!third.catalogue.allocator.isBad(block, 1));
  }
  assert.equal(third.catalogue.allocator.freeBlocks, 0);
  await leaveRoot(third);
});

test('a record on blocks that are known to be bad is dropped at start, and said to be', async () => {
  const disk = new SimulatedDisk({ capacityBytes: 4 * MIB, random: new SeededRandom(62) });
  await formatDisk(disk);
  const first = await mountRoot(disk);
  const place = putObject(first.catalogue, 'a', 1);
  putObject(first.catalogue, 'b', 2);
  first.catalogue.quarantine(place);
  await first.journal.flush();
  await leaveRoot(first);
  const second = await mountRoot(disk);
  assert.deepEqual([second.state.report.onBadBlocks, second.state.report.overlaps, second.state.report.records], [1, 0, 1]);
  assert.equal(second.catalogue.findObject(hashOf('a')), NO_SLOT);
  assert.equal(second.catalogue.findContradiction(), undefined);
  await leaveRoot(second);
});

test('runs beyond what the format has room for are ignored and counted', async () => {
  const disk = new SimulatedDisk({ capacityBytes: 4 * MIB, random: new SeededRandom(63) });
  await formatDisk(disk);
  const mounted = await mountRoot(disk);
  const { catalogue, root, metrics } = mounted;
  const { badRunsMax } = root.format.geometry;
  for (let count = 0; count <= badRunsMax; count += 1) {
    catalogue.quarantine({ block: catalogue.allocator.firstBlock + 2 * count, blocks: 1 });
  }
  assert.equal(catalogue.allocator.badBlocks, badRunsMax);
  assert.deepEqual([metrics.value('quarantines', 'marked'), metrics.value('quarantines', 'ignored')], [badRunsMax, 1]);
  catalogue.quarantine({ block: 0, blocks: 1 });
  assert.equal(metrics.value('quarantines', 'ignored'), 2, 'a block of no group');
  await leaveRoot(mounted);
});
