/** HTTP dates (RFC 9110 s5.6.7). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatHttpDate, parseHttpDate } from '../../src/http/http-date.ts';

const EXAMPLE_MS = Date.UTC(1994, 10, 6, 8, 49, 37);

const VALID: readonly (readonly [string, number])[] = [
  ['Sun, 06 Nov 1994 08:49:37 GMT', EXAMPLE_MS],
  ['Sunday, 06-Nov-94 08:49:37 GMT', EXAMPLE_MS],
  ['Sun Nov  6 08:49:37 1994', EXAMPLE_MS],
  ['Wed Nov 16 08:49:37 1994', Date.UTC(1994, 10, 16, 8, 49, 37)],
  ['Thursday, 18-Aug-50 02:01:18 GMT', Date.UTC(2050, 7, 18, 2, 1, 18)],
  ['Thu, 01 Jan 1970 00:00:00 GMT', 0],
  ['Thu, 29 Feb 2024 00:00:00 GMT', Date.UTC(2024, 1, 29)],
  ['Sat, 31 Dec 2016 23:59:60 GMT', Date.UTC(2017, 0, 1)],
  ['Fri, 31 Dec 9999 23:59:59 GMT', Date.UTC(9999, 11, 31, 23, 59, 59)],
];
for (const [text, timeMs] of VALID) {
  test(`parseHttpDate(${text}) (9110 s5.6.7)`, () => assert.equal(parseHttpDate(text), timeMs));
}

const INVALID = [
  '',
  '0',
  '-1',
  'SUN, 06 Nov 1994 08:49:37 GMT',
  'Sun, 06 nov 1994 08:49:37 GMT',
  'Sun, 06 Nov 1994 08:49:37 gmt',
  'Mon, 06 Nov 1994 08:49:37 GMT',
  'Sunday, 06 Nov 1994 08:49:37 GMT',
  'Sun, 06-Nov-94 08:49:37 GMT',
  'Monday, 06-Nov-94 08:49:37 GMT',
  'Sun, 6 Nov 1994 08:49:37 GMT',
  'Sun, 06 Nov 1994 8:49:37 GMT',
  'Sun, 06 Nov 1994 08:49:37 UTC',
  'Sun, 06 Nov 1994 08:49:37 +0000',
  'Sun, 06 Nov 1994 08:49:37',
  'Sun,  06 Nov 1994 08:49:37 GMT',
  'Sun, 06 Nov 94 08:49:37 GMT',
  'Fri, 01 Jan 0099 00:00:00 GMT',
  'Sun, 32 Nov 1994 08:49:37 GMT',
  'Sun, 0x Nov 1994 08:49:37 GMT',
  'Sun, 06-Nov-1994 08:49:37 GMT',
  'Thu, 30 Feb 2024 00:00:00 GMT',
  'Wed, 29 Feb 2023 00:00:00 GMT',
  'Sun, 06 Nov 1994 24:00:00 GMT',
  'Sun, 06 Nov 1994 08:60:00 GMT',
  'Sun, 06 Nov 1994 08:49:60 GMT',
  'Sun, 00 Nov 1994 08:49:37 GMT',
  'Sun Nov 06 08:49:37 1994 GMT',
  'Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT',
  ' Sun, 06 Nov 1994 08:49:37 GMT',
];
for (const text of INVALID) {
  test(`parseHttpDate(${JSON.stringify(text)}) is no date (9110 s5.6.7)`, () => assert.equal(parseHttpDate(text), undefined));
}

test('parseHttpDate() reads what formatHttpDate() writes, on every day, and on no other day of the week (9110 s5.6.7)', () => {
  const DAY_MS = 24 * 3600 * 1000;
  const names = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
  for (let dayMs = Date.UTC(1970, 0, 1); dayMs < Date.UTC(2110, 0, 1); dayMs += DAY_MS) {
    const text = formatHttpDate(dayMs + 86_399_000);
    assert.equal(parseHttpDate(text), dayMs + 86_399_000);
    for (const name of names) if (!text.startsWith(name)) assert.equal(parseHttpDate(name + text.slice(3)), undefined);
  }
});

test('formatHttpDate() writes IMF-fixdate and stays within what it can say (9110 s5.6.7)', () => {
  assert.equal(formatHttpDate(EXAMPLE_MS), 'Sun, 06 Nov 1994 08:49:37 GMT');
  assert.equal(formatHttpDate(EXAMPLE_MS + 999), 'Sun, 06 Nov 1994 08:49:37 GMT');
  assert.equal(formatHttpDate(Number.POSITIVE_INFINITY), 'Fri, 31 Dec 9999 23:59:59 GMT');
  assert.equal(formatHttpDate(-1), 'Thu, 01 Jan 1970 00:00:00 GMT');
  assert.equal(formatHttpDate(Number.NaN), 'Thu, 01 Jan 1970 00:00:00 GMT');
});
