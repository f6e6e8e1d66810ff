/**
 * Stored slices behind the one being sent are read meanwhile, several in one go, wherever that one came from; two where all responses together
 * have read ahead enough; and none is held when the client has left.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { must } from '../../src/base/assert.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import type { Arena } from '../../src/memory/arena.ts';
import type { SliceRead, SliceStore, SliceVerdict } from '../../src/store/slice-store.ts';
import { startEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { MemoryStore } from '../helpers/memory-store.ts';
import { Origin } from '../helpers/origin.ts';

/** Of an edge in a test. */
const SLICE_BYTES = 64 * KIB;
const SLICES = 12;
const upTo = (slice: number): number[] => Array.from({ length: slice + 1 }, (_, index) => index);

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

async function play(
  run: (edge: Awaited<ReturnType<typeof startEdge>>, store: SlowStore, origin: Origin) => Promise<void>,
  arenaBytes = 16 * MIB,
): Promise<void> {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: SLICES * SLICE_BYTES, cacheControl: 'max-age=60' });
  let store: SlowStore | undefined;
  await using edge = await startEdge({
    origin,
    arenaBytes,
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

test('behind a slice from the device the next six are on their way, and more when half of them have come', async () => {
  await play(async (edge, store, origin) => {
    const answer = edge.get('/a', {}, { expect: origin.identity('/a') });
    await untilBegun(store, [0]);
    store.release(0);
    await untilBegun(store, upTo(6));
    // Out of order: what comes early waits.
    for (const slice of [2, 1]) store.release(slice);
    store.release(3);
    await untilBegun(store, upTo(9));
    for (const slice of upTo(SLICES - 1)) store.release(slice);
    const { wrongAt, bodyBytes, isComplete } = await answer;
    assert.deepEqual([wrongAt, bodyBytes, isComplete], [-1, SLICES * SLICE_BYTES, true]);
    assert.deepEqual(store.begun, upTo(SLICES - 1));
    assert.equal(await edge.metric('rawslice_fill_read_ahead_bytes'), 0);
    assert.equal(await edge.metric('rawslice_fill_read_ahead_refused_total'), 0);
  });
});

test('behind a slice from memory too, and past those that are there themselves', async () => {
  await play(async (edge, store) => {
    for (const slice of [0, 1, 3, 8]) store.inMemory.add(slice);
    const answer = edge.get('/a');
    await untilBegun(store, [2, 4, 5, 6]);
    for (const slice of [2, 4, 5]) store.release(slice);
    await untilBegun(store, [2, 4, 5, 6, 7, 9, 10]);
    for (const slice of upTo(SLICES - 1)) store.release(slice);
    assert.equal((await answer).isComplete, true);
    assert.deepEqual(store.begun, [2, 4, 5, 6, 7, 9, 10, 11]);
  });
});

test('past an eighth of the arena each response reads two ahead', async () => {
  const arenaBytes = 4 * MIB;
  const responses = 1 + arenaBytes / 8 / (4 * SLICE_BYTES);
  await play(async (edge, store, origin) => {
    const answers = Array.from({ length: responses }, () => edge.get('/a', {}, { expect: origin.identity('/a') }));
    await eventually(() => store.begun.length === responses, { what: 'the first reads' });
    store.release(0);
    const expected = (responses - 1) * 7 + 3;
    await eventually(() => store.begun.length === expected, { what: `${expected} reads` });
    assert.equal(await edge.metric('rawslice_fill_read_ahead_bytes'), arenaBytes / 8);
    assert.equal(await edge.metric('rawslice_fill_read_ahead_refused_total'), 1);
    for (const slice of upTo(SLICES - 1)) store.release(slice);
    for (const { wrongAt, isComplete } of await Promise.all(answers)) assert.deepEqual([wrongAt, isComplete], [-1, true]);
    assert.equal(await edge.metric('rawslice_fill_read_ahead_bytes'), 0);
  }, arenaBytes);
});

test('reads ahead of a client that has left hold nothing', async () => {
  await play(async (edge, store) => {
    const answer = edge.get('/a', {}, { abortAfterBytes: 1 });
    store.release(0);
    await untilBegun(store, upTo(6));
    assert.equal((await answer).isComplete, false);
    // Whatever was begun before it was noticed.
    for (const slice of upTo(SLICES - 1)) store.release(slice);
    const isOver = async (): Promise<boolean> => (await edge.metric('rawslice_fill_read_ahead_bytes')) === 0;
    await eventually(isOver, { what: 'the end of all reads ahead' });
    await eventually(() => edge.arena.leasedSlots === 0, { what: 'the end of all leases' });
  });
});
