/** Stored slices behind the one being sent are read meanwhile: two, wherever that one came from, and none is held when the client has left. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { must } from '../../src/base/assert.ts';
import { KIB } from '../../src/base/units.ts';
import type { Arena } from '../../src/memory/arena.ts';
import type { SliceRead, SliceStore, SliceVerdict } from '../../src/store/slice-store.ts';
import { startEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { MemoryStore } from '../helpers/memory-store.ts';
import { Origin } from '../helpers/origin.ts';

/** Of an edge in a test. */
const SLICE_BYTES = 64 * KIB;
const SLICES = 6;

/** A store whose device answers when it is told to. */
class SlowStore extends MemoryStore {
  readonly #arena: Arena;
  /** Slices that are in memory, and reads that have begun, in their order. */
  readonly inMemory = new Set<number>();
  readonly begun: number[] = [];
  readonly #answers = new Map<number, PromiseWithResolvers<void>>();
  isSlow = false;

  constructor(arena: Arena) {
    super(arena);
    this.#arena = arena;
  }

  override tryReadResident(read: SliceRead): ReturnType<SliceStore['tryReadResident']> {
    if (!this.inMemory.has(read.sliceNumber)) return undefined;
    const lease = must(this.#arena.tryLease('resident', SLICE_BYTES), 'a slot is free');
    return { lease, bytes: lease.bytes.subarray(0, read.endBytes - read.startBytes).fill(read.sliceNumber) };
  }

  override async readSlice(read: SliceRead): Promise<SliceVerdict> {
    if (!this.isSlow) return super.readSlice(read);
    this.begun.push(read.sliceNumber);
    await this.#answer(read.sliceNumber).promise;
    return super.readSlice(read);
  }

  /** Lets the device answer a read, begun or not. */
  release(sliceNumber: number): void {
    this.#answer(sliceNumber).resolve();
  }

  #answer(sliceNumber: number): PromiseWithResolvers<void> {
    const answer = this.#answers.get(sliceNumber) ?? Promise.withResolvers<void>();
    this.#answers.set(sliceNumber, answer);
    return answer;
  }
}

async function play(run: (edge: Awaited<ReturnType<typeof startEdge>>, store: SlowStore, origin: Origin) => Promise<void>): Promise<void> {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: SLICES * SLICE_BYTES, cacheControl: 'max-age=60' });
  let store: SlowStore | undefined;
  await using edge = await startEdge({
    origin,
    makeStore: async (arena) => {
      store = new SlowStore(arena);
      return store;
    },
  });
  await edge.get('/a');
  await edge.settle();
  assert(store !== undefined);
  store.isSlow = true;
  await run(edge, store, origin);
}

async function untilBegun(store: SlowStore, expected: readonly number[]): Promise<void> {
  await eventually(() => store.begun.length >= expected.length, { what: `reads of ${expected}` });
  assert.deepEqual(store.begun, expected);
}

test('behind a slice from the device the next two are on their way', async () => {
  await play(async (edge, store, origin) => {
    const answer = edge.get('/a', {}, { expect: origin.identity('/a') });
    await untilBegun(store, [0]);
    store.release(0);
    await untilBegun(store, [0, 1, 2]);
    // Out of order: what comes early waits.
    store.release(2);
    store.release(1);
    await untilBegun(store, [0, 1, 2, 3, 4]);
    for (const slice of [3, 4, 5]) store.release(slice);
    const { wrongAt, bodyBytes, isComplete } = await answer;
    assert.deepEqual([wrongAt, bodyBytes, isComplete], [-1, SLICES * SLICE_BYTES, true]);
    assert.deepEqual(store.begun, [0, 1, 2, 3, 4, 5]);
  });
});

test('behind a slice from memory too, and past those that are there themselves', async () => {
  await play(async (edge, store) => {
    for (const slice of [0, 1, 3]) store.inMemory.add(slice);
    const answer = edge.get('/a');
    // Slice 3 is there: nothing else is read until 2 has come.
    await untilBegun(store, [2]);
    store.release(2);
    await untilBegun(store, [2, 4, 5]);
    for (const slice of [4, 5]) store.release(slice);
    assert.equal((await answer).isComplete, true);
    assert.deepEqual(store.begun, [2, 4, 5]);
  });
});

test('reads ahead of a client that has left hold nothing', async () => {
  await play(async (edge, store) => {
    const answer = edge.get('/a', {}, { abortAfterBytes: 1 });
    store.release(0);
    await untilBegun(store, [0, 1, 2]);
    assert.equal((await answer).isComplete, false);
    // Whatever was begun before it was noticed.
    for (const slice of [1, 2, 3, 4, 5]) store.release(slice);
    await eventually(() => edge.arena.leasedSlots === 0, { what: 'the end of all leases' });
  });
});
