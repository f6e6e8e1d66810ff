/** Several ranges of an object whose origin stops to answer ranges while the response is made (rows 9, 15). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB } from '../../src/base/units.ts';
import { bodyBytes } from '../helpers/body.ts';
import type { ClientResponse } from '../helpers/client.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { MemoryStore } from '../helpers/memory-store.ts';
import { parseMultipart } from '../helpers/multipart-parser.ts';
import { Origin } from '../helpers/origin.ts';

const SLICE = 64 * KIB;
const LENGTH = 40 * SLICE;

async function startDeclining(origin: Origin, set: Record<string, string> = {}): Promise<TestEdge> {
  return startEdge({
    origin,
    set,
    makeStore: async (arena) => {
      const store = new MemoryStore(arena);
      store.declinesSlices = true;
      return store;
    },
  });
}

/** An object that is known with a strong tag and ranges, whose origin answers everything with all of it from now on. */
async function startKnown(set: Record<string, string> = {}): Promise<{ origin: Origin; edge: TestEdge }> {
  const origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  const edge = await startDeclining(origin, set);
  assert.equal((await edge.get('/a', { range: 'bytes=0-9' })).status, 206);
  await edge.settle();
  origin.misbehave('/a', { ignoreRange: true });
  return { origin, edge };
}

function range(start: number, lengthBytes: number): string {
  return `${start}-${start + lengthBytes - 1}`;
}

function checkParts(answer: ClientResponse, ranges: readonly string[]): void {
  assert.deepEqual([answer.status, answer.isComplete], [206, true]);
  const parts = parseMultipart(answer.headers['content-type'], answer.body);
  assert.deepEqual(
    parts.map(({ start, end }) => `${start}-${end - 1}`),
    ranges,
  );
  for (const { start, end, bytes } of parts)
    assert.ok(bytes.equals(bodyBytes({ name: '/a', version: 1 }, start, end - start)), `at ${start}`);
}

test('parts in falling order do not wait for each other when one response must bring them all', async () => {
  const { origin, edge } = await startKnown();
  await using _ = edge;
  await using __ = origin;
  const ranges = [range(30 * SLICE, 100), range(2 * SLICE, 12 * SLICE), range(17 * SLICE, 10 * SLICE)];
  checkParts(await edge.get('/a', { range: `bytes=${ranges.join()}` }), ranges);
});

test('what is asked for as it is, past the cache, is taken out of the whole when that is all that comes', async () => {
  const { origin, edge } = await startKnown({ 'limits.rangeSurplus': '64KiB' });
  await using _ = edge;
  await using __ = origin;
  const ranges = [range(30 * SLICE, 100), range(2 * SLICE + 9, 100), range(17 * SLICE, 100)];
  checkParts(await edge.get('/a', { range: `bytes=${ranges.join()}` }), ranges);
});
