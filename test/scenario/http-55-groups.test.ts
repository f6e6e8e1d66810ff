/** Cache-Groups and Cache-Group-Invalidation (RFC 9875), over a device. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import { openTiny, tinyDevice, tinyDisk } from '../helpers/tiny-device.ts';

const GROUPS: Readonly<Record<string, string>> = { '/a': '"one", "two"', '/b': '"two";x', '/c': '"One"', '/d': 'one', '/e': '"three"' };

async function startOrigin(): Promise<Origin> {
  const origin = await Origin.start();
  for (const [path, groups] of Object.entries(GROUPS))
    origin.setObject(path, { lengthBytes: 1000, cacheControl: 'max-age=600', headers: { 'Cache-Groups': groups } });
  return origin;
}

async function missing(edge: TestEdge): Promise<string> {
  let paths = '';
  for (const path of Object.keys(GROUPS)) {
    const answer = await edge.get(path);
    assert.equal(answer.headers['cache-groups'], GROUPS[path], 'the field is passed on');
    if (answer.headers['x-cache'] !== 'HIT') paths += path.slice(1);
    await edge.settle();
    await edge.store.drain();
  }
  return paths;
}

async function say(edge: TestEdge, origin: Origin, field: string, more: { method?: string; status?: number } = {}): Promise<void> {
  const { method = 'POST', status = 200 } = more;
  origin.misbehave('/x', { status, headers: { 'Cache-Group-Invalidation': field } }, 1);
  assert.equal((await edge.get('/x', {}, { method })).status, status);
}

test('row 55 (RFC 9875 s3): the answer to an unsafe method invalidates the groups that it names, and no tag does', async () => {
  await using origin = await startOrigin();
  await using edge = await startEdge({ origin, makeStore: tinyDevice });
  assert.equal(await missing(edge), 'abcde');
  const cases: readonly (readonly [field: string, more: { method?: string; status?: number }, paths: string])[] = [
    ['"one"', {}, 'a'],
    ['"two"', { method: 'DELETE', status: 204 }, 'ab'],
    ['"One", "three"', { method: 'PATCH' }, 'ce'],
    ['"none"', {}, ''],
    ['one', {}, ''],
    ['"one"', { method: 'OPTIONS' }, ''],
    ['"one"', { method: 'GET' }, ''],
    ['"one"', { status: 500 }, 'a'],
  ];
  for (const [field, more, paths] of cases) {
    await say(edge, origin, field, more);
    assert.equal(await missing(edge), paths, `${field} ${JSON.stringify(more)}`);
  }
  await edge.services.purger.purge({ kind: 'tag', tag: 'one' }, false);
  assert.equal(await missing(edge), '');
  assert.equal(await edge.metric('rawslice_invalidations_total{cause="group"}'), 6);
});

test('row 55 (RFC 9875 s3): what was asked for before is not stored, and the invalidation holds over a crash (S8)', async () => {
  await using origin = await startOrigin();
  const disk = await tinyDisk();
  {
    await using edge = await startEdge({ origin, makeStore: (arena) => openTiny(disk, arena) });
    origin.misbehave('/a', { pauseAfterBytes: 500 }, 1);
    const early = edge.get('/a');
    await origin.waitForHeld('/a');
    await say(edge, origin, '"one"');
    origin.release();
    assert.equal((await early).bodyBytes, 1000);
    await edge.settle();
    assert.equal(await missing(edge), 'abcde');
    await say(edge, origin, '"two"');
    disk.crash(new SeededRandom(5), 'none');
  }
  await using edge = await startEdge({ origin, makeStore: (arena) => openTiny(disk, arena) });
  assert.equal(await missing(edge), 'ab');
});

test('row 55 (RFC 9875 s2): a 304 changes the groups of what is stored', async () => {
  await using origin = await startOrigin();
  await using edge = await startEdge({ origin, makeStore: tinyDevice });
  await missing(edge);
  origin.misbehave(
    '/a',
    { when: ({ headers }) => headers['if-none-match'] !== undefined, dropHeaders: ['Cache-Groups'], headers: { 'Cache-Groups': '"new"' } },
    1,
  );
  assert.equal((await edge.get('/a', { 'Cache-Control': 'no-cache' })).headers['x-cache'], 'REVALIDATED');
  await edge.settle();
  await edge.store.drain();
  await say(edge, origin, '"one", "two"');
  assert.equal((await edge.get('/a')).headers['x-cache'], 'HIT');
  await say(edge, origin, '"new"');
  assert.equal((await edge.get('/a')).headers['x-cache'], 'MISS');
});
