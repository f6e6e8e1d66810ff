/** The scrubber: what rots is found within a cycle, at the rate that was set, and nobody waits for it. All on virtual time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSilentLogger } from '../../src/base/log.ts';
import { MetricSet } from '../../src/base/metrics.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB, SECOND_MS } from '../../src/base/units.ts';
import { Arena } from '../../src/memory/arena.ts';
import { type DeviceStore, openStore } from '../../src/store/device-store.ts';
import { Scrubber } from '../../src/store/health/scrubber.ts';
import { BlockAllocator } from '../../src/store/index/block-allocator.ts';
import { SliceIndex } from '../../src/store/index/slice-index.ts';
import { STORE_METRICS } from '../../src/store/store-metrics.ts';
import { emptyResident } from '../contract/slice-store.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { VirtualClock } from '../simulation/virtual-clock.ts';
import { type Bench, formatTiny, offerOne, readAndCheck, SLICE_BYTES, sliceCount, storeObject, tinyParameters } from './store-bench.ts';

const HOUR_MS = 3600 * SECOND_MS;
/** Where extents lie on a tiny device of 6 MiB. */
const GROUPS = { startBytes: 448 * KIB, endBytes: 6 * MIB - 64 * KIB };

async function openScrubbed(seed: number): Promise<{ clock: VirtualClock; disk: SimulatedDisk; bench: Bench & { store: DeviceStore } }> {
  const clock = new VirtualClock();
  const disk = new SimulatedDisk({ capacityBytes: 6 * MIB, random: new SeededRandom(seed) });
  const device = disk.open();
  await formatTiny(device, tinyParameters(), seed);
  await device.close();
  const arena = new Arena({ sizeBytes: 8 * MIB, clock });
  const options = { device: disk.open(), arena, clock, logger: createSilentLogger(), scrubPeriodMs: HOUR_MS };
  const store = await clock.wait(openStore(options), 'opening', SECOND_MS);
  return { clock, disk, bench: { store, arena } };
}

test('latent faults are found within one cycle, dropped, put out of use, and heal; the rate is kept', async () => {
  const { clock, disk, bench } = await openScrubbed(61);
  const { store } = bench;
  const count = (key: 'scrubbedBytes' | 'scrubCycles'): number => store.metrics.value(key);
  const manifests = [];
  for (let number = 0; number < 12; number += 1) {
    manifests.push(await clock.wait(storeObject(bench, `object-${number}`, 4 * SLICE_BYTES), 'storing', 60 * SECOND_MS));
  }
  emptyResident(bench.arena);
  const storedBytes = store.usage.usedBytes;
  // A flipped bit in one extent, and a sector of another one that cannot be read.
  const random = new SeededRandom(610);
  const used = (at: number): boolean => disk.peek(at, 4 * KIB).some((byte) => byte !== 0);
  const places = Array.from(
    { length: 40 },
    () => GROUPS.startBytes + 4 * KIB * random.integerBelow((GROUPS.endBytes - GROUPS.startBytes) / 4096),
  );
  const [rotten = 0, unreadable = 0] = places.filter(used);
  assert.ok(Math.abs(rotten - unreadable) > 256 * KIB, 'they are in two extents');
  disk.flipBit(rotten + 2000, 3);
  disk.addFault({ operation: 'read', effect: { kind: 'error', errno: 'EIO' }, startBytes: unreadable, endBytes: unreadable + 512 });
  const cyclesBefore = count('scrubCycles');
  const ratePerMs = storedBytes / HOUR_MS;
  while (count('scrubCycles') < cyclesBefore + 2) {
    const before = count('scrubbedBytes');
    await clock.wait(clock.sleep(60 * SECOND_MS), 'time', 120 * SECOND_MS);
    const inMinute = count('scrubbedBytes') - before;
    assert.ok(inMinute <= 60 * SECOND_MS * ratePerMs * 1.1 + 2 * (SLICE_BYTES + 8 * KIB), `${inMinute} bytes in a minute`);
    assert.ok(clock.monotonicMs() < 4 * HOUR_MS, 'two cycles end in time');
  }
  assert.equal(store.metrics.value('scrubbed', 'lost'), 2);
  assert.deepEqual([store.faults.corrupt, store.faults.media], [1, 2]);
  assert.equal(store.state, 'online');
  assert.ok(store.metrics.value('badBlocks') > 0);
  assert.equal(store.findContradiction(), undefined);
  // No reader met either of them; what is missing is offered anew and is whole.
  assert.equal(store.metrics.value('reads', 'corrupt'), 0);
  let missing = 0;
  for (const manifest of manifests) {
    for (let number = 0; number < sliceCount(manifest); number += 1) {
      if (store.hasSlice(manifest.generation, number)) continue;
      missing += 1;
      store.offerManifest(manifest, store.purgeSequence);
      offerOne(bench, manifest, number);
    }
  }
  assert.ok(missing >= 1);
  await clock.wait(store.drain(), 'writing', SECOND_MS);
  for (const manifest of manifests) {
    for (let number = 0; number < sliceCount(manifest); number += 1) {
      assert.match(await clock.wait(readAndCheck(store, manifest, number), 'reading', SECOND_MS), /ram|device/);
    }
  }
  await clock.wait(store.close(), 'closing', SECOND_MS);
  assert.equal(bench.arena.leasedSlots, 0);
});

/** A scrubber over an index of `count` records, each `blocksApart` from the next; `lost` are those that do not prove themselves. */
function overIndex(count: number, blocksApart: number, lost: ReadonlySet<number>) {
  const clock = new VirtualClock();
  const index = new SliceIndex(1024);
  for (let number = 0; number < count; number += 1) {
    index.putSlice(1, number, { block: number * blocksApart, blocks: 1, writeSequence: number + 1, flags: 0 });
  }
  const allocator = new BlockAllocator({ firstBlock: 0, blockCount: count * blocksApart + 1, groupBlocks: 1024, badRunsMax: 32 });
  const checked: number[] = [];
  const state = { isBusy: false, isOpen: true };
  const metrics = new MetricSet(STORE_METRICS);
  const scrubber = new Scrubber({
    clock,
    catalogue: { index, allocator },
    reader: {
      check: async (slot) => {
        const number = index.sliceNumber(slot);
        checked.push(number);
        if (!lost.has(number)) return 'sound';
        index.removeSlice(slot);
        return 'lost';
      },
    },
    metrics,
    blockSizeBytes: 4096,
    periodMs: HOUR_MS,
    isOpen: () => state.isOpen,
    isBusy: () => state.isBusy,
  });
  const pass = (ms: number): Promise<void> => clock.wait(clock.sleep(ms), 'time', ms + 1);
  return { clock, scrubber, checked, state, metrics, pass };
}

test('after a find the neighbours are next, wherever the walk was', async () => {
  const lost = new Set<number>();
  const { clock, scrubber, checked, pass } = overIndex(100, 500, lost);
  await pass(50);
  const first = clock.wallMs() % 100;
  assert.equal(first, 50);
  lost.add(first);
  scrubber.start();
  await pass(HOUR_MS);
  // 2,048 blocks to either side are four records, the nearest come first; then the walk goes on where it was.
  const distances = checked.map((number) => number - first);
  assert.equal(distances[0], 0);
  assert.deepEqual(distances.slice(1, 9).map(Math.abs), [1, 1, 2, 2, 3, 3, 4, 4]);
  assert.deepEqual(distances.slice(9, 12), [1, 2, 3]);
  await scrubber.stop();
});

test('it stands back while others use the device, but not for ever, and rests while the device may not be read', async () => {
  const { scrubber, checked, state, metrics, pass } = overIndex(10, 1, new Set());
  state.isBusy = true;
  scrubber.start();
  await pass(9 * SECOND_MS);
  assert.equal(checked.length, 0);
  assert.ok(metrics.value('scrubYields') > 80);
  await pass(2 * SECOND_MS);
  assert.equal(checked.length, 1);
  state.isOpen = false;
  state.isBusy = false;
  await pass(2 * HOUR_MS);
  assert.ok(checked.length <= 2);
  state.isOpen = true;
  await pass(2 * HOUR_MS);
  assert.equal(new Set(checked).size, 10);
  await scrubber.stop();
});
