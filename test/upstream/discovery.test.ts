/** What a discovery makes of answers: which nodes count, what is kept without an answer, what is told of it, and when it asks again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Clock, SystemClock } from '../../src/base/clock.ts';
import { createLogger } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { Discovery, type DiscoveryOptions, NODES_MAX } from '../../src/upstream/discovery/discovery.ts';
import { type DiscoveredNode, type DiscoverySource, type DiscoveryVerdict, failed } from '../../src/upstream/discovery/discovery-source.ts';
import { refuseNode } from '../../src/upstream/discovery/node-list.ts';

const node = (host: string, more: Partial<DiscoveredNode> = {}): DiscoveredNode => ({
  ...{ host, port: 80, name: undefined, weight: 1, isBackup: false },
  ...more,
});
const nodes = (...hosts: readonly string[]): Extract<DiscoveryVerdict, { kind: 'nodes' }> => ({
  kind: 'nodes',
  nodes: hosts.map((host) => node(host)),
  unusable: [],
  againInMs: 1000,
});

/** Says one verdict after the other, and then nothing more. */
class ScriptedSource implements DiscoverySource {
  readonly about = 'script';
  readonly #over = Promise.withResolvers<void>();
  readonly #verdicts: DiscoveryVerdict[];

  constructor(verdicts: readonly DiscoveryVerdict[]) {
    this.#verdicts = [...verdicts];
  }

  /** Resolves when all has been said and heard. */
  get over(): Promise<void> {
    return this.#over.promise;
  }

  async ask(signal: AbortSignal): Promise<DiscoveryVerdict> {
    const verdict = this.#verdicts.shift();
    if (verdict !== undefined) return verdict;
    this.#over.resolve();
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    return failed('timeout', 'over');
  }

  async close(): Promise<void> {}
}

/** A clock on which nobody sleeps, but it is noted for how long. */
function sleeplessClock(): { readonly clock: Clock; readonly sleeps: number[] } {
  const sleeps: number[] = [];
  const system = new SystemClock();
  const clock = new Proxy(system, {
    get: (target, name) => {
      if (name !== 'sleep') return Reflect.get(target, name).bind(target);
      return async (delayMs: number) => {
        sleeps.push(delayMs);
      };
    },
  });
  return { clock, sleeps };
}

interface Heard {
  readonly discovery: Discovery;
  readonly sleeps: readonly number[];
  readonly logged: readonly { readonly msg: string; readonly [key: string]: unknown }[];
  /** The hosts after each change. */
  readonly changes: readonly (readonly string[])[];
}

async function hear(verdicts: readonly DiscoveryVerdict[], choice: Partial<DiscoveryOptions> = {}): Promise<Heard> {
  const { clock, sleeps } = sleeplessClock();
  const source = new ScriptedSource(verdicts);
  const logged: { msg: string }[] = [];
  const logger = createLogger({ level: 'info', stream: { write: (line) => logged.push(JSON.parse(line)) } });
  const discovery = new Discovery({
    ...{ group: 'g', source, takesEmpty: false, refuse: () => undefined, retryMs: 100, retryMsMax: 1000, known: undefined },
    ...{ clock, random: new SeededRandom(1), logger },
    ...choice,
  });
  const changes: (readonly string[])[] = [];
  discovery.subscribe(() => changes.push(discovery.nodes.map(({ host }) => host)));
  discovery.start();
  await source.over;
  await discovery.close();
  return { discovery, sleeps, logged, changes };
}

test('nodes are those of the last answer, in an order of their own; the same ones change nothing', async () => {
  const { discovery, changes, logged } = await hear([nodes('b', 'a'), nodes('a', 'b'), nodes('a', 'c', 'a')]);
  assert.deepEqual(changes, [
    ['a', 'b'],
    ['a', 'c'],
  ]);
  const counts = (['changed', 'same'] as const).map((outcome) => discovery.metrics.value('answers', outcome));
  assert.deepEqual([counts, discovery.metrics.value('nodes'), discovery.metrics.value('current')], [[2, 1], 2, 1]);
  const last = logged.at(-1);
  assert.deepEqual([last?.came, last?.went, last?.nodes], [['c:80'], ['b:80'], 2]);
});

test('what is no answer, and an answer without nodes, keep the last ones; each is counted, and told once for each change', async () => {
  const down = failed('refused', 'SERVFAIL');
  const { discovery, changes, logged } = await hear([
    nodes('a'),
    down,
    down,
    nodes(),
    nodes(),
    failed('timeout', 'silence'),
    nodes('a'),
    down,
  ]);
  assert.deepEqual(changes, [['a']]);
  assert.deepEqual(discovery.nodes, [node('a')]);
  const counts = (['changed', 'same', 'empty', 'refused', 'timeout'] as const).map((outcome) =>
    discovery.metrics.value('answers', outcome),
  );
  assert.deepEqual(counts, [1, 1, 2, 3, 1]);
  assert.deepEqual(
    logged.map(({ msg, problem }) => problem ?? msg),
    [
      'discovery changed the nodes of a group',
      'SERVFAIL',
      'the answer names no node that can be used',
      'silence',
      'discovery is well again',
      'SERVFAIL',
    ],
  );
  assert.deepEqual([discovery.facts.problem, discovery.metrics.value('current')], ['SERVFAIL', 0]);
  assert.equal(typeof discovery.facts.ageMs, 'number');
});

test('an answer without nodes empties the group where that is wished', async () => {
  const { changes } = await hear([nodes('a'), nodes(), nodes()], { takesEmpty: true });
  assert.deepEqual(changes, [['a'], []]);
  const { discovery } = await hear([nodes()]);
  assert.deepEqual([discovery.hasAnswer, discovery.facts.ageMs], [false, undefined]);
});

test('what was known before counts until the first answer, and is not forgotten without one', async () => {
  const { discovery, changes } = await hear([failed('timeout', 'silence'), nodes()], { known: [node('a')] });
  assert.deepEqual([discovery.nodes, changes, discovery.hasAnswer], [[node('a')], [], true]);
});

test('there are 1024 nodes at most, always the same ones; what may not be one is refused; both are counted and told', async () => {
  const many = Array.from({ length: NODES_MAX + 10 }, (_, index) => `10.0.${Math.floor(index / 250)}.${index % 250}`);
  const found = [...many, '0.0.0.0', '224.0.0.1', '::', 'fe80::1', 'no name', '-x'];
  const refuse = (one: DiscoveredNode): string | undefined => refuseNode(one, undefined);
  const verdicts = [nodes(...found), nodes(...found.reverse())];
  const { discovery, changes, logged } = await hear(verdicts, { refuse });
  assert.equal(changes.length, 1);
  assert.deepEqual([discovery.nodes.length, discovery.metrics.value('cut'), discovery.metrics.value('refused')], [NODES_MAX, 20, 12]);
  assert.match(JSON.stringify(logged), /10\.0|1034 nodes, of which the first 1024 are used/);
  assert.match(JSON.stringify(logged), /not taken: 0\.0\.0\.0:80 is nobody's address/);
});

test('the pause after failures doubles to its limit and no further; after an answer it is what the answer says, and never none', async () => {
  const down = failed('unreachable', 'down');
  const { sleeps } = await hear([down, down, down, down, down, down, nodes('a'), down, { ...nodes('a'), againInMs: 0 }]);
  const within = [
    [50, 100],
    [100, 200],
    [200, 400],
    [400, 800],
    [500, 1000],
    [500, 1000],
    [1000, 1100],
    [100, 100],
    [100, 100],
  ];
  for (const [index, [least = 0, most = 0]] of within.entries()) {
    const pauseMs = sleeps[index] ?? -1;
    assert.ok(pauseMs >= Math.max(100, least) && pauseMs <= Math.max(100, most), `pause ${index}: ${pauseMs} ms, not ${least} to ${most}`);
  }
});
