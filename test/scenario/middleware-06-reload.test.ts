/** Middlewares over reloads: what is configured as before goes on with what it knows, what is gone is closed behind its last request, what cannot be made changes nothing. */
import assert from 'node:assert/strict';
import { appendFile } from 'node:fs/promises';
import { test } from 'node:test';
import { request } from '../helpers/client.ts';
import { eventually } from '../helpers/eventually.ts';
import { withModule } from '../helpers/module-file.ts';
import { Origin } from '../helpers/origin.ts';
import { withReloadableEdge } from '../helpers/reloadable-edge.ts';

const MEMBERS = `options: { word: { kind: 'text', default: 'a', meaning: 'x' } },
  create({ word }) {
    if (word === 'bad') throw new Error('no such word');
    seen.push('made ' + word);
    return {
      onRequest: (exchange) => exchange.path === '/slow' ? new Promise((resolve) => held.push(resolve)) : undefined,
      onResponse: (_exchange, head) => head.set('x-word', word),
      close: () => { seen.push('closed ' + word); },
    };
  }`;

test('a reload keeps, replaces and closes middlewares, and names code that waits for a restart', async () => {
  await withModule(
    MEMBERS,
    async ({ file, exported }) => {
      await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 100, cacheControl: 'max-age=600' }) });
      const seen = (): string[] => exported().seen as string[];
      const held = (): ((answer: undefined) => void)[] => exported().held as ((answer: undefined) => void)[];
      const yaml = (word: string, more = ''): string => `
upstream: { url: "${origin.url}" }
services: [{ name: s, listen: "127.0.0.1:0", middlewares: [limit, m] }]
middlewares:
  - { name: limit, use: rateLimit, options: { requests: 4, per: 1h } }
  - { name: m, use: "${file}", timeout: 1m, options: { word: ${word} } }
${more}`;
      await withReloadableEdge(yaml('a'), async ({ change, port, edge }) => {
        const ask = async (path = '/x') => (await request({ port: port(), path })).headers['x-word'];
        assert.equal(await ask(), 'a');
        const slow = ask('/slow');
        await eventually(() => held().length === 1, { what: 'a request that waits' });
        // Something else changes: both go on, the buckets as they are.
        assert.equal((await change(yaml('a', 'limits: { requests: 77 }'))).outcome, 'applied');
        assert.deepEqual(seen(), ['made a']);
        const report = await change(yaml('b'));
        assert.deepEqual([report.outcome, report.changed.includes('middlewares.m')], ['applied', true]);
        assert.deepEqual(seen(), ['made a', 'made b']);
        assert.equal(await ask(), 'b');
        // The old one has a request yet, which ends as it began.
        held()[0]?.(undefined);
        assert.equal(await slow, 'a');
        await eventually(() => seen().includes('closed a'), { what: 'the end of the old one' });
        const refused = await change(yaml('bad'));
        assert.deepEqual([refused.outcome, refused.problems], ['invalid', ['The middleware m cannot be made: no such word']]);
        assert.equal(await ask(), 'b');
        assert.equal((await request({ port: port(), path: '/x' })).status, 429);
        await appendFile(file, '\n// another state of the code\n');
        assert.deepEqual((await change(yaml('c'))).needsRestart, ['middlewares.m.use']);
        // An address that cannot be had: what was made for it is closed again.
        const taken = edge.adminAddress?.port ?? 0;
        const failed = await change(
          yaml('d')
            .replace('127.0.0.1:0"', `127.0.0.1:0", "127.0.0.1:${taken}"`)
            .replace('listen: "', 'listen: ["')
            .replace(`${taken}"`, `${taken}"]`),
        );
        assert.equal(failed.outcome, 'failed', JSON.stringify(failed));
        await eventually(() => seen().includes('closed d'), { what: 'the end of what was made for nothing' });
        assert.equal(seen().includes('closed c'), false);
      });
      assert.deepEqual(
        seen()
          .filter((word) => word.startsWith('closed'))
          .sort(),
        ['closed a', 'closed b', 'closed c', 'closed d'],
      );
    },
    'export const held: ((answer: undefined) => void)[] = [];',
  );
});
