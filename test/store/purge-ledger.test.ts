/** Counts of purges: bounded, each object once, whoever meets it first: the order itself, a later read, or the walk. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import type { Manifest } from '../../src/format/manifest.ts';
import { PurgeLedger } from '../../src/store/purges/purge-ledger.ts';
import type { StoreLimits } from '../../src/store/store-limits.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { type Bench, clock, formatTiny, makeManifest, offerOne, openBench, tinyParameters } from './store-bench.ts';

/** A walk that rests for ever after its first record. */
const HELD_WALK: Partial<StoreLimits> = { purgeWalkReads: 1, purgeWalkPauseMs: 2 ** 30 };

test('a thousand purges are counted for; those before are not known any more', () => {
  const ledger = new PurgeLedger();
  for (let sequence = 1; sequence <= 1025; sequence += 1) ledger.open(sequence, sequence % 2 === 0);
  assert.equal(ledger.find(1), undefined);
  ledger.count(1, 5);
  assert.equal(ledger.find(1), undefined);
  ledger.count(3, 2);
  ledger.count(3, 1);
  assert.deepEqual(
    [ledger.find(2), ledger.find(3)],
    [
      { objects: 0, isDone: true },
      { objects: 3, isDone: false },
    ],
  );
  ledger.close(3);
  assert.deepEqual([ledger.find(3)?.isDone, ledger.find(5)?.isDone], [true, false]);
});

async function stored(tags: readonly (readonly string[])[], isFresh: boolean) {
  const disk = new SimulatedDisk({ capacityBytes: 8 * MIB, random: new SeededRandom(121) });
  const device = disk.open();
  await formatTiny(device, tinyParameters({}), 121);
  await device.close();
  const bench = await openBench(disk.open());
  const freshUntilMs = clock.wallMs() + (isFresh ? 3_600_000 : -1000);
  const manifests: Manifest[] = [];
  for (const [at, own] of tags.entries()) {
    const manifest = makeManifest(`k/${at}`, bench.store.nextGeneration(), 100, { tags: own, freshUntilMs });
    assert.equal(bench.store.offerManifest(manifest, bench.store.purgeSequence).kind, 'admitted');
    assert.equal(offerOne(bench, manifest, 0)?.kind, 'admitted');
    manifests.push(manifest);
  }
  await bench.store.drain();
  await bench.store.close();
  return { disk, manifests };
}

async function countsOf(bench: Bench, sequences: readonly number[]): Promise<readonly unknown[]> {
  await bench.store.walked();
  return sequences.map((sequence) => bench.store.purgeProgress(sequence));
}

test('what two purges cover counts once; what a read meets before the walk counts as well', async () => {
  const { disk, manifests } = await stored([['red'], ['red', 'blue'], ['blue'], ['green']], true);
  let bench = await openBench(disk.open(), { limits: HELD_WALK });
  const first = await bench.store.purge({ kind: 'tag', tag: 'red' });
  const second = await bench.store.purge({ kind: 'tag', tag: 'blue' });
  for (const manifest of manifests) await bench.store.readManifest(manifest.objectHash);
  const counts = [first, second].map(({ sequence }) => bench.store.purgeProgress(sequence)?.objects ?? Number.NaN);
  assert.equal((counts[0] ?? 0) + (counts[1] ?? 0), 3);
  assert.equal(bench.store.purgeProgress(second.sequence)?.isDone, false);
  assert.equal(bench.store.purgeProgress(99), undefined);
  await bench.store.close();
  // Its numbers are those of this process; the walk of the next one finishes without them.
  bench = await openBench(disk.open());
  assert.deepEqual(await countsOf(bench, [first.sequence]), [undefined]);
  const { sequence } = await bench.store.purge({ kind: 'everything' });
  assert.deepEqual(await countsOf(bench, [sequence]), [{ objects: 1, isDone: true }]);
  await bench.store.close();
});

test('a soft purge counts what it makes stale, once, also when it is walked for twice', async () => {
  for (const isFresh of [true, false]) {
    const { disk } = await stored([['red'], ['red'], ['blue']], isFresh);
    const bench = await openBench(disk.open());
    const soft = await bench.store.purge({ kind: 'tag', tag: 'red' }, { isSoft: true });
    const again = await bench.store.purge({ kind: 'prefix', keyPrefix: 'k/' }, { isSoft: true });
    const done = (objects: number): unknown => ({ objects, isDone: true });
    assert.deepEqual(await countsOf(bench, [soft.sequence]), [done(isFresh ? 2 : 0)]);
    assert.deepEqual(await countsOf(bench, [again.sequence]), [done(isFresh ? 1 : 0)]);
    const hard = await bench.store.purge({ kind: 'prefix', keyPrefix: 'k/' });
    assert.deepEqual(await countsOf(bench, [hard.sequence]), [done(3)]);
    await bench.store.close();
  }
});
