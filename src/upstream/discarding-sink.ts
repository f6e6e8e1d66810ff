/** Takes a short body whose bytes nobody wants, so that its connection can be kept; a long one is cut off. */
import { KIB } from '../base/units.ts';
import type { BodySink, Transfer } from './upstream-transport.ts';

const SCRATCH_BYTES = 64 * KIB;
const DISCARDED_BYTES_MAX = 256 * KIB;

/** A sink for what is not wanted. */
export class DiscardingSink implements BodySink {
  readonly #transfer: Transfer;
  #leftBytes = DISCARDED_BYTES_MAX;

  constructor(transfer: Transfer) {
    this.#transfer = transfer;
  }

  room(): Uint8Array {
    return new Uint8Array(SCRATCH_BYTES);
  }

  onBytes(count: number): void {
    this.#leftBytes -= count;
    if (this.#leftBytes < 0) this.#transfer.abort();
  }

  onEnd(): void {}

  onError(): void {}
}
