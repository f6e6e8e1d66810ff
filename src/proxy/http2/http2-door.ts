/** The connections of one listener that speak HTTP/2: where they begin, and how they end with the listener. Used by listener.ts. */
import type { Socket } from 'node:net';
import type { Peer } from '../client-door.ts';
import type { ProxyServices } from '../services.ts';
import { Http2Connection, type Http2Share } from './http2-connection.ts';

/** Connections of HTTP/2. */
export class Http2Door {
  readonly #share: Http2Share;
  readonly #connections = new Set<Http2Connection>();

  constructor(share: Http2Share) {
    this.#share = share;
  }

  /** Requests that come from now on are handled with these; connections that there are keep their number of streams. */
  use(services: ProxyServices, limits: { readonly streamsMax: number; readonly headerTimeoutMs: number }): void {
    this.#share.services = services;
    this.#share.streamsMax = limits.streamsMax;
    this.#share.headerTimeoutMs = limits.headerTimeoutMs;
    const { transport } = services.service;
    for (const connection of this.#connections) connection.meet(transport);
  }

  /** Takes a connection over whose first bytes are, or will be, the preface of HTTP/2. */
  accept(socket: Socket, peer: Peer): void {
    const connection = new Http2Connection(socket, peer, this.#share);
    this.#connections.add(connection);
    connection.onClose(() => this.#connections.delete(connection));
  }

  /** Tells every client that its connection will end. */
  beginClosing(): void {
    for (const connection of this.#connections) connection.beginClosing();
  }

  /** Ends connections as soon as their streams have ended. */
  close(): void {
    for (const connection of this.#connections) connection.close();
  }
}
