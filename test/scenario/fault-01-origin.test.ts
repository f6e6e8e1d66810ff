/** What an origin can do wrong with one response: the client gets right bytes, a clear error, or a visibly broken response. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB, MIB } from '../../src/base/units.ts';
import { PLAIN_RULE } from '../../src/cache/site-rule.ts';
import { startEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import type { Misbehaviour } from '../helpers/origin-script.ts';

const LENGTH = MIB + 123;

test('502 with the reason when the origin refuses connections', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin });
  await origin.stop();
  const answer = await edge.get('/a');
  assert.equal(answer.status, 502);
  assert.match(answer.body.toString(), /cannot be reached \(ECONNREFUSED\); check upstream\.url/);
  assert.equal(answer.headers['cache-control'], 'no-store');
});

test('504 when the head does not come in time', async () => {
  await using origin = await Origin.start();
  origin.misbehave('/a', { holdHead: true });
  await using edge = await startEdge({ origin, set: { 'upstream.headTimeout': '100ms' } });
  const answer = await edge.get('/a');
  assert.equal(answer.status, 504);
  assert.match(answer.body.toString(), /did not answer in time/);
});

const HEADS: readonly [what: string, misbehaviour: Misbehaviour][] = [
  ['a reset before the head', { raw: '', rawThen: 'reset' }],
  ['a close before the head', { raw: '' }],
  ['a close within the head', { raw: 'HTTP/1.1 200 OK\r\nContent-Le' }],
  ['no HTTP', { raw: 'SSH-2.0-OpenSSH\r\n' }],
  ['a malformed head', { raw: 'HTTP/1.1 200 OK\r\nno colon\r\n\r\n' }],
  [
    'Content-Length beside Transfer-Encoding (row 28)',
    { raw: 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n' },
  ],
  ['two lengths (row 28)', { raw: 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello' }],
  ['a head of 200 KiB', { headBytes: 200 * KIB }],
];

for (const [what, misbehaviour] of HEADS) {
  test(`502 after ${what}, and the next request is served`, async () => {
    await using origin = await Origin.start();
    const body = origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=60' });
    origin.misbehave('/a', misbehaviour);
    await using edge = await startEdge({ origin });
    assert.equal((await edge.get('/a')).status, 502);
    origin.behave();
    assert.equal((await edge.get('/a', {}, { expect: body })).wrongAt, -1);
  });
}

/** Broken off in the middle, under a strong validator: seamless for the client. */
for (const [what, misbehaviour] of [
  ['reset', { resetAfterBytes: 300 * KIB }],
  ['closed', { closeAfterBytes: 300 * KIB }],
  ['closed at a slice boundary', { closeAfterBytes: 256 * KIB }],
  ['closed at once', { closeAfterBytes: 0 }],
  ['chunked and closed', { closeAfterBytes: 300 * KIB, chunked: true }],
  ['chunked, Connection: close and closed', { closeAfterBytes: 300 * KIB, chunked: true, connectionClose: true }],
] as const) {
  test(`a response that was ${what} is resumed by Range (row 26, RFC 9110 s14.2)`, async () => {
    await using origin = await Origin.start();
    const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
    origin.misbehave('/a', misbehaviour, 2);
    await using edge = await startEdge({ origin });
    const answer = await edge.get('/a', {}, { expect: body });
    assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes, answer.isComplete], [200, -1, LENGTH, true]);
    await edge.settle();
    // A reset throws away what was under way.
    const lost = 'resetAfterBytes' in misbehaviour ? 2 * misbehaviour.resetAfterBytes : 4 * 64 * KIB;
    assert.ok(origin.bytesSent('/a') <= LENGTH + lost, 'what came whole is not fetched again');
    assert.equal((await edge.get('/a', {}, { expect: body })).headers['x-cache'], 'HIT');
  });

  test(`a response that was ${what} and cannot be resumed never looks complete (S10, row 26, RFC 9112 s8)`, async () => {
    await using origin = await Origin.start();
    const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
    for (const validators of ['none', 'weak'] as const) {
      origin.behave();
      origin.misbehave('/a', { ...misbehaviour, validators });
      await using edge = await startEdge({ origin });
      const answer = await edge.get('/a', {}, { expect: body });
      if (answer.status === 200) assert.deepEqual([answer.wrongAt, answer.isComplete], [-1, false]);
      else assert.equal(answer.status, 502);
      origin.behave();
      const next = await edge.get('/a', {}, { expect: body });
      assert.deepEqual([next.status, next.wrongAt, next.bodyBytes, next.isComplete], [200, -1, LENGTH, true]);
    }
  });
}

test('an origin that breaks off again and again is given up', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { closeAfterBytes: 1000 });
  await using edge = await startEdge({ origin });
  const answers = await Promise.all(Array.from({ length: 10 }, () => edge.get('/a', {}, { expect: body })));
  for (const answer of answers) assert.deepEqual([answer.wrongAt, answer.isComplete], [-1, false]);
  assert.ok(origin.requests.length <= 10, `${origin.requests.length} requests`);
});

/** Heads that lie about their content: the client has its own bytes, whole or visibly not. */
const LIES: readonly [what: string, misbehaviour: Misbehaviour][] = [
  ['Content-Range missing (row 14)', { contentRange: 'missing' }],
  ['Content-Range of another start (row 14)', { contentRange: 'wrong-start' }],
  ['Content-Range of another end (row 14)', { contentRange: 'wrong-end' }],
  ['Content-Range that cannot be read (row 14)', { contentRange: 'garbage' }],
  ['Content-Range without a total (row 13)', { contentRange: 'unknown-total' }],
  ['Content-Length too long for the range', { partLengthDeltaBytes: 100 }],
  ['Content-Length too short for the range', { partLengthDeltaBytes: -100 }],
  ['multipart to one range (row 10)', { multipart: true }],
  ['200 to a range (row 15)', { ignoreRange: true }],
  ['200 to a range, chunked (row 15)', { ignoreRange: true, chunked: true }],
  ['200 to a range, without validators (rows 15, 16)', { ignoreRange: true, validators: 'none' }],
  ['chunked parts', { chunked: true }],
];

for (const [what, misbehaviour] of LIES) {
  for (const isWarm of [false, true]) {
    test(`a range of ${isWarm ? 'an object stored in part' : 'a cold object'} is right: ${what}`, async () => {
      await using origin = await Origin.start();
      const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
      await using edge = await startEdge({ origin });
      if (isWarm) await edge.get('/a', { range: 'bytes=0-9' });
      origin.misbehave('/a', misbehaviour);
      const start = 300_000;
      // While the length is not known there is no range to answer with (row 27).
      if (!isWarm && misbehaviour.ignoreRange && misbehaviour.chunked)
        assert.equal((await edge.get('/a', { range: 'bytes=1-2' })).status, 200);
      for (const _ of ['first', 'again']) {
        const answer = await edge.get('/a', { range: `bytes=${start}-${start + 99_999}` }, { expect: { ...body, start } });
        assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes, answer.isComplete], [206, -1, 100_000, true]);
        assert.equal(answer.headers['content-range'], `bytes ${start}-${start + 99_999}/${LENGTH}`);
      }
      await edge.settle();
      origin.behave();
      const whole = await edge.get('/a', {}, { expect: body });
      assert.deepEqual([whole.status, whole.wrongAt, whole.bodyBytes, whole.isComplete], [200, -1, LENGTH, true]);
    });
  }
}

test('a wrong total is never served as the length of anything whole (row 14)', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { contentRange: 'wrong-total' });
  await using edge = await startEdge({ origin });
  const part = await edge.get('/a', { range: 'bytes=0-99' }, { expect: body });
  assert.deepEqual([part.status, part.wrongAt], [206, -1]);
  const broken = await edge.get('/a', {}, { expect: body });
  assert.equal(broken.wrongAt, -1);
  if (broken.isComplete) assert.equal(broken.bodyBytes, LENGTH);
  const next = await edge.get('/a', {}, { expect: body });
  assert.deepEqual([next.status, next.wrongAt, next.bodyBytes, next.isComplete], [200, -1, LENGTH, true]);
});

for (const [what, misbehaviour, status] of [
  ['a length that is too long', { replaceHeaders: { 'Content-Length': '2000' } }, 200],
  ['a length that is too short, and more bytes after it', { replaceHeaders: { 'Content-Length': '500' } }, 200],
  ['extra bytes after the body', { extraBytes: 100 }, 200],
] as const) {
  test(`the body ends where the head said, or visibly before: ${what} (row 28)`, async () => {
    await using origin = await Origin.start();
    const body = origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=60' });
    origin.misbehave('/a', { ...misbehaviour, validators: 'none', connectionClose: true });
    await using edge = await startEdge({ origin });
    const answer = await edge.get('/a', {}, { expect: body });
    assert.equal(answer.wrongAt, -1);
    if (answer.isComplete && answer.status === status) assert.equal(String(answer.bodyBytes), answer.headers['content-length']);
    origin.behave();
  });
}

for (const status of [301, 302, 307, 308, 403, 404, 410, 500, 503]) {
  test(`${status} is passed on as it is, and not stored`, async () => {
    await using origin = await Origin.start();
    origin.setObject('/a', { lengthBytes: 10, cacheControl: 'max-age=60' });
    origin.misbehave('/a', status < 400 ? { status, redirectTo: '/elsewhere' } : { status }, 2);
    await using edge = await startEdge({ origin });
    for (const _ of [1, 2]) {
      const answer = await edge.get('/a');
      assert.deepEqual([answer.status, answer.body.toString(), answer.isComplete], [status, `${status}\n`, true]);
      if (status < 400) assert.equal(answer.headers.location, '/elsewhere');
    }
    assert.equal((await edge.get('/a')).status, 200);
  });
}

test('1xx heads come before the real one (row 50)', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { interim: [103, 103] });
  await using edge = await startEdge({ origin });
  assert.deepEqual([(await edge.get('/a', {}, { expect: body })).wrongAt, (await edge.get('/a')).headers['x-cache']], [-1, 'HIT']);
});

test('a head that comes byte by byte', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { splitHead: true });
  await using edge = await startEdge({ origin });
  assert.equal((await edge.get('/a', {}, { expect: body })).wrongAt, -1);
});

test('gzip that nobody asked for passes through and is not stored (row 29)', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { gzip: 'always' });
  await using edge = await startEdge({ origin });
  for (const range of [undefined, 'bytes=0-9']) {
    const answer = await edge.get('/a', range === undefined ? {} : { range });
    assert.deepEqual([answer.headers['content-encoding'], answer.headers['x-cache'], answer.isComplete], ['gzip', 'MISS', true]);
  }
});

test('by a rule, an origin that chooses the encoding by Accept-Encoding is asked for identity only (rows 30, 31)', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { gzip: 'if-accepted' });
  await using edge = await startEdge({ origin, rules: [{ ...PLAIN_RULE, encodings: 'identity' }] });
  await edge.get('/a', { 'accept-encoding': 'gzip' });
  const hit = await edge.get('/a', { 'accept-encoding': 'gzip' }, { expect: body });
  assert.deepEqual([hit.wrongAt, hit.headers['x-cache'], hit.headers['content-encoding']], [-1, 'HIT', undefined]);
});
