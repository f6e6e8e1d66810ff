/**
 * Reads that begin together and lie side by side on the device are one request: one system call, one thread that is woken, one notice. So are
 * slices of one object that were written in a row. Used by thread-engine.ts; each read still has an outcome of its own.
 */
import { MIB } from '../base/units.ts';

/**
 * Reads of one request. Fewer than the operations that, late together, make a device count as hung (store/health): one bad place must not
 * look like a dead device.
 */
export const JOINED_READS_MAX = 3;
/** The first of them waits for the last. */
const JOINED_BYTES_MAX = 4 * MIB;

/** Where a read goes. */
export interface ReadPlace {
  readonly buffers: readonly Buffer[];
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** Collects what one turn of the event loop begins. */
export class JoinedReads<Read extends ReadPlace> {
  readonly #buffersMax: number;
  readonly #submit: (run: readonly Read[]) => void;
  #waiting: Read[] = [];

  /**
   * @param options.buffersMax of one request
   * @param options.submit gets reads that lie side by side, in order
   */
  constructor(options: { buffersMax: number; submit: (run: readonly Read[]) => void }) {
    this.#buffersMax = options.buffersMax;
    this.#submit = options.submit;
  }

  /** Reads that were asked for in one go come here one microtask after the other, so that the last is there when the next ones run. */
  add(read: Read): void {
    this.#waiting.push(read);
    if (this.#waiting.length === 1) queueMicrotask(() => this.#submitAll());
  }

  #submitAll(): void {
    const reads = this.#waiting;
    this.#waiting = [];
    for (let first = 0; first < reads.length; ) {
      const end = this.#endOfRun(reads, first);
      this.#submit(reads.slice(first, end));
      first = end;
    }
  }

  #endOfRun(reads: readonly Read[], first: number): number {
    let [endBytes, lengthBytes, bufferCount] = [reads[first]?.offsetBytes ?? 0, 0, 0];
    for (let index = first; ; index += 1) {
      const read = reads[index];
      if (read === undefined || read.offsetBytes !== endBytes || index - first === JOINED_READS_MAX) return index;
      endBytes += read.lengthBytes;
      lengthBytes += read.lengthBytes;
      bufferCount += read.buffers.length;
      if (index > first && (lengthBytes > JOINED_BYTES_MAX || bufferCount > this.#buffersMax)) return index;
    }
  }
}
