/**
 * The transport for what the lane does not take (origin-transport.ts): undici's pool, its body chunks copied once into the receiver's room. When the receiver has no room
 * undici is paused, which stops reading from the socket; what was read already (at most a socket buffer) waits in the feeder. What has
 * content, or asks for another protocol, goes over node:http instead (upload-transfer.ts).
 */
import type { Agent } from 'node:http';
import { buildConnector, type Dispatcher, Pool } from 'undici';
import { EdgeError } from '../base/errors.ts';
import { type FieldList, parseRawFields } from '../http/header-fields.ts';
import type { ConnectionBudget } from './connection-budget.ts';
import { InterimLimit } from './interim-limit.ts';
import { ResetWatch } from './reset-watch.ts';
import { SinkFeeder } from './sink-feeder.ts';
import type { TransportOptions } from './transport-options.ts';
import type { PooledTransport } from './transport-pool.ts';
import { createUploadAgent, UploadTransfer } from './upload-transfer.ts';
import { type Outcome, outcomeOf, upstreamError } from './upstream-error.ts';
import type { ResponseReceiver, Transfer, UpstreamRequest } from './upstream-transport.ts';

/** What undici's side of an origin needs. */
export interface UndiciOptions extends TransportOptions {
  readonly budget: ConnectionBudget;
  /** How long an idle connection is kept, unless the origin says less. */
  readonly keepAliveMs: number;
}

/** Requests through undici. */
export class UndiciTransport implements PooledTransport {
  readonly #pool: Pool;
  readonly #uploads: Agent;
  readonly #options: TransportOptions;
  readonly #resets = new ResetWatch();
  #inFlight = 0;

  constructor(options: UndiciOptions) {
    this.#options = options;
    const lookup = options.lookup === undefined ? {} : { lookup: options.lookup };
    const name = options.tls?.servername === undefined ? {} : { servername: options.tls.servername };
    const security = { ...name, rejectUnauthorized: options.tls?.verifies ?? true };
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
        this.#resets.watch(buildConnector({ allowH2: false, timeout: options.connectTimeoutMs, ...lookup, ...security })),
      ),
    });
    this.#uploads = createUploadAgent(options.origin, options.budget);
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
      this.#options.onOutcome?.(outcome);
    };
    if (request.body !== undefined || request.upgrade !== undefined)
      return new UploadTransfer({ options: this.#options, agent: this.#uploads, onOutcome }, request, receiver);
    const shared = { pool: this.#pool, options: this.#options, resets: this.#resets };
    const transfer = new UndiciTransfer(shared, request, receiver, onOutcome);
    transfer.dispatch();
    return transfer;
  }

  async close(): Promise<void> {
    this.#uploads.destroy();
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
  #feeder: SinkFeeder | undefined;
  readonly #interim = new InterimLimit();
  #trailers: FieldList = [];
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
    // A kept connection may be closed by the origin just as it is used; such a request was not seen and may be sent once more.
    this.#mayRetry = request.method === 'GET' || request.method === 'HEAD';
  }

  dispatch(): void {
    const { method, path, fields } = this.#request;
    const headers: string[] = [];
    for (const [name, value] of fields) headers.push(name, value);
    try {
      this.#pool.dispatch(
        { method, path, headers, body: null },
        {
          onRequestStart: (controller) => this.#onRequestStart(controller),
          onResponseStart: (controller, status) => this.#onResponseStart(controller, status),
          onResponseData: (_controller, chunk) => this.#onResponseData(chunk),
          onResponseEnd: (controller) => this.#onResponseEnd(controller),
          onResponseError: (_controller, error) => this.#onResponseError(error),
        },
      );
    } catch (error) {
      // undici refuses requests that it could not write (a control character in a field, say) by throwing.
      this.#onResponseError(error);
    }
  }

  resume(): void {
    const feeder = this.#feeder;
    if (this.#hasEnded || feeder === undefined) return;
    const next = feeder.goOn(() => this.#hasEnded, this.#isBodyComplete);
    if (next === 'finish') this.#finish();
    else if (next === 'read') this.#controller?.resume();
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
    if (this.#hasEnded) return;
    const head = { status, fields: parseRawFields(rawPairs(controller.rawHeaders)) };
    if (status < 200) {
      this.#options.metrics.add('interim');
      // Thrown, it ends the request; undici hands it to onResponseError.
      this.#interim.count();
      this.#receiver.onInterim?.(head);
      return;
    }
    this.#options.metrics.observe('headSeconds', (this.#options.clock.monotonicMs() - this.#startedMs) / 1000);
    const sink = this.#receiver.onHead(head, this);
    if (this.#hasEnded) return;
    if (sink === undefined) return this.abort();
    this.#feeder = new SinkFeeder(sink);
    if (!this.#feeder.hasRoom) controller.pause();
  }

  #onResponseData(chunk: Buffer): void {
    const feeder = this.#feeder;
    // A close-delimited body that ends while it is paused brings an empty piece.
    if (this.#hasEnded || feeder === undefined || chunk.length === 0) return;
    this.#options.metrics.add('receivedBytes', chunk.length);
    feeder.push(chunk, () => this.#hasEnded);
    if (this.#hasEnded) return;
    if (!feeder.hasRoom) this.#controller?.pause();
  }

  #onResponseEnd(controller: Dispatcher.DispatchController): void {
    if (this.#hasEnded) return;
    // Without a length only an orderly close is an end (RFC 9112 s8).
    if (this.#resets.isResetting) return this.#onResponseError(new EdgeError('UPSTREAM_BROKEN', 'The origin reset the connection'));
    this.#isBodyComplete = true;
    this.#trailers = parseRawFields(rawPairs(controller.rawTrailers));
    if (this.#feeder?.isEmpty === true) this.#finish();
  }

  #onResponseError(cause: unknown): void {
    if (this.#hasEnded) return;
    const error = upstreamError(cause, { origin: this.#options.origin, isInBody: this.#feeder !== undefined });
    if (this.#feeder === undefined && this.#mayRetry && error.code === 'UPSTREAM_BROKEN') {
      this.#mayRetry = false;
      this.#options.metrics.add('retries');
      this.dispatch();
      return;
    }
    const sink = this.#feeder?.sink;
    this.#end(outcomeOf(error));
    if (sink === undefined) this.#receiver.onFailure(error);
    else sink.onError(error);
  }

  #finish(): void {
    const sink = this.#feeder?.sink;
    this.#end('complete');
    sink?.onEnd(this.#trailers);
  }

  #end(outcome: Outcome): void {
    this.#hasEnded = true;
    this.#feeder?.clear();
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
function rawPairs(raw: Dispatcher.DispatchController['rawHeaders' | 'rawTrailers']): readonly (string | Buffer)[] {
  return Array.isArray(raw) ? raw : [];
}
