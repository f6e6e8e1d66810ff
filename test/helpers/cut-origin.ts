/**
 * An origin that sends one response, written out by a test, in two pieces that arrive apart, or byte by byte, or not to its end. What it is
 * asked does not matter to it, but the path of each request says what to do: `/CUT` sends the first CUT bytes by themselves, `/each` every byte,
 * `/CUT/close` closes after them.
 */
import net from 'node:net';
import { setImmediate } from 'node:timers/promises';
import tls from 'node:tls';
import type { Certificate } from './certificate.ts';

/** Turns of the event loop after which what was written has been read on the other side, in this process. */
const TURNS = 3;
/** The head of a request; content behind one is not looked at, nor is what comes behind it. */
const REQUEST = /^[A-Z]+ (\S+) HTTP\/1\.1\r\n[\s\S]*?\r\n\r\n/;

/** A running one. */
export class CutOrigin {
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  readonly #response: Buffer;
  readonly #scheme: string;
  /** Connections that were accepted. */
  accepted = 0;

  private constructor(response: string, certificate: Certificate | undefined) {
    this.#response = Buffer.from(response, 'latin1');
    this.#scheme = certificate === undefined ? 'http' : 'https';
    const accept = (socket: net.Socket): void => this.#serve(socket);
    this.#server = certificate === undefined ? net.createServer({ noDelay: true }, accept) : tls.createServer(certificate, accept);
  }

  static async start(response: string, certificate: Certificate | undefined): Promise<CutOrigin> {
    const origin = new CutOrigin(response, certificate);
    await new Promise<void>((resolve) => origin.#server.listen(0, '127.0.0.1', resolve));
    return origin;
  }

  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('The system gave no port');
    return `${this.#scheme}://127.0.0.1:${address.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #serve(socket: net.Socket): void {
    this.accepted += 1;
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    let text = '';
    socket.on('error', () => undefined).on('close', () => this.#sockets.delete(socket));
    socket.on('data', (bytes: Buffer) => {
      text += bytes.toString('latin1');
      for (let line = REQUEST.exec(text); line !== null; line = REQUEST.exec(text)) {
        text = text.slice(line[0].length);
        void this.#answer(socket, line[1] ?? '');
      }
    });
  }

  async #answer(socket: net.Socket, path: string): Promise<void> {
    const [, cut = '', word = ''] = path.split('/');
    const cuts = cut === 'each' ? Array.from(this.#response.keys()) : [0, Number(cut)];
    for (const [index, start] of cuts.entries()) {
      const isLast = index === cuts.length - 1;
      if (isLast && word === 'close') return void socket.end();
      if (!socket.writable) return;
      const piece = this.#response.subarray(start, cuts[index + 1]);
      if (piece.length > 0) socket.write(piece);
      for (let turn = 0; turn < TURNS && !isLast; turn += 1) await setImmediate();
    }
  }
}
