/**
 * Row 28: requests that two recipients could take apart differently. Each is followed by another request in the same bytes: the origin must see
 * neither, the client gets one answer, and the connection ends.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { RefusalKind } from '../../src/proxy/refusal.ts';
import { exchange } from '../helpers/client.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';

const POST = 'POST /a HTTP/1.1\r\nHost: x\r\n';
const GET = 'GET /a HTTP/1.1\r\nHost: x\r\n';
const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n`;
const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n';

const CASES: readonly (readonly [what: string, bytes: string, status: number, kind: RefusalKind])[] = [
  ['Content-Length before Transfer-Encoding', `${POST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400, 'syntax'],
  ['Transfer-Encoding before Content-Length', `${CHUNKED}Content-Length: 3\r\n\r\n0\r\n\r\n`, 400, 'syntax'],
  ['two lengths that differ', `${POST}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc`, 400, 'syntax'],
  ['two lengths that are equal', `${POST}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc`, 400, 'syntax'],
  ['a list of lengths', `${POST}Content-Length: 3, 3\r\n\r\nabc`, 400, 'syntax'],
  ['a length with a sign', `${POST}Content-Length: +3\r\n\r\nabc`, 400, 'syntax'],
  ['a negative length', `${POST}Content-Length: -3\r\n\r\nabc`, 400, 'syntax'],
  ['a hexadecimal length', `${POST}Content-Length: 0x3\r\n\r\nabc`, 400, 'syntax'],
  ['a length beyond 2^64', `${POST}Content-Length: 99999999999999999999\r\n\r\nabc`, 400, 'syntax'],
  ['a length beyond 2^53', `${POST}Content-Length: 9007199254740993\r\n\r\nabc`, 400, 'framing'],
  ['chunked, identity', `${POST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`, 400, 'syntax'],
  ['identity', `${POST}Transfer-Encoding: identity\r\n\r\n`, 400, 'framing'],
  ['nearly chunked', `${POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`, 400, 'framing'],
  ['chunked behind a vertical tab', `${POST}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n`, 400, 'syntax'],
  ['chunked twice', `${CHUNKED}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400, 'syntax'],
  ['a coding that nobody takes off', `${POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, 501, 'coding'],
  ['a folded Transfer-Encoding', `${POST}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n`, 400, 'syntax'],
  [
    'Transfer-Encoding in HTTP/1.0',
    'POST /a HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    400,
    'framing',
  ],
  ['white space before the colon', `${POST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`, 400, 'syntax'],
  ['a folded field', `${GET}X: a\r\n b\r\n\r\n`, 400, 'syntax'],
  ['white space before the first field', 'GET /a HTTP/1.1\r\n X: a\r\nHost: x\r\n\r\n', 400, 'syntax'],
  ['lines that end in LF', 'GET /a HTTP/1.1\nHost: x\n\n', 400, 'syntax'],
  ['one line that ends in LF', 'GET /a HTTP/1.1\r\nHost: x\nX: y\r\n\r\n', 400, 'syntax'],
  ['CR alone inside a value', `${GET}X: a\rb\r\n\r\n`, 400, 'syntax'],
  ['NUL inside a value', `${GET}X: a\0b\r\n\r\n`, 400, 'syntax'],
  ['NUL inside a name', `${GET}X\0: a\r\n\r\n`, 400, 'syntax'],
  ['NUL inside the target', 'GET /a\0 HTTP/1.1\r\nHost: x\r\n\r\n', 400, 'syntax'],
  ['a field without a name', `${GET}: a\r\n\r\n`, 400, 'syntax'],
  ['no Host field (RFC 9112 s3.2)', 'GET /a HTTP/1.1\r\nX: y\r\n\r\n', 400, 'host'],
  ['two Host fields', `${GET}Host: y\r\n\r\n`, 400, 'host'],
  ['a list of hosts', 'GET /a HTTP/1.1\r\nHost: x, y\r\n\r\n', 400, 'host'],
  ['user information in Host', 'GET /a HTTP/1.1\r\nHost: u@x\r\n\r\n', 400, 'host'],
  ['a fragment in the target', 'GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n', 400, 'target'],
  ['a chunk size with 0x', `${CHUNKED}\r\n0x3\r\nabc\r\n0\r\n\r\n`, 400, 'content'],
  ['a chunk size with a space', `${CHUNKED}\r\n3 \r\nabc\r\n0\r\n\r\n`, 400, 'content'],
  ['a chunk size beyond 2^64', `${CHUNKED}\r\n10000000000000000\r\nabc\r\n0\r\n\r\n`, 400, 'content'],
  ['a chunk size line that ends in LF', `${CHUNKED}\r\n3\nabc\r\n0\r\n\r\n`, 400, 'content'],
  ['a chunk extension that ends in LF', `${CHUNKED}\r\n3;a\nabc\r\n0\r\n\r\n`, 400, 'content'],
  ['a chunk that is longer than it says', `${CHUNKED}\r\n3\r\nabcd\r\n0\r\n\r\n`, 400, 'content'],
  ['chunk extensions without end', `${CHUNKED}\r\n3;${'a'.repeat(20_000)}\r\nabc\r\n0\r\n\r\n`, 400, 'content'],
  ['a Content-Length among the trailers', `${CHUNKED}\r\n3\r\nabc\r\n0\r\nContent-Length: 4\r\n\r\n`, 400, 'content'],
];

let origin: Origin;
let edge: TestEdge;
before(async () => {
  origin = await Origin.start();
  // What arrives nevertheless is answered, so that it would be seen.
  origin.setObject('/a', { lengthBytes: 10 });
  origin.setObject('/smuggled', { lengthBytes: 10, cacheControl: 'max-age=60' });
  edge = await startEdge({ origin });
});
after(async () => {
  await edge[Symbol.asyncDispose]();
  await origin.close();
});

for (const [what, bytes, status, kind] of CASES) {
  test(`row 28 (RFC 9112 s2.2, s5.1, s6.3, s7.1, s11.2): ${what} is refused with ${status}`, async () => {
    const counted = edge.services.metrics.value('refused', kind);
    const text = (await exchange({ port: edge.port, bytes: bytes + SMUGGLED })).toString('latin1');
    assert.deepEqual(
      [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1])),
      [status],
      text,
    );
    assert.match(text, /\r\nconnection: close\r\n/i);
    assert.match(text, /\r\nproxy-status: rawslice; error=http_request_error/i);
    assert.equal(edge.services.metrics.value('refused', kind), counted + 1);
    assert.deepEqual(origin.requestsFor('/smuggled'), []);
    await edge.settle();
    assert.equal((await edge.get('/missing')).status, 404);
  });
}

test('row 28 (RFC 9112 s7.1.1): a chunk extension says nothing here and is not passed on', async () => {
  const bytes = `${CHUNKED}Connection: close\r\n\r\n3;name=value;other\r\nabc\r\n0\r\nX-Trailer: a\r\n\r\n`;
  assert.match((await exchange({ port: edge.port, bytes })).toString('latin1'), /^HTTP\/1\.1 200 /);
  assert.equal(origin.requestsFor('/a').at(-1)?.requestBodyBytes, 3);
});
