// @ts-check
/**
 * What an I/O thread runs: it takes requests from the ring (thread-ring.ts), makes one system call for each, and says so. It sleeps in
 * Atomics.wait, never in an event loop. Started by thread-engine.ts; ends when the ring stops, or with an error that is our own.
 *
 * Plain JavaScript that imports nothing of ours: a thread that has to strip types takes 10 MB and 40 ms of CPU more to start.
 */
import { fdatasyncSync, readvSync, writevSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';

/** @typedef {import('./thread-ring.ts').ThreadAssignment} ThreadAssignment */
/** @typedef {import('./thread-ring.ts').RequestOperation} RequestOperation */

/** The side of a ring that takes requests; one per thread. */
export class RequestTaker {
  #layout;
  /** Atomics.wait takes signed words only; counters that run over are looked at as unsigned. */
  #words;
  #counters;
  #doubles;
  /** Where the lane begins. */
  #lane;
  /** The state of a slot that this thread has taken. */
  #taken;

  /** @param {Pick<ThreadAssignment, 'ring' | 'layout' | 'lane' | 'thread'>} assignment */
  constructor({ ring, layout, lane, thread }) {
    this.#layout = layout;
    this.#words = new Int32Array(ring);
    this.#counters = new Uint32Array(ring);
    this.#doubles = new Float64Array(ring);
    this.#lane = layout.lanes[lane];
    this.#taken = layout.taken + thread;
  }

  /**
   * Takes the next request, sleeping until there is one.
   *
   * @returns {number | undefined} its slot; undefined when the ring has stopped
   */
  take() {
    const { signal, sleepers, stopped } = this.#layout;
    for (;;) {
      const seen = Atomics.load(this.#words, this.#lane + signal);
      const slot = this.#tryTake();
      if (slot !== undefined) return slot;
      if (Atomics.load(this.#words, stopped) === 1) return undefined;
      // Counted before sleeping, and sleeping only while nothing was signalled since: a request is either seen or wakes.
      Atomics.add(this.#words, this.#lane + sleepers, 1);
      Atomics.wait(this.#words, this.#lane + signal, seen);
      Atomics.sub(this.#words, this.#lane + sleepers, 1);
    }
  }

  /**
   * The request in a slot that this thread has taken.
   *
   * @param {number} slot
   * @param {SharedArrayBuffer} memory where its buffers lie
   * @returns {{ operation: RequestOperation | undefined, offsetBytes: number, buffers: Uint8Array[] }}
   */
  requestIn(slot, memory) {
    const { operation, bufferCount, position, buffers, operations, pageBytes } = this.#layout;
    const at = this.#slotAt(slot);
    /** @param {number} index */
    const word = (index) => this.#words[at + index] ?? 0;
    return {
      operation: operations[word(operation)],
      offsetBytes: this.#doubles[(at + position) / 2] ?? 0,
      buffers: Array.from({ length: word(bufferCount) }, (_, index) => {
        const [page, pages] = [word(buffers + 2 * index), word(buffers + 2 * index + 1)];
        return new Uint8Array(memory, page * pageBytes, pages * pageBytes);
      }),
    };
  }

  /**
   * Gives a slot back.
   *
   * @param {number} slot
   * @param {number} result bytes moved, or a negative errno
   * @returns {boolean} whether the device's thread has to be told; if not, somebody has
   */
  finish(slot, result) {
    const { result: resultAt, done, noticed } = this.#layout;
    const at = this.#slotAt(slot);
    this.#words[at + resultAt] = result;
    Atomics.store(this.#words, at, done);
    return Atomics.exchange(this.#words, noticed, 1) === 0;
  }

  #tryTake() {
    const { head: headAt, tail, entries, ringEntries, queued } = this.#layout;
    // Each turn takes a slot or moves the head on; the head stays behind a tail that moves only with new requests.
    for (;;) {
      const head = Atomics.load(this.#counters, this.#lane + headAt);
      if (head === Atomics.load(this.#counters, this.#lane + tail)) return undefined;
      const slot = Atomics.load(this.#words, this.#lane + entries + (head % ringEntries));
      const isMine = Atomics.compareExchange(this.#words, this.#slotAt(slot), queued, this.#taken) === queued;
      Atomics.compareExchange(this.#counters, this.#lane + headAt, head, head + 1);
      if (isMine) return slot;
    }
  }

  /** @param {number} slot */
  #slotAt(slot) {
    return this.#layout.slots + slot * this.#layout.slotWords;
  }
}

/**
 * @param {ThreadAssignment} assignment
 * @param {(word: 'ready' | 'done') => void} say
 */
function serve(assignment, say) {
  const taker = new RequestTaker(assignment);
  say('ready');
  for (let slot = taker.take(); slot !== undefined; slot = taker.take()) {
    if (taker.finish(slot, perform(assignment.fd, taker.requestIn(slot, assignment.memory)))) say('done');
  }
}

/**
 * @param {number} fd
 * @param {ReturnType<RequestTaker['requestIn']>} request
 * @returns {number} bytes moved, or a negative errno
 */
function perform(fd, { operation, offsetBytes, buffers }) {
  try {
    if (operation === 'read') return readvSync(fd, buffers, offsetBytes);
    if (operation === 'write') return writevSync(fd, buffers, offsetBytes);
    fdatasyncSync(fd);
    return 0;
  } catch (error) {
    if (error instanceof Error && 'errno' in error && typeof error.errno === 'number' && error.errno < 0) return error.errno;
    throw error;
  }
}

// A test imports this file in a thread that is nobody's worker.
if (parentPort !== null) {
  const port = parentPort;
  serve(workerData, (word) => port.postMessage(word));
}
