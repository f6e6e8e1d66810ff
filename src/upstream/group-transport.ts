/**
 * The door to an upstream group: each request goes to the node that the balancer chooses among those that are well. When a node fails before the first byte
 * of its answer, the request is sent to another one, as far as its method and the group's budget allow; what fails after that is for the caller to
 * resume, which chooses anew.
 *
 *   start -> node a -> fails, or 502, 503, 504 -> node b -> ... -> the last answer's head and body, as of one transfer
 */
import type { Clock } from '../base/clock.ts';
import { EdgeError } from '../base/errors.ts';
import type { MetricSet } from '../base/metrics.ts';
import type { FieldList } from '../http/header-fields.ts';
import type { BalancedRequest, Balancer } from './balancer.ts';
import { DiscardingSink } from './discarding-sink.ts';
import type { GROUP_METRICS } from './node-metrics.ts';
import { RetryBudget } from './retry-budget.ts';
import type { UpstreamNode } from './upstream-node.ts';
import type { BodySink, ResponseReceiver, Transfer, UpstreamHead, UpstreamRequest, UpstreamTransport } from './upstream-transport.ts';

/** A group. */
export interface GroupOptions {
  readonly name: string;
  /** At least one, unless they are found. */
  readonly nodes: readonly UpstreamNode[];
  /** How the discovery of nodes stands, in a few words, for a request while there is none; undefined: nodes do not come and go. */
  readonly discovery?: (() => string) | undefined;
  readonly balancer: Balancer<UpstreamNode>;
  /** Nodes beside the first that a request is tried at. */
  readonly retriesMax: number;
  /** What of the requests may be retries, in percent. */
  readonly retryBudgetPercent: number;
  /** Share of the weight that has to be well, in percent, for health to be regarded at all: fewer nodes could not bear the load of all. */
  readonly panicPercent: number;
  /** Whether nodes that are slower than the others are found out. */
  readonly comparesLatency: boolean;
  /** Whether each node is sent its own host, whatever the request says. */
  readonly sendsNodeHost: boolean;
  /** Of the group, whatever becomes of its nodes. */
  readonly metrics: MetricSet<typeof GROUP_METRICS>;
  readonly clock: Clock;
}

/** Statuses that speak of the node, not of the resource (RFC 9110 s15.6.3 to s15.6.5). */
const NODE_FAILURES: ReadonlySet<number> = new Set([502, 503, 504]);
/** RFC 9110 s9.2.2: doing it twice is as doing it once. */
const IDEMPOTENT_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']);

/** Requests to a group. */
export class GroupTransport implements UpstreamTransport {
  readonly name: string;
  readonly metrics: MetricSet<typeof GROUP_METRICS>;
  readonly #options: GroupOptions;
  readonly #budget: RetryBudget;
  #nodes: readonly UpstreamNode[];
  #balancer: Balancer<UpstreamNode>;

  constructor(options: GroupOptions) {
    this.#options = options;
    this.#budget = new RetryBudget(options.retryBudgetPercent);
    this.metrics = options.metrics;
    this.name = options.name;
    this.#nodes = options.nodes;
    this.#balancer = options.balancer;
  }

  get nodes(): readonly UpstreamNode[] {
    return this.#nodes;
  }

  /** These are the nodes from now on, for retries of requests in progress too. @param balancer a new one, which remembers none that is gone */
  replaceNodes(nodes: readonly UpstreamNode[], balancer: Balancer<UpstreamNode>): void {
    this.#nodes = nodes;
    this.#balancer = balancer;
  }

  get waitingRequests(): number {
    return this.nodes.reduce((sum, node) => sum + node.waitingRequests, 0);
  }

  get nodeCount(): number {
    return this.nodes.length;
  }

  get isIdle(): boolean {
    return this.nodes.every((node) => node.isIdle);
  }

  start(request: UpstreamRequest, receiver: ResponseReceiver): Transfer {
    const { discovery, name, clock } = this.#options;
    const [only, ...others] = this.nodes;
    // One that was found is not what the request was written for, and may have company when it fails.
    if (discovery === undefined && only !== undefined && others.length === 0) return only.start(request, receiver);
    if (discovery !== undefined && only === undefined) return refuse(clock, receiver, `Group ${name} has no node: ${discovery()}`);
    this.#budget.noteRequest();
    const transfer = new GroupTransfer(this, request, receiver);
    transfer.start();
    return transfer;
  }

  async close(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.close()));
  }

  /** The node for a request that was tried at some already; undefined when there is no other. */
  choose(tried: ReadonlySet<UpstreamNode>, request: BalancedRequest): UpstreamNode | undefined {
    const primary: UpstreamNode[] = [];
    const backups: UpstreamNode[] = [];
    for (const node of this.nodes) if (node.isAvailable && !tried.has(node)) (node.isBackup ? backups : primary).push(node);
    if (primary.length > 0 && this.#areEnough(primary, tried)) return this.#balancer.choose(primary, request);
    if (primary.length === 0 && backups.length > 0) return this.#balancer.choose(backups, request);
    const untried = this.nodes.filter((node) => !tried.has(node));
    if (untried.length === 0) return undefined;
    // A node that may have recovered is better than an error for sure.
    this.metrics.add('panics');
    const first = untried.filter((node) => !node.isBackup);
    return this.#balancer.choose(longestAgoFailed(first.length > 0 ? first : untried), request);
  }

  #areEnough(well: readonly UpstreamNode[], tried: ReadonlySet<UpstreamNode>): boolean {
    const { panicPercent } = this.#options;
    if (panicPercent === 0 || tried.size > 0) return true;
    let weightOfWell = 0;
    for (const { weight } of well) weightOfWell += weight;
    let weightOfAll = 0;
    for (const { isBackup, weight } of this.nodes) if (!isBackup) weightOfAll += weight;
    return weightOfWell * 100 >= panicPercent * weightOfAll;
  }

  /** The median of the nodes' times to the head, without the one that is compared with it; undefined where fewer than two others are known. */
  medianLatencyMs(compared: UpstreamNode): number | undefined {
    if (!this.#options.comparesLatency) return undefined;
    const known = this.nodes.flatMap((node) => (node === compared ? [] : (node.latencyMs ?? []))).sort((one, other) => one - other);
    return known.length < 2 ? undefined : known[Math.floor((known.length - 1) / 2)];
  }

  get clock(): Clock {
    return this.#options.clock;
  }

  /** The node for another try, if there may be one. */
  chooseAgain(tried: ReadonlySet<UpstreamNode>, request: BalancedRequest): UpstreamNode | undefined {
    const refusal = tried.size > this.#options.retriesMax ? 'limit' : this.nodes.every((node) => tried.has(node)) ? 'no-node' : undefined;
    if (refusal !== undefined || !this.#budget.tryTake()) {
      this.metrics.add('retries', 1, refusal ?? 'budget');
      return undefined;
    }
    this.metrics.add('retries', 1, 'sent');
    return this.choose(tried, request);
  }

  /** The request as a node is sent it. */
  requestFor(node: UpstreamNode, request: UpstreamRequest): UpstreamRequest {
    return this.#options.sendsNodeHost ? { ...request, fields: withHost(request.fields, node.authority) } : request;
  }
}

class GroupTransfer implements Transfer {
  readonly #group: GroupTransport;
  readonly #request: UpstreamRequest;
  readonly #receiver: ResponseReceiver;
  readonly #balanced: BalancedRequest;
  readonly #tried = new Set<UpstreamNode>();
  #current: Transfer | undefined;
  /** Whose head came. */
  #answering: UpstreamNode | undefined;
  #isAborted = false;

  constructor(group: GroupTransport, request: UpstreamRequest, receiver: ResponseReceiver) {
    this.#group = group;
    this.#request = request;
    this.#balanced = { affinity: request.affinity };
    this.#receiver = receiver;
  }

  start(): void {
    const node = this.#group.choose(this.#tried, this.#balanced);
    if (node !== undefined) this.#ask(node);
  }

  resume(): void {
    this.#current?.resume();
  }

  abort(): void {
    this.#isAborted = true;
    this.#current?.abort();
  }

  blame(why: string): boolean {
    const node = this.#answering;
    node?.noteFailure(why);
    return this.#group.nodes.some((other) => other !== node && other.isAvailable);
  }

  #ask(node: UpstreamNode): void {
    this.#tried.add(node);
    const attempt = this.#tried.size;
    const startedMs = this.#group.clock.monotonicMs();
    const transfer = node.start(this.#group.requestFor(node, this.#request), {
      onInterim: (head) => this.#receiver.onInterim?.(head),
      onHead: (head, running) => {
        const latencyMs = this.#group.clock.monotonicMs() - startedMs;
        return this.#onHead({ node, latencyMs }, head, running);
      },
      onUpgrade: (head, connection) => {
        if (this.#isAborted) return void connection.socket.destroy();
        node.noteHead(this.#group.clock.monotonicMs() - startedMs, this.#group.medianLatencyMs(node));
        this.#receiver.onUpgrade?.(head, connection);
      },
      onFailure: (error) => this.#onFailure(error),
    });
    // A node may fail before it has handed its transfer out; then that of the next one is there already.
    if (attempt === this.#tried.size) this.#current = transfer;
    if (this.#isAborted) transfer.abort();
  }

  #onHead({ node, latencyMs }: { node: UpstreamNode; latencyMs: number }, head: UpstreamHead, running: Transfer): BodySink | undefined {
    if (this.#isAborted) return undefined;
    this.#current = running;
    this.#answering = node;
    if (!NODE_FAILURES.has(head.status)) {
      node.noteHead(latencyMs, this.#group.medianLatencyMs(node));
      return this.#receiver.onHead(head, this);
    }
    node.noteFailure(`status ${head.status}`);
    const next = this.#isRepeatable() ? this.#group.chooseAgain(this.#tried, this.#balanced) : undefined;
    if (next === undefined) return this.#receiver.onHead(head, this);
    this.#ask(next);
    return new DiscardingSink(running);
  }

  #onFailure(error: EdgeError): void {
    if (this.#isAborted) return;
    // What was never sent can be sent elsewhere, whatever it asks for.
    const mayRepeat = error.retry === 'other-origin' && (this.#isRepeatable() || this.#isUnsent(error));
    const next = mayRepeat ? this.#group.chooseAgain(this.#tried, this.#balanced) : undefined;
    if (next === undefined) this.#receiver.onFailure(error);
    else this.#ask(next);
  }

  /** Content is taken from the client as it is sent, so there is nothing to repeat it from. */
  #isRepeatable(): boolean {
    return this.#request.body === undefined && IDEMPOTENT_METHODS.has(this.#request.method);
  }

  #isUnsent(error: EdgeError): boolean {
    return this.#request.body === undefined && error.code === 'UPSTREAM_UNREACHABLE';
  }
}

/** Fails, as a request to a node does: after its transfer was handed out. */
function refuse(clock: Clock, receiver: ResponseReceiver, why: string): Transfer {
  let isOver = false;
  clock.defer(() => {
    if (!isOver) receiver.onFailure(new EdgeError('UPSTREAM_ABSENT', why));
  });
  return {
    resume: () => undefined,
    abort: () => {
      isOver = true;
    },
  };
}

function withHost(fields: FieldList, authority: string): FieldList {
  return fields.map((field) => (field[0] === 'host' ? ['host', authority] : field));
}

/** The half of the nodes whose last failure is the oldest: one that has just failed would fail again, and one of the others may have recovered. */
function longestAgoFailed(nodes: readonly UpstreamNode[]): readonly UpstreamNode[] {
  return [...nodes].sort((one, other) => one.failedMs - other.failedMs).slice(0, Math.ceil(nodes.length / 2));
}
