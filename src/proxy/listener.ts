/**
 * The downstream side of the sockets: a node:http server with limits and deadlines, which hands each request to the pipeline. Requests that
 * are not HTTP, too large or too slow are answered here, since no pipeline ever sees them.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import { type AddressInfo, Server as NetServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { assert } from '../base/assert.ts';
import { EdgeError, systemErrorCode } from '../base/errors.ts';
import { listeningFd } from '../base/listening-fd.ts';
import { formatHttpDate } from '../http/http-date.ts';
import { MAX_TARGET_BYTES } from '../http/request-target.ts';
import { ClientDoor, type Peer } from './client-door.ts';
import { ExpressLane } from './express/express-lane.ts';
import { Http2Door } from './http2/http2-door.ts';
import { handleRequest } from './pipeline.ts';
import { proxyStatusOf } from './proxy-error.ts';
import { type RefusalKind, refusal } from './refusal.ts';
import { RequestContext, type RequestOrigin } from './request-context.ts';
import type { ProxyServices } from './services.ts';
import { mayUpgrade, namesProtocol, upgradeOf } from './upgrade.ts';
import { UpgradeAttempt } from './upgrade-attempt.ts';

/** Limits on connections and heads, and which way these go. */
export interface ListenerOptions {
  /** Whether plain hits are answered without node:http. */
  readonly hasExpressLane: boolean;
  readonly connectionsMax: number;
  readonly headerBytesMax: number;
  /** Streams of one connection of HTTP/2 at a time. */
  readonly streamsMax: number;
  /** For a request's head to arrive. */
  readonly headerTimeoutMs: number;
}

/** Where to listen: a TCP address, a Unix socket, or a descriptor of a socket that listens already. */
export type ListenPlace = { readonly host: string; readonly port: number } | { readonly path: string } | { readonly fd: number };

/** How a listener ends. */
export interface ListenerEnd {
  /** For requests in progress; after it they are cut off. */
  readonly deadlineMs: number;
  /**
   * How long connections are kept on which nothing is going on. What is asked on them meanwhile is answered, and the answer says that the
   * connection ends with it; so a client that was about to ask is not met by a connection that closes under it.
   */
  readonly idleGraceMs?: number | undefined;
}

/** How long an idle connection is kept; longer than the clients' own habit, so that the client is the one who closes. */
const KEEP_ALIVE_MS = 65_000;
/** How often deadlines of connections are looked at; node's own default of 30 s would make a 10 s deadline a lie. */
const DEADLINE_CHECK_MS = 1000;

/** For a client that was refused to take the answer and go. */
const LINGER_MS = 5000;
/** Requests that a client may have sent ahead of the response in progress; apt sends ten. */
const PIPELINED_MAX = 64;

/** One request and its place in the line of its connection. */
interface Turn {
  /** Kept here: a request whose content was destroyed has none any more. */
  readonly socket: Duplex;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Once it is being handled. */
  context: RequestContext | undefined;
}

/** Requests of one connection, which are answered one after the other, as they came. */
interface ConnectionState {
  isBusy: boolean;
  /** The newest one; while its content is still to come, whatever goes wrong on the connection goes wrong in it. */
  newest: Turn | undefined;
  readonly waiting: Turn[];
  /** Node's parser reads nothing more, and says so for every packet. */
  isBroken: boolean;
  /** What is sent after the response in progress, when the client has gone on with something that is not HTTP. */
  refusal: string | undefined;
}

/** Accepts connections and requests. */
export class Listener {
  readonly #server: Server;
  #services: ProxyServices;
  #isClosing = false;
  readonly #connections = new WeakMap<Duplex, ConnectionState>();
  readonly #peers = new WeakMap<Duplex, Peer>();
  /** All that were accepted: node:http knows nothing any more of one whose request was malformed, or whose tunnel was refused. */
  readonly #sockets = new Set<Socket>();
  readonly #door: ClientDoor;
  readonly #toHttp: (socket: Socket) => void;
  /** Requests for another protocol whose connection has not come back yet. */
  readonly #upgrades = new Set<UpgradeAttempt>();

  readonly #lane: ExpressLane;
  readonly #http2: Http2Door;

  constructor(services: ProxyServices, options: ListenerOptions) {
    this.#services = services;
    this.#server = createServer(
      {
        maxHeaderSize: options.headerBytesMax,
        headersTimeout: options.headerTimeoutMs,
        // A long upload is not an attack; a stalled one is ended by limits.uploadStall.
        requestTimeout: 0,
        // node:http would answer it past log and metrics; admit refuses it.
        requireHostHeader: false,
        keepAliveTimeout: KEEP_ALIVE_MS,
        connectionsCheckingInterval: DEADLINE_CHECK_MS,
        noDelay: true,
        // Only what stands alone on its connection can change what that speaks.
        shouldUpgradeCallback: (request) => !this.#stateOf(request.socket).isBusy && mayUpgrade(request),
      },
      (request, response) => this.#handle(request, response),
    );
    this.#server.on('clientError', (error, socket) => this.#refuseSoon(error, socket));
    // Beyond its own limit node:http would drop fields without a word; admit has one that refuses.
    this.#server.maxHeadersCount = 0;
    // Without listeners node:http answers these itself: with 100 before anybody was asked, with 417 past log and metrics.
    this.#server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => this.#handle(request, response));
    this.#server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => this.#handle(request, response));
    // node:http gives a tunnel's socket away without a response object.
    this.#server.on('connect', (_request, socket) => {
      // And takes its own listener for errors off it.
      socket.on('error', () => socket.destroy());
      this.#refuseWith('method', socket);
    });
    this.#server.on('upgrade', (request, socket, first) => this.#upgrade(request, socket, first));
    this.#server.maxConnections = options.connectionsMax;
    this.#server.on('drop', () => services.metrics.add('connectionsDropped'));
    this.#toHttp = takeOverConnections(this.#server);
    this.#lane = this.#openLane(options, this.#toHttp);
    this.#http2 = new Http2Door({ ...options, services, keepAliveMs: KEEP_ALIVE_MS });
    this.#door = this.#openDoor(this.#toHttp);
    const { load } = services;
    this.#server.on('connection', (socket: Socket) => {
      load.connections += 1;
      this.#sockets.add(socket);
      socket.once('close', () => {
        load.connections -= 1;
        this.#sockets.delete(socket);
      });
      this.#door.accept(socket);
    });
  }

  #openDoor(toHttp: (socket: Socket) => void): ClientDoor {
    const { clock, metrics } = this.#services;
    return new ClientDoor({
      transport: () => this.#services.service.transport,
      clock,
      metrics,
      deadlineMs: () => this.#server.headersTimeout,
      onward: (socket, peer, protocol) => {
        if (protocol === 'h2') return this.#http2.accept(socket, peer);
        this.#peers.set(socket, peer);
        if (this.#lane.isOpen) this.#lane.accept(socket);
        else toHttp(socket);
      },
    });
  }

  /** Requests that come from now on are handled with these. `headerBytesMax` stays what it is. */
  use(services: ProxyServices, options: ListenerOptions): void {
    this.#services = services;
    this.#server.headersTimeout = options.headerTimeoutMs;
    this.#server.maxConnections = options.connectionsMax;
    this.#http2.use(services, options);
    this.#lane.use(services, { headerTimeoutMs: options.headerTimeoutMs, isOpen: isForLane(services, options) });
  }

  #openLane(options: ListenerOptions, toGeneral: (socket: Socket) => void): ExpressLane {
    const { headerBytesMax, headerTimeoutMs } = options;
    return new ExpressLane({
      services: this.#services,
      isOpen: isForLane(this.#services, options),
      headerBytesMax,
      headerTimeoutMs,
      keepAliveMs: KEEP_ALIVE_MS,
      checkMs: DEADLINE_CHECK_MS,
      toGeneral,
      refuse: (kind, socket) => this.#refuseWith(kind, socket),
    });
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

  /** The listening socket's descriptor, for a process that goes on listening on it; undefined for none. */
  get fd(): number | undefined {
    return listeningFd(this.#server);
  }

  /** Accepts nothing more and waits for requests in progress. */
  async close({ deadlineMs, idleGraceMs = 0 }: ListenerEnd): Promise<void> {
    const { clock } = this.#services;
    this.#isClosing = true;
    const closed = new Promise<void>((resolve) => {
      // node:http's own way would close what is idle at once.
      NetServer.prototype.close.call(this.#server, () => resolve());
    });
    this.#door.close();
    this.#lane.beginClosing();
    this.#http2.beginClosing();
    const grace = clock.startTimer(idleGraceMs, () => {
      this.#server.close();
      this.#lane.closeIdle();
      this.#http2.close();
      for (const { isResting, socket } of this.#upgrades) if (isResting) socket.destroy();
    });
    const timer = clock.startTimer(deadlineMs, () => {
      this.#lane.close();
      for (const socket of this.#sockets) socket.destroy();
    });
    await closed;
    this.#server.close();
    grace.stop();
    timer.stop();
    this.#lane.close();
  }

  #handle(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    const state = this.#stateOf(socket);
    // node:http has lost what came with it in one piece, so nothing behind it can be trusted.
    if (namesProtocol(request)) response.shouldKeepAlive = false;
    const turn: Turn = { socket, request, response, context: undefined };
    state.newest = turn;
    if (!state.isBusy) this.#begin(turn, state);
    else if (state.waiting.length < PIPELINED_MAX) state.waiting.push(turn);
    else {
      this.#services.metrics.add('refused', 1, 'pipelining');
      socket.destroy();
    }
  }

  #begin(turn: Turn, state: ConnectionState): void {
    const { request, response } = turn;
    state.isBusy = true;
    if (this.#isClosing) response.shouldKeepAlive = false;
    response.once('close', () => this.#next(turn, state));
    turn.context = new RequestContext(request, response, this.#originOf(request, turn.socket));
    void handleRequest(turn.context, this.#services);
  }

  /** node:http has given the connection away. */
  #upgrade(request: IncomingMessage, socket: Duplex, first: Buffer): void {
    const { clock } = this.#services;
    const attempt = new UpgradeAttempt(request, {
      protocol: upgradeOf(request, this.#services),
      socket,
      first,
      clock,
      keepAliveMs: KEEP_ALIVE_MS,
      giveBack: () => {
        this.#upgrades.delete(attempt);
        this.#toHttp(request.socket);
      },
    });
    this.#upgrades.add(attempt);
    socket.once('close', () => this.#upgrades.delete(attempt));
    if (this.#isClosing) attempt.response.shouldKeepAlive = false;
    const upgrade = attempt.protocol === undefined ? undefined : attempt;
    const context = new RequestContext(request, attempt.response, { ...this.#originOf(request, socket), upgrade });
    void handleRequest(context, this.#services);
  }

  #originOf(request: IncomingMessage, socket: Duplex): RequestOrigin {
    const { clock, service } = this.#services;
    const peer = this.#peers.get(socket) ?? { address: request.socket.remoteAddress, isSecure: false };
    return { startedMs: clock.monotonicMs(), peer, trust: service.transport.trust };
  }

  /** A response has ended: the next request of the connection has its turn. */
  #next({ socket, response }: Turn, state: ConnectionState): void {
    state.isBusy = false;
    // RFC 9112 s9.6: what was sent behind the last request of a connection is not looked at.
    if (socket.destroyed || !response.shouldKeepAlive) return;
    const turn = state.waiting.shift();
    if (turn !== undefined) this.#begin(turn, state);
    else if (state.refusal !== undefined) this.#endWith(state.refusal, socket);
  }

  /** Nobody else looks after the connection: what comes yet is thrown away, so that its end is seen, and it is not waited for it for long. */
  #endWith(answer: string, socket: Duplex): void {
    socket.end(answer);
    socket.resume();
    const timer = this.#services.clock.startTimer(LINGER_MS, () => socket.destroy());
    socket.once('close', () => timer.stop());
  }

  #stateOf(socket: Duplex): ConnectionState {
    const state = this.#connections.get(socket) ?? { isBusy: false, newest: undefined, waiting: [], isBroken: false, refusal: undefined };
    this.#connections.set(socket, state);
    return state;
  }

  /**
   * Refuses what node's parser has stopped in, once. It tells so before what stands in front of it was begun or long after, depending on how the bytes
   * came to it; in either case that has its turn first, so that both lanes give one answer.
   */
  #refuseSoon(error: Error, socket: Duplex): void {
    const state = this.#stateOf(socket);
    if (state.isBroken) return;
    state.isBroken = true;
    this.#services.clock.defer(() => this.#refuse(error, socket));
  }

  #refuse(error: Error, socket: Duplex): void {
    // A client that has gone is nobody's fault, and gets no answer.
    if (systemErrorCode(error) === 'ECONNRESET' || !socket.writable) return void socket.destroy();
    const state = this.#stateOf(socket);
    const { newest } = state;
    if (newest === undefined || newest.request.complete) return this.#refuseWith(kindOf(error), socket);
    // The content of the newest request is malformed.
    if (newest.context === undefined) {
      state.waiting.pop();
      this.#refuseWith('content', socket);
    } else if (newest.response.headersSent) {
      if (newest.context.error === undefined) this.#services.metrics.add('refused', 1, 'content');
      socket.destroy();
    } else newest.context.refuse(refusal(this.#services, 'content', "The request's content is malformed"));
  }

  #refuseWith(kind: RefusalKind, socket: Duplex): void {
    const state = this.#stateOf(socket);
    const answer = answerText(refusal(this.#services, kind), this.#services.clock.wallMs());
    // In the middle of a response it would be taken for its bytes.
    if (state.isBusy) state.refusal ??= answer;
    // What was sent behind the last request of a connection gets no answer (RFC 9112 s9.6).
    else if (socket.writable) this.#endWith(answer, socket);
  }
}

/** Whether connections begin in the express lane, which knows no TLS, and no client but the other end of the connection. */
function isForLane({ service }: ProxyServices, { hasExpressLane }: ListenerOptions): boolean {
  const { certificates, takesProxyProtocol, trust } = service.transport;
  return hasExpressLane && certificates === undefined && !takesProxyProtocol && trust === undefined;
}

/**
 * Takes node:http's own listener off a new server, so that connections are accepted for somebody else. Its deadlines hold for connections that
 * are given to it later because the server is the one that listens.
 *
 * @returns gives it a connection
 */
function takeOverConnections(server: Server): (socket: Socket) => void {
  const [own, another] = server.listeners('connection');
  assert(own !== undefined && another === undefined, 'node:http has one listener for connections');
  server.removeAllListeners('connection');
  return (socket) => Reflect.apply(own, server, [socket]);
}

/** A request line that means something, of a method that node's parser does not know. */
const UNKNOWN_METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [!-~]+ HTTP\/1\.[01]\r\n/;
/** What node's parser says of a version that is one, and not spoken; it says other things of what is none. */
const UNKNOWN_VERSION = 'Invalid HTTP version';
/** A target beyond MAX_TARGET_BYTES, which is what made the head too large. */
const LONG_TARGET = new RegExp(`^[A-Z]+ [!-~]{${MAX_TARGET_BYTES + 1}}`);

const LF = 10;

/** What node's parser has found wrong before there was a request. */
function kindOf(error: Error & { readonly rawPacket?: unknown; readonly bytesParsed?: unknown; readonly reason?: unknown }): RefusalKind {
  const { bytesParsed } = error;
  const bytes = Buffer.isBuffer(error.rawPacket) ? error.rawPacket : Buffer.alloc(0);
  // Requests that were sent ahead of this one may stand in the same packet; it begins with the line in which the parser stopped.
  const lineStart = typeof bytesParsed === 'number' && bytesParsed > 0 ? bytes.lastIndexOf(LF, bytesParsed - 1) + 1 : 0;
  const packet = bytes.toString('latin1', lineStart);
  switch (systemErrorCode(error)) {
    case 'HPE_HEADER_OVERFLOW':
      return LONG_TARGET.test(packet) ? 'target-length' : 'head-size';
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return 'head-time';
    case 'HPE_INVALID_VERSION':
      // The line may have come in several packets, so its text is not asked.
      return error.reason === UNKNOWN_VERSION ? 'version' : 'syntax';
    case 'HPE_INVALID_METHOD':
      return UNKNOWN_METHOD.test(packet) ? 'method' : 'syntax';
    default:
      return 'syntax';
  }
}

/** The answer to what never became a request. */
function answerText(error: EdgeError, nowMs: number): string {
  const text = `${error.message}\n`;
  const fields = [
    `date: ${formatHttpDate(nowMs)}`,
    'connection: close',
    'content-type: text/plain; charset=utf-8',
    `content-length: ${Buffer.byteLength(text)}`,
    `proxy-status: ${proxyStatusOf(error) ?? ''}`,
  ];
  return `HTTP/1.1 ${error.httpStatus} ${STATUS_CODES[error.httpStatus]}\r\n${fields.join('\r\n')}\r\n\r\n${text}`;
}

function placeName(place: ListenPlace): string {
  if ('fd' in place) return `the inherited descriptor ${place.fd}`;
  return 'path' in place ? place.path : `${place.host}:${place.port}`;
}

/** Says what to do about an address that cannot be had. */
export function listenError(place: ListenPlace, cause: unknown): EdgeError {
  const where = placeName(place);
  const errno = systemErrorCode(cause) ?? 'unknown';
  const advice: Readonly<Record<string, string>> = {
    EADDRINUSE: 'it is in use by another program; choose another with --listen or --admin, or stop that program',
    EACCES: 'this user may not; choose a port above 1023 or give the program CAP_NET_BIND_SERVICE',
    EADDRNOTAVAIL: 'this machine has no such address',
  };
  return new EdgeError('LISTEN_FAILED', `Cannot listen on ${where}: ${advice[errno] ?? errno}`, { cause, context: { errno } });
}
