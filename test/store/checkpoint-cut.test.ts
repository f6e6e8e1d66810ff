/** A checkpoint of several parts that is cut off at any of its writes, and starts that are cut off while it is loaded and asked: nothing else is ever seen. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSilentLogger } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import { CONTENTS_MAGIC } from '../../src/format/checkpoint-contents.ts';
import { CHECKPOINT_PART_ENTRIES } from '../../src/format/geometry.ts';
import type { Manifest } from '../../src/format/manifest.ts';
import { Arena } from '../../src/memory/arena.ts';
import { createStore, type DeviceStore } from '../../src/store/device-store.ts';
import { contentsOffset } from '../../src/store/recovery/checkpoint.ts';
import { type CrashKeeps, type DiskSnapshot, SimulatedDisk } from '../simulation/simulated-device.ts';
import {
  assertNoLeases,
  type Bench,
  clock,
  formatTiny,
  hashOf,
  makeManifest,
  offerOne,
  openBench,
  readAndCheck,
  tinyParameters,
} from './store-bench.ts';

const CAPACITY_BYTES = 32 * MIB;
/** Each takes an entry; their slices ride in their records. More than two parts hold. */
const OBJECTS = 2 * CHECKPOINT_PART_ENTRIES + 100;
const OBJECT_BYTES = 700;
const FAR_MS = 4_000_000_000_000;
const KEEPS: readonly CrashKeeps[] = ['any', 'all', 'none', 'newest'];

/** What is stored, durably, by key; whatever else is answered is a lie. */
type Stored = Map<string, Manifest>;

/** Power that fails at the operation of this number from now on. */
interface Cut {
  left: number | undefined;
  readonly operations: readonly string[];
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function put(bench: Bench, stored: Stored, key: string): Promise<void> {
  const manifest = makeManifest(key, bench.store.nextGeneration(), OBJECT_BYTES, { freshUntilMs: FAR_MS });
  if (stored.size % 64 === 0) await bench.store.drain();
  assert.equal(bench.store.offerManifest(manifest, bench.store.purgeSequence).kind, 'admitted');
  assert.equal(offerOne(bench, manifest, 0)?.kind, 'admitted');
  stored.set(key, manifest);
}

/** Objects of before a checkpoint; then some are replaced, some are purged, and the power fails. */
async function makeDisk(): Promise<{ readonly snapshot: DiskSnapshot; readonly stored: Stored; readonly keys: readonly string[] }> {
  const disk = new SimulatedDisk({ capacityBytes: CAPACITY_BYTES, random: new SeededRandom(64) });
  const device = disk.open();
  await formatTiny(device, tinyParameters({ journalBlocks: 256, entryCount: 5 * CHECKPOINT_PART_ENTRIES }), 64);
  await device.close();
  const bench = await openBench(disk.open());
  const stored: Stored = new Map();
  const keys = Array.from({ length: OBJECTS }, (_, number) => `site/${number}`);
  for (const key of keys) await put(bench, stored, key);
  await bench.store.drain();
  await bench.store.checkpoint();
  for (const key of keys.filter((_, number) => number % 60 === 0)) await put(bench, stored, key);
  await bench.store.drain();
  for (const key of keys.filter((_, number) => number % 200 === 1)) {
    await bench.store.purge({ kind: 'object', objectHash: hashOf(key) });
    stored.delete(key);
  }
  disk.crash(new SeededRandom(64), 'all');
  await bench.store.close();
  return { snapshot: disk.snapshot(), stored, keys };
}

/** A copy whose power fails at the operation that `cut` says. */
function copyOf(snapshot: DiskSnapshot, random: SeededRandom, cut: Cut, keeps: () => CrashKeeps): SimulatedDisk {
  const disk: SimulatedDisk = new SimulatedDisk({
    capacityBytes: CAPACITY_BYTES,
    random,
    delay: async (operation) => {
      if (operation === 'read') for (let turns = random.integerBelow(3); turns > 0; turns -= 1) await turn();
      if (cut.left === undefined || !cut.operations.includes(operation)) return;
      cut.left -= 1;
      if (cut.left > 0) return;
      cut.left = undefined;
      disk.crash(random, keeps());
    },
  });
  disk.restore(snapshot);
  return disk;
}

async function ask(store: DeviceStore, stored: Stored, key: string): Promise<boolean> {
  const verdict = await store.readManifest(hashOf(key));
  if (verdict.kind !== 'hit') return false;
  const manifest = stored.get(key);
  assert.deepEqual([verdict.manifest.generation, verdict.manifest.freshUntilMs], [manifest?.generation, FAR_MS], key);
  assert.ok(manifest !== undefined);
  await readAndCheck(store, manifest, 0);
  return true;
}

/** Opens it and asks until the index is loaded, or the power fails. @returns the state it came to */
async function start(disk: SimulatedDisk, stored: Stored, keys: readonly string[], random: SeededRandom): Promise<string> {
  const arena = new Arena({ sizeBytes: 8 * MIB, clock });
  const store = await createStore({ device: disk.open(), arena, clock, logger: createSilentLogger() });
  const recovering = store.recover().catch(() => undefined);
  const readers = Array.from({ length: 16 }, async () => {
    while (store.state === 'loading') {
      await ask(store, stored, keys[random.integerBelow(keys.length)] ?? '');
      await turn();
    }
  });
  await Promise.all([recovering, ...readers]);
  const { state } = store;
  if (state === 'online') {
    let hits = 0;
    for (const key of keys) if (await ask(store, stored, key)) hits += 1;
    assert.equal(hits, stored.size);
    assert.equal(store.usage.entries, 2 * stored.size, 'nothing is there twice');
    assert.equal(store.findContradiction(), undefined);
    assertNoLeases(arena);
  }
  await store.close();
  return state;
}

test('a checkpoint that is cut off at any of its writes, and asked while the next start loads', async () => {
  const { snapshot, stored, keys } = await makeDisk();
  for (let write = 1, isOver = false; !isOver; write += 1) {
    const keeps = KEEPS[write % KEEPS.length] ?? 'any';
    const random = new SeededRandom(write);
    const cut: Cut = { left: undefined, operations: ['write', 'flush'] };
    const disk = copyOf(snapshot, random, cut, () => keeps);
    const bench = await openBench(disk.open());
    const { checkpoint } = bench.store.superblock;
    assert.equal(disk.peek(contentsOffset(bench.store.geometry, checkpoint, 0), 8).toString('latin1'), CONTENTS_MAGIC);
    assert.ok(checkpoint.parts >= 3);
    cut.left = write;
    await bench.store.checkpoint().catch(() => undefined);
    isOver = cut.left !== undefined;
    cut.left = undefined;
    await bench.store.close();
    assert.equal(await start(disk, stored, keys, random), 'online', `write ${write}, ${keeps} kept`);
    assert.ok(!isOver || write > 8, `${write} writes`);
  }
});

test('starts that are cut off while the index is loaded and asked, one after the other', async () => {
  const { snapshot, stored, keys } = await makeDisk();
  for (let seed = 1; seed <= 3; seed += 1) {
    const random = new SeededRandom(seed);
    const cut: Cut = { left: undefined, operations: ['read', 'write', 'flush'] };
    const disk = copyOf(snapshot, random, cut, () => KEEPS[random.integerBelow(KEEPS.length)] ?? 'any');
    let failed = 0;
    for (let round = 0; round < 6; round += 1) {
      cut.left = 20 + random.integerBelow(120);
      if ((await start(disk, stored, keys, random)) === 'failed') failed += 1;
      cut.left = undefined;
    }
    assert.ok(failed > 0, `seed ${seed}: the power failed`);
    assert.equal(await start(disk, stored, keys, random), 'online', `seed ${seed}`);
  }
});
