/**
 * Buffers for bytes on their way to clients that are not sent slots. They are used again and again: fresh ones would be memory outside the
 * heap that only the collector gives back, and a download of 8 MiB in copies made it look through everything that lives (DECISIONS 41).
 */
import { KIB } from '../base/units.ts';

/** What a client that has shown nothing yet may hold at a time. */
export const COPY_BYTES = 64 * KIB;
/** The same for one that has just taken a copy at once: fewer, larger writes cost less. */
export const LARGE_COPY_BYTES = 256 * KIB;
/** Buffers that are kept while nobody needs them. */
const KEPT_MAX = 64;
/** Large ones in use at a time; whoever comes later gets small ones. */
const LARGE_MAX = 64;

/** The copies of one proxy. */
export class CopyPool {
  readonly #free: Buffer[] = [];
  readonly #freeLarge: Buffer[] = [];
  #largeTaken = 0;

  /** Whether large buffers are left. */
  get hasLarge(): boolean {
    return this.#largeTaken < LARGE_MAX;
  }

  /** A buffer of at least `lengthBytes`, LARGE_COPY_BYTES at most; the last one used comes first, since the processor still knows it. */
  take(lengthBytes: number): Buffer {
    if (lengthBytes <= COPY_BYTES) return this.#free.pop() ?? Buffer.allocUnsafeSlow(COPY_BYTES);
    this.#largeTaken += 1;
    return this.#freeLarge.pop() ?? Buffer.allocUnsafeSlow(LARGE_COPY_BYTES);
  }

  /** Takes a buffer back that nobody reads any more. */
  giveBack(buffer: Buffer): void {
    const isLarge = buffer.length > COPY_BYTES;
    if (isLarge) this.#largeTaken -= 1;
    const free = isLarge ? this.#freeLarge : this.#free;
    if (free.length < KEPT_MAX) free.push(buffer);
  }
}
