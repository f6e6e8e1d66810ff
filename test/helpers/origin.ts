/**
 * A scripted origin for tests: an HTTP/1.1 server on raw sockets of the loopback, correct by default, and wrong in exactly the way a test
 * asks for, down to the byte. Bodies are computed (body.ts), so objects of any size cost no memory. It respects back-pressure, records
 * every request, and never waits by time except for `bytesPerSecond`. What it can do wrong stands in origin-script.ts.
 * On the command line it is origin-command.ts.
 */
import net from 'node:net';
import tls from 'node:tls';
import { type Clock, SystemClock } from '../../src/base/clock.ts';
import type { BodyIdentity } from './body.ts';
import {
  type Answer,
  answerRequest,
  type BodySource,
  objectEtag,
  objectLastModified,
  objectSource,
  selectVariant,
} from './origin-answer.ts';
import { Connection } from './origin-connection.ts';
import {
  fieldPairs,
  type Misbehaviour,
  type ObjectDefinition,
  type OriginRequest,
  OriginScript,
  type StoredObject,
} from './origin-script.ts';

const WRITE_BYTES = 64 * 1024;
const REASONS: Readonly<Record<number, string>> = {
  100: 'Continue',
  103: 'Early Hints',
  200: 'OK',
  206: 'Partial Content',
  304: 'Not Modified',
};

/** One request as the origin saw it; the mutable fields grow while it is answered. */
export interface RecordedRequest extends OriginRequest {
  /** Number of the request, from 0 over the whole origin. */
  readonly sequence: number;
  /** Number of the connection, from 0; equal ones mean reuse. */
  readonly connection: number;
  /** Bytes of the request's body received. */
  requestBodyBytes: number;
  /** Status answered; undefined before the head is sent and for raw answers. */
  status: number | undefined;
  /** Body bytes that the kernel has taken, chunk framing not counted. */
  bodyBytesSent: number;
  /** `held`: waits for `release`; `aborted`: the other side closed first, or the origin was stopped. */
  state: 'answering' | 'held' | 'done' | 'aborted';
}

/** How an origin is made. */
export interface OriginOptions {
  /** Port of 127.0.0.1; 0 (the default) lets the system choose. */
  readonly port?: number | undefined;
  /** PEM key and certificate: serves https. */
  readonly tls?: { readonly key: string; readonly cert: string } | undefined;
  /** Objects that are not set one by one: called with the target of a request for a path that is not known. */
  readonly resolve?: ((target: string) => ObjectDefinition | undefined) | undefined;
  /** What goes wrong with a request for which no step is scripted; asked once per request. */
  readonly improvise?: ((request: OriginRequest) => Misbehaviour) | undefined;
  readonly clock?: Clock | undefined;
}

/** The scripted origin; `await Origin.start()`, and `await origin.close()` (or `await using`) at the end. */
export class Origin {
  /** All requests, oldest first. */
  readonly requests: RecordedRequest[] = [];
  readonly #clock: Clock;
  readonly #options: OriginOptions;
  readonly #objects = new Map<string, StoredObject>();
  readonly #script = new OriginScript();
  readonly #sockets = new Set<net.Socket>();
  readonly #waiters = new Set<() => void>();
  readonly #gates = new Map<RecordedRequest, () => void>();
  #server: net.Server | undefined;
  #port = 0;
  #connectionCount = 0;
  #requestCount = 0;

  private constructor(options: OriginOptions) {
    this.#options = options;
    this.#clock = options.clock ?? new SystemClock();
    this.#port = options.port ?? 0;
  }

  /** A listening origin. */
  static async start(options: OriginOptions = {}): Promise<Origin> {
    const origin = new Origin(options);
    await origin.start();
    return origin;
  }

  /** The port; stays the same over stop and start. */
  get port(): number {
    return this.#port;
  }

  /** `http://127.0.0.1:PORT`, without a slash at the end. */
  get url(): string {
    return `${this.#options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${this.#port}`;
  }

  /** Connections accepted so far, and those open now. */
  get connections(): { readonly accepted: number; readonly open: number } {
    return { accepted: this.#connectionCount, open: this.#sockets.size };
  }

  /** Listens (again) on the same port. */
  async start(): Promise<void> {
    if (this.#server !== undefined) return;
    const accept = (socket: net.Socket): void => this.#accept(socket);
    const server =
      this.#options.tls === undefined ? net.createServer({ noDelay: true }, accept) : tls.createServer(this.#options.tls, accept);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#port, '127.0.0.1', resolve);
    });
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('The scripted origin has no port');
    this.#port = address.port;
    this.#server = server;
  }

  /** Refuses new connections and breaks the open ones, unless they are to be kept. */
  async stop(options: { readonly keepConnections?: boolean } = {}): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    const closed = new Promise((resolve) => server.close(resolve));
    if (options.keepConnections === true) return;
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** Ends everything; the origin may not be used afterwards. */
  async close(): Promise<void> {
    await this.stop();
    for (const socket of this.#sockets) socket.destroy();
    for (const open of this.#gates.values()) open();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Puts an object at a path (with a query, only that query); returns what its body is made of. */
  setObject(path: string, definition: ObjectDefinition): BodyIdentity {
    const identity: BodyIdentity = { name: path, version: definition.version ?? 1 };
    this.#objects.set(path, { definition, identity });
    return identity;
  }

  /** The next version of an object, one that `resolve` knows included, with other fields where given; returns what its body is made of from now on. */
  change(path: string, patch: ObjectDefinition = {}): BodyIdentity {
    const resolved = this.#objects.has(path) ? undefined : this.#options.resolve?.(path);
    if (resolved !== undefined) this.setObject(path, resolved);
    const { definition, identity } = this.#mustObject(path);
    return this.setObject(path, { ...definition, version: identity.version + 1, ...patch });
  }

  /** 404 from now on. */
  removeObject(path: string): void {
    this.#objects.delete(path);
  }

  /** What the body of an object is made of now. */
  identity(path: string): BodyIdentity {
    return this.#mustObject(path).identity;
  }

  /** The honest ETag and Last-Modified of an object now. */
  validators(path: string): { readonly etag: string | undefined; readonly lastModified: string | undefined } {
    const object = this.#mustObject(path);
    return { etag: objectEtag(object), lastModified: objectLastModified(object) };
  }

  /** Does something wrong with the next `times` requests for a path (`*`: any). Steps of one path follow each other. */
  misbehave(path: string, misbehaviour: Misbehaviour, times = Number.POSITIVE_INFINITY): void {
    this.#script.add(path, misbehaviour, times);
  }

  /** Forgets the misbehaviour of a path, or of all. */
  behave(path?: string | undefined): void {
    this.#script.clear(path);
  }

  /** Lets every response that is held now (head or pause) go on; all paths when none is given. Returns how many. */
  release(path?: string | undefined): number {
    const held = [...this.#gates].filter(([record]) => path === undefined || isFor(record, path));
    for (const [record, open] of held) {
      this.#gates.delete(record);
      this.#setState(record, 'answering');
      open();
    }
    return held.length;
  }

  /** The requests for a path, oldest first. */
  requestsFor(path: string): RecordedRequest[] {
    return this.requests.filter((record) => isFor(record, path));
  }

  /** Forgets the requests recorded so far, so that counts begin anew; responses under way go on. */
  forgetRequests(): void {
    this.requests.length = 0;
  }

  /** Body bytes sent for a path, or for all. */
  bytesSent(path?: string | undefined): number {
    return this.requests.reduce((sum, record) => (path === undefined || isFor(record, path) ? sum + record.bodyBytesSent : sum), 0);
  }

  /** Waits until `count` requests for a path have arrived; resolves to the last of them. */
  async waitForRequest(path: string, count = 1, deadlineMs = 10_000): Promise<RecordedRequest> {
    await this.#waitUntil(() => this.requestsFor(path).length >= count, `request ${count} for ${path}`, deadlineMs);
    return this.requestsFor(path)[count - 1]!;
  }

  /** Waits until `count` responses for a path are held. */
  async waitForHeld(path: string, count = 1, deadlineMs = 10_000): Promise<void> {
    const heldCount = (): number => this.requestsFor(path).filter((record) => record.state === 'held').length;
    await this.#waitUntil(() => heldCount() >= count, `${count} held responses for ${path}`, deadlineMs);
  }

  /** Waits until no request is being answered, so that the records stand still. */
  async waitForIdle(deadlineMs = 10_000): Promise<void> {
    const isBusy = ({ state }: RecordedRequest): boolean => state === 'answering' || state === 'held';
    await this.#waitUntil(() => !this.requests.some(isBusy), 'an idle origin', deadlineMs);
  }

  #mustObject(path: string): StoredObject {
    const object = this.#objects.get(path);
    if (object === undefined) throw new Error(`The scripted origin has no object ${path}`);
    return object;
  }

  #waitUntil(condition: () => boolean, what: string, deadlineMs: number): Promise<void> {
    if (condition()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const settle = (finish: () => void): void => {
        timer.stop();
        this.#waiters.delete(check);
        finish();
      };
      const check = (): void => {
        if (condition()) settle(resolve);
      };
      const fail = (): void => settle(() => reject(new Error(`The scripted origin waited ${deadlineMs} ms for ${what}`)));
      const timer = this.#clock.startTimer(deadlineMs, fail);
      this.#waiters.add(check);
    });
  }

  #changed(): void {
    for (const check of [...this.#waiters]) check();
  }

  #setState(record: RecordedRequest, state: RecordedRequest['state']): void {
    record.state = state;
    this.#changed();
  }

  #accept(socket: net.Socket): void {
    const connection = new Connection(socket, this.#connectionCount);
    this.#connectionCount += 1;
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    void this.#serve(connection);
  }

  async #serve(connection: Connection): Promise<void> {
    let isOpen = true;
    while (isOpen) {
      const request = await connection.readRequest();
      if (request === undefined) break;
      const record: RecordedRequest = {
        ...request,
        sequence: this.#requestCount,
        connection: connection.number,
        requestBodyBytes: 0,
        status: undefined,
        bodyBytesSent: 0,
        state: 'answering',
      };
      this.#requestCount += 1;
      this.requests.push(record);
      this.#changed();
      const misbehaviour = this.#script.take(record) ?? this.#options.improvise?.(record) ?? {};
      const isRead = misbehaviour.answersUnread !== true;
      if (isRead) record.requestBodyBytes = await connection.skipBody(request, misbehaviour.omitsContinue !== true);
      isOpen = (await this.#answer(connection, record, misbehaviour)) && isRead;
    }
    connection.end();
  }

  /** Plays one response; false when the connection is to end. */
  async #answer(connection: Connection, record: RecordedRequest, misbehaviour: Misbehaviour): Promise<boolean> {
    if (misbehaviour.holdHead === true) await this.#hold(connection, record);
    if (misbehaviour.raw !== undefined) return this.#answerRaw(connection, record, misbehaviour);

    // Looked up after the hold, so that a change made meanwhile shows.
    const object = this.#find(record);
    const answer = answerRequest(record, object, { misbehaviour, sequence: record.sequence, wallMs: this.#clock.wallMs() });
    const interimLines = fieldPairs(misbehaviour.interimHeaders).map(([name, value]) => `${name}: ${value}\r\n`);
    for (const status of misbehaviour.interim ?? [])
      await connection.write(`HTTP/1.1 ${status} ${REASONS[status] ?? 'Interim'}\r\n${interimLines.join('')}\r\n`);
    record.status = answer.status;
    this.#changed();
    await this.#writeHead(connection, headText(answer), misbehaviour);
    const ending = await this.#writeBody(connection, record, { answer, misbehaviour, object });
    this.#setState(record, ending === 'aborted' ? 'aborted' : 'done');
    if (ending === 'reset') connection.reset();
    if (ending !== 'whole') return false;
    const keepsAlive = record.headers.connection?.toLowerCase() !== 'close' && answer.framing !== 'close';
    return keepsAlive && misbehaviour.connectionClose !== true && misbehaviour.dropAfterResponse !== true;
  }

  async #answerRaw(connection: Connection, record: RecordedRequest, { raw = '', rawThen = 'close' }: Misbehaviour): Promise<boolean> {
    await connection.write(raw);
    await connection.flushed();
    this.#setState(record, 'done');
    if (rawThen === 'reset') connection.reset();
    return rawThen === 'keep' && !connection.isBroken;
  }

  async #writeHead(connection: Connection, head: string, misbehaviour: Misbehaviour): Promise<void> {
    if (misbehaviour.splitHead !== true) return connection.write(head);
    for (const character of head) {
      await connection.write(character);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async #writeBody(
    connection: Connection,
    record: RecordedRequest,
    play: { readonly answer: Answer; readonly misbehaviour: Misbehaviour; readonly object: StoredObject | undefined },
  ): Promise<'whole' | 'cut' | 'reset' | 'aborted'> {
    const { answer, misbehaviour } = play;
    const cutBytes = Math.min(
      misbehaviour.resetAfterBytes ?? Number.POSITIVE_INFINITY,
      misbehaviour.closeAfterBytes ?? Number.POSITIVE_INFINITY,
    );
    const totalBytes = answer.lengthBytes + (misbehaviour.extraBytes ?? 0);
    // A cut that a shorter body never reaches is none.
    const isCut = cutBytes <= totalBytes;
    const endBytes = Math.min(cutBytes, totalBytes);
    const marks = [misbehaviour.pauseAfterBytes, misbehaviour.changeAfterBytes, endBytes].filter((mark) => mark !== undefined);
    const stepBytes = stepSizeBytes(misbehaviour);
    let source = answer.source;
    let sentBytes = 0;
    while (!connection.isBroken) {
      if (sentBytes === misbehaviour.pauseAfterBytes) await this.#hold(connection, record);
      if (sentBytes === misbehaviour.changeAfterBytes && play.object !== undefined) source = this.#changeUnderWay(play.object, source);
      if (sentBytes === endBytes || connection.isBroken) break;
      const nextMark = Math.min(...marks.filter((mark) => mark > sentBytes));
      const block = Buffer.allocUnsafe(Math.min(stepBytes, nextMark - sentBytes));
      source.fill(block, answer.startBytes + sentBytes);
      const onTaken = (): void => {
        record.bodyBytesSent += block.length;
      };
      await connection.write(answer.framing === 'chunked' ? chunk(block) : block, onTaken);
      sentBytes += block.length;
      if (misbehaviour.bytesPerSecond !== undefined)
        await connection.pause(this.#clock, (block.length / misbehaviour.bytesPerSecond) * 1000);
    }
    if (answer.framing === 'chunked' && !isCut && record.method !== 'HEAD' && answer.status !== 304) {
      const trailers = fieldPairs(misbehaviour.trailers).map(([name, value]) => `${name}: ${value}\r\n`);
      await connection.write(`0\r\n${trailers.join('')}\r\n`);
    }
    await connection.flushed();
    if (record.bodyBytesSent < endBytes) return 'aborted';
    if (!isCut) return 'whole';
    return misbehaviour.resetAfterBytes === cutBytes ? 'reset' : 'cut';
  }

  #changeUnderWay(object: StoredObject, source: BodySource): BodySource {
    const identity = this.#objects.has(object.identity.name) ? this.change(object.identity.name) : object.identity;
    const next = objectSource({ definition: object.definition, identity });
    return { lengthBytes: source.lengthBytes, fill: next.fill };
  }

  #find(request: OriginRequest): StoredObject | undefined {
    const known = this.#objects.get(request.target) ?? this.#objects.get(request.path);
    if (known !== undefined) return selectVariant(known, request.headers);
    const definition = this.#options.resolve?.(request.target);
    return definition === undefined ? undefined : { definition, identity: { name: request.target, version: definition.version ?? 1 } };
  }

  async #hold(connection: Connection, record: RecordedRequest): Promise<void> {
    if (connection.isBroken) return;
    const gate = Promise.withResolvers<void>();
    this.#gates.set(record, gate.resolve);
    connection.onBroken = gate.resolve;
    this.#setState(record, 'held');
    await gate.promise;
    connection.onBroken = undefined;
    if (this.#gates.delete(record)) this.#setState(record, 'answering');
  }
}

function isFor(record: OriginRequest, path: string): boolean {
  return path === '*' || record.target === path || record.path === path;
}

function headText(answer: Answer): string {
  const lines = answer.headers.map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/${answer.httpVersion} ${answer.status} ${REASONS[answer.status] ?? 'Scripted'}\r\n${lines.join('')}\r\n`;
}

function chunk(block: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`${block.length.toString(16)}\r\n`), block, Buffer.from('\r\n')]);
}

function stepSizeBytes({ chunked, bytesPerSecond }: Misbehaviour): number {
  const chunkBytes = typeof chunked === 'number' ? chunked : chunked === true ? 16 * 1024 : WRITE_BYTES;
  // Twenty steps a second: even enough for a client, few enough for a timer.
  return bytesPerSecond === undefined ? chunkBytes : Math.max(1, Math.min(chunkBytes, Math.ceil(bytesPerSecond / 20)));
}
