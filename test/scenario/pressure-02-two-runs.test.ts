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

test('a run that brings the beginning again does not wait for the slices that the run ahead of it has retained', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  const without = { chunked: true, ignoreRange: true };
  origin.misbehave('/a', { ...without, pauseAfterBytes: 8 * SLICE + 100 }, 1);
  origin.misbehave('/a', { ...without, pauseAfterBytes: SLICE + 100 }, 1);
  origin.misbehave('/a', without);
  const makeStore = async (...[arena]: ConstructorParameters<typeof MemoryStore>): Promise<MemoryStore> => {
    const store = new MemoryStore(arena);
    store.declinesSlices = true;
    return store;
  };
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
