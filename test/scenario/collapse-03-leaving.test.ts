/** Who leaves hurts nobody who stays; when all have left, the origin is let go (row 49). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB, MIB } from '../../src/base/units.ts';
import { ClientConnection, stall } from '../helpers/client.ts';
import { startEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';

const LENGTH = 4 * MIB;

for (const validators of [undefined, 'none'] as const) {
  test(`the leader leaves, its followers get everything from the same transfer (validators: ${validators ?? 'strong'})`, async () => {
    await using origin = await Origin.start();
    const body = origin.setObject('/a.iso', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
    origin.misbehave('/a.iso', { pauseAfterBytes: 100 * KIB, validators }, 1);
    await using edge = await startEdge({ origin });
    const leader = await ClientConnection.open({ port: edge.port });
    const left = leader.request({ path: '/a.iso' });
    await origin.waitForHeld('/a.iso');
    const followers = [edge.get('/a.iso', {}, { expect: body }), edge.get('/a.iso', {}, { expect: body })];
    await eventually(() => edge.services.load.requests === 3, { what: 'two followers' });
    leader.destroy();
    await left;
    origin.release();
    for (const answer of await Promise.all(followers)) {
      assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes, answer.isComplete], [200, -1, LENGTH, true]);
    }
    assert.equal(origin.requestsFor('/a.iso').length, 1);
  });
}

for (const misbehaviour of [{}, { chunked: true }, { validators: 'none' }, { chunked: true, validators: 'none' }] as const) {
  test(`all leave: the fill ends and the next client is served (${JSON.stringify(misbehaviour)})`, async () => {
    await using origin = await Origin.start();
    const body = origin.setObject('/a.iso', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
    origin.misbehave('/a.iso', { ...misbehaviour, pauseAfterBytes: 70 * KIB }, 1);
    await using edge = await startEdge({ origin });
    const clients = await Promise.all([1, 2, 3].map(() => ClientConnection.open({ port: edge.port })));
    const left = clients.map((client) => client.request({ path: '/a.iso' }).catch(() => undefined));
    await origin.waitForHeld('/a.iso');
    await eventually(() => edge.services.load.requests === 3, { what: 'three clients' });
    for (const client of clients) client.destroy();
    await Promise.all(left);
    await edge.settle();
    await eventually(() => origin.requestsFor('/a.iso')[0]?.state === 'aborted', { what: 'the end of the transfer' });
    const next = await edge.get('/a.iso', {}, { expect: body });
    assert.deepEqual([next.status, next.wrongAt, next.bodyBytes, next.isComplete], [200, -1, LENGTH, true]);
  });
}

test('all leave before the head: the request to the origin is given up at once', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a.iso', { lengthBytes: 1000, cacheControl: 'max-age=60' });
  origin.misbehave('/a.iso', { holdHead: true }, 1);
  await using edge = await startEdge({ origin });
  const clients = await Promise.all([1, 2, 3].map(() => ClientConnection.open({ port: edge.port })));
  const left = clients.map((client) => client.request({ path: '/a.iso' }).catch(() => undefined));
  await origin.waitForHeld('/a.iso');
  await eventually(() => edge.services.load.requests === 3, { what: 'three clients' });
  for (const client of clients) client.destroy();
  await Promise.all(left);
  await edge.settle();
  await eventually(() => origin.requestsFor('/a.iso')[0]?.state === 'aborted', { what: 'the end of the request' });
  assert.equal((await edge.get('/a.iso', {}, { expect: body })).wrongAt, -1);
});

test('the leader leaves before the head: its waiters keep the request', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a.iso', { lengthBytes: 300_000, cacheControl: 'max-age=60' });
  origin.misbehave('/a.iso', { holdHead: true }, 1);
  await using edge = await startEdge({ origin });
  const leader = await ClientConnection.open({ port: edge.port });
  const left = leader.request({ path: '/a.iso' }).catch(() => undefined);
  await origin.waitForHeld('/a.iso');
  const waiter = edge.get('/a.iso', {}, { expect: body });
  await eventually(() => edge.services.load.requests === 2, { what: 'a waiter' });
  leader.destroy();
  await left;
  await eventually(() => edge.services.load.requests === 1, { what: 'the leader gone' });
  origin.release();
  assert.deepEqual([(await waiter).wrongAt, (await waiter).bodyBytes], [-1, 300_000]);
  assert.equal(origin.requestsFor('/a.iso').length, 1);
});

test('a client of a response that passes through leaves: before the head, and in a pause of the body', async () => {
  for (const pause of [{ holdHead: true }, { pauseAfterBytes: 10_000 }]) {
    await using origin = await Origin.start();
    origin.setObject('/x', { lengthBytes: 100_000, cacheControl: 'no-store' });
    await using edge = await startEdge({ origin });
    await edge.get('/x');
    origin.misbehave('/x', pause, 1);
    const client = await ClientConnection.open({ port: edge.port });
    const left = client.request({ path: '/x' }).catch(() => undefined);
    await origin.waitForHeld('/x');
    await eventually(() => edge.services.load.requests === 1, { what: 'a client' });
    client.destroy();
    await left;
    await eventually(() => edge.services.load.requests === 0, { what: 'the end of the request', deadlineMs: 3000 });
    await eventually(() => origin.requestsFor('/x')[1]?.state === 'aborted', { what: 'the end of the transfer' });
  }
});

test('a client at the far end of a large cold object does not wait for a slow one at its start', async () => {
  await using origin = await Origin.start();
  const length = 64 * MIB;
  const body = origin.setObject('/a.iso', { lengthBytes: length, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  const slow = await stall({ port: edge.port, path: '/a.iso', expect: body });
  await origin.waitForRequest('/a.iso');
  const start = length - 100_000;
  const far = await edge.get('/a.iso', { range: `bytes=${start}-` }, { expect: { ...body, start } });
  assert.deepEqual([far.status, far.wrongAt, far.bodyBytes], [206, -1, 100_000]);
  slow.destroy();
  await edge.settle();
  assert.ok(origin.bytesSent('/a.iso') < 16 * MIB, `the origin sent ${origin.bytesSent('/a.iso')} bytes`);
});
