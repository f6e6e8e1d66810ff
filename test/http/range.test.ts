/** Ranges: parsing, resolving, writing (RFC 9110 s14); rows are those of the HTTP design table. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type ContentRange,
  formatContentRange,
  formatRangeHeader,
  formatSuffixRangeHeader,
  formatUnsatisfiedContentRange,
  parseContentRange,
  parseRangeHeader,
  type RangeSpec,
  resolveRange,
} from '../../src/http/range.ts';

const MAX = Number.MAX_SAFE_INTEGER;

const PARSED: readonly (readonly [string, string, readonly RangeSpec[]])[] = [
  ['row 4', 'bytes=0-', [{ first: 0, last: undefined }]],
  ['row 3', 'bytes=0-499', [{ first: 0, last: 499 }]],
  ['row 5', 'bytes=-500', [{ suffix: 500 }]],
  ['row 5', 'bytes=-0', [{ suffix: 0 }]],
  ['row 2', 'Bytes=1-1', [{ first: 1, last: 1 }]],
  ['row 2', 'bytes=007-08', [{ first: 7, last: 8 }]],
  ['row 9', 'bytes=0-0, -1 ,,5-', [{ first: 0, last: 0 }, { suffix: 1 }, { first: 5, last: undefined }]],
  ['row 57', 'bytes=1000-9223372036854775807', [{ first: 1000, last: MAX }]],
  ['row 57', 'bytes=9007199254740993-', [{ first: MAX, last: undefined }]],
  ['row 57', 'bytes=-99999999999999999999', [{ suffix: MAX }]],
];
for (const [row, value, specs] of PARSED) {
  test(`${row}: parseRangeHeader(${value}) (9110 s14.1.2)`, () => assert.deepEqual(parseRangeHeader(value), specs));
}

test('row 11: the limits of a Range field are inclusive (9110 s14.2)', () => {
  assert.equal(parseRangeHeader(`bytes=${Array(1000).fill('0-0').join()}`)?.length, 1000);
  const longest = `bytes=${'0'.repeat(32 * 1024 - 'bytes=-'.length)}-`;
  assert.deepEqual(parseRangeHeader(longest), [{ first: 0, last: undefined }]);
  assert.equal(parseRangeHeader(`${longest}1`), undefined);
});

const IGNORED: readonly (readonly [string, string | undefined])[] = [
  ['absent', undefined],
  ['row 2', ''],
  ['row 2', 'bytes'],
  ['row 2', 'bytes='],
  ['row 2', 'bytes=,'],
  ['row 2', 'bytes=-'],
  ['row 2', 'bytes=0--1'],
  ['row 2', 'bytes=a-b'],
  ['row 2', 'bytes=1.0-2'],
  ['row 2', 'bytes=0x1-2'],
  ['row 2', 'bytes=+1-2'],
  ['row 2', 'bytes=0 - 1'],
  ['row 2', 'bytes =0-1'],
  ['row 2', 'items=0-1'],
  ['row 2', 'bytes=0-1, x'],
  ['row 2', 'bytes=0-1, bytes=2-3'],
  ['row 6', 'bytes=5-4'],
  ['row 6', 'bytes=0-1,5-4'],
  ['row 57', 'bytes=9223372036854775807-9223372036854775806'],
  ['row 11', `bytes=${'0-0,'.repeat(8192)}`],
  ['row 57', `bytes=0-${'9'.repeat(33_000)}`],
];
for (const [row, value] of IGNORED) {
  test(`${row}: Range ${String(value).slice(0, 60)} is ignored (9110 s14.2)`, () => assert.equal(parseRangeHeader(value), undefined));
}

const RESOLVED: readonly (readonly [string, string, number, readonly [number, number] | undefined])[] = [
  ['row 3', 'bytes=0-499', 100, [0, 100]],
  ['row 3', 'bytes=99-99', 100, [99, 100]],
  ['row 4', 'bytes=10-', 100, [10, 100]],
  ['row 7', 'bytes=100-', 100, undefined],
  ['row 7', 'bytes=100-200', 100, undefined],
  ['row 5', 'bytes=-1', 100, [99, 100]],
  ['row 5', 'bytes=-100', 100, [0, 100]],
  ['row 5', 'bytes=-101', 100, [0, 100]],
  ['row 5', 'bytes=-0', 100, undefined],
  ['row 8', 'bytes=0-', 0, undefined],
  ['row 8', 'bytes=-1', 0, undefined],
  ['row 57', 'bytes=9007199254740993-', MAX, undefined],
  ['row 57', 'bytes=4294967296-9223372036854775807', 5_000_000_000, [4_294_967_296, 5_000_000_000]],
];
for (const [row, value, lengthBytes, interval] of RESOLVED) {
  test(`${row}: ${value} of ${lengthBytes} bytes (9110 s14.1.2)`, () => {
    const spec = parseRangeHeader(value)?.[0];
    assert.ok(spec !== undefined);
    const expected = interval === undefined ? { kind: 'unsatisfiable' } : { kind: 'satisfiable', start: interval[0], end: interval[1] };
    assert.deepEqual(resolveRange(spec, lengthBytes), expected);
  });
}

const CONTENT_RANGES: readonly (readonly [string, ContentRange | undefined])[] = [
  ['bytes 0-9/100', { kind: 'range', start: 0, end: 10, lengthBytes: 100 }],
  ['BYTES 0-9/100', { kind: 'range', start: 0, end: 10, lengthBytes: 100 }],
  ['bytes 0-9/*', { kind: 'range', start: 0, end: 10, lengthBytes: undefined }],
  ['bytes 99-99/100', { kind: 'range', start: 99, end: 100, lengthBytes: 100 }],
  ['bytes */100', { kind: 'unsatisfied', lengthBytes: 100 }],
  ['bytes */*', { kind: 'unsatisfied', lengthBytes: undefined }],
  ['bytes 9-0/100', undefined],
  ['bytes 0-100/100', undefined],
  ['bytes 0-/100', undefined],
  ['bytes=0-9/100', undefined],
  ['bytes  0-9/100', undefined],
  ['items 0-9/100', undefined],
  ['bytes 0-9', undefined],
  ['bytes 0-9/100, bytes 0-9/100', undefined],
  ['bytes 0-9007199254740991/*', undefined],
  ['bytes 0-9/9007199254740993', undefined],
  ['', undefined],
];
for (const [value, parsed] of CONTENT_RANGES) {
  test(`rows 13, 14: parseContentRange(${JSON.stringify(value)}) (9110 s14.4)`, () => assert.deepEqual(parseContentRange(value), parsed));
}

test('ranges are written with an inclusive last-byte-pos (9110 s14.2, s14.4)', () => {
  assert.equal(formatRangeHeader(0, 1), 'bytes=0-0');
  assert.equal(formatRangeHeader(5, undefined), 'bytes=5-');
  assert.equal(formatSuffixRangeHeader(7), 'bytes=-7');
  assert.equal(formatContentRange(0, 100, 100), 'bytes 0-99/100');
  assert.equal(formatContentRange(0, 1, undefined), 'bytes 0-0/*');
  assert.equal(formatUnsatisfiedContentRange(0), 'bytes */0');
  assert.throws(() => formatRangeHeader(1, 1), { name: 'AssertionFailure' });
  assert.throws(() => formatContentRange(0, 101, 100), { name: 'AssertionFailure' });
});
