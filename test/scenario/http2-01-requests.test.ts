/** HTTP/2 of clients (RFC 9113): the same pipeline, so the same answers as over HTTP/1.1; by ALPN, and with prior knowledge. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { ClientHttp2Stream } from 'node:http2';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { createLogger } from '../../src/base/log.ts';
import { MIB } from '../../src/base/units.ts';
import { verifyBody } from '../helpers/body.ts';
import { certificateFiles } from '../helpers/certificate.ts';
import { ClientConnection, exchange } from '../helpers/client.ts';
import { type EdgeOptions, startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Http2Client, type Http2Question, readAnswer } from '../helpers/http2-client.ts';
import { FLAG, FRAME, frame, head, PREFACE, RawHttp2, settings, uint32 } from '../helpers/http2-frames.ts';
import { Origin } from '../helpers/origin.ts';
import { temporaryDirectory } from '../helpers/temp.ts';

const LENGTH = 300_000;
const FRESH = { lengthBytes: LENGTH, cacheControl: 'max-age=600' };

function start(origin: Origin, more = ', http2: true', options: Partial<EdgeOptions> = {}): Promise<TestEdge> {
  return startEdge({ origin, ...options, yaml: `services:\n  - { name: edge, listen: "127.0.0.1:0"${more} }\n` });
}

/** A service that speaks TLS; undefined where openssl is missing, and the test is skipped. */
async function startTls(context: TestContext, origin: Origin, more = ''): Promise<TestEdge | undefined> {
  const files = certificateFiles(await temporaryDirectory(context), 'edge', ['a.test']);
  if (files === undefined) {
    context.skip('openssl is not installed');
    return undefined;
  }
  return start(origin, `, certificates: [{ cert: "${files.cert}", key: "${files.key}" }]${more}`);
}

/** What differs between two answers to the same question by their nature. */
function plain(headers: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const kept = Object.entries(headers).filter(([name]) => !['connection', 'keep-alive', 'date', 'age', 'transfer-encoding'].includes(name));
  return Object.fromEntries(kept.map(([name, value]) => [name, String(value).replace(/ttl=\d+/, 'ttl')]));
}

test('HTTP/2: whatever is asked is answered as over HTTP/1.1, without fields of a connection', async () => {
  await using origin = await Origin.start({ resolve: (target) => (target.startsWith('/none') ? undefined : FRESH) });
  await using edge = await start(origin);
  await using client = await Http2Client.open(edge.port);
  const first = await client.get('/a');
  assert.deepEqual([first.status, verifyBody(first.body, { name: '/a', version: 1 }, 0), first.body.length], [200, -1, LENGTH]);
  const etag = String(first.headers.etag);
  const questions: readonly (readonly [path: string, question: Http2Question])[] = [
    ['/a', {}],
    ['/a', { method: 'HEAD' }],
    ['/a', { headers: { range: 'bytes=100000-200000' } }],
    ['/a', { headers: { range: 'bytes=-5' } }],
    ['/a', { headers: { range: 'bytes=900000-' } }],
    ['/a', { headers: { 'if-none-match': etag } }],
    ['/a', { headers: { 'if-match': '"x"' } }],
    ['/a', { headers: { 'cache-control': 'only-if-cached' } }],
    ['/none', {}],
    ['/none', { headers: { 'cache-control': 'only-if-cached' } }],
    ['/a', { method: 'POST', body: 'hello' }],
    ['/a', { method: 'OPTIONS' }],
    ['/a', { method: 'TRACE' }],
    ['/%zz', {}],
    ['/a', { headers: { expect: 'much' } }],
  ];
  for (const [path, question] of questions) {
    const { method = 'GET', headers = {}, body } = question;
    const old = await edge.get(path, { host: 'a.test', ...(headers as Record<string, string>) }, { method, body });
    const answer = await client.get(path, question);
    const what = `${method} ${path} ${JSON.stringify(headers)}`;
    assert.deepEqual([answer.status, answer.resetCode], [old.status, 0], what);
    assert.deepEqual(plain(answer.headers), plain(old.headers), what);
    assert(answer.body.equals(old.body), what);
    assert.equal(answer.headers.connection ?? answer.headers['keep-alive'] ?? answer.headers['transfer-encoding'], undefined);
  }
  const parts = await client.get('/a', { headers: { range: 'bytes=0-9,200000-200009' } });
  assert.match(String(parts.headers['content-type']), /^multipart\/byteranges/);
  assert.equal(parts.body.length, Number(parts.headers['content-length']));
});

test('HTTP/2 by ALPN: who knows it gets it, HTTP/1.1 goes on, and a service can go without', async (context) => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  const edge = await startTls(context, origin);
  if (edge === undefined) return;
  await using _ = edge;
  const chosen = async (port: number, protocols: string[]): Promise<string | false | null> => {
    const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: protocols });
    await once(socket, 'secureConnect');
    socket.destroy();
    return socket.alpnProtocol;
  };
  assert.deepEqual([await chosen(edge.port, ['http/1.1', 'h2']), await chosen(edge.port, ['http/1.1'])], ['h2', 'http/1.1']);
  await using client = await Http2Client.open(edge.port, { servername: 'a.test' });
  for (const result of ['MISS', 'HIT']) {
    const answer = await client.get('/a');
    assert.deepEqual([answer.headers['x-cache'], verifyBody(answer.body, { name: '/a', version: 1 }, 0)], [result, -1]);
  }
  await client.get('/a', { method: 'POST' });
  const seen = origin.requestsFor('/a').at(-1)?.headers;
  assert.deepEqual(
    [seen?.['x-forwarded-proto'], seen?.['x-forwarded-for'], seen?.['x-forwarded-host'], seen?.via],
    ['https', '127.0.0.1', 'a.test', '2.0 rawslice'],
  );
  const plainEdge = await startTls(context, origin, ', http2: false');
  if (plainEdge === undefined) return;
  await using __ = plainEdge;
  assert.equal(await chosen(plainEdge.port, ['h2', 'http/1.1']), 'http/1.1');
});

test('HTTP/2 with prior knowledge, its preface byte by byte; HTTP/1.1 beside it keeps its lane; elsewhere it is refused', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  await using edge = await start(origin);
  using raw = await RawHttp2.open(edge.port, { isMute: true });
  for (const byte of PREFACE) {
    raw.send(Buffer.from([byte]));
    await new Promise((resolve) => setImmediate(resolve));
  }
  raw.send(settings());
  await raw.until(4);
  assert.equal(await edge.metric('rawslice_stream_connections'), 1);
  await edge.get('/a');
  const kept = await ClientConnection.open({ port: edge.port });
  assert.equal((await kept.request({ path: '/a' })).status, 200);
  kept.destroy();
  assert.equal(edge.services.metrics.value('laneRequests', 'express'), 1);
  // `PUT` begins as the preface does.
  const put = await exchange({ port: edge.port, bytes: 'PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi' });
  assert.match(put.toString('latin1'), /^HTTP\/1\.1 200 /);
  await using without = await start(origin, '');
  const refused = await exchange({ port: without.port, bytes: Buffer.concat([PREFACE, settings()]) });
  assert.match(refused.toString('latin1'), /^HTTP\/1\.1 (400|501|505) /);
});

test('HTTP/2 behind the PROXY protocol: in one packet, or with the preface later', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  await using edge = await start(origin, ', http2: true, proxyProtocol: true');
  for (const isOnePacket of [true, false]) {
    const socket = net.connect({ port: edge.port, host: '127.0.0.1', noDelay: true });
    await once(socket, 'connect');
    const header = Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n');
    const hello = Buffer.concat([PREFACE, settings()]);
    if (isOnePacket) socket.write(Buffer.concat([header, hello]));
    else {
      socket.write(header);
      await eventually(() => edge.services.load.connections > 0, { what: 'the connection' });
      socket.write(hello);
    }
    const [bytes] = (await once(socket, 'data')) as [Buffer];
    assert.equal(bytes[3], 4, 'SETTINGS come back');
    socket.destroy();
  }
});

test('HTTP/2: authority, Host and cookies are to the origin what HTTP/1.1 makes of them; what contradicts itself is refused', async () => {
  await using origin = await Origin.start({ resolve: () => ({ ...FRESH, cacheControl: 'no-store' }) });
  await using edge = await start(origin, ', http2: true', { set: { 'upstream.preserveHost': 'true' } });
  await using client = await Http2Client.open(edge.port);
  const ask = (headers: Record<string, string | string[]>) => client.get('/a', { method: 'POST', headers });
  await ask({ cookie: ['a=1', 'b=2'], ':authority': 'B.test', 'x-latin': 'caf\u00e9', te: 'trailers' });
  const seen = origin.requestsFor('/a')[0]?.headers;
  assert.deepEqual([seen?.host, seen?.cookie, seen?.te], ['b.test', 'a=1; b=2', undefined]);
  assert.equal(seen?.['x-latin'], 'caf\u00e9');
  assert.equal((await ask({ host: 'a.test' })).status, 200);
  assert.equal((await ask({ host: 'A.test:80' })).status, 200);
  assert.equal((await ask({ host: 'c.test' })).status, 400);
  assert.equal((await ask({ ':scheme': 'gopher' })).status, 400);
  assert.equal((await ask({ ':scheme': 'gopher', ':path': 'http://c.test/' })).status, 400);
  // nghttp2 knows this one itself.
  assert.equal((await ask({ ':authority': 'user@a.test' })).resetCode, 1);
  assert.equal(await edge.metric('rawslice_http_requests_refused_total{kind="host"}'), 1);
  assert.equal(await edge.metric('rawslice_http_requests_refused_total{kind="target"}'), 2);
});

test('HTTP/2: interim heads come before the final one; who waits is told to go on by the origin', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'no-store' });
  origin.misbehave(
    '/a',
    {
      interim: [103, 103],
      interimHeaders: [
        ['link', '</a>'],
        ['link', '</b>'],
      ],
    },
    1,
  );
  await using edge = await start(origin);
  await using client = await Http2Client.open(edge.port);
  const answer = await client.get('/a');
  assert.deepEqual([answer.status, answer.interim.map((head) => head[':status'])], [200, [103, 103]]);
  assert.equal(answer.interim[0]?.link, '</a>, </b>');
  const stream = client.start('/up', { method: 'PUT', headers: { expect: '100-continue', 'content-length': '5' } }, true);
  await once(stream, 'continue');
  stream.end('hello');
  assert.equal((await readAnswer(stream)).status, 404);
  assert.equal(origin.requestsFor('/up')[0]?.requestBodyBytes, 5);
  // An origin that refuses saves the client its content, and the stream ends without it.
  origin.misbehave('/no', { status: 413, answersUnread: true });
  const refused = client.start('/no', { method: 'PUT', headers: { expect: '100-continue', 'content-length': '5000000' } }, true);
  assert.equal((await readAnswer(refused)).status, 413);
  await eventually(() => edge.services.load.http2Streams === 0, { what: 'the end of the stream' });
});

test('HTTP/2: trailers go to who asks for them', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'no-store' });
  origin.misbehave('/a', { chunked: true, trailers: { 'x-sum': '1', 'content-type': 'text/evil' } });
  await using edge = await start(origin);
  await using client = await Http2Client.open(edge.port);
  const asked = await client.get('/a', { headers: { te: 'trailers', authorization: 'x' } });
  assert.deepEqual([{ ...asked.trailers }['x-sum'], asked.trailers?.['content-type'], asked.body.length], ['1', undefined, 1000]);
  assert.equal((await client.get('/a', { headers: { authorization: 'x' } })).trailers, undefined);
});

test('HTTP/2: content goes to the origin as it comes, with or without a length, and one that breaks off is never whole there', async () => {
  await using origin = await Origin.start();
  await using edge = await start(origin);
  await using client = await Http2Client.open(edge.port);
  for (const headers of [{}, { 'content-length': '700000' }])
    assert.equal((await client.get('/up', { method: 'PUT', headers, body: Buffer.alloc(700_000) })).status, 404);
  assert.deepEqual(
    origin.requestsFor('/up').map(({ requestBodyBytes }) => requestBodyBytes),
    [700_000, 700_000],
  );
});

test('HTTP/2 (S10): content that breaks off is never whole at the origin, whatever the client resets its stream with', async () => {
  const received: { text: string; hasEnded: boolean }[] = [];
  const server = net.createServer((socket) => {
    const seen = { text: '', hasEnded: false };
    received.push(seen);
    socket.on('data', (bytes: Buffer) => {
      seen.text += bytes.toString('latin1');
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      seen.hasEnded = true;
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert(address !== null && typeof address === 'object');
  const yaml = `services:\n  - { name: edge, listen: "127.0.0.1:0", http2: true }\nupstreams:\n  - { name: up, nodes: [{ url: "http://127.0.0.1:${address.port}" }] }\n`;
  {
    await using edge = await startEdge({ yaml });
    using client = await RawHttp2.open(edge.port);
    for (const [index, code] of [0, 2, 8].entries()) {
      const stream = 2 * index + 1;
      client.send(
        frame(FRAME.headers, FLAG.endHeaders, stream, head([[':method', 'PUT']], '/up')),
        frame(FRAME.data, 0, stream, Buffer.from('begin')),
      );
      await eventually(() => received[index]?.text.includes('begin'), { what: 'the beginning' });
      client.send(frame(FRAME.reset, 0, stream, uint32(code)));
      await eventually(() => received[index]?.hasEnded, { what: 'the end of the connection to the origin' });
      assert.doesNotMatch(received[index]?.text ?? '', /\r\n0\r\n/);
    }
    // Nor does the end of the connection end its content.
    client.send(frame(FRAME.headers, FLAG.endHeaders, 7, head([[':method', 'PUT']], '/up')), frame(FRAME.data, 0, 7, Buffer.from('begin')));
    await eventually(() => received[3]?.text.includes('begin'), { what: 'the beginning' });
    client.socket.end();
    await eventually(() => received[3]?.hasEnded, { what: 'the end of the connection to the origin' });
    assert.doesNotMatch(received[3]?.text ?? '', /\r\n0\r\n/);
    await edge.settle();
    assert.equal(edge.services.metrics.value('aborted'), 4);
  }
  await new Promise((resolve) => server.close(resolve));
});

test('HTTP/2: content that nobody takes makes its stream wait, and no other; one that stops is told so', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  const sockets: net.Socket[] = [];
  const deaf = net.createServer({ pauseOnConnect: true }, (socket) => sockets.push(socket));
  await new Promise<void>((resolve) => deaf.listen(0, '127.0.0.1', resolve));
  const address = deaf.address();
  assert(address !== null && typeof address === 'object');
  const yaml = [
    'services:\n  - { name: edge, listen: "127.0.0.1:0", http2: true }',
    'upstreams:',
    `  - { name: deaf, nodes: [{ url: "http://127.0.0.1:${address.port}" }] }`,
    `  - { name: good, nodes: [{ url: "${origin.url}" }] }`,
    'routes:',
    '  - { name: up, prefix: /up, upstream: deaf }',
    '  - { name: rest, upstream: good }\n',
  ].join('\n');
  await using edge = await startEdge({ yaml, set: { 'limits.uploadStall': '1s' } });
  {
    await using client = await Http2Client.open(edge.port);
    const upload: ClientHttp2Stream = client.start('/up', { method: 'PUT' }, true);
    upload.on('error', () => undefined);
    let sentBytes = 0;
    const send = (): void => {
      while (sentBytes < 64 * MIB && upload.write(Buffer.alloc(65_536), () => (sentBytes += 65_536)));
    };
    upload.on('drain', send);
    send();
    await eventually(() => sockets.length === 1 && sentBytes > 0, { what: 'the upload' });
    assert.equal((await client.get('/a')).body.length, LENGTH);
    assert(sentBytes < 32 * MIB, `${sentBytes} bytes were taken`);
    upload.close(8);
    const mute = client.start('/b', { method: 'PUT' }, true);
    mute.write('begin');
    assert.equal((await readAnswer(mute)).status, 408);
  }
  assert.equal(edge.services.metrics.value('refused', 'upload-stall'), 1);
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => deaf.close(resolve));
});

test('HTTP/2: many streams at once over one connection, each with its own bytes', async () => {
  await using origin = await Origin.start({ resolve: () => ({ ...FRESH, lengthBytes: 200_000 }) });
  await using edge = await start(origin);
  await using client = await Http2Client.open(edge.port);
  for (const turn of ['MISS', 'HIT']) {
    const answers = await Promise.all(Array.from({ length: 100 }, (_, index) => client.get(`/x${index}`)));
    for (const [index, { body, headers, resetCode }] of answers.entries())
      assert.deepEqual(
        [verifyBody(body, { name: `/x${index}`, version: 1 }, 0), body.length, headers['x-cache'], resetCode],
        [-1, 200_000, turn, 0],
      );
  }
  assert.equal(await edge.metric('rawslice_streams'), 0);
});

test('HTTP/2: a drain announces itself, answers what is asked meanwhile, and waits for what is in progress', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  origin.misbehave('/slow', { holdHead: true });
  await using edge = await start(origin);
  await using busy = await Http2Client.open(edge.port);
  await using idle = await Http2Client.open(edge.port);
  await idle.get('/a');
  const slow = busy.get('/slow');
  await origin.waitForHeld('/slow');
  const told = Promise.all([once(busy.session, 'goaway'), once(idle.session, 'goaway')]);
  let isOver = false;
  const closing = Promise.all(edge.listeners.map((listener) => listener.close({ deadlineMs: 20_000, idleGraceMs: 300 }))).then(() => {
    isOver = true;
  });
  assert.deepEqual(
    (await told).map(([code, last]) => [code, last]),
    [
      [0, 2 ** 31 - 1],
      [0, 2 ** 31 - 1],
    ],
  );
  await once(idle.session, 'close');
  assert.equal(isOver, false);
  origin.release('/slow');
  assert.equal((await slow).body.length, LENGTH);
  await closing;
});

test('HTTP/2: the access log names the protocol', async () => {
  const lines: Record<string, unknown>[] = [];
  const logger = createLogger({ level: 'info', stream: { write: (text) => lines.push(JSON.parse(text)) } });
  await using origin = await Origin.start({ resolve: () => FRESH });
  await using edge = await start(origin, ', http2: true', { set: { 'log.access': 'true' }, logger });
  await using client = await Http2Client.open(edge.port);
  await client.get('/a?b');
  await edge.get('/a');
  await edge.get('/a?b');
  await eventually(() => lines.length === 3, { what: 'three lines' });
  const said = lines.map((line) => [line['network.protocol.version'], line['url.path'], line['http.response.status_code'], line.aborted]);
  assert.deepEqual(said, [
    ['2', '/a', 200, undefined],
    ['1.1', '/a', 200, undefined],
    ['1.1', '/a', 200, undefined],
  ]);
});
