/**
 * The one response of a connection that may be on its way to the kernel. Most are taken by it at once: then the write is over when the call
 * returns, without a callback and without a turn of the event loop. Else what is being sent is held until the kernel has it, and nothing
 * behind it is answered meanwhile: a client that has not taken one response gains nothing from a second one in the queue.
 */
import type { Socket } from 'node:net';
import { EdgeError } from '../../base/errors.ts';
import type { PooledBuffer } from '../../memory/buffer-pool.ts';
import type { Lease } from '../../memory/lease.ts';
import type { ShelvedAnswer } from '../answer-shelf.ts';
import { type ClientPace, paceOf } from '../client-pace.ts';
import { COPY_BYTES } from '../copy-pool.ts';
import type { ProxyServices } from '../services.ts';
import type { HeadParser } from './head-parser.ts';
import type { HitFinder } from './hit-finder.ts';
import { LaneAccount } from './lane-account.ts';
import type { StoredHead } from './stored-head.ts';

const NO_BYTES = Buffer.alloc(0);

/** A head that was rendered just now. */
export interface RenderedHead {
  readonly head: StoredHead | undefined;
  readonly bytes: Buffer;
}

/** A slice, or a part of one, that is in memory. */
export interface ResidentBytes {
  readonly lease: Lease;
  readonly bytes: Buffer;
}

/** See the file's head; one per connection and configuration. */
export class LaneWrite {
  readonly account: LaneAccount;
  readonly pace: ClientPace;
  readonly #socket: Socket;
  readonly #services: ProxyServices;
  readonly #onTaken: () => void;
  #isUnderWay = false;
  #bytes = 0;
  #startedMs = 0;
  #endedMs = 0;
  #copy: PooledBuffer | undefined;
  /** Of a slot that the kernel reads; counted in the pin budget. */
  #lease: Lease | undefined;
  #answer: ShelvedAnswer | undefined;

  /** @param onTaken called when the kernel has taken what it did not take at once */
  constructor(socket: Socket, services: ProxyServices, onTaken: () => void) {
    this.#socket = socket;
    this.#services = services;
    this.#onTaken = onTaken;
    this.account = new LaneAccount(services);
    this.pace = paceOf(socket);
    if (services.keepsAccounts) this.account.clientAddress = socket.remoteAddress;
  }

  /** Whether the kernel has yet to take something. */
  get isUnderWay(): boolean {
    return this.#isUnderWay;
  }

  /** When the last one was taken, on the monotonic clock. */
  get endedMs(): number {
    return this.#endedMs;
  }

  /** Whether it takes longer than a client may. */
  hasStalled(nowMs: number): boolean {
    if (!this.#isUnderWay) return false;
    return nowMs - this.#startedMs > this.#services.limits.clientStallMs * Math.max(1, Math.min(4, this.#bytes / COPY_BYTES));
  }

  /** A request is being answered. @param nowMs of the wall */
  begin(request: HeadParser, hit: HitFinder, nowMs: number): void {
    this.#startedMs = this.#services.clock.monotonicMs();
    this.account.open(request, hit, { nowMs, startedMs: this.#startedMs });
  }

  /** Sends a head alone. */
  sendHead({ head, bytes }: RenderedHead): void {
    this.#socket.write(bytes);
    if (!this.#finish(bytes.length)) head?.lend();
  }

  /** Sends head and body as they stand ready. */
  sendAnswer(answer: ShelvedAnswer, bodyBytes: number): void {
    this.account.noteResident(bodyBytes);
    this.#socket.write(answer.bytes);
    if (this.#finish(answer.lengthBytes)) return;
    answer.hold();
    this.#answer = answer;
  }

  /** Sends a copy of what is in memory, whose lease ends. */
  sendCopy({ head, bytes: headBytes }: RenderedHead, { lease, bytes: body }: ResidentBytes): void {
    // A body that just fits into a small copy has its head beside it.
    const isApart = body.length <= COPY_BYTES && headBytes.length + body.length > COPY_BYTES;
    const start = isApart ? 0 : headBytes.length;
    const copy = this.#services.copies.take(start + body.length);
    // Not set(): from the memory that threads share that goes word by word.
    body.copy(copy.bytes, start);
    lease.end();
    this.account.noteResident(body.length);
    this.account.noteCopy();
    if (isApart) this.#writeBoth(headBytes, copy.bytes.subarray(0, body.length));
    else {
      copy.bytes.set(headBytes);
      this.#socket.write(copy.bytes.subarray(0, start + body.length));
    }
    if (this.#finish(headBytes.length + body.length)) return copy.end();
    if (isApart) head?.lend();
    this.#copy = copy;
  }

  /** Sends what is in memory itself; there is a pin for it. */
  sendPinned({ head, bytes: headBytes }: RenderedHead, { lease, bytes: body }: ResidentBytes): void {
    this.account.noteResident(body.length);
    this.#writeBoth(headBytes, body);
    if (this.#finish(body.length)) {
      lease.end();
      return this.#services.pins.giveBack();
    }
    head?.lend();
    this.#lease = lease;
  }

  /** The connection is gone, and with it what was under way. */
  abandon(error: EdgeError): void {
    if (this.#isUnderWay) this.#settle(error);
  }

  #writeBoth(head: Buffer, body: Buffer): void {
    this.#socket.cork();
    this.#socket.write(head);
    this.#socket.write(body);
    this.#socket.uncork();
  }

  /** Something was written. @returns whether the kernel has taken it all; what was written is its writer's again then */
  #finish(bytes: number): boolean {
    const { clock } = this.#services;
    const nowMs = clock.monotonicMs();
    this.#bytes = bytes;
    this.account.noteFirstByte(nowMs);
    if (this.#socket.writableLength === 0 && this.#socket.errored === null) {
      this.#endedMs = nowMs;
      this.pace.note(bytes, nowMs - this.#startedMs);
      this.account.close(undefined);
      return true;
    }
    this.#isUnderWay = true;
    // Its end is that of what stands before it.
    this.#socket.write(NO_BYTES, this.#onWritten);
    return false;
  }

  readonly #onWritten = (error?: Error | null): void => {
    if (!this.#isUnderWay) return;
    this.#settle(error === undefined || error === null ? undefined : new EdgeError('CLIENT_GONE'));
    this.#onTaken();
  };

  #settle(error: EdgeError | undefined): void {
    const { pins, clock } = this.#services;
    this.#isUnderWay = false;
    if (this.#lease !== undefined) {
      this.#lease.end();
      pins.giveBack();
    }
    this.#copy?.end();
    this.#answer?.giveBack();
    this.#lease = undefined;
    this.#copy = undefined;
    this.#answer = undefined;
    this.#endedMs = clock.monotonicMs();
    this.pace.note(this.#bytes, this.#endedMs - this.#startedMs);
    this.account.close(error);
  }
}
