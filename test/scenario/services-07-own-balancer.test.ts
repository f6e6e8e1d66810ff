/** Balancers of one's own: they choose by what they see of nodes, and what they do wrong costs no request. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startEdge } from '../helpers/edge.ts';
import { withModule } from '../helpers/module-file.ts';
import { Origin } from '../helpers/origin.ts';

const OBJECT = { lengthBytes: 100, cacheControl: 'no-store' };

const groupOf = (file: string, origins: readonly Origin[], more = ''): string =>
  `upstreams:\n  - { name: g, balance: "${file}", ${more} nodes: [${origins.map(({ url }) => `{ url: "${url}" }`).join(', ')}] }\n`;

test('a module chooses among the nodes that are well, by its options and by what requests have in common', async () => {
  const members = `kind: 'balancer', options: { at: { kind: 'count', default: '0', meaning: 'x' } },
    create: ({ at }, { group }) => ({
      choose(candidates, { affinity }) {
        seen.push([group, candidates.length, affinity, typeof candidates[0].latencyMs, candidates[0].inFlight].join(' '));
        return candidates[Math.min(at, candidates.length - 1)];
      },
    })`;
  await withModule(members, async ({ file, exported }) => {
    await using one = await Origin.start({ resolve: () => OBJECT });
    await using two = await Origin.start({ resolve: () => OBJECT });
    await using edge = await startEdge({ yaml: groupOf(file, [one, two], 'hashOn: path, balanceOptions: { at: 1 },') });
    for (const path of ['/a', '/b', '/c']) assert.equal((await edge.get(path)).status, 200);
    assert.equal(one.requests.length, 0);
    assert.deepEqual((exported().seen as string[])[0], 'g 2 /a undefined 0');
    await two.stop();
    assert.equal((await edge.get('/d')).status, 200);
    assert.ok((exported().seen as string[]).includes('g 1 /d undefined 0'));
    const { config } = edge.proxy;
    const [group] = config.groups;
    assert.ok(group?.balancer !== undefined);
    const changed = { ...config, groups: [{ ...group, balancer: { ...group.balancer, options: { at: 0 } } }] };
    edge.proxy.commit(edge.proxy.prepare(changed));
    assert.equal((await edge.get('/e')).status, 200);
    assert.equal(one.requestsFor('/e').length, 1);
  });
});

for (const [what, choose] of [
  ['throws', `throw new Error('no');`],
  ['chooses nothing', 'return undefined;'],
  ['chooses what is no candidate', `return { origin: 'http://else' };`],
] as const) {
  test(`a balancer that ${what} costs no request, and is counted`, async () => {
    await withModule(`kind: 'balancer', create: () => ({ choose() { ${choose} } })`, async ({ file }) => {
      await using one = await Origin.start({ resolve: () => OBJECT });
      await using two = await Origin.start({ resolve: () => OBJECT });
      await using edge = await startEdge({ yaml: groupOf(file, [one, two]) });
      for (const path of ['/a', '/b', '/c', '/d']) assert.equal((await edge.get(path)).status, 200);
      assert.ok(one.requests.length >= 2 && two.requests.length >= 2);
      assert.ok((await edge.metric('rawslice_group_balancer_failures_total{group="g"}')) >= 4);
    });
  });
}

test('a balancer that cannot be made is a fault of the configuration, at the start and at a reload', async () => {
  await withModule(
    `kind: 'balancer', options: { bad: { kind: 'boolean', default: 'false', meaning: 'x' } }, create: ({ bad }) => { if (bad) throw new Error('no luck'); return { choose: (all) => all[0] }; }`,
    async ({ file }) => {
      await using one = await Origin.start({ resolve: () => OBJECT });
      await using two = await Origin.start({ resolve: () => OBJECT });
      await assert.rejects(
        () => startEdge({ yaml: groupOf(file, [one, two], 'balanceOptions: { bad: true },') }),
        /The balancer of the group g cannot be made: no luck/,
      );
      await using edge = await startEdge({ yaml: groupOf(file, [one, two]) });
      const { config } = edge.proxy;
      const [group] = config.groups;
      assert.ok(group?.balancer !== undefined);
      const broken = { ...config, groups: [{ ...group, balancer: { ...group.balancer, options: { bad: true } } }] };
      assert.throws(() => edge.proxy.prepare(broken), /cannot be made/);
      assert.equal((await edge.get('/x')).status, 200);
    },
  );
});
