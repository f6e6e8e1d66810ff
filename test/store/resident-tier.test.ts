/** What leaves memory first: SIEVE in laps, so that what is old and dead does not stay for what is read over and over. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Lease } from '../../src/memory/lease.ts';
import { ResidentTier } from '../../src/store/index/resident-tier.ts';

const CAPACITY = 40;

function newLease(): Lease {
  const owner = { freeSlot: () => undefined, changeClass: () => undefined };
  return new Lease(owner, { page: 0, sizeBytes: 1, bytes: Buffer.alloc(1), slotClass: 'resident', leaseCount: 0 });
}

/** Reads slices of an object in a row, as a client of all of it does. @returns how many were there */
function readAll(tier: ResidentTier, generation: number, slices: number): number {
  let hits = 0;
  for (let sliceNumber = 0; sliceNumber < slices; sliceNumber += 1) {
    const found = tier.find(generation, sliceNumber);
    if (found !== undefined) {
      found.isVisited = true;
      hits += 1;
      continue;
    }
    while (tier.count >= CAPACITY) assert.ok(tier.reclaim());
    tier.add({ generation, sliceNumber, lengthBytes: 1, lease: newLease() });
  }
  return hits;
}

test('what is read over and over takes the place of what was read twice and never again', () => {
  const tier = new ResidentTier(() => undefined);
  readAll(tier, 1, 30);
  assert.equal(readAll(tier, 1, 30), 30);
  // There is room for 10 beside it; a hand that stays behind the newcomers evicts these 10 in turn, and none is ever found.
  const passes = Array.from({ length: 5 }, () => readAll(tier, 2, 20));
  assert.deepEqual(passes.slice(-2), [20, 20], `hits by pass: ${passes.join(' ')}`);
  assert.equal(tier.count, CAPACITY);
});

test('what comes once does not push out what is read again and again', () => {
  const tier = new ResidentTier(() => undefined);
  for (let turn = 0; turn < 20; turn += 1) {
    const hits = readAll(tier, 1, 20);
    if (turn > 0) assert.equal(hits, 20, `turn ${turn}`);
    readAll(tier, 100 + turn, 15);
  }
});
