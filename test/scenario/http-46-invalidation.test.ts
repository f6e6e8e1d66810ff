/** What unsafe methods do to what is stored (RFC 9111 s4.4), over the model store and over a device. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EdgeError } from '../../src/base/errors.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import { openTiny, tinyDevice, tinyDisk } from '../helpers/tiny-device.ts';

const FRESH = { lengthBytes: 150_000, cacheControl: 'max-age=600' };
const PATHS = ['/t', '/l', '/c', '/other'] as const;

async function cacheResults(edge: TestEdge): Promise<readonly (string | undefined)[]> {
  const results: (string | undefined)[] = [];
  for (const path of PATHS) {
    const answer = await edge.get(path);
    assert.equal(answer.bodyBytes, FRESH.lengthBytes);
    results.push(answer.headers['x-cache']);
    await edge.settle();
    await edge.store.drain();
  }
  return results;
}

for (const makeStore of [undefined, tinyDevice]) {
  const place = makeStore === undefined ? 'model' : 'device';
  test(`row 46 (RFC 9111 s4.4): success of an unsafe method invalidates target, Location and Content-Location here (${place})`, async () => {
    await using origin = await Origin.start();
    for (const path of PATHS) origin.setObject(path, FRESH);
    await using edge = await startEdge({ origin, makeStore });
    await cacheResults(edge);
    const named = { Location: '/l', 'Content-Location': `http://127.0.0.1:${edge.port}/c` };
    const elsewhere = { Location: 'http://other.example/l', 'Content-Location': '//other.example/c' };
    const all = ['MISS', 'MISS', 'MISS', 'HIT'];
    const cases: readonly (readonly [method: string, status: number, headers: Record<string, string>, results: readonly string[]])[] = [
      ['POST', 200, named, all],
      ['PUT', 201, named, all],
      ['DELETE', 204, named, all],
      ['PATCH', 303, named, all],
      ['M-SEARCH', 200, named, all],
      ['POST', 200, elsewhere, ['MISS', 'HIT', 'HIT', 'HIT']],
      ['POST', 400, named, ['HIT', 'HIT', 'HIT', 'HIT']],
      ['DELETE', 404, named, ['HIT', 'HIT', 'HIT', 'HIT']],
      ['POST', 500, named, ['HIT', 'HIT', 'HIT', 'HIT']],
      ['OPTIONS', 200, named, ['HIT', 'HIT', 'HIT', 'HIT']],
    ];
    for (const [method, status, headers, results] of cases) {
      origin.misbehave('/t', { when: (request) => request.method === method, status, headers }, 1);
      assert.equal((await edge.get('/t', {}, { method })).status, status);
      assert.deepEqual(await cacheResults(edge), results, `${method} ${status}`);
    }
    assert.equal(await edge.metric('rawslice_invalidations_total{cause="target"}'), 6);
    assert.equal(await edge.metric('rawslice_invalidations_total{cause="location"}'), 5);
    assert.equal(await edge.metric('rawslice_invalidations_failed_total'), 0);
  });

  test(`row 46 (RFC 9111 s4.4): what was asked for before, or is being read, is for those who wait and nobody else (${place})`, async () => {
    await using origin = await Origin.start();
    origin.setObject('/t', FRESH);
    await using edge = await startEdge({ origin, makeStore });
    const onlyGet = { when: ({ method }: { readonly method: string }) => method === 'GET' };
    for (const hold of [{ holdHead: true }, { pauseAfterBytes: 100_000 }]) {
      origin.misbehave('/t', { ...onlyGet, ...hold }, 1);
      const first = edge.get('/t');
      await origin.waitForHeld('/t');
      assert.equal((await edge.get('/t', {}, { method: 'POST' })).status, 200);
      const body = origin.change('/t');
      const second = await edge.get('/t', {}, { expect: body });
      assert.deepEqual([second.wrongAt, second.headers['x-cache']], [-1, 'MISS']);
      origin.release();
      assert.equal((await first).bodyBytes, FRESH.lengthBytes);
      await edge.settle();
      const third = await edge.get('/t', {}, { expect: body });
      assert.deepEqual([third.wrongAt, third.headers['x-cache']], [-1, 'HIT']);
      await edge.get('/t', {}, { method: 'POST' });
    }
  });
}

test('row 46 (RFC 9111 s4.4): what the answer to a POST invalidated is not there after a crash in the next moment; one about nothing stored costs no purge', async () => {
  await using origin = await Origin.start();
  for (const path of PATHS) origin.setObject(path, FRESH);
  const disk = await tinyDisk();
  let asked = 0;
  {
    await using edge = await startEdge({ origin, makeStore: (arena) => openTiny(disk, arena) });
    await cacheResults(edge);
    await edge.get('/none', {}, { method: 'POST' });
    assert.equal(edge.store.purgeSequence, 0);
    origin.misbehave('/t', { when: ({ method }) => method === 'POST', headers: { Location: '/l' } }, 1);
    await edge.get('/t', {}, { method: 'POST' });
    assert.equal(edge.store.purgeSequence, 2);
    // The answer is here, so it is on the disk.
    disk.crash(new SeededRandom(7), 'none');
    asked = origin.requests.length;
  }
  await using edge = await startEdge({ origin, set: { 'upstream.url': origin.url }, makeStore: (arena) => openTiny(disk, arena) });
  assert.deepEqual(await cacheResults(edge), ['MISS', 'MISS', 'HIT', 'HIT']);
  assert.equal(origin.requests.length, asked + 2);
});

test('row 46: a store that cannot write does not hold the answer back, and what it holds is out of reach', async () => {
  await using origin = await Origin.start();
  for (const path of PATHS) origin.setObject(path, FRESH);
  await using edge = await startEdge({ origin });
  await cacheResults(edge);
  const purge = edge.store.purge.bind(edge.store);
  // Forgotten at once, and never on the disk.
  edge.store.purge = (target, options) => purge(target, options).then(() => new Promise(() => undefined));
  assert.equal((await edge.get('/t', {}, { method: 'POST' })).status, 200);
  assert.deepEqual(await cacheResults(edge), ['MISS', 'HIT', 'HIT', 'HIT']);
  edge.store.purge = (target, options) => purge(target, options).then(() => Promise.reject(new EdgeError('STORE_UNAVAILABLE')));
  assert.equal((await edge.get('/t', {}, { method: 'POST' })).status, 200);
  assert.deepEqual(await cacheResults(edge), ['MISS', 'HIT', 'HIT', 'HIT']);
  assert.equal(await edge.metric('rawslice_invalidations_failed_total'), 1);
});
