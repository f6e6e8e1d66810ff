/** One node of a group: the way to it, what it is worth, and how it is (node-health.ts). Nothing here chooses; group-transport.ts does. */
import type { Clock } from '../base/clock.ts';
import { MetricSet } from '../base/metrics.ts';
import type { BalancedNode } from './balancer.ts';
import { type CheckOptions, HealthCheck } from './health-check.ts';
import { NodeHealth, type NodeState, type OutlierLimits } from './node-health.ts';
import { NODE_METRICS } from './node-metrics.ts';
import { OriginTransport } from './origin-transport.ts';
import type { TransportOptions } from './transport-options.ts';
import type { Outcome } from './upstream-error.ts';
import type { ResponseReceiver, Transfer, UpstreamRequest } from './upstream-transport.ts';
import { startWatched } from './watched-request.ts';

/** What says that the node is at fault. */
const FAILURES: ReadonlySet<Outcome> = new Set(['unreachable', 'timeout', 'broken', 'invalid']);
/** What a node is worth at the start of its slow start, in relation to its weight. */
const SLOW_START_SHARE_MIN = 0.1;

/** A node, how it is reached, and when it is left alone. */
export interface NodeOptions {
  readonly weight: number;
  /** Asked only when no other node is well. */
  readonly isBackup: boolean;
  /** Time in which a node that came, or came back, gets its full share. */
  readonly slowStartMs: number;
  readonly outlier: OutlierLimits;
  readonly check: CheckOptions | undefined;
  /** `host[:port]` that it is sent; undefined: those of its origin. */
  readonly authority?: string | undefined;
  readonly transport: Omit<TransportOptions, 'onOutcome'>;
  /** Told of changes, for the log. */
  readonly onState: (origin: string, state: NodeState, why: string) => void;
}

/** A node's state for people. */
export interface NodeFacts {
  readonly origin: string;
  readonly state: NodeState;
  readonly weight: number;
  readonly isBackup: boolean;
  readonly requestsInFlight: number;
  /** Mean time to the head; undefined while too little is known. */
  readonly latencyMs: number | undefined;
  readonly restLeftMs: number;
  /** What the last check found wrong; undefined when nothing, or without checks. */
  readonly checkFault: string | undefined;
}

/** One server of a group. */
export class UpstreamNode implements BalancedNode {
  readonly origin: string;
  /** `host[:port]`. */
  readonly authority: string;
  readonly metrics = new MetricSet(NODE_METRICS);
  readonly #options: NodeOptions;
  readonly #clock: Clock;
  readonly #transport: OriginTransport;
  readonly #health: NodeHealth;
  readonly #check: HealthCheck | undefined;
  #weight: number;
  #isBackup: boolean;
  #checkFault: string | undefined;
  #inFlight = 0;
  #failedMs = Number.NEGATIVE_INFINITY;

  constructor(options: NodeOptions) {
    const { weight, isBackup, transport, outlier, check, authority } = options;
    this.#options = options;
    this.origin = transport.origin;
    this.#weight = weight;
    this.#isBackup = isBackup;
    this.authority = authority ?? new URL(transport.origin).host;
    this.#clock = transport.clock;
    this.#transport = new OriginTransport({ ...transport, onOutcome: (outcome) => this.#onOutcome(outcome) });
    this.#health = new NodeHealth(this.#clock, outlier, (state, why) => this.#onState(state, why));
    this.#check = check === undefined ? undefined : new HealthCheck(check, transport, (fault) => this.#onCheck(fault, check));
    this.metrics.setGauge('inFlight', () => this.#inFlight);
    for (const state of ['resting', 'down'] as const) this.metrics.setGauge(state, () => Number(this.#health.state === state));
  }

  get weight(): number {
    return this.#weight;
  }

  get isBackup(): boolean {
    return this.#isBackup;
  }

  /** It is worth another share from now on; what is known of it stays. */
  reweigh({ weight, isBackup }: Pick<NodeOptions, 'weight' | 'isBackup'>): void {
    this.#weight = weight;
    this.#isBackup = isBackup;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** When it failed last, on the monotonic clock; resting or not. */
  get failedMs(): number {
    return this.#failedMs;
  }

  get weightNow(): number {
    const { slowStartMs } = this.#options;
    if (slowStartMs === 0) return this.#weight;
    const { wellForMs } = this.#health;
    if (wellForMs >= slowStartMs) return this.weight;
    return this.weight * Math.max(SLOW_START_SHARE_MIN, wellForMs / slowStartMs);
  }

  get waitingRequests(): number {
    return this.#transport.waitingRequests;
  }

  get isIdle(): boolean {
    return this.#transport.isIdle;
  }

  /** Whether it should get a request now. */
  get isAvailable(): boolean {
    return this.#health.isAvailable;
  }

  /** Mean time to the head; undefined while too little is known. */
  get latencyMs(): number | undefined {
    return this.#health.latencyMs;
  }

  get facts(): NodeFacts {
    const { origin, weight, isBackup } = this;
    const { state, latencyMs, restLeftMs } = this.#health;
    const rounded = latencyMs === undefined ? undefined : Math.round(latencyMs * 10) / 10;
    const shared = { origin, state, weight, isBackup, requestsInFlight: this.#inFlight };
    return { ...shared, latencyMs: rounded, restLeftMs: Math.round(restLeftMs), checkFault: this.#checkFault };
  }

  /** Begins to be checked, where it is to be; harmless when it is already. */
  begin(): void {
    this.#check?.start();
  }

  /** Is not checked any more; what is in progress goes on. */
  retire(): void {
    void this.#check?.stop();
  }

  start(request: UpstreamRequest, receiver: ResponseReceiver): Transfer {
    this.#inFlight += 1;
    this.#health.noteRequest();
    const asked = request.watch?.onAsked(this.origin, request);
    if (asked !== undefined) return startWatched(this.#transport, { request, asked }, receiver);
    return this.#transport.start(request, receiver);
  }

  /** It answered, and the answer says that it cannot. */
  noteFailure(why: string): void {
    this.#failedMs = this.#clock.monotonicMs();
    this.#health.noteFailure(why);
  }

  /** It began an answer as it should. */
  noteHead(latencyMs: number, medianMs: number | undefined): void {
    this.#health.noteHead(latencyMs, medianMs);
  }

  async close(): Promise<void> {
    await Promise.all([this.#check?.stop(), this.#transport.close()]);
  }

  #onOutcome(outcome: Outcome): void {
    this.#inFlight -= 1;
    this.metrics.add('requests', 1, outcome);
    if (FAILURES.has(outcome)) this.noteFailure(outcome);
    else if (outcome === 'complete') this.#health.noteEnd();
    else this.#health.noteNothing();
  }

  #onCheck(fault: string | undefined, limits: CheckOptions): void {
    this.metrics.add('checks', 1, fault === undefined ? 'passed' : 'failed');
    this.#checkFault = fault;
    this.#health.noteCheck(fault === undefined, limits);
  }

  #onState(state: NodeState, why: string): void {
    if (state === 'resting') this.metrics.add('rests');
    this.#options.onState(this.origin, state, why === 'checks' && this.#checkFault !== undefined ? this.#checkFault : why);
  }
}
