/**
 * A request and its response as the stages see them, whichever protocol brought them: node:http's own objects, or those of http2/. What a stage
 * wants of either stands here, so that it holds for both.
 */
import type { Socket } from 'node:net';

/** A client's request. */
export interface ClientRequest {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly httpVersion: string;
  readonly httpVersionMajor: number;
  /** Name, value, name, value ... */
  readonly rawHeaders: readonly string[];
  /** It came over HTTP/2: the version alone does not say so, since a request line of HTTP/1.1 can name any. */
  readonly isHttp2?: boolean | undefined;
  /** Whether all of it has come. */
  readonly complete: boolean;
  readonly destroyed: boolean;
  readonly readableEnded: boolean;
  /** @returns a buffer, or null when there is nothing yet */
  read(): unknown;
  on(event: string, listener: () => void): unknown;
}

/** Where its response goes. */
export interface ClientResponse {
  /** Of the connection, which others of HTTP/2 share. */
  readonly socket: Socket | null;
  readonly statusCode: number;
  /** Whether the head was decided, sent or not. */
  readonly headersSent: boolean;
  /** Whether its end is told apart from a break, and trailers can stand before it. */
  readonly chunkedEncoding: boolean;
  readonly writableFinished: boolean;
  readonly destroyed: boolean;
  readonly closed: boolean;
  sendDate: boolean;
  shouldKeepAlive: boolean;
  writeContinue(): unknown;
  /** @param fields name, value, name, value ... */
  writeInformation(status: number, fields: string[]): unknown;
  writeHead(status: number, fields: string[]): unknown;
  flushHeaders(): void;
  /** @param done called when the kernel has taken the bytes, or never will */
  write(bytes: Buffer, done: () => void): unknown;
  addTrailers(trailers: readonly [string, string][]): void;
  end(text?: string): unknown;
  /** Ends it so that nobody takes it for complete. */
  destroy(): unknown;
  on(event: 'close', listener: () => void): unknown;
  once(event: 'close' | 'finish', listener: () => void): unknown;
  /** Once the response has ended nothing more of the request is wanted; absent where only the end of the connection says so. */
  refuseRest?(): void;
}
