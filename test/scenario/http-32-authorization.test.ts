/** Requests with credentials: what may be shared is, and nothing else (row 32, RFC 9111 s3.5). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import type { OriginRequest } from '../helpers/origin-script.ts';
import { sendTwo } from '../helpers/two-requests.ts';

const ANNA = { authorization: 'Basic YW5uYQ==' };
const OTTO = { authorization: 'Basic b3R0bw==' };
const LENGTH = 300_000;
const isAnonymous = ({ headers }: OriginRequest): boolean => headers.authorization === undefined;

for (const [control, isShared] of [
  ['max-age=60', false],
  ['max-age=60, private', false],
  ['max-age=60, no-store, public', false],
  ['max-age=60, public', true],
  ['max-age=60, must-revalidate', true],
  ['s-maxage=60', true],
  ['max-age=60, proxy-revalidate', false],
] as const) {
  const headers = [['Cache-Control', control]] as const;
  const how = isShared ? 'reused' : 'asked';
  test(`row 32 (RFC 9111 s3.5): the answer to a request with credentials, with ${control}, is ${how} for one without`, async () => {
    assert.equal((await sendTwo({ headers, first: ANNA })).how, how);
  });
  test(`row 32 (RFC 9111 s3.5): the answer to one without, with ${control}, is ${how} for one with credentials`, async () => {
    assert.equal((await sendTwo({ headers, second: ANNA })).how, how);
  });
}

test('row 32 (RFC 9111 s3.5): the origin sees the credentials of each client, and fills carry none', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60, public' });
  await using edge = await startEdge({ origin });
  const first = await edge.get('/a', { ...ANNA, range: 'bytes=0-9' });
  assert.deepEqual([first.status, first.bodyBytes], [206, 10]);
  await edge.settle();
  // What is there is for Otto as well; what is not, he asks for himself; to everybody else it is fetched as ever.
  assert.equal((await edge.get('/a', { ...OTTO, range: 'bytes=5-9' })).headers['x-cache'], 'HIT');
  const rest = await edge.get('/a', { ...OTTO, range: 'bytes=200000-200009' });
  assert.deepEqual([rest.status, rest.bodyBytes], [206, 10]);
  assert.equal((await edge.get('/a', {}, { expect: body })).wrongAt, -1);
  await edge.settle();
  assert.equal((await edge.get('/a', OTTO, { expect: body })).headers['x-cache'], 'HIT');
  const seen = origin.requests.map(({ headers }) => headers.authorization);
  assert.deepEqual([seen[0], seen[1], new Set(seen.slice(2))], [ANNA.authorization, OTTO.authorization, new Set([undefined])]);
});

test('row 32: ten requests with credentials do not wait for each other, nor do others wait for them', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 100, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { holdHead: true, when: (request) => !isAnonymous(request) });
  await using edge = await startEdge({ origin });
  const held = Array.from({ length: 10 }, () => edge.get('/a', ANNA));
  await origin.waitForHeld('/a', 10);
  assert.equal((await edge.get('/a')).status, 200);
  origin.release();
  for (const answer of await Promise.all(held)) assert.equal(answer.status, 200);
});

test('row 32: what one client with credentials may not share switches the cache off for nobody else', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 100, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  for (const _ of [1, 2]) assert.notEqual((await edge.get('/a', ANNA)).headers['x-cache'], 'HIT');
  assert.deepEqual([(await edge.get('/a')).headers['x-cache'], (await edge.get('/a')).headers['x-cache']], ['MISS', 'HIT']);
  assert.notEqual((await edge.get('/a', ANNA)).headers['x-cache'], 'HIT');
  assert.equal((await edge.get('/a')).headers['x-cache'], 'HIT');
});

test('row 32 (RFC 9111 s3.5): a 304 to one client confirms only what may be shared', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 100, cacheControl: 'public, max-age=0' });
  origin.setObject('/b', { lengthBytes: 100, cacheControl: 'max-age=0' });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  await edge.get('/b');
  await edge.settle();
  assert.equal((await edge.get('/a', ANNA)).headers['x-cache'], 'REVALIDATED');
  assert.equal((await edge.get('/b', ANNA)).status, 200);
  assert.deepEqual(
    origin.requestsFor('/b').map(({ status }) => status),
    [200, 200],
    'asked without a condition',
  );
  // The 304 takes `public` back: it was for Anna.
  origin.setObject('/a', { lengthBytes: 100, cacheControl: 'max-age=60' });
  assert.equal((await edge.get('/a', ANNA)).status, 200);
  assert.equal((await edge.get('/a')).headers['x-cache'], 'REVALIDATED');
});

test('row 32: where the origin refuses fills without credentials, the client gets its own answer', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60, public' });
  origin.misbehave('/a', { status: 401, when: isAnonymous });
  await using edge = await startEdge({ origin });
  await edge.get('/a', { ...ANNA, range: 'bytes=0-9' });
  await edge.settle();
  assert.equal((await edge.get('/a', { range: 'bytes=200000-200009' })).status, 401);
  const rest = await edge.get('/a', { ...ANNA, range: 'bytes=200000-200009' });
  assert.deepEqual([rest.status, rest.bodyBytes], [206, 10]);
});

test('row 32: an answer for one, with Vary or Cookie in play, comes from a request of its own', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: 100, cacheControl: 'private', headers: { Vary: 'Accept' } });
  await using edge = await startEdge({ origin });
  const answer = await edge.get('/a', { ...ANNA, cookie: 'a=b', accept: 'text/plain' }, { expect: body });
  assert.deepEqual([answer.status, answer.wrongAt], [200, -1]);
  const last = origin.requests.at(-1);
  assert.deepEqual([last?.headers.cookie, last?.headers.accept, last?.headers.authorization], ['a=b', 'text/plain', ANNA.authorization]);
});
