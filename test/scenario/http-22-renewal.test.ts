/** A 304 to our validation renews the object once, for all of its slices, and says nothing about the bytes (RFC 9111 s3.2, s4.3.4). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import { openTiny, tinyDisk } from '../helpers/tiny-device.ts';

const LENGTH = 300_000;

async function idle(edge: TestEdge): Promise<void> {
  await edge.settle();
  await edge.store.drain();
}

test('row 22 (RFC 9111 s3.2, s4.3.4): one 304 updates the fields for all slices and ranges, also after a restart', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', {
    lengthBytes: LENGTH,
    cacheControl: 'max-age=0',
    headers: { 'X-Kept': 'old', 'X-Changed': 'old', 'X-Twice': 'old' },
  });
  const disk = await tinyDisk();
  const expected = {
    'content-type': 'application/octet-stream',
    'x-kept': 'old',
    'x-changed': 'new',
    'x-twice': 'one, two',
    'x-added': 'new',
    'x-cache': 'HIT',
    'content-encoding': undefined,
  };
  const check = async (edge: TestEdge): Promise<void> => {
    for (const [range, start, end] of [
      [undefined, 0, LENGTH],
      ['bytes=10-19', 10, 20],
      ['bytes=70000-200000', 70_000, 200_001],
      ['bytes=-5', LENGTH - 5, LENGTH],
    ] as const) {
      const answer = await edge.get('/a', range === undefined ? {} : { Range: range }, { expect: { ...body, start } });
      assert.deepEqual([answer.wrongAt, answer.bodyBytes, answer.isComplete], [-1, end - start, true]);
      for (const [name, value] of Object.entries(expected)) assert.equal(answer.headers[name], value, `${range}: ${name}`);
      assert.equal(answer.headers['content-range'], range === undefined ? undefined : `bytes ${start}-${end - 1}/${LENGTH}`);
      assert.equal(answer.headers['content-length'], String(end - start));
    }
  };
  let asked = 0;
  {
    await using edge = await startEdge({ origin, makeStore: (arena) => openTiny(disk, arena) });
    await edge.get('/a');
    await idle(edge);
    origin.misbehave('/a', {
      dropHeaders: ['X-Kept', 'X-Changed', 'X-Twice', 'Cache-Control'],
      headers: [
        ['Cache-Control', 'max-age=600'],
        ['X-Changed', 'new'],
        ['X-Twice', 'one'],
        ['X-Twice', 'two'],
        ['X-Added', 'new'],
        // What a 304 has no say over.
        ['Content-Length', '7'],
        ['Content-Range', 'bytes 0-6/7'],
        ['Content-Encoding', 'gzip'],
        ['Content-Type', 'text/odd'],
      ],
    });
    const renewed = await edge.get('/a', { Range: 'bytes=100000-100009' }, { expect: { ...body, start: 100_000 } });
    assert.deepEqual([renewed.status, renewed.wrongAt, renewed.headers['x-cache']], [206, -1, 'REVALIDATED']);
    await idle(edge);
    asked = origin.requests.length;
    assert.deepEqual(
      origin.requests.map(({ status }) => status),
      [200, 304],
    );
    await check(edge);
    await idle(edge);
    disk.crash(new SeededRandom(11), 'none');
  }
  await using edge = await startEdge({ origin, makeStore: (arena) => openTiny(disk, arena) });
  await check(edge);
  assert.equal(origin.requests.length, asked, 'nothing is asked about a slice');
});

test('row 22 (RFC 9111 s4.3.4): a 304 that speaks of another version confirms nothing; the object is fetched anew', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=0' });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  await idle(edge);
  origin.misbehave('/a', { status: 304, headers: { ETag: '"other"' } }, 1);
  const answer = await edge.get('/a', {}, { expect: body });
  assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes, answer.headers['x-cache']], [200, -1, LENGTH, 'MISS']);
  assert.deepEqual(
    origin.requests.map(({ status }) => status),
    [200, 304, 200],
  );
});
