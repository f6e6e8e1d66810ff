/**
 * The listeners of all services: a service has one for each of its addresses. A listener whose address stays keeps its socket and its connections over a
 * reload, whichever service the address belongs to then. Used by edge.ts.
 */
import type { AddressInfo } from 'node:net';
import type { EdgeConfig } from '../config/edge-config.ts';
import { formatListenAddress } from '../config/listen-address.ts';
import type { Listener, ListenPlace } from '../proxy/listener.ts';
import type { AssembledProxy, PreparedConfig } from './proxy-assembly.ts';

/** A listener that listens. */
export interface OpenListener {
  readonly service: string;
  /** The path of a Unix socket, or an address with the port that the system chose. */
  readonly address: AddressInfo | string;
  readonly listener: Listener;
}

/** Where somebody is to listen. `key` stays the same over a reload. */
interface Wanted {
  readonly service: string;
  readonly place: ListenPlace;
  readonly key: string;
}

type OpenListeners = ReadonlyMap<string, OpenListener>;

/** Everything that accepts connections of clients. */
export class ListenerSet {
  readonly #proxy: AssembledProxy;
  readonly #instead: ListenPlace | undefined;
  #open: OpenListeners = new Map();
  readonly #closing = new Set<Promise<void>>();

  /** @param instead where the first service listens, and nobody else does */
  constructor(proxy: AssembledProxy, instead: ListenPlace | undefined) {
    this.#proxy = proxy;
    this.#instead = instead;
  }

  /** In the order of the configuration. */
  get open(): readonly OpenListener[] {
    return [...this.#open.values()];
  }

  /**
   * Opens what a configuration wants and there is not yet; those accept at once, with what was prepared.
   *
   * @returns makes the change: the others answer with what was prepared too, and those that are not wanted drain
   * @throws EdgeError LISTEN_FAILED; then nothing has changed
   */
  async prepare(prepared: PreparedConfig): Promise<() => void> {
    const next = new Map<string, OpenListener>();
    const fresh: Listener[] = [];
    try {
      for (const { service, place, key } of wantedBy(prepared.config, this.#instead)) {
        const known = this.#open.get(key);
        const listener = known?.listener ?? this.#proxy.createListener(service, prepared);
        if (known === undefined) fresh.push(listener);
        next.set(key, { service, listener, address: known?.address ?? (await listener.listen(place)) });
      }
    } catch (error) {
      await Promise.all(fresh.map((listener) => listener.close(0)));
      throw error;
    }
    return () => this.#commit(next, prepared);
  }

  /** Accepts nothing more, and waits for requests in progress up to `drainMs`. */
  async close(drainMs: number): Promise<void> {
    this.#proxy.services.load.isDraining = true;
    for (const { listener } of this.#open.values()) this.#drain(listener, drainMs);
    await Promise.all(this.#closing);
  }

  #commit(next: OpenListeners, { config, services }: PreparedConfig): void {
    for (const { service, listener } of next.values()) {
      const answeredWith = services.get(service);
      if (answeredWith !== undefined) listener.use(answeredWith, config.limits);
    }
    const kept = new Set([...next.values()].map(({ listener }) => listener));
    for (const { listener } of this.#open.values()) if (!kept.has(listener)) this.#drain(listener, config.shutdown.drainMs);
    this.#open = next;
  }

  #drain(listener: Listener, drainMs: number): void {
    const closed = listener.close(drainMs).finally(() => this.#closing.delete(closed));
    this.#closing.add(closed);
  }
}

/** Addresses with a port that the system chooses are told apart by their service and their number there. */
function wantedBy({ services }: EdgeConfig, instead: ListenPlace | undefined): readonly Wanted[] {
  const places = services.flatMap(({ name, listen }) =>
    listen.map((place, index): Wanted => {
      const key = place.port === 0 ? `${name} ${index} ${place.host}` : formatListenAddress(place);
      return { service: name, place, key };
    }),
  );
  const [first] = places;
  return instead === undefined || first === undefined ? places : [{ ...first, place: instead, key: 'instead' }];
}
