/** One short play, with the power failing inside each of its device operations in turn, and once more while the store comes back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MIB } from '../../src/base/units.ts';
import type { Manifest } from '../../src/format/manifest.ts';
import { isHeavy } from '../helpers/heavy.ts';
import { CrashDisk } from './crash-disk.ts';
import {
  type Bench,
  formatTiny,
  makeManifest,
  offerOne,
  openBench,
  readAndCheck,
  SLICE_BYTES,
  sliceCount,
  tinyParameters,
} from './store-bench.ts';

/** Every seventh operation keeps the suite fast; 1 sweeps them all. */
const STRIDE = isHeavy ? 1 : 7;

/** What was promised before the power failed. */
interface Promised {
  readonly durable: Manifest[];
  readonly purged: Manifest[];
}

class Sweep extends CrashDisk {
  constructor() {
    super(61);
  }

  /** Stores, purges, checkpoints, closes; notes what was promised while the power was on. */
  async play(): Promise<Promised> {
    const promised: Promised = { durable: [], purged: [] };
    const bench = await openBench(this.disk.open(), { arenaBytes: 4 * MIB });
    const manifests: Manifest[] = [];
    for (const key of ['a', 'b', 'c']) manifests.push(await this.#store(bench, key, promised));
    await bench.store.checkpoint().catch(() => undefined);
    manifests.push(await this.#store(bench, 'd', promised));
    const [gone] = manifests;
    assert.ok(gone !== undefined);
    const index = promised.durable.indexOf(gone);
    if (index >= 0) promised.durable.splice(index, 1);
    const isPurged = await bench.store.purge({ kind: 'object', objectHash: gone.objectHash }).then(
      () => true,
      () => false,
    );
    if (isPurged && !this.hasCrashed) promised.purged.push(gone);
    manifests.push(await this.#store(bench, 'e', promised));
    await bench.store.close();
    return promised;
  }

  async #store(bench: Bench, key: string, promised: Promised): Promise<Manifest> {
    const manifest = makeManifest(key, bench.store.nextGeneration(), SLICE_BYTES + 100);
    bench.store.offerManifest(manifest, bench.store.purgeSequence);
    for (let number = 0; number < sliceCount(manifest); number += 1) offerOne(bench, manifest, number);
    await bench.store.drain();
    if (!this.hasCrashed) promised.durable.push(manifest);
    return manifest;
  }

  async check(promised: Promised, title: string): Promise<void> {
    const bench = await openBench(this.disk.open());
    assert.equal(bench.store.findContradiction(), undefined, title);
    for (const manifest of promised.purged) {
      assert.equal(bench.store.findManifest(manifest.objectHash), undefined, title);
      for (let number = 0; number < sliceCount(manifest); number += 1)
        assert.equal(await readAndCheck(bench.store, manifest, number), 'absent', title);
    }
    for (const manifest of promised.durable) {
      assert.equal((await bench.store.readManifest(manifest.objectHash)).kind, 'hit', title);
      for (let number = 0; number < sliceCount(manifest); number += 1)
        assert.equal(await readAndCheck(bench.store, manifest, number), 'device', title);
    }
    await bench.store.close();
  }
}

for (const keeps of ['any', 'none'] as const) {
  test(`the power may fail inside any operation (keeps ${keeps})`, async (context) => {
    const sweep = new Sweep();
    const device = sweep.disk.open();
    await formatTiny(device, tinyParameters({ entryCount: 64, journalBlocks: 16 }), 61);
    await device.close();
    const image = sweep.disk.snapshot();
    sweep.crashAt(0, keeps);
    await sweep.play();
    const { operations } = sweep;
    assert.ok(operations > 50);
    for (let operation = 1; operation <= operations; operation += STRIDE) {
      sweep.disk.restore(image);
      sweep.crashAt(operation, keeps);
      let promised: Promised = { durable: [], purged: [] };
      try {
        promised = await sweep.play();
      } catch {
        // The power failed before the labels were read.
        assert.ok(sweep.hasCrashed);
      }
      // A second failure while it comes back changes nothing of what was promised.
      sweep.crashAt(1 + sweep.random.integerBelow(40), keeps);
      await openBench(sweep.disk.open()).catch(() => undefined);
      if (!sweep.hasCrashed) sweep.disk.crash(sweep.random, keeps);
      sweep.crashAt(0, keeps);
      await sweep.check(promised, `operation ${operation} of ${operations}`);
    }
    context.diagnostic(`survived: ${JSON.stringify({ sweptCrashPoints: Math.ceil(operations / STRIDE) })}`);
  });
}
