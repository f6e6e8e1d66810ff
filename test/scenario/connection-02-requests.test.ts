/** Requests of every shape that a connection can bring. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { systemErrorCode } from '../../src/base/errors.ts';
import { ClientConnection, exchange } from '../helpers/client.ts';
import { startEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';

async function say(port: number, bytes: string): Promise<string> {
  return (await exchange({ port, bytes })).toString('latin1');
}

test('an HTTP/1.0 client gets a length or a close, never chunks (row 56, RFC 9112 s2.3)', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { body: Buffer.from('hello'), cacheControl: 'max-age=60' });
  origin.misbehave('/a', { chunked: true }, 1);
  await using edge = await startEdge({ origin });
  for (const _ of ['cold', 'warm']) {
    const text = await say(edge.port, 'GET /a HTTP/1.0\r\n\r\n');
    assert.match(text, /^HTTP\/1\.1 200 OK\r\n/);
    assert.ok(text.endsWith('\r\n\r\nhello'), text);
    assert.doesNotMatch(text, /transfer-encoding/i);
  }
});

test('an HTTP/1.0 client without a length never takes a truncated body for a whole one (S10, row 26)', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 200_000, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { chunked: true, validators: 'none', closeAfterBytes: 100_000 });
  await using edge = await startEdge({ origin });
  const answer = await edge.get('/a');
  assert.equal(answer.isComplete, false);
  const socket = net.connect({ port: edge.port, host: '127.0.0.1' });
  const ended = new Promise<string>((resolve) => {
    socket.on('error', (error) => resolve(systemErrorCode(error) ?? error.message));
    socket.on('end', () => resolve('an orderly end'));
  });
  socket.resume();
  socket.write('GET /a HTTP/1.0\r\n\r\n');
  assert.equal(await ended, 'ECONNRESET');
});

const MALFORMED: readonly [what: string, bytes: string, status: number][] = [
  ['no HTTP at all', 'hello\r\n\r\n', 400],
  ['a header field without colon', 'GET / HTTP/1.1\r\nHost: x\r\nbroken\r\n\r\n', 400],
  ['no Host in HTTP/1.1 (RFC 9112 s3.2)', 'GET / HTTP/1.1\r\n\r\n', 400],
  ['two Host fields (row 51, RFC 9112 s3.2)', 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n', 400],
  [
    'Content-Length beside Transfer-Encoding (row 28, RFC 9112 s6.1)',
    'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    400,
  ],
  ['two lengths (row 28, RFC 9112 s6.3)', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc', 400],
  ['a head that is too large', `GET / HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`, 431],
  ['TRACE (row 47, RFC 9110 s9.3.8)', 'TRACE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n', 501],
  ['CONNECT (row 47, RFC 9110 s9.3.6)', 'CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n', 501],
];

for (const [what, bytes, status] of MALFORMED) {
  test(`refused with ${status}: ${what}`, async () => {
    await using origin = await Origin.start();
    await using edge = await startEdge({ origin });
    assert.match(await say(edge.port, bytes), new RegExp(`^HTTP/1\\.1 ${status} `));
    assert.equal(origin.requests.length, 0);
  });
}

test('a head that does not arrive in time is refused with 408', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin, set: { 'limits.headerTimeout': '1s' } });
  assert.match(await say(edge.port, 'GET / HTTP/1.1\r\nHost: x\r\n'), /^HTTP\/1\.1 408 /);
});

test('the absolute form is the same object, whatever its host and scheme say (row 51, RFC 9112 s3.2.2)', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  const answer = await edge.get('http://mirror.example/a', {}, { expect: body });
  assert.deepEqual([answer.status, answer.wrongAt, answer.headers['x-cache']], [200, -1, 'HIT']);
});

test('a request that has passed through this proxy already is a loop (RFC 8586)', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 10, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  const loop = origin.requestsFor('/a')[0]?.headers['cdn-loop'] ?? '';
  assert.equal((await edge.get('/b', { 'cdn-loop': loop })).status, 508);
  assert.equal((await edge.get('/b', { 'cdn-loop': 'another-cdn' })).status, 404);
});

for (const [what, headers] of [
  ['Content-Length', {}],
  ['chunked', { 'transfer-encoding': 'chunked' }],
  ['Expect: 100-continue', { expect: '100-continue' }],
] as const) {
  test(`POST with ${what} passes through and invalidates what is stored (row 46, RFC 9111 s4.4)`, async () => {
    await using origin = await Origin.start();
    origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=60' });
    await using edge = await startEdge({ origin });
    await edge.get('/a');
    const isChunked = 'transfer-encoding' in headers;
    const body = isChunked ? '5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n' : 'hello world';
    const answer = await edge.get('/a', headers, { method: 'POST', body });
    assert.deepEqual([answer.status, answer.headers['x-cache'], answer.interim.length], [200, 'BYPASS', 'expect' in headers ? 1 : 0]);
    assert.equal(origin.requestsFor('/a')[1]?.requestBodyBytes, 11);
    assert.equal((await edge.get('/a')).headers['x-cache'], 'MISS');
  });
}

test('an unsafe method that fails invalidates nothing; HEAD and OPTIONS never do (row 46, 47)', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  origin.misbehave('/a', { status: 403 }, 1);
  assert.equal((await edge.get('/a', {}, { method: 'DELETE' })).status, 403);
  assert.equal((await edge.get('/a', {}, { method: 'OPTIONS' })).status, 200);
  assert.equal((await edge.get('*', {}, { method: 'OPTIONS' })).status, 204);
  assert.equal((await edge.get('/a')).headers['x-cache'], 'HIT');
});

test('an unsafe method while the object is being asked for: what was asked before is for those who wait only (RFC 9111 s4.4)', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { holdHead: true, when: ({ method }) => method === 'GET' }, 1);
  await using edge = await startEdge({ origin });
  const waiting = edge.get('/a');
  await origin.waitForHeld('/a');
  await edge.get('/a', {}, { method: 'DELETE' });
  origin.release();
  assert.equal((await waiting).status, 200);
  assert.equal((await edge.get('/a')).headers['x-cache'], 'MISS');
  assert.equal((await edge.get('/a')).headers['x-cache'], 'HIT');
});

test('an Upgrade that nobody lets through is not tunnelled: the request is answered as what else it is', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin, set: { upgrade: 'none' } });
  const answer = await edge.get('/a', { upgrade: 'websocket', connection: 'upgrade' });
  assert.deepEqual([answer.status, answer.bodyBytes, answer.headers['x-cache']], [200, 1000, 'BYPASS']);
  assert.equal(origin.requestsFor('/a')[0]?.headers.upgrade, undefined);
});

test('a client that leaves in the middle of its upload lets the request to the origin go', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin });
  const client = await ClientConnection.open({ port: edge.port });
  client.write('PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nbegin');
  await origin.waitForRequest('/a');
  client.destroy();
  await edge.settle();
  await eventually(() => origin.connections.open === 0, { what: 'the end of the connection to the origin' });
});

test('an origin that answers before it has read the upload', async () => {
  await using origin = await Origin.start();
  origin.misbehave('/a', { raw: 'HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfull' });
  await using edge = await startEdge({ origin });
  const answer = await edge.get('/a', {}, { method: 'PUT', body: Buffer.alloc(1000) });
  assert.deepEqual([answer.status, answer.body.toString()], [413, 'full']);
});

test('content that is malformed in the middle of an upload ends the connection', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin });
  const client = await ClientConnection.open({ port: edge.port });
  client.write('PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n');
  await origin.waitForRequest('/a');
  client.write('this is no chunk size\r\n');
  await eventually(() => client.isClosed, { what: 'the end of the connection' });
  await edge.settle();
});

test('who was refused and stays is not waited for: the connection ends, and so does the listener', { timeout: 30_000 }, async () => {
  await using origin = await Origin.start();
  const edge = await startEdge({ origin });
  const sockets = ['garbage\r\n\r\n', 'CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n', 'GET /a HTTP/1.1\r\nHost: x\r\nbad field\r\n\r\n'].map(
    (text) => {
      // Half open, so that the other side has to end it.
      const socket = net.connect({ port: edge.port, host: '127.0.0.1', allowHalfOpen: true });
      socket.on('error', () => undefined).resume();
      socket.write(text);
      return socket;
    },
  );
  await Promise.all(sockets.map((socket) => once(socket, 'end')));
  assert.equal(edge.services.load.connections, sockets.length);
  await edge[Symbol.asyncDispose]();
  await eventually(() => edge.services.load.connections === 0, { what: 'the end of all connections' });
  for (const socket of sockets) socket.destroy();
});

/** Sends this, ends its side, and reads to the end of the other one. */
async function halfClose(port: number, text: string): Promise<string> {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const pieces: Buffer[] = [];
  socket.on('error', () => undefined).on('data', (bytes: Buffer) => pieces.push(bytes));
  socket.end(text);
  await once(socket, 'close');
  return Buffer.concat(pieces).toString('latin1');
}

test('a client that ends its side after its request gets its answer, whichever lane has it', async () => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 100_000, cacheControl: 'max-age=600' }) });
  await using edge = await startEdge({ origin });
  const ask = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`;
  const asked = {
    miss: ask('/a'),
    hit: ask('/a'),
    general: ask('/a', 'X-Unknown: 1\r\nIf-Match: *\r\n'),
    several: ask('/a') + ask('/b') + ask('/a'),
  };
  for (const [what, text] of Object.entries(asked)) {
    const count = text.split('GET ').length - 1;
    const answer = await halfClose(edge.port, text);
    assert.equal(answer.split('HTTP/1.1 200 OK').length - 1, count, what);
    assert.ok(answer.length > 100_000 * count, what);
    await edge.settle();
  }
  // The origin takes its time.
  origin.misbehave('/slow', { holdHead: true }, 1);
  const slow = halfClose(edge.port, ask('/slow'));
  await origin.waitForHeld('/slow');
  origin.release('/slow');
  assert.match(await slow, /^HTTP\/1\.1 200 OK/);
});

test('one that has left altogether is not waited for: its request to the origin ends', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin });
  origin.misbehave('/a', { holdHead: true }, 9);
  for (const method of ['GET', 'POST']) {
    const client = await ClientConnection.open({ port: edge.port });
    client.write(`${method} /a HTTP/1.1\r\nHost: x\r\n\r\n`);
    await origin.waitForHeld('/a');
    client.destroy();
    await edge.settle();
    await eventually(() => origin.connections.open === 0, { what: `the end of the connection to the origin (${method})` });
  }
  assert.equal(edge.services.load.connections, 0);
});
