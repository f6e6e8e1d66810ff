/**
 * HTTP requests of commands to a running rawslice: its listener (prewarm) and its admin port (purge). Connections are kept and counted,
 * silence has a limit, and a body comes piece by piece at the caller's pace. Never used for origins; those belong to src/upstream.
 */
import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import { AssertionFailure } from '../src/base/assert.ts';
import type { Clock } from '../src/base/clock.ts';
import { EdgeError } from '../src/base/errors.ts';

/** Longest time without a byte. Longer than the server's own patience with an origin, so that its answer (504) arrives. */
const SILENCE_MS = 120_000;

/** One request. */
export interface ServerRequest {
  readonly method: 'GET' | 'HEAD' | 'POST';
  /** Path and query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

/** Requests to one server. */
export class ServerClient {
  readonly base: URL;
  readonly #clock: Clock;
  readonly #agent: HttpAgent | HttpsAgent;

  /** @param options.base `http://host:port` or https; its path is not used */
  constructor(options: { base: URL; clock: Clock; connectionsMax: number }) {
    const { base, clock, connectionsMax } = options;
    const agentOptions = { keepAlive: true, maxSockets: connectionsMax };
    this.base = base;
    this.#clock = clock;
    this.#agent = base.protocol === 'https:' ? new HttpsAgent(agentOptions) : new HttpAgent(agentOptions);
  }

  /**
   * Sends a request and waits for the head of its response.
   *
   * @throws Error of node:http; an error with the code `SILENT` after two minutes without a byte
   */
  send(wanted: ServerRequest): Promise<IncomingMessage> {
    const send = this.base.protocol === 'https:' ? requestHttps : requestHttp;
    const { method, path, headers, signal } = wanted;
    const options = { agent: this.#agent, method, path, headers, ...(signal === undefined ? {} : { signal }) };
    return new Promise((resolve, reject) => {
      const request = send(new URL(path, this.base), options, (response) => {
        silence.stop();
        resolve(response);
      });
      const silence = this.#clock.startTimer(SILENCE_MS, () => request.destroy(silenceError()));
      request.once('error', (error) => {
        silence.stop();
        reject(error);
      });
      request.end();
    });
  }

  /**
   * The body, piece by piece; the next piece is read from the socket only when it is asked for.
   *
   * @throws Error when the body ends before its announced end, or after two minutes without a byte
   */
  async *readBody(response: IncomingMessage): AsyncGenerator<Buffer> {
    const pieces: AsyncIterator<unknown> = response[Symbol.asyncIterator]();
    try {
      for (;;) {
        const silence = this.#clock.startTimer(SILENCE_MS, () => response.destroy(silenceError()));
        const next = await pieces.next().finally(() => silence.stop());
        if (next.done === true) return;
        if (!Buffer.isBuffer(next.value)) throw new AssertionFailure('a body without encoding comes as buffers');
        yield next.value;
      }
    } finally {
      // Whoever stops reading early must not leave a connection waiting for a reader.
      if (!response.complete) response.destroy();
    }
  }

  /** Ends every connection. */
  close(): void {
    this.#agent.destroy();
  }
}

/**
 * The address of a server as given on a command line; `http://` may be left out.
 *
 * @param option its name, for the message
 * @throws EdgeError USAGE
 */
export function parseServerAddress(text: string, option: string): URL {
  const url = URL.parse(/^[a-z]+:\/\//i.test(text) ? text : `http://${text}`);
  if (url === null || !/^https?:$/.test(url.protocol) || url.pathname !== '/' || url.search !== '' || url.username !== '') {
    throw new EdgeError('USAGE', `${option} takes an address such as http://127.0.0.1:8080, not ${JSON.stringify(text)}`);
  }
  return url;
}

function silenceError(): Error {
  return Object.assign(new Error(`nothing came for ${SILENCE_MS / 1000} s`), { code: 'SILENT' });
}
