/** What the store declines is kept for those who still need it, a little of it; two runs of one object must not wait for each other there. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB } from '../../src/base/units.ts';
import { ClientConnection } from '../helpers/client.ts';
import { startEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { MemoryStore } from '../helpers/memory-store.ts';
import { Origin } from '../helpers/origin.ts';

const SLICE = 64 * KIB;
const LENGTH = 24 * SLICE + 100;

async function makeStore(...[arena]: ConstructorParameters<typeof MemoryStore>): Promise<MemoryStore> {
  const store = new MemoryStore(arena);
  store.declinesSlices = true;
  return store;
}

test('a run that brings the beginning again does not wait for the slices that the run ahead of it has retained', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  const without = { chunked: true, ignoreRange: true };
  origin.misbehave('/a', { ...without, pauseAfterBytes: 8 * SLICE + 100 }, 1);
  origin.misbehave('/a', { ...without, pauseAfterBytes: SLICE + 100 }, 1);
  origin.misbehave('/a', without);
  await using edge = await startEdge({ origin, makeStore });
  let aheadBytes = 0;
  const ahead = await ClientConnection.open({ port: edge.port });
  const first = ahead.request({
    path: '/a',
    onBytes: (bytes) => {
      aheadBytes += bytes.length;
    },
  });
  await eventually(() => aheadBytes === 8 * SLICE + 100, { what: 'the first client eight slices in' });
  const second = edge.get('/a', {}, { expect: body });
  await origin.waitForHeld('/a', 2);
  const [run] = origin.requestsFor('/a');
  origin.release('/a');
  const answers = await Promise.all([first, second]);
  assert.equal(run?.state, 'done');
  assert.deepEqual(
    answers.map(({ bodyBytes, wrongAt, isComplete }) => [bodyBytes, wrongAt, isComplete]),
    [
      [LENGTH, -1, true],
      [LENGTH, -1, true],
    ],
  );
  ahead.destroy();
});

test('runs of an origin without ranges that wait for readers give way to the one that these readers wait for', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  const without = { chunked: true, ignoreRange: true };
  origin.misbehave('/a', { ...without, pauseAfterBytes: 8 * SLICE + 100 }, 1);
  origin.misbehave('/a', { ...without, pauseAfterBytes: SLICE + 100 }, 1);
  origin.misbehave('/a', without);
  // Two runs hold the two connections; the third is for a reader whose first slice is behind both.
  await using edge = await startEdge({ origin, makeStore, set: { 'upstream.connections': '2' } });
  const pending = [edge.get('/a', {}, { expect: body })];
  await origin.waitForHeld('/a', 1);
  pending.push(edge.get('/a', {}, { expect: body }));
  await origin.waitForHeld('/a', 2);
  pending.push(edge.get('/a', {}, { expect: body }));
  await eventually(() => edge.services.load.requests === 3, { what: 'the third reader' });
  origin.release('/a');
  assert.deepEqual(
    (await Promise.all(pending)).map(({ bodyBytes, wrongAt, isComplete }) => [bodyBytes, wrongAt, isComplete]),
    Array.from({ length: 3 }, () => [LENGTH, -1, true]),
  );
});
