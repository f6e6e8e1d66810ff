/**
 * Reads HTTP/1.1 responses from bytes as they come, for the test client: strict about framing, silent about meaning. It never buffers a
 * body; each piece is handed on. It must stay independent of `src/http`, whose work it checks.
 */

/** A response's head. */
export interface ResponseHead {
  readonly httpVersion: string;
  readonly status: number;
  readonly reason: string;
  /** Lower-case names; repeated fields joined with `, `. */
  readonly headers: Readonly<Record<string, string>>;
  /** The field lines as received, in order. */
  readonly rawHeaders: readonly (readonly [name: string, value: string])[];
}

/** What the parser tells; `onEnd` comes at most once per final response. */
export interface ResponseEvents {
  onInterim(head: ResponseHead): void;
  onHead(head: ResponseHead): void;
  onBody(bytes: Buffer): void;
  onTrailer(name: string, value: string): void;
  onEnd(): void;
}

const HEAD_LIMIT_BYTES = 1024 * 1024;
const HEAD_END = Buffer.from('\r\n\r\n');

type Stage = 'head' | 'sized' | 'chunk-size' | 'chunk-data' | 'chunk-end' | 'trailers' | 'until-close' | 'done';

/** One response; `feed` it until it is done, and `close` when the connection ends. */
export class ResponseParser {
  readonly #method: string;
  readonly #events: ResponseEvents;
  #stage: Stage = 'head';
  #pending: Buffer = Buffer.alloc(0);
  #leftBytes = 0;

  /** @param method of the request: HEAD has no body */
  constructor(method: string, events: ResponseEvents) {
    this.#method = method;
    this.#events = events;
  }

  get isDone(): boolean {
    return this.#stage === 'done';
  }

  /**
   * Takes the next bytes.
   *
   * @returns the bytes after the response's end (perhaps none) once it is done, else nothing
   * @throws Error on a head or chunk that is malformed
   */
  feed(bytes: Buffer): Buffer {
    let rest = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    this.#pending = Buffer.alloc(0);
    while (rest.length > 0 && this.#stage !== 'done') {
      const taken = this.#step(rest);
      if (taken === 0) {
        if (rest.length > HEAD_LIMIT_BYTES) throw new Error('The response has a head or line beyond 1 MiB');
        this.#pending = rest;
        return Buffer.alloc(0);
      }
      rest = rest.subarray(taken);
    }
    return rest;
  }

  /** The connection ended in an orderly way; ends a body that is delimited by that. */
  close(): void {
    if (this.#stage === 'until-close') this.#finish();
  }

  #finish(): void {
    this.#stage = 'done';
    this.#events.onEnd();
  }

  /** Handles what stands at the front of `bytes`; returns how many it used, 0 when it needs more. */
  #step(bytes: Buffer): number {
    switch (this.#stage) {
      case 'head':
        return this.#readHead(bytes);
      case 'sized':
        return this.#readData(bytes, () => this.#finish());
      case 'chunk-data':
        return this.#readData(bytes, () => {
          this.#stage = 'chunk-end';
        });
      case 'until-close':
        this.#events.onBody(bytes);
        return bytes.length;
      default:
        return this.#readLine(bytes);
    }
  }

  #readHead(bytes: Buffer): number {
    const end = bytes.indexOf(HEAD_END);
    if (end === -1) return 0;
    const head = parseHead(bytes.toString('latin1', 0, end));
    if (head.status < 200 && head.status !== 101) this.#events.onInterim(head);
    else this.#beginBody(head);
    return end + HEAD_END.length;
  }

  #beginBody(head: ResponseHead): void {
    this.#events.onHead(head);
    const lengthText = head.headers['content-length'];
    const isBodyless = this.#method === 'HEAD' || head.status === 204 || head.status === 304;
    if (isBodyless) this.#finish();
    else if (head.headers['transfer-encoding']?.toLowerCase() === 'chunked') this.#stage = 'chunk-size';
    else if (lengthText === undefined) this.#stage = 'until-close';
    else {
      if (!/^\d+$/.test(lengthText)) throw new Error(`The response has the Content-Length ${lengthText}`);
      this.#leftBytes = Number(lengthText);
      this.#stage = 'sized';
      if (this.#leftBytes === 0) this.#finish();
    }
  }

  #readData(bytes: Buffer, onLast: () => void): number {
    const part = bytes.length <= this.#leftBytes ? bytes : bytes.subarray(0, this.#leftBytes);
    this.#leftBytes -= part.length;
    this.#events.onBody(part);
    if (this.#leftBytes === 0) onLast();
    return part.length;
  }

  #readLine(bytes: Buffer): number {
    const end = bytes.indexOf('\r\n');
    if (end === -1) return 0;
    const line = bytes.toString('latin1', 0, end);
    if (this.#stage === 'chunk-size') this.#beginChunk(line);
    else if (this.#stage === 'chunk-end') {
      if (line !== '') throw new Error(`The response has a chunk longer than it said, by ${JSON.stringify(line.slice(0, 40))}`);
      this.#stage = 'chunk-size';
    } else if (line === '') this.#finish();
    else this.#events.onTrailer(...splitField(line));
    return end + 2;
  }

  #beginChunk(line: string): void {
    const size = /^([0-9a-f]+)(?:[ \t]*;.*)?$/i.exec(line)?.[1];
    if (size === undefined) throw new Error(`The response has the chunk size ${JSON.stringify(line.slice(0, 40))}`);
    this.#leftBytes = Number.parseInt(size, 16);
    this.#stage = this.#leftBytes === 0 ? 'trailers' : 'chunk-data';
  }
}

function parseHead(text: string): ResponseHead {
  const [statusLine = '', ...lines] = text.split('\r\n');
  const match = /^HTTP\/(\d\.\d) (\d{3}) ?(.*)$/.exec(statusLine);
  if (match === null) throw new Error(`The response has the status line ${JSON.stringify(statusLine.slice(0, 80))}`);
  const rawHeaders = lines.map(splitField);
  const headers: Record<string, string> = {};
  for (const [name, value] of rawHeaders) {
    const key = name.toLowerCase();
    headers[key] = headers[key] === undefined ? value : `${headers[key]}, ${value}`;
  }
  return { httpVersion: match[1] ?? '', status: Number(match[2]), reason: match[3] ?? '', headers, rawHeaders };
}

function splitField(line: string): [string, string] {
  const colon = line.indexOf(':');
  if (colon <= 0) throw new Error(`The response has the field line ${JSON.stringify(line.slice(0, 80))}`);
  return [line.slice(0, colon), line.slice(colon + 1).trim()];
}
