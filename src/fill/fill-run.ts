/**
 * A run: one upstream transfer that produces consecutive bytes of one generation. It is the body's sink: bytes land in the slot of the
 * slice in hand; a full slice is offered to the store and the run goes on with the next. It owns its next slot before it begins the
 * current one. Who paces it and when it ends is in ARCHITECTURE.md, *Who paces whom*.
 *
 *   start                 current                claim end         end
 *      |== offered ==|== offered ==|##########....|  .  .  .  .  |   |
 *                                             ^at `- readers up to here follow, others open a run of their own
 *
 * Nearly all runs begin and end at slice boundaries. One that completes a slice of which something is kept brings the gap in it; one whose
 * origin answers with less than was asked for may begin and end anywhere. What it leaves of a slice is kept as a part.
 */
import { assert } from '../base/assert.ts';
import type { Timer } from '../base/clock.ts';
import { EdgeError } from '../base/errors.ts';
import { IntervalSet } from '../base/interval-set.ts';
import { alignDown, divCeil, divFloor, KIB } from '../base/units.ts';
import type { Lease } from '../memory/lease.ts';
import type { BodySink, Transfer } from '../upstream/upstream-transport.ts';
import { CLAIM_SLICES, LEAD_SLICES, PAUSED_MS_MAX, SLOT_WAIT_MS } from './fill-context.ts';
import { type Follower, type LiveObject, type LoanedBytes, loan, type Run, type RunEnd } from './live-object.ts';
import type { StandingTransfer } from './standing-transfers.ts';

const SCRATCH_BYTES = 64 * KIB;

/** The part of the object that a run brings. */
export interface RunShape {
  /** Offset of its first byte in the object. */
  readonly start: number;
  /** Exclusive; Infinity when the response goes on to an end that is not known yet. */
  readonly end: number;
  /** Bytes of the response that come before `start`. */
  readonly skipBytes: number;
}

/** One upstream transfer into slots. */
export class FillRun implements BodySink, Run, StandingTransfer {
  readonly object: LiveObject;
  #shape: RunShape;
  #transfer: Transfer | undefined;
  #current: number;
  #lease: Lease | undefined;
  #spare: Lease | undefined;
  /** Where the next byte goes in the slice in hand. */
  #at: number;
  /** What is there of the slice in hand, whether it came with the transfer or was kept before. */
  readonly #known = new IntervalSet();
  /** Bytes of the slice in hand that came with the transfer. */
  #receivedBytes = 0;
  #hasBegun = false;
  #skipBytes: number;
  #end: RunEnd | undefined;
  #error: EdgeError | undefined;
  #isAskingForSlot = false;
  #isPaused = false;
  #pausedTimer: Timer | undefined;
  /** The slice that is finished although nobody waits for it. */
  #sliceToFinish = -1;

  constructor(object: LiveObject, shape: RunShape) {
    this.object = object;
    this.#shape = shape;
    this.#current = divFloor(shape.start, object.sliceSizeBytes);
    this.#at = shape.start - alignDown(shape.start, object.sliceSizeBytes);
    this.#skipBytes = shape.skipBytes;
    object.addRun(this);
  }

  /** How the run ended, or undefined while it lives. */
  get end(): RunEnd | undefined {
    return this.#end;
  }

  /** The origin's failure, after an end of `failed`. */
  get error(): EdgeError | undefined {
    return this.#error;
  }

  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  get endSlice(): number {
    const { end } = this.#shape;
    return Math.min(Number.isFinite(end) ? divCeil(end, this.object.sliceSizeBytes) : end, this.object.endSlice);
  }

  /** What is to be asked of the origin: from its first byte, to the end. */
  get shape(): RunShape {
    return this.#shape;
  }

  claims(sliceNumber: number): boolean {
    if (this.#end !== undefined || sliceNumber < this.#current || sliceNumber >= this.endSlice) return false;
    return !this.object.isResumable || sliceNumber < this.#current + CLAIM_SLICES;
  }

  claimsByte(position: number): boolean {
    const { sliceSizeBytes } = this.object;
    const sliceNumber = divFloor(position, sliceSizeBytes);
    if (!this.claims(sliceNumber) || position >= this.#shape.end) return false;
    return sliceNumber > this.#current || position >= this.#current * sliceSizeBytes + this.#at;
  }

  /** The request is under way. */
  attach(transfer: Transfer): void {
    this.#transfer = transfer;
    if (this.#end !== undefined) transfer.abort();
  }

  /** The response turned out to bring something else: before the first byte, once. */
  reshape(shape: RunShape): void {
    const { sliceSizeBytes } = this.object;
    const firstSlice = divFloor(this.#shape.start, sliceSizeBytes);
    assert(this.#receivedBytes === 0 && this.#current === firstSlice, 'a run is reshaped before its first byte');
    this.#shape = shape;
    this.#skipBytes = shape.skipBytes;
    this.#current = divFloor(shape.start, sliceSizeBytes);
    this.#at = shape.start - this.#current * sliceSizeBytes;
    if (this.#current === firstSlice) return;
    // The slot in reserve was cut for another slice, which may have been the short last one.
    this.#known.clear();
    this.#endLeases();
  }

  /** Takes the first slot ahead of the request, waiting a bounded time. @returns false when there is none */
  async prepare(): Promise<boolean> {
    this.#spare ??= await this.object.context.arena.lease('fill', this.#slotBytes(this.#current), { waitMs: SLOT_WAIT_MS });
    if (this.#end === undefined) return this.#spare !== undefined;
    this.#endLeases();
    return false;
  }

  /**
   * Takes what is kept of the first slice, so that it need not be asked for: the run then brings the gap around `position`, and what follows
   * the slice where the gap reaches its end. From an origin that brings little at a time it brings what is wanted first.
   *
   * @param position offset in the object, within the first slice
   */
  async loadKept(position: number): Promise<void> {
    const sliceNumber = this.#current;
    const sliceStart = sliceNumber * this.object.sliceSizeBytes;
    if (this.object.hasPart(sliceNumber) && this.#takeSlot()) await this.#takeKept();
    if (this.#end !== undefined) return;
    const lengthBytes = this.#sliceLengthMax(sliceNumber);
    const gap = this.#known.gapAt(position - sliceStart, lengthBytes);
    // What is wanted has come from elsewhere since the run was begun; where it cannot be read from there it is asked for again.
    if (gap === undefined) return this.object.hasPartInMemoryAt(position) ? this.stop('met-stored') : this.#known.clear();
    const end = gap.end < lengthBytes ? sliceStart + gap.end : this.#shape.end;
    this.#at = this.object.isAnsweredNarrowly ? position - sliceStart : gap.start;
    this.#shape = { start: sliceStart + this.#at, end, skipBytes: 0 };
  }

  async #takeKept(): Promise<void> {
    await this.#loadStoredPart();
    if (this.#end !== undefined) return;
    this.#takePartsInMemory();
    this.object.context.metrics.add('loadedPartBytes', this.#known.total);
    this.object.wakeFollowers();
  }

  /** Puts the part that the store has of the slice in hand into its slot; what a reader may miss there is kept beside it. */
  async #loadStoredPart(): Promise<void> {
    const { context, generation, target } = this.object;
    const sliceNumber = this.#current;
    if (!context.store.hasPart(generation, sliceNumber)) return;
    const verdict = await context.store.readPart({ objectHash: target.objectHash, generation, sliceNumber });
    if (verdict.kind !== 'hit') return;
    const { lease, bytes, startBytes, endBytes } = verdict;
    if (this.#lease !== undefined && endBytes <= this.#sliceLengthMax(sliceNumber)) {
      bytes.copy(this.#lease.bytes, startBytes);
      this.#known.add(startBytes, endBytes);
      context.partMemory.add(generation, sliceNumber, { start: startBytes, bytes });
    }
    lease.end();
  }

  /** Puts what is kept in memory of the slice in hand into its slot. */
  #takePartsInMemory(): void {
    const { context, generation } = this.object;
    for (const { start, bytes } of context.partMemory.list(generation, this.#current)) {
      if (this.#known.covers(start, start + bytes.length)) continue;
      bytes.copy(this.#slot().bytes, start);
      this.#known.add(start, start + bytes.length);
    }
  }

  onReservationsOver(): void {
    this.#onFollowersChanged();
  }

  tryRead(sliceNumber: number, startBytes: number, endBytes: number): LoanedBytes | undefined {
    if (sliceNumber !== this.#current || this.#lease === undefined) return undefined;
    return loan(this.#lease, startBytes, Math.min(endBytes, this.#known.at(startBytes)?.end ?? 0));
  }

  // ---- the sink

  room(): Uint8Array | undefined {
    if (this.#end !== undefined && this.#end !== 'complete') return undefined;
    if (this.#skipBytes > 0) return new Uint8Array(Math.min(this.#skipBytes, SCRATCH_BYTES));
    // Past the last slice nothing may come; room for a byte finds out whether something does.
    if (this.#current >= this.endSlice) return new Uint8Array(1);
    if (this.#isAhead()) return this.#pause();
    if (this.#lease === undefined && !this.#takeSlot()) return undefined;
    return this.#slot().bytes.subarray(this.#at, this.#sliceEnd());
  }

  onBytes(count: number): void {
    this.#hasBegun = true;
    if (this.#skipBytes > 0) {
      this.#skipBytes -= count;
      this.object.context.metrics.add('droppedBytes', count);
      return;
    }
    if (this.#current >= this.endSlice) {
      // More than was announced: the connection is out of step and cannot be kept.
      this.stop('complete');
      this.#transfer?.abort();
      return;
    }
    this.#known.add(this.#at, this.#at + count);
    this.#at += count;
    this.#receivedBytes += count;
    if (this.#at === this.#sliceEnd()) this.#finishSlice();
    this.object.wakeFollowers();
  }

  onEnd(): void {
    if (this.#end !== undefined) return;
    if (this.object.manifest.lengthBytes === undefined) return this.#completeGrowing();
    if (this.#current < this.endSlice) {
      this.onError(new EdgeError('UPSTREAM_BROKEN', 'The origin ended its response before the length that it had announced'));
    } else this.stop('complete');
  }

  onError(error: EdgeError): void {
    if (this.#end !== undefined) return;
    this.#error = error;
    this.stop('failed');
    if (!this.object.isRefetchable) this.object.fail(error);
  }

  // ---- pacing and the end

  /** A follower moved: read on if that was what the run waited for. */
  resumeIfPaced(): void {
    if (!this.#isPaused || this.#isAhead()) return;
    this.#isPaused = false;
    this.#pausedTimer?.stop();
    this.object.context.standing.delete(this);
    this.#transfer?.resume();
  }

  /** A follower left. One that was served to its end has paid for the slice in hand, which is finished for the next one. */
  onFollowerLeft(follower: Follower): void {
    if (follower.isSatisfied && follower.endSlice > this.#current) this.#sliceToFinish = this.#current;
    this.#onFollowersChanged();
  }

  /** Its connection is kept however slow the followers are, since nobody could ask for the rest; without any it has no use. */
  onObjectOver(): void {
    this.#pausedTimer?.stop();
    this.object.context.standing.delete(this);
    this.#onFollowersChanged();
  }

  /** With nobody reading along, a slice that is mostly there is finished if it can be kept; else the run ends. */
  #onFollowersChanged(): void {
    if (this.#end !== undefined) return;
    if (this.object.isReserved || this.#hasFollower()) return this.resumeIfPaced();
    const isMostlyThere = this.#known.total * 2 > this.#sliceLengthMax(this.#current);
    const isWanted = this.#sliceToFinish === this.#current || isMostlyThere;
    if (isWanted && this.object.failure === undefined) this.resumeIfPaced();
    else this.#abandon();
  }

  /** Ends the run, if it has not ended: slots go back, the transfer is aborted unless it is complete, followers look again. */
  stop(end: RunEnd): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#pausedTimer?.stop();
    this.object.context.standing.delete(this);
    const { metrics } = this.object.context;
    metrics.add('runs', 1, end);
    // What came of a slice is worth keeping where the rest of it can be asked for alone.
    const isKept = end !== 'changed' && this.object.isResumable && this.#keepPart();
    if (!isKept) metrics.add('droppedBytes', this.#receivedBytes);
    this.#endLeases();
    if (end !== 'complete' && end !== 'failed') this.#transfer?.abort();
    this.object.removeRun(this);
  }

  /** Lets go of a connection that stands still; followers ask again when they move, or follow the run that has yet to begin. */
  tryGiveUp(): boolean {
    const { isResumable, runs } = this.object;
    const isReplaced = isResumable || runs.some((run) => run !== this && !run.hasBegun);
    if (isReplaced) this.stop('stalled');
    return isReplaced;
  }

  #abandon(): void {
    const { object } = this;
    const isLost = object.manifest.lengthBytes === undefined && !object.isRefetchable;
    this.stop('abandoned');
    // Nobody reads it, but somebody may have been given it just now; another request brings another generation.
    if (isLost) object.fail(new EdgeError('UPSTREAM_CHANGED', 'The response was given up when its last reader left; ask again'));
  }

  /** Keeps what is there of the slice in hand, which is not all of it. @returns false when nothing of it is new, or cannot be kept */
  #keepPart(): boolean {
    const { object } = this;
    const { context, generation } = object;
    const { objectHash, rule } = object.target;
    const sliceNumber = this.#current;
    if (this.#lease === undefined || this.#receivedBytes === 0 || object.manifest.lengthBytes === undefined) return false;
    if (context.store.hasSlice(generation, sliceNumber)) return false;
    const lease = this.#lease;
    for (const { start, end } of this.#known.intervals) {
      context.partMemory.add(generation, sliceNumber, { start, bytes: lease.bytes.subarray(start, end) });
    }
    const received = this.#known.at(this.#at - 1);
    assert(received !== undefined, 'what was received is known');
    const verdict = context.store.offerSlice({
      objectHash,
      generation,
      sliceNumber,
      lease,
      lengthBytes: this.#sliceLengthMax(sliceNumber),
      present: { startBytes: received.start, endBytes: received.end },
      admission: rule.store === 'always' ? 'always' : 'auto',
    });
    if (verdict.kind === 'admitted') context.metrics.add('keptParts');
    return true;
  }

  /** The transfer has brought what it has of the slice in hand: all of it together with what was kept, or a part. */
  #finishSlice(): void {
    const { context, generation } = this.object;
    const lengthBytes = this.#sliceLengthMax(this.#current);
    if (!this.#known.covers(0, lengthBytes)) this.#takePartsInMemory();
    if (this.#known.covers(0, lengthBytes)) {
      context.partMemory.delete(generation, this.#current);
      return this.#completeSlice(lengthBytes);
    }
    if (!this.#keepPart()) context.metrics.add('droppedBytes', this.#receivedBytes);
    this.#beginNextSlice();
  }

  #completeSlice(lengthBytes: number): void {
    const lease = this.#slot();
    const { store, metrics } = this.object.context;
    const sliceNumber = this.#current;
    const { objectHash, rule } = this.object.target;
    metrics.add('filledSlices');
    // A response that brings everything brings slices that are stored already, too.
    if (!store.hasSlice(this.object.generation, sliceNumber)) {
      const admission = rule.store === 'always' ? 'always' : 'auto';
      const { generation } = this.object;
      const verdict = store.offerSlice({ objectHash, generation, sliceNumber, lease, lengthBytes, admission });
      if (verdict.kind === 'declined') {
        metrics.add('declinedSlices', 1, verdict.reason);
        this.object.retain(sliceNumber, lease, lengthBytes);
      }
    }
    this.#beginNextSlice();
  }

  #beginNextSlice(): void {
    this.#lease?.end();
    this.#lease = undefined;
    this.#known.clear();
    this.#receivedBytes = 0;
    this.#at = 0;
    this.#current += 1;
    this.#endIfDone();
  }

  /** After a slice: is there a reason to end before the response does? */
  #endIfDone(): void {
    const { object } = this;
    const next = this.#current;
    if (next >= this.endSlice) return this.stop('complete');
    if (!object.isResumable) return;
    const isElsewhere =
      object.context.store.hasSlice(object.generation, next) || object.runs.some((run) => run !== this && run.claims(next));
    if (isElsewhere) return this.stop('met-stored');
    if (!object.isReserved && !this.#hasFollower()) this.#abandon();
  }

  /** A body of unknown length came to its proper end: now the object has one. */
  #completeGrowing(): void {
    const { object } = this;
    object.learnLength(this.#current * object.sliceSizeBytes + this.#at);
    if (this.#at > 0) {
      this.#fitLastSlot();
      this.#completeSlice(this.#at);
    } else this.stop('complete');
  }

  /** The last slice of a growing object got a whole slot; a small one moves to a slot of its size, so that the RAM tier stays dense. */
  #fitLastSlot(): void {
    const lease = this.#slot();
    if (this.#at * 2 > lease.sizeBytes) return;
    const small = this.object.context.arena.tryLease('fill', this.#at);
    if (small === undefined) return;
    lease.bytes.copy(small.bytes, 0, 0, this.#at);
    this.#lease = small;
    lease.end();
  }

  #hasFollower(): boolean {
    for (const follower of this.object.followers) if (this.#isFollowedBy(follower)) return true;
    return false;
  }

  #isFollowedBy(follower: { positionBytes: number; endSlice: number }): boolean {
    const { sliceSizeBytes } = this.object;
    return follower.endSlice > this.#current && follower.positionBytes < this.endSlice * sliceSizeBytes;
  }

  /** Whether the run is so far ahead of its fastest follower that it should stop reading. */
  #isAhead(): boolean {
    const { object } = this;
    if (object.isRetainingAllBefore(this.#current)) return true;
    let fastest = -1;
    for (const follower of object.followers) if (this.#isFollowedBy(follower)) fastest = Math.max(fastest, follower.positionBytes);
    if (fastest < 0) return false;
    return this.#current * object.sliceSizeBytes + this.#at - fastest >= LEAD_SLICES * object.sliceSizeBytes;
  }

  #pause(): undefined {
    if (this.#isPaused) return undefined;
    this.#isPaused = true;
    const { clock, metrics, standing } = this.object.context;
    metrics.add('pauses');
    const { isResumable, isRefetchable, failure } = this.object;
    if (isRefetchable && failure === undefined) standing.add(this);
    if (isResumable) this.#pausedTimer = clock.startTimer(PAUSED_MS_MAX, () => this.tryGiveUp());
    return undefined;
  }

  /** Makes the spare the current slot and looks for the next spare; false when there is no slot yet (one is being waited for). */
  #takeSlot(): boolean {
    const { arena } = this.object.context;
    this.#lease = this.#spare ?? arena.tryLease('fill', this.#slotBytes(this.#current));
    this.#spare = undefined;
    if (this.#lease === undefined) {
      void this.#waitForSlot();
      return false;
    }
    const next = this.#current + 1;
    if (next < this.endSlice) this.#spare = arena.tryLease('fill', this.#slotBytes(next));
    return true;
  }

  async #waitForSlot(): Promise<void> {
    if (this.#isAskingForSlot) return;
    this.#isAskingForSlot = true;
    const { arena, clock } = this.object.context;
    for (;;) {
      const lease = await arena.lease('fill', this.#slotBytes(this.#current), { waitMs: SLOT_WAIT_MS });
      // While this waited, the transfer may have been resumed for another reason and have found a slot.
      if (this.#lease === undefined) this.#spare ??= lease;
      if (lease !== undefined && this.#spare !== lease) lease.end();
      // What cannot be fetched again keeps waiting, for as long as somebody reads it; the rest goes on past the arena.
      if (lease !== undefined || this.#lease !== undefined || this.#end !== undefined || this.object.isResumable) break;
      // Where too many wait the arena says no at once.
      await clock.sleep(SLOT_WAIT_MS);
    }
    this.#isAskingForSlot = false;
    if (this.#end !== undefined) this.#endLeases();
    else if (this.#spare === undefined && this.#lease === undefined) this.stop('no-slot');
    else this.#transfer?.resume();
  }

  #endLeases(): void {
    this.#lease?.end();
    this.#spare?.end();
    this.#lease = undefined;
    this.#spare = undefined;
  }

  /** The slot of the slice in hand, which has one. */
  #slot(): Lease {
    assert(this.#lease !== undefined, 'a slot was taken');
    return this.#lease;
  }

  /** Where the transfer's part of the slice in hand ends. */
  #sliceEnd(): number {
    return Math.min(this.#sliceLengthMax(this.#current), this.#shape.end - this.#current * this.object.sliceSizeBytes);
  }

  #slotBytes(sliceNumber: number): number {
    return Math.max(1, this.#sliceLengthMax(sliceNumber));
  }

  #sliceLengthMax(sliceNumber: number): number {
    const { lengthBytes, sliceSizeBytes } = this.object.manifest;
    return lengthBytes === undefined ? sliceSizeBytes : Math.min(sliceSizeBytes, lengthBytes - sliceNumber * sliceSizeBytes);
  }
}
