/** Stale answers: while the object is renewed behind the client's back, and while the origin fails (rows 24, 41, 42). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PLAIN_RULE, type SiteRule } from '../../src/cache/site-rule.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import type { Misbehaviour } from '../helpers/origin-script.ts';

const BEHIND = 'max-age=0, stale-while-revalidate=600';
const LENGTH = 300_000;

/** Statuses that the origin sent for a path. */
function statuses(origin: Origin, path = '/a'): readonly (number | undefined)[] {
  return origin.requestsFor(path).map(({ status }) => status);
}

function metric(edge: TestEdge, result: string): Promise<number> {
  return edge.metric(`rawslice_fill_background_renewals_total{result="${result}"}`);
}

test('row 41 (RFC 5861 s3): 50 requests for slices of a stale object are answered at once, and cost one renewal', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: BEHIND });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  await edge.settle();
  origin.misbehave('/a', { holdHead: true });
  const asked = Array.from({ length: 50 }, (_, index) => {
    const start = index * 5000;
    const headers: Record<string, string> = index % 2 === 0 ? {} : { range: `bytes=${start}-${start + 70_000}` };
    return edge.get('/a', headers, { expect: { ...body, start: index % 2 === 0 ? 0 : start } });
  });
  for (const answer of await Promise.all(asked)) {
    assert.deepEqual([answer.wrongAt, answer.isComplete, answer.headers['x-cache']], [-1, true, 'STALE']);
    assert.match(answer.headers['cache-status'] ?? '', /^rawslice; hit; ttl=-?\d+/);
  }
  await origin.waitForHeld('/a');
  assert.equal(origin.requests.length, 2, 'one renewal');
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  origin.behave();
  origin.release();
  await edge.settle();
  const hit = await edge.get('/a', {}, { expect: body });
  assert.deepEqual([hit.wrongAt, hit.headers['x-cache']], [-1, 'HIT']);
  assert.deepEqual(statuses(origin), [200, 304]);
  assert.equal(await metric(edge, 'renewed'), 1);
});

test('row 41 (RFC 5861 s3): a version that has changed is there for the next request, what it wanted of it included', async () => {
  await using origin = await Origin.start();
  const old = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: BEHIND });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  await edge.settle();
  const body = origin.change('/a', { cacheControl: 'max-age=60' });
  const stale = await edge.get('/a', {}, { expect: old });
  assert.deepEqual([stale.wrongAt, stale.bodyBytes, stale.headers['x-cache']], [-1, LENGTH, 'STALE']);
  await edge.settle();
  const hit = await edge.get('/a', {}, { expect: body });
  assert.deepEqual([hit.wrongAt, hit.bodyBytes, hit.headers['x-cache']], [-1, LENGTH, 'HIT']);
  assert.deepEqual(statuses(origin), [200, 200]);
  assert.equal(await metric(edge, 'replaced'), 1);
});

test('row 41: an object without a strong validator, and one of unknown length, are renewed whole', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin });
  for (const chunked of [false, true]) {
    const path = chunked ? '/b' : '/a';
    origin.misbehave(path, { validators: 'none', chunked });
    const old = origin.setObject(path, { lengthBytes: LENGTH, cacheControl: BEHIND });
    await edge.get(path);
    await edge.settle();
    const body = origin.change(path, { cacheControl: 'max-age=60' });
    assert.equal((await edge.get(path, {}, { expect: old })).wrongAt, -1);
    await edge.settle();
    const hit = await edge.get(path, {}, { expect: body });
    assert.deepEqual([hit.wrongAt, hit.bodyBytes, hit.headers['x-cache']], [-1, LENGTH, 'HIT'], path);
    assert.equal(origin.requestsFor(path).length, 2);
  }
});

for (const [what, fault] of [
  ['503', { status: 503 }],
  ['a reset', { raw: '', rawThen: 'reset' }],
  ['404 without freshness, marked', { status: 403 }],
] as const) {
  test(`row 41: an origin that brings ${what} is not asked again for a while, however many requests come`, async () => {
    await using origin = await Origin.start();
    const body = origin.setObject('/a', { lengthBytes: 1000, cacheControl: BEHIND });
    await using edge = await startEdge({ origin });
    await edge.get('/a');
    await edge.settle();
    origin.misbehave('/a', fault);
    await edge.get('/a');
    await edge.settle();
    const before = origin.requests.length;
    for (let count = 0; count < 20; count += 1) {
      const answer = await edge.get('/a', {}, { expect: body });
      assert.deepEqual([answer.status, answer.wrongAt, answer.headers['x-cache']], [200, -1, 'STALE']);
      await edge.settle();
    }
    assert.equal(origin.requests.length, before);
    assert.equal(await metric(edge, 'failed'), 1);
    assert.equal(await metric(edge, 'held-off'), 20);
  });
}

test('row 41: no more than 64 objects are renewed at a time; the others stay stale, and are counted', async () => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 10, cacheControl: BEHIND }) });
  await using edge = await startEdge({ origin, set: { 'upstream.connections': '100' } });
  const paths = Array.from({ length: 70 }, (_, index) => `/${index}`);
  for (const path of paths) await edge.get(path);
  await edge.settle();
  origin.forgetRequests();
  origin.misbehave('*', { holdHead: true });
  for (const path of paths) assert.equal((await edge.get(path)).headers['x-cache'], 'STALE');
  await eventually(() => origin.requests.length === 64, { what: '64 renewals' });
  assert.equal(await metric(edge, 'limit'), 6);
  origin.behave();
  origin.release();
  await edge.settle();
  assert.equal(origin.requests.length, 64);
  assert.equal(await metric(edge, 'renewed'), 64);
});

for (const forbidden of ['must-revalidate', 'proxy-revalidate', 'no-cache', 's-maxage=0']) {
  test(`row 41 (RFC 9111 s4.2.4): ${forbidden} forbids it, unless a rule says otherwise`, async () => {
    const rule: SiteRule = { ...PLAIN_RULE, name: 'behind', staleWhileRevalidateMs: 60_000 };
    for (const [rules, result] of [
      [[], 'REVALIDATED'],
      [[rule], 'STALE'],
    ] as const) {
      await using origin = await Origin.start();
      origin.setObject('/a', { lengthBytes: 100, cacheControl: `${BEHIND}, ${forbidden}` });
      await using edge = await startEdge({ origin, rules });
      await edge.get('/a');
      assert.equal((await edge.get('/a')).headers['x-cache'], result);
      await edge.settle();
    }
  });
}

test("row 41: a purge during a renewal wins: what is confirmed then is nobody's", async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 1000, cacheControl: BEHIND });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  await edge.settle();
  origin.misbehave('/a', { holdHead: true }, 1);
  await edge.get('/a');
  await origin.waitForHeld('/a');
  edge.resolver.forget({ kind: 'everything' });
  await edge.store.purge({ kind: 'everything' });
  origin.release();
  await edge.settle();
  assert.equal((await edge.get('/a')).headers['x-cache'], 'MISS');
});

const FAULTS: readonly (readonly [what: string, fault: Misbehaviour])[] = [
  ['500', { status: 500 }],
  ['502', { status: 502 }],
  ['503', { status: 503 }],
  ['504', { status: 504 }],
  ['an end without an answer', { raw: '' }],
  ['a reset', { raw: '', rawThen: 'reset' }],
  ['half a head', { raw: 'HTTP/1.1 200 OK\r\nETag: "a' }],
];
for (const [what, fault] of FAULTS) {
  test(`row 24 (RFC 9111 s4.2.4, s4.3.3): ${what}: stale within a day, and not where the origin forbids it`, async () => {
    await using origin = await Origin.start();
    const allowed = origin.setObject('/ok', { lengthBytes: LENGTH, cacheControl: 'max-age=0' });
    const refused = ['must-revalidate', 'proxy-revalidate', 'no-cache', 's-maxage=0', 'stale-if-error=0', 'stale-if-error=30'];
    refused.forEach((control, index) => void origin.setObject(`/${index}`, { lengthBytes: 10, cacheControl: `max-age=0, ${control}` }));
    // So old on arrival that the half minute is over.
    origin.misbehave(`/${refused.length - 1}`, { headers: { Age: '60' } });
    await using edge = await startEdge({ origin });
    await edge.get('/ok');
    for (const index of refused.keys()) await edge.get(`/${index}`);
    await edge.settle();
    origin.behave();
    origin.misbehave('*', fault);
    const stale = await edge.get('/ok', {}, { expect: allowed });
    assert.deepEqual([stale.status, stale.wrongAt, stale.bodyBytes, stale.headers['x-cache']], [200, -1, LENGTH, 'STALE']);
    assert.ok(stale.headers.age !== undefined);
    for (const [index, control] of refused.entries()) assert.ok((await edge.get(`/${index}`)).status >= 500, control);
  });
}

test('row 24: an origin that does not answer in time', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=0' });
  await using edge = await startEdge({ origin, set: { 'upstream.headTimeout': '50ms' } });
  await edge.get('/a');
  await edge.settle();
  origin.misbehave('/a', { holdHead: true });
  const stale = await edge.get('/a', {}, { expect: body });
  assert.deepEqual([stale.status, stale.wrongAt, stale.headers['x-cache']], [200, -1, 'STALE']);
});

test('row 24 (RFC 5861 s4): cache.staleIfError is the limit where nobody says one, and each request may have its own', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 10, cacheControl: 'max-age=0' });
  origin.setObject('/b', { lengthBytes: 10, cacheControl: 'max-age=0, stale-if-error=600' });
  origin.setObject('/c', { lengthBytes: 10, cacheControl: 'max-age=0, must-revalidate' });
  await using edge = await startEdge({ origin, set: { 'cache.staleIfError': '0' } });
  for (const path of ['/a', '/b', '/c']) await edge.get(path);
  await edge.settle();
  origin.misbehave('*', { status: 503 });
  const ask = async (path: string, wish?: string): Promise<number> =>
    (await edge.get(path, wish === undefined ? {} : { 'cache-control': wish })).status;
  assert.deepEqual([await ask('/a'), await ask('/a', 'stale-if-error=60')], [503, 200]);
  assert.deepEqual([await ask('/b'), await ask('/b', 'stale-if-error=0')], [200, 503]);
  assert.deepEqual([await ask('/c'), await ask('/c', 'stale-if-error=60')], [503, 503]);
});

test('row 24: of those who wait for one answer each is served by the terms of its own request', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 10, cacheControl: 'max-age=0' });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  await edge.settle();
  origin.misbehave('/a', { holdHead: true, status: 503 }, 1);
  origin.misbehave('/a', { status: 502 });
  const wishes = [{}, { 'cache-control': 'stale-if-error=0' }, { 'if-match': '"x"' }, { 'cache-control': 'stale-if-error=60' }];
  const answers: ReturnType<TestEdge['get']>[] = [];
  for (const wish of wishes) {
    answers.push(edge.get('/a', wish));
    await eventually(() => edge.services.load.requests === answers.length, { what: `${answers.length} requests` });
  }
  await origin.waitForHeld('/a');
  origin.release();
  // Those who may not have it stale go to the origin by themselves.
  assert.deepEqual(
    (await Promise.all(answers)).map(({ status }) => status),
    [200, 502, 502, 200],
  );
});

test("row 21 (RFC 9111 s4.3.2): a condition on the origin's state is not answered from what nobody has confirmed", async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 10, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  const { etag = '' } = origin.validators('/a');
  assert.equal((await edge.get('/a', { 'if-match': etag })).headers['x-cache'], 'REVALIDATED');
  assert.equal((await edge.get('/a', { 'if-match': '"other"' })).status, 412);
  origin.misbehave('/a', { status: 503 });
  assert.equal((await edge.get('/a', { 'if-match': etag })).status, 503);
  assert.equal((await edge.get('/a')).status, 200);
});

test('row 21 (RFC 9111 s4.3.2): without Last-Modified, If-Modified-Since is held against Date', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 10, cacheControl: 'max-age=60', lastModified: 'none' });
  await using edge = await startEdge({ origin });
  const { headers } = await edge.get('/a');
  const ask = async (since: string): Promise<number> => (await edge.get('/a', { 'if-modified-since': since })).status;
  assert.equal(await ask(headers.date ?? ''), 304);
  assert.equal(await ask('Thu, 01 Jan 2015 00:00:00 GMT'), 200);
  // The other one takes precedence.
  assert.equal((await edge.get('/a', { 'if-modified-since': headers.date ?? '', 'if-none-match': '"other"' })).status, 200);
  assert.equal(origin.requests.length, 1);
});
