/** The layout of a multipart/byteranges body, byte by byte (RFC 9110 s14.6, RFC 2046 s5.1.1). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { layoutMultipart } from '../../src/http/multipart-ranges.ts';

const TWO = [
  { start: 500, end: 1000 },
  { start: 7000, end: 8000 },
];

test('row 9: layoutMultipart() writes the example of RFC 9110 s14.6', () => {
  const layout = layoutMultipart({ ranges: TWO, lengthBytes: 8000, partFields: [['Content-Type', 'application/pdf']], boundary: 'THAT' });
  assert.equal(layout?.contentType, 'multipart/byteranges; boundary=THAT');
  assert.deepEqual(
    layout?.parts.map((part) => [part.start, part.end, part.head.toString('latin1')]),
    [
      [500, 1000, '\r\n--THAT\r\nContent-Type: application/pdf\r\nContent-Range: bytes 500-999/8000\r\n\r\n'],
      [7000, 8000, '\r\n--THAT\r\nContent-Type: application/pdf\r\nContent-Range: bytes 7000-7999/8000\r\n\r\n'],
    ],
  );
  assert.equal(layout?.tail.toString('latin1'), '\r\n--THAT--\r\n');
  const heads = layout?.parts.reduce((sum, part) => sum + part.head.length, 0) ?? 0;
  assert.equal(layout?.lengthBytes, heads + 1500 + 12);
});

test('row 9: a part without fields of its own still has its Content-Range, and any byte of a field survives', () => {
  const bare = layoutMultipart({ ranges: TWO, lengthBytes: 8000, partFields: [], boundary: 'b' });
  assert.equal(bare?.parts[0]?.head.toString('latin1'), '\r\n--b\r\nContent-Range: bytes 500-999/8000\r\n\r\n');
  const latin = layoutMultipart({ ranges: TWO, lengthBytes: 8000, partFields: [['Content-Type', 'a/b; n="\xe9"']], boundary: 'b' });
  assert.equal(latin?.parts[0]?.head.includes(Buffer.from([0xe9, 0x22])), true);
});

test('row 57: a body beyond 2^53 - 1 bytes is none', () => {
  const lengthBytes = Number.MAX_SAFE_INTEGER;
  const layout = (end: number): object | undefined =>
    layoutMultipart({
      ranges: [
        { start: 0, end },
        { start: end + 1, end: end + 2 },
      ],
      lengthBytes,
      partFields: [],
      boundary: 'b',
    });
  assert.equal(layout(lengthBytes - 10), undefined);
  assert.notEqual(layout(lengthBytes - 1000), undefined);
});

test('a boundary is letters and digits, so that it needs no quotes', () => {
  for (const boundary of ['', 'a b', 'a"', 'x'.repeat(71)]) {
    assert.throws(() => layoutMultipart({ ranges: TWO, lengthBytes: 8000, partFields: [], boundary }), /boundary/);
  }
});
