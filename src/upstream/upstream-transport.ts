/**
 * The door to origins: one request, one response, its body put straight where the receiver wants it. The receiver lends room and is told how
 * many bytes came, so that a transport that can read into foreign memory copies nothing; undici-transport.ts copies once. Everything is a
 * callback: there is no promise per chunk.
 *
 *   start -> onInterim* -> onHead -> ( room -> onBytes )* -> onEnd   the body is complete: framing and length agree
 *         |       |      `-> onUpgrade                             the connection speaks another protocol, as was asked for
 *         |                       `-> ... -------------> onError             it is not, whatever the bytes so far look like
 *         `-> onFailure                                         no usable head came
 */
import type { Duplex } from 'node:stream';
import type { EdgeError } from '../base/errors.ts';
import type { FieldList } from '../http/header-fields.ts';

/** What to ask. `path` is the whole origin-form target. */
export interface UpstreamRequest {
  readonly method: string;
  readonly path: string;
  /** End-to-end fields, Host included; no framing fields but the Content-Length of a body. */
  readonly fields: FieldList;
  /** The request's content, taken piece by piece as the origin takes it; undefined when there is none. What it throws ends the request. */
  readonly body?: AsyncIterable<Uint8Array> | undefined;
  /** Another protocol that is asked for; such a request has no content. */
  readonly upgrade?: UpgradeWish | undefined;
  /** What requests that should reach the same node of a group have in common; undefined where that does not matter. */
  readonly affinity?: string | undefined;
}

/** A change of protocol that is asked for (RFC 9110 s7.8). */
export interface UpgradeWish {
  /** As Upgrade names it, lower-case. */
  readonly protocol: string;
  /** Whether a 101 that names the protocol is an answer to this request; another one is as none. */
  readonly isAnswer: (head: UpstreamHead) => boolean;
}

/** A connection that speaks another protocol from now on; whoever is given it ends it. */
export interface UpgradedConnection {
  readonly socket: Duplex;
  /** What came right behind the 101. */
  readonly first: Buffer;
}

/** A response head, final or interim. */
export interface UpstreamHead {
  readonly status: number;
  readonly fields: FieldList;
}

/** Where a body goes. After onEnd or onError nothing more is called. */
export interface BodySink {
  /**
   * Room for the next bytes (at least one), or undefined to stop reading until Transfer.resume(). It is lent until bytes stand in it, room is
   * asked for again, or the transfer is over: the kernel may write there at any time.
   */
  room(): Uint8Array | undefined;
  /** `count` bytes now stand at the start of what room() returned last. */
  onBytes(count: number): void;
  /** The body came to its proper end. @param trailers what stood behind its last chunk */
  onEnd(trailers: FieldList): void;
  /** The body broke off. */
  onError(error: EdgeError): void;
}

/** Receives one response. */
export interface ResponseReceiver {
  /** A 1xx came; any number of times before onHead, and bounded by the transport (RFC 9110 s15.2). */
  onInterim?(head: UpstreamHead): void;
  /** Chooses where the body goes; undefined when it is not wanted, which aborts the transfer. */
  onHead(head: UpstreamHead, transfer: Transfer): BodySink | undefined;
  /** The origin has changed the protocol as asked. Called instead of onHead. */
  onUpgrade?(head: UpstreamHead, connection: UpgradedConnection): void;
  /** No head came. Called instead of onHead, never after it. */
  onFailure(error: EdgeError): void;
}

/** A request in progress. */
export interface Transfer {
  /** There is room again. Harmless at any time. */
  resume(): void;
  /** Ends the transfer; the sink hears nothing more. Harmless after the end. */
  abort(): void;
  /**
   * What came cannot be an answer to what was asked: whoever gave it is left alone for a while. Where there is nobody else this is left out, or says so.
   *
   * @returns whether the same request would be answered by another node now
   */
  blame?(why: string): boolean;
}

/** Makes requests to one upstream group. */
export interface UpstreamTransport {
  /** Servers that answer alike, so that another request may reach another one; one where it is not said. */
  readonly nodeCount?: number | undefined;
  /** Requests that wait for a connection. */
  readonly waitingRequests: number;
  start(request: UpstreamRequest, receiver: ResponseReceiver): Transfer;
  close(): Promise<void>;
}
