/** What is stored for everybody is asked for with nothing of one client's: no field outside the key changes what is stored, or where a request goes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exchange, request } from '../helpers/client.ts';
import { startEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import { tinyDevice } from '../helpers/tiny-device.ts';

/** Each has changed an origin's answer behind some cache once. */
const UNKEYED: Readonly<Record<string, string>> = {
  Host: 'evil.example',
  Forwarded: 'for=1.2.3.4;host=evil.example;proto=https',
  'X-Forwarded-For': '1.2.3.4',
  'X-Forwarded-Host': 'evil.example',
  'X-Forwarded-Port': '1337',
  'X-Forwarded-Proto': 'https',
  'X-Forwarded-Scheme': 'nothttps',
  'X-Forwarded-Prefix': '/evil',
  'X-Forwarded-Server': 'evil.example',
  'X-Host': 'evil.example',
  'X-Original-URL': '/evil',
  'X-Rewrite-URL': '/evil',
  'X-HTTP-Method-Override': 'DELETE',
  'X-Method-Override': 'POST',
  'X-Real-IP': '1.2.3.4',
  'True-Client-IP': '1.2.3.4',
  'CF-Connecting-IP': '1.2.3.4',
  'Accept-Language': 'xx',
  'Accept-Encoding': 'gzip, evil',
  Accept: 'text/evil',
  'User-Agent': 'evil',
  Referer: 'http://evil.example/',
  Origin: 'http://evil.example',
  Cookie: 'admin=1',
  Via: '1.1 evil',
  'If-None-Match': '"evil"',
  Range: 'bytes=0-9',
  'X-Anything': 'evil',
  'X-Request-ID': 'evil',
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  tracestate: 'evil=<evil>',
  baggage: 'evil=evil',
};

test('a miss asks the origin for the same thing whatever its client sent (cache poisoning)', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=600' });
  const asked: string[] = [];
  const ask = async (headers: Record<string, string>): Promise<void> => {
    await using edge = await startEdge({ origin });
    await request({ port: edge.port, path: '/a', headers });
    await edge.settle();
    const seen = origin.requestsFor('/a').at(-1);
    // A range is asked for as slices, CDN-Loop and the id of the request name the process, and Accept-Encoding is part of the key where the answer varies.
    const unlike = ['range', 'cdn-loop', 'accept-encoding', 'x-request-id'];
    assert.match(String(seen?.headers['x-request-id']), /^[0-9a-f]{24}$/);
    const fields = (seen?.rawHeaders ?? []).filter(([name]) => !unlike.includes(name.toLowerCase()));
    asked.push(`${seen?.method} ${seen?.target} ${JSON.stringify(fields)}`);
  };
  await ask({});
  for (const [name, value] of Object.entries(UNKEYED)) await ask({ [name]: value });
  await ask(UNKEYED);
  assert.equal(new Set(asked).size, 1, [...new Set(asked)].join('\n'));
});

test('what an attacker asks for with fields outside the key is what everybody gets, and nothing else', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=600' });
  await using edge = await startEdge({ origin });
  const { Range: _, 'If-None-Match': __, ...rest } = UNKEYED;
  const first = await edge.get('/a', rest, { expect: body });
  const second = await edge.get('/a', {}, { expect: body });
  assert.deepEqual([first.wrongAt, second.wrongAt, second.headers['x-cache'], origin.requests.length], [-1, -1, 'HIT', 1]);
});

/** Answers by Host: one host with the scripted object, the other with bytes of its own. */
async function startHosts(): Promise<Origin> {
  const origin = await Origin.start();
  origin.setObject('/a', { body: Buffer.from('good'), cacheControl: 'max-age=600', headers: { 'Cache-Groups': '"g"' } });
  const raw = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: max-age=600\r\nCache-Groups: "g"\r\nETag: "e"\r\n\r\nevil';
  origin.misbehave('/a', { when: ({ headers, method }) => method === 'GET' && headers.host === 'evil.example', raw, rawThen: 'keep' });
  return origin;
}

/** A request for /a without Host. */
async function exchangeText(port: number, method: string): Promise<string> {
  return (await exchange({ port, bytes: `${method} /a HTTP/1.0\r\n\r\n` })).toString('latin1');
}

const KEPT_APART = { 'upstream.preserveHost': 'true', 'purge.allow': '127.0.0.1' };
const GOOD = 'good.example';
const EVIL = 'evil.example';

test('with preserveHost an answer is for the Host that it was asked with (cache poisoning)', async () => {
  await using origin = await startHosts();
  await using edge = await startEdge({ origin, set: KEPT_APART });
  const ask = async (path: string, headers: Record<string, string>): Promise<readonly unknown[]> => {
    const answer = await edge.get(path, headers);
    await edge.settle();
    return [answer.body.toString(), answer.headers['x-cache']];
  };
  assert.deepEqual(await ask('/a', { host: EVIL }), ['evil', 'MISS']);
  assert.deepEqual(await ask('/a', { host: GOOD }), ['good', 'MISS']);
  assert.deepEqual(await ask('/a', { host: EVIL }), ['evil', 'HIT']);
  assert.deepEqual(await ask('/a', { host: 'GOOD.example:80' }), ['good', 'HIT']);
  assert.deepEqual(await ask('http://good.example/a', { host: EVIL }), ['good', 'HIT']);
  // No Host can name the key of another one: what would be a separator in a key is in no host.
  for (const host of [`${GOOD}/a`, `x@${GOOD}`, `${GOOD}?`]) assert.equal((await edge.get('/a', { host })).status, 400, host);
});

test('with preserveHost a request without Host is about the origin, and finds what was asked for by its name', async () => {
  await using origin = await startHosts();
  await using edge = await startEdge({ origin, set: KEPT_APART });
  const nameless = await exchangeText(edge.port, 'GET');
  assert.match(nameless, /good$/);
  await edge.settle();
  const authority = `127.0.0.1:${origin.port}`;
  assert.equal(origin.requestsFor('/a')[0]?.headers.host, authority);
  assert.equal((await edge.get('/a', { host: authority })).headers['x-cache'], 'HIT');
});

test('with preserveHost purges are about a host; a path without one is refused', async () => {
  await using origin = await startHosts();
  await using edge = await startEdge({ origin, set: KEPT_APART, makeStore: tinyDevice });
  const results = async (): Promise<readonly unknown[]> => {
    const seen: unknown[] = [];
    for (const host of [EVIL, GOOD]) {
      const answer = await edge.get('/a', { host });
      seen.push(`${answer.body.toString()} ${answer.headers['x-cache']}`);
      await edge.settle();
      await edge.store.drain();
    }
    return seen;
  };
  const purge = (path: string, headers: Record<string, string>) => edge.get(path, headers, { method: 'PURGE' });
  const { purger } = edge.services;
  const purges: readonly (readonly [what: string, act: () => Promise<unknown>])[] = [
    ['PURGE of a path', () => purge('/a', { host: EVIL })],
    ['PURGE of a URL', () => purge(`http://${EVIL}/a`, { host: GOOD })],
    ['PURGE of a prefix', () => purge('/', { host: EVIL, 'X-Purge-Method': 'prefix' })],
    ['PURGE of a host', () => purge('/', { host: EVIL, 'X-Purge-Method': 'host' })],
    ['a URL', () => purger.purge({ kind: 'url', url: `http://${EVIL}/a` }, false)],
    ['a prefix', () => purger.purge({ kind: 'prefix', prefix: `http://${EVIL}/` }, false)],
    ['a host', () => purger.purge({ kind: 'host', host: EVIL }, false)],
    ['an unsafe method', () => edge.get('/a', { host: EVIL }, { method: 'DELETE' })],
    ['Location', () => edge.get('/b', { host: EVIL }, { method: 'POST' })],
    ['a cache group', () => edge.get('/c', { host: EVIL }, { method: 'POST' })],
  ];
  for (const path of ['/b', '/c']) origin.setObject(path, { lengthBytes: 1 });
  origin.misbehave('/b', { headers: { Location: '/a' } });
  origin.misbehave('/c', { headers: { 'Cache-Group-Invalidation': '"g"' } });
  await results();
  for (const [what, act] of purges) {
    assert.deepEqual(await results(), ['evil HIT', 'good HIT'], `before ${what}`);
    await act();
    assert.deepEqual(await results(), ['evil MISS', 'good HIT'], what);
  }
  for (const named of [{ kind: 'url', url: '/a' } as const, { kind: 'prefix', prefix: '/' } as const])
    await assert.rejects(purger.purge(named, false), { code: 'REQUEST_INVALID' });
  assert.match(await exchangeText(edge.port, 'PURGE'), /^HTTP\/1\.1 400 /);
  assert.deepEqual(await results(), ['evil HIT', 'good HIT']);
});

test('what passes through does not say in the name of the proxy what the client made up', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin });
  await edge.get('/a', { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https', host: 'x' }, { method: 'POST' });
  const seen = origin.requestsFor('/a')[0]?.headers ?? {};
  assert.deepEqual([seen['x-forwarded-host'], seen['x-forwarded-proto']], ['x', 'http']);
});
