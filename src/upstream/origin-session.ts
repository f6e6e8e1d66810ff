/**
 * One connection of HTTP/2 to an origin: how many streams it takes, whether the origin is still there, and when it is closed. Owned by
 * http2-transport.ts.
 */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionRequestOptions,
  connect,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { isIP } from 'node:net';
import type { Timer } from '../base/clock.ts';
import { EdgeError } from '../base/errors.ts';
import { KIB, MIB, SECOND_MS } from '../base/units.ts';
import type { TransportOptions } from './transport-options.ts';

/** What a session tells of itself. */
export interface SessionOwner {
  /** It can take a stream more than before, or it is ready. */
  onRoom(): void;
  /** It takes no stream any more. */
  onGone(session: OriginSession): void;
}

/** Streams at a time until the origin has said how many it takes (RFC 9113 s6.5.2 recommends no less than 100), and at most. */
const STREAMS_FIRST = 100;
const STREAMS_MAX = 1000;
/** What of one body may be on its way while nobody has taken it. */
const STREAM_WINDOW_BYTES = 256 * KIB;
const CONNECTION_WINDOW_BYTES = 4 * MIB;
/** An idle connection is kept so long. */
const KEEP_ALIVE_MS = 30 * SECOND_MS;
/** How often an origin with open streams is asked whether it is there. */
const PING_MS = 30 * SECOND_MS;
/** As limits.headerBytes has it for clients, and more. */
const HEADER_PAIRS_MAX = 512;

/** One connection. */
export class OriginSession {
  readonly #options: TransportOptions;
  readonly #owner: SessionOwner;
  readonly #session: ClientHttp2Session;
  readonly #connecting: Timer;
  readonly #pings: Timer;
  #idle: Timer | undefined;
  #unanswered: Timer | undefined;
  #streams = 0;
  #isOver = false;
  /** Why it ended; what its streams are told. */
  failure: unknown;

  constructor(options: TransportOptions, owner: SessionOwner) {
    this.#options = options;
    this.#owner = owner;
    const { clock, connectTimeoutMs, metrics } = options;
    metrics.add('connections');
    this.#session = connect(options.origin, connectOptions(options));
    this.#connecting = clock.startTimer(connectTimeoutMs, () => this.#end(timeout(options.origin, 'UND_ERR_CONNECT_TIMEOUT')));
    this.#pings = clock.startInterval(PING_MS, () => this.#ping());
    this.#session.once('connect', () => this.#onConnect());
    this.#session.on('error', (error) => this.#end(error));
    // The streams below the number that the origin names are answered yet.
    this.#session.once('goaway', () => this.#leave());
    this.#session.on('remoteSettings', () => this.#owner.onRoom());
    this.#session.once('close', () => this.#end(new EdgeError('UPSTREAM_BROKEN', `Origin ${options.origin} closed the connection`)));
  }

  /** Whether it takes another stream now. */
  get hasRoom(): boolean {
    // It may be closed and not have said so yet.
    const isOpen = !this.#isOver && !this.#session.closed && !this.#session.destroyed;
    return isOpen && this.#streams < this.#streamsMax;
  }

  /** Whether the connection is gone. */
  get isGone(): boolean {
    return this.#session.destroyed;
  }

  /** Opens a stream. */
  request(headers: OutgoingHttpHeaders, options: ClientSessionRequestOptions): ClientHttp2Stream {
    this.#streams += 1;
    this.#idle?.stop();
    const stream = this.#session.request(headers, options);
    stream.once('close', () => {
      this.#streams -= 1;
      if (this.#streams === 0 && !this.#isOver) this.#idle = this.#options.clock.startTimer(KEEP_ALIVE_MS, () => this.close());
      this.#owner.onRoom();
    });
    return stream;
  }

  /** Ends it once its streams have ended. */
  close(): void {
    this.#leave();
    this.#session.close();
  }

  /** Ends it now. */
  destroy(): void {
    this.#end(new EdgeError('UPSTREAM_BROKEN', 'The transport was closed'));
  }

  get #streamsMax(): number {
    // Node says 2^32 - 1 until the origin's SETTINGS are there.
    const { maxConcurrentStreams = STREAMS_FIRST } = this.#session.connecting ? {} : this.#session.remoteSettings;
    return maxConcurrentStreams > STREAMS_MAX ? STREAMS_FIRST : maxConcurrentStreams;
  }

  #onConnect(): void {
    this.#connecting.stop();
    if (this.#session.encrypted === true && this.#session.alpnProtocol !== 'h2') {
      const text = `Origin ${this.#options.origin} does not speak HTTP/2 (ALPN); set protocol: http/1.1 for its group`;
      this.#end(new EdgeError('UPSTREAM_INVALID', text, { context: { origin: this.#options.origin } }));
      return;
    }
    this.#session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
  }

  /** A connection that is dead is silent, and so is a stream on which nothing happens. */
  #ping(): void {
    const { clock, headTimeoutMs, origin } = this.#options;
    if (this.#streams === 0 || this.#unanswered !== undefined || this.#session.connecting || this.#session.destroyed) return;
    this.#unanswered = clock.startTimer(headTimeoutMs, () => this.#end(timeout(origin, 'PING')));
    this.#session.ping(() => {
      this.#unanswered?.stop();
      this.#unanswered = undefined;
    });
  }

  #leave(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#idle?.stop();
    this.#owner.onGone(this);
  }

  #end(failure: unknown): void {
    this.failure ??= failure;
    this.#connecting.stop();
    this.#pings.stop();
    this.#unanswered?.stop();
    this.#leave();
    if (!this.#session.destroyed) this.#session.destroy();
  }
}

function timeout(origin: string, errno: string): EdgeError {
  return new EdgeError('UPSTREAM_TIMEOUT', `Origin ${origin} did not answer in time (${errno})`, { context: { origin, errno } });
}

function connectOptions({ origin, headBytesMax, lookup, tls }: TransportOptions) {
  const hostname = new URL(origin).hostname.replace(/^\[|\]$/g, '');
  const name = tls?.servername ?? (isIP(hostname) === 0 ? hostname : undefined);
  return {
    ...(lookup === undefined ? {} : { lookup }),
    ...(name === undefined ? {} : { servername: name }),
    rejectUnauthorized: tls?.verifies ?? true,
    ALPNProtocols: ['h2'],
    maxHeaderListPairs: HEADER_PAIRS_MAX,
    strictSingleValueFields: false,
    settings: { enablePush: false, initialWindowSize: STREAM_WINDOW_BYTES, maxHeaderListSize: headBytesMax },
  };
}
