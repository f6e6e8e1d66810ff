/** A client leaves in the middle (row 49): what becomes of the slice in hand, and of those who read along. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB, MIB } from '../../src/base/units.ts';
import { ClientConnection } from '../helpers/client.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';

const SLICE = MIB;
const LENGTH = 4 * SLICE;

function start(origin: Origin): Promise<TestEdge> {
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  return startEdge({ origin, arenaBytes: 32 * MIB, set: { 'slice.size': '1MiB' } });
}

function hasSlice(edge: TestEdge, sliceNumber: number): boolean {
  return edge.store.hasSlice(1, sliceNumber);
}

/** A client that has got all that came before the origin paused. */
async function readUntilPause(edge: TestEdge, pauseBytes: number): Promise<{ leave: () => Promise<void> }> {
  const connection = await ClientConnection.open({ port: edge.port });
  let received = 0;
  const onBytes = (bytes: Buffer): void => {
    received += bytes.length;
  };
  const left = connection.request({ path: '/a', onBytes }).catch(() => undefined);
  await eventually(() => received === pauseBytes, { what: 'what came before the pause' });
  const leave = async (): Promise<void> => {
    connection.destroy();
    await left;
    await eventually(() => edge.services.load.requests === 0, { what: 'no request' });
  };
  return { leave };
}

test('row 49: the only client leaves when most of a slice is there: the slice is finished and stored, and no more is taken', async () => {
  await using origin = await Origin.start();
  await using edge = await start(origin);
  const pause = SLICE + 600 * KIB;
  origin.misbehave('/a', { pauseAfterBytes: pause }, 1);
  const client = await readUntilPause(edge, pause);
  await client.leave();
  assert.deepEqual([hasSlice(edge, 0), hasSlice(edge, 1), edge.resolver.liveCount], [true, false, 1]);
  origin.release('/a');
  await edge.settle();
  assert.deepEqual([hasSlice(edge, 1), hasSlice(edge, 2), edge.store.hasPart(1, 2)], [true, false, false]);
  const rest = await edge.get('/a', {}, { expect: origin.identity('/a') });
  assert.deepEqual([rest.wrongAt, rest.bodyBytes], [-1, LENGTH]);
  assert.equal(origin.requestsFor('/a')[1]?.headers.range, `bytes=${2 * SLICE}-${LENGTH - 1}`);
});

test('row 49: the only client leaves when less than half of a slice is there: the transfer ends, and what came of the slice is kept', async () => {
  await using origin = await Origin.start();
  await using edge = await start(origin);
  const pause = SLICE + 300 * KIB;
  origin.misbehave('/a', { pauseAfterBytes: pause }, 1);
  const client = await readUntilPause(edge, pause);
  await client.leave();
  await edge.settle();
  await eventually(() => origin.requestsFor('/a')[0]?.state === 'aborted', { what: 'the end of the transfer' });
  assert.deepEqual([hasSlice(edge, 0), hasSlice(edge, 1), edge.store.hasPart(1, 1)], [true, false, true]);
  const rest = await edge.get('/a', {}, { expect: origin.identity('/a') });
  assert.deepEqual([rest.wrongAt, rest.bodyBytes], [-1, LENGTH]);
  const range = origin.requestsFor('/a')[1]?.headers.range ?? '';
  assert.ok(Number(/^bytes=(\d+)-/.exec(range)?.[1]) > SLICE, range);
});

test('row 49: a client that was served to its end has paid for the slice in hand, which is finished for the next one', async () => {
  await using origin = await Origin.start();
  await using edge = await start(origin);
  origin.misbehave('/a', { pauseAfterBytes: 100 * KIB }, 1);
  const range = { range: 'bytes=0-999' };
  const served = await edge.get('/a', range, { expect: origin.identity('/a') });
  assert.deepEqual([served.status, served.wrongAt, served.bodyBytes], [206, -1, 1000]);
  assert.equal(hasSlice(edge, 0), false);
  origin.release('/a');
  await edge.settle();
  assert.equal(hasSlice(edge, 0), true);
  assert.equal((await edge.get('/a', range)).headers['x-cache'], 'HIT');
  assert.equal(origin.requestsFor('/a').length, 1);
});

test('row 49: who began the transfer leaves, one who reads along and one further on stay: nothing is asked for twice', async () => {
  await using origin = await Origin.start();
  await using edge = await start(origin);
  const pause = 300 * KIB;
  origin.misbehave('/a', { pauseAfterBytes: pause }, 1);
  const leader = await ClientConnection.open({ port: edge.port });
  const left = leader.request({ path: '/a' }).catch(() => undefined);
  await origin.waitForHeld('/a');
  const stay = [
    edge.get('/a', {}, { expect: origin.identity('/a') }),
    edge.get('/a', { range: `bytes=${2 * SLICE + 5}-` }, { expect: { ...origin.identity('/a'), start: 2 * SLICE + 5 } }),
  ];
  await eventually(() => edge.services.load.requests === 3, { what: 'three clients' });
  leader.destroy();
  await left;
  origin.release('/a');
  const [whole, tail] = await Promise.all(stay);
  assert.deepEqual([whole?.wrongAt, whole?.isComplete, whole?.bodyBytes], [-1, true, LENGTH]);
  assert.deepEqual([tail?.wrongAt, tail?.isComplete, tail?.bodyBytes], [-1, true, LENGTH - 2 * SLICE - 5]);
  assert.equal(origin.requestsFor('/a').length, 1);
});
