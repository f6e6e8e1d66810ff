/** The store on a simulated device: round trips, restart, and what only this implementation promises. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { assertNoLeases, formatTiny, makeManifest, offerOne, openBench, readAndCheck, storeObject } from './store-bench.ts';

test('an object survives an orderly restart, read in full and in part', async () => {
  const disk = new SimulatedDisk({ capacityBytes: 8 * MIB, random: new SeededRandom(1) });
  const device = disk.open();
  await formatTiny(device);
  const bench = await openBench(device);
  const manifest = await storeObject(bench, 'http://a/x', 200 * KIB);
  assert.equal(await readAndCheck(bench.store, manifest, 0), 'ram');
  await bench.store.close();
  assert.equal(bench.arena.leasedSlots, 0);

  const again = await openBench(disk.open());
  assert.equal(again.store.state, 'online');
  assert.deepEqual(again.store.findManifest(manifest.objectHash), { generation: manifest.generation, storedSlices: 4 });
  assert.deepEqual(await again.store.readManifest(manifest.objectHash), { kind: 'hit', manifest });
  for (let number = 0; number < 4; number += 1) assert.equal(await readAndCheck(again.store, manifest, number), 'device');
  assert.equal(await readAndCheck(again.store, manifest, 0), 'ram');
  assert.ok(again.store.nextGeneration() > manifest.generation);
  assertNoLeases(again.arena);
  await again.store.close();
});

test('an unflushed write is found again after a crash that kept it, and forgotten after one that did not', async () => {
  for (const keeps of ['all', 'none'] as const) {
    const disk = new SimulatedDisk({ capacityBytes: 8 * MIB, random: new SeededRandom(2) });
    const device = disk.open();
    await formatTiny(device);
    const bench = await openBench(device);
    const kept = await storeObject(bench, 'kept', 100 * KIB);
    const generation = bench.store.nextGeneration();
    const lost = makeManifest('lost', generation, 10 * KIB);
    bench.store.offerManifest(lost, bench.store.purgeSequence);
    offerOne(bench, lost, 0);
    disk.crash(new SeededRandom(3), keeps);
    const again = await openBench(disk.open());
    assert.equal(await readAndCheck(again.store, kept, 1), 'device');
    assert.equal(again.store.findManifest(lost.objectHash), undefined);
    assert.ok(again.store.nextGeneration() > generation);
    assertNoLeases(again.arena);
    await again.store.close();
  }
});

test('a record that is offered anew while the old one is being read is the one that stays', async () => {
  const disk = new SimulatedDisk({ capacityBytes: 8 * MIB, random: new SeededRandom(4) });
  const device = disk.open();
  await formatTiny(device);
  const first = await openBench(device);
  const manifest = await storeObject(first, 'x', 100);
  await first.store.close();
  const bench = await openBench(disk.open());
  const stop = disk.addFault({ operation: 'read', effect: { kind: 'hang' } });
  const reading = bench.store.readManifest(manifest.objectHash);
  while (disk.hungOperations === 0) await new Promise((resolve) => setImmediate(resolve));
  const changed = { ...manifest, fields: [['etag', '"changed"'] as const] };
  assert.deepEqual(bench.store.offerManifest(changed, bench.store.purgeSequence), { kind: 'admitted' });
  stop();
  disk.resumeHung();
  assert.deepEqual(await reading, { kind: 'hit', manifest: changed });
  await bench.store.close();
  const again = await openBench(disk.open());
  assert.deepEqual(await again.store.readManifest(manifest.objectHash), { kind: 'hit', manifest: changed });
  await again.store.close();
});

test('a degraded store that is closed waits for its checkpoint in progress', async () => {
  const disk = new SimulatedDisk({ capacityBytes: 8 * MIB, random: new SeededRandom(5) });
  const device = disk.open();
  await formatTiny(device);
  const bench = await openBench(device);
  await storeObject(bench, 'x', 100);
  disk.addFault({ operation: 'write', effect: { kind: 'hang' }, times: 1 });
  const checkpointing = bench.store.checkpoint();
  while (disk.hungOperations === 0) await new Promise((resolve) => setImmediate(resolve));
  disk.addFault({ operation: 'write', effect: { kind: 'error', errno: 'EROFS' }, times: 1 });
  const manifest = makeManifest('y', bench.store.nextGeneration(), 100);
  bench.store.offerManifest(manifest, bench.store.purgeSequence);
  offerOne(bench, manifest, 0);
  while (bench.store.state === 'online') await new Promise((resolve) => setImmediate(resolve));
  const closing = bench.store.close();
  await new Promise((resolve) => setImmediate(resolve));
  disk.resumeHung();
  await checkpointing;
  await closing;
  assert.equal(bench.arena.leasedSlots, 0);
});
