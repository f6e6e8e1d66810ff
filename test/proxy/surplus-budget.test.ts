/** Who counts as one client, and what each of them owes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetricSet } from '../../src/base/metrics.ts';
import { clientNetwork } from '../../src/proxy/client-network.ts';
import { PROXY_METRICS } from '../../src/proxy/proxy-metrics.ts';
import { SurplusBudget } from '../../src/proxy/surplus-budget.ts';
import { VirtualClock } from '../simulation/virtual-clock.ts';

const NETWORKS: readonly (readonly [address: string | undefined, network: string])[] = [
  [undefined, ''],
  ['192.0.2.7', '192.0.2.7'],
  ['::ffff:192.0.2.7', '192.0.2.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
  ['2001:DB8:1:2::6', '2001:db8:1:2'],
  ['2001:db8::6', '2001:db8:0:0'],
  ['::1', '0:0:0:0'],
  ['fe80::1%eth0', 'fe80:0:0:0'],
];
for (const [address, network] of NETWORKS) {
  test(`clientNetwork(${address}) is ${network}`, () => assert.equal(clientNetwork(address), network));
}

function makeBudget(): { budget: SurplusBudget; clock: VirtualClock; metrics: MetricSet<typeof PROXY_METRICS> } {
  const clock = new VirtualClock();
  const metrics = new MetricSet(PROXY_METRICS);
  return { budget: new SurplusBudget({ clock, metrics, bytesPerMinute: 600 }), clock, metrics };
}

async function pass(clock: VirtualClock, milliseconds: number): Promise<void> {
  let isOver = false;
  clock.startTimer(milliseconds, () => {
    isOver = true;
  });
  while (!isOver) await clock.step();
}

test('a budget is used up by one client for itself, and comes back with time', async () => {
  const { budget, clock } = makeBudget();
  budget.charge('a', 599);
  assert.equal(budget.isUsedUp('a'), false);
  budget.charge('a', 61);
  assert.deepEqual([budget.isUsedUp('a'), budget.isUsedUp('b')], [true, false]);
  await pass(clock, 6_000);
  assert.equal(budget.isUsedUp('a'), true);
  await pass(clock, 100);
  assert.equal(budget.isUsedUp('a'), false);
});

test('a debt is no longer than two minutes', async () => {
  const { budget, clock } = makeBudget();
  budget.charge('a', 1_000_000);
  await pass(clock, 59_900);
  assert.equal(budget.isUsedUp('a'), true);
  await pass(clock, 200);
  assert.equal(budget.isUsedUp('a'), false);
});

test('clients are remembered up to a limit, and one that is forgotten with a debt is counted', () => {
  const { budget, metrics } = makeBudget();
  budget.charge('heavy', 600);
  for (let client = 0; client < 16_383; client += 1) budget.charge(`c${client}`, 1);
  assert.deepEqual([budget.clientCount, budget.isUsedUp('heavy'), metrics.value('rangeLimits', 'clients')], [16_384, true, 0]);
  budget.charge('one more', 1);
  assert.deepEqual([budget.clientCount, budget.isUsedUp('heavy'), metrics.value('rangeLimits', 'clients')], [16_384, false, 1]);
});
