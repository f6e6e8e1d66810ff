/** A request of one stream of HTTP/2, as the stages know requests. Made by http2-connection.ts. */
import type { ServerHttp2Stream } from 'node:http2';
import type { TranslatedHead } from '../../http/http2-head.ts';
import type { ClientRequest } from '../exchange.ts';

/** Head and content. */
export class Http2Request implements ClientRequest {
  readonly method: string;
  readonly url: string;
  readonly httpVersion = '2.0';
  readonly httpVersionMajor = 2;
  readonly isHttp2 = true;
  readonly rawHeaders: readonly string[];
  readonly #stream: ServerHttp2Stream;

  constructor(stream: ServerHttp2Stream, head: TranslatedHead) {
    this.#stream = stream;
    this.method = head.method;
    this.url = head.url;
    this.rawHeaders = head.rawHeaders;
    // Of a stream that nobody has begun to read node thinks that nobody will, and resets it once the response has been written: the reset may
    // overtake the response's end.
    if (stream.endAfterHeaders) stream.resume();
    else stream.pause();
  }

  get complete(): boolean {
    return this.#stream.endAfterHeaders || this.readableEnded;
  }

  get destroyed(): boolean {
    return this.#stream.destroyed || this.#stream.aborted;
  }

  /** A stream that was reset with NO_ERROR ends for node as if all had come. */
  get readableEnded(): boolean {
    return this.#stream.readableEnded && !this.#stream.aborted;
  }

  read(): unknown {
    return this.#stream.read();
  }

  on(event: string, listener: () => void): void {
    this.#stream.on(event, listener);
  }
}
