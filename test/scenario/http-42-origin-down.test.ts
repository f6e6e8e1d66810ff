/** The origin is down, or fails, while objects are stale and stored in part (RFC 9111 s4.2.4, RFC 5861 s4). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB } from '../../src/base/units.ts';
import { bodyBytes } from '../helpers/body.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';

const SLICE = 64 * KIB;
const LENGTH = 8 * SLICE;
/** Stored: the first half. */
const STORED = LENGTH / 2;

/** An edge that has the first half of `/a`, stale if `maxAge` is 0. */
async function startHalf(origin: Origin, maxAge: number): Promise<TestEdge> {
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: `max-age=${maxAge}` });
  const edge = await startEdge({ origin });
  await edge.get('/a', { range: `bytes=0-${STORED - 1}` });
  await edge.settle();
  return edge;
}

/** Status, whether the bytes are right, whether the response is whole, and its length. */
async function ask(edge: TestEdge, origin: Origin, range?: string): Promise<unknown[]> {
  const start = Number(/^bytes=(\d+)-/.exec(range ?? '')?.[1] ?? 0);
  const { status, body, isComplete } = await edge.get('/a', range === undefined ? {} : { range });
  const isRight = status >= 400 || body.equals(bodyBytes(origin.identity('/a'), start, body.length));
  return [status, isRight, isComplete, body.length];
}

for (const failure of ['down', 'failing'] as const) {
  const stop = async (origin: Origin): Promise<void> => {
    if (failure === 'down') await origin.stop();
    else origin.misbehave('/a', { status: 503 });
  };
  const status = failure === 'down' ? 502 : 503;

  test(`row 42 (RFC 5861 s4): stale and stored in part, the origin ${failure}: what is there is served, what is not is an error and no cut`, async () => {
    await using origin = await Origin.start();
    await using edge = await startHalf(origin, 0);
    await stop(origin);
    assert.deepEqual(await ask(edge, origin, `bytes=0-${STORED - 1}`), [206, true, true, STORED]);
    assert.deepEqual(await ask(edge, origin, `bytes=${SLICE + 7}-${SLICE + 9}`), [206, true, true, 3]);
    for (const range of [undefined, `bytes=${STORED}-`, `bytes=${STORED - 1}-${STORED}`]) {
      const [got, , isComplete] = await ask(edge, origin, range);
      assert.deepEqual([got, isComplete], [status, true], range ?? 'whole');
    }
    const head = await edge.get('/a', {}, { method: 'HEAD' });
    assert.deepEqual([head.status, head.headers['content-length']], [200, String(LENGTH)]);
  });

  test(`row 42 (RFC 9111 s4.2.4): fresh and stored in part, the origin ${failure}: an error before the head if nothing is there, else a cut`, async () => {
    await using origin = await Origin.start();
    await using edge = await startHalf(origin, 60);
    await stop(origin);
    assert.deepEqual(await ask(edge, origin, `bytes=${SLICE}-${STORED - 1}`), [206, true, true, STORED - SLICE]);
    const [missing, , isComplete] = await ask(edge, origin, `bytes=${STORED}-`);
    assert.deepEqual([missing, isComplete], [502, true]);
    assert.deepEqual(await ask(edge, origin), [200, true, false, STORED]);
    if (failure === 'down') await origin.start();
    origin.behave();
    assert.deepEqual(await ask(edge, origin), [200, true, true, LENGTH]);
  });
}
