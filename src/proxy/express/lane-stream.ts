/**
 * A response of the express lane that is more than one slice in memory, or that the client has not earned to be sent in one piece: the slices
 * come through fill/slice-source and go through the same client-writer as those of node:http. The head goes with the first bytes, so that
 * until then the request may still be handed over.
 */
import type { Socket } from 'node:net';
import { type EdgeError, toEdgeError } from '../../base/errors.ts';
import type { Resolution } from '../../fill/object-resolver.ts';
import { SliceSource } from '../../fill/slice-source.ts';
import { type ClientOutlet, ClientWriter } from '../client-writer.ts';
import type { ProxyServices } from '../services.ts';
import type { LaneAccount } from './lane-account.ts';

/** What to send. */
export interface StreamedHit {
  readonly socket: Socket;
  readonly resolution: Extract<Resolution, { kind: 'object' }>;
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  readonly account: LaneAccount;
  readonly signal: AbortSignal;
  /** Makes the head when the first bytes are at hand; from then on the response has begun. */
  readonly commit: () => Buffer;
}

/** Sends it. @returns what went wrong, or undefined when the kernel has taken everything; never throws */
export async function streamHit(hit: StreamedHit, services: ProxyServices): Promise<EdgeError | undefined> {
  const { resolution, start, end, signal, account } = hit;
  const { pins, copies, clock, metrics, limits } = services;
  const source = new SliceSource(resolution.object, { start, end }, signal);
  resolution.attached();
  const response = new LaneOutlet(hit.socket, signal);
  const writer = new ClientWriter({
    response,
    pins,
    copies,
    clock,
    metrics,
    stallMs: limits.clientStallMs,
    onSlow: () => source.letGo(),
  });
  try {
    let isFirst = true;
    for (let piece = await source.next(writer.nextLimitBytes()); piece !== undefined; piece = await source.next(writer.nextLimitBytes())) {
      account.sentBytes += piece.bytes.length;
      if (piece.tier === 'ram' || piece.tier === 'device') account.cachedBytes += piece.bytes.length;
      metrics.add('bodyBytes', piece.bytes.length, piece.tier);
      if (isFirst) hit.socket.cork();
      if (isFirst) hit.socket.write(hit.commit());
      const written = writer.write(piece);
      if (isFirst) hit.socket.uncork();
      isFirst = false;
      await written;
    }
    await writer.finish();
    return undefined;
  } catch (cause) {
    const error = toEdgeError(cause);
    if (error.code === 'INTERNAL') services.logger.error({ err: error }, 'request failed inside the program');
    return error;
  } finally {
    writer.close();
    source.close();
    resolution.release();
  }
}

/** The lane's side of a socket, which stays open behind the response. */
class LaneOutlet implements ClientOutlet {
  readonly socket: Socket;
  /** The socket goes on; what ends is the response. */
  readonly writableFinished = false;
  readonly #signal: AbortSignal;

  constructor(socket: Socket, signal: AbortSignal) {
    this.socket = socket;
    this.#signal = signal;
  }

  write(bytes: Buffer, done: () => void): boolean {
    return this.socket.write(bytes, done);
  }

  end(): void {
    // Content-Length has said where the response ends.
  }

  once(_event: 'close', listener: () => void): void {
    this.#signal.addEventListener('abort', listener, { once: true });
  }
}
