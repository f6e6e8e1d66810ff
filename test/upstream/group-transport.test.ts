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
import type { CheckOptions } from '../../src/upstream/health-check.ts';
import type { OutlierLimits } from '../../src/upstream/node-health.ts';
import { GROUP_METRICS } from '../../src/upstream/node-metrics.ts';
import { RetryBudget } from '../../src/upstream/retry-budget.ts';
import type { TransportOptions } from '../../src/upstream/transport-options.ts';
import { UPSTREAM_METRICS } from '../../src/upstream/upstream-metrics.ts';
import { UpstreamNode } from '../../src/upstream/upstream-node.ts';
import type { UpstreamRequest } from '../../src/upstream/upstream-transport.ts';
import { runUpstreamTransportContract, type TransportFactory } from '../contract/upstream-transport.ts';
import { trustedCertificate } from '../helpers/certificate.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';

interface NodeChoice extends Partial<TransportOptions> {
  readonly origin: string;
  readonly weight?: number;
  readonly isBackup?: boolean;
  readonly outlier?: Partial<OutlierLimits>;
  readonly check?: CheckOptions;
}

const OUTLIER: OutlierLimits = { failuresMax: 1, errorPercent: 0, slowFactor: 0, restMs: 1000, restMsMax: 30_000 };

function makeGroup(nodes: readonly NodeChoice[], more: { retriesMax?: number; panicPercent?: number } = {}): GroupTransport {
  const limits = { connectTimeoutMs: 1000, headTimeoutMs: 5000, bodyTimeoutMs: 5000, connectionsMax: 4, headBytesMax: 64 * KIB };
  const shared = { ...limits, clock: new SystemClock(), metrics: new MetricSet(UPSTREAM_METRICS) };
  return new GroupTransport({
    name: 'g',
    nodes: nodes.map(({ weight = 1, isBackup = false, outlier = OUTLIER, check, ...transport }) => {
      const health = { weight, isBackup, outlier: { ...OUTLIER, ...outlier }, check, slowStartMs: 0, onState: () => undefined };
      return new UpstreamNode({ ...health, transport: { ...shared, ...transport } });
    }),
    balancer: new SmoothRoundRobin(),
    retriesMax: more.retriesMax ?? 2,
    retryBudgetPercent: 20,
    panicPercent: more.panicPercent ?? 0,
    comparesLatency: nodes.some(({ outlier }) => outlier?.slowFactor !== undefined),
    clock: new SystemClock(),
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

test('retries are a fifth of the requests, and a hundred that were saved up', () => {
  const budget = new RetryBudget(20);
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
    assert.equal(group.nodes[0]?.metrics.value('resting'), 1);
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

test('backups are asked only when nobody else is well; below the panic threshold health is disregarded', async () => {
  const origins = await Promise.all([1, 2, 3].map(() => Origin.start({ resolve: () => ({ lengthBytes: 10 }) })));
  const [one, two, backup] = origins as [Origin, Origin, Origin];
  const group = makeGroup([{ origin: one.url }, { origin: two.url }, { origin: backup.url, isBackup: true }]);
  for (let request = 0; request < 6; request += 1) assert.equal(await ask(group), '200');
  assert.deepEqual([one.requests.length, two.requests.length, backup.requests.length], [3, 3, 0]);
  await one.stop();
  for (let request = 0; request < 4; request += 1) assert.equal(await ask(group), '200');
  assert.equal(backup.requests.length, 0);
  await two.stop();
  for (let request = 0; request < 4; request += 1) assert.equal(await ask(group), '200');
  assert.ok(backup.requests.length >= 3);
  await group.close();

  await two.start();
  const panicking = makeGroup([{ origin: one.url, weight: 3 }, { origin: two.url }], { panicPercent: 50 });
  for (let request = 0; request < 8; request += 1) assert.equal(await ask(panicking), '200');
  assert.ok(panicking.metrics.value('panics') > 0, 'a quarter of the weight is too little');
  await panicking.close();
  await Promise.all(origins.map((origin) => origin.close()));
});

const CHECK: CheckOptions = {
  ...{ kind: 'http', intervalMs: 10, timeoutMs: 200, rise: 2, fall: 2, path: '/health', host: 'check.example' },
  ...{ statuses: [{ first: 200, last: 299 }], body: 'fine' },
};

test('checks find out about a node before any client does: connection, status, text, silence', async () => {
  const cases: readonly (readonly [
    check: Partial<CheckOptions>,
    fault: (origin: Origin) => void | Promise<void>,
    repair: (origin: Origin) => void | Promise<void>,
  ])[] = [
    [{}, (origin) => origin.misbehave('/health', { status: 500 }), (origin) => origin.behave()],
    [{}, (origin) => origin.misbehave('/health', { status: 200, statusBody: 'broken' }), (origin) => origin.behave()],
    [{}, (origin) => origin.misbehave('/health', { holdHead: true }), (origin) => origin.behave()],
    [{ kind: 'tcp' }, (origin) => origin.stop(), (origin) => origin.start()],
  ];
  for (const [check, fault, repair] of cases) {
    await using one = await Origin.start({ resolve: () => ({ body: Buffer.from('all is fine') }) });
    await using two = await Origin.start({ resolve: () => ({ body: Buffer.from('all is fine') }) });
    const group = makeGroup([{ origin: one.url, check: { ...CHECK, ...check } }, { origin: two.url }]);
    for (const node of group.nodes) node.begin();
    const [first] = group.nodes;
    const stateBecomes = (state: string): Promise<unknown> => eventually(() => first?.facts.state === state, { what: state });
    await eventually(() => (first?.metrics.value('checks', 'passed') ?? 0) > 0, { what: 'a check' });
    await fault(one);
    await stateBecomes('down');
    one.forgetRequests();
    for (let request = 0; request < 4; request += 1) assert.equal(await ask(group), '200');
    assert.deepEqual([one.requestsFor('/a').length, group.metrics.value('retries', 'sent')], [0, 0], JSON.stringify(check));
    await repair(one);
    await stateBecomes('well');
    if (check.kind === undefined) assert.equal(one.requestsFor('/health').at(-1)?.headers.host, 'check.example');
    await group.close();
  }
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
