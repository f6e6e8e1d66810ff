/** The trimmer: the device hears of all room that stays free, once, and nothing that is stored is ever touched. On virtual time. */
import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { must } from '../../src/base/assert.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { MetricSet } from '../../src/base/metrics.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB, SECOND_MS } from '../../src/base/units.ts';
import type { DiscardOutcome } from '../../src/device/block-device.ts';
import { openDirectDevice } from '../../src/device/direct-device.ts';
import type { Manifest } from '../../src/format/manifest.ts';
import { Arena } from '../../src/memory/arena.ts';
import { type DeviceStore, openStore } from '../../src/store/device-store.ts';
import { BlockAllocator } from '../../src/store/index/block-allocator.ts';
import { Trimmer } from '../../src/store/index/trimmer.ts';
import { STORE_METRICS } from '../../src/store/store-metrics.ts';
import { emptyResident } from '../contract/slice-store.ts';
import { eventually } from '../helpers/eventually.ts';
import { hasTool } from '../helpers/loop-device.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { VirtualClock } from '../simulation/virtual-clock.ts';
import { formatTiny, makeManifest, offerOne, readAndCheck, SLICE_BYTES, sliceCount, tinyParameters } from './store-bench.ts';

const ROUND_MS = 60 * SECOND_MS;
const CAPACITY_BYTES = 16 * MIB;

interface Told {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** A store that trims, on a disk that takes its time over everything. */
async function openTrimmed(seed: number) {
  const clock = new VirtualClock();
  const random = new SeededRandom(seed);
  const disk = new SimulatedDisk({
    capacityBytes: CAPACITY_BYTES,
    random: new SeededRandom(seed + 1),
    delay: () => clock.sleep(random.integerBelow(20)),
  });
  const blank = disk.open();
  await clock.wait(formatTiny(blank, tinyParameters({ entryCount: 1024 }), seed), 'formatting', 600 * SECOND_MS);
  await blank.close();
  const device = disk.open();
  const told: Told[] = [];
  const answer: { outcome: DiscardOutcome; hold: Promise<void> | undefined } = { outcome: 'done', hold: undefined };
  device.discard = async (offsetBytes, lengthBytes) => {
    told.push({ offsetBytes, lengthBytes });
    // Long, so that much is written meanwhile.
    await (answer.hold ?? clock.sleep(random.integerBelow(20 * SECOND_MS)));
    if (answer.outcome === 'done') disk.performDiscard(offsetBytes, lengthBytes);
    return answer.outcome;
  };
  const arena = new Arena({ sizeBytes: 8 * MIB, clock });
  const store = await clock.wait(openStore({ device, arena, clock, logger: createSilentLogger(), trims: true }), 'opening', 60 * SECOND_MS);
  const pass = (ms: number): Promise<void> => clock.wait(clock.sleep(ms), 'time', ms + 1);
  return { clock, random, told, answer, pass, bench: { store, arena } };
}

/** Until `count` more rounds are over. */
async function passRounds(store: DeviceStore, pass: (ms: number) => Promise<void>, count: number): Promise<void> {
  const end = store.metrics.value('trimRounds') + count;
  while (store.metrics.value('trimRounds') < end) await pass(SECOND_MS);
}

function sumBytes(told: readonly Told[]): number {
  return told.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
}

async function closeAll({ clock, bench }: Pick<Awaited<ReturnType<typeof openTrimmed>>, 'clock' | 'bench'>): Promise<void> {
  await clock.wait(bench.store.close(), 'closing', 60 * SECOND_MS);
  emptyResident(bench.arena);
  assert.equal(bench.arena.leasedSlots, 0);
}

for (const seed of [7001, 7002, 7003]) {
  test(`nothing stored is lost to it, whatever comes and goes meanwhile (seed ${seed})`, async () => {
    const bed = await openTrimmed(seed);
    const { clock, random, told, pass, bench } = bed;
    const { store } = bench;
    const kept = new Map<string, Manifest>();
    for (let turn = 0; turn < 240; turn += 1) {
      const keyText = `o-${random.integerBelow(200)}`;
      // Times in which it fills up, and times in which it is emptied and little comes.
      const choice = turn % 60 === 44 ? 9 : random.integerBelow(turn % 60 < 44 ? 9 : 20);
      if (choice < 8) {
        const manifest = makeManifest(keyText, store.nextGeneration(), 1 + random.integerBelow(16 * SLICE_BYTES));
        kept.set(keyText, manifest);
        store.offerManifest(manifest, store.purgeSequence);
        for (let number = 0; number < sliceCount(manifest); number += 1) offerOne(bench, manifest, number);
        if (random.integerBelow(8) > 0) await clock.wait(store.drain(), 'writing', 60 * SECOND_MS);
      } else if (choice < 9) {
        const target = { kind: 'object', objectHash: makeManifest(keyText, 1, 1).objectHash } as const;
        await clock.wait(store.purge(target), 'purging', 60 * SECOND_MS);
      } else if (choice === 9) {
        await clock.wait(store.purge({ kind: 'everything' }), 'purging', 60 * SECOND_MS);
      } else await pass(random.integerBelow(2 * ROUND_MS));
      assert.equal(store.findContradiction(), undefined, `turn ${turn}`);
      if (turn % 8 !== 7) continue;
      await clock.wait(store.drain(), 'writing', 60 * SECOND_MS);
      emptyResident(bench.arena);
      for (const manifest of kept.values()) {
        for (let number = 0; number < sliceCount(manifest); number += 1) {
          const isStored = store.hasSlice(manifest.generation, number);
          const verdict = await clock.wait(readAndCheck(store, manifest, number), 'reading', 60 * SECOND_MS);
          if (isStored) assert.match(verdict, /ram|device/, `${manifest.keyText}/${number} at turn ${turn}`);
        }
      }
    }
    assert.ok(store.metrics.value('evicted', 'blocks') > 0, 'the device was full at times');
    assert.ok(told.length >= 20, `${told.length} discards`);
    assert.deepEqual([store.metrics.value('reads', 'corrupt'), store.faults.corrupt, store.state], [0, 0, 'online']);
    await closeAll(bed);
  });
}

test('what is lent is written by nobody, however full the device gets meanwhile', async () => {
  const bed = await openTrimmed(7005);
  const { clock, told, answer, pass, bench } = bed;
  const { store } = bench;
  const hold = Promise.withResolvers<void>();
  answer.hold = hold.promise;
  await passRounds(store, pass, 1);
  while (told.length === 0) await pass(SECOND_MS);
  const manifests: Manifest[] = [];
  while (store.metrics.value('evicted', 'blocks') < 20) {
    const manifest = makeManifest(`o-${manifests.length}`, store.nextGeneration(), 4 * SLICE_BYTES);
    manifests.push(manifest);
    store.offerManifest(manifest, store.purgeSequence);
    for (let number = 0; number < 4; number += 1) offerOne(bench, manifest, number);
    await clock.wait(store.drain(), 'writing', 60 * SECOND_MS);
  }
  assert.equal(told.length, 1);
  assert.equal(store.findContradiction(), undefined);
  hold.resolve();
  await pass(SECOND_MS);
  emptyResident(bench.arena);
  let hits = 0;
  for (const manifest of manifests) {
    for (let number = 0; number < 4; number += 1) {
      if (!store.hasSlice(manifest.generation, number)) continue;
      assert.equal(await clock.wait(readAndCheck(store, manifest, number), 'reading', 60 * SECOND_MS), 'device');
      hits += 1;
    }
  }
  assert.ok(hits > 100, `${hits} slices`);
  assert.equal(store.findContradiction(), undefined);
  await closeAll(bed);
});

test('free room is told of once, and again when it was used', async () => {
  const bed = await openTrimmed(7010);
  const { clock, told, pass, bench } = bed;
  const { store } = bench;
  await pass(ROUND_MS - SECOND_MS);
  assert.deepEqual(told, [], 'nothing is told of before it was free for a round');
  await passRounds(store, pass, 4);
  const { freeBytes } = store.usage;
  assert.equal(sumBytes(told), freeBytes);
  for (const { lengthBytes } of told) assert.ok(lengthBytes <= freeBytes / 4, 'the rest is there for writes');
  const count = told.length;
  await passRounds(store, pass, 4);
  assert.equal(told.length, count);
  const manifest = makeManifest('x', store.nextGeneration(), 32 * SLICE_BYTES);
  store.offerManifest(manifest, store.purgeSequence);
  for (let number = 0; number < sliceCount(manifest); number += 1) offerOne(bench, manifest, number);
  await clock.wait(store.drain(), 'writing', 60 * SECOND_MS);
  await passRounds(store, pass, 4);
  const beside = sumBytes(told.slice(count));
  assert.ok(beside < 2 * MIB, 'only the rest of a granule that was begun could be told of, and it is not free as a whole');
  await clock.wait(store.purge({ kind: 'everything' }), 'purging', 60 * SECOND_MS);
  await clock.wait(store.walked(), 'walking', 60 * SECOND_MS);
  await passRounds(store, pass, 4);
  const again = sumBytes(told.slice(count));
  assert.ok(again >= 2 * MIB && again <= 6 * MIB, `${again} bytes were told of again`);
  assert.equal(store.usage.freeBytes, freeBytes);
  await closeAll(bed);
});

test('a device that is busy is asked later, and one that is unable never again', async () => {
  const bed = await openTrimmed(7020);
  const { told, answer, pass, bench } = bed;
  const { store } = bench;
  answer.outcome = 'busy';
  await passRounds(store, pass, 5);
  const { freeBytes } = store.usage;
  assert.ok(sumBytes(told) >= 2 * freeBytes, 'it is asked for the same again');
  answer.outcome = 'unable';
  const count = told.length;
  await pass(4 * ROUND_MS);
  assert.equal(told.length, count + 1);
  assert.deepEqual([store.usage.freeBytes, store.findContradiction(), store.state], [freeBytes, undefined, 'online']);
  await closeAll(bed);
});

test('nobody is asked while others use the device, or while it may not be written', async () => {
  const clock = new VirtualClock();
  const allocator = new BlockAllocator({ firstBlock: 8, blockCount: 5000, groupBlocks: 1000, badRunsMax: 8 });
  const state = { isBusy: true, isOpen: true };
  let discards = 0;
  const trimmer = new Trimmer({
    clock,
    allocator,
    metrics: new MetricSet(STORE_METRICS),
    device: {
      discard: async () => {
        discards += 1;
        return 'done';
      },
    },
    blockSizeBytes: 4 * KIB,
    isOpen: () => state.isOpen,
    isBusy: () => state.isBusy,
  });
  trimmer.start();
  const pass = (ms: number): Promise<void> => clock.wait(clock.sleep(ms), 'time', ms + 1);
  await pass(4 * ROUND_MS);
  assert.equal(discards, 0);
  state.isBusy = false;
  state.isOpen = false;
  await pass(4 * ROUND_MS);
  assert.equal(discards, 0);
  state.isOpen = true;
  await pass(4 * ROUND_MS);
  // Five groups of three whole granules and a shorter one, four granules at a time at most.
  assert.ok(discards >= 5, `${discards} discards`);
  assert.equal(allocator.freeBlocks, 5000);
  trimmer.stop();
});

test('a file gives back the room of what is free, and keeps what is not', { skip: !hasTool('fallocate') }, async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'rawslice-trim-'));
  try {
    const file = path.join(folder, 'device');
    const sizeBytes = 32 * MIB;
    await writeFile(file, '');
    await truncate(file, sizeBytes);
    const realClock = new SystemClock();
    const arena = new Arena({ sizeBytes: 8 * MIB, clock: realClock });
    const device = await openDirectDevice({ path: file, access: 'read-write', arena, clock: realClock, logger: createSilentLogger() });
    const lease = must(arena.tryLease('fill', 4 * MIB), 'a slot');
    lease.bytes.fill(0x5c);
    for (let at = 0; at < sizeBytes; at += 4 * MIB) await device.write([lease.bytes], at);
    await device.flush();
    const roomBefore = statSync(file).blocks * 512;
    // The first MiB is not the allocator's; a record lies in the second granule of every fourth.
    const allocator = new BlockAllocator({ firstBlock: 256, blockCount: 31 * 256, groupBlocks: 8 * 256, badRunsMax: 8 });
    const stored = [1, 5, 9, 13].map((granule) => ({ block: 256 + granule * 256 + 100, blocks: 7 }));
    for (const { block, blocks } of stored) assert.ok(allocator.tryClaim(block, blocks, 'small'));
    const clock = new VirtualClock();
    const metrics = new MetricSet(STORE_METRICS);
    const always = { isOpen: () => true, isBusy: () => false };
    const trimmer = new Trimmer({ clock, allocator, metrics, device, blockSizeBytes: 4 * KIB, ...always });
    trimmer.start();
    const expectedBytes = (31 - stored.length) * MIB;
    await eventually(async () => {
      await clock.step();
      return device.metrics.value('discardedBytes') >= expectedBytes;
    });
    // A file with holes may need a block more for the list of its extents.
    const givenBytes = roomBefore - statSync(file).blocks * 512;
    assert.ok(givenBytes <= expectedBytes && givenBytes > expectedBytes - 64 * KIB, `${givenBytes} of ${expectedBytes} bytes`);
    for (const { block, blocks } of [{ block: 0, blocks: 256 }, ...stored]) {
      lease.bytes.fill(0);
      await device.read([lease.bytes.subarray(0, blocks * 4 * KIB)], block * 4 * KIB);
      assert.ok(lease.bytes.subarray(0, blocks * 4 * KIB).every((byte) => byte === 0x5c));
    }
    trimmer.stop();
    await device.close();
    lease.end();
  } finally {
    await rm(folder, { recursive: true });
  }
});
