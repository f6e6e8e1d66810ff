/**
 * The connection of a client that asks for another protocol, until the origin has answered. node:http gives such a connection away, so the response that
 * may yet be sent is made here; it is the last one of its connection. Made by listener.ts, used by tunnel.ts.
 */
import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Clock } from '../base/clock.ts';
import { KIB } from '../base/units.ts';

/** What a client may send before the origin has answered; it is meant to send nothing. */
const EARLY_BYTES_MAX = 16 * KIB;
/** For a client that was answered otherwise than with a change of protocol to take the answer and go. */
const LINGER_MS = 5000;

/** One client that asks. */
export class UpgradeAttempt {
  readonly protocol: string;
  readonly socket: Duplex;
  /** For an answer that changes nothing; the connection ends with it. */
  readonly response: ServerResponse;
  /** Sent ahead of the answer: of the new protocol, if it comes to that, and never another request. */
  #early: Buffer[];
  #earlyBytes: number;
  #isTaken = false;

  /** @param first what came right behind the request's head */
  constructor(
    request: IncomingMessage,
    { protocol, socket, first, clock }: { protocol: string; socket: Duplex; first: Buffer; clock: Clock },
  ) {
    this.protocol = protocol;
    this.socket = socket;
    this.#early = first.length === 0 ? [] : [first];
    this.#earlyBytes = first.length;
    this.response = new ServerResponse(request);
    this.response.shouldKeepAlive = false;
    // A connection that node:http gave away is a socket of its own kind or of TLS; both are what it takes.
    this.response.assignSocket(request.socket);
    this.response.once('finish', () => {
      if (!this.#isTaken) this.#linger(clock);
    });
    socket.on('error', this.#onError);
    socket.on('end', this.#onEnd);
    socket.on('data', this.#onData);
  }

  /** The connection belongs to the new protocol. @returns what the client has sent of it */
  take(): readonly Buffer[] {
    this.#isTaken = true;
    this.socket.pause();
    this.socket.off('end', this.#onEnd);
    this.socket.off('data', this.#onData);
    const early = this.#early;
    this.#early = [];
    return early;
  }

  /** It is read while the origin is waited for, so that its end is seen. */
  readonly #onData = (bytes: Buffer): void => {
    // Nobody will want what is sent behind an answer.
    if (this.response.writableEnded) return;
    this.#early.push(bytes);
    this.#earlyBytes += bytes.length;
    if (this.#earlyBytes > EARLY_BYTES_MAX) this.socket.pause();
  };

  readonly #onEnd = (): void => {
    this.socket.destroy();
  };

  readonly #onError = (): void => {
    this.socket.destroy();
  };

  #linger(clock: Clock): void {
    this.#early = [];
    this.socket.end();
    this.socket.resume();
    const timer = clock.startTimer(LINGER_MS, () => this.socket.destroy());
    this.socket.once('close', () => timer.stop());
  }
}
