/**
 * What every SliceStore must do, as tests. The factory makes an empty store on a fresh device and says how to end it; `reopen` where the
 * implementation keeps anything across a restart.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB } from '../../src/base/units.ts';
import type { Manifest } from '../../src/format/manifest.ts';
import type { Arena } from '../../src/memory/arena.ts';
import type { PurgeTarget, SliceStore } from '../../src/store/slice-store.ts';
import {
  assertNoLeases,
  hashOf,
  makeManifest,
  offerOne,
  offerPart,
  readAndCheck,
  readPartAndCheck,
  SLICE_BYTES,
  sliceBytes,
  sliceCount,
  storeObject,
} from '../store/store-bench.ts';

/** A store under test, with the arena that it uses. */
export interface StoreUnderTest {
  readonly store: SliceStore;
  readonly arena: Arena;
  /** Closes the store in order and opens what it left. */
  readonly reopen: () => Promise<StoreUnderTest>;
  /** Closes and cleans up. */
  readonly end: () => Promise<void>;
}

type Play = (bench: StoreUnderTest) => Promise<StoreUnderTest | undefined>;

/** Gives up the whole RAM tier, so that reads go to the device. */
export function emptyResident(arena: Arena): void {
  const leases = [];
  for (let bytes = 4 * 1024 * KIB; bytes >= 4 * KIB; bytes /= 2) {
    for (let lease = arena.tryLease('fill', bytes); lease !== undefined; lease = arena.tryLease('fill', bytes)) leases.push(lease);
  }
  for (const lease of leases) lease.end();
}

/** An object of two slices, stored. */
async function storeTagged(bench: StoreUnderTest, keyText: string, tags: readonly string[], freshUntilMs = 5): Promise<Manifest> {
  const manifest = makeManifest(keyText, bench.store.nextGeneration(), SLICE_BYTES + 10, { tags, freshUntilMs });
  assert.deepEqual(bench.store.offerManifest(manifest, bench.store.purgeSequence), { kind: 'admitted' });
  for (const number of [0, 1]) assert.deepEqual(offerOne(bench, manifest, number), { kind: 'admitted' });
  await bench.store.drain();
  return manifest;
}

const PLAYS: Readonly<Record<string, Play>> = {
  'knows nothing at first': async ({ store }) => {
    const hash = hashOf('nothing');
    assert.equal(store.state, 'online');
    assert.equal(store.findManifest(hash), undefined);
    assert.deepEqual(await store.readManifest(hash), { kind: 'absent' });
    assert.equal(store.tryReadManifest(hash), undefined);
    assert.equal(store.hasSlice(7, 0), false);
    assert.equal(await readAndCheck(store, makeManifest('nothing', 7, 100), 0), 'absent');
    assert.equal(store.mayHold(hash), false);
    assert.deepEqual(await store.purge({ kind: 'object', objectHash: hash }), { sequence: 1, objects: 0, isDone: true });
    return undefined;
  },

  'gives generations once': async ({ store, reopen }) => {
    const first = store.nextGeneration();
    assert.ok(first >= 1);
    assert.ok(store.nextGeneration() > first);
    const next = await reopen();
    assert.ok(next.store.nextGeneration() > first + 1);
    return next;
  },

  'serves what was offered, before and after it is written': async (bench) => {
    const { store } = bench;
    const manifest = makeManifest('a', store.nextGeneration(), 3 * SLICE_BYTES - 100);
    assert.deepEqual(store.offerManifest(manifest, store.purgeSequence), { kind: 'admitted' });
    assert.deepEqual(store.findManifest(manifest.objectHash), { generation: manifest.generation, storedSlices: 0 });
    assert.deepEqual(await store.readManifest(manifest.objectHash), { kind: 'hit', manifest });
    assert.deepEqual(store.tryReadManifest(manifest.objectHash), manifest);
    for (let number = 0; number < 3; number += 1) {
      assert.deepEqual(offerOne(bench, manifest, number), { kind: 'admitted' });
      assert.equal(store.hasSlice(manifest.generation, number), true);
      assert.equal(await readAndCheck(store, manifest, number), 'ram');
    }
    assert.deepEqual(store.findManifest(manifest.objectHash), { generation: manifest.generation, storedSlices: 3 });
    await store.drain();
    assert.deepEqual(store.findManifest(manifest.objectHash), { generation: manifest.generation, storedSlices: 3 });
    emptyResident(bench.arena);
    const { objectHash, generation } = manifest;
    assert.equal(store.tryReadResident({ objectHash, generation, sliceNumber: 0, startBytes: 0, endBytes: 1 }), undefined);
    for (let number = 0; number < 3; number += 1) assert.equal(await readAndCheck(store, manifest, number), 'device');
    assert.equal(await readAndCheck(store, manifest, 0), 'ram');
    return undefined;
  },

  'reads parts of a slice exactly': async (bench) => {
    const { store, arena } = bench;
    const manifest = await storeObject(bench, 'parts', 5 * SLICE_BYTES);
    const big = makeManifest('big', store.nextGeneration(), 1024 * KIB, { sliceSizeBytes: 1024 * KIB });
    store.offerManifest(big, store.purgeSequence);
    offerOne(bench, big, 0);
    await store.drain();
    const ranges: (readonly [number, number])[] = [
      [0, 1],
      [65535, 65537],
      [131072, 131073],
      [200_000, 300_001],
      [1048575, 1048576],
      [0, 1048576],
    ];
    for (const range of ranges) {
      emptyResident(arena);
      assert.equal(await readAndCheck(store, big, 0, range), 'device', String(range));
    }
    emptyResident(arena);
    const verdicts = await Promise.all([0, 1, 2, 3, 4, 4, 4].map((number) => readAndCheck(store, manifest, number, [10, 20_000])));
    assert.ok(verdicts.every((kind) => kind === 'device' || kind === 'ram'));
    assert.equal(await readAndCheck(store, manifest, 5, [0, 1]), 'absent');
    const { objectHash, generation } = big;
    const beyond = await store.readSlice({ objectHash, generation, sliceNumber: 0, startBytes: 0, endBytes: 1048577 });
    assert.equal(beyond.kind, 'absent');
    return undefined;
  },

  'keeps a part of a slice, and serves what lies inside of it': async (bench) => {
    const { store, reopen } = bench;
    const manifest = makeManifest('part', store.nextGeneration(), 1024 * KIB + 100, { sliceSizeBytes: 1024 * KIB });
    const { objectHash, generation } = manifest;
    store.offerManifest(manifest, store.purgeSequence);
    assert.equal(store.hasPart(generation, 0), false);
    assert.equal(await readPartAndCheck(store, manifest, 0), 'absent');
    const tooLittle = { sliceNumber: 0, startBytes: 0, endBytes: 64 * KIB - 1 };
    assert.deepEqual(offerPart(bench, manifest, tooLittle), { kind: 'declined', reason: 'partial' });
    assert.deepEqual(offerPart(bench, manifest, { sliceNumber: 0, startBytes: 0, endBytes: 300_000 }), { kind: 'admitted' });
    let next: StoreUnderTest = bench;
    for (const look of ['waiting', 'written', 'after a restart']) {
      if (look === 'written') await store.drain();
      if (look === 'after a restart') next = await reopen();
      assert.equal(next.store.hasSlice(generation, 0), false, look);
      assert.equal(next.store.hasPart(generation, 0), true, look);
      assert.equal(next.store.findManifest(objectHash)?.storedSlices, 0, look);
      assert.notEqual(await readAndCheck(next.store, manifest, 0, [70_000, 300_000]), 'absent', look);
      assert.equal(await readAndCheck(next.store, manifest, 0, [299_999, 300_001]), 'absent', look);
      assert.equal(await readAndCheck(next.store, manifest, 0), 'absent', look);
      assert.equal(await readPartAndCheck(next.store, manifest, 0), '0-300000', look);
      assert.equal(await readPartAndCheck(next.store, manifest, 1), 'absent', look);
    }
    assert.deepEqual(offerOne(next, manifest, 0), { kind: 'admitted' });
    assert.deepEqual([next.store.hasSlice(generation, 0), next.store.findManifest(objectHash)?.storedSlices], [true, 1]);
    await next.store.drain();
    assert.equal(next.store.hasPart(generation, 0), false);
    emptyResident(next.arena);
    assert.notEqual(await readAndCheck(next.store, manifest, 0), 'absent');
    return next;
  },

  'joins parts that touch, keeps the longer of two that do not, and makes a slice of what became whole': async (bench) => {
    const { store } = bench;
    const manifest = makeManifest('join', store.nextGeneration(), 1024 * KIB, { sliceSizeBytes: 1024 * KIB });
    const { generation } = manifest;
    store.offerManifest(manifest, store.purgeSequence);
    const steps: (readonly [number, number, string])[] = [
      [100_000, 400_000, '131072-400000'],
      [0, 70_000, '131072-400000'],
      [0, 140_000, '0-400000'],
      [10_000, 200_000, '0-400000'],
      [400_000, 500_000, '0-500000'],
      [393_216, 600_000, '0-600000'],
      [700_000, 1024 * KIB, '0-600000'],
    ];
    for (const [startBytes, endBytes, expected] of steps) {
      assert.deepEqual(offerPart(bench, manifest, { sliceNumber: 0, startBytes, endBytes }), { kind: 'admitted' });
      await store.drain();
      assert.equal(await readPartAndCheck(store, manifest, 0), expected, `${startBytes}-${endBytes}`);
    }
    offerPart(bench, manifest, { sliceNumber: 0, startBytes: 589_824, endBytes: 1024 * KIB });
    await store.drain();
    assert.deepEqual([store.hasPart(generation, 0), store.hasSlice(generation, 0)], [false, true]);
    assert.equal(store.findManifest(manifest.objectHash)?.storedSlices, 1);
    assert.equal(await readAndCheck(store, manifest, 0), 'device');
    assert.deepEqual(offerPart(bench, manifest, { sliceNumber: 0, startBytes: 0, endBytes: 100_000 }), { kind: 'admitted' });
    assert.equal(store.hasSlice(generation, 0), true);
    return undefined;
  },

  'keeps an object without bytes': async ({ store, reopen }) => {
    const manifest = makeManifest('empty', store.nextGeneration(), 0);
    assert.deepEqual(store.offerManifest(manifest, store.purgeSequence), { kind: 'admitted' });
    const next = await reopen();
    assert.deepEqual(await next.store.readManifest(manifest.objectHash), { kind: 'hit', manifest });
    return next;
  },

  'replaces an older generation': async (bench) => {
    const { store } = bench;
    const old = await storeObject(bench, 'b', 2 * SLICE_BYTES);
    const young = makeManifest('b', store.nextGeneration(), SLICE_BYTES);
    assert.deepEqual(store.offerManifest(young, store.purgeSequence), { kind: 'admitted' });
    assert.equal(store.hasSlice(old.generation, 0), false);
    assert.equal(await readAndCheck(store, old, 0), 'absent');
    assert.deepEqual(store.offerManifest(old, store.purgeSequence), { kind: 'declined', reason: 'superseded' });
    assert.deepEqual(offerOne(bench, old, 1), { kind: 'declined', reason: 'superseded' });
    assert.deepEqual(offerOne(bench, young, 0), { kind: 'admitted' });
    assert.equal(await readAndCheck(store, young, 0), 'ram');
    return undefined;
  },

  'keeps a generation that is replaced readable for as long as somebody holds it': async (bench) => {
    const { store, arena } = bench;
    const old = await storeObject(bench, 'held', 3 * SLICE_BYTES);
    const releases = [store.holdGeneration(old), store.holdGeneration(old)];
    const young = makeManifest('held', store.nextGeneration(), 2 * SLICE_BYTES);
    assert.deepEqual(store.offerManifest(young, store.purgeSequence), { kind: 'admitted' });
    assert.deepEqual(store.findManifest(old.objectHash), { generation: young.generation, storedSlices: 0 });
    assert.deepEqual(await store.readManifest(old.objectHash), { kind: 'hit', manifest: young });
    assert.deepEqual(offerOne(bench, young, 0), { kind: 'admitted' });
    assert.equal(await readAndCheck(store, old, 0), 'ram');
    emptyResident(arena);
    await store.drain();
    emptyResident(arena);
    for (const number of [0, 1, 2]) {
      assert.equal(store.hasSlice(old.generation, number), true);
      assert.equal(await readAndCheck(store, old, number), 'device');
      assert.equal(await readAndCheck(store, old, number), 'ram');
    }
    assert.equal(await readAndCheck(store, young, 0), 'device');
    // Nothing is added to it, and it does not come back.
    assert.deepEqual(offerOne(bench, old, 1), { kind: 'declined', reason: 'superseded' });
    assert.deepEqual(store.offerManifest(old, store.purgeSequence), { kind: 'declined', reason: 'superseded' });
    releases[0]?.();
    releases[0]?.();
    assert.equal(await readAndCheck(store, old, 2), 'ram');
    releases[1]?.();
    assert.equal(store.hasSlice(old.generation, 2), false);
    assert.equal(await readAndCheck(store, old, 2), 'absent');
    assert.deepEqual(store.findManifest(old.objectHash), { generation: young.generation, storedSlices: 1 });
    return undefined;
  },

  'keeps a held generation that is dropped, whatever its size, and several at a time': async (bench) => {
    const { store, arena } = bench;
    const ends: (() => void)[] = [];
    const olds: Manifest[] = [];
    for (const length of [100, SLICE_BYTES, 2 * SLICE_BYTES]) {
      const old = await storeObject(bench, 'again', length);
      olds.push(old);
      ends.push(store.holdGeneration(old));
      store.dropManifest(old.objectHash, old.generation);
      assert.equal(store.findManifest(old.objectHash), undefined);
    }
    const young = await storeObject(bench, 'again', 3 * SLICE_BYTES);
    emptyResident(arena);
    for (const old of olds) assert.equal(await readAndCheck(store, old, 0), 'device');
    for (const old of olds) {
      ends.shift()?.();
      assert.equal(await readAndCheck(store, old, 0), 'absent');
    }
    assert.equal(await readAndCheck(store, young, 2), 'device');
    return undefined;
  },

  'a start knows nothing of what was held': async (bench) => {
    const old = await storeObject(bench, 'restart', 2 * SLICE_BYTES);
    bench.store.holdGeneration(old);
    bench.store.dropManifest(old.objectHash, old.generation);
    assert.notEqual(await readAndCheck(bench.store, old, 1), 'absent');
    const next = await bench.reopen();
    assert.deepEqual(await next.store.readManifest(old.objectHash), { kind: 'absent' });
    assert.equal(await readAndCheck(next.store, old, 1), 'absent');
    assert.equal(next.store.hasSlice(old.generation, 0), false);
    return next;
  },

  'a purge ends what is held, and nothing else': async (bench) => {
    const { store } = bench;
    const targets: readonly PurgeTarget[] = [
      { kind: 'object', objectHash: hashOf('site/a') },
      { kind: 'prefix', keyPrefix: 'site/' },
      { kind: 'tag', tag: 'red' },
      { kind: 'tag', tag: 'red', keyPrefix: 'site/' },
      { kind: 'everything' },
    ];
    for (const target of targets) {
      const purged = await storeTagged(bench, 'site/a', ['red']);
      const other = await storeTagged(bench, 'other/b', ['blue']);
      const ends = [purged, other].map((manifest) => store.holdGeneration(manifest));
      for (const { objectHash, generation } of [purged, other]) store.dropManifest(objectHash, generation);
      const young = await storeTagged(bench, 'site/a', ['red']);
      await store.purge(target, { isSoft: true });
      assert.notEqual(await readAndCheck(store, purged, 1), 'absent', `soft ${target.kind}`);
      await store.purge(target);
      assert.equal(store.hasSlice(purged.generation, 1), false, target.kind);
      assert.equal(await readAndCheck(store, purged, 1), 'absent', target.kind);
      assert.equal(await readAndCheck(store, young, 1), 'absent', target.kind);
      assert.equal((await readAndCheck(store, other, 1)) === 'absent', target.kind === 'everything', target.kind);
      for (const end of ends) end();
      assert.equal(await readAndCheck(store, other, 1), 'absent');
    }
    return undefined;
  },

  'takes changed fields of the same generation and keeps its slices': async (bench) => {
    const { store, reopen } = bench;
    const manifest = await storeObject(bench, 'c', 2 * SLICE_BYTES);
    const changed: Manifest = { ...manifest, fields: [['etag', '"new"']], freshUntilMs: manifest.freshUntilMs + 5000 };
    assert.deepEqual(store.offerManifest(changed, store.purgeSequence), { kind: 'admitted' });
    assert.deepEqual(await store.readManifest(manifest.objectHash), { kind: 'hit', manifest: changed });
    const next = await reopen();
    assert.deepEqual(await next.store.readManifest(manifest.objectHash), { kind: 'hit', manifest: changed });
    assert.equal(await readAndCheck(next.store, manifest, 1), 'device');
    return next;
  },

  'renews freshness, also across restarts': async (bench) => {
    const manifest = await storeObject(bench, 'd', 1000);
    const freshness = { receivedAtMs: 1_800_000_000_001, initialAgeSeconds: 77, freshUntilMs: 1_900_000_000_009 };
    bench.store.refreshManifest(manifest.objectHash, manifest.generation + 1, { ...freshness, initialAgeSeconds: 1 });
    bench.store.refreshManifest(manifest.objectHash, manifest.generation, freshness);
    const renewed = { ...manifest, ...freshness };
    assert.deepEqual(await bench.store.readManifest(manifest.objectHash), { kind: 'hit', manifest: renewed });
    let next = await bench.reopen();
    assert.deepEqual(await next.store.readManifest(manifest.objectHash), { kind: 'hit', manifest: renewed });
    next = await next.reopen();
    assert.deepEqual(await next.store.readManifest(manifest.objectHash), { kind: 'hit', manifest: renewed });
    return next;
  },

  'drops and purges': async (bench) => {
    const { store, reopen } = bench;
    const dropped = await storeObject(bench, 'e', 2 * SLICE_BYTES);
    store.dropManifest(dropped.objectHash, dropped.generation + 1);
    assert.equal(store.hasSlice(dropped.generation, 1), true);
    store.dropManifest(dropped.objectHash, dropped.generation);
    assert.equal(await readAndCheck(store, dropped, 1), 'absent');
    const purged = await storeObject(bench, 'f', 3 * SLICE_BYTES);
    const before = store.purgeSequence;
    const generation = store.nextGeneration();
    assert.equal(store.mayHold(purged.objectHash), true);
    const done = { sequence: before + 1, objects: 1, isDone: true };
    assert.deepEqual(await store.purge({ kind: 'object', objectHash: purged.objectHash }), done);
    assert.deepEqual(store.purgeProgress(before + 1), { objects: 1, isDone: true });
    assert.deepEqual([store.purgeSequence, store.mayHold(purged.objectHash)], [before + 1, false]);
    assert.equal(store.findManifest(purged.objectHash), undefined);
    assert.equal(await readAndCheck(store, purged, 0), 'absent');
    const late = makeManifest('f', generation, SLICE_BYTES);
    assert.deepEqual(store.offerManifest(late, before), { kind: 'declined', reason: 'purged' });
    const again = await storeObject(bench, 'f', SLICE_BYTES);
    const next = await reopen();
    assert.equal(await readAndCheck(next.store, again, 0), 'device');
    assert.equal(await readAndCheck(next.store, purged, 1), 'absent');
    assert.deepEqual(await next.store.readManifest(dropped.objectHash), { kind: 'absent' });
    return next;
  },

  'refuses what is purged while it is on its way': async (bench) => {
    const { store } = bench;
    const manifest = makeManifest('g', store.nextGeneration(), 2 * SLICE_BYTES);
    store.offerManifest(manifest, store.purgeSequence);
    offerOne(bench, manifest, 0);
    await store.purge({ kind: 'object', objectHash: manifest.objectHash });
    assert.deepEqual(offerOne(bench, manifest, 1), { kind: 'declined', reason: 'superseded' });
    await store.drain();
    assert.equal(await readAndCheck(store, manifest, 0), 'absent');
    assert.equal(store.findManifest(manifest.objectHash), undefined);
    return undefined;
  },

  'purges by prefix, tag and everything, in memory and on the device': async (bench) => {
    const targets: readonly PurgeTarget[] = [
      { kind: 'prefix', keyPrefix: 's/x/' },
      { kind: 'tag', tag: 'red' },
      // The other one has it too, elsewhere.
      { kind: 'tag', tag: 'blue', keyPrefix: 's/x/' },
      { kind: 'everything' },
    ];
    let next = bench;
    for (const [round, target] of [...targets, ...targets].entries()) {
      // In the second round nothing of it is in memory.
      const isCold = round >= targets.length;
      const covered = await storeTagged(next, 's/x/a', ['red', 'blue']);
      const other = await storeTagged(next, 's/y/b', ['blue']);
      if (isCold) next = await next.reopen();
      const before = next.store.purgeSequence;
      const late = next.store.nextGeneration();
      await next.store.purge(target);
      const isOver = target.kind === 'everything';
      assert.equal(await readAndCheck(next.store, covered, 1), 'absent', target.kind);
      assert.equal(next.store.hasSlice(covered.generation, 0), false, target.kind);
      assert.equal(next.store.findManifest(covered.objectHash), undefined, target.kind);
      assert.deepEqual(await next.store.readManifest(covered.objectHash), { kind: 'absent' }, target.kind);
      assert.equal((await readAndCheck(next.store, other, 1)) === 'absent', isOver, target.kind);
      assert.equal((await next.store.readManifest(other.objectHash)).kind, isOver ? 'absent' : 'hit', target.kind);
      const refused = makeManifest('s/x/late', late, 100, { tags: ['red', 'blue'] });
      assert.deepEqual(next.store.offerManifest(refused, before), { kind: 'declined', reason: 'purged' }, target.kind);
      if (!isOver) assert.equal(next.store.offerManifest(makeManifest('s/y/late', late, 0), before).kind, 'admitted', target.kind);
      const again = await storeTagged(next, 's/x/a', ['red', 'blue']);
      next = await next.reopen();
      assert.notEqual(await readAndCheck(next.store, again, 1), 'absent', target.kind);
      assert.equal(await readAndCheck(next.store, covered, 1), 'absent', target.kind);
      assert.equal((await next.store.readManifest(other.objectHash)).kind, isOver ? 'absent' : 'hit', target.kind);
      await next.store.purge({ kind: 'everything' });
    }
    return next;
  },

  'makes stale by soft purges of every kind, once': async (bench) => {
    let next = bench;
    const farMs = 4_000_000_000_000;
    for (const kind of ['object', 'prefix', 'tag', 'everything'] as const) {
      const manifest = await storeTagged(next, `s/soft/${kind}`, ['soft'], farMs);
      next = await next.reopen();
      const { store } = next;
      const { objectHash, generation } = manifest;
      const targets = {
        object: { kind, objectHash },
        prefix: { kind, keyPrefix: 's/soft' },
        tag: { kind, tag: 'soft' },
        everything: { kind },
      };
      await store.purge(targets[kind] as PurgeTarget, { isSoft: true });
      const stale = await store.readManifest(objectHash);
      assert.ok(stale.kind === 'hit' && stale.manifest.freshUntilMs < farMs, kind);
      assert.notEqual(await readAndCheck(store, manifest, 0), 'absent', kind);
      const renewed = { receivedAtMs: 1_900_000_000_000, initialAgeSeconds: 0, freshUntilMs: farMs };
      store.refreshManifest(objectHash, generation, renewed);
      const fresh = await store.readManifest(objectHash);
      assert.ok(fresh.kind === 'hit' && fresh.manifest.freshUntilMs === farMs, kind);
      store.refreshManifest(objectHash, generation, { ...renewed, freshUntilMs: 5 });
      next = await next.reopen();
      const kept = await next.store.readManifest(objectHash);
      assert.ok(kept.kind === 'hit' && kept.manifest.freshUntilMs === 5, kind);
      await next.store.purge({ kind: 'everything' });
    }
    return next;
  },

  'numbers purges as it is told': async ({ store }) => {
    await store.purge({ kind: 'tag', tag: 'x' }, { sequence: 40 });
    assert.equal(store.purgeSequence, 40);
    await store.purge({ kind: 'tag', tag: 'x' }, { sequence: 7 });
    assert.equal(store.purgeSequence, 41);
    return undefined;
  },

  'goes on when nobody waits any longer': async (bench) => {
    const manifest = await storeObject(bench, 'h', SLICE_BYTES);
    emptyResident(bench.arena);
    const { objectHash, generation } = manifest;
    const read = { objectHash, generation, sliceNumber: 0, startBytes: 0, endBytes: SLICE_BYTES };
    const abort = new AbortController();
    const [left, stayed] = [bench.store.readSlice(read, abort.signal), readAndCheck(bench.store, manifest, 0)];
    abort.abort();
    assert.deepEqual(await left, { kind: 'busy' });
    assert.equal(await stayed, 'device');
    assert.deepEqual(
      await bench.store.readSlice(read, AbortSignal.abort()).then((verdict) => verdict.kind === 'hit' && verdict.lease.end()),
      undefined,
    );
    return undefined;
  },

  'takes nothing after close': async (bench) => {
    const manifest = await storeObject(bench, 'i', SLICE_BYTES);
    await bench.store.close();
    await bench.store.close();
    assert.equal(bench.store.state, 'closed');
    assert.equal(bench.store.findManifest(manifest.objectHash), undefined);
    assert.deepEqual(bench.store.offerManifest(manifest, 0), { kind: 'declined', reason: 'unavailable' });
    assert.equal(await readAndCheck(bench.store, manifest, 0), 'absent');
    await assert.rejects(bench.store.purge({ kind: 'object', objectHash: manifest.objectHash }), { code: 'STORE_UNAVAILABLE' });
    assert.equal(bench.arena.leasedSlots, 0);
    return undefined;
  },

  'declines what it cannot hold, and keeps serving': async (bench) => {
    const { store, arena } = bench;
    const fields = Array.from({ length: 40 }, (_, index) => [`x-${index}`, 'v'.repeat(1000)] as const);
    const large = makeManifest('large', store.nextGeneration(), SLICE_BYTES, { fields });
    assert.deepEqual(store.offerManifest(large, store.purgeSequence), { kind: 'declined', reason: 'too-large' });
    const lease = arena.tryLease('fill', SLICE_BYTES);
    assert.ok(lease !== undefined);
    lease.bytes.set(sliceBytes('large', large.generation, 0, SLICE_BYTES));
    const { objectHash, generation } = large;
    const verdict = store.offerSlice({ objectHash, generation, sliceNumber: 0, lease, lengthBytes: SLICE_BYTES });
    assert.deepEqual(verdict, { kind: 'declined', reason: 'superseded' });
    lease.end();
    for (let round = 0; round < 12; round += 1) {
      const manifest = await storeObject(bench, `turn-${round}`, 8 * SLICE_BYTES);
      for (let number = 0; number < sliceCount(manifest); number += 1) {
        assert.notEqual(await readAndCheck(store, manifest, number), 'corrupt');
      }
    }
    return undefined;
  },
};

/** Registers the contract's tests for one implementation. The store has room for about 4 MiB and an arena of at least 4 MiB. */
export function runSliceStoreContract(
  name: string,
  factory: () => Promise<StoreUnderTest>,
  options: { skip?: string | undefined } = {},
): void {
  for (const [title, play] of Object.entries(PLAYS)) {
    test(`${name} ${title}`, { skip: options.skip ?? false }, async () => {
      const first = await factory();
      let last: StoreUnderTest = first;
      try {
        last = (await play(first)) ?? first;
        if (last.store.state !== 'closed') await last.store.drain();
        assertNoLeases(last.arena);
      } finally {
        await last.end();
      }
      assert.equal(last.arena.leasedSlots, 0);
    });
  }
}
