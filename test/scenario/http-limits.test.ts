/** Limits on what clients may send: each is told by its status, counted by its kind, and ends nothing but its own connection. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { createLogger } from '../../src/base/log.ts';
import type { RefusalKind } from '../../src/proxy/refusal.ts';
import { CapturedStream } from '../helpers/captured-stream.ts';
import { exchange } from '../helpers/client.ts';
import { startEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';

const END = 'Host: x\r\nConnection: close\r\n\r\n';

const CASES: readonly (readonly [what: string, bytes: string, status: number, kind: RefusalKind])[] = [
  ['a target beyond 8 KiB (RFC 9110 s15.5.15)', `GET /${'a'.repeat(9000)} HTTP/1.1\r\n${END}`, 414, 'target-length'],
  ['a target beyond the head itself (RFC 9112 s3)', `GET /${'a'.repeat(20_000)} HTTP/1.1\r\n${END}`, 414, 'target-length'],
  ['a head beyond limits.headerBytes (RFC 6585 s5)', `GET /a HTTP/1.1\r\nX: ${'x'.repeat(20_000)}\r\n${END}`, 431, 'head-size'],
  ['more fields than anybody sends (RFC 6585 s5)', `GET /a HTTP/1.1\r\n${'a:b\r\n'.repeat(300)}${END}`, 431, 'field-count'],
  ['more fields than node would keep', `GET /a HTTP/1.1\r\n${'a:b\r\n'.repeat(2100)}${END}`, 431, 'field-count'],
  ['another major version (RFC 9110 s15.6.6)', `GET /a HTTP/2.0\r\n${END}`, 505, 'version'],
  ['another minor version', `GET /a HTTP/1.7\r\n${END}`, 505, 'version'],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, 'syntax'],
  ['an expectation that nobody knows (RFC 9110 s10.1.1)', `GET /a HTTP/1.1\r\nExpect: bananas\r\n${END}`, 417, 'expectation'],
  ['a method that nobody knows (row 47, RFC 9110 s15.6.2)', `BREW /a HTTP/1.1\r\n${END}`, 501, 'method'],
  ['CONNECT (row 47, RFC 9110 s9.3.6)', `CONNECT x:443 HTTP/1.1\r\n${END}`, 501, 'method'],
  ['TRACE (row 47, RFC 9110 s9.3.8)', `TRACE /a HTTP/1.1\r\n${END}`, 501, 'method'],
  ['a target with a stray percent sign (row 51)', `GET /%zz HTTP/1.1\r\n${END}`, 400, 'target'],
];

for (const [what, bytes, status, kind] of CASES) {
  test(`refused with ${status}: ${what}`, async () => {
    await using origin = await Origin.start();
    await using edge = await startEdge({ origin, set: { 'limits.headerBytes': '16KiB' } });
    const text = (await exchange({ port: edge.port, bytes })).toString('latin1');
    assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} `));
    assert.match(text, /\r\ndate: /i);
    assert.equal(edge.services.metrics.value('refused', kind), 1);
    assert.equal(origin.requests.length, 0);
  });
}

test('another version is told as such also when its line comes in two packets', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin, set: { expressLane: 'false' } });
  const socket = net.connect({ port: edge.port, host: '127.0.0.1', noDelay: true });
  let text = '';
  socket.on('data', (bytes) => {
    text += bytes.toString('latin1');
  });
  const closed = once(socket, 'close');
  socket.write('GET /a HTTP');
  await eventually(() => edge.services.load.connections === 1, { what: 'the connection' });
  // The parser has the first packet before it has the second.
  await edge.get('/none');
  socket.write(`/1.2\r\n${END}`);
  await closed;
  assert.match(text, /^HTTP\/1\.1 505 /);
});

test('a head that comes slowly, and a connection that says nothing, are ended with 408 (RFC 9110 s15.5.9)', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin, set: { 'limits.headerTimeout': '500ms' } });
  for (const bytes of ['GET / HTTP/1.1\r\nHost: x\r\n', 'G', '']) {
    const text = (await exchange({ port: edge.port, bytes })).toString('latin1');
    assert.match(text, /^HTTP\/1\.1 408 /, JSON.stringify(bytes));
  }
  assert.equal(edge.services.metrics.value('refused', 'head-time'), 3);
});

test('more pipelined requests than anybody needs end the connection, and are counted (RFC 9112 s9.3.2)', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 10, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { holdHead: true }, 1);
  await using edge = await startEdge({ origin });
  await exchange({ port: edge.port, bytes: 'GET /a HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1000) });
  await eventually(() => edge.services.metrics.value('refused', 'pipelining') > 0, { what: 'the refusal' });
  origin.behave();
  assert.equal((await edge.get('/a')).status, 200);
});

test('a client that resets its connection is nobody that was refused', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin });
  const socket = net.connect({ port: edge.port, host: '127.0.0.1' });
  await new Promise((resolve) => socket.once('connect', resolve));
  socket.resetAndDestroy();
  await eventually(() => edge.services.metrics.value('connections') === 0, { what: 'the end of the connection' });
  assert.equal(edge.services.metrics.value('refused', 'syntax'), 0);
});

test('the access line of an upload names its client, however the upload ended', async () => {
  await using origin = await Origin.start();
  const log = new CapturedStream();
  const logger = createLogger({ level: 'info', stream: log });
  await using edge = await startEdge({ origin, set: { 'log.access': 'true' }, logger });
  await edge.get('/a', {}, { method: 'PUT', body: 'content' });
  await exchange({ port: edge.port, bytes: 'PUT /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n' });
  await eventually(() => log.text.split('\n').length === 3, { what: 'two lines' });
  const lines = log.text.split('\n', 2).map((line): unknown => JSON.parse(line));
  for (const line of lines) assert.ok(typeof line === 'object' && line !== null && 'client.address' in line, log.text);
});
