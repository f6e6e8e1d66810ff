/** DNS as a source of nodes: what is asked, what an answer means and how long it holds, and what becomes of answers that are none. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { SeededRandom, SystemRandom } from '../../src/base/random.ts';
import type { DiscoveryVerdict } from '../../src/upstream/discovery/discovery-source.ts';
import { DnsSource, type DnsSourceOptions } from '../../src/upstream/discovery/dns-source.ts';
import { DnsServer } from '../helpers/dns-server.ts';

const HOUR_MS = 3_600_000;

function ask(server: DnsServer, choice: Partial<DnsSourceOptions> & { readonly name: string }, signal = new AbortController().signal) {
  const source = new DnsSource({
    ...{ isService: choice.name.startsWith('_'), families: ['A', 'AAAA'], port: 8080, timeoutMs: 5000, ttlMsMin: 1000, ttlMsMax: HOUR_MS },
    ...{ servers: [{ host: '127.0.0.1', port: server.port }], clock: new SystemClock(), random: new SystemRandom() },
    ...choice,
  });
  return source.ask(signal);
}

/** Nodes in short, with the time that they hold; or why there are none. */
function short(verdict: DiscoveryVerdict): unknown {
  if (verdict.kind === 'failed') return verdict.fault;
  const words = verdict.nodes.map(
    ({ host, port, name, weight, isBackup }) => `${host} ${port} ${name} ${weight}${isBackup ? ' backup' : ''}`,
  );
  return [words, verdict.againInMs];
}

test('addresses of both families are nodes, by the shortest TTL of all records, aliases included, within the range that is configured', async () => {
  await using server = await DnsServer.start();
  server.set('web.test', [{ type: 'CNAME', name: 'web.test', ttl: 90, data: 'Www.test' }]);
  server.set('Www.test', [
    { type: 'A', name: 'WWW.TEST', ttl: 300, data: '192.0.2.1' },
    { type: 'A', name: 'www.test', ttl: 600, data: '192.0.2.2' },
    { type: 'AAAA', name: 'www.test', ttl: 100, data: '2001:db8::1' },
  ]);
  const all = ['192.0.2.1 8080 web.test 1', '192.0.2.2 8080 web.test 1', '2001:db8::1 8080 web.test 1'];
  assert.deepEqual(short(await ask(server, { name: 'web.test' })), [all, 90_000]);
  assert.deepEqual([...server.questions].sort(), ['A web.test', 'AAAA web.test']);
  assert.deepEqual(short(await ask(server, { name: 'web.test', ttlMsMax: 5000 })), [all, 5000]);
  assert.deepEqual(short(await ask(server, { name: 'web.test', ttlMsMin: 200_000 })), [all, 200_000]);
  assert.deepEqual(short(await ask(server, { name: 'web.test', families: ['AAAA'], port: 1 })), [['2001:db8::1 1 web.test 1'], 90_000]);
});

test('SRV records name hosts with ports and weights; all but the lowest priority are backups, and the TTL of every record counts', async () => {
  await using server = await DnsServer.start();
  const name = '_http._tcp.test';
  server.setService(
    name,
    [
      { target: 'a.test', port: 81, priority: 10, weight: 5 },
      { target: 'B.test.', port: 82, priority: 10, weight: 0 },
      { target: 'c.test', port: 83, priority: 20, weight: 7 },
      { target: 'gone.test', port: 84, priority: 10, weight: 1 },
    ],
    50,
  );
  server.setAddresses('a.test', ['192.0.2.1', '2001:db8::1'], 40);
  server.setAddresses('b.test', ['192.0.2.2'], 30);
  server.setAddresses('c.test', ['192.0.2.3'], 60);
  const verdict = await ask(server, { name });
  const nodes = ['192.0.2.1 81 a.test 5', '2001:db8::1 81 a.test 5', '192.0.2.2 82 b.test 1', '192.0.2.3 83 c.test 7 backup'];
  assert.deepEqual(short(verdict), [nodes, 30_000]);
  assert.deepEqual(verdict.kind === 'nodes' && verdict.unusable, ['gone.test has no address']);
  server.setService(name, [{ target: '.', port: 0 }]);
  assert.deepEqual(short(await ask(server, { name })), [[], 1000], 'the service is not offered (RFC 2782)');
});

test('a name that does not exist, or has no such records, is an answer without nodes', async () => {
  await using server = await DnsServer.start();
  assert.deepEqual(short(await ask(server, { name: 'absent.test' })), [[], 1000]);
  server.set('text.test', [{ type: 'TXT', name: 'text.test', ttl: 9, data: 'x' }]);
  assert.deepEqual(short(await ask(server, { name: 'text.test' })), [[], 1000]);
});

test('SERVFAIL, silence, garbage, a loop of aliases and a closed port are no answers, and each is told apart', async () => {
  await using server = await DnsServer.start();
  server.setAddresses('web.test', ['192.0.2.1']);
  server.manner = { kind: 'rcode', rcode: 2 };
  const refused = await ask(server, { name: 'web.test' });
  assert.match(refused.kind === 'failed' ? refused.message : '', /^DNS server 127\.0\.0\.1:\d+ answered SERVFAIL for A+ of web\.test$/);
  server.manner = { kind: 'silent' };
  assert.equal(short(await ask(server, { name: 'web.test', timeoutMs: 20 })), 'timeout');
  server.manner = { kind: 'garbage' };
  assert.equal(short(await ask(server, { name: 'web.test' })), 'invalid');
  server.manner = undefined;
  server.set('loop.test', [{ type: 'CNAME', name: 'loop.test', ttl: 1, data: 'loop.test' }]);
  assert.equal(short(await ask(server, { name: 'loop.test' })), 'invalid');
  const servers = [{ host: '255.255.255.255', port: 53 }];
  assert.equal(short(await ask(server, { name: 'web.test', servers })), 'unreachable', 'an address that the kernel refuses');
  const closed = await DnsServer.start();
  await closed.close();
  assert.equal(short(await ask(closed, { name: 'web.test' })), 'unreachable');
});

test('half an answer is none: where one host of a service, or one family, cannot be looked up, nothing changes', async () => {
  await using server = await DnsServer.start();
  await using deaf = await DnsServer.start();
  deaf.manner = { kind: 'rcode', rcode: 5 };
  server.setService('_http._tcp.test', [{ target: 'a.test', port: 81 }]);
  const long = Array.from(
    { length: 17 },
    (_, index) => ({ type: 'CNAME', name: `${index}.test`, ttl: 1, data: `${index + 1}.test` }) as const,
  );
  server.set('a.test', [{ type: 'CNAME', name: 'a.test', ttl: 1, data: '0.test' }]);
  for (const alias of long) server.set(alias.name, [alias]);
  assert.equal(short(await ask(server, { name: '_http._tcp.test' })), 'invalid');
  assert.equal(short(await ask(deaf, { name: 'a.test' })), 'refused');
});

test('an answer that is cut is asked for over TCP; one server after the other is asked; servers from before EDNS are understood', async () => {
  await using server = await DnsServer.start();
  await using deaf = await DnsServer.start();
  const addresses = Array.from({ length: 300 }, (_, index) => `192.0.${Math.floor(index / 200)}.${index % 200}`);
  server.setAddresses('web.test', addresses, 60);
  server.manner = { kind: 'cut' };
  const verdict = await ask(server, { name: 'web.test', families: ['A'] });
  assert.equal(verdict.kind === 'nodes' && verdict.nodes.length, 300);
  assert.deepEqual(server.questions, ['A web.test', 'tcp A web.test']);
  deaf.manner = { kind: 'silent' };
  server.manner = { kind: 'old' };
  server.setAddresses('web.test', ['192.0.2.1'], 60);
  const servers = [deaf, server].map(({ port }) => ({ host: '127.0.0.1', port }));
  assert.deepEqual(short(await ask(server, { name: 'web.test', servers, timeoutMs: 50 })), [['192.0.2.1 8080 web.test 1'], 60_000]);
});

test('what has another number, or is no answer, is not listened to', async () => {
  await using server = await DnsServer.start();
  server.setAddresses('web.test', ['192.0.2.1'], 60);
  server.manner = { kind: 'spoofed' };
  assert.deepEqual(short(await ask(server, { name: 'web.test' })), [['192.0.2.1 8080 web.test 1'], 60_000]);
});

test('a target of SRV records that is no name of a host is not asked for, and said; the others are nodes', async () => {
  await using server = await DnsServer.start();
  const bytes = 'x'.repeat(40);
  server.setService('_http._tcp.test', [
    { target: 'a.test', port: 81 },
    { target: `${bytes}.test`, port: 82 },
    { target: '0x7f.1', port: 83 },
  ]);
  server.setAddresses('a.test', ['192.0.2.1']);
  // Forty bytes that are no UTF-8 are read as forty characters of three bytes each: no label is that long, and a question with it is none.
  server.manner = {
    kind: 'turned',
    turn: (message) => {
      const at = message.indexOf(bytes);
      return at < 0 ? message : message.fill(0xff, at, at + bytes.length);
    },
  };
  const verdict = await ask(server, { name: '_http._tcp.test', families: ['A'] });
  assert.ok(verdict.kind === 'nodes', JSON.stringify(verdict));
  assert.deepEqual(
    verdict.nodes.map(({ host, port }) => `${host}:${port}`),
    ['192.0.2.1:81'],
  );
  assert.deepEqual(verdict.unusable.map((text) => text.replace(/\ufffd+/, 'turned')).sort(), [
    '"0x7f.1" is no name of a host',
    '"turned.test" is no name of a host',
  ]);
  assert.deepEqual([...server.questions].sort(), ['A a.test', 'SRV _http._tcp.test']);
});

test('answers with bytes turned are answers or failures, and never anything else', async (context) => {
  const seed = Math.floor(new SystemClock().wallMs() % 2 ** 31);
  context.diagnostic(`seed ${seed}`);
  const random = new SeededRandom(seed);
  await using server = await DnsServer.start();
  server.set('web.test', [{ type: 'CNAME', name: 'web.test', ttl: 90, data: 'www.test' }]);
  server.setAddresses('www.test', ['192.0.2.1', '192.0.2.2', '2001:db8::1']);
  server.setService('_http._tcp.test', [{ target: 'web.test', port: 1 }]);
  server.manner = {
    kind: 'turned',
    turn: (bytes) => {
      // The number and the bit that makes an answer stay, or it would not be looked at.
      for (let count = 0; count < 3; count += 1) bytes[3 + random.integerBelow(bytes.length - 3)] = random.integerBelow(256);
      return random.integerBelow(8) === 0 ? bytes.subarray(0, 12 + random.integerBelow(bytes.length - 12)) : bytes;
    },
  };
  const seen = new Set<string>();
  for (let turn = 0; turn < 400; turn += 1) {
    const verdict = await ask(server, { name: turn % 2 === 0 ? 'web.test' : '_http._tcp.test', timeoutMs: 2000 });
    seen.add(verdict.kind === 'failed' ? verdict.fault : verdict.kind);
    if (verdict.kind === 'nodes') assert.ok(verdict.againInMs >= 1000 && verdict.againInMs <= HOUR_MS);
  }
  assert.ok(seen.has('nodes') && seen.has('invalid'), [...seen].join(' '));
});

test('a question ends when it is not wanted any more', async () => {
  await using server = await DnsServer.start();
  server.manner = { kind: 'silent' };
  const abort = new AbortController();
  const asked = ask(server, { name: 'web.test', timeoutMs: HOUR_MS }, abort.signal);
  abort.abort();
  assert.equal(short(await asked), 'timeout');
});
