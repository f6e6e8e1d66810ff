/**
 * Makes an object known and usable: fresh from the cache, renewed by the origin, or learnt from the origin's answer, whose body is then the
 * first run of its slices. Requests for one key that need the origin wait for one response head (never for its body); when that turns out
 * not to be storable, all of them go to the origin at once and the key is marked, so that nobody waits there again for a while.
 */
import { EdgeError } from '../base/errors.ts';
import { TurnoverMap } from '../base/turnover-map.ts';
import { hashKeyText } from '../cache/cache-key.ts';
import { isFresh } from '../cache/freshness.ts';
import { KeyMarks } from '../cache/key-marks.ts';
import { judgeReuse, type Lookup, type Reuse } from '../cache/request-policy.ts';
import { responseControl } from '../cache/response-control.ts';
import { isSharedDespiteAuthorization } from '../cache/response-policy.ts';
import { planSlices, type SliceStep, sliceCount } from '../cache/slice-plan.ts';
import { isSliced } from '../cache/status-policy.ts';
import { primaryKeyText } from '../cache/variant-key.ts';
import { isMarker } from '../cache/variant-marker.ts';
import type { Manifest, ObjectHash } from '../format/manifest.ts';
import type { ForwardReason } from '../http/cache-status.ts';
import type { RangeSpec } from '../http/range.ts';
import { resolveRangeSet } from '../http/range-set.ts';
import { type Coverable, matcherOf } from '../store/purges/purge.ts';
import type { PurgeTarget } from '../store/slice-store.ts';
import type { UpstreamHead } from '../upstream/upstream-transport.ts';
import { BackgroundRenewals, type RenewalResult, readForNext } from './background-renewals.ts';
import type { BodyReader } from './body-reader.ts';
import { type FillContext, type FillTarget, UNSTORABLE_MARK_MS, UNSTORABLE_MARKS_MAX } from './fill-context.ts';
import { findFirstMissing, type MissingBytes } from './first-missing.ts';
import type { LiveObject } from './live-object.ts';
import { LiveObjects } from './live-objects.ts';
import { type GrantedObject, type HeadOutcome, mayBeStaleFor, type ObjectState, OriginQuestion } from './origin-question.ts';
import type { ResolveRequest } from './resolve-request.ts';
import { type Place, selects, VariantLookup } from './variant-lookup.ts';
import { VariantMarkers } from './variant-markers.ts';

/**
 * `object`: use it, then call `release` once. `answer`: the origin's response, not stored, for this client alone. `bypass`: ask the origin
 * with the client's own request. `absent`: not in the cache, and the client wants nothing else.
 */
export type Resolution =
  | {
      readonly kind: 'object';
      readonly object: LiveObject;
      readonly state: ObjectState;
      readonly isCollapsed: boolean;
      /** Why the origin was asked; undefined when it was not. */
      readonly forward: ForwardReason | undefined;
      /** Status of the origin's answer, when it was asked. */
      readonly forwardStatus: number | undefined;
      /** The request's reader is attached, so that nothing has to wait for it any more; `release` does it too. */
      readonly attached: () => void;
      readonly release: () => void;
    }
  | { readonly kind: 'answer'; readonly head: UpstreamHead; readonly reader: BodyReader; readonly forward: ForwardReason }
  | { readonly kind: 'bypass'; readonly forward: ForwardReason }
  | { readonly kind: 'absent' };

/** Turns after which a request that keeps finding changed objects goes to the origin by itself. */
const TURNS_MAX = 4;
/** Turns in which it may wait for the response head of another. */
const COLLAPSED_TURNS_MAX = 2;

/** What the cache has for a request. */
interface Found {
  readonly kind: 'found';
  readonly place: Place;
  /** Undefined also where the place's manifest lacks slices that only a new response could bring. */
  readonly known: LiveObject | undefined;
  readonly reuse: Reuse;
}

/** Resolves requests to live objects. */
export class ObjectResolver {
  readonly #context: FillContext;
  readonly #live: LiveObjects;
  readonly #marks: KeyMarks;
  /** Of responses to requests with credentials, which say nothing about those without. */
  readonly #authorizedMarks: KeyMarks;
  readonly #background: BackgroundRenewals;
  readonly #markers: VariantMarkers;
  readonly #lookup: VariantLookup;
  readonly #pending = new TurnoverMap<ObjectHash, OriginQuestion>();
  /** Asked with one client's credentials: nobody else waits for them. */
  readonly #alone = new Set<OriginQuestion>();

  constructor(context: FillContext) {
    this.#context = context;
    this.#live = new LiveObjects(context);
    const bounds = { clock: context.clock, lifeMs: UNSTORABLE_MARK_MS, countMax: UNSTORABLE_MARKS_MAX };
    this.#marks = new KeyMarks(bounds);
    this.#authorizedMarks = new KeyMarks(bounds);
    this.#background = new BackgroundRenewals(context);
    this.#markers = new VariantMarkers(context, this.#live);
    this.#lookup = new VariantLookup(context, this.#markers, (objectHash, signal) => this.#findManifest(objectHash, signal));
  }

  /** Objects in use now, those that are being renewed in the background included; zero when nothing is going on. */
  get liveCount(): number {
    return this.#live.count + this.#background.count;
  }

  /** @throws EdgeError UPSTREAM_* when the origin is needed and fails, CLIENT_GONE when the signal aborts */
  async resolve(request: ResolveRequest): Promise<Resolution> {
    let wanted = request;
    let forward: ForwardReason | undefined;
    for (let turn = 0; turn < TURNS_MAX; turn += 1) {
      if (request.signal.aborted) throw new EdgeError('CLIENT_GONE');
      const found = await this.#lookUp(request, wanted);
      if (found.kind === 'again') continue;
      if (found.kind === 'pass') return request.lookup.onlyIfCached ? { kind: 'absent' } : { kind: 'bypass', forward: 'vary-miss' };
      const { place, known } = found;
      const { manifest, questionHash } = place;
      if (turn === 0 && place.target !== request.target) this.#context.store.noteRequest(place.target.objectHash, request.startBytes);
      if (known !== undefined && found.reuse !== 'none') return this.#serve(request, { place, known, reuse: found.reuse });
      const stored = known?.manifest;
      forward ??= forwardReason(place, stored, this.#context.clock.wallMs());
      request.onForward?.(forward);
      known?.forgetIfIdle();
      // A HEAD confirms what is stored; it is no reason to fetch a body.
      if (request.lookup.onlyIfCached || (request.method === 'HEAD' && stored === undefined)) return { kind: 'absent' };
      if (this.#marksFor(request).has(questionHash)) return { kind: 'bypass', forward };
      // Asked for whole with credentials, it would take the place of what others have of it.
      const isOthers = request.lookup.isAuthorized && manifest !== undefined && known === undefined;
      if (isOthers && isFresh(manifest, this.#context.clock.wallMs())) return { kind: 'bypass', forward };
      const pending = turn < COLLAPSED_TURNS_MAX && !request.lookup.isAuthorized ? this.#pending.get(questionHash) : undefined;
      if (pending !== undefined) this.#context.metrics.add('collapsed');
      const outcome = await (pending ?? this.#ask(wanted, place, stored)).join(request);
      const resolution = await this.#conclude(request, outcome, { isCollapsed: pending !== undefined, forward });
      if (resolution !== undefined) return resolution;
      if (outcome.kind === 'again' && outcome.isRangeless) wanted = { ...request, ranges: [] };
    }
    return { kind: 'bypass', forward: forward ?? 'miss' };
  }

  /**
   * What resolve() would hand out as fresh without waiting for anything: the manifest is in memory, no variants are told apart, and the request's
   * terms are met. Undefined does not mean that there is nothing. For whoever needs no more than a slice that is in memory, too.
   */
  findFresh(target: FillTarget, lookup: Lookup, nowMs: number): Manifest | undefined {
    const live = this.#live.findCurrent(target.objectHash);
    const isUsable = live !== undefined && live.failure === undefined;
    const manifest = isUsable ? live.manifest : this.#context.store.tryReadManifest(target.objectHash);
    if (manifest === undefined || isMarker(manifest)) return undefined;
    const reuse = judgeReuse({ stored: manifest, nowMs, rule: target.rule }, lookup);
    return reuse === 'fresh' ? manifest : undefined;
  }

  /** Hands out what findFresh() has just found, in the same turn. Undefined when that generation is over. */
  open(target: FillTarget, manifest: Manifest): Extract<Resolution, { kind: 'object' }> | undefined {
    const object = this.#live.open(target, manifest);
    if (object.failure !== undefined) return undefined;
    object.hold();
    object.reserve();
    return granted({ kind: 'object', object, state: 'fresh', status: undefined }, { isCollapsed: false, forward: undefined });
  }

  /**
   * Something was purged. What is being filled of it is finished for its readers and joined by nobody; a soft purge leaves it to be joined when
   * the origin has confirmed it. Called in the same turn as the store's purge.
   */
  forget(target: PurgeTarget, isSoft = false): void {
    const matches = matcherWithVariants(target);
    this.#markers.forget(matches);
    if (isSoft) this.#live.makeStale(matches, this.#context.clock.wallMs());
    else this.#live.detachAll(matches);
    if (target.kind === 'object') for (const marks of [this.#marks, this.#authorizedMarks]) marks.delete(target.objectHash);
    for (const question of this.#alone) if (question.isAbout(matches)) question.detach();
    // What was asked for before the purge is for those who wait for it already, and for nobody else. What tags an answer will have is not
    // known before it comes; the store then refuses it by those.
    for (const [objectHash, question] of this.#pending.entries()) {
      const isCovered = question.isAbout(matches);
      if (isCovered) question.detach();
      if (isCovered || target.kind === 'tag') this.#pending.delete(objectHash);
    }
  }

  /** What the cache has, and whether it will do. @param wanted the request as the origin would be asked on its behalf */
  async #lookUp(request: ResolveRequest, wanted: ResolveRequest): Promise<Found | { readonly kind: 'again' } | { readonly kind: 'pass' }> {
    const place = await this.#lookup.locate(wanted);
    if (place.kind !== 'place') return place;
    const known = this.#usable(request, place);
    const nowMs = this.#context.clock.wallMs();
    const reuse = known === undefined ? 'none' : judgeReuse({ stored: known.manifest, nowMs, rule: place.target.rule }, request.lookup);
    return { kind: 'found', place, known, reuse };
  }

  /** Hands out what is stored; what may be renewed meanwhile is. */
  #serve(request: ResolveRequest, found: { place: Place; known: LiveObject; reuse: Exclude<Reuse, 'none'> }): Resolution {
    const { known: object, reuse } = found;
    if (reuse === 'while-revalidating') this.#renewBehind(request, found.place, object.manifest);
    object.hold();
    object.reserve();
    const state = reuse === 'fresh' ? 'fresh' : 'stale';
    return granted({ kind: 'object', object, state, status: undefined }, { isCollapsed: false, forward: undefined });
  }

  /** Asks the origin about a stale object that its clients are served (RFC 5861 s3), unless somebody asks already. */
  #renewBehind(request: ResolveRequest, place: Place, stored: Manifest): void {
    const { questionHash } = place;
    if (this.#pending.has(questionHash)) return;
    const { signal } = new AbortController();
    this.#background.begin(questionHash, () => this.#renew({ ...request, method: 'GET', credentials: [], signal }, place, stored));
  }

  async #renew(request: ResolveRequest, place: Place, stored: Manifest): Promise<RenewalResult> {
    const outcome = await this.#ask(request, place, stored).join({ signal: request.signal });
    if (outcome.kind !== 'object') {
      if ('answer' in outcome) outcome.answer?.reader.abort();
      return outcome.kind === 'again' && !outcome.isRangeless ? 'overtaken' : 'failed';
    }
    const { object, attached, release } = granted(outcome, { isCollapsed: false, forward: 'stale' });
    try {
      if (outcome.state !== 'fetched') return 'renewed';
      await readForNext(object, request.ranges, attached);
      return 'replaced';
    } finally {
      release();
    }
  }

  #marksFor({ lookup }: ResolveRequest): KeyMarks {
    return lookup.isAuthorized ? this.#authorizedMarks : this.#marks;
  }

  /** What an outcome is for one of those who waited for it; undefined means: look again. */
  async #conclude(
    request: ResolveRequest,
    outcome: HeadOutcome,
    story: ForwardStory & { readonly forward: ForwardReason },
  ): Promise<Resolution | undefined> {
    const { isCollapsed, forward } = story;
    switch (outcome.kind) {
      case 'object': {
        const resolution = granted(outcome, story);
        const { object, marker } = outcome;
        const isItsOwn = marker === undefined || selects(request, marker, object.target.objectHash);
        if (object.failure === undefined && isItsOwn) return resolution;
        resolution.release();
        return undefined;
      }
      case 'failed': {
        const isAnswered = !isCollapsed && outcome.answer !== undefined;
        const stale = isAnswered ? undefined : await this.#staleInstead(request);
        if (stale !== undefined) return granted({ kind: 'object', object: stale, state: 'stale', status: outcome.status }, story);
        if (outcome.error !== undefined) throw outcome.error;
        return isAnswered && outcome.answer !== undefined ? { kind: 'answer', ...outcome.answer, forward } : { kind: 'bypass', forward };
      }
      case 'unstorable':
        return !isCollapsed && outcome.answer !== undefined ? { kind: 'answer', ...outcome.answer, forward } : { kind: 'bypass', forward };
      case 'head':
      case 'refused-range':
        if (isCollapsed) return undefined;
        return outcome.answer === undefined ? { kind: 'bypass', forward } : { kind: 'answer', ...outcome.answer, forward };
      case 'again':
        return undefined;
    }
  }

  async #findManifest(objectHash: ObjectHash, signal: AbortSignal): Promise<Manifest | undefined> {
    const live = this.#live.findCurrent(objectHash);
    if (live !== undefined && live.failure === undefined) return live.manifest;
    const verdict = await this.#context.store.readManifest(objectHash, signal);
    if (verdict.kind !== 'hit') return undefined;
    // It may have been purged, or replaced, while it was being read.
    return this.#context.store.findManifest(objectHash)?.generation === verdict.manifest.generation ? verdict.manifest : undefined;
  }

  /** The stored version for one whose request the origin has failed, held and reserved; each decides by its own terms. */
  async #staleInstead(request: ResolveRequest): Promise<LiveObject | undefined> {
    const place = await this.#lookup.locate(request);
    if (place.kind !== 'place' || place.manifest === undefined) return undefined;
    if (!mayBeStaleFor(place.manifest, request, this.#context)) return undefined;
    // What is missing would have to come from the origin that has just failed: better an error now than a response that is cut.
    const object = this.#usable(request, place, { canAsk: false });
    object?.hold();
    object?.reserve();
    return object;
  }

  /**
   * The live object of what is stored, unless it lacks slices that only a new response could bring. To a client with credentials every missing
   * slice is such a one: what fills slices has none, and the origin may refuse it.
   *
   * @param options.canAsk whether the origin may bring missing slices; when not, one that is there in part counts as there
   */
  #usable(request: ResolveRequest, { target, manifest }: Place, { canAsk } = { canAsk: true }): LiveObject | undefined {
    if (manifest === undefined) return undefined;
    const object = this.#live.open(target, manifest);
    if (object.failure !== undefined) return undefined;
    const canBeCompleted = canAsk && object.isRefetchable && !request.lookup.isAuthorized;
    const isThere = (step: SliceStep): boolean => object.hasBytes(step) || (!canAsk && object.hasPart(step.sliceNumber));
    const ranges = isSliced(manifest.status) ? request.ranges : [];
    if (canBeCompleted || request.method === 'HEAD' || this.#hasAll(object, ranges, isThere)) return object;
    object.forgetIfIdle();
    return undefined;
  }

  /** Whether every slice that the request needs is stored or on its way. */
  #hasAll(object: LiveObject, ranges: readonly RangeSpec[], isThere: (step: SliceStep) => boolean): boolean {
    const { lengthBytes, sliceSizeBytes, objectHash } = object.manifest;
    if (lengthBytes === undefined) return true;
    const count = sliceCount(lengthBytes, sliceSizeBytes);
    const { store } = this.#context;
    if (store.findManifest(objectHash)?.storedSlices === count) return true;
    if (count === 0) return true;
    const set = ranges.length === 0 ? undefined : resolveRangeSet(ranges, lengthBytes);
    if (set?.kind === 'unsatisfiable') return true;
    for (const { start, end } of set?.ranges ?? [{ start: 0, end: lengthBytes }]) {
      const plan = planSlices({ start, end, lengthBytes, sliceSizeBytes });
      for (let slice = plan.firstSlice; slice < plan.endSlice; slice += 1) {
        if (!isThere(plan.step(slice)) && object.findRun(slice) === undefined) return false;
      }
    }
    return true;
  }

  /** What a GET that has to ask about `stored` may as well ask for. */
  #missing(request: ResolveRequest, { target }: Place, stored: Manifest | undefined): MissingBytes | undefined {
    if (stored === undefined || request.method !== 'GET' || !isSliced(stored.status)) return undefined;
    const object = this.#live.open(target, stored);
    const missing = object.failure === undefined ? findFirstMissing(object, request.ranges) : undefined;
    object.forgetIfIdle();
    return missing;
  }

  /** Asks the origin on behalf of everybody who comes before its answer; with credentials, of this client alone. */
  #ask(request: ResolveRequest, place: Place, stored: Manifest | undefined): OriginQuestion {
    const { questionHash } = place;
    const isAlone = request.credentials.length > 0;
    // What is not for everybody must not be confirmed by what one of them was told (RFC 9111 s3.5).
    const isAskedAbout = stored !== undefined && (!isAlone || isSharedDespiteAuthorization(responseControl(stored.fields).control));
    const about = {
      request,
      place,
      stored: isAskedAbout ? stored : undefined,
      missing: this.#missing(request, place, isAskedAbout ? stored : undefined),
    };
    const tables = { context: this.#context, live: this.#live, marks: this.#marksFor(request), markers: this.#markers };
    const question = new OriginQuestion(tables, about);
    if (isAlone) this.#alone.add(question);
    else this.#pending.set(questionHash, question);
    question.ask(() => {
      this.#alone.delete(question);
      if (this.#pending.get(questionHash) === question) this.#pending.delete(questionHash);
    });
    return question;
  }
}

/** How a request reached the origin, if it did. */
interface ForwardStory {
  readonly isCollapsed: boolean;
  readonly forward: ForwardReason | undefined;
}

/** Tells what a purge covers: with an object, all of its variants. */
function matcherWithVariants(target: PurgeTarget): (object: Coverable) => boolean {
  const matches = matcherOf(target);
  if (target.kind !== 'object') return matches;
  return (object) => {
    const primary = primaryKeyText(object.keyText);
    return matches(object) || (primary !== object.keyText && hashKeyText(primary) === target.objectHash);
  };
}

/**
 * Why the cache has to ask (RFC 9211 s2.2).
 *
 * @param place  with what is stored there
 * @param usable the same when it can be revalidated; fresh, then, means that the request's own directives want more
 */
function forwardReason({ manifest, marker }: Place, usable: Manifest | undefined, nowMs: number): ForwardReason {
  if (manifest === undefined) return marker === undefined ? 'uri-miss' : 'vary-miss';
  if (usable === undefined) return 'miss';
  return isFresh(usable, nowMs) ? 'request' : 'stale';
}

/** Hands an object out, with the hold and the reservation that were taken for the request. */
function granted(outcome: GrantedObject, { isCollapsed, forward }: ForwardStory): Extract<Resolution, { kind: 'object' }> {
  const { object, state, status } = outcome;
  let isReserved = true;
  const attached = (): void => {
    if (isReserved) object.endReservation();
    isReserved = false;
  };
  let isReleased = false;
  const release = (): void => {
    if (isReleased) return;
    isReleased = true;
    attached();
    object.release();
  };
  return { kind: 'object', object, state, isCollapsed, forward, forwardStatus: status, attached, release };
}
