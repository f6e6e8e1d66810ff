/** Bad blocks: out of use at once or when their record goes, in journal, checkpoint and superblock, and before everything else at start. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSilentLogger } from '../../src/base/log.ts';
import { MetricSet } from '../../src/base/metrics.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import { Arena } from '../../src/memory/arena.ts';
import { ADMIT_EVERYTHING } from '../../src/store/admission/admission-policy.ts';
import { Catalogue } from '../../src/store/index/catalogue.ts';
import { NO_SLOT, objectTag } from '../../src/store/index/slice-index.ts';
import { PurgeMemory } from '../../src/store/purges/purge-memory.ts';
import { Journal } from '../../src/store/recovery/journal.ts';
import { PersistentCounter } from '../../src/store/recovery/persistent-counter.ts';
import { recoverState } from '../../src/store/recovery/recovery.ts';
import { readRoot } from '../../src/store/recovery/root-area.ts';
import { RootKeeper } from '../../src/store/recovery/root-keeper.ts';
import { DEFAULT_STORE_LIMITS } from '../../src/store/store-limits.ts';
import { STORE_METRICS } from '../../src/store/store-metrics.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { clock, formatTiny, hashOf } from './store-bench.ts';

/** What a store is made of, up to the catalogue. */
async function mount(disk: SimulatedDisk) {
  const device = disk.open();
  const arena = new Arena({ sizeBytes: 4 * MIB, clock });
  const metrics = new MetricSet(STORE_METRICS);
  const root = await readRoot(device, arena);
  const shared = { device, arena, clock, metrics, limits: DEFAULT_STORE_LIMITS };
  const onFailure = (_operation: string, error: unknown): void => assert.fail(String(error));
  const [generations, writeSequences] = [new PersistentCounter(1, 0), new PersistentCounter(1, 0)];
  const keeper = new RootKeeper({
    ...shared,
    logger: createSilentLogger(),
    root,
    generations,
    writeSequences,
    purges: new PurgeMemory({ scopesMax: 8, epochsMax: 8, clearedMax: 8 }),
    isOnline: () => true,
    onExhausted: () => assert.fail('numbers are used up'),
    onFailure,
  });
  const state = await recoverState(keeper.checkpointPlace, root);
  const { geometry, deviceUuid } = root.format;
  const journal = new Journal({
    ...shared,
    geometry,
    deviceTag: deviceUuid.subarray(0, 8),
    epoch: root.superblock.epoch + 1,
    position: state.journal,
    startSequence: state.journalStart,
    purgeSequence: 0,
    onCrowded: () => undefined,
    onFailure,
  });
  const catalogue = new Catalogue({
    ...shared,
    index: state.index,
    allocator: state.allocator,
    journal,
    policy: ADMIT_EVERYTHING,
    onVanish: () => undefined,
  });
  await keeper.mount({ catalogue, journal }, state);
  return { root, state, catalogue, journal, keeper, metrics, device };
}

/** As after a kill: what was flushed is there, and no superblock says that all is well. */
async function leave({ journal, device }: Awaited<ReturnType<typeof mount>>): Promise<void> {
  journal.stop();
  await device.close();
}

async function formatFresh(disk: SimulatedDisk): Promise<void> {
  const device = disk.open();
  await formatTiny(device);
  await device.close();
}

function putObject(catalogue: Catalogue, key: string, generation: number): { block: number; blocks: number } {
  const tagSlot = catalogue.index.putManifest(objectTag(hashOf(key)), generation);
  const block = catalogue.reserveBlocks(3, 'manifest');
  assert.ok(block !== undefined && tagSlot !== NO_SLOT);
  catalogue.putManifest(tagSlot, { block, blocks: 3, writeSequence: generation, flags: 0 });
  return { block, blocks: 3 };
}

test('bad blocks outlive their record, a crash and a checkpoint, and nothing is placed on them', async () => {
  const disk = new SimulatedDisk({ capacityBytes: 4 * MIB, random: new SeededRandom(61) });
  await formatFresh(disk);
  const first = await mount(disk);
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
  await leave(first);

  const expected = [
    { block: place.block + 1, blocks: 1 },
    { block: place.block + 20, blocks: 2 },
  ];
  const second = await mount(disk);
  assert.deepEqual(second.state.allocator.badRuns, expected, 'from the journal');
  assert.equal(second.catalogue.allocator.idleBadBlocks, 3);
  await second.keeper.checkpoint();
  await leave(second);

  const third = await mount(disk);
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
  await leave(third);
});

test('a record on blocks that are known to be bad is dropped at start, and said to be', async () => {
  const disk = new SimulatedDisk({ capacityBytes: 4 * MIB, random: new SeededRandom(62) });
  await formatFresh(disk);
  const first = await mount(disk);
  const place = putObject(first.catalogue, 'a', 1);
  putObject(first.catalogue, 'b', 2);
  first.catalogue.quarantine(place);
  await first.journal.flush();
  await leave(first);
  const second = await mount(disk);
  assert.deepEqual([second.state.report.onBadBlocks, second.state.report.overlaps, second.state.report.records], [1, 0, 1]);
  assert.equal(second.catalogue.findObject(hashOf('a')), NO_SLOT);
  assert.equal(second.catalogue.findContradiction(), undefined);
  await leave(second);
});

test('runs beyond what the format has room for are ignored and counted', async () => {
  const disk = new SimulatedDisk({ capacityBytes: 4 * MIB, random: new SeededRandom(63) });
  await formatFresh(disk);
  const mounted = await mount(disk);
  const { catalogue, root, metrics } = mounted;
  const { badRunsMax } = root.format.geometry;
  for (let count = 0; count <= badRunsMax; count += 1) {
    catalogue.quarantine({ block: catalogue.allocator.firstBlock + 2 * count, blocks: 1 });
  }
  assert.equal(catalogue.allocator.badBlocks, badRunsMax);
  assert.deepEqual([metrics.value('quarantines', 'marked'), metrics.value('quarantines', 'ignored')], [badRunsMax, 1]);
  catalogue.quarantine({ block: 0, blocks: 1 });
  assert.equal(metrics.value('quarantines', 'ignored'), 2, 'a block of no group');
  await leave(mounted);
});
