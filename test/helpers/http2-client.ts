/** A client of HTTP/2 over node's own: one connection, and each request with all that came of it. What node would not send is in http2-frames.ts. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type IncomingHttpHeaders,
  type SecureClientSessionOptions,
} from 'node:http2';

/** What is asked; pseudo-fields may be given in `headers`. */
export interface Http2Question {
  readonly method?: string | undefined;
  readonly headers?: Readonly<Record<string, string | readonly string[]>> | undefined;
  readonly body?: Uint8Array | string | undefined;
}

/** What came. */
export interface Http2Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly interim: readonly IncomingHttpHeaders[];
  readonly trailers: IncomingHttpHeaders | undefined;
  /** 0 for a whole response; what the stream was reset with otherwise. */
  readonly resetCode: number;
}

/** One connection. */
export class Http2Client implements AsyncDisposable {
  readonly session: ClientHttp2Session;
  readonly #authority: string;

  private constructor(session: ClientHttp2Session, authority: string) {
    this.session = session;
    this.#authority = authority;
  }

  /** @param security with any, by TLS */
  static async open(port: number, security?: SecureClientSessionOptions): Promise<Http2Client> {
    const scheme = security === undefined ? 'http' : 'https';
    const session = connect(`${scheme}://127.0.0.1:${port}`, { rejectUnauthorized: false, ...security });
    const failed = once(session, 'error').then(([error]) => Promise.reject(error));
    await Promise.race([once(session, 'connect'), failed]);
    // How the server ends a connection is not the question here.
    failed.catch(() => undefined);
    session.on('error', () => undefined);
    return new Http2Client(session, 'a.test');
  }

  /** Begins a request; the caller sends its content and reads. */
  start(path: string, { method = 'GET', headers = {}, body }: Http2Question = {}, isOpen = false): ClientHttp2Stream {
    const fields = { ':method': method, ':path': path, ':authority': this.#authority, ...(headers as Record<string, string>) };
    const stream = this.session.request(fields, { endStream: body === undefined && !isOpen });
    if (body !== undefined) stream.end(body);
    return stream;
  }

  /** Asks and reads to the end, or to the reset. */
  async get(path: string, question: Http2Question = {}): Promise<Http2Answer> {
    return readAnswer(this.start(path, question));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.session.destroyed) this.session.destroy();
    if (!this.session.closed) await once(this.session, 'close');
  }
}

/** Reads what comes on a stream until it is closed. */
export async function readAnswer(stream: ClientHttp2Stream): Promise<Http2Answer> {
  const pieces: Buffer[] = [];
  const interim: IncomingHttpHeaders[] = [];
  let head: (IncomingHttpHeaders & { ':status'?: number | undefined }) | undefined;
  let trailers: IncomingHttpHeaders | undefined;
  stream.on('headers', (fields) => interim.push(fields));
  stream.on('response', (fields) => {
    head = fields;
  });
  stream.on('trailers', (fields) => {
    trailers = fields;
  });
  stream.on('data', (bytes: Buffer) => pieces.push(bytes));
  stream.on('error', () => undefined);
  if (!stream.closed || !stream.destroyed) await new Promise((resolve) => stream.once('close', resolve));
  assert(head !== undefined || stream.rstCode !== 0, 'a stream that ends well has a head');
  const { ':status': status = 0, ...headers } = head ?? {};
  return { status, headers, body: Buffer.concat(pieces), interim, trailers, resetCode: stream.rstCode };
}
