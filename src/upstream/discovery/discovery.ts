/**
 * The discovery of one group's nodes: asks a source again and again, and keeps what was found last. A question without answer changes nothing but what is
 * told of it; an answer without nodes changes nothing either, unless that is wished. Whoever subscribes hears of changes. Made by app/discovery-set.ts.
 */
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import { MetricSet } from '../../base/metrics.ts';
import type { Random } from '../../base/random.ts';
import { DISCOVERY_METRICS } from './discovery-metrics.ts';
import type { DiscoveredNode, DiscoveryFailure, DiscoverySource, DiscoveryVerdict } from './discovery-source.ts';
import { nodeId, sortNodes } from './node-list.ts';

/** Nodes of one group; every choice looks at each. */
export const NODES_MAX = 1024;
/** Nothing is asked more often, whatever an answer says. */
const GAP_MS_MIN = 100;
/** Share of the time until the next question that is added by chance, so that many processes do not ask together. */
const JITTER_SHARE = 0.1;
const RANDOM_STEPS = 2 ** 20;
/** What changed is named in the log, up to so many. */
const NAMED_MAX = 8;

/** How a discovery goes about it. */
export interface DiscoveryOptions {
  /** Name of the group. */
  readonly group: string;
  readonly source: DiscoverySource;
  /** Whether an answer without nodes empties the group. */
  readonly takesEmpty: boolean;
  /** Why a node may not be used; undefined when it may. */
  readonly refuse: (node: DiscoveredNode) => string | undefined;
  /** First pause after a failure, doubled with each that follows. */
  readonly retryMs: number;
  readonly retryMsMax: number;
  /** What was found before, by another process of asking for the same; undefined: nothing yet. */
  readonly known: readonly DiscoveredNode[] | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** How it stands, for people. */
export interface DiscoveryFacts {
  readonly source: string;
  readonly nodes: number;
  /** Since the last answer that counts; undefined before the first. */
  readonly ageMs: number | undefined;
  /** What is wrong with the last answer; undefined when nothing. */
  readonly problem: string | undefined;
}

/** One group's. */
export class Discovery {
  readonly metrics = new MetricSet(DISCOVERY_METRICS);
  readonly #options: DiscoveryOptions;
  readonly #abort = new AbortController();
  readonly #first = Promise.withResolvers<void>();
  readonly #listeners = new Set<() => void>();
  readonly #begunMs: number;
  #nodes: readonly DiscoveredNode[];
  #hasAnswer: boolean;
  #answeredMs: number | undefined;
  #failures = 0;
  #problem: string | undefined;
  /** Problem and notes that were logged last. */
  #told = '';
  #running: Promise<void> | undefined;

  constructor(options: DiscoveryOptions) {
    const { known, clock } = options;
    this.#options = options;
    this.#begunMs = clock.monotonicMs();
    this.#nodes = known ?? [];
    this.#hasAnswer = known !== undefined;
    if (this.#hasAnswer) this.#first.resolve();
    this.metrics.setGauge('nodes', () => this.#nodes.length);
    this.metrics.setGauge('current', () => Number(this.#answeredMs !== undefined && this.#problem === undefined));
    this.metrics.setGauge('age', () => (clock.monotonicMs() - (this.#answeredMs ?? this.#begunMs)) / 1000);
  }

  /** What was found last, in an order that does not depend on that of the answer. */
  get nodes(): readonly DiscoveredNode[] {
    return this.#nodes;
  }

  /** Whether something was found at all, if only that there is nothing. */
  get hasAnswer(): boolean {
    return this.#hasAnswer;
  }

  /** Resolves with the first answer that counts, or at the end. */
  get answered(): Promise<void> {
    return this.#first.promise;
  }

  get facts(): DiscoveryFacts {
    const { clock, source } = this.#options;
    const ageMs = this.#answeredMs === undefined ? undefined : Math.round(clock.monotonicMs() - this.#answeredMs);
    return { source: source.about, nodes: this.#nodes.length, ageMs, problem: this.#problem };
  }

  /** Begins to ask; harmless when it has begun. */
  start(): void {
    this.#running ??= this.#run();
  }

  /** Calls `listener` after each change. @returns how to end that */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Ends the question in progress. Idempotent. */
  async close(): Promise<void> {
    this.#abort.abort();
    this.#first.resolve();
    await this.#options.source.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { source, clock } = this.#options;
    const { signal } = this.#abort;
    while (!signal.aborted) {
      const verdict = await source.ask(signal);
      if (signal.aborted) return;
      const pauseMs = verdict.kind === 'failed' ? this.#fail(verdict) : this.#take(verdict);
      await clock.sleep(Math.max(GAP_MS_MIN, pauseMs), signal);
    }
  }

  #fail({ fault, message }: DiscoveryFailure): number {
    const { retryMs, retryMsMax } = this.#options;
    this.metrics.add('answers', 1, fault);
    this.#tell(message, []);
    const pauseMs = Math.min(retryMsMax, retryMs * 2 ** Math.min(this.#failures, 20));
    this.#failures += 1;
    return pauseMs * (0.5 + 0.5 * this.#share());
  }

  #take({ nodes: found, unusable, againInMs }: Extract<DiscoveryVerdict, { kind: 'nodes' }>): number {
    const { takesEmpty, clock } = this.#options;
    const { nodes, notes } = this.#choose(found, unusable);
    this.#failures = 0;
    const pauseMs = againInMs * (1 + JITTER_SHARE * this.#share());
    if (nodes.length === 0 && !takesEmpty) {
      this.metrics.add('answers', 1, 'empty');
      this.#tell('the answer names no node that can be used', notes);
      return pauseMs;
    }
    this.#answeredMs = clock.monotonicMs();
    this.#tell(undefined, notes);
    const before = new Set(this.#nodes.map((node) => JSON.stringify(node)));
    const isSame = this.#hasAnswer && nodes.length === before.size && nodes.every((node) => before.has(JSON.stringify(node)));
    this.metrics.add('answers', 1, isSame ? 'same' : 'changed');
    if (!isSame) this.#change(nodes);
    this.#hasAnswer = true;
    this.#first.resolve();
    return pauseMs;
  }

  /** The nodes that may be used, each once, no more than there may be. */
  #choose(
    found: readonly DiscoveredNode[],
    unusable: readonly string[],
  ): { readonly nodes: readonly DiscoveredNode[]; readonly notes: readonly string[] } {
    const refusals = [...unusable];
    const usable = found.filter((node) => {
      const why = this.#options.refuse(node);
      if (why !== undefined) refusals.push(`${nodeId(node)} ${why}`);
      return why === undefined;
    });
    this.metrics.add('refused', refusals.length);
    const nodes = sortNodes(usable);
    const notes = refusals.slice(0, NAMED_MAX).map((text) => `not taken: ${text}`);
    if (nodes.length <= NODES_MAX) return { nodes, notes };
    this.metrics.add('cut', nodes.length - NODES_MAX);
    return { nodes: nodes.slice(0, NODES_MAX), notes: [...notes, `${nodes.length} nodes, of which the first ${NODES_MAX} are used`] };
  }

  #change(nodes: readonly DiscoveredNode[]): void {
    const { group, source, logger } = this.#options;
    const [before, after] = [new Set(this.#nodes.map(nodeId)), new Set(nodes.map(nodeId))];
    const came = [...after].filter((id) => !before.has(id));
    const went = [...before].filter((id) => !after.has(id));
    this.#nodes = nodes;
    logger.info(
      { group, source: source.about, nodes: nodes.length, came: named(came), went: named(went) },
      'discovery changed the nodes of a group',
    );
    for (const listener of this.#listeners) listener();
  }

  /** Once for each change of what is wrong. */
  #tell(problem: string | undefined, notes: readonly string[]): void {
    const { group, source, logger } = this.#options;
    this.#problem = problem;
    const told = [problem ?? '', ...notes].join('\n');
    if (told === this.#told) return;
    this.#told = told;
    const about = { group, source: source.about, nodes: this.#nodes.length };
    if (problem !== undefined) logger.warn({ ...about, problem, notes }, 'discovery found no nodes; those of before are kept');
    else if (notes.length > 0) logger.warn({ ...about, notes }, 'discovery did not take all that it found');
    else logger.info(about, 'discovery is well again');
  }

  /** In [0, 1). */
  #share(): number {
    return this.#options.random.integerBelow(RANDOM_STEPS) / RANDOM_STEPS;
  }
}

function named(ids: readonly string[]): readonly string[] {
  return ids.length <= NAMED_MAX ? ids : [...ids.slice(0, NAMED_MAX), `and ${ids.length - NAMED_MAX} more`];
}
