/** More than the device holds, over and over: eviction, allocation, limits and their metrics. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { emptyResident } from '../contract/slice-store.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import {
  assertNoLeases,
  clock,
  formatTiny,
  makeManifest,
  offerOne,
  openBench,
  readAndCheck,
  SLICE_BYTES,
  sliceCount,
  storeObject,
  tinyParameters,
} from './store-bench.ts';

async function openTiny(seed: number, options: { capacityBytes?: number; entryCount?: number; journalBlocks?: number } = {}) {
  const disk = new SimulatedDisk({ capacityBytes: options.capacityBytes ?? 4 * MIB, random: new SeededRandom(seed) });
  const device = disk.open();
  await formatTiny(device, tinyParameters(options), seed);
  return { disk, device };
}

test('several device volumes go through, and index, bitmap and bytes stay right', async () => {
  const random = new SeededRandom(31);
  const { disk, device } = await openTiny(31);
  let bench = await openBench(device);
  const recent: ReturnType<typeof makeManifest>[] = [];
  let writtenBytes = 0;
  for (let round = 0; round < 90; round += 1) {
    const lengthBytes = random.integerBelow(4) === 0 ? random.integerBelow(8 * KIB) : 1 + random.integerBelow(5 * SLICE_BYTES);
    const manifest = makeManifest(`o-${random.integerBelow(80)}`, bench.store.nextGeneration(), lengthBytes);
    assert.equal(bench.store.offerManifest(manifest, bench.store.purgeSequence).kind, 'admitted');
    for (let number = 0; number < sliceCount(manifest); number += 1) offerOne(bench, manifest, number);
    if (round % 3 === 0) await bench.store.drain();
    writtenBytes += lengthBytes;
    recent.push(manifest);
    const old = recent[random.integerBelow(recent.length)];
    if (old !== undefined) for (let number = 0; number < sliceCount(old); number += 1) await readAndCheck(bench.store, old, number);
    assert.equal(bench.store.findContradiction(), undefined, `round ${round}`);
    if (round % 50 === 49) {
      await bench.store.close();
      bench = await openBench(disk.open());
    }
  }
  await bench.store.drain();
  assert.ok(writtenBytes > 2 * 4 * MIB);
  const { usedBytes, freeBytes } = bench.store.usage;
  assert.ok(usedBytes / (usedBytes + freeBytes) > 0.8, `the device is full (${usedBytes} of ${usedBytes + freeBytes})`);
  assert.ok(bench.store.metrics.value('evicted', 'blocks') > 0);
  assert.equal(bench.store.metrics.value('reads', 'corrupt') + bench.store.metrics.value('reads', 'stale'), 0);
  assertNoLeases(bench.arena);
  await bench.store.close();
});

test('the number of entries is a bound: beyond it something is evicted', async () => {
  const { device } = await openTiny(32, { entryCount: 40 });
  const bench = await openBench(device);
  for (let number = 0; number < 40; number += 1) {
    await storeObject(bench, `small-${number}`, 100);
    assert.ok(bench.store.usage.entries <= 40);
    assert.equal(bench.store.findContradiction(), undefined);
  }
  assert.ok(bench.store.metrics.value('evicted', 'entries') > 0);
  assert.ok(bench.store.usage.entries > 30);
  await bench.store.close();
});

test('replay passes through more entries than there are, and loses none of the last', async () => {
  const { disk, device } = await openTiny(40, { entryCount: 24 });
  const bench = await openBench(device);
  // Each version replaces the one before: its slices are freed at once, while in the journal only their puts are to be seen.
  let manifest = makeManifest('x', bench.store.nextGeneration(), 4 * SLICE_BYTES);
  for (let version = 0; version < 8; version += 1) {
    manifest = makeManifest('x', bench.store.nextGeneration(), 4 * SLICE_BYTES);
    bench.store.offerManifest(manifest, bench.store.purgeSequence);
    for (let number = 0; number < 4; number += 1) offerOne(bench, manifest, number);
    await bench.store.drain();
  }
  assert.equal(bench.store.metrics.value('checkpoints'), 0);
  disk.crash(new SeededRandom(1), 'none');
  await bench.store.close();
  const again = await openBench(disk.open());
  assert.ok(again.store.usage.entries <= 24);
  for (let number = 0; number < 4; number += 1) assert.equal(await readAndCheck(again.store, manifest, number), 'device', String(number));
  assert.equal(again.store.findContradiction(), undefined);
  await again.store.close();
});

test('what is read stays, what is not read goes first', async () => {
  const { device } = await openTiny(33);
  const bench = await openBench(device);
  const hot = await storeObject(bench, 'hot', 2 * SLICE_BYTES);
  for (let number = 0; number < 60; number += 1) {
    await storeObject(bench, `cold-${number}`, 2 * SLICE_BYTES);
    assert.match(await readAndCheck(bench.store, hot, number % 2), /ram|device/);
  }
  assert.match(await readAndCheck(bench.store, hot, 0), /ram|device/);
  assert.equal(bench.store.findManifest(makeManifest('cold-0', 1, 1).objectHash)?.storedSlices ?? 0, 0);
  await bench.store.close();
});

test('an object goes with the last of its slices, so that objects without any do not fill the device', async () => {
  const { device } = await openTiny(41);
  const bench = await openBench(device);
  const found: (number | undefined)[] = [];
  for (let number = 0; number < 60; number += 1) {
    await storeObject(bench, `cold-${number}`, 2 * SLICE_BYTES);
    emptyResident(bench.arena);
  }
  for (let number = 0; number < 60; number += 1) {
    found.push(bench.store.findManifest(makeManifest(`cold-${number}`, 1, 1).objectHash)?.storedSlices);
  }
  assert.equal(found[0], undefined);
  assert.ok(!found.includes(0), found.join());
  await bench.store.close();
});

test('a full write queue declines, the slice stays readable and is taken later', async () => {
  const { disk, device } = await openTiny(34);
  const bench = await openBench(device, { limits: { queueSlices: 2, writesMax: 1 } });
  const manifest = makeManifest('x', bench.store.nextGeneration(), 4 * SLICE_BYTES);
  bench.store.offerManifest(manifest, bench.store.purgeSequence);
  const stop = disk.addFault({ operation: 'write', effect: { kind: 'hang' } });
  assert.deepEqual(
    [0, 1, 2].map((number) => offerOne(bench, manifest, number)),
    [{ kind: 'admitted' }, { kind: 'admitted' }, { kind: 'declined', reason: 'queue-full' }],
  );
  assert.equal(await readAndCheck(bench.store, manifest, 2), 'ram');
  assert.equal(bench.store.metrics.value('declined', 'queue-full'), 1);
  assert.deepEqual(bench.store.findManifest(manifest.objectHash), { generation: manifest.generation, storedSlices: 3 });
  while (disk.hungOperations === 0) await new Promise((resolve) => setImmediate(resolve));
  stop();
  disk.resumeHung();
  await bench.store.drain();
  assert.deepEqual(offerOne(bench, manifest, 2), { kind: 'admitted' });
  await bench.store.drain();
  assert.equal(bench.store.findContradiction(), undefined);
  await bench.store.close();
  assert.equal(bench.arena.leasedSlots, 0);
});

test('a journal that would overtake its checkpoint declines offers until the checkpoint is done', async () => {
  const { disk, device } = await openTiny(35, { journalBlocks: 8 });
  const bench = await openBench(device, { limits: { journalBatchMs: 1 } });
  const stop = disk.addFault({
    operation: 'write',
    effect: { kind: 'hang' },
    startBytes: 64 * KIB + 32 * KIB,
    endBytes: 64 * KIB + 32 * KIB + 128 * KIB,
  });
  const hash = makeManifest('p', 1, 1).objectHash;
  for (let count = 0; count < 6; count += 1) await bench.store.purge({ kind: 'object', objectHash: hash });
  const manifest = makeManifest('x', bench.store.nextGeneration(), SLICE_BYTES);
  assert.deepEqual(bench.store.offerManifest(manifest, bench.store.purgeSequence), { kind: 'declined', reason: 'journal-full' });
  await bench.store.purge({ kind: 'object', objectHash: hash });
  await assert.rejects(bench.store.purge({ kind: 'object', objectHash: hash }), { code: 'STORE_UNAVAILABLE' });
  assert.equal(bench.store.state, 'online');
  stop();
  disk.resumeHung();
  await bench.store.checkpoint();
  assert.equal((await bench.store.purge({ kind: 'object', objectHash: hash })).objects, 0);
  assert.deepEqual(bench.store.offerManifest(manifest, bench.store.purgeSequence), { kind: 'admitted' });
  await bench.store.close();
});

test('purges beyond the memory refuse older answers of every object', async () => {
  const { device } = await openTiny(36);
  const bench = await openBench(device, { limits: { purgesRemembered: 2 } });
  const before = bench.store.purgeSequence;
  for (const key of ['a', 'b', 'c']) await bench.store.purge({ kind: 'object', objectHash: makeManifest(key, 1, 1).objectHash });
  const late = makeManifest('unrelated', bench.store.nextGeneration(), 10);
  assert.deepEqual(bench.store.offerManifest(late, before), { kind: 'declined', reason: 'purged' });
  assert.deepEqual(bench.store.offerManifest(late, bench.store.purgeSequence), { kind: 'admitted' });
  await bench.store.close();
});

test('manifests without slices are bounded: the one that waits longest gives way', async () => {
  const { device } = await openTiny(37);
  const bench = await openBench(device, { limits: { pendingManifests: 3 } });
  const manifests = [0, 1, 2, 3].map((number) => makeManifest(`m-${number}`, bench.store.nextGeneration(), 10));
  for (const manifest of manifests) assert.equal(bench.store.offerManifest(manifest, bench.store.purgeSequence).kind, 'admitted');
  assert.deepEqual(
    manifests.map((manifest) => bench.store.findManifest(manifest.objectHash) !== undefined),
    [false, true, true, true],
  );
  assert.equal(bench.store.findContradiction(), undefined);
  await bench.store.close();
});

test('a crowd of readers shares one read of the device', async () => {
  const { disk, device } = await openTiny(38);
  const first = await openBench(device);
  const manifest = await storeObject(first, 'x', SLICE_BYTES);
  await first.store.close();
  const bench = await openBench(disk.open());
  const before = disk.counts.read;
  const kinds = await Promise.all(Array.from({ length: 50 }, () => readAndCheck(bench.store, manifest, 0)));
  assert.ok(kinds.every((kind) => kind === 'device'));
  assert.equal(disk.counts.read - before, 1);
  assert.equal(bench.store.metrics.value('collapsedReads'), 49);
  assertNoLeases(bench.arena);
  await bench.store.close();
});

test('while the index loads everything is absent, nothing is kept, and a purge holds once it is loaded', async () => {
  const { disk, device } = await openTiny(39);
  const first = await openBench(device);
  const manifest = await storeObject(first, 'x', SLICE_BYTES);
  await first.store.close();
  const { Arena } = await import('../../src/memory/arena.ts');
  const { createStore } = await import('../../src/store/device-store.ts');
  const { createSilentLogger } = await import('../../src/base/log.ts');
  const arena = new Arena({ sizeBytes: 8 * MIB, clock });
  const store = await createStore({ device: disk.open(), arena, clock, logger: createSilentLogger() });
  assert.equal(store.state, 'loading');
  assert.equal(await readAndCheck(store, manifest, 0), 'absent');
  const generation = store.nextGeneration();
  assert.ok(generation > manifest.generation);
  assert.deepEqual(store.offerManifest(makeManifest('y', generation, 1), 0), { kind: 'declined', reason: 'unavailable' });
  await assert.rejects(store.purge({ kind: 'object', objectHash: manifest.objectHash }), { code: 'STORE_UNAVAILABLE' });
  await store.recover();
  assert.equal(store.state, 'online');
  assert.equal(await readAndCheck(store, manifest, 0), 'absent');
  assert.ok(store.nextGeneration() > generation);
  await store.close();
});
