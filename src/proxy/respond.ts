/** Stage *respond*: status and header fields of an answer from the cache, decided once; `deliver` commits them with the first bytes. */
import { currentAgeSeconds } from '../cache/freshness.ts';
import { isSliced } from '../cache/status-policy.ts';
import type { ObjectState } from '../fill/origin-question.ts';
import type { Manifest } from '../format/manifest.ts';
import { type ForwardReason, formatCacheStatus } from '../http/cache-status.ts';
import { type FieldList, fieldValue, hasField } from '../http/header-fields.ts';
import { formatHttpDate } from '../http/http-date.ts';
import { formatContentRange } from '../http/range.ts';
import { appendVia } from '../http/via.ts';
import type { CacheResult } from './proxy-metrics.ts';
import type { PlannedBody, RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';

/** Fields that say how the bytes of a representation are to be read. */
const DESCRIBING_FIELDS = new Set(['content-type', 'content-encoding', 'content-language']);

export function respond(context: RequestContext, services: ProxyServices): StageOutcome {
  const { manifest } = context.need('resolution').object;
  const body = context.need('body');
  describeCache(context, services, body);
  const fields = answerFields({ manifest, body, hasIfRange: hasField(context.fields, 'if-range') });
  context.head = { status: body.status, fields: [...fields, ...storyFields(context, services)] };
  return NEXT;
}

/** What the fields of an answer with (a part of) the object's bytes are made of. */
export interface Answer {
  readonly manifest: Manifest;
  readonly body: PlannedBody;
  /** The client sent If-Range. */
  readonly hasIfRange: boolean;
}

/** Fields about the content; the story comes behind them. Pure; the express lane makes its stored heads of the same. */
export function answerFields(answer: Answer): FieldList {
  const { manifest, body } = answer;
  const fields: (readonly [string, string])[] = manifest.fields
    .filter(([name]) => name !== 'via' && name !== 'accept-ranges' && !isLeftOut(name, answer))
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
  return fields;
}

/**
 * Whether a stored field is not sent with a 206. Each part of a multipart body says itself how it is to be read; and a client that sent If-Range
 * has a response with these fields already (RFC 9110 s15.3.7). Last-Modified stays: it may be the validator, and clients give their files its date.
 */
function isLeftOut(name: string, { body, hasIfRange }: Answer): boolean {
  if (body.status !== 206) return false;
  // It was made of all bytes and speaks of those that a message brings (RFC 2616 s14.15).
  if (name === 'content-md5') return true;
  if (!DESCRIBING_FIELDS.has(name)) return false;
  return hasIfRange || (body.multipart !== undefined && name !== 'content-language');
}

/** Age, Via, Cache-Status and X-Cache of an answer made from the object. */
export function storyFields(context: RequestContext, services: ProxyServices): FieldList {
  const { manifest } = context.need('resolution').object;
  const { cacheStatus = '', cacheResult } = context;
  return tellStory(manifest, { cacheStatus, cacheResult }, services.clock.wallMs());
}

/** How an answer came about, in both words. */
export interface CacheStory {
  readonly cacheStatus: string;
  readonly cacheResult: CacheResult;
}

/** The last fields of every answer made from an object. Pure. */
export function tellStory(manifest: Manifest, { cacheStatus, cacheResult }: CacheStory, nowMs: number): FieldList {
  // A response that came without Date was made when it came, not when it is sent (RFC 9110 s6.6.1); Age counts from there.
  const recorded = hasField(manifest.fields, 'date') ? [] : [['date', formatHttpDate(manifest.receivedAtMs)] as const];
  return [
    ...recorded,
    ['age', String(currentAgeSeconds(manifest, nowMs))],
    ['via', appendVia(fieldValue(manifest.fields, 'via'), '1.1')],
    ['cache-status', cacheStatus],
    ['x-cache', cacheResult],
  ];
}

/** Tells in X-Cache's word and in Cache-Status (RFC 9211) how the answer came about. */
export function describeCache(context: RequestContext, services: ProxyServices, slices: SliceCounts): void {
  const { object, state, forward, forwardStatus, isCollapsed } = context.need('resolution');
  const { objectHash, keyText } = object.target;
  const story = cacheStory({
    manifest: object.manifest,
    state,
    forward,
    forwardStatus,
    isCollapsed,
    isStored: state !== 'stale' && services.store.findManifest(objectHash)?.generation === object.generation,
    keyText: services.showsCacheKey ? keyText : undefined,
    slices,
    nowMs: services.clock.wallMs(),
  });
  context.cacheResult = story.cacheResult;
  context.cacheStatus = story.cacheStatus;
}

/** Slices of the answer, and those of them that were at hand. */
export interface SliceCounts {
  readonly hitSlices: number;
  readonly plannedSlices: number;
}

/** All that a story is told of; `keyText` only where Cache-Status is to name it. */
export interface StoryFacts {
  readonly manifest: Manifest;
  readonly state: ObjectState;
  readonly forward: ForwardReason | undefined;
  readonly forwardStatus: number | undefined;
  readonly isCollapsed: boolean;
  readonly isStored: boolean;
  readonly keyText: string | undefined;
  readonly slices: SliceCounts;
  readonly nowMs: number;
}

/** Makes the two words of what happened. Pure. */
export function cacheStory({ manifest, state, forward, slices, nowMs, ...facts }: StoryFacts): CacheStory {
  const isAllAtHand = slices.hitSlices === slices.plannedSlices;
  const isHit = forward === undefined && isAllAtHand;
  const cacheStatus = formatCacheStatus({
    hit: isHit,
    forward: forward ?? 'partial',
    forwardStatus: facts.forwardStatus,
    // Of what came just now nobody has to be told.
    ttlSeconds: state === 'fetched' ? undefined : ttlSeconds(manifest, nowMs),
    isStored: !isHit && facts.isStored,
    isCollapsed: facts.isCollapsed,
    key: facts.keyText,
    detail: state === 'stale' ? 'stale' : state === 'fetched' || isAllAtHand ? undefined : sliceDetail(slices),
  });
  return { cacheStatus, cacheResult: cacheResult(state, slices) };
}

/** What Cache-Status says of freshness that is left, in whole seconds. */
export function ttlSeconds(manifest: Manifest, nowMs: number): number {
  return Math.floor((manifest.freshUntilMs - nowMs) / 1000);
}

function cacheResult(state: ObjectState, { hitSlices, plannedSlices }: SliceCounts): CacheResult {
  if (state === 'fetched') return 'MISS';
  if (hitSlices < plannedSlices) return hitSlices > 0 || state === 'renewed' ? 'PARTIAL' : 'MISS';
  return state === 'renewed' ? 'REVALIDATED' : state === 'stale' ? 'STALE' : 'HIT';
}

function sliceDetail({ hitSlices, plannedSlices }: SliceCounts): string {
  return `slices=${hitSlices}/${plannedSlices}`;
}
