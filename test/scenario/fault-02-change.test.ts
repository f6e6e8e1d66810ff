/** The object changes at the origin while it is stored, filled or sent: no response ever has bytes of two versions (S9, row 48). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB, MIB } from '../../src/base/units.ts';
import { type BodyIdentity, bodyBytes } from '../helpers/body.ts';
import { ClientConnection } from '../helpers/client.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';

const LENGTH = MIB;

/** Asks, and says which version the bytes that came are of; fails when they are of none or of two. */
async function versionOf(edge: TestEdge, path: string, start = 0): Promise<{ version: number; isComplete: boolean; status: number }> {
  const pieces: Buffer[] = [];
  const headers: Record<string, string> = start === 0 ? {} : { range: `bytes=${start}-` };
  const answer = await edge.get(path, headers, { onBytes: (bytes) => pieces.push(bytes) });
  const body = Buffer.concat(pieces);
  if (answer.status >= 400) return { version: 0, isComplete: answer.isComplete, status: answer.status };
  const at = answer.status === 206 ? start : 0;
  const version = [1, 2, 3, 4].find((number) => body.equals(bodyBytes({ name: path, version: number }, at, body.length)));
  assert.ok(version !== undefined, 'a spliced body');
  if (answer.isComplete) assert.equal(body.length, LENGTH - at);
  return { version, isComplete: answer.isComplete, status: answer.status };
}

test('the object changes between slices: the present client sees a broken response, the next one the new version (row 48)', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { closeAfterBytes: 300 * KIB }, 1);
  origin.misbehave('/a', { holdHead: true }, 1);
  await using edge = await startEdge({ origin });
  const present = versionOf(edge, '/a');
  await origin.waitForHeld('/a');
  origin.change('/a');
  origin.release();
  assert.deepEqual(await present, { version: 1, isComplete: false, status: 200 });
  assert.deepEqual(await versionOf(edge, '/a'), { version: 2, isComplete: true, status: 200 });
});

test('an object stored in part has changed: the request gets the new version from the start', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  // The missing part is asked for first, so nothing has been sent when the change shows.
  await edge.get('/a', { range: `bytes=${512 * KIB}-` });
  origin.change('/a');
  assert.deepEqual(await versionOf(edge, '/a'), { version: 2, isComplete: true, status: 200 });
  // Its stored part comes first: the change shows in the middle, and the response ends there.
  await edge.settle();
  origin.change('/a', { cacheControl: 'max-age=60' });
  assert.deepEqual(await versionOf(edge, '/a'), { version: 2, isComplete: true, status: 200 });
});

test('an object whose beginning is stored has changed: the response ends in the middle, never spliced', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  await edge.get('/a', { range: `bytes=0-${512 * KIB - 1}` });
  await edge.settle();
  origin.change('/a');
  assert.deepEqual(await versionOf(edge, '/a'), { version: 1, isComplete: false, status: 200 });
  assert.deepEqual(await versionOf(edge, '/a'), { version: 2, isComplete: true, status: 200 });
});

for (const validators of ['weak', 'none', 'changing'] as const) {
  test(`validators ${validators}: parts are never joined (rows 16, 17)`, async () => {
    await using origin = await Origin.start();
    origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
    origin.misbehave('/a', { validators });
    await using edge = await startEdge({ origin });
    for (const start of [512 * KIB, 100 * KIB, 0, 900 * KIB]) {
      const seen = await versionOf(edge, '/a', start);
      await edge.settle();
      origin.change('/a');
      assert.ok(seen.status < 300);
      if (validators !== 'changing') assert.equal(seen.isComplete, true);
    }
  });
}

test('followers of a fill whose object changes: those who have begun are broken off, those who have not get the new version', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { closeAfterBytes: 300 * KIB }, 1);
  origin.misbehave('/a', { holdHead: true }, 1);
  await using edge = await startEdge({ origin });
  const begun = [versionOf(edge, '/a'), versionOf(edge, '/a')];
  await origin.waitForHeld('/a');
  const far = versionOf(edge, '/a', 320 * KIB);
  await eventually(() => edge.services.load.requests === 3, { what: 'three requests' });
  origin.change('/a');
  origin.release();
  for (const seen of await Promise.all(begun)) assert.deepEqual(seen, { version: 1, isComplete: false, status: 200 });
  assert.deepEqual(await far, { version: 2, isComplete: true, status: 206 });
});

test('many clients while the object changes again and again: every body is of one version', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=0' });
  await using edge = await startEdge({ origin });
  const starts = [0, 300 * KIB, 700 * KIB, 1000 * KIB];
  for (let round = 0; round < 3; round += 1) {
    const asked = Array.from({ length: 24 }, (_, index) => versionOf(edge, '/a', starts[index % starts.length]));
    await origin.waitForRequest('/a', origin.requests.length + 1);
    origin.change('/a');
    await Promise.all(asked);
  }
  const last: BodyIdentity = origin.identity('/a');
  assert.deepEqual(await versionOf(edge, '/a'), { version: last.version, isComplete: true, status: 200 });
});

test('the object is gone at the origin: 404 before anything was sent, and for the next one', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  await edge.get('/a', { range: `bytes=${512 * KIB}-` });
  origin.removeObject('/a');
  assert.equal((await edge.get('/a')).status, 404);
  assert.equal((await edge.get('/a')).status, 404);
});

for (const status of [403, 429, 503]) {
  test(`${status} to a request for missing slices keeps what is stored (row 42)`, async () => {
    await using origin = await Origin.start();
    const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
    await using edge = await startEdge({ origin });
    await edge.get('/a', { range: 'bytes=0-99999' });
    await edge.settle();
    origin.misbehave('/a', { status });
    const broken = await edge.get('/a', {}, { expect: body });
    assert.deepEqual([broken.wrongAt, broken.isComplete], [-1, false]);
    const missing = await edge.get('/a', { range: 'bytes=500000-' });
    assert.deepEqual([missing.status, missing.isComplete], [502, true]);
    const stored = await edge.get('/a', { range: 'bytes=0-99999' }, { expect: body });
    assert.deepEqual([stored.status, stored.wrongAt, stored.headers['x-cache']], [206, -1, 'HIT']);
    origin.behave();
    const whole = await edge.get('/a', {}, { expect: body });
    assert.deepEqual([whole.wrongAt, whole.bodyBytes], [-1, LENGTH]);
  });
}

test('the origin is down: what is stored and fresh is served, what is missing fails clearly (row 42)', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  await edge.get('/a', { range: 'bytes=0-99999' });
  await edge.settle();
  await origin.stop();
  assert.equal((await edge.get('/a', { range: 'bytes=0-99999' }, { expect: body })).wrongAt, -1);
  const missing = await edge.get('/a', { range: 'bytes=500000-' });
  assert.equal(missing.status, 502);
  assert.match(missing.body.toString(), /cannot be reached/);
  const broken = await edge.get('/a', {}, { expect: body });
  assert.deepEqual([broken.wrongAt, broken.isComplete], [-1, false]);
  await origin.start();
  assert.equal((await edge.get('/a', {}, { expect: body })).bodyBytes, LENGTH);
});

test('a body of unknown length that a PUT overtook does not come back to the cache with its end (RFC 9111 s4.4)', async () => {
  await using origin = await Origin.start();
  const old = origin.setObject('/a', { lengthBytes: 50 * KIB, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { chunked: true, pauseAfterBytes: 20 * KIB }, 1);
  await using edge = await startEdge({ origin });
  const first = edge.get('/a', {}, { expect: old });
  await origin.waitForHeld('/a');
  const changed = origin.change('/a');
  assert.equal((await edge.get('/a', {}, { method: 'PUT', body: 'new' })).status, 200);
  origin.release('/a');
  assert.deepEqual([(await first).wrongAt, (await first).isComplete], [-1, true]);
  const next = await edge.get('/a', {}, { expect: changed });
  assert.deepEqual([next.status, next.wrongAt, next.headers['x-cache']], [200, -1, 'MISS']);
});

test('a connection that has proved itself and meets a change before the first byte leaves no pin behind', async () => {
  await using origin = await Origin.start();
  const big = origin.setObject('/big', { lengthBytes: 12 * MIB, cacheControl: 'max-age=60' });
  origin.setObject('/a', { lengthBytes: 4 * MIB, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  await edge.get('/a', { range: 'bytes=0-0' });
  await edge.settle();
  const connection = await ClientConnection.open({ port: edge.port });
  const whole = await connection.request({ path: '/big', expect: big });
  assert.deepEqual([whole.wrongAt, whole.isComplete], [-1, true]);
  const changed = origin.setObject('/a', { lengthBytes: 4 * MIB, version: 2, cacheControl: 'max-age=60' });
  const answer = await connection.request({ path: '/a', headers: { range: `bytes=${2 * MIB}-` }, expect: { ...changed, start: 2 * MIB } });
  assert.deepEqual([answer.status, answer.isComplete], [206, true]);
  await edge.settle();
  assert.equal(edge.services.pins.taken, 0);
  connection.destroy();
});
