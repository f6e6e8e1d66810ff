/**
 * One request over HTTP/2 to an origin: its content goes as it comes, its answer comes meanwhile. Only END_STREAM ends either of them (invariant S10). Made by
 * http2-transport.ts.
 */
import { type ClientHttp2Stream, constants, type OutgoingHttpHeaders } from 'node:http2';
import type { Timer } from '../base/clock.ts';
import { EdgeError, systemErrorCode } from '../base/errors.ts';
import { isGrpc } from '../http/grpc.ts';
import { CONNECTION_FIELDS, type FieldList, fieldValue, parseRawFields } from '../http/header-fields.ts';
import { drained } from './drained.ts';
import { InterimLimit } from './interim-limit.ts';
import type { OriginSession } from './origin-session.ts';
import { SinkFeeder } from './sink-feeder.ts';
import type { TransportOptions } from './transport-options.ts';
import { type Outcome, outcomeOf, upstreamError } from './upstream-error.ts';
import type { ResponseReceiver, Transfer, UpstreamRequest } from './upstream-transport.ts';

/** Where transfers come from. */
export interface TransferHost {
  readonly options: TransportOptions;
  enqueue(transfer: Http2Transfer): void;
  dequeue(transfer: Http2Transfer): void;
  /** Once for each. */
  onOutcome(outcome: Outcome): void;
}

/** One request. */
export class Http2Transfer implements Transfer {
  readonly #host: TransferHost;
  readonly #request: UpstreamRequest;
  readonly #receiver: ResponseReceiver;
  readonly #interim = new InterimLimit();
  /** Events may be hours apart: whether the origin is there is asked by PING. */
  readonly #mayBeSilent: boolean;
  #session: OriginSession | undefined;
  #stream: ClientHttp2Stream | undefined;
  #startedMs = 0;
  #feeder: SinkFeeder | undefined;
  #trailers: FieldList = [];
  #timer: Timer | undefined;
  /** A frame that ends the stream was seen, or all that its length promised. */
  #isEndSeen = false;
  #bytesLeft: number | undefined;
  #isBodyComplete = false;
  #hasEnded = false;
  /** Of the connection, where the stream ended with that. */
  #failure: unknown;
  #mayRetry: boolean;

  constructor(host: TransferHost, request: UpstreamRequest, receiver: ResponseReceiver) {
    this.#host = host;
    this.#request = request;
    this.#receiver = receiver;
    this.#mayBeSilent = isGrpc(request.fields);
    // A connection may be closed by the origin just as it is used.
    this.#mayRetry = request.body === undefined && (request.method === 'GET' || request.method === 'HEAD');
  }

  /** Goes out on this session. */
  send(session: OriginSession): void {
    const { clock, headTimeoutMs } = this.#host.options;
    const { body } = this.#request;
    this.#session = session;
    this.#startedMs = clock.monotonicMs();
    try {
      // Without awaiting trailers node would end the content of a request that is aborted as if all of it had come.
      const stream = session.request(headOf(this.#request), { endStream: body === undefined, waitForTrailers: body !== undefined });
      this.#stream = stream;
      this.#listen(stream);
    } catch (error) {
      return this.fail(error);
    }
    if (body !== undefined) void this.#sendContent(body);
    else this.#wait(headTimeoutMs, 'UND_ERR_HEADERS_TIMEOUT');
  }

  resume(): void {
    const feeder = this.#feeder;
    if (this.#hasEnded || feeder === undefined) return;
    const next = feeder.goOn(() => this.#hasEnded, this.#isBodyComplete);
    if (next === 'finish') this.#finish();
    else if (next === 'read') this.#read();
  }

  abort(): void {
    if (!this.#hasEnded) this.#end('aborted');
  }

  /** It cannot go on. */
  fail(cause: unknown): void {
    if (this.#hasEnded) return;
    const error = upstreamError(cause, { origin: this.#host.options.origin, isInBody: this.#feeder !== undefined });
    const sink = this.#feeder?.sink;
    this.#end(outcomeOf(error));
    if (sink === undefined) this.#receiver.onFailure(error);
    else sink.onError(error);
  }

  #listen(stream: ClientHttp2Stream): void {
    stream.on('headers', (head, _flags, raw: unknown) => this.#onInterim(head[':status'], rawFields(raw)));
    stream.on('response', (head, flags, raw: unknown) => {
      this.#isEndSeen = Math.floor(flags) % 2 === constants.NGHTTP2_FLAG_END_STREAM;
      this.#onResponse(head[':status'] ?? 0, rawFields(raw));
    });
    stream.on('trailers', (_head, _flags, raw: unknown) => {
      this.#isEndSeen = true;
      this.#trailers = rawFields(raw);
    });
    stream.on('data', (bytes: Buffer) => this.#onBytes(bytes));
    stream.on('end', () => this.#onEnd(stream));
    stream.on('wantTrailers', () => stream.sendTrailers({}));
    stream.on('error', (error) => {
      this.#failure = causeOf(error);
    });
    stream.on('close', () => this.#onClose(stream));
    stream.pause();
  }

  async #sendContent(body: AsyncIterable<Uint8Array>): Promise<void> {
    const stream = this.#stream;
    try {
      for await (const piece of body) {
        if (this.#hasEnded || stream === undefined) return;
        if (!stream.write(piece)) await drained(stream);
      }
      if (this.#hasEnded) return;
      stream?.end();
      if (this.#feeder === undefined) this.#wait(this.#host.options.headTimeoutMs, 'UND_ERR_HEADERS_TIMEOUT');
    } catch (error) {
      // The sender's own failure.
      this.fail(error);
    }
  }

  #onInterim(status: number | undefined, fields: FieldList): void {
    if (this.#hasEnded || status === undefined) return;
    this.#host.options.metrics.add('interim');
    try {
      this.#interim.count();
    } catch (error) {
      return this.fail(error);
    }
    this.#receiver.onInterim?.({ status, fields });
  }

  #onResponse(status: number, fields: FieldList): void {
    if (this.#hasEnded) return;
    const { clock, metrics } = this.#host.options;
    metrics.observe('headSeconds', (clock.monotonicMs() - this.#startedMs) / 1000);
    this.#stopWaiting();
    const sink = this.#receiver.onHead({ status, fields }, this);
    if (this.#hasEnded) return;
    if (sink === undefined) return this.abort();
    this.#bytesLeft = lengthOf(fields);
    this.#feeder = new SinkFeeder(sink);
    if (this.#feeder.hasRoom) this.#read();
  }

  #read(): void {
    this.#waitForBytes();
    this.#stream?.resume();
  }

  #onBytes(bytes: Buffer): void {
    const feeder = this.#feeder;
    if (this.#hasEnded || feeder === undefined) return;
    this.#host.options.metrics.add('receivedBytes', bytes.length);
    if (this.#bytesLeft !== undefined) this.#bytesLeft -= bytes.length;
    feeder.push(bytes, () => this.#hasEnded);
    if (this.#hasEnded) return;
    if (feeder.hasRoom) this.#waitForBytes();
    else {
      this.#stopWaiting();
      this.#stream?.pause();
    }
  }

  #onEnd(stream: ClientHttp2Stream): void {
    if (this.#hasEnded || this.#feeder === undefined) return;
    const isAllThere = this.#isEndSeen || this.#bytesLeft === 0;
    // Nor is the end of the connection one of its bodies, though node says so when it is ended from here.
    const failure = this.#session?.failure;
    if (failure !== undefined && !isAllThere) return this.fail(failure);
    if (wasReset(stream) && !isAllThere)
      return this.fail(new EdgeError('UPSTREAM_BROKEN', `Origin ${this.#host.options.origin} reset its response`));
    this.#stopWaiting();
    this.#isBodyComplete = true;
    if (this.#feeder.isEmpty) this.#finish();
  }

  /** The stream is over; whether its answer was is known by now. */
  #onClose(stream: ClientHttp2Stream): void {
    if (this.#hasEnded || this.#isBodyComplete) return;
    const { origin, metrics } = this.#host.options;
    const failure = this.#session?.failure ?? this.#failure;
    const isUnseen = stream.rstCode === constants.NGHTTP2_REFUSED_STREAM || (this.#session?.isGone === true && isBreak(failure));
    if (this.#feeder === undefined && this.#mayRetry && isUnseen) {
      this.#mayRetry = false;
      metrics.add('retries');
      this.#stopWaiting();
      this.#host.enqueue(this);
      return;
    }
    const isFault = stream.rstCode === constants.NGHTTP2_PROTOCOL_ERROR || stream.rstCode === constants.NGHTTP2_ENHANCE_YOUR_CALM;
    const code = isFault && this.#feeder === undefined ? 'UPSTREAM_INVALID' : 'UPSTREAM_BROKEN';
    const text = `Origin ${origin} reset its stream (code ${stream.rstCode})`;
    this.fail(failure ?? new EdgeError(code, text, { context: { origin, errno: `RST_STREAM ${stream.rstCode}` } }));
  }

  #finish(): void {
    const sink = this.#feeder?.sink;
    this.#end('complete');
    sink?.onEnd(this.#trailers);
  }

  #end(outcome: Outcome): void {
    this.#hasEnded = true;
    this.#stopWaiting();
    this.#feeder?.clear();
    this.#host.dequeue(this);
    // Content that is still being sent has no taker any more, and an answer that is not wanted is not read.
    const stream = this.#stream;
    if (stream !== undefined && !stream.destroyed) {
      if (outcome !== 'complete' || !stream.writableFinished) stream.close(constants.NGHTTP2_CANCEL);
      else stream.resume();
    }
    this.#host.onOutcome(outcome);
  }

  #waitForBytes(): void {
    if (!this.#mayBeSilent) this.#wait(this.#host.options.bodyTimeoutMs, 'UND_ERR_BODY_TIMEOUT');
  }

  /** Fails the transfer when the origin does nothing for so long. @param errno as undici calls it, so that there is one name for a thing */
  #wait(delayMs: number, errno: string): void {
    this.#stopWaiting();
    const { clock, origin } = this.#host.options;
    this.#timer = clock.startTimer(delayMs, () => {
      this.fail(new EdgeError('UPSTREAM_TIMEOUT', `Origin ${origin} did not answer in time (${errno})`, { context: { origin, errno } }));
    });
  }

  #stopWaiting(): void {
    this.#timer?.stop();
    this.#timer = undefined;
  }
}

function headOf({ method, path, fields }: UpstreamRequest): OutgoingHttpHeaders {
  // By a map: an object has members that a client may call a field by (`constructor`).
  const head = new Map<string, string | string[]>([
    [':method', method],
    [':path', path],
  ]);
  const host = fieldValue(fields, 'host');
  if (host !== undefined) head.set(':authority', host);
  for (const [name, value] of fields) {
    // HTTP/2 says them by pseudo-fields, or not at all (RFC 9113 s8.2.2, s8.3.1).
    if (name === 'host' || CONNECTION_FIELDS.has(name)) continue;
    const known = head.get(name);
    head.set(name, known === undefined ? value : [...(Array.isArray(known) ? known : [known]), value]);
  }
  // Whatever becomes of them behind this hop, trailers are read (RFC 9110 s6.5.1); servers of gRPC look for it.
  head.set('te', 'trailers');
  return Object.fromEntries(head);
}

function rawFields(raw: unknown): FieldList {
  return parseRawFields(Array.isArray(raw) ? raw : []);
}

function lengthOf(fields: FieldList): number | undefined {
  const length = fieldValue(fields, 'content-length');
  return length === undefined ? undefined : Number(length);
}

/** Whether a connection may have been closed just as it was used. @param failure undefined: it was closed without an error */
function isBreak(failure: unknown): boolean {
  return failure === undefined || upstreamError(failure, { origin: '', isInBody: false }).code === 'UPSTREAM_BROKEN';
}

/** What ended the connection, of the error that node gives its streams; undefined for a reset of the stream alone. */
function causeOf(error: Error): unknown {
  if (error.cause !== undefined) return error.cause;
  return ['ERR_HTTP2_STREAM_ERROR', 'ERR_HTTP2_STREAM_CANCEL'].includes(systemErrorCode(error) ?? '') ? undefined : error;
}

/** A stream that the origin resets with NO_ERROR ends for node as if all had come; only what node does at the end then is another thing. */
function wasReset(stream: ClientHttp2Stream): boolean {
  return stream.listeners('end').some((listener) => listener === stream.destroy) || stream.rstCode !== constants.NGHTTP2_NO_ERROR;
}
