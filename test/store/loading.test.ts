/** Hits while the index is still loading: only of what neither the journal nor a purge has a word on, and nothing is changed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSilentLogger } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { MIB, SECOND_MS } from '../../src/base/units.ts';
import { CONTENTS_MAGIC } from '../../src/format/checkpoint-contents.ts';
import type { Geometry } from '../../src/format/geometry.ts';
import type { Manifest } from '../../src/format/manifest.ts';
import { Arena } from '../../src/memory/arena.ts';
import { createStore, type DeviceStore } from '../../src/store/device-store.ts';
import { objectTag } from '../../src/store/index/slice-index.ts';
import { writeCheckpoint } from '../../src/store/recovery/checkpoint.ts';
import { recoverState } from '../../src/store/recovery/recovery.ts';
import { RootArea, readRoot } from '../../src/store/recovery/root-area.ts';
import type { StoreLimits } from '../../src/store/store-limits.ts';
import { eventually } from '../helpers/eventually.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import {
  assertNoLeases,
  type Bench,
  clock,
  formatTiny,
  makeManifest,
  offerOne,
  openBench,
  readAndCheck,
  SLICE_BYTES,
  sliceCount,
  tinyParameters,
} from './store-bench.ts';

/** A disk that, once told to hold, lets recovery look through the journal and load the checkpoint, and then not replay. */
class HeldDisk {
  readonly disk: SimulatedDisk;
  geometry: Geometry | undefined;
  #state: 'open' | 'watching' | 'loaded' | 'held' = 'open';
  #release: () => void = () => undefined;
  #extentWait: Promise<void> | undefined;
  #partsWait: Promise<void> | undefined;
  #isPartHeld = false;

  constructor(seed: number, capacityBytes = 8 * MIB) {
    this.disk = new SimulatedDisk({
      capacityBytes,
      random: new SeededRandom(seed),
      delay: (operation, at) => this.#delay(operation, at),
    });
  }

  hold(): void {
    this.#state = 'watching';
  }

  get isHeld(): boolean {
    return this.#state === 'held';
  }

  release(): void {
    this.#state = 'open';
    this.#release();
  }

  /** The next read of an extent takes until what is returned is called. */
  holdExtent(): () => void {
    let release = (): void => undefined;
    this.#extentWait = new Promise((resolve) => {
      release = resolve;
    });
    return release;
  }

  /** From the second part on, parts of checkpoints take until what is returned is called. */
  holdParts(): () => void {
    let release = (): void => undefined;
    this.#partsWait = new Promise((resolve) => {
      release = resolve;
    });
    return release;
  }

  /** Whether one of them has begun. */
  get isPartHeld(): boolean {
    return this.#isPartHeld;
  }

  /** Whether that read has begun. */
  get isExtentHeld(): boolean {
    return this.#extentWait === undefined;
  }

  async #delay(operation: string, offsetBytes: number): Promise<void> {
    if (this.geometry === undefined || operation !== 'read') return;
    const { journalOffset, checkpointOffsets, groupsOffset } = this.geometry;
    if (offsetBytes >= groupsOffset) {
      const wait = this.#extentWait;
      this.#extentWait = undefined;
      return wait;
    }
    if (this.#state === 'open') return;
    if (offsetBytes >= checkpointOffsets[0]) {
      this.#state = 'loaded';
      const isContents = this.disk.peek(offsetBytes, 8).toString('latin1') === CONTENTS_MAGIC;
      if (checkpointOffsets.includes(offsetBytes) || isContents) return;
      this.#isPartHeld = true;
      return this.#partsWait;
    }
    const isJournal = offsetBytes >= journalOffset && offsetBytes < checkpointOffsets[0];
    if (!isJournal || this.#state !== 'loaded') return;
    this.#state = 'held';
    await new Promise<void>((resolve) => {
      this.#release = resolve;
    });
  }
}

const KEYS = ['plain', 'small', 'renewed', 'dropped', 'replaced', 'purged', 'tagged', 'stale', 'invalid', 'late'] as const;
type Objects = Readonly<Record<(typeof KEYS)[number], Manifest>>;
const TAGS: Readonly<Record<string, readonly string[]>> = { tagged: ['red'], stale: ['soft'], late: ['blue'] };
const FAR_MS = 4_000_000_000_000;
/** Slices beside those, where a checkpoint is to have many parts. */
const SURPLUS = 9000;

/** Everything is in a checkpoint; some of it the journal has a word on since; then power fails. */
async function prepare(held: HeldDisk, surplus = 0): Promise<Objects> {
  const device = held.disk.open();
  await formatTiny(device, tinyParameters({ journalBlocks: 16, entryCount: 512 + surplus }), 95);
  await device.close();
  let bench = await openBench(held.disk.open());
  held.geometry = bench.store.geometry;
  const objects: Record<string, Manifest> = {};
  for (const key of KEYS) {
    const lengthBytes = key === 'small' ? 100 : 2 * SLICE_BYTES + 5;
    const manifest = makeManifest(key, bench.store.nextGeneration(), lengthBytes, { tags: TAGS[key] ?? [], freshUntilMs: FAR_MS });
    bench.store.offerManifest(manifest, bench.store.purgeSequence);
    for (let number = 0; number < sliceCount(manifest); number += 1) offerOne(bench, manifest, number);
    await bench.store.drain();
    objects[key] = manifest;
  }
  await bench.store.checkpoint();
  if (surplus > 0) {
    await bench.store.close();
    await addSlices(held.disk, (objects as Objects).plain, surplus);
    bench = await openBench(held.disk.open());
  }
  const { renewed, dropped, replaced, purged } = objects as Objects;
  bench.store.refreshManifest(renewed.objectHash, renewed.generation, { receivedAtMs: 9, initialAgeSeconds: 0, freshUntilMs: 9 });
  bench.store.dropManifest(dropped.objectHash, dropped.generation);
  const young = makeManifest('replaced', bench.store.nextGeneration(), 10, { freshUntilMs: FAR_MS });
  assert.ok(young.generation > replaced.generation);
  bench.store.offerManifest(young, bench.store.purgeSequence);
  offerOne(bench, young, 0);
  await bench.store.purge({ kind: 'object', objectHash: purged.objectHash });
  await bench.store.purge({ kind: 'tag', tag: 'red' });
  await bench.store.purge({ kind: 'tag', tag: 'soft' }, { isSoft: true });
  await bench.store.drain();
  held.disk.crash(new SeededRandom(95), 'all');
  return objects as Objects;
}

/** Slices of a block each, far behind those that are asked for, in a checkpoint that counts. */
async function addSlices(disk: SimulatedDisk, { objectHash }: Manifest, count: number): Promise<void> {
  const device = disk.open();
  const arena = new Arena({ sizeBytes: 8 * MIB, clock });
  const root = await readRoot(device, arena);
  const { geometry, deviceUuid } = root.format;
  const place = { device, arena, geometry, deviceTag: deviceUuid.subarray(0, 8) };
  const { index, allocator, writeSequence } = await recoverState(place, root);
  const generation = index.generation(index.recordOf(index.findTag(objectTag(objectHash))));
  for (let number = 0; number < count; number += 1) {
    const block = allocator.reserve(1, 'small');
    assert.ok(block !== undefined);
    index.putSlice(generation, 1000 + number, { block, blocks: 1, writeSequence: writeSequence + number, flags: 0 });
  }
  const { checkpoint } = root.superblock;
  const target = { zone: 1 - checkpoint.zone, sequence: checkpoint.sequence + 1 };
  const written = { ...checkpoint, ...target, ...(await writeCheckpoint(place, { index, besides: [] }, target)) };
  const changes = { checkpoint: written, previous: checkpoint, writeSequenceFloor: writeSequence + count };
  await new RootArea({ device, arena, clock, root }).commit(() => changes);
  await device.close();
}

async function startLoading(
  held: HeldDisk,
  options: { readonly limits?: Partial<StoreLimits>; readonly before?: (store: DeviceStore) => void } = {},
): Promise<Bench & { recovering: Promise<unknown> }> {
  const arena = new Arena({ sizeBytes: 8 * MIB, clock });
  const { limits, before } = options;
  const store = await createStore({ device: held.disk.open(), arena, clock, logger: createSilentLogger(), limits });
  before?.(store);
  held.hold();
  const recovering = store.recover();
  await eventually(() => held.isHeld, { what: 'the index of the checkpoint' });
  assert.equal(store.state, 'loading');
  return { store, arena, recovering };
}

async function lookUp(store: DeviceStore, manifest: Manifest): Promise<string> {
  const verdict = await store.readManifest(manifest.objectHash);
  const kinds = new Set<string>();
  for (let number = 0; number < sliceCount(manifest); number += 1) kinds.add(await readAndCheck(store, manifest, number));
  assert.equal(kinds.size, 1, manifest.keyText);
  const [kind] = kinds;
  if (verdict.kind === 'hit' && verdict.manifest.generation > manifest.generation) {
    assert.equal(kind, 'absent');
    return 'newer';
  }
  assert.equal(verdict.kind === 'hit', kind !== 'absent', manifest.keyText);
  if (verdict.kind !== 'hit') return 'absent';
  assert.equal(store.findManifest(manifest.objectHash)?.generation, manifest.generation);
  assert.equal(store.hasSlice(manifest.generation, 0), true);
  return verdict.manifest.freshUntilMs === FAR_MS ? 'fresh' : 'stale';
}

async function lookUpAll(store: DeviceStore, objects: Objects): Promise<Readonly<Record<string, string>>> {
  const found: Record<string, string> = {};
  for (const key of KEYS) found[key] = await lookUp(store, objects[key]);
  return found;
}

test('what only the checkpoint knows is served before the index is whole, what journal or purges name is not', async () => {
  const held = new HeldDisk(95);
  const objects = await prepare(held);
  const { store, arena, recovering } = await startLoading(held);
  const absent = { renewed: 'absent', dropped: 'absent', replaced: 'absent', purged: 'absent', tagged: 'absent' };
  assert.deepEqual(await lookUpAll(store, objects), {
    plain: 'fresh',
    small: 'fresh',
    ...absent,
    stale: 'stale',
    invalid: 'fresh',
    late: 'fresh',
  });
  const parts = await readAndCheck(store, objects.plain, 1, [70, 90]);
  assert.equal(parts, 'device');
  assert.ok(store.metrics.value('loadingHits') >= 10);
  const young = makeManifest('plain', store.nextGeneration(), 10);
  assert.deepEqual(store.offerManifest(young, store.purgeSequence), { kind: 'declined', reason: 'unavailable' });
  // Dropped and purged meanwhile: gone at once, and when the index is whole.
  store.dropManifest(objects.invalid.objectHash, objects.invalid.generation);
  await assert.rejects(store.purge({ kind: 'tag', tag: 'blue' }), { code: 'STORE_UNAVAILABLE' });
  assert.deepEqual([await lookUp(store, objects.invalid), await lookUp(store, objects.late)], ['absent', 'absent']);
  assert.equal(await lookUp(store, objects.plain), 'fresh');
  await assert.rejects(store.purge({ kind: 'prefix', keyPrefix: 'pla' }, { isSoft: true }), { code: 'STORE_UNAVAILABLE' });
  assert.deepEqual([await lookUp(store, objects.plain), await lookUp(store, objects.small)], ['stale', 'fresh']);
  held.release();
  await recovering;
  assert.equal(store.state, 'online');
  const gone = { dropped: 'absent', replaced: 'newer', purged: 'absent', tagged: 'absent', invalid: 'absent', late: 'absent' };
  const whole = { plain: 'stale', small: 'fresh', renewed: 'stale', ...gone, stale: 'stale' };
  assert.deepEqual(await lookUpAll(store, objects), whole);
  await store.walked();
  assert.deepEqual(await lookUpAll(store, objects), whole);
  assert.equal(store.findContradiction(), undefined);
  assertNoLeases(arena);
  await store.close();
  const again = await openBench(held.disk.open());
  assert.deepEqual(await lookUpAll(again.store, objects), whole);
  await again.store.close();
});

test('a checkpoint of many parts is asked before it is loaded, and journal and purges count all the same', async () => {
  const held = new HeldDisk(100, 64 * MIB);
  const objects = await prepare(held, SURPLUS);
  const arena = new Arena({ sizeBytes: 8 * MIB, clock });
  const store = await createStore({ device: held.disk.open(), arena, clock, logger: createSilentLogger() });
  assert.ok(store.superblock.checkpoint.parts >= 7);
  const release = held.holdParts();
  held.hold();
  const recovering = store.recover();
  await eventually(() => held.isPartHeld, { what: 'the second part of the checkpoint' });
  // All of them wait for parts that are not loaded; each is answered before the journal is replayed.
  const answers = KEYS.map((key) => lookUp(store, objects[key]));
  release();
  const absent = { renewed: 'absent', dropped: 'absent', replaced: 'absent', purged: 'absent', tagged: 'absent' };
  const early = { plain: 'fresh', small: 'fresh', ...absent, stale: 'stale', invalid: 'fresh', late: 'fresh' };
  assert.deepEqual(
    await Promise.all(answers),
    KEYS.map((key) => early[key]),
  );
  assert.equal(store.state, 'loading');
  held.release();
  await recovering;
  const gone = { dropped: 'absent', replaced: 'newer', purged: 'absent', tagged: 'absent' };
  const whole = { ...early, renewed: 'stale', ...gone };
  assert.deepEqual(await lookUpAll(store, objects), whole);
  assert.ok(store.usage.entries > SURPLUS && store.usage.entries < SURPLUS + 100, 'nothing is there twice');
  assert.equal(store.findContradiction(), undefined);
  assertNoLeases(arena);
  await store.close();
});

test('a purge of everything while loading hides all at once; reads in flight end with nothing', async () => {
  const held = new HeldDisk(96);
  const objects = await prepare(held);
  const { store, recovering } = await startLoading(held);
  const [manifest, slice] = [store.readManifest(objects.plain.objectHash), readAndCheck(store, objects.small, 0)];
  await assert.rejects(store.purge({ kind: 'everything' }), { code: 'STORE_UNAVAILABLE' });
  assert.deepEqual([(await manifest).kind, await slice], ['absent', 'absent']);
  for (const key of KEYS) assert.equal(await lookUp(store, objects[key]), 'absent', key);
  held.release();
  await recovering;
  for (const key of KEYS) assert.equal(await lookUp(store, objects[key]), 'absent', key);
  await store.close();
});

test('what was being read when the index became whole is read anew, and is stale where a purge wants it', async () => {
  const held = new HeldDisk(99);
  const { stale } = await prepare(held);
  const { store, recovering } = await startLoading(held);
  const release = held.holdExtent();
  const reading = store.readManifest(stale.objectHash);
  await eventually(() => held.isExtentHeld, { what: 'the read of the record' });
  held.release();
  await recovering;
  // Nothing is held against the purge any more that was carried out.
  await store.walked();
  release();
  const verdict = await reading;
  assert.ok(verdict.kind === 'hit' && verdict.manifest.freshUntilMs < FAR_MS);
  assert.equal(await lookUp(store, stale), 'stale');
  await store.close();
});

test('power that fails while hits come out of a loading index changes nothing', async () => {
  const held = new HeldDisk(97);
  const objects = await prepare(held);
  const { store, recovering } = await startLoading(held);
  const reading = lookUp(store, objects.plain);
  held.disk.crash(new SeededRandom(97), 'any');
  held.release();
  await recovering.catch(() => undefined);
  await reading.catch(() => undefined);
  assert.ok(store.state === 'failed' || store.state === 'readonly', store.state);
  assert.notEqual((await store.readManifest(objects.small.objectHash)).kind, 'hit');
  const again = await openBench(held.disk.open());
  const found = await lookUpAll(again.store, objects);
  assert.deepEqual([found.plain, found.purged, found.tagged], ['fresh', 'absent', 'absent']);
  await again.store.close();
});

test('nothing is served early where a purge may be missing from the journal', async () => {
  const held = new HeldDisk(98);
  const objects = await prepare(held);
  const bench = await openBench(held.disk.open());
  const { journalOffset, journalBytes } = bench.store.geometry;
  await bench.store.purge({ kind: 'tag', tag: 'other' });
  held.disk.crash(new SeededRandom(98), 'all');
  const remove = held.disk.addFault({
    operation: 'read',
    effect: { kind: 'error', errno: 'EIO' },
    startBytes: journalOffset,
    endBytes: journalOffset + journalBytes,
  });
  const { store, recovering } = await startLoading(held);
  assert.equal(await lookUp(store, objects.plain), 'absent');
  held.release();
  await recovering;
  assert.equal(await lookUp(store, objects.plain), 'absent');
  remove();
  await store.close();
});

/** A read of an extent meets a device that is gone; it answers again right after. */
async function meetGone(held: HeldDisk, store: DeviceStore, { objectHash }: Manifest): Promise<void> {
  const { groupsOffset } = store.geometry;
  held.disk.addFault({ operation: 'read', effect: { kind: 'error', errno: 'ENXIO' }, startBytes: groupsOffset, times: 1 });
  assert.notEqual((await store.readManifest(objectHash)).kind, 'hit');
  assert.equal(store.state, 'failed');
}

test('a device that fails while its index loads is not asked for what was dropped since', async () => {
  const held = new HeldDisk(101);
  const objects = await prepare(held);
  const { store, arena, recovering } = await startLoading(held);
  assert.equal(await lookUp(store, objects.plain), 'fresh');
  await meetGone(held, store, objects.small);
  store.dropManifest(objects.plain.objectHash, objects.plain.generation);
  assert.equal(await lookUp(store, objects.plain), 'absent');
  assert.equal(store.manifestInMemory(objects.plain.objectHash, objects.plain.generation), undefined);
  held.release();
  await recovering;
  assert.deepEqual([store.state, await lookUp(store, objects.plain)], ['failed', 'absent']);
  await store.close();
  assertNoLeases(arena);
});

test('nobody begins to wait for a part of a checkpoint of a device that has failed', async () => {
  const held = new HeldDisk(102, 64 * MIB);
  const objects = await prepare(held, SURPLUS);
  const arena = new Arena({ sizeBytes: 8 * MIB, clock });
  // Longer than any test.
  const limits = { readDeadlineMs: 3600 * SECOND_MS };
  const store = await createStore({ device: held.disk.open(), arena, clock, logger: createSilentLogger(), limits });
  const release = held.holdParts();
  held.hold();
  const recovering = store.recover();
  await eventually(() => held.isPartHeld, { what: 'the second part of the checkpoint' });
  await meetGone(held, store, objects.small);
  for (const key of KEYS) assert.equal(await lookUp(store, objects[key]), 'absent', key);
  release();
  await eventually(() => held.isHeld, { what: 'the journal' });
  held.release();
  await recovering;
  await store.close();
  assertNoLeases(arena);
});

test('what is dropped before anything can be looked up in the index does not come back with it', async () => {
  const held = new HeldDisk(103);
  const { plain, small } = await prepare(held);
  const before = (store: DeviceStore): void => store.dropManifest(plain.objectHash, plain.generation);
  const { store, recovering } = await startLoading(held, { before });
  assert.deepEqual([await lookUp(store, plain), await lookUp(store, small)], ['absent', 'fresh']);
  held.release();
  await recovering;
  assert.deepEqual([await lookUp(store, plain), await lookUp(store, small)], ['absent', 'fresh']);
  await store.close();
});

test('when more is dropped while loading than is told apart, everything is forgotten, for good', async () => {
  const held = new HeldDisk(104);
  const { plain, small, invalid } = await prepare(held);
  const { store, recovering } = await startLoading(held, { limits: { purgesRemembered: 1 } });
  for (const { objectHash, generation } of [plain, plain]) store.dropManifest(objectHash, generation);
  assert.deepEqual([await lookUp(store, plain), await lookUp(store, small)], ['absent', 'fresh']);
  store.dropManifest(invalid.objectHash, invalid.generation);
  for (const manifest of [plain, small, invalid]) assert.equal(await lookUp(store, manifest), 'absent');
  held.release();
  await recovering;
  for (const manifest of [plain, small, invalid]) assert.equal(await lookUp(store, manifest), 'absent');
  await store.walked();
  assert.equal(store.usage.entries, 0);
  await store.close();
  const again = await openBench(held.disk.open());
  for (const manifest of [plain, small, invalid]) assert.equal(await lookUp(again.store, manifest), 'absent');
  await again.store.close();
});

test('what was renewed while loading is not served as fresh as before when the origin says less', async () => {
  const held = new HeldDisk(105);
  const { plain, small } = await prepare(held);
  const { store, recovering } = await startLoading(held);
  assert.deepEqual([await lookUp(store, plain), await lookUp(store, small)], ['fresh', 'fresh']);
  store.refreshManifest(plain.objectHash, plain.generation, { receivedAtMs: 9, initialAgeSeconds: 0, freshUntilMs: 9 });
  store.refreshManifest(small.objectHash, small.generation, { receivedAtMs: 9, initialAgeSeconds: 0, freshUntilMs: FAR_MS + 1 });
  assert.deepEqual([await lookUp(store, plain), await lookUp(store, small)], ['absent', 'fresh']);
  held.release();
  await recovering;
  assert.deepEqual([await lookUp(store, plain), await lookUp(store, small)], ['absent', 'fresh']);
  await store.close();
});

test('an entry of a checkpoint that no extent can be is a miss, while loading and after', async () => {
  const held = new HeldDisk(106, 64 * MIB);
  const { plain } = await prepare(held, SURPLUS);
  const { store, recovering } = await startLoading(held);
  // A block each, which is a header's: nobody writes a slice without a byte.
  const read = { objectHash: plain.objectHash, generation: plain.generation, sliceNumber: 1007, startBytes: 0, endBytes: 10 };
  assert.equal((await store.readSlice(read)).kind, 'absent');
  held.release();
  await recovering;
  assert.equal((await store.readSlice(read)).kind, 'absent');
  assert.equal(await lookUp(store, plain), 'fresh');
  await store.close();
});
