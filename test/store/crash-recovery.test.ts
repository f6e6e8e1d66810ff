/**
 * A model of what the store may answer, over seeded plays with crashes: absent is always legal, a wrong byte never (S5); what a drain made
 * durable is found again (S6); what a purge acknowledged never comes back (S8); index, bitmap and counts agree after every step (S1, S2).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import type { Manifest } from '../../src/format/manifest.ts';
import { emptyResident } from '../contract/slice-store.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import {
  assertNoLeases,
  type Bench,
  formatTiny,
  hashOf,
  makeManifest,
  offerOne,
  openBench,
  readAndCheck,
  SLICE_BYTES,
  sliceCount,
  tinyParameters,
} from './store-bench.ts';

const KEYS = 12;
const STEPS = 160;

/** One version of an object as the test remembers it. */
interface Version {
  readonly manifest: Manifest;
  /** Slices that a drain made durable. */
  readonly durable: Set<number>;
  readonly offered: Set<number>;
  /** A purge, drop or newer version came after it: it need not be found again. */
  isOver: boolean;
  /** A purge that was acknowledged covers it: it must not be found again. */
  isPurged: boolean;
}

class Play {
  readonly random: SeededRandom;
  readonly disk: SimulatedDisk;
  readonly #versions: Version[] = [];
  bench: Bench | undefined;

  constructor(seed: number, capacityBytes: number) {
    this.random = new SeededRandom(seed);
    // Operations overlap: each takes a few turns of the event loop.
    const turns = async (): Promise<void> => {
      for (let left = this.random.integerBelow(3); left > 0; left -= 1) await new Promise((resolve) => setImmediate(resolve));
    };
    this.disk = new SimulatedDisk({ capacityBytes, random: this.random, delay: turns });
  }

  async open(): Promise<Bench> {
    this.bench = await openBench(this.disk.open(), { arenaBytes: 4 * MIB, limits: { journalBatchMs: 1 } });
    return this.bench;
  }

  async step(bench: Bench): Promise<void> {
    const { random } = this;
    const choice = random.integerBelow(20);
    if (choice < 6) this.#offer(bench);
    else if (choice < 12) await this.#readAny(bench);
    else if (choice < 13) await this.#purge(bench);
    else if (choice < 14) this.#drop(bench);
    else if (choice < 15) emptyResident(bench.arena);
    else if (choice < 16) this.#refresh(bench);
    else if (choice < 17) await bench.store.checkpoint().catch(() => undefined);
    else if (choice < 18) await this.#drain(bench);
    else if (choice < 19) await this.#crash(bench);
    else await this.#restart(bench);
  }

  current(keyText: string): Version | undefined {
    return this.#versions.findLast((version) => version.manifest.keyText === keyText);
  }

  #offer(bench: Bench): void {
    const keyText = `key-${this.random.integerBelow(KEYS)}`;
    let version = this.current(keyText);
    if (version === undefined || version.isOver || this.random.integerBelow(3) === 0) {
      const { store } = bench;
      const manifest = makeManifest(keyText, store.nextGeneration(), 1 + this.random.integerBelow(4 * SLICE_BYTES));
      const isFresh = this.#versions.every((other) => other.manifest.generation !== manifest.generation);
      assert.ok(isFresh, 'a generation is given once');
      if (store.offerManifest(manifest, store.purgeSequence).kind !== 'admitted') return;
      for (const other of this.#versions) if (other.manifest.keyText === keyText) other.isOver = true;
      version = { manifest, durable: new Set(), offered: new Set(), isOver: false, isPurged: false };
      this.#versions.push(version);
    }
    for (let number = 0; number < sliceCount(version.manifest); number += 1) {
      if (this.random.integerBelow(3) === 0) continue;
      // What a crash left unproved is written anew; until the next drain neither copy is sure.
      version.durable.delete(number);
      if (offerOne(bench, version.manifest, number)?.kind === 'admitted') version.offered.add(number);
    }
  }

  async #readAny(bench: Bench): Promise<void> {
    const version = this.#versions[this.random.integerBelow(Math.max(1, this.#versions.length))];
    if (version === undefined) return;
    const { manifest } = version;
    const number = this.random.integerBelow(sliceCount(manifest));
    const isWhole = this.random.integerBelow(2) === 0;
    const kind = await readAndCheck(bench.store, manifest, number, isWhole ? undefined : [0, 1]);
    if (version.isPurged) assert.equal(kind, 'absent', 'a purged slice is gone');
    if (!version.isOver && version.durable.has(number)) assert.ok(['ram', 'device', 'busy'].includes(kind), `a durable slice is ${kind}`);
    const verdict = await bench.store.readManifest(manifest.objectHash);
    if (verdict.kind !== 'hit') return;
    const { generation } = verdict.manifest;
    const known = this.#versions.find((other) => other.manifest.generation === generation);
    assert.ok(known !== undefined && !known.isPurged, 'a manifest that was offered, and not purged');
    assert.deepEqual(verdict.manifest.fields, known.manifest.fields);
  }

  async #purge(bench: Bench): Promise<void> {
    const keyText = `key-${this.random.integerBelow(KEYS)}`;
    const covered = this.#versions.filter((version) => version.manifest.keyText === keyText);
    for (const version of covered) version.isOver = true;
    await bench.store.purge({ kind: 'object', objectHash: hashOf(keyText) });
    for (const version of covered) version.isPurged = true;
  }

  #drop(bench: Bench): void {
    const version = this.current(`key-${this.random.integerBelow(KEYS)}`);
    if (version === undefined) return;
    version.isOver = true;
    bench.store.dropManifest(version.manifest.objectHash, version.manifest.generation);
  }

  #refresh(bench: Bench): void {
    const version = this.current(`key-${this.random.integerBelow(KEYS)}`);
    if (version === undefined) return;
    const freshness = { receivedAtMs: 5, initialAgeSeconds: 0, freshUntilMs: this.random.integerBelow(1000) };
    bench.store.refreshManifest(version.manifest.objectHash, version.manifest.generation, freshness);
  }

  async #drain(bench: Bench): Promise<void> {
    await bench.store.drain();
    assertNoLeases(bench.arena);
    this.#noteDurable(bench);
  }

  #noteDurable(bench: Bench): void {
    assert.equal(bench.store.metrics.value('evicted', 'blocks') + bench.store.metrics.value('evicted', 'entries'), 0);
    // A crowded journal may drop puts; they are forgotten in a crash, legally.
    const { metrics } = bench.store;
    if (metrics.value('journalDropped') > 0) return;
    for (const reason of ['error', 'no-space', 'no-slot', 'unavailable'] as const)
      assert.equal(metrics.value('dropped', reason), 0, reason);
    for (const version of this.#versions) {
      if (version.isOver) continue;
      for (const number of version.offered) version.durable.add(number);
    }
  }

  async #crash(bench: Bench): Promise<void> {
    // Some work is in progress when the power goes.
    this.#offer(bench);
    const purge = this.random.integerBelow(2) === 0 ? this.#purge(bench).catch(() => undefined) : undefined;
    for (let turns = this.random.integerBelow(8); turns > 0; turns -= 1) await new Promise((resolve) => setImmediate(resolve));
    this.disk.crash(this.random, (['any', 'any', 'all', 'none'] as const)[this.random.integerBelow(4)]);
    await purge;
    for (const version of this.#versions) {
      version.offered.clear();
      // The manifest's put may have survived without its data: nothing that is written under it later is sure.
      if (version.durable.size === 0) version.isOver = true;
    }
    for (const version of this.#versions) for (const number of version.durable) version.offered.add(number);
    await this.open();
  }

  async #restart(bench: Bench): Promise<void> {
    await bench.store.close();
    assert.equal(bench.arena.leasedSlots, 0);
    this.#noteDurable(bench);
    await this.open();
  }
}

for (const seed of [1, 2, 3, 4]) {
  test(`crashes at any moment leave a store that tells no lie (seed ${seed})`, async () => {
    const play = new Play(seed, 16 * MIB);
    const device = play.disk.open();
    await formatTiny(device, tinyParameters({ entryCount: 1024, journalBlocks: 48 }), seed);
    await device.close();
    await play.open();
    for (let step = 0; step < STEPS; step += 1) {
      assert.ok(play.bench !== undefined);
      assert.equal(play.bench.store.state, 'online', `step ${step}`);
      await play.step(play.bench);
      assert.equal(play.bench.store.findContradiction(), undefined, `step ${step}`);
    }
    await play.bench?.store.close();
    assert.equal(play.bench?.arena.leasedSlots, 0);
  });
}
