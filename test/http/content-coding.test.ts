/** What a client accepts of codings, in its normal form, and the coding of a response (RFC 9110 s8.4.1, s12.5.3). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codingsIn, contentCodingOf, normaliseAcceptEncoding } from '../../src/http/content-coding.ts';

const ACCEPTED: readonly (readonly [string | undefined, string])[] = [
  [undefined, 'identity'],
  ['', 'identity'],
  ['identity', 'identity'],
  ['deflate, compress', 'identity'],
  ['gzip', 'gzip'],
  ['GZip', 'gzip'],
  ['x-gzip', 'gzip'],
  ['gzip, deflate, br', 'br, gzip'],
  ['gzip, deflate, br, zstd', 'br, gzip'],
  ['zstd;q=1.0,gzip;q=0.8', 'zstd, gzip'],
  ['br', 'br'],
  ['br;q=0.9, gzip', 'gzip'],
  ['br;q=0.9, gzip;q=0.8', 'br, gzip'],
  ['br, gzip;q=0', 'br'],
  ['gzip;q=0', 'identity'],
  ['gzip;q=0.5, identity', 'identity'],
  ['gzip;q=0.5, identity;q=0.5', 'gzip'],
  ['identity;q=1, *;q=0', 'identity'],
  ['*', 'br, gzip'],
  ['*;q=0.5, gzip', 'gzip'],
  ['br;q=0, *', 'zstd, gzip'],
  ['gzip, identity;q=0', 'gzip, identity;q=0'],
  ['gzip, *;q=0', 'gzip, identity;q=0'],
  ['*;q=0', 'identity;q=0'],
  ['gzip;q=7', 'identity'],
  ['gzip;q=', 'identity'],
  ['gzip;level=1', 'identity'],
  ['gzip;q=0.5;x=1', 'identity'],
  ['gzip;q=0, gzip', 'identity'],
  [' gzip ; q=1 ', 'gzip'],
];
for (const [value, expected] of ACCEPTED) {
  test(`row 30: Accept-Encoding ${JSON.stringify(value)} is ${expected} (9110 s12.5.3)`, () => {
    assert.equal(normaliseAcceptEncoding(value), expected);
    assert.equal(normaliseAcceptEncoding(expected), expected, 'what was asked for reads as what is wanted');
  });
}

test('an answer has a coding that was asked for, or none unless that was refused (9110 s12.5.3)', () => {
  assert.deepEqual(codingsIn('identity'), ['identity']);
  assert.deepEqual(codingsIn('br, gzip'), ['br', 'gzip', 'identity']);
  assert.deepEqual(codingsIn('gzip, identity;q=0'), ['gzip']);
  assert.deepEqual(codingsIn('identity;q=0'), []);
});

const CODED: readonly (readonly [readonly string[], string | undefined])[] = [
  [[], 'identity'],
  [['identity'], 'identity'],
  [['GZIP'], 'gzip'],
  [['x-gzip'], 'gzip'],
  [['identity, br'], 'br'],
  [['gzip', 'br'], undefined],
  [['deflate'], undefined],
];
for (const [lines, expected] of CODED) {
  test(`row 29: Content-Encoding ${JSON.stringify(lines)} is ${expected} (9110 s8.4)`, () => {
    assert.equal(contentCodingOf(lines.map((line) => ['content-encoding', line] as const)), expected);
  });
}
