/** What a 304 changes of what is stored, and what not (row 22; RFC 9111 s3.2, s4.3.4). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PLAIN_RULE, type SiteRule } from '../../src/cache/site-rule.ts';
import { formatHttpDate } from '../../src/http/http-date.ts';
import { startEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';

const TAG = 'ETag: "a"\r\n';
const DATED = 'Last-Modified: Wed, 01 Jan 2020 00:00:00 GMT\r\n';

/** Field, stored value, value of the 304, value afterwards. */
const FIELDS: readonly (readonly [name: string, before: string, update: string, after: string | undefined])[] = [
  ['Test-Header', 'a', 'b', 'b'],
  ['X-Test-Header', 'a', 'b', 'b'],
  ['Content-Foo', 'a', 'b', 'b'],
  ['Content-Location', '/foo', '/bar', '/bar'],
  ['Content-Security-Policy', "default-src 'self'", "default-src 'self' cdn.example.com", "default-src 'self' cdn.example.com"],
  ['X-Frame-Options', 'deny', 'sameorigin', 'sameorigin'],
  ['CDN-Cache-Control', 'max-age=0', 'max-age=70', 'max-age=70'],
  ['Expires', 'Fri, 01 Jan 2038 01:01:01 GMT', 'Mon, 11 Jan 2038 11:11:11 GMT', 'Mon, 11 Jan 2038 11:11:11 GMT'],
  ['Content-Type', 'text/plain', 'text/html', 'text/plain'],
  ['Content-Range', 'bytes 0-1/4', 'bytes 0-2/4', undefined],
  ['Content-Length', '4', '10', '4'],
  ['Proxy-Connection', 'a', 'b', undefined],
  ['Set-Cookie', '', 'a=b', undefined],
];
for (const [validator, fields] of [
  ['a tag', TAG],
  ['a date', DATED],
] as const) {
  for (const [name, before, update, after] of FIELDS) {
    test(`row 22 (RFC 9111 s3.2): ${name} after a 304 by ${validator}`, async () => {
      await using origin = await Origin.start();
      const date = `Date: ${formatHttpDate(Date.now())}\r\n`;
      const line = (value: string): string => (value === '' ? '' : `${name}: ${value}\r\n`);
      const length = name === 'Content-Length' ? '' : 'Content-Length: 4\r\n';
      const stored = `HTTP/1.1 200 OK\r\n${date}${fields}${length}Cache-Control: max-age=0\r\n${line(before)}\r\nbody`;
      const confirmed = `HTTP/1.1 304 Not Modified\r\n${date}${fields}Cache-Control: max-age=60\r\n${line(update)}\r\n`;
      origin.misbehave('/a', { raw: stored }, 1);
      origin.misbehave('/a', { raw: confirmed }, 1);
      await using edge = await startEdge({ origin });
      await edge.get('/a');
      for (const result of ['REVALIDATED', 'HIT']) {
        const { status, headers, bodyBytes } = await edge.get('/a');
        assert.deepEqual([status, bodyBytes, headers['x-cache'], headers[name.toLowerCase()]], [200, 4, result, after]);
      }
    });
  }
}

test('row 22 (RFC 9111 s5.2.2.7): what the stored Cache-Control withholds does not come in by a 304 that is silent about it', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 10, cacheControl: 'max-age=0, private="x-own"', headers: { 'X-Own': '1' } });
  origin.misbehave('/a', { dropHeaders: ['cache-control'], when: (request) => request.headers['if-none-match'] !== undefined });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  assert.equal((await edge.get('/a')).headers['x-cache'], 'REVALIDATED');
  assert.equal((await edge.get('/a')).headers['x-own'], undefined);
});

test('rows 22, 33: a 304 changes a cookie that a rule keeps', async () => {
  await using origin = await Origin.start();
  const rule: SiteRule = { ...PLAIN_RULE, name: 'cookies', setCookie: 'keep' };
  origin.setObject('/a', { lengthBytes: 10, cacheControl: 'max-age=0', headers: { 'Set-Cookie': 'a=1' } });
  await using edge = await startEdge({ origin, rules: [rule] });
  assert.equal((await edge.get('/a')).headers['set-cookie'], 'a=1');
  origin.setObject('/a', { lengthBytes: 10, cacheControl: 'max-age=60', headers: { 'Set-Cookie': 'a=2' } });
  for (const result of ['REVALIDATED', 'HIT']) {
    const { headers } = await edge.get('/a');
    assert.deepEqual([headers['x-cache'], headers['set-cookie']], [result, 'a=2']);
  }
});

for (const control of ['no-store', 'private', 'no-store, max-age=60']) {
  test(`rows 22, 34 (RFC 9111 s5.2.2.5): a 304 that says ${control} ends use without asking`, async () => {
    await using origin = await Origin.start();
    origin.setObject('/a', { lengthBytes: 10, cacheControl: 'max-age=0' });
    await using edge = await startEdge({ origin });
    await edge.get('/a');
    origin.setObject('/a', { lengthBytes: 10, cacheControl: control });
    for (const _ of [1, 2, 3]) assert.notEqual((await edge.get('/a')).headers['x-cache'], 'HIT');
    origin.misbehave('/a', { status: 503 });
    assert.equal((await edge.get('/a')).status, 503, 'and stale use');
  });
}
