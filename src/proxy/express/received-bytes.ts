/**
 * What a connection has received and not yet answered: [start, end) of `bytes`. They are read in place as long as the call lasts that brought
 * them; what is left of them then is copied, since their owner reads into them again.
 */

const NO_BYTES = Buffer.alloc(0);

/** One connection's. */
export class ReceivedBytes {
  bytes: Buffer = NO_BYTES;
  start = 0;
  /** Exclusive. */
  end = 0;
  #isBorrowed = false;

  get isEmpty(): boolean {
    return this.start === this.end;
  }

  /** The first `length` bytes of `bytes` came behind what is here; they are their owner's again after keep(). */
  add(bytes: Buffer, length: number): void {
    this.#isBorrowed = this.isEmpty;
    this.bytes = this.#isBorrowed ? bytes : Buffer.concat([this.bytes.subarray(this.start, this.end), bytes.subarray(0, length)]);
    this.end = this.#isBorrowed ? length : this.bytes.length;
    this.start = 0;
  }

  /** What is here is needed for longer. */
  keep(): void {
    if (!this.#isBorrowed) return;
    this.#isBorrowed = false;
    if (this.isEmpty) return this.clear();
    this.bytes = this.copy();
    this.start = 0;
    this.end = this.bytes.length;
  }

  /** A copy of what is here. */
  copy(): Buffer {
    return Buffer.from(this.bytes.subarray(this.start, this.end));
  }

  clear(): void {
    this.bytes = NO_BYTES;
    this.start = 0;
    this.end = 0;
  }
}
