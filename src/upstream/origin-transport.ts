/**
 * The door to one origin: plain requests take the lane (lane-transport.ts), whatever else there is goes through undici. Both share the
 * origin's budget of connections. An origin of HTTP/2 is spoken to by http2-transport.ts alone.
 */
import { SECOND_MS } from '../base/units.ts';
import { ConnectionBudget } from './connection-budget.ts';
import { Http2Transport } from './http2-transport.ts';
import { isPlain, LaneTransport } from './lane-transport.ts';
import type { TransportOptions } from './transport-options.ts';
import type { PooledTransport } from './transport-pool.ts';
import { UndiciTransport } from './undici-transport.ts';
import type { ResponseReceiver, Transfer, UpstreamRequest } from './upstream-transport.ts';

/** How long an idle connection is kept, unless the origin says less. */
const KEEP_ALIVE_MS = 30 * SECOND_MS;
/** The same for undici's, which cannot be asked to give one up. */
const UNDICI_KEEP_ALIVE_MS = SECOND_MS;

/** Requests to one origin. */
export class OriginTransport implements PooledTransport {
  readonly #lane: LaneTransport;
  readonly #undici: UndiciTransport;
  readonly #http2: Http2Transport | undefined;

  constructor(options: TransportOptions) {
    const budget = new ConnectionBudget(options.connectionsMax);
    this.#lane = new LaneTransport({ ...options, budget, keepAliveMs: KEEP_ALIVE_MS });
    this.#undici = new UndiciTransport({ ...options, budget, keepAliveMs: UNDICI_KEEP_ALIVE_MS });
    this.#http2 = options.protocol === 'h2' ? new Http2Transport(options) : undefined;
  }

  get waitingRequests(): number {
    return this.#lane.waitingRequests + this.#undici.waitingRequests + (this.#http2?.waitingRequests ?? 0);
  }

  get isIdle(): boolean {
    return this.#lane.inFlight === 0 && this.#undici.isIdle && this.#http2?.isIdle !== false;
  }

  start(request: UpstreamRequest, receiver: ResponseReceiver): Transfer {
    // HTTP/2 has no Upgrade: what begins with it begins with HTTP/1.1.
    if (this.#http2 !== undefined && request.upgrade === undefined) return this.#http2.start(request, receiver);
    return (isPlain(request) ? this.#lane : this.#undici).start(request, receiver);
  }

  async close(): Promise<void> {
    await Promise.all([this.#lane.close(), this.#undici.close(), this.#http2?.close()]);
  }
}
