/**
 * The transport for plain requests, which most are: GET and HEAD without content. It keeps connections of its own, whose bodies the kernel puts
 * straight into the receiver's room (origin-connection.ts). A request takes an idle connection, or opens one while the origin's budget
 * allows it, or waits in line for either.
 */
import { EdgeError } from '../base/errors.ts';
import type { MetricSet } from '../base/metrics.ts';
import { type FieldList, isFieldValue, isToken } from '../http/header-fields.ts';
import type { ResponseHead } from '../http/response-head.ts';
import type { ConnectionBudget } from './connection-budget.ts';
import { type ConnectionOptions, type ConnectionOwner, type Exchange, OriginConnection } from './origin-connection.ts';
import { type Outcome, outcomeOf } from './upstream-error.ts';
import type { UPSTREAM_METRICS } from './upstream-metrics.ts';
import type { BodySink, ResponseReceiver, Transfer, UpstreamRequest, UpstreamTransport } from './upstream-transport.ts';

/** What a lane needs beside where to connect. */
export interface LaneOptions extends ConnectionOptions {
  readonly budget: ConnectionBudget;
  readonly metrics: MetricSet<typeof UPSTREAM_METRICS>;
  readonly onOutcome?: ((outcome: Outcome) => void) | undefined;
}

/** Whether the lane can carry a request; any other goes through undici. */
export function isPlain(request: UpstreamRequest): boolean {
  const isSafe = request.method === 'GET' || request.method === 'HEAD';
  return (
    isSafe &&
    request.body === undefined &&
    request.upgrade === undefined &&
    !request.fields.some(([name]) => name === 'upgrade' || name === 'expect')
  );
}

/** Plain requests to one origin. */
export class LaneTransport implements UpstreamTransport, ConnectionOwner {
  readonly #options: LaneOptions;
  readonly #connections = new Set<OriginConnection>();
  /** The one used last is used first, so that the others can end. */
  readonly #idle: OriginConnection[] = [];
  readonly #waiting: LaneTransfer[] = [];
  /** Connections that wait for a place in the budget. */
  #opening = 0;
  /** Connections that have a place and are not connected yet. */
  readonly #connecting = new Set<OriginConnection>();
  #isClosed = false;

  constructor(options: LaneOptions) {
    this.#options = options;
    options.budget.reclaim = () => this.#closeIdle();
  }

  /** Not those whose connection is on its way. */
  get waitingRequests(): number {
    return Math.max(0, this.#waiting.length - this.#connecting.size);
  }

  /** Requests that have not ended. */
  inFlight = 0;

  start(request: UpstreamRequest, receiver: ResponseReceiver): Transfer {
    const transfer = new LaneTransfer(this, this.#options, request, receiver);
    transfer.begin();
    return transfer;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#refuseWaiting();
    for (const connection of [...this.#connections]) connection.breakOff(closedError());
  }

  /** A request wants a connection. */
  enqueue(transfer: LaneTransfer): void {
    const connection = this.#idle.pop();
    if (connection !== undefined) return this.#send(connection, transfer);
    this.#waiting.push(transfer);
    if (this.#isClosed) return this.#refuseWaiting();
    if (this.#opening + this.#connecting.size < this.#waiting.length) this.#open();
  }

  /** It is not wanted any more. */
  dequeue(transfer: LaneTransfer): void {
    const index = this.#waiting.indexOf(transfer);
    if (index >= 0) this.#waiting.splice(index, 1);
  }

  onIdle(connection: OriginConnection): void {
    const isNew = this.#connecting.delete(connection);
    // Others who wait for a place in the budget would wait for ever beside a lane that is always busy; and the lane beside them, if it gave
    // up a connection before the first request.
    const isUsed = !isNew || this.#waiting.length === 0;
    if (isUsed && this.#options.budget.waitingCount > this.#opening) return connection.destroy();
    const transfer = this.#waiting.shift();
    if (transfer === undefined) this.#idle.push(connection);
    else this.#send(connection, transfer);
  }

  onClosed(connection: OriginConnection, connectError: EdgeError | undefined): void {
    this.#connections.delete(connection);
    this.#connecting.delete(connection);
    const index = this.#idle.indexOf(connection);
    if (index >= 0) this.#idle.splice(index, 1);
    this.#options.budget.giveBack();
    if (connectError !== undefined) this.#waiting.shift()?.onFailure(connectError);
    if (this.#opening + this.#connecting.size < this.#waiting.length) this.#open();
  }

  #refuseWaiting(): void {
    for (const transfer of this.#waiting.splice(0)) transfer.onFailure(closedError());
  }

  #send(connection: OriginConnection, transfer: LaneTransfer): void {
    transfer.attach(connection);
    connection.send(transfer);
  }

  #open(): void {
    this.#opening += 1;
    this.#options.budget.take(() => {
      this.#opening -= 1;
      // Whoever wanted it may have got another one, or has left.
      if (this.#waiting.length === 0 || this.#isClosed) return this.#options.budget.giveBack();
      this.#options.metrics.add('connections');
      const connection = new OriginConnection(this.#options, this);
      this.#connections.add(connection);
      this.#connecting.add(connection);
    });
  }

  /** Somebody waits for a place that an idle connection holds. */
  #closeIdle(): boolean {
    const connection = this.#idle.shift();
    connection?.destroy();
    return connection !== undefined;
  }
}

function closedError(): EdgeError {
  return new EdgeError('CLIENT_GONE', 'The transport is closed');
}

/** One request. */
class LaneTransfer implements Transfer, Exchange {
  readonly method: string;
  head = '';
  readonly #lane: LaneTransport;
  readonly #options: LaneOptions;
  readonly #request: UpstreamRequest;
  readonly #receiver: ResponseReceiver;
  readonly #startedMs: number;
  #connection: OriginConnection | undefined;
  #sink: BodySink | undefined;
  #hasEnded = false;
  /** A kept connection may be closed by the origin just as it is used; such a request was not seen and may be sent once more. */
  #mayRetry = true;

  constructor(lane: LaneTransport, options: LaneOptions, request: UpstreamRequest, receiver: ResponseReceiver) {
    lane.inFlight += 1;
    options.metrics.add('inFlight');
    this.#lane = lane;
    this.#options = options;
    this.#request = request;
    this.#receiver = receiver;
    this.method = request.method;
    this.#startedMs = options.clock.monotonicMs();
  }

  begin(): void {
    const head = formatHead(this.#request);
    if (head === undefined) {
      const { origin } = this.#options;
      this.onFailure(new EdgeError('UPSTREAM_INVALID', `A request to ${origin} has a field that cannot be sent`, { context: { origin } }));
      return;
    }
    this.head = head;
    this.#lane.enqueue(this);
  }

  attach(connection: OriginConnection): void {
    this.#connection = connection;
  }

  resume(): void {
    if (!this.#hasEnded) this.#connection?.resume();
  }

  abort(): void {
    if (this.#hasEnded) return;
    this.#end('aborted');
    if (this.#connection === undefined) this.#lane.dequeue(this);
    else this.#connection.destroy();
  }

  onInterim({ status, fields }: ResponseHead): void {
    this.#options.metrics.add('interim');
    this.#receiver.onInterim?.({ status, fields });
  }

  onHead({ status, fields }: ResponseHead): BodySink | undefined {
    this.#options.metrics.observe('headSeconds', (this.#options.clock.monotonicMs() - this.#startedMs) / 1000);
    this.#sink = this.#receiver.onHead({ status, fields }, this);
    if (this.#sink === undefined && !this.#hasEnded) this.#end('aborted');
    return this.#sink;
  }

  onBytes(bytes: number): void {
    this.#options.metrics.add('receivedBytes', bytes);
    this.#sink?.onBytes(bytes);
  }

  onEnd(trailers: FieldList): void {
    if (this.#hasEnded) return;
    this.#end('complete');
    this.#sink?.onEnd(trailers);
  }

  onFailure(error: EdgeError): void {
    if (this.#hasEnded) return;
    if (this.#sink === undefined && this.#mayRetry && this.#connection !== undefined && error.code === 'UPSTREAM_BROKEN') {
      this.#mayRetry = false;
      this.#connection = undefined;
      this.#options.metrics.add('retries');
      this.#lane.enqueue(this);
      return;
    }
    this.#end(outcomeOf(error));
    if (this.#sink === undefined) this.#receiver.onFailure(error);
    else this.#sink.onError(error);
  }

  #end(outcome: Outcome): void {
    this.#hasEnded = true;
    this.#lane.inFlight -= 1;
    this.#options.metrics.add('inFlight', -1);
    this.#options.metrics.add('requests', 1, outcome);
    // What cannot be written is no fault of the origin's.
    this.#options.onOutcome?.(outcome === 'invalid' && this.#connection === undefined ? 'aborted' : outcome);
  }
}

/** @returns undefined when a part of it could be read as something else */
function formatHead({ method, path, fields }: UpstreamRequest): string | undefined {
  if (!/^[\x21-\x7e\x80-\xff]+$/.test(path)) return undefined;
  let text = `${method} ${path} HTTP/1.1\r\n`;
  for (const [name, value] of fields) {
    if (!isToken(name) || !isFieldValue(value)) return undefined;
    text += `${name}: ${value}\r\n`;
  }
  return `${text}connection: keep-alive\r\n\r\n`;
}
