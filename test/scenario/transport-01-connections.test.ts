/** What comes before the first request: TLS with the right certificate, the PROXY protocol, and who a client is behind proxies. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rename } from 'node:fs/promises';
import { connect as connectPlain, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { CertificateFiles } from '../../src/app/certificate-files.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { verifyBody } from '../helpers/body.ts';
import { certificateFiles } from '../helpers/certificate.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import { temporaryDirectory } from '../helpers/temp.ts';

const FRESH = { lengthBytes: 5000, cacheControl: 'max-age=600' };
const GET = 'GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n';
const PROXY_V1 = 'PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n';
const PROXY_V2 = Buffer.from('0d0a0d0a000d0a515549540a2111000cc0000201c6336407dc0401bb', 'hex');

async function start(origin: Origin, service: string, set: Record<string, string> = {}): Promise<TestEdge> {
  return startEdge({ origin, set, yaml: `services:\n  - { name: edge, listen: "127.0.0.1:0"${service} }\n` });
}

/** Everything that comes until the other side ends, as bytes read as latin1. */
async function readAll(socket: Socket): Promise<string> {
  const pieces: Buffer[] = [];
  socket.on('data', (bytes: Buffer) => pieces.push(bytes));
  socket.on('error', () => undefined);
  if (!socket.closed) await once(socket, 'close');
  return Buffer.concat(pieces).toString('latin1');
}

/** Sends pieces one after the other, each as a packet of its own. */
async function talk(port: number, pieces: readonly (string | Buffer)[]): Promise<string> {
  const socket = connectPlain({ port, host: '127.0.0.1', noDelay: true });
  const answer = readAll(socket);
  await once(socket, 'connect');
  for (const piece of pieces) {
    await new Promise((resolve) => socket.write(piece, resolve));
    await new Promise((resolve) => setImmediate(resolve));
  }
  return answer;
}

function assertWhole(answer: string): void {
  const [head = '', ...rest] = answer.split('\r\n\r\n');
  assert.match(head, /^HTTP\/1\.1 200 /);
  const body = Buffer.from(rest.join('\r\n\r\n'), 'latin1');
  assert.deepEqual([body.length, verifyBody(body, { name: '/a', version: 1 }, 0)], [FRESH.lengthBytes, -1]);
}

async function openTls(port: number, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options });
  await once(socket, 'secureConnect');
  return socket;
}

function commonName(socket: TLSSocket): string | undefined {
  return String(socket.getPeerCertificate().subject.CN);
}

/** A service with two certificates; undefined where openssl is missing, and the test is skipped. */
async function startTls(context: TestContext, origin: Origin, more = ''): Promise<TestEdge | undefined> {
  const directory = await temporaryDirectory(context);
  const first = certificateFiles(directory, 'first', ['a.test', 'www.a.test']);
  const second = certificateFiles(directory, 'second', ['*.b.test']);
  if (first === undefined || second === undefined) {
    context.skip('openssl is not installed');
    return undefined;
  }
  const list = [first, second].map(({ cert, key }) => `{ cert: "${cert}", key: "${key}" }`).join(', ');
  return start(origin, `, certificates: [${list}]${more}`);
}

test('TLS: each client gets the certificate for the name that it asks for, and right bytes', async (context) => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  const edge = await startTls(context, origin, ', http2: false');
  if (edge === undefined) return;
  await using _ = edge;
  const cases: readonly (readonly [name: string, certificate: string])[] = [
    ['a.test', 'first'],
    ['WWW.a.test', 'first'],
    ['x.b.test', 'second'],
    ['x.y.b.test', 'first'],
    ['b.test', 'first'],
    ['', 'first'],
  ];
  for (const [servername, expected] of cases) {
    const socket = await openTls(edge.port, { servername, ALPNProtocols: ['h2', 'http/1.1'] });
    assert.deepEqual([commonName(socket), socket.alpnProtocol], [expected, 'http/1.1'], servername);
    const answer = readAll(socket);
    socket.write(GET);
    assertWhole(await answer);
  }
  await edge.settle();
  const [seen] = origin.requestsFor('/a');
  assert.equal(origin.requestsFor('/a').length, 1);
  assert.equal(seen?.headers['x-forwarded-proto'], undefined, 'a fill says nothing of a client');
});

test('TLS: sessions are resumed; old versions, other protocols and silence are let go and counted', async (context) => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  const edge = await startTls(context, origin, ', tlsMinVersion: 1.3');
  if (edge === undefined) return;
  await using _ = edge;
  const first = await openTls(edge.port, { servername: 'a.test' });
  const [session] = (await once(first, 'session')) as [Buffer];
  first.destroy();
  const second = await openTls(edge.port, { servername: 'a.test', session });
  assert.equal(second.isSessionReused(), true);
  second.destroy();
  await assert.rejects(openTls(edge.port, { servername: 'a.test', maxVersion: 'TLSv1.2' }));
  assert.equal(await talk(edge.port, [GET]), '');
  // Nor is anybody waited for who leaves before he has said what he wants.
  const [mute, half] = [connectPlain(edge.port, '127.0.0.1'), connectPlain(edge.port, '127.0.0.1')];
  half.write(Buffer.from('160301', 'hex'));
  for (const socket of [mute, half]) socket.on('error', () => undefined).end();
  const refused = 'rawslice_http_connections_refused_total';
  await eventually(async () => (await edge.metric(`${refused}{reason="tls"}`)) >= 2, { what: 'the refusals' });
  await eventually(() => edge.services.load.connections === 0, { what: 'the end of all connections' });
});

test('whoever says nothing before his first request is let go after limits.headerTimeout', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  await using edge = await start(origin, ', proxyProtocol: true', { 'limits.headerTimeout': '100ms' });
  assert.equal(await talk(edge.port, [PROXY_V1.slice(0, 9)]), '');
  assert.equal(await edge.metric('rawslice_http_connections_refused_total{reason="slow"}'), 1);
});

test('a changed certificate is used at once; one that is wrong changes nothing', async (context) => {
  const directory = await temporaryDirectory(context);
  const [old, next] = ['old', 'next'].map((name) => certificateFiles(directory, name, [`${name}.test`]));
  if (old === undefined || next === undefined) return context.skip('openssl is not installed');
  const replaced: boolean[] = [];
  const files = new CertificateFiles({
    certificates: [{ certFile: old.cert, keyFile: old.key }],
    minVersion: 'TLSv1.2',
    clock: new SystemClock(),
    logger: createSilentLogger(),
    onReplaced: (isTaken) => replaced.push(isTaken),
  });
  files.watch(10);
  context.after(() => files.stop());
  const before = files.set.find('next.test');
  await eventually(() => true, { what: 'a first look' });
  await new Promise((resolve) => setTimeout(resolve, 50));
  await rename(next.cert, old.cert);
  await eventually(() => replaced.includes(false), { what: 'the refusal of a certificate without its key' });
  assert.equal(files.set.find('next.test'), before);
  await rename(next.key, old.key);
  await eventually(() => replaced.includes(true), { what: 'the new certificate' });
  assert.notEqual(files.set.find('next.test'), before);
});

test('a certificate that is missing, or not of its key, is refused at the start by name', async (context) => {
  const directory = await temporaryDirectory(context);
  const [one, two] = ['one', 'two'].map((name) => certificateFiles(directory, name, ['a.test']));
  if (one === undefined || two === undefined) return context.skip('openssl is not installed');
  await using origin = await Origin.start();
  const cases: readonly (readonly [cert: string, key: string, message: RegExp])[] = [
    [one.cert, two.key, /one\.pem cannot be used: .*key/],
    [`${one.cert}x`, one.key, /one\.pemx of a certificate cannot be read: it does not exist/],
    [one.key, one.key, /one\.key\.pem cannot be used/],
  ];
  for (const [cert, key, message] of cases)
    await assert.rejects(start(origin, `, certificates: [{ cert: "${cert}", key: "${key}" }]`), { code: 'CONFIG_INVALID', message });
});

test('PROXY protocol: the client is who the balancer says, whole or byte by byte, with the request behind it or later', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  await using edge = await start(origin, ', proxyProtocol: true', { 'purge.allow': '192.0.2.1' });
  const purge = 'PURGE /a HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n';
  for (const header of [Buffer.from(PROXY_V1), PROXY_V2]) {
    assertWhole(await talk(edge.port, [Buffer.concat([header, Buffer.from(GET)])]));
    assertWhole(await talk(edge.port, [header, GET]));
    assertWhole(
      await talk(edge.port, [...header].map((byte) => Buffer.from([byte])).concat(Buffer.from(GET.slice(0, 7)), Buffer.from(GET.slice(7)))),
    );
    assert.match(await talk(edge.port, [header, purge]), /^HTTP\/1\.1 200 /);
  }
  // A health check of the balancer is the balancer's own.
  assert.match(await talk(edge.port, ['PROXY UNKNOWN\r\n', purge]), /^HTTP\/1\.1 403 /);
  for (const wrong of [GET, 'PROXY TCP4 192.0.2.1\r\n', PROXY_V1.replace('443', '99999')]) assert.equal(await talk(edge.port, [wrong]), '');
  assert.equal(await edge.metric('rawslice_http_connections_refused_total{reason="proxy-protocol"}'), 3);
});

test('PROXY protocol before TLS', async (context) => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  const edge = await startTls(context, origin, ', proxyProtocol: true');
  if (edge === undefined) return;
  await using _ = edge;
  for (const isOnePacket of [true, false]) {
    const socket: Socket = connectPlain({ port: edge.port, host: '127.0.0.1', noDelay: true });
    if (isOnePacket) socket.cork();
    socket.write(PROXY_V2);
    const secured: TLSSocket = connectTls({ socket, servername: 'x.b.test', rejectUnauthorized: false });
    if (isOnePacket) socket.uncork();
    await once(secured, 'secureConnect');
    assert.equal(commonName(secured), 'second');
    const answer = readAll(secured);
    secured.write(GET);
    assertWhole(await answer);
  }
});

test('trusted proxies: their word about the client counts in limits and purges, and is passed on; others speak for themselves', async () => {
  await using origin = await Origin.start({ resolve: () => ({ ...FRESH, cacheControl: 'no-store' }) });
  const set = { 'purge.allow': '192.0.2.1' };
  await using trusting = await start(origin, ', trustedProxies: [127.0.0.0/8, 10.0.0.0/8]', set);
  await using doubting = await start(origin, ', trustedProxies: 192.0.2.0/24', set);
  const purge = (edge: TestEdge, chain: string) => edge.get('/a', { 'x-forwarded-for': chain }, { method: 'PURGE' });
  assert.equal((await purge(trusting, '192.0.2.1, 10.0.0.1')).status, 200);
  assert.equal((await purge(trusting, '192.0.2.1, 203.0.113.5')).status, 403);
  assert.equal((await purge(doubting, '192.0.2.1')).status, 403);
  const sent = async (edge: TestEdge): Promise<unknown> => {
    origin.forgetRequests();
    const said = { 'x-forwarded-for': '192.0.2.1', 'x-forwarded-proto': 'https', forwarded: 'for=192.0.2.1;proto=https' };
    assert.equal((await edge.get('/a', said, { method: 'POST' })).status, 200);
    const headers = origin.requestsFor('/a')[0]?.headers;
    return [headers?.['x-forwarded-for'], headers?.['x-forwarded-proto'], headers?.forwarded];
  };
  assert.deepEqual(await sent(trusting), ['192.0.2.1, 127.0.0.1', 'https', undefined]);
  assert.deepEqual(await sent(doubting), ['127.0.0.1', 'http', undefined]);
});

test('a client behind a proxy that writes one of the two fields cannot choose its address by the other', async () => {
  await using origin = await Origin.start({ resolve: () => ({ ...FRESH, cacheControl: 'no-store' }) });
  const set = { 'purge.allow': '192.0.2.1' };
  const lie = '192.0.2.1';
  const truth = '203.0.113.7';
  /** What the proxy writes, what its client says in the other field, and what the origin is sent then. */
  const cases = [
    ['', { 'x-forwarded-for': truth, forwarded: `for=${lie};proto=https` }, [`${truth}, 127.0.0.1`, 'http', undefined]],
    [
      ', forwardedField: forwarded',
      { forwarded: `for=${truth}`, 'x-forwarded-for': lie, 'x-forwarded-proto': 'https' },
      [`${truth}, 127.0.0.1`, 'http', `for=${truth}`],
    ],
  ] as const;
  for (const [more, said, expected] of cases) {
    await using edge = await start(origin, `, trustedProxies: 127.0.0.1${more}`, set);
    origin.forgetRequests();
    assert.equal((await edge.get('/a', said, { method: 'PURGE' })).status, 403, more);
    assert.equal((await edge.get('/a', said, { method: 'POST' })).status, 200, more);
    const headers = origin.requestsFor('/a')[0]?.headers;
    assert.deepEqual([headers?.['x-forwarded-for'], headers?.['x-forwarded-proto'], headers?.forwarded], expected, more);
  }
});
