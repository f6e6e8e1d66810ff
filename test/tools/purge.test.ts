/** `rawslice purge` against a real admin port. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { AdminServer } from '../../src/admin/admin-server.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import { runWords } from '../helpers/run-program.ts';
import { tinyDevice } from '../helpers/tiny-device.ts';

const TOKEN = 'correct-horse';

async function startAdmin(edge: TestEdge, token: string | undefined) {
  const admin = new AdminServer({
    logger: createSilentLogger(),
    token: () => token,
    actions: {
      origins: () => [],
      upstreams: () => [],
      metrics: async () => ({ text: '', type: 'text/plain' }),
      readiness: () => ({ isReady: true, detail: {} }),
      purge: (named, isSoft) => edge.services.purger.purge(named, isSoft),
      purges: () => edge.services.purger.list(),
      findPurge: (id) => edge.services.purger.find(id),
      devices: () => [],
      attachDevice: async () => ({}),
      reload: async () => ({ outcome: 'applied' }),
      logLevel: () => ({ level: 'info', configured: 'info' }),
      setLogLevel: () => undefined,
      setDraining: (draining) => ({ draining }),
      state: () => ({}),
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
  const report = { id: 3, kind: 'url', key: `${site}/a`, isSoft: false, objects: 1, isDone: true };
  assert.deepEqual(JSON.parse(json.stdout), [{ outcome: 'purged', named: '/a', ...report }]);
});

test('prefixes, tags and everything, hard and soft', async () => {
  await using origin = await Origin.start();
  origin.setObject('/x/a', { lengthBytes: 1000, cacheControl: 'max-age=60', headers: { 'Cache-Tag': 'red' } });
  await using edge = await startEdge({ origin });
  await using admin = await startAdmin(edge, undefined);
  const site = `127.0.0.1:${origin.port}`;
  const cases: readonly (readonly [words: readonly string[], stdout: string, xCache: string])[] = [
    [['--prefix', '/x'], `purged what begins with ${site}/x (1 object)\n`, 'MISS'],
    [['--tag', 'red'], 'purged what is tagged red (1 object)\n', 'MISS'],
    [['--host', 'any.example'], `purged what begins with ${site}/ (1 object)\n`, 'MISS'],
    [['--all', '--yes'], 'purged everything (1 object)\n', 'MISS'],
    [['/x/a', '--soft'], `made stale ${site}/x/a\n`, 'REVALIDATED'],
    [['/x/b', '--soft'], `was not stored, or stale before: ${site}/x/b\n`, 'HIT'],
    [['--tag', 'other'], 'purged what is tagged other (0 objects)\n', 'HIT'],
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
  const malformed: readonly (readonly [words: readonly string[], stderr: RegExp])[] = [
    [['--tag', 'a b'], /--tag: A tag is one word without commas; nothing was purged/],
    [['/x/a', '--prefix', '/x/..'], /--prefix: A prefix that ends in a dot segment is not clear; nothing was purged/],
    [['--prefix', 'debian/'], /--prefix: "debian\/" is no URL .*a path begins with \/, a URL with http:\/\/ or https:\/\/; nothing was/],
    [['--host', 'a/b'], /--host: "a\/b" is no host, such as mirror\.example:8080; nothing was purged/],
    [['/x/a', 'no url'], /URL: "no url" is no URL or path that could be cached; .*; nothing was purged/],
  ];
  for (const [words, stderr] of malformed) {
    const run = await runWords(['purge', ...words, '--admin', admin.address]);
    assert.deepEqual([run.code, run.stdout], [2, ''], words.join(' '));
    assert.match(run.stderr, stderr);
  }
  assert.equal((await edge.get('/x/a')).headers['x-cache'], 'HIT', 'what stands beside something malformed is not purged either');
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
  // Only the server knows how long its site's name is, and so what is too long for a key.
  const long = `/${'a'.repeat(3065)}`;
  const some = await runWords(['purge', '/a', long, '--admin', admin.address, '--token', TOKEN]);
  assert.deepEqual([some.code, some.stdout.split('\n').length], [4, 2]);
  assert.match(some.stderr, /was not purged: The URL is too long to be cached/);
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

test('--wait tells how many objects a purge has cleared in the end; GET /purges tells it too', async () => {
  await using origin = await Origin.start();
  for (const name of ['a', 'b', 'c']) origin.setObject(`/x/${name}`, { lengthBytes: 1000, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin, makeStore: tinyDevice });
  await using admin = await startAdmin(edge, TOKEN);
  for (const name of ['a', 'b', 'c']) await edge.get(`/x/${name}`);
  await edge.settle();
  await edge.store.drain();
  const words = ['--admin', admin.address, '--token', TOKEN];
  const run = await runWords(['purge', '--all', '--yes', '--wait', ...words]);
  assert.deepEqual([run.code, run.stdout, run.stderr], [0, 'purged everything (3 objects)\n', '']);
  const authorization = `Bearer ${TOKEN}`;
  const report = { id: 1, kind: 'everything', key: '', isSoft: false, objects: 3, isDone: true };
  const one = await fetch(`${admin.address}/purges?id=1`, { headers: { authorization } });
  assert.deepEqual([one.status, await one.json()], [200, report]);
  const all = await fetch(`${admin.address}/purges`, { headers: { authorization } });
  assert.deepEqual(await all.json(), { purges: [report] });
  for (const [query, status] of [
    ['?id=2', 404],
    ['?id=x', 400],
  ] as const) {
    assert.equal((await fetch(`${admin.address}/purges${query}`, { headers: { authorization } })).status, status, query);
  }
  assert.equal((await fetch(`${admin.address}/purges`)).status, 401);
});
