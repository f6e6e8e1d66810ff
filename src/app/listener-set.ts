/** The listeners of all services. A service has one for each of its addresses. Used by edge.ts. */
import type { AddressInfo } from 'node:net';
import type { EdgeConfig } from '../config/edge-config.ts';
import type { Listener, ListenPlace } from '../proxy/listener.ts';
import type { AssembledProxy } from './proxy-assembly.ts';

/** A listener that listens. */
export interface OpenListener {
  readonly service: string;
  /** The path of a Unix socket, or an address with the port that the system chose. */
  readonly address: AddressInfo | string;
  readonly listener: Listener;
}

/** Everything that accepts connections of clients. */
export class ListenerSet {
  readonly #proxy: AssembledProxy;
  #open: readonly OpenListener[] = [];

  constructor(proxy: AssembledProxy) {
    this.#proxy = proxy;
  }

  /** In the order of the configuration. */
  get open(): readonly OpenListener[] {
    return this.#open;
  }

  /**
   * Opens one after the other.
   *
   * @param instead where the first service listens, and nobody else does
   * @throws EdgeError LISTEN_FAILED; what was opened before stays open until close()
   */
  async listen({ services }: EdgeConfig, instead: ListenPlace | undefined): Promise<void> {
    const places = services.flatMap(({ name, listen }) => listen.map((place: ListenPlace) => ({ service: name, place })));
    const wanted = instead === undefined ? places : places.slice(0, 1).map(({ service }) => ({ service, place: instead }));
    for (const { service, place } of wanted) {
      const listener = this.#proxy.createListener(service);
      const address = await listener.listen(place);
      this.#open = [...this.#open, { service, address, listener }];
    }
  }

  /** Accepts nothing more, and waits for requests in progress up to `drainMs`. */
  async close(drainMs: number): Promise<void> {
    this.#proxy.services.load.isDraining = true;
    await Promise.all(this.#open.map(({ listener }) => listener.close(drainMs)));
  }
}
