/**
 * The origin gets another version while clients are in flight (RFC 9111 s3.4, s4.3.3): each body is of one version, a client that finds all it
 * needs in the cache gets it whole, the others are cut where they can see it, and whoever asks next gets the new version.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import type { Arena } from '../../src/memory/arena.ts';
import type { SliceStore } from '../../src/store/slice-store.ts';
import { type BodyIdentity, bodyBytes } from '../helpers/body.ts';
import { type ClientResponse, type StalledRequest, stall } from '../helpers/client.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { formatTiny, openBenchOn } from '../store/store-bench.ts';

/** More than kernels and node hold for a client that does not read, so that it is in flight for as long as it stalls. */
const LENGTH = 16 * MIB;
const SLICE = 64 * KIB;
/** Of the objects whose clients read. */
const SHORT = 16 * SLICE;

async function onDevice(arena: Arena): Promise<SliceStore> {
  const disk = new SimulatedDisk({ capacityBytes: 64 * MIB, random: new SeededRandom(48) });
  await formatTiny(disk.open(), { labelBytes: 32 * KIB, journalBytes: 256 * KIB, groupBytes: 8 * MIB, entryCount: 2048 });
  disk.crash(new SeededRandom(48), 'all');
  return openBenchOn(disk.open(), arena);
}

const PLACES = [
  ['model', undefined],
  ['device', onDevice],
] as const;

function startLarge(origin: Origin, makeStore: ((arena: Arena) => Promise<SliceStore>) | undefined): Promise<TestEdge> {
  return startEdge({ origin, makeStore, arenaBytes: 8 * MIB, set: { 'slice.size': '1MiB' } });
}

/** A client of `/a` that reads nothing yet; resolves when its response has begun and its path to the client is full. */
async function startStalled(edge: TestEdge, expect: BodyIdentity, range?: string): Promise<StalledRequest> {
  const sent = (): number => edge.services.metrics.value('bodyBytes', 'ram') + edge.services.metrics.value('bodyBytes', 'device');
  const before = sent();
  const headers = range === undefined ? {} : { range };
  const stalled = await stall({ port: edge.port, path: '/a', headers, expect });
  await eventually(() => sent() > before, { what: 'a client in flight' });
  return stalled;
}

/** Asks until all of it is stored: a fill that is faster than the device has some slices declined. */
async function storeAll(edge: TestEdge, expect: BodyIdentity, range?: string): Promise<void> {
  const headers = range === undefined ? {} : { range };
  for (let turn = 0; turn < 20; turn += 1) {
    const answer = await edge.get('/a', headers, { expect });
    await edge.settle();
    await edge.store.drain();
    if (answer.headers['x-cache'] === 'HIT' || answer.headers['x-cache'] === 'REVALIDATED') return;
  }
  assert.fail('not all of it is stored');
}

function summary({ wrongAt, isComplete, bodyBytes: length }: ClientResponse): unknown[] {
  return [wrongAt, isComplete, length];
}

for (const [place, makeStore] of PLACES) {
  test(`row 48 (RFC 9111 s3.4): a revalidation finds a new version; who is in flight is finished from the old one in the cache (${place})`, async () => {
    await using origin = await Origin.start();
    const old = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=0' });
    await using edge = await startLarge(origin, makeStore);
    await storeAll(edge, old);
    const stalled = await startStalled(edge, old);
    const young = origin.change('/a');
    const asked = origin.requests.length;
    assert.deepEqual(summary(await edge.get('/a', {}, { expect: young })), [-1, true, LENGTH]);
    assert.deepEqual(summary(await stalled.resume()), [-1, true, LENGTH]);
    assert.deepEqual(summary(await edge.get('/a', { range: 'bytes=-100' }, { expect: { ...young, start: LENGTH - 100 } })), [
      -1,
      true,
      100,
    ]);
    // Once for the new version, once to revalidate it: nobody asked for the old one.
    assert.equal(origin.requests.length, asked + 2);
    stalled.destroy();
  });

  test(`row 48 (RFC 9111 s3.4): a run meets a new version; who needs only what is stored gets it whole (${place})`, async () => {
    await using origin = await Origin.start();
    const old = origin.setObject('/a', { lengthBytes: LENGTH + 2 * MIB, cacheControl: 'max-age=60' });
    await using edge = await startLarge(origin, makeStore);
    await storeAll(edge, old, `bytes=0-${LENGTH - 1}`);
    const needsStored = await startStalled(edge, old, `bytes=0-${LENGTH - 1}`);
    const needsMore = await startStalled(edge, old);
    const young = origin.change('/a');
    const missing = { start: LENGTH, ...young };
    assert.deepEqual(summary(await edge.get('/a', { range: `bytes=${LENGTH}-` }, { expect: missing })), [-1, true, 2 * MIB]);
    assert.deepEqual(summary(await needsStored.resume()), [-1, true, LENGTH]);
    // All that was stored, and then a cut: the rest is of another version.
    assert.deepEqual(summary(await needsMore.resume()), [-1, false, LENGTH]);
    const after = await edge.get('/a', {}, { expect: young });
    assert.deepEqual([...summary(after), after.status], [-1, true, LENGTH + 2 * MIB, 200]);
    for (const client of [needsStored, needsMore]) client.destroy();
  });

  test(`row 48 (S8): a purge while clients read an old and a new version (${place})`, async () => {
    await using origin = await Origin.start();
    const first = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=0' });
    await using edge = await startLarge(origin, makeStore);
    await edge.get('/a', {}, { expect: first });
    const onFirst = await startStalled(edge, first);
    const second = origin.change('/a');
    await edge.get('/a', {}, { expect: second });
    const onSecond = await startStalled(edge, second);
    const third = origin.change('/a');
    edge.resolver.forget({ kind: 'everything' });
    await edge.store.purge({ kind: 'everything' });
    const asked = origin.requests.length;
    const rests = await Promise.all([onFirst.resume(), onSecond.resume()]);
    // What was on its way may arrive; nothing of another version may.
    assert.deepEqual(
      rests.map(({ wrongAt }) => wrongAt),
      [-1, -1],
    );
    assert.deepEqual(
      rests.map(({ isComplete }) => isComplete),
      [false, false],
    );
    assert.ok(origin.requests.length > asked, 'the old versions were asked for, and not found');
    assert.deepEqual(summary(await edge.get('/a', {}, { expect: third })), [-1, true, LENGTH]);
    for (const client of [onFirst, onSecond]) client.destroy();
  });
}

test('row 48 (RFC 9111 s3.4): one version after the other, each with a client that stands still: each gets its own, whole', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=0' });
  await using edge = await startLarge(origin, undefined);
  const clients: StalledRequest[] = [];
  for (let version = 1; version <= 4; version += 1) {
    const identity = version === 1 ? origin.identity('/a') : origin.change('/a');
    await edge.get('/a', {}, { expect: identity });
    clients.push(await startStalled(edge, identity));
  }
  const answers = await Promise.all(clients.reverse().map((client) => client.resume()));
  for (const answer of answers) assert.deepEqual(summary(answer), [-1, true, LENGTH]);
  for (const client of clients) client.destroy();
});

/** The body's version, every byte compared; fails for a body of none, or of two. */
async function askVersion(edge: TestEdge, start = 0): Promise<{ readonly version: number; readonly isComplete: boolean }> {
  const pieces: Buffer[] = [];
  const headers: Record<string, string> = start === 0 ? {} : { range: `bytes=${start}-` };
  const answer = await edge.get('/a', headers, { onBytes: (bytes) => pieces.push(bytes) });
  assert.equal(answer.status, start === 0 ? 200 : 206);
  const body = Buffer.concat(pieces);
  const version = [1, 2, 3].find((number) => body.equals(bodyBytes({ name: '/a', version: number }, start, body.length)));
  assert.ok(version !== undefined, 'a spliced body');
  if (answer.isComplete) assert.equal(body.length, SHORT - start);
  return { version, isComplete: answer.isComplete };
}

for (const misbehaviour of [
  {},
  { chunked: true },
  { validators: 'none' },
  { ignoreRange: true },
  { chunked: true, validators: 'weak' },
] as const) {
  test(`row 48 (RFC 9111 s3.4): a transfer of the old version that is under way goes on for its followers (${JSON.stringify(misbehaviour)})`, async () => {
    await using origin = await Origin.start();
    const old = origin.setObject('/a', { lengthBytes: SHORT, cacheControl: 'max-age=0' });
    origin.misbehave('/a', { ...misbehaviour, pauseAfterBytes: 5 * SLICE + 100 }, 1);
    await using edge = await startEdge({ origin });
    let received = 0;
    const pieces: Buffer[] = [];
    const first = edge.get(
      '/a',
      {},
      {
        onBytes: (bytes) => {
          received += bytes.length;
          pieces.push(bytes);
        },
      },
    );
    await eventually(() => received === 5 * SLICE + 100, { what: 'a client that has got what there is' });
    const young = origin.change('/a');
    assert.deepEqual(summary(await edge.get('/a', {}, { expect: young })), [-1, true, SHORT]);
    assert.equal(origin.release('/a'), 1);
    assert.equal((await first).isComplete, true);
    assert.ok(Buffer.concat(pieces).equals(bodyBytes(old, 0, SHORT)));
    assert.deepEqual(summary(await edge.get('/a', {}, { expect: young })), [-1, true, SHORT]);
  });
}

for (const cut of [0, 1, SLICE - 1, SLICE, SLICE + 1, 7 * SLICE + 300, SHORT - SLICE, SHORT - 1]) {
  test(`row 48 (RFC 9111 s3.4): the transfer ends after ${cut} bytes, and its resumption meets a new version; old and new clients at once`, async () => {
    await using origin = await Origin.start();
    origin.setObject('/a', { lengthBytes: SHORT, cacheControl: 'max-age=60' });
    origin.misbehave('/a', { closeAfterBytes: cut }, 1);
    origin.misbehave('/a', { holdHead: true }, 1);
    await using edge = await startEdge({ origin });
    const begun = [askVersion(edge), askVersion(edge)];
    await origin.waitForHeld('/a');
    origin.change('/a');
    origin.release();
    const fresh = [askVersion(edge), askVersion(edge, 3 * SLICE + 5)];
    for (const seen of await Promise.all([...begun, ...fresh])) {
      assert.ok(seen.isComplete || seen.version === 1, 'a cut response of the new version');
      if (seen.isComplete) assert.equal(seen.version, 2);
    }
    assert.deepEqual(await askVersion(edge), { version: 2, isComplete: true });
    assert.deepEqual(await askVersion(edge, SHORT - 1), { version: 2, isComplete: true });
  });
}

test('row 48 (RFC 9111 s3.4): the version changes twice, the second time while the first change is being found out', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: SHORT, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  await edge.get('/a', { range: `bytes=0-${4 * SLICE - 1}` });
  await edge.settle();
  origin.change('/a');
  // The missing part meets version 2; what is asked for after that is version 3.
  origin.misbehave('/a', { holdHead: true }, 1);
  const far = askVersion(edge, 4 * SLICE);
  await origin.waitForHeld('/a');
  const near = askVersion(edge);
  origin.misbehave('/a', { holdHead: true, when: (request) => request.headers['if-range'] === undefined }, 1);
  origin.release('/a');
  await origin.waitForHeld('/a');
  origin.change('/a');
  origin.release('/a');
  const [atFar, atNear] = await Promise.all([far, near]);
  assert.ok(atFar.isComplete && atFar.version >= 2);
  assert.ok(atNear.isComplete ? atNear.version >= 2 : atNear.version === 1);
  assert.equal((await askVersion(edge)).isComplete, true);
});

test('row 23 (RFC 9111 s4.3.3): a validation that is answered 200 with another validator opens a new generation, for all who waited', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: SHORT, cacheControl: 'max-age=0' });
  await using edge = await startEdge({ origin });
  await askVersion(edge);
  await edge.settle();
  origin.change('/a');
  origin.misbehave('/a', { holdHead: true }, 1);
  const asked = [askVersion(edge), askVersion(edge), askVersion(edge, SLICE)];
  await origin.waitForHeld('/a');
  await eventually(() => edge.services.load.requests === 3, { what: 'three requests' });
  origin.release('/a');
  for (const seen of await Promise.all(asked)) assert.deepEqual(seen, { version: 2, isComplete: true });
  assert.equal(origin.requestsFor('/a').length, 2);
});
