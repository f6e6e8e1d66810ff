/** Row 50: interim responses go through to whoever can read them, and 100-continue is a matter of the two ends (RFC 9110 s10.1.1, s15.2). */
import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { ClientConnection, exchange, request } from '../helpers/client.ts';
import { startEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';

const LINK = '</style.css>; rel=preload';

test('row 50 (RFC 9110 s15.2, RFC 8297): 102 and 103 reach the client of a miss, are not stored, and do not come with a hit', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { interim: [102, 103, 103], interimHeaders: { Link: LINK, 'Keep-Alive': 'timeout=5', Via: '1.1 shield' } });
  await using edge = await startEdge({ origin });
  const miss = await edge.get('/a', {}, { expect: body });
  assert.deepEqual([miss.status, miss.wrongAt, miss.interim.map(({ status }) => status)], [200, -1, [102, 103, 103]]);
  const early = miss.interim[1]?.headers;
  assert.deepEqual([early?.link, early?.['keep-alive'], early?.via], [LINK, undefined, '1.1 shield, 1.1 rawslice']);
  assert.equal(miss.headers.link, undefined);
  const hit = await edge.get('/a');
  assert.deepEqual([hit.headers['x-cache'], hit.interim.length, hit.headers.link], ['HIT', 0, undefined]);
  assert.equal(edge.services.metrics.value('responses', '1xx'), 3);
});

test('row 50 (RFC 9110 s15.2): everybody who waits for the head hears of it', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { holdHead: true, interim: [103] }, 1);
  await using edge = await startEdge({ origin });
  const first = edge.get('/a');
  await origin.waitForHeld('/a');
  const second = edge.get('/a');
  await eventually(() => edge.services.load.requests === 2, { what: 'two requests' });
  origin.release();
  assert.deepEqual([(await first).interim.length, (await second).interim.length, origin.requests.length], [1, 1, 1]);
});

test('row 50 (RFC 9110 s15.2): a client of HTTP/1.0 is sent no interim response', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 10, cacheControl: 'no-store' });
  origin.misbehave('/a', { interim: [103] });
  await using edge = await startEdge({ origin });
  const text = (await exchange({ port: edge.port, bytes: 'GET /a HTTP/1.0\r\n\r\n' })).toString('latin1');
  assert.match(text, /^HTTP\/1\.1 200 /);
  assert.equal((await edge.get('/a')).interim.length, 1);
});

test('row 50 (RFC 9110 s10.1.1): a client that waits is told to go on by the origin, not by the proxy', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin });
  for (const framing of ['Content-Length: 5', 'Transfer-Encoding: chunked']) {
    const heard = await exchangeInSteps(
      edge.port,
      `PUT /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n${framing}\r\nConnection: close\r\n\r\n`,
      [{ after: '100 Continue\r\n\r\n', send: framing.startsWith('T') ? '5\r\nhello\r\n0\r\n\r\n' : 'hello' }],
    );
    assert.match(heard, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 404 /);
    const seen = origin.requestsFor('/a').at(-1);
    assert.deepEqual([seen?.headers.expect, seen?.requestBodyBytes], ['100-continue', 5]);
  }
});

test('row 50 (RFC 9110 s10.1.1): an origin that refuses saves the client its content', async () => {
  await using origin = await Origin.start();
  origin.misbehave('/a', { status: 413, answersUnread: true });
  await using edge = await startEdge({ origin });
  const bytes = 'PUT /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5000000000\r\n\r\n';
  // Nothing is sent, and the connection ends: the next byte could be content or a request.
  const text = (await exchange({ port: edge.port, bytes })).toString('latin1');
  assert.match(text, /^HTTP\/1\.1 413 /);
  assert.match(text, /\r\nconnection: close\r\n/i);
});

test('row 50 (RFC 9110 s10.1.1): who does not wait loses nothing, whether the origin says 100 or not', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin });
  for (const omitsContinue of [false, true]) {
    origin.behave();
    origin.misbehave('/a', { omitsContinue, status: 201 });
    const answer = await edge.get('/a', { expect: '100-continue' }, { method: 'POST', body: 'hello' });
    assert.deepEqual([answer.status, answer.interim.length], [201, omitsContinue ? 0 : 1]);
    assert.equal(origin.requestsFor('/a').at(-1)?.requestBodyBytes, 5);
  }
});

test('row 50 (RFC 9110 s10.1.1): an expectation without content, and one of HTTP/1.0, are not passed on', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 10, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  assert.equal((await edge.get('/a', { expect: '100-continue' })).status, 200);
  await exchange({ port: edge.port, bytes: 'PUT /a HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx' });
  assert.deepEqual(
    origin.requestsFor('/a').map(({ headers }) => headers.expect),
    [undefined, undefined],
  );
});

test('an origin that answers early: the client gets the answer, and its connection goes on when the rest of the content was short', async () => {
  await using origin = await Origin.start();
  origin.misbehave('/a', { status: 403, answersUnread: true });
  await using edge = await startEdge({ origin });
  const client = await ClientConnection.open({ port: edge.port });
  const answer = await client.request({ path: '/a', method: 'PUT', body: Buffer.alloc(500_000) });
  assert.deepEqual([answer.status, answer.isComplete], [403, true]);
  assert.equal((await client.request({ path: '/b' })).status, 404);
  client.destroy();
  // A client that goes on sending without end does not keep the connection.
  const endless = await request({ port: edge.port, path: '/a', method: 'PUT', body: Buffer.alloc(40_000_000) });
  assert.equal(endless.status, 403);
});

test('a client that stops in the middle of its content is told so after limits.uploadStall, and the origin is let go', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin, set: { 'limits.uploadStall': '1s' } });
  const text = (await exchange({ port: edge.port, bytes: 'PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nbegin' })).toString(
    'latin1',
  );
  assert.match(text, /^HTTP\/1\.1 408 /);
  assert.match(text, /\r\nproxy-status: rawslice; error=http_request_error/i);
  assert.equal(edge.services.metrics.value('refused', 'upload-stall'), 1);
  await eventually(() => origin.connections.open === 0, { what: 'the end of the connection to the origin' });
});

test('content that the origin does not take holds no memory: the client is made to wait', async () => {
  await using origin = await Origin.start();
  const sockets: net.Socket[] = [];
  const deaf = net.createServer({ pauseOnConnect: true }, (socket) => sockets.push(socket));
  await new Promise<void>((resolve) => deaf.listen(0, '127.0.0.1', resolve));
  const address = deaf.address();
  assert.ok(typeof address === 'object' && address !== null);
  const set = { 'upstream.url': `http://127.0.0.1:${address.port}`, 'upstream.headTimeout': '500ms' };
  await using edge = await startEdge({ origin, set });
  const answer = await edge.get('/a', {}, { method: 'PUT', body: Buffer.alloc(64_000_000) });
  assert.equal(answer.status, 504);
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => deaf.close(resolve));
});

/** Sends bytes, and further ones as soon as a text has come; what came until the server closed. */
async function exchangeInSteps(port: number, first: string, steps: { after: string; send: string }[]): Promise<string> {
  const client = net.connect({ port, host: '127.0.0.1' });
  let heard = '';
  client.write(first);
  for await (const bytes of client) {
    heard += String(bytes);
    const step = steps[0];
    if (step !== undefined && heard.endsWith(step.after)) client.write(steps.shift()?.send ?? '');
  }
  return heard;
}
