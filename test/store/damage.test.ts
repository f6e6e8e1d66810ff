/** Bytes that change on the disk, devices that fail: misses, never a wrong byte, never an exception. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSilentLogger } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import type { BlockDevice } from '../../src/device/block-device.ts';
import { Arena } from '../../src/memory/arena.ts';
import { checkDevice } from '../../src/store/check/check-device.ts';
import { formatDevice } from '../../src/store/device-format.ts';
import { createStore } from '../../src/store/device-store.ts';
import { listObjects } from '../../src/store/inspect-device.ts';
import { emptyResident } from '../contract/slice-store.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import {
  assertNoLeases,
  type Bench,
  clock,
  formatTiny,
  lookAt,
  makeManifest,
  offerOne,
  openBench,
  readAndCheck,
  SLICE_BYTES,
  sliceCount,
  slicePlaces,
  storeObject,
  tinyParameters,
} from './store-bench.ts';

async function makeDisk(seed: number, capacityBytes = 6 * MIB): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk({ capacityBytes, random: new SeededRandom(seed) });
  const device = disk.open();
  await formatTiny(device, tinyParameters(), seed);
  await device.close();
  return disk;
}

/** Codes of what the quick check says, the remark on the end without close left out. */
async function checkCodes(device: BlockDevice): Promise<readonly string[]> {
  const source = { device, arena: new Arena({ sizeBytes: 4 * MIB, clock }) };
  const { check } = await checkDevice(source, { level: 'quick', isInUse: false });
  return check.notes.map(({ code }) => code).filter((code) => code !== 'not-closed');
}

async function storeSome(bench: Bench, count: number): Promise<ReturnType<typeof makeManifest>[]> {
  const manifests = [];
  for (let number = 0; number < count; number += 1) manifests.push(await storeObject(bench, `object-${number}`, 1000 + number * 30_000));
  return manifests;
}

for (const seed of [11, 12, 13]) {
  test(`flipped bits anywhere are misses (seed ${seed})`, async () => {
    const random = new SeededRandom(seed);
    const disk = await makeDisk(seed);
    const bench = await openBench(disk.open());
    const manifests = await storeSome(bench, 10);
    if (seed === 12) {
      await bench.store.drain();
      disk.crash(random, 'all');
    } else await bench.store.close();
    const image = disk.snapshot();
    for (let round = 0; round < 4; round += 1) {
      disk.restore(image);
      for (let flips = 0; flips < 600; flips += 1) disk.flipBit(random.integerBelow(disk.capacityBytes), random.integerBelow(8));
      // Metadata is a small share of the disk; it gets flips of its own.
      for (let flips = 0; flips < 4 * round; flips += 1) disk.flipBit(random.integerBelow(800 * KIB), random.integerBelow(8));
      const looking = disk.open('read-only');
      await checkCodes(looking);
      for await (const verdict of listObjects(await lookAt(looking))) {
        if (verdict.kind === 'object') assert.equal(verdict.object.manifest.keyText.startsWith('object-'), true);
      }
      const again = await openBench(disk.open());
      for (const manifest of manifests) {
        const verdict = await again.store.readManifest(manifest.objectHash);
        if (verdict.kind === 'hit') assert.deepEqual(verdict.manifest, manifest);
        for (let number = 0; number < sliceCount(manifest); number += 1) await readAndCheck(again.store, manifest, number);
      }
      assert.equal(again.store.findContradiction(), undefined);
      assertNoLeases(again.arena);
      await again.store.close();
    }
  });
}

test('a corrupt slice is counted once, dropped, and heals', async () => {
  const disk = await makeDisk(21);
  const bench = await openBench(disk.open());
  const manifest = await storeObject(bench, 'x', 3 * SLICE_BYTES);
  const places = await slicePlaces(disk.open('read-only'), manifest.objectHash);
  assert.equal(places.length, 3);
  disk.flipBit((places[1]?.offsetBytes ?? 0) + 4096 + 40_000, 3);
  emptyResident(bench.arena);
  assert.equal(await readAndCheck(bench.store, manifest, 1), 'corrupt');
  assert.equal(await readAndCheck(bench.store, manifest, 1), 'absent');
  assert.equal(bench.store.metrics.value('reads', 'corrupt'), 1);
  assert.equal(bench.store.hasSlice(manifest.generation, 1), false);
  assert.deepEqual(offerOne(bench, manifest, 1), { kind: 'admitted' });
  await bench.store.drain();
  emptyResident(bench.arena);
  assert.equal(await readAndCheck(bench.store, manifest, 1), 'device');
  assert.equal(await readAndCheck(bench.store, manifest, 0), 'device');
  await bench.store.close();
});

test('what a crash took from a record is a miss and no fault of the device; what went later is', async () => {
  for (const end of ['crash', 'close'] as const) {
    const disk = await makeDisk(31);
    const bench = await openBench(disk.open());
    const manifest = await storeObject(bench, 'x', 2 * SLICE_BYTES);
    const [, place] = await slicePlaces(disk.open('read-only'), manifest.objectHash);
    assert.ok(place !== undefined);
    if (end === 'crash') disk.crash(new SeededRandom(1), 'all');
    else await bench.store.close();
    disk.poke(place.offsetBytes, new Uint8Array(place.allocatedBytes));
    const again = await openBench(disk.open());
    assert.equal(await readAndCheck(again.store, manifest, 1), end === 'crash' ? 'absent' : 'corrupt');
    assert.equal(again.store.metrics.value('reads', 'corrupt'), end === 'crash' ? 0 : 1);
    assert.equal(again.store.hasSlice(manifest.generation, 1), false, 'dropped either way');
    assert.equal(await readAndCheck(again.store, manifest, 0), 'device');
    await again.store.close();
  }
});

test('a record planted inside a cached body is not believed', async () => {
  const disk = await makeDisk(22);
  const bench = await openBench(disk.open());
  const victim = await storeObject(bench, 'victim', SLICE_BYTES);
  const evil = await storeObject(bench, 'evil', SLICE_BYTES);
  const looking = disk.open('read-only');
  const [from] = await slicePlaces(looking, evil.objectHash);
  const [to] = await slicePlaces(looking, victim.objectHash);
  assert.ok(from !== undefined && to !== undefined);
  disk.poke(to.offsetBytes, disk.peek(from.offsetBytes, from.allocatedBytes));
  emptyResident(bench.arena);
  assert.equal(await readAndCheck(bench.store, victim, 0), 'corrupt');
  await bench.store.close();
});

test('a failed flush makes the device read-only, and a purge says that it is not durable', async () => {
  const disk = await makeDisk(23);
  const bench = await openBench(disk.open());
  const manifest = await storeObject(bench, 'x', SLICE_BYTES);
  disk.addFault({ operation: 'flush', effect: { kind: 'error', errno: 'EIO' }, times: 1 });
  await assert.rejects(bench.store.purge({ kind: 'object', objectHash: manifest.objectHash }), { code: 'STORE_UNAVAILABLE' });
  assert.equal(bench.store.state, 'readonly');
  assert.equal(await readAndCheck(bench.store, manifest, 0), 'absent');
  const other = makeManifest('y', bench.store.nextGeneration(), SLICE_BYTES);
  assert.deepEqual(bench.store.offerManifest(other, bench.store.purgeSequence), { kind: 'declined', reason: 'unavailable' });
  await bench.store.close();
  assert.equal(bench.arena.leasedSlots, 0);
});

test('write errors drop slices, then the device is read-only; read errors are misses', async () => {
  const disk = await makeDisk(24);
  const bench = await openBench(disk.open());
  const manifest = await storeObject(bench, 'x', 2 * SLICE_BYTES);
  const groups = { startBytes: 448 * KIB, endBytes: 6 * MIB - 64 * KIB };
  const stop = disk.addFault({ operation: 'read', effect: { kind: 'error', errno: 'EIO' }, ...groups });
  emptyResident(bench.arena);
  assert.equal(await readAndCheck(bench.store, manifest, 1), 'corrupt');
  assert.equal(await readAndCheck(bench.store, manifest, 1), 'absent');
  stop();
  disk.addFault({ operation: 'write', effect: { kind: 'error', errno: 'ENOSPC' }, ...groups });
  for (let number = 0; number < 12; number += 1) {
    const lost = makeManifest(`lost-${number}`, bench.store.nextGeneration(), SLICE_BYTES);
    bench.store.offerManifest(lost, bench.store.purgeSequence);
    offerOne(bench, lost, 0);
    await bench.store.drain();
    assert.equal(await readAndCheck(bench.store, lost, 0), 'absent');
  }
  assert.equal(bench.store.state, 'readonly');
  assert.equal(bench.store.findContradiction(), undefined);
  assert.equal(await readAndCheck(bench.store, manifest, 0), 'device');
  assertNoLeases(bench.arena);
  await bench.store.close();
});

test('a device that hangs costs a deadline, and keeps its slots until it answers', async () => {
  const disk = await makeDisk(25);
  const bench = await openBench(disk.open(), { limits: { readDeadlineMs: 20 } });
  const manifest = await storeObject(bench, 'x', SLICE_BYTES);
  emptyResident(bench.arena);
  const stop = disk.addFault({ operation: 'read', effect: { kind: 'hang' } });
  assert.equal(await readAndCheck(bench.store, manifest, 0), 'busy');
  assert.ok(bench.arena.usedBytes('device-read') > 0);
  stop();
  disk.resumeHung();
  assert.equal(await readAndCheck(bench.store, manifest, 0), 'device');
  await bench.store.close();
  assert.equal(bench.arena.leasedSlots, 0);
});

test('a disk without a readable root is refused with a sentence that says what to do', async () => {
  const disk = await makeDisk(26);
  const arena = new Arena({ sizeBytes: 4 * MIB, clock });
  const open = (device = disk.open()): Promise<unknown> =>
    createStore({ device, arena, clock, logger: createSilentLogger() }).finally(() => device.close());
  const image = disk.snapshot();
  for (const at of [0, 32 * KIB, 6 * MIB - 64 * KIB]) disk.poke(at, new Uint8Array(512));
  await open();
  assert.deepEqual(await checkCodes(disk.open('read-only')), ['label-damaged', 'label-damaged', 'label-damaged']);
  disk.poke(6 * MIB - 32 * KIB, new Uint8Array(512));
  await assert.rejects(open(), { code: 'FORMAT_DAMAGED', message: /run rawslice format/ });
  assert.deepEqual(await checkCodes(disk.open('read-only')), ['no-label']);
  disk.restore(image);
  for (const at of [0, 32 * KIB, 6 * MIB - 64 * KIB, 6 * MIB - 32 * KIB]) disk.poke(at + 136, Uint8Array.from([9, 0, 0, 0]));
  await assert.rejects(open(), { code: 'FORMAT_VERSION', message: /format 9, this program reads format 2/ });
  const short = new SimulatedDisk({ capacityBytes: 4 * MIB, random: new SeededRandom(1) });
  disk.restore(image);
  short.poke(0, disk.peek(0, 4 * MIB));
  await assert.rejects(open(short.open()), { code: 'DEVICE_TRUNCATED' });
  const small = new SimulatedDisk({ capacityBytes: 4 * MIB, random: new SeededRandom(1) });
  await assert.rejects(formatDevice(small.open(), { clock, random: new SeededRandom(1) }), { code: 'DEVICE_TOO_SMALL' });
});

test('an index that cannot be loaded fails the store; it does not load for ever', async () => {
  const disk = await makeDisk(29);
  const arena = new Arena({ sizeBytes: 4 * MIB, clock });
  const store = await createStore({ device: disk.open(), arena, clock, logger: createSilentLogger() });
  const leases = [];
  for (let lease = arena.tryLease('staging', 4 * KIB); lease !== undefined; lease = arena.tryLease('staging', 4 * KIB)) leases.push(lease);
  await assert.rejects(store.recover(), { code: 'STORE_UNAVAILABLE' });
  assert.equal(store.state, 'failed');
  for (const lease of leases) lease.end();
  await store.close();
  assert.equal(arena.leasedSlots, 0);
});

test('a checkpoint that cannot be read costs entries, and the older one or the journal serves', async () => {
  const disk = await makeDisk(28);
  const bench = await openBench(disk.open());
  const first = await storeObject(bench, 'first', SLICE_BYTES);
  await bench.store.checkpoint();
  const second = await storeObject(bench, 'second', SLICE_BYTES);
  await bench.store.checkpoint();
  const third = await storeObject(bench, 'third', SLICE_BYTES);
  const { format, superblock } = (await lookAt(disk.open('read-only'))).root;
  const checkpointOffset = format.geometry.checkpointOffsets[superblock.checkpoint.zone === 0 ? 0 : 1];
  disk.crash(new SeededRandom(1), 'all');
  disk.flipBit(checkpointOffset + 1000, 1);
  assert.ok((await checkCodes(disk.open('read-only'))).includes('checkpoint-replaced'));
  let again = await openBench(disk.open());
  for (let round = 0; round < 2; round += 1) {
    for (const manifest of [first, second, third]) assert.equal(await readAndCheck(again.store, manifest, 0), 'device');
    await storeObject(again, `more-${round}`, SLICE_BYTES);
    assert.equal(again.store.findContradiction(), undefined);
    disk.crash(new SeededRandom(1), 'all');
    again = await openBench(disk.open());
  }
  await again.store.close();
});

test('a purge that may lie in an unreadable journal block empties the cache', async () => {
  const disk = await makeDisk(27);
  const bench = await openBench(disk.open());
  const manifests = await storeSome(bench, 4);
  const { root, state } = await lookAt(disk.open('read-only'));
  await bench.store.purge({ kind: 'object', objectHash: manifests[0]?.objectHash ?? manifests[1]!.objectHash });
  await storeObject(bench, 'later', SLICE_BYTES);
  disk.crash(new SeededRandom(1), 'all');
  disk.flipBit(root.format.geometry.journalOffset + state.journal.nextSequence * 4 * KIB + 100, 1);
  assert.ok((await checkCodes(disk.open('read-only'))).includes('forgotten'));
  const again = await openBench(disk.open());
  for (const manifest of manifests) assert.equal(again.store.findManifest(manifest.objectHash), undefined);
  assert.equal(again.store.usage.entries, 0);
  // The journal goes on over the damage; what was concluded from it must outlive another crash.
  const later = await storeObject(again, 'much later', SLICE_BYTES);
  disk.crash(new SeededRandom(1), 'all');
  const third = await openBench(disk.open());
  for (const manifest of manifests) assert.equal(third.store.findManifest(manifest.objectHash), undefined);
  assert.equal(await readAndCheck(third.store, later, 0), 'device');
  await third.store.close();
});

test('while the older checkpoint serves, it is not written over: the power may fail while the newer one is replaced', async () => {
  const disk = await makeDisk(30);
  const bench = await openBench(disk.open());
  const first = await storeObject(bench, 'first', SLICE_BYTES);
  await bench.store.checkpoint();
  const second = await storeObject(bench, 'second', SLICE_BYTES);
  await bench.store.checkpoint();
  const { format, superblock } = (await lookAt(disk.open('read-only'))).root;
  disk.crash(new SeededRandom(1), 'all');
  disk.flipBit(format.geometry.checkpointOffsets[superblock.checkpoint.zone === 0 ? 0 : 1] + 1000, 1);
  const image = disk.snapshot();
  for (let after = 0; after < 12; after += 1) {
    disk.restore(image);
    disk.clearFaults();
    for (const operation of ['write', 'flush'] as const) {
      disk.addFault({ operation, effect: { kind: 'error', errno: 'EIO' }, after: operation === 'write' ? after : after / 2 });
    }
    const failing = await openBench(disk.open());
    disk.crash(new SeededRandom(after), 'none');
    disk.clearFaults();
    await failing.store.close();
    const again = await openBench(disk.open());
    for (const manifest of [first, second]) assert.equal(await readAndCheck(again.store, manifest, 0), 'device', `after ${after} writes`);
    await again.store.close();
  }
});
