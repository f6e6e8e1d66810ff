import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { request, stall } from '../helpers/client.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import { ResponseParser } from '../helpers/response-parser.ts';
import { temporaryDirectory, withTemporaryDirectory } from '../helpers/temp.ts';

function parse(text: string, pieceBytes: number, method = 'GET'): { events: string[]; rest: string; isDone: boolean } {
  const events: string[] = [];
  let body = '';
  const parser = new ResponseParser(method, {
    onInterim: ({ status }) => events.push(`interim ${status}`),
    onHead: ({ status }) => events.push(`head ${status}`),
    onBody: (bytes) => {
      body += bytes.toString('latin1');
    },
    onTrailer: (name, value) => events.push(`trailer ${name}=${value}`),
    onEnd: () => events.push(`end ${body}`),
  });
  const bytes = Buffer.from(text);
  let rest = '';
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    const piece = bytes.subarray(at, at + pieceBytes);
    rest += (parser.isDone ? piece : parser.feed(piece)).toString();
  }
  return { events, rest, isDone: parser.isDone };
}

test('the parser gives the same whatever the pieces', () => {
  const text =
    'HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\n\r\nHTTP/1.1 2';
  for (const pieceBytes of [1, 2, 7, 1000]) {
    const { events, rest, isDone } = parse(text, pieceBytes);
    assert.deepEqual(events, ['interim 103', 'head 200', 'trailer A=b', 'end hello!']);
    assert.deepEqual([rest, isDone], ['HTTP/1.1 2', true]);
  }
});

test('the parser knows responses without a body, and incomplete ones', () => {
  assert.equal(parse('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n', 1000, 'HEAD').isDone, true);
  assert.equal(parse('HTTP/1.1 304 Not Modified\r\n\r\n', 1000).isDone, true);
  assert.equal(parse('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfour', 1000).isDone, false);
  assert.equal(parse('HTTP/1.1 200 OK\r\n\r\nuntil close', 1000).isDone, false);
  assert.throws(() => parse('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', 1000), /chunk size "zz"/);
  assert.throws(() => parse('HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n', 1000), /Content-Length -5/);
});

test('a client names the first wrong byte', async (context) => {
  const origin = await Origin.start();
  context.after(() => origin.close());
  const identity = origin.setObject('/a', { lengthBytes: 100_000 });
  origin.misbehave('/a', { changeAfterBytes: 70_000 }, 1);
  const { wrongAt, bodyBytes } = await request({ port: origin.port, path: '/a', expect: identity });
  assert.ok(wrongAt >= 70_000 && wrongAt < 70_004);
  assert.equal(bodyBytes, 100_000);
});

test('a stalled client takes only what the kernel buffers, and all of it once resumed', async (context) => {
  const origin = await Origin.start();
  context.after(() => origin.close());
  const lengthBytes = 64 * 1024 * 1024;
  const identity = origin.setObject('/big', { lengthBytes });
  const stalled = await stall({ port: origin.port, path: '/big', expect: identity });
  context.after(() => stalled.destroy());
  const record = await origin.waitForRequest('/big');
  await eventually(() => record.bodyBytesSent > 0);
  // A second transfer from end to end gives the first all the time it could want.
  origin.setObject('/other', { lengthBytes: 8 * 1024 * 1024 });
  await request({ port: origin.port, path: '/other', expect: origin.identity('/other') });
  assert.ok(record.bodyBytesSent < lengthBytes / 2, `${record.bodyBytesSent} bytes were taken for a client that reads none`);
  const response = await stalled.resume();
  assert.deepEqual([response.bodyBytes, response.wrongAt, response.isComplete], [lengthBytes, -1, true]);
});

test('a response that does not end is an error at the deadline', async (context) => {
  const origin = await Origin.start();
  context.after(() => origin.close());
  origin.setObject('/a', { lengthBytes: 1000 });
  origin.misbehave('/a', { pauseAfterBytes: 10 });
  const response = await request({ port: origin.port, path: '/a', deadlineMs: 30 });
  assert.deepEqual([response.isComplete, response.bodyBytes, response.error], [false, 10, 'no end within 30 ms']);
});

test('temporary directories are removed', async (context) => {
  let kept = '';
  await context.test('inside', async (inner) => {
    kept = await temporaryDirectory(inner);
    await writeFile(path.join(kept, 'a'), 'x');
  });
  assert.equal(existsSync(kept), false);
  const scoped = await withTemporaryDirectory(async (directory) => directory);
  assert.equal(existsSync(scoped), false);
});

test('eventually() returns the first result, and says why it gave up', async () => {
  let turns = 0;
  assert.equal(await eventually(() => (turns++ < 5 ? undefined : 'there')), 'there');
  const clock = new SystemClock();
  const failure = eventually(() => false, { deadlineMs: 5, what: 'the moon', clock });
  await assert.rejects(failure, /the moon did not come within 5 ms/);
});
