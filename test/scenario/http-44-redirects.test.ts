/** Redirects that a rule lets the cache follow: stored under the URL that was asked for, never by the Location, and only where they may lead. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB } from '../../src/base/units.ts';
import { PLAIN_RULE, type SiteRule } from '../../src/cache/site-rule.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';

const PATH = '/download/a.whl';

function following(hosts: readonly string[], hopsMax = 3): readonly SiteRule[] {
  return [{ ...PLAIN_RULE, name: 'follow', redirects: { hopsMax, hosts } }];
}

/** An origin that redirects, the storage that it redirects to, and an edge that may follow. */
async function setUp(options: { readonly hosts?: (storage: Origin) => readonly string[]; readonly lengthBytes?: number } = {}) {
  const origin = await Origin.start();
  const storage = await Origin.start();
  storage.setObject('/blob', { lengthBytes: options.lengthBytes ?? 1000, cacheControl: 'max-age=60' });
  const hosts = options.hosts?.(storage) ?? [`127.0.0.1:${storage.port}`];
  const edge = await startEdge({ origin, rules: following(hosts) });
  return {
    origin,
    storage,
    edge,
    /** The next redirect, with a signature of its own. */
    redirect(signature: string, times = 1): void {
      origin.misbehave(PATH, { redirectTo: `${storage.url}/blob?signature=${signature}` }, times);
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await edge[Symbol.asyncDispose]();
      await storage[Symbol.asyncDispose]();
      await origin[Symbol.asyncDispose]();
    },
  };
}

function redirectsOf(edge: TestEdge, outcome: 'followed' | 'refused' | 'too-many'): number {
  return edge.upstreamMetrics.value('redirects', outcome);
}

test('row 44 (RFC 9110 s15.4): a redirect is followed, and the answer stored under the URL that was asked for', async () => {
  await using world = await setUp();
  const { origin, storage, edge } = world;
  world.redirect('one');
  const body = storage.identity('/blob');
  const first = await edge.get(PATH, {}, { expect: body });
  assert.deepEqual([first.status, first.wrongAt, first.bodyBytes, first.headers.location], [200, -1, 1000, undefined]);
  await edge.settle();
  const second = await edge.get(PATH, { Range: 'bytes=10-19' }, { expect: { ...body, start: 10 } });
  assert.deepEqual([second.status, second.wrongAt, second.headers['x-cache']], [206, -1, 'HIT']);
  assert.deepEqual([origin.requestsFor(PATH).length, storage.requests.length], [1, 1]);
  assert.equal(storage.requests[0]?.headers.host, `127.0.0.1:${storage.port}`);
  assert.equal(redirectsOf(edge, 'followed'), 1);
});

test('row 44: without a rule the redirect is the answer', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin });
  origin.misbehave(PATH, { redirectTo: 'http://elsewhere.example/' }, 9);
  const answer = await edge.get(PATH);
  assert.deepEqual([answer.status, answer.headers.location], [302, 'http://elsewhere.example/']);
});

test('row 44: a stale object is confirmed by the validators of the last response', async () => {
  await using world = await setUp();
  const { storage, edge } = world;
  storage.setObject('/blob', { lengthBytes: 1000, cacheControl: 'max-age=0' });
  world.redirect('one');
  await edge.get(PATH);
  await edge.settle();
  world.redirect('two');
  const again = await edge.get(PATH, {}, { expect: storage.identity('/blob') });
  assert.deepEqual([again.status, again.wrongAt, again.headers['x-cache']], [200, -1, 'REVALIDATED']);
  assert.equal(storage.requests.at(-1)?.status, 304);
});

test('row 44: a signed target that expires in the middle of a download is asked for anew from the original URL', async () => {
  const lengthBytes = 512 * KIB;
  await using world = await setUp({ lengthBytes });
  const { origin, storage, edge } = world;
  world.redirect('one', 2);
  world.redirect('two', 1);
  // The first breaks off; its signature is no longer good when the rest is asked for.
  storage.misbehave('/blob?signature=one', { closeAfterBytes: 100 * KIB }, 1);
  storage.misbehave('/blob?signature=one', { status: 403 }, 9);
  const answer = await edge.get(PATH, {}, { expect: storage.identity('/blob') });
  assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes, answer.isComplete], [200, -1, lengthBytes, true]);
  assert.deepEqual(
    storage.requests.map(({ target, status }) => [target, status]),
    [
      ['/blob?signature=one', 200],
      ['/blob?signature=one', 403],
      ['/blob?signature=two', 206],
    ],
  );
  assert.equal(origin.requestsFor(PATH).length, 3);
});

test('row 44: several in a row, relative ones too; a loop ends after as many as the rule says', async () => {
  await using world = await setUp();
  const { origin, storage, edge } = world;
  origin.misbehave('/hop/one', { status: 307, redirectTo: '../hop/two' });
  origin.misbehave('/hop/two', { status: 308, redirectTo: `//127.0.0.1:${storage.port}/blob` });
  assert.equal((await edge.get('/hop/one', {}, { expect: storage.identity('/blob') })).wrongAt, -1);
  origin.misbehave('/loop', { redirectTo: '/loop' }, 99);
  const answer = await edge.get('/loop');
  assert.equal(answer.status, 502);
  assert.match(answer.body.toString(), /redirects more than 3 times/);
  assert.equal(origin.requestsFor('/loop').length, 4);
  assert.equal(redirectsOf(edge, 'too-many'), 1);
});

test('row 44: credentials do not go to another host', async () => {
  await using world = await setUp();
  const { origin, storage, edge } = world;
  world.redirect('one', 2);
  const answer = await edge.get(PATH, { Authorization: 'Bearer secret', Cookie: 'a=b' });
  assert.equal(answer.status, 200);
  assert.equal(origin.requests[0]?.headers.authorization, 'Bearer secret');
  assert.deepEqual([storage.requests[0]?.headers.authorization, storage.requests[0]?.headers.cookie], [undefined, undefined]);
});

test('row 44: nor does what middlewares and clients tell the origin of who asks', async () => {
  await using far = await Origin.start({ resolve: () => ({ lengthBytes: 100 }) });
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 100 }) });
  const yaml = `
middlewares:
  - { name: who, use: bearer, options: { tokens: { shop: correct-horse }, nameField: x-user, strip: false } }
  - { name: told, use: headers, options: { setRequest: { x-edge: one, user-agent: told } } }
services: [{ name: s, listen: "127.0.0.1:0", middlewares: who }]
routes: [{ name: r, middlewares: told }]
rules: [{ name: all, prefix: /, store: never, followRedirects: 2, redirectHosts: "127.0.0.1:${far.port}" }]
`;
  await using edge = await startEdge({ origin, yaml });
  origin.misbehave('/a', { redirectTo: '/b' }, 9);
  origin.misbehave('/b', { redirectTo: `${far.url}/there` }, 1);
  const own = { authorization: 'Bearer correct-horse', cookie: 'a=b', 'x-api-key': 'secret', accept: 'text/x', range: 'bytes=0-9' };
  assert.equal((await edge.get('/a', own)).status, 206);
  const names = ['authorization', 'cookie', 'x-user', 'x-edge', 'x-api-key', 'x-forwarded-for', 'x-forwarded-proto', 'x-request-id'];
  const [there] = far.requestsFor('/there');
  assert.deepEqual(
    Object.keys(there?.headers ?? {}).filter((name) => names.includes(name)),
    [],
  );
  assert.deepEqual([there?.headers.accept, there?.headers.range, there?.headers.host], ['text/x', 'bytes=0-9', `127.0.0.1:${far.port}`]);
  assert.notEqual(there?.headers['user-agent'], 'told');
  // The same origin is told, before a redirect and after one.
  for (const path of ['/a', '/b'])
    assert.deepEqual(
      names.slice(0, 5).map((name) => origin.requestsFor(path)[0]?.headers[name]),
      ['Bearer correct-horse', 'a=b', 'shop', 'one', 'secret'],
    );
});

for (const [what, hosts, location] of [
  ['a host that is not named', ['other.example'], (storage: Origin) => `${storage.url}/blob`],
  ['a loopback address under *', ['*'], (storage: Origin) => `${storage.url}/blob`],
  ['a name at a loopback address under *', ['*', 'localhost'], () => 'http://localhost/blob'],
  ['IPv4 in IPv6', ['*'], () => 'http://[::ffff:127.0.0.1]/blob'],
  ['a private address in another spelling', ['*'], () => 'http://0x0a000001/blob'],
  ['the address of cloud metadata', ['*'], () => 'http://169.254.169.254/latest/meta-data'],
  ['another scheme', ['*'], () => 'file:///etc/passwd'],
  ['user information', ['*'], () => 'http://user@cdn.example/blob'],
] satisfies [string, string[], (storage: Origin) => string][]) {
  test(`row 44: ${what} is not gone to`, async () => {
    await using world = await setUp({ hosts: () => hosts });
    const { origin, storage, edge } = world;
    const target = location(storage);
    origin.misbehave(PATH, { redirectTo: target }, 9);
    const answer = await edge.get(PATH);
    // A name is looked up before it is refused; the rest is passed to the client, who may go there.
    if (target.includes('localhost')) assert.equal(answer.status, 502);
    else assert.deepEqual([answer.status, answer.headers.location], [302, target]);
    assert.equal(storage.requests.length, 0);
  });
}

test('row 44: a redirect to a signed Location is stored for nobody, however fresh it is said to be', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin });
  const fresh = { headers: { 'Cache-Control': 'public, max-age=600' } };
  for (const signature of ['one', 'two']) {
    const redirectTo = `https://storage.example/blob?X-Amz-Signature=${signature}`;
    origin.misbehave(PATH, { ...fresh, status: 301, redirectTo }, 1);
    const answer = await edge.get(PATH);
    assert.deepEqual([answer.status, answer.headers.location], [301, redirectTo]);
    await edge.settle();
  }
  origin.misbehave('/plain', { ...fresh, status: 301, redirectTo: 'https://storage.example/blob?v=1' }, 1);
  await edge.get('/plain');
  await edge.settle();
  assert.equal((await edge.get('/plain')).headers['x-cache'], 'HIT');
  assert.deepEqual([origin.requestsFor(PATH).length, origin.requestsFor('/plain').length], [2, 1]);
});
