/**
 * What a request lets the cache do (RFC 9111 s4 and s5.2.1), before anything is looked up, and whether what was found will do for it.
 * Pure: the pipeline calls judgeRequest once per request and judgeReuse once per manifest found.
 */
import { cacheControlOf } from '../http/cache-control.ts';
import { type FieldList, fieldValue, hasField, splitList } from '../http/header-fields.ts';
import {
  currentAgeSeconds,
  isFresh,
  isStaleForbidden,
  mayServeWhileRevalidating,
  type StaleCandidate,
  storingForbiddenBy,
} from './freshness.ts';
import { responseControl } from './response-control.ts';
import { isSharedDespiteAuthorization } from './response-policy.ts';
import type { SiteRule } from './site-rule.ts';
import { isSliced } from './status-policy.ts';

/** Why a request goes past the cache. */
export const BYPASS_REASONS = ['rule', 'method', 'upgrade', 'content', 'no-store'] as const;
/** One of BYPASS_REASONS. */
export type BypassReason = (typeof BYPASS_REASONS)[number];

/** The request may be answered from the cache, on these terms. */
export interface Lookup {
  readonly kind: 'lookup';
  /** Whatever is stored must be confirmed by the origin first (s5.2.1.4). */
  readonly mustRevalidate: boolean;
  /** And if that fails there is no answer: the request's condition is about the origin's own state. */
  readonly mustConfirm: boolean;
  /** The client has credentials: it gets what may be shared (s3.5), and the origin is asked with them. */
  readonly isAuthorized: boolean;
  /** 504 rather than a request to the origin (RFC 9111 s5.2.1.7). */
  readonly onlyIfCached: boolean;
  /** The oldest that will do (s5.2.1.1). */
  readonly maxAgeSeconds: number | undefined;
  /** How long it must stay fresh yet (s5.2.1.3). */
  readonly minFreshSeconds: number;
  /** For how long it may have been stale (s5.2.1.2); Infinity for any time, 0 for none. */
  readonly maxStaleSeconds: number;
  /** How stale it may be when the origin fails (RFC 5861 s4); undefined where the request does not say. */
  readonly staleIfErrorSeconds: number | undefined;
}

/** How a stored response serves a request: as fresh, stale while it is renewed, stale as the client allows, or not at all. */
export type Reuse = 'fresh' | 'while-revalidating' | 'stale' | 'none';

/** Look up on terms, or pass through without storing. */
export type RequestVerdict = Lookup | { readonly kind: 'bypass'; readonly reason: BypassReason; readonly onlyIfCached: boolean };

/** A client's request, as far as caching is concerned. */
export interface CacheableRequest {
  readonly method: string;
  readonly fields: FieldList;
  readonly rule: SiteRule;
}

/** Decides from the request alone. */
export function judgeRequest(request: CacheableRequest): RequestVerdict {
  const { fields, rule } = request;
  const control = cacheControlOf(rule.ignoresClientCacheControl ? [] : fields);
  const onlyIfCached = control.has('only-if-cached');
  const reason = control.has('no-store') ? (findBypassReason(request) ?? 'no-store') : findBypassReason(request);
  if (reason !== undefined) return { kind: 'bypass', reason, onlyIfCached };
  // RFC 9111 s5.4: Pragma counts only in the absence of Cache-Control.
  const isPragmaHeard = !rule.ignoresClientCacheControl && !hasField(fields, 'cache-control');
  const isPragmaNoCache = isPragmaHeard && splitList((fieldValue(fields, 'pragma') ?? '').toLowerCase()).includes('no-cache');
  // What a rule calls immutable is in the state that it is in for ever.
  const mustConfirm = !rule.isImmutable && hasOriginCondition(fields);
  return {
    kind: 'lookup',
    mustRevalidate: control.has('no-cache') || isPragmaNoCache || mustConfirm,
    mustConfirm,
    isAuthorized: hasField(fields, 'authorization'),
    onlyIfCached,
    maxAgeSeconds: control.seconds('max-age'),
    minFreshSeconds: control.seconds('min-fresh') ?? 0,
    maxStaleSeconds: control.get('max-stale') === true ? Number.POSITIVE_INFINITY : (control.seconds('max-stale') ?? 0),
    staleIfErrorSeconds: control.seconds('stale-if-error'),
  };
}

/** How a stored response answers this request before a word from the origin (RFC 9111 s4). */
export function judgeReuse(candidate: StaleCandidate, lookup: Lookup): Reuse {
  const { stored, nowMs } = candidate;
  if (lookup.mustRevalidate) return 'none';
  if (lookup.isAuthorized && !isSharedDespiteAuthorization(responseControl(stored.fields).control)) return 'none';
  if (!isFresh(stored, nowMs)) return judgeStale(candidate, lookup);
  const { maxAgeSeconds, minFreshSeconds } = lookup;
  const isTooOld = maxAgeSeconds !== undefined && (maxAgeSeconds === 0 || currentAgeSeconds(stored, nowMs) > maxAgeSeconds);
  const isTooNear = stored.freshUntilMs - nowMs < minFreshSeconds * 1000;
  return (!isTooOld && !isTooNear) || isImmutable(candidate) ? 'fresh' : 'none';
}

/** A client that names an age or a freshness wants nothing stale unless it says so, too (RFC 9111 s5.2.1.1, s5.2.1.3). */
function judgeStale(candidate: StaleCandidate, lookup: Lookup): Reuse {
  const { stored, nowMs } = candidate;
  const { maxAgeSeconds, minFreshSeconds, maxStaleSeconds } = lookup;
  if (minFreshSeconds > 0) return 'none';
  if (maxAgeSeconds === undefined && mayServeWhileRevalidating(candidate)) return 'while-revalidating';
  if (maxStaleSeconds === 0 || maxAgeSeconds === 0 || (nowMs - stored.freshUntilMs) / 1000 > maxStaleSeconds) return 'none';
  if (maxAgeSeconds !== undefined && currentAgeSeconds(stored, nowMs) > maxAgeSeconds) return 'none';
  const { control } = responseControl(stored.fields);
  return isStaleForbidden(control) || storingForbiddenBy(control, stored.status) !== undefined ? 'none' : 'stale';
}

/** RFC 8246: while it is fresh a reload (max-age=0) need not be passed on; no-cache is a wish for confirmation all the same (s2.1). */
function isImmutable({ stored, rule }: StaleCandidate): boolean {
  return isSliced(stored.status) && (rule.isImmutable || responseControl(stored.fields).control.has('immutable'));
}

function findBypassReason({ method, fields, rule }: CacheableRequest): BypassReason | undefined {
  if (rule.store === 'never') return 'rule';
  if (method !== 'GET' && method !== 'HEAD') return 'method';
  // WebSocket and the like begin as a GET; h2c is an offer that we need not take up.
  const upgrade = fieldValue(fields, 'upgrade');
  if (upgrade !== undefined && splitList(upgrade.toLowerCase()).some((protocol) => protocol !== 'h2c')) return 'upgrade';
  // What content means in a GET is the origin's own affair (RFC 9110 s9.3.1), so the key does not say all.
  if (hasField(fields, 'transfer-encoding') || !/^0*$/.test(fieldValue(fields, 'content-length') ?? '')) return 'content';
  return undefined;
}

/** If-Match and If-Unmodified-Since are about the origin's state (RFC 9111 s4.3.2): they are weighed against a confirmed response only. */
function hasOriginCondition(fields: FieldList): boolean {
  return hasField(fields, 'if-match') || hasField(fields, 'if-unmodified-since');
}
