/**
 * What a full device does with what comes: first-timers live in memory, second requests write them, and what was declined for want of room
 * is written when there is room. The real store on a simulated disk.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { GIB, MIB } from '../../src/base/units.ts';
import type { Manifest } from '../../src/format/manifest.ts';
import { emptyResident } from '../contract/slice-store.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import {
  assertNoLeases,
  type Bench,
  type BenchOptions,
  formatTiny,
  hashOf,
  makeManifest,
  offerOne,
  openBench,
  readAndCheck,
  SLICE_BYTES,
  sliceCount,
} from './store-bench.ts';

const CHOOSY = { admission: { writeBudgetBytes: undefined } };
const DECLINED = { kind: 'declined', reason: 'not-admitted' } as const;

/** Time as it is, and a leap now and then. */
class LeapingClock extends SystemClock {
  leaptMs = 0;

  override monotonicMs(): number {
    return super.monotonicMs() + this.leaptMs;
  }
}

interface FullBench extends Bench {
  readonly disk: SimulatedDisk;
  readonly reopen: () => Promise<Bench>;
}

/** A store whose device is full of objects that nobody asks for. */
async function openFull(seed: number, options: BenchOptions = CHOOSY): Promise<FullBench> {
  const disk = new SimulatedDisk({ capacityBytes: 6 * MIB, random: new SeededRandom(seed) });
  const device = disk.open();
  await formatTiny(device);
  const bench = await openBench(device, options);
  for (let number = 0; bench.store.metrics.value('isFull') === 0; number += 1) {
    assert.ok(number < 200, 'the device becomes full');
    const manifest = makeManifest(`filler-${number}`, bench.store.nextGeneration(), SLICE_BYTES);
    bench.store.offerManifest(manifest, bench.store.purgeSequence);
    assert.deepEqual(offerOne(bench, manifest, 0), { kind: 'admitted' }, 'until it is full everything is admitted');
    await bench.store.drain();
  }
  const reopen = async (): Promise<Bench> => {
    await bench.store.close();
    return openBench(disk.open(), options);
  };
  return { ...bench, disk, reopen };
}

/** What one request for an absent object does: it is noted, and all that the origin sends is offered. */
function request(bench: Bench, keyText: string, slices: number): { readonly manifest: Manifest; readonly verdicts: unknown[] } {
  const { store } = bench;
  store.noteRequest(hashOf(keyText), 0);
  const manifest = makeManifest(keyText, store.nextGeneration(), slices * SLICE_BYTES);
  assert.deepEqual(store.offerManifest(manifest, store.purgeSequence), { kind: 'admitted' });
  const verdicts = Array.from({ length: sliceCount(manifest) }, (_, number) => offerOne(bench, manifest, number));
  return { manifest, verdicts };
}

test('what is asked for once lives in memory only, and its second request writes it from there', async () => {
  const bench = await openFull(1);
  const { store } = bench;
  const before = store.metrics.value('writtenRecords');
  const { manifest, verdicts } = request(bench, 'x', 3);
  assert.deepEqual(verdicts, [DECLINED, DECLINED, DECLINED]);
  assert.equal(store.metrics.value('declined', 'not-admitted'), 3);
  await store.drain();
  for (let number = 0; number < 3; number += 1) assert.equal(await readAndCheck(store, manifest, number), 'ram');
  assert.deepEqual([store.metrics.value('writtenRecords'), store.metrics.value('declinedSlices')], [before, 3]);
  store.noteRequest(manifest.objectHash, 0);
  await store.drain();
  assert.deepEqual([store.metrics.value('readmitted', 'request'), store.metrics.value('declinedSlices')], [3, 0]);
  assert.equal(store.metrics.value('writtenRecords'), before + 4, 'three slices and the manifest');
  emptyResident(bench.arena);
  for (let number = 0; number < 3; number += 1) assert.equal(await readAndCheck(store, manifest, number), 'device');
  assert.equal(store.findContradiction(), undefined);
  const again = await bench.reopen();
  assert.equal(await readAndCheck(again.store, manifest, 2), 'device');
  await again.store.close();
});

test('a first-timer whose slots were needed is a miss; asked for again it is fetched and kept', async () => {
  const bench = await openFull(2);
  const { store } = bench;
  const { manifest } = request(bench, 'x', 2);
  emptyResident(bench.arena);
  assert.equal(await readAndCheck(store, manifest, 0), 'absent');
  assert.equal(store.metrics.value('declinedLost'), 2);
  assert.deepEqual(store.findManifest(manifest.objectHash), { generation: manifest.generation, storedSlices: 0 });
  store.noteRequest(manifest.objectHash, 0);
  assert.deepEqual(
    [0, 1].map((number) => offerOne(bench, manifest, number)),
    [{ kind: 'admitted' }, { kind: 'admitted' }],
  );
  await store.drain();
  assert.equal(store.findContradiction(), undefined);
  const again = await bench.reopen();
  assert.deepEqual(await again.store.readManifest(manifest.objectHash), { kind: 'hit', manifest });
  assert.equal(await readAndCheck(again.store, manifest, 1), 'device');
  await again.store.close();
});

test('a first-timer whose manifest gave way to others is a plain miss, and nothing of it is left', async () => {
  const bench = await openFull(3, { ...CHOOSY, limits: { pendingManifests: 3 } });
  const { store } = bench;
  const { manifest } = request(bench, 'x', 2);
  const entries = store.usage.entries;
  for (const key of ['a', 'b', 'c']) request(bench, key, 1);
  assert.equal(store.findManifest(manifest.objectHash), undefined);
  assert.equal(await readAndCheck(store, manifest, 0), 'absent');
  assert.deepEqual([store.metrics.value('declinedLost'), store.metrics.value('declinedSlices')], [2, 3]);
  assert.ok(store.usage.entries <= entries + 4);
  store.noteRequest(manifest.objectHash, 0);
  assert.deepEqual(offerOne(bench, manifest, 0), { kind: 'declined', reason: 'superseded' }, 'a run of it goes on without the store');
  const second = request(bench, 'x', 2);
  assert.deepEqual(second.verdicts, [{ kind: 'admitted' }, { kind: 'admitted' }]);
  await store.drain();
  assert.equal(store.findContradiction(), undefined);
  assertNoLeases(bench.arena);
  await store.close();
  assert.equal(bench.arena.leasedSlots, 0);
});

test('slices that the device had just evicted are admitted at once, and they alone', async () => {
  const bench = await openFull(4);
  const { store } = bench;
  // One of the fillers was evicted for the last one.
  emptyResident(bench.arena);
  const filler = Array.from({ length: 200 }, (_, number) => `filler-${number}`).find(
    (key) => (store.findManifest(hashOf(key))?.storedSlices ?? 0) === 0,
  );
  assert.ok(filler !== undefined);
  assert.deepEqual(request(bench, filler, 2).verdicts, [{ kind: 'admitted' }, DECLINED]);
  await store.drain();
  assert.equal(store.findContradiction(), undefined);
  await store.close();
});

test('a rule that says always is kept at the first request', async () => {
  const bench = await openFull(5);
  const { store, arena } = bench;
  const manifest = makeManifest('x', store.nextGeneration(), SLICE_BYTES);
  store.noteRequest(manifest.objectHash, 0);
  store.offerManifest(manifest, store.purgeSequence);
  const lease = arena.tryLease('fill', SLICE_BYTES);
  assert.ok(lease !== undefined);
  const { objectHash, generation } = manifest;
  const offer = { objectHash, generation, sliceNumber: 0, lease, lengthBytes: SLICE_BYTES };
  assert.deepEqual(store.offerSlice(offer), DECLINED);
  assert.deepEqual(store.offerSlice({ ...offer, admission: 'always' }), { kind: 'admitted' });
  lease.end();
  await store.drain();
  assert.equal(store.metrics.value('declinedSlices'), 0);
  await store.close();
});

test('what the write budget declined is written when it is read in better times', async () => {
  const clock = new LeapingClock();
  const bench = await openFull(6, { clock, admission: { writeBudgetBytes: 24 * 4 * SLICE_BYTES } });
  const { store } = bench;
  store.noteRequest(hashOf('x'), 0);
  const { manifest, verdicts } = request(bench, 'x', 6);
  assert.deepEqual(verdicts.slice(-1), [{ kind: 'declined', reason: 'write-budget' }]);
  assert.deepEqual(verdicts.slice(0, 3), [{ kind: 'admitted' }, { kind: 'admitted' }, { kind: 'admitted' }]);
  assert.ok(store.metrics.value('writeBudgetBytes') <= 0);
  const { objectHash, generation } = manifest;
  const read = { objectHash, generation, sliceNumber: 5, startBytes: 0, endBytes: 10 };
  store.tryReadResident(read)?.lease.end();
  assert.equal(store.metrics.value('readmitted', 'read'), 0);
  clock.leaptMs += 3_600_000;
  store.tryReadResident(read)?.lease.end();
  store.tryReadResident(read)?.lease.end();
  assert.equal(store.metrics.value('readmitted', 'read'), 1);
  await store.drain();
  emptyResident(bench.arena);
  assert.equal(await readAndCheck(store, manifest, 5), 'device');
  await store.close();
});

/** Twelve slices for a queue of four, whose first write hangs. */
async function offerToHungDisk(seed: number): Promise<{ disk: SimulatedDisk; bench: Bench; manifest: Manifest }> {
  const disk = new SimulatedDisk({ capacityBytes: 6 * MIB, random: new SeededRandom(seed) });
  const device = disk.open();
  await formatTiny(device);
  const bench = await openBench(device, { limits: { queueSlices: 4, writesMax: 1 } });
  const stop = disk.addFault({ operation: 'write', effect: { kind: 'hang' } });
  const { manifest, verdicts } = request(bench, 'x', 12);
  assert.deepEqual(verdicts.slice(3, 5), [{ kind: 'admitted' }, { kind: 'declined', reason: 'queue-full' }]);
  while (disk.hungOperations === 0) await new Promise((resolve) => setImmediate(resolve));
  stop();
  return { disk, bench, manifest };
}

test('what a full queue declined is written when the queue is half empty: no holes', async () => {
  const { disk, bench, manifest } = await offerToHungDisk(7);
  const { store } = bench;
  assert.equal(store.metrics.value('declinedSlices'), 8);
  disk.resumeHung();
  await store.drain();
  assert.deepEqual([store.metrics.value('readmitted', 'room'), store.metrics.value('declinedSlices')], [8, 0]);
  assert.deepEqual([store.metrics.value('declined', 'queue-full'), store.metrics.value('declinedLost')], [8, 0]);
  emptyResident(bench.arena);
  for (let number = 0; number < 12; number += 1) assert.equal(await readAndCheck(store, manifest, number), 'device');
  assert.equal(store.findContradiction(), undefined);
  await store.close();
});

test('declined slices of a purged or replaced object are forgotten, and no request brings them back', async () => {
  const bench = await openFull(8);
  const { store } = bench;
  const purged = request(bench, 'purged', 2).manifest;
  const replaced = request(bench, 'replaced', 2).manifest;
  const before = store.metrics.value('writtenRecords');
  await store.purge({ kind: 'object', objectHash: purged.objectHash });
  store.offerManifest(makeManifest('replaced', store.nextGeneration(), 10), store.purgeSequence);
  assert.deepEqual([store.metrics.value('declinedLost'), store.metrics.value('declinedSlices')], [4, 0]);
  for (const { objectHash } of [purged, replaced]) store.noteRequest(objectHash, 0);
  await store.drain();
  assert.equal(store.metrics.value('writtenRecords'), before);
  for (const manifest of [purged, replaced]) assert.equal(await readAndCheck(store, manifest, 1), 'absent');
  await store.close();
});

test('a body without length that is asked for once leaves nothing on the device, not even its manifest', async () => {
  const bench = await openFull(9);
  const { store } = bench;
  const before = store.metrics.value('writtenRecords');
  const generation = store.nextGeneration();
  const growing = makeManifest('x', generation, 0, { lengthBytes: undefined });
  store.noteRequest(growing.objectHash, 0);
  store.offerManifest(growing, store.purgeSequence);
  const whole = makeManifest('x', generation, 2 * SLICE_BYTES);
  for (const number of [0, 1]) assert.deepEqual(offerOne(bench, whole, number), DECLINED);
  store.offerManifest(whole, store.purgeSequence);
  await store.drain();
  assert.equal(store.metrics.value('writtenRecords'), before);
  store.noteRequest(growing.objectHash, 0);
  await store.drain();
  assert.equal(store.metrics.value('writtenRecords'), before + 3);
  const again = await bench.reopen();
  assert.equal(await readAndCheck(again.store, whole, 1), 'device');
  await again.store.close();
});

test('a closing store writes what it admitted, and takes nothing back from memory', async () => {
  const { disk, bench, manifest } = await offerToHungDisk(10);
  const { store } = bench;
  const closing = store.close();
  while (store.state !== 'closed') await new Promise((resolve) => setImmediate(resolve));
  disk.resumeHung();
  await closing;
  assert.deepEqual([store.metrics.value('readmitted', 'room'), store.metrics.value('declinedLost')], [0, 8]);
  assert.equal(bench.arena.leasedSlots, 0);
  const again = await openBench(disk.open());
  assert.equal(again.store.findManifest(manifest.objectHash)?.storedSlices, 4);
  await again.store.close();
});

test('a device that has become a good deal emptier takes everything again', async () => {
  const bench = await openFull(11);
  const { store } = bench;
  assert.deepEqual(request(bench, 'x', 1).verdicts, [DECLINED]);
  for (let number = 0; store.usage.freeBytes < GIB && number < 40; number += 1)
    await store.purge({ kind: 'object', objectHash: hashOf(`filler-${number}`) });
  assert.equal(store.metrics.value('isFull'), 0);
  assert.deepEqual(request(bench, 'y', 1).verdicts, [{ kind: 'admitted' }]);
  await store.close();
});
