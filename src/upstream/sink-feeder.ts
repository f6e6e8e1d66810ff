/**
 * Body bytes between a transport and the room that its receiver lends: copied once, in order; what finds no room waits here. Both kinds of
 * transfer use it, so that a receiver cannot tell them apart.
 */
import { assert } from '../base/assert.ts';
import type { BodySink } from './upstream-transport.ts';

/** Feeds one sink. */
export class SinkFeeder {
  readonly sink: BodySink;
  /** Oldest first; at most what had been read from the socket before the reading was paused. */
  #waiting: Buffer[] = [];

  constructor(sink: BodySink) {
    this.sink = sink;
  }

  /** Whether everything that came has been taken. */
  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** Whether the sink can take bytes now. */
  get hasRoom(): boolean {
    return this.isEmpty && this.sink.room() !== undefined;
  }

  /** Takes a piece over and hands on what there is room for. @param isOver whether the transfer has ended meanwhile: the sink may end it */
  push(piece: Buffer, isOver: () => boolean): void {
    this.#waiting.push(piece);
    this.drain(isOver);
  }

  /** Hands on what waits, for as long as there is room. */
  drain(isOver: () => boolean): void {
    while (this.#waiting.length > 0 && !isOver()) {
      const room = this.sink.room();
      if (room === undefined) return;
      const first = this.#waiting[0];
      assert(first !== undefined && room.length > 0, 'room holds at least a byte');
      const count = Math.min(room.length, first.length);
      // Not room.set(first): V8 copies into shared memory word by word, 5 GB/s against 8.
      first.copy(room, 0, 0, count);
      if (count === first.length) this.#waiting.shift();
      else this.#waiting[0] = first.subarray(count);
      this.sink.onBytes(count);
    }
  }

  /** Room was made: hands on what waits. @returns what its transfer does next: nothing, end since all is handed on, or read more */
  goOn(isOver: () => boolean, isBodyComplete: boolean): 'wait' | 'finish' | 'read' {
    this.drain(isOver);
    if (isOver() || !this.isEmpty) return 'wait';
    if (isBodyComplete) return 'finish';
    return this.hasRoom ? 'read' : 'wait';
  }

  /** Forgets what waits. */
  clear(): void {
    this.#waiting = [];
  }
}
