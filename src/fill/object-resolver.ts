/**
 * Makes an object known and usable: fresh from the cache, renewed by the origin, or learnt from the origin's answer, whose body is then the
 * first run of its slices. Requests for one key that need the origin wait for one response head (never for its body); when that turns out
 * not to be storable, all of them go to the origin at once and the key is marked, so that nobody waits there again for a while.
 */
import { EdgeError } from '../base/errors.ts';
import { hashKeyText } from '../cache/cache-key.ts';
import { isFresh } from '../cache/freshness.ts';
import { isReusable } from '../cache/request-policy.ts';
import { planSlices, sliceCount } from '../cache/slice-plan.ts';
import { UnstorableMarks } from '../cache/unstorable-marks.ts';
import { strongValidator } from '../cache/validators.ts';
import { primaryKeyText } from '../cache/variant-key.ts';
import type { Manifest, ObjectHash } from '../format/manifest.ts';
import { type RangeSpec, resolveRange } from '../http/range.ts';
import { type Coverable, matcherOf } from '../store/purges/purge.ts';
import type { PurgeTarget } from '../store/slice-store.ts';
import type { UpstreamHead } from '../upstream/upstream-transport.ts';
import type { BodyReader } from './body-reader.ts';
import { type FillContext, UNSTORABLE_MARK_MS, UNSTORABLE_MARKS_MAX } from './fill-context.ts';
import type { LiveObject } from './live-object.ts';
import { LiveObjects } from './live-objects.ts';
import { type GrantedObject, type HeadOutcome, type ObjectState, OriginQuestion } from './origin-question.ts';
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
      /** Status of the origin's answer, when it was asked. */
      readonly forwardStatus: number | undefined;
      /** The request's reader is attached, so that nothing has to wait for it any more; `release` does it too. */
      readonly attached: () => void;
      readonly release: () => void;
    }
  | { readonly kind: 'answer'; readonly head: UpstreamHead; readonly reader: BodyReader }
  | { readonly kind: 'bypass' }
  | { readonly kind: 'absent' };

/** Turns after which a request that keeps finding changed objects goes to the origin by itself. */
const TURNS_MAX = 4;
/** Turns in which it may wait for the response head of another. */
const COLLAPSED_TURNS_MAX = 2;

/** Resolves requests to live objects. */
export class ObjectResolver {
  readonly #context: FillContext;
  readonly #live: LiveObjects;
  readonly #marks: UnstorableMarks;
  readonly #markers: VariantMarkers;
  readonly #lookup: VariantLookup;
  readonly #pending = new Map<ObjectHash, OriginQuestion>();

  constructor(context: FillContext) {
    this.#context = context;
    this.#live = new LiveObjects(context);
    this.#marks = new UnstorableMarks({ clock: context.clock, lifeMs: UNSTORABLE_MARK_MS, countMax: UNSTORABLE_MARKS_MAX });
    this.#markers = new VariantMarkers(context, this.#live);
    this.#lookup = new VariantLookup(context, this.#markers, (objectHash, signal) => this.#findManifest(objectHash, signal));
  }

  /** Objects in use now; zero when nothing is going on. */
  get liveCount(): number {
    return this.#live.count;
  }

  /** @throws EdgeError UPSTREAM_* when the origin is needed and fails, CLIENT_GONE when the signal aborts */
  async resolve(request: ResolveRequest): Promise<Resolution> {
    let wanted = request;
    for (let turn = 0; turn < TURNS_MAX; turn += 1) {
      if (request.signal.aborted) throw new EdgeError('CLIENT_GONE');
      const place = await this.#lookup.locate(wanted);
      if (place.kind === 'pass') return request.lookup.onlyIfCached ? { kind: 'absent' } : { kind: 'bypass' };
      if (place.kind === 'again') continue;
      const { target, manifest, questionHash } = place;
      if (turn === 0 && target !== request.target) this.#context.store.noteRequest(target.objectHash, request.startBytes);
      const known = manifest === undefined ? undefined : this.#usable({ ...request, target }, manifest);
      const nowMs = this.#context.clock.wallMs();
      if (known !== undefined && isReusable(known.manifest, request.lookup, nowMs)) {
        known.hold();
        known.reserve();
        return granted(
          { kind: 'object', object: known, state: isFresh(known.manifest, nowMs) ? 'fresh' : 'stale', status: undefined },
          false,
        );
      }
      const stored = known?.manifest;
      known?.forgetIfIdle();
      if (request.lookup.onlyIfCached) return { kind: 'absent' };
      if (this.#marks.has(questionHash)) return { kind: 'bypass' };
      const pending = turn < COLLAPSED_TURNS_MAX ? this.#pending.get(questionHash) : undefined;
      if (pending !== undefined) this.#context.metrics.add('collapsed');
      const outcome = await (pending ?? this.#ask(wanted, place, stored)).join(request.signal);
      const resolution = this.#conclude(outcome, request, pending !== undefined);
      if (resolution !== undefined) return resolution;
      if (outcome.kind === 'again' && outcome.isRangeless) wanted = { ...request, range: undefined };
    }
    return { kind: 'bypass' };
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
    if (target.kind === 'object') this.#marks.delete(target.objectHash);
    // What was asked for before the purge is for those who wait for it already, and for nobody else. What tags an answer will have is not
    // known before it comes; the store then refuses it by those.
    for (const [objectHash, question] of this.#pending) {
      const isCovered = question.isAbout(matches);
      if (isCovered) question.detach();
      if (isCovered || target.kind === 'tag') this.#pending.delete(objectHash);
    }
  }

  /** What an outcome is for one of those who waited for it; undefined means: look again. */
  #conclude(outcome: HeadOutcome, request: ResolveRequest, isCollapsed: boolean): Resolution | undefined {
    switch (outcome.kind) {
      case 'object': {
        const resolution = granted(outcome, isCollapsed);
        const { object, marker } = outcome;
        const isItsOwn = marker === undefined || selects(request, marker, object.target.objectHash);
        if (object.failure === undefined && isItsOwn) return resolution;
        resolution.release();
        return undefined;
      }
      case 'unstorable':
        return !isCollapsed && outcome.answer !== undefined ? { kind: 'answer', ...outcome.answer } : { kind: 'bypass' };
      case 'refused-range':
        if (isCollapsed) return undefined;
        return outcome.answer === undefined ? { kind: 'bypass' } : { kind: 'answer', ...outcome.answer };
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

  /** The live object of a manifest, unless it lacks slices that only a new response could bring. */
  #usable(request: ResolveRequest, manifest: Manifest): LiveObject | undefined {
    const object = this.#live.open(request.target, manifest);
    if (object.failure !== undefined) return undefined;
    if (strongValidator(manifest.fields) !== undefined || this.#hasAll(object, request.range)) return object;
    object.forgetIfIdle();
    return undefined;
  }

  /** Whether every slice that the request needs is stored or on its way. */
  #hasAll(object: LiveObject, range: RangeSpec | undefined): boolean {
    const { lengthBytes, sliceSizeBytes, generation, objectHash } = object.manifest;
    if (lengthBytes === undefined) return true;
    const count = sliceCount(lengthBytes, sliceSizeBytes);
    const { store } = this.#context;
    if (store.findManifest(objectHash)?.storedSlices === count) return true;
    const resolved = range === undefined ? undefined : resolveRange(range, lengthBytes);
    if (resolved?.kind === 'unsatisfiable' || count === 0) return true;
    const { start, end } = resolved ?? { start: 0, end: lengthBytes };
    const plan = planSlices({ start, end, lengthBytes, sliceSizeBytes });
    for (let slice = plan.firstSlice; slice < plan.endSlice; slice += 1) {
      if (!store.hasSlice(generation, slice) && object.findRun(slice) === undefined) return false;
    }
    return true;
  }

  /** Asks the origin on behalf of everybody who comes before its answer. */
  #ask(request: ResolveRequest, place: Place, stored: Manifest | undefined): OriginQuestion {
    const { questionHash } = place;
    const question = new OriginQuestion(
      { context: this.#context, live: this.#live, marks: this.#marks, markers: this.#markers },
      { request, place, stored },
    );
    this.#pending.set(questionHash, question);
    question.ask(() => {
      if (this.#pending.get(questionHash) === question) this.#pending.delete(questionHash);
    });
    return question;
  }
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

/** Hands an object out, with the hold and the reservation that were taken for the request. */
function granted(outcome: GrantedObject, isCollapsed: boolean): Extract<Resolution, { kind: 'object' }> {
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
  return { kind: 'object', object, state, isCollapsed, forwardStatus: status, attached, release };
}
