/**
 * Purges of every kind, hard and soft, with the power failing inside each device operation around them in turn: while they are made durable,
 * while the index is walked for them, while a checkpoint retires them, and once more while the store comes back. What was acknowledged never
 * comes back (S8); what a purge does not cover and a drain made durable is there (S6).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MIB } from '../../src/base/units.ts';
import type { Manifest } from '../../src/format/manifest.ts';
import { matcherOf } from '../../src/store/purges/purge.ts';
import type { PurgeTarget } from '../../src/store/slice-store.ts';
import { CrashDisk } from './crash-disk.ts';
import { type Bench, formatTiny, makeManifest, offerOne, openBench, readAndCheck, SLICE_BYTES, tinyParameters } from './store-bench.ts';

/** Every so many operations; 1 sweeps them all. */
const STRIDE = 5;
const FAR_MS = 4_000_000_000_000;

type Fate = 'durable' | 'open' | 'purged' | 'stale';

class Sweep extends CrashDisk {
  /** What has to be true of each object after a crash now; `open`: nothing. */
  fates = new Map<Manifest, Fate>();

  async store(bench: Bench, keyText: string, tags: readonly string[]): Promise<Manifest> {
    const manifest = makeManifest(keyText, bench.store.nextGeneration(), SLICE_BYTES + 100, { tags, freshUntilMs: FAR_MS });
    for (const [other] of this.fates) {
      if (other.keyText === keyText && this.fates.get(other) !== 'purged') this.fates.set(other, 'open');
    }
    this.fates.set(manifest, 'open');
    bench.store.offerManifest(manifest, bench.store.purgeSequence);
    for (const number of [0, 1]) offerOne(bench, manifest, number);
    await bench.store.drain();
    if (!this.hasCrashed) this.fates.set(manifest, 'durable');
    return manifest;
  }

  /** Purges; what it covers is open until it is acknowledged. */
  async purge(bench: Bench, target: PurgeTarget, isSoft: boolean): Promise<void> {
    const matches = matcherOf(target);
    const covered = [...this.fates].filter(([manifest, fate]) => matches(manifest) && fate !== 'purged').map(([manifest]) => manifest);
    const before = new Map(covered.map((manifest) => [manifest, this.fates.get(manifest)]));
    for (const manifest of covered) this.fates.set(manifest, 'open');
    const isDone = await bench.store.purge(target, { isSoft }).then(
      () => true,
      () => false,
    );
    if (!isDone || this.hasCrashed) return;
    for (const manifest of covered) {
      const wasSure = before.get(manifest) === 'durable' || before.get(manifest) === 'stale';
      if (!isSoft) this.fates.set(manifest, 'purged');
      else if (wasSure) this.fates.set(manifest, 'stale');
    }
  }

  /** What the target covers is on the device and not in memory; a late answer, a walk and a checkpoint are under way while power fails. */
  async play(target: PurgeTarget, isSoft: boolean): Promise<void> {
    this.fates = new Map();
    let bench = await openBench(this.disk.open(), { arenaBytes: 4 * MIB });
    for (const [key, tags] of [
      ['p/a', ['red']],
      ['p/b', ['red', 'blue']],
      ['q/c', ['blue']],
    ] as const)
      await this.store(bench, key, tags);
    await bench.store.close();
    bench = await openBench(this.disk.open(), { arenaBytes: 4 * MIB });
    const late = makeManifest('p/a', bench.store.nextGeneration(), SLICE_BYTES, { tags: ['red'], freshUntilMs: FAR_MS });
    const noted = bench.store.purgeSequence;
    const purging = this.purge(bench, target, isSoft);
    if (matcherOf(target)(late)) assert.deepEqual(bench.store.offerManifest(late, noted), { kind: 'declined', reason: 'purged' });
    const checkpointing = bench.store.checkpoint().catch(() => undefined);
    await purging;
    await this.store(bench, 'p/d', ['red']);
    await checkpointing;
    await bench.store.walked();
    await bench.store.checkpoint().catch(() => undefined);
    if (!this.hasCrashed) assert.equal(bench.store.metrics.value('purgeEpochs') + bench.store.metrics.value('purgeEpochsRetiring'), 0);
    await this.store(bench, 'p/a', ['red']);
    await bench.store.close();
  }

  async check(title: string): Promise<void> {
    for (const round of ['at once', 'after the walk', 'after a restart']) {
      const bench = await openBench(this.disk.open());
      if (round === 'after the walk') await bench.store.walked();
      assert.equal(bench.store.findContradiction(), undefined, title);
      for (const [manifest, fate] of this.fates)
        await checkOne(bench, manifest, fate, `${title}, ${round}: ${manifest.keyText} is ${fate}`);
      assert.equal(bench.store.findContradiction(), undefined, title);
      await bench.store.close();
    }
  }
}

async function checkOne(bench: Bench, manifest: Manifest, fate: Fate, title: string): Promise<void> {
  const { store } = bench;
  const found = store.findManifest(manifest.objectHash);
  if (fate === 'purged') {
    assert.notEqual(found?.generation, manifest.generation, title);
    assert.equal(store.hasSlice(manifest.generation, 0), false, title);
    for (const number of [0, 1]) assert.equal(await readAndCheck(store, manifest, number), 'absent', title);
  }
  const verdict = await store.readManifest(manifest.objectHash);
  const isCurrent = verdict.kind === 'hit' && verdict.manifest.generation === manifest.generation;
  if (fate === 'purged') assert.equal(isCurrent, false, title);
  if (fate !== 'durable' && fate !== 'stale') return;
  assert.ok(isCurrent, title);
  for (const number of [0, 1]) assert.equal(await readAndCheck(store, manifest, number), 'device', title);
  if (fate === 'stale') assert.ok(verdict.manifest.freshUntilMs < FAR_MS, title);
  else assert.equal(verdict.manifest.freshUntilMs, FAR_MS, title);
}

const TARGETS: readonly PurgeTarget[] = [
  { kind: 'object', objectHash: makeManifest('p/b', 1, 1).objectHash },
  { kind: 'prefix', keyPrefix: 'p/' },
  { kind: 'tag', tag: 'blue' },
  { kind: 'tag', tag: 'blue', keyPrefix: 'p/' },
  { kind: 'everything' },
];

for (const isSoft of [false, true]) {
  for (const target of TARGETS) {
    const name = `${isSoft ? 'soft ' : ''}${target.kind}${'tag' in target && target.keyPrefix !== undefined ? ' below a prefix' : ''}`;
    test(`the power may fail anywhere around a purge (${name}, seed 71)`, async () => {
      const sweep = new Sweep(71);
      const device = sweep.disk.open();
      await formatTiny(device, tinyParameters({ entryCount: 64, journalBlocks: 16 }), 71);
      await device.close();
      const image = sweep.disk.snapshot();
      sweep.crashAt(0, 'any');
      await sweep.play(target, isSoft);
      await sweep.check(`${name}, no failure`);
      sweep.disk.restore(image);
      sweep.crashAt(0, 'any');
      await sweep.play(target, isSoft);
      const { operations } = sweep;
      assert.ok(operations > 80);
      for (let operation = 1; operation <= operations; operation += STRIDE) {
        sweep.disk.restore(image);
        const keeps = (['any', 'none', 'all'] as const)[operation % 3] ?? 'any';
        sweep.crashAt(operation, keeps);
        try {
          await sweep.play(target, isSoft);
        } catch (error) {
          assert.ok(sweep.hasCrashed, String(error));
        }
        if (!sweep.hasCrashed) sweep.disk.crash(sweep.random, keeps);
        sweep.crashAt(1 + sweep.random.integerBelow(40), keeps);
        await openBench(sweep.disk.open()).catch(() => undefined);
        if (!sweep.hasCrashed) sweep.disk.crash(sweep.random, keeps);
        sweep.crashAt(0, keeps);
        await sweep.check(`${name}, operation ${operation} of ${operations}, keeps ${keeps}`);
      }
    });
  }
}
