/** The parts of admission, each alone: filter, memory of requests, ghosts, write budget, and the ladder made of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { GIB, MIB } from '../../src/base/units.ts';
import { AdmissionLadder } from '../../src/store/admission/admission-ladder.ts';
import type { Admission, AdmissionVerdict } from '../../src/store/admission/admission-policy.ts';
import { BloomFilter } from '../../src/store/admission/bloom-filter.ts';
import { GhostRing } from '../../src/store/admission/ghost-ring.ts';
import { RequestMemory } from '../../src/store/admission/request-memory.ts';
import { WriteBudget } from '../../src/store/admission/write-budget.ts';
import type { ObjectTag } from '../../src/store/index/object-table.ts';
import { VirtualClock } from '../simulation/virtual-clock.ts';

const HOUR_MS = 3_600_000;

/** Time passes only by advance(). */
class ManualClock extends VirtualClock {
  #nowMs = 0;

  advance(ms: number): void {
    this.#nowMs += ms;
  }

  override monotonicMs(): number {
    return this.#nowMs;
  }
}

function tags(seed: number, count: number): ObjectTag[] {
  const random = new SeededRandom(seed);
  return Array.from({ length: count }, () => ({ tagLow: random.integerBelow(2 ** 32), tagHigh: random.integerBelow(2 ** 32) }));
}

function tag(number: number): ObjectTag {
  const [only] = tags(1000 + number, 1);
  assert.ok(only !== undefined);
  return only;
}

test('a Bloom filter knows all that was added, and as few strangers as ten bits a key allow', () => {
  for (const [seed, keys] of [
    [11, 1],
    [12, 100],
    [13, 20_000],
  ] as const) {
    const filter = new BloomFilter(keys);
    const added = tags(seed, keys);
    for (const { tagLow, tagHigh } of added) filter.add(tagLow, tagHigh);
    assert.ok(added.every(({ tagLow, tagHigh }) => filter.has(tagLow, tagHigh)));
    const strangers = tags(seed + 100, 20_000).filter(({ tagLow, tagHigh }) => filter.has(tagLow, tagHigh)).length;
    // In theory 0.82 %; a filter for one key has 32 bits, and hardly any.
    assert.ok(strangers / 20_000 < 0.0105, `seed ${seed}: ${strangers} of 20000 strangers are known`);
    if (keys === 20_000) {
      assert.ok(
        strangers / 20_000 > 0.005,
        `seed ${seed}: ${strangers} is less than theory allows, so the filter is larger than it should be`,
      );
      assert.ok(filter.keys > keys * 0.99 && filter.keys <= keys, `${filter.keys} keys were told apart`);
    }
    filter.clear();
    assert.ok(!added.some(({ tagLow, tagHigh }) => filter.has(tagLow, tagHigh)));
    assert.equal(filter.keys, 0);
  }
});

test('keys of real use, counted up in either half, are as few strangers', () => {
  const filter = new BloomFilter(10_000);
  const memory = new RequestMemory(30_000);
  for (let number = 0; number < 10_000; number += 1) filter.add(Math.imul(number, 0x9e3779b1) >>> 0, number);
  let strangers = 0;
  for (let number = 0; number < 10_000; number += 1) {
    if (filter.has(Math.imul(number + 20_000, 0x9e3779b1) >>> 0, number + 20_000)) strangers += 1;
    // Objects of which many places are asked for once are not wanted.
    if (memory.note(tag(number % 10), number * MIB)) strangers += 1;
  }
  assert.ok(strangers < 250, `${strangers} strangers`);
});

test('an object is wanted from the second request for a place of it on, and told so once', () => {
  const memory = new RequestMemory(1000);
  const [first, second] = [tag(1), tag(2)];
  assert.deepEqual([memory.note(first, 0), memory.isWanted(first)], [false, false]);
  assert.deepEqual([memory.note(first, 5 * MIB), memory.isWanted(first)], [false, false]);
  assert.deepEqual([memory.note(first, 5 * MIB + 77), memory.isWanted(first)], [true, true]);
  assert.deepEqual([memory.note(first, 0), memory.note(first, 5 * MIB)], [false, false]);
  assert.equal(memory.isWanted(second), false);
  assert.deepEqual([memory.note(second, Number.MAX_SAFE_INTEGER), memory.note(second, Number.MAX_SAFE_INTEGER)], [false, true]);
});

test('requests are forgotten after one to two turns', () => {
  const memory = new RequestMemory(100);
  memory.note(tag(1), 0);
  memory.turn();
  assert.equal(memory.fill, 0);
  assert.equal(memory.note(tag(1), 0), true, 'the older filter knows it');
  memory.turn();
  assert.equal(memory.isWanted(tag(1)), true);
  memory.turn();
  assert.equal(memory.isWanted(tag(1)), false);
  assert.equal(memory.note(tag(1), 0), false);
});

test('what is asked for all the time stays wanted', () => {
  const memory = new RequestMemory(64);
  let told = 0;
  for (let round = 0; round < 20; round += 1) {
    for (let turn = 0; turn < 3; turn += 1) if (memory.note(tag(1), 0)) told += 1;
    memory.turn();
    assert.equal(memory.isWanted(tag(1)), true);
  }
  assert.equal(told, 1);
});

test('the ladder forgets when the capacity was offered, or a filter is full', () => {
  const capacityBytes = 100 * MIB;
  const isForgottenAfter = (disturb: (ladder: AdmissionLadder) => void): boolean => {
    const ladder = new AdmissionLadder({ clock: new VirtualClock(), entryCount: 400, capacityBytes, writeBudgetBytes: undefined });
    ladder.noteRequest(tag(1), 0);
    disturb(ladder);
    return !ladder.noteRequest(tag(1), 0);
  };
  const offer = (ladder: AdmissionLadder, mebibytes: number): void => {
    for (let slice = 0; slice < mebibytes; slice += 1) ladder.noteOffer(MIB);
  };
  const ask = (ladder: AdmissionLadder, requests: number): void => {
    for (const other of tags(9, requests)) ladder.noteRequest(other, 0);
  };
  assert.equal(
    isForgottenAfter((ladder) => offer(ladder, 199)),
    false,
  );
  assert.equal(
    isForgottenAfter((ladder) => offer(ladder, 200)),
    true,
  );
  assert.equal(
    isForgottenAfter((ladder) => ask(ladder, 195)),
    false,
  );
  assert.equal(
    isForgottenAfter((ladder) => ask(ladder, 420)),
    true,
  );
});

test('ghosts are remembered by object and slice, the latest of them', () => {
  const ghosts = new GhostRing(1000);
  const objects = tags(7, 1000);
  for (const object of objects) ghosts.add(object, 3);
  const last = objects.slice(-300);
  assert.ok(last.filter((object) => ghosts.has(object, 3)).length > 295);
  assert.equal(last.filter((object) => ghosts.has(object, 4)).length, 0);
  for (const object of tags(8, 20_000)) ghosts.add(object, 0);
  assert.equal(objects.filter((object) => ghosts.has(object, 3)).length, 0);
  // One that is evicted again and again takes one place.
  for (let round = 0; round < 20; round += 1) ghosts.add(tag(1), 1);
  const [other] = tags(8, 20_000).slice(-1);
  assert.ok(other !== undefined && ghosts.has(other, 0));
});

test('a write budget earns evenly, saves an hour, and owes a day at most', () => {
  const clock = new ManualClock();
  const budget = new WriteBudget({ clock, bytesPerDay: 24 * GIB });
  assert.equal(budget.balanceBytes, GIB);
  budget.spend(3 * GIB);
  assert.equal(budget.balanceBytes, -2 * GIB);
  clock.advance(2.5 * HOUR_MS);
  assert.equal(Math.round(budget.balanceBytes / MIB), 512);
  clock.advance(100 * HOUR_MS);
  assert.equal(budget.balanceBytes, GIB);
  budget.spend(1000 * GIB);
  assert.equal(budget.balanceBytes, -24 * GIB);
  clock.advance(24 * HOUR_MS);
  assert.ok(Math.abs(budget.balanceBytes) < 1024);
});

test('in any day no more is written than the budget and an hour of it, and a slice', () => {
  const clock = new ManualClock();
  const bytesPerDay = 2400 * MIB;
  const budget = new WriteBudget({ clock, bytesPerDay });
  let writtenBytes = 0;
  for (let minute = 0; minute < 24 * 60; minute += 1) {
    for (let slice = 0; slice < 10; slice += 1) {
      if (budget.balanceBytes <= 0) break;
      budget.spend(MIB);
      writtenBytes += MIB;
    }
    clock.advance(60_000);
  }
  assert.ok(writtenBytes > bytesPerDay && writtenBytes <= bytesPerDay + bytesPerDay / 24 + MIB, `${writtenBytes / MIB} MiB`);
});

interface Step {
  readonly what: string;
  readonly requests: number;
  readonly wasEvicted?: boolean;
  readonly isFull?: boolean;
  readonly admission?: Admission;
  readonly spentBytes?: number;
  readonly verdict: AdmissionVerdict;
}

const STEPS: readonly Step[] = [
  { what: 'a device that is not full takes everything', requests: 1, isFull: false, verdict: 'admit' },
  { what: 'whatever was written', requests: 1, isFull: false, spentBytes: GIB, verdict: 'admit' },
  { what: 'a full one nothing that was asked for once', requests: 1, verdict: 'not-admitted' },
  { what: 'but what is asked for again', requests: 2, verdict: 'admit' },
  { what: 'and what it has just evicted', requests: 1, wasEvicted: true, verdict: 'admit' },
  { what: 'within its budget', requests: 2, spentBytes: GIB, verdict: 'write-budget' },
  { what: 'which ghosts are held to as well', requests: 1, wasEvicted: true, spentBytes: GIB, verdict: 'write-budget' },
  { what: 'and what a rule says', requests: 1, admission: 'always', verdict: 'admit' },
  { what: 'past the budget', requests: 1, admission: 'always', spentBytes: GIB, verdict: 'admit' },
];

for (const { what, requests, wasEvicted, isFull = true, admission = 'auto', spentBytes = 0, verdict } of STEPS) {
  test(`the ladder: ${what}`, () => {
    const ladder = new AdmissionLadder({ clock: new VirtualClock(), entryCount: 1000, capacityBytes: GIB, writeBudgetBytes: 24 * MIB });
    const candidate = { tag: tag(1), sliceNumber: 2, admission, isFull };
    if (wasEvicted === true) ladder.noteEvicted(candidate.tag, 2);
    if (spentBytes > 0) ladder.noteAdmitted({ ...candidate, isFull: true }, spentBytes);
    const told = Array.from({ length: requests }, () => ladder.noteRequest(candidate.tag, 0));
    assert.deepEqual(told, requests === 1 ? [false] : [false, true]);
    assert.equal(ladder.judge(candidate), verdict);
    assert.equal(ladder.judge({ ...candidate, tag: tag(2) }), isFull && admission === 'auto' ? 'not-admitted' : 'admit');
  });
}

test('filling an empty device costs no budget', () => {
  const ladder = new AdmissionLadder({ clock: new VirtualClock(), entryCount: 1000, capacityBytes: GIB, writeBudgetBytes: 24 * MIB });
  const candidate = { tag: tag(1), sliceNumber: 0, admission: 'auto', isFull: false } as const;
  ladder.noteAdmitted(candidate, GIB);
  assert.equal(ladder.budgetBytes, MIB);
  ladder.noteAdmitted({ ...candidate, isFull: true }, MIB);
  assert.equal(ladder.budgetBytes, 0);
});
