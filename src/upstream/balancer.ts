/**
 * Balancers: which node of a group a request goes to. The interface is small on purpose, so that others can stand beside these; those that hash are in
 * hash-balancer.ts. Used by group-transport.ts.
 */
import { assert } from '../base/assert.ts';
import type { Random } from '../base/random.ts';

/** A node as far as a balancer looks at it. */
export interface BalancedNode {
  /** Tells nodes of a group apart, and stays the same for as long as the node is configured. */
  readonly origin: string;
  /** As configured: whole, at least 1. */
  readonly weight: number;
  /** What it is worth now: less than its weight while it starts slowly; > 0. */
  readonly weightNow: number;
  /** Requests in progress. */
  readonly inFlight: number;
}

/** A request as far as a balancer looks at it. */
export interface BalancedRequest {
  /** What requests that belong together have in common; undefined where the group does not hash, or the request has none. */
  readonly affinity: string | undefined;
}

/** Chooses one of the nodes that may be chosen now. One for each set of nodes of a group; it may keep what it needs to remember of them. */
export interface Balancer<Node extends BalancedNode = BalancedNode> {
  /** @param candidates at least one; in the order of the configuration */
  choose(candidates: readonly Node[], request: BalancedRequest): Node;
}

/**
 * In turn, by weight: of weights 5, 1, 1 the turns are a a b a c a a, never five of a in a row. Every candidate gains its weight, the one that has most is
 * chosen and pays what all gained.
 */
export class SmoothRoundRobin<Node extends BalancedNode> implements Balancer<Node> {
  readonly #credits = new Map<Node, { left: number }>();

  choose(candidates: readonly Node[]): Node {
    let total = 0;
    let best: Node | undefined;
    let bestCredit = { left: Number.NEGATIVE_INFINITY };
    for (const node of candidates) {
      const { weightNow } = node;
      const credit = this.#creditOf(node);
      credit.left += weightNow;
      total += weightNow;
      if (credit.left <= bestCredit.left) continue;
      best = node;
      bestCredit = credit;
    }
    assert(best !== undefined, 'a balancer is given candidates');
    bestCredit.left -= total;
    return best;
  }

  #creditOf(node: Node): { left: number } {
    const known = this.#credits.get(node);
    if (known !== undefined) return known;
    const credit = { left: 0 };
    this.#credits.set(node, credit);
    return credit;
  }
}

/** By chance, by weight. */
export class RandomBalancer<Node extends BalancedNode> implements Balancer<Node> {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  choose(candidates: readonly Node[]): Node {
    return drawByWeight(candidates, this.#random);
  }
}

/** The one of two drawn by weight that has fewer requests in progress for its weight: nearly as even as looking at all, without everybody choosing the same. */
export class TwoChoices<Node extends BalancedNode> implements Balancer<Node> {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  choose(candidates: readonly Node[]): Node {
    const first = drawByWeight(candidates, this.#random);
    if (candidates.length === 1) return first;
    const second = drawByWeight(candidates, this.#random, first);
    return loadOf(second) < loadOf(first) ? second : first;
  }
}

/** The one with the fewest requests in progress for its weight; in turn among equals. */
export class LeastConnections<Node extends BalancedNode> implements Balancer<Node> {
  readonly #turns = new SmoothRoundRobin<Node>();

  choose(candidates: readonly Node[]): Node {
    let least = Number.POSITIVE_INFINITY;
    let idlest: Node[] = [];
    for (const node of candidates) {
      // Looked at once: what a node is worth while it starts slowly changes with every look.
      const load = loadOf(node);
      if (load > least) continue;
      if (load < least) idlest = [];
      idlest.push(node);
      least = load;
    }
    return this.#turns.choose(idlest);
  }
}

/** Requests in progress for what a node is worth, the one to come included. */
function loadOf({ inFlight, weightNow }: BalancedNode): number {
  return (inFlight + 1) / weightNow;
}

const DRAW_STEPS = 2 ** 30;

/** @param except is not drawn; there are others */
function drawByWeight<Node extends BalancedNode>(candidates: readonly Node[], random: Random, except?: Node): Node {
  let total = 0;
  for (const node of candidates) if (node !== except) total += node.weightNow;
  let rest = (random.integerBelow(DRAW_STEPS) / DRAW_STEPS) * total;
  let last: Node | undefined;
  for (const node of candidates) {
    if (node === except) continue;
    last = node;
    rest -= node.weightNow;
    if (rest < 0) break;
  }
  assert(last !== undefined, 'a balancer is given candidates');
  return last;
}
