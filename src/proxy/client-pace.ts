/**
 * What a connection has shown of its client over all its responses, in either lane: whether it takes bytes as they come, and so may be sent
 * slots, or larger copies. Kept by client-writer.ts and by the express lane.
 */
import type { Socket } from 'node:net';
import { MIB } from '../base/units.ts';

/**
 * What a client must have taken over its connection without a pause before it is sent slots: more than the kernel buffers for one that reads
 * nothing (4 MiB to send by Linux's net.ipv4.tcp_wmem, and what the other side receives).
 */
const PROVEN_BYTES = 8 * MIB;
/** A write that takes longer shows that the client does not keep up. */
export const PROMPT_MS = 250;
/** One that takes no longer than this was taken by the kernel as it came; the next copy may be larger. */
const QUICK_MS = 10;

/** One client's pace. */
export class ClientPace {
  #promptBytes = 0;
  #isQuick = false;

  /** Whether it may be sent slots. */
  get isProven(): boolean {
    return this.#promptBytes >= PROVEN_BYTES;
  }

  /** Whether it took the last write at once. */
  get isQuick(): boolean {
    return this.#isQuick;
  }

  /** It has taken so much, in so long. */
  note(bytes: number, tookMs: number): void {
    this.#isQuick = tookMs <= QUICK_MS;
    this.#promptBytes = tookMs <= PROMPT_MS ? this.#promptBytes + bytes : 0;
  }
}

const PACES = new WeakMap<Socket, ClientPace>();

/** The pace of a connection's client; of one that is gone, a new one. */
export function paceOf(socket: Socket | null): ClientPace {
  const known = socket === null ? undefined : PACES.get(socket);
  if (known !== undefined) return known;
  const pace = new ClientPace();
  if (socket !== null) PACES.set(socket, pace);
  return pace;
}
