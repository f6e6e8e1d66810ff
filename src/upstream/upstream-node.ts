/**
 * One node of a group: the way to it, and what its answers say about it. One that failed rests: it is left alone for a second, twice as long after each
 * further failure, and then has to answer one request before it gets others. Nothing here chooses; group-transport.ts does.
 *
 *   well -> failed -> resting -> probed -> well        probed: one request at a time; a failure brings a longer rest
 */
import type { Clock } from '../base/clock.ts';
import { MetricSet } from '../base/metrics.ts';
import { SECOND_MS } from '../base/units.ts';
import type { BalancedNode } from './balancer.ts';
import { NODE_METRICS } from './node-metrics.ts';
import { OriginTransport } from './origin-transport.ts';
import type { TransportOptions } from './transport-options.ts';
import type { Outcome } from './upstream-error.ts';
import type { ResponseReceiver, Transfer, UpstreamRequest } from './upstream-transport.ts';

const REST_MS_MIN = SECOND_MS;
const REST_MS_MAX = 30 * SECOND_MS;

/** What says that the node is at fault. */
const FAILURES: ReadonlySet<Outcome> = new Set(['unreachable', 'timeout', 'broken', 'invalid']);

/** A node and how it is reached. */
export interface NodeOptions {
  readonly weight: number;
  readonly transport: Omit<TransportOptions, 'onOutcome'>;
}

/** One server of a group. */
export class UpstreamNode implements BalancedNode {
  readonly weight: number;
  /** `scheme://host[:port]`; tells nodes of a group apart. */
  readonly origin: string;
  /** `host[:port]`. */
  readonly authority: string;
  readonly metrics = new MetricSet(NODE_METRICS);
  readonly #transport: OriginTransport;
  readonly #clock: Clock;
  #failures = 0;
  #restUntilMs = 0;
  #isProbed = false;
  /** It began an answer as it should since it failed last. */
  #isProved = false;
  #inFlight = 0;

  constructor({ weight, transport }: NodeOptions) {
    this.weight = weight;
    this.origin = transport.origin;
    this.authority = new URL(transport.origin).host;
    this.#clock = transport.clock;
    this.#transport = new OriginTransport({ ...transport, onOutcome: (outcome) => this.#onOutcome(outcome) });
    this.metrics.setGauge('inFlight', () => this.#inFlight);
    this.metrics.setGauge('isResting', () => Number(this.#clock.monotonicMs() < this.#restUntilMs));
  }

  /** Requests in progress. */
  get inFlight(): number {
    return this.#inFlight;
  }

  get waitingRequests(): number {
    return this.#transport.waitingRequests;
  }

  get isIdle(): boolean {
    return this.#transport.isIdle;
  }

  /** Whether it should get a request now. */
  get isAvailable(): boolean {
    if (this.#failures === 0 || this.#isProved) return true;
    return !this.#isProbed && this.#clock.monotonicMs() >= this.#restUntilMs;
  }

  start(request: UpstreamRequest, receiver: ResponseReceiver): Transfer {
    this.#inFlight += 1;
    if (!this.#isProved && this.#failures > 0) this.#isProbed = true;
    return this.#transport.start(request, receiver);
  }

  /** It did not answer, or the answer says that it cannot. */
  noteFailure(): void {
    const nowMs = this.#clock.monotonicMs();
    this.#isProbed = false;
    // What fails together with the first one says nothing new.
    if (nowMs < this.#restUntilMs) return;
    this.#isProved = false;
    this.#restUntilMs = nowMs + Math.min(REST_MS_MAX, REST_MS_MIN * 2 ** this.#failures);
    this.#failures += 1;
    this.metrics.add('rests');
  }

  /** It began an answer as it should. */
  noteHead(): void {
    this.#isProbed = false;
    if (this.#clock.monotonicMs() >= this.#restUntilMs) this.#isProved = true;
  }

  async close(): Promise<void> {
    await this.#transport.close();
  }

  #onOutcome(outcome: Outcome): void {
    this.#inFlight -= 1;
    this.metrics.add('requests', 1, outcome);
    if (FAILURES.has(outcome)) return this.noteFailure();
    this.#isProbed = false;
    // An answer that ends well is what a longer rest is forgotten for.
    if (outcome === 'complete' && this.#isProved) this.#failures = 0;
  }
}
