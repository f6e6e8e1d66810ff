/** Bodies whose length is not told: chunked, or ended by closing, also from origins of HTTP/1.0. Complete only after a clean end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB } from '../../src/base/units.ts';
import { startEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import type { Misbehaviour, ObjectDefinition } from '../helpers/origin-script.ts';

const PATH = '/growing';
const LENGTH = 200 * KIB + 7;
const FRESH: ObjectDefinition = { lengthBytes: LENGTH, cacheControl: 'max-age=60' };

const FRAMINGS: readonly (readonly [string, Misbehaviour])[] = [
  ['chunked (row 27, RFC 9112 s7.1)', { chunked: 5000 }],
  ['ended by closing, as by HTTP/1.0 (row 56, RFC 9112 s6.3)', { closeDelimited: true }],
];

for (const [what, framing] of FRAMINGS) {
  test(`a body ${what}: streamed as 200; when it has ended its length is known and ranges are hits`, async () => {
    await using origin = await Origin.start();
    const body = origin.setObject(PATH, FRESH);
    origin.misbehave(PATH, framing, 1);
    await using edge = await startEdge({ origin });
    const first = await edge.get(PATH, {}, { expect: body });
    assert.deepEqual([first.status, first.wrongAt, first.bodyBytes, first.isComplete], [200, -1, LENGTH, true]);
    assert.equal(first.headers['content-length'], undefined);
    await edge.settle();
    const start = LENGTH - 100;
    const tail = await edge.get(PATH, { Range: 'bytes=-100' }, { expect: { ...body, start } });
    assert.deepEqual([tail.status, tail.wrongAt, tail.headers['x-cache']], [206, -1, 'HIT']);
    assert.equal(tail.headers['content-range'], `bytes ${start}-${LENGTH - 1}/${LENGTH}`);
    const whole = await edge.get(PATH, {}, { expect: body });
    assert.deepEqual([whole.headers['content-length'], whole.wrongAt, whole.headers['x-cache']], [String(LENGTH), -1, 'HIT']);
    assert.equal(origin.requests.length, 1);
  });

  test(`a body ${what}: while it grows a range is answered with 200 and all of it, by the same transfer`, async () => {
    await using origin = await Origin.start();
    const body = origin.setObject(PATH, FRESH);
    origin.misbehave(PATH, { ...framing, pauseAfterBytes: 100 * KIB }, 1);
    await using edge = await startEdge({ origin });
    let began: () => void = () => undefined;
    const hasBegun = new Promise<void>((resolve) => {
      began = resolve;
    });
    const first = edge.get(PATH, {}, { expect: body, onHead: () => began() });
    await hasBegun;
    let joined: () => void = () => undefined;
    const hasJoined = new Promise<void>((resolve) => {
      joined = resolve;
    });
    const second = edge.get(PATH, { Range: 'bytes=10-19' }, { expect: body, onHead: () => joined() });
    await hasJoined;
    origin.release(PATH);
    for (const answer of [await first, await second]) {
      assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes, answer.isComplete], [200, -1, LENGTH, true]);
    }
    assert.equal(origin.requests.length, 1);
  });
}

test('row 26, 27 (RFC 9112 s8): a chunked body without its last chunk is cut visibly, and nothing of it is served again', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject(PATH, { ...FRESH, etag: 'none', lastModified: 'none' });
  origin.misbehave(PATH, { chunked: 5000, closeAfterBytes: 150 * KIB }, 1);
  await using edge = await startEdge({ origin });
  const cut = await edge.get(PATH);
  assert.equal(cut.isComplete, false);
  await edge.settle();
  const again = await edge.get(PATH, {}, { expect: body });
  assert.deepEqual([again.wrongAt, again.bodyBytes, again.isComplete, again.headers['x-cache']], [-1, LENGTH, true, 'MISS']);
});

test('row 26, 56 (RFC 9112 s8): a body that a reset cuts short has not ended, although nothing told its length', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject(PATH, { ...FRESH, etag: 'none', lastModified: 'none' });
  origin.misbehave(PATH, { closeDelimited: true, resetAfterBytes: 150 * KIB }, 1);
  await using edge = await startEdge({ origin });
  const cut = await edge.get(PATH);
  assert.equal(cut.isComplete, false);
  await edge.settle();
  const again = await edge.get(PATH, {}, { expect: body });
  assert.deepEqual([again.wrongAt, again.bodyBytes, again.isComplete], [-1, LENGTH, true]);
});

test('row 28 (RFC 9112 s6.3): a body shorter than its Content-Length is no whole; under a strong validator it is completed unnoticed', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject(PATH, FRESH);
  origin.misbehave(PATH, { replaceHeaders: { 'Content-Length': String(LENGTH) }, closeAfterBytes: 70_000 }, 1);
  await using edge = await startEdge({ origin });
  const answer = await edge.get(PATH, {}, { expect: body });
  assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes, answer.isComplete], [200, -1, LENGTH, true]);
  assert.equal(origin.requests[1]?.status, 206);
});

test('row 28 (RFC 9112 s6.3): bytes past Content-Length belong to nothing, and their connection is not used again', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject(PATH, FRESH);
  const other = origin.setObject('/other', FRESH);
  origin.misbehave(PATH, { extraBytes: 100 }, 1);
  await using edge = await startEdge({ origin });
  const answer = await edge.get(PATH, {}, { expect: body });
  assert.deepEqual([answer.wrongAt, answer.bodyBytes], [-1, LENGTH]);
  const next = await edge.get('/other', {}, { expect: other });
  assert.deepEqual([next.status, next.wrongAt, next.bodyBytes], [200, -1, LENGTH]);
  assert.notEqual(origin.requests[0]?.connection, origin.requests[1]?.connection);
});

test('row 56 (RFC 9112 s9.3): an HTTP/1.0 origin is asked on a connection for each request, and shown as such', async () => {
  await using origin = await Origin.start();
  origin.setObject(PATH, FRESH);
  origin.setObject('/other', FRESH);
  origin.misbehave('*', { closeDelimited: true, headers: { Connection: 'close' } }, 9);
  await using edge = await startEdge({ origin });
  for (const path of [PATH, '/other']) assert.equal((await edge.get(path, {}, { expect: origin.identity(path) })).wrongAt, -1);
  assert.notEqual(origin.requests[0]?.connection, origin.requests[1]?.connection);
  assert.equal(edge.abilities.list()[0]?.keepsAlive, false);
});
