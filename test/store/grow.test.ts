/** Growing in place: nothing is lost, the new room is used, and the power may fail at any write. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import type { Manifest } from '../../src/format/manifest.ts';
import { Arena } from '../../src/memory/arena.ts';
import { checkDevice } from '../../src/store/check/check-device.ts';
import { growDevice } from '../../src/store/grow-device.ts';
import { type CrashKeeps, SimulatedDisk } from '../simulation/simulated-device.ts';
import { clock, formatTiny, openBench, readAndCheck, SLICE_BYTES, sliceCount, storeObject, tinyParameters } from './store-bench.ts';

const OLD_BYTES = 3 * MIB;
const NEW_BYTES = 5 * MIB;
const LABEL_BYTES = 32 * KIB;

class GrowingDisk {
  readonly random = new SeededRandom(71);
  readonly disk: SimulatedDisk;
  manifests: Manifest[] = [];
  writes = 0;
  #crashAt = 0;
  #keeps: CrashKeeps = 'any';

  constructor() {
    this.disk = new SimulatedDisk({ capacityBytes: NEW_BYTES, random: this.random, delay: (operation) => this.#count(operation) });
  }

  async #count(operation: string): Promise<void> {
    if (operation === 'read') return;
    this.writes += 1;
    if (this.writes === this.#crashAt) this.disk.crash(this.random, this.#keeps);
  }

  crashAt(write: number, keeps: CrashKeeps): void {
    this.writes = 0;
    this.#crashAt = write;
    this.#keeps = keeps;
  }

  /** A cache that uses a part of the disk, as if that had become larger since. */
  async fill(): Promise<void> {
    const device = this.disk.open();
    await formatTiny(device, { ...tinyParameters({ entryCount: 256 }), capacityBytes: OLD_BYTES }, 71);
    await device.close();
    const bench = await openBench(this.disk.open());
    for (let number = 0; number < 8; number += 1) this.manifests.push(await storeObject(bench, `object-${number}`, SLICE_BYTES + 500));
    await bench.store.close();
  }

  async grow(): Promise<Awaited<ReturnType<typeof growDevice>>> {
    const device = this.disk.open();
    try {
      return await growDevice({ device, arena: new Arena({ sizeBytes: 4 * MIB, clock }) });
    } finally {
      await device.close();
    }
  }

  /** Every slice is there; @returns the bytes for objects */
  async readAll(): Promise<number> {
    const bench = await openBench(this.disk.open());
    for (const manifest of this.manifests) {
      for (let number = 0; number < sliceCount(manifest); number += 1)
        assert.equal(await readAndCheck(bench.store, manifest, number), 'device');
    }
    const { usedBytes, freeBytes } = bench.store.usage;
    await bench.store.close();
    return usedBytes + freeBytes;
  }

  async findings(): Promise<readonly string[]> {
    const device = this.disk.open('read-only');
    const { check } = await checkDevice({ device, arena: new Arena({ sizeBytes: 8 * MIB, clock }) }, { level: 'deep', isInUse: false });
    await device.close();
    return check.notes.filter(({ kind }) => kind === 'finding').map(({ code }) => code);
  }
}

test('everything stays, and the new room is used', async () => {
  const growing = new GrowingDisk();
  await growing.fill();
  const roomBefore = await growing.readAll();
  const { before, after, isFinished } = await growing.grow();
  assert.deepEqual([before.capacityBytes, after.capacityBytes, isFinished], [OLD_BYTES, NEW_BYTES, false]);
  assert.deepEqual(
    [after.entryCount, after.journalBytes, after.groupsOffset],
    [before.entryCount, before.journalBytes, before.groupsOffset],
  );
  assert.deepEqual(await growing.findings(), []);
  assert.equal(await growing.readAll(), roomBefore + NEW_BYTES - OLD_BYTES);
  assert.ok(
    growing.disk.peek(OLD_BYTES - 2 * LABEL_BYTES, 2 * LABEL_BYTES).every((byte) => byte === 0),
    'the old labels are free blocks',
  );
  const bench = await openBench(growing.disk.open());
  for (let number = 0; number < 14; number += 1) growing.manifests.push(await storeObject(bench, `more-${number}`, 2 * SLICE_BYTES));
  await bench.store.close();
  const beyond = growing.disk.peek(OLD_BYTES, NEW_BYTES - OLD_BYTES - 2 * LABEL_BYTES).some((byte) => byte !== 0);
  assert.ok(beyond, 'objects lie behind the old end');
  await growing.readAll();
  assert.deepEqual(await growing.findings(), []);
  await assert.rejects(growing.grow(), { code: 'USAGE' });
});

test('the power may fail at any write: the cache opens with everything, and growing again goes on', async () => {
  const growing = new GrowingDisk();
  await growing.fill();
  const start = growing.disk.snapshot();
  growing.crashAt(0, 'any');
  await growing.grow();
  const writes = growing.writes;
  assert.ok(writes > 8, `${writes} writes and flushes`);
  for (let write = 1; write <= writes; write += 1) {
    for (const keeps of ['any', 'all', 'none'] as const) {
      growing.disk.restore(start);
      growing.crashAt(write, keeps);
      await growing.grow().catch(() => undefined);
      growing.crashAt(0, 'any');
      const broken = growing.disk.snapshot();
      await growing.readAll();
      // As it was broken off, and after a server has used it: either goes on.
      const used = growing.disk.snapshot();
      for (const state of keeps === 'any' ? [broken, used] : [broken]) {
        growing.disk.restore(state);
        await growing.grow().catch((error: unknown) => assert.match(String(error), /is used to its end/));
        assert.deepEqual(await growing.findings(), [], `write ${write}, ${keeps}`);
        await growing.readAll();
      }
    }
  }
});

test('what is too little to take in is refused', async () => {
  const growing = new GrowingDisk();
  const device = growing.disk.open();
  await formatTiny(device, { ...tinyParameters({ entryCount: 256 }), capacityBytes: NEW_BYTES - LABEL_BYTES }, 71);
  await device.close();
  await assert.rejects(growing.grow(), /growing takes 64 KiB more at least/);
});
