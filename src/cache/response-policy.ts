/**
 * Whether a response may be stored, what of it, and how long it is fresh (RFC 9111 s3). Pure: the fill calls judgeResponse once per
 * response head that would open a generation. Whether a 206 is the part that was asked for is judged before, by the fill.
 */
import type { ManifestFreshness } from '../format/manifest.ts';
import { type CacheControl, cacheControlOf } from '../http/cache-control.ts';
import { contentCodingOf } from '../http/content-coding.ts';
import { endToEndFields, type FieldList, fieldLines, fieldsSizeBytes, hasField } from '../http/header-fields.ts';
import { isRedirect } from '../http/redirect-target.ts';
import { isSignedLocation } from '../http/signed-location.ts';
import { tagsOf } from './cache-tags.ts';
import { contradictsPath } from './content-deception.ts';
import { freshnessOf, isStaleForbidden, ruledFreshMs, storingForbiddenBy } from './freshness.ts';
import { type ResponseControl, responseControl } from './response-control.ts';
import type { SiteRule } from './site-rule.ts';
import { isHeuristicallyCacheable, isNeverStored, isSliced } from './status-policy.ts';
import { hasValidator } from './validators.ts';
import { varyingFields } from './variant-key.ts';

/** A manifest's record has room for this much. */
export const MAX_STORED_FIELDS_BYTES = 16 * 1024;

/** Why a response is not stored, in the order in which the reasons are looked for. */
export const NOT_STORABLE_REASONS = [
  'rule',
  'status',
  'request-no-store',
  'no-store',
  'private',
  'must-understand',
  'authorization',
  'vary',
  'content-encoding',
  'signed-location',
  'set-cookie',
  'content-type',
  'fields-too-large',
  'too-many-tags',
  'never-fresh',
] as const;
/** One of NOT_STORABLE_REASONS. */
export type NotStorableReason = (typeof NOT_STORABLE_REASONS)[number];

/** A response head and the request that it answers. */
export interface CacheableResponse {
  /** Of the request as sent to the origin. */
  readonly requestFields: FieldList;
  readonly status: number;
  readonly fields: FieldList;
  /** When the request was sent, wall-clock. */
  readonly requestTimeMs: number;
  /** When the head arrived, wall-clock. */
  readonly responseTimeMs: number;
  readonly rule: SiteRule;
  /** To whom the groups of the response belong. */
  readonly siteName: string;
  /** Of the request; normalised, without query. */
  readonly path: string;
}

/**
 * Store it with these fields (never Content-Length, Content-Range, Age) and this freshness, which may be over already, as the variant that
 * the request fields in `varying` select; or why not.
 */
export type ResponseVerdict =
  | {
      readonly kind: 'store';
      readonly freshness: ManifestFreshness;
      readonly fields: FieldList;
      readonly tags: readonly string[];
      readonly varying: readonly string[];
    }
  | { readonly kind: 'not-storable'; readonly reason: NotStorableReason };

/** Never stored: framing and extent of this one message, Age (kept as a number), and a digest of content that slices do not reproduce. */
const NOT_STORED: ReadonlySet<string> = new Set(['content-length', 'content-range', 'age', 'content-digest']);

/**
 * Judges a response head. Any final status may be stored; a 206 is judged as the 200 that it is a part of. Date is not added when the origin sent none: the time of
 * receipt is in the freshness, and a date of ours must not make Last-Modified a strong validator.
 */
export function judgeResponse(response: CacheableResponse): ResponseVerdict {
  const { fields, rule, requestTimeMs, responseTimeMs } = response;
  const status = storedStatus(response.status);
  const directives = responseControl(fields);
  const reason = findObstacle({ ...response, status }, directives);
  if (reason !== undefined) return { kind: 'not-storable', reason };
  const stored = storableFields(fields, rule);
  if (fieldsSizeBytes(stored) > MAX_STORED_FIELDS_BYTES) return { kind: 'not-storable', reason: 'fields-too-large' };
  const tags = tagsOf(fields, response.siteName);
  if (tags === undefined) return { kind: 'not-storable', reason: 'too-many-tags' };
  const freshness = freshnessOf({ status, headFields: fields, storedFields: stored, requestTimeMs, responseTimeMs, rule });
  // Neither fresh for a moment, nor to be confirmed by a 304, nor of use when stale: it could never be used.
  const canBeConfirmed = isSliced(status) && hasValidator(stored);
  const isUseless = freshness.freshUntilMs <= responseTimeMs && !canBeConfirmed && !isOfUseStale(directives.control);
  if (isUseless) return { kind: 'not-storable', reason: 'never-fresh' };
  return { kind: 'store', freshness, fields: stored, tags, varying: varyingFields(fields, rule) ?? [] };
}

/** The status under which a response is stored. */
export function storedStatus(status: number): number {
  return status === 206 ? 200 : status;
}

/**
 * The fields of a response that a manifest keeps: end to end (RFC 9110 s7.6.1), without those that a qualified no-cache or private names
 * (RFC 9111 s5.2.2.4, s5.2.2.7), and without Set-Cookie unless a rule keeps it.
 */
export function storableFields(fields: FieldList, rule: SiteRule): FieldList {
  const { control } = responseControl(fields);
  const withheld = [...(control.fieldNames('no-cache') ?? []), ...(control.fieldNames('private') ?? [])];
  return endToEndFields(fields).filter(
    ([name]) => !NOT_STORED.has(name) && !withheld.includes(name) && (name !== 'set-cookie' || rule.setCookie === 'keep'),
  );
}

/** RFC 9111 s3.5: the directives that let a shared cache store, and use, the response to a request with Authorization. */
export function isSharedDespiteAuthorization(control: CacheControl): boolean {
  return control.has('public') || control.has('s-maxage') || control.has('must-revalidate');
}

/**
 * The first rule that forbids storing. An operator's freshness, even `isImmutable`, overrides no-cache but never no-store and private:
 * it says how long the bytes stay right, not who may see them, and a leak cannot be taken back.
 */
function findObstacle(response: CacheableResponse, directives: ResponseControl): NotStorableReason | undefined {
  const { requestFields, status, fields, rule } = response;
  const { control } = directives;
  if (rule.store === 'never') return 'rule';
  if (isNeverStored(status) || !hasReasonToStore(response, directives)) return 'status';
  if (cacheControlOf(requestFields).has('no-store')) return 'request-no-store';
  const forbiddenBy = storingForbiddenBy(control, status);
  if (forbiddenBy !== undefined) return forbiddenBy;
  if (hasField(requestFields, 'authorization') && !isSharedDespiteAuthorization(control)) return 'authorization';
  if (contentCodingOf(fields) === undefined) return 'content-encoding';
  if (varyingFields(fields, rule) === undefined) return 'vary';
  if (isRedirect(status) && fieldLines(fields, 'location').some(isSignedLocation)) return 'signed-location';
  const isCookieStored = hasField(fields, 'set-cookie') && control.fieldNames('no-cache')?.includes('set-cookie') !== true;
  if (isCookieStored && control.fieldNames('private')?.includes('set-cookie') !== true && rule.setCookie === 'refuse') return 'set-cookie';
  if (isDeceptive({ ...response, status })) return 'content-type';
  return undefined;
}

/**
 * Whether a rule would make fresh what is not what its path says. Content only: the page that tells that a style sheet is missing is no style
 * sheet. A rule that wants everything confirmed gives nothing away.
 */
function isDeceptive({ path, status, fields, rule }: CacheableResponse): boolean {
  if (!rule.checksContentType || !isSliced(status)) return false;
  return (ruledFreshMs(rule, status) ?? 0) > 0 && contradictsPath(path, fields);
}

/** RFC 9111 s3, last condition: freshness by rule or by the origin's word, `public`, or a status that may be given some by heuristic. */
function hasReasonToStore({ status, fields, rule }: CacheableResponse, { control, isTargeted }: ResponseControl): boolean {
  if (isHeuristicallyCacheable(status) || ruledFreshMs(rule, status) !== undefined) return true;
  if (control.has('public') || control.has('max-age') || control.has('s-maxage')) return true;
  return !isTargeted && hasField(fields, 'expires');
}

/** Whether RFC 5861 lets it be used although it is not fresh. */
function isOfUseStale(control: CacheControl): boolean {
  if (isStaleForbidden(control)) return false;
  return (control.seconds('stale-while-revalidate') ?? 0) > 0 || (control.seconds('stale-if-error') ?? 0) > 0;
}
