/** Reads that lie side by side are one request, each with an outcome of its own: what fails of them, and what dies under them. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import type { Worker } from 'node:worker_threads';
import { must } from '../../src/base/assert.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { EdgeError } from '../../src/base/errors.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { type DirectDevice, openDirectDevice } from '../../src/device/direct-device.ts';
import { JOINED_READS_MAX, JoinedReads, type ReadPlace } from '../../src/device/joined-reads.ts';
import { Arena } from '../../src/memory/arena.ts';
import type { Lease } from '../../src/memory/lease.ts';
import { withReadyThreads } from '../helpers/device-threads.ts';

const READ_BYTES = 64 * KIB;
const clock = new SystemClock();
const arena = new Arena({ sizeBytes: 32 * MIB, clock });
let folder = '';
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'rawslice-joined-'));
});
after(async () => {
  assert.equal(arena.leasedSlots, 0);
  await rm(folder, { recursive: true });
});

interface Place {
  readonly file: string;
  readonly device: DirectDevice;
  readonly workers: readonly Worker[];
  readonly slots: readonly Lease[];
}

/** A device of which every READ_BYTES hold their number, and slots to read into. */
async function play(name: string, run: (place: Place) => Promise<void>): Promise<void> {
  const file = path.join(folder, name);
  await writeFile(file, Buffer.concat(Array.from({ length: 32 }, (_, number) => Buffer.alloc(READ_BYTES, number))));
  const logger = createSilentLogger();
  const { result: device, workers } = await withReadyThreads(() =>
    openDirectDevice({ path: file, access: 'read-write', io: 'threads', arena, clock, logger }),
  );
  const slots = Array.from({ length: 8 }, () => must(arena.tryLease('device-read', READ_BYTES), 'a slot'));
  await run({ file, device, workers, slots });
  for (const slot of slots) slot.end();
  await device.close();
}

/** What a read brought: the number in its first and its last byte, or its errno. */
async function readEach({ device, slots }: Place, numbers: readonly number[]): Promise<readonly unknown[]> {
  const reads = numbers.map(async (number, index) => {
    const { bytes } = must(slots[index], 'a slot');
    try {
      // In two buffers, as a header and its payload.
      await device.read([bytes.subarray(0, 4 * KIB), bytes.subarray(4 * KIB)], number * READ_BYTES);
      assert.equal(bytes[0], bytes.at(-1));
      return bytes[0];
    } catch (error) {
      return error instanceof EdgeError ? error.context.errno : error;
    }
  });
  return Promise.all(reads);
}

test('what begins together and lies in a row is joined, within its bounds', async () => {
  const submitted: (readonly number[])[] = [];
  const buffersMax = 6;
  const reads = new JoinedReads<ReadPlace>({ buffersMax, submit: (run) => submitted.push(run.map(({ offsetBytes }) => offsetBytes)) });
  const add = (offsetBytes: number, lengthBytes: number, buffers = 1): void =>
    reads.add({ offsetBytes, lengthBytes, buffers: Array.from({ length: buffers }, () => Buffer.alloc(0)) });
  const turn = async (): Promise<(readonly number[])[]> => {
    await new Promise((resolve) => setImmediate(resolve));
    return submitted.splice(0);
  };
  for (const offset of [0, 10, 20, 30, 40, 60, 70, 50]) add(offset, 10);
  assert.deepEqual(await turn(), [[0, 10, 20], [30, 40], [60, 70], [50]]);
  for (const [index, lengthBytes] of [MIB, 2 * MIB, 2 * MIB].entries()) add(index === 2 ? 3 * MIB : index * MIB, lengthBytes);
  assert.deepEqual(await turn(), [[0, MIB], [3 * MIB]], 'the first is not to wait for ever');
  add(0, 8 * MIB);
  add(8 * MIB, 1);
  assert.deepEqual(await turn(), [[0], [8 * MIB]]);
  for (const offset of [0, 10]) add(offset, 10, buffersMax - 2);
  add(20, 10, 2);
  assert.deepEqual(await turn(), [[0], [10, 20]], 'as many buffers as a request takes');
  add(0, 10, buffersMax + 1);
  assert.deepEqual(await turn(), [[0]]);
  assert.ok(JOINED_READS_MAX < 4, 'one place that does not answer must not look like a dead device');
});

test('each of the reads that were joined gets its own bytes', () =>
  play('whole', async (place) => {
    assert.deepEqual(await readEach(place, [3, 4, 5, 6, 9, 7]), [3, 4, 5, 6, 9, 7]);
    assert.equal(place.device.metrics.value('joinedReads'), 3);
    assert.equal(place.device.metrics.value('reads'), 6);
  }));

test('reads in the wrong order, or of the same place, are not joined', () =>
  play('apart', async (place) => {
    assert.deepEqual(await readEach(place, [5, 4, 4, 2]), [5, 4, 4, 2]);
    assert.equal(place.device.metrics.value('joinedReads'), 0);
  }));

test('one that cannot be read fails alone', () =>
  play('short', async (place) => {
    // In the middle of a read, so that the kernel moves less than was asked for.
    await truncate(place.file, 5 * READ_BYTES + 8 * KIB);
    assert.deepEqual(await readEach(place, [3, 4, 5, 20]), [3, 4, 'ENODATA', 'ENODATA']);
    assert.equal(place.device.metrics.value('joinedReads'), 3);
    assert.equal(place.device.metrics.value('errors', 'read'), 2);
  }));

test('what is read again takes no slot of a request that ended beside it', () =>
  play('beside', async (place) => {
    await truncate(place.file, 5 * READ_BYTES + 8 * KIB);
    const outcome = readEach(place, [3, 4, 5, 0, 20, 2]);
    // Every request has ended when the first result is looked at: the threads go on while this one stands.
    await null;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
    assert.deepEqual(await outcome, [3, 4, 'ENODATA', 0, 'ENODATA', 2]);
  }));

test('threads that die take their requests along, and the next ones are joined no more', () =>
  play('dying', async (place) => {
    const outcome = readEach(place, [3, 4, 5, 8, 9, 10, 13]);
    const deaths = place.workers.map((worker) => worker.terminate());
    for (const [index, value] of (await outcome).entries()) assert.ok(value === 'THREAD_ENDED' || value === [3, 4, 5, 8, 9, 10, 13][index]);
    await Promise.all(deaths);
    const joined = place.device.metrics.value('joinedReads');
    assert.deepEqual(await readEach(place, [3, 4, 5]), [3, 4, 5]);
    assert.equal(place.device.metrics.value('joinedReads'), joined);
  }));
