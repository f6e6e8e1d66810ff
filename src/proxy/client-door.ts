/**
 * What happens on a connection before its first request: the PROXY protocol of a balancer, then TLS, where the service has them. Whoever does not
 * come to an end of it in time, or at all, is let go without an answer, since nobody knows yet what he would understand. Used by listener.ts.
 */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { Clock, Timer } from '../base/clock.ts';
import type { MetricSet } from '../base/metrics.ts';
import { PROXY_HEADER_BYTES_MAX, parseProxyHeader } from '../http/proxy-protocol.ts';
import type { CertificateSet } from './certificates.ts';
import type { PROXY_METRICS } from './proxy-metrics.ts';
import type { ServiceTransport } from './services.ts';

/** The other end of a connection, as far as it is believed. */
export interface Peer {
  /** Undefined for a Unix socket. */
  readonly address: string | undefined;
  readonly isSecure: boolean;
  /** A balancer has told of it by the PROXY protocol. */
  readonly isProxied?: boolean | undefined;
}

/** Whether a connection that has come in would come in the same way now: a reload may ask for TLS, or the PROXY protocol, where there was none. */
export function isAsExpected({ isSecure, isProxied = false }: Peer, { certificates, takesProxyProtocol }: ServiceTransport): boolean {
  return isSecure === (certificates !== undefined) && isProxied === takesProxyProtocol;
}

/** What a door works with. */
export interface ClientDoorOptions {
  /** What holds for connections that come now. */
  readonly transport: () => ServiceTransport;
  readonly clock: Clock;
  readonly metrics: MetricSet<typeof PROXY_METRICS>;
  /** For everything before the first request. */
  readonly deadlineMs: () => number;
  /** The connection is ready for requests. */
  readonly onward: (socket: Socket, peer: Peer, protocol: ClientProtocol) => void;
}

/** What is spoken on a connection. */
export type ClientProtocol = 'http/1.1' | 'h2';

/** Why a connection was let go. */
export type DoorRefusal = 'proxy-protocol' | 'tls' | 'slow';

/** ALPN (RFC 7301) in its wire form. */
const ALPN_HTTP1 = Buffer.from('\x08http/1.1', 'latin1');
/** What is named first is chosen, of what the client knows. */
const ALPN_BOTH = Buffer.from('\x02h2\x08http/1.1', 'latin1');
/** What a client sends first that knows without being told that HTTP/2 is spoken (RFC 9113 s3.4). */
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

/** One per listener. */
export class ClientDoor {
  readonly #options: ClientDoorOptions;
  /** Connections that are not through yet. */
  readonly #entries = new Set<Entry>();

  constructor(options: ClientDoorOptions) {
    this.#options = options;
  }

  /** Lets go of everybody who is not through: nobody has asked for anything yet. */
  close(): void {
    for (const entry of [...this.#entries]) entry.end();
  }

  /** Takes a connection that was accepted just now. */
  accept(socket: Socket): void {
    const transport = this.#options.transport();
    const peer: Peer = { address: socket.remoteAddress, isSecure: false };
    const { takesProxyProtocol, certificates, hasHttp2 } = transport;
    if (!takesProxyProtocol && certificates === undefined && !hasHttp2) return this.#options.onward(socket, peer, 'http/1.1');
    const entry = new Entry(socket, this.#options, () => this.#entries.delete(entry));
    this.#entries.add(entry);
    if (takesProxyProtocol) entry.readProxyHeader({ ...peer, isProxied: true }, (proxied) => this.#secure(entry, proxied, transport));
    else this.#secure(entry, peer, transport);
  }

  #secure(entry: Entry, peer: Peer, { certificates, hasHttp2 }: ServiceTransport): void {
    const { onward } = this.#options;
    if (certificates !== undefined) {
      entry.shakeHands({ certificates, hasHttp2 }, (secured, protocol) => {
        entry.finish(() => onward(secured, { ...peer, isSecure: true }, protocol));
      });
    } else if (hasHttp2) entry.readPreface((protocol) => entry.finish(() => onward(entry.socket, peer, protocol)));
    else entry.finish(() => onward(entry.socket, peer, 'http/1.1'));
  }
}

/** Server's sockets stay half open when the client has ended his side; before a request there is nothing to answer. */
const GONE_EVENTS = ['error', 'end', 'close'] as const;

/** One connection on its way in. */
class Entry {
  readonly socket: Socket;
  readonly #options: ClientDoorOptions;
  readonly #deadline: Timer;
  readonly #onLeft: () => void;
  #secured: TLSSocket | undefined;
  readonly #onGone = (): void => this.end();

  /** @param onLeft called once the connection is through, or gone */
  constructor(socket: Socket, options: ClientDoorOptions, onLeft: () => void) {
    this.#onLeft = onLeft;
    this.socket = socket;
    this.#options = options;
    this.#deadline = options.clock.startTimer(options.deadlineMs(), () => this.refuse('slow'));
    for (const event of GONE_EVENTS) socket.on(event, this.#onGone);
  }

  /** Somebody else has the connection from now on. */
  finish(onward: () => void): void {
    this.#deadline.stop();
    this.#onLeft();
    for (const event of GONE_EVENTS) this.socket.off(event, this.#onGone);
    onward();
  }

  refuse(reason: DoorRefusal): void {
    this.#options.metrics.add('doorRefused', 1, reason);
    this.end();
  }

  /** Reads what the balancer says; what comes behind it stays for whoever is next. */
  readProxyHeader(peer: Peer, next: (peer: Peer) => void): void {
    this.#readStart((received) => {
      const header = parseProxyHeader(received.subarray(0, PROXY_HEADER_BYTES_MAX));
      if (header.kind === 'incomplete') return undefined;
      if (header.kind === 'invalid') {
        this.refuse('proxy-protocol');
        return { restFrom: received.length, next: () => undefined };
      }
      const { source, lengthBytes } = header;
      return { restFrom: lengthBytes, next: () => next(source === undefined ? peer : { ...peer, address: source.address }) };
    });
  }

  /** Looks whether the client begins with HTTP/2, or with anything else; nothing of it is taken. */
  readPreface(next: (protocol: ClientProtocol) => void): void {
    this.#readStart((received) => {
      const start = received.subarray(0, PREFACE.length);
      const isPreface = start.equals(PREFACE.subarray(0, start.length));
      if (isPreface && start.length < PREFACE.length) return undefined;
      return { restFrom: 0, next: () => next(isPreface ? 'h2' : 'http/1.1') };
    });
  }

  /** Reads until it is known what was sent. @param judge undefined: more is needed; what stands from `restFrom` on is for whoever is next */
  #readStart(judge: (received: Buffer) => { readonly restFrom: number; readonly next: () => void } | undefined): void {
    const { socket } = this;
    let received = Buffer.alloc(0);
    const onReadable = (): void => {
      const bytes: Buffer | null = socket.read();
      if (bytes === null) return;
      received = Buffer.concat([received, bytes]);
      const verdict = judge(received);
      if (verdict === undefined) return;
      socket.off('readable', onReadable);
      const rest = received.subarray(verdict.restFrom);
      if (rest.length > 0) socket.unshift(rest);
      // The stream learns on the next tick that nobody waits for `readable` any more; before, it would not flow.
      process.nextTick(() => {
        if (!socket.destroyed) verdict.next();
      });
    };
    socket.on('readable', onReadable);
  }

  shakeHands(
    { certificates, hasHttp2 }: { readonly certificates: CertificateSet; readonly hasHttp2: boolean },
    next: (secured: Socket, protocol: ClientProtocol) => void,
  ): void {
    const secured = new TLSSocket(this.socket, {
      isServer: true,
      // Of who names nobody; who does is asked for below.
      secureContext: certificates.find(undefined),
      SNICallback: (name, done) => done(null, certificates.find(name)),
      ALPNProtocols: hasHttp2 ? ALPN_BOTH : ALPN_HTTP1,
    });
    this.#secured = secured;
    const onError = (): void => this.refuse('tls');
    secured.once('error', onError);
    secured.once('end', this.#onGone);
    secured.once('secure', () => {
      secured.off('error', onError);
      secured.off('end', this.#onGone);
      next(secured, secured.alpnProtocol === 'h2' ? 'h2' : 'http/1.1');
    });
  }

  end(): void {
    this.#deadline.stop();
    this.#onLeft();
    // TLS has taken the connection out of its socket.
    (this.#secured ?? this.socket).destroy();
  }
}
