/** Rows 38, 39, 47, 51, 53, 54 and 56: what of a message belongs to one connection, to one hop, or to everybody. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exchange } from '../helpers/client.ts';
import { startEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';

const FRESH = { cacheControl: 'max-age=600' };

test('row 38 (RFC 9111 s5.1, s4.2.3; RFC 9110 s6.6.1): 200, 206 and 304 from the cache have the age and the Date of what is stored', async () => {
  await using origin = await Origin.start();
  const date = new Date(Date.now() - 100_000).toUTCString();
  origin.setObject('/a', { ...FRESH, lengthBytes: 1000 });
  origin.misbehave('/a', { replaceHeaders: { Date: date, Age: '70' } });
  await using edge = await startEdge({ origin });
  const { headers: first } = await edge.get('/a');
  const tag = first.etag ?? '';
  for (const [headers, status] of [
    [{}, 200],
    [{ range: 'bytes=0-9' }, 206],
    [{ 'if-none-match': tag }, 304],
  ] as const) {
    const answer = await edge.get('/a', headers);
    assert.deepEqual([answer.status, answer.headers.date], [status, date]);
    // The apparent age is larger than the one that was told.
    const age = Number(answer.headers.age);
    assert.ok(age >= 100 && age < 110, `${status}: ${answer.headers.age}`);
  }
});

test('row 39 (RFC 9110 s7.6.1): fields of one connection go no further, in either direction, stored or not', async () => {
  await using origin = await Origin.start();
  const hop = {
    Connection: 'X-Named, close',
    'X-Named': '1',
    'Keep-Alive': 'timeout=9',
    'Proxy-Connection': 'keep-alive',
    'Proxy-Authenticate': 'Basic realm="x"',
    Upgrade: 'h2c',
    TE: 'trailers',
    Trailer: 'X-Sum',
  };
  origin.setObject('/stored', { ...FRESH, lengthBytes: 10 });
  origin.setObject('/passed', { cacheControl: 'no-store', lengthBytes: 10 });
  origin.misbehave('*', { headers: { ...hop, 'X-Kept': '1' }, connectionClose: true });
  await using edge = await startEdge({ origin });
  const names = Object.keys(hop).map((name) => name.toLowerCase());
  for (const path of ['/stored', '/stored', '/passed']) {
    const { headers } = await edge.get(path);
    assert.equal(headers['x-kept'], '1');
    for (const name of names) if (name !== 'connection') assert.equal(headers[name], undefined, `${path}: ${name}`);
  }
  await edge.get('/passed', { ...hop, 'X-Kept': '1' }, { method: 'POST', body: 'x' });
  const seen = origin.requestsFor('/passed').at(-1)?.headers ?? {};
  assert.equal(seen['x-kept'], '1');
  for (const name of names) if (name !== 'connection') assert.equal(seen[name], undefined, `to the origin: ${name}`);
});

test('row 39 (RFC 9110 s7.6.1): a client cannot have the fields of this proxy taken away by naming them in Connection', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { cacheControl: 'no-store', lengthBytes: 10 });
  await using edge = await startEdge({ origin });
  const headers = { connection: 'close, via, cdn-loop, host, x-forwarded-for, x-forwarded-host', via: '1.0 fred', 'cdn-loop': 'other' };
  await edge.get('/a', headers, { method: 'OPTIONS' });
  const seen = origin.requestsFor('/a')[0]?.headers ?? {};
  assert.deepEqual([seen.via, seen['x-forwarded-for']], ['1.0 fred, 1.1 rawslice', '127.0.0.1']);
  assert.match(seen['cdn-loop'] ?? '', /^other, rawslice-[0-9a-f]+$/);
});

test('row 39 (RFC 9110 s7.6.3): Via is appended in both directions and names the version that was received', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { ...FRESH, lengthBytes: 10, headers: { Via: '1.0 shield' } });
  await using edge = await startEdge({ origin });
  for (const _ of ['cold', 'warm']) assert.equal((await edge.get('/a')).headers.via, '1.0 shield, 1.1 rawslice');
  await exchange({ port: edge.port, bytes: 'POST /b HTTP/1.0\r\nVia: 1.1 fred\r\nContent-Length: 0\r\n\r\n' });
  assert.equal(origin.requestsFor('/b')[0]?.headers.via, '1.1 fred, 1.0 rawslice');
});

test('row 47 (RFC 9110 s7.6.2, s9.3.7): OPTIONS counts Max-Forwards down and is answered here at 0; other methods pass it on', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { ...FRESH, lengthBytes: 10 });
  await using edge = await startEdge({ origin });
  const answer = await edge.get('/a', { 'max-forwards': '0' }, { method: 'OPTIONS' });
  assert.deepEqual([answer.status, answer.headers.allow], [204, 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS']);
  // What is asked about the server is not passed on as a question about one of its paths (RFC 9112 s3.2.4).
  const ofServer = await edge.get('*', { 'max-forwards': '7' }, { method: 'OPTIONS' });
  assert.deepEqual([ofServer.status, ofServer.headers.allow], [204, answer.headers.allow]);
  assert.equal(origin.requests.length, 0);
  for (const [method, sent, seen] of [
    ['OPTIONS', '7', '6'],
    ['OPTIONS', 'many', 'many'],
    ['POST', '7', '7'],
  ] as const) {
    assert.equal((await edge.get('/a', { 'max-forwards': sent }, { method })).headers['x-cache'], 'BYPASS');
    assert.equal(origin.requestsFor('/a').at(-1)?.headers['max-forwards'], seen);
  }
});

test('row 47 (RFC 9110 s9.3): answers to methods other than GET are never what a GET gets', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin });
  for (const method of ['OPTIONS', 'PROPFIND', 'QUERY', 'POST', 'M-SEARCH']) {
    const path = `/${method}`;
    origin.misbehave(path, { status: 200, statusBody: method, headers: { 'Cache-Control': 'public, max-age=600' } }, 1);
    assert.equal((await edge.get(path, {}, { method })).status, 200);
    assert.equal((await edge.get(path)).status, 404, method);
  }
});

test('row 51 (RFC 9110 s4.2.3, s7.1, s7.2): one resource has one key, however it is written; what may differ is kept', async () => {
  await using origin = await Origin.start({ resolve: () => ({ ...FRESH, lengthBytes: 10 }) });
  await using edge = await startEdge({ origin });
  await edge.get('/dir/a~b?y=2&x=1');
  for (const [target, headers] of [
    ['/dir/%61%7Eb?y=2&x=1', {}],
    ['/dir/./x/../a~b?y=2&x=1', {}],
    ['/%64ir/%2e/a~b?y=2&x=1', {}],
    ['http://MIRROR.example:80/dir/a~b?y=2&x=1', {}],
    ['HTTP://mirror.example/dir/a~b?y=2&x=1', { host: 'other' }],
    ['/dir/a~b?y=2&x=1', { host: 'Mirror.Example:80' }],
  ] as const)
    assert.equal((await edge.get(target, headers)).headers['x-cache'], 'HIT', target);
  for (const target of ['/dir/a~b?x=1&y=2', '/dir/a~b', '/dir/a~b?', '/dir/A~b?y=2&x=1', '/dir%2fa~b?y=2&x=1', '/dir/a~b?y=2&x=1&'])
    assert.equal((await edge.get(target)).headers['x-cache'], 'MISS', target);
});

test('row 51 (RFC 9112 s3.2.2): the absolute form decides what the origin is told, whatever Host says', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin, set: { 'upstream.preserveHost': 'true' } });
  await edge.get('http://Right.example:80/a', { host: 'wrong.example' });
  assert.equal(origin.requestsFor('/a')[0]?.headers.host, 'right.example');
});

test('row 53 (RFC 9530 s2, s3): a digest of the whole goes with every part; one of the content with no stored answer', async () => {
  await using origin = await Origin.start();
  const headers = { 'Repr-Digest': 'sha-256=:AAAA:', 'Content-Digest': 'sha-256=:BBBB:', Digest: 'sha-256=CCCC' };
  origin.setObject('/a', { ...FRESH, lengthBytes: 1000, headers });
  await using edge = await startEdge({ origin });
  for (const range of [{}, { range: 'bytes=0-9' }, {}]) {
    const { headers: got } = await edge.get('/a', range);
    assert.deepEqual([got['repr-digest'], got['content-digest'], got.digest], ['sha-256=:AAAA:', undefined, 'sha-256=CCCC']);
  }
  // What passes through is the content that the digest is of.
  origin.setObject('/b', { cacheControl: 'no-store', lengthBytes: 1000, headers });
  assert.equal((await edge.get('/b')).headers['content-digest'], 'sha-256=:BBBB:');
});

test('row 54 (RFC 9110 s6.5): trailers are never merged, kept by no cache, and passed on to who asks', async () => {
  await using origin = await Origin.start();
  const trailers = { 'X-Sum': '42', 'Cache-Control': 'max-age=9', 'Set-Cookie': 'a=b', Connection: 'x-sum2', Vary: '*' };
  origin.setObject('/stored', { ...FRESH, lengthBytes: 1000 });
  origin.setObject('/passed', { cacheControl: 'no-store', lengthBytes: 1000 });
  origin.misbehave('*', { chunked: true, trailers });
  await using edge = await startEdge({ origin });
  for (const path of ['/stored', '/stored', '/passed']) {
    const answer = await edge.get(path);
    const { headers: got, trailers: behind, isComplete } = answer;
    assert.deepEqual([got['x-sum'], got['set-cookie'], behind, isComplete], [undefined, undefined, [], true], path);
  }
  const asked = await edge.get('/passed', { te: 'gzip, trailers;q=1', connection: 'te, close' });
  assert.deepEqual([asked.headers['x-sum'], asked.trailers, asked.bodyBytes], [undefined, [['x-sum', '42']], 1000]);
});

test('row 56 (RFC 9112 s9.3): an HTTP/1.0 client keeps its connection when it asks to, and a length is known', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { ...FRESH, body: Buffer.from('hello') });
  await using edge = await startEdge({ origin });
  const one = 'GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n';
  const text = (await exchange({ port: edge.port, bytes: `${one}${one}GET /a HTTP/1.0\r\n\r\n` })).toString('latin1');
  assert.equal(text.match(/HTTP\/1\.1 200 OK/g)?.length, 3);
  assert.equal(text.match(/\r\nconnection: keep-alive/gi)?.length, 2);
  assert.equal(text.match(/\r\ncontent-length: 5/gi)?.length, 3);
});

test('row 56 (RFC 9112 s6.3, s9.3): a body of an HTTP/1.0 origin ends with its connection and is kept as what it then is', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { ...FRESH, lengthBytes: 100_000 });
  origin.misbehave('/a', { closeDelimited: true });
  await using edge = await startEdge({ origin });
  const cold = await edge.get('/a', {}, { expect: body });
  assert.deepEqual([cold.status, cold.bodyBytes, cold.wrongAt, cold.isComplete], [200, 100_000, -1, true]);
  await edge.settle();
  const part = await edge.get('/a', { range: 'bytes=70000-70009' }, { expect: { ...body, start: 70_000 } });
  assert.deepEqual(
    [part.status, part.wrongAt, part.headers['content-range'], part.headers['x-cache']],
    [206, -1, 'bytes 70000-70009/100000', 'HIT'],
  );
});
