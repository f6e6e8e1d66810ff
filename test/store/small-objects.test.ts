/** Objects of up to 64 KiB: one record, one write and one read for manifest and bytes; small records gathered into one write. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import type { Manifest } from '../../src/format/manifest.ts';
import { findObject, findStoredRuns, measureUsage } from '../../src/store/inspect-device.ts';
import { emptyResident } from '../contract/slice-store.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import {
  assertNoLeases,
  type Bench,
  type BenchOptions,
  formatTiny,
  lookAt,
  makeManifest,
  offerOne,
  openBench,
  readAndCheck,
  SLICE_BYTES,
  slicePlaces,
  storeObject,
  tinyParameters,
} from './store-bench.ts';

const BLOCK = 4 * KIB;

interface Stage extends Bench {
  readonly disk: SimulatedDisk;
  readonly counts: { read: number; write: number };
}

async function makeStage(options: BenchOptions & { readonly capacityBytes?: number; readonly entryCount?: number } = {}): Promise<Stage> {
  const counts = { read: 0, write: 0, flush: 0 };
  const delay = async (operation: keyof typeof counts): Promise<void> => {
    counts[operation] += 1;
  };
  const { capacityBytes = 6 * MIB, entryCount = 512, ...rest } = options;
  const disk = new SimulatedDisk({ capacityBytes, random: new SeededRandom(5), delay });
  const device = disk.open();
  await formatTiny(device, tinyParameters({ entryCount }));
  await device.close();
  return { ...(await openBench(disk.open(), rest)), disk, counts };
}

async function reopen(stage: Stage): Promise<Stage> {
  await stage.store.close();
  return { ...stage, ...(await openBench(stage.disk.open())) };
}

/** Offers objects at one moment, so that their records wait together, and sees them written. */
async function offerTogether(stage: Bench, names: readonly string[], lengthBytes: number): Promise<readonly Manifest[]> {
  const manifests = offer(stage, names, lengthBytes);
  await stage.store.drain();
  return manifests;
}

function offer(stage: Bench, names: readonly string[], lengthBytes: number): readonly Manifest[] {
  const manifests = names.map((name) => makeManifest(name, stage.store.nextGeneration(), lengthBytes));
  for (const manifest of manifests) {
    assert.deepEqual(stage.store.offerManifest(manifest, stage.store.purgeSequence), { kind: 'admitted' });
    assert.deepEqual(offerOne(stage, manifest, 0), { kind: 'admitted' });
  }
  return manifests;
}

function names(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, number) => `${prefix}-${number}`);
}

test('a small object takes one write, one record and, after a restart, one read', async () => {
  let stage = await makeStage();
  const { metrics } = stage.store;
  const manifest = await storeObject(stage, 'small', 10_000);
  assert.deepEqual([metrics.value('writes'), metrics.value('writtenRecords'), metrics.value('writtenBytes')], [1, 1, 4 * BLOCK]);
  assert.equal(stage.store.usage.entries, 2);
  assert.deepEqual(stage.store.findManifest(manifest.objectHash), { generation: manifest.generation, storedSlices: 1 });
  assert.equal(stage.store.findContradiction(), undefined);
  stage = await reopen(stage);
  assert.equal(stage.store.hasSlice(manifest.generation, 0), true);
  assert.equal(stage.store.hasSlice(manifest.generation, 1), false);
  const before = stage.counts.read;
  assert.deepEqual(await stage.store.readManifest(manifest.objectHash), { kind: 'hit', manifest });
  assert.equal(await readAndCheck(stage.store, manifest, 0), 'ram');
  assert.equal(stage.counts.read - before, 1);
  emptyResident(stage.arena);
  assert.equal(await readAndCheck(stage.store, manifest, 0, [100, 200]), 'device');
  assert.equal(stage.counts.read - before, 2);
  assert.equal(stage.store.findContradiction(), undefined);
  assertNoLeases(stage.arena);
  await stage.store.close();
});

test('records that come one after the other wait a moment for each other, and not when somebody waits for them', async () => {
  const stage = await makeStage({ limits: { gatherMs: 3_600_000 } });
  const manifests: Manifest[] = [];
  for (const name of names('apart', 6)) {
    manifests.push(...offer(stage, [name], 3000));
    await nextTurn();
    await nextTurn();
  }
  assert.equal(stage.store.metrics.value('writes'), 0);
  await stage.store.drain();
  assert.deepEqual([stage.store.metrics.value('writes'), stage.store.metrics.value('writtenRecords')], [1, 6]);
  emptyResident(stage.arena);
  for (const manifest of manifests) assert.equal(await readAndCheck(stage.store, manifest, 0), 'device');
  await stage.store.close();
});

test('records are written when their moment is over, or when a write is full', async () => {
  const stage = await makeStage({ limits: { gatherMs: 1 } });
  offer(stage, ['alone'], 3000);
  while (stage.store.metrics.value('writtenRecords') < 1) await nextTurn();
  await stage.store.close();
  const other = await makeStage({ limits: { gatherMs: 3_600_000 } });
  offer(other, names('many', 40), 3000);
  while (other.store.metrics.value('writtenRecords') < 32) await nextTurn();
  await other.store.close();
});

test('the longest small object rides, one byte more does not', async () => {
  const stage = await makeStage();
  await storeObject(stage, 'most', SLICE_BYTES);
  assert.equal(stage.store.usage.entries, 2);
  await storeObject(stage, 'more', SLICE_BYTES + 1);
  assert.equal(stage.store.usage.entries, 2 + 4);
  assert.equal(stage.store.findContradiction(), undefined);
  await stage.store.close();
});

test('inspect counts and lists what rides', async () => {
  const stage = await makeStage();
  const manifest = await storeObject(stage, 'seen', 5000);
  await stage.store.close();
  const view = await lookAt(stage.disk.open('read-only'));
  const { objects, slices } = measureUsage(view);
  assert.deepEqual([objects, slices], [1, 1]);
  const object = await findObject(view, manifest.objectHash);
  assert.ok(object !== undefined);
  assert.deepEqual(object.manifest, manifest);
  assert.equal(object.storedSlices, 1);
  assert.deepEqual(findStoredRuns(view, object), [{ start: 0, end: 1 }]);
});

for (const isResident of [true, false]) {
  test(`a changed manifest takes its body along, ${isResident ? 'from memory' : 'read back'}`, async () => {
    let stage = await makeStage();
    const manifest = await storeObject(stage, 'renewed', 10_000);
    const changed: Manifest = { ...manifest, fields: [['etag', '"other"']] };
    if (!isResident) emptyResident(stage.arena);
    assert.deepEqual(stage.store.offerManifest(changed, stage.store.purgeSequence), { kind: 'admitted' });
    await stage.store.drain();
    assert.equal(stage.store.metrics.value('writtenRecords'), 2);
    assert.equal(stage.store.findContradiction(), undefined);
    stage = await reopen(stage);
    assert.deepEqual(await stage.store.readManifest(manifest.objectHash), { kind: 'hit', manifest: changed });
    assert.equal(await readAndCheck(stage.store, manifest, 0), 'ram');
    assert.equal(stage.store.usage.entries, 2);
    assertNoLeases(stage.arena);
    await stage.store.close();
  });
}

test('a changed manifest whose body cannot be had in time goes without, and the body joins it when it is offered', async () => {
  let stage = await makeStage({ limits: { readDeadlineMs: 1 } });
  const manifest = await storeObject(stage, 'bodiless', 10_000);
  const changed: Manifest = { ...manifest, fields: [['etag', '"other"']] };
  emptyResident(stage.arena);
  const resume = stage.disk.addFault({ operation: 'read', effect: { kind: 'hang' }, times: 1 });
  stage.store.offerManifest(changed, stage.store.purgeSequence);
  const idle = stage.store.drain();
  await idle;
  resume();
  stage.disk.resumeHung();
  emptyResident(stage.arena);
  assert.deepEqual(await stage.store.readManifest(manifest.objectHash), { kind: 'hit', manifest: changed });
  assert.equal(stage.store.findContradiction(), undefined);
  if (!stage.store.hasSlice(manifest.generation, 0)) assert.equal(await readAndCheck(stage.store, manifest, 0), 'absent');
  assert.deepEqual(offerOne(stage, manifest, 0), { kind: 'admitted' });
  await stage.store.drain();
  assert.equal(stage.store.findContradiction(), undefined);
  stage = await reopen(stage);
  assert.deepEqual(await stage.store.readManifest(manifest.objectHash), { kind: 'hit', manifest: changed });
  assert.equal(await readAndCheck(stage.store, manifest, 0), 'ram');
  assert.equal(stage.store.usage.entries, 2);
  await stage.store.close();
});

test('dropping, purging and replacing take body and manifest alike', async () => {
  let stage = await makeStage();
  const [dropped, purged, replaced] = [
    await storeObject(stage, 'dropped', 5000),
    await storeObject(stage, 'purged', 5000),
    await storeObject(stage, 'replaced', 5000),
  ];
  const free = stage.store.usage.freeBytes;
  stage.store.dropManifest(dropped.objectHash, dropped.generation);
  assert.equal(stage.store.usage.freeBytes, free + 3 * BLOCK);
  await stage.store.purge({ kind: 'object', objectHash: purged.objectHash });
  const young = await storeObject(stage, 'replaced', 6000);
  for (const gone of [dropped, purged, replaced]) {
    assert.equal(stage.store.hasSlice(gone.generation, 0), false);
    assert.equal(await readAndCheck(stage.store, gone, 0), 'absent');
  }
  assert.equal(stage.store.findContradiction(), undefined);
  stage = await reopen(stage);
  assert.equal(await readAndCheck(stage.store, young, 0), 'device');
  assert.equal(await readAndCheck(stage.store, purged, 0), 'absent');
  assert.equal(stage.store.usage.entries, 2);
  await stage.store.close();
});

test('a damaged record takes its body along and heals', async () => {
  const stage = await makeStage();
  const manifest = await storeObject(stage, 'damaged', 10_000);
  const [place] = await slicePlaces(stage.disk.open('read-only'), manifest.objectHash);
  stage.disk.flipBit((place?.offsetBytes ?? 0) + BLOCK + 100, 1);
  emptyResident(stage.arena);
  assert.equal(await readAndCheck(stage.store, manifest, 0), 'corrupt');
  assert.equal(stage.store.findManifest(manifest.objectHash), undefined);
  assert.equal(stage.store.findContradiction(), undefined);
  const again = await storeObject(stage, 'damaged', 10_000);
  assert.equal(await readAndCheck(stage.store, again, 0), 'ram');
  await stage.store.close();
});

test('turnover of small objects: evicted whole, never a contradiction, the rest is right', async () => {
  let stage = await makeStage({ entryCount: 2000 });
  const random = new SeededRandom(9);
  const all: Manifest[] = [];
  for (let round = 0; round < 40; round += 1) {
    all.push(...(await offerTogether(stage, names(`turn-${round}`, 20), 1 + random.integerBelow(SLICE_BYTES))));
    if (round % 8 === 0) assert.equal(stage.store.findContradiction(), undefined, `round ${round}`);
  }
  assert.ok(stage.store.metrics.value('evicted', 'blocks') > 100);
  assert.equal(stage.store.metrics.value('orphaned'), 0);
  stage = await reopen(stage);
  let hits = 0;
  for (const manifest of all) {
    const known = stage.store.findManifest(manifest.objectHash);
    assert.equal(known?.storedSlices ?? 0, stage.store.hasSlice(manifest.generation, 0) ? 1 : 0);
    if ((await readAndCheck(stage.store, manifest, 0)) === 'device') hits += 1;
  }
  assert.ok(hits > 50, `${hits} objects of ${all.length} are there`);
  assert.equal(stage.store.findContradiction(), undefined);
  await stage.store.close();
});

test('records that wait together are written together, and freed one by one', async () => {
  let stage = await makeStage();
  const manifests = await offerTogether(stage, names('gathered', 20), 3000);
  const { metrics } = stage.store;
  assert.equal(metrics.value('writtenRecords'), 20);
  // 20 records of 2 blocks: 64 blocks hold them all.
  assert.equal(metrics.value('writes'), 1);
  const free = stage.store.usage.freeBytes;
  for (const manifest of manifests.filter((_, number) => number % 2 === 0))
    stage.store.dropManifest(manifest.objectHash, manifest.generation);
  assert.equal(stage.store.usage.freeBytes, free + 10 * 2 * BLOCK);
  stage = await reopen(stage);
  for (const [number, manifest] of manifests.entries()) {
    assert.equal(await readAndCheck(stage.store, manifest, 0), number % 2 === 0 ? 'absent' : 'device');
  }
  await stage.store.close();
});

test('where no run is long enough for all, each takes a hole of its own', async () => {
  const stage = await makeStage({ entryCount: 4000 });
  const olds: Manifest[] = [];
  while (stage.store.metrics.value('evicted', 'blocks') === 0)
    olds.push(...(await offerTogether(stage, names(`old-${olds.length}`, 16), 3000)));
  const kept = olds.filter((manifest) => stage.store.findManifest(manifest.objectHash) !== undefined);
  for (const manifest of kept.filter((_, number) => number % 2 === 0)) stage.store.dropManifest(manifest.objectHash, manifest.generation);
  const before = stage.store.metrics.value('writes');
  const news = await offerTogether(stage, names('new', 16), 3000);
  assert.equal(stage.store.metrics.value('writes') - before, 16);
  for (const manifest of news) assert.equal(await readAndCheck(stage.store, manifest, 0), 'ram');
  emptyResident(stage.arena);
  for (const manifest of news) assert.equal(await readAndCheck(stage.store, manifest, 0), 'device');
  assert.equal(stage.store.findContradiction(), undefined);
  await stage.store.close();
});

test('a write of many that fails on one block costs the record on that block only', async () => {
  const stage = await makeStage();
  const first = await storeObject(stage, 'first', 3000);
  const [place] = await slicePlaces(stage.disk.open('read-only'), first.objectHash);
  const badBytes = (place?.offsetBytes ?? 0) + 2 * BLOCK + 5 * BLOCK;
  stage.disk.addFault({
    operation: 'write',
    effect: { kind: 'error', errno: 'EIO' },
    startBytes: badBytes,
    endBytes: badBytes + BLOCK,
  });
  const manifests = await offerTogether(stage, names('many', 8), 3000);
  const lost = manifests.filter((manifest) => stage.store.findManifest(manifest.objectHash) === undefined);
  assert.equal(lost.length, 1);
  assert.equal(stage.store.metrics.value('dropped', 'error'), 1);
  emptyResident(stage.arena);
  for (const manifest of manifests)
    assert.equal(await readAndCheck(stage.store, manifest, 0), lost.includes(manifest) ? 'absent' : 'device');
  assert.equal(stage.store.findContradiction(), undefined);
  await stage.store.close();
});
