/** Stage *respond*: status and header fields of an answer from the cache, decided once; `deliver` commits them with the first bytes. */
import { currentAgeSeconds } from '../cache/freshness.ts';
import { isSliced } from '../cache/status-policy.ts';
import type { ObjectState } from '../fill/origin-question.ts';
import { formatCacheStatus } from '../http/cache-status.ts';
import { type FieldList, fieldValue, hasField } from '../http/header-fields.ts';
import { formatHttpDate } from '../http/http-date.ts';
import { formatContentRange } from '../http/range.ts';
import { appendVia } from '../http/via.ts';
import type { CacheResult } from './proxy-metrics.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';

/** Fields that say how the bytes of a representation are to be read. */
const DESCRIBING_FIELDS = new Set(['content-type', 'content-encoding', 'content-language']);

export function respond(context: RequestContext, services: ProxyServices): StageOutcome {
  const { object } = context.need('resolution');
  const { manifest } = object;
  const body = context.need('body');
  describeCache(context, services, body);
  const fields: (readonly [string, string])[] = manifest.fields
    .filter(([name]) => name !== 'via' && name !== 'accept-ranges' && !isLeftOut(name, context))
    .map(([name, value]) => [name, value]);
  if (body.multipart !== undefined) {
    // Each part has its Content-Range, the message has none (RFC 9110 s15.3.7.2).
    fields.push(['content-type', body.multipart.contentType], ['content-length', String(body.multipart.lengthBytes)]);
  } else {
    // RFC 9110 s8.6: never in a 204.
    if (body.end !== undefined && body.status !== 204) fields.push(['content-length', String(body.end - body.start)]);
    if (body.status === 206) fields.push(['content-range', formatContentRange(body.start, body.end ?? 0, manifest.lengthBytes)]);
  }
  // Whatever the origin can do, ranges of an object of known length are answered here (RFC 9110 s14.3).
  if (manifest.lengthBytes !== undefined && isSliced(manifest.status)) fields.push(['accept-ranges', 'bytes']);
  fields.push(...storyFields(context, services));
  context.head = { status: body.status, fields };
  return NEXT;
}

/**
 * Whether a stored field is not sent with a 206. Each part of a multipart body says itself how it is to be read; and a client that sent If-Range
 * has a response with these fields already (RFC 9110 s15.3.7). Last-Modified stays: it may be the validator, and clients give their files its date.
 */
function isLeftOut(name: string, { body, fields }: RequestContext): boolean {
  if (body?.status !== 206) return false;
  // It was made of all bytes and speaks of those that a message brings (RFC 2616 s14.15).
  if (name === 'content-md5') return true;
  if (!DESCRIBING_FIELDS.has(name)) return false;
  return hasField(fields, 'if-range') || (body.multipart !== undefined && name !== 'content-language');
}

/** Age, Via, Cache-Status and X-Cache of an answer made from the object. */
export function storyFields(context: RequestContext, services: ProxyServices): FieldList {
  const { manifest } = context.need('resolution').object;
  // A response that came without Date was made when it came, not when it is sent (RFC 9110 s6.6.1); Age counts from there.
  const recorded = hasField(manifest.fields, 'date') ? [] : [['date', formatHttpDate(manifest.receivedAtMs)] as const];
  return [
    ...recorded,
    ['age', String(currentAgeSeconds(manifest, services.clock.wallMs()))],
    ['via', appendVia(fieldValue(manifest.fields, 'via'), '1.1')],
    ['cache-status', context.cacheStatus ?? ''],
    ['x-cache', context.cacheResult],
  ];
}

/** Tells in X-Cache's word and in Cache-Status (RFC 9211) how the answer came about. */
export function describeCache(
  context: RequestContext,
  services: ProxyServices,
  slices: { readonly hitSlices: number; readonly plannedSlices: number },
): void {
  const { state, forward, forwardStatus, isCollapsed, object } = context.need('resolution');
  const isAllAtHand = slices.hitSlices === slices.plannedSlices;
  context.cacheResult = cacheResult(state, slices);
  const isHit = forward === undefined && isAllAtHand;
  context.cacheStatus = formatCacheStatus({
    hit: isHit,
    forward: forward ?? 'partial',
    forwardStatus,
    // Of what came just now nobody has to be told.
    ttlSeconds: state === 'fetched' ? undefined : Math.floor((object.manifest.freshUntilMs - services.clock.wallMs()) / 1000),
    isStored: !isHit && state !== 'stale' && services.store.findManifest(object.target.objectHash)?.generation === object.generation,
    isCollapsed,
    key: services.showsCacheKey ? object.target.keyText : undefined,
    detail: state === 'stale' ? 'stale' : state === 'fetched' || isAllAtHand ? undefined : sliceDetail(slices),
  });
}

function cacheResult(
  state: ObjectState,
  { hitSlices, plannedSlices }: { readonly hitSlices: number; readonly plannedSlices: number },
): CacheResult {
  if (state === 'fetched') return 'MISS';
  if (hitSlices < plannedSlices) return hitSlices > 0 || state === 'renewed' ? 'PARTIAL' : 'MISS';
  return state === 'renewed' ? 'REVALIDATED' : state === 'stale' ? 'STALE' : 'HIT';
}

function sliceDetail({ hitSlices, plannedSlices }: { readonly hitSlices: number; readonly plannedSlices: number }): string {
  return `slices=${hitSlices}/${plannedSlices}`;
}
