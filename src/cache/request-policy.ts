/**
 * What a request lets the cache do (RFC 9111 s4 and s5.2.1), before anything is looked up, and whether what was found will do for it.
 * Pure: the pipeline calls judgeRequest once per request and isReusable once per manifest found.
 */
import type { ManifestFreshness } from '../format/manifest.ts';
import { cacheControlOf } from '../http/cache-control.ts';
import { type FieldList, fieldValue, hasField, splitList } from '../http/header-fields.ts';
import { currentAgeSeconds, isFresh, isStaleForbidden } from './freshness.ts';
import type { SiteRule } from './site-rule.ts';

/** Why a request goes past the cache. */
export const BYPASS_REASONS = ['rule', 'method', 'upgrade', 'content', 'authorization', 'no-store'] as const;
/** One of BYPASS_REASONS. */
export type BypassReason = (typeof BYPASS_REASONS)[number];

/** The request may be answered from the cache, on these terms. */
export interface Lookup {
  readonly kind: 'lookup';
  /** Whatever is stored must be confirmed by the origin first. */
  readonly mustRevalidate: boolean;
  /** 504 rather than a request to the origin (RFC 9111 s5.2.1.7). */
  readonly onlyIfCached: boolean;
  /** The oldest that will do (s5.2.1.1). */
  readonly maxAgeSeconds: number | undefined;
  /** How long it must stay fresh yet (s5.2.1.3). */
  readonly minFreshSeconds: number;
  /** For how long it may have been stale (s5.2.1.2); Infinity for any time, 0 for none. */
  readonly maxStaleSeconds: number;
}

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
  // An immutable object is never older or staler than anyone could wish, so only the operator's own purge renews it (as RFC 8246 has it).
  if (rule.isImmutable) {
    return { kind: 'lookup', mustRevalidate: false, onlyIfCached, maxAgeSeconds: undefined, minFreshSeconds: 0, maxStaleSeconds: 0 };
  }
  const maxAgeSeconds = control.seconds('max-age');
  // RFC 9111 s5.4: Pragma counts only in the absence of Cache-Control.
  const isPragmaHeard = !rule.ignoresClientCacheControl && !hasField(fields, 'cache-control');
  const isPragmaNoCache = isPragmaHeard && splitList((fieldValue(fields, 'pragma') ?? '').toLowerCase()).includes('no-cache');
  return {
    kind: 'lookup',
    mustRevalidate: control.has('no-cache') || maxAgeSeconds === 0 || isPragmaNoCache || hasOriginCondition(fields),
    onlyIfCached,
    maxAgeSeconds,
    minFreshSeconds: control.seconds('min-fresh') ?? 0,
    maxStaleSeconds: control.get('max-stale') === true ? Number.POSITIVE_INFINITY : (control.seconds('max-stale') ?? 0),
  };
}

/**
 * Whether a stored response answers this request without a word from the origin (RFC 9111 s4).
 *
 * @param stored the manifest, or its fields and freshness
 */
export function isReusable(stored: ManifestFreshness & { readonly fields: FieldList }, lookup: Lookup, nowMs: number): boolean {
  if (lookup.mustRevalidate) return false;
  if (lookup.maxAgeSeconds !== undefined && currentAgeSeconds(stored, nowMs) > lookup.maxAgeSeconds) return false;
  if (isFresh(stored, nowMs)) return stored.freshUntilMs - nowMs >= lookup.minFreshSeconds * 1000;
  if (lookup.maxStaleSeconds === 0 || lookup.minFreshSeconds > 0) return false;
  return (nowMs - stored.freshUntilMs) / 1000 <= lookup.maxStaleSeconds && !isStaleForbidden(stored.fields);
}

function findBypassReason({ method, fields, rule }: CacheableRequest): BypassReason | undefined {
  if (rule.store === 'never') return 'rule';
  if (method !== 'GET' && method !== 'HEAD') return 'method';
  // WebSocket and the like begin as a GET; h2c is an offer that we need not take up.
  const upgrade = fieldValue(fields, 'upgrade');
  if (upgrade !== undefined && splitList(upgrade.toLowerCase()).some((protocol) => protocol !== 'h2c')) return 'upgrade';
  // What content means in a GET is the origin's own affair (RFC 9110 s9.3.1), so the key does not say all.
  if (hasField(fields, 'transfer-encoding') || !/^0*$/.test(fieldValue(fields, 'content-length') ?? '')) return 'content';
  // RFC 9111 s3.5 would let some of these be shared; for now none is.
  if (hasField(fields, 'authorization')) return 'authorization';
  return undefined;
}

/** If-Match and If-Unmodified-Since are about the origin's state (RFC 9111 s4.3.2): they are weighed against a confirmed response only. */
function hasOriginCondition(fields: FieldList): boolean {
  return hasField(fields, 'if-match') || hasField(fields, 'if-unmodified-since');
}
