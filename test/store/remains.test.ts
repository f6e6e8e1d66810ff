/** What is left of an object that is gone is freed bit by bit: in memory first, never more than was asked for, and counted where it is given up. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Lease } from '../../src/memory/lease.ts';
import { Remains } from '../../src/store/index/remains.ts';
import { ResidentTier } from '../../src/store/index/resident-tier.ts';

const GENERATION = 7;

function setUp(stored: Iterable<number>): { remains: Remains; resident: ResidentTier; left: Set<number>; givenUp: number[] } {
  const [left, givenUp, resident] = [new Set(stored), [] as number[], new ResidentTier(() => undefined)];
  const remains = new Remains({
    resident,
    isStored: (_generation, sliceNumber) => left.has(sliceNumber),
    free: (_generation, sliceNumber) => left.delete(sliceNumber),
    onGivenUp: (slices) => void givenUp.push(slices),
  });
  return { remains, resident, left, givenUp };
}

function keep(resident: ResidentTier, sliceNumber: number): void {
  const owner = { freeSlot: () => undefined, changeClass: () => undefined };
  const lease = new Lease(owner, { page: 0, sizeBytes: 1, bytes: Buffer.alloc(1), slotClass: 'resident', leaseCount: 0 });
  resident.add({ generation: GENERATION, sliceNumber, lengthBytes: 1, lease });
}

test('slices go a few at a time, those in memory first, and then there is nothing left', () => {
  const { remains, resident, left, givenUp } = setUp([0, 1, 2, 3, 4, 5]);
  // 5 is in both places, 9 in memory only.
  for (const sliceNumber of [5, 9]) keep(resident, sliceNumber);
  remains.add(GENERATION, 7);
  const seen = Array.from({ length: 4 }, () => {
    remains.freeSome(2);
    return [resident.count, left.size];
  });
  assert.deepEqual(seen, [
    [0, 6],
    [0, 4],
    [0, 2],
    [0, 0],
  ]);
  assert.equal(remains.isEmpty, true);
  assert.deepEqual(givenUp, []);
});

test('slices that are found nowhere, and objects beyond those that may wait, are given up and counted', () => {
  const { remains, givenUp } = setUp([1]);
  remains.add(GENERATION, 3);
  remains.freeSome(Number.POSITIVE_INFINITY);
  assert.deepEqual(givenUp, [2]);
  while (givenUp.length === 1) remains.add(GENERATION, 5);
  assert.deepEqual(givenUp, [2, 5]);
});
