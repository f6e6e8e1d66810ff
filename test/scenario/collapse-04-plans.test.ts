/** Plans of hits and misses in any order: one request to the origin for each run of missing slices, and for no byte more. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB, MIB } from '../../src/base/units.ts';
import type { Arena } from '../../src/memory/arena.ts';
import { startEdge } from '../helpers/edge.ts';
import { MemoryStore } from '../helpers/memory-store.ts';
import { Origin } from '../helpers/origin.ts';

const SLICE = 64 * KIB;
const SLICES = 16;
const LENGTH = SLICES * SLICE - 1000;

/** `m` is missing. */
const PLANS = ['mhhhhhhhhhhhhhhh', 'hhhhhhhhhhhhhhhm', 'hmhmhmhmhmhmhmhm', 'hhmmmmhhhhmmhhmm', 'mmmmmmmmhmmmmmmm', 'mmmmmmmmmmmmmmmm'];

for (const plan of PLANS) {
  test(`partial hit ${plan}: one request for each run of missing slices (rows 16, 42)`, async () => {
    await using origin = await Origin.start();
    const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
    const stores: MemoryStore[] = [];
    const makeStore = async (arena: Arena): Promise<MemoryStore> => {
      const store = new MemoryStore(arena);
      stores.push(store);
      return store;
    };
    await using edge = await startEdge({ origin, makeStore });
    await edge.get('/a');
    await edge.settle();
    const runs: string[] = [];
    for (let slice = 0; slice < SLICES; slice += 1) {
      if (plan[slice] !== 'm') continue;
      stores[0]?.evict(1, slice);
      let end = slice;
      while (plan[end] === 'm') end += 1;
      if (plan[slice - 1] !== 'm') runs.push(`bytes=${slice * SLICE}-${Math.min(end * SLICE, LENGTH) - 1}`);
    }
    const before = origin.requests.length;
    const answer = await edge.get('/a', {}, { expect: body });
    assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes, answer.isComplete], [200, -1, LENGTH, true]);
    await edge.settle();
    assert.deepEqual(
      origin.requests.slice(before).map(({ headers }) => headers.range),
      runs,
    );
    const again = await edge.get('/a', {}, { expect: body });
    assert.deepEqual([again.wrongAt, again.headers['x-cache']], [-1, 'HIT']);
    assert.equal(origin.requests.length, before + runs.length);
  });
}

test('a run is cut at 64 MiB and its successor is asked for before it ends', async () => {
  await using origin = await Origin.start();
  const length = 130 * MIB;
  origin.setObject('/a', { body: Buffer.alloc(length, 7), cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin, set: { 'slice.size': '1MiB' }, arenaBytes: 32 * MIB });
  await edge.get('/a', { range: 'bytes=0-0' });
  await edge.settle();
  const answer = await edge.get('/a', {}, { onBytes: () => undefined });
  assert.deepEqual([answer.status, answer.bodyBytes, answer.isComplete], [200, length, true]);
  assert.deepEqual(
    origin.requestsFor('/a').map(({ headers }) => headers.range),
    [`bytes=0-${MIB - 1}`, `bytes=${MIB}-${65 * MIB - 1}`, `bytes=${65 * MIB}-${129 * MIB - 1}`, `bytes=${129 * MIB}-${130 * MIB - 1}`],
  );
});
