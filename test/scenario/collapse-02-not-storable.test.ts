/** A response head that nobody may share lets all waiters go at once, and nobody waits there again for a while. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import type { Misbehaviour } from '../helpers/origin-script.ts';

const CASES: readonly [what: string, misbehaviour: Misbehaviour][] = [
  ['Vary: * (row 31, RFC 9111 s4.1)', { headers: { Vary: '*' } }],
  ['Set-Cookie (row 33)', { headers: { 'Set-Cookie': 'a=b' } }],
  ['no-store (row 34, RFC 9111 s5.2.2.5)', { replaceHeaders: { 'Cache-Control': 'no-store' } }],
  ['404 (row 45)', { status: 404 }],
];

for (const [what, misbehaviour] of CASES) {
  test(`waiters go to the origin at once and in parallel: ${what}`, async () => {
    await using origin = await Origin.start();
    const body = origin.setObject('/x', { lengthBytes: 100_000, cacheControl: 'max-age=60' });
    origin.misbehave('/x', { ...misbehaviour, holdHead: true });
    await using edge = await startEdge({ origin });
    const verified = misbehaviour.status === undefined ? { expect: body } : {};
    const answers = Array.from({ length: 10 }, () => edge.get('/x', {}, verified));
    await eventually(() => edge.services.load.requests === 10, { what: '10 requests' });
    await origin.waitForHeld('/x');
    assert.equal(origin.requestsFor('/x').length, 1);
    origin.release();
    // The others are all held at the same time: none waits for another. What varies may not be what the first one wants, either.
    const others = misbehaviour.headers !== undefined && 'Vary' in misbehaviour.headers ? 10 : 9;
    await origin.waitForHeld('/x', others);
    origin.release();
    for (const answer of await Promise.all(answers)) {
      assert.deepEqual([answer.status, answer.wrongAt, answer.isComplete], [misbehaviour.status ?? 200, -1, true]);
    }
    // The key is marked: later requests do not wait for each other.
    const later = [edge.get('/x'), edge.get('/x'), edge.get('/x')];
    await origin.waitForHeld('/x', 3);
    origin.release();
    await Promise.all(later);
    assert.equal(origin.requestsFor('/x').length, 1 + others + 3);
  });
}

test('a range past the end, which the origin refuses, keeps nobody from the object (row 7, RFC 9110 s15.5.17)', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/x', { lengthBytes: 100_000, cacheControl: 'max-age=60' });
  origin.misbehave('/x', { holdHead: true }, 1);
  await using edge = await startEdge({ origin });
  const refused = edge.get('/x', { range: 'bytes=500000-' });
  await origin.waitForHeld('/x');
  const waiters = [edge.get('/x', {}, { expect: body }), edge.get('/x', {}, { expect: body })];
  await eventually(() => edge.services.load.requests === 3, { what: 'three requests' });
  origin.release();
  assert.deepEqual([(await refused).status, (await refused).headers['content-range']], [416, 'bytes */100000']);
  for (const answer of await Promise.all(waiters)) assert.deepEqual([answer.status, answer.wrongAt, answer.isComplete], [200, -1, true]);
  assert.equal((await edge.get('/x')).headers['x-cache'], 'HIT');
  assert.equal(origin.requestsFor('/x').length, 2);
});

test('waiters get their own failure when the origin breaks off before its head', async () => {
  await using origin = await Origin.start();
  origin.setObject('/x', { lengthBytes: 1000, cacheControl: 'max-age=60' });
  origin.misbehave('/x', { holdHead: true, raw: '' });
  await using edge = await startEdge({ origin });
  const answers = Array.from({ length: 5 }, () => edge.get('/x'));
  await eventually(() => edge.services.load.requests === 5, { what: 'five requests' });
  await origin.waitForHeld('/x');
  origin.release();
  await origin.waitForRequest('/x', 2);
  await origin.waitForHeld('/x');
  origin.release();
  for (const answer of await Promise.all(answers)) assert.equal(answer.status, 502);
  assert.equal(origin.requestsFor('/x').length, 2, 'one request, and one more because a kept connection might have been at fault');
});
