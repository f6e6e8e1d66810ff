/**
 * What stages do for a request holds over HTTP/2 as over HTTP/1.1: credentials, limits, ids, purges, logs. And what HTTP/2 must not let through: fields that
 * only JavaScript takes for something else, a drain that is not told.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { createLogger } from '../../src/base/log.ts';
import { request } from '../helpers/client.ts';
import { type EdgeOptions, startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Http2Client } from '../helpers/http2-client.ts';
import { withModule } from '../helpers/module-file.ts';
import { Origin } from '../helpers/origin.ts';
import { withReloadableEdge } from '../helpers/reloadable-edge.ts';

const FRESH = { lengthBytes: 100_000, cacheControl: 'max-age=600' };
const TOKEN = { authorization: 'Bearer secret-secret' };

function start(origin: Origin, yaml: string, more: Partial<EdgeOptions> = {}): Promise<TestEdge> {
  return startEdge({ origin, ...more, yaml: `services: [{ name: edge, listen: "127.0.0.1:0", http2: true }]\n${yaml}` });
}

test('HTTP/2: what is stored is for who has credentials, on each stream of a connection anew; the origin is told who it is', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  const yaml = `
middlewares: [{ name: keys, use: bearer, options: { tokens: { shop: secret-secret }, nameField: x-name } }]
routes: [{ name: closed, prefix: /closed, middlewares: keys }, { name: open }]
`;
  await using edge = await start(origin, yaml);
  await using client = await Http2Client.open(edge.port);
  const ask = async (path: string, headers: Record<string, string> = {}, method = 'GET', body?: string): Promise<unknown[]> => {
    const answer = await client.get(path, { headers, method, body });
    await edge.settle();
    return [answer.status, answer.headers['x-cache'], answer.body.length];
  };
  assert.deepEqual(await ask('/closed/a'), [401, 'NONE', 28]);
  assert.deepEqual(await ask('/closed/a', TOKEN), [200, 'MISS', 100_000]);
  assert.deepEqual(await ask('/closed/a', TOKEN), [200, 'HIT', 100_000]);
  for (const path of ['/closed/a', '/closed/../closed/a', '/%63losed/a', '/open/../closed/a', '/closed'])
    assert.deepEqual((await ask(path))[0], 401, path);
  assert.deepEqual(await ask('/closed/a', { range: 'bytes=0-9' }), [401, 'NONE', 28]);
  assert.deepEqual(await ask('/closed/a', {}, 'HEAD'), [401, 'NONE', 0]);
  assert.equal((await ask('/closed/up', { 'x-name': 'root' }, 'PUT', 'x'.repeat(200_000)))[0], 401);
  assert.equal((await ask('/closed/up', { ...TOKEN, 'x-name': 'root' }, 'PUT', 'hello'))[0], 200);
  assert.deepEqual(
    origin.requests.map(({ method, headers }) => [method, headers.authorization, headers['x-name']]),
    [
      ['GET', undefined, undefined],
      ['PUT', undefined, 'shop'],
    ],
  );
});

test('HTTP/2: limits of rate count streams; ids are in every answer; purges ask who may; gRPC and errors are in the log as they were answered', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  const lines: Record<string, unknown>[] = [];
  const logger = createLogger({ level: 'info', stream: { write: (text) => lines.push(JSON.parse(text)) } });
  const yaml = `
middlewares:
  - { name: limit, use: rateLimit, options: { requests: 3, per: 1h } }
  - { name: far, use: access, options: { allow: 203.0.113.0/24 } }
routes: [{ name: closed, prefix: /closed, middlewares: far }, { name: few, prefix: /few, middlewares: limit }, { name: open }]
`;
  const set = { requestId: 'client', 'purge.allow': '127.0.0.1', 'log.access': 'true' };
  await using edge = await start(origin, yaml, { set, logger });
  await using client = await Http2Client.open(edge.port);
  const ids = new Set<unknown>();
  const statuses: number[] = [];
  for (let index = 0; index < 5; index += 1) {
    const { status, headers } = await client.get('/few/a');
    statuses.push(status);
    ids.add(headers['x-request-id']);
  }
  assert.deepEqual(statuses, [200, 200, 200, 429, 429]);
  assert.deepEqual([ids.size, [...ids].every((id) => /^[0-9a-f]{24}$/.test(String(id)))], [5, true]);
  assert.equal((await client.get('/closed/a', { method: 'PURGE' })).status, 403);
  assert.equal((await client.get('/few/a', { method: 'PURGE' })).status, 200);
  assert.equal((await client.get('/', { method: 'PURGE', headers: { 'x-purge-method': 'everything' } })).status, 403);
  const grpc = await client.get('/nowhere/x', {
    method: 'POST',
    headers: { 'content-type': 'application/grpc', te: 'trailers' },
    body: '',
  });
  assert.equal(grpc.status, 200);
  await eventually(() => lines.filter((line) => line.msg === 'request').length === 9, { what: 'nine lines' });
  const said = lines.filter((line) => line.msg === 'request').map((line) => [line['http.response.status_code'], line.middleware]);
  assert.deepEqual(said.slice(2, 6), [
    [200, undefined],
    [429, 'limit'],
    [429, 'limit'],
    [403, undefined],
  ]);
  assert.equal(new Set(lines.map((line) => line['http.request.id'])).size, 9);
});

test('HTTP/2: fields of an origin that JavaScript has another meaning for, or HTTP/2, end nothing but themselves', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'no-store' });
  const odd = { constructor: '1', ['__proto__']: '2', 'http2-settings': 'AAMAAABk', te: 'gzip', 'x-sum': '3' };
  const pairs = Object.entries(odd);
  origin.misbehave('/a', { chunked: true, trailers: pairs, interim: [103], interimHeaders: pairs, headers: Object.fromEntries(pairs) });
  await using edge = await start(origin, '');
  await using client = await Http2Client.open(edge.port);
  for (let turn = 0; turn < 2; turn += 1) {
    const answer = await client.get('/a', { headers: { te: 'trailers', authorization: 'x' } });
    assert.deepEqual([answer.status, answer.body.length, answer.resetCode], [200, 1000, 0]);
    assert.deepEqual([answer.trailers?.['x-sum'], answer.interim[0]?.['x-sum'], answer.headers['x-sum']], ['3', '3', '3']);
    assert.equal(answer.headers['http2-settings'], undefined);
  }
});

test('HTTP/2: after POST /drain a connection is told to end with what it asks next, and what it asks is answered', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  await withReloadableEdge(
    `upstream: { url: "${origin.url}" }\nservices: [{ name: s, listen: "127.0.0.1:0", http2: true }]\n`,
    async ({ edge, port }) => {
      await using client = await Http2Client.open(port());
      assert.equal((await client.get('/a')).status, 200);
      const told = once(client.session, 'goaway');
      const order = (path: string) => request({ port: edge.adminAddress?.port ?? 0, path, method: 'POST' });
      assert.equal((await order('/drain')).status, 200);
      assert.equal((await client.get('/a')).status, 200);
      assert.deepEqual((await told).slice(0, 2), [0, 2 ** 31 - 1]);
      if (!client.session.closed) await once(client.session, 'close');
      assert.equal((await order('/undrain')).status, 200);
    },
  );
});

test('HTTP/2: early answers of any status are whole, and as over HTTP/1.1', async () => {
  await using origin = await Origin.start();
  await withModule(`create: () => ({ onRequest: ({ path }) => ({ status: Number(path.slice(1)), text: 'x' }) })`, async ({ file }) => {
    await using edge = await start(origin, `middlewares: [{ name: m, use: "${file}" }]\nroutes: [{ name: all, middlewares: m }]\n`);
    await using client = await Http2Client.open(edge.port);
    for (const status of [200, 204, 205, 304, 404, 599]) {
      const [answer, plain] = [await client.get(`/${status}`), await edge.get(`/${status}`)];
      const bytes = [204, 205, 304].includes(status) ? 0 : 1;
      assert.deepEqual([answer.status, answer.body.length, answer.resetCode], [status, bytes, 0]);
      assert.deepEqual([plain.status, plain.bodyBytes, plain.isComplete], [status, bytes, true]);
    }
  });
});

test('205: content that an origin sends with it goes no further (RFC 9110 s15.3.6), over either protocol, stored or not', async () => {
  await using origin = await Origin.start();
  await using edge = await start(origin, '');
  await using client = await Http2Client.open(edge.port);
  for (const headers of [{}, { 'Cache-Control': 'max-age=600' }]) {
    origin.misbehave('/reset', { status: 205, statusBody: 'nobody may see this', headers }, 99);
    for (const method of ['GET', 'POST', 'HEAD', 'GET']) {
      const name = JSON.stringify([method, headers]);
      const answer = await client.get('/reset', { method });
      assert.deepEqual([answer.status, answer.body.length, answer.resetCode, answer.headers['content-length']], [205, 0, 0, '0'], name);
      const plain = await edge.get('/reset', {}, { method });
      assert.deepEqual([plain.status, plain.bodyBytes, plain.isComplete, plain.headers['content-length']], [205, 0, true, '0'], name);
    }
  }
  assert.equal((await client.get('/reset')).resetCode, 0, 'the connection goes on');
});
