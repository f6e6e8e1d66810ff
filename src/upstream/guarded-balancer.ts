/**
 * A module's balancer, and the wall around it: where it throws, or chooses what is no candidate, the request goes to the next node in turn, and that is
 * counted. What it sees of nodes are views. Made by upstream-assembly.ts.
 */
import type { Logger } from '../base/log.ts';
import type { MetricSet } from '../base/metrics.ts';
import { type BalancedNode, type BalancedRequest, type Balancer, SmoothRoundRobin } from './balancer.ts';
import type { NodeView, OwnBalancer } from './balancer-module.ts';
import type { GROUP_METRICS } from './node-metrics.ts';

/** What it needs of a node. */
export interface MeasuredNode extends BalancedNode {
  readonly latencyMs: number | undefined;
}

/** One for a group. */
export class GuardedBalancer<Node extends MeasuredNode> implements Balancer<Node> {
  readonly #own: OwnBalancer;
  readonly #metrics: MetricSet<typeof GROUP_METRICS>;
  readonly #logger: Logger;
  readonly #group: string;
  readonly #turns = new SmoothRoundRobin<Node>();
  readonly #views = new WeakMap<Node, NodeView>();
  #hasTold = false;

  constructor(
    own: OwnBalancer,
    about: { readonly group: string; readonly metrics: MetricSet<typeof GROUP_METRICS>; readonly logger: Logger },
  ) {
    this.#own = own;
    this.#group = about.group;
    this.#metrics = about.metrics;
    this.#logger = about.logger;
  }

  choose(candidates: readonly Node[], request: BalancedRequest): Node {
    try {
      const views = candidates.map((node) => this.#viewOf(node));
      const chosen = this.#own.choose(views, { affinity: request.affinity });
      const node = candidates[views.indexOf(chosen)];
      if (node === undefined) throw new TypeError('choose() returns one of the candidates');
      return node;
    } catch (cause) {
      this.#metrics.add('balancerFailures');
      // Every request may be one; the metric tells how many were.
      if (!this.#hasTold)
        this.#logger.error({ group: this.#group, err: cause }, 'the balancer of a group failed; its nodes are asked in turn then');
      this.#hasTold = true;
      return this.#turns.choose(candidates);
    }
  }

  #viewOf(node: Node): NodeView {
    const known = this.#views.get(node);
    if (known !== undefined) return known;
    const view: NodeView = {
      origin: node.origin,
      get weight() {
        return node.weight;
      },
      get weightNow() {
        return node.weightNow;
      },
      get inFlight() {
        return node.inFlight;
      },
      get latencyMs() {
        return node.latencyMs;
      },
    };
    this.#views.set(node, view);
    return view;
  }
}
