/** Conditional requests against a stored representation (RFC 9110 s13). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { evaluatePreconditions, isRangeAllowedByIfRange, type PreconditionVerdict } from '../../src/http/conditional.ts';

const TAG = '"v1"';
const DATE = 'Sun, 06 Nov 1994 08:49:37 GMT';
const EARLIER = 'Sun, 06 Nov 1994 08:49:36 GMT';
const LATER = 'Sun, 06 Nov 1994 08:49:38 GMT';
const DATE_MS = Date.UTC(1994, 10, 6, 8, 49, 37);

interface Row {
  readonly name: string;
  readonly fields: readonly (readonly [string, string])[];
  readonly method?: string;
  readonly entityTag?: string | undefined;
  readonly lastModified?: string | undefined;
  /** Default a second after DATE. */
  readonly recordedMs?: number;
  readonly verdict: PreconditionVerdict;
}

const ROWS: readonly Row[] = [
  { name: 'no condition', fields: [], verdict: 'proceed' },
  { name: 's13.1.1 If-Match matches', fields: [['if-match', '"x", "v1"']], verdict: 'proceed' },
  { name: 's13.1.1 If-Match *', fields: [['if-match', '*']], verdict: 'proceed' },
  {
    name: 's13.1.1 If-Match of two lines',
    fields: [
      ['if-match', '"x"'],
      ['if-match', TAG],
    ],
    verdict: 'proceed',
  },
  { name: 's13.1.1 If-Match fails', fields: [['if-match', '"x"']], verdict: 'precondition-failed' },
  { name: 's13.1.1 If-Match is strong', fields: [['if-match', 'W/"v1"']], entityTag: 'W/"v1"', verdict: 'precondition-failed' },
  { name: 's13.1.1 If-Match without a stored tag', fields: [['if-match', TAG]], entityTag: undefined, verdict: 'precondition-failed' },
  { name: 's13.1.4 If-Unmodified-Since holds', fields: [['if-unmodified-since', DATE]], verdict: 'proceed' },
  { name: 's13.1.4 If-Unmodified-Since fails', fields: [['if-unmodified-since', EARLIER]], verdict: 'precondition-failed' },
  { name: 's13.1.4 not a date', fields: [['if-unmodified-since', 'yesterday']], verdict: 'proceed' },
  { name: 's13.1.4 no stored date', fields: [['if-unmodified-since', EARLIER]], lastModified: undefined, verdict: 'proceed' },
  {
    name: 's13.1.4 ignored beside If-Match',
    fields: [
      ['if-match', TAG],
      ['if-unmodified-since', EARLIER],
    ],
    verdict: 'proceed',
  },
  { name: 's13.1.2 If-None-Match matches', fields: [['if-none-match', '"x", W/"v1"']], verdict: 'not-modified' },
  { name: 's13.1.2 If-None-Match is weak', fields: [['if-none-match', TAG]], entityTag: 'W/"v1"', verdict: 'not-modified' },
  { name: 's13.1.2 If-None-Match *', fields: [['if-none-match', '*']], entityTag: undefined, verdict: 'not-modified' },
  { name: 's13.1.2 If-None-Match differs', fields: [['if-none-match', '"x"']], verdict: 'proceed' },
  { name: 's13.1.2 malformed tag', fields: [['if-none-match', 'v1']], verdict: 'proceed' },
  { name: 's13.1.2 HEAD', fields: [['if-none-match', TAG]], method: 'HEAD', verdict: 'not-modified' },
  { name: 's13.1.2 other methods', fields: [['if-none-match', TAG]], method: 'PUT', verdict: 'precondition-failed' },
  { name: 's13.1.3 If-Modified-Since same', fields: [['if-modified-since', DATE]], verdict: 'not-modified' },
  { name: 's13.1.3 If-Modified-Since later', fields: [['if-modified-since', LATER]], verdict: 'not-modified' },
  { name: 's13.1.3 If-Modified-Since earlier', fields: [['if-modified-since', EARLIER]], verdict: 'proceed' },
  { name: 's13.1.3 RFC 850 form', fields: [['if-modified-since', 'Sunday, 06-Nov-94 08:49:37 GMT']], verdict: 'not-modified' },
  { name: 's13.1.3 not a date', fields: [['if-modified-since', `${DATE}; length=5`]], verdict: 'proceed' },
  {
    name: 's13.1.3 two dates',
    fields: [
      ['if-modified-since', DATE],
      ['if-modified-since', DATE],
    ],
    verdict: 'proceed',
  },
  { name: '9111 s4.3.2 recorded later', fields: [['if-modified-since', DATE]], lastModified: undefined, verdict: 'proceed' },
  {
    name: '9111 s4.3.2 recorded no later',
    fields: [['if-modified-since', DATE]],
    lastModified: undefined,
    recordedMs: DATE_MS,
    verdict: 'not-modified',
  },
  { name: 's13.1.3 only GET and HEAD', fields: [['if-modified-since', DATE]], method: 'POST', verdict: 'proceed' },
  {
    name: 'row 21 s13.1.3 ignored beside If-None-Match',
    fields: [
      ['if-none-match', '"x"'],
      ['if-modified-since', LATER],
    ],
    verdict: 'proceed',
  },
  {
    name: 'row 20 s13.2.2 If-Match comes first',
    fields: [
      ['if-none-match', TAG],
      ['if-match', '"x"'],
    ],
    verdict: 'precondition-failed',
  },
  {
    name: 'row 20 s13.2.2 304 beats 206',
    fields: [
      ['range', 'bytes=0-1'],
      ['if-none-match', TAG],
    ],
    verdict: 'not-modified',
  },
];
for (const row of ROWS) {
  test(`evaluatePreconditions(): ${row.name} -> ${row.verdict} (9110)`, () => {
    const conditions = { method: 'GET', entityTag: TAG, lastModified: DATE, recordedMs: DATE_MS + 1000, requestFields: row.fields };
    assert.equal(evaluatePreconditions({ ...conditions, ...row }), row.verdict);
  });
}

interface IfRangeRow {
  readonly name: string;
  readonly ifRange: string | undefined;
  readonly entityTag?: string | undefined;
  readonly lastModified?: string | undefined;
  readonly dateMs?: number | undefined;
  readonly isAllowed: boolean;
}

const IF_RANGE_ROWS: readonly IfRangeRow[] = [
  { name: 'absent', ifRange: undefined, isAllowed: true },
  { name: 'row 19 strong tag', ifRange: TAG, isAllowed: true },
  { name: 'row 19 other tag', ifRange: '"v2"', isAllowed: false },
  { name: 'row 17 weak tag asked', ifRange: 'W/"v1"', isAllowed: false },
  { name: 'row 17 weak tag stored', ifRange: TAG, entityTag: 'W/"v1"', isAllowed: false },
  { name: 'no tag stored', ifRange: TAG, entityTag: undefined, isAllowed: false },
  { name: 'row 19 the date, as apt sends it', ifRange: DATE, isAllowed: true },
  { name: 'the date in another form', ifRange: 'Sun Nov  6 08:49:37 1994', isAllowed: true },
  { name: 'a later date is not exact', ifRange: LATER, isAllowed: false },
  { name: 'row 18 Date 1 s after Last-Modified', ifRange: DATE, dateMs: DATE_MS + 1000, isAllowed: true },
  { name: 'row 18 Date in the same second', ifRange: DATE, dateMs: DATE_MS, isAllowed: false },
  { name: 'row 18 no Date', ifRange: DATE, dateMs: undefined, isAllowed: false },
  { name: 'no stored date', ifRange: DATE, lastModified: undefined, isAllowed: false },
  { name: 'malformed', ifRange: 'v1', isAllowed: false },
  { name: 'a list is no tag', ifRange: '"v1", "v2"', isAllowed: false },
];
for (const row of IF_RANGE_ROWS) {
  test(`If-Range: ${row.name} -> ${row.isAllowed ? 'range' : 'whole'} (9110 s13.1.5, s8.8.2.2)`, () => {
    assert.equal(isRangeAllowedByIfRange({ entityTag: TAG, lastModified: DATE, dateMs: DATE_MS + 60_000, ...row }), row.isAllowed);
  });
}
