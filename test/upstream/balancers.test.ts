/** Balancers: shares by weight, the less busy, and hashes that move as little as they must. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import {
  type BalancedNode,
  type Balancer,
  LeastConnections,
  RandomBalancer,
  SmoothRoundRobin,
  TwoChoices,
} from '../../src/upstream/balancer.ts';
import { HashBalancer, ketamaOrder, rendezvousOrder } from '../../src/upstream/hash-balancer.ts';

interface TestNode extends BalancedNode {
  inFlight: number;
}

const SEED = 20_261_129;
const ANY = { affinity: undefined };

function makeNodes(weights: readonly number[]): TestNode[] {
  return weights.map((weight, index) => ({ origin: `http://n${index}.example`, weight, weightNow: weight, inFlight: 0 }));
}

/** How often each node was chosen. */
function sharesOf(balancer: Balancer<TestNode>, nodes: readonly TestNode[], count: number): number[] {
  const shares = nodes.map(() => 0);
  for (let turn = 0; turn < count; turn += 1) {
    const index = nodes.indexOf(balancer.choose(nodes, ANY));
    shares[index] = (shares[index] ?? 0) + 1;
  }
  return shares;
}

test('round robin has turns by weight, spread evenly', () => {
  const nodes = makeNodes([5, 1, 1]);
  const turns = (list: readonly TestNode[], count: number): string => {
    const balancer = new SmoothRoundRobin<TestNode>();
    return Array.from({ length: count }, () => list.indexOf(balancer.choose(list))).join('');
  };
  assert.equal(turns(nodes, 14), '00102000010200');
  assert.equal(turns(makeNodes([1, 1, 1]), 7), '0120120');
});

test('by chance, shares follow the weights', () => {
  const shares = sharesOf(new RandomBalancer(new SeededRandom(SEED)), makeNodes([1, 2, 7]), 10_000);
  for (const [index, share] of [0.1, 0.2, 0.7].entries()) assert.ok(Math.abs((shares[index] ?? 0) / 10_000 - share) < 0.02, `${shares}`);
});

test('a worth that changes with every look, as of a node that starts slowly, is no trouble', () => {
  let worth = 0;
  const slow: TestNode = Object.defineProperty({ ...makeNodes([1])[0] } as TestNode, 'weightNow', { get: () => (worth += 0.01) });
  const nodes = [slow, ...makeNodes([3])];
  const balancers: readonly Balancer<TestNode>[] = [new LeastConnections(), new SmoothRoundRobin(), new TwoChoices(new SeededRandom(SEED))];
  for (const balancer of balancers) for (let turn = 0; turn < 20; turn += 1) assert.ok(nodes.includes(balancer.choose(nodes, ANY)));
});

test('two choices and least connections avoid who is busy, for the weight that it has', () => {
  const nodes = makeNodes([1, 1, 4]);
  const [first, second, third] = nodes as [TestNode, TestNode, TestNode];
  first.inFlight = 50;
  assert.equal(sharesOf(new TwoChoices(new SeededRandom(SEED)), nodes, 1000)[0], 0);
  const least = new LeastConnections<TestNode>();
  [first.inFlight, second.inFlight, third.inFlight] = [2, 3, 8];
  assert.equal(least.choose(nodes), third, '9 for 4 is less than 3 for 1');
  third.inFlight = 12;
  assert.equal(least.choose(nodes), first);
  [first.inFlight, second.inFlight, third.inFlight] = [0, 0, 3];
  assert.deepEqual(sharesOf(least, nodes, 6), [1, 1, 4], 'equals have turns');
});

for (const [name, order] of [
  ['ketama', ketamaOrder],
  ['rendezvous', rendezvousOrder],
] as const) {
  const affinities = Array.from({ length: 5000 }, (_, index) => `/object/${index}`);
  const placesOf = (nodes: readonly TestNode[], boundPercent = 0): readonly TestNode[] => {
    const balancer = new HashBalancer<TestNode>(order(), boundPercent);
    return affinities.map((affinity) => balancer.choose(nodes, { affinity }));
  };

  test(`${name}: shares follow the weights, and the same affinity reaches the same node`, () => {
    const nodes = makeNodes([1, 1, 2, 4]);
    const places = placesOf(nodes);
    assert.deepEqual(placesOf(nodes), places);
    for (const node of nodes) {
      const share = places.filter((place) => place === node).length / places.length;
      assert.ok(Math.abs(share - node.weight / 8) < 0.06, `${node.origin} has ${share}`);
    }
  });

  test(`${name}: a node that leaves moves what it had, and nothing else`, () => {
    const nodes = makeNodes([1, 1, 1, 1, 1]);
    const [gone, ...rest] = nodes;
    const [before, after] = [placesOf(nodes), placesOf(rest)];
    for (const [index, place] of before.entries()) if (place !== gone) assert.equal(after[index], place);
    const heirs = new Set(after.filter((_, index) => before[index] === gone));
    assert.equal(heirs.size, 4, 'all others share what it had');
    // The same balancer, while the node rests.
    const balancer = new HashBalancer<TestNode>(order(), 0);
    for (const list of [nodes, rest, nodes]) {
      const places = affinities.map((affinity) => balancer.choose(list, { affinity }));
      assert.deepEqual(places, list === rest ? after : before);
    }
  });

  test(`${name}: with a bound nobody has more than that of the mean; without affinity the least busy is asked`, () => {
    const nodes = makeNodes([1, 1, 1, 1]);
    const balancer = new HashBalancer<TestNode>(order(), 125);
    for (let count = 1; count <= 400; count += 1) {
      // All of one thing: the first choice is always the same.
      balancer.choose(nodes, { affinity: 'popular' }).inFlight += 1;
      assert.ok(Math.max(...nodes.map(({ inFlight }) => inFlight)) <= Math.ceil((1.25 * count) / 4), `after ${count}`);
    }
    const [first] = nodes as [TestNode];
    first.inFlight = 0;
    assert.equal(balancer.choose(nodes, ANY), first);
  });
}
