/** Parts of slices on the device: what is counted, evicted, purged, damaged and overtaken; the contract has the rest. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import type { Manifest } from '../../src/format/manifest.ts';
import { emptyResident } from '../contract/slice-store.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import {
  assertNoLeases,
  type Bench,
  type BenchOptions,
  formatTiny,
  makeManifest,
  offerOne,
  offerPart,
  openBench,
  readAndCheck,
  readPartAndCheck,
  slicePlaces,
} from './store-bench.ts';

interface Stage extends Bench {
  readonly disk: SimulatedDisk;
}

async function makeStage(options: BenchOptions = {}): Promise<Stage> {
  const disk = new SimulatedDisk({ capacityBytes: 10 * MIB, random: new SeededRandom(6) });
  const device = disk.open();
  await formatTiny(device);
  await device.close();
  return { ...(await openBench(disk.open(), { arenaBytes: 16 * MIB, ...options })), disk };
}

function offerManifest({ store }: Bench, name: string, slices = 2): Manifest {
  const manifest = makeManifest(name, store.nextGeneration(), slices * MIB, { sliceSizeBytes: MIB });
  assert.deepEqual(store.offerManifest(manifest, store.purgeSequence), { kind: 'admitted' });
  return manifest;
}

async function storePart(stage: Bench, manifest: Manifest, startBytes: number, endBytes: number): Promise<void> {
  assert.deepEqual(offerPart(stage, manifest, { sliceNumber: 0, startBytes, endBytes }), { kind: 'admitted' });
  await stage.store.drain();
}

for (const compression of ['off', 'auto'] as const) {
  test(`parts survive a crash, are joined after it and count for nothing before they are whole (compression ${compression})`, async () => {
    let stage = await makeStage({ compression });
    const manifest = offerManifest(stage, 'crash');
    await storePart(stage, manifest, 0, 300_000);
    assert.deepEqual(offerOne(stage, manifest, 1), { kind: 'admitted' });
    await stage.store.drain();
    assert.equal(stage.store.findManifest(manifest.objectHash)?.storedSlices, 1);
    assert.equal(stage.store.findContradiction(), undefined);
    stage.disk.crash(new SeededRandom(1), 'all');
    stage = { ...stage, ...(await openBench(stage.disk.open(), { arenaBytes: 16 * MIB, compression })) };
    assert.equal(stage.store.findManifest(manifest.objectHash)?.storedSlices, 1);
    assert.equal(await readPartAndCheck(stage.store, manifest, 0), '0-300000');
    assert.deepEqual(await stage.store.readManifest(manifest.objectHash), { kind: 'hit', manifest });
    await storePart(stage, manifest, 262_144, MIB);
    assert.equal(stage.store.metrics.value('partsJoined'), 1);
    assert.equal(stage.store.findManifest(manifest.objectHash)?.storedSlices, 2);
    assert.equal(stage.store.findContradiction(), undefined);
    emptyResident(stage.arena);
    assert.equal(await readAndCheck(stage.store, manifest, 0), 'device');
    await stage.store.drain();
    assertNoLeases(stage.arena);
    await stage.store.close();
  });
}

test('a whole slice that is written while a part waits is not replaced by it', async () => {
  const stage = await makeStage({ limits: { writesMax: 1 } });
  const manifest = offerManifest(stage, 'race');
  assert.deepEqual(offerPart(stage, manifest, { sliceNumber: 0, startBytes: 0, endBytes: 200_000 }), { kind: 'admitted' });
  assert.deepEqual(offerOne(stage, manifest, 0), { kind: 'admitted' });
  assert.deepEqual(offerPart(stage, manifest, { sliceNumber: 0, startBytes: 0, endBytes: 300_000 }), { kind: 'admitted' });
  await stage.store.drain();
  assert.deepEqual([stage.store.hasSlice(manifest.generation, 0), stage.store.hasPart(manifest.generation, 0)], [true, false]);
  emptyResident(stage.arena);
  assert.equal(await readAndCheck(stage.store, manifest, 0), 'device');
  assert.equal(stage.store.findContradiction(), undefined);
  await stage.store.close();
});

test('a part is not kept of what has no length, was purged, or waits already', async () => {
  const stage = await makeStage();
  const growing = makeManifest('growing', stage.store.nextGeneration(), MIB, { sliceSizeBytes: MIB, lengthBytes: undefined });
  stage.store.offerManifest(growing, stage.store.purgeSequence);
  const lease = stage.arena.tryLease('fill', MIB);
  assert.ok(lease !== undefined);
  const { objectHash, generation } = growing;
  const offer = { objectHash, generation, sliceNumber: 0, lease, lengthBytes: MIB, present: { startBytes: 0, endBytes: 100_000 } };
  assert.deepEqual(stage.store.offerSlice(offer), { kind: 'declined', reason: 'partial' });
  lease.end();
  const manifest = offerManifest(stage, 'purged');
  assert.deepEqual(offerPart(stage, manifest, { sliceNumber: 0, startBytes: 0, endBytes: 100_000 }), { kind: 'admitted' });
  const second = offerPart(stage, manifest, { sliceNumber: 0, startBytes: 0, endBytes: 200_000 });
  assert.deepEqual(second, { kind: 'declined', reason: 'partial' });
  await stage.store.purge({ kind: 'object', objectHash: manifest.objectHash });
  assert.equal(stage.store.hasPart(manifest.generation, 0), false);
  assert.equal(await readPartAndCheck(stage.store, manifest, 0), 'absent');
  await stage.store.drain();
  assert.equal(stage.store.findContradiction(), undefined);
  assertNoLeases(stage.arena);
  await stage.store.close();
});

test('a damaged part is a miss, and the next one stands alone', async () => {
  const stage = await makeStage();
  const manifest = offerManifest(stage, 'damaged');
  await storePart(stage, manifest, 0, 300_000);
  const [place] = await slicePlaces(stage.disk.open('read-only'), manifest.objectHash);
  stage.disk.flipBit((place?.offsetBytes ?? 0) + 4 * KIB + 200_000, 2);
  assert.equal(await readAndCheck(stage.store, manifest, 0, [0, 1000]), 'device', 'the first chunk is sound');
  assert.equal(await readPartAndCheck(stage.store, manifest, 0), 'corrupt');
  assert.equal(stage.store.hasPart(manifest.generation, 0), false);
  await storePart(stage, manifest, 262_144, 500_000);
  assert.equal(await readPartAndCheck(stage.store, manifest, 0), '262144-500000');
  assert.equal(stage.store.findContradiction(), undefined);
  await stage.store.close();
});

test('parts give way when the device is full, and leave no contradiction', async () => {
  const stage = await makeStage();
  const manifests: Manifest[] = [];
  for (let number = 0; number < 60; number += 1) {
    const manifest = offerManifest(stage, `full-${number}`);
    manifests.push(manifest);
    await storePart(stage, manifest, 0, 65_536 * (1 + (number % 7)));
    if (number % 3 === 0) {
      offerOne(stage, manifest, 1);
      await stage.store.drain();
    }
    emptyResident(stage.arena);
  }
  assert.ok(stage.store.metrics.value('evicted', 'blocks') > 20);
  assert.equal(stage.store.findContradiction(), undefined);
  let kept = 0;
  for (const [number, manifest] of manifests.entries()) {
    const seen = await readPartAndCheck(stage.store, manifest, 0);
    assert.ok(seen === 'absent' || seen === `0-${65_536 * (1 + (number % 7))}`, seen);
    if (seen !== 'absent') kept += 1;
  }
  assert.ok(kept > 5, `${kept} parts are there`);
  await stage.store.close();
});
