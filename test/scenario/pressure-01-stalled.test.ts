/** Clients that do not read: the origin is not read for them, memory is bounded, and others go on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB, MIB } from '../../src/base/units.ts';
import { bodyBytes } from '../helpers/body.ts';
import { type ClientResponse, type StalledRequest, stall } from '../helpers/client.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import type { Misbehaviour } from '../helpers/origin-script.ts';

/** More than the buffers of the kernel hold for one client. */
const LENGTH = 32 * MIB;
/** A literal body: computing one for each of fifty clients would take longer than everything else. */
const CONTENT = bodyBytes({ name: 'content', version: 1 }, 0, LENGTH);
/**
 * What may be on its way for one stalled transfer: Linux buffers up to 4 MiB to send and 6 MiB received on either side (tcp_wmem, tcp_rmem);
 * the rest is slots of its run, copies for the client, node and the parsers.
 */
const BUFFERED_BYTES = 24 * MIB;

/** Waits until the origin has stopped sending because nobody reads. */
async function untilQuiet(origin: Origin): Promise<void> {
  let last = -1;
  let turns = 0;
  await eventually(
    () => {
      const sent = origin.bytesSent();
      turns = sent === last ? turns + 1 : 0;
      last = sent;
      return turns > 200;
    },
    { what: 'a quiet origin' },
  );
}

/** Reads everything and compares. */
async function readAll(edge: TestEdge, path: string): Promise<ClientResponse> {
  let wrong = 0;
  const onBytes = (bytes: Buffer, offset: number): void => {
    if (CONTENT.compare(bytes, 0, bytes.length, offset, offset + bytes.length) !== 0) wrong += 1;
  };
  const answer = await edge.get(path, {}, { onBytes });
  assert.deepEqual([answer.status, wrong, answer.bodyBytes, answer.isComplete], [200, 0, LENGTH, true], path);
  return answer;
}

async function startStalled(edge: TestEdge, paths: readonly string[]): Promise<StalledRequest[]> {
  return Promise.all(paths.map((path) => stall({ port: edge.port, path })));
}

const KINDS: readonly [what: string, misbehaviour: Misbehaviour][] = [
  ['resumable', {}],
  ['not resumable', { validators: 'none' }],
  ['of unknown length', { chunked: true }],
  ['neither', { chunked: true, validators: 'none' }],
];

for (const sliceSize of ['64KiB', '1MiB']) {
  for (const [what, misbehaviour] of sliceSize === '1MiB' ? KINDS.slice(0, 2) : KINDS) {
    test(`one stalled client stops the origin; a fast one on the same object goes on (${what}, slices of ${sliceSize})`, async () => {
      await using origin = await Origin.start();
      origin.setObject('/a', { body: CONTENT, cacheControl: 'max-age=60' });
      origin.misbehave('/a', misbehaviour);
      await using edge = await startEdge({ origin, arenaBytes: 8 * MIB, set: { 'slice.size': sliceSize } });
      const [stalled] = await startStalled(edge, ['/a']);
      await origin.waitForRequest('/a');
      await untilQuiet(origin);
      const sent = origin.bytesSent();
      assert.ok(sent < BUFFERED_BYTES, `the origin has sent ${sent} bytes`);
      await readAll(edge, '/a');
      const slow = await stalled?.resume();
      assert.deepEqual([slow?.status, slow?.bodyBytes, slow?.isComplete], [200, LENGTH, true]);
    });
  }
}

for (const sliceSize of ['64KiB', '1MiB']) {
  for (const isSame of [true, false]) {
    test(`a fast client beside ${isSame ? '50 stalled ones on the same object' : '20 stalled ones on objects of their own'} (slices of ${sliceSize})`, async () => {
      await using origin = await Origin.start({ resolve: () => ({ body: CONTENT, cacheControl: 'max-age=60' }) });
      await using edge = await startEdge({ origin, arenaBytes: isSame ? 8 * MIB : 4 * MIB, set: { 'slice.size': sliceSize } });
      const count = isSame ? 50 : 20;
      const stalled = await startStalled(
        edge,
        Array.from({ length: count }, (_, index) => (isSame ? '/s' : `/s${index}`)),
      );
      await eventually(() => edge.services.load.requests === count, { what: 'all clients' });
      await untilQuiet(origin);
      for (const path of isSame ? ['/s', '/fast'] : ['/fast', '/s7']) await readAll(edge, path);
      const sliceBytes = sliceSize === '1MiB' ? MIB : 64 * KIB;
      assert.ok(edge.services.pins.taken * sliceBytes <= Math.max(2 * sliceBytes, edge.arena.sizeBytes / 4), 'pins are bounded');
      for (const { destroy } of stalled) destroy();
    });
  }
}

test('stalled clients of stored objects hold no slots of the arena', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { body: CONTENT, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin, arenaBytes: 8 * MIB, set: { 'slice.size': '1MiB' } });
  await readAll(edge, '/a');
  await edge.settle();
  const stalled = await startStalled(
    edge,
    Array.from({ length: 50 }, () => '/a'),
  );
  await eventually(() => edge.services.load.requests === 50, { what: 'fifty clients' });
  assert.equal((await readAll(edge, '/a')).headers['x-cache'], 'HIT');
  assert.equal(origin.requests.length, 1);
  for (const { destroy } of stalled) destroy();
});

test('a client that takes nothing for limits.clientStall is cut off, in the middle and on the last bytes', async () => {
  await using origin = await Origin.start();
  origin.setObject('/large', { body: CONTENT, cacheControl: 'max-age=60' });
  origin.setObject('/none', { body: CONTENT, cacheControl: 'no-store' });
  origin.setObject('/last', { lengthBytes: 7 * MIB, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin, set: { 'limits.clientStall': '1s', 'slice.size': '1MiB' } });
  const stalled = await startStalled(edge, ['/large', '/none', '/last']);
  await eventually(() => edge.services.load.requests === 3, { what: 'three clients' });
  await edge.settle();
  for (const { destroy } of stalled) destroy();
});

for (const misbehaviour of [{}, { validators: 'none' }, { chunked: true }, { chunked: true, validators: 'none' }] as const) {
  test(`a store that declines every slice: bytes are right, for one client and for twenty (${JSON.stringify(misbehaviour)})`, async () => {
    await using origin = await Origin.start();
    const body = origin.setObject('/a', { lengthBytes: 2 * MIB, cacheControl: 'max-age=60' });
    const small = origin.setObject('/small', { lengthBytes: 1000, cacheControl: 'max-age=60' });
    origin.misbehave('*', misbehaviour);
    await using edge = await startEdge({ origin, arenaBytes: 8 * MIB });
    Object.assign(edge.store, { declinesSlices: true });
    for (const count of [1, 20]) {
      const answers = await Promise.all(Array.from({ length: count }, () => edge.get('/a', {}, { expect: body })));
      for (const answer of answers)
        assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes, answer.isComplete], [200, -1, 2 * MIB, true]);
    }
    await edge.settle();
    assert.equal(edge.arena.leasedSlots, 0);
    origin.behave();
    origin.misbehave('/small', { ...misbehaviour, holdHead: true });
    const answers = Array.from({ length: 20 }, () => edge.get('/small', {}, { expect: small }));
    await eventually(() => edge.services.load.requests === 20, { what: 'twenty clients' });
    await origin.waitForHeld('/small');
    origin.release();
    for (const answer of await Promise.all(answers)) assert.deepEqual([answer.wrongAt, answer.bodyBytes], [-1, 1000]);
    assert.equal(origin.requestsFor('/small').length, 1, 'what came is kept for those who waited for it');
  });
}

test('no slot for a fill: the response goes past the arena, and is right (private stream)', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: 3 * MIB, cacheControl: 'max-age=60' });
  const other = origin.setObject('/b', { lengthBytes: 3 * MIB, cacheControl: 'max-age=60' });
  origin.misbehave('/b', { validators: 'none' });
  await using edge = await startEdge({ origin, arenaBytes: 4 * MIB });
  const taken = [];
  for (let lease = edge.arena.tryLease('fill', 64 * KIB); lease !== undefined; lease = edge.arena.tryLease('fill', 64 * KIB))
    taken.push(lease);
  const answer = await edge.get('/a', {}, { expect: body });
  assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes, answer.isComplete], [200, -1, 3 * MIB, true]);
  const middle = await edge.get('/a', { range: 'bytes=1000000-1999999' }, { expect: { ...body, start: 1_000_000 } });
  assert.deepEqual([middle.status, middle.wrongAt, middle.bodyBytes], [206, -1, 1_000_000]);
  // What cannot be fetched again waits for a slot instead.
  const waiting = edge.get('/b', {}, { expect: other });
  await origin.waitForRequest('/b');
  for (const lease of taken) lease.end();
  assert.deepEqual([(await waiting).wrongAt, (await waiting).bodyBytes], [-1, 3 * MIB]);
});

test('a slow upload does not hold memory: the origin paces the client', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin });
  const answer = await edge.get('/up', {}, { method: 'PUT', body: Buffer.alloc(8 * MIB, 1) });
  assert.equal(answer.status, 404);
  assert.equal(origin.requestsFor('/up')[0]?.requestBodyBytes, 8 * MIB);
});
