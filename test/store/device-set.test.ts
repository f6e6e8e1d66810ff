/** Several devices as one cache: where things lie, what a device that fails or leaves costs, and what it must not bring back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../../src/base/clock.ts';
import { EdgeError } from '../../src/base/errors.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { MIB, SECOND_MS } from '../../src/base/units.ts';
import type { Manifest } from '../../src/format/manifest.ts';
import { Arena } from '../../src/memory/arena.ts';
import { openDeviceSet } from '../../src/store/devices/device-set.ts';
import { type MountHistory, nextMount, planMount, roleOf } from '../../src/store/devices/membership.ts';
import { placementOrder } from '../../src/store/devices/placement.ts';
import { emptyResident, runSliceStoreContract, type StoreUnderTest } from '../contract/slice-store.ts';
import { VirtualClock } from '../simulation/virtual-clock.ts';
import { makeSlots, openSet, type SetBench, type Slot } from './set-bench.ts';
import {
  assertNoLeases,
  hashOf,
  makeManifest,
  offerOne,
  readAndCheck,
  SLICE_BYTES,
  sliceCount,
  storeObject,
  clock as systemClock,
} from './store-bench.ts';

runSliceStoreContract('two devices:', async () => {
  const slots = await makeSlots(1, 2);
  let mounts = 0;
  const open = async (): Promise<StoreUnderTest> => {
    mounts += 1;
    const bench = await openSet(slots, mounts);
    const reopen = async (): Promise<StoreUnderTest> => {
      await bench.store.close();
      return open();
    };
    return { ...bench, reopen, end: () => bench.store.close() };
  };
  return open();
});

test('units are spread by size, and stay where they are when a device leaves', () => {
  const random = new SeededRandom(7);
  const devices = [1, 1, 2].map((weight) => ({ uuid: random.bytes(16), weight }));
  const counts = [0, 0, 0];
  for (let number = 0; number < 20_000; number += 1) {
    const hash = hashOf(`object-${number % 500}`);
    const sliceNumber = Math.floor(number / 500) * 64 + (number % 64);
    const order = placementOrder(devices, hash, sliceNumber);
    assert.deepEqual(placementOrder(devices, hash, sliceNumber - (sliceNumber % 64)), order, 'slices of a unit lie together');
    assert.deepEqual([...order].sort(), [0, 1, 2]);
    const [first = 0] = order;
    counts[first] = (counts[first] ?? 0) + 1;
    // Without its last device the order of the others is the same.
    const without = placementOrder(devices.slice(0, 2), hash, sliceNumber);
    assert.deepEqual(
      order.filter((place) => place < 2),
      without,
    );
  }
  for (const [place, share] of [0.25, 0.25, 0.5].entries()) {
    assert.ok(Math.abs((counts[place] ?? 0) / 20_000 - share) < 0.03, `device ${place}: ${counts[place]}`);
  }
});

test('who was mounted with whom decides what a device has to hear', () => {
  const base = { purgeSequence: 0, sequence: 1 };
  const device = (history: MountHistory, more = {}) => ({ ...base, ...history, ...more }) as Parameters<typeof planMount>[0][number];
  const none: MountHistory = { mountId: '0'.repeat(16), earlierMountIds: [] };
  const first = nextMount('a'.repeat(16), none);
  assert.deepEqual(first, { mountId: 'a'.repeat(16), earlierMountIds: [] });
  const second = nextMount('b'.repeat(16), first);
  assert.equal(roleOf(first, second), 'away');
  assert.equal(roleOf(second, first), 'stranger');
  assert.deepEqual(planMount([device(first), device(second), device(second, { purgeSequence: 3 }), device(none)]), [
    'away',
    'in-step',
    'leader',
    'new',
  ]);
  const alone = nextMount('c'.repeat(16), first);
  assert.deepEqual(planMount([device(alone), device(second), device(second)]), ['stranger', 'leader', 'in-step']);
  let long: MountHistory = first;
  for (let mount = 0; mount < 20; mount += 1) long = nextMount(mount.toString(16).padStart(16, 'd'), long);
  assert.equal(long.earlierMountIds.length, 15);
  assert.equal(roleOf(first, long), 'stranger');
});

/** Objects of several units each. @returns their manifests */
async function fill(bench: SetBench, count: number, slices = 70): Promise<Manifest[]> {
  const manifests: Manifest[] = [];
  for (let number = 0; number < count; number += 1) {
    const manifest = makeManifest(`object-${number}`, bench.store.nextGeneration(), slices * 4096, { sliceSizeBytes: SLICE_BYTES });
    manifests.push(await storeObject(bench, `object-${number}`, Math.min(manifest.lengthBytes ?? 0, 3 * SLICE_BYTES)));
  }
  return manifests;
}

/** How each slice is read: device, ram, absent ... */
async function readAll(bench: SetBench, manifests: readonly Manifest[]): Promise<Map<string, number>> {
  emptyResident(bench.arena);
  const kinds = new Map<string, number>();
  for (const manifest of manifests) {
    for (let number = 0; number < sliceCount(manifest); number += 1) {
      const kind = await readAndCheck(bench.store, manifest, number);
      kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    }
  }
  return kinds;
}

/** An object whose slices lie on every device: one slice in each of many units. */
async function storeScattered(bench: SetBench, keyText: string, units = 12): Promise<Manifest> {
  const { store } = bench;
  const manifest = makeManifest(keyText, store.nextGeneration(), units * 64 * SLICE_BYTES);
  assert.deepEqual(store.offerManifest(manifest, store.purgeSequence), { kind: 'admitted' });
  for (let unit = 0; unit < units; unit += 1) assert.deepEqual(offerOne(bench, manifest, unit * 64), { kind: 'admitted' });
  await store.drain();
  return manifest;
}

test('an object lies on several devices, each of which knows its manifest, and is whole after a restart', async () => {
  const slots = await makeSlots(2, 3);
  let bench = await openSet(slots, 1);
  const manifest = await storeScattered(bench, 'scattered');
  for (let mount = 2; mount < 4; mount += 1) {
    assert.deepEqual(bench.store.findManifest(manifest.objectHash), { generation: manifest.generation, storedSlices: 12 });
    const stores = bench.store.members.map(({ store }) => store);
    const shares = stores.map((store) => store?.findManifest(manifest.objectHash)?.storedSlices ?? 0);
    assert.ok(
      shares.every((share) => share > 0 && share < 12),
      String(shares),
    );
    emptyResident(bench.arena);
    for (let unit = 0; unit < 12; unit += 1) assert.equal(await readAndCheck(bench.store, manifest, unit * 64), 'device');
    await bench.store.close();
    bench = await openSet(slots, mount);
  }
  await bench.store.close();
  assert.equal(bench.arena.leasedSlots, 0);
});

function losing(slots: readonly Slot[], errno: 'EIO' | 'ENODEV'): void {
  for (const operation of ['read', 'write', 'flush'] as const) slots[0]?.disk.addFault({ operation, effect: { kind: 'error', errno } });
}

test('a manifest does not wait on a device that gets none of its slices', async () => {
  const bench = await openSet(await makeSlots(3, 2), 1);
  const { store } = bench;
  const holders = (manifest: Manifest): number[] =>
    store.members.flatMap((member, place) => (member.store?.generationOf(manifest.objectHash) === manifest.generation ? [place] : []));
  const manifest = makeManifest('scattered', store.nextGeneration(), 32 * 64 * SLICE_BYTES);
  assert.deepEqual(store.offerManifest(manifest, store.purgeSequence), { kind: 'admitted' });
  const [home] = holders(manifest);
  const uuids = store.members.map(({ store: member }) => member?.identity ?? assert.fail('both are there'));
  const elsewhere = Array.from({ length: 32 }, (_, unit) => unit * 64).filter(
    (sliceNumber) => placementOrder(uuids, manifest.objectHash, sliceNumber)[0] !== home,
  );
  assert.ok(elsewhere.length > 0);
  for (const sliceNumber of elsewhere) assert.deepEqual(offerOne(bench, manifest, sliceNumber), { kind: 'admitted' });
  assert.deepEqual(holders(manifest), [home === 0 ? 1 : 0]);
  // It comes back with a slice that does belong there.
  assert.deepEqual(offerOne(bench, manifest, 0), { kind: 'admitted' });
  await store.drain();
  assert.deepEqual(holders(manifest), [0, 1]);
  for (const sliceNumber of [0, ...elsewhere]) assert.notEqual(await readAndCheck(store, manifest, sliceNumber), 'absent');
  await store.close();
  assertNoLeases(bench.arena);
});

test('a device that fails costs its share; it comes back by itself with what it had, but not with what was purged', async () => {
  const clock = new VirtualClock();
  const slots = await makeSlots(3, 2);
  const bench = await clock.wait(openSet(slots, 1, { clock }), 'opening', SECOND_MS);
  const manifests = await clock.wait(fill(bench, 16), 'filling', 60 * SECOND_MS);
  losing(slots, 'ENODEV');
  const during = await clock.wait(readAll(bench, manifests), 'reading', SECOND_MS);
  assert.ok((during.get('device') ?? 0) > 0 && (during.get('absent') ?? 0) > 0, String([...during]));
  assert.deepEqual(
    bench.store.status.map(({ state }) => state),
    ['failed', 'online'],
  );
  assert.equal(bench.store.state, 'online');
  // What comes now is kept by the other one.
  const later = await clock.wait(storeObject(bench, 'later', SLICE_BYTES), 'storing', SECOND_MS);
  // A purge is not acknowledged while a device cannot hear of it, and holds all the same.
  const [purged, ...kept] = manifests as [Manifest, ...Manifest[]];
  await assert.rejects(bench.store.purge({ kind: 'object', objectHash: purged.objectHash }), { code: 'STORE_UNAVAILABLE' });
  slots[0]?.disk.clearFaults();
  await clock.wait(clock.sleep(40 * SECOND_MS), 'time', 60 * SECOND_MS);
  assert.deepEqual(
    bench.store.status.map(({ state }) => state),
    ['online', 'online'],
  );
  const after = await clock.wait(readAll(bench, [...kept, later]), 'reading', SECOND_MS);
  assert.deepEqual([...after.keys()], ['device'], String([...after]));
  assert.equal(bench.store.findManifest(purged.objectHash), undefined);
  assert.equal((await bench.store.readManifest(purged.objectHash)).kind, 'absent');
  await clock.wait(bench.store.close(), 'closing', SECOND_MS);
  assertNoLeases(bench.arena);
});

test('a device that stays bad is tried less and less often, and at once when the operator says so', async () => {
  const clock = new VirtualClock();
  const slots = await makeSlots(4, 2);
  const bench = await clock.wait(openSet(slots, 1, { clock }), 'opening', SECOND_MS);
  const [slot] = slots as [Slot];
  const manifests = await clock.wait(fill(bench, 8), 'filling', 60 * SECOND_MS);
  losing(slots, 'ENODEV');
  await clock.wait(readAll(bench, manifests), 'reading', SECOND_MS);
  assert.equal(bench.store.status[0]?.state, 'failed');
  let tries = 0;
  const { open } = slot.disk;
  slot.disk.open = (...access) => {
    tries += 1;
    return open.apply(slot.disk, access);
  };
  await clock.wait(clock.sleep(7200 * SECOND_MS), 'time', 7300 * SECOND_MS);
  assert.ok(tries >= 5 && tries <= 12, `${tries} tries in two hours`);
  await assert.rejects(clock.wait(bench.store.attach(slot.path), 'attaching', SECOND_MS), { code: 'FORMAT_DAMAGED' });
  slot.disk.clearFaults();
  assert.equal((await clock.wait(bench.store.attach(slot.path), 'attaching', SECOND_MS)).state, 'online');
  await assert.rejects(bench.store.attach('nothing'), { code: 'REQUEST_INVALID' });
  await clock.wait(bench.store.close(), 'closing', SECOND_MS);
});

test('what was purged while a device was away stays purged when it is back; the rest of it is there', async () => {
  const slots = await makeSlots(5, 2);
  let bench = await openSet(slots, 1);
  const manifests = await fill(bench, 16);
  const first = bench.store.members[0]?.store;
  const there = manifests.filter(({ objectHash }) => (first?.findManifest(objectHash)?.storedSlices ?? 0) > 0);
  const [purged, ...kept] = there as [Manifest, ...Manifest[]];
  assert.ok(kept.length > 2);
  await bench.store.close();
  (slots[0] as Slot).isPresent = false;
  bench = await openSet(slots, 2);
  assert.equal(bench.store.status[0]?.state, 'absent');
  await bench.store.purge({ kind: 'object', objectHash: purged.objectHash });
  const replaced = await storeObject(bench, kept[0]?.keyText ?? '', SLICE_BYTES);
  await bench.store.close();
  (slots[0] as Slot).isPresent = true;
  bench = await openSet(slots, 3);
  assert.equal((await bench.store.readManifest(purged.objectHash)).kind, 'absent');
  assert.equal(await readAndCheck(bench.store, purged, 0), 'absent');
  assert.equal(await readAndCheck(bench.store, replaced, 0), 'device');
  const verdict = await bench.store.readManifest(replaced.objectHash);
  assert.equal(verdict.kind === 'hit' && verdict.manifest.generation, replaced.generation);
  const kinds = await readAll(bench, kept.slice(1));
  assert.deepEqual([...kinds.keys()], ['device']);
  await bench.store.close();
});

test('devices that were used apart: one is forgotten, and what was purged on it is purged on both', async () => {
  const slots = await makeSlots(6, 2);
  const [left, right] = slots as [Slot, Slot];
  let bench = await openSet(slots, 1);
  const manifests = await fill(bench, 16);
  const onRight = manifests.filter(({ objectHash }) => (bench.store.members[1]?.store?.findManifest(objectHash)?.storedSlices ?? 0) > 0);
  const [purged, ...kept] = onRight as [Manifest, ...Manifest[]];
  await bench.store.close();
  bench = await openSet([left], 2);
  await bench.store.purge({ kind: 'object', objectHash: purged.objectHash });
  const lonely = await storeObject(bench, 'lonely', SLICE_BYTES);
  await bench.store.close();
  // The right one is mounted twice, so that it explains itself no better; its superblock is the newer one and it leads.
  for (const seed of [3, 4]) {
    bench = await openSet([right], seed);
    await storeObject(bench, `right-${seed}`, SLICE_BYTES);
    await bench.store.purge({ kind: 'object', objectHash: hashOf(`nothing-${seed}`) });
    await bench.store.close();
  }
  bench = await openSet(slots, 5);
  assert.equal(bench.store.state, 'online');
  assert.equal((await bench.store.readManifest(lonely.objectHash)).kind, 'absent', 'the left one was forgotten');
  assert.equal((await bench.store.readManifest(purged.objectHash)).kind, 'absent', 'its purge was not');
  const kinds = await readAll(
    bench,
    kept.filter((manifest) => bench.store.findManifest(manifest.objectHash) !== undefined),
  );
  assert.deepEqual([...kinds.keys()], ['device']);
  assert.ok((kinds.get('device') ?? 0) > 0);
  await bench.store.close();
  // From here on they belong together again.
  bench = await openSet(slots, 6);
  assert.deepEqual(
    bench.store.status.map(({ state }) => state),
    ['online', 'online'],
  );
  assert.equal((await bench.store.readManifest(purged.objectHash)).kind, 'absent');
  await bench.store.close();
});

test('generations are never given twice, whichever device was there', async () => {
  const slots = await makeSlots(7, 2);
  const given = new Set<number>();
  const random = new SeededRandom(70);
  for (let mount = 1; mount < 12; mount += 1) {
    // Never apart: the second one is always there.
    (slots[0] as Slot).isPresent = random.integerBelow(2) === 0;
    const bench = await openSet(slots, mount);
    for (let number = 0; number < 5; number += 1) {
      const generation = bench.store.nextGeneration();
      assert.ok(!given.has(generation), `generation ${generation} was given twice`);
      given.add(generation);
    }
    await storeObject(bench, `object-${mount}`, SLICE_BYTES);
    given.add(bench.store.findManifest(hashOf(`object-${mount}`))?.generation ?? 0);
    if (random.integerBelow(2) === 0) for (const { disk } of slots) disk.crash(random, 'any');
    await bench.store.close();
  }
});

test('a device of another cache, one named twice and a missing one alone are refused', async () => {
  const [mine] = (await makeSlots(8, 1)) as [Slot];
  const [foreign] = (await makeSlots(9, 1)) as [Slot];
  await assert.rejects(openSet([mine, { ...foreign, path: 'foreign' }], 1), {
    code: 'DEVICE_FOREIGN',
    message: /foreign belongs to cache .*--join disk-0/,
  });
  const copy = { path: 'copy', isPresent: true, disk: (await makeSlots(8, 1))[0]?.disk ?? mine.disk };
  await assert.rejects(openSet([mine, copy], 1), { code: 'DEVICE_UNSUITABLE', message: /the same device/ });
  mine.isPresent = false;
  await assert.rejects(openSet([mine], 1), { code: 'DEVICE_ABSENT' });
  await assert.rejects(openSet([mine, { ...copy, isPresent: false }], 1), { code: 'DEVICE_ABSENT' });
  const bench = await openSet([mine, copy], 1);
  assert.equal(bench.store.state, 'online');
  await bench.store.close();
});

/** A set of one device whose first block cannot be read until it is mended. */
async function openFailing(slot: Slot, arena: Arena, clock: Clock = systemClock) {
  let isFailing = true;
  const device = {
    path: slot.path,
    open: async () => {
      if (isFailing) throw new EdgeError('DEVICE_FAULT', 'The first block cannot be read (EIO)');
      return slot.disk.open();
    },
  };
  const shared = { arena, clock, random: new SeededRandom(2), logger: createSilentLogger() };
  const store = await openDeviceSet({ ...shared, devices: [device] });
  await store.recover();
  const mend = (): void => {
    isFailing = false;
  };
  return { store, mend };
}

test('a device alone that is there and fails keeps nothing from starting; it is taken in when it reads again', async () => {
  const clock = new VirtualClock();
  const slots = await makeSlots(10, 1);
  const [slot] = slots as [Slot];
  const arena = new Arena({ sizeBytes: 8 * MIB, clock });
  const { store, mend } = await openFailing(slot, arena, clock);
  assert.equal(store.state, 'failed');
  assert.match(store.status[0]?.reason ?? '', /cannot be read/);
  assert.equal(store.findManifest(hashOf('x')), undefined);
  const early = makeManifest('x', store.nextGeneration(), SLICE_BYTES);
  assert.deepEqual(store.offerManifest(early, 0), { kind: 'declined', reason: 'unavailable' });
  await assert.rejects(store.purge({ kind: 'object', objectHash: hashOf('x') }), { code: 'STORE_UNAVAILABLE' });
  mend();
  await clock.wait(clock.sleep(40 * SECOND_MS), 'time', 60 * SECOND_MS);
  assert.equal(store.state, 'online');
  // Nobody knew then which numbers the device had given before, so what was begun under one of them is not kept.
  assert.deepEqual(store.offerManifest(early, 0), { kind: 'declined', reason: 'unavailable' });
  assert.deepEqual(offerOne({ store, arena }, early, 0), { kind: 'declined', reason: 'superseded' });
  const later = await clock.wait(storeObject({ store, arena }, 'y', SLICE_BYTES), 'storing', SECOND_MS);
  assert.ok(later.generation < early.generation);
  await clock.wait(store.close(), 'closing', SECOND_MS);
});

test('purges while no device is there are bounded: past 1,024 everything goes, and that is counted', async () => {
  const slots = await makeSlots(11, 1);
  const [slot] = slots as [Slot];
  const first = await openSet(slots, 1);
  for (const key of ['x', 'y']) await storeObject(first, key, SLICE_BYTES);
  await first.store.close();
  const { store, mend } = await openFailing(slot, first.arena);
  const purge = (key: string) => assert.rejects(store.purge({ kind: 'object', objectHash: hashOf(key) }), { code: 'STORE_UNAVAILABLE' });
  await purge('x');
  for (let count = 1; count < 1024; count += 1) await purge(`other-${count}`);
  assert.equal(store.count('purgesWidened'), 0);
  await purge('last');
  assert.equal(store.count('purgesWidened'), 1);
  await purge('after it');
  assert.equal(store.count('purgesWidened'), 1);
  mend();
  assert.equal((await store.attach(slot.path)).state, 'online');
  for (const key of ['x', 'y']) assert.equal((await store.readManifest(hashOf(key))).kind, 'absent', key);
  await store.close();
});

test('a device alone that failed at the start is taken in with all that it holds', async () => {
  const slots = await makeSlots(12, 1);
  const [slot] = slots as [Slot];
  const first = await openSet(slots, 1);
  const manifest = await storeObject(first, 'x', 2 * SLICE_BYTES);
  await first.store.close();
  const { store, mend } = await openFailing(slot, first.arena);
  assert.equal(store.state, 'failed');
  mend();
  assert.equal((await store.attach(slot.path)).state, 'online');
  assert.equal(await readAndCheck(store, manifest, 1), 'device');
  await store.close();
});
