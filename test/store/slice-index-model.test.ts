/** The index against a list that is kept the slow way: keys, places, flags, objects, eviction order and victims. Numbers that run out. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SeededRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import { MANIFEST_NUMBER } from '../../src/format/journal-block.ts';
import { Arena } from '../../src/memory/arena.ts';
import { COUNTER_MAX, EXTENT_BLOCKS_MAX, NO_SLOT, SliceIndex } from '../../src/store/index/slice-index.ts';
import { RootArea, readRoot } from '../../src/store/recovery/root-area.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { clock, formatTiny, makeManifest, openBench, readAndCheck, storeObject } from './store-bench.ts';

interface Entry {
  readonly generation: number;
  readonly sliceNumber: number;
  place: { block: number; blocks: number; writeSequence: number; flags: number };
  isVisited: boolean;
  isUnproved: boolean;
}

const GENERATION_BASE = COUNTER_MAX - 5;
const ENTRIES = 24;

/** The same as the index, in a plain list from the oldest to the newest. */
class Model {
  entries: Entry[] = [];
  hand: Entry | undefined;

  find(generation: number, sliceNumber: number): Entry | undefined {
    return this.entries.find((entry) => entry.generation === generation && entry.sliceNumber === sliceNumber);
  }

  get used(): number {
    return this.entries.reduce((sum, entry) => sum + (entry.sliceNumber === MANIFEST_NUMBER ? 2 : 1), 0);
  }

  slices(generation: number): number {
    return this.entries.filter((entry) => entry.generation === generation && entry.sliceNumber !== MANIFEST_NUMBER).length;
  }

  remove(entry: Entry): void {
    if (this.hand === entry) this.hand = this.entries[this.entries.indexOf(entry) + 1];
    this.entries = this.entries.filter((each) => each !== entry);
  }

  victim(): Entry | undefined {
    let at = this.hand === undefined ? 0 : this.entries.indexOf(this.hand);
    for (let steps = 2 * this.entries.length; steps >= 0 && this.entries.length > 0; steps -= 1) {
      const entry = this.entries[at] as Entry;
      const isManifest = entry.sliceNumber === MANIFEST_NUMBER;
      const isHeld = isManifest && (entry.place.blocks === 0 || this.slices(entry.generation) > 0);
      const isOrphan = !isManifest && this.find(entry.generation, MANIFEST_NUMBER) === undefined;
      if (isOrphan || (!isHeld && !entry.isVisited)) {
        this.hand = entry;
        return entry;
      }
      if (!isHeld) entry.isVisited = false;
      at = (at + 1) % this.entries.length;
    }
    return undefined;
  }
}

const stepOf = fc.record({
  kind: fc.constantFrom('slice', 'slice', 'slice', 'object', 'remove', 'visit', 'unprove', 'move', 'victim', 'sort'),
  generation: fc.integer({ min: GENERATION_BASE, max: COUNTER_MAX }),
  sliceNumber: fc.constantFrom(0, 1, 2, 2 ** 32 - 2),
  blocks: fc.constantFrom(1, 257, EXTENT_BLOCKS_MAX),
  block: fc.constantFrom(1, 2 ** 32 - 2),
  writeSequence: fc.integer({ min: 0, max: COUNTER_MAX }),
  flags: fc.constantFrom(0, 4, 8, 16, 28),
});
type Step = typeof stepOf extends fc.Arbitrary<infer Value> ? Value : never;

function slotOf(index: SliceIndex, entry: Entry): number {
  return entry.sliceNumber === MANIFEST_NUMBER
    ? index.findManifest(entry.generation)
    : index.findSlice(entry.generation, entry.sliceNumber);
}

function tagOf(generation: number): { tagLow: number; tagHigh: number } {
  return { tagLow: generation % 3, tagHigh: COUNTER_MAX - generation };
}

function put(model: Model, index: SliceIndex, step: Step): void {
  const { generation, sliceNumber, block, blocks, writeSequence, flags } = step;
  const place = { block, blocks, writeSequence, flags };
  if (step.kind === 'object') {
    if (model.find(generation, MANIFEST_NUMBER) !== undefined) return;
    const row = index.putManifest(tagOf(generation), generation);
    assert.equal(row === NO_SLOT, model.used + 2 > ENTRIES);
    if (row === NO_SLOT) return;
    index.addSlices(row, model.slices(generation));
    const none = { block: 0, blocks: 0, writeSequence: 0, flags: 0 };
    model.entries.push({ generation, sliceNumber: MANIFEST_NUMBER, place: none, isVisited: false, isUnproved: false });
    return;
  }
  if (model.find(generation, sliceNumber) !== undefined) return;
  const slot = index.putSlice(generation, sliceNumber, place);
  assert.equal(slot === NO_SLOT, model.used + 1 > ENTRIES);
  if (slot === NO_SLOT) return;
  count(index, generation, 1);
  model.entries.push({ generation, sliceNumber, place, isVisited: false, isUnproved: false });
}

function count(index: SliceIndex, generation: number, amount: number): void {
  const record = index.findManifest(generation);
  if (record !== NO_SLOT) index.addSlices(index.tagSlotOf(record), amount);
}

function remove(model: Model, index: SliceIndex, entry: Entry): void {
  const slot = slotOf(index, entry);
  if (entry.sliceNumber === MANIFEST_NUMBER) index.removeManifest(index.tagSlotOf(slot));
  else {
    index.removeSlice(slot);
    count(index, entry.generation, -1);
  }
  model.remove(entry);
}

function take(model: Model, index: SliceIndex, step: Step): void {
  if (step.kind === 'slice' || step.kind === 'object') return put(model, index, step);
  if (step.kind === 'victim') {
    const expected = model.victim();
    const victim = index.nextVictim();
    assert.equal(victim, expected === undefined ? NO_SLOT : slotOf(index, expected));
    if (expected !== undefined) remove(model, index, expected);
    return;
  }
  if (step.kind === 'sort') {
    assert.deepEqual([...index.sortByWriteSequence()], [...index.records()]);
    // Equal ones come in order of slots, which is nobody's business.
    const order = new Map([...index.records()].map((slot, at) => [slot, at]));
    const sorted = model.entries.toSorted((left, right) => left.place.writeSequence - right.place.writeSequence);
    const bySlot = model.entries.toSorted((left, right) => (order.get(slotOf(index, left)) ?? 0) - (order.get(slotOf(index, right)) ?? 0));
    assert.deepEqual(
      bySlot.map((entry) => entry.place.writeSequence),
      sorted.map((entry) => entry.place.writeSequence),
    );
    model.entries = bySlot;
    model.hand = undefined;
    return;
  }
  const entry = model.find(step.generation, step.sliceNumber) ?? model.find(step.generation, MANIFEST_NUMBER);
  if (entry === undefined) return;
  const slot = slotOf(index, entry);
  if (step.kind === 'remove') remove(model, index, entry);
  else if (step.kind === 'visit') {
    index.markVisited(slot);
    entry.isVisited = true;
  } else if (step.kind === 'unprove') {
    if (entry.isUnproved) index.markProved(slot);
    else index.markUnproved(slot);
    entry.isUnproved = !entry.isUnproved;
  } else {
    const { block, blocks, writeSequence, flags } = step;
    entry.place = { block, blocks, writeSequence, flags };
    entry.isUnproved = false;
    index.setPlace(slot, entry.place);
  }
}

function agree(model: Model, index: SliceIndex): void {
  assert.equal(index.usedEntries, model.used);
  assert.equal(index.recordCount, model.entries.length);
  const slots = [...index.recordSlots()];
  assert.deepEqual(
    slots,
    model.entries.map((entry) => slotOf(index, entry)),
  );
  for (const [at, entry] of model.entries.entries()) {
    const slot = slots[at] ?? NO_SLOT;
    assert.deepEqual(index.place(slot), entry.place);
    const seen = [index.generation(slot), index.sliceNumber(slot), index.isVisited(slot), index.isUnproved(slot)];
    assert.deepEqual(seen, [entry.generation, entry.sliceNumber, entry.isVisited, entry.isUnproved]);
    if (entry.sliceNumber !== MANIFEST_NUMBER) continue;
    const row = index.findTag(tagOf(entry.generation));
    assert.deepEqual([index.recordOf(row), index.tagSlotOf(slot), index.slices(row)], [slot, row, model.slices(entry.generation)]);
  }
}

test('the index agrees with a list, evicts in the same order, and is full when it says so', () => {
  const property = fc.property(fc.array(stepOf, { maxLength: 300 }), (steps) => {
    const model = new Model();
    const index = new SliceIndex(ENTRIES);
    for (const step of steps) {
      take(model, index, step);
      agree(model, index);
    }
  });
  fc.assert(property, { seed: 55, numRuns: 150 });
});

test('a long sort lets others run, and ends in order', () => {
  const random = new SeededRandom(56);
  const index = new SliceIndex(60_000);
  for (let number = 0; number < 60_000; number += 1) {
    const writeSequence = random.integerBelow(2 ** 19) * 2 ** 19 + random.integerBelow(2 ** 19);
    index.putSlice(1, number, { block: 1, blocks: 1, writeSequence, flags: 0 });
  }
  let yields = 0;
  for (const _ of index.sortInPieces()) yields += 1;
  assert.ok(yields > 10);
  const sequences = [...index.records()].map((slot) => index.writeSequence(slot));
  assert.ok(sequences.length === 60_000 && sequences.every((value, at) => at === 0 || value >= (sequences[at - 1] ?? 0)));
});

test('numbers that are used up make the store read-only, and what it holds stays readable', async () => {
  const disk = new SimulatedDisk({ capacityBytes: 4 * MIB, random: new SeededRandom(57) });
  const device = disk.open();
  await formatTiny(device);
  const arena = new Arena({ sizeBytes: 4 * MIB, clock });
  const area = new RootArea({ device, arena, clock, root: await readRoot(device, arena) });
  await area.commit(() => ({ generationFloor: COUNTER_MAX - 1, writeSequenceFloor: COUNTER_MAX - 1000 }));
  await device.close();
  const bench = await openBench(disk.open());
  const manifest = await storeObject(bench, 'x', 1000);
  assert.equal(manifest.generation, COUNTER_MAX - 1);
  const last = await storeObject(bench, 'y', 1000);
  assert.equal(last.generation, COUNTER_MAX);
  const beyond = makeManifest('z', bench.store.nextGeneration(), 1000);
  assert.equal(bench.store.state, 'readonly');
  assert.deepEqual(bench.store.offerManifest(beyond, bench.store.purgeSequence), { kind: 'declined', reason: 'unavailable' });
  assert.match(await readAndCheck(bench.store, last, 0), /ram|device/);
  await bench.store.close();
  const again = await openBench(disk.open());
  assert.equal(again.store.state, 'readonly');
  assert.equal(await readAndCheck(again.store, last, 0), 'device');
  await again.store.close();
});
