/**
 * An origin that speaks WebSocket: what comes is sent back, by the `ws` package's server, and every handshake is remembered. What is wrong on purpose is
 * for RawOrigin, which hands out sockets once the head of a request has come.
 */
import { once } from 'node:events';
import { createServer as createHttpServer, type Server as HttpServer, type IncomingMessage } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { createServer, type Server, type Socket } from 'node:net';
import { WebSocketServer } from 'ws';
import type { Certificate } from './certificate.ts';

/** Echoes. */
export class WebSocketOrigin {
  /** Requests that asked for a WebSocket. */
  readonly handshakes: IncomingMessage[] = [];
  /** The others, which are answered with `plain`. */
  readonly requests: IncomingMessage[] = [];
  readonly #server: HttpServer;
  readonly #sockets: WebSocketServer;
  readonly #scheme: string;

  private constructor(server: HttpServer, scheme: string) {
    this.#server = server;
    this.#scheme = scheme;
    server.on('request', (request, response) => {
      this.requests.push(request);
      response.end('plain');
    });
    this.#sockets = new WebSocketServer({ server, handleProtocols: (names) => [...names][0] ?? false });
    this.#sockets.on('connection', (socket, request) => {
      this.handshakes.push(request);
      socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
      socket.on('error', () => undefined);
    });
  }

  static async start(tls?: Certificate | undefined): Promise<WebSocketOrigin> {
    const server = tls === undefined ? createHttpServer() : createHttpsServer(tls);
    const origin = new WebSocketOrigin(server, tls === undefined ? 'http' : 'https');
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return origin;
  }

  get url(): string {
    const address = this.#server.address();
    return `${this.#scheme}://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
  }

  /** Tunnels that are open. */
  get openCount(): number {
    return this.#sockets.clients.size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#sockets.clients) client.terminate();
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

/** A request as a raw origin has it: its head as text, and what came behind it so far. */
export interface RawRequest {
  readonly socket: Socket;
  readonly head: string;
  readonly rest: Buffer;
}

/** Answers each connection's first head as a test says. */
export class RawOrigin {
  readonly requests: RawRequest[] = [];
  readonly #server: Server;
  readonly #open = new Set<Socket>();
  readonly #all = new Set<Socket>();

  private constructor(answer: (request: RawRequest) => void) {
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.#open.add(socket);
      this.#all.add(socket);
      // What the other side has ended is over, though this one is half open.
      for (const event of ['end', 'close']) socket.on(event, () => this.#open.delete(socket));
      socket.on('error', () => undefined);
      let received: Buffer = Buffer.alloc(0);
      const onData = (bytes: Buffer): void => {
        received = Buffer.concat([received, bytes]);
        const end = received.indexOf('\r\n\r\n');
        if (end < 0) return;
        socket.off('data', onData);
        const request = { socket, head: received.toString('latin1', 0, end + 4), rest: received.subarray(end + 4) };
        this.requests.push(request);
        answer(request);
      };
      socket.on('data', onData);
    });
  }

  static async start(answer: (request: RawRequest) => void): Promise<RawOrigin> {
    const origin = new RawOrigin(answer);
    origin.#server.listen(0, '127.0.0.1');
    await once(origin.#server, 'listening');
    return origin;
  }

  get url(): string {
    const address = this.#server.address();
    return `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
  }

  /** Connections that the other side has not ended. */
  get openCount(): number {
    return this.#open.size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    for (const socket of this.#all) socket.destroy();
    await once(this.#server, 'close');
  }
}
