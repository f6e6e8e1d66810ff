/** Age, freshness and stale service (RFC 9111 s4.2, RFC 5861). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { currentAgeSeconds, isFresh, mayServeStaleOnError } from '../../src/cache/freshness.ts';
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

const RULED: SiteRule = { ...PLAIN_RULE, staleIfErrorMs: 30_000 };
const IMMUTABLE: SiteRule = { ...PLAIN_RULE, isImmutable: true };
/** Seconds since it went stale. */
const STALE: readonly (readonly [string, string, number, SiteRule, boolean])[] = [
  ['4.2.4 without a word', 'max-age=60', 1e6, PLAIN_RULE, true],
  ['row 24 must-revalidate', 'must-revalidate', 1, PLAIN_RULE, false],
  ['row 24 proxy-revalidate', 'proxy-revalidate', 1, PLAIN_RULE, false],
  ['row 24 s-maxage', 's-maxage=60', 1, PLAIN_RULE, false],
  ['row 24 no-cache', 'no-cache', 1, PLAIN_RULE, false],
  ['row 24 qualified no-cache', 'no-cache="x"', 1, PLAIN_RULE, true],
  ['row 42 stale-if-error within', 'stale-if-error=30', 29, PLAIN_RULE, true],
  ['row 42 stale-if-error over', 'stale-if-error=30', 30, PLAIN_RULE, false],
  ['row 42 stale-if-error malformed', 'stale-if-error=x', 1, PLAIN_RULE, false],
  ['row 24 must-revalidate is stronger', 'must-revalidate, stale-if-error=30', 1, PLAIN_RULE, false],
  ['row 42 rule within', 'must-revalidate', 29, RULED, true],
  ['row 42 rule over', 'max-age=60', 30, RULED, false],
  ['row 42 rule of zero', 'stale-if-error=30', 1, { ...PLAIN_RULE, staleIfErrorMs: 0 }, false],
  ['s5.2.2.5 no-store brought by a 304', 'no-store', 1, RULED, false],
  ['s5.2.2.7 private brought by a 304', 'private', 1, IMMUTABLE, false],
  ['row 43 immutable', 'no-cache', 1e6, IMMUTABLE, true],
];
for (const [name, control, seconds, rule, isAllowed] of STALE) {
  test(`mayServeStaleOnError(): ${name}: ${control} for ${seconds} s -> ${isAllowed} (9111 s4.2.4, 5861 s4)`, () => {
    const nowMs = FRESHNESS.freshUntilMs + seconds * 1000;
    assert.equal(mayServeStaleOnError({ fields: [['cache-control', control]], freshness: FRESHNESS, nowMs, rule }), isAllowed);
  });
}
