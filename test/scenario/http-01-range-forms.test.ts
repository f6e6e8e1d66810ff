/** Every form of a Range field and what comes back, over an object that is not there yet and over one that is (rows 1 to 8, 12, 52). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB } from '../../src/base/units.ts';
import { type ClientResponse, exchange } from '../helpers/client.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';

const SLICE = 64 * KIB;
const LENGTH = 5 * SLICE + 321;
const PATH = '/object';

/** What a request is answered with: everything, bytes [start, end), or 416. */
type Expected = 'whole' | 'none' | readonly [start: number, end: number];

const FORMS: readonly (readonly [row: string, range: string, expected: Expected])[] = [
  ['row 3 (RFC 9110 s14.1.2)', 'bytes=10-19', [10, 20]],
  ['row 3 (RFC 9110 s14.1.2)', `bytes=10-${LENGTH - 1}`, [10, LENGTH]],
  ['row 3 (RFC 9110 s14.1.2)', `bytes=10-${LENGTH}`, [10, LENGTH]],
  ['row 3 (RFC 9110 s14.1.2)', `bytes=${LENGTH - 1}-${LENGTH + 100}`, [LENGTH - 1, LENGTH]],
  ['row 3 (RFC 9110 s14.1.2)', 'bytes=007-0009', [7, 10]],
  ['row 4 (RFC 9110 s14.1.2)', 'bytes=0-', [0, LENGTH]],
  ['row 4 (RFC 9110 s14.1.2)', `bytes=${3 * SLICE + 1}-`, [3 * SLICE + 1, LENGTH]],
  ['row 5 (RFC 9110 s14.1.2)', 'bytes=-1', [LENGTH - 1, LENGTH]],
  ['row 5 (RFC 9110 s14.1.2)', `bytes=-${LENGTH}`, [0, LENGTH]],
  ['row 5 (RFC 9110 s14.1.2)', `bytes=-${LENGTH + 1}`, [0, LENGTH]],
  ['row 5 (RFC 9110 s14.1.2)', 'bytes=-0', 'none'],
  ['row 7 (RFC 9110 s15.5.17)', `bytes=${LENGTH}-`, 'none'],
  ['row 7 (RFC 9110 s15.5.17)', `bytes=${LENGTH}-${LENGTH + 9}`, 'none'],
  ['row 7 (RFC 9110 s15.5.17)', `bytes=${100 * SLICE}-`, 'none'],
  ['row 57 (RFC 9110 s14.1.2)', 'bytes=5-9223372036854775807', [5, LENGTH]],
  ['row 57 (RFC 9110 s14.1.2)', 'bytes=5-99999999999999999999999', [5, LENGTH]],
  ['row 57 (RFC 9110 s14.1.2)', 'bytes=-18446744073709551616', [0, LENGTH]],
  ['row 57 (RFC 9110 s14.1.2)', 'bytes=9007199254740993-', 'none'],
  ['row 57 (RFC 9110 s14.1.2)', 'bytes=18446744073709551616-18446744073709551617', 'none'],
  ['row 6 (RFC 9110 s14.1.1)', 'bytes=9-5', 'whole'],
  ['row 6 (RFC 9110 s14.1.1)', 'bytes=0-4,9-5', 'whole'],
  ['row 6 (RFC 9110 s14.1.1)', 'bytes=9007199254740994-9007199254740993', 'whole'],
  ['row 2 (RFC 9110 s14.2)', 'bytes=0--1', 'whole'],
  ['row 2 (RFC 9110 s14.2)', 'bytes=--1', 'whole'],
  ['row 2 (RFC 9110 s14.2)', 'bytes=-', 'whole'],
  ['row 2 (RFC 9110 s14.2)', 'bytes=', 'whole'],
  ['row 2 (RFC 9110 s14.2)', 'bytes=,', 'whole'],
  ['row 2 (RFC 9110 s14.2)', 'bytes', 'whole'],
  ['row 2 (RFC 9110 s14.2)', '0-4', 'whole'],
  ['row 2 (RFC 9110 s14.2)', 'bytes 0-4', 'whole'],
  ['row 2 (RFC 9110 s14.2)', 'bytes=0 -4', 'whole'],
  ['row 2 (RFC 9110 s14.2)', 'bytes = 0-4', 'whole'],
  ['row 2 (RFC 9110 s14.2)', 'bytes=a-b', 'whole'],
  ['row 2 (RFC 9110 s14.2)', 'bytes=0x0-0x4', 'whole'],
  ['row 2 (RFC 9110 s14.2)', 'bytes=1e2-1e3', 'whole'],
  ['row 2 (RFC 9110 s14.2)', 'bytes=0-4;5-9', 'whole'],
  ['row 2 (RFC 9110 s14.2)', 'bytes=0-4, x', 'whole'],
  ['row 2 (RFC 9110 s14.2)', 'items=0-4', 'whole'],
  ['row 2 (RFC 9110 s14.2)', 'lines=1-2,bytes=0-4', 'whole'],
  ['row 2 (RFC 9110 s14.1)', 'Bytes=0-4', [0, 5]],
  ['row 2 (RFC 9110 s5.6.1.2)', 'bytes=, 0-4 ,', [0, 5]],
];

async function start(lengthBytes = LENGTH): Promise<{ origin: Origin; edge: TestEdge }> {
  const origin = await Origin.start();
  origin.setObject(PATH, { lengthBytes, cacheControl: 'max-age=60' });
  return { origin, edge: await startEdge({ origin }) };
}

async function check(edge: TestEdge, origin: Origin, range: string, expected: Expected): Promise<ClientResponse> {
  const body = origin.identity(PATH);
  const first = typeof expected === 'string' ? 0 : expected[0];
  const answer = await edge.get(PATH, { range }, { expect: { ...body, start: first } });
  if (expected === 'none') {
    assert.deepEqual([answer.status, answer.headers['content-range'], answer.isComplete], [416, `bytes */${LENGTH}`, true], range);
    return answer;
  }
  const [from, to] = expected === 'whole' ? [0, LENGTH] : expected;
  const contentRange = expected === 'whole' ? undefined : `bytes ${from}-${to - 1}/${LENGTH}`;
  assert.deepEqual(
    [answer.status, answer.headers['content-range'], answer.headers['content-length'], answer.wrongAt, answer.bodyBytes, answer.isComplete],
    [expected === 'whole' ? 200 : 206, contentRange, String(to - from), -1, to - from, true],
    range,
  );
  return answer;
}

for (const [row, range, expected] of FORMS) {
  test(`${row}: ${range}: ${typeof expected === 'string' ? expected : expected.join(' to ')}, cold, warm and in part`, async () => {
    const { origin, edge } = await start();
    await using _ = edge;
    await using __ = origin;
    await check(edge, origin, range, expected);
    await edge.settle();
    // Some of it is there now, more after this.
    await edge.get(PATH, { range: `bytes=${2 * SLICE}-${2 * SLICE}` });
    await check(edge, origin, range, expected);
    await edge.get(PATH);
    await edge.settle();
    origin.forgetRequests();
    const warm = await check(edge, origin, range, expected);
    assert.equal(origin.requests.length, 0);
    if (expected !== 'none') assert.equal(warm.headers['x-cache'], 'HIT');
  });
}

test('row 2 (RFC 9110 s5.3): two Range lines are not one list, and are ignored', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  for (const word of ['MISS', 'HIT']) {
    const lines = [
      ['Range', 'bytes=0-4'],
      ['Range', 'bytes=10-14'],
    ] as const;
    const answer = await edge.get(PATH, {}, { headers: lines, expect: origin.identity(PATH) });
    assert.deepEqual([answer.status, answer.bodyBytes, answer.wrongAt, answer.headers['x-cache']], [200, LENGTH, -1, word]);
    await edge.settle();
  }
});

test('row 5 (RFC 9110 s14.1.2): a suffix of a cold object fetches the slices at its end, and no others', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  await check(edge, origin, 'bytes=-100', [LENGTH - 100, LENGTH]);
  await edge.settle();
  assert.ok(origin.bytesSent(PATH) < 2 * SLICE, `${origin.bytesSent(PATH)} bytes`);
});

test('row 4 (RFC 9110 s14.1.2): an open range is streamed as it comes', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  origin.misbehave(PATH, { pauseAfterBytes: SLICE + 500 }, 1);
  const came = Promise.withResolvers<void>();
  let bytes = 0;
  const pending = edge.get(
    PATH,
    { range: 'bytes=100-' },
    {
      onBytes: (piece) => {
        bytes += piece.length;
        if (bytes === SLICE + 400) came.resolve();
      },
    },
  );
  // All that the origin has sent has come while the rest is held.
  await came.promise;
  origin.release();
  assert.equal((await pending).bodyBytes, LENGTH - 100);
});

for (const isHit of [false, true]) {
  test(`row 1 (RFC 9110 s14.2, s9.3.2): HEAD ignores Range and If-Range, ${isHit ? 'from the cache' : 'from the origin'}`, async () => {
    const { origin, edge } = await start();
    await using _ = edge;
    await using __ = origin;
    if (isHit) await edge.get(PATH);
    await edge.settle();
    for (const headers of [
      { range: 'bytes=0-9' },
      { range: 'bytes=0-0,5-5' },
      { range: `bytes=${LENGTH}-` },
      { range: 'bytes=0-9', 'if-range': '"x"' },
    ]) {
      const answer = await edge.get(PATH, headers, { method: 'HEAD' });
      const { 'content-length': contentLength, 'content-range': contentRange, 'accept-ranges': acceptRanges } = answer.headers;
      assert.deepEqual(
        [answer.status, contentLength, contentRange, acceptRanges, answer.bodyBytes, answer.isComplete],
        [200, String(LENGTH), undefined, 'bytes', 0, true],
      );
    }
  });
}

test('row 1 (RFC 9110 s14.2): a HEAD that is passed on has no Range, whatever the origin would make of it', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  const answer = await edge.get(PATH, { range: 'bytes=0-9', 'if-range': '"x"', 'x-own': '1' }, { method: 'HEAD' });
  assert.deepEqual([answer.status, answer.headers['content-length']], [200, String(LENGTH)]);
  const { range, 'if-range': ifRange, 'x-own': own } = origin.requests[0]?.headers ?? {};
  assert.deepEqual([origin.requests[0]?.method, range, ifRange, own], ['HEAD', undefined, undefined, '1']);
});

test('row 12 (RFC 2616 s14.15): Content-MD5 of the whole is not said of a part', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  origin.setObject(PATH, { lengthBytes: LENGTH, cacheControl: 'max-age=60', headers: { 'Content-MD5': 'Q2hlY2sgSW50ZWdyaXR5IQ==' } });
  assert.ok((await edge.get(PATH)).headers['content-md5'] !== undefined);
  for (const range of ['bytes=0-9', 'bytes=0-9,50-59']) {
    const part = await edge.get(PATH, { range });
    assert.deepEqual([part.status, part.headers['content-md5']], [206, undefined]);
  }
});

test('row 1 (RFC 9110 s14.2): a method without ranges is passed on with its Range', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  await edge.get(PATH, { range: 'bytes=0-9' }, { method: 'POST', body: 'x' });
  assert.deepEqual([origin.requests[0]?.method, origin.requests[0]?.headers.range], ['POST', 'bytes=0-9']);
});

test('row 8 (RFC 9110 s14.2): every range of an object of no bytes is answered with all of them, cold and warm', async () => {
  for (const range of ['bytes=0-', 'bytes=0-0', 'bytes=-5', 'bytes=-0', 'bytes=5-9', 'bytes=0-0,5-5', 'bytes=0--1']) {
    const { origin, edge } = await start(0);
    await using _ = edge;
    await using __ = origin;
    for (const isWarm of [false, true]) {
      if (isWarm) await edge.get(PATH);
      const answer = await edge.get(PATH, { range });
      const isRefused = answer.status === 416 && answer.headers['content-range'] === 'bytes */0';
      assert.ok(isRefused || (answer.status === 200 && answer.headers['content-length'] === '0'), `${range}: ${answer.status}`);
      // What is known to be empty is simply sent.
      if (isWarm) assert.equal(answer.status, 200);
      assert.deepEqual([answer.bodyBytes, answer.isComplete], [0, true]);
      await edge.settle();
    }
  }
});

test('row 7 (RFC 9110 s15.5.17, 9111 s3): 416 is not kept: the next range is answered', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  for (let turn = 0; turn < 2; turn += 1) {
    await check(edge, origin, `bytes=${100 * SLICE}-`, 'none');
    await check(edge, origin, 'bytes=0-4', [0, 5]);
  }
});

test('row 12 (RFC 9110 s15.3.7): a 206 has the fields of the 200, with one part and with several', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  const more = { 'Content-Location': '/object.v1', Expires: 'Fri, 01 Jan 2100 00:00:00 GMT', 'Content-Language': 'de', 'X-Own': 'kept' };
  origin.setObject(PATH, { lengthBytes: LENGTH, cacheControl: 'max-age=60', headers: more, contentType: 'text/plain' });
  const whole = await edge.get(PATH);
  const names = ['date', 'cache-control', 'etag', 'expires', 'content-location', 'last-modified', 'x-own', 'content-language'];
  for (const range of ['bytes=0-4', 'bytes=0-4,100-104']) {
    const part = await edge.get(PATH, { range });
    assert.equal(part.status, 206);
    for (const name of names) assert.equal(part.headers[name], whole.headers[name] ?? `no ${name}`, `${name} for ${range}`);
    for (const name of ['age', 'via', 'cache-status', 'accept-ranges']) assert.ok(part.headers[name] !== undefined, name);
  }
  assert.equal((await edge.get(PATH, { range: 'bytes=0-4' })).headers['content-type'], 'text/plain');
});

test('row 12 (RFC 9110 s15.3.7): after If-Range a 206 has the fields that it must have, and no description', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  const more = { 'Content-Location': '/object.v1', Expires: 'Fri, 01 Jan 2100 00:00:00 GMT', 'Content-Language': 'de' };
  origin.setObject(PATH, { lengthBytes: LENGTH, cacheControl: 'max-age=60', headers: more, contentType: 'text/plain' });
  const whole = await edge.get(PATH);
  const headers = { 'if-range': whole.headers.etag ?? '' };
  const part = await edge.get(PATH, { ...headers, range: 'bytes=0-4' });
  assert.deepEqual([part.status, part.headers['content-range'], part.bodyBytes], [206, `bytes 0-4/${LENGTH}`, 5]);
  for (const name of ['date', 'cache-control', 'etag', 'expires', 'content-location', 'last-modified'])
    assert.equal(part.headers[name], whole.headers[name] ?? `no ${name}`, name);
  for (const name of ['content-type', 'content-language']) assert.equal(part.headers[name], undefined, name);
  const parts = await edge.get(PATH, { ...headers, range: 'bytes=0-4,100-104' });
  assert.match(parts.headers['content-type'] ?? '', /^multipart\/byteranges; /);
  assert.equal(parts.body.toString('latin1').split('Content-Type: text/plain').length, 3);
  // Where If-Range does not hold the whole is sent, with all of its fields.
  const other = await edge.get(PATH, { 'if-range': '"other"', range: 'bytes=0-4' });
  assert.deepEqual([other.status, other.headers['content-type'], other.bodyBytes], [200, 'text/plain', LENGTH]);
});

test('row 52 (RFC 9110 s14.3): Accept-Ranges is said of what can be asked for in ranges, whatever the origin says', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  // The first request for it: the length is not known, so that no range would work yet.
  origin.misbehave(PATH, { chunked: true, ignoreRange: true, headers: { 'Accept-Ranges': 'none' } }, 1);
  assert.equal((await edge.get(PATH)).headers['accept-ranges'], undefined);
  const known = await edge.get(PATH);
  assert.equal(known.headers['accept-ranges'], 'bytes');
  await check(edge, origin, 'bytes=5-9', [5, 10]);
});

test('rows 3, 7: pipelined ranges are answered in their order, each framed on its own', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  const ask = (range: string, more = ''): string => `GET ${PATH} HTTP/1.1\r\nHost: a\r\nRange: bytes=${range}\r\n${more}\r\n`;
  const bytes = ask('0-4') + ask('0-0,9-9') + ask(`${LENGTH}-`) + ask('-3', 'Connection: close\r\n');
  const text = (await exchange({ port: edge.port, bytes })).toString('latin1');
  assert.deepEqual(
    [...text.matchAll(/HTTP\/1\.1 (\d+) /g)].map((match) => match[1]),
    ['206', '206', '416', '206'],
  );
});
