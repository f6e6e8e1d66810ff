/** Many clients on one cold object: one copy leaves the origin, and everybody reads along while it comes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB, MIB } from '../../src/base/units.ts';
import { bodyBytes } from '../helpers/body.ts';
import { startEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';

const LENGTH = 8 * MIB;

test('100 clients on one cold object cost the origin one copy (design page HTTP, collapsing)', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a.iso', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  // Computed once: verifying byte by byte a hundred times would take longer than everything else.
  const expected = bodyBytes(body, 0, LENGTH);
  let wrong = 0;
  const onBytes = (bytes: Buffer, offset: number): void => {
    if (expected.compare(bytes, 0, bytes.length, offset, offset + bytes.length) !== 0) wrong += 1;
  };
  const answers = await Promise.all(Array.from({ length: 100 }, () => edge.get('/a.iso', {}, { onBytes })));
  for (const answer of answers) assert.deepEqual([answer.status, answer.bodyBytes, answer.isComplete], [200, LENGTH, true]);
  assert.equal(wrong, 0);
  const sent = origin.bytesSent('/a.iso');
  assert.ok(sent >= LENGTH && sent <= LENGTH * 1.01, `the origin sent ${sent} bytes`);
});

for (const [what, validators] of [
  ['with a strong validator', undefined],
  ['without any validator', 'none'],
] as const) {
  test(`followers have what came before the fill is complete, ${what}`, async () => {
    await using origin = await Origin.start();
    const body = origin.setObject('/a.iso', { lengthBytes: MIB, cacheControl: 'max-age=60' });
    origin.misbehave('/a.iso', { pauseAfterBytes: 200 * KIB, validators }, 1);
    await using edge = await startEdge({ origin });
    const received = Array.from({ length: 10 }, () => 0);
    const answers = received.map((_, index) =>
      edge.get(
        '/a.iso',
        {},
        {
          onBytes: (bytes, offset) => {
            received[index] = offset + bytes.length;
          },
        },
      ),
    );
    await origin.waitForHeld('/a.iso');
    await eventually(() => received.every((count) => count === 200 * KIB), { what: `200 KiB at each follower, not ${received.join()}` });
    origin.release();
    for (const answer of await Promise.all(answers)) assert.deepEqual([answer.isComplete, answer.bodyBytes], [true, MIB]);
    assert.equal(origin.requestsFor('/a.iso').length, 1);
    const hit = await edge.get('/a.iso', {}, { expect: body });
    assert.deepEqual([hit.wrongAt, hit.headers['x-cache']], [-1, 'HIT']);
  });
}

test('a client that comes while an object of unknown length is growing reads along (RFC 9112 s6.3)', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/grow', { lengthBytes: 500_000, cacheControl: 'max-age=60' });
  origin.misbehave('/grow', { chunked: true, pauseAfterBytes: 200_000 }, 1);
  await using edge = await startEdge({ origin });
  const first = edge.get('/grow', {}, { expect: body });
  await origin.waitForHeld('/grow');
  let received = 0;
  const second = edge.get('/grow', {}, { onBytes: (bytes) => (received += bytes.length) });
  await eventually(() => received === 200_000, { what: 'the part that has come' });
  origin.release();
  for (const answer of await Promise.all([first, second])) assert.deepEqual([answer.isComplete, answer.bodyBytes], [true, 500_000]);
  assert.equal(origin.requestsFor('/grow').length, 1);
});
