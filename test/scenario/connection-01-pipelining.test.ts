/** Several requests of one connection: answered in order, each whole, whatever comes after them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB, MIB } from '../../src/base/units.ts';
import { ClientConnection, exchange } from '../helpers/client.ts';
import { startEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';

test('GET, HEAD and ranges in one packet are answered in order (RFC 9112 s9.3.2)', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: 300_000, cacheControl: 'max-age=60' });
  const other = origin.setObject('/b', { lengthBytes: 5000, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  for (const round of ['cold', 'warm']) {
    const client = await ClientConnection.open({ port: edge.port });
    const answers = await Promise.all([
      client.request({ path: '/a', expect: body }),
      client.request({ path: '/a', method: 'HEAD' }),
      client.request({ path: '/b', expect: other }),
      client.request({ path: '/a', headers: { range: 'bytes=100000-200000' }, expect: { ...body, start: 100_000 } }),
      client.request({ path: '/missing' }),
      client.request({ path: '/b', headers: { range: 'bytes=9000-' } }),
      client.request({ path: '/b', expect: other }),
    ]);
    assert.deepEqual(
      answers.map(({ status, bodyBytes, wrongAt, isComplete }) => [status, bodyBytes, wrongAt, isComplete]),
      [
        [200, 300_000, -1, true],
        [200, 0, -1, true],
        [200, 5000, -1, true],
        [206, 100_001, -1, true],
        [404, 4, -1, true],
        [416, 0, -1, true],
        [200, 5000, -1, true],
      ],
      round,
    );
    assert.equal(client.error, undefined);
    client.destroy();
  }
});

test('keep-alive: one connection carries many requests, and one to the origin carries their misses', async () => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 1000, cacheControl: 'max-age=60' }) });
  await using edge = await startEdge({ origin });
  const client = await ClientConnection.open({ port: edge.port });
  for (let index = 0; index < 20; index += 1) {
    const path = `/o${index}`;
    assert.equal((await client.request({ path, expect: { name: path, version: 1 } })).wrongAt, -1);
  }
  assert.equal(client.isClosed, false);
  assert.equal(origin.connections.accepted, 1);
  client.destroy();
});

test('a malformed request behind a response in progress does not corrupt it; 400 comes after it', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: MIB, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { pauseAfterBytes: 100 * KIB }, 1);
  await using edge = await startEdge({ origin });
  const client = await ClientConnection.open({ port: edge.port });
  const first = client.request({ path: '/a', expect: body });
  const refusal = client.request({ path: '/not/http' });
  await origin.waitForHeld('/a');
  client.write('\u0001\u0002 this is no HTTP\r\n\r\n');
  origin.release();
  const answer = await first;
  assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes, answer.isComplete], [200, -1, MIB, true]);
  // The path in between is answered in its turn; then comes the refusal of what was no request.
  assert.equal((await refusal).status, 404);
  await eventually(() => client.isClosed, { what: 'the end of the connection' });
});

test('the client leaves with pipelined requests waiting: none of them is begun', async () => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 1000, cacheControl: 'max-age=60' }) });
  origin.misbehave('/a', { holdHead: true }, 1);
  await using edge = await startEdge({ origin });
  const client = await ClientConnection.open({ port: edge.port });
  const left = ['/a', '/b', '/c'].map((path) => client.request({ path }).catch(() => undefined));
  await origin.waitForHeld('/a');
  client.destroy();
  await Promise.all(left);
  await edge.settle();
  assert.equal(origin.requests.length, 1);
});

test('more pipelined requests than anybody needs end the connection (RFC 9112 s9.3.2)', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { holdHead: true }, 1);
  await using edge = await startEdge({ origin });
  const received = await exchange({ port: edge.port, bytes: 'GET /a HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1000) });
  assert.equal(received.length, 0);
});
