/** A transfer that ends in the middle of a slice is not lost: the next one asks the origin only for what is missing of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import type { Arena } from '../../src/memory/arena.ts';
import { openStore } from '../../src/store/device-store.ts';
import type { SliceStore } from '../../src/store/slice-store.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { formatTiny } from '../store/store-bench.ts';

const SLICE = MIB;
const LENGTH = 3 * SLICE;
/** In the middle of the second slice, less than half of it. */
const PAUSE = SLICE + 300 * KIB;
const PATH = '/big.iso';

/** A proxy over a disk, which may be opened again. */
async function makeDisk(): Promise<(arena: Arena) => Promise<SliceStore>> {
  const disk = new SimulatedDisk({ capacityBytes: 16 * MIB, random: new SeededRandom(1) });
  const device = disk.open();
  await formatTiny(device);
  await device.close();
  return (arena) => openStore({ device: disk.open(), arena, clock: new SystemClock(), logger: createSilentLogger(), compression: 'auto' });
}

function startOn(origin: Origin, makeStore?: (arena: Arena) => Promise<SliceStore>): Promise<TestEdge> {
  return startEdge({ origin, makeStore, arenaBytes: 32 * MIB, set: { 'slice.size': '1MiB' } });
}

/** A client that leaves when it has got all that the origin has sent before it stands still. */
async function leaveInTheMiddle(edge: TestEdge, origin: Origin): Promise<void> {
  origin.misbehave(PATH, { pauseAfterBytes: PAUSE }, 1);
  const left = await edge.get(PATH, {}, { expect: origin.identity(PATH), abortAfterBytes: PAUSE });
  assert.deepEqual([left.wrongAt, left.bodyBytes], [-1, PAUSE]);
  await edge.settle();
  await edge.store.drain();
}

/** The Range fields of the requests that reached the origin. */
function rangesOf(origin: Origin): (string | undefined)[] {
  return origin.requestsFor(PATH).map((request) => request.headers.range);
}

function setObject(origin: Origin): void {
  origin.setObject(PATH, { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
}

for (const isRestarted of [false, true]) {
  test(`an aborted download goes on where it stopped${isRestarted ? ', also after a restart' : ''}`, async () => {
    await using origin = await Origin.start();
    setObject(origin);
    const makeStore = await makeDisk();
    let edge = await startOn(origin, makeStore);
    await leaveInTheMiddle(edge, origin);
    if (isRestarted) {
      await edge[Symbol.asyncDispose]();
      edge = await startOn(origin, makeStore);
    }
    await using _ = edge;
    const next = await edge.get(PATH, {}, { expect: origin.identity(PATH) });
    assert.deepEqual([next.status, next.wrongAt, next.bodyBytes, next.isComplete], [200, -1, LENGTH, true]);
    assert.deepEqual(rangesOf(origin), [undefined, `bytes=${PAUSE}-`]);
    await edge.settle();
    await edge.store.drain();
    const last = await edge.get(PATH, {}, { expect: origin.identity(PATH) });
    assert.deepEqual([last.headers['x-cache'], last.wrongAt, rangesOf(origin).length], ['HIT', -1, 2]);
  });
}

test('a transfer that the origin breaks off goes on behind the last byte, for the same client', async () => {
  await using origin = await Origin.start();
  setObject(origin);
  await using edge = await startOn(origin, await makeDisk());
  origin.misbehave(PATH, { closeAfterBytes: PAUSE }, 1);
  const answer = await edge.get(PATH, {}, { expect: origin.identity(PATH) });
  assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes, answer.isComplete], [200, -1, LENGTH, true]);
  assert.deepEqual(rangesOf(origin), [undefined, `bytes=${PAUSE}-`]);
});

test('a range inside of the part is a hit', async () => {
  await using origin = await Origin.start();
  setObject(origin);
  await using edge = await startOn(origin, await makeDisk());
  await leaveInTheMiddle(edge, origin);
  const body = origin.identity(PATH);
  const range = { range: `bytes=${SLICE + 70_000}-${SLICE + 199_999}` };
  const answer = await edge.get(PATH, range, { expect: { ...body, start: SLICE + 70_000 } });
  assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes], [206, -1, 130_000]);
  assert.equal(rangesOf(origin).length, 1);
});

test('an origin that answers everything to the range for the rest is read from the start', async () => {
  await using origin = await Origin.start();
  setObject(origin);
  await using edge = await startOn(origin, await makeDisk());
  await leaveInTheMiddle(edge, origin);
  origin.misbehave(PATH, { ignoreRange: true });
  const next = await edge.get(PATH, {}, { expect: origin.identity(PATH) });
  assert.deepEqual([next.status, next.wrongAt, next.bodyBytes, next.isComplete], [200, -1, LENGTH, true]);
});

test('a part of an older version is joined with nothing', async () => {
  await using origin = await Origin.start();
  setObject(origin);
  await using edge = await startOn(origin, await makeDisk());
  await leaveInTheMiddle(edge, origin);
  const old = origin.identity(PATH);
  origin.change(PATH);
  const cut = await edge.get(PATH, {}, { expect: old });
  assert.ok(cut.wrongAt <= 0, `all that came is of one version, not only up to byte ${cut.wrongAt}`);
  assert.equal(cut.isComplete && cut.wrongAt === -1, false);
  const next = await edge.get(PATH, {}, { expect: origin.identity(PATH) });
  assert.deepEqual([next.status, next.wrongAt, next.bodyBytes, next.isComplete], [200, -1, LENGTH, true]);
});
