/**
 * Buffers for bytes on their way to clients that are not sent slots (DECISIONS 41): small ones, and large ones for clients that take them at
 * once, of which there are only so many.
 */
import { KIB } from '../base/units.ts';
import { BufferPool, type PooledBuffer } from '../memory/buffer-pool.ts';

/** What a client that has shown nothing yet may hold at a time. */
export const COPY_BYTES = 64 * KIB;
/** The same for one that has just taken a copy at once: fewer, larger writes cost less. */
export const LARGE_COPY_BYTES = 256 * KIB;
/** Small ones that are kept while nobody needs them: 64 clients with two writes each under way. */
const KEPT_MAX = 128;
/** Large ones in use at a time, all of which are kept; whoever comes later gets small ones. */
const LARGE_MAX = 16;

/** The copies of one proxy. */
export class CopyPool {
  readonly #small = new BufferPool({ sizeBytes: COPY_BYTES, keptMax: KEPT_MAX });
  readonly #large = new BufferPool({ sizeBytes: LARGE_COPY_BYTES, keptMax: LARGE_MAX });

  /** Whether large buffers are left. */
  get hasLarge(): boolean {
    return this.#large.takenCount < LARGE_MAX;
  }

  /** Copies in use. */
  get takenCount(): number {
    return this.#small.takenCount + this.#large.takenCount;
  }

  /** Memory of all of them, in use or kept. */
  get heldBytes(): number {
    return this.#small.heldBytes + this.#large.heldBytes;
  }

  /** A buffer of at least `lengthBytes`, LARGE_COPY_BYTES at most. */
  take(lengthBytes: number): PooledBuffer {
    return (lengthBytes <= COPY_BYTES ? this.#small : this.#large).take();
  }
}
