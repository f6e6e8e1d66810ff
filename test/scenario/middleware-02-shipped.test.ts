/** The shipped middlewares that need nothing but the request: headers, access, cors, redirect; what they mean for what is stored. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClientResponse } from '../helpers/client.ts';
import { startEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';

const FRESH = { lengthBytes: 1000, cacheControl: 'max-age=600' };

test('headers: what the origin is told goes with fills and with what passes, and to no other origin; answers are changed, and not what is stored', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  await using far = await Origin.start({ resolve: () => FRESH });
  origin.misbehave('/moved', { redirectTo: `${far.url}/there` });
  const yaml = `
middlewares:
  - name: own
    use: headers
    options:
      setRequest: { X-Api-Key: secret-7, accept: text/html }
      removeRequest: [cookie, x-noise]
      setResponse: { x-edge: here, cache-control: no-cache }
      addResponse: { link: "</a.css>; rel=preload" }
      removeResponse: [x-internal]
rules: [{ name: all, prefix: /moved, followRedirects: 1, redirectHosts: "127.0.0.1:${new URL(far.url).port}" }]
routes: [{ name: with, prefix: /moved, middlewares: own }, { name: api, prefix: /api, middlewares: own }, { name: plain }]
`;
  await using edge = await startEdge({ origin, yaml });
  origin.setObject('/api/x', { ...FRESH, headers: { 'x-internal': '1', link: '<b>' } });
  const noisy = { 'x-api-key': 'mine', cookie: 'a=b', 'x-noise': '1' };
  for (const cache of ['MISS', 'HIT']) {
    const { status, headers } = await edge.get('/api/x', noisy);
    assert.deepEqual([status, headers['x-cache'], headers['x-edge'], headers['cache-control']], [200, cache, 'here', 'no-cache']);
    assert.deepEqual([headers['x-internal'], headers.link], [undefined, '<b>, </a.css>; rel=preload']);
    await edge.settle();
  }
  assert.equal((await edge.get('/api/x', { ...noisy, 'content-length': '0' }, { method: 'PUT' })).status, 200);
  assert.deepEqual(
    origin.requests.map(({ method, headers }) => [method, headers['x-api-key'], headers.accept, headers.cookie, headers['x-noise']]),
    [
      ['GET', 'secret-7', 'text/html', undefined, undefined],
      ['PUT', 'secret-7', 'text/html', undefined, undefined],
    ],
  );
  assert.equal((await edge.get('/moved')).status, 200);
  assert.equal(origin.requestsFor('/moved')[0]?.headers['x-api-key'], 'secret-7');
  assert.deepEqual(
    far.requests.map(({ headers }) => headers['x-api-key']),
    [undefined],
  );
});

test('headers: an origin that varies on what it is told by the edge has one variant for all', async () => {
  await using origin = await Origin.start();
  origin.setObject('/v', { ...FRESH, varyOn: ['x-tenant'] });
  const yaml = 'middlewares: [{ name: t, use: headers, options: { setRequest: { x-tenant: red } } }]\n';
  await using edge = await startEdge({ origin, yaml });
  assert.equal((await edge.get('/v', { 'x-tenant': 'blue' })).headers['x-cache'], 'MISS');
  await edge.settle();
  assert.equal((await edge.get('/v', { 'x-tenant': 'green' })).headers['x-cache'], 'HIT');
  assert.ok(origin.requests.every(({ headers }) => headers['x-tenant'] === 'red'));
});

test('access: what is stored is not for everybody; addresses are those that trusted proxies tell', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  const yaml = `
middlewares:
  - { name: net, use: access, options: { allow: [198.51.100.0/24, "2001:db8::/32"], deny: 198.51.100.7 } }
services: [{ name: s, listen: "127.0.0.1:0", trustedProxies: 127.0.0.1, middlewares: net }]
`;
  await using edge = await startEdge({ origin, yaml });
  const ask = (from: string): Promise<ClientResponse> => edge.get('/x', { 'x-forwarded-for': from });
  const statusOf = async (from: string): Promise<number | undefined> => (await ask(from)).status;
  assert.equal(await statusOf('198.51.100.1'), 200);
  await edge.settle();
  assert.equal((await ask('198.51.100.1')).headers['x-cache'], 'HIT');
  for (const from of ['198.51.100.7', '203.0.113.1', '2001:db9::1']) assert.equal(await statusOf(from), 403, from);
  assert.equal(await statusOf('2001:db8::9'), 200);
  assert.match((await ask('203.0.113.1')).headers['proxy-status'] ?? '', /error=http_request_denied/);
  assert.equal((await edge.get('/x')).status, 403);
  assert.equal(origin.requests.length, 1);
});

test('cors: preflights are answered for routes that take no OPTIONS, answers are for the origin that asks, stored ones and errors too', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a/x', { ...FRESH, headers: { 'access-control-allow-origin': 'https://evil.example', vary: 'Accept-Language' } });
  const yaml = `
middlewares:
  - name: browsers
    use: cors
    options: { origins: [https://app.example, "https://*.b.example:8443"], methods: [GET, PUT], headers: [x-one], expose: [etag], credentials: true, maxAge: 1h }
  - { name: all, use: cors, options: { origins: "*" } }
routes:
  - { name: a, prefix: /a, methods: [GET, PUT], middlewares: browsers }
  - { name: open, prefix: /open, middlewares: all }
  - { name: none, prefix: /none, methods: GET }
`;
  await using edge = await startEdge({ origin, yaml });
  const preflight = (path: string, from: string, method = 'PUT'): Promise<ClientResponse> =>
    edge.get(
      path,
      { origin: from, 'access-control-request-method': method, 'access-control-request-headers': 'x-one' },
      { method: 'OPTIONS' },
    );
  const allowed = await preflight('/a/x', 'https://app.example');
  assert.deepEqual(
    [allowed.status, allowed.headers['access-control-allow-origin'], allowed.headers['access-control-allow-methods']],
    [204, 'https://app.example', 'GET, PUT'],
  );
  assert.deepEqual(
    [
      allowed.headers['access-control-allow-headers'],
      allowed.headers['access-control-max-age'],
      allowed.headers['access-control-allow-credentials'],
    ],
    ['x-one', '3600', 'true'],
  );
  assert.equal(allowed.headers.vary, 'Origin');
  const foreign = await preflight('/a/x', 'https://evil.example');
  assert.deepEqual(
    [foreign.status, foreign.headers['access-control-allow-origin'], foreign.headers['access-control-allow-methods']],
    [204, undefined, undefined],
  );
  // A method that the route does not take has no preflight; nor has a route without cors.
  assert.equal((await preflight('/a/x', 'https://app.example', 'DELETE')).status, 405);
  assert.equal((await preflight('/none', 'https://app.example', 'GET')).status, 405);
  assert.equal((await edge.get('/a/x', {}, { method: 'OPTIONS' })).status, 405);

  for (const [from, expected] of [
    ['https://app.example', 'https://app.example'],
    ['https://x.b.example:8443', 'https://x.b.example:8443'],
    ['https://b.example:8443', undefined],
    ['https://x.b.example', undefined],
    ['https://evil.example', undefined],
    ['https://evil.example/.b.example:8443', undefined],
    ['null', undefined],
    [undefined, undefined],
  ] as const) {
    const { headers } = await edge.get('/a/x', from === undefined ? {} : { origin: from });
    assert.equal(headers['access-control-allow-origin'], expected, String(from));
    assert.equal(headers.vary, 'Accept-Language, Origin', String(from));
    await edge.settle();
  }
  const conditional = await edge.get('/a/x', { origin: 'https://app.example', 'if-none-match': '*' });
  assert.deepEqual([conditional.status, conditional.headers['access-control-allow-origin']], [304, 'https://app.example']);
  assert.equal(origin.requests.length, 1);
  await origin.stop();
  const failed = await edge.get('/a/none', { origin: 'https://app.example' });
  assert.deepEqual([failed.status, failed.headers['access-control-allow-origin']], [502, 'https://app.example']);
  const open = await edge.get('/open/x', { origin: 'https://any.example' });
  assert.deepEqual([open.headers['access-control-allow-origin'], open.headers.vary], ['*', undefined]);
});

test('redirect: paths and hosts lead where the file says, and never to a host that a client wrote into its path', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  const yaml = `
middlewares:
  - { name: old, use: redirect, options: { match: "^/old(/.*)$", to: "/$1", status: 301 } }
  - { name: tls, use: redirect, options: { to: "https://{host}{path}{query}", insecureOnly: true } }
routes: [{ name: old, prefix: /old, middlewares: old }, { name: rest, middlewares: tls }]
`;
  await using edge = await startEdge({ origin, yaml });
  const where = async (path: string): Promise<unknown[]> => {
    const { status, headers } = await edge.get(path, { host: 'a.example:8080' });
    return [status, headers.location];
  };
  assert.deepEqual(await where('/old/x/y'), [301, '/x/y']);
  assert.deepEqual(await where('/old//evil.example/x'), [301, '/evil.example/x']);
  assert.deepEqual(await where('/old'), [200, undefined]);
  assert.deepEqual(await where('/a%20b?c=d'), [302, 'https://a.example/a%20b?c=d']);
});

test('a change of middlewares holds from the next request on, and what was made for nothing is closed', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  await using edge = await startEdge({ origin, yaml: 'middlewares: [{ name: h, use: headers, options: { setResponse: { a: b } } }]\n' });
  const before = edge.services.service.middlewares[0];
  const { config } = edge.proxy;
  const same = edge.proxy.prepare(config);
  assert.equal(same.middlewares.instances.get('h'), before);
  const other = edge.proxy.prepare({ ...config, middlewares: config.middlewares.map((each) => ({ ...each, timeoutMs: 7 })) });
  assert.notEqual(other.middlewares.instances.get('h'), before);
  edge.proxy.discard(other);
});
