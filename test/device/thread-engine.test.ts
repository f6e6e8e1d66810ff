/** Threads of a device's own: what happens when they die, cannot start, or hang, and that they leave the process alone. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import type { Worker } from 'node:worker_threads';
import { must } from '../../src/base/assert.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { EdgeError } from '../../src/base/errors.ts';
import { createLogger, createSilentLogger } from '../../src/base/log.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { type DirectDevice, openDirectDevice } from '../../src/device/direct-device.ts';
import { RequestTaker } from '../../src/device/io-worker.mjs';
import { DEFAULT_THREADS } from '../../src/device/thread-engine.ts';
import { ThreadRing } from '../../src/device/thread-ring.ts';
import type { LaneName } from '../../src/device/transfer-queue.ts';
import { Arena } from '../../src/memory/arena.ts';
import type { Lease } from '../../src/memory/lease.ts';
import { withReadyThreads } from '../helpers/device-threads.ts';

const clock = new SystemClock();
const arena = new Arena({ sizeBytes: 16 * MIB, clock });
let folder = '';
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'rawslice-threads-'));
});
after(async () => {
  assert.equal(arena.leasedSlots, 0);
  await rm(folder, { recursive: true });
});

async function makeFile(name: string): Promise<string> {
  const file = path.join(folder, name);
  await writeFile(file, Buffer.alloc(64 * KIB, 7));
  await truncate(file, 4 * MIB);
  return file;
}

function lease(lengthBytes: number): Lease {
  return must(arena.tryLease('fill', lengthBytes), 'a slot');
}

/** A device whose threads are at work. */
async function open(file: string, lines: string[] = []): Promise<{ device: DirectDevice; workers: readonly Worker[] }> {
  const logger = createLogger({ level: 'warn', stream: { write: (line) => lines.push(line) } });
  const { result, workers } = await withReadyThreads(() =>
    openDirectDevice({ path: file, access: 'read-write', io: 'threads', arena, clock, logger }),
  );
  return { device: result, workers };
}

function taker(ring: ThreadRing, lane: LaneName, thread: number): RequestTaker {
  return new RequestTaker({ ring: ring.shared, layout: ring.layout, lane, thread });
}

const isBlock = (bytes: Buffer, value: number): boolean => bytes.every((byte) => byte === value);

test('a request is taken once, whoever takes it, and its result comes back to its slot', () => {
  const ring = new ThreadRing();
  const [first, other] = [taker(ring, 'read', 0), taker(ring, 'read', 3)];
  const held = lease(64 * KIB);
  const place = { buffers: [held.bytes.subarray(8 * KIB, 16 * KIB), held.bytes.subarray(0, 4 * KIB)], offsetBytes: 2 ** 45 };
  // More turns than the ring has entries.
  for (let turn = 0; turn < 200; turn += 1) {
    const slots = [ring.put('read', 'read', place), ring.put('read', 'read', { ...place, offsetBytes: 0 })];
    assert.deepEqual([first.take(), other.take()], slots);
    const request = first.requestIn(slots[0] ?? -1, arena.memory);
    assert.deepEqual([request.operation, request.offsetBytes], ['read', 2 ** 45]);
    assert.deepEqual(
      request.buffers.map(({ byteOffset, length }) => [byteOffset - held.bytes.byteOffset, length]),
      [
        [8 * KIB, 8 * KIB],
        [0, 4 * KIB],
      ],
    );
    // The first of several results is to be announced, the rest come with it.
    assert.deepEqual([other.finish(slots[1] ?? -1, -5), first.finish(slots[0] ?? -1, turn)], [true, false]);
    assert.deepEqual(ring.collect(), [
      { slot: slots[0], result: turn },
      { slot: slots[1], result: -5 },
    ]);
    assert.deepEqual(ring.collect(), []);
  }
  held.end();
});

test('the slots of a dead thread are known by its number', () => {
  const ring = new ThreadRing();
  const place = { buffers: [], offsetBytes: 0 };
  const slots = Array.from({ length: 4 }, () => ring.put('write', 'flush', place));
  taker(ring, 'write', 4).take();
  taker(ring, 'write', 5).take();
  assert.deepEqual(ring.abandon('write', 4), [slots[0]]);
  assert.deepEqual(ring.abandon('write', 4), []);
  assert.deepEqual(ring.abandon('write', 5), [slots[1]]);
  assert.deepEqual(ring.withdraw('write'), slots.slice(2), 'what no thread has begun');
  assert.deepEqual(ring.withdraw('read'), []);
  const again = ring.put('write', 'flush', place);
  assert.equal(taker(ring, 'write', 6).take(), again);
});

test('a stopped ring lets its threads go after the last request', () => {
  const ring = new ThreadRing();
  const slot = ring.put('read', 'read', { buffers: [], offsetBytes: 0 });
  ring.stop();
  assert.equal(taker(ring, 'read', 0).take(), slot);
  assert.equal(taker(ring, 'read', 0).take(), undefined);
});

test('a device has four threads to read and two to write, and says so', async () => {
  const file = await makeFile('count');
  const { device, workers } = await open(file);
  assert.deepEqual([device.io, workers.length, device.metrics.value('ioThreads')], ['threads', 6, 6]);
  await device.close();
  assert.equal(device.metrics.value('ioThreads'), 0);
  assert.deepEqual(
    workers.map(({ threadId }) => threadId).filter((id) => id >= 0),
    [],
  );
});

test('buffers outside of the arena of the device are transferred too', async () => {
  const { device } = await open(await makeFile('foreign'));
  const other = new Arena({ sizeBytes: 4 * MIB, clock });
  const slot = must(other.tryLease('fill', 64 * KIB), 'a slot');
  await device.read([slot.bytes], 0);
  assert.ok(isBlock(slot.bytes, 7));
  slot.end();
  await device.close();
});

test('a thread that dies leaves the others at work; after the last one libuv does it', async () => {
  const lines: string[] = [];
  const { device, workers } = await open(await makeFile('dying'), lines);
  const held = lease(64 * KIB);
  for (const [index, worker] of workers.entries()) {
    await worker.terminate();
    held.bytes.fill(0);
    await device.read([held.bytes], 0);
    assert.ok(isBlock(held.bytes, 7), `after ${index + 1} have ended`);
    await device.write([held.bytes], MIB);
    await device.flush();
    assert.equal(device.metrics.value('ioThreads'), workers.length - index - 1);
  }
  assert.equal(lines.filter((line) => /the others go on/.test(line)).length, 4);
  assert.equal(lines.filter((line) => /libuv's pool does its work/.test(line)).length, 2);
  held.end();
  await device.close();
});

test('threads that die at work fail their requests and lose none', async () => {
  const { device, workers } = await open(await makeFile('working'));
  const slots = Array.from({ length: 64 }, () => lease(64 * KIB));
  const reads = slots.map((slot) => device.read([slot.bytes], 0));
  const deaths = workers.map((worker) => worker.terminate());
  let failed = 0;
  for (const [index, result] of (await Promise.allSettled(reads)).entries()) {
    if (result.status === 'fulfilled') assert.ok(isBlock(must(slots[index], 'a slot').bytes, 7));
    else {
      const { reason } = result;
      assert.ok(reason instanceof EdgeError && reason.code === 'DEVICE_FAULT' && reason.context.errno === 'THREAD_ENDED', String(reason));
      failed += 1;
    }
  }
  assert.ok(failed <= DEFAULT_THREADS.read, `${failed} failed, more than were at the threads`);
  assert.equal(device.metrics.value('errors', 'read'), failed);
  await Promise.all(deaths);
  for (const slot of slots) slot.end();
  await device.close();
});

test('threads that cannot start are done without', async () => {
  const file = await makeFile('unstarted');
  const lines: string[] = [];
  const logger = createLogger({ level: 'warn', stream: { write: (line) => lines.push(line) } });
  const ends: Promise<number>[] = [];
  // Node ends a thread that is told to while it starts, as it does one for which there is no memory.
  const end = (worker: Worker): void => void ends.push(worker.terminate());
  process.on('worker', end);
  const device = await openDirectDevice({ path: file, access: 'read-write', io: 'threads', arena, clock, logger });
  await new Promise((resolve) => setImmediate(resolve));
  process.off('worker', end);
  const held = lease(64 * KIB);
  await device.read([held.bytes], 0);
  await Promise.all(ends);
  await device.read([held.bytes], 0);
  assert.ok(isBlock(held.bytes, 7));
  assert.deepEqual([ends.length, device.metrics.value('ioThreads'), device.metrics.value('reads')], [6, 0, 2]);
  assert.equal(lines.filter((line) => /libuv's pool does its work/.test(line)).length, 2);
  held.end();
  await device.close();
});

test('a device that is closed while its threads start leaves none behind', async () => {
  const file = await makeFile('hasty');
  const workers: Worker[] = [];
  const note = (worker: Worker): void => void workers.push(worker);
  process.on('worker', note);
  const device = await openDirectDevice({ path: file, access: 'read-write', io: 'threads', arena, clock, logger: createSilentLogger() });
  await device.close();
  process.off('worker', note);
  assert.deepEqual([workers.length, device.metrics.value('ioThreads')], [6, 0]);
});

test('an idle device lets the process end, one at work does not', () => {
  const file = path.join(folder, 'ending');
  writeFileSync(file, Buffer.alloc(MIB, 7));
  const script = path.join(folder, 'script.ts');
  const source = (name: string): string => JSON.stringify(path.resolve(import.meta.dirname, '../../src', name));
  writeFileSync(
    script,
    `import { openDirectDevice } from ${source('device/direct-device.ts')};
import { SystemClock } from ${source('base/clock.ts')};
import { createSilentLogger } from ${source('base/log.ts')};
import type { LaneName } from '../../src/device/transfer-queue.ts';
import { Arena } from ${source('memory/arena.ts')};
const clock = new SystemClock();
const arena = new Arena({ sizeBytes: 4194304, clock });
const device = await openDirectDevice({ path: ${JSON.stringify(file)}, access: 'read-write', io: 'threads', arena, clock, logger: createSilentLogger() });
const lease = arena.tryLease('fill', 65536);
device.read([lease.bytes], 0).then(() => process.stdout.write('read ' + lease.bytes[0]));
`,
  );
  const run = spawnSync(process.execPath, [script], { encoding: 'utf8', timeout: 60_000 });
  assert.deepEqual([run.status, run.stdout], [0, 'read 7'], run.stderr);
  assert.equal(readFileSync(file).length, MIB);
});

test('without threads and with them the same failure reads the same', async () => {
  const errors: unknown[] = [];
  for (const io of ['pool', 'threads'] as const) {
    const file = await makeFile('same');
    const device = await openDirectDevice({ path: file, access: 'read-write', io, arena, clock, logger: createSilentLogger() });
    const held = lease(64 * KIB);
    await truncate(file, 8 * KIB);
    await device.read([held.bytes], 0).catch(({ code, message, context }: EdgeError) => errors.push({ code, message, context }));
    held.end();
    await device.close();
  }
  assert.equal(errors.length, 2);
  assert.deepEqual(errors[0], errors[1]);
});
