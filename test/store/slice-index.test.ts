/** The index against a Map, over seeded steps; the order of eviction. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { NO_SLOT, objectTag, SliceIndex } from '../../src/store/index/slice-index.ts';
import { hashOf } from './store-bench.ts';

test('the index agrees with a Map', () => {
  const random = new SeededRandom(51);
  const index = new SliceIndex(300);
  const model = new Map<string, { generation: number; number: number; block: number }>();
  for (let step = 0; step < 20_000; step += 1) {
    const generation = 2 ** 37 + random.integerBelow(12);
    const number = random.integerBelow(40);
    const key = `${generation}/${number}`;
    const slot = index.findSlice(generation, number);
    const known = model.get(key);
    assert.equal(slot !== NO_SLOT, known !== undefined);
    if (known !== undefined) {
      assert.deepEqual(index.place(slot), { block: known.block, blocks: 3, writeSequence: 2 ** 36 + known.block, flags: 0 });
      assert.deepEqual([index.generation(slot), index.sliceNumber(slot), index.kind(slot)], [generation, number, 'slice']);
      if (random.integerBelow(2) === 0) {
        index.removeSlice(slot);
        model.delete(key);
      }
    } else if (index.putSlice(generation, number, { block: step, blocks: 3, writeSequence: 2 ** 36 + step, flags: 0 }) === NO_SLOT) {
      assert.equal(model.size, 300);
    } else model.set(key, { generation, number, block: step });
    assert.equal(index.usedEntries, model.size);
  }
  index.sortByWriteSequence();
  const sequences = [...index.recordSlots()].map((slot) => index.writeSequence(slot));
  assert.deepEqual(
    sequences,
    sequences.toSorted((left, right) => left - right),
  );
  assert.equal(sequences.length, model.size);
});

test('an object is found by tag and by generation, with freshness and count', () => {
  const index = new SliceIndex(8);
  const tag = objectTag(hashOf('a'));
  const tagSlot = index.putManifest(tag, 2 ** 38 - 1);
  const freshness = { receivedAtMs: 2 ** 41 + 1, initialAgeSeconds: 5, freshUntilMs: 2 ** 42 + 3 };
  index.setFreshness(tagSlot, freshness);
  assert.deepEqual(index.freshness(tagSlot), freshness);
  assert.equal(index.findTag(tag), tagSlot);
  assert.equal(index.recordOf(tagSlot), index.findManifest(2 ** 38 - 1));
  assert.equal(index.tagSlotOf(index.recordOf(tagSlot)), tagSlot);
  assert.equal(index.findSlice(2 ** 38 - 1, 2 ** 32 - 1), NO_SLOT);
  assert.equal(index.findTag(objectTag(hashOf('b'))), NO_SLOT);
  assert.equal(index.usedEntries, 2);
  index.removeManifest(tagSlot);
  assert.equal(index.usedEntries, 0);
  assert.equal(index.findTag(tag), NO_SLOT);
});

test('SIEVE: unvisited ones go in order, visited ones once spared, manifests after their slices, orphans at once', () => {
  const index = new SliceIndex(16);
  const tagSlot = index.putManifest(objectTag(hashOf('a')), 1);
  index.setPlace(index.recordOf(tagSlot), { block: 1, blocks: 2, writeSequence: 1, flags: 0 });
  const slots = [0, 1, 2, 3].map((number) =>
    index.putSlice(1, number, { block: 10 * number, blocks: 1, writeSequence: 2 + number, flags: 0 }),
  );
  index.addSlices(tagSlot, 4);
  index.markVisited(slots[0] ?? 0);
  index.markVisited(slots[2] ?? 0);
  const order: number[] = [];
  for (let count = 0; count < 4; count += 1) {
    const victim = index.nextVictim();
    order.push(index.sliceNumber(victim));
    index.removeSlice(victim);
    index.addSlices(tagSlot, -1);
  }
  assert.deepEqual(order, [1, 3, 0, 2]);
  assert.equal(index.nextVictim(), index.recordOf(tagSlot));
  const orphan = index.putSlice(9, 0, { block: 1, blocks: 1, writeSequence: 99, flags: 0 });
  index.markVisited(orphan);
  index.addSlices(tagSlot, 1);
  assert.equal(index.nextVictim(), orphan);
});
