/** Groups that speak HTTP/2: what is cached is filled over it like over HTTP/1.1. A second proxy stands for the origin that speaks it. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { MIB } from '../../src/base/units.ts';
import { bodyBytes, verifyBody } from '../helpers/body.ts';
import { certificateFiles } from '../helpers/certificate.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Http2Client } from '../helpers/http2-client.ts';
import { Origin } from '../helpers/origin.ts';
import { temporaryDirectory } from '../helpers/temp.ts';

/** What speaks HTTP/2 in front of the scripted origin, and never stores anything. */
async function startInner(context: TestContext, origin: Origin, isSecure: boolean): Promise<{ inner: TestEdge; url: string } | undefined> {
  const files = certificateFiles(await temporaryDirectory(context), 'inner', ['localhost']);
  if (files === undefined && isSecure) return undefined;
  const how = isSecure && files !== undefined ? `certificates: [{ cert: "${files.cert}", key: "${files.key}" }]` : 'http2: true';
  const yaml = [
    `services:\n  - { name: inner, listen: "127.0.0.1:0", ${how} }`,
    `upstreams:\n  - { name: origin, nodes: [{ url: "${origin.url}" }] }`,
    'routes:\n  - { name: all, upstream: origin, rules: [{ name: none, match: ^/, store: never }] }\n',
  ].join('\n');
  const inner = await startEdge({ yaml });
  return { inner, url: `${isSecure ? 'https' : 'http'}://127.0.0.1:${inner.port}` };
}

/** X-Cache of the proxy that was asked; the one behind it has said its word before. */
function lastWord(headers: Readonly<Record<string, string>>): string | undefined {
  return headers['x-cache']?.split(', ').at(-1);
}

for (const isSecure of [false, true]) {
  test(`a group of HTTP/2 ${isSecure ? 'over TLS' : 'without TLS'}: fills, parts, renewals and uploads`, async (context) => {
    await using origin = await Origin.start();
    const body = origin.setObject('/a', { lengthBytes: 3 * MIB + 77, cacheControl: 'max-age=600' });
    origin.setObject('/b', { lengthBytes: 1000, cacheControl: 'max-age=0' });
    const started = await startInner(context, origin, isSecure);
    if (started === undefined) return context.skip('openssl is not installed');
    await using inner = started.inner;
    const node = `{ url: "${started.url}"${isSecure ? ', verifyCertificate: false' : ''} }`;
    await using edge = await startEdge({
      arenaBytes: 32 * MIB,
      yaml: `services:\n  - { name: edge, listen: "127.0.0.1:0", http2: true }\nupstreams:\n  - { name: inner, protocol: h2, nodes: [${node}] }\n`,
    });
    await using client = await Http2Client.open(edge.port);
    const part = await client.get('/a', { headers: { range: 'bytes=1000000-1999999' } });
    assert.deepEqual([part.status, verifyBody(part.body, { name: '/a', version: 1 }, 1_000_000)], [206, -1]);
    const whole = await edge.get('/a', {}, { expect: body });
    assert.deepEqual([whole.wrongAt, whole.isComplete, lastWord(whole.headers)], [-1, true, 'PARTIAL']);
    assert.equal(lastWord((await edge.get('/a', {}, { expect: body })).headers), 'HIT');
    await edge.get('/b');
    assert.equal(lastWord((await edge.get('/b')).headers), 'REVALIDATED');
    const upload = bodyBytes({ name: 'up', version: 1 }, 0, 2_000_000);
    assert.equal((await client.get('/up', { method: 'PUT', body: upload })).status, 404);
    assert.equal(origin.requestsFor('/up')[0]?.requestBodyBytes, upload.length);
    assert((await inner.metric('rawslice_stream_connections')) > 0);
    // A body that breaks off is resumed over HTTP/2 too, and the client does not notice.
    const large = origin.setObject('/c', { lengthBytes: 4 * MIB, cacheControl: 'max-age=600' });
    origin.misbehave('/c', { closeAfterBytes: 1_500_000 }, 1);
    const resumed = await edge.get('/c', {}, { expect: large });
    assert.deepEqual([resumed.wrongAt, resumed.isComplete], [-1, true]);
  });
}

test('a group of HTTP/2 is checked over HTTP/2', async (context) => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 10 }) });
  const started = await startInner(context, origin, false);
  assert(started !== undefined);
  await using inner = started.inner;
  const check = 'healthCheck: { type: http, path: /health, interval: 100ms, fall: 1 }';
  await using edge = await startEdge({
    yaml: `services:\n  - { name: edge, listen: "127.0.0.1:0" }\nupstreams:\n  - { name: inner, protocol: h2, ${check}, nodes: [{ url: "${started.url}" }] }\n`,
  });
  await eventually(() => origin.requestsFor('/health').length >= 2, { what: 'two checks' });
  assert.equal(origin.requestsFor('/health')[0]?.headers.via, '2.0 rawslice');
  assert.equal(edge.proxy.upstreams[0]?.nodes[0]?.checkFault, undefined);
  assert(inner.services.load.http2Connections > 0);
});

test('an origin that does not speak HTTP/2 where it should is told by name', async (context) => {
  await using origin = await Origin.start();
  const files = certificateFiles(await temporaryDirectory(context), 'inner', ['localhost']);
  if (files === undefined) return context.skip('openssl is not installed');
  await using inner = await startEdge({
    origin,
    yaml: `services:\n  - { name: inner, listen: "127.0.0.1:0", http2: false, certificates: [{ cert: "${files.cert}", key: "${files.key}" }] }\n`,
  });
  const nodes = [`https://127.0.0.1:${inner.port}", verifyCertificate: false`, `${origin.url}"`];
  for (const node of nodes) {
    await using edge = await startEdge({
      yaml: `services:\n  - { name: edge, listen: "127.0.0.1:0" }\nupstreams:\n  - { name: inner, protocol: h2, nodes: [{ url: "${node} }] }\n`,
    });
    const answer = await edge.get('/a');
    assert.equal(answer.status, 502, answer.body.toString());
  }
});

test('no field of a client is a fault of the node that it would have been sent to', async (context) => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 10, cacheControl: 'no-store' }) });
  const started = await startInner(context, origin, false);
  assert(started !== undefined);
  await using inner = started.inner;
  await using edge = await startEdge({
    yaml: `services:\n  - { name: edge, listen: "127.0.0.1:0" }\nupstreams:\n  - { name: inner, protocol: h2, nodes: [{ url: "${started.url}" }] }\n`,
  });
  const odd = { 'http2-settings': 'AAMAAABk', constructor: 'x', ['__proto__']: 'y', te: 'gzip', trailer: 'z', 'x-a': 'b' };
  for (const method of ['POST', 'DELETE']) assert.equal((await edge.get('/a', odd, { method })).status, 200, method);
  assert.equal((await edge.get('/a?%zz', odd, { method: 'POST', body: 'x' })).status, 200);
  assert.deepEqual(
    origin.requests.map(({ headers }) => [headers['http2-settings'], headers['x-a']]),
    Array.from({ length: 3 }, () => [undefined, 'b']),
  );
  assert.deepEqual([edge.proxy.upstreams[0]?.nodes[0]?.state, inner.services.load.http2Connections], ['well', 1]);
});
