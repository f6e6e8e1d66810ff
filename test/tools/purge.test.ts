/** `rawslice purge` against a real admin port. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { AdminServer } from '../../src/admin/admin-server.ts';
import { purgeNamed } from '../../src/app/purge.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import { runWords } from '../helpers/run-program.ts';

const TOKEN = 'correct-horse';

async function startAdmin(edge: TestEdge, token: string | undefined) {
  const admin = new AdminServer({
    logger: createSilentLogger(),
    token,
    actions: {
      metrics: async () => ({ text: '', type: 'text/plain' }),
      readiness: () => ({ isReady: true, detail: {} }),
      purge: (named, isSoft) => purgeNamed(named, isSoft, edge.services),
      devices: () => [],
      attachDevice: async () => ({}),
    },
  });
  const { port } = await admin.listen({ host: '127.0.0.1', port: 0 });
  return { address: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: () => admin.close() };
}

test('a purged object is fetched anew; one that was not stored is no failure', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  await using admin = await startAdmin(edge, TOKEN);
  await edge.get('/a');
  await edge.settle();
  const environment = { RAWSLICE_ADMIN__TOKEN: TOKEN };
  const { code, stdout, stderr } = await runWords(['purge', '/a', 'http://any.example/b', '--admin', admin.address], { environment });
  assert.deepEqual([code, stderr], [0, '']);
  const site = `127.0.0.1:${origin.port}`;
  assert.equal(stdout, `purged ${site}/a\nwas not stored, stays away: ${site}/b\n`);
  assert.equal((await edge.get('/a')).headers['x-cache'], 'MISS');
  const json = await runWords(['purge', '/a', '--json', '--admin', admin.address, '--token', TOKEN]);
  const report = { kind: 'url', key: `${site}/a`, isSoft: false, knownObjects: 1, isWalkNeeded: false };
  assert.deepEqual(JSON.parse(json.stdout), [{ outcome: 'purged', named: '/a', ...report }]);
});

test('prefixes, tags and everything, hard and soft', async () => {
  await using origin = await Origin.start();
  origin.setObject('/x/a', { lengthBytes: 1000, cacheControl: 'max-age=60', headers: { 'Cache-Tag': 'red' } });
  await using edge = await startEdge({ origin });
  await using admin = await startAdmin(edge, undefined);
  const site = `127.0.0.1:${origin.port}`;
  const cases: readonly (readonly [words: readonly string[], stdout: string, xCache: string])[] = [
    [['--prefix', '/x'], `purged what begins with ${site}/x (1 in memory; the rest is cleared in the background)\n`, 'MISS'],
    [['--tag', 'red'], 'purged what is tagged red (1 in memory; the rest is cleared in the background)\n', 'MISS'],
    [['--all', '--yes'], 'purged everything (1 in memory; the rest is cleared in the background)\n', 'MISS'],
    [['/x/a', '--soft'], `made stale ${site}/x/a\n`, 'REVALIDATED'],
    [['/x/b', '--soft'], `was not stored, nothing to make stale: ${site}/x/b\n`, 'HIT'],
    [['--tag', 'other'], 'purged what is tagged other (0 in memory; the rest is cleared in the background)\n', 'HIT'],
  ];
  await edge.get('/x/a');
  for (const [words, stdout, xCache] of cases) {
    await edge.settle();
    const run = await runWords(['purge', ...words, '--admin', admin.address]);
    assert.deepEqual([run.code, run.stdout, run.stderr], [0, stdout, ''], words.join(' '));
    assert.equal((await edge.get('/x/a')).headers['x-cache'], xCache, words.join(' '));
  }
  const unasked = await runWords(['purge', '--all', '--admin', admin.address]);
  assert.equal(unasked.code, 2);
  assert.match(unasked.stderr, /Nobody can be asked here; add --yes to forget everything/);
  const odd = await runWords(['purge', '--tag', 'a b', '--prefix', '/x/..', '--admin', admin.address]);
  assert.equal(odd.code, 1);
  assert.match(odd.stderr, /dot segment is not clear[\s\S]*A tag is one word/);
  for (const query of ['url=/a&soft=1', 'soft=2&url=/a', 'everything=yes', 'soft=1', 'tag=a&tag=b']) {
    const answer = await fetch(`${admin.address}/purge?${query}`, { method: 'POST' });
    assert.equal(answer.status, 400, query);
  }
});

test('what the server refuses is shown with advice', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin });
  await using admin = await startAdmin(edge, TOKEN);
  const without = await runWords(['purge', '/a', '--admin', admin.address]);
  assert.deepEqual([without.code, without.stdout], [1, '']);
  assert.equal(
    without.stderr,
    "rawslice: /a was not purged: The server wants a token; set RAWSLICE_ADMIN__TOKEN to the server's admin.token\n",
  );
  const wrong = await runWords(['purge', '/a', '--admin', admin.address, '--token', 'wrong']);
  assert.match(wrong.stderr, /the token is not the server's admin\.token/);
  const some = await runWords(['purge', '/a', 'no url', '--admin', admin.address, '--token', TOKEN]);
  assert.deepEqual([some.code, some.stdout.split('\n').length], [4, 2]);
  assert.match(some.stderr, /no url was not purged: "no url" is no URL or path/);
  const prefix = await runWords(['purge', '--prefix', 'debian/', '--admin', admin.address, '--token', TOKEN]);
  assert.equal(
    prefix.stderr,
    'rawslice: debian/ was not purged: "debian/" is no URL or path that could be cached; a path begins with /, a URL with http:// or https://\n',
  );
});

test('no server, and a server of something else', async () => {
  const origin = await Origin.start();
  await origin.close();
  const none = await runWords(['purge', '/a', '--admin', origin.url]);
  assert.equal(none.code, 1);
  assert.match(none.stderr, /No server answers on http:\S+ \(ECONNREFUSED\); start the server .* --admin http:\/\/HOST:PORT/);
  const other = createServer((_, response) => response.end('hello'));
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const address = other.address();
  assert.ok(address !== null && typeof address === 'object');
  const strange = await runWords(['purge', '/a', '--admin', `127.0.0.1:${address.port}`]);
  other.closeAllConnections();
  await new Promise((resolve) => other.close(resolve));
  assert.equal(strange.code, 1);
  assert.match(strange.stderr, /answers 200, but not as the admin port of rawslice does/);
  assert.equal((await runWords(['purge'])).code, 2);
});
