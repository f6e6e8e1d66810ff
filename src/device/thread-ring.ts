/**
 * Requests to I/O threads and their results, in shared memory: no message and no object per request. One thread puts requests in (the
 * device's), several take them (thread-engine.ts starts them, io-worker.ts is what they run).
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

/** What a thread is told when it starts. */
export interface ThreadAssignment {
  readonly ring: SharedArrayBuffer;
  /** The arena's. */
  readonly memory: SharedArrayBuffer;
  readonly fd: number;
  readonly lane: LaneName;
  /** Its number within the ring, from 0. */
  readonly thread: number;
}

/** What a thread is asked to do. */
export type RequestOperation = 'read' | 'write' | 'flush';

/** A request as a thread sees it. */
export interface Request {
  readonly operation: RequestOperation;
  readonly offsetBytes: number;
  readonly buffers: readonly { readonly byteOffset: number; readonly lengthBytes: number }[];
}

const OPERATIONS: readonly RequestOperation[] = ['read', 'write', 'flush'];
const LANES: readonly LaneName[] = ['read', 'write'];
const SLOTS = LANE_SLOTS.read + LANE_SLOTS.write;
/** More than a lane's slots: entries that were passed over late stay a while. A power of two, so that counters may run over. */
const RING_ENTRIES = 64;

const SIGNAL = 0;
const SLEEPERS = 1;
const HEAD = 2;
const TAIL = 3;
const ENTRIES = 4;
const LANE_WORDS = ENTRIES + RING_ENTRIES;
const NOTICED = LANE_WORDS * LANES.length;
const STOPPED = NOTICED + 1;
const SLOTS_AT = STOPPED + 1;

// The state is a slot's first word.
const OPERATION = 1;
const BUFFER_COUNT = 2;
const RESULT = 3;
const POSITION = 4;
const BUFFERS = 6;
const SLOT_WORDS = BUFFERS + 2 * REQUEST_BUFFERS_MAX;

const FREE = 0;
const QUEUED = 1;
const DONE = 2;
/** A slot that thread n has taken is in the state TAKEN + n. */
const TAKEN = 3;

/** The ring, over memory that both sides share. */
export class ThreadRing {
  readonly shared: SharedArrayBuffer;
  /** Atomics.wait takes signed words only; counters that run over are looked at as unsigned. */
  readonly #words: Int32Array;
  readonly #counters: Uint32Array;
  readonly #doubles: Float64Array;

  /** @param shared of the ring that another thread made; a new one when undefined */
  constructor(shared?: SharedArrayBuffer) {
    this.shared = shared ?? new SharedArrayBuffer((SLOTS_AT + SLOTS * SLOT_WORDS) * Int32Array.BYTES_PER_ELEMENT);
    this.#words = new Int32Array(this.shared);
    this.#counters = new Uint32Array(this.shared);
    this.#doubles = new Float64Array(this.shared);
  }

  /** Puts a request into a free slot of `lane` and wakes a thread. @returns the slot */
  put(lane: LaneName, operation: RequestOperation, place: { buffers: readonly Buffer[]; offsetBytes: number }): number {
    const slot = must(
      slotsOf(lane).find((candidate) => Atomics.load(this.#words, slotAt(candidate)) === FREE),
      'put: a slot of the lane is free',
    );
    const at = slotAt(slot);
    assert(place.buffers.length <= REQUEST_BUFFERS_MAX, 'put: the buffers fit into a request');
    this.#words[at + OPERATION] = OPERATIONS.indexOf(operation);
    this.#words[at + BUFFER_COUNT] = place.buffers.length;
    this.#doubles[(at + POSITION) / 2] = place.offsetBytes;
    for (const [index, buffer] of place.buffers.entries()) {
      assert(isAligned(buffer.byteOffset, PAGE_BYTES) && isAligned(buffer.length, PAGE_BYTES), 'put: buffers are whole pages');
      this.#words[at + BUFFERS + 2 * index] = buffer.byteOffset / PAGE_BYTES;
      this.#words[at + BUFFERS + 2 * index + 1] = buffer.length / PAGE_BYTES;
    }
    this.#enter(lane, slot);
    return slot;
  }

  /** Slots that are done, which are free after this call, with the call's result: bytes moved, or a negative errno. */
  collect(): readonly { readonly slot: number; readonly result: number }[] {
    // Before looking, so that what is done later is announced anew.
    Atomics.store(this.#words, NOTICED, 0);
    const done: { slot: number; result: number }[] = [];
    for (let slot = 0; slot < SLOTS; slot += 1) {
      const at = slotAt(slot);
      if (Atomics.load(this.#words, at) !== DONE) continue;
      done.push({ slot, result: this.#words[at + RESULT] ?? 0 });
      Atomics.store(this.#words, at, FREE);
    }
    return done;
  }

  /** Frees the slots of a thread that has ended, and with `isLast` all that its lane has queued. @returns them */
  abandon(lane: LaneName, thread: number, isLast: boolean): readonly number[] {
    return slotsOf(lane).filter((slot) => {
      const state = Atomics.load(this.#words, slotAt(slot));
      const isLost = state === TAKEN + thread || (isLast && state === QUEUED);
      if (isLost) Atomics.store(this.#words, slotAt(slot), FREE);
      return isLost;
    });
  }

  /** Ends every thread that has nothing to do. */
  stop(): void {
    Atomics.store(this.#words, STOPPED, 1);
    for (const lane of LANES) {
      Atomics.add(this.#words, laneAt(lane) + SIGNAL, 1);
      Atomics.notify(this.#words, laneAt(lane) + SIGNAL);
    }
  }

  // What follows is for the threads.

  /** Takes the next request of `lane` for `thread`, sleeping until there is one. @returns its slot; undefined when the ring has stopped */
  take(lane: LaneName, thread: number): number | undefined {
    const at = laneAt(lane);
    for (;;) {
      const seen = Atomics.load(this.#words, at + SIGNAL);
      const slot = this.#tryTake(at, thread);
      if (slot !== undefined) return slot;
      if (Atomics.load(this.#words, STOPPED) === 1) return undefined;
      // Counted before sleeping, and sleeping only while nothing was signalled since: a request is either seen or wakes.
      Atomics.add(this.#words, at + SLEEPERS, 1);
      Atomics.wait(this.#words, at + SIGNAL, seen);
      Atomics.sub(this.#words, at + SLEEPERS, 1);
    }
  }

  /** The request in a slot that this thread has taken. */
  requestIn(slot: number): Request {
    const at = slotAt(slot);
    const word = (index: number): number => this.#words[at + index] ?? 0;
    return {
      operation: must(OPERATIONS[word(OPERATION)], 'requestIn: a known operation'),
      offsetBytes: this.#doubles[(at + POSITION) / 2] ?? 0,
      buffers: Array.from({ length: word(BUFFER_COUNT) }, (_, index) => ({
        byteOffset: word(BUFFERS + 2 * index) * PAGE_BYTES,
        lengthBytes: word(BUFFERS + 2 * index + 1) * PAGE_BYTES,
      })),
    };
  }

  /** Gives a slot back with its result. @returns whether the device's thread has to be told; if not, somebody has */
  finish(slot: number, result: number): boolean {
    const at = slotAt(slot);
    this.#words[at + RESULT] = result;
    Atomics.store(this.#words, at, DONE);
    return Atomics.exchange(this.#words, NOTICED, 1) === 0;
  }

  #enter(lane: LaneName, slot: number): void {
    const at = laneAt(lane);
    const tail = this.#counters[at + TAIL] ?? 0;
    assert(tail - Atomics.load(this.#counters, at + HEAD) < RING_ENTRIES, 'put: the ring is larger than the slots');
    this.#words[at + ENTRIES + (tail % RING_ENTRIES)] = slot;
    Atomics.store(this.#words, slotAt(slot), QUEUED);
    Atomics.store(this.#counters, at + TAIL, tail + 1);
    Atomics.add(this.#words, at + SIGNAL, 1);
    if (Atomics.load(this.#words, at + SLEEPERS) > 0) Atomics.notify(this.#words, at + SIGNAL, 1);
  }

  #tryTake(at: number, thread: number): number | undefined {
    // Each turn takes a slot or moves the head on; the head stays behind a tail that moves only with new requests.
    for (;;) {
      const head = Atomics.load(this.#counters, at + HEAD);
      if (head === Atomics.load(this.#counters, at + TAIL)) return undefined;
      const slot = Atomics.load(this.#words, at + ENTRIES + (head % RING_ENTRIES));
      const isMine = Atomics.compareExchange(this.#words, slotAt(slot), QUEUED, TAKEN + thread) === QUEUED;
      Atomics.compareExchange(this.#counters, at + HEAD, head, head + 1);
      if (isMine) return slot;
    }
  }
}

function laneAt(lane: LaneName): number {
  return LANES.indexOf(lane) * LANE_WORDS;
}

function slotAt(slot: number): number {
  return SLOTS_AT + slot * SLOT_WORDS;
}

function slotsOf(lane: LaneName): readonly number[] {
  return lane === 'read' ? READ_SLOTS : WRITE_SLOTS;
}

const READ_SLOTS = Array.from({ length: LANE_SLOTS.read }, (_, index) => index);
const WRITE_SLOTS = Array.from({ length: LANE_SLOTS.write }, (_, index) => LANE_SLOTS.read + index);
