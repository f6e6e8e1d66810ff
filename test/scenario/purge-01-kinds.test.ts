/** Purges by URL, prefix, tag and of everything, hard and soft, as clients see them: over the model store and over a device. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NamedPurge } from '../../src/cache/named-purge.ts';
import { startEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import { tinyDevice } from '../helpers/tiny-device.ts';

const LENGTH = 200_000;
const KINDS: readonly NamedPurge[] = [
  { kind: 'url', url: 'http://any.example/x/a' },
  { kind: 'prefix', prefix: '/x/' },
  { kind: 'tag', tag: 'rouge-é' },
  { kind: 'host', host: 'any.example' },
  { kind: 'everything' },
];

for (const makeStore of [undefined, tinyDevice]) {
  const place = makeStore === undefined ? 'model' : 'device';
  for (const named of KINDS) {
    test(`purge by ${named.kind}, hard and soft (${place}, S8)`, async () => {
      await using origin = await Origin.start();
      const headers = { 'Surrogate-Key': Buffer.from('rouge-é all', 'utf8').toString('latin1') };
      const body = origin.setObject('/x/a', { lengthBytes: LENGTH, cacheControl: 'max-age=600', headers });
      const other = origin.setObject('/y/b', { lengthBytes: LENGTH, cacheControl: 'max-age=600' });
      await using edge = await startEdge({ origin, makeStore });
      const ask = async (path: string, expect: typeof body): Promise<unknown> => {
        const answer = await edge.get(path, {}, { expect });
        assert.deepEqual([answer.wrongAt, answer.isComplete], [-1, true]);
        await edge.settle();
        await edge.store.drain();
        return answer.headers['x-cache'];
      };
      for (const isSoft of [false, true]) {
        await ask('/x/a', body);
        await ask('/y/b', other);
        assert.deepEqual([await ask('/x/a', body), await ask('/y/b', other)], ['HIT', 'HIT']);
        await edge.services.purger.purge(named, isSoft);
        const again = isSoft ? 'REVALIDATED' : 'MISS';
        assert.equal(await ask('/x/a', body), again);
        assert.equal(await ask('/y/b', other), named.kind === 'everything' || named.kind === 'host' ? again : 'HIT');
        assert.equal(await ask('/x/a', body), 'HIT');
      }
    });

    test(`purge by ${named.kind} while the origin is asked and while it is read: nobody joins (${place}, S8)`, async () => {
      await using origin = await Origin.start();
      const options = { lengthBytes: LENGTH, cacheControl: 'max-age=600', headers: { 'Cache-Tag': 'all, rouge-\u00c3\u00a9' } };
      origin.setObject('/x/a', options);
      await using edge = await startEdge({ origin, makeStore });
      for (const hold of [{ holdHead: true }, { pauseAfterBytes: 100_000 }]) {
        origin.misbehave('/x/a', hold, 1);
        const first = edge.get('/x/a');
        await origin.waitForHeld('/x/a');
        await edge.services.purger.purge(named, false);
        const body = origin.change('/x/a');
        const second = await edge.get('/x/a', {}, { expect: body });
        assert.deepEqual([second.wrongAt, second.isComplete, second.headers['x-cache']], [-1, true, 'MISS']);
        origin.release();
        assert.equal((await first).bodyBytes, LENGTH);
        await edge.settle();
        const third = await edge.get('/x/a', {}, { expect: body });
        assert.deepEqual([third.wrongAt, third.isComplete, third.headers['x-cache']], [-1, true, 'HIT']);
        await edge.services.purger.purge({ kind: 'everything' }, false);
      }
    });
  }
}
