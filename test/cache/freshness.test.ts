/** Age, freshness and stale service (RFC 9111 s4.2, RFC 5861). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { currentAgeSeconds, isFresh, mayServeStaleOnError, mayServeWhileRevalidating } from '../../src/cache/freshness.ts';
import { PLAIN_RULE, type SiteRule } from '../../src/cache/site-rule.ts';

const FRESHNESS = { receivedAtMs: 1e12, initialAgeSeconds: 10, freshUntilMs: 1e12 + 60_000 };

test('row 38: currentAgeSeconds() is the initial age and the time since (9111 s4.2.3)', () => {
  assert.equal(currentAgeSeconds(FRESHNESS, 1e12), 10);
  assert.equal(currentAgeSeconds(FRESHNESS, 1e12 + 1999), 11);
  assert.equal(currentAgeSeconds(FRESHNESS, 1e12 - 5000), 10);
  assert.equal(currentAgeSeconds(FRESHNESS, 1e18), 2 ** 31);
});

test('isFresh() ends when the age reaches the lifetime (9111 s4.2)', () => {
  assert.equal(isFresh(FRESHNESS, 1e12 + 59_999), true);
  assert.equal(isFresh(FRESHNESS, 1e12 + 60_000), false);
});

const HOUR_MS = 3600_000;
const RULED: SiteRule = { ...PLAIN_RULE, staleIfErrorMs: 30_000 };
const IMMUTABLE: SiteRule = { ...PLAIN_RULE, isImmutable: true };

interface Case {
  readonly rule?: SiteRule;
  readonly status?: number;
  /** The request's stale-if-error. */
  readonly request?: number;
}

/** Seconds since it went stale. */
const STALE: readonly (readonly [string, string, number, Case, boolean])[] = [
  ['row 24 without a word, within the default', 'max-age=60', 3599, {}, true],
  ['row 24 without a word, over the default', 'max-age=60', 3600, {}, false],
  ['row 24 must-revalidate', 'must-revalidate', 1, {}, false],
  ['row 24 proxy-revalidate', 'proxy-revalidate', 1, {}, false],
  ['row 24 s-maxage', 's-maxage=60', 1, {}, false],
  ['row 24 no-cache', 'no-cache', 1, {}, false],
  ['row 24 qualified no-cache', 'no-cache="x"', 1, {}, true],
  ['row 42 stale-if-error within', 'stale-if-error=30', 29, {}, true],
  ['row 42 stale-if-error over', 'stale-if-error=30', 30, {}, false],
  ['row 42 stale-if-error beyond the default', 'stale-if-error=7200', 7199, {}, true],
  ['row 42 stale-if-error malformed', 'stale-if-error=x', 1, {}, false],
  ['row 24 must-revalidate is stronger', 'must-revalidate, stale-if-error=30', 1, {}, false],
  ['row 42 rule within', 'must-revalidate', 29, { rule: RULED }, true],
  ['row 42 rule over', 'max-age=60', 30, { rule: RULED }, false],
  ['row 42 rule of zero', 'stale-if-error=30', 1, { rule: { ...PLAIN_RULE, staleIfErrorMs: 0 } }, false],
  ['row 42 the request allows more', 'stale-if-error=30', 99, { request: 100 }, true],
  ['row 42 the request allows less', 'stale-if-error=30', 5, { request: 5 }, false],
  ['row 24 the request does not lift what the origin forbids', 's-maxage=60', 1, { request: 100 }, false],
  ['s5.2.2.5 no-store brought by a 304', 'no-store', 1, { rule: RULED }, false],
  ['s5.2.2.7 private brought by a 304', 'private', 1, { rule: IMMUTABLE }, false],
  ['row 43 immutable', 'no-cache', 1e6, { rule: IMMUTABLE }, true],
  ['row 43 immutable does not speak of a 404', 'max-age=60', 1e6, { rule: IMMUTABLE, status: 404 }, false],
  ['row 45 a 404 within the default', 'max-age=60', 3599, { status: 404 }, true],
  ['row 24 an error is not kept beyond its time', 'max-age=60, stale-if-error=30', 1, { status: 503 }, false],
];
for (const [name, control, seconds, { rule = PLAIN_RULE, status = 200, request }, isAllowed] of STALE) {
  test(`mayServeStaleOnError(): ${name}: ${control} for ${seconds} s -> ${isAllowed} (9111 s4.2.4, 5861 s4)`, () => {
    const stored = { ...FRESHNESS, status, fields: [['cache-control', control]] as const };
    const nowMs = FRESHNESS.freshUntilMs + seconds * 1000;
    assert.equal(mayServeStaleOnError({ stored, nowMs, rule }, { requestSeconds: request, defaultMs: HOUR_MS }), isAllowed);
  });
}

const BEHIND: SiteRule = { ...PLAIN_RULE, staleWhileRevalidateMs: 30_000 };
const WHILE_REVALIDATING: readonly (readonly [string, string, number, Case, boolean])[] = [
  ['without a word', 'max-age=60', 1, {}, false],
  ['within', 'stale-while-revalidate=30', 29, {}, true],
  ['over', 'stale-while-revalidate=30', 30, {}, false],
  ['malformed', 'stale-while-revalidate=x', 1, {}, false],
  ['must-revalidate is stronger', 'must-revalidate, stale-while-revalidate=30', 1, {}, false],
  ['s-maxage is proxy-revalidate too', 's-maxage=60, stale-while-revalidate=30', 1, {}, false],
  ['rule within', 'must-revalidate', 29, { rule: BEHIND }, true],
  ['rule over', 'stale-while-revalidate=60', 30, { rule: BEHIND }, false],
  ['no-store brought by a 304', 'no-store', 1, { rule: BEHIND }, false],
  ['an error is not kept beyond its time', 'stale-while-revalidate=30', 1, { status: 500 }, false],
];
for (const [name, control, seconds, { rule = PLAIN_RULE, status = 200 }, isAllowed] of WHILE_REVALIDATING) {
  test(`mayServeWhileRevalidating(): row 41: ${name}: ${control} for ${seconds} s -> ${isAllowed} (5861 s3, 9111 s4.2.4)`, () => {
    const stored = { ...FRESHNESS, status, fields: [['cache-control', control]] as const };
    assert.equal(mayServeWhileRevalidating({ stored, nowMs: FRESHNESS.freshUntilMs + seconds * 1000, rule }), isAllowed);
  });
}
