/** The configurations in config/examples are valid, say what they seem to say, and one of them runs. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { explainRequest } from '../../src/app/explain-request.ts';
import { loadEdgeConfig } from '../../src/app/load-config.ts';
import type { LoadResult } from '../../src/config/load.ts';
import { formatProblem } from '../../src/config/problem.ts';
import { parseRequestTarget } from '../../src/http/request-target.ts';
import { request } from '../helpers/client.ts';
import { Origin } from '../helpers/origin.ts';
import { withReloadableEdge } from '../helpers/reloadable-edge.ts';

const FOLDER = path.resolve(import.meta.dirname, '../../config/examples');

type Loaded = Extract<LoadResult, { kind: 'ok' }>;

function mustLoad(file: string, overrides: Readonly<Record<string, string>> = {}): Loaded {
  const result = loadEdgeConfig({ file, environment: {}, overrides: Object.entries(overrides).map(([key, text]) => [key, text, 'test']) });
  assert.ok(result.kind === 'ok', result.kind === 'ok' ? '' : result.problems.map(formatProblem).join('\n'));
  return result;
}

/** Requests of each file: method and URL, and per service the route and rule, or the status. */
const REQUESTS: Readonly<Record<string, readonly (readonly [request: string, meets: string])[]>> = {
  'debian-mirror.yaml': [
    ['GET http://deb.example.org/debian/pool/main/a/a.deb', 'mirror: debian/debian-pool'],
    ['GET http://x.deb.example.org/debian-security/dists/s/InRelease', 'mirror: debian/debian-indexes'],
    ['GET http://deb.example.org/ubuntu/', 'mirror: 404'],
    ['POST http://deb.example.org/debian/x', 'mirror: 405'],
    ['GET http://else.example.org/debian/x', 'mirror: 421'],
  ],
  'multi-site-edge.yaml': [
    ['GET http://www.shop.example/images/a.0123456789abcdef.webp', 'edge: images/hashed, inner: images/hashed'],
    ['GET http://images.shop.example/images/a.png', 'edge: images/pictures, inner: images/pictures'],
    ['GET http://www.shop.example/cart', 'edge: shop/plain, inner: 404'],
    ['GET http://preview.shop.example/', 'edge: preview/never, inner: preview/never'],
    ['GET http://de.downloads.example/x-12.iso', 'edge: downloads/iso-images, inner: 421'],
  ],
  'game-content.yaml': [
    ['GET http://lancache.steamcontent.com/depot/1/chunk/ab?token=1', 'lan: steam/depots'],
    ['GET http://us.dist.blizzard.com/tpr/wow/data/ab/cd/abcd', 'lan: patches/data'],
    ['GET http://example.com/', 'lan: 421'],
  ],
  'discovered-services.yaml': [
    ['GET http://any.example/shop/cart', 'edge: shop/plain'],
    ['POST http://any.example/jobs/1', 'edge: jobs/plain'],
    ['GET http://any.example/search?q=x', 'edge: search/plain'],
    ['GET http://any.example/film.mp4', 'edge: media/plain'],
  ],
  'own-middleware.yaml': [
    ['GET http://any.example/internal/x', 'edge: internal/plain'],
    ['GET http://any.example/v1/x', 'edge: api/plain'],
    ['GET http://any.example/v0/x', 'edge: site/plain'],
  ],
  'api-gateway.yaml': [
    ['PATCH http://any.example/api/v1/users/1', 'api: users/plain'],
    ['GET http://any.example/api/v1/orders', 'api: orders/plain'],
    ['POST http://any.example/inventory.v1.Inventory/Get', 'api: inventory/plain'],
    ['GET http://www.example.com/app.js', 'api: static/plain'],
    ['OPTIONS http://x.example/api/v1/users', 'api: 405'],
    ['GET http://x.example/else', 'api: 404'],
  ],
};

test('every example is tried here', () => {
  assert.deepEqual(globSync('*.yaml', { cwd: FOLDER }).sort(), Object.keys(REQUESTS).sort());
});

for (const [name, requests] of Object.entries(REQUESTS)) {
  test(`config/examples/${name} is valid, and requests meet the routes and rules that they should`, () => {
    const loaded = mustLoad(path.join(FOLDER, name));
    for (const [text, meets] of requests) {
      const [method = '', url = ''] = text.split(' ');
      const target = parseRequestTarget(url, undefined);
      assert.ok(target.kind === 'ok');
      const explained = explainRequest(loaded, { target, method }).map((each) =>
        each.kind === 'routed' ? `${each.service}: ${each.route}/${each.rule}` : `${each.service}: ${each.status}`,
      );
      assert.equal(explained.join(', '), meets, text);
    }
  });
}

test('the edge with middlewares runs: its module looks at keys, and the others do what the file says', async () => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 10, cacheControl: 'max-age=60' }) });
  await using down = await Origin.start();
  await down.stop();
  const text = readFileSync(path.join(FOLDER, 'own-middleware.yaml'), 'utf8')
    .replace('0.0.0.0:8000', '127.0.0.1:0')
    .replace('http://10.0.0.11:8080', origin.url)
    .replace('http://10.0.0.12:8080', down.url)
    .replace('./least-latency.ts', path.join(FOLDER, 'least-latency.ts'))
    .replace('./api-keys.ts', path.join(FOLDER, 'api-keys.ts'));
  await withReloadableEdge(text, async ({ port: portOf, admin }) => {
    const port = portOf();
    const ask = (target: string, headers = {}, method = 'GET') => request({ port, path: target, method, headers });
    const refused = await ask('/v1/x', { origin: 'https://app.example.com' });
    assert.deepEqual([refused.status, refused.headers['access-control-allow-origin']], [401, 'https://app.example.com']);
    assert.equal(origin.requests.length, 0);
    for (const [key, consumer] of [
      ['3f9c1d77', 'shop'],
      ['77ab02e1', 'partner'],
    ] as const) {
      const { status, headers } = await ask('/v1/x', { 'x-api-key': key });
      assert.deepEqual([status, headers['x-served-for']], [200, consumer]);
      assert.equal(headers['x-content-type-options'], 'nosniff');
    }
    assert.equal((await ask('/v1/x', { 'x-api-key': '3f9c1d77', 'content-length': '0' }, 'PUT')).status, 200);
    const told = origin.requests.map(({ method, headers }) => [method, headers['x-consumer'], headers['x-api-key']].join(' '));
    assert.deepEqual([...new Set(told)], ['GET  ', 'PUT shop ']);
    assert.equal((await ask('/internal/x')).status, 403);
    assert.deepEqual((await ask('/v0/a/b')).headers.location, '/v1/a/b');
    const preflight = await ask('/v1/x', { origin: 'https://a.preview.example.com', 'access-control-request-method': 'PUT' }, 'OPTIONS');
    assert.deepEqual([preflight.status, preflight.headers['access-control-allow-methods']], [204, 'GET, PUT']);
    assert.match((await admin('/metrics')).text, /rawslice_middleware_events_total\{middleware="keys",event="refused"\} 1/);
  });
});

test('the API gateway runs: its nodes are asked with paths of their own, one of a group may be dead', async () => {
  const origins = await Promise.all(Array.from({ length: 8 }, () => Origin.start({ resolve: () => ({ lengthBytes: 10 }) })));
  const nodes = [
    '10.0.0.11:8080',
    '10.0.0.12:8080',
    '10.0.0.21:8080',
    '10.0.0.22:8080',
    '10.0.0.31',
    '10.0.0.32',
    '10.0.0.41:50051',
    '10.0.0.42:50051',
  ];
  let text = readFileSync(path.join(FOLDER, 'api-gateway.yaml'), 'utf8').replace('0.0.0.0:8000', '127.0.0.1:0');
  for (const [index, node] of nodes.entries())
    text = text.replace(`http://${node} }`, `"${origins[index]?.url}" }`).replace(`http://${node},`, `"${origins[index]?.url}",`);
  assert.equal(text.includes('http://10.'), false);
  await withReloadableEdge(text, async ({ port: portOf, admin }) => {
    const port = portOf();
    const ask = async (target: string, method = 'GET', host = 'any.example'): Promise<number | undefined> =>
      (await request({ port, path: target, method, headers: { host } })).status;
    await origins[0]?.stop();
    for (let count = 0; count < 6; count += 1) assert.equal(await ask(`/api/v1/users/${count}`), 200);
    assert.equal(await ask('/api/v1/users/1', 'DELETE'), 200);
    assert.ok(origins[1]?.requests.some(({ method, target }) => method === 'DELETE' && target === '/users/1'));
    assert.equal(await ask('/api/v1/orders?x=1'), 200);
    assert.equal([origins[2], origins[3]].flatMap((origin) => origin?.requestsFor('/orders') ?? [])[0]?.target, '/orders?x=1');
    assert.equal(await ask('/app.js', 'GET', 'www.example.com'), 200);
    assert.equal([origins[4], origins[5]].flatMap((origin) => origin?.requestsFor('/app.js') ?? [])[0]?.headers.host, 'www.example.com');
    assert.equal(await ask('/else'), 404);
    const { upstreams } = (await admin('/upstreams')).body as { upstreams: { group: string; nodes: unknown[] }[] };
    const states = upstreams.map(({ group, nodes: all }) => [group, all.length]);
    assert.deepEqual(states, [
      ['users', 2],
      ['orders', 2],
      ['inventory', 2],
      ['static', 2],
    ]);
  });
  await Promise.all(origins.map((origin) => origin.close()));
});
