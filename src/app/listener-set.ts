/**
 * The listeners of all services: a service has one for each of its addresses. A listener whose address stays keeps its socket and its connections over a
 * reload, whichever service the address belongs to then. Used by edge.ts.
 */
import { closeSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import type { EdgeConfig } from '../config/edge-config.ts';
import { formatListenAddress } from '../config/listen-address.ts';
import type { Listener, ListenerEnd, ListenPlace } from '../proxy/listener.ts';
import { type InheritedSockets, socketsOfServices } from './inherited-sockets.ts';
import { type AssembledProxy, listenerOptions, type PreparedConfig } from './proxy-assembly.ts';

/** A listener that listens. */
export interface OpenListener {
  readonly service: string;
  /** The path of a Unix socket, or an address with the port that the system chose. */
  readonly address: AddressInfo | string;
  readonly listener: Listener;
  /** The service's socket came from systemd. */
  readonly isOfService: boolean;
}

/** Where somebody is to listen. `key` stays the same over a reload. */
interface Wanted {
  readonly service: string;
  readonly place: ListenPlace;
  readonly key: string;
  readonly isOfService: boolean;
}

type OpenListeners = ReadonlyMap<string, OpenListener>;

/** Everything that accepts connections of clients. */
export class ListenerSet {
  readonly #proxy: AssembledProxy;
  readonly #instead: ListenPlace | undefined;
  readonly #inherited: InheritedSockets;
  /** Those of addresses that nobody has listened on yet, by key. */
  readonly #unclaimed: Map<string, number>;
  #open: OpenListeners = new Map();
  readonly #closing = new Set<Promise<void>>();
  #isClosing = false;

  /**
   * @param places.instead   where the first service listens, and nobody else does
   * @param places.inherited sockets that listen already
   */
  constructor(proxy: AssembledProxy, places: { readonly instead: ListenPlace | undefined; readonly inherited: InheritedSockets }) {
    this.#proxy = proxy;
    this.#instead = places.instead;
    this.#inherited = places.inherited;
    this.#unclaimed = new Map(places.inherited.byAddress);
  }

  /** Every listener by the key under which another process finds its socket. */
  get byKey(): ReadonlyMap<string, OpenListener> {
    return this.#open;
  }

  /** Whether nobody is accepted any more, for good. */
  get isClosing(): boolean {
    return this.#isClosing;
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
      for (const { service, place, key, isOfService } of this.#wantedBy(prepared.config)) {
        const known = this.#open.get(key);
        const listener = known?.listener ?? this.#proxy.createListener(service, prepared);
        if (known === undefined) fresh.push(listener);
        next.set(key, { service, listener, isOfService, address: known?.address ?? (await listener.listen(this.#claim(key, place))) });
      }
    } catch (error) {
      await Promise.all(fresh.map((listener) => listener.close({ deadlineMs: 0 })));
      throw error;
    }
    return () => this.#commit(next, prepared);
  }

  /** Accepts nothing more, and waits for requests in progress. */
  async close(end: ListenerEnd): Promise<void> {
    this.#isClosing = true;
    this.#proxy.services.load.isDraining = true;
    for (const { listener } of this.#open.values()) this.#drain(listener, end);
    await Promise.all(this.#closing);
  }

  #commit(next: OpenListeners, { config, services }: PreparedConfig): void {
    for (const { service, listener } of next.values()) {
      const answeredWith = services.get(service);
      if (answeredWith !== undefined) listener.use(answeredWith, listenerOptions(config));
    }
    const kept = new Set([...next.values()].map(({ listener }) => listener));
    for (const { listener } of this.#open.values()) if (!kept.has(listener)) this.#drain(listener, { deadlineMs: config.shutdown.drainMs });
    this.#open = next;
    // Addresses that the process before listened on, and this one does not.
    for (const [key, fd] of this.#unclaimed) {
      this.#unclaimed.delete(key);
      closeSync(fd);
    }
  }

  #claim(key: string, place: ListenPlace): ListenPlace {
    const fd = this.#unclaimed.get(key);
    this.#unclaimed.delete(key);
    return fd === undefined ? place : { fd };
  }

  #drain(listener: Listener, end: ListenerEnd): void {
    const closed = listener.close(end).finally(() => this.#closing.delete(closed));
    this.#closing.add(closed);
  }

  /** Addresses with a port that the system chooses are told apart by their service and their number there. */
  #wantedBy({ services }: EdgeConfig): readonly Wanted[] {
    const names = services.map(({ name }) => name);
    const sockets = socketsOfServices(this.#inherited.byService, names);
    const places = services.flatMap(({ name, listen }): readonly Wanted[] => {
      const own = sockets.get(name);
      if (own !== undefined) return own.map((fd) => ({ service: name, place: { fd }, key: `descriptor ${fd}`, isOfService: true }));
      return listen.map((place, index) => {
        const key = place.port === 0 ? `${name} ${index} ${place.host}` : formatListenAddress(place);
        return { service: name, place, key, isOfService: false };
      });
    });
    const [first] = places;
    const instead = this.#instead;
    return instead === undefined || first === undefined ? places : [{ ...first, place: instead, key: 'instead' }];
  }
}
