/** The index from a scan of the device: what proves itself is found again, with its right bytes, and nothing that was purged comes back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../../src/base/random.ts';
import { KIB, MIB } from '../../../src/base/units.ts';
import type { Manifest } from '../../../src/format/manifest.ts';
import { Arena } from '../../../src/memory/arena.ts';
import { checkDevice } from '../../../src/store/check/check-device.ts';
import { type RebuildReport, rebuildIndex } from '../../../src/store/check/rebuild-index.ts';
import { viewDevice } from '../../../src/store/inspect-device.ts';
import { SimulatedDisk } from '../../simulation/simulated-device.ts';
import {
  assertNoLeases,
  type Bench,
  clock,
  formatTiny,
  hashOf,
  makeManifest,
  openBench,
  readAndCheck,
  SLICE_BYTES,
  sliceCount,
  storeObject,
  tinyParameters,
} from '../store-bench.ts';

const CAPACITY_BYTES = 6 * MIB;
const BLOCK = 4 * KIB;
const LENGTH_BYTES = SLICE_BYTES + 1000;

async function makeDisk(seed: number, entryCount = 512): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk({ capacityBytes: CAPACITY_BYTES, random: new SeededRandom(seed) });
  const device = disk.open();
  await formatTiny(device, tinyParameters({ entryCount }), seed);
  await device.close();
  return disk;
}

async function geometryOf(disk: SimulatedDisk): Promise<Awaited<ReturnType<typeof viewDevice>>['root']['format']['geometry']> {
  const device = disk.open('read-only');
  const view = await viewDevice(device, new Arena({ sizeBytes: 4 * MIB, clock }));
  await device.close();
  return view.root.format.geometry;
}

/** Both checkpoints become zero. */
async function loseCheckpoints(disk: SimulatedDisk): Promise<void> {
  const { checkpointOffsets, checkpointBytes } = await geometryOf(disk);
  for (const offset of checkpointOffsets) disk.poke(offset, new Uint8Array(checkpointBytes));
}

async function rebuild(disk: SimulatedDisk): Promise<RebuildReport> {
  const device = disk.open();
  const arena = new Arena({ sizeBytes: 8 * MIB, clock });
  const report = await rebuildIndex({ device, arena, clock }, {});
  assertNoLeases(arena);
  const { check } = await checkDevice({ device, arena }, { level: 'deep', isInUse: false });
  assert.deepEqual(check.notes, []);
  await device.close();
  return report;
}

/** What a store on the disk has of the objects: their slices in all. Wrong bytes fail. */
async function countSlices(disk: SimulatedDisk, manifests: readonly Manifest[]): Promise<readonly number[]> {
  const bench = await openBench(disk.open());
  const counts: number[] = [];
  for (const manifest of manifests) {
    const verdict = await bench.store.readManifest(manifest.objectHash);
    let count = 0;
    if (verdict.kind === 'hit' && verdict.manifest.generation === manifest.generation) {
      for (let number = 0; number < sliceCount(manifest); number += 1)
        if (['ram', 'device'].includes(await readAndCheck(bench.store, manifest, number))) count += 1;
    }
    counts.push(count);
  }
  assert.equal(bench.store.findContradiction(), undefined);
  await bench.store.close();
  return counts;
}

async function fill(disk: SimulatedDisk, act: (bench: Bench) => Promise<void>, end: 'close' | 'crash' = 'close'): Promise<void> {
  const bench = await openBench(disk.open());
  await act(bench);
  await bench.store.drain();
  if (end === 'crash') disk.crash(new SeededRandom(1), 'all');
  await bench.store.close();
}

function purge(bench: Bench, keyText: string): Promise<unknown> {
  return bench.store.purge({ kind: 'object', objectHash: hashOf(keyText) });
}

test('lost checkpoints: everything is found again, and is stale', async () => {
  const disk = await makeDisk(1);
  const manifests: Manifest[] = [];
  await fill(disk, async (bench) => {
    for (let number = 0; number < 8; number += 1) manifests.push(await storeObject(bench, `site/${number}`, LENGTH_BYTES));
  });
  await loseCheckpoints(disk);
  // The journal of a device that was closed in order starts behind its end.
  assert.deepEqual(
    await countSlices(disk, manifests),
    manifests.map(() => 0),
  );
  await loseCheckpoints(disk);
  const report = await rebuild(disk);
  assert.deepEqual([report.objects, report.slices, report.recovered, report.purged, report.refusal], [8, 16, 24, 0, undefined]);
  const bench = await openBench(disk.open());
  const verdict = await bench.store.readManifest(hashOf('site/3'));
  assert.ok(verdict.kind === 'hit');
  assert.deepEqual([verdict.manifest.freshUntilMs, verdict.manifest.receivedAtMs], [0, manifests[3]?.receivedAtMs]);
  assert.ok(bench.store.nextGeneration() > Math.max(...manifests.map(({ generation }) => generation)));
  await bench.store.close();
  assert.deepEqual(
    await countSlices(disk, manifests),
    manifests.map(() => 2),
  );
});

test('what the index knows stays as it is', async () => {
  const disk = await makeDisk(2);
  const manifests: Manifest[] = [];
  await fill(disk, async (bench) => {
    for (let number = 0; number < 4; number += 1) manifests.push(await storeObject(bench, `site/${number}`, LENGTH_BYTES));
  });
  const report = await rebuild(disk);
  assert.deepEqual([report.objects, report.recovered], [4, 0]);
  const bench = await openBench(disk.open());
  const verdict = await bench.store.readManifest(hashOf('site/0'));
  assert.ok(verdict.kind === 'hit');
  assert.deepEqual(verdict.manifest, manifests[0]);
  await bench.store.close();
});

test('a purged object does not come back, the others do', async () => {
  const disk = await makeDisk(3);
  const manifests: Manifest[] = [];
  await fill(disk, async (bench) => {
    for (let number = 0; number < 4; number += 1) manifests.push(await storeObject(bench, `site/${number}`, LENGTH_BYTES));
    manifests.push(await storeObject(bench, 'site/later', LENGTH_BYTES));
    await purge(bench, 'site/1');
  });
  await loseCheckpoints(disk);
  const report = await rebuild(disk);
  assert.equal(report.purged, 3);
  assert.deepEqual(await countSlices(disk, manifests), [2, 0, 2, 2, 2]);
});

test('an object that was purged and stored again has its new generation', async () => {
  const disk = await makeDisk(4);
  const manifests: Manifest[] = [];
  await fill(disk, async (bench) => {
    manifests.push(await storeObject(bench, 'site/0', LENGTH_BYTES));
    await purge(bench, 'site/0');
    manifests.push(await storeObject(bench, 'site/0', LENGTH_BYTES));
    manifests.push(await storeObject(bench, 'site/1', LENGTH_BYTES));
    // A new version without a purge: the newer one wins.
    manifests.push(await storeObject(bench, 'site/1', LENGTH_BYTES));
  });
  await loseCheckpoints(disk);
  await rebuild(disk);
  assert.deepEqual(await countSlices(disk, manifests), [0, 2, 0, 2]);
});

test('where only the number of a purge is left, what was written before it is left out', async () => {
  const disk = await makeDisk(5);
  const manifests: Manifest[] = [];
  await fill(disk, async (bench) => {
    for (let number = 0; number < 3; number += 1) manifests.push(await storeObject(bench, `site/${number}`, LENGTH_BYTES));
    await purge(bench, 'site/1');
    manifests.push(await storeObject(bench, 'site/later', LENGTH_BYTES));
  });
  await loseCheckpoints(disk);
  const { journalOffset, journalBytes } = await geometryOf(disk);
  disk.poke(journalOffset, new Uint8Array(journalBytes));
  const report = await rebuild(disk);
  assert.deepEqual([report.objects, report.refusal], [1, undefined]);
  assert.deepEqual(await countSlices(disk, manifests), [0, 0, 0, 2]);
});

test('where the last purges may be missing altogether, only what the index knows is kept', async () => {
  const disk = await makeDisk(6);
  const manifests: Manifest[] = [];
  await fill(
    disk,
    async (bench) => {
      manifests.push(await storeObject(bench, 'site/0', LENGTH_BYTES));
      await bench.store.checkpoint();
      await bench.store.checkpoint();
      manifests.push(await storeObject(bench, 'site/1', LENGTH_BYTES));
      await purge(bench, 'site/0');
    },
    'crash',
  );
  const device = disk.open('read-only');
  const view = await viewDevice(device, new Arena({ sizeBytes: 4 * MIB, clock }));
  await device.close();
  const { journalOffset, journalBlocks } = view.root.format.geometry;
  // The block with the purge is the last.
  disk.flipBit(journalOffset + ((view.state.journal.nextSequence - 1) % journalBlocks) * BLOCK + 100, 2);
  await loseCheckpoints(disk);
  const report = await rebuild(disk);
  assert.match(report.refusal ?? '', /the end of the journal is damaged/);
  // The second stands in the journal before the damage; the first would have to come from the scan.
  assert.deepEqual(await countSlices(disk, manifests), [0, 2]);
});

test('more extents than entries: the newest are kept', async () => {
  const disk = await makeDisk(7, 64);
  const manifests: Manifest[] = [];
  await fill(disk, async (bench) => {
    for (let number = 0; number < 40; number += 1) manifests.push(await storeObject(bench, `site/${number}`, 10_000));
  });
  await loseCheckpoints(disk);
  const report = await rebuild(disk);
  assert.ok(report.superseded > 0 && 2 * report.objects + report.slices <= 64, JSON.stringify(report));
  const counts = await countSlices(disk, manifests);
  assert.equal(counts.at(-1), 1);
  assert.equal(counts[0], 0);
});

test('an aborted scan changes nothing', async () => {
  const disk = await makeDisk(8);
  await fill(disk, async (bench) => {
    await storeObject(bench, 'site/0', LENGTH_BYTES);
  });
  const before = disk.peek(0, CAPACITY_BYTES);
  const device = disk.open();
  const abort = new AbortController();
  abort.abort();
  await assert.rejects(rebuildIndex({ device, arena: new Arena({ sizeBytes: 8 * MIB, clock }), clock }, { signal: abort.signal }));
  assert.ok(disk.peek(0, CAPACITY_BYTES).equals(before));
  await device.close();
});

for (const seed of [101, 102, 103, 104, 105, 106]) {
  test(`whatever was stored and purged, and whatever was lost: no wrong byte, nothing purged (seed ${seed})`, async () => {
    const random = new SeededRandom(seed);
    const disk = await makeDisk(seed);
    const current = new Map<string, Manifest>();
    const dead: Manifest[] = [];
    const work = async (bench: Bench): Promise<void> => {
      for (let step = 0; step < 25; step += 1) {
        const keyText = `site/${random.integerBelow(12)}`;
        const known = current.get(keyText);
        const choice = random.integerBelow(10);
        if (choice < 6) {
          current.set(keyText, await storeObject(bench, keyText, 1 + random.integerBelow(2 * SLICE_BYTES)));
          if (known !== undefined) dead.push(known);
        } else if (choice < 9) {
          await purge(bench, keyText);
          current.delete(keyText);
          if (known !== undefined) dead.push(known);
        } else await bench.store.checkpoint();
      }
    };
    await fill(disk, work);
    await fill(disk, work, random.integerBelow(2) === 0 ? 'close' : 'crash');
    if (random.integerBelow(3) > 0) await loseCheckpoints(disk);
    const { journalOffset, journalBlocks, labelOffsets } = await geometryOf(disk);
    for (let harm = random.integerBelow(3); harm > 0; harm -= 1) {
      disk.poke(journalOffset + random.integerBelow(journalBlocks) * BLOCK, random.bytes(BLOCK));
      disk.poke((labelOffsets[random.integerBelow(4)] ?? 0) + (1 + random.integerBelow(7)) * BLOCK, random.bytes(BLOCK));
    }
    const report = await rebuild(disk);
    const purgedAgain = await countSlices(
      disk,
      dead.filter(({ keyText }) => !current.has(keyText)),
    );
    assert.ok(
      purgedAgain.every((count) => count === 0),
      `${JSON.stringify(report)}: ${purgedAgain}`,
    );
    await countSlices(disk, [...current.values()]);
  });
}

test('a manifest is found by its record alone', async () => {
  const disk = await makeDisk(9);
  await fill(disk, async (bench) => {
    const manifest = makeManifest('site/empty', bench.store.nextGeneration(), 0, { tags: ['t'] });
    bench.store.offerManifest(manifest, bench.store.purgeSequence);
    await bench.store.drain();
  });
  await loseCheckpoints(disk);
  assert.equal((await rebuild(disk)).objects, 1);
});
