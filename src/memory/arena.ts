/**
 * The arena: one piece of page-aligned shared memory that holds every body byte between sockets and device. O_DIRECT takes it as it is,
 * because WebAssembly.Memory starts on a page (Buffers and SharedArrayBuffers do not); it is never grown, since growing detaches views.
 *
 * A slot is free, in use, or resident. When no run of pages is free the arena asks its reclaimer (the RAM tier) to give slots up; when that
 * does not help either, callers wait in order for a bounded time and then get nothing, which they must take as "go on without a slot".
 */
import { assert } from '../base/assert.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { EdgeError } from '../base/errors.ts';
import { MetricSet } from '../base/metrics.ts';
import { divCeil, formatBytes, GIB, isAligned, KIB, MIB, PAGE_BYTES, powerOfTwoCeil } from '../base/units.ts';
import { BuddyAllocator } from './buddy-allocator.ts';
import { Lease, type Slot, type SlotOwner } from './lease.ts';
import { MEMORY_METRICS } from './memory-metrics.ts';
import { SLOT_CLASS_FLOORS, SLOT_CLASSES, type SlotClass } from './slot-class.ts';

// TypeScript declares WebAssembly only with the DOM library; this is the part of it that is used here.
interface SharedMemory {
  readonly buffer: SharedArrayBuffer;
}
declare const WebAssembly: { readonly Memory: new (shape: { initial: number; maximum: number; shared: true }) => SharedMemory };

const WASM_PAGE_BYTES = 64 * KIB;
export const ARENA_MIN_BYTES = 4 * MIB;
/** One WebAssembly.Memory holds at most 65,536 of its pages. */
export const ARENA_MAX_BYTES = 4 * GIB;
/** Callers waiting for a slot at a time; one more gets none at once. */
const WAITERS_MAX = 4096;

/** Whoever keeps slots that can be given up: a store's RAM tier. */
export interface Reclaimer {
  /** Slots that it keeps. */
  readonly slotCount: () => number;
  /** Frees at least one of them if it can; returns whether it did. */
  readonly reclaim: () => boolean;
}

/** A reclaimer and how much it is owed to be asked; the one that is owed the most is next. */
interface ReclaimerTurn {
  readonly reclaimer: Reclaimer;
  owed: number;
}

interface Waiter {
  readonly slotClass: SlotClass;
  readonly lengthBytes: number;
  readonly settle: (lease: Lease | undefined) => void;
}

/** The slots of one process. */
export class Arena implements SlotOwner {
  readonly sizeBytes: number;
  readonly metrics = new MetricSet(MEMORY_METRICS);
  readonly #clock: Clock;
  readonly #memory: SharedMemory;
  readonly #buddies: BuddyAllocator;
  readonly #usedBytes: Record<SlotClass, number> = { 'device-read': 0, fill: 0, staging: 0, resident: 0 };
  readonly #waiters: Waiter[] = [];
  readonly #reclaimers: ReclaimerTurn[] = [];
  #leasedSlots = 0;
  #isServing = false;

  /** @param options.sizeBytes multiple of 64 KiB, ARENA_MIN_BYTES to ARENA_MAX_BYTES; address space is taken, pages come when touched */
  constructor(options: { sizeBytes: number; clock: Clock }) {
    const { sizeBytes } = options;
    assert(isAligned(sizeBytes, WASM_PAGE_BYTES), 'arena size is a multiple of 64 KiB');
    assert(sizeBytes >= ARENA_MIN_BYTES && sizeBytes <= ARENA_MAX_BYTES, 'arena size is within its limits');
    this.sizeBytes = sizeBytes;
    this.#clock = options.clock;
    this.#memory = allocateMemory(sizeBytes);
    this.#buddies = new BuddyAllocator(sizeBytes / PAGE_BYTES);
    for (const slotClass of SLOT_CLASSES) this.metrics.setGauge(GAUGE_OF_CLASS[slotClass], () => this.#usedBytes[slotClass]);
    this.metrics.setGauge('arenaBytes', () => this.sizeBytes);
    this.metrics.setGauge('leasedSlots', () => this.#leasedSlots);
  }

  /** Slots that are not free, the RAM tier's included. A scenario that has ended leaves only the RAM tier's. */
  get leasedSlots(): number {
    return this.#leasedSlots;
  }

  /** All of it, for handing to a thread that transfers from and to it; slots are known by the `byteOffset` of their bytes. */
  get memory(): SharedArrayBuffer {
    return this.#memory.buffer;
  }

  usedBytes(slotClass: SlotClass): number {
    return this.#usedBytes[slotClass];
  }

  /**
   * Adds one who gives up resident slots when others need room. Several are asked in proportion to the slots that they keep, so that each slot
   * is as likely to be given up as any other. @returns a function that takes it out again
   */
  addReclaimer(reclaimer: Reclaimer): () => void {
    const turn = { reclaimer, owed: 0 };
    this.#reclaimers.push(turn);
    return () => {
      const index = this.#reclaimers.indexOf(turn);
      if (index >= 0) this.#reclaimers.splice(index, 1);
    };
  }

  /**
   * A slot of at least `lengthBytes` (rounded up to a power of two of pages) at once, or undefined when there is none even after
   * reclaiming. Its bytes are whatever was there before.
   */
  tryLease(slotClass: SlotClass, lengthBytes: number): Lease | undefined {
    const order = orderFor(lengthBytes);
    const bytes = PAGE_BYTES * 2 ** order;
    // Each turn either succeeds or frees a resident slot, of which there are finitely many.
    for (;;) {
      if (this.#roomFor(slotClass) >= bytes) {
        const page = this.#buddies.tryAllocate(order);
        if (page !== undefined) return this.#grant(page, bytes, slotClass);
      }
      // A request that the whole RAM tier could not satisfy must not empty it.
      if (this.#roomFor(slotClass) + this.#usedBytes.resident < bytes || !this.#reclaim()) return undefined;
      this.metrics.add('reclaimedSlots');
    }
  }

  /**
   * The same, waiting in line for up to `waitMs`.
   *
   * @returns undefined when the time is over or `signal` aborts; at once when too many wait already or no wait could help
   */
  lease(
    slotClass: SlotClass,
    lengthBytes: number,
    options: { waitMs: number; signal?: AbortSignal | undefined },
  ): Promise<Lease | undefined> {
    // Within a class the first to come is the first to be served; other classes have floors of their own and need not wait behind it.
    const isFirst = !this.#waiters.some((waiter) => waiter.slotClass === slotClass);
    const lease = isFirst ? this.tryLease(slotClass, lengthBytes) : undefined;
    if (lease !== undefined) return Promise.resolve(lease);
    if (this.#waiters.length >= WAITERS_MAX || options.signal?.aborted === true || !this.#canEverGrant(slotClass, lengthBytes)) {
      this.metrics.add('slotWaitsExpired');
      return Promise.resolve(undefined);
    }
    return new Promise((resolve) => {
      let timer: Timer | undefined;
      const settle = (granted: Lease | undefined): void => {
        timer?.stop();
        options.signal?.removeEventListener('abort', giveUp);
        const index = this.#waiters.indexOf(waiter);
        if (index >= 0) this.#waiters.splice(index, 1);
        if (granted === undefined) this.metrics.add('slotWaitsExpired');
        resolve(granted);
      };
      const giveUp = (): void => settle(undefined);
      const waiter: Waiter = { slotClass, lengthBytes, settle };
      this.#waiters.push(waiter);
      timer = this.#clock.startTimer(options.waitMs, giveUp);
      options.signal?.addEventListener('abort', giveUp);
      this.#serveWaiters();
    });
  }

  freeSlot(slot: Slot): void {
    this.#usedBytes[slot.slotClass] -= slot.sizeBytes;
    this.#leasedSlots -= 1;
    this.#buddies.free(slot.page);
    this.#serveWaiters();
  }

  changeClass(slot: Slot, slotClass: SlotClass): void {
    this.#usedBytes[slot.slotClass] -= slot.sizeBytes;
    this.#usedBytes[slotClass] += slot.sizeBytes;
    slot.slotClass = slotClass;
    // A slot that became reclaimable may be what somebody waits for.
    this.#serveWaiters();
  }

  #reclaim(): boolean {
    const [only] = this.#reclaimers;
    if (only !== undefined && this.#reclaimers.length === 1) return only.reclaimer.reclaim();
    let total = 0;
    for (const turn of this.#reclaimers) total += turn.reclaimer.slotCount();
    if (total === 0) return false;
    for (const turn of this.#reclaimers) turn.owed += turn.reclaimer.slotCount() / total;
    for (const turn of [...this.#reclaimers].sort((left, right) => right.owed - left.owed)) {
      if (!turn.reclaimer.reclaim()) continue;
      turn.owed -= 1;
      return true;
    }
    return false;
  }

  #grant(page: number, sizeBytes: number, slotClass: SlotClass): Lease {
    this.#usedBytes[slotClass] += sizeBytes;
    this.#leasedSlots += 1;
    const bytes = Buffer.from(this.#memory.buffer, page * PAGE_BYTES, sizeBytes);
    return new Lease(this, { page, sizeBytes, bytes, slotClass, leaseCount: 0 });
  }

  /** Whether the class could have such a slot were nothing else in use. */
  #canEverGrant(slotClass: SlotClass, lengthBytes: number): boolean {
    let floors = 0;
    for (const other of SLOT_CLASSES) if (other !== slotClass) floors += SLOT_CLASS_FLOORS[other];
    return PAGE_BYTES * 2 ** orderFor(lengthBytes) <= this.sizeBytes * (1 - floors);
  }

  /** Free bytes that `slotClass` may take, past what the other classes' floors still reserve; negative when they reserve more than is free. */
  #roomFor(slotClass: SlotClass): number {
    let reserved = 0;
    for (const other of SLOT_CLASSES) {
      if (other === slotClass) continue;
      reserved += Math.max(0, SLOT_CLASS_FLOORS[other] * this.sizeBytes - this.#usedBytes[other]);
    }
    return this.#buddies.freePages * PAGE_BYTES - reserved;
  }

  #serveWaiters(): void {
    // Reclaiming frees slots, which calls back here; the outer call finishes the work.
    if (this.#isServing) return;
    this.#isServing = true;
    try {
      for (let index = 0; index < this.#waiters.length; ) {
        const waiter = this.#waiters[index];
        assert(waiter !== undefined, 'waiter within bounds');
        const lease = this.tryLease(waiter.slotClass, waiter.lengthBytes);
        if (lease === undefined) index += 1;
        else waiter.settle(lease);
      }
    } finally {
      this.#isServing = false;
    }
  }
}

const GAUGE_OF_CLASS = {
  'device-read': 'deviceReadBytes',
  fill: 'fillBytes',
  staging: 'stagingBytes',
  resident: 'residentBytes',
} as const satisfies Record<SlotClass, keyof typeof MEMORY_METRICS>;

function orderFor(lengthBytes: number): number {
  assert(lengthBytes > 0, 'a slot holds at least a byte');
  return Math.log2(powerOfTwoCeil(divCeil(lengthBytes, PAGE_BYTES)));
}

function allocateMemory(sizeBytes: number): SharedMemory {
  const pages = sizeBytes / WASM_PAGE_BYTES;
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch (cause) {
    const message = `The arena of ${formatBytes(sizeBytes)} cannot be allocated; make memory.arena smaller or raise the address space limit (ulimit -v)`;
    throw new EdgeError('CONFIG_INVALID', message, { cause });
  }
}
