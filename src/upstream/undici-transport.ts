/**
 * The transport for requests that the lane does not take (origin-transport.ts), uploads above all: undici's pool, its body chunks copied once
 * into the receiver's room. When the receiver has no room undici is paused, which stops reading from the socket; what was read already (at most a socket buffer) waits here.
 */
import { buildConnector, type Dispatcher, Pool } from 'undici';
import { assert } from '../base/assert.ts';
import { EdgeError } from '../base/errors.ts';
import { parseRawFields } from '../http/header-fields.ts';
import type { ConnectionBudget } from './connection-budget.ts';
import { ResetWatch } from './reset-watch.ts';
import type { TransportOptions } from './transport-options.ts';
import { outcomeOf, type UpstreamOutcome, upstreamError } from './upstream-error.ts';
import type { BodySink, ResponseReceiver, Transfer, UpstreamRequest, UpstreamTransport } from './upstream-transport.ts';

/** What undici's side of an origin needs. */
export interface UndiciOptions extends TransportOptions {
  readonly budget: ConnectionBudget;
  /** How long an idle connection is kept, unless the origin says less. */
  readonly keepAliveMs: number;
}

/** Requests through undici. */
export class UndiciTransport implements UpstreamTransport {
  readonly #pool: Pool;
  readonly #options: UndiciOptions;
  readonly #resets = new ResetWatch();
  /** Requests that have not ended. */
  inFlight = 0;

  constructor(options: UndiciOptions) {
    this.#options = options;
    const lookup = options.lookup === undefined ? {} : { lookup: options.lookup };
    this.#pool = new Pool(options.origin, {
      allowH2: false,
      connections: options.connectionsMax,
      pipelining: 1,
      headersTimeout: options.headTimeoutMs,
      bodyTimeout: options.bodyTimeoutMs,
      maxHeaderSize: options.headBytesMax,
      keepAliveTimeout: options.keepAliveMs,
      keepAliveMaxTimeout: options.keepAliveMs,
      connect: withinBudget(
        options.budget,
        this.#resets.watch(buildConnector({ allowH2: false, timeout: options.connectTimeoutMs, ...lookup })),
      ),
    });
    this.#pool.on('connect', () => options.metrics.add('connections'));
  }

  get waitingRequests(): number {
    return this.#pool.stats.queued;
  }

  start(request: UpstreamRequest, receiver: ResponseReceiver): Transfer {
    this.inFlight += 1;
    this.#options.metrics.add('inFlight');
    const onOutcome = (outcome: UpstreamOutcome): void => {
      this.inFlight -= 1;
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
  readonly #options: UndiciOptions;
  readonly #request: UpstreamRequest;
  readonly #receiver: ResponseReceiver;
  readonly #onOutcome: (outcome: UpstreamOutcome) => void;
  readonly #startedMs: number;
  #controller: Dispatcher.DispatchController | undefined;
  #sink: BodySink | undefined;
  /** Bytes that came while there was no room, oldest first; at most what undici had read before it was paused. */
  #waiting: Buffer[] = [];
  #isBodyComplete = false;
  #hasEnded = false;
  #mayRetry: boolean;

  constructor(
    shared: { readonly pool: Pool; readonly options: UndiciOptions; readonly resets: ResetWatch },
    request: UpstreamRequest,
    receiver: ResponseReceiver,
    onOutcome: (outcome: UpstreamOutcome) => void,
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
    this.#end(outcomeOf(error));
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

  #end(outcome: UpstreamOutcome): void {
    this.#hasEnded = true;
    this.#waiting = [];
    this.#onOutcome(outcome);
  }
}

/**
 * Each connection takes a place in the origin's budget before it is opened, and gives it back when it is closed. The name that TLS asks for and
 * verifies is the origin's: undici would take the one in Host, which may be the client's.
 */
function withinBudget(budget: ConnectionBudget, connect: buildConnector.connector): buildConnector.connector {
  return ({ servername: _, ...options }, callback) => {
    budget.take(() =>
      connect(options, (...result) => {
        if (result[0] === null) result[1].once('close', () => budget.giveBack());
        else budget.giveBack();
        callback(...result);
      }),
    );
  };
}

/** undici gives the wire's own pairs; other shapes that its types allow come from its interceptors, which are not used. */
function rawPairs(raw: Dispatcher.DispatchController['rawHeaders']): readonly (string | Buffer)[] {
  return Array.isArray(raw) ? raw : [];
}
