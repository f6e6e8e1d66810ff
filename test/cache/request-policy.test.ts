/** What a request lets the cache do (RFC 9111 s4, s5.2.1). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judgeRequest, judgeReuse, type Lookup, type Reuse } from '../../src/cache/request-policy.ts';
import { PLAIN_RULE, type SiteRule } from '../../src/cache/site-rule.ts';
import type { FieldList } from '../../src/http/header-fields.ts';

const IMMUTABLE: SiteRule = { ...PLAIN_RULE, isImmutable: true };
const DEAF: SiteRule = { ...PLAIN_RULE, ignoresClientCacheControl: true };
const NEVER: SiteRule = { ...PLAIN_RULE, store: 'never' };
const control = (value: string): FieldList => [['cache-control', value]];

const BYPASSED: readonly (readonly [string, string, FieldList, SiteRule, string])[] = [
  ['row 46 s4.4', 'POST', [], PLAIN_RULE, 'method'],
  ['row 47', 'OPTIONS', [], PLAIN_RULE, 'method'],
  ['methods have a case', 'get', [], PLAIN_RULE, 'method'],
  ['row 37 s5.2.1.5', 'GET', control('no-store'), PLAIN_RULE, 'no-store'],
  ['row 37 s5.2.1.5, immutable', 'HEAD', control('NO-STORE'), IMMUTABLE, 'no-store'],
  ['rule', 'GET', [], NEVER, 'rule'],
  ['websocket', 'GET', [['upgrade', 'websocket']], PLAIN_RULE, 'upgrade'],
  ['content', 'GET', [['content-length', '3']], PLAIN_RULE, 'content'],
  ['content', 'GET', [['transfer-encoding', 'chunked']], PLAIN_RULE, 'content'],
];
for (const [name, method, fields, rule, reason] of BYPASSED) {
  test(`judgeRequest(): ${name} ${method} is bypassed: ${reason} (9111)`, () => {
    assert.deepEqual(judgeRequest({ method, fields, rule }), { kind: 'bypass', reason, onlyIfCached: false });
  });
}

const PLAIN: Lookup = {
  kind: 'lookup',
  mustRevalidate: false,
  mustConfirm: false,
  isAuthorized: false,
  onlyIfCached: false,
  maxAgeSeconds: undefined,
  minFreshSeconds: 0,
  maxStaleSeconds: 0,
  staleIfErrorSeconds: undefined,
};
const LOOKED_UP: readonly (readonly [string, FieldList, SiteRule, Partial<Lookup>])[] = [
  ['nothing', [], PLAIN_RULE, {}],
  ['row 33 cookies', [['cookie', 'a=b']], PLAIN_RULE, {}],
  ['empty content', [['content-length', '0']], PLAIN_RULE, {}],
  ['an offer of h2c', [['upgrade', 'h2c']], PLAIN_RULE, {}],
  ['row 37 s5.2.1.4', control('no-cache'), PLAIN_RULE, { mustRevalidate: true }],
  ['row 37 s5.2.1.1', control('max-age=0'), PLAIN_RULE, { maxAgeSeconds: 0 }],
  ['row 37 s5.2.1.1', control('max-age=x'), PLAIN_RULE, { maxAgeSeconds: 0 }],
  ['row 37 s5.2.1.1', control('max-age=60'), PLAIN_RULE, { maxAgeSeconds: 60 }],
  ['row 37 s5.2.1.3', control('min-fresh=60'), PLAIN_RULE, { minFreshSeconds: 60 }],
  ['row 37 s5.2.1.2', control('max-stale=60'), PLAIN_RULE, { maxStaleSeconds: 60 }],
  ['row 37 s5.2.1.2', control('max-stale'), PLAIN_RULE, { maxStaleSeconds: Number.POSITIVE_INFINITY }],
  ['row 37 s5.2.1.7', control('only-if-cached'), PLAIN_RULE, { onlyIfCached: true }],
  ['row 37 s5.4', [['pragma', 'foo, No-Cache']], PLAIN_RULE, { mustRevalidate: true }],
  [
    'row 37 s5.4',
    [
      ['pragma', 'no-cache'],
      ['cache-control', 'max-age=5'],
    ],
    PLAIN_RULE,
    { maxAgeSeconds: 5 },
  ],
  ['row 21 s4.3.2', [['if-match', '"a"']], PLAIN_RULE, { mustRevalidate: true, mustConfirm: true }],
  ['row 21 s4.3.2', [['if-unmodified-since', 'x']], DEAF, { mustRevalidate: true, mustConfirm: true }],
  [
    'row 37 deaf rule',
    [
      ['pragma', 'no-cache'],
      ['cache-control', 'no-cache, no-store, only-if-cached'],
    ],
    DEAF,
    {},
  ],
  ['row 37 deaf rule', [['pragma', 'no-cache']], DEAF, {}],
  ['row 37 RFC 5861 s4', control('stale-if-error=60'), PLAIN_RULE, { staleIfErrorSeconds: 60 }],
  ['row 37 RFC 5861 s4, deaf rule', control('stale-if-error=60'), DEAF, {}],
  ['row 32 s3.5', [['authorization', 'Basic eA==']], PLAIN_RULE, { isAuthorized: true }],
  ['row 32 s3.5, empty', [['authorization', '']], IMMUTABLE, { isAuthorized: true }],
  ["row 21, immutable: its state is the origin's", [['if-match', '"a"']], IMMUTABLE, {}],
  ['row 43 RFC 8246 s2.1: no-cache is heard', control('max-age=0, no-cache'), IMMUTABLE, { mustRevalidate: true, maxAgeSeconds: 0 }],
];
for (const [name, fields, rule, terms] of LOOKED_UP) {
  test(`judgeRequest(): ${name}: ${JSON.stringify(fields)} is looked up with ${JSON.stringify(terms)} (9111)`, () => {
    assert.deepEqual(judgeRequest({ method: 'GET', fields, rule }), { ...PLAIN, ...terms });
  });
}

test('row 37: only-if-cached is told even where the cache is passed by (9111 s5.2.1.7)', () => {
  const verdict = judgeRequest({ method: 'GET', fields: control('only-if-cached, no-store'), rule: PLAIN_RULE });
  assert.deepEqual(verdict, { kind: 'bypass', reason: 'no-store', onlyIfCached: true });
});

const REUSED: readonly (readonly [string, string | undefined, number, Partial<Lookup>, Reuse])[] = [
  ['fresh', undefined, 50, {}, 'fresh'],
  ['fresh to the last', undefined, 99.999, {}, 'fresh'],
  ['stale', undefined, 100, {}, 'none'],
  ['must be confirmed', undefined, 0, { mustRevalidate: true }, 'none'],
  ['s5.2.1.1 a reload', undefined, 0, { maxAgeSeconds: 0 }, 'none'],
  ['s5.2.1.1 young enough', undefined, 50, { maxAgeSeconds: 60 }, 'fresh'],
  ['s5.2.1.1 too old', undefined, 50, { maxAgeSeconds: 59 }, 'none'],
  ['s5.2.1.3 fresh for long enough', undefined, 50, { minFreshSeconds: 50 }, 'fresh'],
  ['s5.2.1.3 not long enough', undefined, 50, { minFreshSeconds: 51 }, 'none'],
  ['s5.2.1.2 stale within the limit', undefined, 110, { maxStaleSeconds: 10 }, 'stale'],
  ['s5.2.1.2 stale beyond', undefined, 111, { maxStaleSeconds: 10 }, 'none'],
  ['s5.2.1.2 any staleness', undefined, 1e6, { maxStaleSeconds: Number.POSITIVE_INFINITY }, 'stale'],
  ['s5.2.1.2 but too old', undefined, 110, { maxStaleSeconds: 10, maxAgeSeconds: 100 }, 'none'],
  ['s5.2.1.2 stale, and not older than that', undefined, 110, { maxStaleSeconds: 10, maxAgeSeconds: 120 }, 'stale'],
  ['s5.2.2.2 the origin forbids', 'must-revalidate', 110, { maxStaleSeconds: 10 }, 'none'],
  ['s5.2.2.10 the origin forbids', 's-maxage=100', 110, { maxStaleSeconds: 10 }, 'none'],
  ['row 41 while revalidating', 'stale-while-revalidate=20', 110, {}, 'while-revalidating'],
  ['row 41 over', 'stale-while-revalidate=20', 120, {}, 'none'],
  ['row 41 the client wants it fresh', 'stale-while-revalidate=20', 110, { minFreshSeconds: 1 }, 'none'],
  ['row 41 the client names an age', 'stale-while-revalidate=20', 110, { maxAgeSeconds: 1000 }, 'none'],
  ['row 41 the client wants confirmation', 'stale-while-revalidate=20', 110, { mustRevalidate: true }, 'none'],
  ['row 43 a reload of what is immutable', 'immutable', 50, { maxAgeSeconds: 0 }, 'fresh'],
  ['row 43 an age under what is immutable', 'immutable', 50, { maxAgeSeconds: 5, minFreshSeconds: 1000 }, 'fresh'],
  ['row 43 an argument has no meaning', 'immutable=0', 50, { maxAgeSeconds: 0 }, 'fresh'],
  ['row 43 not once it is stale', 'immutable', 100, {}, 'none'],
  ['row 43 not against no-cache', 'immutable', 50, { mustRevalidate: true }, 'none'],
  ['row 32 credentials', 'max-age=100', 50, { isAuthorized: true }, 'none'],
  ['row 32 credentials, public', 'public', 50, { isAuthorized: true }, 'fresh'],
  ['row 32 credentials, s-maxage', 's-maxage=100', 50, { isAuthorized: true }, 'fresh'],
  ['row 32 credentials, must-revalidate', 'must-revalidate', 50, { isAuthorized: true }, 'fresh'],
];
for (const [name, stored, afterSeconds, terms, reuse] of REUSED) {
  test(`judgeReuse(): ${name} -> ${reuse} (9111 s4)`, () => {
    const fields = stored === undefined ? [] : control(stored);
    const manifest = { status: 200, fields, receivedAtMs: 1e12, initialAgeSeconds: 10, freshUntilMs: 1e12 + 100_000 };
    const candidate = { stored: manifest, nowMs: 1e12 + afterSeconds * 1000, rule: PLAIN_RULE };
    assert.equal(judgeReuse(candidate, { ...PLAIN, ...terms }), reuse);
  });
}

test('row 43: a rule that calls content immutable does not speak of a 404 (RFC 8246)', () => {
  const times = { fields: [], receivedAtMs: 1e12, initialAgeSeconds: 0, freshUntilMs: 1e12 + 100_000 };
  const reload = { ...PLAIN, maxAgeSeconds: 0 };
  const ask = (status: number): Reuse => judgeReuse({ stored: { ...times, status }, nowMs: 1e12, rule: IMMUTABLE }, reload);
  assert.deepEqual([ask(200), ask(404)], ['fresh', 'none']);
});
