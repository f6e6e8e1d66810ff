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
import type { HandoverReason } from '../proxy-metrics.ts';
import type { RefusalKind } from '../refusal.ts';
import type { ProxyServices } from '../services.ts';
import { DirectSocket } from './direct-socket.ts';
import { HeadParser } from './head-parser.ts';
import { HitFinder, type LaneTables } from './hit-finder.ts';
import type { KnownFields } from './known-fields.ts';
import { LaneSender } from './lane-sender.ts';
import { streamHit } from './lane-stream.ts';
import type { LaneWrite } from './lane-write.ts';
import { ReceivedBytes } from './received-bytes.ts';

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

/** How long the kernel may take for what a closing connection has yet to send, at least. */
const ENDING_MS = 2000;
/** Requests that were sent ahead and are answered before others have their turn: half a millisecond of hits. */
const TURN_ANSWERS_MAX = 64;

/** One connection, from its first byte to its end or its handover. */
export class LaneConnection {
  #share: LaneShare;
  /** After a reload; taken over between two requests. */
  #nextShare: LaneShare | undefined;
  #services: ProxyServices;
  readonly #socket: Socket;
  readonly #parser: HeadParser;
  #finder: HitFinder;
  #sender: LaneSender;
  #write: LaneWrite;
  readonly #received = new ReceivedBytes();
  /** Of the request that is being answered. */
  #headBytes = 0;
  /** Begin of what is being waited for: a head, or the next request. */
  #sinceMs: number;
  #hasAnswered = false;
  #hasHeadBegun = false;
  /** A response is being streamed, or a manifest read. */
  #isBusy = false;
  /** Others have their turn. */
  #isResting = false;
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
    this.#sender = this.#newSender();
    this.#write = this.#sender.write;
    this.#sinceMs = services.clock.monotonicMs();
    if (socket instanceof DirectSocket) socket.onBytes = this.#onBytes;
    else socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
  }

  /** Whether nothing is going on. */
  get isIdle(): boolean {
    return !this.#write.isUnderWay && !this.#isBusy && this.#received.isEmpty;
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
    this.#sender = this.#newSender();
    this.#write = this.#sender.write;
  }

  #newSender(): LaneSender {
    const parts = { socket: this.#socket, request: this.#parser, hit: this.#finder, onTaken: this.#onTaken };
    return new LaneSender(this.#services, parts);
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

  readonly #onBytes = (bytes: Buffer, length: number): void => {
    if (this.#isEnding) return;
    this.#received.add(bytes, length);
    this.#process();
    this.#received.keep();
  };

  /** Answers as much as may be answered now. */
  #process(): void {
    if (this.#nextShare !== undefined) this.#adopt();
    const received = this.#received;
    for (let turns = 0; !received.isEmpty && this.#isReading; turns += 1) {
      if (turns === TURN_ANSWERS_MAX) {
        this.#rest();
        break;
      }
      const verdict = this.#parser.parse(received.bytes, received.start, received.end);
      if (verdict === 'complete') this.#answer();
      else if (verdict === 'foreign') this.#leave(this.#parser.reason);
      else {
        this.#noteHeadBegun();
        break;
      }
    }
    if (this.#isGone) return;
    if (received.isEmpty) received.clear();
    this.#paceReading();
    if (this.#hasClientEnded) this.#endWithClient();
  }

  /** Whoever sends much ahead does not keep the others waiting. */
  #rest(): void {
    this.#isResting = true;
    this.#services.clock.defer(() => {
      this.#isResting = false;
      this.#goOn();
    });
  }

  /** The rest of a head has its deadline from its first bytes on; that of the first head from the connection's begin. */
  #noteHeadBegun(): void {
    if (this.#hasAnswered && !this.#hasHeadBegun) this.#sinceMs = this.#services.clock.monotonicMs();
    this.#hasHeadBegun = true;
  }

  /** Whether the next request may be looked at. After a reload not until what was answered before it is written, however much was sent ahead. */
  get #isReading(): boolean {
    const isFree = !this.#isBusy && !this.#isResting && !this.#write.isUnderWay && this.#nextShare === undefined;
    return isFree && this.#leaving === undefined && !this.#isEnding && !this.#isGone && !this.#socket.destroyed;
  }

  /** While requests wait for their turn nothing more is read, not even the client's end. */
  #paceReading(): void {
    const mayRead = this.#received.isEmpty || this.#isReading || this.#isEnding;
    if (mayRead !== this.#isPaused) return;
    this.#isPaused = !mayRead;
    if (mayRead) this.#socket.resume();
    else this.#socket.pause();
  }

  #answer(): void {
    // Where the head ends is said as its length: what comes meanwhile moves what was received.
    this.#headBytes = this.#parser.endOffset - this.#received.start;
    if (!this.#share.lifecycle.isOpen) return this.#leave('rule');
    const nowMs = this.#services.clock.wallMs();
    const verdict = this.#finder.find(this.#parser, this.#wasRead, nowMs);
    if (verdict === 'unread') void this.#readManifest();
    else if (verdict !== 'hit') this.#leave(verdict);
    else this.#send(nowMs);
  }

  #send(nowMs: number): void {
    const isLast = this.#isLast;
    const verdict = this.#sender.trySend({ nowMs, isLast });
    if (verdict === 'partial') this.#leave('partial');
    else if (verdict === 'stream') void this.#stream();
    else {
      this.#accept(isLast);
      if (this.#write.isUnderWay) return;
      this.#sinceMs = this.#write.endedMs;
      if (isLast) this.#socket.destroySoon();
    }
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

  /** A request is being answered: it is taken off what was received. */
  #accept(isLast: boolean): void {
    this.#received.start += this.#headBytes;
    this.#hasAnswered = true;
    this.#hasHeadBegun = false;
    this.#wasRead = false;
    this.#isEnding = isLast;
  }

  /** Whether connections end with their next response. */
  get #isDraining(): boolean {
    return this.#share.lifecycle.isClosing || this.#services.load.isDraining;
  }

  get #isLast(): boolean {
    return this.#parser.isLast || this.#isDraining;
  }

  readonly #onTaken = (): void => {
    this.#sinceMs = this.#write.endedMs;
    this.#goOn();
  };

  /** Something has ended. */
  #goOn(): void {
    // After a failed write the socket is destroyed in a moment, and what was sent ahead is nobody's.
    if (this.#isGone || this.#socket.errored !== null) return;
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
      const { bytes } = this.#sender.renderHead({ nowMs: clock.wallMs(), isLast });
      this.#sender.noteRequest();
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
    const rest = this.#received.copy();
    this.#received.clear();
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
    if (this.#isEnding || this.#isBusy || this.#isResting || this.#write.isUnderWay || this.#leaving !== undefined || this.#isGone) return;
    if (!this.#received.isEmpty) this.#refuse('syntax');
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
