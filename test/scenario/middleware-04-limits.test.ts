/** Limits on requests and on speed: buckets, fields, bounded memory; a limited client holds no slot and slows nobody else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB } from '../../src/base/units.ts';
import { BucketMemory, TokenBucket } from '../../src/middleware/shipped/token-bucket.ts';
import { stall } from '../helpers/client.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { withModule } from '../helpers/module-file.ts';
import { Origin } from '../helpers/origin.ts';

const FRESH = { lengthBytes: 1000, cacheControl: 'max-age=600' };

test('a bucket fills by its rate up to its capacity, and debts are paid by waiting', () => {
  const bucket = new TokenBucket({ perSecond: 10, capacity: 5 }, 0);
  for (let turn = 0; turn < 5; turn += 1) assert.equal(bucket.tryTake(1, 0), true);
  assert.equal(bucket.tryTake(1, 0), false);
  assert.equal(bucket.waitFor(1, 0), 100);
  assert.equal(bucket.tryTake(1, 99), false);
  assert.equal(bucket.tryTake(1, 101), true);
  assert.equal(bucket.level(10_000), 5);
  assert.equal(bucket.isFull(10_000), true);
  assert.equal(bucket.take(25, 10_000), 2000);
  assert.equal(bucket.take(5, 11_000), 1500);
  // A clock that stands, or goes back, gives nothing.
  assert.equal(bucket.take(0, 10_500), 1500);
});

test('buckets are remembered up to a bound; one that is forgotten before it is full is counted', () => {
  let losses = 0;
  let nowMs = 0;
  const shape = { perSecond: 1, capacity: 2 };
  const memory = new BucketMemory({ shape, max: 3, nowMs: () => nowMs, onLoss: () => (losses += 1) });
  for (let key = 0; key < 10; key += 1) memory.of(String(key), nowMs).tryTake(1, nowMs);
  assert.deepEqual([memory.size, losses], [3, 7]);
  nowMs = 5000;
  memory.of('new', nowMs);
  assert.deepEqual([memory.size, losses], [3, 7]);
});

async function statuses(
  edge: TestEdge,
  path: string,
  count: number,
  headers: Record<string, string> = {},
): Promise<(number | undefined)[]> {
  const all: (number | undefined)[] = [];
  for (let turn = 0; turn < count; turn += 1) all.push((await edge.get(path, headers)).status);
  return all;
}

test('rateLimit: by client, /64, header, path and all together; hits count, and what it tells is stored for nobody', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  const limit = (name: string, more: string): string =>
    `  - { name: ${name}, use: rateLimit, options: { requests: 2, per: 1h, ${more} } }\n`;
  const yaml = `
middlewares:
${limit('client', 'exempt: 198.51.100.0/24')}${limit('key', 'by: header, header: x-key')}${limit('path', 'by: path')}${limit('all', 'by: all, burst: 3, tell: false')}
services: [{ name: s, listen: "127.0.0.1:0", trustedProxies: 127.0.0.1 }]
routes:
  - { name: c, prefix: /c, middlewares: client }
  - { name: k, prefix: /k, middlewares: key }
  - { name: p, prefix: /p, middlewares: path }
  - { name: a, prefix: /a, middlewares: all }
`;
  await using edge = await startEdge({ origin, yaml });
  const from = (address: string): Record<string, string> => ({ 'x-forwarded-for': address });
  const first = await edge.get('/c', from('203.0.113.1'));
  assert.deepEqual(
    [first.status, first.headers['ratelimit-policy'], first.headers.ratelimit],
    [200, '"client";q=2;w=3600', '"client";r=1;t=1800'],
  );
  await edge.settle();
  const second = await edge.get('/c', from('203.0.113.1'));
  assert.deepEqual([second.headers['x-cache'], second.headers.ratelimit?.startsWith('"client";r=0;t=3')], ['HIT', true]);
  const third = await edge.get('/c', from('203.0.113.1'));
  assert.deepEqual([third.status, third.headers['retry-after'], third.headers['cache-control']], [429, '1800', 'no-store']);
  assert.deepEqual(await statuses(edge, '/c', 3, from('203.0.113.2')), [200, 200, 429]);
  assert.deepEqual(await statuses(edge, '/c', 4, from('198.51.100.9')), [200, 200, 200, 200]);
  assert.deepEqual(
    [...(await statuses(edge, '/c', 2, from('2001:db8:1:2::1'))), ...(await statuses(edge, '/c', 1, from('2001:db8:1:2:ffff::9')))],
    [200, 200, 429],
  );
  assert.deepEqual(await statuses(edge, '/c', 1, from('2001:db8:1:3::1')), [200]);
  assert.deepEqual(await statuses(edge, '/k', 3, { 'x-key': 'one' }), [200, 200, 429]);
  assert.deepEqual(await statuses(edge, '/k', 1, { 'x-key': 'two' }), [200]);
  assert.deepEqual(await statuses(edge, '/k', 3), [200, 200, 429]);
  assert.deepEqual(await statuses(edge, '/p/1', 3), [200, 200, 429]);
  assert.deepEqual(await statuses(edge, '/p/2', 1), [200]);
  assert.deepEqual([...(await statuses(edge, '/a/1', 2)), ...(await statuses(edge, '/a/2', 2))], [200, 200, 200, 429]);
  assert.equal((await edge.get('/a/3')).headers.ratelimit, undefined);
  assert.equal(await edge.metric('rawslice_middleware_events_total{middleware="client",event="limited"}'), 3);
  assert.equal(await edge.metric('rawslice_middleware_entries{middleware="client"}'), 4);
});

const LENGTH = 320 * KIB;

test('a pacer is told of every byte of hits, misses and what passes, in pieces that are no slots; one that fails is left out', async () => {
  const members = `create: () => ({
    onRequest(exchange) {
      exchange.paceBody({ take: (bytes) => { seen.push(String(bytes)); return 1; } });
      if (exchange.path === '/bad') exchange.paceBody({ take: () => { throw new Error('no'); } });
      if (exchange.path === '/odd') exchange.paceBody({ take: () => Number.NaN });
    },
  })`;
  await withModule(members, async ({ file, exported }) => {
    await using origin = await Origin.start({ resolve: () => ({ lengthBytes: LENGTH, cacheControl: 'max-age=600' }) });
    await using edge = await startEdge({ origin, yaml: `middlewares: [{ name: m, use: "${file}" }]\n` });
    for (const [path, cache, headers] of [
      ['/x', 'MISS', {}],
      ['/x', 'HIT', {}],
      ['/x', 'BYPASS', { 'cache-control': 'no-store' }],
      ['/bad', 'MISS', {}],
      ['/odd', 'MISS', {}],
    ] as const) {
      const identity = origin.setObject(path, { lengthBytes: LENGTH, cacheControl: 'max-age=600' });
      const answer = await edge.get(path, headers, { expect: identity });
      assert.deepEqual([answer.headers['x-cache'], answer.wrongAt, answer.isComplete], [cache, -1, true], path);
      await edge.settle();
      const pieces = (exported().seen as string[]).splice(0).map(Number);
      assert.equal(
        pieces.reduce((sum, bytes) => sum + bytes, 0),
        LENGTH,
      );
      assert.ok(Math.max(...pieces) <= 64 * KIB);
    }
    assert.equal(await edge.metric('rawslice_middleware_failures_total{middleware="m",hook="pace"}'), 2);
    assert.equal(edge.services.pins.taken, 0);
  });
});

test('bandwidth: who waits for the pace holds neither slot nor pin, and is let go when the client leaves or the edge stops', async () => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: LENGTH, cacheControl: 'max-age=600' }) });
  const yaml = `
middlewares: [{ name: slow, use: bandwidth, options: { total: 1k/s, burst: 64KiB } }]
routes: [{ name: slow, prefix: /x, host: slow, middlewares: slow }, { name: fast }]
`;
  await using edge = await startEdge({ origin, yaml });
  const identity = origin.setObject('/x', { lengthBytes: LENGTH, cacheControl: 'max-age=600' });
  await edge.get('/x', { host: 'slow' }, { abortAfterBytes: 1 }).catch(() => undefined);
  await edge.settle();
  const waiting = await stall({ port: edge.port, path: '/x', headers: { host: 'slow' } });
  void waiting.resume().catch(() => undefined);
  await eventually(async () => (await edge.metric('rawslice_middleware_requests_in_flight{middleware="slow"}')) === 1, {
    what: 'a request that waits',
  });
  // The other route has its own cache; the fill of nobody waits for the slow one.
  const other = await edge.get('/x', {}, { expect: identity });
  assert.deepEqual([other.status, other.wrongAt], [200, -1]);
  await eventually(() => edge.services.pins.taken === 0 && edge.services.copies.takenCount === 0, { what: 'a slow client without copies' });
  waiting.destroy();
  await edge.settle();
  assert.equal(await edge.metric('rawslice_middleware_requests_in_flight{middleware="slow"}'), 0);
});
