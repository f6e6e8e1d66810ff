/**
 * A body taken from an origin through private buffers, outside the arena: for what is not stored, and for a client that found no slot.
 * One buffer fills while the one before is being sent, so a response holds at most three of them.
 */
import { must } from '../base/assert.ts';
import { EdgeError } from '../base/errors.ts';
import type { FieldList } from '../http/header-fields.ts';
import type { BufferPool, PooledBuffer } from '../memory/buffer-pool.ts';
import type { BodySink, Transfer } from '../upstream/upstream-transport.ts';
import type { Piece } from './piece.ts';

/** Pulls a body piece by piece. */
export class BodyReader implements BodySink {
  readonly #transfer: Transfer;
  readonly #buffers: BufferPool;
  #buffer: PooledBuffer | undefined;
  /** Bytes of the buffer that have come, and those of them that were handed on: what is behind them is lent to the transport. */
  #usedBytes = 0;
  #handedBytes = 0;
  #end: 'open' | 'complete' | EdgeError = 'open';
  #wake: (() => void) | undefined;
  /** What stood behind the body, once it has ended. */
  trailers: FieldList = [];

  constructor(transfer: Transfer, buffers: BufferPool) {
    this.#transfer = transfer;
    this.#buffers = buffers;
  }

  room(): Uint8Array | undefined {
    this.#buffer ??= this.#buffers.take();
    const { bytes } = this.#buffer;
    return this.#usedBytes === bytes.length ? undefined : bytes.subarray(this.#usedBytes);
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
   * The next bytes, in a buffer that the caller gives back; undefined at the proper end of the body.
   *
   * @throws EdgeError when the body broke off, or CLIENT_GONE after abort()
   */
  async next(): Promise<Piece | undefined> {
    while (this.#usedBytes === this.#handedBytes) {
      if (this.#end === 'complete') return this.#letGo();
      if (this.#end !== 'open') throw this.#end;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    const buffer = must(this.#buffer, 'what came lies in a buffer');
    const bytes = buffer.bytes.subarray(this.#handedBytes, this.#usedBytes);
    const piece: Piece = { bytes, lease: undefined, buffer: buffer.share(), tier: 'private' };
    this.#handedBytes = this.#usedBytes;
    if (this.#usedBytes === buffer.bytes.length) this.#letGo();
    this.#transfer.resume();
    return piece;
  }

  /** The rest is not wanted. */
  abort(): void {
    if (this.#end === 'complete') return this.#letGo();
    const isOpen = this.#end === 'open';
    if (isOpen) this.#end = new EdgeError('CLIENT_GONE');
    if (isOpen) this.#transfer.abort();
    this.#drop();
    this.#wake?.();
  }

  /** Of a buffer that is full, or of a body that is over, nothing is lent to the transport. */
  #letGo(): undefined {
    this.#buffer?.end();
    this.#forget();
  }

  /** The transport may have been in the middle of a read: the buffer is used by nobody else. */
  #drop(): void {
    this.#buffer?.abandon();
    this.#forget();
  }

  #forget(): void {
    this.#buffer = undefined;
    this.#usedBytes = 0;
    this.#handedBytes = 0;
  }
}
