/** etcd as a source of nodes: a real one where it is installed, and a scripted one for what a real one rarely says. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { KIB } from '../../src/base/units.ts';
import { ApiClient } from '../../src/upstream/discovery/api-client.ts';
import type { DiscoveryVerdict } from '../../src/upstream/discovery/discovery-source.ts';
import { EtcdSource, type EtcdSourceOptions } from '../../src/upstream/discovery/etcd-source.ts';
import { readNodeValue } from '../../src/upstream/discovery/etcd-value.ts';
import { startEdge } from '../helpers/edge.ts';
import { EtcdProcess, etcdObstacle } from '../helpers/etcd-process.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import { withTemporaryDirectory } from '../helpers/temp.ts';

const SIGNAL = new AbortController().signal;

interface Choice extends Partial<EtcdSourceOptions> {
  readonly urls: readonly string[];
}

async function withSource(choice: Choice, run: (source: EtcdSource) => Promise<void>): Promise<void> {
  const clock = new SystemClock();
  const client = new ApiClient({ urls: choice.urls, ca: undefined, cert: undefined, key: undefined, clock });
  const source = new EtcdSource({ client, prefix: '/web/', user: undefined, timeoutMs: 10_000, silenceMs: 60_000, clock, ...choice });
  try {
    await run(source);
  } finally {
    await source.close();
  }
}

function short(verdict: DiscoveryVerdict): unknown {
  if (verdict.kind === 'failed') return verdict.fault;
  return verdict.nodes.map(({ host, port, weight }) => `${host} ${port}${weight === 1 ? '' : ` weight ${weight}`}`).sort();
}

async function withEtcd(run: (etcd: EtcdProcess) => Promise<void>): Promise<void> {
  await withTemporaryDirectory(async (folder) => {
    await using etcd = await EtcdProcess.start(folder);
    await run(etcd);
  });
}

test('keys with the prefix are nodes, and each change is told: puts, deletes, and leases that run out', {
  skip: etcdObstacle,
}, async () => {
  await withEtcd(async (etcd) => {
    await etcd.put('/web/a', '10.0.0.1:80');
    await etcd.put('/web0', '10.0.0.9:80');
    await etcd.put('/we', '10.0.0.9:80');
    await withSource({ urls: [etcd.url] }, async (source) => {
      assert.deepEqual(short(await source.ask(SIGNAL)), ['10.0.0.1 80']);
      const held = source.ask(SIGNAL);
      await etcd.put('/web/b', '{"address": "10.0.0.2", "port": 81, "weight": 3}');
      assert.deepEqual(short(await held), ['10.0.0.1 80', '10.0.0.2 81 weight 3']);
      await etcd.delete('/web/a');
      assert.deepEqual(short(await source.ask(SIGNAL)), ['10.0.0.2 81 weight 3']);
      const { ID } = await etcd.post('lease/grant', { TTL: '1' });
      await etcd.put('/web/c', '10.0.0.3:82', String(ID));
      assert.deepEqual(short(await source.ask(SIGNAL)), ['10.0.0.2 81 weight 3', '10.0.0.3 82']);
      assert.deepEqual(short(await source.ask(SIGNAL)), ['10.0.0.2 81 weight 3'], 'the lease is over');
      await etcd.put('/web/d', 'nonsense');
      const verdict = await source.ask(SIGNAL);
      assert.deepEqual(verdict.kind === 'nodes' && verdict.unusable, ['"/web/d" has no address with a port']);
    });
  });
});

test('what was compacted before it was watched is read anew; so is everything after a silence', { skip: etcdObstacle }, async () => {
  await withEtcd(async (etcd) => {
    await etcd.put('/web/a', '10.0.0.1:80');
    await withSource({ urls: [etcd.url] }, async (source) => {
      assert.deepEqual(short(await source.ask(SIGNAL)), ['10.0.0.1 80']);
      await etcd.put('/web/b', '10.0.0.2:80');
      await etcd.delete('/web/a');
      const { header } = await etcd.put('/web/c', '10.0.0.3:80').then((answer) => answer as { header: { revision: string } });
      await etcd.post('kv/compaction', { revision: header.revision, physical: true });
      assert.deepEqual(short(await source.ask(SIGNAL)), ['10.0.0.2 80', '10.0.0.3 80']);
    });
    await withSource({ urls: [etcd.url], silenceMs: 20 }, async (source) => {
      await source.ask(SIGNAL);
      assert.deepEqual(short(await source.ask(SIGNAL)), ['10.0.0.2 80', '10.0.0.3 80']);
    });
  });
});

test('a user is authenticated, and again when its token is not known any more; a wrong password is said', {
  skip: etcdObstacle,
}, async () => {
  await withEtcd(async (etcd) => {
    await etcd.put('/web/a', '10.0.0.1:80');
    for (const name of ['root', 'edge']) await etcd.post('auth/user/add', { name, password: `${name}-word` });
    await etcd.post('auth/role/add', { name: 'root' });
    await etcd.post('auth/user/grant', { user: 'root', role: 'root' });
    await etcd.post('auth/role/add', { name: 'web' });
    const range = { key: Buffer.from('/web/').toString('base64'), range_end: Buffer.from('/web0').toString('base64') };
    await etcd.post('auth/role/grant', { name: 'web', perm: { permType: 'READ', ...range } });
    await etcd.post('auth/user/grant', { user: 'edge', role: 'web' });
    await etcd.post('auth/enable', {});
    const user = (password: string) => ({ name: 'edge', password: () => password });
    await withSource({ urls: [etcd.url] }, async (source) => assert.equal(short(await source.ask(SIGNAL)), 'refused'));
    await withSource({ urls: [etcd.url], user: user('wrong') }, async (source) => {
      const verdict = await source.ask(SIGNAL);
      assert.match(verdict.kind === 'failed' ? verdict.message : '', /authentication failed, invalid user ID or password/);
    });
    await withSource({ urls: [etcd.url], user: user('edge-word'), prefix: '/other/' }, async (source) => {
      const verdict = await source.ask(SIGNAL);
      assert.match(verdict.kind === 'failed' ? verdict.message : '', /answered 403: .*permission denied.*; may this program ask/);
    });
    await withSource({ urls: [etcd.url], user: user('edge-word') }, async (source) => {
      assert.deepEqual(short(await source.ask(SIGNAL)), ['10.0.0.1 80']);
      const held = source.ask(SIGNAL);
      const { token } = await etcd.post('auth/authenticate', { name: 'root', password: 'root-word' });
      etcd.token = String(token);
      await etcd.put('/web/b', '10.0.0.2:80');
      assert.deepEqual(short(await held), ['10.0.0.1 80', '10.0.0.2 80']);
      const broken = source.ask(SIGNAL);
      await etcd.stop();
      assert.equal(short(await broken), 'unreachable');
      assert.equal(short(await source.ask(SIGNAL)), 'unreachable');
      // Tokens do not outlive the process that gave them.
      await etcd.start();
      assert.deepEqual(short(await source.ask(SIGNAL)), ['10.0.0.1 80', '10.0.0.2 80']);
    });
  });
});

test('a group follows etcd, and keeps its nodes while etcd is away', { skip: etcdObstacle }, async () => {
  await using one = await Origin.start({ resolve: () => ({ lengthBytes: 10 * KIB }) });
  await using two = await Origin.start({ resolve: () => ({ lengthBytes: 10 * KIB }) });
  await withEtcd(async (etcd) => {
    await etcd.put('/web/1', `127.0.0.1:${one.port}`);
    const yaml = `upstreams:\n  - name: g\n    discover: { type: etcd, prefix: /web/, url: "${etcd.url}", takeEmpty: true }\n`;
    await using edge = await startEdge({ yaml });
    const nodes = () => edge.proxy.upstreams[0]?.nodes.map(({ origin }) => origin) ?? [];
    await eventually(() => nodes().length === 1);
    assert.equal((await edge.get('/a')).status, 200);
    await etcd.put('/web/2', JSON.stringify({ host: '127.0.0.1', port: two.port, backup: true, name: 'two.internal' }));
    await etcd.delete('/web/1');
    await eventually(() => nodes().length === 1 && nodes()[0]?.endsWith(`:${two.port}`) === true, { what: 'the other node' });
    assert.equal((await edge.get('/b')).status, 200);
    assert.equal(two.requests[0]?.headers.host, `two.internal:${two.port}`);
    await etcd.stop();
    await eventually(() => edge.proxy.upstreams[0]?.discovery?.problem !== undefined, { what: 'a failure' });
    assert.equal((await edge.get('/c')).status, 200);
    await etcd.start();
    await etcd.delete('/web/2');
    await eventually(() => nodes().length === 0, { what: 'no node', deadlineMs: 30_000 });
    assert.equal((await edge.get('/d')).status, 503);
  });
});

/** A server that reads as told, and whose watches say `lines` and then stand or end. */
async function withScript(
  script: { readonly range?: string; readonly lines?: readonly string[]; readonly ends?: boolean },
  run: (urls: readonly string[]) => Promise<void>,
): Promise<void> {
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    request.resume();
    if (request.url !== '/v3/watch') {
      response.end(script.range ?? '{"header":{"revision":"7"},"kvs":[{"key":"L3dlYi9h","value":"MTAuMC4wLjE6ODA="}],"count":"1"}');
      return;
    }
    response.writeHead(200);
    for (const line of script.lines ?? []) response.write(line);
    if (script.ends === true) response.end();
    else response.flushHeaders();
  };
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  try {
    await run([`http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`]);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

test('a watch that fails, is refused, ends, or is no watch, is a failure after which all is read anew', async () => {
  const ask = async (script: Parameters<typeof withScript>[0]): Promise<readonly unknown[]> => {
    const heard: unknown[] = [];
    await withScript(script, (urls) =>
      withSource({ urls, timeoutMs: 5000 }, async (source) => {
        for (let turn = 0; turn < 3; turn += 1) heard.push(short(await source.ask(SIGNAL)));
      }),
    );
    return heard;
  };
  const read = ['10.0.0.1 80'];
  const created = '{"result":{"header":{"revision":"7"},"created":true}}\n';
  assert.deepEqual(await ask({ lines: [created], ends: true }), [read, 'unreachable', read]);
  assert.deepEqual(await ask({ lines: [created, '{"error":{"grpc_code":13,"message":"gone"}}\n'] }), [read, 'refused', read]);
  assert.deepEqual(await ask({ lines: ['{"result":{"canceled":true,"cancel_reason":"no"}}\n'] }), [read, 'refused', read]);
  assert.deepEqual(await ask({ lines: ['what?\n'] }), [read, 'invalid', read]);
});

test('a line that comes in pieces is one, and half a line is waited for', async () => {
  const lines = ['{"result":{"header":{"revision":"9"},"eve', 'nts":[{"kv":{"key":"eA==","value":"YTox"}}]}}\n{'];
  await withScript({ lines }, (urls) =>
    withSource({ urls }, async (source) => {
      await source.ask(SIGNAL);
      assert.deepEqual(short(await source.ask(SIGNAL)), ['10.0.0.1 80', 'a 1']);
      const abort = new AbortController();
      const waiting = source.ask(abort.signal);
      abort.abort();
      assert.equal(short(await waiting), 'timeout');
    }),
  );
});

test('what is no etcd is said', async () => {
  for (const range of ['', '[]', '{}', '{"header":{}}'])
    await withScript({ range }, (urls) =>
      withSource({ urls }, async (source) => assert.equal(short(await source.ask(SIGNAL)), 'invalid', range)),
    );
});

test('values in the forms of registrars', () => {
  const cases: readonly (readonly [value: string, node: string | undefined])[] = [
    ['10.0.0.1:80', '10.0.0.1 80'],
    [' [2001:db8::1]:80\n', '2001:db8::1 80'],
    ['http://web.internal:8080/', 'web.internal 8080'],
    ['{"Op": 0, "Addr": "10.0.0.1:2379", "Metadata": null}', '10.0.0.1 2379'],
    ['{"host": "10.0.0.1", "port": "8080", "weight": 7}', '10.0.0.1 8080'],
    ['{"address": "2001:db8::1", "port": 8080}', '2001:db8::1 8080'],
    ['10.0.0.1', undefined],
    ['{"port": 80}', undefined],
    ['{"address": 5, "port": 80}', undefined],
    ['{', undefined],
    ['', undefined],
    ['http://user:pass@h:80', undefined],
    [`h${' '.repeat(5000)}:80`, undefined],
  ];
  for (const [value, expected] of cases) {
    const node = readNodeValue(value);
    assert.equal(node && `${node.host} ${node.port}`, expected, value);
  }
  assert.deepEqual(readNodeValue('{"address":"a:1","weight":0,"backup":true,"name":"X.example"}'), {
    ...{ host: 'a', port: 1, name: 'x.example', weight: 1, isBackup: true },
  });
});
