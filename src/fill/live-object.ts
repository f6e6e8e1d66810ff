/**
 * One generation of an object while somebody works with it: its manifest, the runs that fill it, and the declined slices that followers
 * still need. It exists from the first holder or run to the last; what outlives it is in the store.
 *
 * A generation is *resumable* when it has a strong validator and its origin answers ranges: then missing slices can be fetched one by one.
 * Otherwise all of its bytes come from the one response that made it, and that response's run claims them all.
 *
 * When the origin turns out to have another version, the generation is *over*: nobody new gets it and nothing is asked for, but what is in the
 * cache stays there for its readers (it holds its generation in the store), and transfers of it that are under way go on for them.
 */
import { assert } from '../base/assert.ts';
import { EdgeError } from '../base/errors.ts';
import { divFloor } from '../base/units.ts';
import { type SliceStep, sliceCount } from '../cache/slice-plan.ts';
import { isSliced } from '../cache/status-policy.ts';
import { strongValidator } from '../cache/validators.ts';
import type { Manifest } from '../format/manifest.ts';
import { type ContentCoding, contentCodingOf } from '../http/content-coding.ts';
import type { Lease } from '../memory/lease.ts';
import type { FillContext, FillTarget } from './fill-context.ts';
import { FOREIGN_ANSWERS_MAX, NARROW_ANSWERS_MAX, NARROW_BYTES_MIN, RETAINED_SLICES_MAX } from './fill-context.ts';
import type { RUN_ENDS } from './fill-metrics.ts';

/** Somebody who reads along. Positions are absolute offsets in bytes. */
export interface Follower {
  readonly positionBytes: number;
  /** First slice that the follower will not need. */
  readonly endSlice: number;
  /** Whether it has got all that it came for. */
  readonly isSatisfied: boolean;
  /** Whether it has asked ahead for a later part of a response that another follower reads now: it takes nothing until that one is done. */
  readonly isWaitingItsTurn: boolean;
  /** Something changed: bytes came, or a run ended. */
  wake(): void;
}

/** Why a run ended. */
export type RunEnd = (typeof RUN_ENDS)[number];

/** A transfer that fills slices; fill-run.ts is the only one. */
export interface Run {
  readonly endSlice: number;
  /** How it ended and, after `failed`, the origin's failure; undefined while it lives. */
  readonly end: RunEnd | undefined;
  readonly error: EdgeError | undefined;
  /** Whether bytes of its response have come. */
  readonly hasBegun: boolean;
  claims(sliceNumber: number): boolean;
  /** Whether it is about to bring the byte at `position`. */
  claimsByte(position: number): boolean;
  tryRead(sliceNumber: number, startBytes: number, endBytes: number): LoanedBytes | undefined;
  resumeIfPaced(): void;
  onFollowerLeft(follower: Follower): void;
  /** Nobody is about to come any more: goes on only if somebody is there. */
  onReservationsOver(): void;
  /** What it brings cannot be asked for again. */
  onObjectOver(): void;
}

/** Bytes on loan; the borrower ends the lease. */
export interface LoanedBytes {
  readonly lease: Lease;
  readonly bytes: Buffer;
}

/** What LiveObjects tell the table that holds them. */
export interface LiveObjectOwner {
  /** Whether the object is what a new request for its key would get: neither replaced, purged nor invalidated. */
  isCurrent(object: LiveObject): boolean;
  forget(object: LiveObject): void;
}

/** A generation in use. */
export class LiveObject {
  readonly context: FillContext;
  readonly target: FillTarget;
  readonly followers = new Set<Follower>();
  readonly runs: Run[] = [];
  /** Newest purge when the request that brought this generation was sent. */
  readonly purgeSequence: number;
  readonly #owner: LiveObjectOwner;
  readonly #retained = new Map<number, LoanedBytes>();
  #manifest: Manifest;
  #holders = 0;
  /** Requests that were given this object and have not attached their readers yet. */
  #reservations = 0;
  /** Set when the origin turned out to have another version, or a response that cannot be resumed broke off. */
  #failure: EdgeError | undefined;
  #isRangeless = false;
  #endHold: () => void;
  /** Answers of another version in a row. */
  #foreignAnswers = 0;
  /** In a row, each with less than NARROW_BYTES_MIN. */
  #narrowAnswers = 0;
  /** Of the manifest's fields; asked for with every piece of a body, so it is not worked out each time. */
  #hasStrongValidator: boolean;

  constructor(owner: LiveObjectOwner, context: FillContext, target: FillTarget, source: { manifest: Manifest; purgeSequence: number }) {
    this.#owner = owner;
    this.context = context;
    this.target = target;
    this.#manifest = source.manifest;
    this.#hasStrongValidator = isJoinable(source.manifest);
    this.purgeSequence = source.purgeSequence;
    this.#endHold = context.store.holdGeneration(source.manifest);
  }

  get manifest(): Manifest {
    return this.#manifest;
  }

  get generation(): number {
    return this.#manifest.generation;
  }

  get sliceSizeBytes(): number {
    return this.#manifest.sliceSizeBytes;
  }

  /** Why missing bytes of this generation cannot be had any more, or undefined. */
  get failure(): EdgeError | undefined {
    return this.#failure;
  }

  /** Of all its bytes; slices are asked for in this one (RFC 9110 s8.4). */
  get coding(): ContentCoding {
    return contentCodingOf(this.#manifest.fields) ?? 'identity';
  }

  get isResumable(): boolean {
    return !this.#isRangeless && this.#hasStrongValidator && this.#failure === undefined;
  }

  /** Whether another response can be told to be of the same version: slice by slice, or all over again from an origin without ranges. */
  get isRefetchable(): boolean {
    return this.#hasStrongValidator;
  }

  /** Number of slices; Infinity while the object is growing. */
  get endSlice(): number {
    const { lengthBytes, sliceSizeBytes } = this.#manifest;
    return lengthBytes === undefined ? Number.POSITIVE_INFINITY : sliceCount(lengthBytes, sliceSizeBytes);
  }

  /** Takes over a renewed manifest. */
  replaceManifest(manifest: Manifest): void {
    assert(manifest.generation === this.generation, 'a manifest is renewed within its generation');
    assert(manifest.lengthBytes === this.#manifest.lengthBytes, 'a renewal does not change the length');
    // Tags may be others now, and with them the purges that cover it.
    const endHold = this.#endHold;
    this.#endHold = this.context.store.holdGeneration(manifest);
    endHold();
    this.#manifest = manifest;
    this.#hasStrongValidator = isJoinable(manifest);
  }

  /** A growing object has come to its end, or its length was told by a later response. */
  learnLength(lengthBytes: number): void {
    assert(this.#manifest.lengthBytes === undefined, 'a length is learnt once');
    this.#manifest = { ...this.#manifest, lengthBytes };
    // What was invalidated meanwhile is finished for its readers, and must not come back to the cache by way of its length.
    if (this.#owner.isCurrent(this)) this.context.store.offerManifest(this.#manifest, this.purgeSequence);
    this.#resumeRuns();
    this.#wakeAll();
  }

  /** The origin answers every range with everything: one run must bring it all. */
  markRangeless(): void {
    this.#isRangeless = true;
  }

  /** The origin has another version now. @returns what those are told who need more than there is */
  endAsChanged(why: string): EdgeError {
    if (this.#failure === undefined) {
      this.context.metrics.add('generationsReplaced');
      this.fail(new EdgeError('UPSTREAM_CHANGED', `The object changed during the transfer: ${why}; ask again`));
    }
    return this.#failure ?? new EdgeError('UPSTREAM_CHANGED');
  }

  /** Whether an answer of another version may be that of one node among several, so that it is worth while to ask the next one. */
  mayAskAnotherNode(): boolean {
    this.#foreignAnswers += 1;
    return this.#foreignAnswers < Math.min(this.target.transport.nodeCount ?? 1, FOREIGN_ANSWERS_MAX);
  }

  noteOwnVersion(): void {
    this.#foreignAnswers = 0;
  }

  /** This generation is over: nobody new joins, and bytes that are neither in the cache nor on their way will not come. */
  fail(error: EdgeError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.context.store.dropManifest(this.target.objectHash, this.generation);
    for (const run of [...this.runs]) run.onObjectOver();
    this.#owner.forget(this);
    this.#wakeAll();
  }

  /** Whether nobody works with it. */
  get isIdle(): boolean {
    return this.#holders === 0 && this.runs.length === 0;
  }

  hold(): void {
    this.#holders += 1;
  }

  release(): void {
    assert(this.#holders > 0, 'a live object is released as often as it is held');
    this.#holders -= 1;
    this.forgetIfIdle();
  }

  get isReserved(): boolean {
    return this.#reservations > 0;
  }

  /** A reader will come soon: until then no run is given up, and what the store declines is kept. */
  reserve(): void {
    this.#reservations += 1;
  }

  endReservation(): void {
    assert(this.#reservations > 0, 'a reservation ends once');
    this.#reservations -= 1;
    if (this.#reservations > 0) return;
    this.pruneRetained();
    for (const run of [...this.runs]) run.onReservationsOver();
  }

  /** The run that has claimed `sliceNumber`, if any. */
  findRun(sliceNumber: number): Run | undefined {
    return this.runs.find((run) => run.claims(sliceNumber));
  }

  /** The run that is about to bring the byte at `position`, if any. */
  findRunFor(position: number): Run | undefined {
    return this.runs.find((run) => run.claimsByte(position));
  }

  /** Whether some of the slice is kept, but not all of it. */
  hasPart(sliceNumber: number): boolean {
    const { store, partMemory } = this.context;
    return partMemory.has(this.generation, sliceNumber) || store.hasPart(this.generation, sliceNumber);
  }

  /** Whether all of a part of a slice can be read now; what only the device has of a slice that is there in part does not count. */
  hasBytes({ sliceNumber, startBytes, endBytes }: SliceStep): boolean {
    const { store, partMemory } = this.context;
    return (
      store.hasSlice(this.generation, sliceNumber) || partMemory.covers(this.generation, sliceNumber, { start: startBytes, end: endBytes })
    );
  }

  /** Whether the byte at `position` is kept in memory, of a slice that is there in part. */
  hasPartInMemoryAt(position: number): boolean {
    return this.tryReadPart(position, position + 1) !== undefined;
  }

  /** What is kept in memory of a slice that is there in part: bytes from `start` on, not past `end`, which lies in the same slice. */
  tryReadPart(start: number, end: number): Buffer | undefined {
    const sliceNumber = divFloor(start, this.sliceSizeBytes);
    const sliceStart = sliceNumber * this.sliceSizeBytes;
    return this.context.partMemory.tryRead(this.generation, sliceNumber, { start: start - sliceStart, end: end - sliceStart });
  }

  /**
   * An answer brought less than was asked for.
   *
   * @returns false when so many brought so little that asking this origin for parts is not worth it
   */
  acceptsNarrow(lengthBytes: number): boolean {
    this.context.metrics.add('narrowAnswers');
    this.#narrowAnswers = lengthBytes >= NARROW_BYTES_MIN ? 0 : this.#narrowAnswers + 1;
    return this.#narrowAnswers <= NARROW_ANSWERS_MAX;
  }

  /** Whether the last answer brought little of what was asked for: then what a reader waits for is asked for first. */
  get isAnsweredNarrowly(): boolean {
    return this.#narrowAnswers > 0;
  }

  addRun(run: Run): void {
    this.runs.push(run);
    this.context.metrics.add('runsActive');
  }

  removeRun(run: Run): void {
    const index = this.runs.indexOf(run);
    assert(index >= 0, 'a run is removed once');
    this.runs.splice(index, 1);
    this.context.metrics.add('runsActive', -1);
    this.#wakeAll();
    this.forgetIfIdle();
  }

  addFollower(follower: Follower): void {
    this.followers.add(follower);
    // One that begins further on may be what a paused run waits for.
    this.#resumeRuns();
  }

  removeFollower(follower: Follower): void {
    this.followers.delete(follower);
    this.pruneRetained();
    for (const run of [...this.runs]) run.onFollowerLeft(follower);
  }

  /** A follower has moved on: paused runs may read again, retained slices may go. */
  onFollowerProgress(): void {
    if (this.#retained.size > 0) this.pruneRetained();
    this.#resumeRuns();
  }

  /** Bytes of a slice that is being filled or is retained: what is there of [startBytes, endBytes), at least one byte, or undefined. */
  tryRead(sliceNumber: number, startBytes: number, endBytes: number): LoanedBytes | undefined {
    const retained = this.#retained.get(sliceNumber);
    if (retained !== undefined) return loan(retained.lease, startBytes, Math.min(endBytes, retained.bytes.length));
    // Where ranges cannot be had several runs may claim a slice; what counts is which of them has the bytes.
    for (const run of this.runs) {
      const bytes = run.tryRead(sliceNumber, startBytes, endBytes);
      if (bytes !== undefined) return bytes;
    }
    return undefined;
  }

  /** Keeps a declined slice for followers that have yet to read it. Takes a share of the lease. */
  retain(sliceNumber: number, lease: Lease, lengthBytes: number): void {
    // Another run may have brought it already.
    if (this.#retained.has(sliceNumber) || !this.#isNeeded(sliceNumber)) return;
    if (this.#retained.size >= RETAINED_SLICES_MAX && !this.#makeRoomFor(sliceNumber)) return;
    const share = lease.share();
    this.#retained.set(sliceNumber, { lease: share, bytes: share.bytes.subarray(0, lengthBytes) });
  }

  /**
   * Whether retained slices that cannot be fetched one by one leave no room for more. A run counts those before its own place: what another
   * run, further on, has retained waits for the followers that this one must bring there. What is kept only for followers that wait their turn
   * does not count: the one before them may wait for what this run has yet to bring.
   */
  isRetainingAllBefore(sliceNumber: number): boolean {
    if (this.isResumable || this.#retained.size < RETAINED_SLICES_MAX) return false;
    let count = 0;
    for (const retained of this.#retained.keys()) if (retained < sliceNumber && this.#isReadNow(retained)) count += 1;
    return count >= RETAINED_SLICES_MAX;
  }

  /** @returns false when the slice is less worth than those that are retained */
  #makeRoomFor(sliceNumber: number): boolean {
    const kept = [...this.#retained.keys()];
    const leastWorth = this.isResumable ? Math.min(...kept) : kept.find((number) => !this.#isReadNow(number));
    if (leastWorth === undefined) return this.#isReadNow(sliceNumber);
    if (!this.isResumable && !this.#isReadNow(sliceNumber)) return false;
    this.#dropRetained(leastWorth);
    return true;
  }

  pruneRetained(): void {
    for (const sliceNumber of [...this.#retained.keys()]) if (!this.#isNeeded(sliceNumber)) this.#dropRetained(sliceNumber);
  }

  /** Tells every follower to look again. */
  wakeFollowers(): void {
    this.#wakeAll();
  }

  forgetIfIdle(): void {
    if (!this.isIdle) return;
    for (const sliceNumber of [...this.#retained.keys()]) this.#dropRetained(sliceNumber);
    this.#endHold();
    // What never came to its end has no length, so nothing of it can be served.
    if (this.#manifest.lengthBytes === undefined) this.context.store.dropManifest(this.target.objectHash, this.generation);
    this.#owner.forget(this);
  }

  /** Over a copy: a run that reads on may come to its end at once and leave the list. */
  #resumeRuns(): void {
    if (this.runs.length === 0) return;
    for (const run of [...this.runs]) run.resumeIfPaced();
  }

  #isNeeded(sliceNumber: number): boolean {
    return this.isReserved || this.#hasReader(sliceNumber, () => true);
  }

  #isReadNow(sliceNumber: number): boolean {
    return this.isReserved || this.#hasReader(sliceNumber, (follower) => !follower.isWaitingItsTurn);
  }

  #hasReader(sliceNumber: number, counts: (follower: Follower) => boolean): boolean {
    const endBytes = (sliceNumber + 1) * this.sliceSizeBytes;
    for (const follower of this.followers) {
      if (follower.positionBytes < endBytes && follower.endSlice > sliceNumber && counts(follower)) return true;
    }
    return false;
  }

  #dropRetained(sliceNumber: number): void {
    const retained = this.#retained.get(sliceNumber);
    this.#retained.delete(sliceNumber);
    retained?.lease.end();
  }

  #wakeAll(): void {
    for (const follower of [...this.followers]) follower.wake();
  }
}

/** Whether bytes of several responses may be joined to this one: a 200 with a strong validator (RFC 9111 s3.4); an error is one body. */
function isJoinable({ status, fields }: Manifest): boolean {
  return isSliced(status) && strongValidator(fields) !== undefined;
}

/** A loan of part of a slot; undefined when the part is empty. */
export function loan(lease: Lease, startBytes: number, endBytes: number): LoanedBytes | undefined {
  if (endBytes <= startBytes) return undefined;
  const share = lease.share();
  return { lease: share, bytes: share.bytes.subarray(startBytes, endBytes) };
}
