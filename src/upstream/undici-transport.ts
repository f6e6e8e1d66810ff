/**
 * The transport that takes any origin: undici's pool, its body chunks copied once into the receiver's room. When the receiver has no room
 * undici is paused, which stops reading from the socket; what was read already (at most a socket buffer) waits here.
 */
import type { LookupFunction } from 'node:net';
import { buildConnector, type Dispatcher, Pool } from 'undici';
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { EdgeError, systemErrorCode } from '../base/errors.ts';
import type { MetricSet } from '../base/metrics.ts';
import { parseRawFields } from '../http/header-fields.ts';
import { SPECIAL_ADDRESS_CODE } from './address-guard.ts';
import { ResetWatch } from './reset-watch.ts';
import type { PooledTransport } from './transport-pool.ts';
import type { UPSTREAM_METRICS, UPSTREAM_OUTCOMES } from './upstream-metrics.ts';
import type { BodySink, ResponseReceiver, Transfer, UpstreamRequest } from './upstream-transport.ts';

type Outcome = (typeof UPSTREAM_OUTCOMES)[number];

/** Limits of one origin. */
export interface TransportOptions {
  /** Scheme and authority, such as `https://mirror.example`. */
  readonly origin: string;
  readonly connectTimeoutMs: number;
  /** From the request to its response head. */
  readonly headTimeoutMs: number;
  /** Between two pieces of a body, while it is being read. */
  readonly bodyTimeoutMs: number;
  readonly connectionsMax: number;
  readonly headBytesMax: number;
  /** In place of `dns.lookup`. */
  readonly lookup?: LookupFunction | undefined;
  readonly clock: Clock;
  readonly metrics: MetricSet<typeof UPSTREAM_METRICS>;
}

/** How long an idle connection is kept, unless the origin says less. */
const KEEP_ALIVE_MS = 30_000;

/** Requests through undici. */
export class UndiciTransport implements PooledTransport {
  readonly #pool: Pool;
  readonly #options: TransportOptions;
  readonly #resets = new ResetWatch();
  #inFlight = 0;

  constructor(options: TransportOptions) {
    this.#options = options;
    const lookup = options.lookup === undefined ? {} : { lookup: options.lookup };
    this.#pool = new Pool(options.origin, {
      allowH2: false,
      connections: options.connectionsMax,
      pipelining: 1,
      headersTimeout: options.headTimeoutMs,
      bodyTimeout: options.bodyTimeoutMs,
      maxHeaderSize: options.headBytesMax,
      keepAliveTimeout: KEEP_ALIVE_MS,
      keepAliveMaxTimeout: KEEP_ALIVE_MS,
      connect: this.#resets.watch(buildConnector({ allowH2: false, timeout: options.connectTimeoutMs, ...lookup })),
    });
    this.#pool.on('connect', () => options.metrics.add('connections'));
  }

  get waitingRequests(): number {
    return this.#pool.stats.queued;
  }

  get isIdle(): boolean {
    return this.#inFlight === 0;
  }

  start(request: UpstreamRequest, receiver: ResponseReceiver): Transfer {
    this.#inFlight += 1;
    this.#options.metrics.add('inFlight');
    const onOutcome = (outcome: Outcome): void => {
      this.#inFlight -= 1;
      this.#options.metrics.add('inFlight', -1);
      this.#options.metrics.add('requests', 1, outcome);
    };
    const shared = { pool: this.#pool, options: this.#options, resets: this.#resets };
    const transfer = new UndiciTransfer(shared, request, receiver, onOutcome);
    transfer.dispatch();
    return transfer;
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }
}

class UndiciTransfer implements Transfer {
  readonly #pool: Pool;
  readonly #resets: ResetWatch;
  readonly #options: TransportOptions;
  readonly #request: UpstreamRequest;
  readonly #receiver: ResponseReceiver;
  readonly #onOutcome: (outcome: Outcome) => void;
  readonly #startedMs: number;
  #controller: Dispatcher.DispatchController | undefined;
  #sink: BodySink | undefined;
  /** Bytes that came while there was no room, oldest first; at most what undici had read before it was paused. */
  #waiting: Buffer[] = [];
  #isBodyComplete = false;
  #hasEnded = false;
  #mayRetry: boolean;

  constructor(
    shared: { readonly pool: Pool; readonly options: TransportOptions; readonly resets: ResetWatch },
    request: UpstreamRequest,
    receiver: ResponseReceiver,
    onOutcome: (outcome: Outcome) => void,
  ) {
    const { pool, options, resets } = shared;
    this.#pool = pool;
    this.#options = options;
    this.#resets = resets;
    this.#request = request;
    this.#receiver = receiver;
    this.#onOutcome = onOutcome;
    this.#startedMs = options.clock.monotonicMs();
    // A kept connection may be closed by the origin just as it is used; such a request was not seen and may be sent once more, unless it
    // had content, which can be read only once.
    this.#mayRetry = (request.method === 'GET' || request.method === 'HEAD') && request.body === undefined;
  }

  dispatch(): void {
    const { method, path, fields, body } = this.#request;
    const headers: string[] = [];
    for (const [name, value] of fields) headers.push(name, value);
    try {
      this.#pool.dispatch(
        { method, path, headers, body: body ?? null },
        {
          onRequestStart: (controller) => this.#onRequestStart(controller),
          onResponseStart: (controller, status) => this.#onResponseStart(controller, status),
          onResponseData: (_controller, chunk) => this.#onResponseData(chunk),
          onResponseEnd: () => this.#onResponseEnd(),
          onResponseError: (_controller, error) => this.#onResponseError(error),
        },
      );
    } catch (error) {
      // undici refuses requests that it could not write (a control character in a field, say) by throwing.
      this.#onResponseError(error);
    }
  }

  resume(): void {
    if (this.#hasEnded || this.#sink === undefined) return;
    this.#drainWaiting();
    if (this.#hasEnded || this.#waiting.length > 0) return;
    if (this.#isBodyComplete) this.#finish();
    else if (this.#sink.room() !== undefined) this.#controller?.resume();
  }

  abort(): void {
    if (this.#hasEnded) return;
    this.#end('aborted');
    this.#controller?.abort(new EdgeError('CLIENT_GONE', 'Transfer no longer wanted'));
  }

  #onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#hasEnded) controller.abort(new EdgeError('CLIENT_GONE', 'Transfer no longer wanted'));
  }

  #onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    if (this.#hasEnded || status < 200) return;
    this.#options.metrics.observe('headSeconds', (this.#options.clock.monotonicMs() - this.#startedMs) / 1000);
    const sink = this.#receiver.onHead({ status, fields: parseRawFields(rawPairs(controller.rawHeaders)) }, this);
    if (this.#hasEnded) return;
    if (sink === undefined) return this.abort();
    this.#sink = sink;
    if (sink.room() === undefined) controller.pause();
  }

  #onResponseData(chunk: Buffer): void {
    // A close-delimited body that ends while it is paused brings an empty piece.
    if (this.#hasEnded || chunk.length === 0) return;
    this.#options.metrics.add('receivedBytes', chunk.length);
    this.#waiting.push(chunk);
    this.#drainWaiting();
    if (this.#hasEnded) return;
    if (this.#waiting.length > 0 || this.#sink?.room() === undefined) this.#controller?.pause();
  }

  #onResponseEnd(): void {
    if (this.#hasEnded) return;
    // Without a length only an orderly close is an end (RFC 9112 s8).
    if (this.#resets.isResetting) return this.#onResponseError(new EdgeError('UPSTREAM_BROKEN', 'The origin reset the connection'));
    this.#isBodyComplete = true;
    if (this.#waiting.length === 0) this.#finish();
  }

  #onResponseError(cause: unknown): void {
    if (this.#hasEnded) return;
    const error = upstreamError(cause, { origin: this.#options.origin, isInBody: this.#sink !== undefined });
    if (this.#sink === undefined && this.#mayRetry && error.code === 'UPSTREAM_BROKEN') {
      this.#mayRetry = false;
      this.#options.metrics.add('retries');
      this.dispatch();
      return;
    }
    const sink = this.#sink;
    this.#end(OUTCOME_OF_CODE[error.code] ?? 'invalid');
    if (sink === undefined) this.#receiver.onFailure(error);
    else sink.onError(error);
  }

  /** Copies waiting bytes into the sink's room for as long as there is both. */
  #drainWaiting(): void {
    const sink = this.#sink;
    assert(sink !== undefined, 'body bytes come after the head');
    while (this.#waiting.length > 0 && !this.#hasEnded) {
      const room = sink.room();
      if (room === undefined) return;
      const first = this.#waiting[0];
      assert(first !== undefined && room.length > 0, 'room holds at least a byte');
      const count = Math.min(room.length, first.length);
      // Not room.set(first): V8 copies into shared memory word by word, 5 GB/s against 8.
      first.copy(room, 0, 0, count);
      if (count === first.length) this.#waiting.shift();
      else this.#waiting[0] = first.subarray(count);
      sink.onBytes(count);
    }
  }

  #finish(): void {
    const sink = this.#sink;
    this.#end('complete');
    sink?.onEnd();
  }

  #end(outcome: Outcome): void {
    this.#hasEnded = true;
    this.#waiting = [];
    this.#onOutcome(outcome);
  }
}

const OUTCOME_OF_CODE: Readonly<Partial<Record<EdgeError['code'], Outcome>>> = {
  UPSTREAM_UNREACHABLE: 'unreachable',
  UPSTREAM_TIMEOUT: 'timeout',
  UPSTREAM_BROKEN: 'broken',
  UPSTREAM_INVALID: 'invalid',
};

const UNREACHABLE_CODES = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
  SPECIAL_ADDRESS_CODE,
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'CERT_HAS_EXPIRED',
]);
const TIMEOUT_CODES = new Set(['UND_ERR_CONNECT_TIMEOUT', 'UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT', 'ETIMEDOUT']);
const BROKEN_CODES = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE', 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH']);

/** @param about.isInBody whether the head had come: what goes wrong then, whatever it is called, cuts the body off */
function upstreamError(cause: unknown, about: { readonly origin: string; readonly isInBody: boolean }): EdgeError {
  if (cause instanceof EdgeError) return cause;
  const errno = systemErrorCode(cause) ?? (cause instanceof AggregateError ? systemErrorCode(cause.errors[0]) : undefined) ?? 'unknown';
  const { origin, isInBody } = about;
  const context = { origin, errno };
  if (UNREACHABLE_CODES.has(errno)) {
    return new EdgeError('UPSTREAM_UNREACHABLE', `Origin ${origin} cannot be reached (${errno}); check upstream.url and the network`, {
      context,
      cause,
    });
  }
  if (TIMEOUT_CODES.has(errno)) {
    return new EdgeError('UPSTREAM_TIMEOUT', `Origin ${origin} did not answer in time (${errno})`, { context, cause });
  }
  if (isInBody || BROKEN_CODES.has(errno)) {
    return new EdgeError('UPSTREAM_BROKEN', `Origin ${origin} broke off its response (${errno})`, { context, cause });
  }
  return new EdgeError('UPSTREAM_INVALID', `Origin ${origin} sent a response that cannot be used (${errno})`, { context, cause });
}

/** undici gives the wire's own pairs; other shapes that its types allow come from its interceptors, which are not used. */
function rawPairs(raw: Dispatcher.DispatchController['rawHeaders']): readonly (string | Buffer)[] {
  return Array.isArray(raw) ? raw : [];
}
