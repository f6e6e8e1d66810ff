/** Slots, leases, floors, waiting and reclaiming. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AssertionFailure } from '../../src/base/assert.ts';
import type { Clock, Timer } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { GIB, isPowerOfTwo, KIB, MIB, PAGE_BYTES } from '../../src/base/units.ts';
import { Arena } from '../../src/memory/arena.ts';
import type { Lease } from '../../src/memory/lease.ts';
import { SLOT_CLASSES } from '../../src/memory/slot-class.ts';

/** Time passes only by advance(). */
class ManualClock implements Clock {
  #nowMs = 0;
  readonly #timers = new Set<{ atMs: number; callback: () => void }>();

  advance(ms: number): void {
    this.#nowMs += ms;
    for (const timer of [...this.#timers]) {
      if (timer.atMs > this.#nowMs || !this.#timers.delete(timer)) continue;
      timer.callback();
    }
  }

  get timerCount(): number {
    return this.#timers.size;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs;
  }

  startTimer(delayMs: number, callback: () => void): Timer {
    const timer = { atMs: this.#nowMs + delayMs, callback };
    this.#timers.add(timer);
    return { stop: () => this.#timers.delete(timer) };
  }

  startInterval(): Timer {
    throw new Error('the arena needs no interval');
  }

  defer(): void {
    throw new Error('the arena defers nothing');
  }

  sleep(): Promise<void> {
    throw new Error('the arena does not sleep');
  }
}

function setUp(sizeBytes = 4 * MIB): { arena: Arena; clock: ManualClock } {
  const clock = new ManualClock();
  return { arena: new Arena({ sizeBytes, clock }), clock };
}

function mustLease(lease: Lease | undefined): Lease {
  assert.ok(lease !== undefined, 'a slot was expected');
  return lease;
}

/** Takes fill slots of `lengthBytes` until there are none. */
function fillUp(arena: Arena, lengthBytes: number): Lease[] {
  const leases: Lease[] = [];
  for (let lease = arena.tryLease('fill', lengthBytes); lease !== undefined; lease = arena.tryLease('fill', lengthBytes))
    leases.push(lease);
  return leases;
}

test('tryLease() gives page-aligned powers of two of shared memory', () => {
  const { arena } = setUp();
  for (const lengthBytes of [1, PAGE_BYTES, PAGE_BYTES + 1, 65 * KIB, MIB]) {
    const lease = mustLease(arena.tryLease('fill', lengthBytes));
    assert.ok(lease.sizeBytes >= lengthBytes && lease.sizeBytes < 2 * Math.max(lengthBytes, PAGE_BYTES));
    assert.ok(isPowerOfTwo(lease.sizeBytes));
    assert.equal(lease.bytes.length, lease.sizeBytes);
    assert.equal(lease.bytes.byteOffset % PAGE_BYTES, 0);
    assert.ok(lease.bytes.buffer instanceof SharedArrayBuffer);
    lease.end();
  }
  assert.equal(arena.leasedSlots, 0);
  assert.throws(() => arena.tryLease('fill', 0), AssertionFailure);
});

test('slots do not overlap', () => {
  const { arena } = setUp();
  const leases = fillUp(arena, 64 * KIB);
  for (const [index, lease] of leases.entries()) lease.bytes.fill(index);
  for (const [index, lease] of leases.entries()) assert.ok(lease.bytes.every((byte) => byte === index));
  for (const lease of leases) lease.end();
});

test('a class cannot take what the floors of the others reserve', () => {
  const { arena } = setUp();
  const fills = fillUp(arena, 64 * KIB);
  // 4 MiB less an eighth for device reads and a sixteenth for staging.
  assert.equal(arena.usedBytes('fill'), 4 * MIB - 512 * KIB - 256 * KIB);
  const reads: Lease[] = [];
  for (let lease = arena.tryLease('device-read', 64 * KIB); lease !== undefined; lease = arena.tryLease('device-read', 64 * KIB))
    reads.push(lease);
  assert.equal(arena.usedBytes('device-read'), 512 * KIB);
  const staging = mustLease(arena.tryLease('staging', 256 * KIB));
  assert.equal(arena.tryLease('staging', PAGE_BYTES), undefined);
  for (const lease of [...fills, ...reads, staging]) lease.end();
  for (const slotClass of SLOT_CLASSES) assert.equal(arena.usedBytes(slotClass), 0);
  assert.equal(arena.leasedSlots, 0);
});

test('a slot is free when its last lease ends, and each lease ends once', () => {
  const { arena } = setUp();
  const first = mustLease(arena.tryLease('fill', PAGE_BYTES));
  const second = first.share();
  assert.ok(first.isShared);
  first.end();
  assert.throws(() => first.end(), AssertionFailure);
  assert.throws(() => first.bytes, AssertionFailure);
  assert.throws(() => first.share(), AssertionFailure);
  assert.throws(() => first.moveTo('resident'), AssertionFailure);
  assert.equal(second.isShared, false);
  assert.equal(arena.leasedSlots, 1);
  second.moveTo('resident');
  assert.deepEqual([arena.usedBytes('fill'), arena.usedBytes('resident')], [0, PAGE_BYTES]);
  second.end();
  assert.deepEqual([arena.leasedSlots, arena.usedBytes('resident')], [0, 0]);
});

test('resident slots are reclaimed one by one, only as many as are needed', () => {
  const { arena } = setUp();
  const tier = fillUp(arena, 256 * KIB);
  for (const lease of tier) lease.moveTo('resident');
  const before = tier.length;
  arena.addReclaimer({
    slotCount: () => tier.length,
    reclaim: () => {
      const lease = tier.shift();
      lease?.end();
      return lease !== undefined;
    },
  });
  const fill = mustLease(arena.tryLease('fill', 256 * KIB));
  assert.ok(before - tier.length <= 2, `${before - tier.length} slots were reclaimed for one`);
  assert.equal(arena.metrics.value('reclaimedSlots'), before - tier.length);
  // What cannot be had at all must not cost the tier anything.
  const kept = tier.length;
  assert.equal(arena.tryLease('fill', 4 * MIB), undefined);
  assert.equal(tier.length, kept);
  for (const lease of [fill, ...tier]) lease.end();
});

test('lease() waits in order, and a freed slot goes to the first', async () => {
  const { arena, clock } = setUp();
  const held = fillUp(arena, 256 * KIB);
  const served: number[] = [];
  const waits = [1, 2, 3].map(async (number) => {
    const lease = await arena.lease('fill', 256 * KIB, { waitMs: 50 });
    if (lease !== undefined) served.push(number);
    return lease;
  });
  held.pop()?.end();
  held.pop()?.end();
  clock.advance(50);
  const leases = await Promise.all(waits);
  assert.deepEqual(served, [1, 2]);
  assert.equal(leases[2], undefined);
  assert.equal(arena.metrics.value('slotWaitsExpired'), 1);
  assert.equal(clock.timerCount, 0);
  for (const lease of [...held, ...leases]) lease?.end();
  assert.equal(arena.leasedSlots, 0);
});

test('lease() ends its wait when the signal aborts, and does not begin one after it', async () => {
  const { arena, clock } = setUp();
  const held = fillUp(arena, 256 * KIB);
  const controller = new AbortController();
  const wait = arena.lease('fill', 256 * KIB, { waitMs: 50, signal: controller.signal });
  controller.abort();
  assert.equal(await wait, undefined);
  assert.equal(await arena.lease('fill', 256 * KIB, { waitMs: 50, signal: controller.signal }), undefined);
  assert.equal(clock.timerCount, 0);
  for (const lease of held) lease.end();
  assert.equal(arena.leasedSlots, 0);
});

test('lease() does not wait for what can never be', async () => {
  const { arena, clock } = setUp();
  assert.equal(await arena.lease('fill', 4 * MIB, { waitMs: 50 }), undefined);
  assert.equal(clock.timerCount, 0);
});

test('a slot that becomes resident serves a waiter through the reclaimer', async () => {
  const { arena } = setUp();
  const held = fillUp(arena, 256 * KIB);
  const tier: Lease[] = [];
  arena.addReclaimer({
    slotCount: () => tier.length,
    reclaim: () => {
      const lease = tier.pop();
      lease?.end();
      return lease !== undefined;
    },
  });
  const wait = arena.lease('fill', 256 * KIB, { waitMs: 50 });
  const lease = mustLease(held.pop());
  tier.push(lease.share());
  lease.moveTo('resident');
  lease.end();
  mustLease(await wait).end();
  for (const rest of held) rest.end();
  assert.equal(arena.leasedSlots, 0);
});

test('any order of leases, shares, moves and ends leaves nothing behind', () => {
  for (let seed = 1; seed <= 10; seed += 1) {
    const random = new SeededRandom(seed);
    const { arena } = setUp();
    const held: Lease[] = [];
    for (let step = 0; step < 2000; step += 1) {
      const slotClass = SLOT_CLASSES[random.integerBelow(SLOT_CLASSES.length)] ?? 'fill';
      const pick = held[random.integerBelow(Math.max(1, held.length))];
      const act = random.integerBelow(8);
      if (act < 3) {
        const lease = arena.tryLease(slotClass, 1 + random.integerBelow(MIB));
        if (lease !== undefined) held.push(lease);
      } else if (pick === undefined) continue;
      else if (act === 3) held.push(pick.share());
      else if (act === 4) pick.moveTo(slotClass);
      else held.splice(held.indexOf(pick), 1)[0]?.end();
      const used = SLOT_CLASSES.reduce((sum, each) => sum + arena.usedBytes(each), 0);
      assert.ok(used <= arena.sizeBytes, `seed ${seed} step ${step}`);
    }
    for (const lease of held) lease.end();
    assert.equal(arena.leasedSlots, 0, `seed ${seed}`);
    for (const slotClass of SLOT_CLASSES) assert.equal(arena.usedBytes(slotClass), 0, `seed ${seed}`);
    mustLease(arena.tryLease('fill', 2 * MIB)).end();
  }
});

test('an arena may have the greatest size, whose pages come when touched', () => {
  const { arena } = setUp(4 * GIB);
  const lease = mustLease(arena.tryLease('fill', 8 * MIB));
  lease.bytes[8 * MIB - 1] = 1;
  lease.end();
  assert.throws(() => setUp(5 * GIB), AssertionFailure);
  assert.throws(() => setUp(4 * MIB + 1), AssertionFailure);
});
