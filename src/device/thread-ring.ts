/**
 * Requests to I/O threads and their results, in shared memory: no message and no object per request. One thread puts requests in (the
 * device's), several take them (thread-engine.ts starts them, io-worker.mjs is what they run).
 *
 *   control   per lane: signal, sleepers, head, tail, then entries: a ring of slot numbers; for all: noticed, stopped
 *   slots     state, operation, buffer count, result, position (a double), then [first page, pages] of each buffer in the arena
 *
 * A slot's state says who may touch it. It is claimed with one compare-and-exchange that names the thread, so that a thread that dies at any
 * moment leaves its slot behind by name; the ring only says where to look, and an entry whose slot was claimed already is passed over.
 *
 *   free --put--> queued --claim--> taken by thread n --finish--> done --collect--> free
 */
import { assert, must } from '../base/assert.ts';
import { isAligned, PAGE_BYTES } from '../base/units.ts';
import type { LaneName } from './transfer-queue.ts';

/** Requests of a lane at a time: enough that threads find work while the event loop is busy, few enough that a client's never waits long. */
export const LANE_SLOTS: Readonly<Record<LaneName, number>> = { read: 16, write: 8 };
/** Buffers of one request. */
export const REQUEST_BUFFERS_MAX = 12;

/** What a thread is asked to do. */
export type RequestOperation = 'read' | 'write' | 'flush';

const SLOTS = LANE_SLOTS.read + LANE_SLOTS.write;
/** More than a lane's slots: entries that were passed over late stay a while. A power of two, so that counters may run over. */
const RING_ENTRIES = 64;
const LANE_WORDS = 4 + RING_ENTRIES;
const CONTROL_WORDS = 2 * LANE_WORDS + 2;
const OPERATIONS: readonly RequestOperation[] = ['read', 'write', 'flush'];

/** Where everything is, in words of 32 bits. It is handed to the threads, which can import nothing (see io-worker.mjs). */
const LAYOUT = {
  lanes: { read: 0, write: LANE_WORDS },
  // Of a lane, from its start.
  signal: 0,
  sleepers: 1,
  head: 2,
  tail: 3,
  entries: 4,
  ringEntries: RING_ENTRIES,
  // Of all lanes.
  noticed: 2 * LANE_WORDS,
  stopped: 2 * LANE_WORDS + 1,
  slots: CONTROL_WORDS,
  slotWords: 6 + 2 * REQUEST_BUFFERS_MAX,
  // Of a slot, from its start, where its state is.
  operation: 1,
  bufferCount: 2,
  result: 3,
  position: 4,
  buffers: 6,
  // States; a slot that thread n has taken is in the state taken + n.
  free: 0,
  queued: 1,
  done: 2,
  taken: 3,
  operations: OPERATIONS,
  pageBytes: PAGE_BYTES,
};

/** What a thread is told when it starts. */
export interface ThreadAssignment {
  readonly ring: SharedArrayBuffer;
  readonly layout: typeof LAYOUT;
  /** The arena's. */
  readonly memory: SharedArrayBuffer;
  readonly fd: number;
  readonly lane: LaneName;
  /** Its number within the ring, from 0. */
  readonly thread: number;
}

/** The ring, and the side of it that puts requests in. */
export class ThreadRing {
  readonly shared = new SharedArrayBuffer((LAYOUT.slots + SLOTS * LAYOUT.slotWords) * Int32Array.BYTES_PER_ELEMENT);
  readonly layout = LAYOUT;
  /** Atomics.notify takes signed words only; counters that run over are looked at as unsigned. */
  readonly #words = new Int32Array(this.shared);
  readonly #counters = new Uint32Array(this.shared);
  readonly #doubles = new Float64Array(this.shared);

  /** Puts a request into a free slot of `lane` and wakes a thread. @returns the slot */
  put(lane: LaneName, operation: RequestOperation, place: { buffers: readonly Buffer[]; offsetBytes: number }): number {
    const isFree = (slot: number): boolean => Atomics.load(this.#words, slotAt(slot)) === LAYOUT.free;
    const slot = must(SLOTS_OF[lane].find(isFree), 'put: a slot of the lane is free');
    const at = slotAt(slot);
    assert(place.buffers.length <= REQUEST_BUFFERS_MAX, 'put: the buffers fit into a request');
    this.#words[at + LAYOUT.operation] = OPERATIONS.indexOf(operation);
    this.#words[at + LAYOUT.bufferCount] = place.buffers.length;
    this.#doubles[(at + LAYOUT.position) / 2] = place.offsetBytes;
    for (const [index, buffer] of place.buffers.entries()) {
      assert(isAligned(buffer.byteOffset, PAGE_BYTES) && isAligned(buffer.length, PAGE_BYTES), 'put: buffers are whole pages');
      this.#words[at + LAYOUT.buffers + 2 * index] = buffer.byteOffset / PAGE_BYTES;
      this.#words[at + LAYOUT.buffers + 2 * index + 1] = buffer.length / PAGE_BYTES;
    }
    this.#enter(lane, slot);
    return slot;
  }

  /** Slots that are done, which are free after this call, with the call's result: bytes moved, or a negative errno. */
  collect(): readonly { readonly slot: number; readonly result: number }[] {
    // Before looking, so that what is done later is announced anew.
    Atomics.store(this.#words, LAYOUT.noticed, 0);
    const done: { slot: number; result: number }[] = [];
    for (let slot = 0; slot < SLOTS; slot += 1) {
      const at = slotAt(slot);
      if (Atomics.load(this.#words, at) !== LAYOUT.done) continue;
      done.push({ slot, result: this.#words[at + LAYOUT.result] ?? 0 });
      Atomics.store(this.#words, at, LAYOUT.free);
    }
    return done;
  }

  /** Frees the slots that a thread had taken when it ended. @returns them */
  abandon(lane: LaneName, thread: number): readonly number[] {
    return SLOTS_OF[lane].filter((slot) => freeIf(this.#words, slot, LAYOUT.taken + thread));
  }

  /** Requests of `lane` that threads have taken and not finished. */
  takenSlots(lane: LaneName): number {
    return SLOTS_OF[lane].filter((slot) => Atomics.load(this.#words, slotAt(slot)) >= LAYOUT.taken).length;
  }

  /** Frees the slots of `lane` that no thread has taken. @returns them */
  withdraw(lane: LaneName): readonly number[] {
    return SLOTS_OF[lane].filter((slot) => freeIf(this.#words, slot, LAYOUT.queued));
  }

  /** Ends every thread when it has nothing to do. */
  stop(): void {
    Atomics.store(this.#words, LAYOUT.stopped, 1);
    this.wake('read');
    this.wake('write');
  }

  /** Has every thread of `lane` look for requests: a thread that died may have been the one that was woken for the last. */
  wake(lane: LaneName): void {
    Atomics.add(this.#words, LAYOUT.lanes[lane] + LAYOUT.signal, 1);
    Atomics.notify(this.#words, LAYOUT.lanes[lane] + LAYOUT.signal);
  }

  #enter(lane: LaneName, slot: number): void {
    const at = LAYOUT.lanes[lane];
    const tail = this.#counters[at + LAYOUT.tail] ?? 0;
    assert(tail - Atomics.load(this.#counters, at + LAYOUT.head) < RING_ENTRIES, 'put: the ring is larger than the slots');
    this.#words[at + LAYOUT.entries + (tail % RING_ENTRIES)] = slot;
    Atomics.store(this.#words, slotAt(slot), LAYOUT.queued);
    Atomics.store(this.#counters, at + LAYOUT.tail, tail + 1);
    Atomics.add(this.#words, at + LAYOUT.signal, 1);
    if (Atomics.load(this.#words, at + LAYOUT.sleepers) > 0) Atomics.notify(this.#words, at + LAYOUT.signal, 1);
  }
}

function freeIf(words: Int32Array, slot: number, state: number): boolean {
  return Atomics.compareExchange(words, slotAt(slot), state, LAYOUT.free) === state;
}

function slotAt(slot: number): number {
  return LAYOUT.slots + slot * LAYOUT.slotWords;
}

const SLOTS_OF: Readonly<Record<LaneName, readonly number[]>> = {
  read: Array.from({ length: LANE_SLOTS.read }, (_, index) => index),
  write: Array.from({ length: LANE_SLOTS.write }, (_, index) => LANE_SLOTS.read + index),
};
