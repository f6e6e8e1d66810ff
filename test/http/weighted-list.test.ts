/** Lists of preferences in their normal form (RFC 9110 s12.4.2, s12.5). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { normaliseWeightedList } from '../../src/http/weighted-list.ts';

const LISTS: readonly (readonly [string, string])[] = [
  ['de', 'de'],
  ['DE-at ,  en', 'de-at, en'],
  ['en, de', 'en, de'],
  ['de, en', 'de, en'],
  ['en;q=0.5, de', 'de, en;q=0.5'],
  ['de;q=1.000,en;Q=0.50', 'de, en;q=0.5'],
  ['a;q=0.5, b;q=0.5, c', 'c, a;q=0.5, b;q=0.5'],
  ['*;q=0, de', 'de, *;q=0'],
  [',, de ,', 'de'],
  ['', ''],
  ['Text/HTML, */*;q=0.8', 'text/html, */*;q=0.8'],
  // Not to be understood, or with more in it than weights: as it came.
  ['Text/HTML;Level=1, a', 'Text/HTML;Level=1, a'],
  ['DE;q=2', 'DE;q=2'],
  ['DE;q=0.5;x', 'DE;q=0.5;x'],
  ['"DE"', '"DE"'],
];
for (const [value, expected] of LISTS) {
  test(`row 31: ${JSON.stringify(value)} is ${JSON.stringify(expected)} (9111 s4.1, 9110 s12.4.2)`, () => {
    assert.equal(normaliseWeightedList(value), expected);
    assert.equal(normaliseWeightedList(expected), expected);
  });
}
