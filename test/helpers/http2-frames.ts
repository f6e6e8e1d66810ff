/**
 * HTTP/2 on raw sockets, frame by frame (RFC 9113 s4, s6), for what no library would send. Heads are written as HPACK literals without index and without
 * Huffman codes (RFC 7541 s6.2.2); of heads that come only the status is read.
 */
import { once } from 'node:events';
import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { eventually } from './eventually.ts';

/** Types of frames. */
export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  push: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

/** Flags of frames; ACK has the bit of END_STREAM. */
export const FLAG = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 32 } as const;

/** Error codes (RFC 9113 s7). */
export const CODE = {
  noError: 0,
  protocol: 1,
  internal: 2,
  flowControl: 3,
  streamClosed: 5,
  frameSize: 6,
  refused: 7,
  cancel: 8,
  compression: 9,
  calm: 11,
} as const;

/** One frame. */
export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/** A frame's bytes. */
export function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A SETTINGS frame. */
export function settings(values: Readonly<Record<number, number>> = {}): Buffer {
  const payload = Object.entries(values).map(([id, value]) => {
    const bytes = Buffer.alloc(6);
    bytes.writeUInt16BE(Number(id), 0);
    bytes.writeUInt32BE(value, 2);
    return bytes;
  });
  return frame(FRAME.settings, 0, 0, Buffer.concat(payload));
}

/** Four bytes of a number. */
export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A header block of literals. */
export function block(fields: readonly (readonly [name: string, value: string])[]): Buffer {
  const text = (value: string): Buffer => {
    const bytes = Buffer.from(value, 'latin1');
    return Buffer.concat([integer(bytes.length), bytes]);
  };
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));
}

/** An integer behind a prefix of 7 bits (RFC 7541 s5.1). */
function integer(value: number): Buffer {
  if (value < 127) return Buffer.from([value]);
  const bytes = [127];
  let rest = value - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.from([...bytes, rest]);
}

/** The head of a GET, or of what `more` makes of it. */
export function head(more: readonly (readonly [name: string, value: string])[] = [], path = '/a'): Buffer {
  const given = new Set(more.map(([name]) => name));
  const usual = [
    [':method', 'GET'],
    [':scheme', 'http'],
    [':authority', 'a.test'],
    [':path', path],
  ] as const;
  const pseudo = [...usual.filter(([name]) => !given.has(name)), ...more.filter(([name]) => name.startsWith(':'))];
  return block([...pseudo, ...more.filter(([name]) => !name.startsWith(':'))]);
}

/** A GET in one frame. */
export function getFrame(stream: number, more: readonly (readonly [name: string, value: string])[] = [], path = '/a'): Buffer {
  return frame(FRAME.headers, FLAG.endStream | FLAG.endHeaders, stream, head(more, path));
}

const STATIC_STATUS: Readonly<Record<number, number>> = { 8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500 };

/** The status of a head that came: first in its block, indexed or a literal with the name of index 8 to 14. */
export function statusOf({ payload: whole }: Frame): number | undefined {
  // The table's new size comes first (RFC 7541 s6.3).
  const payload = whole.subarray(whole.findIndex((byte) => byte < 32 || byte >= 64));
  const first = payload[0] ?? 0;
  if (first >= 128) return STATIC_STATUS[first - 128];
  const length = (payload[1] ?? 0) % 128;
  const bytes = payload.subarray(2, 2 + length);
  return (payload[1] ?? 0) < 128 ? Number(bytes.toString('latin1')) : Number(digitsOf(bytes));
}

/** Digits in Huffman's code (RFC 7541 appendix B): 0 to 2 have five bits, the others six. */
function digitsOf(bytes: Buffer): string {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  let text = '';
  for (let at = 0; bits.length - at >= 5; ) {
    const five = Number.parseInt(bits.slice(at, at + 5), 2);
    if (five < 3) {
      text += String(five);
      at += 5;
      continue;
    }
    const six = Number.parseInt(bits.slice(at, at + 6), 2) - 22;
    if (bits.length - at < 6 || six < 0 || six > 9) break;
    text += String(six);
    at += 6;
  }
  return text;
}

/** SETTINGS_HEADER_TABLE_SIZE: heads that come are read without a table. */
const NO_TABLE = { 1: 0 };

/** One raw connection. */
export class RawHttp2 implements Disposable {
  readonly socket: Socket;
  /** All that came. */
  readonly frames: Frame[] = [];
  #rest: Buffer = Buffer.alloc(0);
  #hasEnded = false;

  readonly #isMute: boolean;
  /** Of the preface of the other side. */
  #skippedBytes: number;

  private constructor(socket: Socket, isMute: boolean, skippedBytes = 0) {
    this.socket = socket;
    this.#isMute = isMute;
    this.#skippedBytes = skippedBytes;
    socket.on('error', () => undefined);
    socket.on('data', (bytes: Buffer) => this.#onBytes(bytes));
    for (const event of ['end', 'close'])
      socket.on(event, () => {
        this.#hasEnded = true;
      });
  }

  /** @param options.hello values of its SETTINGS; isSecure: by TLS with ALPN; isMute: nothing is sent that the caller does not send */
  static async open(
    port: number,
    options: { readonly hello?: Readonly<Record<number, number>> | undefined; readonly isSecure?: boolean; readonly isMute?: boolean } = {},
  ): Promise<RawHttp2> {
    const { hello, isSecure = false, isMute = false } = options;
    const socket = isSecure
      ? connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] })
      : connectPlain({ port, host: '127.0.0.1', noDelay: true });
    await once(socket, isSecure ? 'secureConnect' : 'connect');
    const connection = new RawHttp2(socket, isMute);
    if (!isMute) connection.send(PREFACE, settings({ ...NO_TABLE, ...hello }));
    return connection;
  }

  /** The server's side of a connection: SETTINGS are sent, and acknowledged. */
  static accept(socket: Socket, hello: Readonly<Record<number, number>> = {}): RawHttp2 {
    const connection = new RawHttp2(socket, false, PREFACE.length);
    connection.send(settings({ ...NO_TABLE, ...hello }));
    return connection;
  }

  /** Whether the server has ended the connection. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  send(...pieces: readonly Uint8Array[]): void {
    this.socket.write(Buffer.concat(pieces));
  }

  /** The frames of one type that came on a stream. */
  of(type: number, stream = 0): Frame[] {
    return this.frames.filter((each) => each.type === type && each.stream === stream);
  }

  /** The first frame of a type on a stream, when it has come. */
  async until(type: number, stream = 0): Promise<Frame> {
    return eventually(() => this.of(type, stream)[0], { what: `frame ${type} on stream ${stream}` });
  }

  /** What a stream was reset with. */
  async resetCode(stream: number): Promise<number> {
    return (await this.until(FRAME.reset, stream)).payload.readUInt32BE(0);
  }

  /** What the connection was ended with. */
  async goawayCode(): Promise<number> {
    return (await this.until(FRAME.goaway)).payload.readUInt32BE(4);
  }

  /** Whether the server has said that all of a stream has come. */
  isWhole(stream: number): boolean {
    const ends = this.frames.filter((each) => each.stream === stream && (each.type === FRAME.data || each.type === FRAME.headers));
    return ends.some(({ flags }) => (flags & FLAG.endStream) !== 0);
  }

  /** The status of a stream's final head. */
  async status(stream: number): Promise<number | undefined> {
    return statusOf(await this.until(FRAME.headers, stream));
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  #onBytes(bytes: Buffer): void {
    const own = bytes.subarray(Math.min(this.#skippedBytes, bytes.length));
    this.#skippedBytes -= bytes.length - own.length;
    this.#rest = Buffer.concat([this.#rest, own]);
    while (this.#rest.length >= 9) {
      const lengthBytes = this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < 9 + lengthBytes) return;
      const payload = Buffer.from(this.#rest.subarray(9, 9 + lengthBytes));
      const [type, flags, stream] = [this.#rest[3] ?? 0, this.#rest[4] ?? 0, this.#rest.readUInt32BE(5)];
      this.#rest = this.#rest.subarray(9 + lengthBytes);
      this.frames.push({ type, flags, stream, payload });
      if (type === FRAME.settings && (flags & FLAG.ack) === 0 && !this.#isMute) this.send(frame(FRAME.settings, FLAG.ack, 0));
    }
  }
}
