/**
 * One connection in the express lane. Requests are answered in the order in which they came; what is not for this lane waits until nothing
 * is being written, and then goes to node:http with everything behind it. No more is read from a client than it takes answers for.
 *
 *   reading ----> answering (a write, or a stream) ----> reading
 *      |                |
 *      `---- leaving <--'  when the last write is done: node:http has the socket, and this object is through
 *      `---- ending        after a last response, a refusal or the client's end
 */
import type { Socket } from 'node:net';
import { EdgeError } from '../../base/errors.ts';
import { KIB } from '../../base/units.ts';
import { ANSWER_BODY_BYTES_MAX } from '../answer-shelf.ts';
import { COPY_BYTES, LARGE_COPY_BYTES } from '../copy-pool.ts';
import type { HandoverReason } from '../proxy-metrics.ts';
import type { RefusalKind } from '../refusal.ts';
import type { ProxyServices } from '../services.ts';
import { DirectSocket } from './direct-socket.ts';
import { HeadParser } from './head-parser.ts';
import { HitFinder, type LaneTables } from './hit-finder.ts';
import type { KnownFields } from './known-fields.ts';
import { streamHit } from './lane-stream.ts';
import { LaneWrite, type RenderedHead, type ResidentBytes } from './lane-write.ts';

/** What all connections of a lane share. */
export interface LaneShare {
  readonly services: ProxyServices;
  readonly tables: LaneTables;
  readonly known: KnownFields;
  readonly headBytesMax: number;
  readonly headerTimeoutMs: number;
  readonly keepAliveMs: number;
  /** Gives the socket to node:http. */
  readonly toGeneral: (socket: Socket) => void;
  /** Answers what is no request, and ends the connection. */
  readonly refuse: (kind: RefusalKind, socket: Socket) => void;
  /** Whether the listener closes, and whether requests may still be answered here. */
  readonly lifecycle: { readonly isClosing: boolean; readonly isOpen: boolean };
  readonly onGone: (connection: LaneConnection) => void;
}

/** A proven client is sent a slot instead of a copy from here on; below, copying costs less than a second piece in the write. */
const PINNED_BYTES_MIN = 32 * KIB;
/** How long the kernel may take for what a closing connection has yet to send, at least. */
const ENDING_MS = 2000;

const NO_BYTES = Buffer.alloc(0);

/** One connection, from its first byte to its end or its handover. */
export class LaneConnection {
  #share: LaneShare;
  /** After a reload; taken over between two requests. */
  #nextShare: LaneShare | undefined;
  #services: ProxyServices;
  readonly #socket: Socket;
  readonly #parser: HeadParser;
  #finder: HitFinder;
  #write: LaneWrite;
  /** What was received and not yet answered stands in [at, end). */
  #bytes: Buffer = NO_BYTES;
  #at = 0;
  #end = 0;
  /** Of the request that is being answered. */
  #headBytes = 0;
  /** Begin of what is being waited for: a head, or the next request. */
  #sinceMs: number;
  #hasAnswered = false;
  #hasHeadBegun = false;
  /** A response is being streamed, or a manifest read. */
  #isBusy = false;
  #wasRead = false;
  #leaving: HandoverReason | undefined;
  #isEnding = false;
  #hasClientEnded = false;
  #isPaused = false;
  #isGone = false;
  #isStalled = false;
  #abort: AbortController | undefined;

  constructor(socket: Socket, share: LaneShare) {
    const { services } = share;
    this.#share = share;
    this.#services = services;
    this.#socket = socket;
    this.#parser = new HeadParser({ known: share.known, bytesMax: share.headBytesMax, readsUserAgent: services.keepsAccounts });
    this.#finder = new HitFinder(services, share.tables);
    this.#write = new LaneWrite(socket, services, this.#onTaken);
    this.#sinceMs = services.clock.monotonicMs();
    if (socket instanceof DirectSocket) socket.onBytes = this.#onBytes;
    else socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
  }

  /** Whether nothing is going on. */
  get isIdle(): boolean {
    return !this.#write.isUnderWay && !this.#isBusy && this.#at === this.#end;
  }

  /** Requests that come from now on are answered with these. */
  use(share: LaneShare): void {
    this.#nextShare = share;
    this.#adopt();
  }

  /** Between two requests, so that each ends with what it began with. */
  #adopt(): void {
    const share = this.#nextShare;
    if (share === undefined || this.#isBusy || this.#write.isUnderWay) return;
    this.#nextShare = undefined;
    this.#share = share;
    this.#services = share.services;
    this.#parser.readsUserAgent = share.services.keepsAccounts;
    this.#finder = new HitFinder(share.services, share.tables);
    this.#write = new LaneWrite(this.#socket, share.services, this.#onTaken);
  }

  /** Ends the connection now. */
  destroy(): void {
    this.#socket.destroy();
  }

  /** Looks at the deadlines; the lane calls it every second. */
  check(nowMs: number): void {
    // What is being streamed has a writer with deadlines of its own.
    if (this.#isBusy) return;
    if (this.#write.isUnderWay) {
      if (!this.#write.hasStalled(nowMs)) return;
      this.#services.metrics.add('stalled');
      this.#isStalled = true;
      this.destroy();
    } else if (this.#isEnding) {
      if (nowMs - this.#sinceMs > ENDING_MS) this.destroy();
    } else this.#checkWaiting(nowMs - this.#sinceMs);
  }

  #checkWaiting(waitedMs: number): void {
    const { headerTimeoutMs, keepAliveMs } = this.#share;
    if (this.#hasAnswered && this.isIdle) {
      if (waitedMs > keepAliveMs) this.destroy();
    } else if (waitedMs > headerTimeoutMs) this.#refuse('head-time');
  }

  readonly #onData = (chunk: Buffer): void => this.#onBytes(chunk, chunk.length);

  /** @param bytes of which `length` are new; they are their owner's again when this returns */
  readonly #onBytes = (bytes: Buffer, length: number): void => {
    if (this.#isEnding) return;
    const isBehind = this.#at < this.#end;
    this.#bytes = isBehind ? Buffer.concat([this.#bytes.subarray(this.#at, this.#end), bytes.subarray(0, length)]) : bytes;
    this.#end = isBehind ? this.#bytes.length : length;
    this.#at = 0;
    this.#process();
    if (this.#at === this.#end || this.#bytes !== bytes) return;
    this.#bytes = Buffer.from(bytes.subarray(this.#at, this.#end));
    this.#end = this.#bytes.length;
    this.#at = 0;
  };

  /** Answers as much as may be answered now. */
  #process(): void {
    if (this.#nextShare !== undefined) this.#adopt();
    while (this.#at < this.#end && this.#isReading) {
      const verdict = this.#parser.parse(this.#bytes, this.#at, this.#end);
      if (verdict === 'complete') this.#answer();
      else if (verdict === 'foreign') this.#leave(this.#parser.reason);
      else {
        this.#noteHeadBegun();
        break;
      }
    }
    if (this.#isGone) return;
    if (this.#at === this.#end) this.#letGoOfBytes();
    this.#paceReading();
    if (this.#hasClientEnded) this.#endWithClient();
  }

  #letGoOfBytes(): void {
    this.#bytes = NO_BYTES;
    this.#at = 0;
    this.#end = 0;
  }

  /** The rest of a head has its deadline from its first bytes on; that of the first head from the connection's begin. */
  #noteHeadBegun(): void {
    if (this.#hasAnswered && !this.#hasHeadBegun) this.#sinceMs = this.#services.clock.monotonicMs();
    this.#hasHeadBegun = true;
  }

  /** Whether the next request may be looked at. After a reload not until what was answered before it is written, however much was sent ahead. */
  get #isReading(): boolean {
    const isFree = !this.#isBusy && !this.#write.isUnderWay && this.#nextShare === undefined;
    return isFree && this.#leaving === undefined && !this.#isEnding && !this.#isGone && !this.#socket.destroyed;
  }

  /** While requests wait for their turn nothing more is read, not even the client's end. */
  #paceReading(): void {
    const mayRead = this.#at === this.#end || this.#isReading || this.#isEnding;
    if (mayRead !== this.#isPaused) return;
    this.#isPaused = !mayRead;
    if (mayRead) this.#socket.resume();
    else this.#socket.pause();
  }

  #answer(): void {
    // Where the head ends is said as its length: what comes meanwhile moves what was received.
    this.#headBytes = this.#parser.endOffset - this.#at;
    if (!this.#share.lifecycle.isOpen) return this.#leave('rule');
    const nowMs = this.#services.clock.wallMs();
    const verdict = this.#finder.find(this.#parser, this.#wasRead, nowMs);
    if (verdict === 'unread') void this.#readManifest();
    else if (verdict !== 'hit') this.#leave(verdict);
    else if (this.#finder.end === this.#finder.start) this.#sendHead(nowMs);
    else this.#sendBody(nowMs);
  }

  /** Brings the manifest into memory, and looks again. */
  async #readManifest(): Promise<void> {
    const objectHash = this.#finder.target?.fill.objectHash;
    if (objectHash === undefined) return;
    this.#isBusy = true;
    this.#abort = new AbortController();
    // Whatever comes of it, what is in memory then decides.
    await this.#services.store.readManifest(objectHash, this.#abort.signal).catch(() => undefined);
    this.#isBusy = false;
    this.#wasRead = true;
    if (!this.#isGone) this.#process();
  }

  #sendHead(nowMs: number): void {
    const isLast = this.#isLast;
    this.#write.begin(this.#parser, this.#finder, nowMs);
    const head = this.#renderHead(nowMs, isLast);
    this.#noteRequest();
    this.#accept(isLast);
    this.#write.sendHead(head);
    this.#noteWritten();
  }

  /** Sends what is in memory in one write; else begins to stream. */
  #sendBody(nowMs: number): void {
    const { head, start, end } = this.#finder;
    const isLast = this.#isLast;
    const answer = isLast ? undefined : head?.answerAt(nowMs);
    if (answer === undefined) return this.#sendResident(nowMs, isLast);
    this.#write.begin(this.#parser, this.#finder, nowMs);
    if (head?.idOffset !== undefined) this.#stampId(answer.bytes, head.idOffset);
    this.#accept(false);
    this.#write.sendAnswer(answer, end - start);
    this.#noteWritten();
  }

  /** The same if it is not ready: a slice in one write, if it is in memory and the client has earned so much. */
  #sendResident(nowMs: number, isLast: boolean): void {
    const { pins, store, answers } = this.#services;
    const { start, end, heads, onlySlice } = this.#finder;
    if (heads === undefined) return;
    const bodyBytes = end - start;
    const isPinned = bodyBytes >= PINNED_BYTES_MIN && this.#write.pace.isProven && onlySlice !== undefined && pins.tryTake();
    const rendered = this.#renderHead(nowMs, isLast);
    const isSmall = isPinned || bodyBytes <= COPY_BYTES || rendered.bytes.length + bodyBytes <= this.#copyBytesMax;
    const resident = onlySlice !== undefined && isSmall ? this.#findResident(onlySlice) : undefined;
    if (resident !== undefined) return this.#sendFound(resident, rendered, { nowMs, isLast, isPinned });
    if (isPinned) pins.giveBack();
    rendered.head?.dropAnswer(answers);
    if (onlySlice !== undefined && !store.hasSlice(heads.manifest.generation, onlySlice)) this.#leave('partial');
    else void this.#stream();
  }

  get #copyBytesMax(): number {
    return this.#write.pace.isQuick && this.#services.copies.hasLarge ? LARGE_COPY_BYTES : COPY_BYTES;
  }

  #findResident(sliceNumber: number): ResidentBytes | undefined {
    const { start, end, heads, target } = this.#finder;
    if (heads === undefined || target === undefined) return undefined;
    const { generation, sliceSizeBytes } = heads.manifest;
    const sliceStart = sliceNumber * sliceSizeBytes;
    return this.#services.store.tryReadResident({
      objectHash: target.fill.objectHash,
      generation,
      sliceNumber,
      startBytes: start - sliceStart,
      endBytes: end - sliceStart,
    });
  }

  #sendFound(
    resident: ResidentBytes,
    rendered: RenderedHead,
    { nowMs, isLast, isPinned }: { readonly nowMs: number; readonly isLast: boolean; readonly isPinned: boolean },
  ): void {
    const { answers, pins } = this.#services;
    const write = this.#write;
    const bodyBytes = resident.bytes.length;
    const isForAnswer = !isLast && bodyBytes <= ANSWER_BODY_BYTES_MAX;
    const answer = isForAnswer ? rendered.head?.tryMakeAnswer(resident.bytes, { shelf: answers, nowMs }) : undefined;
    write.begin(this.#parser, this.#finder, nowMs);
    this.#noteRequest();
    this.#accept(isLast);
    if (answer !== undefined) {
      resident.lease.end();
      if (isPinned) pins.giveBack();
      write.sendAnswer(answer, bodyBytes);
    } else if (isPinned) write.sendPinned(rendered, resident);
    else write.sendCopy(rendered, resident);
    this.#noteWritten();
  }

  /** A request is being answered: it is taken off what was received. */
  #accept(isLast: boolean): void {
    this.#at += this.#headBytes;
    this.#hasAnswered = true;
    this.#hasHeadBegun = false;
    this.#wasRead = false;
    this.#isEnding = isLast;
  }

  #noteRequest(): void {
    const { target, noteBytes } = this.#finder;
    if (target !== undefined) this.#services.store.noteRequest(target.fill.objectHash, noteBytes);
  }

  /** Whether connections end with their next response. */
  get #isDraining(): boolean {
    return this.#share.lifecycle.isClosing || this.#services.load.isDraining;
  }

  get #isLast(): boolean {
    return this.#parser.isLast || this.#isDraining;
  }

  #renderHead(nowMs: number, isLast: boolean): RenderedHead {
    const { head } = this.#finder;
    const bytes = head?.render(nowMs, this.#finder, isLast) ?? NO_BYTES;
    if (head?.idOffset === undefined) this.#write.account.requestId = undefined;
    else this.#stampId(bytes, head.idOffset);
    return { head, bytes };
  }

  #stampId(bytes: Buffer, offset: number): void {
    const id = this.#services.requestIds.next();
    this.#write.account.requestId = id;
    bytes.write(id, offset, 'latin1');
  }

  /** A response was written: if it is the last one and has been taken, the connection ends. */
  #noteWritten(): void {
    if (this.#write.isUnderWay) return;
    this.#sinceMs = this.#write.endedMs;
    if (this.#isEnding) this.#socket.destroySoon();
  }

  readonly #onTaken = (): void => {
    this.#sinceMs = this.#write.endedMs;
    this.#goOn();
  };

  /** Something has ended. */
  #goOn(): void {
    if (this.#isGone) return;
    if (this.#isEnding) {
      if (!this.#write.isUnderWay && !this.#isBusy) this.#socket.destroySoon();
    } else if (this.#leaving !== undefined) this.#leave(this.#leaving);
    else {
      this.#process();
      if (this.#isDraining && this.isIdle && !this.#isGone) this.#socket.destroySoon();
    }
  }

  async #stream(): Promise<void> {
    const { resolver, clock } = this.#services;
    const { target, heads, start, end } = this.#finder;
    if (target === undefined || heads === undefined) return;
    const resolution = resolver.open(this.#finder.fillTargetOf(this.#parser, target), heads.manifest);
    if (resolution === undefined) return this.#leave('absent');
    this.#isBusy = true;
    this.#abort = new AbortController();
    // Nothing is being written, or this request would wait; so the account is free.
    const { account } = this.#write;
    const startedMs = clock.monotonicMs();
    let hasBegun = false;
    account.open(this.#parser, this.#finder, { nowMs: clock.wallMs(), startedMs });
    const commit = (): Buffer => {
      hasBegun = true;
      const isLast = this.#isLast;
      const { bytes } = this.#renderHead(clock.wallMs(), isLast);
      this.#noteRequest();
      this.#accept(isLast);
      account.noteFirstByte(clock.monotonicMs());
      // It may be written anew before the kernel has taken it.
      return Buffer.from(bytes);
    };
    const { signal } = this.#abort;
    const error = await streamHit({ socket: this.#socket, resolution, start, end, account, signal, commit }, this.#services);
    this.#isBusy = false;
    this.#sinceMs = clock.monotonicMs();
    if (hasBegun) account.close(error);
    else account.withdraw();
    if (error === undefined || this.#isGone) this.#goOn();
    else if (hasBegun) this.destroy();
    else this.#leave('failed');
  }

  /** The next request is for node:http; so is everything behind it. */
  #leave(reason: HandoverReason): void {
    this.#leaving = reason;
    if (this.#write.isUnderWay || this.#isBusy || this.#isGone) return;
    this.#services.metrics.add('handovers', 1, reason);
    this.#detach();
    const rest = Buffer.from(this.#bytes.subarray(this.#at, this.#end));
    this.#letGoOfBytes();
    const socket = this.#socket;
    socket.pause();
    if (rest.length > 0) socket.unshift(rest);
    this.#share.toGeneral(socket);
    socket.resume();
  }

  #refuse(kind: RefusalKind): void {
    this.#isEnding = true;
    this.#sinceMs = this.#services.clock.monotonicMs();
    this.#share.refuse(kind, this.#socket);
  }

  readonly #onEnd = (): void => {
    this.#hasClientEnded = true;
    this.#endWithClient();
  };

  /** The client sends nothing more; what it asked for it gets. */
  #endWithClient(): void {
    if (this.#isEnding || this.#isBusy || this.#write.isUnderWay || this.#leaving !== undefined || this.#isGone) return;
    if (this.#at < this.#end) this.#refuse('syntax');
    else this.#socket.destroySoon();
  }

  readonly #onError = (): void => {
    this.#socket.destroy();
  };

  readonly #onClose = (): void => {
    this.#detach();
    this.#write.abandon(new EdgeError(this.#isStalled ? 'CLIENT_STALLED' : 'CLIENT_GONE'));
    this.#abort?.abort();
  };

  #detach(): void {
    const socket = this.#socket;
    this.#isGone = true;
    if (socket instanceof DirectSocket) socket.onBytes = undefined;
    else socket.removeListener('data', this.#onData);
    socket.removeListener('end', this.#onEnd);
    socket.removeListener('error', this.#onError);
    socket.removeListener('close', this.#onClose);
    this.#share.onGone(this);
  }
}
