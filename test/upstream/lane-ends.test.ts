/** The ends of the lane that depend on what happens beside a request: others who want its place, its own close, an origin that drips. */
import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { MetricSet } from '../../src/base/metrics.ts';
import { KIB } from '../../src/base/units.ts';
import { ConnectionBudget } from '../../src/upstream/connection-budget.ts';
import { LaneTransport } from '../../src/upstream/lane-transport.ts';
import { UPSTREAM_METRICS } from '../../src/upstream/upstream-metrics.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';

function makeLane(origin: string, more: { readonly budget?: ConnectionBudget; readonly headTimeoutMs?: number } = {}): LaneTransport {
  return new LaneTransport({
    origin,
    connectTimeoutMs: 5000,
    headTimeoutMs: 5000,
    bodyTimeoutMs: 5000,
    keepAliveMs: 5000,
    headBytesMax: 64 * KIB,
    clock: new SystemClock(),
    metrics: new MetricSet(UPSTREAM_METRICS),
    budget: new ConnectionBudget(1),
    ...more,
  });
}

/** How a request ends: `end`, or the code of the error. `onBytes` hears of the body. */
function ask(lane: LaneTransport, path: string, onBytes = (): void => undefined): Promise<string> {
  return new Promise((resolve) => {
    const room = new Uint8Array(KIB);
    const sink = {
      room: () => room,
      onBytes,
      onEnd: () => resolve('end'),
      onError: ({ code }: { readonly code: string }) => resolve(`cut ${code}`),
    };
    const onFailure = ({ code }: { readonly code: string }): void => resolve(code);
    lane.start({ method: 'GET', path, fields: [['host', 'origin.test']] }, { onHead: () => sink, onFailure });
  });
}

test('a new connection carries the request that it was opened for before its place goes to others', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 100 });
  const budget = new ConnectionBudget(1);
  const lane = makeLane(origin.url, { budget });
  const answer = ask(lane, '/a');
  const granted = new Promise<void>((resolve) => void budget.take(resolve));
  assert.equal(await Promise.race([answer, granted.then(() => 'the other one came first')]), 'end');
  await granted;
  assert.equal(origin.connections.accepted, 1);
  budget.giveBack();
  await lane.close();
});

test('close() tells every request that has not ended', async () => {
  await using origin = await Origin.start();
  origin.setObject('/head', { lengthBytes: 100 });
  origin.setObject('/body', { lengthBytes: 100 });
  origin.misbehave('/head', { holdHead: true });
  origin.misbehave('/body', { pauseAfterBytes: 10 });
  const lane = makeLane(origin.url, { budget: new ConnectionBudget(2) });
  const inHead = ask(lane, '/head');
  const begun = Promise.withResolvers<void>();
  const inBody = ask(lane, '/body', begun.resolve);
  await begun.promise;
  await eventually(() => origin.requestsFor('/head').length === 1, { what: 'the request that waits for its head' });
  const inLine = ask(lane, '/head');
  await lane.close();
  assert.deepEqual(await Promise.all([inHead, inBody, inLine]), ['CLIENT_GONE', 'cut CLIENT_GONE', 'CLIENT_GONE']);
  assert.equal(lane.inFlight, 0);
  assert.equal(await ask(lane, '/head'), 'CLIENT_GONE');
});

test('close() while a connection is on its way tells the request that waits for it', async () => {
  await using origin = await Origin.start();
  const lane = makeLane(origin.url);
  const answer = ask(lane, '/a');
  await lane.close();
  assert.equal(await answer, 'CLIENT_GONE');
  assert.equal(lane.inFlight, 0);
});

test('a head that comes drop by drop has no more time than another one', async () => {
  const drips = new Set<NodeJS.Timeout>();
  const server = net.createServer((socket) => {
    socket.on('error', () => undefined);
    socket.write('HTTP/1.1 200 OK\r\nX-Slow: ');
    const drip = setInterval(() => void socket.write('x'), 5);
    drips.add(drip);
    socket.on('close', () => clearInterval(drip));
    socket.resume();
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert(address !== null && typeof address === 'object');
  const lane = makeLane(`http://127.0.0.1:${address.port}`, { headTimeoutMs: 100 });
  assert.equal(await ask(lane, '/a'), 'UPSTREAM_TIMEOUT');
  await lane.close();
  for (const drip of drips) clearInterval(drip);
  server.close();
});
