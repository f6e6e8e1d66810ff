/**
 * The downstream side of the sockets: a node:http server with limits and deadlines, which hands each request to the pipeline. Requests that
 * are not HTTP, too large or too slow are answered here, since no pipeline ever sees them.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { EdgeError, systemErrorCode } from '../base/errors.ts';
import { handleRequest } from './pipeline.ts';
import type { ProxyServices } from './services.ts';

/** Limits that node:http enforces. */
export interface ListenerLimits {
  readonly headerBytesMax: number;
  /** For a request's head to arrive. */
  readonly headerTimeoutMs: number;
}

/** Where to listen: a TCP address, or a Unix socket. */
export type ListenPlace = { readonly host: string; readonly port: number } | { readonly path: string };

/** How long an idle connection is kept; longer than the clients' own habit, so that the client is the one who closes. */
const KEEP_ALIVE_MS = 65_000;
/** How often deadlines of connections are looked at; node's own default of 30 s would make a 10 s deadline a lie. */
const DEADLINE_CHECK_MS = 1000;

/** Requests that a client may have sent ahead of the response in progress; apt sends ten. */
const PIPELINED_MAX = 64;

/** Requests of one connection, which are answered one after the other, as they came. */
interface ConnectionState {
  isBusy: boolean;
  /** The newest one; while its content is still to come, whatever goes wrong on the connection goes wrong in it. */
  newest: IncomingMessage | undefined;
  readonly waiting: (() => void)[];
  /** What is sent after the response in progress, when the client has gone on with something that is not HTTP. */
  refusal: string | undefined;
}

/** Accepts connections and requests. */
export class Listener {
  readonly #server: Server;
  readonly #services: ProxyServices;
  readonly #connections = new WeakMap<Duplex, ConnectionState>();

  constructor(services: ProxyServices, limits: ListenerLimits) {
    this.#services = services;
    this.#server = createServer(
      {
        maxHeaderSize: limits.headerBytesMax,
        headersTimeout: limits.headerTimeoutMs,
        // A long upload is not an attack; a stalled one is ended by the origin's time-out.
        requestTimeout: 0,
        keepAliveTimeout: KEEP_ALIVE_MS,
        connectionsCheckingInterval: DEADLINE_CHECK_MS,
        noDelay: true,
      },
      (request, response) => this.#handle(request, response),
    );
    this.#server.on('clientError', (error, socket) => this.#refuse(error, socket));
    // node:http gives a tunnel's socket away without a response object.
    this.#server.on('connect', (_request, socket) => this.#refuseWith(501, socket));
    // No Upgrade is tunnelled: without a listener for it node:http treats the request as an ordinary one.
    let connections = 0;
    this.#server.on('connection', (socket: Socket) => {
      connections += 1;
      socket.once('close', () => {
        connections -= 1;
      });
    });
    services.metrics.setGauge('connections', () => connections);
  }

  /**
   * Begins to accept.
   *
   * @returns the address, with the port that the system chose where 0 was asked for
   * @throws EdgeError LISTEN_FAILED
   */
  listen(place: ListenPlace): Promise<AddressInfo | string> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', (cause) => reject(listenError(place, cause)));
      this.#server.listen(place, () => resolve(this.#server.address() ?? ''));
    });
  }

  /** Accepts nothing more and waits for requests in progress, up to `deadlineMs`; then cuts them off. */
  async close(deadlineMs: number): Promise<void> {
    const { clock, load } = this.#services;
    load.isDraining = true;
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    this.#server.closeIdleConnections();
    const timer = clock.startTimer(deadlineMs, () => this.#server.closeAllConnections());
    await closed;
    timer.stop();
  }

  #handle(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    const state = this.#stateOf(socket);
    state.newest = request;
    const start = (): void => {
      state.isBusy = true;
      response.once('close', () => this.#next(socket, state));
      void handleRequest(request, response, this.#services);
    };
    if (!state.isBusy) start();
    else if (state.waiting.length < PIPELINED_MAX) state.waiting.push(start);
    else socket.destroy();
  }

  /** A response has ended: the next request of the connection has its turn. */
  #next(socket: Duplex, state: ConnectionState): void {
    state.isBusy = false;
    if (socket.destroyed) return;
    const start = state.waiting.shift();
    if (start !== undefined) start();
    else if (state.refusal !== undefined) socket.end(state.refusal);
  }

  #stateOf(socket: Duplex): ConnectionState {
    const state = this.#connections.get(socket) ?? { isBusy: false, newest: undefined, waiting: [], refusal: undefined };
    this.#connections.set(socket, state);
    return state;
  }

  #refuse(error: Error, socket: Duplex): void {
    this.#services.metrics.add('malformed');
    const code = systemErrorCode(error);
    const isInContent = this.#connections.get(socket)?.newest?.complete === false;
    if (code === 'ECONNRESET' || !socket.writable || isInContent) socket.destroy();
    else this.#refuseWith(code === 'HPE_HEADER_OVERFLOW' ? 431 : code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400, socket);
  }

  #refuseWith(status: keyof typeof REFUSALS, socket: Duplex): void {
    const state = this.#stateOf(socket);
    const text = `${REFUSALS[status]}\n`;
    const answer = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: ${text.length}\r\n\r\n${text}`;
    // In the middle of a response it would be taken for its bytes.
    if (state.isBusy) state.refusal ??= answer;
    else socket.end(answer);
  }
}

const REFUSALS = {
  400: 'The request is malformed',
  408: 'The request head did not arrive in time (limits.headerTimeout)',
  431: 'The request head is too large (limits.headerBytes)',
  501: 'The method CONNECT is not supported by this proxy',
} as const;

/** Says what to do about an address that cannot be had. */
export function listenError(place: ListenPlace, cause: unknown): EdgeError {
  const where = 'path' in place ? place.path : `${place.host}:${place.port}`;
  const errno = systemErrorCode(cause) ?? 'unknown';
  const advice: Readonly<Record<string, string>> = {
    EADDRINUSE: 'it is in use by another program; choose another with --listen or --admin, or stop that program',
    EACCES: 'this user may not; choose a port above 1023 or give the program CAP_NET_BIND_SERVICE',
    EADDRNOTAVAIL: 'this machine has no such address',
  };
  return new EdgeError('LISTEN_FAILED', `Cannot listen on ${where}: ${advice[errno] ?? errno}`, { cause, context: { errno } });
}
