/** Purges of the store on a device: checkpoints beside the walk, bounds, what damage costs, and devices that were away. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import type { Manifest } from '../../src/format/manifest.ts';
import { createStore } from '../../src/store/device-store.ts';
import { readRoot } from '../../src/store/recovery/root-area.ts';
import type { PurgeTarget } from '../../src/store/slice-store.ts';
import type { StoreLimits } from '../../src/store/store-limits.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { type Bench, clock, formatTiny, makeManifest, offerOne, openBench, readAndCheck, tinyParameters } from './store-bench.ts';

/** A walk that rests for ever after each record: what it has not reached stays in the index. */
const HELD_WALK: Partial<StoreLimits> = { purgeWalkReads: 1, purgeWalkPauseMs: 2 ** 30 };

async function makeDisk(seed: number, options: { capacityBytes?: number; entryCount?: number; journalBlocks?: number } = {}) {
  const disk = new SimulatedDisk({ capacityBytes: options.capacityBytes ?? 8 * MIB, random: new SeededRandom(seed) });
  const device = disk.open();
  await formatTiny(device, tinyParameters(options), seed);
  await device.close();
  return disk;
}

/** Stores an object of one slice for each tag. */
async function storeTagged(bench: Bench, tags: readonly string[]): Promise<Manifest[]> {
  const manifests = tags.map((tag, at) => makeManifest(`k/${at}`, bench.store.nextGeneration(), 100, { tags: [tag] }));
  for (const manifest of manifests) {
    assert.equal(bench.store.offerManifest(manifest, bench.store.purgeSequence).kind, 'admitted');
    assert.equal(offerOne(bench, manifest, 0)?.kind, 'admitted');
  }
  await bench.store.drain();
  return manifests;
}

async function isThere(bench: Bench, manifest: Manifest): Promise<boolean> {
  const verdict = await bench.store.readManifest(manifest.objectHash);
  const slice = await readAndCheck(bench.store, manifest, 0);
  assert.equal(verdict.kind === 'hit', slice !== 'absent', manifest.keyText);
  return verdict.kind === 'hit';
}

test('a checkpoint that began during the walk keeps the purge in force, hard and soft; one after it retires it', async () => {
  for (const isSoft of [false, true]) {
    const disk = await makeDisk(81);
    let bench = await openBench(disk.open());
    const manifests = await storeTagged(bench, ['red', 'red', 'red', 'blue']);
    await bench.store.close();
    bench = await openBench(disk.open(), { limits: HELD_WALK });
    await bench.store.purge({ kind: 'tag', tag: 'red' }, { isSoft });
    await bench.store.checkpoint();
    assert.equal(bench.store.metrics.value('purgeEpochs'), 1);
    assert.ok(bench.store.metrics.value('purgeWalkEntries') > 0);
    // The root names no purge in the journal any more: what is left of it is in the checkpoint.
    disk.crash(new SeededRandom(1), 'none');
    bench = await openBench(disk.open());
    assert.equal(bench.store.metrics.value('purgeEpochs'), 1);
    for (const manifest of manifests) {
      const verdict = await bench.store.readManifest(manifest.objectHash);
      const isRed = manifest.tags.includes('red');
      if (isSoft) assert.equal(verdict.kind === 'hit' && verdict.manifest.freshUntilMs <= manifest.freshUntilMs, true);
      else assert.equal(verdict.kind, isRed ? 'absent' : 'hit');
    }
    await bench.store.walked();
    assert.deepEqual([bench.store.metrics.value('purgeEpochs'), bench.store.metrics.value('purgeEpochsRetiring')], [0, 1]);
    await bench.store.checkpoint();
    assert.equal(bench.store.metrics.value('purgeEpochsRetiring'), 0);
    disk.crash(new SeededRandom(1), 'none');
    bench = await openBench(disk.open());
    assert.equal(bench.store.metrics.value('purgeEpochs'), 0);
    assert.deepEqual(await Promise.all(manifests.map((manifest) => isThere(bench, manifest))), [isSoft, isSoft, isSoft, true]);
    await bench.store.close();
  }
});

test('what was purged softly twice is stale since the first time, before a crash and after it', async () => {
  class SetClock extends SystemClock {
    nowMs = 0;
    override wallMs(): number {
      return this.nowMs;
    }
  }
  const setClock = new SetClock();
  for (const target of [{ kind: 'tag', tag: 'red' }, { kind: 'prefix', keyPrefix: 'k/' }, { kind: 'everything' }] as const) {
    const disk = await makeDisk(87);
    let bench = await openBench(disk.open());
    const [known, unknown] = await storeTagged(bench, ['red', 'red']);
    assert.ok(known !== undefined && unknown !== undefined);
    await bench.store.close();
    bench = await openBench(disk.open(), { limits: HELD_WALK, clock: setClock });
    const firstMs = known.receivedAtMs + 1000;
    for (const atMs of [firstMs, firstMs + 1000]) {
      setClock.nowMs = atMs;
      await bench.store.purge(target, { isSoft: true });
    }
    const freshUntilMs = async ({ objectHash }: Manifest): Promise<unknown> => {
      const verdict = await bench.store.readManifest(objectHash);
      return verdict.kind === 'hit' ? verdict.manifest.freshUntilMs : verdict.kind;
    };
    assert.equal(await freshUntilMs(known), firstMs, target.kind);
    disk.crash(new SeededRandom(1), 'none');
    bench = await openBench(disk.open(), { clock: setClock });
    assert.deepEqual([await freshUntilMs(known), await freshUntilMs(unknown)], [firstMs, firstMs], target.kind);
    await bench.store.close();
  }
});

test('a checkpoint that began during the walk after a purge of everything brings nothing back', async () => {
  const disk = await makeDisk(82, { capacityBytes: 32 * MIB, entryCount: 6144, journalBlocks: 256 });
  let bench = await openBench(disk.open(), { limits: { queueSlices: 4096 } });
  const manifests: Manifest[] = [];
  for (let count = 0; count < 2400; count += 1) {
    const manifest = makeManifest(`k/${count}`, bench.store.nextGeneration(), 0);
    bench.store.offerManifest(manifest, bench.store.purgeSequence);
    manifests.push(manifest);
  }
  await bench.store.drain();
  await bench.store.purge({ kind: 'everything' });
  // The simulated device needs no turn of the event loop, the walk one for each 2,048 entries.
  assert.ok(bench.store.metrics.value('purgeWalkEntries') > 0);
  await bench.store.checkpoint();
  disk.crash(new SeededRandom(1), 'none');
  bench = await openBench(disk.open());
  assert.ok(bench.store.usage.entries <= 1);
  for (const manifest of manifests) assert.equal(bench.store.findManifest(manifest.objectHash), undefined, manifest.keyText);
  await bench.store.close();
});

test('more purges by tag than a checkpoint holds are refused until a walk and a checkpoint have made room', async () => {
  const disk = await makeDisk(83, { entryCount: 64 });
  let bench = await openBench(disk.open());
  const [red] = await storeTagged(bench, ['red']);
  const { purgesMax } = bench.store.geometry;
  await bench.store.close();
  bench = await openBench(disk.open(), { limits: HELD_WALK });
  for (let count = 0; count < purgesMax; count += 1) await bench.store.purge({ kind: 'tag', tag: `t${count}` });
  await bench.store.purge({ kind: 'tag', tag: 't0' });
  await assert.rejects(bench.store.purge({ kind: 'tag', tag: 'red' }), { code: 'STORE_UNAVAILABLE', message: /purge again in a moment/ });
  assert.equal(bench.store.metrics.value('purgesRefused', 'full'), 1);
  assert.ok(red !== undefined && (await isThere(bench, red)), 'nothing was done');
  await bench.store.purge({ kind: 'object', objectHash: makeManifest('other', 1, 1).objectHash });
  await bench.store.close();
  bench = await openBench(disk.open());
  assert.equal(bench.store.metrics.value('purgeEpochs'), purgesMax);
  await bench.store.walked();
  assert.equal(bench.store.metrics.value('purgeEpochsRetiring'), purgesMax);
  await bench.store.purge({ kind: 'tag', tag: 'red' });
  assert.equal(await isThere(bench, red), false);
  await bench.store.close();
});

test('a damaged part that may hold purges gives way to the checkpoint before it; without one everything is forgotten', async () => {
  for (const hasPrevious of [true, false]) {
    const disk = await makeDisk(84);
    let bench = await openBench(disk.open());
    const manifests = await storeTagged(bench, ['red', 'blue']);
    await bench.store.checkpoint();
    if (!hasPrevious) {
      await bench.store.checkpoint();
      await bench.store.checkpoint();
    }
    await bench.store.close();
    bench = await openBench(disk.open(), { limits: HELD_WALK });
    await bench.store.purge({ kind: 'tag', tag: 'red' });
    await bench.store.checkpoint();
    disk.crash(new SeededRandom(1), 'none');
    const device = disk.open();
    const zeros = bench.arena.tryLease('staging', 4 * KIB);
    assert.ok(zeros !== undefined);
    zeros.bytes.fill(0);
    const { superblock, format } = await readRoot(device, bench.arena);
    for (const { zone } of hasPrevious ? [superblock.checkpoint] : [superblock.checkpoint, superblock.previous]) {
      await device.write([zeros.bytes.subarray(0, 4 * KIB)], format.geometry.checkpointOffsets[zone] ?? 0);
    }
    await device.flush();
    await device.close();
    zeros.end();
    bench = await openBench(disk.open());
    assert.equal(await isThere(bench, manifests[0]!), false);
    assert.equal(await isThere(bench, manifests[1]!), hasPrevious);
    assert.equal(bench.store.findContradiction(), undefined);
    await bench.store.close();
  }
});

test('an object that nobody asks for is dropped by the walk, and its blocks are free', async () => {
  const disk = await makeDisk(85);
  let bench = await openBench(disk.open());
  const usedBytes = bench.store.usage.usedBytes;
  await storeTagged(bench, ['red', 'red']);
  await bench.store.close();
  bench = await openBench(disk.open());
  const { sequence } = await bench.store.purge({ kind: 'prefix', keyPrefix: 'k/' });
  await bench.store.walked();
  assert.deepEqual(bench.store.purgeProgress(sequence), { objects: 2, isDone: true });
  assert.equal(bench.store.usage.usedBytes, usedBytes);
  assert.equal(bench.store.metrics.value('purgedObjects', 'walk'), 2);
  assert.equal(bench.store.metrics.value('purgeWalks'), 1);
  await bench.store.close();
});

test('purges while the index is loading hold from the first read on and are durable', async () => {
  const targets: readonly PurgeTarget[] = [
    { kind: 'object', objectHash: makeManifest('k/0', 1, 1).objectHash },
    { kind: 'prefix', keyPrefix: 'k/0' },
    { kind: 'tag', tag: 'red' },
    { kind: 'tag', tag: 'red', keyPrefix: 'k/' },
    { kind: 'everything' },
  ];
  for (const target of targets) {
    const disk = await makeDisk(86);
    let bench = await openBench(disk.open());
    const [covered, other] = await storeTagged(bench, ['red', 'blue']);
    assert.ok(covered !== undefined && other !== undefined);
    await bench.store.close();
    const store = await createStore({ arena: bench.arena, clock, logger: createSilentLogger(), device: disk.open() });
    const recovering = store.recover();
    await assert.rejects(store.purge(target), { code: 'STORE_UNAVAILABLE' });
    await recovering;
    bench = { store, arena: bench.arena };
    assert.equal(store.findManifest(covered.objectHash), undefined);
    assert.equal(await isThere(bench, covered), false, target.kind);
    assert.equal(await isThere(bench, other), target.kind !== 'everything', target.kind);
    disk.crash(new SeededRandom(1), 'none');
    bench = await openBench(disk.open());
    assert.equal(await isThere(bench, covered), false, target.kind);
    assert.equal(await isThere(bench, other), target.kind !== 'everything', target.kind);
    await bench.store.close();
  }
});

test('a device that was away is told what it missed, or forgets everything', async () => {
  const [near, away] = [await makeDisk(87), await makeDisk(87)];
  for (const isKnown of [true, false]) {
    const away1 = await openBench(away.open());
    const manifests = await storeTagged(away1, ['red', 'blue']);
    const since = away1.store.durablePurgeSequence;
    let other = await openBench(near.open());
    for (let round = 0; round < (isKnown ? 1 : other.store.geometry.purgesMax + 1); round += 1) {
      const sequence = Math.max(since, other.store.purgeSequence) + 1;
      await other.store.purge({ kind: 'tag', tag: 'red' }, { sequence, generation: away1.store.nextGeneration() });
    }
    await other.store.close();
    await away1.store.close();
    other = await openBench(near.open());
    const purges = other.store.purgesSince(since);
    assert.equal(purges === 'unknown', !isKnown);
    const store = await createStore({ arena: away1.arena, clock, logger: createSilentLogger(), device: away.open() });
    await store.recover({ newestSequence: other.store.purgeSequence, purges });
    const back: Bench = { store, arena: away1.arena };
    assert.equal(store.purgeSequence, other.store.purgeSequence);
    assert.equal(store.durablePurgeSequence, other.store.purgeSequence);
    assert.deepEqual([await isThere(back, manifests[0]!), await isThere(back, manifests[1]!)], [false, isKnown]);
    away.crash(new SeededRandom(1), 'none');
    const again = await openBench(away.open());
    assert.deepEqual([await isThere(again, manifests[0]!), await isThere(again, manifests[1]!)], [false, isKnown]);
    await again.store.close();
    await other.store.close();
  }
});
