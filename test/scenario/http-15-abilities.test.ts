/** What origins can do is learnt from their answers, shown, and used: ranges, the end of objects, connections, tags of several nodes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB } from '../../src/base/units.ts';
import { startEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';

const LENGTH = 200 * KIB;

test('row 15 (RFC 9110 s14.2): an origin that ignores ranges is not asked for them for a while, beside others that answer', async () => {
  await using origin = await Origin.start({
    improvise: ({ path }) => ({ ignoreRange: path.startsWith('/old/') }),
  });
  await using edge = await startEdge({ origin });
  for (const name of ['/old/1', '/old/2', '/old/3', '/old/4', '/new/1']) {
    origin.setObject(name, { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
    const answer = await edge.get(name, { Range: 'bytes=100000-100099' }, { expect: { ...origin.identity(name), start: 100_000 } });
    assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes], [206, -1, 100]);
    await edge.settle();
  }
  const asked = origin.requests.map(({ path, headers }) => [path, headers.range !== undefined]);
  assert.deepEqual(asked, [
    ['/old/1', true],
    ['/old/2', true],
    ['/old/3', true],
    ['/old/4', false],
    ['/new/1', true],
  ]);
  const facts = edge.abilities
    .list()
    .map(({ place, answersRanges, rangelessUntilMs }) => [place, answersRanges, rangelessUntilMs !== undefined]);
  const host = `127.0.0.1:${origin.port}`;
  assert.deepEqual(facts, [
    [`${host}/new/`, true, false],
    [`${host}/old/`, false, true],
  ]);
});

test('row 7, 15: what a range past the end is answered with, and whether connections stay open', async () => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 10, cacheControl: 'max-age=60' }) });
  await using edge = await startEdge({ origin });
  await edge.get('/strict/a', { Range: 'bytes=100000-' });
  origin.misbehave('/lax/a', { ignoreRange: true, connectionClose: true });
  await edge.get('/lax/a', { Range: 'bytes=100000-' });
  const facts = edge.abilities.list().map(({ pastEnd, keepsAlive, answersRanges }) => [pastEnd, keepsAlive, answersRanges]);
  assert.deepEqual(facts, [
    [200, false, undefined],
    [416, true, undefined],
  ]);
});

/** Made a day ago: a strong validator beside the tag (RFC 9110 s8.8.2.2). */
const MODIFIED = new Date(Date.now() - 86_400_000).toUTCString();

test('row 16, 48: nodes that give one object different tags do not bring a new generation each time', async () => {
  let count = 0;
  await using origin = await Origin.start({
    improvise: () => {
      count += 1;
      return { replaceHeaders: { ETag: `"inode-${count}"` } };
    },
  });
  origin.setObject('/pool/a', { lengthBytes: LENGTH, cacheControl: 'max-age=0', lastModified: MODIFIED });
  await using edge = await startEdge({ origin });
  for (let request = 0; request < 8; request += 1) {
    const answer = await edge.get('/pool/a', {}, { expect: origin.identity('/pool/a') });
    assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes], [200, -1, LENGTH]);
    await edge.settle();
  }
  // The object itself, three times another tag, and from then on confirmed by its date.
  assert.deepEqual(
    origin.requests.map(({ status }) => status),
    [200, 200, 200, 200, 304, 304, 304, 304],
  );
  const last = origin.requests.at(-1);
  assert.deepEqual([last?.headers['if-none-match'], last?.headers['if-modified-since']], [undefined, MODIFIED]);
  const facts = edge.abilities.list()[0];
  assert.deepEqual([facts?.tagFlaps, facts?.tagsFlapUntilMs !== undefined], [3, true]);
});

test('row 16, 48: an object that changes together with its date is replaced, also where tags flap', async () => {
  let count = 0;
  let modified = MODIFIED;
  await using origin = await Origin.start({
    improvise: () => {
      count += 1;
      return { replaceHeaders: { ETag: `"inode-${count}"` } };
    },
  });
  const set = (version: number): void => {
    origin.setObject('/pool/a', { lengthBytes: LENGTH, version, cacheControl: 'max-age=0', lastModified: modified });
  };
  set(1);
  await using edge = await startEdge({ origin });
  for (let request = 0; request < 5; request += 1) {
    await edge.get('/pool/a');
    await edge.settle();
  }
  assert.equal(edge.abilities.list()[0]?.tagsFlapUntilMs !== undefined, true);
  modified = new Date(Date.parse(MODIFIED) + 60_000).toUTCString();
  set(2);
  const answer = await edge.get('/pool/a', {}, { expect: origin.identity('/pool/a') });
  assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes], [200, -1, LENGTH]);
});
