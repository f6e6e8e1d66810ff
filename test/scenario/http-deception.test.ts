/** Cache deception: what an origin answers for its own reading of a path is not kept for everybody because a rule reads it otherwise. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PLAIN_RULE, type SiteRule } from '../../src/cache/site-rule.ts';
import { startEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';

const STATIC: SiteRule = { ...PLAIN_RULE, name: 'static', pattern: /\.(css|js|png|deb)$/u, isImmutable: true };
const PAGE = { lengthBytes: 1000, contentType: 'text/html; charset=utf-8' };

test('cache deception by path: a page under the name of a static file is passed on and not stored, whatever the rule', async () => {
  for (const rule of [STATIC, { ...STATIC, isImmutable: false, freshForMs: 60_000 }, { ...STATIC, pattern: /^\//u }]) {
    await using origin = await Origin.start();
    const body = origin.setObject('/account.php/x.css', PAGE);
    await using edge = await startEdge({ origin, rules: [rule] });
    for (const headers of [{}, { range: 'bytes=0-999' }, { cookie: 'id=victim' }, {}] as Record<string, string>[]) {
      const answer = await edge.get('/account.php/x.css', headers, { expect: body });
      await edge.settle();
      assert.deepEqual([answer.wrongAt, answer.bodyBytes, answer.headers['x-cache'] === 'HIT'], [-1, 1000, false]);
    }
    assert.equal(origin.requests.length, 4);
    assert.ok((await edge.metric('rawslice_fill_not_storable_total{reason="content-type"}')) > 0);
  }
});

test('cache deception by path: a rule still keeps what is what its path says, and what its operator lets it', async () => {
  await using origin = await Origin.start();
  const trusting: SiteRule = { ...STATIC, name: 'trusting', pattern: /^\/trusted\//u, checksContentType: false };
  const cases = { '/a.css': 'text/css', '/a.js': 'application/octet-stream', '/a.deb': 'text/plain', '/trusted/a.css': 'text/html' };
  for (const [path, contentType] of Object.entries(cases)) origin.setObject(path, { ...PAGE, contentType });
  await using edge = await startEdge({ origin, rules: [trusting, STATIC] });
  for (const path of Object.keys(cases)) {
    await edge.get(path);
    await edge.settle();
    assert.equal((await edge.get(path)).headers['x-cache'], 'HIT', path);
  }
});

test('cache deception by path: a file that becomes a page is not renewed as one', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a.css', { lengthBytes: 1000, contentType: 'text/css' });
  await using edge = await startEdge({ origin, rules: [{ ...STATIC, isImmutable: false, freshForMs: 60_000 }] });
  await edge.get('/a.css');
  await edge.settle();
  assert.equal((await edge.get('/a.css')).headers['x-cache'], 'HIT');
  const page = origin.setObject('/a.css', { ...PAGE, version: 2 });
  for (const _ of [1, 2]) {
    const answer = await edge.get('/a.css', { 'cache-control': 'no-cache' }, { expect: page });
    await edge.settle();
    assert.deepEqual([answer.wrongAt, answer.headers['content-type']], [-1, PAGE.contentType]);
  }
  const last = await edge.get('/a.css', {}, { expect: page });
  assert.deepEqual([last.wrongAt, last.headers['x-cache'] === 'HIT'], [-1, false]);
});
