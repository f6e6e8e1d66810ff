/** Sequences in which the letter was missed once: what a 304 forbids, what a client refuses, heads before bodies, lengths, and origins that lie. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB } from '../../src/base/units.ts';
import { ClientConnection } from '../helpers/client.ts';
import { startEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';

for (const method of ['GET', 'HEAD'] as const) {
  for (const said of ['private', 'no-store', 'private, max-age=50']) {
    test(`row 34 (RFC 9111 s5.2.2.5, s5.2.2.7): what the answer to a ${method} calls ${said} is nobody else's from then on`, async () => {
      await using origin = await Origin.start();
      const body = origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=0' });
      await using edge = await startEdge({ origin });
      await edge.get('/a');
      await edge.settle();
      origin.setObject('/a', { lengthBytes: 1000, cacheControl: said });
      const renewed = await edge.get('/a', {}, { method, ...(method === 'GET' ? { expect: body } : {}) });
      assert.deepEqual([renewed.status, renewed.headers['cache-control']], [200, said]);
      await edge.settle();
      for (const wish of ['max-stale', 'only-if-cached, max-stale']) {
        origin.forgetRequests();
        const other = await edge.get('/a', { 'cache-control': wish });
        assert.deepEqual([other.status, origin.requests.length], wish === 'max-stale' ? [200, 1] : [504, 0], wish);
      }
    });
  }
}

test('row 37 (RFC 9111 s5.2.1.7): only-if-cached of what is stored in part is a 504, and the origin is not asked', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 1000 * KIB, cacheControl: 'max-age=600' });
  await using edge = await startEdge({ origin });
  await edge.get('/a', { range: 'bytes=0-5' });
  await edge.settle();
  origin.forgetRequests();
  const ask = async (range?: string): Promise<number> =>
    (await edge.get('/a', { 'cache-control': 'only-if-cached', ...(range === undefined ? {} : { range }) })).status;
  assert.deepEqual([await ask('bytes=500000-500003'), await ask(), await ask('bytes=0-1,500000-500003')], [504, 504, 504]);
  assert.deepEqual([await ask('bytes=1-3'), origin.requests.length], [206, 0]);
});

test('events: the head of what passes through does not wait for its body', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/events', { lengthBytes: 1000, cacheControl: 'no-store' });
  origin.misbehave('/events', { chunked: true, pauseAfterBytes: 0 });
  await using edge = await startEdge({ origin });
  const connection = await ClientConnection.open({ port: edge.port });
  let hasHead = false;
  const onHead = (): void => {
    hasHead = true;
  };
  const answer = connection.request({ path: '/events', expect: body, onHead });
  await origin.waitForHeld('/events');
  await eventually(() => hasHead, { what: 'the head' });
  origin.release('/events');
  const { wrongAt, isComplete } = await answer;
  assert.deepEqual([wrongAt, isComplete], [-1, true]);
  connection.destroy();
});

test('an origin that breaks off before the first byte of what passes through is a 502, and no empty answer', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin });
  for (const raw of ['HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n']) {
    origin.setObject('/a', { lengthBytes: 10 });
    origin.misbehave('/a', { raw });
    const { status, isComplete } = await edge.get('/a');
    assert.deepEqual([status, isComplete], [502, true]);
  }
});

test('row 28 (RFC 9110 s8.6): a length that is said twice is passed on once; a 204 has none', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin });
  const cases: readonly (readonly [method: string, raw: string, expected: string | undefined])[] = [
    ['GET', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx', '1'],
    ['GET', 'HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx', '1'],
    ['HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n', '5'],
    ['GET', 'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n', undefined],
  ];
  for (const [index, [method, raw, expected]] of cases.entries()) {
    origin.setObject(`/${index}`, { lengthBytes: 1 });
    origin.misbehave(`/${index}`, { raw });
    const answer = await edge.get(`/${index}`, {}, { method });
    assert.deepEqual([answer.headers['content-length'], answer.isComplete], [expected, true], raw);
  }
});

test('an origin that answers everything with the same few bytes is not asked for ever', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 9, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { interval: () => ({ start: 0, end: 3 }) });
  await using edge = await startEdge({ origin });
  const answer = await edge.get('/a');
  assert.equal(answer.isComplete, false);
  await edge.settle();
  assert.ok(origin.requests.length <= 8, `${origin.requests.length} requests`);
});

test('row 40 (RFC 9211 s2.2): a stored response that could not be confirmed was stale, and no miss', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 10, cacheControl: 'max-age=0, must-revalidate' });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  await edge.settle();
  origin.misbehave('/a', { raw: '', rawThen: 'reset' });
  const { status, headers } = await edge.get('/a');
  assert.equal(status, 502);
  assert.match(headers['cache-status'] ?? '', /fwd=stale/);
});
