/** Heads and framing of responses: what is understood, and what is refused because two readers could differ. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { framingOf, isKeptAlive, parseResponseHead, type ResponseHead } from '../../src/http/response-head.ts';

function head(...lines: string[]): ResponseHead {
  const verdict = parseResponseHead(lines.join('\r\n'));
  assert.equal(verdict.kind, 'head', lines.join('|'));
  return (verdict as { head: ResponseHead }).head;
}

test('a head is a status line and field lines (RFC 9112 s4, s5)', () => {
  assert.deepEqual(head('HTTP/1.1 200 OK', 'Content-Type:text/plain', 'X-A:  b\t', 'x-empty:', 'X-Latin: caf\xe9'), {
    minorVersion: 1,
    status: 200,
    fields: [
      ['content-type', 'text/plain'],
      ['x-a', 'b'],
      ['x-empty', ''],
      ['x-latin', 'caf\xe9'],
    ],
  });
  assert.deepEqual(head('HTTP/1.0 404 '), { minorVersion: 0, status: 404, fields: [] });
  assert.equal(head('HTTP/1.1 599').status, 599);
  assert.equal(head('HTTP/1.1 103 Early Hints').status, 103);
});

test('what could be read in two ways is refused', () => {
  for (const [why, ...lines] of [
    ['status-line', 'HTTP/1.1'],
    ['status-line', 'HTTP/1.2 200 OK'],
    ['status-line', 'HTTP/2 200'],
    ['status-line', 'HTTP/1.1 099 Low'],
    ['status-line', 'HTTP/1.1 2000 High'],
    ['status-line', 'HTTP/1.1  200 OK'],
    ['status-line', ' HTTP/1.1 200 OK'],
    ['status-line', 'http/1.1 200 OK'],
    ['status-line', 'HTTP/1.1 200 OK\nX-A: b'],
    ['status-line', 'HTTP/1.1 200 O\0K'],
    ['field-line', 'HTTP/1.1 200 OK', 'no colon'],
    ['field-line', 'HTTP/1.1 200 OK', ': no name'],
    ['field-line', 'HTTP/1.1 200 OK', ''],
    ['field-name', 'HTTP/1.1 200 OK', 'X-A : b'],
    ['field-name', 'HTTP/1.1 200 OK', 'X-A: b', ' folded: c'],
    ['field-name', 'HTTP/1.1 200 OK', 'X\xe9: b'],
    ['field-line', 'HTTP/1.1 200 OK', 'X-A: b', '\tfolded'],
    ['field-value', 'HTTP/1.1 200 OK', 'X-A: b\nContent-Length: 5'],
    ['field-value', 'HTTP/1.1 200 OK', 'X-A: b\rc'],
    ['field-value', 'HTTP/1.1 200 OK', 'X-A: \0'],
    ['field-value', 'HTTP/1.1 200 OK', 'X-A: \x7f'],
    ['too-many-fields', 'HTTP/1.1 200 OK', ...Array.from({ length: 2001 }, () => 'a: b')],
  ] as const) {
    assert.deepEqual(parseResponseHead(lines.join('\r\n')), { kind: 'invalid', why }, lines.slice(0, 3).join('|'));
  }
});

test('where the content ends (RFC 9112 s6.3)', () => {
  const ok = 'HTTP/1.1 200 OK';
  const length = (lengthBytes: number) => ({ kind: 'length', lengthBytes });
  const refused = (why: string) => ({ kind: 'invalid', why });
  for (const [method, expected, ...lines] of [
    ['GET', length(5), ok, 'Content-Length: 5'],
    ['GET', length(5), ok, 'Content-Length: 5', 'content-length: 5'],
    ['GET', length(5), ok, 'Content-Length: 5, 5'],
    ['GET', refused('content-length'), ok, 'Content-Length: 5', 'content-length: 6'],
    ['GET', refused('content-length'), ok, 'Content-Length: 5, 6'],
    ['GET', refused('content-length'), ok, 'Content-Length: +5'],
    ['GET', refused('content-length'), ok, 'Content-Length: 0x5'],
    ['GET', refused('content-length'), ok, 'Content-Length: 5 5'],
    ['GET', refused('content-length'), ok, 'Content-Length:'],
    ['GET', refused('content-length'), ok, 'Content-Length: 9007199254740993'],
    ['HEAD', refused('content-length'), ok, 'Content-Length: x'],
    ['GET', { kind: 'chunked' }, ok, 'Transfer-Encoding: Chunked'],
    ['GET', refused('transfer-encoding'), ok, 'Transfer-Encoding: chunked', 'Content-Length: 5'],
    ['HEAD', refused('transfer-encoding'), ok, 'Transfer-Encoding: chunked', 'Content-Length: 5'],
    ['GET', refused('transfer-encoding'), ok, 'Transfer-Encoding: gzip, chunked'],
    ['GET', refused('transfer-encoding'), ok, 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'],
    ['GET', refused('transfer-encoding'), ok, 'Transfer-Encoding: identity'],
    ['GET', refused('transfer-encoding'), ok, 'Transfer-Encoding:'],
    ['GET', refused('transfer-encoding'), 'HTTP/1.0 200 OK', 'Transfer-Encoding: chunked'],
    ['GET', { kind: 'close' }, ok],
    ['GET', { kind: 'close' }, 'HTTP/1.0 200 OK'],
    ['HEAD', length(0), ok, 'Content-Length: 5'],
    ['HEAD', length(0), ok],
    ['GET', length(0), 'HTTP/1.1 204 No Content'],
    ['GET', length(0), 'HTTP/1.1 304 Not Modified', 'Content-Length: 5'],
  ] as const) {
    assert.deepEqual(framingOf(method, head(...lines)), expected, lines.join('|'));
  }
});

test('whether the connection may be used again (RFC 9112 s9.3)', () => {
  const length = { kind: 'length', lengthBytes: 0 } as const;
  const isKept = (...lines: string[]): boolean => isKeptAlive(head(...lines), length);
  assert.equal(isKept('HTTP/1.1 200 OK'), true);
  assert.equal(isKept('HTTP/1.1 200 OK', 'Connection: X, Close'), false);
  assert.equal(isKept('HTTP/1.0 200 OK'), false);
  assert.equal(isKept('HTTP/1.0 200 OK', 'Connection: keep-alive'), true);
  assert.equal(isKept('HTTP/1.0 200 OK', 'Connection: keep-alive', 'Connection: close'), false);
  assert.equal(isKeptAlive(head('HTTP/1.1 200 OK'), { kind: 'close' }), false);
});
