/** What a flush of the journal promises, beside writes and flushes that are under way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetricSet } from '../../src/base/metrics.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import { PURGE_KINDS } from '../../src/format/entry-flags.ts';
import { EMPTY_RECORD, JOURNAL_TYPES, type JournalRecord, journalRecordsPerBlock } from '../../src/format/journal-block.ts';
import { Arena } from '../../src/memory/arena.ts';
import { NO_SLOT, objectTag } from '../../src/store/index/slice-index.ts';
import { Journal } from '../../src/store/recovery/journal.ts';
import { readRoot } from '../../src/store/recovery/root-area.ts';
import { DEFAULT_STORE_LIMITS } from '../../src/store/store-limits.ts';
import { STORE_METRICS } from '../../src/store/store-metrics.ts';
import { eventually } from '../helpers/eventually.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { CrashStates } from './crash-states.ts';
import { formatDisk, leaveRoot, lookAtRoot, mountRoot, putObject } from './root-bench.ts';
import { clock, formatTiny, hashOf, tinyParameters } from './store-bench.ts';

test('a flush that began before a record was written says nothing of it', async () => {
  const gates: (() => void)[] = [];
  let isGated = false;
  const delay = (operation: string): Promise<void> =>
    isGated && operation === 'flush' ? new Promise((resolve) => gates.push(resolve)) : Promise.resolve();
  const disk = new SimulatedDisk({ capacityBytes: 4 * MIB, random: new SeededRandom(7), delay });
  const device = disk.open();
  await formatTiny(device);
  const arena = new Arena({ sizeBytes: 4 * MIB, clock });
  const { format } = await readRoot(device, arena);
  const shared = { device, arena, clock, metrics: new MetricSet(STORE_METRICS), limits: DEFAULT_STORE_LIMITS };
  const journal = new Journal({
    ...shared,
    geometry: format.geometry,
    deviceTag: format.deviceUuid.subarray(0, 8),
    epoch: 1,
    position: { nextSequence: 1, previousCrc: 0 },
    startSequence: 1,
    purgeSequence: 0,
    onCrowded: () => undefined,
    onFailure: (_operation, error) => assert.fail(String(error)),
  });
  isGated = true;
  const record = { ...EMPTY_RECORD, type: JOURNAL_TYPES.epoch };
  journal.append(record);
  const first = journal.flush();
  await eventually(() => gates.length === 1, { what: 'the first flush' });
  journal.append(record);
  let isDurable = false;
  const second = journal.flush().then(() => {
    isDurable = true;
  });
  await eventually(() => disk.unflushedWrites === 2, { what: 'both blocks, written' });
  gates.shift()?.();
  await first;
  await eventually(() => isDurable || gates.length === 1, { what: 'the second flush' });
  assert.deepEqual([isDurable, disk.unflushedWrites], [false, 1], 'the second record is not durable yet');
  gates.shift()?.();
  await second;
  assert.equal(disk.unflushedWrites, 0);
  journal.stop();
  await device.close();
});

function purgeOf(key: string, sequence: number): JournalRecord {
  const { tagLow, tagHigh } = objectTag(hashOf(key));
  const flags = PURGE_KINDS.object;
  return { ...EMPTY_RECORD, type: JOURNAL_TYPES.purge, flags, generation: 1000, tagLow, tagHigh, receivedAtMs: sequence };
}

test('a crash beside a purge that nobody was told of costs nothing else; one that was told of holds', async (context) => {
  const states = new CrashStates({ capacityBytes: 4 * MIB, seed: 9 });
  await formatDisk(states.disk, tinyParameters());
  const bench = await mountRoot(states.disk);
  const { catalogue, journal, keeper } = bench;
  putObject(catalogue, 'kept', 1);
  putObject(catalogue, 'purged', 2);
  await keeper.checkpoint();
  const perBlock = journalRecordsPerBlock(4096);
  let purges = 0;
  let acknowledged = 0;
  /** One of so many blocks of a batch holds the purge; later ones say that there was one. */
  const purgeAmong = async (before: number, after: number): Promise<void> => {
    const other = { ...EMPTY_RECORD, type: JOURNAL_TYPES.epoch };
    for (let count = 0; count < before; count += 1) journal.append(other);
    purges += 1;
    journal.append(purgeOf('purged', purges));
    for (let count = 0; count < after; count += 1) journal.append(other);
    await journal.flush();
    acknowledged = purges;
  };
  await states.judgeAll(
    async () => {
      await purgeAmong(0, 0);
      await purgeAmong(3, 3 * perBlock);
      await purgeAmong(2 * perBlock, 2 * perBlock);
      await Promise.all([purgeAmong(0, 2 * perBlock), purgeAmong(perBlock, perBlock)]);
    },
    async (disk, title) => {
      const told = acknowledged;
      const { state } = await lookAtRoot(disk);
      assert.equal(state.report.isForgotten, false, title);
      assert.notEqual(state.index.findTag(objectTag(hashOf('kept'))), NO_SLOT, title);
      assert.ok(state.purges.newestSequence >= told, `${title}: ${told} were told of, ${state.purges.newestSequence} are known`);
      if (told > 0) assert.equal(state.index.findTag(objectTag(hashOf('purged'))), NO_SLOT, title);
    },
  );
  await leaveRoot(bench);
  context.diagnostic(`survived: ${JSON.stringify({ crashStates: states.judged })}`);
});

test('a ring that no checkpoint frees takes what fits and no more: nothing that replay needs is written over', async () => {
  const disk = new SimulatedDisk({ capacityBytes: 8 * MIB, random: new SeededRandom(10) });
  await formatDisk(disk, tinyParameters({ entryCount: 4096, journalBlocks: 12 }));
  const bench = await mountRoot(disk);
  const { journal, catalogue, metrics } = bench;
  let taken = 0;
  for (let number = 0; number < 1500; number += 1) {
    const before = metrics.value('journalDropped');
    putObject(catalogue, `key-${number}`, 1 + number, 1);
    if (metrics.value('journalDropped') === before) taken += 1;
    if (number % 40 === 0) await journal.flush();
  }
  await journal.flush();
  assert.ok(taken > 300 && taken < 1500, `${taken} were taken`);
  await leaveRoot(bench);
  const { index, journal: position } = (await lookAtRoot(disk)).state;
  for (let number = 0; number < taken; number += 1)
    assert.notEqual(index.findTag(objectTag(hashOf(`key-${number}`))), NO_SLOT, `key-${number}`);
  assert.equal(position.nextSequence, journal.position.nextSequence);
});
