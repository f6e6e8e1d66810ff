/**
 * Makes an object known and usable: fresh from the cache, renewed by the origin, or learnt from the origin's answer, whose body is then the
 * first run of its slices. Requests for one key that need the origin wait for one response head (never for its body); when that turns out
 * not to be storable, all of them go to the origin at once and the key is marked, so that nobody waits there again for a while.
 */
import { assert } from '../base/assert.ts';
import { EdgeError } from '../base/errors.ts';
import { alignDown, alignUp, divFloor } from '../base/units.ts';
import { isFresh, mayServeStaleOnError } from '../cache/freshness.ts';
import { renewedManifest } from '../cache/renewal.ts';
import { isReusable, type Lookup } from '../cache/request-policy.ts';
import { judgeResponse } from '../cache/response-policy.ts';
import { planSlices, sliceCount } from '../cache/slice-plan.ts';
import { UnstorableMarks } from '../cache/unstorable-marks.ts';
import { confirmsStored, sameRepresentation, strongValidator, validatorsOf } from '../cache/validators.ts';
import type { Manifest, ObjectHash } from '../format/manifest.ts';
import { fieldValue } from '../http/header-fields.ts';
import { formatRangeHeader, formatSuffixRangeHeader, type RangeSpec, resolveRange } from '../http/range.ts';
import type { BodySink, Transfer, UpstreamHead } from '../upstream/upstream-transport.ts';
import { BodyReader, DiscardingSink } from './body-reader.ts';
import { type FillContext, type FillTarget, UNSTORABLE_MARK_MS, UNSTORABLE_MARKS_MAX } from './fill-context.ts';
import { FillRun } from './fill-run.ts';
import type { LiveObject } from './live-object.ts';
import { LiveObjects } from './live-objects.ts';
import { type Asked, checkResponse } from './response-check.ts';

/** What a request wants of an object. */
export interface ResolveRequest {
  readonly target: FillTarget;
  readonly lookup: Lookup;
  /** The one range asked for, if there is exactly one. */
  readonly range: RangeSpec | undefined;
  /** Whether a response to the request's shared form may be given to this client although it is not stored. */
  readonly acceptsSharedAnswer: boolean;
  readonly signal: AbortSignal;
}

/** How an object became usable. */
export type ObjectState = 'fresh' | 'renewed' | 'stale' | 'fetched';

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
      readonly release: () => void;
    }
  | { readonly kind: 'answer'; readonly head: UpstreamHead; readonly reader: BodyReader }
  | { readonly kind: 'bypass' }
  | { readonly kind: 'absent' };

/** What the origin's response head means for everybody who waited for it. */
type HeadOutcome =
  | {
      readonly kind: 'object';
      readonly object: LiveObject;
      readonly state: ObjectState;
      readonly status: number | undefined;
      readonly run?: FillRun;
    }
  | { readonly kind: 'unstorable'; readonly answer?: { readonly head: UpstreamHead; readonly reader: BodyReader } | undefined }
  | { readonly kind: 'again' };

/** Turns after which a request that keeps finding changed objects goes to the origin by itself. */
const TURNS_MAX = 4;

/** Resolves requests to live objects. */
export class ObjectResolver {
  readonly #context: FillContext;
  readonly #live: LiveObjects;
  readonly #marks: UnstorableMarks;
  readonly #pending = new Map<ObjectHash, Promise<HeadOutcome>>();

  constructor(context: FillContext) {
    this.#context = context;
    this.#live = new LiveObjects(context);
    this.#marks = new UnstorableMarks({ clock: context.clock, lifeMs: UNSTORABLE_MARK_MS, countMax: UNSTORABLE_MARKS_MAX });
  }

  /** Objects in use now; zero when nothing is going on. */
  get liveCount(): number {
    return this.#live.count;
  }

  /** @throws EdgeError UPSTREAM_* when the origin is needed and fails, CLIENT_GONE when the signal aborts */
  async resolve(request: ResolveRequest): Promise<Resolution> {
    const { objectHash } = request.target;
    let mayCollapse = true;
    for (let turn = 0; turn < TURNS_MAX; turn += 1) {
      if (request.signal.aborted) throw new EdgeError('CLIENT_GONE');
      const manifest = await this.#findManifest(objectHash, request.signal);
      const known = manifest === undefined ? undefined : this.#usable(request, manifest);
      if (known !== undefined && isReusable(known.manifest, request.lookup, this.#context.clock.wallMs())) {
        return grant(
          {
            kind: 'object',
            object: known,
            state: isFresh(known.manifest, this.#context.clock.wallMs()) ? 'fresh' : 'stale',
            status: undefined,
          },
          false,
        );
      }
      const side = request.lookup.onlyIfCached ? 'absent' : this.#marks.has(objectHash) ? 'bypass' : undefined;
      if (side !== undefined) {
        known?.forgetIfIdle();
        return { kind: side };
      }
      const pending = mayCollapse ? this.#pending.get(objectHash) : undefined;
      const isCollapsed = pending !== undefined;
      if (isCollapsed) this.#context.metrics.add('collapsed');
      const stored = known?.manifest;
      known?.forgetIfIdle();
      const outcome = await (pending ?? this.#ask(request, stored));
      if (outcome.kind === 'object' && outcome.object.failure === undefined) return grant(outcome, isCollapsed);
      if (outcome.kind === 'unstorable') {
        return !isCollapsed && outcome.answer !== undefined ? { kind: 'answer', ...outcome.answer } : { kind: 'bypass' };
      }
      mayCollapse = turn < 2;
    }
    return { kind: 'bypass' };
  }

  /** The object was purged: what is being filled for it is finished for its readers and joined by nobody. */
  forget(objectHash: ObjectHash): void {
    this.#live.detach(objectHash);
    this.#marks.delete(objectHash);
    // Whoever waits for a head that was asked for before the purge must not make others wait for it.
    this.#pending.delete(objectHash);
  }

  async #findManifest(objectHash: ObjectHash, signal: AbortSignal): Promise<Manifest | undefined> {
    const live = this.#live.findCurrent(objectHash);
    if (live !== undefined && live.failure === undefined) return live.manifest;
    if (this.#context.store.findManifest(objectHash) === undefined) return undefined;
    const verdict = await this.#context.store.readManifest(objectHash, signal);
    return verdict.kind === 'hit' ? verdict.manifest : undefined;
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
  #ask(request: ResolveRequest, stored: Manifest | undefined): Promise<HeadOutcome> {
    const { objectHash } = request.target;
    const question = new Question(this.#context, this.#live, this.#marks, request, stored);
    const outcome = question.ask();
    this.#pending.set(objectHash, outcome);
    const done = (): void => {
      if (this.#pending.get(objectHash) === outcome) this.#pending.delete(objectHash);
    };
    outcome.then(done, done);
    return outcome;
  }
}

/** One request to the origin for a key, from its fields to what its head means. */
class Question {
  readonly #context: FillContext;
  readonly #live: LiveObjects;
  readonly #marks: UnstorableMarks;
  readonly #request: ResolveRequest;
  readonly #stored: Manifest | undefined;
  readonly #asked: Asked;
  readonly #purgeSequence: number;
  readonly #requestTimeMs: number;

  constructor(context: FillContext, live: LiveObjects, marks: UnstorableMarks, request: ResolveRequest, stored: Manifest | undefined) {
    this.#context = context;
    this.#live = live;
    this.#marks = marks;
    this.#request = request;
    this.#stored = stored;
    this.#asked = askFor(request.range, stored, context.sliceSizeBytes);
    this.#purgeSequence = context.store.purgeSequence;
    this.#requestTimeMs = context.clock.wallMs();
  }

  ask(): Promise<HeadOutcome> {
    const { target } = this.#request;
    const fields = [...target.fields, ...this.#conditionalFields(), ...rangeFields(this.#asked)];
    if (this.#stored !== undefined) this.#context.metrics.add('revalidations');
    return new Promise((resolve, reject) => {
      target.transport.start(
        { method: 'GET', path: target.upstreamPath, fields },
        {
          onHead: (head, transfer) => {
            const { outcome, sink } = this.#judge(head, transfer);
            resolve(outcome);
            return sink;
          },
          onFailure: (error) => {
            const stale = this.#staleInstead(undefined);
            if (stale === undefined) reject(error);
            else resolve(stale);
          },
        },
      );
    });
  }

  #conditionalFields(): [string, string][] {
    if (this.#stored === undefined) return [];
    const { entityTag, lastModified } = validatorsOf(this.#stored.fields);
    if (entityTag !== undefined) return [['if-none-match', entityTag]];
    return lastModified === undefined ? [] : [['if-modified-since', lastModified.text]];
  }

  #judge(head: UpstreamHead, transfer: Transfer): { outcome: HeadOutcome; sink: BodySink | undefined } {
    if (head.status === 304 && this.#stored !== undefined) return this.#renew(head, transfer);
    if (head.status >= 500) {
      const stale = this.#staleInstead(head.status);
      if (stale !== undefined) return { outcome: stale, sink: new DiscardingSink(transfer) };
    }
    if (head.status === 200 || head.status === 206) {
      const usable = checkResponse(this.#asked, head);
      const verdict = judgeResponse({
        requestFields: [],
        status: head.status,
        fields: head.fields,
        requestTimeMs: this.#requestTimeMs,
        responseTimeMs: this.#context.clock.wallMs(),
        rule: this.#request.target.rule,
      });
      if (usable.kind !== 'unusable' && verdict.kind === 'store') {
        if (this.#isStoredVersion(head, usable.lengthBytes)) return this.#renew(head, transfer);
        const { objectHash, keyText } = this.#request.target;
        const manifest: Manifest = {
          ...verdict.freshness,
          generation: this.#context.store.nextGeneration(),
          objectHash,
          keyText,
          status: 200,
          fields: verdict.fields,
          lengthBytes: usable.lengthBytes,
          sliceSizeBytes: this.#context.sliceSizeBytes,
        };
        return this.#begin(manifest, usable, head, transfer);
      }
    }
    return this.#unstorable(head, transfer);
  }

  /** Whether an origin that ignored our condition sent the version that is stored already. */
  #isStoredVersion(head: UpstreamHead, lengthBytes: number | undefined): boolean {
    const stored = this.#stored;
    return stored !== undefined && stored.lengthBytes === lengthBytes && sameRepresentation(stored.fields, head.fields);
  }

  #renew(head: UpstreamHead, transfer: Transfer): { outcome: HeadOutcome; sink: BodySink | undefined } {
    const stored = this.#stored;
    assert(stored !== undefined, 'only what is stored is renewed');
    const sink = head.status === 304 ? new DiscardingSink(transfer) : undefined;
    const { objectHash } = this.#request.target;
    const { store } = this.#context;
    if (head.status === 304 && !confirmsStored(stored.fields, head.fields)) {
      // The origin confirms some other version: what is stored is not to be trusted (RFC 9111 s4.3.4).
      store.dropManifest(objectHash, stored.generation);
      this.#live.detach(objectHash);
      return { outcome: { kind: 'again' }, sink };
    }
    const { manifest, isMetadataChanged } = renewedManifest(stored, {
      responseFields: head.fields,
      requestTimeMs: this.#requestTimeMs,
      responseTimeMs: this.#context.clock.wallMs(),
      rule: this.#request.target.rule,
    });
    this.#context.metrics.add('renewals');
    if (isMetadataChanged) store.offerManifest(manifest, this.#purgeSequence);
    else store.refreshManifest(objectHash, manifest.generation, manifest);
    const object = this.#live.open(this.#request.target, manifest);
    object.replaceManifest(manifest);
    return { outcome: { kind: 'object', object, state: 'renewed', status: head.status }, sink };
  }

  /** A new generation, whose first run is the body of this response. */
  #begin(
    manifest: Manifest,
    usable: Exclude<ReturnType<typeof checkResponse>, { kind: 'unusable' }>,
    head: UpstreamHead,
    transfer: Transfer,
  ): { outcome: HeadOutcome; sink: BodySink | undefined } {
    const { store, metrics } = this.#context;
    if (this.#stored !== undefined) metrics.add('generationsReplaced');
    store.offerManifest(manifest, this.#purgeSequence);
    const object = this.#live.begin(this.#request.target, manifest, this.#purgeSequence);
    const run = new FillRun(object, shapeOf(usable, manifest.sliceSizeBytes));
    run.attach(transfer);
    const outcome: HeadOutcome = { kind: 'object', object, state: 'fetched', status: head.status, run };
    if (run.endSlice <= run.currentSlice) run.stop('complete');
    return { outcome, sink: run };
  }

  #unstorable(head: UpstreamHead, transfer: Transfer): { outcome: HeadOutcome; sink: BodySink | undefined } {
    const { objectHash } = this.#request.target;
    this.#marks.add(objectHash);
    if (this.#stored !== undefined && head.status < 500) {
      this.#context.store.dropManifest(objectHash, this.#stored.generation);
      this.#live.detach(objectHash);
    }
    // A part that was asked for at slice boundaries is not what the client wants, and what varies may not be what it would get.
    const isForAnyone = fieldValue(head.fields, 'vary') === undefined && (this.#asked.kind === 'whole' || head.status >= 400);
    if (head.status === 304 || !isForAnyone || !this.#request.acceptsSharedAnswer)
      return { outcome: { kind: 'unstorable' }, sink: undefined };
    const reader = new BodyReader(transfer);
    return { outcome: { kind: 'unstorable', answer: { head, reader } }, sink: reader };
  }

  /** The stored version, where the origin's failure allows it (RFC 9111 s4.2.4, RFC 5861 s4). */
  #staleInstead(status: number | undefined): HeadOutcome | undefined {
    const stored = this.#stored;
    if (stored === undefined) return undefined;
    const nowMs = this.#context.clock.wallMs();
    if (!mayServeStaleOnError({ fields: stored.fields, freshness: stored, nowMs, rule: this.#request.target.rule })) return undefined;
    return { kind: 'object', object: this.#live.open(this.#request.target, stored), state: 'stale', status };
  }
}

function grant(outcome: Extract<HeadOutcome, { kind: 'object' }>, isCollapsed: boolean): Resolution {
  const { object, state, status, run } = outcome;
  object.hold();
  if (isCollapsed) run?.reserve();
  let isReleased = false;
  const release = (): void => {
    if (isReleased) return;
    isReleased = true;
    run?.endReservation();
    object.release();
  };
  return { kind: 'object', object, state, isCollapsed, forwardStatus: status, release };
}

/** What to ask the origin for, so that whole slices come back: aligned to slices, and for a suffix as much more as alignment may need. */
function askFor(range: RangeSpec | undefined, stored: Manifest | undefined, sliceSizeBytes: number): Asked {
  if (range === undefined) return { kind: 'whole' };
  if ('suffix' in range) return { kind: 'suffix', suffixBytes: Math.min(range.suffix + sliceSizeBytes - 1, Number.MAX_SAFE_INTEGER) };
  const start = alignDown(range.first, stored?.sliceSizeBytes ?? sliceSizeBytes);
  const alignedEnd = range.last === undefined ? undefined : alignUp(range.last + 1, stored?.sliceSizeBytes ?? sliceSizeBytes);
  const end = alignedEnd === undefined || !Number.isSafeInteger(alignedEnd) ? undefined : alignedEnd;
  return start === 0 && end === undefined ? { kind: 'whole' } : { kind: 'range', start, end };
}

function rangeFields(asked: Asked): [string, string][] {
  if (asked.kind === 'whole') return [];
  if (asked.kind === 'suffix') return [['range', formatSuffixRangeHeader(asked.suffixBytes)]];
  return [['range', formatRangeHeader(asked.start, asked.end)]];
}

function shapeOf(
  usable: Exclude<ReturnType<typeof checkResponse>, { kind: 'unusable' }>,
  sliceSizeBytes: number,
): { firstSlice: number; endSlice: number; skipBytes: number } {
  if (usable.kind === 'whole') {
    const endSlice = usable.lengthBytes === undefined ? Number.POSITIVE_INFINITY : sliceCount(usable.lengthBytes, sliceSizeBytes);
    return { firstSlice: 0, endSlice, skipBytes: 0 };
  }
  const firstByte = alignUp(usable.start, sliceSizeBytes);
  const isToEnd = usable.end === usable.lengthBytes;
  const endSlice = isToEnd ? sliceCount(usable.lengthBytes, sliceSizeBytes) : divFloor(usable.end, sliceSizeBytes);
  return { firstSlice: firstByte / sliceSizeBytes, endSlice, skipBytes: firstByte - usable.start };
}
