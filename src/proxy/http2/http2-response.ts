/**
 * A response on one stream of HTTP/2, as the stages know responses. Its end is said by nobody but end(): node says END_STREAM when it closes a stream
 * in the middle, unless trailers are awaited, so here they always are (invariant S10).
 */
import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import type { Clock } from '../../base/clock.ts';
import { EdgeError } from '../../base/errors.ts';
import { CONNECTION_FIELDS, isFieldValue } from '../../http/header-fields.ts';
import { BODILESS_STATUSES } from '../../http/response-head.ts';
import type { ClientResponse } from '../exchange.ts';

/** What a response works with. */
export interface Http2ResponseOptions {
  readonly isHead: boolean;
  readonly socket: Socket;
  readonly isSecure: boolean;
  readonly clock: Clock;
}

/** How often it is looked whether the end of a response has been sent, and how many times. */
const SENT_CHECK_MS = 50;
const SENT_CHECKS_MAX = 40;

/** One response. */
export class Http2Response implements ClientResponse {
  readonly socket: Socket;
  /** Of no use here: node sends a Date where there is none, and connections end by GOAWAY. */
  sendDate = true;
  shouldKeepAlive = true;
  /** Every response has its own end, and can have trailers before it. */
  readonly chunkedEncoding = true;
  readonly #stream: ServerHttp2Stream;
  readonly #isHead: boolean;
  readonly #isSecure: boolean;
  readonly #clock: Clock;
  #status = 200;
  /** Decided, and sent with what comes next. */
  #head: readonly string[] | undefined;
  #isCommitted = false;
  #trailers: readonly (readonly [string, string])[] = [];
  #hasEnded = false;
  #isEndSent = false;
  #isBrokenOff = false;
  #isRestRefused = false;

  constructor(stream: ServerHttp2Stream, { isHead, socket, isSecure, clock }: Http2ResponseOptions) {
    this.#stream = stream;
    this.socket = socket;
    this.#isHead = isHead;
    this.#isSecure = isSecure;
    this.#clock = clock;
    stream.on('wantTrailers', () => this.#sendEnd());
  }

  get statusCode(): number {
    return this.#status;
  }

  get headersSent(): boolean {
    return this.#head !== undefined;
  }

  get writableFinished(): boolean {
    return this.#isEndSent && this.#stream.writableFinished;
  }

  get destroyed(): boolean {
    return this.#stream.destroyed || this.#stream.closed;
  }

  get closed(): boolean {
    return this.#stream.destroyed;
  }

  /** Whether it was this side that ended it before its end. */
  get isBrokenOff(): boolean {
    return this.#isBrokenOff;
  }

  get #isBodiless(): boolean {
    return this.#isHead || BODILESS_STATUSES.has(this.#status);
  }

  writeContinue(): void {
    this.writeInformation(100, []);
  }

  writeInformation(status: number, fields: string[]): void {
    if (this.destroyed || this.#isCommitted) return;
    this.#stream.additionalHeaders({ ':status': status, ...grouped(pairsOf(fields)) });
  }

  /** @throws EdgeError UPSTREAM_INVALID for what HTTP/2 cannot say */
  writeHead(status: number, fields: string[]): void {
    if (status > 599) throw new EdgeError('UPSTREAM_INVALID', `The origin answered with status ${status}, which HTTP/2 does not have`);
    const kept = pairsOf(fields).filter(([name]) => !CONNECTION_FIELDS.has(name));
    const bad = kept.find(([, value]) => !isFieldValue(value));
    if (bad !== undefined)
      throw new EdgeError('UPSTREAM_INVALID', `The field ${bad[0]} of the response has a character that no field may have`);
    this.#status = status;
    this.#head = [':status', String(status), ...kept.flat()];
  }

  flushHeaders(): void {
    this.#commit(false);
  }

  write(bytes: Buffer, done: () => void): void {
    if (this.destroyed) return process.nextTick(done);
    this.#commit(false);
    // Without TLS the kernel may read these bytes long after the client has reset the stream and their owner has taken them back; TLS has copied
    // them by then.
    this.#stream.write(this.#isSecure ? bytes : Buffer.from(bytes), () => done());
  }

  addTrailers(trailers: readonly [string, string][]): void {
    this.#trailers = trailers;
  }

  end(text?: string): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    if (this.destroyed) return;
    const isEmpty = text === undefined && this.#trailers.length === 0 && !this.#isCommitted;
    this.#commit(isEmpty);
    if (!this.#isBodiless && !isEmpty) this.#stream.end(text);
    if (this.#isRestRefused) this.#resetWhenSent(SENT_CHECKS_MAX);
  }

  destroy(): void {
    if (this.destroyed || this.#isEndSent) return;
    this.#isBrokenOff = true;
    this.#stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    // Not when the reset has been sent: that may be never.
    this.#stream.destroy();
  }

  /** RFC 9113 s8.1: a reset with NO_ERROR behind a whole response. */
  refuseRest(): void {
    if (this.#isRestRefused) return;
    this.#isRestRefused = true;
    if (this.#hasEnded) this.#resetWhenSent(SENT_CHECKS_MAX);
  }

  on(event: 'close', listener: () => void): void {
    this.#stream.on(event, listener);
  }

  once(event: 'close' | 'finish', listener: () => void): void {
    this.#stream.once(event, listener);
  }

  #commit(isEmpty: boolean): void {
    if (this.#isCommitted || this.#head === undefined || this.destroyed) return;
    this.#isCommitted = true;
    const endStream = isEmpty || this.#isBodiless;
    if (endStream) this.#isEndSent = true;
    // Node goes on with the array.
    this.#stream.respond([...this.#head], { endStream, waitForTrailers: !endStream });
  }

  /** Everything before it is with nghttp2, which asks how it ends. */
  #sendEnd(): void {
    if (!this.#hasEnded) return;
    this.#isEndSent = true;
    this.#stream.sendTrailers(grouped(this.#trailers));
  }

  /** A reset overtakes an end that waits for the socket. */
  #resetWhenSent(checksLeft: number): void {
    if (this.#stream.destroyed) return;
    const isSent = this.#stream.state.localClose === 1;
    if (!isSent && checksLeft > 0) {
      this.#clock.startTimer(SENT_CHECK_MS, () => this.#resetWhenSent(checksLeft - 1));
      return;
    }
    this.#stream.close(isSent ? constants.NGHTTP2_NO_ERROR : constants.NGHTTP2_CANCEL);
    this.#stream.destroy();
  }
}

function pairsOf(fields: readonly string[]): (readonly [string, string])[] {
  const pairs: (readonly [string, string])[] = [];
  for (let index = 0; index + 1 < fields.length; index += 2) pairs.push([(fields[index] ?? '').toLowerCase(), fields[index + 1] ?? '']);
  return pairs;
}

/** The shape in which node takes interim heads and trailers. By a map: an object has members that a field may be called by (`constructor`). */
function grouped(pairs: readonly (readonly [string, string])[]): OutgoingHttpHeaders {
  const groups = new Map<string, string[]>();
  for (const [name, value] of pairs) if (!CONNECTION_FIELDS.has(name)) groups.set(name, [...(groups.get(name) ?? []), value]);
  return Object.fromEntries(groups);
}
