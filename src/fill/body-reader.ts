/**
 * A body taken from an origin through private buffers, outside the arena: for what is not stored, and for a client that found no slot.
 * One buffer fills while the one before is being sent, so a response holds at most three of them.
 */
import { EdgeError } from '../base/errors.ts';
import type { FieldList } from '../http/header-fields.ts';
import type { BodySink, Transfer } from '../upstream/upstream-transport.ts';
import { PRIVATE_BUFFER_BYTES } from './fill-context.ts';

/** Pulls a body piece by piece. */
export class BodyReader implements BodySink {
  readonly #transfer: Transfer;
  #buffer: Buffer | undefined;
  /** Bytes of the buffer that have come, and those of them that were handed on: what is behind them is lent to the transport. */
  #usedBytes = 0;
  #handedBytes = 0;
  #end: 'open' | 'complete' | EdgeError = 'open';
  #wake: (() => void) | undefined;
  /** What stood behind the body, once it has ended. */
  trailers: FieldList = [];

  constructor(transfer: Transfer) {
    this.#transfer = transfer;
  }

  room(): Uint8Array | undefined {
    this.#buffer ??= Buffer.allocUnsafeSlow(PRIVATE_BUFFER_BYTES);
    return this.#usedBytes === this.#buffer.length ? undefined : this.#buffer.subarray(this.#usedBytes);
  }

  onBytes(count: number): void {
    this.#usedBytes += count;
    this.#wake?.();
  }

  onEnd(trailers: FieldList): void {
    this.trailers = trailers;
    this.#end = 'complete';
    this.#wake?.();
  }

  onError(error: EdgeError): void {
    this.#end = error;
    this.#wake?.();
  }

  /**
   * The next bytes, which are the caller's to keep; undefined at the proper end of the body.
   *
   * @throws EdgeError when the body broke off, or CLIENT_GONE after abort()
   */
  async next(): Promise<Buffer | undefined> {
    while (this.#usedBytes === this.#handedBytes) {
      if (this.#end === 'complete') return undefined;
      if (this.#end !== 'open') throw this.#end;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    const piece = this.#buffer?.subarray(this.#handedBytes, this.#usedBytes);
    this.#handedBytes = this.#usedBytes;
    if (this.#usedBytes === PRIVATE_BUFFER_BYTES) {
      this.#buffer = undefined;
      this.#usedBytes = 0;
      this.#handedBytes = 0;
    }
    this.#transfer.resume();
    return piece;
  }

  /** The rest is not wanted. */
  abort(): void {
    if (this.#end !== 'open') return;
    this.#end = new EdgeError('CLIENT_GONE');
    this.#transfer.abort();
    this.#wake?.();
  }
}
