/**
 * A raw HTTP client for tests: what arrived, byte by byte, and how it ended; nothing is corrected, decoded, followed or retried. Bodies are
 * kept, handed on, or verified on the fly against body.ts, so that objects of any size can be checked. One connection may carry several
 * requests, pipelined or not, and may stop reading whenever a test wants a stalled client.
 */
import net from 'node:net';
import { type Clock, SystemClock } from '../../src/base/clock.ts';
import { systemErrorCode } from '../../src/base/errors.ts';
import { type BodyIdentity, verifyBody } from './body.ts';
import { type FieldLines, fieldPairs } from './origin-script.ts';
import { type ResponseHead, ResponseParser } from './response-parser.ts';

/** What a response's body should be. */
export interface ExpectedBody extends BodyIdentity {
  /** Byte of the object that the body begins with; default 0. */
  readonly start?: number | undefined;
}

/** One request. */
export interface RequestOptions {
  readonly path: string;
  /** Default GET. */
  readonly method?: string | undefined;
  /** Added to `Host: 127.0.0.1:PORT`, unless a Host is among them. */
  readonly headers?: FieldLines | undefined;
  readonly body?: Uint8Array | string | undefined;
  /** Verified as it comes, and not kept. */
  readonly expect?: ExpectedBody | undefined;
  /** Each piece with its offset in the body; the body is then not kept. */
  readonly onBytes?: ((bytes: Buffer, offset: number) => void) | undefined;
  /** Called with the head, before any of the body. */
  readonly onHead?: ((head: ResponseHead) => void) | undefined;
  /** Destroys the connection once this many bytes of body have come. */
  readonly abortAfterBytes?: number | undefined;
}

/** What came back. */
export interface ClientResponse extends ResponseHead {
  /** The body, empty when it was verified or handed on. */
  readonly body: Buffer;
  readonly bodyBytes: number;
  /** First wrong byte of the body when one was expected, or -1. */
  readonly wrongAt: number;
  /** False when the connection ended before Content-Length, the last chunk, or by an error. */
  readonly isComplete: boolean;
  /** Errno name or sentence, when the connection ended by an error. */
  readonly error: string | undefined;
  /** 1xx heads that came before. */
  readonly interim: readonly ResponseHead[];
  readonly trailers: readonly (readonly [name: string, value: string])[];
  /** From sending the request to the response's head. */
  readonly ttfbMs: number;
  /** From sending the request to the end of the response. */
  readonly totalMs: number;
}

/** Where to connect, and how long to wait. */
export interface ConnectOptions {
  readonly port: number;
  /** Reads nothing until `resume`. */
  readonly isPaused?: boolean | undefined;
  /** A response not ended by then is an error; default 30 s. */
  readonly deadlineMs?: number | undefined;
  readonly clock?: Clock | undefined;
}

/** Sends one request on a connection of its own (`Connection: close` unless `headers` say otherwise) and reads the response to its end. */
export async function request(options: RequestOptions & ConnectOptions): Promise<ClientResponse> {
  const connection = await ClientConnection.open(options);
  const hasConnection = fieldPairs(options.headers).some(([name]) => name.toLowerCase() === 'connection');
  const headers = hasConnection ? options.headers : [...fieldPairs(options.headers), ['Connection', 'close'] as const];
  try {
    return await connection.request({ ...options, headers });
  } finally {
    connection.destroy();
  }
}

/** A request whose response nobody reads. */
export interface StalledRequest {
  readonly connection: ClientConnection;
  /** Begins to read; the response when it has ended. */
  resume(): Promise<ClientResponse>;
  destroy(): void;
}

/** Sends a request and reads nothing: the kernel's buffers fill, and then the server's. */
export async function stall(options: RequestOptions & ConnectOptions): Promise<StalledRequest> {
  const connection = await ClientConnection.open({ ...options, isPaused: true });
  // The deadline is for reading: while stalled the response has not begun, so its promise is made on resume.
  const send = connection.prepare(options);
  return {
    connection,
    resume: () => {
      const response = send();
      connection.resume();
      return response;
    },
    destroy: () => connection.destroy(),
  };
}

/**
 * Sends exact bytes and returns all that came back when the server has closed the connection, or `isEnough` says so.
 *
 * @throws Error at the deadline (default 10 s)
 */
export async function exchange(options: {
  readonly port: number;
  readonly bytes: Uint8Array | string;
  readonly isEnough?: ((received: Buffer) => boolean) | undefined;
  readonly deadlineMs?: number | undefined;
  readonly clock?: Clock | undefined;
}): Promise<Buffer> {
  const { clock = new SystemClock(), deadlineMs = 10_000 } = options;
  const socket = net.connect({ port: options.port, host: '127.0.0.1' });
  let received: Buffer = Buffer.alloc(0);
  try {
    return await new Promise((resolve, reject) => {
      const timer = clock.startTimer(deadlineMs, () =>
        reject(new Error(`No end after ${deadlineMs} ms; received ${received.length} bytes`)),
      );
      socket.on('data', (bytes) => {
        received = Buffer.concat([received, toBuffer(bytes)]);
        if (options.isEnough?.(received) === true) socket.destroy();
      });
      // How the server closes is not the question here; what it said before is.
      socket.on('error', () => undefined);
      socket.on('close', () => {
        timer.stop();
        resolve(received);
      });
      socket.write(options.bytes);
    });
  } finally {
    socket.destroy();
  }
}

/** One connection of the client; requests may be sent before earlier responses have ended (pipelining). */
export class ClientConnection {
  readonly #socket: net.Socket;
  readonly #options: ConnectOptions;
  readonly #clock: Clock;
  readonly #waiting: Receiver[] = [];
  #isReading = false;
  #isClosed = false;
  #error: string | undefined;

  private constructor(socket: net.Socket, options: ConnectOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#clock = options.clock ?? new SystemClock();
    socket.on('error', (error) => {
      this.#error = systemErrorCode(error) ?? error.message;
    });
    socket.on('close', () => {
      this.#isClosed = true;
      for (const receiver of this.#waiting.splice(0)) receiver.connectionClosed(this.#error);
    });
    if (options.isPaused !== true) this.resume();
  }

  /** A connected client. @throws Error when the connection is refused */
  static async open(options: ConnectOptions): Promise<ClientConnection> {
    const socket = new net.Socket();
    // Paused before it connects, else Node reads the first 64 KiB ahead.
    socket.pause();
    socket.connect({ port: options.port, host: '127.0.0.1' }).setNoDelay(true);
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve();
      });
    });
    return new ClientConnection(socket, options);
  }

  /** Whether the connection has ended, by either side. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Why the connection ended, when it did not end in an orderly way; bytes after the last response are a reason too. */
  get error(): string | undefined {
    return this.#error;
  }

  /** Responses that have not ended yet. */
  get pendingCount(): number {
    return this.#waiting.length;
  }

  /** Sends a request; its response when it has ended, complete or not. @throws Error when it never had a head */
  request(options: RequestOptions): Promise<ClientResponse> {
    return this.prepare(options)();
  }

  /** Sends a request now; the function returned begins to wait for the response. */
  prepare(options: RequestOptions): () => Promise<ClientResponse> {
    const receiver = new Receiver(options, this.#clock, () => this.destroy());
    if (this.#isClosed) receiver.connectionClosed(this.#error ?? 'the connection is closed');
    else {
      this.#waiting.push(receiver);
      this.#socket.write(requestBytes(options, this.#options.port));
    }
    return () => receiver.response(this.#options.deadlineMs ?? 30_000);
  }

  /** Sends bytes as they are; responses to them are read only where `prepare` or `request` announced one. */
  write(bytes: Uint8Array | string): void {
    this.#socket.write(bytes);
  }

  /** Stops reading; what is under way in Node may still come. */
  pause(): void {
    this.#socket.pause();
  }

  /** Reads (again). */
  resume(): void {
    if (!this.#isReading) {
      this.#isReading = true;
      this.#socket.on('data', (bytes) => this.#receive(toBuffer(bytes)));
      this.#socket.on('end', () => this.#waiting[0]?.connectionEnded());
    }
    this.#socket.resume();
  }

  /** Closes the sending side only. */
  end(): void {
    this.#socket.end();
  }

  /** Drops the connection. */
  destroy(): void {
    this.#socket.destroy();
  }

  /** Drops the connection with a TCP reset. */
  reset(): void {
    this.#socket.resetAndDestroy();
  }

  #receive(bytes: Buffer): void {
    let rest = bytes;
    while (rest.length > 0) {
      const receiver = this.#waiting[0];
      if (receiver === undefined) {
        this.#error = `${rest.length} bytes came after the last response`;
        this.destroy();
        return;
      }
      try {
        rest = receiver.feed(rest);
      } catch (error) {
        this.#error = error instanceof Error ? error.message : String(error);
        this.destroy();
        return;
      }
      if (receiver.isDone) this.#waiting.shift();
    }
  }
}

/** Collects one response. */
class Receiver {
  readonly #options: RequestOptions;
  readonly #clock: Clock;
  readonly #abort: () => void;
  readonly #parser: ResponseParser;
  readonly #startMs: number;
  readonly #settled = Promise.withResolvers<void>();
  readonly #interim: ResponseHead[] = [];
  readonly #trailers: [string, string][] = [];
  readonly #pieces: Buffer[] = [];
  #head: ResponseHead | undefined;
  #bodyBytes = 0;
  #wrongAt = -1;
  #ttfbMs = 0;
  #totalMs = 0;
  #error: string | undefined;

  constructor(options: RequestOptions, clock: Clock, abort: () => void) {
    this.#options = options;
    this.#clock = clock;
    this.#abort = abort;
    this.#startMs = clock.monotonicMs();
    this.#parser = new ResponseParser(options.method ?? 'GET', {
      onInterim: (head) => this.#interim.push(head),
      onHead: (head) => {
        this.#head = head;
        this.#ttfbMs = clock.monotonicMs() - this.#startMs;
        options.onHead?.(head);
      },
      onBody: (bytes) => this.#takeBody(bytes),
      onTrailer: (name, value) => this.#trailers.push([name, value]),
      onEnd: () => this.#settle(),
    });
  }

  get isDone(): boolean {
    return this.#parser.isDone;
  }

  feed(bytes: Buffer): Buffer {
    return this.#parser.feed(bytes);
  }

  /** The server closed its side in an orderly way. */
  connectionEnded(): void {
    this.#parser.close();
  }

  connectionClosed(error: string | undefined): void {
    if (this.#parser.isDone) return;
    this.#error = error;
    this.#settle();
  }

  async response(deadlineMs: number): Promise<ClientResponse> {
    const timer = this.#clock.startTimer(deadlineMs, () => {
      this.#error = `no end within ${deadlineMs} ms`;
      this.#settle();
      this.#abort();
    });
    await this.#settled.promise;
    timer.stop();
    const { method = 'GET', path } = this.#options;
    if (this.#head === undefined) throw new Error(`No response to ${method} ${path}: ${this.#error ?? 'the server closed the connection'}`);
    return {
      ...this.#head,
      body: Buffer.concat(this.#pieces),
      bodyBytes: this.#bodyBytes,
      wrongAt: this.#wrongAt,
      isComplete: this.#parser.isDone,
      error: this.#error,
      interim: this.#interim,
      trailers: this.#trailers,
      ttfbMs: this.#ttfbMs,
      totalMs: this.#totalMs,
    };
  }

  #settle(): void {
    this.#totalMs = this.#clock.monotonicMs() - this.#startMs;
    this.#settled.resolve();
  }

  #takeBody(bytes: Buffer): void {
    const { expect, onBytes, abortAfterBytes } = this.#options;
    if (expect !== undefined && this.#wrongAt === -1) {
      const wrong = verifyBody(bytes, expect, (expect.start ?? 0) + this.#bodyBytes);
      if (wrong !== -1) this.#wrongAt = this.#bodyBytes + wrong;
    }
    onBytes?.(bytes, this.#bodyBytes);
    if (expect === undefined && onBytes === undefined) this.#pieces.push(bytes);
    this.#bodyBytes += bytes.length;
    if (abortAfterBytes !== undefined && this.#bodyBytes >= abortAfterBytes) this.#abort();
  }
}

function requestBytes(options: RequestOptions, port: number): Buffer {
  const fields = fieldPairs(options.headers);
  const hasHost = fields.some(([name]) => name.toLowerCase() === 'host');
  const body = Buffer.from(options.body ?? '');
  const isFramed = fields.some(([name]) => /^(content-length|transfer-encoding)$/i.test(name));
  const lines = [`${options.method ?? 'GET'} ${options.path} HTTP/1.1`];
  if (!hasHost) lines.push(`Host: 127.0.0.1:${port}`);
  for (const [name, value] of fields) lines.push(`${name}: ${value}`);
  if (options.body !== undefined && !isFramed) lines.push(`Content-Length: ${body.length}`);
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), body]);
}

function toBuffer(bytes: Buffer | string): Buffer {
  return typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes;
}
