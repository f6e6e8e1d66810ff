/** The buddy allocator against a naive model, and its arithmetic at the edges. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AssertionFailure } from '../../src/base/assert.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { BuddyAllocator } from '../../src/memory/buddy-allocator.ts';

/** Every aligned run of free pages of the wished size, looked for page by page. */
class NaiveModel {
  readonly #used: boolean[];
  readonly #limit: number;

  constructor(pageCount: number) {
    this.#used = new Array<boolean>(pageCount).fill(false);
    this.#limit = 2 ** Math.floor(Math.log2(pageCount));
  }

  canAllocate(order: number): boolean {
    const size = 2 ** order;
    if (size > this.#limit) return false;
    for (let page = 0; page + size <= this.#used.length; page += size) {
      if (this.#used.slice(page, page + size).every((used) => !used)) return true;
    }
    return false;
  }

  mark(page: number, order: number, isUsed: boolean): void {
    for (let index = page; index < page + 2 ** order; index += 1) {
      assert.equal(this.#used[index], !isUsed, `page ${index} is ${isUsed ? 'given twice' : 'not given'}`);
      this.#used[index] = isUsed;
    }
  }

  get freePages(): number {
    return this.#used.filter((used) => !used).length;
  }
}

test('BuddyAllocator agrees with a naive model on what fits, and never gives a page twice', () => {
  for (let seed = 1; seed <= 40; seed += 1) {
    const random = new SeededRandom(seed);
    const pageCount = 1 + random.integerBelow(200);
    const buddies = new BuddyAllocator(pageCount);
    const model = new NaiveModel(pageCount);
    const held: { page: number; order: number }[] = [];
    for (let step = 0; step < 400; step += 1) {
      const order = random.integerBelow(7);
      if (random.integerBelow(5) < 3) {
        const page = buddies.tryAllocate(order);
        assert.equal(page !== undefined, model.canAllocate(order), `seed ${seed} step ${step}: order ${order}`);
        if (page === undefined) continue;
        assert.equal(page % 2 ** order, 0);
        assert.ok(page + 2 ** order <= pageCount);
        model.mark(page, order, true);
        held.push({ page, order });
      } else if (held.length > 0) {
        const run = held.splice(random.integerBelow(held.length), 1)[0];
        assert.ok(run !== undefined);
        buddies.free(run.page);
        model.mark(run.page, run.order, false);
      }
      assert.equal(buddies.freePages, model.freePages, `seed ${seed} step ${step}`);
    }
    for (const run of held) buddies.free(run.page);
    // Everything joined again: the largest run is there.
    assert.ok(buddies.tryAllocate(Math.floor(Math.log2(pageCount))) !== undefined, `seed ${seed}`);
  }
});

test('BuddyAllocator gives the whole of a power of two as one run', () => {
  for (let order = 0; order <= 20; order += 1) {
    const buddies = new BuddyAllocator(2 ** order);
    assert.equal(buddies.tryAllocate(order), 0);
    assert.equal(buddies.freePages, 0);
    assert.equal(buddies.tryAllocate(0), undefined);
    buddies.free(0);
    assert.equal(buddies.freePages, 2 ** order);
  }
});

test('BuddyAllocator uses every page of a count that is no power of two', () => {
  const buddies = new BuddyAllocator(13);
  const pages = new Set<number>();
  for (let page = buddies.tryAllocate(0); page !== undefined; page = buddies.tryAllocate(0)) pages.add(page);
  assert.equal(pages.size, 13);
  for (const page of pages) buddies.free(page);
  assert.deepEqual([buddies.tryAllocate(3), buddies.tryAllocate(2), buddies.tryAllocate(0)], [0, 8, 12]);
});

test('BuddyAllocator refuses to free what it did not give', () => {
  const buddies = new BuddyAllocator(8);
  const page = buddies.tryAllocate(1);
  assert.equal(page, 0);
  assert.throws(() => buddies.free(1), AssertionFailure);
  assert.throws(() => buddies.free(4), AssertionFailure);
  assert.throws(() => buddies.free(99), AssertionFailure);
  buddies.free(0);
  assert.throws(() => buddies.free(0), AssertionFailure);
  assert.equal(buddies.tryAllocate(4), undefined);
});
