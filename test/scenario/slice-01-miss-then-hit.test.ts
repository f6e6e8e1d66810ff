/** The main journey: a miss streams, its slices are kept, and every form of a range is answered from them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB } from '../../src/base/units.ts';
import { startEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';

const LENGTH = 1000 * KIB + 123;

test('a whole object is a miss, then a hit that costs the origin nothing', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a.iso', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  const miss = await edge.get('/a.iso', {}, { expect: body });
  assert.equal(miss.status, 200);
  assert.deepEqual([miss.wrongAt, miss.bodyBytes, miss.isComplete], [-1, LENGTH, true]);
  assert.equal(miss.headers['x-cache'], 'MISS');
  assert.equal(miss.headers['cache-status'], 'rawslice; fwd=uri-miss; fwd-status=200; stored');
  const hit = await edge.get('/a.iso', {}, { expect: body });
  assert.deepEqual([hit.status, hit.wrongAt, hit.bodyBytes, hit.isComplete], [200, -1, LENGTH, true]);
  assert.equal(hit.headers['x-cache'], 'HIT');
  assert.equal(hit.headers.etag, miss.headers.etag);
  assert.equal(origin.requestsFor('/a.iso').length, 1);
});

const RANGES: readonly [text: string, start: number, end: number][] = [
  ['0-0', 0, 1],
  ['0-65535', 0, 65_536],
  ['65535-65536', 65_535, 65_537],
  ['100000-700000', 100_000, 700_001],
  ['900000-', 900_000, LENGTH],
  ['-100', LENGTH - 100, LENGTH],
  ['-200000', LENGTH - 200_000, LENGTH],
  ['5-99999999', 5, LENGTH],
  ['-99999999', 0, LENGTH],
];

for (const isCold of [true, false]) {
  for (const [text, start, end] of RANGES) {
    test(`bytes=${text} ${isCold ? 'of a cold object fetches only the slices it touches' : 'of a stored object costs the origin nothing'}`, async () => {
      await using origin = await Origin.start();
      const body = origin.setObject('/a.iso', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
      await using edge = await startEdge({ origin });
      if (!isCold) await edge.get('/a.iso');
      const before = origin.bytesSent('/a.iso');
      const answer = await edge.get('/a.iso', { range: `bytes=${text}` }, { expect: { ...body, start } });
      assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes, answer.isComplete], [206, -1, end - start, true]);
      assert.equal(answer.headers['content-range'], `bytes ${start}-${end - 1}/${LENGTH}`);
      await edge.settle();
      const cost = origin.bytesSent('/a.iso') - before;
      if (!isCold) assert.equal(cost, 0);
      else assert.ok(cost <= end - start + 2 * 64 * KIB, `cost ${cost} for ${end - start}`);
      const again = await edge.get('/a.iso', { range: `bytes=${text}` }, { expect: { ...body, start } });
      assert.deepEqual([again.status, again.wrongAt, again.headers['x-cache']], [206, -1, 'HIT']);
    });
  }
}

test('416 for a range past the end, cold and warm', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a.iso', { lengthBytes: 1000, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  const cold = await edge.get('/a.iso', { range: 'bytes=5000-' });
  assert.equal(cold.status, 416);
  assert.equal(cold.headers['content-range'], 'bytes */1000');
  await edge.get('/a.iso');
  const warm = await edge.get('/a.iso', { range: 'bytes=5000-' });
  assert.deepEqual([warm.status, warm.headers['content-range'], warm.bodyBytes], [416, 'bytes */1000', 0]);
});

test('an object of 0 bytes is stored and served, with Range too', async () => {
  await using origin = await Origin.start();
  origin.setObject('/empty', { lengthBytes: 0, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  for (const word of ['MISS', 'HIT']) {
    const answer = await edge.get('/empty');
    assert.deepEqual([answer.status, answer.bodyBytes, answer.headers['content-length'], answer.headers['x-cache']], [200, 0, '0', word]);
  }
  assert.equal((await edge.get('/empty', { range: 'bytes=0-' })).status, 200);
});

test('an object of unknown length is streamed, then known', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/grow', { lengthBytes: 300_000, cacheControl: 'max-age=60' });
  origin.misbehave('/grow', { chunked: true }, 1);
  await using edge = await startEdge({ origin });
  const miss = await edge.get('/grow', {}, { expect: body });
  assert.deepEqual([miss.status, miss.wrongAt, miss.bodyBytes, miss.isComplete], [200, -1, 300_000, true]);
  assert.equal(miss.headers['content-length'], undefined);
  const hit = await edge.get('/grow', { range: 'bytes=299990-' }, { expect: { ...body, start: 299_990 } });
  assert.deepEqual([hit.status, hit.wrongAt, hit.headers['x-cache']], [206, -1, 'HIT']);
});

test('HEAD is answered from the cache without a body, and passed on when nothing is stored', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 5000, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  const cold = await edge.get('/a', {}, { method: 'HEAD' });
  assert.deepEqual([cold.status, cold.headers['content-length'], cold.bodyBytes], [200, '5000', 0]);
  await edge.get('/a');
  const warm = await edge.get('/a', { range: 'bytes=0-9' }, { method: 'HEAD' });
  assert.deepEqual(
    [warm.status, warm.headers['content-length'], warm.headers['accept-ranges'], warm.headers['x-cache']],
    [200, '5000', 'bytes', 'HIT'],
  );
  assert.equal(origin.requestsFor('/a').length, 2);
});
