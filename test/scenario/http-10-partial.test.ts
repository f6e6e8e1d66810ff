/** Parts of objects, as origins send them: kept at any size and place, read where they are, and completed by asking for what is missing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB } from '../../src/base/units.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import type { Misbehaviour, ObjectDefinition } from '../helpers/origin-script.ts';

const PATH = '/ten';
const TEN: ObjectDefinition = { body: Buffer.from('0123456789'), cacheControl: 'max-age=60' };
const FIRST_FIVE: Misbehaviour = { interval: { start: 0, end: 5 } };

async function setUp(definition: ObjectDefinition = TEN) {
  const origin = await Origin.start();
  origin.setObject(PATH, definition);
  const edge = await startEdge({ origin });
  return {
    origin,
    edge,
    async [Symbol.asyncDispose](): Promise<void> {
      await edge[Symbol.asyncDispose]();
      await origin[Symbol.asyncDispose]();
    },
  };
}

function rangesOf(origin: Origin): (string | undefined)[] {
  return origin.requestsFor(PATH).map((request) => request.headers.range);
}

/** Status, body and X-Cache. */
async function ask(edge: TestEdge, range?: string): Promise<readonly [status: number, body: string, cache: string | undefined]> {
  const answer = await edge.get(PATH, range === undefined ? {} : { Range: range });
  assert.equal(answer.isComplete, true);
  return [answer.status, answer.body.toString(), answer.headers['x-cache']];
}

test('row 14 (RFC 9110 s15.3.7.2, RFC 9111 s3.4): a 206 of five bytes is kept, read from the cache, and completed by bytes=5-', async () => {
  await using world = await setUp();
  const { origin, edge } = world;
  origin.misbehave(PATH, FIRST_FIVE, 1);
  assert.deepEqual(await ask(edge, 'bytes=0-4'), [206, '01234', 'MISS']);
  await edge.settle();
  assert.deepEqual(await ask(edge, 'bytes=2-3'), [206, '23', 'HIT']);
  assert.deepEqual(await ask(edge, 'bytes=-10'), [206, '0123456789', 'MISS']);
  assert.deepEqual(rangesOf(origin), ['bytes=0-65535', 'bytes=5-']);
  await edge.settle();
  assert.deepEqual(await ask(edge), [200, '0123456789', 'HIT']);
  assert.equal(origin.requestsFor(PATH).length, 2);
});

test('row 14: the whole after its first five bytes is 200, and only the rest is asked for', async () => {
  await using world = await setUp();
  const { origin, edge } = world;
  origin.misbehave(PATH, FIRST_FIVE, 1);
  await ask(edge, 'bytes=0-4');
  await edge.settle();
  assert.deepEqual((await ask(edge)).slice(0, 2), [200, '0123456789']);
  assert.deepEqual(rangesOf(origin), ['bytes=0-65535', 'bytes=5-']);
});

test('row 14: a 206 of nothing that was asked for is kept, and what was asked for is asked for again', async () => {
  await using world = await setUp();
  const { origin, edge } = world;
  origin.misbehave(PATH, FIRST_FIVE, 1);
  assert.deepEqual((await ask(edge, 'bytes=6-7')).slice(0, 2), [206, '67']);
  assert.deepEqual(rangesOf(origin), ['bytes=0-65535', 'bytes=5-']);
});

test('row 14: bytes before and behind a part in the middle are asked for, each alone', async () => {
  await using world = await setUp();
  const { origin, edge } = world;
  origin.misbehave(PATH, { interval: { start: 4, end: 6 } }, 1);
  assert.deepEqual((await ask(edge, 'bytes=4-5')).slice(0, 2), [206, '45']);
  await edge.settle();
  assert.deepEqual((await ask(edge)).slice(0, 2), [200, '0123456789']);
  assert.deepEqual(rangesOf(origin), ['bytes=0-65535', 'bytes=0-3', 'bytes=6-']);
});

test('row 14: a 206 of everything is the whole object', async () => {
  await using world = await setUp();
  const { origin, edge } = world;
  origin.misbehave(PATH, { interval: { start: 0, end: 10 } }, 1);
  assert.deepEqual((await ask(edge, 'bytes=3-4')).slice(0, 2), [206, '34']);
  await edge.settle();
  assert.deepEqual(await ask(edge), [200, '0123456789', 'HIT']);
  assert.equal(origin.requestsFor(PATH).length, 1);
});

test('row 14 (RFC 9110 s15.3.7): a 206 to a plain GET is the part that it says it is', async () => {
  await using world = await setUp();
  const { origin, edge } = world;
  origin.misbehave(PATH, FIRST_FIVE, 1);
  assert.deepEqual((await ask(edge)).slice(0, 2), [200, '0123456789']);
  assert.deepEqual(rangesOf(origin), [undefined, 'bytes=5-']);
});

test('row 14, 16: a 206 to a plain GET without a strong validator is an error, not half an object', async () => {
  await using world = await setUp({ ...TEN, etag: 'weak' });
  const { origin, edge } = world;
  origin.misbehave(PATH, FIRST_FIVE, 1);
  const answer = await edge.get(PATH);
  assert.deepEqual([answer.status, answer.isComplete], [502, true]);
  assert.deepEqual((await ask(edge)).slice(0, 2), [200, '0123456789']);
});

for (const etag of ['weak', 'none'] as const) {
  test(`row 16, 17 (RFC 9111 s3.4): a part under ${etag === 'weak' ? 'a weak tag' : 'no validator'} is read, and never joined with another`, async () => {
    await using world = await setUp({ ...TEN, etag, lastModified: 'none' });
    const { origin, edge } = world;
    origin.misbehave(PATH, FIRST_FIVE, 1);
    assert.deepEqual((await ask(edge, 'bytes=0-4')).slice(0, 2), [206, '01234']);
    await edge.settle();
    assert.deepEqual(await ask(edge, 'bytes=1-3'), [206, '123', 'HIT']);
    assert.deepEqual((await ask(edge)).slice(0, 2), [200, '0123456789']);
    assert.deepEqual(rangesOf(origin), ['bytes=0-65535', undefined]);
  });
}

test('row 16: a part without a strong validator that leaves out what was asked for is not used', async () => {
  await using world = await setUp({ ...TEN, etag: 'weak' });
  const { origin, edge } = world;
  origin.misbehave(PATH, FIRST_FIVE, 1);
  assert.deepEqual((await ask(edge, 'bytes=3-7')).slice(0, 2), [206, '34567']);
  assert.deepEqual(rangesOf(origin), ['bytes=0-65535', undefined]);
});

/** Strong from a second on (row 18). */
const MODIFIED = new Date(Date.now() - 86_400_000).toUTCString();

test('row 18 (RFC 9110 s8.8.2.2): under Last-Modified a second or more before Date parts are joined', async () => {
  await using world = await setUp({ ...TEN, etag: 'none', lastModified: MODIFIED });
  const { origin, edge } = world;
  origin.misbehave(PATH, FIRST_FIVE, 1);
  await ask(edge, 'bytes=0-4');
  await edge.settle();
  assert.deepEqual((await ask(edge)).slice(0, 2), [200, '0123456789']);
  assert.deepEqual(rangesOf(origin), ['bytes=0-65535', 'bytes=5-']);
});

test('row 18: under Last-Modified in the second of Date they are not', async () => {
  await using world = await setUp({ ...TEN, etag: 'none', lastModified: MODIFIED });
  const { origin, edge } = world;
  const date = { replaceHeaders: { Date: MODIFIED } };
  origin.misbehave(PATH, { ...FIRST_FIVE, ...date }, 1);
  origin.misbehave(PATH, date, 9);
  await ask(edge, 'bytes=0-4');
  await edge.settle();
  assert.deepEqual((await ask(edge)).slice(0, 2), [200, '0123456789']);
  assert.ok(!rangesOf(origin).includes('bytes=5-'));
});

test('row 48 (RFC 9111 s3.4): the rest of another version is not joined; the next request heals', async () => {
  await using world = await setUp();
  const { origin, edge } = world;
  origin.misbehave(PATH, FIRST_FIVE, 1);
  await ask(edge, 'bytes=0-4');
  await edge.settle();
  origin.setObject(PATH, { ...TEN, version: 2, body: Buffer.from('abcdefghij') });
  const answer = await edge.get(PATH);
  assert.ok(!answer.isComplete || answer.body.toString() === 'abcdefghij', answer.body.toString());
  assert.deepEqual((await ask(edge)).slice(0, 2), [200, 'abcdefghij']);
});

test('row 14: an origin that caps its answers is asked as often as it takes, and never for what it has sent', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/capped', { lengthBytes: 300 * KIB, cacheControl: 'max-age=60' });
  origin.misbehave('/capped', { interval: (asked) => asked && { start: asked.start, end: Math.min(asked.end, asked.start + 10_000) } }, 99);
  await using edge = await startEdge({ origin });
  const answer = await edge.get('/capped', { Range: 'bytes=1000-' }, { expect: { ...body, start: 1000 } });
  assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes], [206, -1, 300 * KIB - 1000]);
  const sent = origin.requestsFor('/capped').reduce((sum, { bodyBytesSent }) => sum + bodyBytesSent, 0);
  assert.equal(sent, 300 * KIB);
});

test('row 14: an origin that sends a byte at a time is asked for everything in the end', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/drop', { lengthBytes: 1000, cacheControl: 'max-age=60' });
  origin.misbehave('/drop', { interval: (asked) => asked && { start: asked.start, end: asked.start + 1 } }, 999);
  await using edge = await startEdge({ origin });
  const answer = await edge.get('/drop', { Range: 'bytes=10-' }, { expect: { ...body, start: 10 } });
  assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes], [206, -1, 990]);
  const requests = origin.requestsFor('/drop');
  assert.ok(requests.length < 80, String(requests.length));
  assert.equal(requests.at(-1)?.headers.range, undefined);
});

for (const [what, misbehaviour] of [
  ['another length than its Content-Range', { partLengthDeltaBytes: -1 }],
  ['no Content-Range', { contentRange: 'missing' }],
  ['a Content-Range that nobody can read', { contentRange: 'garbage' }],
  ['several parts', { multipart: true }],
  ['no total', { contentRange: 'unknown-total' }],
] satisfies [string, Misbehaviour][]) {
  test(`row 13, 14 (RFC 9110 s14.4): of a 206 with ${what} nothing is believed; the whole object is asked for`, async () => {
    await using world = await setUp();
    const { origin, edge } = world;
    origin.misbehave(PATH, misbehaviour, 1);
    assert.deepEqual((await ask(edge, 'bytes=5-6')).slice(0, 2), [206, '56']);
    assert.deepEqual(rangesOf(origin), ['bytes=0-65535', undefined]);
  });
}

test('row 13 (RFC 9110 s14.4): the rest may come without a total, since the length is known', async () => {
  await using world = await setUp();
  const { origin, edge } = world;
  origin.misbehave(PATH, FIRST_FIVE, 1);
  origin.misbehave(PATH, { contentRange: 'unknown-total' }, 1);
  await ask(edge, 'bytes=0-4');
  await edge.settle();
  assert.deepEqual((await ask(edge)).slice(0, 2), [200, '0123456789']);
  assert.deepEqual(rangesOf(origin), ['bytes=0-65535', 'bytes=5-']);
});

test('row 14 (RFC 9110 s14.4): Content-Range on a 200 means nothing', async () => {
  await using world = await setUp();
  const { origin, edge } = world;
  origin.misbehave(PATH, { ignoreRange: true, headers: { 'Content-Range': 'bytes 0-4/10' } }, 1);
  const answer = await edge.get(PATH);
  assert.deepEqual([answer.status, answer.body.toString(), answer.headers['content-range']], [200, '0123456789', undefined]);
});

test('row 15 (RFC 9110 s14.2): from a 200 to a range the client gets its bytes, and the cache all of them', async () => {
  await using world = await setUp();
  const { origin, edge } = world;
  origin.misbehave(PATH, { ignoreRange: true }, 9);
  assert.deepEqual((await ask(edge, 'bytes=7-8')).slice(0, 2), [206, '78']);
  await edge.settle();
  assert.deepEqual(await ask(edge), [200, '0123456789', 'HIT']);
  assert.equal(origin.requestsFor(PATH).length, 1);
});

test('row 15: a client deep inside begins as soon as its bytes have passed, while the rest has yet to come', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/big', { lengthBytes: 1024 * KIB, cacheControl: 'max-age=60' });
  origin.misbehave('/big', { ignoreRange: true, pauseAfterBytes: 700 * KIB }, 1);
  await using edge = await startEdge({ origin });
  const start = 600 * KIB;
  const answer = await edge.get('/big', { Range: `bytes=${start}-${start + 999}` }, { expect: { ...body, start } });
  assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes], [206, -1, 1000]);
  origin.release('/big');
});

test('row 7 (RFC 9110 s15.5.17): a 416 is for the range that was refused and says nothing of others', async () => {
  await using world = await setUp();
  const { origin, edge } = world;
  const refused = await edge.get(PATH, { Range: 'bytes=100000-' });
  assert.deepEqual([refused.status, refused.headers['content-range']], [416, 'bytes */10']);
  assert.deepEqual((await ask(edge, 'bytes=2-3')).slice(0, 2), [206, '23']);
  assert.equal(rangesOf(origin).length, 2);
});

test('row 7: a 416 that tells another length ends what is stored; the next request gets the object as it is now', async () => {
  await using origin = await Origin.start();
  const LONG = 200 * KIB;
  origin.setObject(PATH, { lengthBytes: LONG, cacheControl: 'max-age=0' });
  await using edge = await startEdge({ origin });
  assert.equal((await edge.get(PATH)).bodyBytes, LONG);
  await edge.settle();
  origin.setObject(PATH, { ...TEN, version: 2 });
  const refused = await edge.get(PATH, { Range: `bytes=${LONG - 10}-` });
  assert.deepEqual([refused.status, refused.headers['content-range']], [416, 'bytes */10']);
  assert.equal((await edge.get(PATH, { 'Cache-Control': 'only-if-cached, max-stale' })).status, 504);
  assert.deepEqual((await ask(edge)).slice(0, 2), [200, '0123456789']);
});
