/** Field lists: raw form, joining, what is end to end, and list syntax (RFC 9110 s5, s7.6.1). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  endToEndFields,
  fieldLines,
  fieldsSizeBytes,
  fieldValue,
  hasField,
  parseQuotedString,
  parseRawFields,
  splitList,
  trimWhitespace,
} from '../../src/http/header-fields.ts';

test('parseRawFields() lowers names, trims values, keeps order and repetitions (9110 s5.1, s5.3, s5.5)', () => {
  const fields = parseRawFields(['ETag', ' "x"\t', 'Vary', 'a', 'VARY', 'b', 'X-Empty', '']);
  assert.deepEqual(fields, [
    ['etag', '"x"'],
    ['vary', 'a'],
    ['vary', 'b'],
    ['x-empty', ''],
  ]);
});

test('parseRawFields() reads buffers as Latin-1 and never lets CR, LF or NUL through (9110 s5.5)', () => {
  const fields = parseRawFields([Buffer.from('X-Name'), Buffer.from([0xe9, 0x0d, 0x0a, 0x00, 0x41]), 'bad name', 'x', 'alone']);
  assert.deepEqual(fields, [['x-name', '\xe9   A']]);
});

test('fieldValue() joins lines, fieldLines() does not (9110 s5.3)', () => {
  const fields = parseRawFields(['Set-Cookie', 'a=1', 'Set-Cookie', 'b=2', 'Empty', '']);
  assert.equal(fieldValue(fields, 'set-cookie'), 'a=1, b=2');
  assert.deepEqual(fieldLines(fields, 'set-cookie'), ['a=1', 'b=2']);
  assert.equal(fieldValue(fields, 'absent'), undefined);
  assert.equal(fieldValue(fields, 'empty'), '');
  assert.deepEqual(fieldLines(fields, 'absent'), []);
  assert.equal(hasField(fields, 'empty'), true);
  assert.equal(hasField(fields, 'absent'), false);
  assert.equal(hasField([], 'absent'), false);
});

test('row 39: endToEndFields() removes hop-by-hop fields and what Connection names (9110 s7.6.1)', () => {
  const raw = ['Connection', 'close, X-Private', 'Connection', 'x-two', 'X-Private', '1', 'X-Two', '2', 'Keep-Alive', 'timeout=5'];
  const more = ['TE', 'trailers', 'Trailer', 'x', 'Transfer-Encoding', 'chunked', 'Upgrade', 'h2c', 'Proxy-Connection', 'close'];
  const kept = ['Proxy-Status', 'origin; error=x', 'ETag', '"a"', 'X-Private-2', 'stays'];
  assert.deepEqual(endToEndFields(parseRawFields([...raw, ...more, ...kept])), parseRawFields(kept));
});

test('fieldsSizeBytes() counts what a head or a record needs at most', () => {
  assert.equal(fieldsSizeBytes([['a', 'bc']]), 7);
  assert.equal(fieldsSizeBytes([['a', '\xe9']]), 7);
  assert.equal(fieldsSizeBytes([]), 0);
});

const LISTS: readonly (readonly [string, readonly string[]])[] = [
  ['a, b ,\tc', ['a', 'b', 'c']],
  [',, a,,b,', ['a', 'b']],
  ['', []],
  ['a="x, y", b', ['a="x, y"', 'b']],
  ['a="x\\", y", b', ['a="x\\", y"', 'b']],
  ['a="x, no-store', ['a="x', 'no-store']],
  ['a,b="c,d"', ['a', 'b="c,d"']],
  ['a,b,"c","d,e",f', ['a', 'b', '"c"', '"d,e"', 'f']],
  ['"\\", a', ['"\\"', 'a']],
];
for (const [value, members] of LISTS) {
  test(`splitList(${JSON.stringify(value)}) (9110 s5.6.1)`, () => assert.deepEqual(splitList(value), members));
}

test('splitList() is linear on a value made to defeat it', () => {
  const hostile = `"${'\\"'.repeat(100_000)}`;
  assert.equal(splitList(hostile).length, 1);
});

test('parseQuotedString() takes exactly one quoted string (9110 s5.6.4)', () => {
  assert.equal(parseQuotedString('"a\\"b"'), 'a"b');
  assert.equal(parseQuotedString('""'), '');
  for (const text of ['a', '"', '"a', '"a"b', '"a"b"', '']) assert.equal(parseQuotedString(text), undefined, text);
});

test('trimWhitespace() removes SP and HTAB only (9110 s5.6.3)', () => {
  assert.equal(trimWhitespace(' \t a b\t '), 'a b');
  assert.equal(trimWhitespace('\xa0a\xa0'), '\xa0a\xa0');
  assert.equal(trimWhitespace('  '), '');
});
