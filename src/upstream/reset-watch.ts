/**
 * Tells a body that ended from one that was cut off by a reset. undici takes a reset for the proper end of a response that is delimited by
 * the end of its connection (some systems report a reset after a whole body); for a cache that is a truncated body that looks complete.
 * undici hears of the reset after this does, and reports that end within the same call.
 */
import type { Socket } from 'node:net';
import type { buildConnector } from 'undici';
import { systemErrorCode } from '../base/errors.ts';

/** Watches the connections of one pool. */
export class ResetWatch {
  #isResetting = false;

  /** Whether a reset is being handled right now: an end that is reported meanwhile is none. */
  get isResetting(): boolean {
    return this.#isResetting;
  }

  /** The connector, its sockets watched from the start. */
  watch(connect: buildConnector.connector): buildConnector.connector {
    return (options, callback) =>
      connect(options, (...result) => {
        // Before undici adds its own listeners, which it does once it is called back.
        if (result[0] === null) this.#listen(result[1]);
        callback(...result);
      });
  }

  #listen(socket: Socket): void {
    socket.on('error', (error) => {
      if (systemErrorCode(error) !== 'ECONNRESET') return;
      this.#isResetting = true;
      queueMicrotask(() => {
        this.#isResetting = false;
      });
    });
  }
}
