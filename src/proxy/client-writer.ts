/**
 * Sends pieces to one client with back-pressure and bounded memory. A client that keeps up is sent slots as they are: the kernel reads the
 * arena. A client that has not shown that it does, or one past the pin budget, gets copies (copy-pool.ts), so that it holds no slot while
 * it stalls. At most two writes are under way; every lease and every buffer ends at the first of write callback and close.
 */
import type { Socket } from 'node:net';
import { assert } from '../base/assert.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { EdgeError } from '../base/errors.ts';
import type { MetricSet } from '../base/metrics.ts';
import { KIB } from '../base/units.ts';
import type { Piece } from '../fill/piece.ts';
import { type ClientPace, PROMPT_MS, paceOf } from './client-pace.ts';
import { COPY_BYTES, type CopyPool, LARGE_COPY_BYTES } from './copy-pool.ts';
import type { PinBudget } from './pin-budget.ts';
import type { PROXY_METRICS } from './proxy-metrics.ts';

const WRITES_MAX = 2;
/** Of a response whose speed is limited, when a longer piece would be a pause that shows. */
const PACED_BYTES = 16 * KIB;
/** A pacer that wants more is asked again then, and the client is not forgotten meanwhile. */
const PACE_MS_MAX = 60_000;
/** A large write may take this many times limits.clientStall, in proportion to its size. */
const STALL_SCALE_MAX = 4;

/** Where bodies go: a response of node:http, or the express lane's side of a socket. */
export interface ClientOutlet {
  readonly socket: Socket | null;
  readonly writableFinished: boolean;
  /** @param done called when the kernel has taken the bytes, or never will */
  write(bytes: Buffer, done: () => void): unknown;
  end(): unknown;
  once(event: 'close', listener: () => void): unknown;
}

/** What a writer works with. */
export interface ClientWriterOptions {
  readonly response: ClientOutlet;
  readonly pins: PinBudget;
  readonly copies: CopyPool;
  readonly clock: Clock;
  readonly metrics: MetricSet<typeof PROXY_METRICS>;
  readonly stallMs: number;
  /** The client has not taken anything for a moment: let go of what the next pieces would be made of. */
  readonly onSlow: () => void;
  /** So many bytes were sent. @returns milliseconds to wait before others are; undefined where nobody limits the speed */
  readonly pace?: ((bytes: number) => number) | undefined;
}

/** One write that the kernel has not finished. */
interface PendingWrite {
  readonly finish: () => void;
}

/** The body of one response. */
export class ClientWriter {
  readonly #options: ClientWriterOptions;
  readonly #pace: ClientPace;
  /** Two at most. */
  readonly #pending: PendingWrite[] = [];
  #holdsPin = false;
  #wake: (() => void) | undefined;
  #failure: 'CLIENT_GONE' | 'CLIENT_STALLED' | undefined;
  /** The last pause that the pace made. */
  #pausedMs = 0;
  #pause: AbortController | undefined;

  constructor(options: ClientWriterOptions) {
    this.#options = options;
    // The response lets go of its socket when it has ended.
    this.#pace = paceOf(options.response.socket);
    options.response.once('close', () => {
      if (!options.response.writableFinished) this.close();
    });
  }

  /** How many bytes the next piece may have. */
  nextLimitBytes(): number {
    // Who is slow on purpose holds no slot, and no large copy.
    if (this.#options.pace !== undefined) return this.#pausedMs > PROMPT_MS ? PACED_BYTES : COPY_BYTES;
    if (!this.#holdsPin && this.#pace.isProven) this.#holdsPin = this.#options.pins.tryTake();
    if (this.#holdsPin) return Number.POSITIVE_INFINITY;
    return this.#pace.isQuick && this.#options.copies.hasLarge ? LARGE_COPY_BYTES : COPY_BYTES;
  }

  /**
   * Sends a piece and takes over its lease. Resolves when another one may be sent.
   *
   * @throws EdgeError CLIENT_GONE, CLIENT_STALLED
   */
  async write(piece: Piece): Promise<void> {
    if (this.#failure !== undefined) {
      piece.lease?.end();
      piece.buffer?.end();
      throw new EdgeError(this.#failure);
    }
    this.#send(piece);
    const { length } = piece.bytes;
    await this.#waitUntilBelow(WRITES_MAX, length);
    await this.#keepPace(length);
  }

  /** Nothing more is sent: ends the leases of writes that will never report. Idempotent. */
  close(): void {
    this.#failure ??= 'CLIENT_GONE';
    for (const write of [...this.#pending]) write.finish();
    this.returnPin();
    this.#pause?.abort();
    this.#wake?.();
  }

  /**
   * Ends the response after its last piece and waits until the kernel has taken everything: a client may stall on the last bytes too.
   *
   * @throws EdgeError CLIENT_GONE, CLIENT_STALLED
   */
  async finish(): Promise<void> {
    this.returnPin();
    this.#options.response.end();
    await this.#waitUntilBelow(1, COPY_BYTES);
  }

  /** Waits until the kernel has taken what was written, or the client does not take it. Never throws. */
  async flush(): Promise<void> {
    await this.#waitUntilBelow(1, COPY_BYTES).catch(() => undefined);
  }

  /** Gives back the pin that was taken for a piece that did not come; the response may go on by another way. Idempotent. */
  returnPin(): void {
    if (!this.#holdsPin) return;
    this.#holdsPin = false;
    this.#options.pins.giveBack();
  }

  /** Waits as long as the pace wants it, with nothing in hand but what is being written. */
  async #keepPace(bytes: number): Promise<void> {
    const { pace, clock, onSlow } = this.#options;
    if (pace === undefined) return;
    this.#pausedMs = Math.min(PACE_MS_MAX, pace(bytes));
    if (this.#pausedMs <= 0) return;
    onSlow();
    this.#pause = new AbortController();
    await clock.sleep(this.#pausedMs, this.#pause.signal);
    this.#pause = undefined;
    if (this.#failure !== undefined) throw new EdgeError(this.#failure);
  }

  #send(piece: Piece): void {
    const { response, clock, pins, copies, metrics } = this.#options;
    const { lease, buffer } = piece;
    const isPinned = lease !== undefined && this.#holdsPin;
    const copy = lease === undefined || isPinned ? undefined : copies.take(piece.bytes.length);
    const bytes = copy?.bytes.subarray(0, piece.bytes.copy(copy.bytes)) ?? piece.bytes;
    if (isPinned) this.#holdsPin = false;
    else if (lease !== undefined) {
      metrics.add('copiedWrites');
      lease.end();
    }
    const startedMs = clock.monotonicMs();
    const write: PendingWrite = {
      finish: () => {
        const index = this.#pending.indexOf(write);
        if (index < 0) return;
        this.#pending.splice(index, 1);
        if (isPinned) {
          pins.giveBack();
          lease.end();
        }
        copy?.end();
        buffer?.end();
        this.#pace.note(bytes.length, clock.monotonicMs() - startedMs);
        this.#wake?.();
      },
    };
    this.#pending.push(write);
    response.write(bytes, write.finish);
  }

  /** Waits until fewer than `count` writes are under way, as long as the client takes bytes at all. */
  async #waitUntilBelow(count: number, bytes: number): Promise<void> {
    if (this.#pending.length < count) {
      if (this.#failure !== undefined) throw new EdgeError(this.#failure);
      return;
    }
    const timer = this.#watchClient(bytes);
    while (this.#pending.length >= count && this.#failure === undefined) {
      assert(this.#wake === undefined, 'one caller writes at a time');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    timer.stop();
    if (this.#failure !== undefined) throw new EdgeError(this.#failure);
  }

  /** Notices that the client is slow, and then that it stalls: one after the other, since nearly all waits are over before either. */
  #watchClient(bytes: number): Timer {
    const { clock, stallMs, metrics, onSlow } = this.#options;
    const limitMs = stallMs * Math.min(STALL_SCALE_MAX, Math.max(1, bytes / COPY_BYTES));
    const promptMs = Math.min(PROMPT_MS, limitMs);
    const onStalled = (): void => {
      metrics.add('stalled');
      this.#failure = 'CLIENT_STALLED';
      this.close();
    };
    let timer = clock.startTimer(promptMs, () => {
      timer = clock.startTimer(limitMs - promptMs, onStalled);
      onSlow();
    });
    return { stop: () => timer.stop() };
  }
}
