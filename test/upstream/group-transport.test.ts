/** Groups keep the transport's contract, choose by weight, try other nodes before the first byte, and never more than their budget allows. */
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import type { EdgeError } from '../../src/base/errors.ts';
import { MetricSet } from '../../src/base/metrics.ts';
import { KIB } from '../../src/base/units.ts';
import { SmoothRoundRobin } from '../../src/upstream/balancer.ts';
import { GroupTransport } from '../../src/upstream/group-transport.ts';
import { GROUP_METRICS } from '../../src/upstream/node-metrics.ts';
import { RetryBudget } from '../../src/upstream/retry-budget.ts';
import type { TransportOptions } from '../../src/upstream/transport-options.ts';
import { UPSTREAM_METRICS } from '../../src/upstream/upstream-metrics.ts';
import { UpstreamNode } from '../../src/upstream/upstream-node.ts';
import type { UpstreamRequest } from '../../src/upstream/upstream-transport.ts';
import { runUpstreamTransportContract, type TransportFactory } from '../contract/upstream-transport.ts';
import { trustedCertificate } from '../helpers/certificate.ts';
import { Origin } from '../helpers/origin.ts';

interface NodeChoice extends Partial<TransportOptions> {
  readonly origin: string;
  readonly weight?: number;
}

function makeGroup(nodes: readonly NodeChoice[], more: { retriesMax?: number } = {}): GroupTransport {
  const limits = { connectTimeoutMs: 1000, headTimeoutMs: 5000, bodyTimeoutMs: 5000, connectionsMax: 4, headBytesMax: 64 * KIB };
  const shared = { ...limits, clock: new SystemClock(), metrics: new MetricSet(UPSTREAM_METRICS) };
  return new GroupTransport({
    name: 'g',
    nodes: nodes.map(({ weight = 1, ...transport }) => new UpstreamNode({ weight, transport: { ...shared, ...transport } })),
    balancer: new SmoothRoundRobin(),
    retriesMax: more.retriesMax ?? 2,
    sendsNodeHost: true,
    metrics: new MetricSet(GROUP_METRICS),
  });
}

const factory: TransportFactory = (origin, limits) => makeGroup([{ origin, ...limits }]);
runUpstreamTransportContract('GroupTransport of one node', factory);
// One and the same server under two names: whatever it does, the other node does too.
runUpstreamTransportContract('GroupTransport of two nodes', (origin, limits) =>
  makeGroup(
    [
      { origin, ...limits },
      { origin: origin.replace('127.0.0.1', 'localhost'), ...limits },
    ],
    { retriesMax: 0 },
  ),
);

/** The status, or the code of the error; `...` behind it when the body broke off. */
function ask(group: GroupTransport, more: Partial<UpstreamRequest> = {}): Promise<string> {
  return new Promise((resolve) => {
    const room = new Uint8Array(64 * KIB);
    const onFailure = (error: EdgeError): void => resolve(error.code);
    group.start(
      { method: 'GET', path: '/a', fields: [['host', 'client.example']], ...more },
      {
        onFailure,
        onHead: ({ status }) => ({
          room: () => room,
          onBytes: () => undefined,
          onEnd: () => resolve(String(status)),
          onError: () => resolve(`${status}...`),
        }),
      },
    );
  });
}

test('nodes have turns by weight, spread evenly', () => {
  const nodes = [5, 1, 1].map((weight, index) => ({ weight, name: 'abc'[index] ?? '' }));
  const balancer = new SmoothRoundRobin<(typeof nodes)[number]>();
  const turns = Array.from({ length: 14 }, () => balancer.choose(nodes).name).join('');
  assert.equal(turns, 'aabacaaaabacaa');
  const equal = [1, 1, 1].map((weight, index) => ({ weight, name: 'xyz'[index] ?? '' }));
  const plain = new SmoothRoundRobin<(typeof equal)[number]>();
  assert.equal(Array.from({ length: 7 }, () => plain.choose(equal).name).join(''), 'xyzxyzx');
});

test('retries are a fifth of the requests, and a hundred that were saved up', () => {
  const budget = new RetryBudget();
  const take = (): number => {
    let taken = 0;
    while (budget.tryTake()) taken += 1;
    return taken;
  };
  assert.equal(take(), 100);
  for (let request = 0; request < 50; request += 1) budget.noteRequest();
  assert.ok(Math.abs(take() - 10) <= 1);
  for (let request = 0; request < 10_000; request += 1) budget.noteRequest();
  assert.equal(take(), 100);
});

test('each node is sent its own host, and its share of the requests', async () => {
  await using one = await Origin.start({ resolve: () => ({ lengthBytes: 10 }) });
  await using two = await Origin.start({ resolve: () => ({ lengthBytes: 10 }) });
  const group = makeGroup([{ origin: one.url, weight: 3 }, { origin: two.url }]);
  for (let request = 0; request < 8; request += 1) assert.equal(await ask(group), '200');
  assert.deepEqual([one.requests.length, two.requests.length], [6, 2]);
  assert.equal(two.requests[0]?.headers.host, `127.0.0.1:${two.port}`);
  await group.close();
});

test('a node that fails before its first byte is left for another one, and then left alone for a while', async () => {
  for (const fault of [{ status: 503 }, { raw: '', rawThen: 'reset' }, { raw: 'SSH-2.0\r\n' }, undefined] as const) {
    await using bad = await Origin.start();
    await using good = await Origin.start({ resolve: () => ({ lengthBytes: 10 }) });
    if (fault === undefined) await bad.stop();
    else bad.misbehave('/a', fault);
    const group = makeGroup([{ origin: bad.url }, { origin: good.url }]);
    for (let request = 0; request < 6; request += 1) assert.equal(await ask(group), '200');
    // A kept connection that is gone is tried once more at the same node; this one is new.
    assert.equal(group.metrics.value('retries', 'sent'), 1, JSON.stringify(fault));
    assert.equal(good.requests.length, 6);
    assert.equal(group.nodes[0]?.metrics.value('isResting'), 1);
    await group.close();
  }
});

test('what may not be done twice is not: content, and methods that are not idempotent once they were sent', async () => {
  await using bad = await Origin.start();
  await using good = await Origin.start({ resolve: () => ({ lengthBytes: 10 }) });
  const orders: readonly (readonly [more: Partial<UpstreamRequest>, isSent: boolean, result: string])[] = [
    [
      {
        method: 'POST',
        fields: [
          ['host', 'x'],
          ['content-length', '0'],
        ],
      },
      true,
      'UPSTREAM_BROKEN',
    ],
    [
      {
        method: 'POST',
        fields: [
          ['host', 'x'],
          ['content-length', '0'],
        ],
      },
      false,
      '200',
    ],
    [{ method: 'PUT', body: Readable.from([Buffer.from('x')]) }, false, 'UPSTREAM_UNREACHABLE'],
    [{ method: 'DELETE' }, true, '200'],
  ];
  for (const [more, isSent, result] of orders) {
    if (isSent) {
      await bad.start();
      bad.misbehave('/a', { raw: '', rawThen: 'reset' });
    } else await bad.stop();
    const group = makeGroup([{ origin: bad.url, weight: 100 }, { origin: good.url }]);
    assert.equal(await ask(group, more), result, `${more.method} ${isSent}`);
    await group.close();
  }
});

test('no more nodes are tried than retries allow; the last answer is passed on, and when all rest they are asked all the same', async () => {
  const origins = await Promise.all([1, 2, 3].map(() => Origin.start()));
  for (const origin of origins) origin.misbehave('/a', { status: 503 });
  const group = makeGroup(
    origins.map(({ url }) => ({ origin: url })),
    { retriesMax: 1 },
  );
  const count = (): number => origins.reduce((sum, { requests }) => sum + requests.length, 0);
  assert.equal(await ask(group), '503');
  assert.equal(count(), 2);
  assert.equal(group.metrics.value('retries', 'limit'), 1);
  assert.equal(await ask(group), '503');
  assert.equal(await ask(group), '503');
  assert.ok(group.metrics.value('panics') > 0);
  await group.close();
  await Promise.all(origins.map((origin) => origin.close()));
});

test('a group that fails as a whole is not asked many times as much', async () => {
  const origins = await Promise.all([1, 2].map(() => Origin.start()));
  for (const origin of origins) origin.misbehave('/a', { status: 502 });
  const group = makeGroup(origins.map(({ url }) => ({ origin: url })));
  for (let request = 0; request < 300; request += 1) assert.equal(await ask(group), '502');
  const count = origins.reduce((sum, { requests }) => sum + requests.length, 0);
  assert.ok(count <= 300 + 100 + 300 * 0.2 + 1, `${count} requests`);
  assert.ok(group.metrics.value('retries', 'budget') > 0);
  await group.close();
  await Promise.all(origins.map((origin) => origin.close()));
});

const certificate = trustedCertificate();
test('TLS asks for the name of sni and verifies it, unless it is told not to', {
  skip: certificate === undefined && 'openssl is not installed',
}, async () => {
  await using origin = await Origin.start({ tls: certificate, resolve: () => ({ lengthBytes: 10 }) });
  const results: string[] = [];
  for (const tls of [
    { servername: 'localhost', verifies: true },
    { servername: 'other.example', verifies: true },
    { servername: 'other.example', verifies: false },
  ]) {
    const group = makeGroup([{ origin: origin.url, tls }]);
    for (const more of [{}, { method: 'PUT', body: Readable.from([Buffer.from('x')]) }, { method: 'PROPFIND' }])
      results.push(await ask(group, more));
    await group.close();
  }
  const refused = 'UPSTREAM_UNREACHABLE';
  assert.deepEqual(results, ['200', '200', '200', refused, refused, refused, '200', '200', '200']);
});
