/** What a flush of the journal promises, beside writes and flushes that are under way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetricSet } from '../../src/base/metrics.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import { EMPTY_RECORD, JOURNAL_TYPES } from '../../src/format/journal-block.ts';
import { Arena } from '../../src/memory/arena.ts';
import { Journal } from '../../src/store/recovery/journal.ts';
import { readRoot } from '../../src/store/recovery/root-area.ts';
import { DEFAULT_STORE_LIMITS } from '../../src/store/store-limits.ts';
import { STORE_METRICS } from '../../src/store/store-metrics.ts';
import { eventually } from '../helpers/eventually.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { clock, formatTiny } from './store-bench.ts';

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
