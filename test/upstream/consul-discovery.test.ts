/**
 * Consul as a source of nodes, against a server that holds questions as Consul's does: Debian has no Consul since bookworm, so what is asked and answered follows
 * its documentation (helpers/consul-server.ts).
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { ApiClient } from '../../src/upstream/discovery/api-client.ts';
import { ConsulSource, type ConsulSourceOptions } from '../../src/upstream/discovery/consul-source.ts';
import type { DiscoveryVerdict } from '../../src/upstream/discovery/discovery-source.ts';
import { certificateFiles } from '../helpers/certificate.ts';
import { ConsulServer } from '../helpers/consul-server.ts';
import { eventually } from '../helpers/eventually.ts';
import { withTemporaryDirectory } from '../helpers/temp.ts';

interface Choice extends Partial<ConsulSourceOptions> {
  readonly urls: readonly string[];
  readonly ca?: string | undefined;
}

const SIGNAL = new AbortController().signal;

async function withSource(choice: Choice, run: (source: ConsulSource) => Promise<void>): Promise<void> {
  const client = new ApiClient({ urls: choice.urls, ca: choice.ca, cert: undefined, key: undefined, clock: new SystemClock() });
  const source = new ConsulSource({
    ...{ client, service: 'web', tags: [], datacenter: undefined, token: () => undefined, holdMs: 60_000, timeoutMs: 10_000 },
    ...choice,
  });
  try {
    await run(source);
  } finally {
    await source.close();
  }
}

function short(verdict: DiscoveryVerdict): unknown {
  if (verdict.kind === 'failed') return verdict.fault;
  return verdict.nodes.map(({ host, port, weight }) => `${host} ${port} ${weight}`);
}

test('instances are nodes with their weights; a question is held until something changes', async () => {
  await using consul = await ConsulServer.start();
  const choice = { urls: [consul.url], tags: ['v1', 'eu'], datacenter: 'dc2', token: () => 'secret-token' };
  consul.set([
    { id: 'a', address: '10.0.0.1', port: 8080, weight: 10, tags: ['v1', 'eu'] },
    { id: 'b', nodeAddress: '10.0.0.2', port: 8081, tags: ['eu', 'v1', 'x'] },
    { id: 'c', address: '10.0.0.3', port: 8082, tags: ['v1'] },
  ]);
  await withSource(choice, async (source) => {
    const first = await source.ask(SIGNAL);
    assert.deepEqual([short(first), first.kind === 'nodes' && first.againInMs], [['10.0.0.1 8080 10', '10.0.0.2 8081 1'], 0]);
    const held = source.ask(SIGNAL);
    await eventually(() => consul.heldCount === 1);
    consul.set([{ id: 'c', address: '2001:db8::1', port: 1, tags: ['v1', 'eu'] }]);
    assert.deepEqual(short(await held), ['2001:db8::1 1 1']);
    const unchanged = source.ask(SIGNAL);
    await eventually(() => consul.heldCount === 1);
    consul.release();
    assert.deepEqual(short(await unchanged), ['2001:db8::1 1 1'], 'the end of the time that it is held is an answer too');
    const shared = '/v1/health/service/web?passing=1&tag=v1&tag=eu&dc=dc2';
    assert.deepEqual(consul.questions, [shared, `${shared}&index=11&wait=60000ms`, `${shared}&index=12&wait=60000ms`]);
    assert.deepEqual([...new Set(consul.tokens)], ['secret-token']);
  });
});

test('an index that goes back begins anew, one that is missing is asked for every few seconds, and after an error nothing is held', async () => {
  await using consul = await ConsulServer.start();
  consul.set([{ id: 'a', address: '10.0.0.1', port: 80 }], 500);
  await withSource({ urls: [consul.url] }, async (source) => {
    await source.ask(SIGNAL);
    const held = source.ask(SIGNAL);
    await eventually(() => consul.heldCount === 1);
    consul.set([{ id: 'a', address: '10.0.0.2', port: 80 }], 3);
    const reset = await held;
    assert.deepEqual([short(reset), reset.kind === 'nodes' && reset.againInMs], [['10.0.0.2 80 1'], 0]);
    await source.ask(SIGNAL);
    consul.manner = { kind: 'error', status: 500, text: 'No cluster leader' };
    assert.equal(short(await source.ask(SIGNAL)), 'refused');
    consul.manner = { kind: 'no-index' };
    const polled = await source.ask(SIGNAL);
    assert.equal(polled.kind === 'nodes' && polled.againInMs, 5000);
    assert.deepEqual(
      consul.questions.map((question) => /index=\d+/.exec(question)?.[0]),
      [undefined, 'index=500', undefined, 'index=3', undefined],
    );
  });
});

test('what is no answer is told apart; the next address is asked', async () => {
  await using consul = await ConsulServer.start();
  consul.set([{ id: 'a', address: '10.0.0.1', port: 80 }]);
  const gone = await ConsulServer.start();
  await gone.close();
  await withSource({ urls: [gone.url], timeoutMs: 5000 }, async (source) => assert.equal(short(await source.ask(SIGNAL)), 'unreachable'));
  await withSource({ urls: [gone.url, consul.url] }, async (source) => {
    assert.deepEqual(short(await source.ask(SIGNAL)), ['10.0.0.1 80 1']);
    consul.manner = { kind: 'error', status: 403, text: 'Permission denied: token lacks\npermission' };
  });
  await withSource({ urls: [consul.url], timeoutMs: 200 }, async (source) => {
    const refused = await source.ask(SIGNAL);
    const message = `${consul.url} answered 403: Permission denied: token lacks permission; may this program ask (token, user)?`;
    assert.equal(refused.kind === 'failed' && refused.message, message);
    consul.manner = { kind: 'text', text: '{"no": "list"}' };
    assert.equal(short(await source.ask(SIGNAL)), 'invalid');
    consul.manner = { kind: 'text', text: `[${' '.repeat(17 * 1024 * 1024)}]` };
    await withSource({ urls: [consul.url] }, async (patient) =>
      assert.equal(short(await patient.ask(SIGNAL)), 'invalid', 'more than 16 MiB'),
    );
    consul.manner = { kind: 'silent' };
    assert.equal(short(await source.ask(SIGNAL)), 'timeout');
  });
  const token = (): string => readFileSync(path.join(import.meta.dirname, 'absent'), 'utf8');
  await withSource({ urls: [consul.url], token }, async (source) => assert.equal(short(await source.ask(SIGNAL)), 'refused'));
});

test('entries without address or port, or with a port that is none, are told and not taken', async () => {
  await using consul = await ConsulServer.start();
  consul.manner = {
    kind: 'text',
    text: '[1, null, {"Service": {"ID": "x", "Port": 80}}, {"Service": {"Address": "a.example", "Port": "81"}}]',
  };
  await withSource({ urls: [consul.url] }, async (source) => {
    const verdict = await source.ask(SIGNAL);
    assert.deepEqual(short(verdict), ['a.example 81 1']);
    assert.deepEqual(verdict.kind === 'nodes' && verdict.unusable, [
      'an instance has no address or port',
      'an instance has no address or port',
      'x has no address or port',
    ]);
  });
});

test('a held question ends when it is not wanted any more', async () => {
  await using consul = await ConsulServer.start();
  await withSource({ urls: [consul.url] }, async (source) => {
    await source.ask(SIGNAL);
    const abort = new AbortController();
    const held = source.ask(abort.signal);
    await eventually(() => consul.heldCount === 1);
    abort.abort();
    assert.equal(short(await held), 'timeout');
    await eventually(() => consul.heldCount === 0);
  });
});

test('TLS is verified, by a file of authorities where there is one', async (context) => {
  await withTemporaryDirectory(async (folder) => {
    const files = certificateFiles(folder, 'consul', ['localhost']);
    if (files === undefined) return context.skip('openssl is not installed');
    const cert = readFileSync(files.cert, 'utf8');
    await using consul = await ConsulServer.start({ cert, key: readFileSync(files.key, 'utf8') });
    consul.set([{ id: 'a', address: '10.0.0.1', port: 80 }]);
    const urls = [consul.url.replace('127.0.0.1', 'localhost')];
    await withSource({ urls }, async (source) => {
      const verdict = await source.ask(SIGNAL);
      assert.match(verdict.kind === 'failed' ? verdict.message : '', /cannot be asked \(DEPTH_ZERO_SELF_SIGNED_CERT\)/);
    });
    await withSource({ urls, ca: cert }, async (source) => assert.deepEqual(short(await source.ask(SIGNAL)), ['10.0.0.1 80 1']));
  });
});
