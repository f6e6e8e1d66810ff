/** Freshness and revalidation: once per object, for everybody, and never a purged version for a new request. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB } from '../../src/base/units.ts';
import { cacheKey } from '../../src/cache/cache-key.ts';
import type { ObjectHash } from '../../src/format/manifest.ts';
import { formatHttpDate } from '../../src/http/http-date.ts';
import { ClientConnection } from '../helpers/client.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';

const LENGTH = 300_000;

test('50 clients of a stale object cost one conditional request, and no body (rows 22, 58, RFC 9111 s4.3)', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=0' });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  await edge.settle();
  origin.misbehave('/a', { holdHead: true }, 1);
  const answers = Array.from({ length: 50 }, () => edge.get('/a', {}, { expect: body }));
  await eventually(() => edge.services.load.requests === 50, { what: '50 requests' });
  await origin.waitForHeld('/a');
  origin.release();
  for (const answer of await Promise.all(answers)) {
    assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes, answer.headers['x-cache']], [200, -1, LENGTH, 'REVALIDATED']);
  }
  assert.deepEqual(
    origin.requestsFor('/a').map(({ status }) => status),
    [200, 304],
  );
});

test('a 304 renews freshness and the fields that it brings (row 22, RFC 9111 s3.2)', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=0', headers: { 'X-Note': 'one' } });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60', headers: { 'X-Note': 'two' } });
  const renewed = await edge.get('/a', {}, { expect: body });
  assert.deepEqual([renewed.wrongAt, renewed.headers['x-cache'], renewed.headers['x-note']], [-1, 'REVALIDATED', 'two']);
  const hit = await edge.get('/a', {}, { expect: body });
  assert.deepEqual([hit.wrongAt, hit.headers['x-cache'], hit.headers['x-note']], [-1, 'HIT', 'two']);
  assert.equal(origin.requests.length, 2);
});

test('a 304 that speaks of another version is not believed (RFC 9111 s4.3.4)', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=0' });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  const body = origin.change('/a');
  origin.misbehave('/a', { raw: 'HTTP/1.1 304 Not Modified\r\nETag: "other"\r\nConnection: close\r\n\r\n' }, 1);
  const answer = await edge.get('/a', {}, { expect: body });
  assert.deepEqual([answer.status, answer.wrongAt, answer.isComplete], [200, -1, true]);
});

test('a revalidation that overtakes a growing object does not forget its length', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { chunked: true, pauseAfterBytes: 100_000 }, 1);
  origin.misbehave('/a', { holdHead: true }, 1);
  await using edge = await startEdge({ origin });
  const first = edge.get('/a', {}, { expect: body });
  await origin.waitForHeld('/a');
  const second = edge.get('/a', { 'cache-control': 'no-cache' }, { expect: body });
  await origin.waitForHeld('/a', 2);
  origin.behave();
  // The body first, the 304 when it has come to its end.
  const held = origin.requestsFor('/a');
  origin.release();
  for (const answer of await Promise.all([first, second]))
    assert.deepEqual([answer.wrongAt, answer.bodyBytes, answer.isComplete], [-1, LENGTH, true]);
  assert.equal(held.length, 2);
  assert.equal((await edge.get('/a', { range: 'bytes=-10' })).bodyBytes, 10);
});

for (const [what, definition, isHit] of [
  ['max-age', { cacheControl: 'max-age=60' }, true],
  ['Expires', { expires: 'Thu, 01 Jan 2099 00:00:00 GMT' }, true],
  ['a malformed Expires', { expires: '0' }, false],
  ['Last-Modified alone, long ago (heuristic)', { etag: 'none' }, true],
  ['nothing, a tag', { lastModified: 'none' }, false],
] as const) {
  test(`freshness by ${what} (row 35, RFC 9111 s4.2)`, async () => {
    await using origin = await Origin.start();
    origin.setObject('/a', { lengthBytes: 1000, ...definition });
    await using edge = await startEdge({ origin });
    await edge.get('/a');
    assert.equal((await edge.get('/a')).headers['x-cache'], isHit ? 'HIT' : 'REVALIDATED');
  });
}

test('without freshness and validators nothing is reused (RFC 9111 s3)', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 1000, etag: 'none', lastModified: 'none' });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  assert.equal((await edge.get('/a')).headers['x-cache'], 'MISS');
});

test('request directives: no-cache, max-age=0, only-if-cached, no-store (row 37, RFC 9111 s5.2.1)', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  const ask = async (text: string): Promise<[number, string | undefined]> => {
    const { status, headers } = await edge.get('/a', { 'cache-control': text });
    return [status, headers['x-cache']];
  };
  assert.equal((await ask('only-if-cached'))[0], 504);
  assert.equal(origin.requests.length, 0);
  await edge.get('/a');
  assert.deepEqual(await ask('only-if-cached'), [200, 'HIT']);
  assert.deepEqual(await ask('no-cache'), [200, 'REVALIDATED']);
  assert.deepEqual(await ask('max-age=0'), [200, 'REVALIDATED']);
  assert.deepEqual(await ask('no-store'), [200, 'BYPASS']);
  assert.deepEqual(await ask('max-age=50'), [200, 'HIT']);
});

test('conditions are answered from the cache (rows 19, 20, 21, RFC 9110 s13.2.2)', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  const { etag = '', lastModified = '' } = origin.validators('/a');
  const cases: readonly [headers: Record<string, string>, status: number, bytes: number][] = [
    [{ 'if-none-match': etag }, 304, 0],
    [{ 'if-none-match': `W/${etag}` }, 304, 0],
    [{ 'if-none-match': '"x"' }, 200, 1000],
    [{ 'if-modified-since': lastModified }, 304, 0],
    [{ 'if-modified-since': lastModified, 'if-none-match': '"x"' }, 200, 1000],
    [{ 'if-none-match': etag, range: 'bytes=0-9' }, 304, 0],
    [{ 'if-range': etag, range: 'bytes=0-9' }, 206, 10],
    [{ 'if-range': lastModified, range: 'bytes=0-9' }, 206, 10],
    [{ 'if-range': '"x"', range: 'bytes=0-9' }, 200, 1000],
    [{ 'if-range': `W/${etag}`, range: 'bytes=0-9' }, 200, 1000],
    [{ 'if-range': 'Thu, 01 Jan 2015 00:00:00 GMT', range: 'bytes=0-9' }, 200, 1000],
  ];
  for (const [headers, status, bytes] of cases) {
    const answer = await edge.get('/a', headers, status === 304 ? {} : { expect: body });
    assert.deepEqual([answer.status, answer.bodyBytes, answer.isComplete], [status, bytes, true], JSON.stringify(headers));
    assert.ok(answer.headers.age !== undefined, 'Age always (row 38)');
  }
  assert.equal(origin.requests.length, 1);
});

for (const [what, fault] of [
  ['503', { status: 503 }],
  ['a reset', { raw: '', rawThen: 'reset' }],
] as const) {
  test(`stale is served when revalidation brings ${what}, unless must-revalidate forbids it (rows 24, 42, RFC 9111 s4.2.4)`, async () => {
    await using origin = await Origin.start();
    const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=0' });
    origin.setObject('/b', { lengthBytes: LENGTH, cacheControl: 'max-age=0, must-revalidate' });
    await using edge = await startEdge({ origin });
    await edge.get('/a');
    await edge.get('/b');
    await edge.settle();
    origin.misbehave('*', fault);
    const stale = await edge.get('/a', {}, { expect: body });
    assert.deepEqual([stale.status, stale.wrongAt, stale.bodyBytes, stale.headers['x-cache']], [200, -1, LENGTH, 'STALE']);
    assert.ok((await edge.get('/b')).status >= 500);
  });
}

test('preset debian: by-hash and pool never change, InRelease is asked about soon (row 43, RFC 8246)', async () => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 1000 }) });
  await using edge = await startEdge({ origin, set: { preset: 'debian' } });
  const pool = '/debian/pool/main/a/apt/apt_2.9_amd64.deb';
  const byHash = '/debian/dists/sid/main/binary-amd64/by-hash/SHA256/0000000000000000000000000000000000000000000000000000000000000000';
  for (const path of [pool, byHash]) {
    await edge.get(path);
    const again = await edge.get(path, { 'cache-control': 'max-age=0' });
    assert.equal(again.headers['x-cache'], 'HIT', path);
  }
  assert.equal(origin.requests.length, 2);
});

function hashOf(edge: TestEdge, path: string): ObjectHash {
  const key = cacheKey({ siteName: edge.site.name, path, query: undefined });
  assert.ok(key !== undefined);
  return key.objectHash;
}

for (const chunked of [false, true]) {
  test(`purge while filling: readers finish, new requests get the new version (S8)${chunked ? ', length unknown' : ''}`, async () => {
    await using origin = await Origin.start();
    const old = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
    origin.misbehave('/a', { pauseAfterBytes: 100 * KIB, chunked }, 1);
    await using edge = await startEdge({ origin });
    const reading = edge.get('/a', {}, { expect: old });
    await origin.waitForHeld('/a');
    const body = origin.change('/a');
    const objectHash = hashOf(edge, '/a');
    edge.resolver.forget({ kind: 'object', objectHash });
    await edge.store.purge({ kind: 'object', objectHash });
    const fresh = await edge.get('/a', {}, { expect: body });
    assert.deepEqual([fresh.wrongAt, fresh.bodyBytes, fresh.headers['x-cache']], [-1, LENGTH, 'MISS']);
    origin.release();
    const finished = await reading;
    assert.deepEqual([finished.wrongAt, finished.bodyBytes, finished.isComplete], [-1, LENGTH, true]);
    await edge.settle();
    const hit = await edge.get('/a', {}, { expect: body });
    assert.deepEqual([hit.wrongAt, hit.headers['x-cache']], [-1, 'HIT']);
  });
}

test('purge while the origin is being asked, for a new object and for a revalidation: new requests ask again (S8)', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=0' });
  await using edge = await startEdge({ origin });
  const objectHash = hashOf(edge, '/a');
  for (const isStored of [false, true]) {
    if (isStored) await edge.get('/a');
    await edge.settle();
    const before = origin.identity('/a');
    origin.misbehave('/a', { holdHead: true }, 1);
    const client = await ClientConnection.open({ port: edge.port });
    const waiting = client.request({ path: '/a' });
    await origin.waitForHeld('/a');
    edge.resolver.forget({ kind: 'object', objectHash });
    await edge.store.purge({ kind: 'object', objectHash });
    origin.release();
    assert.deepEqual([(await waiting).status, (await waiting).bodyBytes], [200, LENGTH]);
    client.destroy();
    const body = origin.change('/a', { cacheControl: 'max-age=60' });
    assert.notEqual(body.version, before.version);
    const next = await edge.get('/a', {}, { expect: body });
    assert.deepEqual([next.wrongAt, next.isComplete], [-1, true]);
    edge.resolver.forget({ kind: 'object', objectHash });
    await edge.store.purge({ kind: 'object', objectHash });
    origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=0', version: body.version });
  }
});

test('an origin without Date: the time of receipt is sent as Date, the same for every hit (row 38, RFC 9110 s6.6.1)', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 100, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { dropHeaders: ['date'] });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  const path = cacheKey({ siteName: edge.site.name, path: '/a', query: undefined });
  assert.ok(path !== undefined);
  const verdict = await edge.store.readManifest(path.objectHash);
  assert.ok(verdict.kind === 'hit');
  // As if it had been stored half a minute earlier.
  const receivedAtMs = verdict.manifest.receivedAtMs - 30_000;
  edge.store.refreshManifest(path.objectHash, verdict.manifest.generation, { ...verdict.manifest, receivedAtMs });
  const hit = await edge.get('/a');
  assert.deepEqual([hit.headers['x-cache'], hit.headers.date], ['HIT', formatHttpDate(receivedAtMs)]);
});
