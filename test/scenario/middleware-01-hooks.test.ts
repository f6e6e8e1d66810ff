/** Modules at the stages of a request: in which order, what they can do, and that nothing they do wrong reaches further than their own request. */
import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { createServer } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { test } from 'node:test';
import { createLogger } from '../../src/base/log.ts';
import { CapturedStream } from '../helpers/captured-stream.ts';
import { ClientConnection, request } from '../helpers/client.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { withModule } from '../helpers/module-file.ts';
import { Origin } from '../helpers/origin.ts';

const FRESH = { lengthBytes: 100_000, cacheControl: 'max-age=600' };

const uses = (file: string, ...names: readonly string[]): string =>
  `middlewares:\n${names.map((name) => `  - { name: ${name}, use: "${file}", timeout: 50ms }\n`).join('')}`;

async function failures(edge: TestEdge, hook: string): Promise<number> {
  return edge.metric(`rawslice_middleware_failures_total{middleware="m",hook="${hook}"}`);
}

test('hooks run in order before the cache and in reverse behind it; who was not asked does not see the answer', async () => {
  const members = `create: (_options, { name }) => ({
    onRequest(exchange) {
      seen.push(name + ' asked ' + exchange.path);
      return name === 'b' && exchange.field('x-stop') !== undefined ? { status: 418, text: 'stopped' } : undefined;
    },
    onResponse(_exchange, head) { seen.push(name + ' ' + head.status); head.append('x-seen', name); },
    onEnd(_exchange, end) { seen.push(name + ' end ' + end.status + ' ' + end.cache + ' ' + end.sentBytes); },
    close() { seen.push(name + ' closed'); },
  })`;
  await withModule(members, async ({ file, exported }) => {
    await using origin = await Origin.start({ resolve: () => FRESH });
    const log = new CapturedStream();
    const seen = (): unknown => (exported().seen as string[]).splice(0);
    {
      await using edge = await startEdge({
        origin,
        yaml: uses(file, 'a', 'b', 'c'),
        set: { 'log.access': 'true' },
        logger: createLogger({ level: 'info', stream: log }),
      });
      const first = await edge.get('/x');
      assert.deepEqual([first.status, first.headers['x-cache'], first.headers['x-seen']], [200, 'MISS', 'c, b, a']);
      await edge.settle();
      const ended = ['c end 200 MISS 100000', 'b end 200 MISS 100000', 'a end 200 MISS 100000'];
      assert.deepEqual(seen(), ['a asked /x', 'b asked /x', 'c asked /x', 'c 200', 'b 200', 'a 200', ...ended]);
      const second = await edge.get('/x', { 'x-stop': '1' });
      assert.deepEqual([second.status, second.body.toString(), second.headers['x-seen']], [418, 'stopped', 'b, a']);
      assert.equal(second.headers['cache-control'], 'no-store');
      await edge.settle();
      assert.deepEqual(seen(), ['a asked /x', 'b asked /x', 'b 418', 'a 418', 'b end 418 NONE 0', 'a end 418 NONE 0']);
      // What is stored has nothing of them.
      assert.equal((await edge.get('/x')).headers['x-seen'], 'c, b, a');
      await edge.settle();
      seen();
      assert.equal(await edge.metric('rawslice_http_responses_total{class="4xx"}'), 1);
      assert.equal(await edge.metric('rawslice_middleware_requests_total{middleware="b",outcome="answered"}'), 1);
      assert.equal(await edge.metric('rawslice_middleware_requests_total{middleware="c",outcome="passed"}'), 2);
      assert.equal(edge.services.metrics.value('handovers', 'middleware'), 2);
    }
    assert.deepEqual(seen(), ['a closed', 'b closed', 'c closed']);
    const lines = log.text
      .split('\n')
      .filter((line) => line.includes('"msg":"request"'))
      .map((line) => JSON.parse(line));
    assert.deepEqual(
      lines.map((line) => [line['http.response.status_code'], line.middleware]),
      [
        [200, undefined],
        [418, 'b'],
        [200, undefined],
      ],
    );
  });
});

/** Each with what a client sees of it and the hook that counts it. */
const WRONGS: readonly (readonly [what: string, hooks: string, status: number, hook: string])[] = [
  ['throws', `onRequest() { throw new Error('secret'); }`, 500, 'request'],
  ['rejects', `async onRequest() { throw new Error('secret'); }`, 500, 'request'],
  ['never decides', `onRequest() { return new Promise(() => {}); }`, 500, 'request'],
  ['returns nonsense', `onRequest() { return 7; }`, 500, 'request'],
  ['answers with no status', `onRequest() { return { status: 99 }; }`, 500, 'request'],
  ['answers with a line break', `onRequest() { return { status: 200, fields: [['x', 'a\\r\\nb: c']] }; }`, 500, 'request'],
  ['frames the answer', `onRequest() { return { status: 200, fields: [['content-length', '5']], text: 'x' }; }`, 500, 'request'],
  ['chooses what is not its', `onRequest(exchange) { exchange.chooseUpstream('other'); }`, 500, 'request'],
  ['throws at the head', `onResponse() { throw new Error('secret'); }`, 500, 'response'],
  ['waits at the head', `async onResponse() { throw new Error('secret'); }`, 500, 'response'],
  ['changes the framing', `onResponse(_exchange, head) { head.set('Content-Length', '1'); }`, 500, 'response'],
  ['changes the request too late', `onResponse(exchange) { exchange.setField('x', 'y'); }`, 500, 'response'],
  ['throws at the end', `onEnd() { throw new Error('secret'); }`, 200, 'end'],
];

for (const [what, hooks, status, hook] of WRONGS) {
  test(`a middleware that ${what} costs its own request, is counted, and nothing is left over`, async () => {
    await withModule(`create: () => ({ ${hooks} })`, async ({ file }) => {
      await using origin = await Origin.start({ resolve: () => FRESH });
      const yaml = `${uses(file, 'm')}routes: [{ name: bad, prefix: /bad, middlewares: m }, { name: good }]\n`;
      await using edge = await startEdge({ origin, yaml });
      for (const path of ['/bad/x', '/bad/x', '/bad/y']) {
        const answer = await edge.get(path);
        assert.equal(answer.status, status, path);
        assert.equal(answer.body.includes('secret'), false);
        if (status === 500) assert.match(answer.headers['proxy-status'] ?? '', /error=proxy_internal_error; details="MIDDLEWARE_FAILED"/);
      }
      // What passes through goes by another way to the same commit.
      assert.equal((await edge.get('/bad/z', { 'content-length': '0' }, { method: 'POST' })).status, status);
      assert.equal((await edge.get('/good/x')).status, 200);
      await edge.settle();
      assert.equal(await failures(edge, hook), 4);
      assert.equal(await edge.metric('rawslice_middleware_requests_in_flight{middleware="m"}'), 0);
    });
  });
}

test('a client that leaves while a middleware decides leaves nothing behind, and is no failure of it', async () => {
  const members = `create: () => ({
    onRequest(exchange) {
      seen.push('asked');
      return new Promise((resolve) => exchange.signal.addEventListener('abort', () => { seen.push('gone'); resolve(undefined); }));
    },
  })`;
  await withModule(members, async ({ file, exported }) => {
    await using origin = await Origin.start({ resolve: () => FRESH });
    await using edge = await startEdge({ origin, yaml: `middlewares: [{ name: m, use: "${file}", timeout: 1m }]\n` });
    const connection = await ClientConnection.open({ port: edge.port });
    const answered = connection.request({ path: '/x' }).catch(() => undefined);
    await eventually(() => (exported().seen as string[]).includes('asked'), { what: 'the hook' });
    connection.destroy();
    await answered;
    await edge.settle();
    assert.deepEqual(exported().seen, ['asked', 'gone']);
    assert.equal(await failures(edge, 'request'), 0);
  });
});

test('what a hook decides too late changes nothing, and a decision in time counts', async () => {
  const members = `create: () => ({
    async onRequest(exchange) {
      await new Promise((resolve) => setTimeout(resolve, exchange.path === '/late' ? 150 : 1));
      exchange.setField('x-late', 'yes');
      seen.push('set ' + exchange.path);
    },
  })`;
  await withModule(members, async ({ file, exported }) => {
    await using origin = await Origin.start({ resolve: () => FRESH });
    await using edge = await startEdge({ origin, yaml: uses(file, 'm') });
    assert.equal((await edge.get('/early', { 'content-length': '0' }, { method: 'POST' })).status, 200);
    assert.equal(origin.requests[0]?.headers['x-late'], 'yes');
    assert.equal((await edge.get('/late')).status, 500);
    await edge.settle();
    assert.equal(await edge.metric('rawslice_middleware_timeouts_total{middleware="m"}'), 1);
    assert.deepEqual(exported().seen, ['set /early']);
    assert.equal(origin.requests.length, 1);
  });
});

test('a tunnel is opened for who passes; a middleware that fails at the 101 leaves no connection behind', async () => {
  const open = new Set<Duplex>();
  const server = createServer().on('upgrade', (incoming, socket) => {
    open.add(socket);
    socket.on('error', () => undefined);
    socket.on('end', () => socket.end()).resume();
    socket.once('close', () => open.delete(socket));
    const accept = hash('sha1', `${incoming.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`, 'base64');
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  try {
    await withModule(
      `create: () => ({ onResponse(exchange) { if (exchange.path === '/bad') throw new Error('no'); } })`,
      async ({ file }) => {
        const yaml = `
middlewares:
  - { name: m, use: "${file}" }
  - { name: none, use: access, options: { deny: 127.0.0.1 } }
routes: [{ name: closed, prefix: /closed, middlewares: none }, { name: rest, middlewares: m }]
upstreams: [{ name: g, nodes: [{ url: "http://127.0.0.1:${port}" }] }]
`;
        await using edge = await startEdge({ yaml });
        const handshake = {
          connection: 'Upgrade',
          upgrade: 'websocket',
          'sec-websocket-version': '13',
          'sec-websocket-key': 'MDEyMzQ1Njc4OWFiY2RlZg==',
        };
        const ask = async (path: string): Promise<number | undefined> => (await edge.get(path, handshake)).status;
        assert.equal(await ask('/closed'), 403);
        assert.equal(open.size, 0);
        assert.equal(await ask('/bad'), 500);
        await eventually(() => open.size === 0, { what: 'the end of the origin connection' });
        const opened = net.connect({ port: edge.port, host: '127.0.0.1' });
        opened.on('error', () => undefined);
        const answered = new Promise<Buffer>((resolve) => opened.once('data', resolve));
        opened.write(
          'GET /good HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n',
        );
        assert.match(String(await answered), /^HTTP\/1\.1 101 /);
        opened.destroy();
        await eventually(() => open.size === 0, { what: 'the end of the tunnel' });
      },
    );
  } finally {
    for (const socket of open) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
});

test('a purge is asked about by those that guard purges, of the routes that it names', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  const yaml = `
middlewares:
  - { name: far, use: access, options: { allow: 203.0.113.0/24 } }
routes: [{ name: closed, prefix: /closed, middlewares: far }, { name: open }]
`;
  await using edge = await startEdge({ origin, yaml, set: { 'purge.allow': '127.0.0.1' } });
  const purge = async (path: string, headers = {}): Promise<number | undefined> =>
    (await request({ port: edge.port, path, method: 'PURGE', headers })).status;
  assert.equal(await purge('/closed/x'), 403);
  assert.equal(await purge('/open/x'), 200);
  assert.equal(await purge('/', { 'x-purge-method': 'everything' }), 403);
  assert.equal(edge.services.metrics.value('purgesRefused', 'middleware'), 2);
});

test('who may not ask a service may not purge through it what another service has', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  const yaml = `
middlewares: [{ name: far, use: access, options: { allow: 203.0.113.0/24 } }]
services:
  - { name: closed, listen: "127.0.0.1:0", routes: [a], middlewares: far }
  - { name: open, listen: "127.0.0.1:0", routes: [b] }
routes: [{ name: a, prefix: /a }, { name: b, prefix: /b }]
upstreams: [{ name: g, nodes: [{ url: "${origin.url}" }] }]
`;
  await using edge = await startEdge({ yaml, set: { 'purge.allow': '127.0.0.1' } });
  const purge = async (service: string, path: string): Promise<number | undefined> =>
    (await request({ port: edge.ports.get(service) ?? 0, path, method: 'PURGE' })).status;
  assert.deepEqual([await purge('closed', '/a/x'), await purge('closed', '/b/x'), await purge('open', '/b/x')], [403, 403, 200]);
});
