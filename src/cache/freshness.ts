/**
 * How old a response is, how long it is fresh, and whether it may be served when it is not (RFC 9111 s4.2, RFC 5861). The result is kept
 * in the manifest as three numbers, so that a hit costs one comparison; header fields are read only when a response comes in or goes stale.
 */
import type { ManifestFreshness } from '../format/manifest.ts';
import { type CacheControl, MAX_DELTA_SECONDS, parseDeltaSeconds } from '../http/cache-control.ts';
import { type FieldList, fieldLines } from '../http/header-fields.ts';
import { parseHttpDate } from '../http/http-date.ts';
import { responseControl } from './response-control.ts';
import type { SiteRule } from './site-rule.ts';
import { isHeuristicallyCacheable, isMissing, isSliced, isUnderstood } from './status-policy.ts';
import { dateOf, validatorsOf } from './validators.ts';

/** How long a rule's immutable objects are fresh unless it says otherwise. */
const IMMUTABLE_FRESH_MS = 365 * 24 * 3600 * 1000;
/** RFC 9111 s4.2.2 calls 10 % of the time since Last-Modified typical. */
const HEURISTIC_FRACTION = 0.1;
/** A guess is not trusted for longer than a day, however old the object. */
const HEURISTIC_SECONDS_MAX = 24 * 3600;

/** What came in, and when. */
export interface ReceivedHead {
  /** Of the response that is stored: 200 for a 206 and a 304. */
  readonly status: number;
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
  const { status, responseTimeMs, rule } = head;
  // A 304 may bring no-store or private for what is already stored: from then on it is not used without asking, rule or no rule.
  const isForbidden = storingForbiddenBy(responseControl(head.storedFields).control, status) !== undefined;
  const ruledMs = isForbidden ? 0 : ruledFreshMs(rule, status);
  // A rule counts from when the response was received or confirmed, so the age it came with does not matter.
  const remainingMs = ruledMs ?? (lifetimeSeconds(head) - initialAgeSeconds) * 1000;
  const freshUntilMs = Math.min(Math.max(0, responseTimeMs + remainingMs), Number.MAX_SAFE_INTEGER);
  return { receivedAtMs: responseTimeMs, initialAgeSeconds, freshUntilMs: Math.floor(freshUntilMs) };
}

/**
 * How long a rule makes a response of this status fresh; undefined where it leaves that to the origin. What it says of the content (`freshFor`,
 * `immutable`) is not said of errors and redirects: a file that is missing today may be there tomorrow.
 */
export function ruledFreshMs(rule: SiteRule, status: number): number | undefined {
  if (isSliced(status)) return rule.freshForMs ?? (rule.isImmutable ? IMMUTABLE_FRESH_MS : undefined);
  return isMissing(status) ? rule.missingFreshForMs : undefined;
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

/** Why a shared cache may not store a response, by its directives. */
export type StoringForbidden = 'no-store' | 'private' | 'must-understand';

/**
 * The directive with which a response forbids a shared cache to store it (RFC 9111 s5.2.2.5, s5.2.2.7). must-understand keeps out what has
 * a status that is not understood, and for the others takes back the no-store beside it, which is for caches that do not know it (s5.2.2.3).
 */
export function storingForbiddenBy(control: CacheControl, status: number): StoringForbidden | undefined {
  const isUnderstoodAsked = control.has('must-understand');
  if (isUnderstoodAsked && !isUnderstood(status)) return 'must-understand';
  if (control.has('no-store') && !isUnderstoodAsked) return 'no-store';
  return control.isUnqualified('private') ? 'private' : undefined;
}

/** Whether the origin forbids serving it stale (RFC 9111 s4.2.4); s-maxage does as proxy-revalidate does (s5.2.2.10). */
export function isStaleForbidden(control: CacheControl): boolean {
  return control.has('must-revalidate') || control.has('proxy-revalidate') || control.has('s-maxage') || control.isUnqualified('no-cache');
}

/** A stored response; a manifest is one. */
export interface StoredResponse extends ManifestFreshness {
  readonly status: number;
  readonly fields: FieldList;
}

/** A stored response that is not fresh, or that the origin cannot be asked about. */
export interface StaleCandidate {
  readonly stored: StoredResponse;
  readonly nowMs: number;
  readonly rule: SiteRule;
}

/** What else decides when the origin fails. */
export interface StaleOnErrorTerms {
  /** The request's stale-if-error (RFC 5861 s4), in seconds; it holds for that request in place of the origin's and the rule's. */
  readonly requestSeconds: number | undefined;
  /** The limit where nobody has given one. */
  readonly defaultMs: number;
}

/**
 * Whether it may be served when the origin drops, times out or answers 5xx (RFC 9111 s4.2.4, RFC 5861 s4). The operator's rule replaces
 * whatever the origin said, but for the no-store or private that a 304 may have brought. An error is never kept beyond its time.
 */
export function mayServeStaleOnError({ stored, nowMs, rule }: StaleCandidate, terms: StaleOnErrorTerms): boolean {
  const { control } = responseControl(stored.fields);
  if (stored.status >= 500 || storingForbiddenBy(control, stored.status) !== undefined) return false;
  const isImmutable = rule.isImmutable && isSliced(stored.status);
  const ruledMs = rule.staleIfErrorMs ?? (isImmutable ? Number.POSITIVE_INFINITY : undefined);
  if (ruledMs === undefined && isStaleForbidden(control)) return false;
  const limitMs = toMs(terms.requestSeconds) ?? ruledMs ?? toMs(control.seconds('stale-if-error')) ?? terms.defaultMs;
  return nowMs < stored.freshUntilMs + limitMs;
}

/** Whether it may be served now while the origin is asked behind the client's back (RFC 5861 s3). */
export function mayServeWhileRevalidating({ stored, nowMs, rule }: StaleCandidate): boolean {
  const { control } = responseControl(stored.fields);
  if (stored.status >= 500 || storingForbiddenBy(control, stored.status) !== undefined) return false;
  const limitMs = rule.staleWhileRevalidateMs ?? (isStaleForbidden(control) ? 0 : toMs(control.seconds('stale-while-revalidate')));
  return limitMs !== undefined && nowMs < stored.freshUntilMs + limitMs;
}

function toMs(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : seconds * 1000;
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
function lifetimeSeconds({ status, headFields, storedFields, responseTimeMs }: ReceivedHead): number {
  const { control, isTargeted } = responseControl(storedFields);
  // s5.2.2.4.
  if (control.isUnqualified('no-cache')) return 0;
  const explicitSeconds = control.seconds('s-maxage') ?? control.seconds('max-age');
  if (explicitSeconds !== undefined) return explicitSeconds;

  const dateMs = dateOf(headFields) ?? responseTimeMs;
  const expiresText = isTargeted ? [] : fieldLines(storedFields, 'expires');
  if (expiresText.length > 0) {
    // s5.3: a malformed date, `0` above all, is in the past; two different ones are malformed together.
    const expiresMs = new Set(expiresText).size === 1 ? parseHttpDate(expiresText[0] ?? '') : undefined;
    return expiresMs === undefined ? 0 : Math.max(0, (expiresMs - dateMs) / 1000);
  }
  // s4.2.2.
  const { lastModified } = validatorsOf(storedFields);
  if (lastModified === undefined || !(isHeuristicallyCacheable(status) || control.has('public'))) return 0;
  const heuristicSeconds = (Math.max(0, dateMs - lastModified.ms) / 1000) * HEURISTIC_FRACTION;
  return Math.min(heuristicSeconds, HEURISTIC_SECONDS_MAX);
}
