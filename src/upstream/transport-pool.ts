/**
 * Transports to origins that redirects lead to: one for each, made when it is needed. Bounded; the one that was not used for longest and is
 * not in use makes room, and when all are in use there is none.
 */
import type { UpstreamTransport } from './upstream-transport.ts';

/** A transport that tells whether a request is in progress. */
export interface PooledTransport extends UpstreamTransport {
  readonly isIdle: boolean;
}

/** Which transport: `isGuarded` ones refuse special addresses. */
export interface PoolKey {
  /** `scheme://host[:port]` */
  readonly origin: string;
  readonly isGuarded: boolean;
}

/** Origins beside the configured one with open connections at a time. */
const TRANSPORTS_MAX = 32;

/** The pool of one proxy. */
export class TransportPool {
  readonly #make: (key: PoolKey) => PooledTransport;
  /** The one that was used last comes last. */
  readonly #transports = new Map<string, PooledTransport>();

  constructor(make: (key: PoolKey) => PooledTransport) {
    this.#make = make;
  }

  /** @returns undefined when there are as many as there may be, all of them in use */
  get(key: PoolKey): UpstreamTransport | undefined {
    const text = `${key.isGuarded ? 'guarded ' : ''}${key.origin}`;
    const known = this.#transports.get(text);
    if (known === undefined && !this.#makeRoom()) return undefined;
    const transport = known ?? this.#make(key);
    this.#transports.delete(text);
    this.#transports.set(text, transport);
    return transport;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#transports.values()].map((transport) => transport.close()));
    this.#transports.clear();
  }

  #makeRoom(): boolean {
    if (this.#transports.size < TRANSPORTS_MAX) return true;
    for (const [text, transport] of this.#transports) {
      if (!transport.isIdle) continue;
      this.#transports.delete(text);
      void transport.close();
      return true;
    }
    return false;
  }
}
