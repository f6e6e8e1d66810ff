/** HEAD of what is stored and stale: a conditional request without a body, which renews or makes stale what was stored from a GET. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import { tinyDevice } from '../helpers/tiny-device.ts';

const LENGTH = 150_000;
const STALE = { lengthBytes: LENGTH, cacheControl: 'max-age=0' };
const FRESH = { lengthBytes: LENGTH, cacheControl: 'max-age=600' };

async function ask(edge: TestEdge, method: string, headers: Record<string, string> = {}) {
  const answer = await edge.get('/a', headers, { method });
  await edge.settle();
  await edge.store.drain();
  const { 'x-cache': cache, 'content-length': length } = answer.headers;
  return { answer, result: [answer.status, cache, length] };
}

for (const makeStore of [undefined, tinyDevice]) {
  const place = makeStore === undefined ? 'model' : 'device';

  test(`row 25 (RFC 9111 s4.3.5): HEAD of a stale object is a conditional HEAD; a 304 renews it for GET (${place})`, async () => {
    await using origin = await Origin.start();
    origin.setObject('/a', STALE);
    await using edge = await startEdge({ origin, makeStore });
    await ask(edge, 'GET');
    const renewal = { replaceHeaders: { 'Cache-Control': 'max-age=600', 'X-New': 'yes' } };
    origin.misbehave('/a', renewal, 1);
    assert.deepEqual((await ask(edge, 'HEAD')).result, [200, 'REVALIDATED', String(LENGTH)]);
    const sent = origin.requests.at(-1);
    assert.deepEqual([sent?.method, sent?.status, sent?.bodyBytesSent], ['HEAD', 304, 0]);
    assert.notEqual(sent?.headers['if-none-match'], undefined);
    const asked = origin.requests.length;
    const { answer, result } = await ask(edge, 'GET');
    assert.deepEqual([...result, answer.headers['x-new'], answer.bodyBytes], [200, 'HIT', String(LENGTH), 'yes', LENGTH]);
    assert.equal(origin.requests.length, asked);
  });

  test(`row 25 (RFC 9111 s4.3.5): a 200 to HEAD with the same validators and length renews it too (${place})`, async () => {
    await using origin = await Origin.start();
    origin.setObject('/a', STALE);
    await using edge = await startEdge({ origin, makeStore });
    await ask(edge, 'GET');
    origin.misbehave('/a', { ignoreConditions: true, replaceHeaders: { 'Cache-Control': 'max-age=600', 'Content-Type': 'text/odd' } }, 1);
    assert.equal((await ask(edge, 'HEAD')).answer.headers['x-cache'], 'REVALIDATED');
    assert.equal(origin.requests.at(-1)?.status, 200);
    const { answer } = await ask(edge, 'GET');
    assert.deepEqual([answer.headers['x-cache'], answer.headers['content-type']], ['HIT', 'application/octet-stream']);
  });

  test(`row 25 (RFC 9111 s4.3.5): a HEAD that tells of another version passes, and what is stored is stale (${place})`, async () => {
    await using origin = await Origin.start();
    origin.setObject('/a', FRESH);
    await using edge = await startEdge({ origin, makeStore });
    await ask(edge, 'GET');
    const lies: Parameters<Origin['misbehave']>[1] = { ignoreConditions: true, replaceHeaders: { 'Content-Length': '7' } };
    for (const told of [lies, { ignoreConditions: true, validators: 'none' as const }, { status: 404 }]) {
      assert.equal((await ask(edge, 'GET')).answer.headers['x-cache'], 'HIT');
      origin.misbehave('/a', told, 1);
      const passed = await ask(edge, 'HEAD', { 'Cache-Control': 'no-cache' });
      assert.deepEqual([passed.answer.status, passed.answer.headers['x-cache']], ['status' in told ? 404 : 200, 'BYPASS']);
      assert.equal((await ask(edge, 'GET')).answer.headers['x-cache'], 'REVALIDATED', JSON.stringify(told));
    }
    const body = origin.change('/a');
    assert.equal((await ask(edge, 'HEAD', { 'Cache-Control': 'no-cache' })).answer.headers['x-cache'], 'BYPASS');
    const next = await edge.get('/a', {}, { expect: body });
    assert.deepEqual([next.headers['x-cache'], next.wrongAt, next.isComplete], ['MISS', -1, true]);
    assert.equal(await edge.metric('rawslice_fill_heads_differing_total'), 4);
    const heads = origin.requests.filter(({ method }) => method === 'HEAD');
    assert.equal(heads.length, 4, 'one HEAD each: nothing is asked twice');
  });

  test(`row 25 (RFC 9111 s4.2.4): HEAD of a stale object while the origin fails is answered from what is stored (${place})`, async () => {
    await using origin = await Origin.start();
    origin.setObject('/a', STALE);
    await using edge = await startEdge({ origin, makeStore });
    await ask(edge, 'GET');
    origin.misbehave('/a', { status: 503 }, 1);
    assert.deepEqual((await ask(edge, 'HEAD')).result, [200, 'STALE', String(LENGTH)]);
  });

  test(`row 25 (RFC 9111 s4.3.5): HEAD and GET that wait for one answer each get their own (${place})`, async () => {
    await using origin = await Origin.start();
    const body = origin.setObject('/a', STALE);
    await using edge = await startEdge({ origin, makeStore });
    await ask(edge, 'GET');
    for (const change of [false, true]) {
      origin.misbehave('/a', { holdHead: true }, 1);
      const head = edge.get('/a', {}, { method: 'HEAD' });
      await origin.waitForHeld('/a');
      const expected = change ? origin.change('/a') : body;
      const waiting = edge.get('/a', {}, { expect: expected });
      await eventually(async () => (await edge.metric('rawslice_fill_collapsed_total')) === (change ? 2 : 1), {
        what: 'a request that waits',
      });
      origin.release();
      const [first, second] = await Promise.all([head, waiting]);
      assert.deepEqual([first.status, first.bodyBytes, first.isComplete], [200, 0, true]);
      assert.deepEqual([second.status, second.wrongAt, second.bodyBytes], [200, -1, LENGTH]);
      await edge.settle();
      await edge.store.drain();
    }
  });
}

test('row 25 (RFC 9111 s4.3.5): HEAD of what is not stored passes and stores nothing; one with credentials changes nothing for others', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', FRESH);
  await using edge = await startEdge({ origin });
  assert.deepEqual((await ask(edge, 'HEAD')).result, [200, 'BYPASS', String(LENGTH)]);
  assert.equal((await ask(edge, 'GET')).answer.headers['x-cache'], 'MISS');
  origin.misbehave('/a', { when: ({ headers }) => headers.authorization !== undefined, status: 404 }, 1);
  assert.equal((await ask(edge, 'HEAD', { Authorization: 'Basic x', 'Cache-Control': 'no-cache' })).answer.status, 404);
  assert.equal((await ask(edge, 'GET')).answer.headers['x-cache'], 'HIT');
});
