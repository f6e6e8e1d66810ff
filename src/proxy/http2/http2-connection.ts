/**
 * One connection of HTTP/2: node's session over a socket that the listener has accepted, each stream of it a request for the pipeline. What nghttp2
 * and node bound by themselves is left to them (frames that are malformed, CONTINUATION, header blocks, answers that nobody reads); what they leave open
 * is bounded here. Made by http2-door.ts.
 */
import { constants, performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import type { Timer } from '../../base/clock.ts';
import { EdgeError, systemErrorCode } from '../../base/errors.ts';
import { KIB } from '../../base/units.ts';
import { translateHead } from '../../http/http2-head.ts';
import type { Peer } from '../client-door.ts';
import { handleRequest } from '../pipeline.ts';
import type { HTTP2_LIMITS } from '../proxy-metrics.ts';
import { RequestContext, type RequestFault } from '../request-context.ts';
import type { ProxyServices } from '../services.ts';
import { FrameBudget, type FrameRate } from './frame-budget.ts';
import { Http2Request } from './http2-request.ts';
import { Http2Response } from './http2-response.ts';

/** What connections of one listener share. */
export interface Http2Share {
  services: ProxyServices;
  streamsMax: number;
  headerTimeoutMs: number;
  readonly headerBytesMax: number;
  /** How long a connection without streams is kept. */
  readonly keepAliveMs: number;
}

/** Why a connection was ended, or what it met. */
export type Http2Limit = (typeof HTTP2_LIMITS)[number];

/** More than a browser cancels at once when its page is left. */
const RESETS: FrameRate = { burst: 256, perSecond: 32 };
/** Some clients of gRPC measure with a PING in each round trip. */
const CONTROLS: FrameRate = { burst: 256, perSecond: 32 };
/** Beyond limits.headerBytes, so that what is a little more is answered with 431; what is much more node resets. */
const HEADER_MARGIN_BYTES = 16 * KIB;
/** So that admit, which takes 256, is the one that answers. */
const HEADER_PAIRS_MAX = 320;
/** For the rest of a request that is answered already; upload.ts drops what comes of it for 2 s. */
const REST_MS = 3000;
/** For the client to take what is left and go, or to show that it reads at all. */
const LINGER_MS = 5000;
/** No stream has it yet: a GOAWAY with it announces the end and refuses nothing (RFC 9113 s6.8). */
const LAST_STREAM_ID = 2 ** 31 - 1;

/** One connection. */
export class Http2Connection {
  readonly #socket: Socket;
  readonly #peer: Peer;
  readonly #share: Http2Share;
  readonly #session: ServerHttp2Session;
  readonly #resets: FrameBudget;
  readonly #controls: FrameBudget;
  #streams = 0;
  #hasBegun = false;
  /** The client was told that the connection will end. */
  #isAnnounced = false;
  /** The client has said why it ends the connection, or was told. */
  #isToldWhy = false;
  readonly #presence: Timer;
  #idle: Timer | undefined;
  #linger: Timer | undefined;
  /** Runs while a PING is unanswered. */
  #unread: Timer | undefined;

  constructor(socket: Socket, peer: Peer, share: Http2Share) {
    this.#socket = socket;
    this.#peer = peer;
    this.#share = share;
    const { clock, load } = share.services;
    this.#resets = new FrameBudget(clock, RESETS);
    this.#controls = new FrameBudget(clock, CONTROLS);
    this.#session = performServerHandshake(socket, {
      maxHeaderListPairs: HEADER_PAIRS_MAX,
      // Origins may repeat what should stand once; it is passed on as it came, as over HTTP/1.1.
      strictSingleValueFields: false,
      settings: { maxConcurrentStreams: share.streamsMax, maxHeaderListSize: share.headerBytesMax + HEADER_MARGIN_BYTES },
    });
    // Node takes a TLSSocket that no server of its own has made for one that is still shaking hands.
    if (this.#session.connecting) socket.emit('secureConnect');
    load.http2Connections += 1;
    this.#watch();
    this.#idle = clock.startTimer(share.headerTimeoutMs, () => this.#endIdle('slow'));
    // A client that is gone without a word may have streams on which nothing is due.
    this.#presence = clock.startInterval(share.keepAliveMs, () => {
      if (this.#streams > 0) this.#checkReading();
    });
  }

  /** Tells the client that the connection will end; streams that it opens meanwhile are served. */
  beginClosing(): void {
    if (this.#isAnnounced || this.#session.destroyed || this.#session.closed) return;
    this.#isAnnounced = true;
    this.#session.goaway(constants.NGHTTP2_NO_ERROR, LAST_STREAM_ID);
  }

  /** Ends the connection once its streams have ended. */
  close(): void {
    if (this.#session.destroyed || this.#session.closed) return;
    this.#session.close();
    if (this.#streams === 0) this.#lingerOn();
  }

  /** @param listener called when the connection is gone */
  onClose(listener: () => void): void {
    this.#session.once('close', listener);
  }

  #watch(): void {
    const session = this.#session;
    session.on('stream', (stream, _headers, _flags, raw: unknown) => this.#onStream(stream, raw));
    session.on('remoteSettings', () => {
      if (!this.#hasBegun) {
        this.#hasBegun = true;
        this.#waitIdle();
      }
      this.#takeControl();
    });
    session.on('ping', () => this.#takeControl());
    session.once('goaway', () => {
      this.#isToldWhy = true;
    });
    // The client has closed in its way, or by a frame that breaks the protocol; who resets the connection has only gone.
    session.on('error', (error) => {
      const isGone = ['ECONNRESET', 'EPIPE'].includes(systemErrorCode(error) ?? '');
      if (!isGone && !this.#isToldWhy) this.#count('protocol');
    });
    // The listener's sockets stay half open, but a client that says nothing more opens no window either.
    this.#socket.once('end', () => session.destroy());
    session.once('close', () => {
      this.#share.services.load.http2Connections -= 1;
      this.#idle?.stop();
      this.#linger?.stop();
      this.#presence.stop();
      this.#unread?.stop();
    });
  }

  #takeControl(): void {
    if (!this.#controls.take()) this.#calm('control');
  }

  #onStream(stream: ServerHttp2Stream, raw: unknown): void {
    stream.on('error', () => undefined);
    // It was reset with the packet that opened it.
    if (stream.destroyed) return this.#noteReset();
    const { services, streamsMax } = this.#share;
    this.#idle?.stop();
    this.#streams += 1;
    services.load.http2Streams += 1;
    if (this.#streams === streamsMax) this.#count('streams');
    // As an answer of HTTP/1.1 says that it is the last.
    if (services.load.isDraining) this.beginClosing();
    const response = this.#begin(stream, Array.isArray(raw) ? raw : []);
    stream.once('close', () => {
      this.#streams -= 1;
      services.load.http2Streams -= 1;
      if (response.isBrokenOff) this.#checkReading();
      else if (!response.writableFinished) this.#noteReset();
      if (this.#streams > 0 || this.#session.destroyed) return;
      if (this.#session.closed) this.#lingerOn();
      else this.#waitIdle();
    });
  }

  #begin(stream: ServerHttp2Stream, raw: readonly string[]): Http2Response {
    const { services, headerBytesMax } = this.#share;
    const { clock } = services;
    const head = translateHead(raw, !stream.endAfterHeaders);
    const tooLarge: RequestFault | undefined = head.sizeBytes > headerBytesMax ? { kind: 'head-size' } : undefined;
    const response = new Http2Response(stream, {
      isHead: head.method === 'HEAD',
      socket: this.#socket,
      isSecure: this.#peer.isSecure,
      clock,
    });
    const context = new RequestContext(new Http2Request(stream, head), response, {
      startedMs: clock.monotonicMs(),
      peer: this.#peer,
      trust: services.service.transport.trust,
      fault: tooLarge ?? head.fault,
    });
    void handleRequest(context, services).then(() => {
      // What is sent behind the answer was dropped for a while (upload.ts); a stream that only the client's side keeps open ends then.
      if (!context.request.complete) clock.startTimer(REST_MS, () => response.refuseRest());
    });
    return response;
  }

  /** A client that does not read what is sent to it does not hear of a reset either, and keeps what was written before. */
  #checkReading(): void {
    if (this.#unread !== undefined || this.#session.destroyed || this.#session.closed) return;
    this.#unread = this.#share.services.clock.startTimer(LINGER_MS, () => {
      this.#count('unread');
      this.#socket.destroy();
    });
    this.#session.ping(() => {
      this.#unread?.stop();
      this.#unread = undefined;
    });
  }

  #noteReset(): void {
    if (!this.#session.destroyed && !this.#resets.take()) this.#calm('resets');
  }

  #calm(limit: Http2Limit): void {
    if (this.#session.destroyed) return;
    this.#count(limit);
    this.#isToldWhy = true;
    this.#session.destroy(
      new EdgeError('REQUEST_INVALID', `The client met a limit of HTTP/2 (${limit})`),
      constants.NGHTTP2_ENHANCE_YOUR_CALM,
    );
  }

  #waitIdle(): void {
    const { services, keepAliveMs } = this.#share;
    this.#idle?.stop();
    // Who was told goes by himself, behind what was on its way to here.
    this.#idle = services.clock.startTimer(this.#isAnnounced ? LINGER_MS : keepAliveMs, () => this.#endIdle('idle'));
  }

  #endIdle(why: Http2Limit): void {
    if (this.#streams > 0) return;
    this.#count(why);
    this.close();
  }

  #lingerOn(): void {
    this.#linger ??= this.#share.services.clock.startTimer(LINGER_MS, () => this.#socket.destroy());
  }

  #count(limit: Http2Limit): void {
    this.#share.services.metrics.add('http2Limits', 1, limit);
  }
}
