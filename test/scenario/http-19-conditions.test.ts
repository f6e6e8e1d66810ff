/** Conditions and their order: If-Match, If-Unmodified-Since, If-None-Match, If-Modified-Since, then If-Range (rows 19, 20; also 17, 18). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB } from '../../src/base/units.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';

const LENGTH = 200 * KIB;
const PATH = '/object';
const OLD = 'Wed, 01 Jan 2020 00:00:01 GMT';
const EARLIER = 'Wed, 01 Jan 2020 00:00:00 GMT';
const LATER = 'Wed, 01 Jan 2020 00:00:02 GMT';

async function start(object: Parameters<Origin['setObject']>[1] = {}): Promise<{ origin: Origin; edge: TestEdge; tag: string }> {
  const origin = await Origin.start();
  origin.setObject(PATH, { lengthBytes: LENGTH, cacheControl: 'max-age=60', ...object });
  return { origin, edge: await startEdge({ origin }), tag: origin.validators(PATH).etag ?? '' };
}

type Row = readonly [name: string, headers: (tag: string) => Record<string, string>, status: number];

/** Against a strong tag and a date (OLD) of which both are known. */
const ROWS: readonly Row[] = [
  ['row 19 (RFC 9110 s13.1.5): the strong tag', (tag) => ({ 'if-range': tag }), 206],
  ['row 19 (RFC 9110 s13.1.5): another tag', () => ({ 'if-range': '"other"' }), 200],
  ['row 19 (RFC 9110 s13.1.5): the weak form of the tag', (tag) => ({ 'if-range': `W/${tag}` }), 200],
  ['row 19 (RFC 9110 s13.1.5): a list with the tag', (tag) => ({ 'if-range': `${tag}, "x"` }), 200],
  ['row 19 (RFC 9110 s13.1.5): the tag without quotes', (tag) => ({ 'if-range': tag.slice(1, -1) }), 200],
  ['row 19 (RFC 9110 s13.1.5): an asterisk', () => ({ 'if-range': '*' }), 200],
  ['row 19 (RFC 9110 s13.1.5): the exact date, as apt sends it', () => ({ 'if-range': OLD }), 206],
  ['row 19 (RFC 9110 s13.1.5): the date in its obsolete form', () => ({ 'if-range': 'Wednesday, 01-Jan-20 00:00:01 GMT' }), 206],
  ['row 19 (RFC 9110 s13.1.5): a later date is not exact', () => ({ 'if-range': LATER }), 200],
  ['row 19 (RFC 9110 s13.1.5): an earlier date', () => ({ 'if-range': EARLIER }), 200],
  ['row 19 (RFC 9110 s13.1.5): no date', () => ({ 'if-range': 'yesterday' }), 200],
  ['row 19 (RFC 9110 s13.1.5): empty', () => ({ 'if-range': '' }), 200],
  ['row 20 (RFC 9110 s13.2.2): If-None-Match wins over Range', (tag) => ({ 'if-none-match': tag }), 304],
  ['row 20 (RFC 9110 s13.2.2): a weak tag of a list', (tag) => ({ 'if-none-match': `"x", W/${tag}` }), 304],
  ['row 20 (RFC 9110 s13.2.2): If-None-Match: *', () => ({ 'if-none-match': '*' }), 304],
  ['row 20 (RFC 9110 s13.2.2): another tag', () => ({ 'if-none-match': '"x", "y"' }), 206],
  ['row 20 (RFC 9110 s13.2.2): 304 wins over a false If-Range', (tag) => ({ 'if-none-match': tag, 'if-range': '"x"' }), 304],
  ['row 20 (RFC 9110 s13.2.2): both hold', (tag) => ({ 'if-none-match': '"x"', 'if-range': tag }), 206],
  ['row 20 (RFC 9110 s13.1.3): If-Modified-Since', () => ({ 'if-modified-since': OLD }), 304],
  ['row 20 (RFC 9110 s13.1.3): If-Modified-Since, later', () => ({ 'if-modified-since': LATER }), 304],
  ['row 20 (RFC 9110 s13.1.3): If-Modified-Since, earlier', () => ({ 'if-modified-since': EARLIER }), 206],
  ['row 20 (RFC 9110 s13.1.3): If-Modified-Since, malformed', () => ({ 'if-modified-since': '2020-01-01' }), 206],
  ['row 20 (RFC 9110 s13.1.3): ignored beside If-None-Match', () => ({ 'if-none-match': '"x"', 'if-modified-since': LATER }), 206],
  ['row 20 (RFC 9110 s13.1.1): If-Match', (tag) => ({ 'if-match': `"x", ${tag}` }), 206],
  ['row 20 (RFC 9110 s13.1.1): If-Match: *', () => ({ 'if-match': '*' }), 206],
  ['row 20 (RFC 9110 s13.1.1): If-Match fails', () => ({ 'if-match': '"x"' }), 412],
  ['row 20 (RFC 9110 s13.1.1): If-Match compares strongly', (tag) => ({ 'if-match': `W/${tag}` }), 412],
  ['row 20 (RFC 9110 s13.2.2): 412 before 304', (tag) => ({ 'if-match': '"x"', 'if-none-match': tag }), 412],
  ['row 20 (RFC 9110 s13.1.4): If-Unmodified-Since', () => ({ 'if-unmodified-since': OLD }), 206],
  ['row 20 (RFC 9110 s13.1.4): If-Unmodified-Since fails', () => ({ 'if-unmodified-since': EARLIER }), 412],
  ['row 20 (RFC 9110 s13.1.4): ignored beside If-Match', (tag) => ({ 'if-match': tag, 'if-unmodified-since': EARLIER }), 206],
  ['row 20 (RFC 9110 s13.1.4): malformed', () => ({ 'if-unmodified-since': 'never' }), 206],
];

for (const [name, headersFor, status] of ROWS) {
  test(`${name}: ${status}, cold and warm`, async () => {
    const { origin, edge, tag } = await start();
    await using _ = edge;
    await using __ = origin;
    const headers = { ...headersFor(tag), range: 'bytes=100-109' };
    for (const isWarm of [false, true]) {
      if (isWarm) await edge.get(PATH);
      const first = status === 206 ? 100 : 0;
      const answer = await edge.get(PATH, headers, { expect: { ...origin.identity(PATH), start: first } });
      assert.deepEqual([answer.status, answer.isComplete], [status, true], isWarm ? 'warm' : 'cold');
      assert.equal(answer.bodyBytes, status === 206 ? 10 : status === 200 ? LENGTH : 0);
      if (status < 400) assert.deepEqual([answer.wrongAt, answer.headers.etag], [-1, tag]);
      if (status !== 206) assert.equal(answer.headers['content-range'], undefined);
      await edge.settle();
    }
  });
}

test('row 7, 19 (RFC 9110 s13.2.2): conditions come before 416, and a false If-Range before it too', async () => {
  const { origin, edge, tag } = await start();
  await using _ = edge;
  await using __ = origin;
  await edge.get(PATH);
  const range = `bytes=${LENGTH}-`;
  assert.equal((await edge.get(PATH, { range, 'if-none-match': tag })).status, 304);
  assert.equal((await edge.get(PATH, { range, 'if-match': '"x"' })).status, 412);
  assert.equal((await edge.get(PATH, { range, 'if-range': '"x"' })).status, 200);
  assert.equal((await edge.get(PATH, { range, 'if-range': tag })).status, 416);
});

test('row 19 (RFC 9110 s13.1.5): without Range, If-Range says nothing', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  for (const word of ['MISS', 'HIT']) {
    const answer = await edge.get(PATH, { 'if-range': '"other"' }, { expect: origin.identity(PATH) });
    assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes, answer.headers['x-cache']], [200, -1, LENGTH, word]);
    assert.ok(answer.headers['content-type'] !== undefined);
    await edge.settle();
  }
});

test('row 17 (RFC 9110 s8.8.3.2): a weak tag never lets a range through, but answers If-None-Match', async () => {
  const { origin, edge, tag } = await start({ etag: 'weak', lastModified: 'none' });
  await using _ = edge;
  await using __ = origin;
  await edge.get(PATH);
  for (const ifRange of [tag, tag.replace('W/', '')]) {
    assert.equal((await edge.get(PATH, { range: 'bytes=0-9', 'if-range': ifRange })).status, 200);
    assert.equal((await edge.get(PATH, { 'if-none-match': ifRange })).status, 304);
  }
});

test('row 18 (RFC 9110 s8.8.2.2): a date in the second of the answer is no strong validator', async () => {
  const now = new Date(Date.now() + 3_600_000).toUTCString();
  const { origin, edge } = await start({ etag: 'none', lastModified: now });
  await using _ = edge;
  await using __ = origin;
  await edge.get(PATH);
  assert.equal((await edge.get(PATH, { range: 'bytes=0-9', 'if-range': now })).status, 200);
  assert.equal((await edge.get(PATH, { range: 'bytes=0-9' })).status, 206);
});

test('row 19: If-Range with the tag of the version before is answered with all of the new one', async () => {
  const { origin, edge, tag } = await start({ cacheControl: 'max-age=0' });
  await using _ = edge;
  await using __ = origin;
  await edge.get(PATH);
  await edge.settle();
  origin.change(PATH);
  const answer = await edge.get(PATH, { range: 'bytes=100-', 'if-range': tag }, { expect: origin.identity(PATH) });
  assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes], [200, -1, LENGTH]);
});

test('row 20 (RFC 9110 s15.4.5): a 304 has the fields that it must have, and no others of the representation', async () => {
  const { origin, edge, tag } = await start({
    expires: 'Fri, 01 Jan 2100 00:00:00 GMT',
    headers: { 'Content-Location': '/x', 'X-Own': '1' },
  });
  await using _ = edge;
  await using __ = origin;
  const whole = await edge.get(PATH);
  const answer = await edge.get(PATH, { range: 'bytes=0-9', 'if-none-match': tag });
  assert.equal(answer.status, 304);
  for (const name of ['date', 'etag', 'cache-control', 'expires', 'content-location'])
    assert.equal(answer.headers[name], whole.headers[name] ?? `no ${name}`, name);
  for (const name of ['content-type', 'content-length', 'content-range', 'x-own']) assert.equal(answer.headers[name], undefined, name);
});
