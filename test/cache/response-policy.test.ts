/** What may be stored, what of it, and for how long it is fresh (RFC 9111 s3, s4.2). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judgeResponse, MAX_STORED_FIELDS_BYTES, type ResponseVerdict } from '../../src/cache/response-policy.ts';
import { PLAIN_RULE, type SiteRule } from '../../src/cache/site-rule.ts';
import type { FieldList } from '../../src/http/header-fields.ts';
import { formatHttpDate } from '../../src/http/http-date.ts';

const NOW_MS = Date.UTC(2026, 0, 1);
const at = (seconds: number): string => formatHttpDate(NOW_MS + seconds * 1000);
const IMMUTABLE: SiteRule = { ...PLAIN_RULE, isImmutable: true };
const IDENTITY: FieldList = [['accept-encoding', 'identity']];
const DAY = 24 * 3600;

interface Given {
  readonly requestFields?: FieldList;
  readonly status?: number;
  readonly rule?: SiteRule;
  readonly requestTimeMs?: number;
}

function judge(fields: FieldList, given: Given = {}): ResponseVerdict {
  const base = { requestFields: IDENTITY, status: 200, requestTimeMs: NOW_MS, responseTimeMs: NOW_MS, rule: PLAIN_RULE };
  return judgeResponse({ ...base, ...given, fields });
}

const FRESH: FieldList = [['cache-control', 'max-age=60']];

const REFUSED: readonly (readonly [string, FieldList, Given, string])[] = [
  ['rule', FRESH, { rule: { ...PLAIN_RULE, store: 'never' } }, 'rule'],
  ['s3 status', FRESH, { status: 203 }, 'status'],
  ['s3 status', FRESH, { status: 404 }, 'status'],
  ['row 44 status', FRESH, { status: 301 }, 'status'],
  ['row 7 status', FRESH, { status: 416 }, 'status'],
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

test('row 33: an immutable rule strips Set-Cookie instead of refusing', () => {
  const verdict = judge(
    [
      ['set-cookie', 'a=b'],
      ['etag', '"a"'],
    ],
    { rule: IMMUTABLE },
  );
  assert.deepEqual(verdict.kind === 'store' ? verdict.fields : verdict, [['etag', '"a"']]);
});
