/**
 * Balancers that send what belongs together to the same node, and move as little as possible when nodes come and go: a ketama ring, and rendezvous
 * hashing. With a bound on the load a node that has too much to do passes on to the next in its order (consistent hashing with bounded loads). A request
 * without affinity goes to where there is least to do.
 */
import { hash } from 'node:crypto';
import { assert } from '../base/assert.ts';
import { partitionPoint } from '../base/partition-point.ts';
import { type BalancedNode, type BalancedRequest, type Balancer, LeastConnections } from './balancer.ts';

/** Points of a node on the ring for each unit of weight, as libketama has them. */
const POINTS = 160;
/** Points of all nodes together; weights are cut down to fit. */
const POINTS_MAX = 20_000;

/** An order of the candidates for an affinity, the first choice first. */
type Order<Node> = (candidates: readonly Node[], affinity: string) => Iterable<Node>;

/** Bounded or not, over any order. */
export class HashBalancer<Node extends BalancedNode> implements Balancer<Node> {
  readonly #order: Order<Node>;
  readonly #boundPercent: number;
  readonly #others = new LeastConnections<Node>();

  /** @param boundPercent of the mean load that a node may have, more than 100; 0 for no bound */
  constructor(order: Order<Node>, boundPercent: number) {
    this.#order = order;
    this.#boundPercent = boundPercent;
  }

  choose(candidates: readonly Node[], { affinity }: BalancedRequest): Node {
    if (affinity === undefined) return this.#others.choose(candidates);
    const mayTake = this.#bound(candidates);
    for (const node of this.#order(candidates, affinity)) if (mayTake(node)) return node;
    return this.#others.choose(candidates);
  }

  #bound(candidates: readonly Node[]): (node: Node) => boolean {
    if (this.#boundPercent === 0) return () => true;
    const inFlight = candidates.reduce((sum, node) => sum + node.inFlight, 1);
    const weight = candidates.reduce((sum, node) => sum + node.weight, 0);
    return (node) => node.inFlight + 1 <= Math.ceil((this.#boundPercent / 100) * inFlight * (node.weight / weight));
  }
}

/**
 * Every node has points on a ring by its weight; an affinity is taken by the next point, and then by those of other nodes that follow. The ring has every node
 * that was ever a candidate and is made anew only for one that was not: those that rest are passed over.
 */
export function ketamaOrder<Node extends BalancedNode>(): Order<Node> {
  const known = new Set<Node>();
  let points: readonly (readonly [place: number, node: Node])[] = [];
  return function* (candidates, affinity) {
    if (candidates.some((node) => !known.has(node))) {
      for (const node of candidates) known.add(node);
      points = makeRing([...known]);
    }
    const start = firstAtOrAfter(points, placeOf(affinity));
    const left = new Set(candidates);
    for (let step = 0; step < points.length && left.size > 0; step += 1) {
      const node = points[(start + step) % points.length]?.[1];
      if (node !== undefined && left.delete(node)) yield node;
    }
  };
}

/**
 * The node with the highest score for the affinity, then the next: weighted by -w / ln(u), so that a weight is a share. Scores of one affinity are mixed from
 * its hash and those of the nodes, which are made once.
 */
export function rendezvousOrder<Node extends BalancedNode>(): Order<Node> {
  const places = new Map<Node, number>();
  const placeOfNode = (node: Node): number => {
    const place = places.get(node) ?? placeOf(node.origin);
    places.set(node, place);
    return place;
  };
  return function* (candidates, affinity) {
    const place = placeOf(affinity);
    const scores = candidates.map((node) => -node.weight / Math.log((mix(place, placeOfNode(node)) + 1) / (2 ** 32 + 1)));
    // Mostly the first is taken, so they are not sorted.
    for (const _ of candidates) {
      const best = indexOfGreatest(scores);
      const node = candidates[best];
      if (node !== undefined) yield node;
      scores[best] = -1;
    }
  };
}

function indexOfGreatest(numbers: readonly number[]): number {
  let found = 0;
  let greatest = Number.NEGATIVE_INFINITY;
  for (const [index, number] of numbers.entries()) {
    if (number <= greatest) continue;
    greatest = number;
    found = index;
  }
  return found;
}

/** Two numbers of 32 bits to one in which each of their bits counts for all of its (the last steps of MurmurHash3). */
function mix(one: number, other: number): number {
  let bits = (one ^ Math.imul(other, 0x9e3779b1)) >>> 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}

function makeRing<Node extends BalancedNode>(nodes: readonly Node[]): readonly (readonly [number, Node])[] {
  const weight = nodes.reduce((sum, node) => sum + node.weight, 0);
  const perWeight = Math.min(POINTS, POINTS_MAX / weight);
  return nodes
    .flatMap((node) => {
      const count = Math.max(1, Math.round(node.weight * perWeight));
      return Array.from({ length: count }, (_, index): [number, Node] => [placeOf(`${node.origin}-${index}`), node]);
    })
    .sort(([one], [other]) => one - other);
}

function firstAtOrAfter(points: readonly (readonly [number, unknown])[], place: number): number {
  return partitionPoint(points.length, (index) => (points[index]?.[0] ?? 0) < place);
}

/** A number of 32 bits. */
function placeOf(text: string): number {
  const digits = hash('md5', text, 'hex').slice(0, 8);
  assert(digits.length === 8, 'a hash has 32 bits at least');
  return Number.parseInt(digits, 16);
}
