/** What a request lets the cache do (RFC 9111 s4, s5.2.1). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isReusable, judgeRequest, type Lookup } from '../../src/cache/request-policy.ts';
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
  ['row 32 s3.5', 'GET', [['authorization', 'Basic eA==']], PLAIN_RULE, 'authorization'],
  ['row 32 s3.5, immutable', 'GET', [['authorization', '']], IMMUTABLE, 'authorization'],
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
  onlyIfCached: false,
  maxAgeSeconds: undefined,
  minFreshSeconds: 0,
  maxStaleSeconds: 0,
};
const LOOKED_UP: readonly (readonly [string, FieldList, SiteRule, Partial<Lookup>])[] = [
  ['nothing', [], PLAIN_RULE, {}],
  ['row 33 cookies', [['cookie', 'a=b']], PLAIN_RULE, {}],
  ['empty content', [['content-length', '0']], PLAIN_RULE, {}],
  ['an offer of h2c', [['upgrade', 'h2c']], PLAIN_RULE, {}],
  ['row 37 s5.2.1.4', control('no-cache'), PLAIN_RULE, { mustRevalidate: true }],
  ['row 37 s5.2.1.1', control('max-age=0'), PLAIN_RULE, { mustRevalidate: true, maxAgeSeconds: 0 }],
  ['row 37 s5.2.1.1', control('max-age=x'), PLAIN_RULE, { mustRevalidate: true, maxAgeSeconds: 0 }],
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
  ['row 21 s4.3.2', [['if-match', '"a"']], PLAIN_RULE, { mustRevalidate: true }],
  ['row 21 s4.3.2', [['if-unmodified-since', 'x']], DEAF, { mustRevalidate: true }],
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
  ['row 43 RFC 8246', control('max-age=0, no-cache'), IMMUTABLE, {}],
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

const REUSED: readonly (readonly [string, string | undefined, number, Partial<Lookup>, boolean])[] = [
  ['fresh', undefined, 50, {}, true],
  ['fresh to the last', undefined, 99.999, {}, true],
  ['stale', undefined, 100, {}, false],
  ['must be confirmed', undefined, 0, { mustRevalidate: true }, false],
  ['s5.2.1.1 young enough', undefined, 50, { maxAgeSeconds: 60 }, true],
  ['s5.2.1.1 too old', undefined, 50, { maxAgeSeconds: 59 }, false],
  ['s5.2.1.3 fresh for long enough', undefined, 50, { minFreshSeconds: 50 }, true],
  ['s5.2.1.3 not long enough', undefined, 50, { minFreshSeconds: 51 }, false],
  ['s5.2.1.2 stale within the limit', undefined, 110, { maxStaleSeconds: 10 }, true],
  ['s5.2.1.2 stale beyond', undefined, 111, { maxStaleSeconds: 10 }, false],
  ['s5.2.1.2 any staleness', undefined, 1e6, { maxStaleSeconds: Number.POSITIVE_INFINITY }, true],
  ['s5.2.1.2 but too old', undefined, 110, { maxStaleSeconds: 10, maxAgeSeconds: 100 }, false],
  ['s5.2.2.2 the origin forbids', 'must-revalidate', 110, { maxStaleSeconds: 10 }, false],
  ['s5.2.2.10 the origin forbids', 's-maxage=100', 110, { maxStaleSeconds: 10 }, false],
];
for (const [name, stored, afterSeconds, terms, isReused] of REUSED) {
  test(`isReusable(): ${name} -> ${isReused} (9111 s4)`, () => {
    const fields = stored === undefined ? [] : control(stored);
    const manifest = { fields, receivedAtMs: 1e12, initialAgeSeconds: 10, freshUntilMs: 1e12 + 100_000 };
    assert.equal(isReusable(manifest, { ...PLAIN, ...terms }, 1e12 + afterSeconds * 1000), isReused);
  });
}
