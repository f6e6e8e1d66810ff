/**
 * The transport for groups that speak HTTP/2, by ALPN over TLS and with prior knowledge without: requests with and without content, both ways at
 * once, with trailers. Streams of one connection first; another one when that takes no more; who finds all of them full waits in line.
 */
import { EdgeError } from '../base/errors.ts';
import { Http2Transfer, type TransferHost } from './http2-transfer.ts';
import { OriginSession, type SessionOwner } from './origin-session.ts';
import type { TransportOptions } from './transport-options.ts';
import type { PooledTransport } from './transport-pool.ts';
import type { Outcome } from './upstream-error.ts';
import type { ResponseReceiver, Transfer, UpstreamRequest } from './upstream-transport.ts';

/** Requests to one origin over HTTP/2. */
export class Http2Transport implements PooledTransport, SessionOwner, TransferHost {
  readonly options: TransportOptions;
  readonly #sessions = new Set<OriginSession>();
  readonly #waiting: Http2Transfer[] = [];
  #inFlight = 0;
  #isClosed = false;

  constructor(options: TransportOptions) {
    this.options = options;
  }

  get waitingRequests(): number {
    return this.#waiting.length;
  }

  get isIdle(): boolean {
    return this.#inFlight === 0;
  }

  start(request: UpstreamRequest, receiver: ResponseReceiver): Transfer {
    this.#inFlight += 1;
    this.options.metrics.add('inFlight');
    const transfer = new Http2Transfer(this, request, receiver);
    this.enqueue(transfer);
    return transfer;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const session of [...this.#sessions]) session.destroy();
    for (const transfer of this.#waiting.splice(0)) transfer.fail(closedError());
  }

  /** A transfer wants a stream, once more perhaps. */
  enqueue(transfer: Http2Transfer): void {
    if (this.#isClosed) return transfer.fail(closedError());
    this.#waiting.push(transfer);
    this.onRoom();
  }

  /** It is not wanted any more. */
  dequeue(transfer: Http2Transfer): void {
    const index = this.#waiting.indexOf(transfer);
    if (index >= 0) this.#waiting.splice(index, 1);
  }

  onOutcome(outcome: Outcome): void {
    this.#inFlight -= 1;
    this.options.metrics.add('inFlight', -1);
    this.options.metrics.add('requests', 1, outcome);
    this.options.onOutcome?.(outcome);
  }

  onRoom(): void {
    while (this.#waiting.length > 0) {
      const session = this.#findSession();
      if (session === undefined) return;
      this.#waiting.shift()?.send(session);
    }
  }

  onGone(session: OriginSession): void {
    this.#sessions.delete(session);
  }

  #findSession(): OriginSession | undefined {
    for (const session of this.#sessions) if (session.hasRoom) return session;
    if (this.#isClosed || this.#sessions.size >= this.options.connectionsMax) return undefined;
    const session = new OriginSession(this.options, this);
    this.#sessions.add(session);
    return session;
  }
}

function closedError(): EdgeError {
  return new EdgeError('UPSTREAM_BROKEN', 'The transport was closed');
}
