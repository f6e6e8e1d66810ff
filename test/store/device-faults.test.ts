/** What a failing device leads to: one step down at the right moment, and none for what is not its fault. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EdgeError } from '../../src/base/errors.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB, SECOND_MS } from '../../src/base/units.ts';
import type { Manifest } from '../../src/format/manifest.ts';
import { Arena } from '../../src/memory/arena.ts';
import { openStore } from '../../src/store/device-store.ts';
import { FaultBucket } from '../../src/store/health/fault-bucket.ts';
import { classifyFault, FAULT_CLASSES } from '../../src/store/health/fault-class.ts';
import { emptyResident } from '../contract/slice-store.ts';
import { type Delay, type Fault, SimulatedDisk } from '../simulation/simulated-device.ts';
import { VirtualClock } from '../simulation/virtual-clock.ts';
import {
  assertNoLeases,
  type Bench,
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

/** Where extents lie on a tiny device. */
const GROUPS = { startBytes: 448 * KIB, endBytes: 6 * MIB - 64 * KIB };

async function makeDisk(seed: number, delay?: Delay): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk({ capacityBytes: 6 * MIB, random: new SeededRandom(seed), delay });
  const device = disk.open();
  await formatTiny(device, tinyParameters(), seed);
  await device.close();
  return disk;
}

const NO_FAULTS = Object.fromEntries(FAULT_CLASSES.map((name) => [name, 0]));

test('errors are told apart by errno and operation', () => {
  const error = (errno: string): EdgeError => new EdgeError('DEVICE_FAULT', undefined, { context: { errno } });
  const table = [
    ['read', 'EINVAL', 'own'],
    ['write', 'EFAULT', 'own'],
    ['read', 'EIO', 'media'],
    ['write', 'EIO', 'media'],
    ['read', 'ENODATA', 'media'],
    ['read', 'EILSEQ', 'media'],
    ['read', 'ENXIO', 'gone'],
    ['write', 'ENODEV', 'gone'],
    ['write', 'ENOSPC', 'unwritable'],
    ['flush', 'EROFS', 'unwritable'],
    ['write', 'EPERM', 'unwritable'],
    ['read', 'EPERM', 'media'],
    ['read', 'ETIMEDOUT', 'stalled'],
  ] as const;
  for (const [operation, errno, expected] of table) assert.equal(classifyFault(operation, error(errno)), expected, `${operation} ${errno}`);
  assert.equal(classifyFault('read', new EdgeError('STORE_UNAVAILABLE')), undefined);
  assert.equal(classifyFault('read', new TypeError('x')), undefined);
});

test('the bucket takes eight faults in ten minutes, forgets, and looks at the share on a device that does little', async () => {
  const clock = new VirtualClock();
  const pass = (ms: number): Promise<void> => clock.wait(clock.sleep(ms), 'time', ms);
  const busy = (): FaultBucket => {
    const bucket = new FaultBucket(clock);
    for (let count = 0; count < 100_000; count += 1) bucket.countOperation();
    return bucket;
  };
  const many = busy();
  const advices = Array.from({ length: 32 }, () => many.add(1));
  assert.deepEqual([advices[6], advices[7], advices[30], advices[31]], ['go-on', 'readonly', 'readonly', 'failed']);
  const slow = busy();
  for (let count = 0; count < 200; count += 1) {
    for (let operation = 0; operation < 1000; operation += 1) slow.countOperation();
    assert.equal(slow.add(1), 'go-on', `fault ${count}`);
    await pass(80 * SECOND_MS);
  }
  const idle = new FaultBucket(clock);
  assert.deepEqual(
    [1, 2, 3, 4].map(() => idle.add(1)),
    ['go-on', 'go-on', 'go-on', 'readonly'],
  );
});

test('a sector that cannot be read costs its slice, which heals elsewhere; the device stays online', async () => {
  const disk = await makeDisk(41);
  const bench = await openBench(disk.open());
  const manifest = await storeObject(bench, 'x', 2 * SLICE_BYTES);
  emptyResident(bench.arena);
  disk.addFault({ operation: 'read', effect: { kind: 'error', errno: 'EIO' }, ...GROUPS, times: 2 });
  assert.equal(await readAndCheck(bench.store, manifest, 1), 'corrupt');
  assert.equal(bench.store.hasSlice(manifest.generation, 1), false);
  assert.deepEqual(bench.store.faults, { ...NO_FAULTS, media: 2 });
  assert.deepEqual(offerOne(bench, manifest, 1), { kind: 'admitted' });
  await bench.store.drain();
  emptyResident(bench.arena);
  assert.equal(await readAndCheck(bench.store, manifest, 1), 'device');
  assert.equal(bench.store.state, 'online');
  // Its blocks are never written again, by the next process neither.
  const badBlocks = bench.store.metrics.value('badBlocks');
  assert.equal(badBlocks, 1 + SLICE_BYTES / (4 * KIB));
  assert.equal(bench.store.findContradiction(), undefined);
  disk.crash(new SeededRandom(1), 'none');
  const again = await openBench(disk.open());
  assert.equal(again.store.metrics.value('badBlocks'), badBlocks);
  await again.store.close();
});

test('a read that succeeds at the second try is a hit', async () => {
  const disk = await makeDisk(42);
  const bench = await openBench(disk.open());
  const manifest = await storeObject(bench, 'x', SLICE_BYTES);
  emptyResident(bench.arena);
  disk.addFault({ operation: 'read', effect: { kind: 'error', errno: 'EIO' }, ...GROUPS, times: 1 });
  assert.equal(await readAndCheck(bench.store, manifest, 0), 'device');
  assert.deepEqual(bench.store.faults, { ...NO_FAULTS, media: 1 });
  await bench.store.close();
});

test('a request that the kernel calls invalid is our error: an alarm, and never the device', async () => {
  const disk = await makeDisk(43);
  const bench = await openBench(disk.open());
  const stop = disk.addFault({ operation: 'write', effect: { kind: 'error', errno: 'EINVAL' }, ...GROUPS });
  for (let number = 0; number < 40; number += 1) {
    const lost = makeManifest(`lost-${number}`, bench.store.nextGeneration(), SLICE_BYTES);
    bench.store.offerManifest(lost, bench.store.purgeSequence);
    offerOne(bench, lost, 0);
    await bench.store.drain();
  }
  stop();
  assert.ok(bench.store.faults.own >= 40);
  assert.equal(bench.store.state, 'online');
  const kept = await storeObject(bench, 'kept', SLICE_BYTES);
  emptyResident(bench.arena);
  assert.equal(await readAndCheck(bench.store, kept, 0), 'device');
  await bench.store.close();
});

for (const [errno, state] of [
  ['ENOSPC', 'readonly'],
  ['ENODEV', 'failed'],
] as const) {
  test(`one write that fails with ${errno} makes the device ${state}`, async () => {
    const disk = await makeDisk(44);
    const bench = await openBench(disk.open());
    const manifest = await storeObject(bench, 'x', SLICE_BYTES);
    emptyResident(bench.arena);
    disk.addFault({ operation: 'write', effect: { kind: 'error', errno }, ...GROUPS });
    const lost = makeManifest('lost', bench.store.nextGeneration(), SLICE_BYTES);
    bench.store.offerManifest(lost, bench.store.purgeSequence);
    offerOne(bench, lost, 0);
    await bench.store.drain();
    assert.equal(bench.store.state, state);
    assert.equal(bench.store.degradation?.state, state);
    assert.equal(await readAndCheck(bench.store, manifest, 0), state === 'readonly' ? 'device' : 'absent');
    assert.deepEqual(bench.store.offerManifest(makeManifest('y', 9, 1), 0), { kind: 'declined', reason: 'unavailable' });
    assertNoLeases(bench.arena);
    await bench.store.close();
    assert.equal(bench.arena.leasedSlots, 0);
  });
}

test('corrupt records are counted, and many of them end the writing, then the reading', async () => {
  const disk = await makeDisk(45);
  const bench = await openBench(disk.open());
  const manifests: Manifest[] = [];
  for (let number = 0; number < 60; number += 1) manifests.push(await storeObject(bench, `object-${number}`, 20_000));
  emptyResident(bench.arena);
  for (let at = GROUPS.startBytes; at < GROUPS.endBytes; at += 4 * KIB) disk.flipBit(at + 2000, 1);
  const states = [];
  for (const manifest of manifests) {
    await readAndCheck(bench.store, manifest, 0);
    states.push(bench.store.state);
  }
  assert.deepEqual([...new Set(states)], ['online', 'readonly', 'failed']);
  await bench.store.close();
});

/** Delays of operations by turns of the event loop, reads the longest, so that writers overtake readers. */
function jitter(seed: number): Delay {
  const random = new SeededRandom(seed);
  return async (operation) => {
    for (let turns = random.integerBelow(operation === 'read' ? 300 : 5); turns > 0; turns -= 1) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
}

test('blocks that are reused while they are read are stale, never corrupt, and nothing is held against the device', async () => {
  const disk = await makeDisk(46, jitter(46));
  const bench = await openBench(disk.open());
  const random = new SeededRandom(460);
  const manifests: Manifest[] = [];
  const readers: Promise<string>[] = [];
  for (let round = 0; round < 150; round += 1) {
    const manifest = makeManifest(`object-${round}`, bench.store.nextGeneration(), 1 + random.integerBelow(4 * SLICE_BYTES));
    bench.store.offerManifest(manifest, bench.store.purgeSequence);
    for (let number = 0; number < sliceCount(manifest); number += 1) offerOne(bench, manifest, number);
    manifests.push(manifest);
    emptyResident(bench.arena);
    for (const known of manifests.slice(-60)) readers.push(readAndCheck(bench.store, known, random.integerBelow(sliceCount(known))));
    await bench.store.drain();
  }
  await Promise.all(readers);
  assert.ok(bench.store.metrics.value('evicted', 'blocks') > 100, 'blocks were reused');
  assert.ok(bench.store.metrics.value('reads', 'stale') > 0, 'some were read meanwhile');
  assert.equal(bench.store.metrics.value('reads', 'corrupt'), 0);
  assert.deepEqual(bench.store.faults, NO_FAULTS);
  assert.equal(bench.store.state, 'online');
  await bench.store.close();
});

test('what a crash tears is stale: crash after crash, nothing is held against the device', async () => {
  const clock = new VirtualClock();
  const disk = await makeDisk(47);
  const arena = new Arena({ sizeBytes: 8 * MIB, clock });
  const random = new SeededRandom(470);
  // One journal block a life, so that it often survives what it tells of, and no checkpoint, which would flush.
  const limits = { journalBatchMs: SECOND_MS / 2 };
  let stale = 0;
  let manifests: Manifest[] = [];
  const readAll = async (bench: Bench): Promise<void> => {
    for (const manifest of manifests) {
      await bench.store.readManifest(manifest.objectHash);
      for (let number = 0; number < sliceCount(manifest); number += 1) await readAndCheck(bench.store, manifest, number);
    }
  };
  for (let life = 0; life < 12; life += 1) {
    const store = await clock.wait(
      openStore({ device: disk.open(), arena, clock, logger: createSilentLogger(), limits }),
      'opening',
      SECOND_MS,
    );
    const bench = { store, arena };
    await clock.wait(readAll(bench), 'reading', SECOND_MS);
    for (let number = 0; number < 18; number += 1) {
      const manifest = makeManifest(`object-${life}-${number}`, store.nextGeneration(), 1 + random.integerBelow(3 * SLICE_BYTES));
      store.offerManifest(manifest, store.purgeSequence);
      for (let slice = 0; slice < sliceCount(manifest); slice += 1) offerOne(bench, manifest, slice);
      manifests.push(manifest);
    }
    // Extents and journal blocks are written by then, and no flush came since.
    await clock.wait(clock.sleep(SECOND_MS), 'writing', 2 * SECOND_MS);
    manifests = manifests.slice(-60);
    stale += store.metrics.value('reads', 'stale');
    assert.deepEqual(store.faults, NO_FAULTS, `life ${life}`);
    assert.equal(store.state, 'online');
    disk.crash(random, 'any');
    await clock.wait(store.close(), 'closing', SECOND_MS);
  }
  assert.ok(stale > 0, 'some entries outlived their data');
});

/** A store on virtual time, with an object on it. */
async function openVirtual(seed: number): Promise<{ clock: VirtualClock; disk: SimulatedDisk; bench: Bench; manifest: Manifest }> {
  const clock = new VirtualClock();
  const disk = await makeDisk(seed);
  const arena = new Arena({ sizeBytes: 8 * MIB, clock });
  const store = await clock.wait(openStore({ device: disk.open(), arena, clock, logger: createSilentLogger() }), 'opening', SECOND_MS);
  const bench = { store, arena };
  const manifest = await clock.wait(storeObject(bench, 'x', 8 * SLICE_BYTES), 'storing', 60 * SECOND_MS);
  emptyResident(arena);
  return { clock, disk, bench, manifest };
}

const HANG: Fault = { operation: 'read', effect: { kind: 'hang' } };

test('a device that answers nothing is failed after a deadline, and its readers go to the origin', async () => {
  const { clock, disk, bench, manifest } = await openVirtual(48);
  disk.addFault(HANG);
  const reads = Array.from({ length: 6 }, (_, number) => readAndCheck(bench.store, manifest, number));
  assert.deepEqual(await clock.wait(Promise.all(reads), 'reads', 6 * SECOND_MS), Array(6).fill('busy'));
  await clock.wait(clock.sleep(2 * SECOND_MS), 'time', 3 * SECOND_MS);
  assert.equal(bench.store.state, 'failed');
  assert.equal(await readAndCheck(bench.store, manifest, 7), 'absent');
  assert.equal(bench.store.faults.stalled, 6);
  // It never answers: closing gives it up in bounded time.
  const closingMs = clock.monotonicMs();
  await clock.wait(bench.store.close(), 'closing', 15 * SECOND_MS);
  assert.ok(clock.monotonicMs() - closingMs <= 13 * SECOND_MS);
  disk.resumeHung();
  await clock.wait(clock.sleep(SECOND_MS), 'time', 2 * SECOND_MS);
  assert.equal(bench.arena.leasedSlots, 0);
});

test('one read that stalls is a fault of the device, not its end', async () => {
  const { clock, disk, bench, manifest } = await openVirtual(49);
  disk.addFault({ ...HANG, times: 1 });
  assert.equal(await clock.wait(readAndCheck(bench.store, manifest, 0), 'read', 6 * SECOND_MS), 'busy');
  await clock.wait(clock.sleep(2 * SECOND_MS), 'time', 3 * SECOND_MS);
  assert.deepEqual(bench.store.faults, { ...NO_FAULTS, stalled: 1 });
  assert.equal(bench.store.state, 'online');
  assert.equal(await clock.wait(readAndCheck(bench.store, manifest, 1), 'read', SECOND_MS), 'device');
  disk.resumeHung();
  await clock.wait(bench.store.close(), 'closing', 15 * SECOND_MS);
  assert.equal(bench.arena.leasedSlots, 0);
});

test('a device that is slow but answers is never failed, however many wait', async () => {
  const { clock, disk, bench, manifest } = await openVirtual(50);
  disk.addFault({ ...HANG });
  const reads = Array.from({ length: 8 }, (_, number) => readAndCheck(bench.store, manifest, number));
  // One at a time is let go, every two seconds: the last waits far beyond its deadline.
  for (let second = 0; second < 20; second += 2) {
    await clock.wait(clock.sleep(2 * SECOND_MS), 'time', 3 * SECOND_MS);
    disk.resumeHung(1);
  }
  await clock.wait(Promise.all(reads), 'reads', SECOND_MS);
  assert.equal(bench.store.state, 'online');
  assert.deepEqual(bench.store.faults, NO_FAULTS);
  await clock.wait(bench.store.close(), 'closing', 15 * SECOND_MS);
});

test('a write that hangs for ever does not keep the store from closing', async () => {
  const { clock, disk, bench } = await openVirtual(51);
  disk.addFault({ operation: 'write', effect: { kind: 'hang' }, ...GROUPS });
  const manifest = makeManifest('y', bench.store.nextGeneration(), SLICE_BYTES);
  bench.store.offerManifest(manifest, bench.store.purgeSequence);
  offerOne(bench, manifest, 0);
  await clock.wait(clock.sleep(SECOND_MS), 'time', 2 * SECOND_MS);
  await clock.wait(bench.store.close(), 'closing', 15 * SECOND_MS);
  assert.equal(bench.store.state, 'closed');
  const before = disk.counts.write;
  disk.resumeHung();
  await clock.wait(clock.sleep(SECOND_MS), 'time', 2 * SECOND_MS);
  assert.ok(disk.counts.write <= before + 1, 'nothing more is written to a device that was given up');
});
