/** Balancers: which node of a group a request goes to. Small on purpose, so that others can stand beside these. Used by group-transport.ts. */
import { assert } from '../base/assert.ts';

/** A node as far as a balancer looks at it. */
export interface BalancedNode {
  /** Whole, at least 1. */
  readonly weight: number;
}

/** Chooses one of the nodes that may be chosen now. One per group; it may keep what it needs to remember. */
export interface Balancer<Node extends BalancedNode = BalancedNode> {
  /** @param candidates at least one; in the order of the configuration */
  choose(candidates: readonly Node[]): Node;
}

/**
 * In turn, by weight: of weights 5, 1, 1 the turns are a a b a c a a, never five of a in a row. Every candidate gains its weight, the one that has most is
 * chosen and pays what all gained.
 */
export class SmoothRoundRobin<Node extends BalancedNode> implements Balancer<Node> {
  readonly #credits = new WeakMap<Node, number>();

  choose(candidates: readonly Node[]): Node {
    let total = 0;
    let best: Node | undefined;
    let bestCredit = Number.NEGATIVE_INFINITY;
    for (const node of candidates) {
      const credit = (this.#credits.get(node) ?? 0) + node.weight;
      this.#credits.set(node, credit);
      total += node.weight;
      if (credit <= bestCredit) continue;
      best = node;
      bestCredit = credit;
    }
    assert(best !== undefined, 'a balancer is given candidates');
    this.#credits.set(best, bestCredit - total);
    return best;
  }
}
