/** Generations that are kept for their readers: their blocks, their limits, evictions, crashes (S2, S4, S6, S7). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import { emptyResident } from '../contract/slice-store.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import {
  type Bench,
  type BenchOptions,
  formatTiny,
  lookAt,
  makeManifest,
  offerOne,
  openBench,
  readAndCheck,
  SLICE_BYTES,
  storeObject,
  tinyParameters,
} from './store-bench.ts';

async function makeBench(options: BenchOptions = {}): Promise<Bench & { readonly disk: SimulatedDisk }> {
  const disk = new SimulatedDisk({ capacityBytes: 6 * MIB, random: new SeededRandom(3) });
  await formatTiny(disk.open(), tinyParameters({ entryCount: 256 }));
  disk.crash(new SeededRandom(3), 'all');
  return { disk, ...(await openBench(disk.open(), options)) };
}

test('blocks of a held generation are not given to others, and free at once when its last reader is gone (S2, S4)', async () => {
  const { store, arena } = await makeBench();
  const old = await storeObject({ store, arena }, 'a', 4 * SLICE_BYTES);
  const { freeBytes } = store.usage;
  const release = store.holdGeneration(old);
  store.dropManifest(old.objectHash, old.generation);
  assert.equal(store.usage.freeBytes, freeBytes);
  assert.deepEqual([store.metrics.value('heldGenerations'), store.metrics.value('retiredGenerations')], [1, 1]);
  assert.equal(store.findContradiction(), undefined);
  await storeObject({ store, arena }, 'a', 4 * SLICE_BYTES);
  assert.equal(store.findContradiction(), undefined);
  emptyResident(arena);
  for (const number of [0, 1, 2, 3]) assert.equal(await readAndCheck(store, old, number), 'device');
  release();
  assert.equal(store.usage.freeBytes, freeBytes);
  assert.deepEqual([store.metrics.value('heldGenerations'), store.metrics.value('retiredGenerations')], [0, 0]);
  assert.equal(store.findContradiction(), undefined);
  await store.close();
});

test('what is held gives way like anything else on a full device, and is a miss then', async () => {
  const { store, arena } = await makeBench();
  const old = await storeObject({ store, arena }, 'a', 4 * SLICE_BYTES);
  const small = await storeObject({ store, arena }, 'b', 100);
  const releases = [store.holdGeneration(old), store.holdGeneration(small)];
  for (const { objectHash, generation } of [old, small]) store.dropManifest(objectHash, generation);
  for (let round = 0; round < 24; round += 1) {
    await storeObject({ store, arena }, `filler-${round}`, 8 * SLICE_BYTES);
    assert.equal(store.findContradiction(), undefined);
  }
  assert.ok(store.metrics.value('evicted', 'blocks') > 0);
  emptyResident(arena);
  for (const number of [0, 1, 2, 3]) assert.equal(await readAndCheck(store, old, number), 'absent');
  assert.equal(await readAndCheck(store, small, 0), 'absent');
  for (const release of releases) release();
  assert.equal(store.metrics.value('retiredGenerations'), 0);
  assert.equal(store.findContradiction(), undefined);
  await store.close();
});

test('no more than so many are held: others are dropped when they are replaced (S7)', async () => {
  const { store, arena } = await makeBench({ limits: { heldGenerations: 1 } });
  const first = await storeObject({ store, arena }, 'a', SLICE_BYTES);
  const second = await storeObject({ store, arena }, 'b', SLICE_BYTES);
  const ends = [first, second, first].map((manifest) => store.holdGeneration(manifest));
  assert.equal(store.metrics.value('holdsRefused'), 1);
  for (const { objectHash, generation } of [first, second]) store.dropManifest(objectHash, generation);
  assert.equal(await readAndCheck(store, first, 0), 'ram');
  assert.equal(await readAndCheck(store, second, 0), 'absent');
  for (const end of ends) end();
  assert.equal(await readAndCheck(store, first, 0), 'absent');
  assert.equal(store.metrics.value('heldGenerations'), 0);
  await store.close();
});

for (const isReplaced of [true, false]) {
  test(`a crash ends what is held, ${isReplaced ? 'replaced' : 'dropped'} before a checkpoint (S6, S8)`, async () => {
    const { store, arena, disk } = await makeBench();
    const old = await storeObject({ store, arena }, 'a', 3 * SLICE_BYTES);
    store.holdGeneration(old);
    store.dropManifest(old.objectHash, old.generation);
    const young = isReplaced ? await storeObject({ store, arena }, 'a', 2 * SLICE_BYTES) : undefined;
    // The journal's word of its end is from before the checkpoint, which has to know by itself.
    await store.drain();
    await store.checkpoint();
    emptyResident(arena);
    assert.equal(await readAndCheck(store, old, 2), 'device');
    disk.crash(new SeededRandom(4), 'all');
    const next = await openBench(disk.open());
    assert.equal(next.store.findManifest(old.objectHash)?.generation, young?.generation);
    assert.equal(await readAndCheck(next.store, old, 2), 'absent');
    if (young !== undefined) assert.equal(await readAndCheck(next.store, young, 1), 'device');
    assert.equal(next.store.findContradiction(), undefined);
    assert.equal(next.store.usage.entries, young === undefined ? 0 : 4);
    await next.store.close();
    await store.close();
  });
}

test('closed in order while somebody reads: nothing of it is left on the device', async () => {
  const { store, arena, disk } = await makeBench();
  const old = await storeObject({ store, arena }, 'a', 3 * SLICE_BYTES);
  const release = store.holdGeneration(old);
  store.dropManifest(old.objectHash, old.generation);
  await store.close();
  release();
  const { state } = await lookAt(disk.open());
  assert.equal(state.index.recordCount, 0);
});

test('a small object on its way to the device is replaced while it is held: its slice stays in memory', async () => {
  const { store, arena } = await makeBench();
  const old = makeManifest('small', store.nextGeneration(), 1000);
  store.offerManifest(old, store.purgeSequence);
  assert.deepEqual(offerOne({ store, arena }, old, 0), { kind: 'admitted' });
  const release = store.holdGeneration(old);
  const young = makeManifest('small', store.nextGeneration(), 2000);
  store.offerManifest(young, store.purgeSequence);
  assert.deepEqual(offerOne({ store, arena }, young, 0), { kind: 'admitted' });
  await store.drain();
  assert.equal(await readAndCheck(store, old, 0), 'ram');
  release();
  emptyResident(arena);
  assert.equal(await readAndCheck(store, old, 0), 'absent');
  assert.equal(await readAndCheck(store, young, 0), 'device');
  assert.equal(store.findContradiction(), undefined);
  await store.close();
});
