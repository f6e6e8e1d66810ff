/**
 * One request to the origin for a key, on behalf of everybody who comes before its answer: what is asked, and what the response head means
 * for all who waited for it. It lives as long as somebody waits for that. object-resolver.ts is its only caller.
 */
import { unlessGone } from '../base/abort.ts';
import { EdgeError } from '../base/errors.ts';
import { alignDown, alignUp } from '../base/units.ts';
import { pathOf, siteNameOf } from '../cache/cache-key.ts';
import { mayServeStaleOnError, storingForbiddenBy } from '../cache/freshness.ts';
import { compareHead } from '../cache/head-comparison.ts';
import type { KeyMarks } from '../cache/key-marks.ts';
import { openingRange } from '../cache/range-plan.ts';
import { renewedManifest } from '../cache/renewal.ts';
import { responseControl } from '../cache/response-control.ts';
import { isSharedDespiteAuthorization, judgeResponse, storedStatus } from '../cache/response-policy.ts';
import { isCuttable } from '../cache/slice-plan.ts';
import { isMissing, isNeverStored, isSliced } from '../cache/status-policy.ts';
import { confirmsStored, hasStrongDate, sameRepresentation, strongValidator, validatorsOf } from '../cache/validators.ts';
import { varyingFields } from '../cache/variant-key.ts';
import type { VariantMarker } from '../cache/variant-marker.ts';
import type { Manifest } from '../format/manifest.ts';
import { codingsIn, contentCodingOf } from '../http/content-coding.ts';
import { type FieldList, fieldValue, hasField } from '../http/header-fields.ts';
import { formatRangeHeader, formatSuffixRangeHeader, parseContentRange, type RangeSpec } from '../http/range.ts';
import { resolveRangeSet } from '../http/range-set.ts';
import type { Coverable } from '../store/purges/purge.ts';
import { DiscardingSink } from '../upstream/discarding-sink.ts';
import type { BodySink, Transfer, UpstreamHead } from '../upstream/upstream-transport.ts';
import { BodyReader } from './body-reader.ts';
import type { FillContext } from './fill-context.ts';
import { FillRun, type RunShape } from './fill-run.ts';
import type { MissingBytes } from './first-missing.ts';
import { isTagFlap, learnConnection, learnFromAnswer } from './learning.ts';
import type { LiveObject } from './live-object.ts';
import type { LiveObjects } from './live-objects.ts';
import type { ResolveRequest } from './resolve-request.ts';
import { type Asked, checkResponse, contentLengthOf, type Usable, wantedInterval } from './response-check.ts';
import type { Place } from './variant-lookup.ts';
import type { Placed, VariantMarkers } from './variant-markers.ts';

/** How an object became usable. */
export type ObjectState = 'fresh' | 'renewed' | 'stale' | 'fetched';

/** What the origin's response head means for everybody who waited for it. */
export type HeadOutcome =
  | {
      readonly kind: 'object';
      readonly object: LiveObject;
      readonly state: ObjectState;
      readonly status: number | undefined;
      /** What was fetched is for those only whom this marker leads there; undefined when it is for all who waited. */
      readonly marker?: VariantMarker | undefined;
    }
  | { readonly kind: 'unstorable'; readonly answer?: OriginAnswer | undefined }
  /** The origin did not answer, or answered 5xx: each of those who waited may be served the stale version, or not. */
  | {
      readonly kind: 'failed';
      readonly status: number | undefined;
      readonly error: EdgeError | undefined;
      readonly answer?: OriginAnswer | undefined;
    }
  /** The range asked for lies past the end, or only a head was asked for: an answer for the one who asked for it, and none for the others. */
  | { readonly kind: 'refused-range' | 'head'; readonly answer: OriginAnswer | undefined }
  /** `isRangeless`: what a range brought from this origin cannot be used; everything from the start may be. */
  | { readonly kind: 'again'; readonly isRangeless: boolean };

/** The outcome that brings an object. */
export type GrantedObject = Extract<HeadOutcome, { kind: 'object' }>;

/** The origin's response for one client, past the cache. */
export interface OriginAnswer {
  readonly head: UpstreamHead;
  readonly reader: BodyReader;
}

/** Content that slices can be made of. */
type Content = Extract<Usable, { kind: 'whole' }> | (Part & { readonly lengthBytes: number });
type Part = Extract<Usable, { kind: 'part' }>;

interface Judgement {
  readonly outcome: HeadOutcome | EdgeError;
  readonly sink: BodySink | undefined;
}

/** One request to the origin for a key, from its fields to what its head means. It lives as long as somebody waits for that. */
export class OriginQuestion {
  readonly #context: FillContext;
  readonly #live: LiveObjects;
  readonly #marks: KeyMarks;
  readonly #markers: VariantMarkers;
  readonly #request: ResolveRequest;
  readonly #place: Place;
  /** As the origin is asked, but for conditions and ranges. */
  readonly #askFields: FieldList;
  readonly #stored: Manifest | undefined;
  readonly #asked: Asked;
  /** What is asked for instead of asking about what is stored. */
  readonly #missing: MissingBytes | undefined;
  readonly #purgeSequence: number;
  readonly #requestTimeMs: number;
  readonly #outcome = Promise.withResolvers<HeadOutcome>();
  #onDone: () => void = () => undefined;
  #transfer: Transfer | undefined;
  #isOpen = true;
  #isDetached = false;
  #waiting = 0;
  #interimListeners: readonly ((head: UpstreamHead) => void)[] = [];
  /** Held for those who wait, until each of them has a hold of its own. */
  #held: LiveObject | undefined;

  /** @param about.stored what the origin is asked about, if anything */
  constructor(
    tables: { readonly context: FillContext; readonly live: LiveObjects; readonly marks: KeyMarks; readonly markers: VariantMarkers },
    about: {
      readonly request: ResolveRequest;
      readonly place: Place;
      readonly stored: Manifest | undefined;
      readonly missing: MissingBytes | undefined;
    },
  ) {
    const { request, place, stored, missing } = about;
    const { context, live, marks, markers } = tables;
    this.#context = context;
    this.#live = live;
    this.#marks = marks;
    this.#markers = markers;
    this.#request = request;
    this.#place = place;
    this.#stored = stored;
    const { abilities } = context;
    const isWhole = abilities.isRangeless(place.target.place) || abilities.areTagsFlapping(place.target.place);
    this.#missing = isWhole ? undefined : missing;
    const asAligned = (): Asked => askFor(openingRange(request.ranges), stored, place.target.sliceSizeBytes);
    this.#asked = isWhole ? { kind: 'whole' } : this.#missing === undefined ? asAligned() : { kind: 'range', ...this.#missing };
    // The rest of a variant is asked for in its encoding alone.
    this.#askFields = [...(this.#missing === undefined ? place.askFields : place.target.fields), ...request.credentials];
    this.#purgeSequence = context.store.purgeSequence;
    this.#requestTimeMs = context.clock.wallMs();
  }

  /** Sends the request. @param onDone called once, when nobody new may join */
  ask(onDone: () => void): void {
    this.#onDone = onDone;
    const { target } = this.#place;
    const fields = [...this.#askFields, ...this.#conditionalFields(), ...rangeFields(this.#asked)];
    if (this.#stored !== undefined) this.#context.metrics.add('revalidations');
    // Whoever waits hears of a failure; when all have left nobody does.
    this.#outcome.promise.catch(() => undefined);
    this.#transfer = target.transport.start(
      { method: this.#request.method, path: target.upstreamPath, fields, affinity: target.affinity, watch: target.watch },
      {
        onInterim: (head) => {
          for (const listener of this.#interimListeners) listener(head);
        },
        onHead: (head, transfer) => {
          if (this.#missing === undefined) learnFromAnswer(this.#context, target, this.#asked, head);
          else learnConnection(this.#context, target.place, head);
          const { outcome, sink } = this.#judge(head, transfer);
          this.#settle(outcome);
          return sink;
        },
        onFailure: (error) => this.#settle({ kind: 'failed', status: undefined, error }),
      },
    );
    this.#context.standing.onRequest(target.transport);
  }

  /**
   * Waits for the head on behalf of one request. When it brings an object, the request owns a hold and a reservation on it.
   *
   * @throws EdgeError as the request to the origin failed, or CLIENT_GONE
   */
  async join({ signal, onInterim }: Pick<ResolveRequest, 'signal' | 'onInterim'>): Promise<HeadOutcome> {
    this.#waiting += 1;
    if (onInterim !== undefined) this.#interimListeners = [...this.#interimListeners, onInterim];
    try {
      const outcome = await unlessGone(this.#outcome.promise, signal);
      if (outcome.kind === 'object') {
        outcome.object.hold();
        outcome.object.reserve();
      }
      return outcome;
    } finally {
      this.#waiting -= 1;
      if (onInterim !== undefined) this.#interimListeners = this.#interimListeners.filter((listener) => listener !== onInterim);
      if (this.#waiting === 0) this.#endWaiting();
    }
  }

  /** Whether a purge may be of what this question is about. */
  isAbout(matches: (object: Coverable) => boolean): boolean {
    const { objectHash, keyText } = this.#place.target;
    return matches(this.#stored ?? { objectHash, keyText, tags: [] });
  }

  /** The key was purged: those who wait get the answer, and nobody else does. */
  detach(): void {
    this.#isDetached = true;
  }

  #settle(outcome: HeadOutcome | EdgeError): void {
    this.#isOpen = false;
    this.#onDone();
    if (outcome instanceof EdgeError) return this.#outcome.reject(outcome);
    if (outcome.kind === 'object') {
      outcome.object.hold();
      outcome.object.reserve();
      this.#held = outcome.object;
    }
    this.#outcome.resolve(outcome);
  }

  /** The last one who waited has got the outcome, or has left. */
  #endWaiting(): void {
    if (this.#isOpen) {
      this.#settle(new EdgeError('CLIENT_GONE'));
      this.#transfer?.abort();
    }
    const held = this.#held;
    this.#held = undefined;
    held?.endReservation();
    held?.release();
  }

  #conditionalFields(): [string, string][] {
    // A 304 speaks of a 200 (RFC 9110 s15.4.5): what stands for anything else is asked for whole.
    if (this.#stored === undefined || !isSliced(this.#stored.status)) return [];
    if (this.#missing !== undefined) return this.#ifRangeFields(this.#missing, this.#stored);
    const { entityTag, lastModified } = validatorsOf(this.#stored.fields);
    if (lastModified !== undefined && this.#isAskedByDate()) return [['if-modified-since', lastModified.text]];
    if (entityTag !== undefined) return [['if-none-match', entityTag]];
    return lastModified === undefined ? [] : [['if-modified-since', lastModified.text]];
  }

  /**
   * An object that has changed answers at once with all of itself, where that begins with what is wanted; further in, a part of another
   * version tells as much and costs less (RFC 9110 s13.1.5).
   */
  #ifRangeFields({ start }: MissingBytes, stored: Manifest): [string, string][] {
    const validator = strongValidator(stored.fields);
    return validator === undefined || start >= stored.sliceSizeBytes ? [] : [['if-range', validator.value]];
  }

  /**
   * Where nodes give one object different tags, the tag of one is none to ask another by; a date that is strong says as much (RFC 9111
   * s4.3.4: one strong validator in common).
   */
  #isAskedByDate(): boolean {
    const stored = this.#stored;
    return stored !== undefined && hasStrongDate(stored.fields) && this.#context.abilities.areTagsFlapping(this.#request.target.place);
  }

  #isConfirmed(stored: Manifest, { fields }: UpstreamHead): boolean {
    const isByDate = this.#isAskedByDate() && hasField(fields, 'last-modified');
    return confirmsStored(stored.fields, isByDate ? fields.filter(([name]) => name !== 'etag') : fields);
  }

  #judge(head: UpstreamHead, transfer: Transfer): Judgement {
    if (head.status === 304 && this.#stored !== undefined) return this.#renew(this.#stored, head, transfer);
    // An error never takes the place of what may be served in its stead, not even one that the origin calls fresh.
    if (head.status >= 500 && this.#canBeStale()) {
      return { outcome: { kind: 'failed', status: head.status, error: undefined }, sink: new DiscardingSink(transfer) };
    }
    if (this.#request.method === 'HEAD') return this.#judgeHead(head, transfer);
    if (!isNeverStored(head.status)) {
      const usable = checkResponse(head, codingsIn(fieldValue(this.#askFields, 'accept-encoding') ?? 'identity'));
      const content = usable.kind === 'part' ? this.#fitting(usable, head) : usable;
      if (content !== undefined && content.kind !== 'unusable') return this.#judgeContent(content, head, transfer);
      if (head.status === 206) return this.#judgeUnfit(usable, transfer);
    }
    return this.#unstorable(head, transfer);
  }

  /** What was stored from a GET is renewed by the head or stale because of it (RFC 9111 s4.3.5). */
  #judgeHead(head: UpstreamHead, transfer: Transfer): Judgement {
    const { credentials, acceptsSharedAnswer } = this.#request;
    const stored = this.#stored === undefined ? undefined : this.#present(this.#stored);
    // What one client with credentials is told is no word about what others have, nor is another encoding one about this.
    const isAboutStored = stored !== undefined && contentCodingOf(head.fields) === contentCodingOf(stored.fields);
    if (isAboutStored && credentials.length === 0) {
      const comparison = compareHead(stored, { ...head, lengthBytes: contentLengthOf(head) });
      if (comparison === 'same') return this.#renew(stored, head, transfer);
      if (comparison === 'other') this.#makeStale(stored);
    }
    const isForAnyone = acceptsSharedAnswer && fieldValue(head.fields, 'vary') === undefined;
    if (!isForAnyone) return { outcome: { kind: 'head', answer: undefined }, sink: new DiscardingSink(transfer) };
    const reader = new BodyReader(transfer, this.#context.buffers);
    return { outcome: { kind: 'head', answer: { head, reader } }, sink: reader };
  }

  #makeStale(stored: Manifest): void {
    const { store, metrics, clock } = this.#context;
    const { objectHash, generation } = stored;
    const nowMs = clock.wallMs();
    metrics.add('headsDiffering');
    if (stored.freshUntilMs <= nowMs) return;
    store.refreshManifest(objectHash, generation, { ...stored, freshUntilMs: nowMs });
    this.#live.makeStale((manifest) => manifest.generation === generation, nowMs);
  }

  /**
   * A 206 that an object can begin with: its length is known, and either it has all that the client wants or the rest can be asked for.
   * Another interval than was asked for is believed when Content-Length agrees.
   */
  #fitting(part: Part, head: UpstreamHead): Content | undefined {
    const isOfStored = this.#stored !== undefined && sameRepresentation(this.#stored.fields, head.fields);
    const lengthBytes = part.lengthBytes ?? (isOfStored ? this.#stored?.lengthBytes : undefined);
    if (lengthBytes === undefined || part.end > lengthBytes) return undefined;
    const asked = wantedInterval(this.#asked, lengthBytes);
    if (!part.isMeasured && (part.start !== asked.start || part.end !== asked.end)) return undefined;
    const hasAll = this.#wanted(lengthBytes).every(({ start, end }) => part.start <= start && part.end >= end);
    if (!hasAll && strongValidator(head.fields) === undefined) return undefined;
    return { ...part, lengthBytes };
  }

  /** What the client wants of an object of this length; nothing where no range has any of it. */
  #wanted(lengthBytes: number): readonly { readonly start: number; readonly end: number }[] {
    const { ranges } = this.#request;
    if (ranges.length === 0) return [{ start: 0, end: lengthBytes }];
    const set = resolveRangeSet(ranges, lengthBytes);
    return set.kind === 'unsatisfiable' ? [] : set.ranges;
  }

  /** A 206 that no object can begin with (RFC 9110 s14.4). */
  #judgeUnfit(usable: Usable, transfer: Transfer): Judgement {
    const isOpen = usable.kind === 'part' && usable.lengthBytes === undefined;
    const why = usable.kind === 'unusable' ? usable.why : 'it is a part, which was not asked for';
    if (!isOpen && transfer.blame?.(why) === true) return { outcome: { kind: 'again', isRangeless: false }, sink: undefined };
    // What a range brings cannot be trusted, or does not say how long the object is; the whole object may still be had.
    if (this.#asked.kind !== 'whole') return { outcome: { kind: 'again', isRangeless: true }, sink: undefined };
    // An origin that tells no length either way: what it sends is for the one who asks, and for nobody else.
    if (isOpen) return { outcome: { kind: 'refused-range', answer: undefined }, sink: undefined };
    return { outcome: new EdgeError('UPSTREAM_INVALID', `The origin's answer cannot be used: ${why}`), sink: undefined };
  }

  #judgeContent(usable: Content, head: UpstreamHead, transfer: Transfer): Judgement {
    const stored = this.#stored;
    const verdict = judgeResponse({
      requestFields: this.#askFields,
      status: head.status,
      fields: head.fields,
      requestTimeMs: this.#requestTimeMs,
      responseTimeMs: this.#context.clock.wallMs(),
      rule: this.#request.target.rule,
      siteName: siteNameOf(this.#request.target.keyText),
      path: pathOf(this.#request.target.keyText),
    });
    if (verdict.kind === 'not-storable') this.#context.metrics.add('notStorable', 1, verdict.reason);
    const isStorable = verdict.kind === 'store' && isCuttable(usable.lengthBytes ?? 0, this.#place.target.sliceSizeBytes);
    if (!isStorable) return this.#unstorable(head, transfer);
    if (this.#missing !== undefined && stored !== undefined && contentCodingOf(head.fields) !== contentCodingOf(stored.fields)) {
      return this.#forgetStored(stored);
    }
    const placed = this.#placeOf(verdict.varying, head);
    if (placed === undefined) return this.#unstorable(head, transfer);
    const { objectHash, keyText } = placed.target;
    if (stored?.objectHash === objectHash) {
      const isSame = isVersionOf(stored, head, usable.lengthBytes);
      if (isSame) return this.#withMissing(this.#renew(stored, head, transfer), usable, transfer);
      const isFlap = isTagFlap(stored, { fields: head.fields, lengthBytes: usable.lengthBytes });
      if (isFlap) this.#context.abilities.noteTagFlap(placed.target.place);
    }
    // What this selection was found to lead to may be there already.
    if (this.#isElsewhere(placed)) return { outcome: { kind: 'again', isRangeless: false }, sink: undefined };
    const manifest: Manifest = {
      ...verdict.freshness,
      generation: this.#context.store.nextGeneration(),
      objectHash,
      keyText,
      status: storedStatus(head.status),
      fields: verdict.fields,
      tags: verdict.tags,
      lengthBytes: usable.lengthBytes,
      sliceSizeBytes: this.#place.target.sliceSizeBytes,
    };
    return this.#begin({ placed, manifest, usable }, head, transfer);
  }

  /** What came of the version that is stored, if it was asked for, is the first run of what is missing. */
  #withMissing(renewed: Judgement, usable: Content, transfer: Transfer): Judgement {
    const { outcome, sink } = renewed;
    if (this.#missing === undefined || sink !== undefined || outcome instanceof EdgeError || outcome.kind !== 'object') return renewed;
    if (usable.kind !== 'part' || !outcome.object.isResumable) return renewed;
    const start = Math.max(usable.start, this.#missing.start);
    const end = Math.min(usable.end, this.#missing.end ?? usable.end);
    if (start >= end || outcome.object.findRunFor(start) !== undefined) return renewed;
    const run = new FillRun(outcome.object, { start, end, skipBytes: start - usable.start });
    run.attach(transfer);
    return { outcome, sink: run };
  }

  #renew(asked: Manifest, head: UpstreamHead, transfer: Transfer): Judgement {
    const isBodyless = head.status === 304 || this.#request.method === 'HEAD';
    const sink = isBodyless ? new DiscardingSink(transfer) : undefined;
    const { objectHash } = this.#place.target;
    const { store } = this.#context;
    const again: Judgement = { outcome: { kind: 'again', isRangeless: false }, sink };
    // Asked for before a purge, or replaced meanwhile: what is confirmed here is not the cache's any more.
    const stored = this.#present(asked);
    if (stored === undefined) return again;
    if (head.status === 304 && !this.#isConfirmed(stored, head)) {
      // The origin confirms some other version: what is stored is not to be trusted (RFC 9111 s4.3.4).
      store.dropManifest(objectHash, stored.generation);
      this.#live.detach(objectHash);
      return again;
    }
    const renewed = renewedManifest(stored, {
      responseFields: head.fields,
      requestTimeMs: this.#requestTimeMs,
      responseTimeMs: this.#context.clock.wallMs(),
      rule: this.#request.target.rule,
    });
    if (renewed === undefined || !this.#isSelectedBy(renewed.manifest.fields) || isForbiddenNow(renewed.manifest)) {
      store.dropManifest(objectHash, stored.generation);
      this.#live.detach(objectHash);
      return again;
    }
    const { manifest, isMetadataChanged } = renewed;
    // Nobody else may be served by what was confirmed to one client, unless it says so (RFC 9111 s3.5).
    const isForOne = this.#request.credentials.length > 0 && !isSharedDespiteAuthorization(responseControl(manifest.fields).control);
    if (isForOne) return { outcome: { kind: 'unstorable' }, sink };
    this.#context.metrics.add('renewals');
    const offer = isMetadataChanged ? store.offerManifest(manifest, this.#purgeSequence) : undefined;
    // Fields that the store has no room for now can wait for the next 304; the freshness is worth having without them.
    const isKept = offer?.kind === 'admitted' || (offer?.kind === 'declined' && offer.reason === 'purged');
    if (!isKept) store.refreshManifest(objectHash, manifest.generation, manifest);
    const object = this.#live.open(this.#place.target, manifest);
    object.replaceManifest(manifest);
    return { outcome: { kind: 'object', object, state: 'renewed', status: head.status }, sink };
  }

  /** The manifest as it is now (a growing object may have got its length), or undefined when the key has another one or none. */
  #present(asked: Manifest): Manifest | undefined {
    if (this.#isDetached) return undefined;
    const live = this.#live.findCurrent(asked.objectHash);
    if (live !== undefined) return live.generation === asked.generation && live.failure === undefined ? live.manifest : undefined;
    // It was growing when the origin was asked, and has come to its end: the store knows its length, this question does not.
    if (asked.lengthBytes === undefined) return undefined;
    return this.#context.store.findManifest(asked.objectHash)?.generation === asked.generation ? asked : undefined;
  }

  /** A new generation, whose first run is the body of this response. */
  #begin(found: { placed: Placed; manifest: Manifest; usable: Content }, head: UpstreamHead, transfer: Transfer): Judgement {
    const { placed, manifest, usable } = found;
    const { store, metrics } = this.#context;
    const { marker, target, reach } = placed;
    if (this.#stored !== undefined) metrics.add('generationsReplaced');
    if (target !== this.#place.target) store.noteRequest(target.objectHash, this.#request.startBytes);
    const offer = reach === 'store' ? store.offerManifest(manifest, this.#purgeSequence) : undefined;
    // Purged by a tag, perhaps, that nobody knew it had.
    const isJoinable = reach !== 'nobody' && !(offer?.kind === 'declined' && offer.reason === 'purged');
    const object = this.#live.begin(target, manifest, { purgeSequence: this.#purgeSequence, isJoinable });
    const wanted = usable.lengthBytes === undefined ? [] : this.#wanted(usable.lengthBytes);
    const wantedStart = Math.min(...wanted.map(({ start }) => start));
    const run = new FillRun(object, shapeOf(usable, wantedStart, manifest.sliceSizeBytes));
    run.attach(transfer);
    return { outcome: { kind: 'object', object, state: 'fetched', status: head.status, marker }, sink: run };
  }

  /** Where the response belongs; undefined when it may not be stored. */
  #placeOf(varying: readonly string[], head: UpstreamHead): Placed | undefined {
    const { marker } = this.#place;
    const primary = this.#request.target;
    if (marker === undefined && varying.length === 0) return { target: primary, marker, reach: this.#isDetached ? 'nobody' : 'store' };
    const placed = this.#markers.place({
      primary,
      marker,
      varying,
      sentFields: this.#askFields,
      coding: contentCodingOf(head.fields) ?? 'identity',
      purgeSequence: this.#purgeSequence,
      isDetached: this.#isDetached,
    });
    // A resource that turned out to vary has no answer for all any more.
    if (placed !== undefined && placed.reach !== 'nobody') this.#live.detach(primary.objectHash);
    return placed;
  }

  /** Whether the response belongs to another variant than was asked about, of which there is something already. */
  #isElsewhere({ target: { objectHash }, reach }: Placed): boolean {
    if (reach === 'nobody' || objectHash === this.#place.target.objectHash) return false;
    return this.#live.findCurrent(objectHash) !== undefined || this.#context.store.findManifest(objectHash) !== undefined;
  }

  /** Whether the fields still vary on nothing but what led to this response; a 304 may have brought another Vary. */
  #isSelectedBy(fields: FieldList): boolean {
    const names = this.#place.marker?.names ?? [];
    return varyingFields(fields, this.#request.target.rule)?.every((name) => names.includes(name)) ?? false;
  }

  /** What is stored cannot be completed any more: it is asked for anew. */
  #forgetStored({ objectHash, generation }: Manifest): Judgement {
    this.#context.store.dropManifest(objectHash, generation);
    this.#live.detach(objectHash);
    return { outcome: { kind: 'again', isRangeless: false }, sink: undefined };
  }

  #unstorable(head: UpstreamHead, transfer: Transfer): Judgement {
    const { questionHash, target } = this.#place;
    // It has less bytes than the version that is stored.
    if (head.status === 416 && this.#missing !== undefined && this.#stored !== undefined) return this.#forgetStored(this.#stored);
    const isRefusedRange = head.status === 416 && this.#asked.kind !== 'whole';
    // A failure that passes is no property of the object: it must not keep requests apart for a minute, nor cost what is stored.
    const isPassing = head.status >= 500 || head.status === 429;
    if (!isRefusedRange && !isPassing) this.#marks.add(questionHash);
    const isReplaced = head.status < 400 || isMissing(head.status) || (isRefusedRange && this.#isOtherLength(head));
    // What one client with credentials is told is no word about what others have.
    const isGone = isReplaced && this.#request.credentials.length === 0;
    if (this.#stored !== undefined && isGone) {
      this.#context.store.dropManifest(target.objectHash, this.#stored.generation);
      this.#live.detach(target.objectHash);
    }
    const outcome = isRefusedRange
      ? ({ kind: 'refused-range' } as const)
      : head.status >= 500
        ? ({ kind: 'failed', status: head.status, error: undefined } as const)
        : ({ kind: 'unstorable' } as const);
    // A part that was asked for at slice boundaries is not what the client wants, and what varies may not be what it would get.
    const isForAnyone = fieldValue(head.fields, 'vary') === undefined && (this.#asked.kind === 'whole' || head.status >= 400);
    if (head.status === 304 || !isForAnyone || !this.#request.acceptsSharedAnswer)
      return { outcome: { ...outcome, answer: undefined }, sink: undefined };
    const reader = new BodyReader(transfer, this.#context.buffers);
    return { outcome: { ...outcome, answer: { head, reader } }, sink: reader };
  }

  /** Whether a 416 tells another length than that of the stored version, which is over then. */
  #isOtherLength(head: UpstreamHead): boolean {
    const told = parseContentRange(fieldValue(head.fields, 'content-range') ?? '');
    return told?.kind === 'unsatisfied' && told.lengthBytes !== undefined && told.lengthBytes !== this.#stored?.lengthBytes;
  }

  /** Whether the one who asked takes the stored version where the origin fails. */
  #canBeStale(): boolean {
    const stored = this.#stored === undefined ? undefined : this.#present(this.#stored);
    return stored !== undefined && mayBeStaleFor(stored, this.#request, this.#context);
  }
}

/** Whether a request is served a stored version where the origin fails (RFC 9111 s4.2.4, RFC 5861 s4). */
export function mayBeStaleFor(stored: Manifest, { lookup, target }: ResolveRequest, context: FillContext): boolean {
  if (lookup.mustConfirm) return false;
  if (lookup.isAuthorized && !isSharedDespiteAuthorization(responseControl(stored.fields).control)) return false;
  const candidate = { stored, nowMs: context.clock.wallMs(), rule: target.rule };
  return mayServeStaleOnError(candidate, { requestSeconds: lookup.staleIfErrorSeconds, defaultMs: context.staleIfErrorMs });
}

/** Whether an origin that ignored our condition sent the version that is stored already. */
function isVersionOf(stored: Manifest, head: UpstreamHead, lengthBytes: number | undefined): boolean {
  if (!isSliced(stored.status) || !isSliced(storedStatus(head.status))) return false;
  // A length that is not told contradicts nothing, where a strong validator says that it is the same.
  const isLengthAlike = stored.lengthBytes === lengthBytes || (lengthBytes === undefined && strongValidator(stored.fields) !== undefined);
  return isLengthAlike && sameRepresentation(stored.fields, head.fields);
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

/** What a response brings; what was asked for only so that the wanted bytes begin at a slice is not kept. */
function shapeOf(usable: Content, wantedStart: number, sliceSizeBytes: number): RunShape {
  if (usable.kind === 'whole') return { start: 0, end: usable.lengthBytes ?? Number.POSITIVE_INFINITY, skipBytes: 0 };
  const aligned = alignUp(usable.start, sliceSizeBytes);
  const start = aligned <= wantedStart && aligned < usable.end ? aligned : usable.start;
  return { start, end: usable.end, skipBytes: start - usable.start };
}

/** Whether the origin has come to say that this is not for a cache to keep (RFC 9111 s5.2.2.5, s5.2.2.7): then it is asked for anew. */
function isForbiddenNow({ fields, status }: Manifest): boolean {
  return storingForbiddenBy(responseControl(fields).control, status) !== undefined;
}
