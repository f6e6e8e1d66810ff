/**
 * One connection to an origin, read without copies: the kernel puts body bytes straight into the room that the receiver lends (`onread`). One
 * request at a time. What comes before a body, between its chunks or while there is no room goes through a scratch buffer of its own, so
 * that no byte ever lands where nobody expects it. Driven by lane-transport.ts.
 *
 *   connecting -> idle -> head -> body -> done -> idle     the framing says where the body ends; one byte more closes the connection
 *        `---------`--------`-------`------`---> closed
 *
 * Node asks for the next buffer right after each read, also when the read was answered with "stop": so the buffer of the next read is chosen
 * before this file returns from a read, and it is room only when room is there.
 */
import net, { type LookupFunction } from 'node:net';
import tls from 'node:tls';
import { assert } from '../base/assert.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { EdgeError } from '../base/errors.ts';
import { KIB, SECOND_MS } from '../base/units.ts';
import { ChunkedContent } from '../http/chunked-content.ts';
import { type FieldList, fieldValue } from '../http/header-fields.ts';
import { type Framing, framingOf, isKeptAlive, parseResponseHead, type ResponseHead } from '../http/response-head.ts';
import { InterimLimit } from './interim-limit.ts';
import type { TlsOptions } from './transport-options.ts';
import { upstreamError, upstreamTimeout } from './upstream-error.ts';
import type { BodySink } from './upstream-transport.ts';

const SCRATCH_BYTES = 16 * KIB;
const HEAD_END = '\r\n\r\n';
/** An origin's own limit is stayed below by this much, so that we are the ones who close. */
const KEEP_ALIVE_MARGIN_MS = SECOND_MS;

/** Where to connect and how long to wait. */
export interface ConnectionOptions {
  /** Scheme and authority. */
  readonly origin: string;
  readonly connectTimeoutMs: number;
  readonly headTimeoutMs: number;
  readonly bodyTimeoutMs: number;
  /** How long an idle connection is kept, unless the origin says less. */
  readonly keepAliveMs: number;
  readonly headBytesMax: number;
  /** In place of `dns.lookup`. */
  readonly lookup?: LookupFunction | undefined;
  readonly tls?: TlsOptions | undefined;
  readonly clock: Clock;
}

/** A request on its way, and who hears of its response. */
export interface Exchange {
  readonly method: string;
  /** Request line and fields, Latin-1. */
  readonly head: string;
  onInterim(head: ResponseHead): void;
  /** @returns where the body goes; undefined when it is not wanted */
  onHead(head: ResponseHead): BodySink | undefined;
  /** So many bytes were put into the sink's room: the sink is to be told. */
  onBytes(bytes: number): void;
  /** The response is complete; the connection may carry another request already. */
  onEnd(trailers: FieldList): void;
  /** It is not, and nothing more will come. */
  onFailure(error: EdgeError): void;
}

/** Who keeps the connections. */
export interface ConnectionOwner {
  /** Connected, or the response is complete: another request may be sent. */
  onIdle(connection: OriginConnection): void;
  /** @param connectError when no connection came about */
  onClosed(connection: OriginConnection, connectError: EdgeError | undefined): void;
}

type State = 'connecting' | 'idle' | 'head' | 'body' | 'done' | 'closed';

/** One socket. */
export class OriginConnection {
  readonly #options: ConnectionOptions;
  readonly #owner: ConnectionOwner;
  readonly #socket: net.Socket;
  #state: State = 'connecting';
  #exchange: Exchange | undefined;
  #scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  /** Room that the next read goes to; undefined: the scratch. */
  #room: Uint8Array | undefined;
  /** Read, and not yet taken by anybody; oldest first. */
  #waiting: Buffer[] = [];
  #isTaking = false;
  #isReading = true;
  #hasEnded = false;
  /** Whether it has carried a response before. */
  #hasServed = false;
  #headText = '';
  #interim = new InterimLimit();
  #sink: BodySink | undefined;
  #framing: Framing = { kind: 'close' };
  #leftBytes = 0;
  #chunks: ChunkedContent | undefined;
  #isKept = false;
  #keepAliveMs: number;
  #timer: Timer | undefined;
  /** When it fires. */
  #dueMs = 0;
  #limitMs = 0;
  #lastMs = 0;

  constructor(options: ConnectionOptions, owner: ConnectionOwner) {
    this.#options = options;
    this.#owner = owner;
    this.#keepAliveMs = options.keepAliveMs;
    this.#socket = connect(options, {
      buffer: () => this.#nextBuffer(),
      callback: (count, buffer) => this.#onRead(count, buffer),
    });
    this.#socket.once(this.#socket instanceof tls.TLSSocket ? 'secureConnect' : 'connect', () => this.#becomeIdle());
    this.#socket.on('error', (error) => this.#fail(error));
    this.#socket.on('end', () => this.#onEnd());
    this.#socket.on('close', () => this.#onClose());
    this.#watch(options.connectTimeoutMs);
  }

  get isIdle(): boolean {
    return this.#state === 'idle';
  }

  /** Sends a request. The connection is idle. */
  send(exchange: Exchange): void {
    assert(this.#state === 'idle', 'a connection carries one request at a time');
    this.#state = 'head';
    this.#exchange = exchange;
    this.#headText = '';
    this.#interim = new InterimLimit();
    this.#watch(this.#options.headTimeoutMs);
    this.#socket.write(exchange.head, 'latin1');
  }

  /** There may be room again. */
  resume(): void {
    if (this.#state !== 'body' || this.#isTaking || this.#isReading) return;
    this.#takeWaiting();
    if (this.#state !== 'body' || this.#waiting.length > 0) return;
    // Node has chosen the scratch for the next read already; the read after it goes into the room.
    if (this.#sink?.room() === undefined || this.#isClosed) return;
    this.#read();
  }

  /** Ends it; whoever waits for a response hears nothing more. */
  destroy(): void {
    this.#exchange = undefined;
    this.#sink = undefined;
    this.#close();
  }

  /** Ends it; whoever waits for a response is told. */
  breakOff(error: EdgeError): void {
    this.#fail(error);
  }

  get #isClosed(): boolean {
    return this.#state === 'closed';
  }

  // ---- reading

  #nextBuffer(): Uint8Array {
    if (this.#room !== undefined) return this.#room;
    // What waits lies in the scratch, and a read may still come (TLS has read ahead): it goes elsewhere.
    if (this.#waiting.length > 0) this.#scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
    return this.#scratch;
  }

  /** @returns whether to go on reading */
  #onRead(count: number, buffer: Uint8Array): boolean {
    // A head has its time as a whole, interim responses included: an origin that drips would else hold a connection for as long as it likes.
    if (this.#state !== 'head') this.#lastMs = this.#options.clock.monotonicMs();
    const isInRoom = buffer === this.#room;
    this.#room = undefined;
    this.#isTaking = true;
    if (isInRoom) this.#takeRoom(count);
    else {
      this.#waiting.push(Buffer.from(buffer.buffer, buffer.byteOffset, count));
      this.#takeAll();
    }
    this.#isTaking = false;
    this.#isReading = true;
    this.#settle();
    this.#isReading = !this.#isClosed && this.#chooseRoom();
    return this.#isReading;
  }

  /** Decides where the next read goes. @returns whether there may be one */
  #chooseRoom(): boolean {
    if (this.#waiting.length > 0) return false;
    if (this.#state !== 'body') return true;
    const room = this.#sink?.room();
    if (room === undefined || this.#isClosed) return false;
    if (this.#framing.kind === 'length') this.#room = room.subarray(0, Math.min(room.length, this.#leftBytes));
    else if (this.#framing.kind === 'close') this.#room = room;
    return true;
  }

  #takeRoom(count: number): void {
    if (this.#framing.kind === 'length') this.#leftBytes -= count;
    this.#deliver(count);
    if (this.#framing.kind === 'length' && this.#leftBytes === 0 && this.#state === 'body') this.#state = 'done';
  }

  #deliver(count: number): void {
    this.#exchange?.onBytes(count);
  }

  /** Takes what waits, outside of a read. */
  #takeWaiting(): void {
    this.#isTaking = true;
    this.#takeAll();
    this.#isTaking = false;
    this.#settle();
  }

  /** Takes what waits as far as there is room for it. */
  #takeAll(): void {
    while (this.#waiting.length > 0) {
      const first = this.#waiting[0];
      assert(first !== undefined && first.length > 0, 'what waits is not empty');
      const taken = this.#take(first);
      if (this.#isClosed || taken === 0) return;
      if (taken === first.length) this.#waiting.shift();
      else this.#waiting[0] = first.subarray(taken);
    }
    if (!this.#hasEnded || this.#state !== 'body') return;
    if (this.#framing.kind === 'close') this.#state = 'done';
    else this.#fail(this.#closedError());
  }

  /** @returns bytes of `piece` that are done with; 0: there is no room */
  #take(piece: Buffer): number {
    if (this.#state === 'head') return this.#takeHead(piece);
    if (this.#state !== 'body') {
      // Nobody asked for it: whatever comes next on this connection cannot be trusted.
      this.#isKept = false;
      if (this.#state === 'idle') this.#close();
      return piece.length;
    }
    if (this.#framing.kind === 'chunked') return this.#takeChunked(piece);
    const wanted = this.#framing.kind === 'length' ? piece.subarray(0, this.#leftBytes) : piece;
    const count = this.#copy(wanted);
    if (this.#framing.kind !== 'length' || this.#isClosed) return count;
    this.#leftBytes -= count;
    if (this.#leftBytes === 0 && this.#state === 'body') this.#state = 'done';
    return count;
  }

  /** Copies into the sink's room. @returns how many bytes it took */
  #copy(content: Buffer): number {
    let done = 0;
    while (done < content.length) {
      const room = this.#sink?.room();
      if (room === undefined || this.#state !== 'body') break;
      const count = Math.min(room.length, content.length - done);
      content.copy(room, 0, done, done + count);
      done += count;
      this.#deliver(count);
      if (this.#state !== 'body') break;
    }
    return done;
  }

  #takeChunked(piece: Buffer): number {
    const chunks = this.#chunks;
    assert(chunks !== undefined, 'chunked content has its reader');
    let at = 0;
    while (at < piece.length) {
      if (this.#leftBytes > 0) {
        const count = this.#copy(piece.subarray(at, at + this.#leftBytes));
        this.#leftBytes -= count;
        at += count;
        if (this.#leftBytes > 0 || this.#state !== 'body') return at;
        continue;
      }
      const step = chunks.next(piece, at);
      if (step.kind === 'more') return piece.length;
      if (step.kind === 'invalid') {
        this.#fail(new EdgeError('UPSTREAM_BROKEN', `Origin ${this.#options.origin}: ${step.why}`));
        return piece.length;
      }
      if (step.kind === 'end') {
        this.#state = 'done';
        return step.end;
      }
      at = step.start;
      this.#leftBytes = step.end - step.start;
    }
    return at;
  }

  // ---- the head

  #takeHead(piece: Buffer): number {
    const before = this.#headText.length;
    // What lies behind the head is not looked at as text; only its end may be in two pieces.
    const endInPiece = piece.indexOf(HEAD_END);
    const text = this.#headText + piece.toString('latin1', 0, endInPiece < 0 ? piece.length : endInPiece + HEAD_END.length);
    const end = text.indexOf(HEAD_END, Math.max(0, before - 3));
    if (end < 0 ? text.length > this.#options.headBytesMax : end > this.#options.headBytesMax) return this.#refuse(piece, 'HEAD_TOO_LARGE');
    if (end < 0) {
      // What is no HTTP is told at once: it may never end.
      if (!'HTTP/1.'.startsWith(text.slice(0, 7))) return this.#refuseGarbage(piece);
      this.#headText = text;
      return piece.length;
    }
    this.#headText = '';
    const verdict = parseResponseHead(text.slice(0, end));
    if (verdict.kind === 'invalid' && verdict.why === 'status-line') return this.#refuseGarbage(piece);
    if (verdict.kind === 'invalid') return this.#refuse(piece, verdict.why);
    if (verdict.head.status >= 200) this.#beginBody(verdict.head);
    else this.#takeInterim(verdict.head);
    return end + HEAD_END.length - before;
  }

  #takeInterim(head: ResponseHead): void {
    // 101 would end HTTP on this connection, and nobody asked for it.
    if (head.status === 101) return void this.#refuse(Buffer.alloc(0), 'status 101');
    try {
      this.#interim.count();
    } catch (error) {
      return this.#fail(error);
    }
    this.#exchange?.onInterim(head);
  }

  /** On a connection that was kept it may be more than the last response announced: then this request was not answered, and may be sent again. */
  #refuseGarbage(piece: Buffer): number {
    if (!this.#hasServed) return this.#refuse(piece, 'status-line');
    this.#fail(this.#closedError());
    return piece.length;
  }

  #refuse(piece: Buffer, why: string): number {
    const { origin } = this.#options;
    this.#fail(
      new EdgeError('UPSTREAM_INVALID', `Origin ${origin} sent a response that cannot be used (${why})`, {
        context: { origin, errno: why },
      }),
    );
    return piece.length;
  }

  #beginBody(head: ResponseHead): void {
    const exchange = this.#exchange;
    assert(exchange !== undefined, 'a response answers a request');
    const framing = framingOf(exchange.method, head);
    if (framing.kind === 'invalid') {
      this.#refuse(Buffer.alloc(0), framing.why);
      return;
    }
    this.#framing = framing;
    this.#leftBytes = framing.kind === 'length' ? framing.lengthBytes : 0;
    this.#chunks = framing.kind === 'chunked' ? new ChunkedContent() : undefined;
    this.#isKept = isKeptAlive(head, framing);
    this.#keepAliveMs = Math.min(this.#options.keepAliveMs, announcedKeepAliveMs(head));
    this.#state = 'body';
    this.#watch(this.#options.bodyTimeoutMs);
    const sink = exchange.onHead(head);
    if (this.#state !== 'body') return;
    if (sink === undefined) return this.destroy();
    this.#sink = sink;
    if (framing.kind === 'length' && framing.lengthBytes === 0) this.#state = 'done';
  }

  // ---- ends

  /** A response that is complete ends here, when all that was read has been looked at. */
  #settle(): void {
    if (this.#state !== 'done') return;
    const exchange = this.#exchange;
    const trailers = this.#chunks?.trailers ?? [];
    this.#hasServed = true;
    this.#exchange = undefined;
    this.#sink = undefined;
    this.#room = undefined;
    if (this.#isKept && !this.#hasEnded) this.#becomeIdle();
    else this.#close();
    exchange?.onEnd(trailers);
  }

  #becomeIdle(): void {
    if (this.#isClosed) return;
    this.#state = 'idle';
    this.#watch(this.#keepAliveMs);
    this.#read();
    this.#owner.onIdle(this);
  }

  #onEnd(): void {
    this.#hasEnded = true;
    // What was read before, and finds no room yet, may be all that was missing.
    if (this.#state === 'body' && this.#waiting.length > 0) return;
    if (this.#state !== 'body' || this.#framing.kind !== 'close') return this.#fail(this.#closedError());
    this.#state = 'done';
    this.#settle();
  }

  #onClose(): void {
    if (!this.#hasEnded || this.#state !== 'body') this.#fail(this.#closedError());
  }

  #fail(cause: unknown): void {
    if (this.#isClosed) return;
    const exchange = this.#exchange;
    const error = upstreamError(cause, { origin: this.#options.origin, isInBody: this.#state === 'body' });
    this.#exchange = undefined;
    this.#sink = undefined;
    this.#close(this.#state === 'connecting' ? error : undefined);
    exchange?.onFailure(error);
  }

  #close(connectError?: EdgeError): void {
    if (this.#isClosed) return;
    this.#state = 'closed';
    this.#room = undefined;
    this.#waiting = [];
    this.#timer?.stop();
    this.#socket.destroy();
    this.#owner.onClosed(this, connectError);
  }

  #closedError(): EdgeError {
    const { origin } = this.#options;
    return new EdgeError('UPSTREAM_BROKEN', `Origin ${origin} closed the connection`, { context: { origin, errno: 'closed' } });
  }

  // ---- pacing and time

  #read(): void {
    if (this.#isReading) return;
    this.#isReading = true;
    this.#lastMs = this.#options.clock.monotonicMs();
    this.#socket.resume();
  }

  /** From now on so long may pass without a byte. A timer that is due before that is left alone: it looks at when the last one came. */
  #watch(limitMs: number): void {
    this.#limitMs = limitMs;
    this.#lastMs = this.#options.clock.monotonicMs();
    if (this.#timer === undefined || this.#dueMs > this.#lastMs + limitMs) this.#startTimer(limitMs);
  }

  #startTimer(delayMs: number): void {
    this.#timer?.stop();
    this.#dueMs = this.#options.clock.monotonicMs() + delayMs;
    this.#timer = this.#options.clock.startTimer(delayMs, () => this.#checkTime());
  }

  #checkTime(): void {
    const idleMs = this.#isReading ? this.#options.clock.monotonicMs() - this.#lastMs : 0;
    // Timers count whole milliseconds.
    if (idleMs + 1 < this.#limitMs) return this.#startTimer(this.#limitMs - idleMs);
    if (this.#state === 'idle') return this.#close();
    this.#fail(upstreamTimeout(this.#options.origin, TIMEOUTS[this.#state]));
  }
}

/** In the place of an errno: what did not come in time. */
const TIMEOUTS: Readonly<Record<State, string>> = {
  connecting: 'CONNECT_TIMEOUT',
  idle: 'IDLE_TIMEOUT',
  head: 'HEAD_TIMEOUT',
  body: 'BODY_TIMEOUT',
  done: 'IDLE_TIMEOUT',
  closed: 'IDLE_TIMEOUT',
};

function connect({ origin, lookup, tls: security }: ConnectionOptions, onread: net.OnReadOpts): net.Socket {
  const { protocol, hostname, port } = new URL(origin);
  const host = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
  const isTls = protocol === 'https:';
  const place = {
    host,
    port: port === '' ? (isTls ? 443 : 80) : Number(port),
    noDelay: true,
    onread,
    ...(lookup === undefined ? {} : { lookup }),
  };
  if (!isTls) return net.connect(place);
  const servername = security?.servername ?? (net.isIP(host) === 0 ? host : undefined);
  const name = servername === undefined ? {} : { servername };
  return tls.connect({ ...place, ...name, ALPNProtocols: ['http/1.1'], rejectUnauthorized: security?.verifies ?? true });
}

/** `Keep-Alive: timeout=5` less a margin; Infinity when the origin says nothing. */
function announcedKeepAliveMs(head: ResponseHead): number {
  const match = /(?:^|[,;\s])timeout=(\d{1,6})/i.exec(fieldValue(head.fields, 'keep-alive') ?? '');
  return match === null ? Number.POSITIVE_INFINITY : Math.max(1, Number(match[1]) * SECOND_MS - KEEP_ALIVE_MARGIN_MS);
}
