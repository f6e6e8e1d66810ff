/** Storability and freshness against http-cache-semantics where both follow the RFC; where they part, a row says who is right and why. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import CachePolicy from 'http-cache-semantics';
import { cacheKey } from '../../src/cache/cache-key.ts';
import { currentAgeSeconds, mayServeStaleOnError } from '../../src/cache/freshness.ts';
import { renewedManifest } from '../../src/cache/renewal.ts';
import { judgeRequest, judgeReuse } from '../../src/cache/request-policy.ts';
import { judgeResponse, type ResponseVerdict } from '../../src/cache/response-policy.ts';
import { PLAIN_RULE } from '../../src/cache/site-rule.ts';
import { confirmsStored, sameRepresentation, strongValidator } from '../../src/cache/validators.ts';
import { endToEndFields, type FieldList } from '../../src/http/header-fields.ts';
import { formatHttpDate } from '../../src/http/http-date.ts';

const SEED = 20_261_121;
const RUNS = { seed: SEED, numRuns: 600 };
const NOW_MS = Date.UTC(2026, 0, 1);
const DAY_SECONDS = 24 * 3600;
const at = (seconds: number): string => formatHttpDate(NOW_MS + seconds * 1000);

class PolicyNow extends CachePolicy {
  /** Since NOW_MS; the constructor reads it before it is set. */
  laterMs: number | undefined;

  override now(): number {
    return NOW_MS + (this.laterMs ?? 0);
  }
}

interface Exchange {
  readonly status?: number;
  readonly requestFields: FieldList;
  readonly fields: FieldList;
}

function ours({ requestFields, fields, status = 200 }: Exchange): ResponseVerdict {
  return judgeResponse({
    requestFields,
    fields,
    status,
    requestTimeMs: NOW_MS,
    responseTimeMs: NOW_MS,
    rule: PLAIN_RULE,
    siteName: 's',
    path: '/a',
  });
}

function theirs({ requestFields, fields, status = 200 }: Exchange): PolicyNow {
  return new PolicyNow({ method: 'GET', headers: Object.fromEntries(requestFields) }, { status, headers: Object.fromEntries(fields) });
}

const seconds = fc.integer({ min: 0, max: 100_000 });
const directive = fc.oneof(
  seconds.map((value) => `max-age=${value}`),
  seconds.map((value) => `s-maxage=${value}`),
  fc.constantFrom('no-cache', 'no-store', 'private', 'public', 'must-revalidate', 'unknown=1'),
);
/** Well-formed only: each directive once, Date now or absent, since http-cache-semantics knows no apparent age. */
const exchange = fc
  .record({
    // Those that it knows; of others it stores none, whatever the origin says of their freshness.
    status: fc.constantFrom(200, 200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 501),
    directives: fc.uniqueArray(directive, { maxLength: 3, selector: (text) => text.split('=')[0] }),
    expires: fc.option(fc.integer({ min: -1000, max: 100_000 })),
    modified: fc.option(fc.integer({ min: -10_000_000, max: 0 })),
    hasDate: fc.boolean(),
    hasTag: fc.boolean(),
    age: fc.option(fc.nat({ max: 5000 })),
    requestControl: fc.option(fc.constantFrom('no-store', 'max-age=0')),
    isAuthorized: fc.boolean(),
  })
  .map((parts): Exchange => {
    const fields: (readonly [string, string])[] = [];
    if (parts.directives.length > 0) fields.push(['cache-control', parts.directives.join(', ')]);
    if (parts.expires !== null) fields.push(['expires', at(parts.expires)]);
    if (parts.modified !== null) fields.push(['last-modified', at(parts.modified)]);
    if (parts.hasDate) fields.push(['date', at(0)]);
    if (parts.hasTag) fields.push(['etag', '"a"']);
    if (parts.age !== null) fields.push(['age', String(parts.age)]);
    const requestFields: (readonly [string, string])[] = parts.requestControl === null ? [] : [['cache-control', parts.requestControl]];
    if (parts.isAuthorized) requestFields.push(['authorization', 'x']);
    return { requestFields, fields, status: parts.status };
  });

test(`storable and fresh as http-cache-semantics has it, on well-formed fields (9111 s3, s4.2, seed ${SEED})`, () => {
  fc.assert(
    fc.property(exchange, (given) => {
      const verdict = ours(given);
      const policy = theirs(given);
      const isUseless = verdict.kind === 'not-storable' && verdict.reason === 'never-fresh';
      // It keeps what can never be used again; otherwise storability is the same, both ways.
      assert.equal(policy.storable(), verdict.kind === 'store' || isUseless);
      const leftSeconds = policy.maxAge() - policy.age();
      if (isUseless) assert.ok(leftSeconds <= 0);
      if (verdict.kind !== 'store') return;
      const isHeuristic = !given.fields.some(([name, value]) => name === 'expires' || /max-?age/.test(value));
      const expectedSeconds = isHeuristic ? Math.min(policy.maxAge(), DAY_SECONDS) - policy.age() : leftSeconds;
      assert.equal(verdict.freshness.freshUntilMs, Math.floor(NOW_MS + expectedSeconds * 1000));
      assert.equal(currentAgeSeconds(verdict.freshness, NOW_MS), policy.age());
    }),
    RUNS,
  );
});

const reuse = fc.record({
  lifetime: fc.integer({ min: 0, max: 200 }),
  whileRevalidating: fc.option(fc.integer({ min: 0, max: 200 })),
  age: fc.integer({ min: 0, max: 100 }),
  laterSeconds: fc.integer({ min: 0, max: 400 }),
  wish: fc.oneof(
    fc.constantFrom('', 'no-cache', 'max-stale', 'foo'),
    fc.integer({ min: 0, max: 300 }).chain((value) => fc.constantFrom(`max-age=${value}`, `min-fresh=${value}`, `max-stale=${value}`)),
  ),
});

test(`reused, also while revalidating, as http-cache-semantics has it (9111 s4, s5.2.1, 5861 s3, seed ${SEED})`, () => {
  fc.assert(
    fc.property(reuse, ({ lifetime, whileRevalidating, age, laterSeconds, wish }) => {
      // It lets a client that names an age have something stale; a row below says why that is wrong.
      fc.pre(whileRevalidating === null || !wish.startsWith('max-age'));
      const swr = whileRevalidating === null ? '' : `, stale-while-revalidate=${whileRevalidating}`;
      const fields: FieldList = [
        ['cache-control', `max-age=${lifetime}${swr}`],
        ['age', String(age)],
        ['etag', '"a"'],
      ];
      const policy = theirs({ requestFields: [], fields });
      // Half a second beside every limit, at which one side counts the limit in and the other out.
      policy.laterMs = laterSeconds * 1000 + 500;
      const { revalidation } = policy.evaluateRequest({ headers: { 'cache-control': wish } });
      const verdict = ours({ requestFields: [], fields });
      const lookup = judgeRequest({ method: 'GET', fields: wish === '' ? [] : [['cache-control', wish]], rule: PLAIN_RULE });
      assert.ok(verdict.kind === 'store' && lookup.kind === 'lookup');
      const stored = { ...verdict.freshness, status: 200, fields: verdict.fields };
      const found = judgeReuse({ stored, nowMs: NOW_MS + policy.laterMs, rule: PLAIN_RULE }, lookup);
      // What max-stale allows anyway is renewed meanwhile where that is allowed, too.
      const isServed = found === 'while-revalidating' && wish.startsWith('max-stale') ? revalidation?.synchronous !== true : undefined;
      const expected = revalidation === undefined ? ['fresh', 'stale'] : [revalidation.synchronous ? 'none' : 'while-revalidating'];
      assert.ok(isServed ?? expected.includes(found), `${found}, not ${expected.join(' or ')}`);
    }),
    RUNS,
  );
});

/** What it answers a request with 60 s after a response, and what we do. */
const REUSE_DIFFERENCES: readonly (readonly [string, string, string, boolean, string])[] = [
  ['9111 s5.2.2.2: must-revalidate matters only once stale', 'max-age=90, must-revalidate', '', false, 'fresh'],
  ['9111 s5.2.1.1: who names an age wants nothing stale', 'max-age=30, stale-while-revalidate=90', 'max-age=70', true, 'none'],
  ['9111 s5.2.2.10: s-maxage forbids stale use', 's-maxage=30', 'max-stale', true, 'none'],
  ['9111 s5.2.2.4: so does no-cache', 'max-age=30, no-cache', 'max-stale', true, 'none'],
  ['9111 s5.2.2.10: also while revalidating', 's-maxage=30, stale-while-revalidate=90', '', true, 'none'],
  ['8246 s2.1: a reload of what is immutable is not passed on', 'max-age=90, immutable', 'max-age=0', false, 'fresh'],
];
for (const [name, control, wish, isServed, reused] of REUSE_DIFFERENCES) {
  test(`where we differ from http-cache-semantics: ${name}`, () => {
    const fields: FieldList = [
      ['cache-control', control],
      ['etag', '"a"'],
    ];
    const policy = theirs({ requestFields: [], fields });
    policy.laterMs = 60_000;
    assert.equal(policy.evaluateRequest({ headers: { 'cache-control': wish } }).revalidation?.synchronous !== true, isServed);
    const verdict = ours({ requestFields: [], fields });
    const lookup = judgeRequest({ method: 'GET', fields: [['cache-control', wish]], rule: PLAIN_RULE });
    assert.ok(verdict.kind === 'store' && lookup.kind === 'lookup');
    const stored = { ...verdict.freshness, status: 200, fields: verdict.fields };
    assert.equal(judgeReuse({ stored, nowMs: NOW_MS + 60_000, rule: PLAIN_RULE }, lookup), reused);
  });
}

const update = fc.dictionary(fc.constantFrom('x-a', 'x-b', 'x-c', 'content-location', 'expires', 'via'), fc.constantFrom('1', '2', '3'));

test(`a 304 updates fields as http-cache-semantics has it (9111 s3.2, s4.3.4, seed ${SEED})`, () => {
  fc.assert(
    fc.property(update, update, (stored, received) => {
      const common = { etag: '"a"', 'cache-control': 'max-age=60' };
      const policy = theirs({ requestFields: [], fields: Object.entries({ ...common, ...stored }) });
      const response = { status: 304, headers: { ...common, ...received } };
      // It leaves out what is new; the RFC says: add each field, replacing what is present. Ours does.
      const added = Object.keys(received).filter((name) => stored[name] === undefined);
      const { policy: renewed, modified } = policy.revalidatedPolicy({ headers: { 'if-none-match': '"a"' } }, response);
      assert.equal(modified, false);
      // It writes Date and Age of its own.
      const { age: _, date: __, ...theirFields } = renewed.responseHeaders();
      const verdict = ours({ requestFields: [], fields: Object.entries({ ...common, ...stored }) });
      const key = cacheKey({ siteName: 's', path: '/', query: undefined });
      assert.ok(verdict.kind === 'store' && key !== undefined);
      const shape = { tags: [], generation: 1, status: 200, lengthBytes: 1, sliceSizeBytes: 65_536 };
      const manifest = { ...key, ...verdict.freshness, ...shape, fields: verdict.fields };
      const times = { requestTimeMs: NOW_MS, responseTimeMs: NOW_MS, rule: PLAIN_RULE };
      const ourFields = renewedManifest(manifest, { responseFields: Object.entries(response.headers), ...times })?.manifest.fields ?? [];
      const expected = { ...theirFields, ...Object.fromEntries(added.map((name) => [name, received[name]])) };
      assert.deepEqual(Object.fromEntries(ourFields), expected);
    }),
    RUNS,
  );
});

/** name, fields, their lifetime, ours (seconds left; undefined = not stored). */
const DIFFERENCES: readonly (readonly [string, FieldList, number | undefined, number | undefined])[] = [
  ['9111 s5.2.2.8: proxy-revalidate matters only once stale', [['cache-control', 'max-age=60, proxy-revalidate']], 0, 60],
  ['9111 s5.2: names of directives have no case', [['cache-control', 'Max-Age=60']], 0, 60],
  ['9111 s4.2.1: of two values the first counts, or none', [['cache-control', 'max-age=60, max-age=90']], 90, 60],
  [
    '9111 s1.2.2: delta-seconds are digits only',
    [
      ['cache-control', 'max-age=60.5'],
      ['etag', '"a"'],
    ],
    60,
    0,
  ],
  [
    '9111 s4.2.1: a malformed max-age does not make room for Expires',
    [
      ['cache-control', 'max-age='],
      ['expires', at(90)],
      ['etag', '"a"'],
    ],
    90,
    0,
  ],
  [
    '9111 s5.3: Expires in no valid form is in the past',
    [
      ['expires', '2030-01-01T00:00:00Z'],
      ['etag', '"a"'],
    ],
    126_230_400,
    0,
  ],
  [
    '9111 s5.4: Pragma says nothing in a response',
    [
      ['pragma', 'no-cache'],
      ['expires', at(60)],
    ],
    0,
    60,
  ],
  ['9111 s5.2.2.7: a qualified private holds for its fields only', [['cache-control', 'private="x", max-age=60']], undefined, 60],
  ['9111 s5.2.2.3: must-understand takes no-store back', [['cache-control', 'no-store, must-understand, max-age=60']], undefined, 60],
  ['9111 s5.2: a quoted string hides no directive', [['cache-control', 'x="a, no-store, b", max-age=60']], undefined, 60],
  [
    '9111 s4.2.3: apparent age counts',
    [
      ['cache-control', 'max-age=60'],
      ['date', at(-20)],
    ],
    60,
    40,
  ],
  ['9111 s4.2.2: a heuristic may be capped; ours is, at a day', [['last-modified', at(-100 * DAY_SECONDS)]], 10 * DAY_SECONDS, DAY_SECONDS],
  [
    '9111 s7.3: cookies are not shared; ours does not even store them',
    [
      ['cache-control', 'max-age=60'],
      ['set-cookie', 'a'],
    ],
    0,
    undefined,
  ],
];

/** status, fields, whether it stores, whether we do. */
const STATUS_DIFFERENCES: readonly (readonly [string, number, FieldList, boolean, boolean])[] = [
  ['9111 s3: a status that nobody knows, with explicit freshness', 599, [['cache-control', 'max-age=60']], false, true],
  ['9111 s3: an error with explicit freshness', 503, [['cache-control', 'max-age=60']], false, true],
  ['9111 s3: so does 403', 403, [['cache-control', 'public, max-age=60']], false, true],
  [
    '9213 s2.2: a targeted field takes the place of Cache-Control',
    200,
    [
      ['cache-control', 'no-store'],
      ['cdn-cache-control', 'max-age=9'],
    ],
    false,
    true,
  ],
  [
    '9213 s2.2: both ways',
    200,
    [
      ['cache-control', 'max-age=9'],
      ['cdn-cache-control', 'no-store'],
    ],
    true,
    false,
  ],
];
for (const [name, status, fields, isTheirs, isOurs] of STATUS_DIFFERENCES) {
  test(`where we differ from http-cache-semantics: ${name}`, () => {
    assert.equal(theirs({ requestFields: [], fields, status }).storable(), isTheirs);
    assert.equal(ours({ requestFields: [], fields, status }).kind === 'store', isOurs);
  });
}

for (const [name, fields, theirSeconds, ourSeconds] of DIFFERENCES) {
  test(`where we differ from http-cache-semantics: ${name}`, () => {
    const policy = theirs({ requestFields: [], fields });
    assert.equal(policy.storable() ? policy.maxAge() : undefined, theirSeconds);
    const verdict = ours({ requestFields: [], fields });
    const leftSeconds = verdict.kind === 'store' ? Math.max(0, (verdict.freshness.freshUntilMs - NOW_MS) / 1000) : undefined;
    assert.equal(leftSeconds, ourSeconds);
  });
}

const NAMES = [
  'cache-control',
  'cdn-cache-control',
  'expires',
  'date',
  'age',
  'etag',
  'last-modified',
  'vary',
  'connection',
  'pragma',
  'content-encoding',
  'set-cookie',
  'upgrade',
  'if-match',
];
const VALUES = [
  '',
  '"a"',
  'W/"a"',
  'max-age=1',
  'no-cache',
  'no-cache="etag',
  'private="x, age"',
  'close, etag',
  '*',
  '-1',
  '9'.repeat(400),
  at(0),
  at(-1),
  ',,;',
  '\xff"',
];
const anyFields = fc.array(fc.tuple(fc.constantFrom(...NAMES), fc.oneof(fc.constantFrom(...VALUES), fc.string())), { maxLength: 10 });
const anyRule = fc.record({
  freshForMs: fc.constantFrom(undefined, 0, 1000, Number.MAX_SAFE_INTEGER),
  staleIfErrorMs: fc.constantFrom(undefined, 0, 1000, Number.MAX_SAFE_INTEGER),
  missingFreshForMs: fc.constantFrom(undefined, 0, 1000, Number.MAX_SAFE_INTEGER),
  staleWhileRevalidateMs: fc.constantFrom(undefined, 0, 1000, Number.MAX_SAFE_INTEGER),
  checksContentType: fc.boolean(),
  setCookie: fc.constantFrom('refuse', 'strip', 'keep'),
  isImmutable: fc.boolean(),
  ignoresClientCacheControl: fc.boolean(),
  encodings: fc.constantFrom('client' as const, 'identity' as const),
});

test(`no message makes a decision throw, and what is stored fits a manifest (seed ${SEED})`, () => {
  const clock = fc.integer({ min: 0, max: 2 * NOW_MS });
  fc.assert(
    fc.property(anyFields, anyFields, anyRule, clock, clock, (requestFields, fields, ruleParts, requestTimeMs, responseTimeMs) => {
      const rule = { ...PLAIN_RULE, ...ruleParts };
      const lookup = judgeRequest({ method: 'GET', fields: requestFields, rule });
      confirmsStored(fields, requestFields);
      assert.equal(sameRepresentation(fields, fields), strongValidator(fields) !== undefined);
      const verdict = judgeResponse({ requestFields, status: 206, fields, requestTimeMs, responseTimeMs, rule, siteName: 's', path: '/a' });
      if (verdict.kind !== 'store') return;
      const key = cacheKey({ siteName: 's', path: '/', query: undefined });
      assert.ok(key !== undefined);
      const stored = {
        ...key,
        ...verdict.freshness,
        fields: verdict.fields,
        tags: [],
        generation: 1,
        status: 200,
        lengthBytes: 1,
        sliceSizeBytes: 65_536,
      };
      const manifest = renewedManifest(stored, { responseFields: requestFields, requestTimeMs, responseTimeMs, rule })?.manifest;
      assert.ok(manifest !== undefined);
      for (const { freshUntilMs, initialAgeSeconds } of [stored, manifest]) {
        assert.ok(Number.isSafeInteger(freshUntilMs) && freshUntilMs >= 0, `freshUntilMs ${freshUntilMs}`);
        assert.ok(Number.isSafeInteger(initialAgeSeconds) && initialAgeSeconds >= 0 && initialAgeSeconds <= 2 ** 31);
      }
      assert.deepEqual(endToEndFields(stored.fields), stored.fields);
      const candidate = { stored: manifest, nowMs: responseTimeMs, rule };
      if (lookup.kind === 'lookup') judgeReuse(candidate, lookup);
      mayServeStaleOnError(candidate, { requestSeconds: 1, defaultMs: 1000 });
    }),
    RUNS,
  );
});
