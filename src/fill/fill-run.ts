/**
 * A run: one upstream transfer that produces consecutive slices of one generation. It is the body's sink: bytes land in the slot of the
 * slice in hand; a full slice is offered to the store and the run goes on with the next. It owns its next slot before it begins the
 * current one. Who paces it and when it ends is in ARCHITECTURE.md, *Who paces whom*.
 *
 *   firstSlice            current                claim end        endSlice
 *      |== offered ==|== offered ==|##########....|  .  .  .  .  |       |
 *                                  ^received      `- readers up to here follow, others open a run of their own
 */
import { assert } from '../base/assert.ts';
import type { Timer } from '../base/clock.ts';
import { EdgeError } from '../base/errors.ts';
import { KIB } from '../base/units.ts';
import type { Lease } from '../memory/lease.ts';
import type { BodySink, Transfer } from '../upstream/upstream-transport.ts';
import { CLAIM_SLICES, LEAD_SLICES, PAUSED_MS_MAX, SLOT_WAIT_MS } from './fill-context.ts';
import { type Follower, type LiveObject, type LoanedBytes, loan, type Run, type RunEnd } from './live-object.ts';
import type { StandingTransfer } from './standing-transfers.ts';

const SCRATCH_BYTES = 64 * KIB;

/** The part of the object that a run brings. */
export interface RunShape {
  readonly firstSlice: number;
  /** Exclusive; Infinity when the response goes on to an end that is not known yet. */
  readonly endSlice: number;
  /** Bytes of the response that come before the first slice. */
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
  /** Of the slice in hand, those that the store had of it included. */
  #receivedBytes = 0;
  /** Bytes at the beginning of the slice in hand that came from the store. */
  #loadedBytes = 0;
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
    this.#current = shape.firstSlice;
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

  get endSlice(): number {
    return Math.min(this.#shape.endSlice, this.object.endSlice);
  }

  claims(sliceNumber: number): boolean {
    if (this.#end !== undefined || sliceNumber < this.#current || sliceNumber >= this.endSlice) return false;
    return !this.object.isResumable || sliceNumber < this.#current + CLAIM_SLICES;
  }

  /** The request is under way. */
  attach(transfer: Transfer): void {
    this.#transfer = transfer;
    if (this.#end !== undefined) transfer.abort();
  }

  /** The response turned out to start elsewhere: before the first byte, once. */
  reshape(shape: RunShape): void {
    const isUntouched = this.#receivedBytes === this.#loadedBytes && this.#current === this.#shape.firstSlice;
    assert(isUntouched, 'a run is reshaped before its first byte');
    this.#receivedBytes = 0;
    this.#loadedBytes = 0;
    this.#shape = shape;
    this.#current = shape.firstSlice;
    this.#skipBytes = shape.skipBytes;
    // The slot in reserve was cut for another slice, which may have been the short last one.
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
   * Takes what the store has of the beginning of the first slice, so that it need not be asked for: an earlier transfer ended in its middle.
   *
   * @returns bytes of the slice that are there
   */
  async loadStart(): Promise<number> {
    const { context, generation, target } = this.object;
    const sliceNumber = this.#current;
    if (!context.store.hasPart(generation, sliceNumber)) return 0;
    const verdict = await context.store.readPart({ objectHash: target.objectHash, generation, sliceNumber });
    if (verdict.kind !== 'hit') return 0;
    const { lease, bytes, startBytes } = verdict;
    if (startBytes === 0 && bytes.length < this.#sliceLengthMax(sliceNumber) && this.#end === undefined && this.#takeSlot()) {
      assert(this.#lease !== undefined, 'a slot was taken');
      bytes.copy(this.#lease.bytes);
      this.#receivedBytes = bytes.length;
      this.#loadedBytes = bytes.length;
      context.metrics.add('loadedPartBytes', bytes.length);
      this.object.wakeFollowers();
    }
    lease.end();
    return this.#loadedBytes;
  }

  onReservationsOver(): void {
    this.#onFollowersChanged();
  }

  tryRead(sliceNumber: number, startBytes: number, endBytes: number): LoanedBytes | undefined {
    if (sliceNumber !== this.#current || this.#lease === undefined) return undefined;
    return loan(this.#lease, startBytes, Math.min(endBytes, this.#receivedBytes));
  }

  // ---- the sink

  room(): Uint8Array | undefined {
    if (this.#end !== undefined && this.#end !== 'complete') return undefined;
    if (this.#skipBytes > 0) return new Uint8Array(Math.min(this.#skipBytes, SCRATCH_BYTES));
    // Past the last slice nothing may come; room for a byte finds out whether something does.
    if (this.#current >= this.endSlice) return new Uint8Array(1);
    if (this.#isAhead()) return this.#pause();
    if (this.#lease === undefined && !this.#takeSlot()) return undefined;
    assert(this.#lease !== undefined, 'a slot was taken');
    return this.#lease.bytes.subarray(this.#receivedBytes, this.#sliceLengthMax(this.#current));
  }

  onBytes(count: number): void {
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
    this.#receivedBytes += count;
    if (this.#receivedBytes === this.#sliceLengthMax(this.#current)) this.#completeSlice();
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
    const isMostlyThere = this.#receivedBytes * 2 > this.#sliceLengthMax(this.#current);
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
    if (!this.#offerPart(end)) metrics.add('droppedBytes', this.#receivedBytes - this.#loadedBytes);
    this.#endLeases();
    if (end !== 'complete' && end !== 'failed') this.#transfer?.abort();
    this.object.removeRun(this);
  }

  /** Lets go of a connection that stands still; followers ask again when they move. */
  giveUp(): void {
    this.stop('stalled');
  }

  #abandon(): void {
    const { object } = this;
    const isLost = object.manifest.lengthBytes === undefined && !object.isRefetchable;
    this.stop('abandoned');
    // Nobody reads it, but somebody may have been given it just now; another request brings another generation.
    if (isLost) object.fail(new EdgeError('UPSTREAM_CHANGED', 'The response was given up when its last reader left; ask again'));
  }

  /** The beginning of the slice in hand is worth keeping where the rest of it can be asked for alone. @returns whether the store took it */
  #offerPart(end: RunEnd): boolean {
    const { object } = this;
    const { objectHash, rule } = object.target;
    const endBytes = this.#receivedBytes;
    const lease = this.#lease;
    if (lease === undefined || endBytes === this.#loadedBytes || end === 'changed') return false;
    if (!object.isResumable || object.manifest.lengthBytes === undefined) return false;
    const verdict = object.context.store.offerSlice({
      objectHash,
      generation: object.generation,
      sliceNumber: this.#current,
      lease,
      lengthBytes: this.#sliceLengthMax(this.#current),
      present: { startBytes: 0, endBytes },
      admission: rule.store === 'always' ? 'always' : 'auto',
    });
    if (verdict.kind === 'admitted') object.context.metrics.add('keptParts');
    return verdict.kind === 'admitted';
  }

  #completeSlice(): void {
    const lease = this.#lease;
    assert(lease !== undefined, 'a complete slice has its slot');
    const { store, metrics } = this.object.context;
    const sliceNumber = this.#current;
    const lengthBytes = this.#receivedBytes;
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
    this.#lease = undefined;
    this.#receivedBytes = 0;
    this.#loadedBytes = 0;
    this.#current += 1;
    lease.end();
    this.#endIfDone();
  }

  /** After a slice: is there a reason to end before the response does? */
  #endIfDone(): void {
    const { object } = this;
    const next = this.#current;
    if (next >= this.endSlice) return this.stop(next >= this.#shape.endSlice || next >= object.endSlice ? 'complete' : 'met-stored');
    if (!object.isResumable) return;
    const isElsewhere =
      object.context.store.hasSlice(object.generation, next) || object.runs.some((run) => run !== this && run.claims(next));
    if (isElsewhere) return this.stop('met-stored');
    if (!object.isReserved && !this.#hasFollower()) this.#abandon();
  }

  /** A body of unknown length came to its proper end: now the object has one. */
  #completeGrowing(): void {
    const { object } = this;
    object.learnLength(this.#current * object.sliceSizeBytes + this.#receivedBytes);
    if (this.#receivedBytes > 0) {
      this.#fitLastSlot();
      this.#completeSlice();
    } else this.stop('complete');
  }

  /** The last slice of a growing object got a whole slot; a small one moves to a slot of its size, so that the RAM tier stays dense. */
  #fitLastSlot(): void {
    const lease = this.#lease;
    assert(lease !== undefined, 'received bytes have a slot');
    if (this.#receivedBytes * 2 > lease.sizeBytes) return;
    const small = this.object.context.arena.tryLease('fill', this.#receivedBytes);
    if (small === undefined) return;
    lease.bytes.copy(small.bytes, 0, 0, this.#receivedBytes);
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
    return this.#current * object.sliceSizeBytes + this.#receivedBytes - fastest >= LEAD_SLICES * object.sliceSizeBytes;
  }

  #pause(): undefined {
    if (this.#isPaused) return undefined;
    this.#isPaused = true;
    const { clock, metrics, standing } = this.object.context;
    metrics.add('pauses');
    if (!this.object.isResumable) return undefined;
    standing.add(this);
    this.#pausedTimer = clock.startTimer(PAUSED_MS_MAX, () => this.giveUp());
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

  #slotBytes(sliceNumber: number): number {
    return Math.max(1, this.#sliceLengthMax(sliceNumber));
  }

  #sliceLengthMax(sliceNumber: number): number {
    const { lengthBytes, sliceSizeBytes } = this.object.manifest;
    return lengthBytes === undefined ? sliceSizeBytes : Math.min(sliceSizeBytes, lengthBytes - sliceNumber * sliceSizeBytes);
  }
}
