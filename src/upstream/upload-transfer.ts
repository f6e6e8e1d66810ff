/**
 * A request with content, over node:http: undici can neither send Expect nor take a 100, and whoever sends content may meet one (RFC 9110 s10.1.1,
 * s15.2.1). Each has a connection of its own, because a kept one may just be closing and content can be sent only once. The content is sent as it
 * comes; whether the sender waits for a 100 is between the two ends, which both see what the other sends.
 *
 * A request for another protocol goes this way too. Its connection is none of the origin's budget, since it may last for hours; whoever is given it has a
 * bound of its own (limits.tunnels).
 */
import http, { type ClientRequest, type IncomingMessage } from 'node:http';
import https from 'node:https';
import { isIP, Socket } from 'node:net';
import type { Timer } from '../base/clock.ts';
import { EdgeError } from '../base/errors.ts';
import { fieldValue, hasField, parseRawFields } from '../http/header-fields.ts';
import type { ConnectionBudget } from './connection-budget.ts';
import { drained } from './drained.ts';
import { InterimLimit } from './interim-limit.ts';
import { SinkFeeder } from './sink-feeder.ts';
import type { TransportOptions } from './transport-options.ts';
import { openTunnelSocket } from './tunnel-socket.ts';
import { type Outcome, outcomeOf, upstreamError } from './upstream-error.ts';
import type { ResponseReceiver, Transfer, UpgradedConnection, UpgradeWish, UpstreamHead, UpstreamRequest } from './upstream-transport.ts';

/** What a transfer works with. */
export interface UploadShared {
  readonly options: TransportOptions;
  /** Bounds the connections. */
  readonly agent: http.Agent;
  readonly onOutcome: (outcome: Outcome) => void;
}

/** Makes the agent for uploads to one origin; each connection takes a place in the origin's budget before it is opened. */
export function createUploadAgent(origin: string, budget: ConnectionBudget): http.Agent {
  const agent = origin.startsWith('https:') ? new https.Agent() : new http.Agent();
  const connect = agent.createConnection.bind(agent);
  agent.createConnection = (options, callback) => {
    budget.take(() => {
      const socket = connect(options);
      socket?.once('close', () => budget.giveBack());
      if (socket instanceof Socket) callback?.(null, socket);
    });
    return undefined;
  };
  return agent;
}

/** One request with content, or for another protocol. */
export class UploadTransfer implements Transfer {
  readonly #shared: UploadShared;
  readonly #receiver: ResponseReceiver;
  readonly #request: ClientRequest;
  readonly #upgrade: UpgradeWish | undefined;
  readonly #startedMs: number;
  readonly #interim = new InterimLimit();
  #response: IncomingMessage | undefined;
  #feeder: SinkFeeder | undefined;
  #connecting: Timer | undefined;
  #timer: Timer | undefined;
  #isBodyComplete = false;
  #hasEnded = false;

  constructor(shared: UploadShared, request: UpstreamRequest, receiver: ResponseReceiver) {
    const { options } = shared;
    this.#shared = shared;
    this.#receiver = receiver;
    this.#upgrade = request.upgrade;
    this.#startedMs = options.clock.monotonicMs();
    const url = new URL(options.origin);
    this.#request = createRequest(shared, url, request);
    this.#request.on('socket', (socket) => {
      if (!socket.connecting) return;
      options.metrics.add('connections');
      this.#connecting = this.#failAfter(options.connectTimeoutMs, 'UND_ERR_CONNECT_TIMEOUT');
      socket.once(url.protocol === 'https:' ? 'secureConnect' : 'connect', () => this.#connecting?.stop());
    });
    this.#request.on('information', ({ statusCode, rawHeaders }) => this.#onInterim(statusCode, rawHeaders));
    this.#request.on('response', (response) => this.#onResponse(response));
    this.#request.on('error', (error) => this.#fail(error));
    this.#request.on('upgrade', (response, socket, first) => this.#onUpgrade(response, { socket, first }));
    this.#request.flushHeaders();
    void this.#send(request.body ?? []);
  }

  resume(): void {
    const feeder = this.#feeder;
    if (this.#hasEnded || feeder === undefined) return;
    const next = feeder.goOn(() => this.#hasEnded, this.#isBodyComplete);
    if (next === 'finish') this.#finish();
    else if (next === 'read') this.#read();
  }

  abort(): void {
    if (!this.#hasEnded) this.#end('aborted');
  }

  async #send(body: NonNullable<UpstreamRequest['body']> | readonly Uint8Array[]): Promise<void> {
    try {
      for await (const piece of body) {
        if (this.#hasEnded) return;
        if (!this.#request.write(piece)) await this.#drained();
      }
      if (this.#hasEnded) return;
      this.#request.end();
      if (this.#response === undefined) this.#wait(this.#shared.options.headTimeoutMs, 'UND_ERR_HEADERS_TIMEOUT');
    } catch (error) {
      // The sender's own failure; a body that broke off must not look complete to the origin.
      this.#fail(error);
    }
  }

  async #drained(): Promise<void> {
    if (this.#response === undefined) this.#wait(this.#shared.options.headTimeoutMs, 'UND_ERR_HEADERS_TIMEOUT');
    await drained(this.#request);
    if (this.#response === undefined) this.#stopWaiting();
  }

  #onInterim(status: number, rawHeaders: readonly string[]): void {
    if (this.#hasEnded) return;
    this.#shared.options.metrics.add('interim');
    try {
      this.#interim.count();
    } catch (error) {
      return this.#fail(error);
    }
    this.#receiver.onInterim?.({ status, fields: parseRawFields(rawHeaders) });
  }

  #onResponse(response: IncomingMessage): void {
    if (this.#hasEnded) return;
    const { clock, metrics } = this.#shared.options;
    metrics.observe('headSeconds', (clock.monotonicMs() - this.#startedMs) / 1000);
    this.#stopWaiting();
    this.#response = response;
    response.on('data', (bytes: Buffer) => this.#onBytes(bytes));
    response.on('end', () => this.#onEnd());
    response.on('error', (error) => this.#fail(error));
    response.pause();
    const head = { status: response.statusCode ?? 0, fields: parseRawFields(response.rawHeaders) };
    const sink = this.#receiver.onHead(head, this);
    if (this.#hasEnded) return;
    if (sink === undefined) return this.abort();
    this.#feeder = new SinkFeeder(sink);
    if (this.#feeder.hasRoom) this.#read();
  }

  #onUpgrade({ rawHeaders }: IncomingMessage, connection: UpgradedConnection): void {
    const { socket } = connection;
    // node:http has taken its own listener off; whoever is given the connection sees its end.
    socket.on('error', () => socket.destroy());
    const head = { status: 101, fields: parseRawFields(rawHeaders) };
    const isAsked = this.#upgrade !== undefined && isAnswerTo(this.#upgrade, head);
    if (this.#hasEnded || !isAsked || this.#receiver.onUpgrade === undefined) {
      socket.destroy();
      return this.#fail(new EdgeError('UPSTREAM_INVALID', 'The origin switched protocols, and not as it was asked to'));
    }
    const { clock, metrics } = this.#shared.options;
    metrics.observe('headSeconds', (clock.monotonicMs() - this.#startedMs) / 1000);
    this.#stopWaiting();
    this.#hasEnded = true;
    // How it goes on is between the two ends, and no fault of the node's.
    socket.once('close', () => this.#shared.onOutcome('complete'));
    this.#receiver.onUpgrade(head, connection);
  }

  #read(): void {
    this.#wait(this.#shared.options.bodyTimeoutMs, 'UND_ERR_BODY_TIMEOUT');
    this.#response?.resume();
  }

  #onBytes(bytes: Buffer): void {
    const feeder = this.#feeder;
    if (this.#hasEnded || feeder === undefined) return;
    this.#shared.options.metrics.add('receivedBytes', bytes.length);
    feeder.push(bytes, () => this.#hasEnded);
    if (this.#hasEnded) return;
    if (feeder.hasRoom) this.#wait(this.#shared.options.bodyTimeoutMs, 'UND_ERR_BODY_TIMEOUT');
    else {
      this.#stopWaiting();
      this.#response?.pause();
    }
  }

  #onEnd(): void {
    if (this.#hasEnded) return;
    this.#stopWaiting();
    this.#isBodyComplete = true;
    if (this.#feeder?.isEmpty === true) this.#finish();
  }

  #finish(): void {
    const trailers = parseRawFields(this.#response?.rawTrailers ?? []);
    const sink = this.#feeder?.sink;
    this.#end('complete');
    sink?.onEnd(trailers);
  }

  #fail(cause: unknown): void {
    if (this.#hasEnded) return;
    const error = upstreamError(cause, { origin: this.#shared.options.origin, isInBody: this.#response !== undefined });
    const sink = this.#feeder?.sink;
    this.#end(outcomeOf(error));
    if (sink === undefined) this.#receiver.onFailure(error);
    else sink.onError(error);
  }

  #end(outcome: Outcome): void {
    this.#hasEnded = true;
    this.#connecting?.stop();
    this.#stopWaiting();
    this.#feeder?.clear();
    // Content that is still being sent has no taker any more.
    this.#request.destroy();
    this.#shared.onOutcome(outcome);
  }

  /** Fails the transfer when the origin does nothing for so long. @param errno as undici calls it, so that there is one name for a thing */
  #wait(delayMs: number, errno: string): void {
    this.#stopWaiting();
    this.#timer = this.#failAfter(delayMs, errno);
  }

  #failAfter(delayMs: number, errno: string): Timer {
    const { clock, origin } = this.#shared.options;
    return clock.startTimer(delayMs, () => {
      this.#fail(new EdgeError('UPSTREAM_TIMEOUT', `Origin ${origin} did not answer in time (${errno})`, { context: { origin, errno } }));
    });
  }

  #stopWaiting(): void {
    this.#timer?.stop();
    this.#timer = undefined;
  }
}

function createRequest(
  { options, agent }: UploadShared,
  url: URL,
  { method, path, fields, body, upgrade }: UpstreamRequest,
): ClientRequest {
  const headers = fields.flat();
  if (upgrade !== undefined) headers.push('connection', 'Upgrade', 'upgrade', upgrade.protocol);
  else if (body !== undefined && !hasField(fields, 'content-length')) headers.push('transfer-encoding', 'chunked');
  const client = url.protocol === 'https:' ? https : http;
  const hostname = url.hostname.replace(/^\[|\]$/g, '');
  const lookup = options.lookup === undefined ? {} : { lookup: options.lookup };
  // Else TLS would ask for the name in Host, which may be the client's.
  const name = options.tls?.servername ?? (isIP(hostname) === 0 ? hostname : undefined);
  const servername = name === undefined ? {} : { servername: name };
  const place = { hostname, port: url.port, ...servername, ...lookup, rejectUnauthorized: options.tls?.verifies ?? true };
  const way = upgrade === undefined ? { agent } : { createConnection: () => openTunnelSocket(options) };
  return client.request({ ...place, ...way, method, path, headers, maxHeaderSize: options.headBytesMax });
}

function isAnswerTo(wish: UpgradeWish, head: UpstreamHead): boolean {
  return fieldValue(head.fields, 'upgrade')?.toLowerCase() === wish.protocol && wish.isAnswer(head);
}
