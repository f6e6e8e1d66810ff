/**
 * Connections that change their protocol: WebSocket from a real client to a real server through the proxy, and by raw sockets what nobody should send.
 * Nothing that a client sends behind such a request may become another request, and no answer but the right 101 opens a tunnel.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { type ClientOptions, WebSocket as WsClient } from 'ws';
import { createLogger } from '../../src/base/log.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { CapturedStream } from '../helpers/captured-stream.ts';
import { certificateFiles, trustedCertificate } from '../helpers/certificate.ts';
import { exchange, request } from '../helpers/client.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import { withTemporaryDirectory } from '../helpers/temp.ts';
import { RawOrigin, type RawRequest, WebSocketOrigin } from '../helpers/websocket-origin.ts';

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';
const FIELDS = `Host: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Version: 13\r\n`;
const HANDSHAKE = `GET /chat?room=1 HTTP/1.1\r\n${FIELDS}\r\n`;
const SWITCHED = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n\r\n`;

/** A proxy in front of origins that are no scripted ones. */
function front(
  urls: readonly string[],
  more: {
    readonly route?: string;
    readonly set?: Record<string, string>;
    readonly logger?: ReturnType<typeof createLogger>;
    readonly service?: string;
  } = {},
): Promise<TestEdge> {
  const nodes = urls.map((url) => `{ url: "${url}" }`).join(', ');
  const service = more.service === undefined ? '' : `services:\n  - { name: edge, listen: "127.0.0.1:0", ${more.service} }\n`;
  const yaml = `${service}routes:\n  - { name: all, upstream: pool${more.route === undefined ? '' : `, ${more.route}`} }\nupstreams:\n  - name: pool\n    nodes: [${nodes}]\n`;
  return startEdge({ yaml, set: more.set, logger: more.logger });
}

/** Everything that one side has sent so far. */
class Inbox {
  #bytes: Buffer = Buffer.alloc(0);
  hasEnded = false;

  constructor(socket: Socket) {
    socket.on('data', (bytes: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, bytes]);
    });
    socket.on('end', () => {
      this.hasEnded = true;
    });
    socket.on('error', () => undefined);
  }

  get text(): string {
    return this.#bytes.toString('latin1');
  }
}

/** A raw client. */
async function dial(port: number, text: string): Promise<{ socket: Socket; inbox: Inbox }> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
  await once(socket, 'connect');
  const inbox = new Inbox(socket);
  socket.write(text);
  return { socket, inbox };
}

/** A client that is through the handshake. */
async function openWs(url: string, options: ClientOptions = {}): Promise<WsClient> {
  const client = new WsClient(url, options);
  client.on('error', () => undefined);
  await once(client, 'open');
  return client;
}

async function sendAndReceive(client: WsClient, text: string): Promise<string> {
  const message = once(client, 'message');
  client.send(text);
  return String((await message)[0]);
}

async function closeWs(client: WsClient): Promise<void> {
  const closed = once(client, 'close');
  client.close();
  await closed;
}

/** Answers with the right 101, and then with what `behave` does. */
function switching(behave: (request: RawRequest) => void): (request: RawRequest) => void {
  return (incoming) => {
    incoming.socket.write(SWITCHED);
    behave(incoming);
  };
}

test('WebSocket: messages go both ways through the route, and one line in the log tells of it', async () => {
  await using origin = await WebSocketOrigin.start();
  const log = new CapturedStream();
  const logger = createLogger({ level: 'info', stream: log });
  await using edge = await front([origin.url], { route: 'prefix: /live, stripPrefix: /live', set: { 'log.access': 'true' }, logger });
  // The client that everybody has: of Node, as of browsers.
  const client = new WebSocket(`ws://127.0.0.1:${edge.port}/live/chat?room=1`, ['first', 'second']);
  client.binaryType = 'arraybuffer';
  await once(client, 'open');
  assert.equal(client.protocol, 'first');
  const received: unknown[] = [];
  client.addEventListener('message', ({ data }) => received.push(typeof data === 'string' ? data : data.byteLength));
  client.send('hello');
  client.send(new Uint8Array(3 * MIB));
  await eventually(() => received.length === 2, { what: 'both messages' });
  assert.deepEqual(received, ['hello', 3 * MIB]);
  assert.equal(await edge.metric('rawslice_http_tunnels_open'), 1);
  const closed = once(client, 'close');
  client.close(4001, 'done');
  const [{ code, reason }] = (await closed) as [{ code: number; reason: string }];
  assert.deepEqual([code, reason], [4001, 'done']);
  await edge.settle();
  const [handshake] = origin.handshakes;
  assert.ok(handshake !== undefined);
  const { url, headers } = handshake;
  assert.deepEqual([url, headers.upgrade, headers.connection], ['/chat?room=1', 'websocket', 'Upgrade']);
  assert.deepEqual([headers['x-forwarded-for'], headers['x-forwarded-proto'], headers.via], ['127.0.0.1', 'http', '1.1 rawslice']);
  assert.equal(headers.host, new URL(origin.url).host);
  const lines = log.text.split('\n').filter((line) => line.includes('"request"'));
  assert.equal(lines.length, 1);
  const line = JSON.parse(lines[0] ?? '');
  assert.deepEqual(
    [line['http.response.status_code'], line['tunnel.protocol'], line['tunnel.end'], line['url.path']],
    [101, 'websocket', 'closed', '/live/chat'],
  );
  assert.ok(line['http.response.body.size'] > 3 * MIB && line['tunnel.received_bytes'] > 3 * MIB);
  assert.equal(await edge.metric('rawslice_http_tunnels_total{protocol="websocket"}'), 1);
  assert.equal(await edge.metric('rawslice_http_tunnel_ends_total{end="closed"}'), 1);
  assert.equal(await edge.metric('rawslice_http_tunnel_bytes_total{from="client"}'), line['tunnel.received_bytes']);
  assert.equal(await edge.metric('rawslice_http_tunnels_open'), 0);
});

test('WebSocket over TLS on both sides', async (context) => {
  const certificate = trustedCertificate();
  if (certificate === undefined) return context.skip('openssl is not installed');
  await using origin = await WebSocketOrigin.start(certificate);
  await withTemporaryDirectory(async (folder) => {
    const files = certificateFiles(folder, 'edge', ['a.test']);
    assert.ok(files !== undefined);
    await using edge = await front([origin.url], { service: `certificates: [{ cert: "${files.cert}", key: "${files.key}" }]` });
    const client = await openWs(`wss://127.0.0.1:${edge.port}/`, { rejectUnauthorized: false });
    assert.equal(await sendAndReceive(client, 'hello'), 'hello');
    assert.equal(origin.handshakes[0]?.headers['x-forwarded-proto'], 'https');
    await closeWs(client);
  });
});

test('a connection that has carried other requests, in the express lane too, may become a tunnel', async () => {
  await using origin = await RawOrigin.start(({ socket, head }) => {
    if (head.includes('upgrade: websocket')) socket.write(SWITCHED, () => socket.pipe(socket));
    else socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=60\r\nETag: "1"\r\n\r\nok');
  });
  await using edge = await front([origin.url]);
  await request({ port: edge.port, path: '/a' });
  const { socket, inbox } = await dial(edge.port, 'GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n');
  await eventually(() => inbox.text.endsWith('ok'), { what: 'the hit' });
  assert.equal(await edge.metric('rawslice_http_lane_requests_total{lane="express"}'), 1);
  socket.write(HANDSHAKE);
  await eventually(() => inbox.text.includes('101 Switching'), { what: 'the tunnel' });
  socket.write('echo');
  await eventually(() => inbox.text.endsWith('\r\n\r\necho'), { what: 'the echo' });
  socket.end();
  await eventually(() => inbox.hasEnded, { what: 'the end' });
});

test('what a client sends ahead of the 101 waits for it, and belongs to the tunnel', async () => {
  await using origin = await RawOrigin.start(() => undefined);
  await using edge = await front([origin.url]);
  const early = 'GET /admin HTTP/1.1\r\nHost: a.test\r\n\r\n';
  const { socket, inbox } = await dial(edge.port, HANDSHAKE + early);
  const asked = await eventually(() => origin.requests[0], { what: 'the request' });
  const atOrigin = new Inbox(asked.socket);
  // More than the proxy keeps; the rest stays in the client's socket.
  socket.write('x'.repeat(40 * KIB));
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual([asked.rest.length, atOrigin.text], [0, '']);
  asked.socket.write(SWITCHED);
  await eventually(() => atOrigin.text.length === early.length + 40 * KIB, { what: 'everything' });
  assert.ok(atOrigin.text.startsWith(`${early}xxx`));
  assert.equal(origin.requests.length, 1);
  assert.equal(inbox.text.split('HTTP/1.1').length, 2, 'one head');
  asked.socket.end();
  socket.end();
});

test('another answer than 101 is an ordinary one, and what was sent behind the request is nothing', async () => {
  for (const [status, body] of [
    [200, 'hello'],
    [403, 'no'],
    [426, ''],
  ] as const) {
    await using origin = await RawOrigin.start(({ socket }) =>
      socket.end(`HTTP/1.1 ${status} X\r\nContent-Length: ${body.length}\r\nX-A: b\r\n\r\n${body}`),
    );
    await using edge = await front([origin.url]);
    const bytes = await exchange({ port: edge.port, bytes: `${HANDSHAKE}GET /secret HTTP/1.1\r\nHost: a.test\r\n\r\n` });
    const text = bytes.toString('latin1');
    assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} [\\s\\S]*x-a: b\\r\\n[\\s\\S]*\\r\\n\\r\\n${body}$`));
    assert.match(text, /\r\nConnection: close\r\n/i);
    assert.match(text, /cache-status: rawslice; fwd=bypass; fwd-status=\d+; detail=upgrade\r\n/);
    assert.equal(origin.requests.length, 1);
    assert.equal(await edge.metric('rawslice_http_tunnels_total{protocol="websocket"}'), 0);
  }
});

test('a handshake that is wrong is answered here: the origin might take it for something else', async () => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 10 }) });
  await using edge = await startEdge({ origin });
  const tail = 'GET /secret HTTP/1.1\r\nHost: a.test\r\n\r\n';
  const ask = async (text: string): Promise<string> => (await exchange({ port: edge.port, bytes: text + tail })).toString('latin1');
  const version = await ask(HANDSHAKE.replace('Version: 13', 'Version: 777'));
  assert.match(version, /^HTTP\/1\.1 426 [\s\S]*sec-websocket-version: 13\r\n/);
  assert.match(version, /\r\nconnection: close, Upgrade\r\n/);
  assert.equal(version.split('HTTP/1.1').length, 2);
  assert.match(await ask(HANDSHAKE.replace(/Sec-WebSocket-Key.*\r\n/, '')), /^HTTP\/1\.1 400 /);
  assert.match(await ask(HANDSHAKE.replace('GET ', 'DELETE ')), /^HTTP\/1\.1 400 /);
  assert.equal(origin.requests.length, 0);
  assert.equal(await edge.metric('rawslice_http_requests_refused_total{kind="upgrade"}'), 3);
});

test('a 101 that does not answer the key opens nothing: the next node is asked, or the client gets 502', async () => {
  const wrong = [
    SWITCHED.replace(ACCEPT, KEY),
    SWITCHED.replace(/Sec-WebSocket-Accept.*\r\n/, ''),
    SWITCHED.replace('Upgrade: websocket', 'Upgrade: h2c'),
  ];
  for (const answer of wrong) {
    await using liar = await RawOrigin.start(({ socket }) => socket.write(answer));
    {
      await using edge = await front([liar.url]);
      const text = (await exchange({ port: edge.port, bytes: `${HANDSHAKE}GET /secret HTTP/1.1\r\n\r\n` })).toString('latin1');
      assert.match(text, /^HTTP\/1\.1 502 /);
      await eventually(() => liar.openCount === 0, { what: 'the end of the connection to the origin' });
    }
    await using honest = await WebSocketOrigin.start();
    await using edge = await front([liar.url, honest.url]);
    const client = await openWs(`ws://127.0.0.1:${edge.port}/`);
    assert.equal(await sendAndReceive(client, 'hello'), 'hello');
    await closeWs(client);
  }
});

test('a node that is down is left for another one before the answer', async () => {
  const gone = await WebSocketOrigin.start();
  const { url } = gone;
  await gone[Symbol.asyncDispose]();
  await using origin = await WebSocketOrigin.start();
  await using edge = await front([url, origin.url]);
  for (let count = 0; count < 3; count += 1) {
    const client = await openWs(`ws://127.0.0.1:${edge.port}/`);
    assert.equal(await sendAndReceive(client, 'hello'), 'hello');
    await closeWs(client);
  }
  assert.equal(origin.handshakes.length, 3);
});

test('only protocols that the route lets through are passed on, and never HTTP/2', async () => {
  await using origin = await RawOrigin.start(({ socket, head }) => {
    const asked = /upgrade: (.*)\r\n/i.exec(head)?.[1];
    if (asked === undefined) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    else socket.write(`HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: ${asked}\r\n\r\n`, () => socket.pipe(socket));
  });
  await using edge = await front([origin.url], { route: 'upgrade: [websocket, "chat/2"]' });
  const h2c =
    'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n';
  // As if it had not asked: the connection goes on, and what follows is a request.
  const both = (await exchange({ port: edge.port, bytes: `${h2c}GET /b HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n` })).toString(
    'latin1',
  );
  assert.equal(both.split('HTTP/1.1 200 ').length, 3);
  assert.deepEqual([origin.requests.length, origin.requests.some(({ head }) => /upgrade|http2/i.test(head))], [2, false]);
  // The first of several that may be had.
  const { socket, inbox } = await dial(
    edge.port,
    'GET /c HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: h2c, Chat/2, websocket\r\n\r\nhello',
  );
  await eventually(() => inbox.text.endsWith('\r\n\r\nhello'), { what: 'the echo' });
  assert.match(inbox.text, /^HTTP\/1\.1 101 [\s\S]*\r\nupgrade: chat\/2\r\n/);
  assert.match(origin.requests[2]?.head ?? '', /\r\nupgrade: chat\/2\r\n/);
  socket.destroy();
  // With content it is a request as any other, and so is one of HTTP/1.0.
  const posted = await exchange({
    port: edge.port,
    bytes: `POST /d HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade, close\r\nUpgrade: chat/2\r\nContent-Length: 2\r\n\r\nhi`,
  });
  assert.match(posted.toString('latin1'), /^HTTP\/1\.1 200 /);
  const old = await exchange({ port: edge.port, bytes: HANDSHAKE.replace('HTTP/1.1', 'HTTP/1.0') });
  assert.match(old.toString('latin1'), /^HTTP\/1\.1 200 /);
  assert.equal(await edge.metric('rawslice_http_tunnels_total{protocol="other"}'), 1);
  await edge.settle();
});

test('an Upgrade that is ignored costs nobody a byte or a connection, however the bytes come', async () => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 10, cacheControl: 'max-age=60' }) });
  await using edge = await startEdge({ origin });
  const h2c = (name: string): string =>
    `GET /${name} HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n`;
  const plain = 'GET /z HTTP/1.1\r\nHost: a.test\r\nX-A: b\r\n\r\n';
  for (const pieces of [
    [h2c('a') + plain],
    [h2c('b'), plain],
    [h2c('c'), plain.slice(0, 20), plain.slice(20)],
    [h2c('d') + h2c('e') + plain],
    [`${h2c('f')}${plain.slice(0, 9)}`, plain.slice(9)],
  ]) {
    const { socket, inbox } = await dial(edge.port, '');
    const answers = (): number => inbox.text.split('HTTP/1.1 200 ').length - 1;
    for (const [index, piece] of pieces.entries()) {
      socket.write(piece);
      // Also while nothing is being answered.
      if (index + 1 < pieces.length) await eventually(() => index > 0 || answers() === 1, { what: 'an answer' });
    }
    const expected = pieces.join('').split('GET ').length - 1;
    await eventually(() => answers() === expected, { what: `${expected} answers to ${JSON.stringify(pieces)}` });
    assert.doesNotMatch(inbox.text, /connection: close/i);
    socket.destroy();
  }
  // With content it is the last of its connection: half of what follows might be taken for a request.
  const post = 'POST /p HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi';
  origin.forgetRequests();
  const text = (await exchange({ port: edge.port, bytes: post + plain })).toString('latin1');
  assert.match(text, /\r\nConnection: close\r\n/i);
  await edge.settle();
  assert.deepEqual(
    origin.requests.map(({ target }) => target),
    ['/p'],
  );
  // A connection that rests does not hold up the end.
  const { inbox } = await dial(edge.port, h2c('g'));
  await eventually(() => inbox.text.includes('HTTP/1.1 200 '), { what: 'an answer' });
});

test('a route without upgrades passes such a request on as an ordinary one', async () => {
  await using origin = await WebSocketOrigin.start();
  await using edge = await front([origin.url], { route: 'upgrade: none' });
  const answer = (await exchange({ port: edge.port, bytes: HANDSHAKE.replace('Upgrade\r\n', 'Upgrade, close\r\n') })).toString('latin1');
  assert.match(answer, /^HTTP\/1\.1 200 [\s\S]*plain/);
  assert.deepEqual([origin.handshakes.length, origin.requests.length], [0, 1]);
});

test('behind a request that is still being answered, Upgrade counts for nothing', async () => {
  await using origin = await RawOrigin.start(({ socket, head }) => {
    socket.end(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Upgrade: ${/upgrade/i.test(head)}\r\n\r\nok`);
  });
  await using edge = await front([origin.url]);
  const bytes = `GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n${HANDSHAKE}GET /c HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n`;
  const text = (await exchange({ port: edge.port, bytes })).toString('latin1');
  // It is the last of its connection, since node's parser has lost what came behind it.
  assert.deepEqual([text.split('x-upgrade: false').length, origin.requests.length], [3, 2], text);
  assert.match(text, /\r\nConnection: keep-alive\r\n[\s\S]*\r\nConnection: close\r\n/i);
});

test('who takes nothing is sent nothing: both sides pace each other, and the end comes last', async () => {
  const total = 48 * MIB;
  let written = 0;
  let hash = '';
  await using origin = await RawOrigin.start(
    switching(({ socket }) => {
      const sum = createHash('sha256');
      const write = (): void => {
        while (written < total) {
          const piece = Buffer.alloc(64 * KIB, (written / (64 * KIB)) % 251);
          sum.update(piece);
          written += piece.length;
          if (!socket.write(piece)) return void socket.once('drain', write);
        }
        hash = sum.digest('hex');
        socket.end();
      };
      write();
    }),
  );
  await using edge = await front([origin.url]);
  const socket = connect({ port: edge.port, host: '127.0.0.1', allowHalfOpen: true });
  socket.write(HANDSHAKE);
  const [head] = (await once(socket, 'data')) as [Buffer];
  socket.pause();
  // What fits into sockets on the way is taken; then everything stands still.
  let before = -1;
  await eventually(
    async () => {
      const same = before === written;
      before = written;
      for (let turn = 0; turn < 200; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      return same && before === written;
    },
    { what: 'a standstill' },
  );
  assert.ok(written < total, `${written} bytes are on their way`);
  const sum = createHash('sha256');
  let count = 0;
  const take = (bytes: Buffer): void => {
    count += bytes.length;
    sum.update(bytes);
  };
  take(head.subarray(head.indexOf('\r\n\r\n') + 4));
  socket.on('data', take);
  const ended = once(socket, 'end');
  socket.resume();
  await ended;
  assert.deepEqual([count, sum.digest('hex')], [total, hash]);
  // The other direction is still open: the origin hears of the client's end, and then it is over.
  assert.equal(await edge.metric('rawslice_http_tunnels_open'), 1);
  socket.end();
  await edge.settle();
  assert.equal(await edge.metric('rawslice_http_tunnel_ends_total{end="closed"}'), 1);
});

test('a client that ends its side still gets what the origin has to say', async () => {
  await using origin = await RawOrigin.start(
    switching(({ socket }) => {
      const inbox = new Inbox(socket);
      socket.on('end', () => socket.end(`you said ${inbox.text}`));
    }),
  );
  await using edge = await front([origin.url]);
  const { socket, inbox } = await dial(edge.port, HANDSHAKE);
  await eventually(() => inbox.text.includes('101'), { what: 'the tunnel' });
  socket.end('hello');
  await eventually(() => inbox.hasEnded, { what: 'the end' });
  assert.match(inbox.text, /\r\n\r\nyou said hello$/);
});

test('a side that breaks off takes the other with it; the node is not blamed', async () => {
  await using origin = await RawOrigin.start(switching(() => undefined));
  await using edge = await front([origin.url]);
  const first = await dial(edge.port, HANDSHAKE);
  await eventually(() => first.inbox.text.includes('101'), { what: 'the tunnel' });
  first.socket.resetAndDestroy();
  await eventually(() => origin.openCount === 0, { what: "the origin's end" });
  const second = await dial(edge.port, HANDSHAKE);
  await eventually(() => second.inbox.text.includes('101'), { what: 'the tunnel' });
  origin.requests[1]?.socket.resetAndDestroy();
  await eventually(() => second.inbox.hasEnded, { what: "the client's end" });
  second.socket.destroy();
  await edge.settle();
  assert.equal(await edge.metric('rawslice_http_tunnel_ends_total{end="broken"}'), 2);
  assert.deepEqual(
    edge.proxy.upstreams[0]?.nodes.map(({ state, requestsInFlight }) => [state, requestsInFlight]),
    [['well', 0]],
  );
});

test('a client that leaves before the answer takes its request with it', async () => {
  await using origin = await RawOrigin.start(() => undefined);
  await using edge = await front([origin.url]);
  for (const leave of ['end', 'resetAndDestroy'] as const) {
    const { socket } = await dial(edge.port, HANDSHAKE);
    await eventually(() => origin.openCount === 1, { what: 'the request' });
    socket[leave]();
    await eventually(() => origin.openCount === 0, { what: "the request's end" });
    socket.destroy();
  }
  await edge.settle();
});

test('limits: tunnels at a time, and the time in which nothing moves', async () => {
  await using origin = await WebSocketOrigin.start();
  await using edge = await front([origin.url], { set: { 'limits.tunnels': '1', 'limits.tunnelIdle': '1s' } });
  const client = await openWs(`ws://127.0.0.1:${edge.port}/`);
  const refused = (await exchange({ port: edge.port, bytes: HANDSHAKE })).toString('latin1');
  assert.match(refused, /^HTTP\/1\.1 503 [\s\S]*limits\.tunnels/);
  assert.equal(await edge.metric('rawslice_http_tunnels_refused_total{reason="limit"}'), 1);
  await once(client, 'close');
  await edge.settle();
  assert.equal(await edge.metric('rawslice_http_tunnel_ends_total{end="idle"}'), 1);
  assert.equal(origin.openCount, 0);
  await closeWs(await openWs(`ws://127.0.0.1:${edge.port}/`));
});

test('at a stop tunnels go on until the deadline, and new ones are refused', async () => {
  await using origin = await WebSocketOrigin.start();
  await using edge = await front([origin.url]);
  const client = await openWs(`ws://127.0.0.1:${edge.port}/`);
  const kept = await dial(edge.port, 'GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n');
  await eventually(() => kept.inbox.text.endsWith('plain'), { what: 'an answer' });
  edge.services.load.isDraining = true;
  kept.socket.write(HANDSHAKE);
  await eventually(() => kept.inbox.text.includes('HTTP/1.1 503'), { what: 'the refusal' });
  kept.socket.destroy();
  const closed = edge.close(500);
  assert.equal(await sendAndReceive(client, 'hello'), 'hello');
  await Promise.all([closed, once(client, 'close')]);
  assert.equal(await edge.metric('rawslice_http_tunnels_refused_total{reason="draining"}'), 1);
});

test('a group of HTTP/2: what its route lets through begins with HTTP/1.1, the rest goes over HTTP/2', async () => {
  await using origin = await WebSocketOrigin.start();
  await using inner = await front([origin.url], { service: 'http2: true' });
  const yaml = `upstreams:\n  - { name: inner, protocol: h2, nodes: [{ url: "http://127.0.0.1:${inner.port}" }] }\n`;
  await using edge = await startEdge({ yaml: `services:\n  - { name: edge, listen: "127.0.0.1:0" }\n${yaml}` });
  const client = await openWs(`ws://127.0.0.1:${edge.port}/chat`);
  assert.equal(await sendAndReceive(client, 'hello'), 'hello');
  await closeWs(client);
  assert.equal(inner.services.load.http2Connections, 0);
  assert.equal((await edge.get('/x')).body.toString(), 'plain');
  assert.equal(inner.services.load.http2Connections, 1);
});
