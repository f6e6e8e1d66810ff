/** Connections of the express lane in bad company: cut anywhere, reset, far ahead, and handed over for what they do next. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { KIB, MIB } from '../../src/base/units.ts';
import { exchange } from '../helpers/client.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import { withTemporaryDirectory } from '../helpers/temp.ts';
import { tinyDevice } from '../helpers/tiny-device.ts';

const LAST = 'Connection: close\r\n\r\n';

function dial(edge: TestEdge): net.Socket {
  const socket = net.connect({ port: edge.port, host: '127.0.0.1', noDelay: true });
  return socket.on('error', () => undefined);
}

test('what was sent ahead of a write that failed is nobody’s: neither counted nor handed over', async () => {
  await using origin = await Origin.start();
  origin.setObject('/c', { lengthBytes: 64 * KIB - 2000, cacheControl: 'max-age=600' });
  await using edge = await startEdge({ origin, makeStore: tinyDevice });
  await edge.get('/c');
  await edge.settle();
  const { metrics, load } = edge.services;
  const socket = dial(edge).pause();
  socket.write(`${'GET /c HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1000)}POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n`);
  // The kernel's buffers are full when nothing more is taken for a while.
  let [taken, turns] = [0, 0];
  await eventually(
    () => {
      const answered = metrics.value('laneRequests', 'express');
      turns = answered === taken && load.requests === 1 ? turns + 1 : 0;
      taken = answered;
      return turns > 300;
    },
    { what: 'a full line' },
  );
  socket.resetAndDestroy();
  await eventually(() => metrics.value('connections') === 0, { what: 'the end of the connection' });
  assert.equal(metrics.value('aborted'), 1);
  assert.equal(metrics.value('laneRequests', 'express'), taken);
  assert.equal(metrics.value('handovers', 'method'), 0);
});

test('whoever sends a thousand requests ahead lets others have their turn, and gets all answers', async () => {
  await using origin = await Origin.start();
  origin.setObject('/c', { lengthBytes: 10, cacheControl: 'max-age=600' });
  await using edge = await startEdge({ origin });
  await edge.get('/c');
  await edge.settle();
  const { metrics } = edge.services;
  const head = 'HEAD /c HTTP/1.1\r\nHost: x\r\n';
  const answers = exchange({ port: edge.port, bytes: `${head}\r\n`.repeat(1000) + head + LAST });
  let [most, answered] = [0, 0];
  await eventually(
    () => {
      const now = metrics.value('laneRequests', 'express');
      most = Math.max(most, now - answered);
      answered = now;
      return answered === 1001;
    },
    { what: 'all answers' },
  );
  assert.equal((await answers).toString('latin1').split('HTTP/1.1 200 OK').length - 1, 1001);
  // One share when they come, and one when its turn is over.
  assert.ok(most <= 2 * 64 + 1, `${most} in a turn`);
});

test('requests cut at any byte are not mixed with those of other connections', async () => {
  await using origin = await Origin.start();
  for (const name of ['a', 'b']) origin.setObject(`/${name}`, { body: Buffer.from(name.repeat(50)), cacheControl: 'max-age=600' });
  await using edge = await startEdge({ origin });
  for (const name of ['a', 'b']) await edge.get(`/${name}`);
  await edge.settle();
  const part = (name: string, range: string): string => `GET /${name} HTTP/1.1\r\nHost: x\r\nRange: bytes=${range}\r\n\r\n`;
  const whole = `${part('a', '0-3')}${part('a', '0-3')}${part('a', '0-4')}GET /a HTTP/1.1\r\nHost: x\r\n${LAST}`;
  const other = dial(edge);
  let others = '';
  other.setEncoding('latin1').on('data', (text) => {
    others += String(text);
  });
  for (let cut = 1; cut < whole.length; cut += 1) {
    const cutOne = dial(edge);
    let received = '';
    cutOne.setEncoding('latin1').on('data', (text) => {
      received += String(text);
    });
    cutOne.write(whole.slice(0, cut));
    others = '';
    other.write(part('b', `0-${cut % 50}`).repeat(2));
    await eventually(() => others.split(/\r\n\r\nb+/).length === 3 && others.endsWith('b'.repeat((cut % 50) + 1)), { what: 'the other' });
    cutOne.write(whole.slice(cut));
    await eventually(() => cutOne.closed, { what: 'the end' });
    const bodies = [...received.matchAll(/\r\n\r\n(a+)/g)].map(([, body]) => body?.length);
    assert.deepEqual(bodies, [4, 4, 5, 50], `cut at ${cut}`);
  }
  other.destroy();
});

test('targets whose bytes have the same hash are told apart', async () => {
  await using origin = await Origin.start();
  const paths = ['/Aa', '/BB', '/x?Aa', '/x?BB'];
  for (const [index, target] of paths.slice(0, 2).entries())
    origin.setObject(target, { body: Buffer.from(String(index).repeat(9)), cacheControl: 'max-age=600' });
  await using edge = await startEdge({ origin });
  for (const target of paths.slice(0, 2)) await edge.get(target);
  await edge.settle();
  const asked = [0, 1, 0, 0, 0, 1, 1, 1, 0, 1];
  const requests = asked.map((index) => `GET ${paths[index]} HTTP/1.1\r\nHost: x\r\n`);
  const text = (await exchange({ port: edge.port, bytes: requests.join('\r\n') + LAST })).toString('latin1');
  const bodies = [...text.matchAll(/\r\n\r\n(\d)\1{8}(?=HTTP|$)/g)].map(([, digit]) => Number(digit));
  assert.deepEqual(bodies, asked);
  assert.equal(edge.services.metrics.value('laneRequests', 'express'), asked.length);
});

/** Answers hits, digests what is sent up, and gives back what comes through a tunnel. */
function busyOrigin(): http.Server {
  const server = http.createServer((request, response) => {
    if (request.method === 'GET') return void response.writeHead(200, { 'Cache-Control': 'max-age=600', ETag: '"1"' }).end('stored');
    const hash = createHash('sha256');
    request.on('data', (bytes: Buffer) => {
      hash.update(bytes);
      // A slow one, so that the client has to wait.
      request.pause();
      setImmediate(() => request.resume());
    });
    request.on('end', () => response.end(hash.digest('hex')));
  });
  server.on('upgrade', (_request, socket, first) => {
    socket.on('error', () => undefined);
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
    socket.write(first);
    socket.pipe(socket);
  });
  return server;
}

/** Everything that has come. */
function inboxOf(socket: net.Socket): () => Buffer {
  const pieces: Buffer[] = [];
  socket.on('data', (bytes: Buffer) => pieces.push(bytes));
  return () => Buffer.concat(pieces);
}

const HIT = 'GET /a HTTP/1.1\r\nHost: x\r\n\r\n';

async function sendUp(socket: net.Socket): Promise<void> {
  const inbox = inboxOf(socket);
  const content = randomBytes(3 * MIB);
  socket.write(`${HIT.repeat(3)}POST /up HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: ${content.length}\r\n${LAST}`);
  await eventually(() => inbox().includes('HTTP/1.1 100 Continue\r\n\r\n'), { what: '100' });
  assert.equal(inbox().toString('latin1').split('stored').length, 4);
  socket.write(content);
  await once(socket, 'close');
  assert.ok(inbox().includes(createHash('sha256').update(content).digest('hex')));
}

async function sendThrough(socket: net.Socket): Promise<void> {
  const inbox = inboxOf(socket);
  const content = randomBytes(MIB);
  socket.write(`${HIT.repeat(3)}GET /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n`);
  await eventually(() => inbox().includes('HTTP/1.1 101 '), { what: '101' });
  socket.write(content);
  await eventually(() => inbox().subarray(-content.length).equals(content), { what: 'the echo' });
  socket.destroy();
}

test('after hits a connection may send much up, or become a tunnel, over TCP and over a Unix socket', async () => {
  await withTemporaryDirectory(async (folder) => {
    const origin = busyOrigin();
    origin.listen(0, '127.0.0.1');
    await once(origin, 'listening');
    const address = origin.address();
    assert.ok(typeof address === 'object' && address !== null);
    const yaml = `routes:\n  - { name: all, upstream: pool, upgrade: [echo] }\nupstreams:\n  - name: pool\n    nodes: [{ url: "http://127.0.0.1:${address.port}" }]\n`;
    {
      await using edge = await startEdge({ yaml });
      await edge.get('/a');
      await edge.settle();
      const local = edge.proxy.createListener(edge.services.service.name);
      const place = path.join(folder, 'edge.sock');
      await local.listen({ path: place });
      for (const to of [{ port: edge.port, host: '127.0.0.1' }, { path: place }]) {
        for (const send of [sendUp, sendThrough]) {
          const socket = net.connect(to);
          socket.on('error', () => undefined);
          await send(socket);
        }
      }
      assert.equal(edge.services.metrics.value('laneRequests', 'express'), 12);
      await local.close({ deadlineMs: 1000 });
      await eventually(() => edge.services.metrics.value('connections') === 0, { what: 'the end of all' });
    }
    origin.closeAllConnections();
    origin.close();
    await once(origin, 'close');
  });
});
