/**
 * One connection in the express lane. Requests are answered in the order in which they came; what is not for this lane waits until nothing
 * is being written, and then goes to node:http with everything behind it. No more is read from a client than it takes answers for.
 *
 *   reading ----> answering (two writes at most, or a stream) ----> reading
 *      |                |
 *      `---- leaving <--'  when the last write is done: node:http has the socket, and this object is through
 *      `---- ending        after a last response, a refusal or the client's end
 */
import type { Socket } from 'node:net';
import { EdgeError } from '../../base/errors.ts';
import { KIB } from '../../base/units.ts';
import type { PooledBuffer } from '../../memory/buffer-pool.ts';
import type { Lease } from '../../memory/lease.ts';
import { type ClientPace, paceOf } from '../client-pace.ts';
import { COPY_BYTES, LARGE_COPY_BYTES } from '../copy-pool.ts';
import type { HandoverReason } from '../proxy-metrics.ts';
import type { RefusalKind } from '../refusal.ts';
import type { ProxyServices } from '../services.ts';
import { HeadParser } from './head-parser.ts';
import { HitFinder, type LaneTables } from './hit-finder.ts';
import type { KnownFields } from './known-fields.ts';
import { LaneAccount } from './lane-account.ts';
import { streamHit } from './lane-stream.ts';
import type { StoredHead } from './stored-head.ts';

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

/** Writes under way at a time. */
const WRITES_MAX = 2;
/** A proven client is sent a slot instead of a copy from here on; below, copying costs less than a second piece in the write. */
const PINNED_BYTES_MIN = 32 * KIB;
/** How long the kernel may take for what a closing connection has yet to send, at least. */
const ENDING_MS = 2000;

const NO_BYTES = Buffer.alloc(0);

/** A response that was handed to the kernel in one write. */
interface LaneWrite {
  readonly account: LaneAccount;
  copy: PooledBuffer | undefined;
  /** Of a slot that the kernel reads; counted in the pin budget. */
  lease: Lease | undefined;
  bytes: number;
  startedMs: number;
}

/** One connection, from its first byte to its end or its handover. */
export class LaneConnection {
  #share: LaneShare;
  /** After a reload; taken over between two requests. */
  #nextShare: LaneShare | undefined;
  #services: ProxyServices;
  readonly #socket: Socket;
  readonly #parser: HeadParser;
  #finder: HitFinder;
  readonly #pace: ClientPace;
  #writes: readonly [LaneWrite, LaneWrite];
  #oldestWrite = 0;
  #writeCount = 0;
  /** What was received and not yet answered. */
  #bytes: Buffer = NO_BYTES;
  #at = 0;
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
    this.#pace = paceOf(socket);
    this.#writes = this.#newWrites();
    this.#sinceMs = services.clock.monotonicMs();
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
  }

  /** Whether nothing is going on. */
  get isIdle(): boolean {
    return this.#writeCount === 0 && !this.#isBusy && this.#bytes.length === this.#at;
  }

  /** Requests that come from now on are answered with these. */
  use(share: LaneShare): void {
    this.#nextShare = share;
    this.#adopt();
  }

  /** Between two requests, so that each ends with what it began with. */
  #adopt(): void {
    const share = this.#nextShare;
    if (share === undefined || this.#isBusy || this.#writeCount > 0) return;
    this.#nextShare = undefined;
    this.#share = share;
    this.#services = share.services;
    this.#parser.readsUserAgent = share.services.keepsAccounts;
    this.#finder = new HitFinder(share.services, share.tables);
    this.#writes = this.#newWrites();
  }

  #newWrites(): readonly [LaneWrite, LaneWrite] {
    const writes = [newWrite(this.#services), newWrite(this.#services)] as const;
    if (this.#services.keepsAccounts) for (const { account } of writes) account.clientAddress = this.#socket.remoteAddress;
    return writes;
  }

  /** Ends the connection now. */
  destroy(): void {
    this.#socket.destroy();
  }

  /** Looks at the deadlines; the lane calls it every second. */
  check(nowMs: number): void {
    const { limits, metrics } = this.#services;
    // What is being streamed has a writer with deadlines of its own.
    if (this.#isBusy) return;
    if (this.#isEnding && this.#writeCount === 0) {
      if (nowMs - this.#sinceMs > ENDING_MS) this.destroy();
    } else if (this.#writeCount > 0) {
      const { startedMs, bytes } = this.#writeAt(0);
      if (nowMs - startedMs <= limits.clientStallMs * Math.max(1, Math.min(4, bytes / COPY_BYTES))) return;
      metrics.add('stalled');
      this.#isStalled = true;
      this.destroy();
    } else this.#checkWaiting(nowMs - this.#sinceMs);
  }

  #checkWaiting(waitedMs: number): void {
    const { headerTimeoutMs, keepAliveMs } = this.#share;
    if (this.#hasAnswered && this.isIdle) {
      if (waitedMs > keepAliveMs) this.destroy();
    } else if (waitedMs > headerTimeoutMs) this.#refuse('head-time');
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#isEnding) return;
    if (this.#bytes.length === this.#at) {
      this.#bytes = chunk;
      this.#at = 0;
    } else {
      this.#bytes = Buffer.concat([this.#bytes.subarray(this.#at), chunk]);
      this.#at = 0;
    }
    this.#process();
  };

  /** Answers as much as may be answered now. */
  #process(): void {
    if (this.#nextShare !== undefined) this.#adopt();
    while (this.#at < this.#bytes.length && this.#isReading) {
      const verdict = this.#parser.parse(this.#bytes, this.#at);
      if (verdict === 'complete') this.#answer();
      else if (verdict === 'foreign') this.#leave(this.#parser.reason);
      else {
        this.#noteHeadBegun();
        break;
      }
    }
    if (this.#isGone) return;
    if (this.#at === this.#bytes.length && this.#at > 0) {
      this.#bytes = NO_BYTES;
      this.#at = 0;
    }
    this.#paceReading();
    if (this.#hasClientEnded) this.#endWithClient();
  }

  /** The rest of a head has its deadline from its first bytes on; that of the first head from the connection's begin. */
  #noteHeadBegun(): void {
    if (this.#hasAnswered && !this.#hasHeadBegun) this.#sinceMs = this.#services.clock.monotonicMs();
    this.#hasHeadBegun = true;
  }

  /** Whether the next request may be looked at. After a reload not until what was answered before it is written, however much was sent ahead. */
  get #isReading(): boolean {
    const isFree = !this.#isBusy && this.#writeCount < WRITES_MAX && this.#nextShare === undefined;
    return isFree && this.#leaving === undefined && !this.#isEnding && !this.#isGone;
  }

  /** While requests wait for their turn nothing more is read, not even the client's end. */
  #paceReading(): void {
    const mayRead = this.#at === this.#bytes.length || this.#isReading || this.#isEnding;
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
    const write = this.#begin(nowMs);
    const bytes = this.#renderHead(nowMs, write.account);
    write.copy = this.#services.copies.take(bytes.length);
    write.bytes = bytes.copy(write.copy.bytes);
    this.#socket.write(write.copy.bytes.subarray(0, write.bytes), this.#onWritten);
    write.account.noteFirstByte();
  }

  /** Sends a slice that is in memory in one write, if the client has earned so much; else begins to stream. */
  #sendBody(nowMs: number): void {
    const { copies, pins, store } = this.#services;
    const { start, end, heads, onlySlice, target } = this.#finder;
    if (heads === undefined || target === undefined) return;
    const bodyBytes = end - start;
    const isPinned = bodyBytes >= PINNED_BYTES_MIN && this.#pace.isProven && onlySlice !== undefined && pins.tryTake();
    const copyMax = this.#pace.isQuick && copies.hasLarge ? LARGE_COPY_BYTES : COPY_BYTES;
    const head = this.#renderHead(nowMs, this.#writeAt(this.#writeCount).account);
    const { generation, sliceSizeBytes } = heads.manifest;
    const isSmall = isPinned || bodyBytes <= COPY_BYTES || head.length + bodyBytes <= copyMax;
    const sliceStart = (onlySlice ?? 0) * sliceSizeBytes;
    const resident =
      onlySlice === undefined || !isSmall
        ? undefined
        : store.tryReadResident({
            objectHash: target.fill.objectHash,
            generation,
            sliceNumber: onlySlice,
            startBytes: start - sliceStart,
            endBytes: end - sliceStart,
          });
    if (resident !== undefined) {
      const write = this.#begin(nowMs);
      if (isPinned) this.#writePinned(write, head, resident);
      else this.#writeCopy(write, head, resident);
      write.account.noteResident(bodyBytes);
      write.account.noteFirstByte();
      return;
    }
    if (isPinned) pins.giveBack();
    if (onlySlice !== undefined && !store.hasSlice(generation, onlySlice)) this.#leave('partial');
    else void this.#stream();
  }

  #writeCopy(write: LaneWrite, head: Buffer, { lease, bytes }: { readonly lease: Lease; readonly bytes: Buffer }): void {
    // A body that just fits into a small copy has its head beside it.
    const isApart = bytes.length <= COPY_BYTES && head.length + bytes.length > COPY_BYTES;
    const start = isApart ? 0 : head.length;
    const copy = this.#services.copies.take(start + bytes.length);
    // Not set(): from the memory that threads share that goes word by word.
    bytes.copy(copy.bytes, start);
    write.bytes = head.length + bytes.length;
    write.copy = copy;
    lease.end();
    write.account.noteCopy();
    if (isApart) return this.#writeApart(Buffer.from(head), copy.bytes.subarray(0, bytes.length));
    copy.bytes.set(head);
    this.#socket.write(copy.bytes.subarray(0, write.bytes), this.#onWritten);
  }

  #writePinned(write: LaneWrite, head: Buffer, { lease, bytes }: { readonly lease: Lease; readonly bytes: Buffer }): void {
    write.lease = lease;
    write.bytes = bytes.length;
    this.#writeApart(Buffer.from(head), bytes);
  }

  /** @param head not the stored one, which is written anew when its second is over, perhaps before the kernel has taken it */
  #writeApart(head: Buffer, body: Buffer): void {
    this.#socket.cork();
    this.#socket.write(head);
    this.#socket.write(body, this.#onWritten);
    this.#socket.uncork();
  }

  /** A request is being answered: it is taken off what was received, and noted. */
  #begin(nowMs: number): LaneWrite {
    const write = this.#writeAt(this.#writeCount);
    this.#writeCount += 1;
    write.startedMs = this.#services.clock.monotonicMs();
    write.account.open(this.#parser, this.#finder, { nowMs, startedMs: write.startedMs });
    this.#accept();
    return write;
  }

  #accept(): void {
    const { target, noteBytes } = this.#finder;
    this.#at += this.#headBytes;
    this.#hasAnswered = true;
    this.#hasHeadBegun = false;
    this.#wasRead = false;
    this.#isEnding = this.#isLast;
    if (target !== undefined) this.#services.store.noteRequest(target.fill.objectHash, noteBytes);
  }

  /** Whether connections end with their next response. */
  get #isDraining(): boolean {
    return this.#share.lifecycle.isClosing || this.#services.load.isDraining;
  }

  get #isLast(): boolean {
    return this.#parser.isLast || this.#isDraining;
  }

  #renderHead(nowMs: number, account: LaneAccount): Buffer {
    const head: StoredHead | undefined = this.#finder.head;
    const bytes = head?.render(nowMs, this.#finder, this.#isLast) ?? NO_BYTES;
    if (head?.idOffset === undefined) account.requestId = undefined;
    else {
      account.requestId = this.#services.requestIds.next();
      bytes.write(account.requestId, head.idOffset, 'latin1');
    }
    return bytes;
  }

  #writeAt(index: number): LaneWrite {
    return this.#writes[this.#oldestWrite === 0 ? (index === 0 ? 0 : 1) : index === 0 ? 1 : 0];
  }

  readonly #onWritten = (error?: Error | null): void => {
    if (this.#writeCount === 0) return;
    this.#settleOldest(error === undefined || error === null ? undefined : new EdgeError('CLIENT_GONE'));
    this.#goOn();
  };

  /** The oldest write is over. */
  #settleOldest(error: EdgeError | undefined): void {
    const { pins, clock } = this.#services;
    const write = this.#writeAt(0);
    this.#oldestWrite = 1 - this.#oldestWrite;
    this.#writeCount -= 1;
    if (write.lease !== undefined) {
      write.lease.end();
      pins.giveBack();
    }
    write.copy?.end();
    write.lease = undefined;
    write.copy = undefined;
    this.#sinceMs = clock.monotonicMs();
    this.#pace.note(write.bytes, this.#sinceMs - write.startedMs);
    write.account.close(error);
  }

  /** Something has ended. */
  #goOn(): void {
    if (this.#isGone) return;
    if (this.#isEnding) {
      if (this.#writeCount === 0 && !this.#isBusy) this.#socket.destroySoon();
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
    // Nothing is being written, or this request would wait; so the record is free.
    const { account } = this.#writeAt(this.#writeCount);
    const startedMs = clock.monotonicMs();
    let hasBegun = false;
    account.open(this.#parser, this.#finder, { nowMs: clock.wallMs(), startedMs });
    const commit = (): Buffer => {
      hasBegun = true;
      const head = this.#renderHead(clock.wallMs(), account);
      this.#accept();
      account.noteFirstByte();
      // It may be written anew before the kernel has taken it.
      return Buffer.from(head);
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
    if (this.#writeCount > 0 || this.#isBusy || this.#isGone) return;
    this.#services.metrics.add('handovers', 1, reason);
    this.#detach();
    const rest = this.#bytes.subarray(this.#at);
    this.#bytes = NO_BYTES;
    this.#at = 0;
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
    if (this.#isEnding || this.#isBusy || this.#writeCount > 0 || this.#leaving !== undefined || this.#isGone) return;
    if (this.#at < this.#bytes.length) this.#refuse('syntax');
    else this.#socket.destroySoon();
  }

  readonly #onError = (): void => {
    this.#socket.destroy();
  };

  readonly #onClose = (): void => {
    this.#detach();
    while (this.#writeCount > 0) this.#settleOldest(new EdgeError(this.#isStalled ? 'CLIENT_STALLED' : 'CLIENT_GONE'));
    this.#abort?.abort();
  };

  #detach(): void {
    const socket = this.#socket;
    this.#isGone = true;
    socket.removeListener('data', this.#onData);
    socket.removeListener('end', this.#onEnd);
    socket.removeListener('error', this.#onError);
    socket.removeListener('close', this.#onClose);
    this.#share.onGone(this);
  }
}

function newWrite(services: ProxyServices): LaneWrite {
  return { account: new LaneAccount(services), copy: undefined, lease: undefined, bytes: 0, startedMs: 0 };
}
