/**
 * A device fails under load, in every way that one can: no client sees an error that the origin did not cause, every byte is right, and what
 * was purged meanwhile does not come back with the device.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { cacheKey } from '../../src/cache/cache-key.ts';
import type { DeviceSet } from '../../src/store/devices/device-set.ts';
import { emptyResident } from '../contract/slice-store.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import type { SimulatedOperation } from '../simulation/simulated-device.ts';
import { makeSlots, openSet, type Slot } from '../store/set-bench.ts';

const OPERATIONS: readonly SimulatedOperation[] = ['read', 'write', 'flush'];
const OBJECTS = 16;
const LENGTH = 300 * KIB;
const WORKERS = 8;

/** What happens to the device, and the states that it may be in afterwards. */
const FAILURES = {
  'EIO everywhere': (slot: Slot) => {
    for (const operation of OPERATIONS) slot.disk.addFault({ operation, effect: { kind: 'error', errno: 'EIO' } });
  },
  'it vanishes': (slot: Slot) => {
    for (const operation of OPERATIONS) slot.disk.addFault({ operation, effect: { kind: 'error', errno: 'ENODEV' } });
    slot.isPresent = false;
  },
  'it hangs': (slot: Slot) => {
    for (const operation of OPERATIONS) slot.disk.addFault({ operation, effect: { kind: 'hang' } });
  },
} as const;

const nameOf = (number: number): string => `/object-${number}.iso`;

/** Requests of whole objects and ranges, in parallel and at random; each must be answered well, byte by byte. */
async function load(edge: TestEdge, origin: Origin, seed: number): Promise<void> {
  const worker = async (number: number): Promise<void> => {
    const random = new SeededRandom(seed * 100 + number);
    for (let count = 0; count < 20; count += 1) {
      const path = nameOf(random.integerBelow(OBJECTS));
      const isRange = random.integerBelow(2) === 0;
      const start = isRange ? random.integerBelow(LENGTH) : 0;
      const end = isRange ? Math.min(LENGTH, start + 1 + random.integerBelow(100 * KIB)) : LENGTH;
      const headers = isRange ? { range: `bytes=${start}-${end - 1}` } : {};
      const expect = { ...origin.identity(path), start };
      const answer = await edge.get(path, headers, { expect });
      assert.equal(answer.status, isRange ? 206 : 200, path);
      assert.equal(answer.wrongAt, -1, `${path}: a wrong byte`);
      assert.ok(answer.isComplete && answer.bodyBytes === end - start, `${path}: ${answer.bodyBytes} of ${end - start}`);
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, (_, number) => worker(number)));
}

for (const [seed, [name, fail]] of Object.entries(FAILURES).entries()) {
  test(`one of two devices fails under load: ${name}`, async () => {
    await using origin = await Origin.start();
    for (let number = 0; number < OBJECTS; number += 1)
      origin.setObject(nameOf(number), { lengthBytes: LENGTH, cacheControl: 'max-age=3600' });
    const slots = await makeSlots(300 + seed, 2, 8 * MIB);
    const [slot] = slots as [Slot];
    const limits = { readDeadlineMs: 100, writeDeadlineMs: 100, closeSilenceMs: 100 };
    let store: DeviceSet | undefined;
    await using edge = await startEdge({
      origin,
      makeStore: async (arena) => {
        store = (await openSet(slots, seed + 1, { arena, limits })).store;
        return store;
      },
    });
    assert.ok(store !== undefined);
    const set = store;
    await load(edge, origin, seed);
    await edge.settle();
    await set.drain();
    const before = set.status.map(({ usedBytes }) => usedBytes);
    assert.ok(
      before.every((usedBytes) => usedBytes > MIB / 2),
      `both hold something: ${before}`,
    );
    fail(slot);
    for (let round = 0; round < 3; round += 1) {
      emptyResident(edge.arena);
      await load(edge, origin, seed + 10 + round);
    }
    // Its errors, or its silence, have taken it down; the other one serves.
    await eventually(() => set.status[0]?.state !== 'online', { what: 'the device to be degraded' });
    assert.equal(set.status[1]?.state, 'online');
    // Nothing asks for them until the device is back, so that only the purge keeps its old versions away.
    const purged = [0, 1, 2, 3, 4, 5, 6, 7].map(nameOf);
    for (const path of purged) {
      const key = cacheKey({ siteName: edge.site.name, path, query: undefined });
      assert.ok(key !== undefined);
      await assert.rejects(set.purge({ kind: 'object', objectHash: key.objectHash }), { code: 'STORE_UNAVAILABLE' });
      edge.resolver.forget({ kind: 'object', objectHash: key.objectHash }, false);
      origin.change(path);
    }
    slot.disk.clearFaults();
    slot.disk.resumeHung();
    slot.isPresent = true;
    await eventually(async () => (await set.attach(slot.path)).state === 'online', { what: 'the device to come back' });
    emptyResident(edge.arena);
    await load(edge, origin, seed + 30);
    assert.deepEqual(
      set.status.map(({ state }) => state),
      ['online', 'online'],
    );
    for (const { store: own } of set.members) assert.equal(own?.findContradiction(), undefined);
  });
}
