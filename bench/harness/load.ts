/**
 * The load: HTTP over plain sockets, with one receive buffer per connection and no copy of what comes in; bodies are counted, not looked
 * at (`digest` apart). Responses must say Content-Length. Built to cost less than any server measured with it.
 */
import { createHash } from 'node:crypto';
import net from 'node:net';
import { type Clock, SystemClock } from '../../src/base/clock.ts';

const RECEIVE_BYTES = 512 * 1024;
/** A slow client reads little at a time, so that its rate is even. */
const SLOW_RECEIVE_BYTES = 64 * 1024;
const DEFAULT_DEADLINE_MS = 30_000;

/** One response, as far as load is concerned. */
export interface LoadSample {
  readonly status: number;
  readonly bodyBytes: number;
  /** False when it ended early or had not ended at the deadline. */
  readonly isComplete: boolean;
  /** From the request to the first byte of the response, on a connection that was open. */
  readonly ttfbMs: number;
  readonly totalMs: number;
  /** On the monotonic clock. */
  readonly startMs: number;
}

/** How a connection reads. */
export interface LoadOptions {
  readonly clock?: Clock;
  /** As fast as possible when undefined. */
  readonly bytesPerSecond?: number | undefined;
}

/** What is asked for, beside the path. */
export interface LoadRequest {
  readonly deadlineMs?: number | undefined;
  readonly onBody?: ((bytes: Buffer) => void) | undefined;
  /** The value of a Range field. */
  readonly range?: string | undefined;
  /** GET when undefined. */
  readonly method?: 'GET' | 'POST' | undefined;
}

interface Transfer {
  readonly startMs: number;
  readonly settle: (sample: LoadSample) => void;
  readonly onBody: ((bytes: Buffer) => void) | undefined;
  readonly stallsAfterHead: boolean;
  readonly method: 'GET' | 'POST';
  head: string;
  status: number;
  ttfbMs: number;
  lengthBytes: number;
  bodyBytes: number;
}

/** One keep-alive connection, one request at a time. */
export class LoadConnection {
  readonly #clock: Clock;
  readonly #socket: net.Socket;
  readonly #port: number;
  readonly #bytesPerSecond: number;
  #transfer: Transfer | undefined;

  private constructor(port: number, { clock = new SystemClock(), bytesPerSecond }: LoadOptions) {
    this.#clock = clock;
    this.#port = port;
    this.#bytesPerSecond = bytesPerSecond ?? Number.POSITIVE_INFINITY;
    const buffer = new Uint8Array(bytesPerSecond === undefined ? RECEIVE_BYTES : SLOW_RECEIVE_BYTES);
    this.#socket = net.connect({
      port,
      host: '127.0.0.1',
      noDelay: true,
      onread: { buffer, callback: (count, bytes) => this.#receive(Buffer.from(bytes.buffer, 0, count)) },
    });
    // How a connection fails shows in the sample: it is not complete.
    this.#socket.on('error', () => undefined);
    this.#socket.on('close', () => this.#settle(false));
  }

  /** A connected client. */
  static async open(port: number, options: LoadOptions = {}): Promise<LoadConnection> {
    const connection = new LoadConnection(port, options);
    await new Promise<void>((resolve, reject) => {
      connection.#socket.once('connect', resolve);
      connection.#socket.once('error', reject);
    });
    return connection;
  }

  /** Asks for a path and counts what comes. */
  async get(path: string, { deadlineMs = DEFAULT_DEADLINE_MS, onBody, range, method = 'GET' }: LoadRequest = {}): Promise<LoadSample> {
    const timer = this.#clock.startTimer(deadlineMs, () => this.destroy());
    const sample = await this.#begin(path, { onBody, stallsAfterHead: false, method }, range === undefined ? '' : `Range: ${range}\r\n`);
    timer.stop();
    return sample;
  }

  /** Asks for a path and stops reading at the head; false when none came until the deadline. The connection stays as it is. */
  async stall(path: string, deadlineMs: number): Promise<boolean> {
    const abort = new AbortController();
    const sample = await Promise.race([
      this.#begin(path, { onBody: undefined, stallsAfterHead: true, method: 'GET' }, ''),
      this.#clock.sleep(deadlineMs, abort.signal).then(() => undefined),
    ]);
    abort.abort();
    return sample !== undefined && sample.status === 200;
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #begin(path: string, options: Pick<Transfer, 'onBody' | 'stallsAfterHead' | 'method'>, fields: string): Promise<LoadSample> {
    if (this.#socket.destroyed) throw new Error(`The connection for ${path} is closed`);
    return new Promise((settle) => {
      const startMs = this.#clock.monotonicMs();
      this.#transfer = { ...options, startMs, settle, head: '', status: 0, ttfbMs: 0, lengthBytes: -1, bodyBytes: 0 };
      this.#socket.write(`${options.method} ${path} HTTP/1.1\r\nHost: 127.0.0.1:${this.#port}\r\n${fields}\r\n`);
    });
  }

  /** Returns whether to go on reading. */
  #receive(bytes: Buffer): boolean {
    const transfer = this.#transfer;
    if (transfer === undefined) return true;
    const body = transfer.lengthBytes === -1 ? this.#receiveHead(transfer, bytes) : bytes;
    if (body === undefined) return true;
    transfer.bodyBytes += body.length;
    if (transfer.stallsAfterHead) {
      this.#settle(false);
      return false;
    }
    transfer.onBody?.(body);
    if (transfer.bodyBytes >= transfer.lengthBytes) this.#settle(transfer.bodyBytes === transfer.lengthBytes);
    else if (this.#bytesPerSecond !== Number.POSITIVE_INFINITY) return this.#rest(transfer);
    return true;
  }

  /** Stops reading until what was read is due. */
  #rest({ startMs, bodyBytes }: Transfer): boolean {
    const aheadMs = startMs + (1000 * bodyBytes) / this.#bytesPerSecond - this.#clock.monotonicMs();
    if (aheadMs <= 0) return true;
    // It ends by itself: a pause is at most what the buffer holds.
    void this.#clock.sleep(aheadMs).then(() => void this.#socket.resume());
    return false;
  }

  #receiveHead(transfer: Transfer, bytes: Buffer): Buffer | undefined {
    if (transfer.ttfbMs === 0) transfer.ttfbMs = this.#clock.monotonicMs() - transfer.startMs;
    const before = transfer.head.length;
    transfer.head += bytes.toString('latin1', 0, Math.min(bytes.length, 16 * 1024));
    const end = transfer.head.indexOf('\r\n\r\n');
    if (end === -1) return undefined;
    transfer.status = Number(transfer.head.slice(9, 12));
    const length = /\r\ncontent-length: *(\d+)/i.exec(transfer.head.slice(0, end))?.[1];
    if (length === undefined) {
      this.destroy();
      return undefined;
    }
    transfer.lengthBytes = Number(length);
    return bytes.subarray(end + 4 - before);
  }

  #settle(isComplete: boolean): void {
    const transfer = this.#transfer;
    if (transfer === undefined) return;
    this.#transfer = undefined;
    const { status, bodyBytes, ttfbMs, startMs } = transfer;
    transfer.settle({ status, bodyBytes, isComplete, ttfbMs, startMs, totalMs: this.#clock.monotonicMs() - startMs });
  }
}

/** One download on a connection of its own. @throws Error when the status is not 200 */
export async function download(port: number, path: string, deadlineMs?: number): Promise<LoadSample> {
  const connection = await LoadConnection.open(port);
  const sample = await connection.get(path, { deadlineMs });
  connection.destroy();
  if (sample.status !== 200) throw new Error(`${path} on port ${port} answered ${sample.status || 'nothing'}`);
  return sample;
}

/** Status, whether it was complete, and SHA-256 of what a path gives, to show that a server serves the right bytes before its speed counts. */
export async function digest(port: number, path: string, range?: string): Promise<string> {
  const hash = createHash('sha256');
  const connection = await LoadConnection.open(port);
  const sample = await connection.get(path, { range, onBody: (bytes) => hash.update(bytes) });
  connection.destroy();
  return `${sample.status} ${sample.isComplete} ${hash.digest('hex')}`;
}
