/** What may be stored, what of it, and for how long it is fresh (RFC 9111 s3, s4.2). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judgeResponse, MAX_STORED_FIELDS_BYTES, type ResponseVerdict } from '../../src/cache/response-policy.ts';
import { PLAIN_RULE, type SiteRule } from '../../src/cache/site-rule.ts';
import type { FieldList } from '../../src/http/header-fields.ts';
import { formatHttpDate } from '../../src/http/http-date.ts';

const NOW_MS = Date.UTC(2026, 0, 1);
const at = (seconds: number): string => formatHttpDate(NOW_MS + seconds * 1000);
const IMMUTABLE: SiteRule = { ...PLAIN_RULE, isImmutable: true, setCookie: 'strip' };
const MISSING: SiteRule = { ...IMMUTABLE, missingFreshForMs: 30_000 };
const IDENTITY: FieldList = [['accept-encoding', 'identity']];
const DAY = 24 * 3600;

interface Given {
  readonly requestFields?: FieldList;
  readonly status?: number;
  readonly rule?: SiteRule;
  readonly requestTimeMs?: number;
}

function judge(fields: FieldList, given: Given = {}): ResponseVerdict {
  const base = {
    requestFields: IDENTITY,
    status: 200,
    requestTimeMs: NOW_MS,
    responseTimeMs: NOW_MS,
    rule: PLAIN_RULE,
    siteName: 's',
    path: '/a',
  };
  return judgeResponse({ ...base, ...given, fields });
}

const AUTHORIZED: Given = { requestFields: [['authorization', 'x']] };
/** A tag and a date long ago: what a heuristic would rest on. */
const HINTED: FieldList = [
  ['etag', '"a"'],
  ['last-modified', at(-1000)],
  ['date', at(0)],
];
const FRESH: FieldList = [['cache-control', 'max-age=60']];

const REFUSED: readonly (readonly [string, FieldList, Given, string])[] = [
  ['rule', FRESH, { rule: { ...PLAIN_RULE, store: 'never' } }, 'rule'],
  ['row 7 status', FRESH, { status: 416 }, 'status'],
  ['s3 a 304 is no response of its own', FRESH, { status: 304 }, 'status'],
  ['s3 a 412 answers a condition', FRESH, { status: 412 }, 'status'],
  ['RFC 6585 s4', [['cache-control', 'public, max-age=60']], { status: 429 }, 'status'],
  ['RFC 6585 s6', FRESH, { status: 511 }, 'status'],
  ['s3 nothing that lets it be stored', HINTED, { status: 201 }, 'status'],
  ['row 44 s3 nothing that lets it be stored', HINTED, { status: 302 }, 'status'],
  ['row 44 s3 nothing that lets it be stored', HINTED, { status: 307 }, 'status'],
  ['s3 nothing that lets it be stored', HINTED, { status: 403 }, 'status'],
  ['s3 nothing that lets it be stored', HINTED, { status: 502 }, 'status'],
  ['s3 nothing that lets it be stored', HINTED, { status: 599 }, 'status'],
  ['row 36 Expires has no say', [...HINTED, ['cdn-cache-control', 'x'], ['expires', at(900)]], { status: 503 }, 'status'],
  ['row 45 a rule for content', [], { status: 404, rule: IMMUTABLE }, 'never-fresh'],
  ['row 45 a rule for content', [], { status: 410, rule: { ...PLAIN_RULE, freshForMs: 1000 } }, 'never-fresh'],
  ['row 45 a rule for what is missing', [], { status: 403, rule: MISSING }, 'status'],
  ['row 45 a 304 speaks of a 200 only', [['etag', '"a"']], { status: 404 }, 'never-fresh'],
  ['row 34 s5.2.2.3 not understood', [['cache-control', 'must-understand, max-age=60']], { status: 299 }, 'must-understand'],
  ['row 34 s5.2.2.3 not understood', [['cache-control', 'no-store, must-understand, max-age=60']], { status: 599 }, 'must-understand'],
  ['row 36 no-store', [...FRESH, ['cdn-cache-control', 'no-store']], {}, 'no-store'],
  ['row 36 private', [...FRESH, ['cdn-cache-control', 'private']], {}, 'private'],
  [
    'row 36 not a dictionary',
    [
      ['cache-control', 'no-store'],
      ['cdn-cache-control', 'max-age=60, &&&&'],
    ],
    {},
    'no-store',
  ],
  [
    'row 36 wrong type',
    [
      ['cache-control', 'no-store'],
      ['cdn-cache-control', 'max-age="60"'],
    ],
    {},
    'no-store',
  ],
  [
    'row 36 wrong type',
    [
      ['cache-control', 'no-store'],
      ['cdn-cache-control', 'max-age=60.0'],
    ],
    {},
    'no-store',
  ],
  [
    'row 36 keys are lower-case',
    [
      ['cache-control', 'no-store'],
      ['cdn-cache-control', 'MaX-aGe=60'],
    ],
    {},
    'no-store',
  ],
  [
    'row 36 empty',
    [
      ['cache-control', 'no-store'],
      ['cdn-cache-control', ''],
    ],
    {},
    'no-store',
  ],
  [
    'row 36 our own field first',
    [
      ['cdn-cache-control', 'max-age=60'],
      ['rawslice-cache-control', 'no-store'],
    ],
    {},
    'no-store',
  ],
  [
    'row 32 s3.5 the targeted field alone',
    [
      ['cache-control', 'public'],
      ['cdn-cache-control', 'max-age=60'],
    ],
    AUTHORIZED,
    'authorization',
  ],
  ['row 34 s5.2.1.5', FRESH, { requestFields: [['cache-control', 'no-store']] }, 'request-no-store'],
  ['row 34 s5.2.2.5', [['cache-control', 'max-age=60, no-store']], {}, 'no-store'],
  ['row 34 s5.2.2.5, immutable', [['cache-control', 'no-store']], { rule: IMMUTABLE }, 'no-store'],
  ['row 34 s5.2.2.7', [['cache-control', 'private, max-age=60']], {}, 'private'],
  ['row 34 s5.2.2.7, immutable', [['cache-control', 'private']], { rule: IMMUTABLE }, 'private'],
  ['row 34 s5.2.2.7, fresh by rule', [['cache-control', 'private']], { rule: { ...PLAIN_RULE, freshForMs: 1000 } }, 'private'],
  ['row 32 s3.5', FRESH, { requestFields: [['authorization', 'x']] }, 'authorization'],
  ['row 31 s4.1', [...FRESH, ['vary', 'Accept-Encoding'], ['vary', '*']], {}, 'vary'],
  ['row 31 s4.1', [...FRESH, ['vary', 'Range']], {}, 'vary'],
  ['row 29', [...FRESH, ['content-encoding', 'deflate']], {}, 'content-encoding'],
  ['row 29', [...FRESH, ['content-encoding', 'gzip, br']], {}, 'content-encoding'],
  ['row 33', [...FRESH, ['set-cookie', 'a=b']], {}, 'set-cookie'],
  [
    'row 33 even if public',
    [
      ['cache-control', 'public, max-age=60'],
      ['set-cookie', 'a=b'],
    ],
    {},
    'set-cookie',
  ],
  ['fields', [...FRESH, ['x', 'a'.repeat(MAX_STORED_FIELDS_BYTES)]], {}, 'fields-too-large'],
  ['s3 nothing to reuse', [], {}, 'never-fresh'],
  ['s3 nothing to reuse', [['cache-control', 'no-cache, max-age=60']], {}, 'never-fresh'],
  ['s3 nothing to reuse', [['etag', 'unquoted']], {}, 'never-fresh'],
  ['s4.2.3 too old on arrival', [...FRESH, ['age', '60']], {}, 'never-fresh'],
];
for (const [name, fields, given, reason] of REFUSED) {
  test(`judgeResponse(): ${name}: ${JSON.stringify(fields).slice(0, 80)} is not stored: ${reason} (9111)`, () => {
    assert.deepEqual(judge(fields, given), { kind: 'not-storable', reason });
  });
}

const VARYING: readonly (readonly [FieldList, readonly string[]])[] = [
  [[], []],
  [[['vary', 'Origin, Accept']], ['accept', 'origin']],
  [[['vary', 'Accept-Encoding']], ['accept-encoding']],
  [[['content-encoding', 'gzip']], ['accept-encoding']],
];
for (const [fields, varying] of VARYING) {
  test(`judgeResponse(): rows 29, 31: ${JSON.stringify(fields)} is stored as a variant by [${varying.join(', ')}] (9111 s4.1)`, () => {
    const verdict = judge([...FRESH, ...fields]);
    assert.deepEqual(verdict.kind === 'store' && verdict.varying, varying);
  });
}

/** Seconds of freshness left on arrival. */
const STORED: readonly (readonly [string, FieldList, Given, number])[] = [
  ...[200, 201, 203, 204, 299, 300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 410, 414, 451, 499, 500, 501, 502, 503, 504, 599].map(
    (status) => ['s3 any final status with explicit freshness', FRESH, { status }, 60] as const,
  ),
  ...[200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501].map(
    (status) => ['rows 44, 45 s4.2.2 heuristic', HINTED, { status }, 100] as const,
  ),
  ...[302, 403, 502, 599].map(
    (status) => ['rows 44, 45 s4.2.2 heuristic where public', [...HINTED, ['cache-control', 'public']], { status }, 100] as const,
  ),
  ['row 44 s5.3 Expires', [['expires', at(900)]], { status: 302 }, 900],
  ['row 45 by rule, over the origin', FRESH, { status: 404, rule: MISSING }, 30],
  ['row 45 by rule, without a word', [], { status: 410, rule: MISSING }, 30],
  ['row 45 a rule for content leaves it alone', FRESH, { status: 404, rule: IMMUTABLE }, 60],
  ['row 44 a rule for content leaves it alone', FRESH, { status: 301, rule: { ...PLAIN_RULE, freshForMs: 5000 } }, 60],
  ['row 34 s5.2.2.3 understood', [['cache-control', 'no-store, must-understand, max-age=60']], { status: 404 }, 60],
  ['row 41 nothing but stale use', [['cache-control', 'max-age=0, stale-while-revalidate=60']], {}, 0],
  ['row 42 nothing but stale use', [['cache-control', 'max-age=0, stale-if-error=60']], { status: 404 }, 0],
  ['row 36 replaces', [...FRESH, ['cdn-cache-control', 'max-age=90'], ['expires', at(-900)]], {}, 90],
  [
    'row 36 shorter',
    [
      ['cache-control', 'max-age=900'],
      ['cdn-cache-control', 'max-age=10'],
    ],
    {},
    10,
  ],
  [
    'row 36 over no-store',
    [
      ['cache-control', 'no-store'],
      ['cdn-cache-control', 'max-age=90'],
    ],
    {},
    90,
  ],
  [
    'row 36 over private',
    [
      ['cache-control', 'private'],
      ['cdn-cache-control', 'max-age=90'],
    ],
    {},
    90,
  ],
  [
    'row 36 zero',
    [
      ['cdn-cache-control', 'max-age=0'],
      ['expires', at(900)],
      ['etag', '"a"'],
    ],
    {},
    0,
  ],
  [
    'row 36 negative is zero',
    [
      ['cdn-cache-control', 'max-age=-1'],
      ['etag', '"a"'],
    ],
    {},
    0,
  ],
  ['row 36 saturates', [['cdn-cache-control', 'max-age=99999999999']], {}, 2 ** 31],
  [
    'row 36 Age counts',
    [
      ['cdn-cache-control', 'max-age=90'],
      ['age', '30'],
    ],
    {},
    60,
  ],
  ['row 36 unknown directives, parameters', [['cdn-cache-control', 'foobar, x=(a b);q, max-age=90;y=1']], {}, 90],
  [
    'row 36 two lines',
    [
      ['cdn-cache-control', 'public'],
      ['cdn-cache-control', 'max-age=90'],
    ],
    {},
    90,
  ],
  ['row 36 the last of two counts', [['cdn-cache-control', 'max-age=5, max-age=90']], {}, 90],
  [
    'row 36 without a lifetime: heuristic, not Cache-Control',
    [...HINTED, ['cache-control', 'max-age=5'], ['cdn-cache-control', 'foo']],
    {},
    100,
  ],
  ['row 36 malformed: Cache-Control', [...FRESH, ['cdn-cache-control', 'max-age =90']], {}, 60],
  [
    'row 36 our own field first',
    [
      ['cdn-cache-control', 'no-store'],
      ['rawslice-cache-control', 'max-age=90'],
    ],
    {},
    90,
  ],
  [
    'row 36 a malformed one makes room for the next',
    [
      ['rawslice-cache-control', '?'],
      ['cdn-cache-control', 'max-age=90'],
    ],
    {},
    90,
  ],
  [
    'row 36 private names fields',
    [
      ['cdn-cache-control', 'private="set-cookie", max-age=90'],
      ['set-cookie', 'a=b'],
    ],
    {},
    90,
  ],
  ['row 32 s3.5 targeted', [['cdn-cache-control', 'public, max-age=90']], AUTHORIZED, 90],
  ['row 33 kept by rule', [...FRESH, ['set-cookie', 'a=b']], { rule: { ...PLAIN_RULE, setCookie: 'keep' } }, 60],
  ['row 35 max-age', FRESH, {}, 60],
  ['row 35 a part of a 200', FRESH, { status: 206 }, 60],
  ['row 35 s-maxage over max-age', [['cache-control', 'max-age=60, s-maxage=90']], {}, 90],
  ['row 35 max-age over Expires', [...FRESH, ['expires', at(900)], ['date', at(0)]], {}, 60],
  [
    'row 35 malformed max-age is 0',
    [
      ['cache-control', 'max-age=x'],
      ['expires', at(900)],
      ['etag', '"a"'],
    ],
    {},
    0,
  ],
  [
    's5.3 Expires',
    [
      ['expires', at(900)],
      ['date', at(0)],
    ],
    {},
    900,
  ],
  ['s5.3 Expires without Date', [['expires', at(900)]], {}, 900],
  [
    's5.3 Expires by a clock that is behind',
    [
      ['expires', at(0)],
      ['date', at(-100)],
      ['etag', '"a"'],
    ],
    {},
    0,
  ],
  [
    's5.3 Expires by a clock that is ahead',
    [
      ['expires', at(190)],
      ['date', at(100)],
    ],
    {},
    90,
  ],
  [
    's5.3 Expires in the past',
    [
      ['expires', at(-900)],
      ['etag', '"a"'],
    ],
    {},
    0,
  ],
  [
    's5.3 Expires 0',
    [
      ['expires', '0'],
      ['last-modified', at(-DAY)],
    ],
    {},
    0,
  ],
  [
    's5.3 Expires in wrong case',
    [
      ['expires', at(900).toLowerCase()],
      ['etag', '"a"'],
    ],
    {},
    0,
  ],
  [
    's5.3 two Expires',
    [
      ['expires', at(900)],
      ['expires', at(800)],
      ['etag', '"a"'],
    ],
    {},
    0,
  ],
  [
    's4.2.2 a tenth',
    [
      ['last-modified', at(-1000)],
      ['date', at(0)],
    ],
    {},
    100,
  ],
  [
    's4.2.2 no longer than a day',
    [
      ['last-modified', at(-1000 * DAY)],
      ['date', at(0)],
    ],
    {},
    DAY,
  ],
  [
    's4.2.2 modified in the future',
    [
      ['last-modified', at(1000)],
      ['date', at(0)],
    ],
    {},
    0,
  ],
  [
    's4.2.2 not with no-cache',
    [
      ['last-modified', at(-1000)],
      ['cache-control', 'no-cache'],
    ],
    {},
    0,
  ],
  ['validator only', [['etag', 'W/"a"']], {}, 0],
  [
    'row 34 s5.2.2.4 no-cache',
    [
      ['cache-control', 'no-cache, max-age=60'],
      ['etag', '"a"'],
    ],
    {},
    0,
  ],
  ['row 34 s5.2.2.4 qualified no-cache', [['cache-control', 'no-cache="x", max-age=60']], {}, 60],
  ['row 34 s5.2.2.7 qualified private', [['cache-control', 'private="x", max-age=60']], {}, 60],
  ['row 34 s5.2.2.3 must-understand', [['cache-control', 'no-store, must-understand, max-age=60']], {}, 60],
  ['row 32 s3.5 public', [['cache-control', 'public, max-age=60']], { requestFields: [['authorization', 'x']] }, 60],
  ['row 32 s3.5 s-maxage', [['cache-control', 's-maxage=60']], { requestFields: [['authorization', 'x']] }, 60],
  ['row 30 Vary on what was asked', [...FRESH, ['vary', 'Accept-Encoding, accept-encoding']], {}, 60],
  ['row 29 identity', [...FRESH, ['content-encoding', 'identity']], {}, 60],
  [
    'row 33 cookie withheld by name',
    [
      ['cache-control', 'max-age=60, private="Set-Cookie"'],
      ['set-cookie', 'a'],
    ],
    {},
    60,
  ],
  ['row 38 s4.2.3 Age', [...FRESH, ['age', '20']], {}, 40],
  ['row 38 s5.1 first of several', [...FRESH, ['age', '20, 50']], {}, 40],
  ['row 38 s5.1 first of several', [...FRESH, ['age', '20'], ['age', '50']], {}, 40],
  ['row 38 s5.1 not a number', [...FRESH, ['age', '20.0']], {}, 60],
  ['row 38 s5.1 not a number', [...FRESH, ['age', '-20']], {}, 60],
  ['row 38 s4.2.3 apparent age', [...FRESH, ['date', at(-30)]], {}, 30],
  ['row 38 s4.2.3 the larger of the two', [...FRESH, ['date', at(-30)], ['age', '35']], {}, 25],
  ['row 38 s4.2.3 a clock that is ahead', [...FRESH, ['date', at(30)]], {}, 60],
  ['row 38 s4.2.3 delay of the response', [...FRESH, ['age', '10']], { requestTimeMs: NOW_MS - 5000 }, 45],
  ['row 38 s4.2.3 delay without Age', FRESH, { requestTimeMs: NOW_MS - 5000 }, 55],
  ['rule over max-age', FRESH, { rule: { ...PLAIN_RULE, freshForMs: 5000 } }, 5],
  [
    'rule over no-cache, whatever the age',
    [
      ['cache-control', 'no-cache'],
      ['age', '99'],
    ],
    { rule: { ...PLAIN_RULE, freshForMs: 5000 } },
    5,
  ],
  ['rule of zero', [...FRESH, ['etag', '"a"']], { rule: { ...PLAIN_RULE, freshForMs: 0 } }, 0],
  ['row 43 immutable for a year', [['cache-control', 'no-cache']], { rule: IMMUTABLE }, 365 * DAY],
  ['row 43 immutable as long as the rule says', [], { rule: { ...IMMUTABLE, freshForMs: 7000 } }, 7],
  ['row 57 overflow', [['cache-control', 'max-age=99999999999999999999']], {}, 2 ** 31],
];
for (const [name, fields, given, seconds] of STORED) {
  test(`judgeResponse(): ${name}: ${JSON.stringify(fields)} is fresh for ${seconds} s (9111)`, () => {
    const verdict = judge(fields, given);
    assert.equal(verdict.kind, 'store');
    if (verdict.kind !== 'store') return;
    const leftMs = verdict.freshness.freshUntilMs - NOW_MS;
    assert.equal(seconds === 0 ? Math.max(0, leftMs) : leftMs, seconds * 1000);
    assert.equal(verdict.freshness.receivedAtMs, NOW_MS);
  });
}

test('row 38: an Age beyond all bounds saturates and stays a valid record (9111 s1.2.2, s4.2.3)', () => {
  const verdict = judge([...FRESH, ['etag', '"a"'], ['age', '9'.repeat(40)]]);
  assert.ok(verdict.kind === 'store');
  assert.equal(verdict.freshness.initialAgeSeconds, 2 ** 31);
  assert.equal(verdict.freshness.freshUntilMs, 0);
});

test('rows 34, 39, 53: stored fields are end to end, without framing, Age, and what is named (9111 s3.1, 9110 s7.6.1)', () => {
  const kept: FieldList = [
    ['cache-control', 'max-age=60, no-cache="x-a", private="x-b, x-c"'],
    ['content-type', 'text/plain'],
    ['x-unknown', '1'],
    ['x-unknown', '2'],
    ['repr-digest', 'sha-256=:AA==:'],
  ];
  const dropped: FieldList = [
    ['x-a', '1'],
    ['x-b', '1'],
    ['x-c', '1'],
    ['connection', 'x-d'],
    ['x-d', '1'],
    ['content-length', '5'],
    ['content-range', 'bytes 0-4/9'],
    ['transfer-encoding', 'chunked'],
    ['trailer', 'x'],
    ['age', '1'],
    ['content-digest', 'sha-256=:AA==:'],
  ];
  const verdict = judge([...kept, ...dropped]);
  assert.deepEqual(verdict.kind === 'store' ? verdict.fields : verdict, kept);
});

for (const [setCookie, kept] of [
  ['strip', []],
  ['keep', [['set-cookie', 'a=b']]],
] as const) {
  test(`row 33: a rule may ${setCookie} Set-Cookie instead of refusing (9111 s7.3)`, () => {
    const verdict = judge(
      [
        ['etag', '"a"'],
        ['set-cookie', 'a=b'],
      ],
      { rule: { ...PLAIN_RULE, setCookie } },
    );
    assert.deepEqual(verdict.kind === 'store' ? verdict.fields : verdict, [['etag', '"a"'], ...kept]);
  });
}

test('row 36: the targeted field is stored and goes on with the rest (RFC 9213 s2.2)', () => {
  const fields: FieldList = [
    ['cdn-cache-control', 'max-age=60'],
    ['cache-control', 'max-age=5'],
    ['expires', '0'],
  ];
  const verdict = judge(fields);
  assert.deepEqual(verdict.kind === 'store' ? verdict.fields : verdict, fields);
});
