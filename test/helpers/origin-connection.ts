/** One accepted socket of the scripted origin: requests in, bytes out with back-pressure, and knowing when the other side has gone. */
import type net from 'node:net';
import tls from 'node:tls';
import type { Clock } from '../../src/base/clock.ts';
import type { OriginRequest } from './origin-script.ts';

const HEAD_LIMIT_BYTES = 256 * 1024;

/** One accepted socket: requests in, bytes out, and knowing when the other side has gone. */
export class Connection {
  readonly number: number;
  /** Called once when the connection breaks. */
  onBroken: (() => void) | undefined;
  readonly #socket: net.Socket;
  #received: Buffer = Buffer.alloc(0);
  #wakeReader: (() => void) | undefined;
  #wakeWriter: (() => void) | undefined;
  #pendingWrites = 0;
  #isEnded = false;

  constructor(socket: net.Socket, number: number) {
    this.number = number;
    this.#socket = socket;
    const wake = (): void => {
      this.#wakeReader?.();
      this.#wakeWriter?.();
    };
    socket.on('data', (bytes) => {
      if (typeof bytes !== 'string') this.#received = Buffer.concat([this.#received, bytes]);
      this.#wakeReader?.();
    });
    socket.on('end', () => {
      this.#isEnded = true;
      wake();
    });
    socket.on('drain', () => this.#wakeWriter?.());
    // A reset by the peer is one way for a connection to end; `close` follows.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#isEnded = true;
      wake();
      this.onBroken?.();
    });
  }

  /** Whether nothing more can be written. */
  get isBroken(): boolean {
    return this.#socket.destroyed || !this.#socket.writable;
  }

  /** The next request's head, or undefined when the connection ends (or sends what is no head). */
  async readRequest(): Promise<OriginRequest | undefined> {
    for (;;) {
      const end = this.#received.indexOf('\r\n\r\n');
      if (end !== -1) {
        const text = this.#received.toString('latin1', 0, end);
        this.#received = this.#received.subarray(end + 4);
        return parseRequest(text);
      }
      if (this.#isEnded || this.#received.length > HEAD_LIMIT_BYTES) return undefined;
      await this.#more();
    }
  }

  /** Reads and forgets the request's body; resolves to its size in bytes. */
  async skipBody(request: OriginRequest, sendsContinue = true): Promise<number> {
    const isChunked = request.headers['transfer-encoding'] !== undefined;
    const lengthBytes = Number(request.headers['content-length'] ?? 0);
    if (!isChunked && lengthBytes === 0) return 0;
    if (sendsContinue && request.headers.expect !== undefined) await this.write('HTTP/1.1 100 Continue\r\n\r\n');
    if (!isChunked) return this.#skip(lengthBytes);
    let totalBytes = 0;
    for (;;) {
      const sizeBytes = Number.parseInt(await this.#readLine(), 16);
      if (!(sizeBytes > 0)) break;
      totalBytes += await this.#skip(sizeBytes);
      await this.#readLine();
    }
    while ((await this.#readLine()) !== '');
    return totalBytes;
  }

  /** Writes and, when the socket is full, waits until it is not or is gone; `onTaken` when the kernel has the bytes. */
  async write(bytes: Uint8Array | string, onTaken?: () => void): Promise<void> {
    if (this.isBroken) return;
    const data = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes;
    this.#pendingWrites += 1;
    const hasRoom = this.#socket.write(data, (error) => {
      this.#pendingWrites -= 1;
      if (error === undefined || error === null) onTaken?.();
      if (this.#pendingWrites === 0) this.#wakeWriter?.();
    });
    while (!hasRoom && this.#socket.writableNeedDrain && !this.isBroken) await this.#room();
  }

  /** Waits until the kernel has taken everything written, or has refused it because the connection is gone. */
  async flushed(): Promise<void> {
    while (this.#pendingWrites > 0) await this.#room();
  }

  /** Waits `delayMs`, or until the connection breaks. */
  async pause(clock: Clock, delayMs: number): Promise<void> {
    const abort = new AbortController();
    this.onBroken = () => abort.abort();
    if (!this.isBroken) await clock.sleep(delayMs, abort.signal);
    this.onBroken = undefined;
  }

  end(): void {
    this.#socket.end();
  }

  reset(): void {
    if (this.#socket instanceof tls.TLSSocket) this.#socket.destroy();
    else this.#socket.resetAndDestroy();
  }

  #more(): Promise<void> {
    return new Promise((resolve) => {
      this.#wakeReader = resolve;
    });
  }

  #room(): Promise<void> {
    return new Promise((resolve) => {
      this.#wakeWriter = resolve;
    });
  }

  async #skip(lengthBytes: number): Promise<number> {
    let leftBytes = lengthBytes;
    for (;;) {
      const count = Math.min(leftBytes, this.#received.length);
      this.#received = this.#received.subarray(count);
      leftBytes -= count;
      if (leftBytes === 0 || this.#isEnded) return lengthBytes - leftBytes;
      await this.#more();
    }
  }

  async #readLine(): Promise<string> {
    for (;;) {
      const end = this.#received.indexOf('\r\n');
      if (end !== -1) {
        const line = this.#received.toString('latin1', 0, end);
        this.#received = this.#received.subarray(end + 2);
        return line;
      }
      if (this.#isEnded) return '';
      await this.#more();
    }
  }
}

function parseRequest(text: string): OriginRequest | undefined {
  const [requestLine = '', ...lines] = text.split('\r\n');
  const [method = '', target = '', protocol = ''] = requestLine.split(' ');
  if (!protocol.startsWith('HTTP/1.')) return undefined;
  const headers: Record<string, string> = {};
  const rawHeaders = lines.map((line): [string, string] => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  });
  for (const [name, value] of rawHeaders) {
    const key = name.toLowerCase();
    headers[key] = headers[key] === undefined ? value : `${headers[key]}, ${value}`;
  }
  if (protocol === 'HTTP/1.0' && headers.connection === undefined) headers.connection = 'close';
  return { method, target, path: target.split('?')[0] ?? target, headers, rawHeaders };
}
