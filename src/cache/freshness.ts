/**
 * How old a response is, how long it is fresh, and whether it may be served when it is not (RFC 9111 s4.2, RFC 5861). The result is kept
 * in the manifest as three numbers, so that a hit costs one comparison; header fields are read only when a response comes in or goes stale.
 */
import type { ManifestFreshness } from '../format/manifest.ts';
import { type CacheControl, cacheControlOf, MAX_DELTA_SECONDS, parseDeltaSeconds } from '../http/cache-control.ts';
import { type FieldList, fieldLines } from '../http/header-fields.ts';
import { parseHttpDate } from '../http/http-date.ts';
import type { SiteRule } from './site-rule.ts';
import { dateOf, validatorsOf } from './validators.ts';

/** How long a rule's immutable objects are fresh unless it says otherwise. */
const IMMUTABLE_FRESH_MS = 365 * 24 * 3600 * 1000;
/** RFC 9111 s4.2.2 calls 10 % of the time since Last-Modified typical. */
const HEURISTIC_FRACTION = 0.1;
/** A guess is not trusted for longer than a day, however old the object. */
const HEURISTIC_SECONDS_MAX = 24 * 3600;

/** What came in, and when. */
export interface ReceivedHead {
  /** All fields of the response head, Age and Date among them. */
  readonly headFields: FieldList;
  /** The fields that will be stored, on which freshness rests; after a 304 they are not those of the head. */
  readonly storedFields: FieldList;
  /** When the request for it was sent, wall-clock. */
  readonly requestTimeMs: number;
  /** When its head arrived, wall-clock. */
  readonly responseTimeMs: number;
  readonly rule: SiteRule;
}

/** Works out what the manifest keeps: the operator's rule first, then the origin's word, then the heuristic. */
export function freshnessOf(head: ReceivedHead): ManifestFreshness {
  const initialAgeSeconds = correctedInitialAgeSeconds(head);
  const { responseTimeMs, rule } = head;
  // A 304 may bring no-store or private for what is already stored: from then on it is not used without asking, rule or no rule.
  const isForbidden = storingForbiddenBy(cacheControlOf(head.storedFields)) !== undefined;
  const ruledMs = isForbidden ? 0 : (rule.freshForMs ?? (rule.isImmutable ? IMMUTABLE_FRESH_MS : undefined));
  // A rule counts from when the response was received or confirmed, so the age it came with does not matter.
  const remainingMs = ruledMs ?? (lifetimeSeconds(head) - initialAgeSeconds) * 1000;
  const freshUntilMs = Math.min(Math.max(0, responseTimeMs + remainingMs), Number.MAX_SAFE_INTEGER);
  return { receivedAtMs: responseTimeMs, initialAgeSeconds, freshUntilMs: Math.floor(freshUntilMs) };
}

/** The age to send and to judge by, in whole seconds (RFC 9111 s4.2.3, current_age). */
export function currentAgeSeconds(freshness: ManifestFreshness, nowMs: number): number {
  const residentSeconds = Math.max(0, nowMs - freshness.receivedAtMs) / 1000;
  return Math.min(Math.floor(freshness.initialAgeSeconds + residentSeconds), MAX_DELTA_SECONDS);
}

/** Whether it may be served without asking the origin (RFC 9111 s4.2: lifetime greater than age). */
export function isFresh(freshness: ManifestFreshness, nowMs: number): boolean {
  return nowMs < freshness.freshUntilMs;
}

/**
 * The directive with which a response forbids a shared cache to store it (RFC 9111 s5.2.2.5, s5.2.2.7). A no-store beside must-understand
 * is for caches that do not know the status (s5.2.2.3); 200 and 206, the only ones that are stored, we do.
 */
export function storingForbiddenBy(control: CacheControl): 'no-store' | 'private' | undefined {
  if (control.has('no-store') && !control.has('must-understand')) return 'no-store';
  return control.isUnqualified('private') ? 'private' : undefined;
}

/** Whether the origin forbids serving it stale (RFC 9111 s4.2.4); s-maxage does as proxy-revalidate does (s5.2.2.10). */
export function isStaleForbidden(fields: FieldList): boolean {
  const control = cacheControlOf(fields);
  return control.has('must-revalidate') || control.has('proxy-revalidate') || control.has('s-maxage') || control.isUnqualified('no-cache');
}

/** A stored response that the origin cannot be asked about. */
export interface StaleCandidate {
  /** The manifest's fields. */
  readonly fields: FieldList;
  readonly freshness: ManifestFreshness;
  readonly nowMs: number;
  readonly rule: SiteRule;
}

/**
 * Whether it may be served when the origin drops, times out or answers 5xx. The operator's rule replaces whatever the origin said, but for
 * the no-store or private that a 304 may have brought. Else the origin may forbid it, or limit it with stale-if-error (RFC 5861 s4);
 * without a word there is no limit (RFC 9111 s4.2.4).
 */
export function mayServeStaleOnError({ fields, freshness, nowMs, rule }: StaleCandidate): boolean {
  if (storingForbiddenBy(cacheControlOf(fields)) !== undefined) return false;
  if (rule.staleIfErrorMs !== undefined) return nowMs < freshness.freshUntilMs + rule.staleIfErrorMs;
  if (rule.isImmutable) return true;
  if (isStaleForbidden(fields)) return false;
  const limitSeconds = cacheControlOf(fields).seconds('stale-if-error');
  return limitSeconds === undefined || nowMs < freshness.freshUntilMs + limitSeconds * 1000;
}

/** RFC 9111 s4.2.3, corrected_initial_age, in whole seconds. */
function correctedInitialAgeSeconds({ headFields, requestTimeMs, responseTimeMs }: ReceivedHead): number {
  const dateMs = dateOf(headFields) ?? responseTimeMs;
  const apparentAgeMs = Math.max(0, responseTimeMs - dateMs);
  // s5.1: of several values the first counts, and one that is no number is ignored.
  const ageText = fieldLines(headFields, 'age')[0]?.split(',', 1)[0]?.trim();
  const ageSeconds = ageText === undefined ? 0 : (parseDeltaSeconds(ageText) ?? 0);
  const correctedAgeMs = ageSeconds * 1000 + Math.max(0, responseTimeMs - requestTimeMs);
  return Math.min(Math.floor(Math.max(apparentAgeMs, correctedAgeMs) / 1000), MAX_DELTA_SECONDS);
}

/** RFC 9111 s4.2.1: s-maxage, max-age, Expires, heuristic, in this order; 0 where each use must be confirmed. */
function lifetimeSeconds({ headFields, storedFields, responseTimeMs }: ReceivedHead): number {
  const control = cacheControlOf(storedFields);
  // s5.2.2.4.
  if (control.isUnqualified('no-cache')) return 0;
  const explicitSeconds = control.seconds('s-maxage') ?? control.seconds('max-age');
  if (explicitSeconds !== undefined) return explicitSeconds;

  const dateMs = dateOf(headFields) ?? responseTimeMs;
  const expiresText = fieldLines(storedFields, 'expires');
  if (expiresText.length > 0) {
    // s5.3: a malformed date, `0` above all, is in the past; two different ones are malformed together.
    const expiresMs = new Set(expiresText).size === 1 ? parseHttpDate(expiresText[0] ?? '') : undefined;
    return expiresMs === undefined ? 0 : Math.max(0, (expiresMs - dateMs) / 1000);
  }
  // s4.2.2: allowed because the statuses that are stored at all (200, and 206 as a part of it) are heuristically cacheable.
  const { lastModified } = validatorsOf(storedFields);
  if (lastModified === undefined) return 0;
  const heuristicSeconds = (Math.max(0, dateMs - lastModified.ms) / 1000) * HEURISTIC_FRACTION;
  return Math.min(heuristicSeconds, HEURISTIC_SECONDS_MAX);
}
