/**
 * Buffers beside the arena, for bytes that only pass through: copies for clients, and bodies that are not stored. They are used again and
 * again, because a fresh one is memory outside of V8's heap that only the collector gives back, and it comes late: at 500 MB/s of such bytes
 * 30 to 60 MB of dead buffers were resident (DECISIONS 45). Each pool keeps a bounded number; what is in use is bounded by those who use it.
 */
import { assert } from '../base/assert.ts';

/** What a pool is made of. */
export interface BufferPoolOptions {
  readonly sizeBytes: number;
  /** Buffers that are kept while nobody needs them. */
  readonly keptMax: number;
}

/** Buffers of one size. */
export class BufferPool {
  readonly sizeBytes: number;
  readonly #keptMax: number;
  readonly #kept: Buffer[] = [];
  #taken = 0;

  /** @param bytes undefined when they must not be used again */
  readonly #giveBack = (bytes: Buffer | undefined): void => {
    this.#taken -= 1;
    if (bytes !== undefined && this.#kept.length < this.#keptMax) this.#kept.push(bytes);
  };

  constructor({ sizeBytes, keptMax }: BufferPoolOptions) {
    this.sizeBytes = sizeBytes;
    this.#keptMax = keptMax;
  }

  /** Buffers in use. */
  get takenCount(): number {
    return this.#taken;
  }

  /** Memory of the buffers in use and of those that are kept. */
  get heldBytes(): number {
    return (this.#taken + this.#kept.length) * this.sizeBytes;
  }

  /** A buffer of `sizeBytes`; the last one used comes first, since the processor still knows it. */
  take(): PooledBuffer {
    this.#taken += 1;
    return new PooledBuffer(this.#kept.pop() ?? Buffer.allocUnsafeSlow(this.sizeBytes), this.#giveBack);
  }
}

/** A buffer that is in use until every hold on it has ended; it begins with one. */
export class PooledBuffer {
  readonly bytes: Buffer;
  readonly #giveBack: (bytes: Buffer | undefined) => void;
  #holds = 1;
  #isLent = false;

  constructor(bytes: Buffer, giveBack: (bytes: Buffer | undefined) => void) {
    this.bytes = bytes;
    this.#giveBack = giveBack;
  }

  /** One more hold, ended separately. */
  share(): this {
    assert(this.#holds > 0, 'a buffer is shared while it is in use');
    this.#holds += 1;
    return this;
  }

  /** Ends a hold; with the last one the buffer may be given to somebody else. */
  end(): void {
    assert(this.#holds > 0, 'a hold is ended once');
    this.#holds -= 1;
    if (this.#holds === 0) this.#giveBack(this.#isLent ? undefined : this.bytes);
  }

  /** The same, where somebody may still write into it: it is nobody's after its last hold. */
  abandon(): void {
    this.#isLent = true;
    this.end();
  }
}
