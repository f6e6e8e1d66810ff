import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { bodyBytes, verifyBody } from '../helpers/body.ts';
import { ClientConnection, exchange, request } from '../helpers/client.ts';
import { Origin } from '../helpers/origin.ts';
import { parseWrong } from '../helpers/origin-command.ts';
import type { Misbehaviour } from '../helpers/origin-script.ts';

const LENGTH = 300_000;

async function startOrigin(context: TestContext): Promise<Origin> {
  const origin = await Origin.start();
  context.after(() => origin.close());
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  return origin;
}

test('an origin serves GET, HEAD, ranges and conditions as RFC 9110 says', async (context) => {
  const origin = await startOrigin(context);
  const { port } = origin;
  const expect = origin.identity('/a');
  const { etag = '', lastModified = '' } = origin.validators('/a');

  const whole = await request({ port, path: '/a', expect });
  assert.deepEqual([whole.status, whole.bodyBytes, whole.wrongAt, whole.isComplete], [200, LENGTH, -1, true]);
  assert.equal(whole.headers['cache-control'], 'max-age=60');
  assert.equal(whole.headers['accept-ranges'], 'bytes');
  assert.ok(Date.parse(whole.headers.date ?? '') > 0);

  const head = await request({ port, path: '/a', method: 'HEAD', headers: { Range: 'bytes=0-1' } });
  assert.deepEqual([head.status, head.headers['content-length'], head.bodyBytes, head.isComplete], [200, String(LENGTH), 0, true]);

  const rows: [headers: Record<string, string>, status: number, contentRange: string | undefined, start: number][] = [
    [{ Range: 'bytes=1000-4999' }, 206, `bytes 1000-4999/${LENGTH}`, 1000],
    [{ Range: 'bytes=299000-' }, 206, `bytes 299000-299999/${LENGTH}`, 299_000],
    [{ Range: 'bytes=-10' }, 206, `bytes 299990-299999/${LENGTH}`, 299_990],
    [{ Range: 'bytes=299000-999999' }, 206, `bytes 299000-299999/${LENGTH}`, 299_000],
    [{ Range: 'bytes=300000-' }, 416, `bytes */${LENGTH}`, 0],
    [{ Range: 'bytes=5-1' }, 200, undefined, 0],
    [{ Range: 'bytes=0-0,5-6' }, 200, undefined, 0],
    [{ Range: 'bytes=9-18', 'If-Range': etag }, 206, `bytes 9-18/${LENGTH}`, 9],
    [{ Range: 'bytes=9-18', 'If-Range': lastModified }, 206, `bytes 9-18/${LENGTH}`, 9],
    [{ Range: 'bytes=9-18', 'If-Range': '"other"' }, 200, undefined, 0],
    [{ 'If-None-Match': `"x", W/${etag}` }, 304, undefined, 0],
    [{ 'If-None-Match': '"x"', 'If-Modified-Since': lastModified }, 200, undefined, 0],
    [{ 'If-Modified-Since': lastModified, Range: 'bytes=0-1' }, 304, undefined, 0],
    [{ 'If-Match': '"x"' }, 412, undefined, 0],
    [{ 'If-Match': etag }, 200, undefined, 0],
  ];
  for (const [headers, status, contentRange, start] of rows) {
    const response = await request({ port, path: '/a', headers, expect: { ...expect, start } });
    assert.deepEqual(
      [response.status, response.headers['content-range'], response.isComplete],
      [status, contentRange, true],
      JSON.stringify(headers),
    );
    if (status < 300) assert.equal(response.wrongAt, -1, JSON.stringify(headers));
  }
  assert.equal((await request({ port, path: '/none' })).status, 404);
});

test('an origin keeps connections alive, answers pipelined requests in order and records them', async (context) => {
  const origin = await startOrigin(context);
  origin.setObject('/empty', { lengthBytes: 0 });
  const connection = await ClientConnection.open({ port: origin.port });
  const responses = await Promise.all([
    connection.request({ path: '/empty' }),
    connection.request({ path: '/a?x=1', headers: { Range: 'bytes=0-9' } }),
    connection.request({ path: '/post', method: 'POST', body: 'hello' }),
    connection.request({ path: '/a' }),
  ]);
  connection.destroy();
  assert.deepEqual(
    responses.map(({ status, bodyBytes }) => [status, bodyBytes]),
    [
      [200, 0],
      [206, 10],
      [404, 4],
      [200, LENGTH],
    ],
  );
  await origin.waitForIdle();
  assert.deepEqual(
    origin.requests.map((record) => [record.method, record.target, record.connection, record.bodyBytesSent, record.state]),
    [
      ['GET', '/empty', 0, 0, 'done'],
      ['GET', '/a?x=1', 0, 10, 'done'],
      ['POST', '/post', 0, 4, 'done'],
      ['GET', '/a', 0, LENGTH, 'done'],
    ],
  );
  assert.equal(origin.bytesSent('/a'), LENGTH + 10);
  assert.equal(origin.requestsFor('/post')[0]?.requestBodyBytes, 5);
  origin.forgetRequests();
  assert.equal((await request({ port: origin.port, path: '/a', method: 'HEAD' })).status, 200);
  assert.deepEqual([origin.requests.length, origin.requests[0]?.sequence], [1, 4]);
});

test('a change gives other bytes and validators; a removed object is 404', async (context) => {
  const origin = await startOrigin(context);
  const before = origin.validators('/a');
  const expect = origin.change('/a');
  assert.notEqual(origin.validators('/a').etag, before.etag);
  assert.notEqual(origin.validators('/a').lastModified, before.lastModified);
  assert.equal((await request({ port: origin.port, path: '/a', expect })).wrongAt, -1);
  origin.removeObject('/a');
  assert.equal((await request({ port: origin.port, path: '/a' })).status, 404);
});

test('steps of a script are used in order, each its number of times, and only when they apply', async (context) => {
  const origin = await startOrigin(context);
  origin.misbehave('/a', { status: 503, headers: { 'Retry-After': '1' } }, 2);
  origin.misbehave('/a', { status: 500, when: ({ headers }) => headers.range !== undefined }, 1);
  origin.misbehave('/a', { redirectTo: '/b' }, 1);
  const statuses = [];
  for (const headers of [{}, {}, {}, { Range: 'bytes=0-1' }, {}])
    statuses.push((await request({ port: origin.port, path: '/a', headers })).status);
  assert.deepEqual(statuses, [503, 503, 302, 500, 200]);
});

test('each misbehaviour of the head is what its name says', async (context) => {
  const origin = await startOrigin(context);
  const ask = async (misbehaviour: Misbehaviour, headers: Record<string, string> = { Range: 'bytes=100-199' }) => {
    origin.misbehave('/a', misbehaviour, 1);
    return request({ port: origin.port, path: '/a', headers });
  };
  assert.equal((await ask({ ignoreRange: true })).status, 200);
  const ranges: (string | undefined)[] = [];
  for (const contentRange of ['missing', 'unknown-total', 'wrong-start', 'wrong-end', 'wrong-total', 'garbage'] as const) {
    ranges.push((await ask({ contentRange })).headers['content-range']);
  }
  assert.deepEqual(ranges, [
    undefined,
    'bytes 100-199/*',
    'bytes 101-199/300000',
    'bytes 100-200/300000',
    'bytes 100-199/300001',
    'bytes twelve',
  ]);
  const none = await ask({ validators: 'none' });
  assert.deepEqual([none.headers.etag, none.headers['last-modified']], [undefined, undefined]);
  assert.match((await ask({ validators: 'weak' })).headers.etag ?? '', /^W\/"/);
  assert.notEqual((await ask({ validators: 'changing' })).headers.etag, (await ask({ validators: 'changing' })).headers.etag);
  const short = await ask({ partLengthDeltaBytes: -30 });
  assert.deepEqual([short.headers['content-length'], short.bodyBytes, short.headers['content-range']], ['70', 70, 'bytes 100-199/300000']);
  const parts = await ask({ multipart: true });
  assert.match(parts.headers['content-type'] ?? '', /^multipart\/byteranges; boundary=/);
  assert.ok(parts.body.includes(bodyBytes(origin.identity('/a'), 100, 100)));
  const fields = await ask({
    headers: [
      ['Set-Cookie', 'a=b'],
      ['Set-Cookie', 'c=d'],
      ['Vary', '*'],
    ],
    dropHeaders: ['date'],
    replaceHeaders: { ETag: '"z"' },
  });
  assert.deepEqual(
    [fields.headers['set-cookie'], fields.headers.vary, fields.headers.date, fields.headers.etag],
    ['a=b, c=d', '*', undefined, '"z"'],
  );
  assert.ok(JSON.stringify((await ask({ headBytes: 100_000 })).rawHeaders).length > 100_000);
  assert.equal((await ask({ interim: [103, 103] })).interim.length, 2);
  assert.equal((await ask({ splitHead: true })).bodyBytes, 100);
  const { etag = '' } = origin.validators('/a');
  assert.equal((await ask({ ignoreConditions: true }, { 'If-None-Match': etag })).status, 200);
});

test('gzip has a tag of its own and follows Accept-Encoding when told to', async (context) => {
  const origin = await startOrigin(context);
  const { port } = origin;
  origin.misbehave('/a', { gzip: 'if-accepted' });
  const plain = await request({ port, path: '/a' });
  const zipped = await request({ port, path: '/a', headers: { 'Accept-Encoding': 'gzip' } });
  assert.deepEqual([plain.headers['content-encoding'], plain.headers.vary], [undefined, 'Accept-Encoding']);
  assert.equal(zipped.headers['content-encoding'], 'gzip');
  assert.notEqual(zipped.headers.etag, plain.headers.etag);
  assert.deepEqual(gunzipSync(zipped.body), plain.body);
});

test('chunked, with trailers, cut or close-delimited bodies are framed as told', async (context) => {
  const origin = await startOrigin(context);
  const { port } = origin;
  const expect = origin.identity('/a');
  origin.misbehave('/a', { chunked: 1000, trailers: { 'X-End': 'yes' } }, 1);
  const chunked = await request({ port, path: '/a', expect });
  assert.deepEqual(
    [chunked.headers['content-length'], chunked.wrongAt, chunked.bodyBytes, chunked.isComplete],
    [undefined, -1, LENGTH, true],
  );
  assert.deepEqual(chunked.trailers, [['X-End', 'yes']]);
  origin.misbehave('/a', { chunked: true, closeAfterBytes: 50_000 }, 1);
  const cut = await request({ port, path: '/a', expect });
  assert.deepEqual([cut.wrongAt, cut.bodyBytes, cut.isComplete], [-1, 50_000, false]);
  origin.misbehave('/a', { closeDelimited: true }, 1);
  const closed = await request({ port, path: '/a', expect });
  assert.deepEqual([closed.httpVersion, closed.bodyBytes, closed.isComplete], ['1.0', LENGTH, true]);
});

test('a body ends early, by close or reset, or late, exactly where told', async (context) => {
  const origin = await startOrigin(context);
  const { port } = origin;
  const expect = origin.identity('/a');
  origin.misbehave('/a', { closeAfterBytes: 12_345 }, 1);
  const closed = await request({ port, path: '/a', expect });
  assert.deepEqual([closed.bodyBytes, closed.wrongAt, closed.isComplete, closed.error], [12_345, -1, false, undefined]);
  origin.misbehave('/a', { resetAfterBytes: 12_345 }, 1);
  const reset = await request({ port, path: '/a', expect });
  assert.deepEqual([reset.wrongAt, reset.isComplete, reset.error], [-1, false, 'ECONNRESET']);
  assert.ok(reset.bodyBytes <= 12_345);
  origin.misbehave('/a', { resetAfterBytes: LENGTH + 1 }, 1);
  assert.equal((await request({ port, path: '/a', expect })).isComplete, true);
  origin.misbehave('/a', { extraBytes: 7, connectionClose: true }, 1);
  const received = await exchange({ port, bytes: 'GET /a HTTP/1.1\r\nHost: a\r\nRange: bytes=0-9\r\n\r\n' });
  assert.equal(received.length - received.indexOf('\r\n\r\n') - 4, 17);
  origin.misbehave('/a', { raw: 'HTTP/1.1 banana\r\n\r\n' }, 1);
  await assert.rejects(request({ port, path: '/a' }), /status line "HTTP\/1\.1 banana"/);
  origin.misbehave('/a', { raw: '', rawThen: 'reset' }, 1);
  await assert.rejects(request({ port, path: '/a' }), /ECONNRESET/);
});

test('a held head and a paused body wait for their release', async (context) => {
  const origin = await startOrigin(context);
  origin.misbehave('/a', { holdHead: true, pauseAfterBytes: 1000 }, 1);
  let receivedBytes = 0;
  const pending = request({
    port: origin.port,
    path: '/a',
    onBytes: (bytes) => {
      receivedBytes += bytes.length;
    },
  });
  await origin.waitForHeld('/a');
  assert.equal(origin.requests[0]?.status, undefined);
  assert.equal(origin.release('/a'), 1);
  await origin.waitForHeld('/a');
  assert.equal(origin.bytesSent('/a') <= 1000 && receivedBytes <= 1000, true);
  assert.equal(origin.release(), 1);
  assert.equal((await pending).bodyBytes, LENGTH);
});

test('a client that leaves is recorded as aborted, also while its response is held', async (context) => {
  const origin = await startOrigin(context);
  origin.setObject('/big', { lengthBytes: 3 * 1024 ** 3 });
  await request({ port: origin.port, path: '/big', abortAfterBytes: 100_000, expect: origin.identity('/big') });
  origin.misbehave('/a', { holdHead: true }, 1);
  const connection = await ClientConnection.open({ port: origin.port });
  connection.request({ path: '/a' }).catch(() => undefined);
  await origin.waitForHeld('/a');
  connection.destroy();
  await origin.waitForIdle();
  assert.deepEqual(
    origin.requests.map(({ state }) => state),
    ['aborted', 'aborted'],
  );
  assert.ok(origin.bytesSent('/big') < 1024 ** 3, 'back-pressure holds the origin');
});

test('an object that changes in the middle goes on with the bytes of its next version', async (context) => {
  const origin = await startOrigin(context);
  const before = origin.identity('/a');
  origin.misbehave('/a', { changeAfterBytes: 100_000 }, 1);
  const { body } = await request({ port: origin.port, path: '/a' });
  assert.equal(verifyBody(body.subarray(0, 100_000), before, 0), -1);
  assert.equal(verifyBody(body.subarray(100_000), origin.identity('/a'), 100_000), -1);
  assert.equal(origin.identity('/a').version, before.version + 1);
});

test('a rate holds a body back', async (context) => {
  const origin = await startOrigin(context);
  origin.misbehave('/a', { bytesPerSecond: 2_000_000 }, 1);
  const { bodyBytes: received, totalMs } = await request({ port: origin.port, path: '/a' });
  assert.equal(received, LENGTH);
  assert.ok(totalMs >= 100, `300 kB at 2 MB/s took ${totalMs} ms`);
});

test('a connection may be dropped after a response that did not say so', async (context) => {
  const origin = await startOrigin(context);
  origin.misbehave('/a', { dropAfterResponse: true }, 1);
  const connection = await ClientConnection.open({ port: origin.port });
  assert.equal((await connection.request({ path: '/a' })).headers.connection, undefined);
  await assert.rejects(connection.request({ path: '/a' }));
});

test('a stopped origin refuses and comes back on the same port', async (context) => {
  const origin = await startOrigin(context);
  const { port } = origin;
  const kept = await ClientConnection.open({ port });
  await kept.request({ path: '/a' });
  await origin.stop();
  await assert.rejects(request({ port, path: '/a' }), { code: 'ECONNREFUSED' });
  await origin.start();
  assert.equal(origin.port, port);
  assert.equal((await request({ port, path: '/a' })).status, 200);
  await origin.stop({ keepConnections: true });
  await assert.rejects(request({ port, path: '/a' }), { code: 'ECONNREFUSED' });
});

test('an origin starts from the command line', async (context) => {
  const file = path.resolve(import.meta.dirname, '../helpers/origin-command.ts');
  const child = spawn(process.execPath, [file, '--port', '0', '--size', '1KiB', '--etag', 'weak'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  context.after(() => child.kill('SIGKILL'));
  const [line] = await once(child.stdout, 'data');
  const port = Number(/:(\d+)\n/.exec(String(line))?.[1]);
  const response = await request({ port, path: '/bytes/64KiB/x', expect: { name: '/bytes/64KiB/x', version: 1 } });
  assert.deepEqual([response.bodyBytes, response.wrongAt, response.headers.etag?.slice(0, 2)], [65_536, -1, 'W/']);
  assert.equal((await request({ port, path: '/else' })).bodyBytes, 1024);
  child.kill('SIGTERM');
  assert.deepEqual(await once(child, 'exit'), [0, null]);
});

test('on the command line an origin does wrong what it is told, and obeys lines', async (context) => {
  const file = path.resolve(import.meta.dirname, '../helpers/origin-command.ts');
  const wrong = ['--wrong', '/bytes/1KiB/a={"status":503,"times":1}', '--wrong', '/bytes/1KiB/b={"pauseAfterBytes":100}'];
  const child = spawn(process.execPath, [file, '--port', '0', '--show-requests', ...wrong], { stdio: ['pipe', 'pipe', 'ignore'] });
  context.after(() => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const port = Number(/:(\d+)$/.exec(String((await lines.next()).value))?.[1]);
  assert.equal((await request({ port, path: '/bytes/1KiB/a' })).status, 503);
  const { etag } = (await request({ port, path: '/bytes/1KiB/a' })).headers;
  const shown = [await lines.next(), await lines.next()].map(({ value }) => JSON.parse(String(value)));
  assert.deepEqual([shown[0]?.status, shown[1]?.status, shown[1]?.bodyBytesSent], [503, 200, 1024]);

  child.stdin.write('nonsense\nchange /bytes/1KiB/a\n');
  let isChanged = false;
  while (!isChanged) isChanged = (await request({ port, path: '/bytes/1KiB/a' })).headers.etag !== etag;
  let isOver = false;
  const held = request({ port, path: '/bytes/1KiB/b' }).finally(() => {
    isOver = true;
  });
  while (!isOver) {
    child.stdin.write('release /bytes/1KiB/b\n');
    await request({ port, path: '/bytes/1KiB/a' });
  }
  assert.equal((await held).bodyBytes, 1024);
});

test('a misbehaviour that cannot be read is refused with its place', () => {
  assert.deepEqual(parseWrong('/a?b=c={"raw":"x","times":2}'), { path: '/a?b=c', misbehaviour: { raw: 'x' }, times: 2 });
  assert.throws(() => parseWrong('/a'), /PATH=JSON/);
  assert.throws(() => parseWrong('a={}'), /PATH=JSON/);
  assert.throws(() => parseWrong('/a={'), /--wrong \/a: /);
  assert.throws(() => parseWrong('*={"resetAfter":1}'), /resetAfter/);
  assert.throws(() => parseWrong('*={"resetAfterBytes":-1}'), /resetAfterBytes/);
});

test('every misbehaviour of a script can be asked for on the command line', async () => {
  const script = await readFile(path.resolve(import.meta.dirname, '../helpers/origin-script.ts'), 'utf8');
  const body = /interface Misbehaviour \{([\s\S]*?)\n\}/.exec(script)?.[1] ?? '';
  const names = [...body.matchAll(/readonly (\w+)\?:/g)].map(([, name]) => name ?? '');
  assert.ok(names.length > 25);
  const command = await readFile(path.resolve(import.meta.dirname, '../helpers/origin-command.ts'), 'utf8');
  const missing = names.filter((name) => name !== 'when' && !new RegExp(`^  ${name}: `, 'm').test(command));
  assert.deepEqual(missing, [], 'missing in origin-command.ts (and in its --help)');
});
