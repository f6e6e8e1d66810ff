/** A stale object of which something is missing: one request confirms what is kept and brings the rest. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB } from '../../src/base/units.ts';
import { startEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import type { ObjectDefinition } from '../helpers/origin-script.ts';

const PATH = '/object';
const SLICE = 64 * KIB;
const LENGTH = 4 * SLICE;
const STALE: ObjectDefinition = { lengthBytes: LENGTH, cacheControl: 'max-age=0' };

/** An edge that has slice 1 of a stale object of four. */
async function setUp(definition: ObjectDefinition = STALE) {
  const origin = await Origin.start();
  origin.setObject(PATH, definition);
  const edge = await startEdge({ origin });
  await edge.get(PATH, { Range: `bytes=${SLICE}-${2 * SLICE - 1}` });
  await edge.settle();
  origin.requests.length = 0;
  return {
    origin,
    edge,
    async [Symbol.asyncDispose](): Promise<void> {
      await edge[Symbol.asyncDispose]();
      await origin[Symbol.asyncDispose]();
    },
  };
}

/** Range, If-Range and If-None-Match of each request, and its answer. */
function requestsOf(origin: Origin): (readonly [string | undefined, boolean, boolean, number | undefined])[] {
  return origin.requests.map(({ headers, status }) => [
    headers.range,
    headers['if-range'] !== undefined,
    headers['if-none-match'] !== undefined,
    status,
  ]);
}

test('row 58 (RFC 9111 s3.4, s4.3.1): a range behind what is kept is asked for, and confirms it', async () => {
  await using world = await setUp();
  const { origin, edge } = world;
  const start = SLICE + 100;
  const answer = await edge.get(PATH, { Range: `bytes=${start}-` }, { expect: { ...origin.identity(PATH), start } });
  assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes], [206, -1, LENGTH - start]);
  assert.deepEqual(requestsOf(origin), [[`bytes=${2 * SLICE}-`, false, false, 206]]);
});

test('row 58: what is missing at the beginning is asked for with If-Range', async () => {
  await using world = await setUp();
  const { origin, edge } = world;
  const end = SLICE + 100;
  const answer = await edge.get(PATH, { Range: `bytes=0-${end - 1}` }, { expect: origin.identity(PATH) });
  assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes], [206, -1, end]);
  assert.deepEqual(requestsOf(origin), [[`bytes=0-${SLICE - 1}`, true, false, 206]]);
});

test('row 58: the whole of a stale part of five bytes is confirmed and completed by one bytes=5-', async () => {
  await using origin = await Origin.start();
  origin.setObject(PATH, { body: Buffer.from('0123456789'), cacheControl: 'max-age=0' });
  origin.misbehave(PATH, { interval: { start: 0, end: 5 } }, 1);
  await using edge = await startEdge({ origin });
  await edge.get(PATH, { Range: 'bytes=0-4' });
  await edge.settle();
  const whole = await edge.get(PATH);
  assert.deepEqual([whole.status, whole.body.toString()], [200, '0123456789']);
  assert.deepEqual(requestsOf(origin).slice(1), [['bytes=5-', true, false, 206]]);
});

test('row 58, 23 (RFC 9110 s13.1.5): an object that has changed answers with all of itself, at once', async () => {
  await using world = await setUp();
  const { origin, edge } = world;
  origin.setObject(PATH, { ...STALE, version: 2 });
  const answer = await edge.get(PATH, {}, { expect: origin.identity(PATH) });
  assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes], [200, -1, LENGTH]);
  assert.deepEqual(requestsOf(origin), [[`bytes=0-${SLICE - 1}`, true, false, 200]]);
});

test('row 58, 48: a part of another version is the beginning of that version; nothing is joined', async () => {
  await using world = await setUp();
  const { origin, edge } = world;
  origin.setObject(PATH, { ...STALE, version: 2 });
  const start = SLICE + 100;
  const answer = await edge.get(PATH, { Range: `bytes=${start}-` }, { expect: { ...origin.identity(PATH), start } });
  assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes], [206, -1, LENGTH - start]);
});

test('row 58, 7: an object that has become shorter than what is missing is asked for anew, as the client wants it', async () => {
  await using world = await setUp();
  const { origin, edge } = world;
  origin.setObject(PATH, { ...STALE, version: 2, lengthBytes: SLICE + 200 });
  const start = SLICE + 100;
  const answer = await edge.get(PATH, { Range: `bytes=${start}-` }, { expect: { ...origin.identity(PATH), start } });
  assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes], [206, -1, 100]);
});

test('row 22 (RFC 9111 s3.2, s4.3.4): what is all kept is confirmed by a 304, once for all of its parts, which keep their bytes', async () => {
  await using world = await setUp({ ...STALE, contentType: 'text/plain' });
  const { origin, edge } = world;
  origin.setObject(PATH, { ...STALE, cacheControl: 'max-age=60', contentType: 'text/changed', headers: { 'X-New': 'yes' } });
  const range = (start: number, end: number) =>
    edge.get(PATH, { Range: `bytes=${start}-${end - 1}` }, { expect: { ...origin.identity(PATH), start } });
  const first = await range(SLICE, SLICE + 10);
  assert.deepEqual([first.status, first.wrongAt, first.headers['x-cache']], [206, -1, 'REVALIDATED']);
  assert.deepEqual([first.headers['content-type'], first.headers['x-new']], ['text/plain', 'yes']);
  const second = await range(SLICE + 20, SLICE + 30);
  assert.deepEqual([second.status, second.wrongAt, second.headers['x-cache']], [206, -1, 'HIT']);
  assert.deepEqual(
    requestsOf(origin).map(([, , hasCondition, status]) => [hasCondition, status]),
    [[true, 304]],
  );
});
