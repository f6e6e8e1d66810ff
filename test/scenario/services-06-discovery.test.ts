/** Groups whose nodes are found: they follow DNS without a reload, under load and without a failed request, and what was found outlives silence and reloads. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB } from '../../src/base/units.ts';
import { ConsulServer } from '../helpers/consul-server.ts';
import { DnsServer } from '../helpers/dns-server.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import { withReloadableEdge } from '../helpers/reloadable-edge.ts';

const OBJECT = { lengthBytes: 200 * KIB + 77, cacheControl: 'max-age=60' };
const SERVICE = '_http._tcp.farm.test';

/** The nodes of a group, by the port of their origin. */
function portsOf(edge: { readonly proxy: TestEdge['proxy'] }): readonly number[] {
  return edge.proxy.upstreams.flatMap(({ nodes }) => nodes.map(({ origin }) => Number(new URL(origin).port))).sort();
}

const portsAre = (edge: { readonly proxy: TestEdge['proxy'] }, ...origins: readonly Origin[]): Promise<unknown> =>
  eventually(() => JSON.stringify(portsOf(edge)) === JSON.stringify(origins.map(({ port }) => port).sort()), {
    what: 'the nodes that DNS names',
  });

function announce(dns: DnsServer, ...origins: readonly Origin[]): void {
  dns.setAddresses('node.test', ['127.0.0.1']);
  dns.setService(
    SERVICE,
    origins.map(({ port }) => ({ target: 'node.test', port })),
  );
}

const discover = (dns: DnsServer, more = ''): string =>
  `discover: { type: dns, name: ${SERVICE}, servers: "${dns.address}", minTtl: 100ms, maxTtl: 100ms${more} }`;

for (const balance of ['round-robin', 'least-connections', 'ketama', 'rendezvous']) {
  test(`nodes come and go under load, some dying as they go, and no request fails (${balance})`, async (context) => {
    const seed = Math.floor(new SystemClock().wallMs() % 2 ** 31);
    context.diagnostic(`seed ${seed}`);
    const random = new SeededRandom(seed);
    await using dns = await DnsServer.start();
    const origins = await Promise.all([1, 2, 3, 4].map(() => Origin.start({ resolve: () => OBJECT })));
    const [reference] = origins as [Origin];
    announce(dns, reference);
    const yaml = `upstreams:\n  - name: farm\n    balance: ${balance}\n    slowStart: 200ms\n    retries: 3\n    retryBudget: 300\n    healthCheck: { type: tcp, interval: 50ms }\n    ${discover(dns)}\n`;
    const edge = await startEdge({ yaml });
    await portsAre(edge, reference);
    const answered = [0, 0, 0, 0, 0, 0];
    let isOver = false;
    const load = async (client: number): Promise<void> => {
      for (let count = 0; !isOver; count += 1) {
        const path = `/${client}/${count}`;
        const answer = await edge.get(path, {}, { expect: reference.setObject(path, OBJECT) });
        const facts = [answer.status, answer.wrongAt, answer.isComplete, answer.bodyBytes];
        assert.deepEqual(facts, [200, -1, true, OBJECT.lengthBytes], `${path}: ${answer.error ?? ''} ${answer.body}`);
        answered[client] = count + 1;
      }
    };
    const failed = Promise.all(answered.map((_, client) => load(client)));
    try {
      const [stays] = origins.slice(1) as [Origin];
      for (let turn = 0; turn < 8; turn += 1) {
        const chosen = [stays, ...origins.filter((origin) => origin !== stays && random.integerBelow(2) === 0)];
        for (const origin of chosen) await origin.start();
        announce(dns, ...chosen);
        await Promise.race([failed, portsAre(edge, ...chosen)]);
        // One that is no node any more may die as soon as what it has begun is over, or at once: the others take over.
        for (const origin of origins) if (!chosen.includes(origin) && turn % 2 === 0) await origin.stop();
        const before = [...answered];
        await Promise.race([
          failed,
          eventually(() => answered.every((count, client) => count >= (before[client] ?? 0) + 2), { what: 'requests', deadlineMs: 60_000 }),
        ]);
      }
      isOver = true;
      await failed;
    } finally {
      isOver = true;
      await edge[Symbol.asyncDispose]();
      await Promise.all(origins.map((origin) => origin.close()));
    }
  });
}

test('a node that stays keeps its connections and what is known of it, also when its weight is another; one that goes ends what it has begun', async () => {
  await using dns = await DnsServer.start();
  await using one = await Origin.start({ resolve: () => OBJECT });
  await using two = await Origin.start({ resolve: () => OBJECT });
  await using dead = await Origin.start();
  await dead.stop();
  announce(dns, one, dead);
  await using edge = await startEdge({ yaml: `upstreams:\n  - name: g\n    outlier: { rest: 1h, restMax: 1h }\n    ${discover(dns)}\n` });
  await portsAre(edge, one, dead);
  for (let count = 0; count < 4; count += 1) assert.equal((await edge.get(`/a${count}`)).status, 200);
  const factsOf = ({ port }: Origin) => edge.proxy.upstreams[0]?.nodes.find(({ origin }) => origin === `http://127.0.0.1:${port}`);
  const { accepted } = one.connections;
  dns.setService(SERVICE, [
    { target: 'node.test', port: one.port, weight: 7 },
    { target: 'node.test', port: dead.port, weight: 9 },
    { target: 'node.test', port: two.port, priority: 5 },
  ]);
  await portsAre(edge, one, two, dead);
  assert.deepEqual([factsOf(dead)?.state, factsOf(dead)?.weight, factsOf(one)?.weight, factsOf(two)?.isBackup], ['resting', 9, 7, true]);
  for (let count = 0; count < 4; count += 1) assert.equal((await edge.get(`/b${count}`)).status, 200);
  assert.equal(one.connections.accepted, accepted, 'the connection of before is used');
  assert.equal(two.connections.accepted, 0, 'a backup is not asked');

  const body = one.setObject('/big', { lengthBytes: 2000 * KIB, cacheControl: 'max-age=60' });
  one.misbehave('/big', { pauseAfterBytes: 500 * KIB });
  const download = edge.get('/big', {}, { expect: body });
  await one.waitForHeld('/big');
  announce(dns, two);
  await portsAre(edge, two);
  assert.equal((await edge.get('/c')).status, 200);
  one.release('/big');
  const answer = await download;
  assert.deepEqual([answer.status, answer.wrongAt, answer.isComplete], [200, -1, true]);
  await eventually(() => one.connections.open === 0, { what: 'the end of the connections of a node that went' });
});

test('a node is sent the name that it was found by, and a redirect to its own address is followed to the group', async () => {
  await using dns = await DnsServer.start();
  await using origin = await Origin.start({ resolve: () => OBJECT });
  dns.setAddresses('web.test', ['127.0.0.1']);
  const yaml = `upstreams:\n  - name: g\n    discover: { type: dns, name: web.test, record: a, port: ${origin.port}, servers: "${dns.address}", path: /base/ }\nrules: [{ name: all, prefix: /, followRedirects: 2 }]\n`;
  await using edge = await startEdge({ yaml });
  await portsAre(edge, origin);
  assert.equal((await edge.get('/x')).status, 200);
  assert.deepEqual(
    origin.requests.map(({ target, headers }) => [target, headers.host]),
    [['/base/x', `web.test:${origin.port}`]],
  );
  origin.misbehave('/base/r', { status: 302, headers: { location: `http://127.0.0.1:${origin.port}/base/y` } });
  assert.equal((await edge.get('/r')).status, 200);
});

test('until there is a node requests are answered with 503 and why; silence and NXDOMAIN take no node away; /readyz, /upstreams and metrics tell', async () => {
  await using dns = await DnsServer.start();
  await using origin = await Origin.start({ resolve: () => OBJECT });
  const yaml = (more = ''): string => `listen: 127.0.0.1:0\nupstreams:\n  - name: g\n    ${discover(dns, `, timeout: 1s${more}`)}\n`;
  await withReloadableEdge(yaml(', wait: 50ms'), async ({ edge, change, port, admin }) => {
    const get = async (target: string) => {
      const { request } = await import('../helpers/client.ts');
      return request({ port: port(), path: target });
    };
    const none = await get('/a');
    assert.deepEqual(
      [none.status, none.headers['proxy-status']],
      [503, 'rawslice; error=destination_unavailable; details="UPSTREAM_ABSENT"'],
    );
    assert.match(
      none.body.toString(),
      /Group g has no node: its discovery \(dns SRV _http\._tcp\.farm\.test\) has found none; the answer names no node/,
    );
    announce(dns, origin);
    await portsAre(edge, origin);
    assert.equal((await get('/a')).status, 200);

    dns.manner = { kind: 'rcode', rcode: 2 };
    const problem = () => edge.proxy.upstreams[0]?.discovery?.problem ?? '';
    await eventually(() => problem().includes('SERVFAIL'), { what: 'a failure' });
    assert.equal((await get('/b')).status, 200);
    dns.manner = undefined;
    dns.clear();
    await eventually(() => problem().includes('names no node'), { what: 'an empty answer' });
    assert.equal((await get('/c')).status, 200);
    const ready = (await admin('/readyz')).body.discovery as readonly Record<string, unknown>[];
    assert.deepEqual({ ...ready[0], ageMs: 0 }, { group: 'g', nodes: 1, ageMs: 0, isCurrent: false });
    const upstreams = JSON.parse((await admin('/upstreams')).text).upstreams;
    assert.equal(upstreams[0].discovery.source, `dns SRV ${SERVICE}`);
    const metrics = (await admin('/metrics')).text;
    for (const series of [
      /rawslice_discovery_nodes\{group="g"\} 1\n/,
      /rawslice_discovery_current\{group="g"\} 0\n/,
      /answers_total\{group="g",outcome="empty"\} [1-9]/,
    ])
      assert.match(metrics, series);

    // The old one goes on; then one asks another way for the same, and gets what is known.
    assert.equal((await change(`${yaml(', wait: 50ms')}log: { level: silent }\nlimits: { ranges: 5 }\n`)).outcome, 'applied');
    assert.deepEqual(portsOf(edge), [origin.port]);
    assert.equal((await change(yaml(', wait: 1m'))).outcome, 'applied', 'without an answer, and without waiting for one');
    assert.deepEqual(portsOf(edge), [origin.port]);
    assert.equal((await get('/d')).status, 200);
    assert.equal((await change(yaml(', takeEmpty: true'))).outcome, 'applied');
    await eventually(() => portsOf(edge).length === 0, { what: 'an empty group' });
    assert.equal((await get('/a')).status, 200, 'what is stored is served');
    assert.equal((await get('/e')).status, 503);
  });
});

test('a reload waits for the first nodes of a new group, and one that fails leaves no question behind', async () => {
  await using dns = await DnsServer.start();
  await using origin = await Origin.start({ resolve: () => OBJECT });
  announce(dns, origin);
  const fixed = `upstream: { url: "${origin.url}" }\n`;
  const group = `upstreams:\n  - name: g\n    ${discover(dns)}\n`;
  await withReloadableEdge(`${fixed}listen: 127.0.0.1:0\n`, async ({ edge, change }) => {
    const taken = `services: [{ name: s, listen: "127.0.0.1:${origin.port}" }]\nroutes: [{ name: r, upstream: g }]\n${group}`;
    assert.equal((await change(taken)).outcome, 'failed');
    assert.ok(dns.questions.length > 0);
    await eventually(() => edge.proxy.discoveries.length === 0);
    assert.equal((await change(`listen: 127.0.0.1:0\n${group}`)).outcome, 'applied');
    assert.deepEqual(portsOf(edge), [origin.port]);
  });
});

test('instances of Consul come and go without a reload, each at once, and none is forgotten while Consul is away', async () => {
  await using consul = await ConsulServer.start();
  const origins = await Promise.all([1, 2].map(() => Origin.start({ resolve: () => OBJECT })));
  const [one, two] = origins as [Origin, Origin];
  const instance = ({ port }: Origin) => ({ id: `web-${port}`, address: '127.0.0.1', port });
  consul.set([instance(one)]);
  const yaml = `upstreams:\n  - name: g\n    discover: { type: consul, url: "${consul.url}/", service: web, token: secret-token, takeEmpty: true }\n`;
  await using edge = await startEdge({ yaml });
  await portsAre(edge, one);
  assert.equal((await edge.get('/a')).status, 200);
  assert.equal(one.requests[0]?.headers.host, `127.0.0.1:${one.port}`);
  consul.set([instance(one), instance(two)]);
  await portsAre(edge, one, two);
  consul.manner = { kind: 'error', status: 500, text: 'No cluster leader' };
  consul.set([instance(two)]);
  await eventually(() => (edge.proxy.upstreams[0]?.discovery?.problem ?? '').includes('No cluster leader'), { what: 'a failure' });
  assert.deepEqual(portsOf(edge).length, 2);
  consul.manner = undefined;
  await portsAre(edge, two);
  consul.set([]);
  await portsAre(edge);
  assert.equal((await edge.get('/b')).status, 503);
  assert.deepEqual([...new Set(consul.tokens)], ['secret-token']);
  await Promise.all(origins.map((origin) => origin.close()));
});
