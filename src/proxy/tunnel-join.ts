/**
 * Two connections that are one from now on: what comes from either goes to the other, no faster than that takes it, and so does its end. It is over when both
 * sides have ended, when one breaks off, or when nothing has moved for too long. Nothing is looked at on the way. Used by tunnel.ts.
 */
import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '../base/clock.ts';

/** `closed`: both sides have ended. `broken`: one broke off, or was cut at the end of a drain. `idle`: nothing moved for too long. */
export type TunnelEnd = 'closed' | 'broken' | 'idle';

/** What is joined. */
export interface JoinOptions {
  readonly client: Duplex;
  readonly origin: Duplex;
  /** What each has sent already. */
  readonly early: { readonly client: readonly Buffer[]; readonly origin: readonly Buffer[] };
  readonly idleMs: number;
  readonly clock: Clock;
  /** @param from who sent them */
  readonly onBytes: (from: 'client' | 'origin', count: number) => void;
}

/** Joins, and resolves when both connections are closed. Never rejects. */
export function joinStreams(options: JoinOptions): Promise<TunnelEnd> {
  return new Join(options).run();
}

class Join {
  readonly #options: JoinOptions;
  #lastMs: number;
  #timer: Timer | undefined;
  #end: TunnelEnd = 'closed';

  constructor(options: JoinOptions) {
    this.#options = options;
    this.#lastMs = options.clock.monotonicMs();
  }

  async run(): Promise<TunnelEnd> {
    const { client, origin } = this.#options;
    const closed = Promise.all([this.#watch(client, origin), this.#watch(origin, client)]);
    this.#pass('client', client, origin);
    this.#pass('origin', origin, client);
    this.#startTimer(this.#options.idleMs);
    await closed;
    this.#timer?.stop();
    return this.#end;
  }

  #pass(name: 'client' | 'origin', from: Duplex, to: Duplex): void {
    const send = (bytes: Buffer): void => {
      this.#lastMs = this.#options.clock.monotonicMs();
      this.#options.onBytes(name, bytes.length);
      if (!to.write(bytes)) from.pause();
    };
    to.on('drain', () => {
      // Who takes bytes again is not idle, though nothing new was sent.
      this.#lastMs = this.#options.clock.monotonicMs();
      from.resume();
    });
    from.on('end', () => to.end());
    from.on('data', send);
    for (const bytes of this.#options.early[name]) send(bytes);
    if (!to.writableNeedDrain) from.resume();
  }

  /** Resolves when the stream is closed; the other one does not outlive it, unless both have ended as they should. */
  #watch(stream: Duplex, other: Duplex): Promise<void> {
    return new Promise((resolve) => {
      const onClose = (): void => {
        if (!stream.readableEnded || !stream.writableFinished) {
          if (this.#end === 'closed') this.#end = 'broken';
          other.destroy();
        }
        resolve();
      };
      stream.on('error', () => stream.destroy());
      if (stream.closed) onClose();
      else stream.once('close', onClose);
    });
  }

  #startTimer(delayMs: number): void {
    const { clock, idleMs, client, origin } = this.#options;
    this.#timer = clock.startTimer(delayMs, () => {
      const leftMs = this.#lastMs + idleMs - clock.monotonicMs();
      if (leftMs > 0) return this.#startTimer(leftMs);
      this.#end = 'idle';
      client.destroy();
      origin.destroy();
    });
  }
}
