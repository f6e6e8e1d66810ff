/** Canary and A/B: shares, who stays where, and that what two groups answered is never mixed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ClientResponse, request } from '../helpers/client.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';

const object = (body: string) => ({ body: Buffer.from(body), cacheControl: 'max-age=600' });

async function startTwo(options: string, run: (edge: TestEdge, origins: readonly Origin[]) => Promise<void>): Promise<void> {
  await using stable = await Origin.start({ resolve: () => object('stable') });
  await using canary = await Origin.start({ resolve: () => object('canary') });
  const yaml = `
middlewares: [{ name: m, use: split, options: { ${options} } }]
services: [{ name: s, listen: "127.0.0.1:0", trustedProxies: 127.0.0.1 }]
routes: [{ name: r, upstream: stable, middlewares: m }]
upstreams:
  - { name: stable, nodes: [{ url: "${stable.url}" }] }
  - { name: canary, nodes: [{ url: "${canary.url}" }] }
`;
  await using edge = await startEdge({ yaml, set: { 'purge.allow': '0.0.0.0/0' } });
  await run(edge, [stable, canary]);
}

async function ask(edge: TestEdge, headers: Record<string, string> = {}, path = '/x'): Promise<ClientResponse> {
  const answer = await edge.get(path, headers);
  await edge.settle();
  return answer;
}

const told = ({ body, headers }: ClientResponse): string => `${body} ${headers['x-cache']}`;

test('a field chooses a group; each group has a cache of its own, and a purge and an unsafe method reach both', async () => {
  await startTwo('weights: { stable: 1, canary: 0 }, header: x-group', async (edge, [stable, canary]) => {
    assert.equal(told(await ask(edge)), 'stable MISS');
    assert.equal(told(await ask(edge, { 'x-group': 'canary' })), 'canary MISS');
    assert.equal(told(await ask(edge)), 'stable HIT');
    const hit = await ask(edge, { 'x-group': 'canary' });
    assert.equal(told(hit), 'canary HIT');
    assert.equal(hit.headers.vary, 'x-group');
    assert.equal(told(await ask(edge, { 'x-group': 'else' })), 'stable HIT');
    assert.equal(await edge.metric('rawslice_route_requests_total{service="s",route="r",group="canary",cache="HIT"}'), 1);
    const purged = await request({ port: edge.port, path: '/x', method: 'PURGE' });
    assert.equal(JSON.parse(purged.body.toString()).objects, 2);
    assert.equal(told(await ask(edge)), 'stable MISS');
    assert.equal(told(await ask(edge, { 'x-group': 'canary' })), 'canary MISS');
    assert.equal((await request({ port: edge.port, path: '/x', method: 'POST', headers: { 'x-group': 'canary' } })).status, 200);
    await edge.settle();
    assert.deepEqual(
      [stable, canary].map((origin) => origin?.requestsFor('/x').filter(({ method }) => method === 'POST').length),
      [0, 1],
    );
    assert.equal(told(await ask(edge)), 'stable MISS');
  });
});

test('shares are those of the weights, a client stays where it is, and a growing canary takes from the others only', async () => {
  const chosen = async (weights: string): Promise<readonly string[]> => {
    const all: string[] = [];
    await startTwo(`weights: ${weights}`, async (edge) => {
      for (let client = 0; client < 200; client += 1) {
        const address = `203.0.${Math.floor(client / 100)}.${client % 100}`;
        const body = String((await edge.get('/x', { 'x-forwarded-for': address })).body);
        if (client % 20 === 0) assert.equal(String((await edge.get('/x', { 'x-forwarded-for': address })).body), body);
        all.push(body);
      }
    });
    return all;
  };
  const few = await chosen('{ stable: 80, canary: 20 }');
  const more = await chosen('{ stable: 50, canary: 50 }');
  const count = (all: readonly string[]): number => all.filter((body) => body === 'canary').length;
  // The addresses are fixed, and so is the outcome.
  assert.ok(count(few) > 25 && count(few) < 55, String(count(few)));
  assert.ok(count(more) > 80 && count(more) < 120, String(count(more)));
  assert.ok(few.every((body, client) => body === 'stable' || more[client] === 'canary'));
});

test('a cookie keeps a client at its group, is stored for nobody, and is seen by nobody behind', async () => {
  await startTwo('weights: { stable: 1, canary: 0 }, cookie: variant, cookieAge: 1h, by: random', async (edge, [stable, canary]) => {
    const first = await ask(edge);
    assert.deepEqual(
      [told(first), first.headers['set-cookie'], first.headers.vary],
      ['stable MISS', 'variant=stable; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax', 'Cookie'],
    );
    const known = await ask(edge, { cookie: 'variant=stable' });
    assert.deepEqual([told(known), known.headers['set-cookie']], ['stable HIT', undefined]);
    assert.equal(told(await ask(edge, { cookie: 'a=b; variant=canary' })), 'canary MISS');
    assert.equal(told(await ask(edge, { cookie: 'variant=canary' })), 'canary HIT');
    const unknown = await ask(edge, { cookie: 'variant=gone' });
    assert.deepEqual([told(unknown), unknown.headers['set-cookie']?.startsWith('variant=stable')], ['stable HIT', true]);
    await request({ port: edge.port, path: '/x', method: 'PUT', headers: { cookie: 'a=b; variant=canary; c=d', 'content-length': '0' } });
    assert.equal(canary?.requests.find(({ method }) => method === 'PUT')?.headers.cookie, 'a=b; c=d');
    assert.ok(stable?.requests.every(({ headers }) => headers.cookie === undefined));
    assert.equal(await edge.metric('rawslice_middleware_events_total{middleware="m",event="by-cookie"}'), 4);
  });
});
