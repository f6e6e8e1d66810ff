/** What ranges may cost: nobody gets more bytes than the object has, and the origin is not made to send much more than clients get (row 11). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB, MIB } from '../../src/base/units.ts';
import { bodyBytes } from '../helpers/body.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { parseMultipart } from '../helpers/multipart-parser.ts';
import { Origin } from '../helpers/origin.ts';

const SLICE = 64 * KIB;
const LENGTH = 64 * MIB;
const PATH = '/large.iso';

async function start(set: Record<string, string>): Promise<{ origin: Origin; edge: TestEdge }> {
  const origin = await Origin.start();
  origin.setObject(PATH, { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  return { origin, edge: await startEdge({ origin, set }) };
}

function limits(edge: TestEdge, ...names: ('count' | 'overlap' | 'length' | 'order' | 'request' | 'client' | 'clients')[]): number[] {
  return names.map((name) => edge.services.metrics.value('rangeLimits', name));
}

/** One byte in each of so many slices, two slices apart. */
function scattered(count: number): string {
  return Array.from({ length: count }, (_unused, index) => `${(2 * index + 1) * SLICE + 77}-${(2 * index + 1) * SLICE + 77}`).join();
}

async function getParts(edge: TestEdge, origin: Origin, range: string): Promise<number> {
  const answer = await edge.get(PATH, { range: `bytes=${range}` });
  assert.deepEqual([answer.status, answer.isComplete], [206, true]);
  const parts = parseMultipart(answer.headers['content-type'], answer.body);
  for (const part of parts) assert.ok(part.bytes.equals(bodyBytes(origin.identity(PATH), part.start, part.end - part.start)));
  await edge.settle();
  return parts.length;
}

test('row 11 (RFC 9110 s17.15): scattered bytes fill slices up to limits.rangeSurplus, and are fetched as asked beyond it', async () => {
  const { origin, edge } = await start({ 'limits.rangeSurplus': '640KiB' });
  await using _ = edge;
  await using __ = origin;
  await edge.get(PATH, { range: 'bytes=0-0' });
  await edge.settle();
  origin.forgetRequests();
  // Ten slices but ten bytes: within.
  assert.equal(await getParts(edge, origin, scattered(10)), 10);
  assert.deepEqual([origin.bytesSent(PATH), ...limits(edge, 'request')], [10 * SLICE, 0]);
  origin.forgetRequests();
  // The same again and thirty more.
  assert.equal(await getParts(edge, origin, scattered(40)), 40);
  assert.deepEqual([origin.bytesSent(PATH), origin.requests.length, ...limits(edge, 'request')], [30, 30, 1]);
  // They are in no slice; the ten still are.
  origin.forgetRequests();
  assert.equal(await getParts(edge, origin, scattered(10)), 10);
  assert.equal(origin.requests.length, 0);
});

test('row 11: a cold object: the first fill is one slice, whatever else is asked for', async () => {
  const { origin, edge } = await start({ 'limits.rangeSurplus': '640KiB' });
  await using _ = edge;
  await using __ = origin;
  assert.equal(await getParts(edge, origin, scattered(200)), 200);
  assert.equal(origin.requests.length, 200);
  assert.ok(origin.bytesSent(PATH) <= SLICE + 200, `${origin.bytesSent(PATH)} bytes`);
});

test('row 11: what is wanted whole is no surplus, however much it is', async () => {
  const { origin, edge } = await start({ 'limits.rangeSurplus': '64KiB', 'limits.clientSurplus': '64KiB' });
  await using _ = edge;
  await using __ = origin;
  for (let turn = 0; turn < 3; turn += 1) {
    const from = turn * 80 * SLICE;
    const range = `${from}-${from + 20 * SLICE - 1},${from + 40 * SLICE}-${from + 60 * SLICE - 1}`;
    assert.equal(await getParts(edge, origin, range), 2);
    assert.equal(await getParts(edge, origin, range), 2);
  }
  assert.equal(origin.bytesSent(PATH), 120 * SLICE);
  assert.deepEqual(limits(edge, 'request', 'client'), [0, 0]);
});

test('row 11 (RFC 9110 s17.15): past limits.clientSurplus ranges for what is not stored go to the origin as they are', async () => {
  const { origin, edge } = await start({ 'limits.clientSurplus': '1MiB' });
  await using _ = edge;
  await using __ = origin;
  // A byte of another object each time, as an attacker who wants the origin busy would.
  const ask = async (number: number): Promise<number> => {
    const path = `/o${number}`;
    const body = origin.setObject(path, { lengthBytes: 10 * SLICE, cacheControl: 'max-age=60' });
    const answer = await edge.get(path, { range: 'bytes=5-5' }, { expect: { ...body, start: 5 } });
    assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes], [206, -1, 1]);
    await edge.settle();
    return origin.bytesSent(path);
  };
  const costs: number[] = [];
  for (let number = 0; number < 40; number += 1) costs.push(await ask(number));
  const filled = costs.filter((cost) => cost === SLICE).length;
  assert.ok(filled >= 16 && filled < 40, `${filled} slices were filled`);
  assert.ok(
    costs.every((cost) => cost === SLICE || cost === 1),
    String(costs),
  );
  assert.equal(costs.at(-1), 1);
  assert.equal(limits(edge, 'client')[0], 40 - filled);
  // What is stored is served as ever, and so is a whole object.
  origin.forgetRequests();
  const hit = await edge.get('/o0', { range: 'bytes=7-9' }, { expect: { ...origin.identity('/o0'), start: 7 } });
  assert.deepEqual([hit.status, hit.wrongAt, hit.headers['x-cache'], origin.requests.length], [206, -1, 'HIT', 0]);
  const miss = await edge.get('/o39', {}, { expect: origin.identity('/o39') });
  assert.deepEqual([miss.status, miss.wrongAt, miss.headers['x-cache']], [200, -1, 'MISS']);
  await edge.settle();
  assert.equal((await edge.get('/o39', { range: 'bytes=7-9' })).headers['x-cache'], 'HIT');
  // An object that is there in part: its missing slices are no reason to fetch them whole either.
  origin.forgetRequests();
  const part = await edge.get('/o1', { range: `bytes=${5 * SLICE}-${5 * SLICE}` });
  assert.deepEqual([part.status, part.bodyBytes, part.headers['x-cache'], origin.bytesSent('/o1')], [206, 1, 'BYPASS', 1]);
  assert.match(part.headers['cache-status'] ?? '', /detail=ranges/);
});

test('row 11: only-if-cached is not passed through when the surplus is used up', async () => {
  const { origin, edge } = await start({ 'limits.clientSurplus': '64KiB' });
  await using _ = edge;
  await using __ = origin;
  await edge.get(PATH, { range: 'bytes=5-5' });
  await edge.get(PATH, { range: `bytes=${20 * SLICE}-${20 * SLICE}` });
  await edge.settle();
  origin.forgetRequests();
  const range = { range: 'bytes=5-5', 'cache-control': 'only-if-cached' };
  assert.equal((await edge.get('/other', range)).status, 504);
  assert.equal((await edge.get(PATH, range)).status, 206);
  assert.equal(origin.requests.length, 0);
});

test('row 11: an origin without ranges: what comes before a range counts for the client', async () => {
  const { origin, edge } = await start({ 'limits.clientSurplus': '1MiB' });
  await using _ = edge;
  await using __ = origin;
  origin.misbehave(PATH, { ignoreRange: true, validators: 'none' });
  const far = await edge.get(
    PATH,
    { range: `bytes=${20 * SLICE}-${20 * SLICE + 9}` },
    { expect: { ...origin.identity(PATH), start: 20 * SLICE } },
  );
  assert.deepEqual([far.status, far.wrongAt], [206, -1]);
  await edge.settle();
  assert.equal((await edge.get('/other', { range: 'bytes=0-0' })).headers['x-cache'], 'BYPASS');
  assert.equal(limits(edge, 'client')[0], 1);
});

test('row 11 (RFC 9110 s14.2): the longest list that is taken, in reverse, and with a byte of each', async () => {
  const { origin, edge } = await start({ 'limits.headerBytes': '64KiB' });
  await using _ = edge;
  await using __ = origin;
  const reverse = scattered(256).split(',').reverse().join();
  assert.equal(await getParts(edge, origin, reverse), 256);
  assert.ok(origin.bytesSent(PATH) <= 256 * SLICE);
  const more = await edge.get(PATH, { range: `bytes=${scattered(257)}` }, { abortAfterBytes: 1 });
  assert.equal(more.status, 200);
  assert.deepEqual(limits(edge, 'count'), [1]);
});
