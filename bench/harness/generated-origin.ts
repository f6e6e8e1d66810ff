/**
 * An origin in a process of its own, for what files cannot do: a rate that all connections share, freshness of seconds, any size without a
 * file. `node bench/harness/generated-origin.ts --port N [--bytes-per-second N] [--max-age N]` serves `/bytes/SIZE/NAME` with single
 * ranges and If-None-Match, from a mebibyte of noise over and over, and `/counts`: what was sent since the last time that it was asked.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { parseArgs } from 'node:util';
import { SystemClock } from '../../src/base/clock.ts';
import { bodyBytes } from '../../test/helpers/body.ts';
import { parseSizeBytes } from '../../test/helpers/origin-command.ts';

const NOISE_BYTES = 1024 * 1024;
const PIECE_BYTES = 64 * 1024;
/** Unlimited bodies go out in pieces as large as the noise. */
const LARGE_PIECE_BYTES = NOISE_BYTES;
/** A line that stood idle may send this much at once. */
const BURST_MS = 10;
const LAST_MODIFIED = 'Sat, 21 Nov 2026 10:00:00 GMT';

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '9000' },
    'bytes-per-second': { type: 'string' },
    'max-age': { type: 'string', default: '86400' },
  },
});
const bytesPerSecond = Number(values['bytes-per-second'] ?? Number.POSITIVE_INFINITY);
const clock = new SystemClock();
// Twice the noise, so that every place in it has a whole piece after it.
const noise = bodyBytes({ name: 'noise', version: 1 }, 0, NOISE_BYTES);
const doubled = Buffer.concat([noise, noise]);
const seen = new WeakSet<object>();
let sent = { requests: 0, opened: 0, bodyBytes: 0 };
let lineFreeAtMs = 0;

const server = createServer((request, response) => {
  if (request.url === '/counts') {
    response.end(JSON.stringify(sent));
    sent = { requests: 0, opened: 0, bodyBytes: 0 };
    return;
  }
  sent.requests += 1;
  if (!seen.has(request.socket)) sent.opened += 1;
  seen.add(request.socket);
  answer(request, response).catch(() => response.destroy());
});
server.keepAliveTimeout = 600_000;
server.listen(Number(values.port), '127.0.0.1');

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const [, size] = /^\/bytes\/([^/]+)\//.exec(request.url ?? '') ?? [];
  if (size === undefined) {
    response.writeHead(404).end();
    return;
  }
  const lengthBytes = parseSizeBytes(size);
  const etag = `"${size}"`;
  const fields = { 'cache-control': `max-age=${values['max-age']}`, etag, 'last-modified': LAST_MODIFIED, 'accept-ranges': 'bytes' };
  if (
    request.headers['if-none-match'] === etag ||
    (request.headers['if-modified-since'] === LAST_MODIFIED && request.headers['if-none-match'] === undefined)
  ) {
    response.writeHead(304, fields).end();
    return;
  }
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  const start = Number(range?.[1] ?? 0);
  const end = range?.[2] ? Math.min(Number(range[2]) + 1, lengthBytes) : lengthBytes;
  if (range !== null) response.setHeader('content-range', `bytes ${start}-${end - 1}/${lengthBytes}`);
  response.writeHead(range === null ? 200 : 206, { ...fields, 'content-type': 'application/octet-stream', 'content-length': end - start });
  if (request.method === 'HEAD') response.end();
  else await send(response, start, end);
}

async function send(response: ServerResponse, start: number, end: number): Promise<void> {
  for (let offset = start; offset < end && !response.destroyed; ) {
    const count = Math.min(Number.isFinite(bytesPerSecond) ? PIECE_BYTES : LARGE_PIECE_BYTES, end - offset);
    await waitForTheLine(count);
    const from = offset % NOISE_BYTES;
    sent.bodyBytes += count;
    offset += count;
    if (!response.write(doubled.subarray(from, from + count))) await drained(response);
  }
  response.end();
}

/** Each piece takes its time on the line, which all connections share. */
async function waitForTheLine(count: number): Promise<void> {
  if (!Number.isFinite(bytesPerSecond)) return;
  const nowMs = clock.monotonicMs();
  lineFreeAtMs = Math.max(lineFreeAtMs, nowMs - BURST_MS) + (1000 * count) / bytesPerSecond;
  if (lineFreeAtMs > nowMs) await clock.sleep(lineFreeAtMs - nowMs);
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const settle = (): void => {
      response.off('drain', settle).off('close', settle);
      resolve();
    };
    response.on('drain', settle).on('close', settle);
  });
}
