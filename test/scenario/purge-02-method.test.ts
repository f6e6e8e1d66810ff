/** Purges through the port of the clients: the method PURGE, who may use it, what it names, and what it answers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isSameSecret } from '../../src/base/same-secret.ts';
import { PurgeGate } from '../../src/proxy/purge-gate.ts';
import { request } from '../helpers/client.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import { tinyDevice } from '../helpers/tiny-device.ts';

const FRESH = { lengthBytes: 1000, cacheControl: 'max-age=600' };
const ALLOWED = { 'purge.allow': '127.0.0.1' };

async function purge(edge: TestEdge, path: string, headers: Record<string, string> = {}) {
  const answer = await edge.get(path, headers, { method: 'PURGE' });
  return { ...answer, text: answer.body.toString() };
}

async function cached(edge: TestEdge, path: string): Promise<string | undefined> {
  const answer = await edge.get(path);
  assert.equal(answer.status, 200, path);
  await edge.settle();
  await edge.store.drain();
  return answer.headers['x-cache'];
}

test('PURGE of a URL, hard and soft, with what it did; a query makes it another URL', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  await using edge = await startEdge({ origin, set: ALLOWED });
  const site = `127.0.0.1:${origin.port}`;
  const ask = (path: string) => cached(edge, path);
  for (const path of ['/x/a', '/x/a?v=1', '/x/b']) await ask(path);
  const asked = origin.requests.length;
  const hard = await purge(edge, '/x/./%61');
  assert.deepEqual([hard.status, hard.headers['content-type']], [200, 'application/json; charset=utf-8']);
  assert.deepEqual(JSON.parse(hard.text), { id: 1, kind: 'url', key: `${site}/x/a`, isSoft: false, objects: 1, isDone: true });
  assert.equal(origin.requests.length, asked, 'the origin hears nothing of it');
  assert.deepEqual([await ask('/x/a'), await ask('/x/a?v=1'), await ask('/x/b')], ['MISS', 'HIT', 'HIT']);
  for (const name of ['Soft-Purge', 'Fastly-Soft-Purge']) {
    assert.equal(JSON.parse((await purge(edge, 'http://any.example/x/a?v=1', { [name]: '1' })).text).isSoft, true);
    assert.deepEqual([await ask('/x/a?v=1'), await ask('/x/a')], ['REVALIDATED', 'HIT']);
  }
  assert.equal(JSON.parse((await purge(edge, '/x/none', { 'Soft-Purge': '0' })).text).objects, 0);
  assert.equal(await edge.metric('rawslice_purges_total{kind="url"}'), 2);
  assert.equal(await edge.metric('rawslice_purges_total{kind="soft-url"}'), 2);
});

test('PURGE by prefix, tag, host and of everything, with the count when the walk is done', async () => {
  await using origin = await Origin.start();
  for (const path of ['/x/a', '/x/b', '/y'])
    origin.setObject(path, { ...FRESH, headers: { 'Surrogate-Key': path === '/y' ? 'blue' : 'red' } });
  await using edge = await startEdge({ origin, set: ALLOWED, makeStore: tinyDevice });
  const cases: readonly (readonly [path: string, headers: Record<string, string>, objects: number])[] = [
    ['/x/', { 'X-Purge-Method': 'prefix' }, 2],
    ['/', { 'Surrogate-Key': 'red' }, 2],
    ['/', { xkey: 'red', 'X-Purge-Method': 'tag', 'Soft-Purge': '1' }, 2],
    ['/', { 'X-Purge-Method': 'host', Host: 'mirror.example' }, 3],
    ['/', { 'X-Purge-Method': 'everything' }, 3],
    ['/', { 'X-Purge-Method': 'Everything', 'Soft-Purge': '1' }, 3],
  ];
  for (const [path, headers, objects] of cases) {
    for (const name of ['/x/a', '/x/b', '/y']) await cached(edge, name);
    const answer = await purge(edge, path, headers);
    assert.equal(answer.status, 200, answer.text);
    const { id, kind } = JSON.parse(answer.text);
    const results = [await cached(edge, '/x/a'), await cached(edge, '/y')];
    const again = headers['Soft-Purge'] === undefined ? 'MISS' : 'REVALIDATED';
    assert.deepEqual(results, [again, objects === 3 ? again : 'HIT'], kind);
    await eventually(() => edge.services.purger.find(id)?.isDone === true, { what: 'the end of the walk' });
    assert.deepEqual(edge.services.purger.find(id), { ...JSON.parse(answer.text), objects, isDone: true }, kind);
  }
});

test('PURGE by several tags, however they are written, answers for each; what two of them cover counts once', async () => {
  await using origin = await Origin.start();
  const tags = { '/a': 'red', '/b': 'blue', '/c': 'red, green', '/d': 'other' };
  for (const [path, text] of Object.entries(tags)) origin.setObject(path, { ...FRESH, headers: { 'Cache-Tag': text } });
  await using edge = await startEdge({ origin, set: ALLOWED, makeStore: tinyDevice });
  for (const headers of [{ 'Surrogate-Key': 'red  blue green red' }, { 'Surrogate-Key': 'red', 'Cache-Tag': 'blue,green' }]) {
    for (const path of Object.keys(tags)) await cached(edge, path);
    const answer = await purge(edge, '/', headers);
    assert.equal(answer.status, 200, answer.text);
    const { purges } = JSON.parse(answer.text) as { purges: readonly { id: number; kind: string; key: string }[] };
    assert.deepEqual(
      purges.map(({ kind, key }) => [kind, key]),
      [
        ['tag', 'red'],
        ['tag', 'blue'],
        ['tag', 'green'],
      ],
    );
    for (const path of ['/a', '/b', '/c']) assert.equal(await cached(edge, path), 'MISS', path);
    assert.equal(await cached(edge, '/d'), 'HIT');
    const isDone = (): boolean => purges.every(({ id }) => edge.services.purger.find(id)?.isDone === true);
    await eventually(isDone, { what: 'the end of the walks' });
    assert.equal(
      purges.reduce((sum, { id }) => sum + (edge.services.purger.find(id)?.objects ?? 0), 0),
      3,
    );
  }
});

test('PURGE that says nothing clear is refused, and nothing is purged', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  await using edge = await startEdge({ origin, set: ALLOWED });
  await cached(edge, '/a');
  const cases: readonly (readonly [path: string, headers: Record<string, string>])[] = [
    ['/a', { 'X-Purge-Method': 'regex' }],
    ['/a', { 'Soft-Purge': 'yes' }],
    ['/a/..', { 'X-Purge-Method': 'prefix' }],
    ['/', { 'X-Purge-Method': 'tag' }],
    ['/', { 'Surrogate-Key': ' , ' }],
    ['/', { 'Surrogate-Key': Array.from({ length: 257 }, (_unused, number) => `t${number}`).join(' ') }],
    ['/a', { 'Surrogate-Key': 'red', 'X-Purge-Method': 'url' }],
    ['/', { 'Surrogate-Key': 'red', 'X-Purge-Method': 'everything' }],
    ['/', { 'Surrogate-Key': '\xff' }],
    ['*', {}],
  ];
  for (const [path, headers] of cases) assert.equal((await purge(edge, path, headers)).status, 400, JSON.stringify([path, headers]));
  assert.equal(await edge.metric('rawslice_http_purges_refused_total{reason="invalid"}'), cases.length);
  assert.equal(await cached(edge, '/a'), 'HIT');
});

test('who may: nobody unless configured, else by address, by token, or by both; the origin never sees a PURGE', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  const token = 'correct-horse';
  const authorization = `Bearer ${token}`;
  const cases: readonly (readonly [set: Record<string, string>, headers: Record<string, string>, status: number, reason?: string])[] = [
    [{}, {}, 403, 'off'],
    [{ 'purge.allow': '192.0.2.0/24,::1' }, {}, 403, 'address'],
    [{ 'purge.allow': '192.0.2.0/24,127.0.0.0/8' }, {}, 200],
    [{ 'purge.token': token }, {}, 403, 'token'],
    [{ 'purge.token': token }, { authorization: `Bearer ${token}x` }, 403, 'token'],
    [{ 'purge.token': token }, { authorization }, 200],
    [{ 'purge.token': token, 'purge.allow': '127.0.0.1' }, {}, 403, 'token'],
    [{ 'purge.token': token, 'purge.allow': '192.0.2.1' }, { authorization }, 403, 'address'],
    [{ 'purge.token': token, 'purge.allow': '127.0.0.1' }, { authorization }, 200],
  ];
  for (const [set, headers, status, reason] of cases) {
    await using edge = await startEdge({ origin, set });
    await cached(edge, '/a');
    const answer = await purge(edge, '/a', headers);
    assert.equal(answer.status, status, JSON.stringify(set));
    assert.equal(await cached(edge, '/a'), status === 200 ? 'MISS' : 'HIT');
    if (reason !== undefined)
      assert.equal(await edge.metric(`rawslice_http_purges_refused_total{reason="${reason}"}`), 1, JSON.stringify(set));
  }
  assert.ok(origin.requests.every(({ method }) => method === 'GET'));
});

test('addresses of the other family are looked up as what they are; a Unix socket has none', () => {
  const gate = new PurgeGate({
    allow: [
      { address: '192.0.2.0', prefixBits: 24, family: 'ipv4' },
      { address: '2001:db8::', prefixBits: 32, family: 'ipv6' },
    ],
    token: undefined,
  });
  const refused = ['192.0.3.1', '::ffff:192.0.3.1', '2001:db9::1', undefined].map((address) => gate.refuse(address, undefined));
  assert.deepEqual(refused, ['address', 'address', 'address', 'address']);
  for (const address of ['192.0.2.9', '::ffff:192.0.2.9', '2001:db8:1::1'])
    assert.equal(gate.refuse(address, undefined), undefined, address);
  assert.deepEqual([isSameSecret('a', 'a'), isSameSecret('a', 'ab'), isSameSecret('', 'a')], [true, false, false]);
});

test('a store that cannot keep a purge answers 503, and it is counted', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  await using edge = await startEdge({ origin, set: ALLOWED, makeStore: tinyDevice });
  await cached(edge, '/a');
  await edge.store.close();
  const answer = await purge(edge, '/a');
  assert.deepEqual([answer.status, answer.headers['retry-after']], [503, '1']);
  assert.equal(await edge.metric('rawslice_http_purges_refused_total{reason="failed"}'), 1);
});

test('a PURGE reaches what its service has, of every kind; the admin port reaches all', async () => {
  await using origin = await Origin.start({ resolve: () => ({ ...FRESH, headers: { 'Cache-Tag': 'red' } }) });
  const yaml = `
middlewares: [{ name: far, use: access, options: { allow: 203.0.113.0/24 } }]
services:
  - { name: closed, listen: "127.0.0.1:0", routes: [mine, both, hosts], middlewares: far }
  - { name: open, listen: "127.0.0.1:0", routes: [theirs, both] }
  - { name: reader, listen: "127.0.0.1:0", routes: [mine, both, theirs, hosts] }
routes:
  - { name: mine, prefix: /mine, upstream: g }
  - { name: both, prefix: /both, upstream: g }
  - { name: theirs, host: x.test, upstream: g }
  - { name: hosts, upstream: h }
upstreams:
  - { name: g, nodes: [{ url: "${origin.url}" }] }
  - { name: h, nodes: [{ url: "${origin.url}" }], preserveHost: true }
`;
  await using edge = await startEdge({ yaml, set: ALLOWED, makeStore: tinyDevice });
  const places = [
    ['/mine/a', 'x.test'],
    ['/both/a', 'x.test'],
    ['/theirs/a', 'x.test'],
    ['/hosts/a', 'y.test'],
  ] as const;
  const ask = async (): Promise<string> => {
    let letters = '';
    for (const [path, host] of places) {
      const answer = await request({ port: edge.ports.get('reader') ?? 0, path, headers: { host } });
      assert.equal(answer.status, 200, path);
      letters += String(answer.headers['x-cache'])[0];
      await edge.settle();
      await edge.store.drain();
    }
    return letters;
  };
  const order = async (path: string, headers: Record<string, string>): Promise<number | undefined> =>
    (await request({ port: edge.ports.get('open') ?? 0, path, headers: { host: 'x.test', ...headers }, method: 'PURGE' })).status;
  await ask();
  const cases: readonly (readonly [path: string, headers: Record<string, string>, status: number, then: string])[] = [
    ['/', { 'Cache-Tag': 'red' }, 200, 'HMMH'],
    ['/', { 'X-Purge-Method': 'everything' }, 200, 'HMMH'],
    ['/', { 'X-Purge-Method': 'everything', 'Soft-Purge': '1' }, 200, 'HRRH'],
    ['/', { 'X-Purge-Method': 'host' }, 200, 'HMMH'],
    ['/', { 'X-Purge-Method': 'host', host: 'y.test' }, 200, 'HMHH'],
    ['/', { 'X-Purge-Method': 'prefix' }, 200, 'HMMH'],
    ['/both/a', {}, 200, 'HMHH'],
    ['/mine/a', { host: 'y.test' }, 400, 'HHHH'],
    ['/', { 'Cache-Tag': Array.from({ length: 129 }, (_unused, number) => `t${number}`).join() }, 400, 'HHHH'],
  ];
  for (const [path, headers, status, then] of cases) {
    const name = JSON.stringify([path, headers]);
    assert.equal(await order(path, headers), status, name);
    assert.equal(await ask(), then, name);
  }
  for (const named of [{ kind: 'tag', tag: 'red' }, { kind: 'everything' }] as const) {
    await edge.services.purger.purge(named, false);
    assert.equal(await ask(), 'MMMM', named.kind);
  }
});
