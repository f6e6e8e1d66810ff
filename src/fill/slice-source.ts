/**
 * The bytes of one response, in order, from wherever they are: the RAM tier, a run in progress, the device, or a new run for what is
 * missing. It is a follower of its object for as long as it lives. A source that finds no slot for a missing slice takes the rest of its
 * range from the origin past the cache.
 */
import { assert } from '../base/assert.ts';
import { EdgeError, toEdgeError } from '../base/errors.ts';
import { divFloor } from '../base/units.ts';
import type { SliceRead, SliceVerdict } from '../store/slice-store.ts';
import { BUSY_READS_MAX, NODE_RESUMES_MAX, RESUMES_MAX, SLOT_WAIT_MS } from './fill-context.ts';
import type { Follower, LiveObject, Run } from './live-object.ts';
import type { Piece } from './piece.ts';
import { openPrivateStream, type PrivateStream } from './private-stream.ts';
import { endVerdict, ReadAhead } from './read-ahead.ts';
import { startRun } from './run-starter.ts';

/** Slices before its end at which a run's successor is asked for. */
const SUCCESSOR_SLICES = 2;

type HeldPiece = Extract<SliceVerdict, { kind: 'hit' }>;

/** What a source reads. */
export interface SourceRange {
  readonly start: number;
  /** Exclusive; undefined means the object's end, which may not be known yet. */
  readonly end: number | undefined;
  /** What is missing is asked for as it is, past the cache, instead of in whole slices; where the origin answers ranges. */
  readonly isExact?: boolean | undefined;
  /** It asks ahead, and reads only once a part is picked. */
  readonly isWaitingItsTurn?: boolean | undefined;
}

/** Reads [start, end) of one generation, or the parts of it that are picked. */
export class SliceSource implements Follower {
  readonly #object: LiveObject;
  readonly #signal: AbortSignal;
  readonly #end: number | undefined;
  readonly #isExact: boolean;
  #position: number;
  /** End of the part that was picked. */
  #stop = Number.POSITIVE_INFINITY;
  #wake: (() => void) | undefined;
  #isWoken = false;
  /** The transfer that this source waited for last; all who waited for one run take its failure alike. */
  #lastRun: Pick<Run, 'end' | 'error'> | undefined;
  #busyReads = 0;
  #resumes = 0;
  #resumedAtSlice = -1;
  #isPrivate = false;
  #private: PrivateStream | undefined;
  readonly #ahead: ReadAhead;
  /** A stored slice that was read whole for a client that takes it in small pieces. */
  #held: { readonly sliceNumber: number; readonly startBytes: number; readonly piece: HeldPiece } | undefined;
  #isClosed = false;
  #isWaitingItsTurn: boolean;

  constructor(object: LiveObject, range: SourceRange, signal: AbortSignal) {
    this.#object = object;
    this.#position = range.start;
    this.#end = range.end;
    this.#isExact = range.isExact === true;
    this.#isWaitingItsTurn = range.isWaitingItsTurn === true;
    this.#signal = signal;
    const { sliceSizeBytes, context } = object;
    this.#ahead = new ReadAhead({
      store: context.store,
      budget: context.ahead,
      sliceSizeBytes,
      readOf: (sliceNumber) => this.#readAt(sliceNumber * sliceSizeBytes, Number.POSITIVE_INFINITY),
      signal,
      onRefused: () => context.metrics.add('aheadRefused'),
    });
    object.hold();
    object.addFollower(this);
    signal.addEventListener('abort', this.#onAbort);
  }

  get positionBytes(): number {
    return this.#position;
  }

  get endSlice(): number {
    return Math.ceil(this.#endBytes() / this.#object.sliceSizeBytes);
  }

  get isSatisfied(): boolean {
    return this.#position >= this.#endBytes();
  }

  get isWaitingItsTurn(): boolean {
    return this.#isWaitingItsTurn;
  }

  wake(): void {
    this.#isWoken = true;
    this.#wake?.();
  }

  /** Goes on at `start`, not before the present place, and no further than `end` until the next part is picked. */
  pick({ start, end }: { readonly start: number; readonly end: number }): void {
    assert(this.#position <= start && start < end && end <= this.#endBytes(), 'a part lies ahead of the source');
    this.#position = start;
    this.#stop = end;
    this.#isWaitingItsTurn = false;
    // It brings the part that was picked before.
    this.#endPrivate();
    this.#object.onFollowerProgress();
  }

  /** Asks for the slice at the present place if it is missing, so that it is on its way when next() wants it. */
  askAhead(): void {
    const object = this.#object;
    const sliceNumber = divFloor(this.#position, object.sliceSizeBytes);
    if (this.#isExact || !object.isResumable || object.failure !== undefined || this.#signal.aborted) return;
    if (object.context.store.hasSlice(object.generation, sliceNumber) || object.hasPart(sliceNumber)) return;
    if (object.findRun(sliceNumber) === undefined) startRun(object, this.#position, this.endSlice);
  }

  /**
   * The next bytes, at most `limitBytes` of them; undefined at the end of the range or of the part that was picked.
   *
   * @throws EdgeError UPSTREAM_* when bytes are missing and the origin cannot bring them, CLIENT_GONE when the signal aborts
   */
  async next(limitBytes: number): Promise<Piece | undefined> {
    for (;;) {
      if (this.#signal.aborted) throw new EdgeError('CLIENT_GONE');
      this.#isWoken = false;
      if (this.#position >= this.#stopBytes()) return undefined;
      if (this.#private?.isOver === true) this.#endPrivate();
      const limit = Math.min(limitBytes, this.#stop - this.#position);
      const piece = this.#isPrivate ? await this.#nextFromPrivate() : (this.#takeInMemory(limit) ?? (await this.#fetchPiece(limit)));
      if (piece === undefined) continue;
      this.#position += piece.bytes.length;
      this.#object.onFollowerProgress();
      this.#askForSuccessor();
      return piece;
    }
  }

  /** The client stands still: what is held for its next pieces is worth more to others. */
  letGo(): void {
    this.#endHeld();
    this.#ahead.letGo();
  }

  #endHeld(): void {
    this.#held?.piece.lease.end();
    this.#held = undefined;
  }

  /** Lets go of everything; idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#private?.abort();
    this.letGo();
    this.#object.removeFollower(this);
    this.#object.release();
    this.wake();
  }

  readonly #onAbort = (): void => {
    this.#private?.abort();
    this.wake();
  };

  /** What is at hand now; undefined when it has to be waited for. */
  #takeInMemory(limitBytes: number): Piece | undefined {
    const object = this.#object;
    const read = this.#readAt(this.#position, limitBytes);
    const held = this.#takeHeld(read);
    if (held !== undefined) return held;
    const resident = object.context.store.tryReadResident(read);
    if (resident !== undefined) {
      this.#readAhead(read.sliceNumber + 1, limitBytes);
      return { ...resident, tier: 'ram' };
    }
    const filling = object.tryRead(read.sliceNumber, read.startBytes, read.endBytes);
    if (filling !== undefined) return { ...filling, tier: 'fill' };
    const part = object.tryReadPart(this.#position, this.#position + read.endBytes - read.startBytes);
    return part === undefined ? undefined : { bytes: part, lease: undefined, tier: 'ram' };
  }

  /** One attempt to have what is not at hand; undefined means: look again. */
  async #fetchPiece(limitBytes: number): Promise<Piece | undefined> {
    const object = this.#object;
    const read = this.#readAt(this.#position, limitBytes);
    const run = object.findRunFor(this.#position);
    if (run !== undefined) return this.#waitForProgress(run, read.sliceNumber);
    const stored = await this.#readStored(read, limitBytes);
    if (stored === 'busy') return this.#awaitSlot();
    if (stored !== undefined) return stored;
    // The device took its time: somebody may have begun to fill the slice meanwhile.
    if (object.findRunFor(this.#position) !== undefined || object.hasPartInMemoryAt(this.#position) || this.#signal.aborted)
      return undefined;
    return this.#fetch(read.sliceNumber);
  }

  async #readStored(read: SliceRead, limitBytes: number): Promise<Piece | 'busy' | undefined> {
    const { store } = this.#object.context;
    const { sliceNumber } = read;
    const isThere = store.hasSlice(read.generation, sliceNumber) || store.hasPart(read.generation, sliceNumber);
    const begun = this.#ahead.take(sliceNumber);
    // One that was begun is of the whole slice.
    const ahead = read.startBytes === 0 ? begun : undefined;
    if (ahead === undefined) void begun?.then(endVerdict, () => undefined);
    if (ahead === undefined && !isThere) return undefined;
    let verdict: SliceVerdict;
    if (ahead !== undefined) verdict = await ahead;
    else {
      // Small pieces of a slice are cut from one read of it, unless there is no room for so much.
      verdict = await store.readSlice(this.#readAt(this.#position, Number.POSITIVE_INFINITY), this.#signal);
      if (verdict.kind === 'busy') verdict = await store.readSlice(read, this.#signal);
    }
    if (verdict.kind === 'busy') return 'busy';
    if (verdict.kind !== 'hit') return undefined;
    if (verdict.bytes.length === 0) {
      verdict.lease.end();
      return undefined;
    }
    this.#busyReads = 0;
    this.#readAhead(sliceNumber + 1, limitBytes);
    if (verdict.bytes.length <= read.endBytes - read.startBytes) return { bytes: verdict.bytes, lease: verdict.lease, tier: verdict.tier };
    this.#endHeld();
    if (this.#isClosed) {
      verdict.lease.end();
      return undefined;
    }
    this.#held = { sliceNumber, startBytes: read.startBytes, piece: verdict };
    return this.#takeHeld(read);
  }

  /** The wanted part of the held slice, which is let go with its last part. */
  #takeHeld(read: SliceRead): Piece | undefined {
    const held = this.#held;
    if (held === undefined) return undefined;
    const { bytes, lease, tier } = held.piece;
    const start = read.startBytes - held.startBytes;
    const end = Math.min(read.endBytes - held.startBytes, bytes.length);
    if (held.sliceNumber !== read.sliceNumber || start < 0 || start >= end) {
      this.#endHeld();
      return undefined;
    }
    const part: Piece = { bytes: bytes.subarray(start, end), lease: lease.share(), tier };
    if (end === bytes.length) this.#endHeld();
    return part;
  }

  /** The slice is there, but no slot to read it into: waits a little, and in the end takes the rest past the cache. */
  async #awaitSlot(): Promise<undefined> {
    this.#busyReads += 1;
    if (this.#busyReads > BUSY_READS_MAX && this.#object.isResumable) {
      this.#isPrivate = true;
      return undefined;
    }
    await this.#object.context.clock.sleep(SLOT_WAIT_MS, this.#signal);
  }

  /** Begins to read the next slices from the device while the client takes this one, if it takes whole slots. */
  #readAhead(nextSlice: number, limitBytes: number): void {
    const { sliceSizeBytes } = this.#object;
    if (limitBytes >= sliceSizeBytes && !this.#isClosed) this.#ahead.begin(nextSlice, Math.ceil(this.#stopBytes() / sliceSizeBytes));
  }

  /** Nobody has the slice: start a run for it, or stream past the cache. */
  async #fetch(sliceNumber: number): Promise<undefined> {
    const object = this.#object;
    if (object.failure !== undefined) throw object.failure;
    const last = this.#lastRun;
    // An origin that refuses connections is down; one that broke off may be asked for the rest.
    const code = last?.error?.code;
    if (last?.error !== undefined && (code === 'UPSTREAM_UNREACHABLE' || code === 'UPSTREAM_TIMEOUT' || code === 'UPSTREAM_ABSENT'))
      throw last.error;
    this.#countResume(sliceNumber);
    if ((last?.end === 'no-slot' || this.#isExact) && object.isResumable) {
      // Counted once.
      if (last?.error !== undefined) this.#lastRun = undefined;
      this.#isPrivate = true;
      return undefined;
    }
    if (!object.isRefetchable) {
      throw new EdgeError(
        'UPSTREAM_CHANGED',
        'A part of the object is no longer in the cache and the origin offers no way to fetch it alone; ask again',
      );
    }
    this.#lastRun = startRun(object, this.#position, this.endSlice);
  }

  /** Counts the failure of the run that this source waited for, whoever has begun the next one. @throws EdgeError after too many */
  #countResume(sliceNumber: number): void {
    const error = this.#lastRun?.error;
    if (error === undefined) return;
    if (sliceNumber > this.#resumedAtSlice) this.#resumes = 0;
    this.#resumedAtSlice = sliceNumber;
    this.#resumes += 1;
    const otherNodes = (this.#object.target.transport.nodeCount ?? 1) - 1;
    if (this.#resumes > RESUMES_MAX + Math.min(otherNodes, NODE_RESUMES_MAX)) throw error;
    this.#object.context.metrics.add('resumes');
  }

  /** One attempt past the cache. A transfer that breaks off is caught here, since the rest is asked for again like that of a run. */
  async #nextFromPrivate(): Promise<Piece | undefined> {
    const object = this.#object;
    try {
      if (this.#private === undefined) {
        object.context.metrics.add('privateStreams');
        const end = this.#stopBytes();
        const range = { start: this.#position, end: Number.isFinite(end) ? end : undefined };
        this.#private = await openPrivateStream(object, range, this.#signal);
      }
      return await this.#private.next();
    } catch (cause) {
      const isGivenUp = this.#private?.isOver === true;
      this.#endPrivate();
      const error = toEdgeError(cause);
      if (error.source !== 'upstream' && !isGivenUp) throw error;
      if (!isGivenUp) this.#lastRun = { end: 'failed', error };
      return undefined;
    }
  }

  #endPrivate(): void {
    this.#private?.abort();
    this.#private = undefined;
    this.#isPrivate = false;
  }

  /** Asks for the next run shortly before the present one ends, so that the client does not wait for the origin in between. */
  #askForSuccessor(): void {
    const object = this.#object;
    if (!object.isResumable || this.#isPrivate) return;
    const sliceNumber = divFloor(this.#position, object.sliceSizeBytes);
    const run = object.findRunFor(this.#position);
    if (run === undefined) return;
    const next = run.endSlice;
    if (next - sliceNumber > SUCCESSOR_SLICES || next >= this.endSlice) return;
    // Of a slice that is there in part it is not known yet what is missing.
    if (object.context.store.hasSlice(object.generation, next) || object.hasPart(next) || object.findRun(next) !== undefined) return;
    startRun(object, next * object.sliceSizeBytes, this.endSlice);
  }

  async #waitForProgress(run: Run, sliceNumber: number): Promise<undefined> {
    if (run !== this.#lastRun) {
      this.#countResume(sliceNumber);
      this.#lastRun = run;
    }
    if (this.#isWoken) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
  }

  #readAt(position: number, limitBytes: number): SliceRead {
    const { sliceSizeBytes, generation, target } = this.#object;
    const sliceNumber = divFloor(position, sliceSizeBytes);
    const startBytes = position - sliceNumber * sliceSizeBytes;
    const endBytes = Math.min(sliceSizeBytes, this.#endBytes() - sliceNumber * sliceSizeBytes, startBytes + limitBytes);
    assert(endBytes > startBytes, 'a read is not empty');
    return { objectHash: target.objectHash, generation, sliceNumber, startBytes, endBytes };
  }

  #stopBytes(): number {
    return Math.min(this.#stop, this.#endBytes());
  }

  #endBytes(): number {
    return this.#end ?? this.#object.manifest.lengthBytes ?? Number.POSITIVE_INFINITY;
  }
}
