/** A group whose nodes die, break off and disagree: the client gets right bytes from the others, or sees that something is wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { must as mustBe } from '../../src/base/assert.ts';
import { KIB } from '../../src/base/units.ts';
import type { BodyIdentity } from '../helpers/body.ts';
import { startEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import type { Misbehaviour } from '../helpers/origin-script.ts';

const LENGTH = 16 * 64 * KIB + 1000;
const SAME = { lengthBytes: LENGTH, cacheControl: 'max-age=600', version: 7 };

function yamlOf(origins: readonly Origin[]): string {
  return `upstreams: [{ name: g, nodes: [${origins.map(({ url }) => `{ url: "${url}" }`).join(', ')}] }]\n`;
}

test('a transfer that breaks off in the middle goes on at another node under the same strong validator', async () => {
  await using one = await Origin.start();
  await using two = await Origin.start();
  const bodies = [one, two].map((origin): BodyIdentity => origin.setObject('/a', SAME));
  assert.deepEqual(bodies[0], bodies[1]);
  for (const fault of [{ resetAfterBytes: 300 * KIB }, { closeAfterBytes: 300 * KIB }]) {
    await using edge = await startEdge({ yaml: yamlOf([one, two]) });
    one.misbehave('/a', fault);
    two.forgetRequests();
    const answer = await edge.get('/a', {}, { expect: bodies[0] });
    assert.deepEqual([answer.status, answer.wrongAt, answer.isComplete, answer.bodyBytes], [200, -1, true, LENGTH]);
    assert.ok(two.requestsFor('/a').length > 0);
  }
});

test('a node that goes on with another version is found out: no byte of it is joined to the first', async () => {
  await using one = await Origin.start();
  await using two = await Origin.start();
  const body = one.setObject('/a', SAME);
  two.setObject('/a', { ...SAME, version: 8 });
  one.misbehave('/a', { resetAfterBytes: 300 * KIB });
  await using edge = await startEdge({ yaml: yamlOf([one, two]) });
  const answer = await edge.get('/a', {}, { expect: body });
  assert.deepEqual([answer.wrongAt, answer.isComplete], [-1, false]);
});

test('with one node of three dead, hung up on or failing, every request is served', async () => {
  const origins = await Promise.all([1, 2, 3].map(() => Origin.start({ resolve: () => ({ lengthBytes: 1000 }) })));
  const [first] = origins;
  await using edge = await startEdge({ yaml: yamlOf(origins) });
  const askMany = async (label: string): Promise<void> => {
    const answers = await Promise.all(Array.from({ length: 60 }, (_, index) => edge.get(`/${label}/${index}`)));
    assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]), label);
  };
  await askMany('well');
  await first?.stop();
  await askMany('dead');
  await first?.start();
  for (let index = 0; index < 60; index += 1) first?.misbehave(`/reset/${index}`, { raw: '', rawThen: 'reset' });
  await askMany('reset');
  assert.ok((await edge.metric('rawslice_group_retries_total{group="g",outcome="sent"}')) > 0);
  assert.ok((await edge.metric(`rawslice_node_requests_total{group="g",node="${first?.url}",outcome="complete"}`)) > 0);
  await edge.settle();
  await Promise.all(origins.map((origin) => origin.close()));
});

test('a redirect to any node of the group, or to the host that they are sent, stays within the group', async () => {
  await using one = await Origin.start();
  await using two = await Origin.start();
  for (const origin of [one, two]) origin.setObject('/b', { lengthBytes: 10, cacheControl: 'max-age=60' });
  const rules = '    rules: [{ name: all, prefix: /, followRedirects: 2 }]\n';
  for (const [more, location, host] of [
    ['', `${two.url}/b`, undefined],
    ['    hostHeader: origin.example\n', 'http://origin.example/b', 'origin.example'],
    ['', 'http://elsewhere.example/b', undefined],
  ] as const) {
    one.forgetRequests();
    two.forgetRequests();
    for (const origin of [one, two]) {
      origin.behave();
      origin.misbehave('/a', { redirectTo: location });
    }
    const nodes = [one, two].map(({ url }) => `{ url: "${url}" }`).join(', ');
    await using edge = await startEdge({
      yaml: `routes:\n  - name: r\n${rules}upstreams:\n  - name: g\n    nodes: [${nodes}]\n${more}`,
    });
    const answer = await edge.get('/a');
    const isForeign = location.includes('elsewhere');
    assert.equal(answer.status, isForeign ? 302 : 200, location);
    const asked = [...one.requestsFor('/b'), ...two.requestsFor('/b')];
    assert.equal(asked.length, isForeign ? 0 : 1, location);
    if (host !== undefined) assert.equal(asked[0]?.headers.host, host);
    await edge.settle();
  }
});

test('a node whose answers are none to what was asked is left for another one', async () => {
  const lies: readonly (readonly [lie: Misbehaviour, range: string | undefined])[] = [
    [{ interval: { start: 100, end: 200 } }, undefined],
    [{ contentRange: 'garbage' }, 'bytes=70000-'],
    [{ contentRange: 'wrong-start' }, 'bytes=70000-'],
    [{ contentRange: 'missing' }, 'bytes=70000-'],
  ];
  for (const balance of ['round-robin', 'rendezvous']) {
    for (const [lie, range] of lies) {
      await using one = await Origin.start();
      await using two = await Origin.start();
      const body = one.setObject('/a', SAME);
      two.setObject('/a', SAME);
      const options = `name: g, balance: ${balance}, outlier: { rest: 1h, restMax: 1h }`;
      const yaml = yamlOf([one, two]).replace('name: g', options);
      // Who is asked first, and would be again.
      await using scout = await startEdge({ yaml });
      await scout.get('/a');
      const [liar, other] = one.requests.length > 0 ? [one, two] : [two, one];
      other.forgetRequests();
      liar.misbehave('/a', lie);
      await using edge = await startEdge({ yaml });
      const start = range === undefined ? 0 : 70_000;
      const answer = await edge.get('/a', range === undefined ? {} : { range }, { expect: { ...body, start } });
      assert.deepEqual(
        [answer.wrongAt, answer.isComplete, answer.bodyBytes],
        [-1, true, LENGTH - start],
        `${balance} ${JSON.stringify(lie)}`,
      );
      assert.ok(other.requestsFor('/a').length > 0);
      assert.deepEqual(
        edge.proxy.upstreams[0]?.nodes.filter(({ state }) => state !== 'well').map(({ origin }) => origin),
        [liar.url],
      );
    }
  }
});

test('of nodes whose tags differ the one that a version came from has the rest: a hit that goes on with a miss is not cut', async () => {
  const origins = await Promise.all([1, 2, 3].map(() => Origin.start()));
  const bodies = origins.map((origin, index) => origin.setObject('/a', { ...SAME, version: 7 + index }));
  await using edge = await startEdge({ yaml: yamlOf(origins) });
  await edge.get('/a', { range: 'bytes=0-9' });
  await edge.settle();
  const first = origins.findIndex((origin) => origin.requests.length > 0);
  const expect = { ...mustBe(bodies[first], 'a node was asked'), start: 64 * KIB - 5 };
  for (let turn = 0; turn < 3; turn += 1) {
    const start = 64 * KIB - 5;
    const answer = await edge.get('/a', { range: `bytes=${start}-${start + 100_000 * (turn + 1)}` }, { expect });
    assert.deepEqual([answer.status, answer.wrongAt, answer.isComplete], [206, -1, true]);
    await edge.settle();
  }
  await Promise.all(origins.map((origin) => origin.close()));
});
