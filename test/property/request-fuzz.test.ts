/**
 * Thousands of raw requests, most of them wrong, thrown at a listener: whatever comes, the program lives, each answer is well-formed HTTP or the
 * connection ends, and an ordinary request on a new connection is answered right. Seeded; a small share runs always, more where time is no matter.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { KIB } from '../../src/base/units.ts';
import { exchange } from '../helpers/client.ts';
import { startEdge } from '../helpers/edge.ts';
import { isHeavy } from '../helpers/heavy.ts';
import { Origin } from '../helpers/origin.ts';
import { ResponseParser } from '../helpers/response-parser.ts';

const SEED = 20_261_122;
const RUNS = isHeavy ? 20_000 : 500;
const LENGTH_BYTES = 200 * KIB;

const METHODS = ['GET', 'GET', 'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT', 'PURGE', 'BREW', 'get', ''];
const TARGETS = [
  '/a',
  '/a',
  '/a?x=1',
  '/b',
  '/missing',
  '/%61',
  '/%zz',
  '/..//a',
  'http://x/a',
  '*',
  '',
  '/a b',
  '/\0',
  `/${'a'.repeat(9000)}`,
];
const VERSIONS = ['HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0', 'HTTP/2.0', 'HTTP/0.9', 'http/1.1', ''];
const FIELDS = [
  'Host: x',
  'Host: y',
  'Host:',
  'Connection: close',
  'Connection: keep-alive, host, range',
  'Range: bytes=0-9',
  'Range: bytes=100-',
  'Range: bytes=-7',
  'Range: bytes=999999999-',
  'Range: bytes=5-1',
  'Range: bytes=0-0,2-3,-1',
  `Range: bytes=${'0-,'.repeat(500)}`,
  'Range: lines=1-2',
  'If-Range: "x"',
  'If-Range: Wed, 21 Oct 2015 07:28:00 GMT',
  'If-None-Match: *',
  'If-None-Match: "x", W/"y',
  'If-Match: "nope"',
  'If-Modified-Since: yesterday',
  'If-Unmodified-Since: Wed, 21 Oct 2015 07:28:00 GMT',
  'Cache-Control: no-store',
  'Cache-Control: only-if-cached, max-stale=99999999999999999999',
  'Cache-Control: max-age="',
  'Expect: 100-continue',
  'Expect: bananas',
  'Content-Length: 5',
  'Content-Length: 18446744073709551617',
  'Content-Length: -1',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding: identity',
  'TE: trailers',
  'Upgrade: websocket',
  'Max-Forwards: 0',
  'Authorization: Basic eDp5',
  'Cookie: a=b',
  'Accept-Encoding: gzip;q=0, *;q=',
  'CDN-Loop: "',
  'Forwarded: for=',
  'no colon',
  ' folded',
  ': nameless',
  'X: \0',
  'X: \xff\xfe',
  'X : y',
  ...Array.from({ length: 3 }, (_, index) => `X-${index}: ${'y'.repeat(5000)}`),
];
const BODIES = [
  '',
  '',
  '',
  'hello',
  '5\r\nhello\r\n0\r\n\r\n',
  '5\r\nhel',
  'ffffffffffffffff\r\n',
  '0x1\r\na\r\n',
  '0\r\nContent-Length: 9\r\n\r\n',
  '\r\n\r\n',
];

const line = fc
  .tuple(fc.constantFrom(...METHODS), fc.constantFrom(...TARGETS), fc.constantFrom(...VERSIONS))
  .map((words) => words.join(' '));
const plainRequest = fc
  .tuple(line, fc.boolean(), fc.array(fc.constantFrom(...FIELDS), { maxLength: 6 }), fc.constantFrom(...BODIES))
  .map(([first, hasHost, fields, body]) => [first, ...(hasHost ? ['Host: x'] : []), ...fields, '', body].join('\r\n'));
/** A request with some of its bytes changed, left out or doubled. */
const mutated = fc
  .tuple(
    plainRequest,
    fc.array(fc.tuple(fc.nat(), fc.constantFrom('', '\r', '\n', '\0', ' ', ':', '\x80', '0', 'GET / ')), { maxLength: 3 }),
  )
  .map(([text, changes]) => {
    let changed = text;
    for (const [at, by] of changes) {
      const place = at % (changed.length + 1);
      changed = changed.slice(0, place) + by + changed.slice(place + 1);
    }
    return changed;
  });
const session = fc.array(fc.oneof({ weight: 3, arbitrary: plainRequest }, { weight: 2, arbitrary: mutated }), {
  minLength: 1,
  maxLength: 4,
});

test(`${RUNS} connections of malformed requests leave the proxy as it was (seed ${SEED})`, async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: LENGTH_BYTES, cacheControl: 'max-age=600' });
  origin.setObject('/b', { lengthBytes: 1000, cacheControl: 'no-store' });
  const faults: unknown[] = [];
  const onFault = (fault: unknown): void => void faults.push(fault);
  process.on('uncaughtExceptionMonitor', onFault);
  process.on('unhandledRejection', onFault);
  await using edge = await startEdge({ origin, set: { 'limits.headerTimeout': '1s', 'limits.uploadStall': '1s', 'log.access': 'true' } });
  try {
    let checked = 0;
    await fc.assert(
      fc.asyncProperty(session, async (requests) => {
        const answers = await talk(edge.port, requests.join(''));
        assertWellFormed(answers);
        checked += 1;
        if (checked % 10 > 0) return;
        const plain = await edge.get('/a', { range: 'bytes=70000-150000' }, { expect: { ...body, start: 70_000 } });
        assert.deepEqual([plain.status, plain.wrongAt, plain.bodyBytes], [206, -1, 80_001]);
      }),
      { seed: SEED, numRuns: RUNS, endOnFailure: true },
    );
    const whole = await edge.get('/a', {}, { expect: body });
    assert.deepEqual([whole.status, whole.wrongAt, whole.bodyBytes, whole.isComplete], [200, -1, LENGTH_BYTES, true]);
    assert.deepEqual(faults, []);
  } finally {
    process.off('uncaughtExceptionMonitor', onFault);
    process.off('unhandledRejection', onFault);
  }
});

/** Sends everything, then a request that ends the connection where one is still understood; what came until its end. */
async function talk(port: number, text: string): Promise<string> {
  const last = 'GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
  return (await exchange({ port, bytes: Buffer.from(text + last, 'latin1'), deadlineMs: 8000 })).toString('latin1');
}

/**
 * Every byte belongs to a response that a strict parser accepts; the last one may be cut off. A body that belongs to HEAD cannot be told from the
 * bytes alone, so an answer is tried both ways.
 */
function assertWellFormed(text: string): void {
  let rest = Buffer.from(text, 'latin1');
  while (rest.length > 0) {
    const next = parseOne(rest, 'GET') ?? parseOne(rest, 'HEAD');
    assert.ok(next !== undefined, `not HTTP: ${JSON.stringify(rest.toString('latin1', 0, 300))}`);
    rest = next;
  }
}

/** The bytes behind one response, or undefined when it is none, or is followed by something that is none. */
function parseOne(bytes: Buffer<ArrayBuffer>, method: string): Buffer<ArrayBuffer> | undefined {
  const parser = new ResponseParser(method, {
    onInterim: () => undefined,
    onHead: () => undefined,
    onBody: () => undefined,
    onTrailer: () => undefined,
    onEnd: () => undefined,
  });
  try {
    const rest = Buffer.from(parser.feed(bytes));
    if (!parser.isDone) return method === 'GET' && bytes.includes('\r\n\r\nHTTP/1.1 ') ? undefined : Buffer.alloc(0);
    return rest.length === 0 || rest.toString('latin1', 0, 9) === 'HTTP/1.1 ' ? rest : undefined;
  } catch {
    return undefined;
  }
}
