/**
 * Makes an object known and usable: fresh from the cache, renewed by the origin, or learnt from the origin's answer, whose body is then the
 * first run of its slices. Requests for one key that need the origin wait for one response head (never for its body); when that turns out
 * not to be storable, all of them go to the origin at once and the key is marked, so that nobody waits there again for a while.
 */
import { EdgeError } from '../base/errors.ts';
import { isFresh } from '../cache/freshness.ts';
import { KeyMarks } from '../cache/key-marks.ts';
import { judgeReuse, type Reuse } from '../cache/request-policy.ts';
import { responseControl } from '../cache/response-control.ts';
import { isSharedDespiteAuthorization } from '../cache/response-policy.ts';
import { planSlices, type SliceStep, sliceCount } from '../cache/slice-plan.ts';
import { isSliced } from '../cache/status-policy.ts';
import type { Manifest, ObjectHash } from '../format/manifest.ts';
import type { ForwardReason } from '../http/cache-status.ts';
import type { RangeSpec } from '../http/range.ts';
import { resolveRangeSet } from '../http/range-set.ts';
import { matcherOf } from '../store/purges/purge.ts';
import type { PurgeTarget } from '../store/slice-store.ts';
import type { UpstreamHead } from '../upstream/upstream-transport.ts';
import { BackgroundRenewals, type RenewalResult, readForNext } from './background-renewals.ts';
import type { BodyReader } from './body-reader.ts';
import { type FillContext, UNSTORABLE_MARK_MS, UNSTORABLE_MARKS_MAX } from './fill-context.ts';
import { findFirstMissing, type MissingBytes } from './first-missing.ts';
import type { LiveObject } from './live-object.ts';
import { LiveObjects } from './live-objects.ts';
import {
  type GrantedObject,
  type HeadOutcome,
  mayBeStaleFor,
  type ObjectState,
  OriginQuestion,
  type ResolveRequest,
} from './origin-question.ts';

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
  readonly manifest: Manifest | undefined;
  /** Undefined also where the manifest lacks slices that only a new response could bring. */
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
  readonly #pending = new Map<ObjectHash, OriginQuestion>();
  /** Asked with one client's credentials: nobody else waits for them. */
  readonly #alone = new Set<OriginQuestion>();

  constructor(context: FillContext) {
    this.#context = context;
    this.#live = new LiveObjects(context);
    const bounds = { clock: context.clock, lifeMs: UNSTORABLE_MARK_MS, countMax: UNSTORABLE_MARKS_MAX };
    this.#marks = new KeyMarks(bounds);
    this.#authorizedMarks = new KeyMarks(bounds);
    this.#background = new BackgroundRenewals(context);
  }

  /** Objects in use now, those that are being renewed in the background included; zero when nothing is going on. */
  get liveCount(): number {
    return this.#live.count + this.#background.count;
  }

  /** @throws EdgeError UPSTREAM_* when the origin is needed and fails, CLIENT_GONE when the signal aborts */
  async resolve(request: ResolveRequest): Promise<Resolution> {
    const { objectHash } = request.target;
    let wanted = request;
    let forward: ForwardReason | undefined;
    for (let turn = 0; turn < TURNS_MAX; turn += 1) {
      if (request.signal.aborted) throw new EdgeError('CLIENT_GONE');
      const found = await this.#lookUp(request);
      const { manifest, known } = found;
      if (known !== undefined && found.reuse !== 'none') return this.#serve(request, known, found.reuse);
      const stored = known?.manifest;
      forward ??= forwardReason(manifest, stored, this.#context.clock.wallMs());
      known?.forgetIfIdle();
      // A HEAD confirms what is stored; it is no reason to fetch a body.
      if (request.lookup.onlyIfCached || (request.method === 'HEAD' && stored === undefined)) return { kind: 'absent' };
      if (this.#marksFor(request).has(objectHash)) return { kind: 'bypass', forward };
      // Asked for whole with credentials, it would take the place of what others have of it.
      const isOthers = request.lookup.isAuthorized && manifest !== undefined && known === undefined;
      if (isOthers && isFresh(manifest, this.#context.clock.wallMs())) return { kind: 'bypass', forward };
      const pending = turn < COLLAPSED_TURNS_MAX && !request.lookup.isAuthorized ? this.#pending.get(objectHash) : undefined;
      if (pending !== undefined) this.#context.metrics.add('collapsed');
      const outcome = await (pending ?? this.#ask(wanted, stored)).join(request);
      const resolution = await this.#conclude(request, outcome, { isCollapsed: pending !== undefined, forward });
      if (resolution !== undefined) return resolution;
      if (outcome.kind === 'again' && outcome.isRangeless) wanted = { ...request, ranges: [] };
    }
    return { kind: 'bypass', forward: forward ?? 'miss' };
  }

  /**
   * Something was purged. What is being filled of it is finished for its readers and joined by nobody; a soft purge leaves it to be joined when
   * the origin has confirmed it. Called in the same turn as the store's purge.
   */
  forget(target: PurgeTarget, isSoft = false): void {
    const matches = matcherOf(target);
    if (isSoft) this.#live.makeStale(matches, this.#context.clock.wallMs());
    else this.#live.detachAll(matches);
    if (target.kind === 'object') for (const marks of [this.#marks, this.#authorizedMarks]) marks.delete(target.objectHash);
    for (const question of this.#alone) if (question.isAbout(matches)) question.detach();
    // What was asked for before the purge is for those who wait for it already, and for nobody else. What tags an answer will have is not
    // known before it comes; the store then refuses it by those.
    for (const [objectHash, question] of this.#pending) {
      const isCovered = question.isAbout(matches);
      if (isCovered) question.detach();
      if (isCovered || target.kind === 'tag') this.#pending.delete(objectHash);
    }
  }

  /** What the cache has, and whether it will do. */
  async #lookUp(request: ResolveRequest): Promise<Found> {
    const { target, lookup } = request;
    const manifest = await this.#findManifest(target.objectHash, request.signal);
    const known = manifest === undefined ? undefined : this.#usable(request, manifest);
    const nowMs = this.#context.clock.wallMs();
    const reuse = known === undefined ? 'none' : judgeReuse({ stored: known.manifest, nowMs, rule: target.rule }, lookup);
    return { manifest, known, reuse };
  }

  /** Hands out what is stored; what may be renewed meanwhile is. */
  #serve(request: ResolveRequest, object: LiveObject, reuse: Exclude<Reuse, 'none'>): Resolution {
    if (reuse === 'while-revalidating') this.#renewBehind(request, object.manifest);
    object.hold();
    object.reserve();
    const state = reuse === 'fresh' ? 'fresh' : 'stale';
    return granted({ kind: 'object', object, state, status: undefined }, { isCollapsed: false, forward: undefined });
  }

  /** Asks the origin about a stale object that its clients are served (RFC 5861 s3), unless somebody asks already. */
  #renewBehind(request: ResolveRequest, stored: Manifest): void {
    const { objectHash } = request.target;
    if (this.#pending.has(objectHash)) return;
    const { signal } = new AbortController();
    this.#background.begin(objectHash, () => this.#renew({ ...request, method: 'GET', credentials: [], signal }, stored));
  }

  async #renew(request: ResolveRequest, stored: Manifest): Promise<RenewalResult> {
    const outcome = await this.#ask(request, stored).join({ signal: request.signal });
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
        if (outcome.object.failure === undefined) return resolution;
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
    const manifest = await this.#findManifest(request.target.objectHash, request.signal);
    if (manifest === undefined || !mayBeStaleFor(manifest, request, this.#context)) return undefined;
    // What is missing would have to come from the origin that has just failed: better an error now than a response that is cut.
    const object = this.#usable(request, manifest, { canAsk: false });
    object?.hold();
    object?.reserve();
    return object;
  }

  /**
   * The live object of a manifest, unless it lacks slices that only a new response could bring. To a client with credentials every missing
   * slice is such a one: what fills slices has none, and the origin may refuse it.
   *
   * @param options.canAsk whether the origin may bring missing slices; when not, one that is there in part counts as there
   */
  #usable(request: ResolveRequest, manifest: Manifest, { canAsk } = { canAsk: true }): LiveObject | undefined {
    const object = this.#live.open(request.target, manifest);
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
  #missing(request: ResolveRequest, stored: Manifest | undefined): MissingBytes | undefined {
    if (stored === undefined || request.method !== 'GET' || !isSliced(stored.status)) return undefined;
    const object = this.#live.open(request.target, stored);
    const missing = object.failure === undefined ? findFirstMissing(object, request.ranges) : undefined;
    object.forgetIfIdle();
    return missing;
  }

  /** Asks the origin on behalf of everybody who comes before its answer; with credentials, of this client alone. */
  #ask(request: ResolveRequest, stored: Manifest | undefined): OriginQuestion {
    const { objectHash } = request.target;
    const isAlone = request.credentials.length > 0;
    // What is not for everybody must not be confirmed by what one of them was told (RFC 9111 s3.5).
    const isAskedAbout = stored !== undefined && (!isAlone || isSharedDespiteAuthorization(responseControl(stored.fields).control));
    const about = {
      request,
      stored: isAskedAbout ? stored : undefined,
      missing: this.#missing(request, isAskedAbout ? stored : undefined),
    };
    const question = new OriginQuestion(this.#context, this.#live, this.#marksFor(request), about);
    if (isAlone) this.#alone.add(question);
    else this.#pending.set(objectHash, question);
    question.ask(() => {
      this.#alone.delete(question);
      if (this.#pending.get(objectHash) === question) this.#pending.delete(objectHash);
    });
    return question;
  }
}

/** How a request reached the origin, if it did. */
interface ForwardStory {
  readonly isCollapsed: boolean;
  readonly forward: ForwardReason | undefined;
}

/**
 * Why the cache has to ask (RFC 9211 s2.2).
 *
 * @param found  what is stored under the key
 * @param usable the same when it can be revalidated; fresh, then, means that the request's own directives want more
 */
function forwardReason(found: Manifest | undefined, usable: Manifest | undefined, nowMs: number): ForwardReason {
  if (found === undefined) return 'uri-miss';
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
