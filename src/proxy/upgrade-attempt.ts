/**
 * A request that names another protocol (Upgrade), with its connection. node:http would lose what a client has sent right behind such a request, so it is
 * made to give the connection away, and the response is made here. Either the connection becomes a tunnel (tunnel.ts takes it), or it is answered like
 * any other and then goes back to node:http with the next bytes that come. Made by listener.ts.
 *
 *   waiting --> taken                                     101: what was sent early is of the new protocol
 *      `------> answered --> resting --> given back       what was sent early is the next request
 *                   `------> ended                        the answer was the last of its connection: what was sent early is nothing
 */
import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '../base/clock.ts';
import { KIB } from '../base/units.ts';

/** What is read ahead while the request is being answered, so that the client's end is seen. */
const EARLY_BYTES_MAX = 16 * KIB;
/** For a client to take the last answer and go. */
const LINGER_MS = 5000;

/** What such a request comes with. */
export interface UpgradeOptions {
  /** Undefined for one that may have none. */
  readonly protocol: string | undefined;
  readonly socket: Duplex;
  /** What came right behind the request's head. */
  readonly first: Buffer;
  readonly clock: Clock;
  /** How long the connection is kept when nothing comes any more. */
  readonly keepAliveMs: number;
  /** Takes the connection back for the next request; its first bytes can be read from it again. */
  readonly giveBack: () => void;
}

/** One request. */
export class UpgradeAttempt {
  readonly protocol: string | undefined;
  readonly socket: Duplex;
  readonly response: ServerResponse;
  readonly #options: UpgradeOptions;
  #early: Buffer[];
  #earlyBytes: number;
  #state: 'waiting' | 'taken' | 'resting' | 'over' = 'waiting';
  #timer: Timer | undefined;

  constructor(request: IncomingMessage, options: UpgradeOptions) {
    const { protocol, socket, first } = options;
    this.#options = options;
    this.protocol = protocol;
    this.socket = socket;
    this.#early = first.length === 0 ? [] : [first];
    this.#earlyBytes = first.length;
    this.response = new ServerResponse(request);
    // Of a request that is passed on for another protocol nobody knows what the client takes the rest for.
    this.response.shouldKeepAlive =
      protocol === undefined && request.httpVersion === '1.1' && !/\bclose\b/i.test(request.headers.connection ?? '');
    this.response.assignSocket(request.socket);
    this.response.once('finish', () => this.#onAnswered(request));
    socket.on('error', this.#onError);
    socket.on('end', this.#onEnd);
    socket.on('data', this.#onData);
    socket.once('close', () => this.#timer?.stop());
  }

  /** Whether the connection waits for its next request. */
  get isResting(): boolean {
    return this.#state === 'resting';
  }

  /** The connection belongs to the new protocol. @returns what the client has sent of it */
  take(): readonly Buffer[] {
    this.#state = 'taken';
    this.socket.pause();
    this.#letGo();
    const early = this.#early;
    this.#early = [];
    return early;
  }

  readonly #onData = (bytes: Buffer): void => {
    if (this.#state === 'over') return;
    this.#early.push(bytes);
    this.#earlyBytes += bytes.length;
    if (this.#state === 'resting') this.#giveBack();
    else if (this.#earlyBytes > EARLY_BYTES_MAX) this.socket.pause();
  };

  readonly #onEnd = (): void => {
    this.socket.destroy();
  };

  readonly #onError = (): void => {
    this.socket.destroy();
  };

  #onAnswered({ socket }: IncomingMessage): void {
    if (this.#state === 'taken') return;
    if (!this.response.shouldKeepAlive) return this.#linger();
    this.#state = 'resting';
    // What node:http does after each response of its own.
    this.response.detachSocket(socket);
    this.response.emit('close');
    if (this.#early.length > 0) return this.#giveBack();
    this.#timer = this.#options.clock.startTimer(this.#options.keepAliveMs, () => this.socket.destroy());
  }

  #giveBack(): void {
    this.#state = 'over';
    this.#timer?.stop();
    this.#letGo();
    this.socket.off('error', this.#onError);
    this.socket.pause();
    this.socket.unshift(Buffer.concat(this.#early));
    this.#early = [];
    this.#options.giveBack();
    this.socket.resume();
  }

  /** What comes yet is thrown away, so that the client's end is seen, and it is not waited for it for long. */
  #linger(): void {
    this.#state = 'over';
    this.#early = [];
    this.socket.end();
    this.socket.resume();
    this.#timer = this.#options.clock.startTimer(LINGER_MS, () => this.socket.destroy());
  }

  #letGo(): void {
    this.socket.off('end', this.#onEnd);
    this.socket.off('data', this.#onData);
  }
}
