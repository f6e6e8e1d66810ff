/** Turns at the device: their order, their bounds, and what hangs; in virtual time, with operations that end when the test says so. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EdgeError } from '../../src/base/errors.ts';
import { MetricSet } from '../../src/base/metrics.ts';
import type { TransferPriority } from '../../src/device/block-device.ts';
import { DEVICE_METRICS } from '../../src/device/device-metrics.ts';
import { HUNG_AFTER_MS, type LaneName, type LaneWidth, TransferQueue, type Turn, WAITING_MAX } from '../../src/device/transfer-queue.ts';
import { VirtualClock } from '../simulation/virtual-clock.ts';

const WIDTHS = { read: { atOnceMax: 4, threads: 4 }, write: { atOnceMax: 2, threads: 2 } };

interface Operation {
  readonly name: string;
  readonly outcome: Promise<string>;
}

function setUp(lanes: Readonly<Record<LaneName, LaneWidth>> = WIDTHS) {
  const clock = new VirtualClock();
  const metrics = new MetricSet(DEVICE_METRICS);
  const hung: [lane: LaneName, threads: number][] = [];
  const queue = new TransferQueue({ path: 'disk', lanes, clock, metrics, onHung: (lane, threads) => hung.push([lane, threads]) });
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  const start = (name: string, turn: Partial<Turn> = {}): Operation => ({
    name,
    outcome: queue
      .run({ lane: 'read', priority: 'client', ...turn }, () => {
        begun.push(name);
        return new Promise<string>((resolve) => ends.set(name, () => resolve('done')));
      })
      .catch((error: unknown) => (error instanceof EdgeError ? error.code : String(error))),
  });
  const end = async (operation: Operation): Promise<void> => {
    ends.get(operation.name)?.();
    assert.equal(await operation.outcome, 'done');
  };
  const startMany = (count: number, prefix: string, turn: Partial<Turn> = {}): Operation[] =>
    Array.from({ length: count }, (_, index) => start(`${prefix}${index}`, turn));
  return { clock, metrics, queue, hung, begun, start, startMany, end };
}

test('clients go before writes, writes before the background, and each in the order of coming', async () => {
  const { start, startMany, end, begun, metrics } = setUp();
  const first = startMany(4, 'first');
  for (const [name, priority] of [
    ['b', 'background'],
    ['w', 'write'],
    ['c1', 'client'],
    ['c2', 'client'],
  ] as const) {
    start(name, { priority });
  }
  const depths = (['client', 'write', 'background'] as const).map((priority) => metrics.value('waiting', priority));
  assert.deepEqual([begun.length, ...depths], [4, 2, 1, 1]);
  for (const operation of first) await end(operation);
  assert.deepEqual(begun.slice(4), ['c1', 'c2', 'w', 'b']);
  assert.equal(metrics.value('waiting', 'client') + metrics.value('waiting', 'write') + metrics.value('waiting', 'background'), 0);
});

test('reads and writes do not wait for each other', async () => {
  const { start, startMany, begun } = setUp();
  startMany(10, 'w', { lane: 'write', priority: 'write' });
  start('r');
  startMany(10, 'r');
  assert.deepEqual(begun, ['w0', 'w1', 'r', 'r0', 'r1', 'r2']);
});

test('the background has one thread of four, however much of it there is', async () => {
  const { startMany, begun, end } = setUp();
  const background = startMany(3, 'b', { priority: 'background' });
  assert.deepEqual(begun, ['b0']);
  startMany(3, 'c');
  assert.deepEqual(begun, ['b0', 'c0', 'c1', 'c2']);
  for (const operation of background.slice(0, 1)) await end(operation);
  assert.deepEqual(begun.slice(4), ['b1']);
});

test('the background comes to its turn on a device that is always busy', async () => {
  const { start, startMany, begun, end } = setUp({ ...WIDTHS, read: { atOnceMax: 1, threads: 1 } });
  const clients = startMany(200, 'c');
  start('b', { priority: 'background' });
  for (const client of clients.slice(0, 60)) if (begun.at(-1) === client.name) await end(client);
  const at = begun.indexOf('b');
  assert.ok(at > 10 && at < 60, `turn ${at}`);
});

test('a full line refuses, and says so', async () => {
  for (const priority of ['client', 'write', 'background'] as const satisfies TransferPriority[]) {
    const { startMany, metrics, begun } = setUp();
    startMany(priority === 'background' ? 1 : 4, 'first', { priority });
    startMany(WAITING_MAX[priority], 'waiting', { priority });
    const before = begun.length;
    const [refused] = startMany(1, 'refused', { priority });
    assert.equal(await refused?.outcome, 'DEVICE_BUSY');
    assert.equal(begun.length, before);
    assert.deepEqual([metrics.value('busy', `${priority}-line`), metrics.value('waiting', priority)], [1, WAITING_MAX[priority]]);
  }
});

test('what has not begun in time is not done', async () => {
  const { start, startMany, clock, begun, metrics, end } = setUp();
  const first = startMany(4, 'first');
  const late = start('late', { beginWithinMs: 1000 });
  const patient = start('patient', { beginWithinMs: 60_000 });
  const endless = start('endless');
  await clock.wait(clock.sleep(900), 'time', 900);
  assert.equal(metrics.value('busy', 'deadline'), 0);
  // Nothing ends at the device, and yet the late one is let go.
  assert.equal(await clock.wait(late.outcome, 'the late one', 1000), 'DEVICE_BUSY');
  assert.deepEqual([metrics.value('busy', 'deadline'), metrics.value('waiting', 'client')], [1, 2]);
  for (const operation of first) await end(operation);
  assert.deepEqual(begun.slice(4), ['patient', 'endless']);
  for (const operation of [patient, endless]) await end(operation);
});

test('an operation that fails gives its room to the next', async () => {
  const { queue, start, begun } = setUp({ ...WIDTHS, read: { atOnceMax: 1, threads: 1 } });
  const failing = queue.run({ lane: 'read', priority: 'client' }, () => Promise.reject(new Error('on purpose')));
  start('next');
  await assert.rejects(failing, /on purpose/);
  assert.deepEqual(begun, ['next']);
});

test('threads that hang are counted, and those behind them are not', async () => {
  const { clock, startMany, metrics, hung, end } = setUp({ ...WIDTHS, read: { atOnceMax: 16, threads: 4 } });
  const operations = startMany(12, 'r');
  await clock.wait(clock.sleep(HUNG_AFTER_MS - 1000), 'time', HUNG_AFTER_MS);
  assert.equal(metrics.value('hungThreads'), 0);
  await clock.wait(clock.sleep(2000), 'time', HUNG_AFTER_MS);
  assert.deepEqual([metrics.value('hungThreads'), hung], [4, [['read', 4]]]);
  for (const operation of operations) await end(operation);
  assert.deepEqual([metrics.value('hungThreads'), hung.at(-1)], [0, ['read', 0]]);
});

test('several operations that a thread does in one request are one thread that hangs', async () => {
  const { clock, startMany, metrics, end } = setUp({ ...WIDTHS, read: { atOnceMax: 16, threads: 4, busyThreads: () => 1 } });
  const operations = startMany(3, 'r');
  await clock.wait(clock.sleep(HUNG_AFTER_MS - 1000), 'time', HUNG_AFTER_MS);
  await clock.wait(clock.sleep(2000), 'time', HUNG_AFTER_MS);
  assert.equal(metrics.value('hungThreads'), 1);
  for (const operation of operations) await end(operation);
  assert.equal(metrics.value('hungThreads'), 0);
});

test('what waits is given up when told, and what is under way is counted', async () => {
  const { queue, start, startMany, end, metrics, begun } = setUp();
  const operations = startMany(4, 'r');
  const waiting = start('waiting');
  assert.equal(queue.giveUp(), 4);
  assert.equal(await waiting.outcome, 'DEVICE_BUSY');
  assert.equal(metrics.value('waiting', 'client'), 0);
  for (const operation of operations) await end(operation);
  assert.equal(begun.length, 4);
  await queue.idle();
});

test('waiting for idleness ends with the last operation', async () => {
  const { queue, startMany, end } = setUp();
  const operations = startMany(6, 'r');
  let isIdle = false;
  const idle = queue.idle().then(() => {
    isIdle = true;
  });
  for (const operation of operations) {
    assert.equal(isIdle, false);
    await end(operation);
  }
  await idle;
});
