/** S8 in races: purges of every kind through both ports, against whatever was asked of the origin before them, and over a crash. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AdminServer } from '../../src/admin/admin-server.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { request } from '../helpers/client.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import { openTiny, tinyDevice, tinyDisk } from '../helpers/tiny-device.ts';

const LENGTH = 200_000;
const TAGGED = { lengthBytes: LENGTH, headers: { 'Surrogate-Key': 'red' } };
const FRESH = { ...TAGGED, cacheControl: 'max-age=600' };
const STALE = { ...TAGGED, cacheControl: 'max-age=0' };

/** How each kind is written for either port. */
const KINDS = [
  { kind: 'url', path: '/x/a', headers: {}, query: 'url=/x/a' },
  { kind: 'prefix', path: '/x/', headers: { 'X-Purge-Method': 'prefix' }, query: 'prefix=/x/' },
  { kind: 'tag', path: '/', headers: { 'Surrogate-Key': 'red' }, query: 'tag=red' },
  { kind: 'host', path: '/', headers: { 'X-Purge-Method': 'host' }, query: 'host=any.example' },
  { kind: 'everything', path: '/', headers: { 'X-Purge-Method': 'everything' }, query: 'everything=1' },
] as const;

type Order = (edge: TestEdge, kind: (typeof KINDS)[number], isSoft: boolean) => Promise<void>;

async function byMethod(edge: TestEdge, { path, headers }: (typeof KINDS)[number], isSoft: boolean): Promise<void> {
  const answer = await edge.get(path, { ...headers, ...(isSoft ? { 'Soft-Purge': '1' } : {}) }, { method: 'PURGE' });
  assert.equal(answer.status, 200, answer.body.toString());
}

async function byAdmin(edge: TestEdge, { query }: (typeof KINDS)[number], isSoft: boolean): Promise<void> {
  const { purger } = edge.services;
  const admin = new AdminServer({
    logger: createSilentLogger(),
    token: () => undefined,
    actions: {
      origins: () => [],
      upstreams: () => [],
      metrics: async () => ({ text: '', type: 'text/plain' }),
      readiness: () => ({ isReady: true, detail: {} }),
      purge: (named, soft) => purger.purge(named, soft),
      purges: () => purger.list(),
      findPurge: (id) => purger.find(id),
      devices: () => [],
      attachDevice: async () => ({}),
      reload: async () => ({ outcome: 'applied' }),
      logLevel: () => ({ level: 'info', configured: 'info' }),
      setLogLevel: () => undefined,
      setDraining: (draining) => ({ draining }),
      state: () => ({}),
    },
  });
  const { port } = await admin.listen({ host: '127.0.0.1', port: 0 });
  const answer = await request({ port, path: `/purge?${isSoft ? 'soft=1&' : ''}${query}`, method: 'POST' });
  await admin.close();
  assert.equal(answer.status, 200, answer.body.toString());
}

const PORTS: readonly (readonly [name: string, order: Order])[] = [
  ['PURGE', byMethod],
  ['admin port', byAdmin],
];

function start(origin: Origin, makeStore = tinyDevice): Promise<TestEdge> {
  return startEdge({ origin, makeStore, set: { 'purge.allow': '127.0.0.1' } });
}

for (const [port, order] of PORTS) {
  test(`purges while many wait for one answer: they get it, and nobody after them (${port}, S8)`, async () => {
    const plays = KINDS.flatMap((kind) => [true, false].flatMap((isSoft) => [true, false].map((isHead) => ({ kind, isSoft, isHead }))));
    for (const { kind, isSoft, isHead } of plays) {
      await using origin = await Origin.start();
      const old = origin.setObject('/x/a', FRESH);
      await using edge = await start(origin);
      origin.misbehave('/x/a', isHead ? { holdHead: true } : { pauseAfterBytes: 100_000 }, 1);
      // The origin looks at the object when its head is let go, so these get the new version there; what counts is who gets it.
      const waiting = Array.from({ length: 5 }, () => edge.get('/x/a', {}, isHead ? {} : { expect: old }));
      await origin.waitForHeld('/x/a');
      await eventually(async () => edge.services.load.requests === 5, { what: 'five requests' });
      await order(edge, kind, isSoft);
      const asked = origin.requests.length;
      const body = origin.change('/x/a');
      const next = await edge.get('/x/a', {}, { expect: body });
      assert.deepEqual([next.wrongAt, next.isComplete, origin.requests.length], [-1, true, asked + 1], kind.kind);
      origin.release();
      for (const answer of await Promise.all(waiting)) assert.equal(answer.isComplete && answer.wrongAt === -1, true, kind.kind);
      await edge.settle();
      const last = await edge.get('/x/a', {}, { expect: body });
      assert.deepEqual([last.wrongAt, last.headers['x-cache']], [-1, 'HIT'], kind.kind);
    }
  });

  test(`a 304 that was asked for before a purge renews nothing of what it covers (${port}, S8)`, async () => {
    for (const kind of KINDS) {
      for (const isSoft of [false, true]) {
        await using origin = await Origin.start();
        origin.setObject('/x/a', STALE);
        await using edge = await start(origin);
        await edge.get('/x/a');
        await edge.settle();
        await edge.store.drain();
        // Confirmed as of before the purge, for ten minutes; what the origin says after it is that there is another version.
        origin.misbehave('/x/a', { holdHead: true, status: 304, headers: { 'Cache-Control': 'max-age=600' } }, 1);
        const first = edge.get('/x/a');
        await origin.waitForHeld('/x/a');
        await order(edge, kind, isSoft);
        const body = origin.change('/x/a');
        origin.release();
        assert.equal((await first).isComplete, true);
        await edge.settle();
        const next = await edge.get('/x/a', {}, { expect: body });
        assert.deepEqual([next.wrongAt, next.isComplete], [-1, true], `${kind.kind} ${isSoft}`);
      }
    }
  });

  test(`what was acknowledged holds after a crash in the same moment (${port}, S8)`, async () => {
    for (const kind of KINDS) {
      for (const isSoft of [false, true]) {
        await using origin = await Origin.start();
        origin.setObject('/x/a', FRESH);
        const disk = await tinyDisk();
        {
          await using edge = await start(origin, (arena) => openTiny(disk, arena));
          await edge.get('/x/a');
          await edge.settle();
          await edge.store.drain();
          await order(edge, kind, isSoft);
          disk.crash(new SeededRandom(3), 'none');
        }
        const body = origin.change('/x/a');
        await using edge = await start(origin, (arena) => openTiny(disk, arena));
        const next = await edge.get('/x/a', {}, { expect: body });
        assert.deepEqual([next.wrongAt, next.isComplete, next.headers['x-cache']], [-1, true, 'MISS'], `${kind.kind} ${isSoft}`);
      }
    }
  });
}

test('a purge while slices of a stored object are fetched: the reader is finished from one version, and nothing of it comes back (S8, S9)', async () => {
  for (const kind of KINDS) {
    await using origin = await Origin.start();
    const old = origin.setObject('/x/a', FRESH);
    await using edge = await start(origin);
    await edge.get('/x/a', { Range: 'bytes=0-10' });
    await edge.settle();
    await edge.store.drain();
    origin.misbehave('/x/a', { pauseAfterBytes: 70_000 }, 1);
    const first = edge.get('/x/a', {}, { expect: old });
    await origin.waitForHeld('/x/a');
    await byMethod(edge, kind, false);
    const body = origin.change('/x/a');
    origin.release();
    const finished = await first;
    assert.equal(finished.wrongAt, -1, kind.kind);
    await edge.settle();
    for (const expected of ['MISS', 'HIT']) {
      const next = await edge.get('/x/a', {}, { expect: body });
      assert.deepEqual([next.wrongAt, next.isComplete, next.headers['x-cache']], [-1, true, expected], kind.kind);
      await edge.settle();
    }
  }
});

test('a renewal behind a client that was asked for before a purge renews nothing, and the next one is not held off (RFC 5861 s3, S8)', async () => {
  for (const kind of KINDS) {
    for (const isSoft of [false, true]) {
      await using origin = await Origin.start();
      const old = origin.setObject('/x/a', { ...TAGGED, cacheControl: 'max-age=0, stale-while-revalidate=600' });
      await using edge = await start(origin);
      await edge.get('/x/a');
      await edge.settle();
      await edge.store.drain();
      origin.misbehave('/x/a', { holdHead: true, status: 304, headers: { 'Cache-Control': 'max-age=600' } }, 1);
      const first = await edge.get('/x/a', {}, { expect: old });
      assert.deepEqual([first.headers['x-cache'], first.wrongAt], ['STALE', -1]);
      await origin.waitForHeld('/x/a');
      await byMethod(edge, kind, isSoft);
      const body = origin.change('/x/a');
      origin.release();
      await edge.settle();
      if (isSoft) {
        // Stale as before: what the origin allows to be served meanwhile still is, and it is asked about anew.
        const second = await edge.get('/x/a', {}, { expect: old });
        assert.deepEqual([second.headers['x-cache'], second.wrongAt], ['STALE', -1], kind.kind);
        await edge.settle();
      }
      const last = await edge.get('/x/a', {}, { expect: body });
      assert.deepEqual([last.wrongAt, last.isComplete], [-1, true], `${kind.kind} ${isSoft}`);
      assert.equal(await edge.metric('rawslice_fill_background_renewals_total{result="overtaken"}'), 1);
      await edge.settle();
    }
  }
});
