/** Groups that balance by a hash: what belongs together reaches the same node, by client, path, header or key; and what the admin port tells of nodes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';

/** Stores nothing, so that every request reaches an origin. */
const NEVER = { lengthBytes: 100, cacheControl: 'no-store' };

async function withFarm(
  options: string,
  run: (farm: { edge: Awaited<ReturnType<typeof startEdge>>; origins: readonly Origin[] }) => Promise<void>,
): Promise<void> {
  const origins = await Promise.all([1, 2, 3, 4].map(() => Origin.start({ resolve: () => NEVER })));
  const nodes = origins.map(({ url }) => `{ url: "${url}" }`).join(', ');
  try {
    await using edge = await startEdge({ yaml: `upstreams: [{ name: g, nodes: [${nodes}], ${options} }]\n` });
    await run({ edge, origins });
  } finally {
    await Promise.all(origins.map((origin) => origin.close()));
  }
}

/** Which origins saw a request since the last time, by index. */
function seenBy(origins: readonly Origin[]): readonly number[] {
  const seen = origins.flatMap(({ requests }, index) => requests.map(() => index));
  for (const origin of origins) origin.forgetRequests();
  return seen;
}

for (const balance of ['ketama', 'rendezvous']) {
  test(`${balance} by header, path, key and client`, async () => {
    await withFarm(`balance: ${balance}, hashOn: header X-User`, async ({ edge, origins }) => {
      const places = new Set<number>();
      for (const user of 'abcdefghijkl') {
        for (const path of ['/1', '/2', '/3']) await edge.get(path, { 'X-User': user });
        const seen = seenBy(origins);
        assert.deepEqual([seen.length, new Set(seen).size], [3, 1], user);
        places.add(seen[0] ?? -1);
      }
      assert.ok(places.size > 1, 'users are spread');
      for (let request = 0; request < 8; request += 1) await edge.get('/1');
      assert.ok(new Set(seenBy(origins)).size > 1, 'who has no such header is spread');
    });
    for (const [hashOn, isSameForQueries] of [
      ['path', true],
      ['key', false],
    ] as const) {
      await withFarm(`balance: ${balance}, hashOn: ${hashOn}`, async ({ edge, origins }) => {
        for (let request = 0; request < 12; request += 1) await edge.get(`/x?${request}`);
        assert.equal(new Set(seenBy(origins)).size === 1, isSameForQueries);
        for (let request = 0; request < 5; request += 1) await edge.get('/x?1', { 'X-User': String(request) });
        assert.equal(new Set(seenBy(origins)).size, 1);
      });
    }
    await withFarm(`balance: ${balance}, hashOn: client`, async ({ edge, origins }) => {
      for (let request = 0; request < 8; request += 1) await edge.get(`/${request}`, {}, { method: request % 2 === 0 ? 'GET' : 'DELETE' });
      assert.equal(new Set(seenBy(origins)).size, 1);
    });
  });
}

test('a node that its hash leads to is left when it fails, and the state of all is told', async () => {
  await withFarm('balance: rendezvous, outlier: { rest: 1h, restMax: 1h }', async ({ edge, origins }) => {
    await edge.get('/x');
    const [first = -1] = seenBy(origins);
    await origins[first]?.stop();
    for (let request = 0; request < 5; request += 1) assert.equal((await edge.get('/x')).status, 200);
    assert.equal(new Set(seenBy(origins)).size, 1, 'all of them at the next in the order');
    const [group] = edge.proxy.upstreams;
    assert.deepEqual(
      group?.nodes.map(({ state }) => state),
      origins.map((_, index) => (index === first ? 'resting' : 'well')),
    );
    assert.equal(await edge.metric(`rawslice_node_resting{group="g",node="${origins[first]?.url}"}`), 1);
  });
});
