/** Several sites from several listeners: which origin a request reaches, under which key it is stored, what a purge forgets, and what is told of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLogger } from '../../src/base/log.ts';
import { CapturedStream } from '../helpers/captured-stream.ts';
import { type ClientResponse, request } from '../helpers/client.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';

const FRESH = { lengthBytes: 1000, cacheControl: 'max-age=600' };

function groupOf(name: string, ...origins: readonly Origin[]): string {
  return `  - { name: ${name}, nodes: [${origins.map(({ url }) => `{ url: "${url}" }`).join(', ')}] }\n`;
}

async function ask(
  edge: TestEdge,
  url: string,
  more: Partial<Parameters<TestEdge['get']>[2]> & { service?: string } = {},
): Promise<ClientResponse> {
  const { host, pathname, search } = new URL(url);
  const port = edge.ports.get(more.service ?? '') ?? edge.port;
  const answer = await request({ port, path: pathname + search, ...more, headers: { host, ...(more.headers as object) } });
  await edge.settle();
  return answer;
}

const cacheOf = async (edge: TestEdge, url: string): Promise<string | undefined> => (await ask(edge, url)).headers['x-cache'];

test('the first route that matches host, path and method decides the origin; paths are rewritten on the way', async () => {
  await using one = await Origin.start({ resolve: () => FRESH });
  await using two = await Origin.start({ resolve: () => FRESH });
  const yaml = `
routes:
  - { name: api, host: a.example, prefix: /api, methods: [GET, POST], stripPrefix: /api, addPrefix: /v2, upstream: two }
  - { name: exact, host: a.example, path: /only, upstream: two }
  - { name: deb, host: "*.example", match: "\\\\.deb$", upstream: two }
  - { name: rest, host: [a.example, "*.b.example"], upstream: one }
upstreams:
${groupOf('one', one)}${groupOf('two', two)}`;
  await using edge = await startEdge({ yaml });
  const cases: readonly (readonly [url: string, origin: Origin, path: string])[] = [
    ['http://a.example/api/users?x=1', two, '/v2/users?x=1'],
    ['http://a.example/api', two, '/v2/'],
    ['http://a.example/apix', one, '/apix'],
    ['http://a.example/only', two, '/only'],
    ['http://a.example/only/x', one, '/only/x'],
    ['http://deep.b.example/pool/x.deb', two, '/pool/x.deb'],
    ['http://deep.b.example:8080/pool/x.dsc', one, '/pool/x.dsc'],
  ];
  for (const [url, origin, target] of cases) {
    one.forgetRequests();
    two.forgetRequests();
    assert.equal((await ask(edge, url)).status, 200, url);
    assert.deepEqual(
      [...one.requests, ...two.requests].map((seen) => [seen.target, seen.headers.host]),
      [[target, new URL(origin.url).host]],
      url,
    );
    assert.equal(await cacheOf(edge, url), 'HIT', url);
  }
  assert.equal(await edge.metric('rawslice_route_requests_total{service="default",route="api",group="two",cache="MISS"}'), 2);
  assert.equal(await edge.metric('rawslice_route_requests_total{service="default",route="rest",group="one",cache="HIT"}'), 3);
});

test('an unknown host is misdirected (421), an unknown path absent (404), another method not allowed (405 with Allow)', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  const yaml = `routes: [{ name: r, host: a.example, prefix: /x, methods: [GET, POST] }]\n`;
  await using edge = await startEdge({ origin, yaml });
  const statuses = async (url: string, method: string): Promise<readonly unknown[]> => {
    const answer = await ask(edge, url, { method });
    return [
      answer.status,
      answer.headers.allow,
      /detail=(\w+)/.exec(answer.headers['cache-status'] ?? '')?.[1],
      answer.headers['proxy-status']?.split(';')[1],
    ];
  };
  assert.deepEqual(await statuses('http://b.example/x', 'GET'), [421, undefined, 'HOST_UNKNOWN', ' error=http_request_denied']);
  assert.deepEqual(await statuses('http://a.example/y', 'GET'), [404, undefined, 'ROUTE_ABSENT', ' error=http_request_denied']);
  assert.deepEqual(await statuses('http://a.example/x', 'DELETE'), [405, 'GET, POST', 'METHOD_NOT_ALLOWED', ' error=http_request_denied']);
  assert.equal((await ask(edge, 'http://a.example/x', { method: 'HEAD' })).status, 200);
  for (const why of ['host', 'path', 'method'])
    assert.equal(await edge.metric(`rawslice_http_requests_unrouted_total{why="${why}"}`), 1, why);
});

test('routes never share what is stored: not for one path at two hosts, and not for one path of the origin', async () => {
  await using one = await Origin.start();
  await using two = await Origin.start();
  const bodies = [one.setObject('/f', FRESH), two.setObject('/f', FRESH), one.setObject('/sub/f', FRESH)];
  const yaml = `
routes:
  - { name: a, host: a.example, upstream: one }
  - { name: b, host: b.example, upstream: two }
  - { name: c, host: c.example, addPrefix: /sub, upstream: one }
upstreams:
${groupOf('one', one)}${groupOf('two', two)}`;
  await using edge = await startEdge({ yaml, set: { 'cacheStatus.key': 'true' } });
  for (const round of ['MISS', 'HIT']) {
    for (const [index, host] of ['a', 'b', 'c'].entries()) {
      const answer = await ask(edge, `http://${host}.example/f`, { expect: bodies[index] });
      assert.deepEqual([answer.headers['x-cache'], answer.wrongAt], [round, -1], host);
    }
  }
  const keyOf = async (host: string): Promise<string | undefined> =>
    /key="([^"]*)"/.exec((await ask(edge, `http://${host}.example/f`)).headers['cache-status'] ?? '')?.[1];
  assert.deepEqual([await keyOf('a'), await keyOf('b')], ['a|one/f', 'b|two/f']);
  assert.match((await keyOf('c')) ?? '', /^c\|one\|[0-9a-f]{8}\/f$/);
});

test('rules are those of the route, and see the path without what is stripped', async () => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 10, cacheControl: 'max-age=0' }) });
  const yaml = `
routes:
  - name: a
    prefix: /a
    stripPrefix: /a
    rules: [{ name: fixed, match: ^/fixed/, immutable: true }]
  - { name: b, prefix: /b }
rules: [{ name: shared, prefix: /b/, freshFor: 1h }]
`;
  await using edge = await startEdge({ origin, yaml });
  for (const path of ['/a/fixed/x', '/b/x']) {
    await edge.get(path);
    await edge.settle();
    assert.equal((await edge.get(path)).headers['x-cache'], 'HIT', path);
  }
  await edge.get('/a/b/x');
  await edge.settle();
  assert.notEqual((await edge.get('/a/b/x')).headers['x-cache'], 'HIT');
});

test('a purge reaches the sites that answer for its host and path, and no other', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  const yaml = `
routes:
  - { name: read, host: [a.example, b.example], methods: GET }
  - { name: write, host: a.example }
  - { name: c, host: c.example }
`;
  await using edge = await startEdge({ origin, yaml, set: { 'purge.allow': '127.0.0.1' } });
  const fill = async (): Promise<void> => {
    for (const url of ['http://a.example/x', 'http://a.example/y', 'http://c.example/x']) await ask(edge, url);
  };
  const purge = async (url: string, headers: Record<string, string> = {}): Promise<readonly unknown[]> => {
    const answer = await ask(edge, url, { method: 'PURGE', headers });
    if (answer.status !== 200) return [answer.status, answer.body.toString().trim()];
    const { key, objects } = JSON.parse(answer.body.toString());
    return [key.replaceAll(`127.0.0.1:${origin.port}`, 'O'), objects];
  };
  await fill();
  assert.deepEqual(await purge('http://a.example/x'), ['read|O/x write|O/x', 1]);
  assert.deepEqual([await cacheOf(edge, 'http://c.example/x'), await cacheOf(edge, 'http://a.example/y')], ['HIT', 'HIT']);
  assert.equal(await cacheOf(edge, 'http://a.example/x'), 'MISS');
  assert.deepEqual(await purge('http://c.example/', { 'X-Purge-Method': 'host' }), ['c|O/', 1]);
  assert.deepEqual([await cacheOf(edge, 'http://c.example/x'), await cacheOf(edge, 'http://a.example/y')], ['MISS', 'HIT']);
  assert.deepEqual(await purge('http://b.example/', { 'X-Purge-Method': 'prefix' }), ['read|O/', 2]);
  assert.deepEqual(await purge('http://none.example/x'), [400, 'No route answers for none.example/x, so nothing of it is stored']);
  await fill();
  assert.equal((await edge.services.purger.purge({ kind: 'everything' }, false)).objects, 3);
});

test('each service has its own address and its own routes; log lines say which', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  const yaml = `
services:
  - { name: open, listen: 127.0.0.1:0, routes: [site] }
  - { name: inner, listen: 127.0.0.1:0 }
routes:
  - { name: admin, prefix: /admin }
  - { name: site }
`;
  const log = new CapturedStream();
  const logger = createLogger({ level: 'info', stream: log });
  await using edge = await startEdge({ origin, yaml, logger, set: { 'log.access': 'true' } });
  assert.equal((await ask(edge, 'http://x.example/admin/a', { service: 'open' })).headers['x-cache'], 'MISS');
  assert.equal((await ask(edge, 'http://x.example/admin/a', { service: 'inner' })).headers['x-cache'], 'MISS');
  assert.equal((await ask(edge, 'http://x.example/b', { service: 'open' })).headers['x-cache'], 'MISS');
  assert.equal(
    (await ask(edge, 'http://x.example/b', { service: 'inner' })).headers['x-cache'],
    'HIT',
    'a route is one site in all services',
  );
  assert.deepEqual(
    log.text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
      .map(({ service, route, group }) => [service, route, group]),
    [
      ['open', 'site', 'default'],
      ['inner', 'admin', 'default'],
      ['open', 'site', 'default'],
      ['inner', 'site', 'default'],
    ],
  );
});

test('a route has slices of its own size', async () => {
  await using origin = await Origin.start();
  origin.setObject('/f', { lengthBytes: 300_000, cacheControl: 'max-age=600' });
  await using edge = await startEdge({ origin, yaml: 'routes: [{ name: big, host: big.example, sliceSize: 256KiB }, { name: rest }]\n' });
  for (const host of ['big', 'small']) {
    await ask(edge, `http://${host}.example/f`);
    await edge.store.drain();
  }
  const ranges = async (host: string): Promise<string | undefined> =>
    (await ask(edge, `http://${host}.example/f`, { headers: { range: 'bytes=0-299999' } })).headers['x-cache'];
  assert.deepEqual([await ranges('big'), await ranges('small')], ['HIT', 'HIT']);
  const sizes = edge.services.service.router.routes.map(({ site }) => site.sliceSizeBytes);
  assert.deepEqual(sizes, [262_144, 65_536]);
});

test('row 46: an answer invalidates what Location and Content-Location name at the same host, whichever route of it that is', async () => {
  await using one = await Origin.start({ resolve: () => FRESH });
  await using two = await Origin.start({ resolve: () => FRESH });
  const yaml = `
routes:
  - { name: api, host: a.example, prefix: /api, upstream: one }
  - { name: exact, host: a.example, path: /exact, upstream: two }
  - { name: rest, host: a.example, upstream: two }
upstreams:
${groupOf('one', one)}${groupOf('two', two)}`;
  await using edge = await startEdge({ yaml });
  const urls = ['/exact', '/other', '/kept'].map((path) => `http://a.example${path}`);
  for (const url of urls) assert.deepEqual([await cacheOf(edge, url), await cacheOf(edge, url)], ['MISS', 'HIT'], url);
  one.misbehave('/api/u', { headers: { Location: 'http://a.example/exact', 'Content-Location': '/other' } });
  assert.equal((await ask(edge, 'http://a.example/api/u', { method: 'POST' })).status, 200);
  assert.deepEqual(await Promise.all(urls.map((url) => cacheOf(edge, url))), ['MISS', 'MISS', 'HIT']);
});
