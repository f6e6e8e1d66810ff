/**
 * The composition root: builds the program bottom-up from a configuration (arena, device, store, transport, fills, pipeline, listener, admin
 * port) and closes it top-down. Everything is handed its parts; nothing reaches for them. Used by `serve` and by `prewarm --device`.
 */
import type { AddressInfo } from 'node:net';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { AdminServer } from '../admin/admin-server.ts';
import type { Clock } from '../base/clock.ts';
import { EdgeError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { MetricSet, registerSets } from '../base/metrics.ts';
import type { Random } from '../base/random.ts';
import type { EdgeConfig } from '../config/edge-config.ts';
import { DEVICE_METRICS } from '../device/device-metrics.ts';
import { Arena } from '../memory/arena.ts';
import { type ListenPlace, listenError } from '../proxy/listener.ts';
import { type DeviceSet, openDeviceSet } from '../store/devices/device-set.ts';
import { ThreadCodec } from '../store/extents/thread-codec.ts';
import { DEFAULT_STORE_LIMITS } from '../store/store-limits.ts';
import { STORE_METRICS } from '../store/store-metrics.ts';
import { prepareCacheDevices } from './cache-device.ts';
import { ListenerSet } from './listener-set.ts';
import { AssembledProxy } from './proxy-assembly.ts';

/** What to start. */
export interface EdgeOptions {
  readonly config: EdgeConfig;
  /** Whether device.size was chosen, rather than left at its default. */
  readonly isSizeChosen: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Where clients connect, instead of where the services say. */
  readonly listen?: ListenPlace | undefined;
  /** The admin port; undefined for none. */
  readonly adminListen: { readonly host: string; readonly port: number } | undefined;
  /** Whether a full device keeps whatever is fetched, for who fills it on purpose; else it chooses. */
  readonly admitsEverything?: boolean | undefined;
}

/** A running program. */
export class Edge {
  /** Where clients connect, of all services. */
  readonly listeners: ListenerSet;
  readonly adminAddress: AddressInfo | undefined;
  /** Paths of devices that were empty and have been formatted just now. */
  readonly formatted: readonly string[];
  readonly arena: Arena;
  readonly store: DeviceSet;
  readonly proxy: AssembledProxy;
  readonly #parts: { readonly codec: ThreadCodec; readonly admin: AdminServer | undefined; readonly drainMs: number };
  #closing: Promise<void> | undefined;

  private constructor(parts: {
    listeners: ListenerSet;
    adminAddress: AddressInfo | undefined;
    foundation: Foundation;
    proxy: AssembledProxy;
    admin: AdminServer | undefined;
    drainMs: number;
  }) {
    this.listeners = parts.listeners;
    this.adminAddress = parts.adminAddress;
    this.formatted = parts.foundation.formatted;
    this.arena = parts.foundation.arena;
    this.store = parts.foundation.store;
    this.proxy = parts.proxy;
    this.#parts = { codec: parts.foundation.codec, admin: parts.admin, drainMs: parts.drainMs };
  }

  /**
   * Opens the device, begins to listen, and recovers the index meanwhile.
   *
   * @throws EdgeError DEVICE_*, FORMAT_*, LISTEN_FAILED, CONFIG_INVALID; whatever was opened before is closed again
   */
  static async start(options: EdgeOptions): Promise<Edge> {
    const { config } = options;
    const foundation = await layFoundation(options);
    const { arena, store, deviceMetrics } = foundation;
    const proxy = new AssembledProxy({ config, store, arena, clock: options.clock, random: options.random, logger: options.logger });
    const listeners = new ListenerSet(proxy);
    let admin: AdminServer | undefined;
    try {
      await listeners.listen(config, options.listen);
      let adminAddress: AddressInfo | undefined;
      if (options.adminListen !== undefined) {
        admin = createAdmin(options, store, proxy, [arena.metrics, deviceMetrics]);
        adminAddress = await listenAdmin(admin, options.adminListen);
      }
      return new Edge({ listeners, adminAddress, foundation, proxy, admin, drainMs: config.shutdown.drainMs });
    } catch (error) {
      await closeAll({ proxy, listeners, store, codec: foundation.codec, admin: undefined, drainMs: 0 });
      throw error;
    }
  }

  /** Where the first service listens: the path of a Unix socket, or an address with the port that the system chose. */
  get address(): AddressInfo | string {
    return this.listeners.open[0]?.address ?? '';
  }

  /** Finishes requests in progress within shutdown.drain, writes a checkpoint, lets go of the device. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= closeAll({ ...this.#parts, proxy: this.proxy, listeners: this.listeners, store: this.store });
    return this.#closing;
  }
}

interface Foundation {
  readonly arena: Arena;
  readonly deviceMetrics: MetricSet<typeof DEVICE_METRICS>;
  readonly formatted: readonly string[];
  readonly store: DeviceSet;
  readonly codec: ThreadCodec;
}

async function layFoundation(options: EdgeOptions): Promise<Foundation> {
  const { config, clock, random, logger, isSizeChosen } = options;
  if (config.memory.arenaBytes < 8 * config.slice.sizeBytes)
    throw new EdgeError('CONFIG_INVALID', 'memory.arena must hold at least 8 slices');
  const arena = new Arena({ sizeBytes: config.memory.arenaBytes, clock });
  const deviceMetrics = new MetricSet(DEVICE_METRICS);
  const prepared = await prepareCacheDevices({ device: config.device, isSizeChosen, arena, clock, random, logger, metrics: deviceMetrics });
  const codec = new ThreadCodec(logger);
  try {
    // What waits to be written may hold a quarter of the arena, so that a slow disk leaves room for transfers.
    const queueBytes = Math.min(DEFAULT_STORE_LIMITS.queueBytes, arena.sizeBytes / 4) / prepared.devices.length;
    const admission = options.admitsEverything === true ? undefined : { writeBudgetBytes: config.device.writeBudgetBytes };
    const { compression, scrubPeriodMs, trims } = config.device;
    const shared = { arena, clock, random, logger, limits: { queueBytes }, admission, compression, scrubPeriodMs, trims, codec };
    const store = await openDeviceSet({ ...shared, devices: prepared.devices });
    // Meanwhile, and whatever comes of it, the origin serves.
    void store.recover();
    return { arena, deviceMetrics, formatted: prepared.formatted, store, codec };
  } catch (error) {
    await codec.close();
    throw error;
  }
}

function createAdmin(
  options: EdgeOptions,
  store: DeviceSet,
  proxy: AssembledProxy,
  metricSets: readonly { register(registry: Registry): void }[],
): AdminServer {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: 'rawslice_' });
  for (const set of [...metricSets, ...proxy.metricSets]) set.register(registry);
  registerSets(registry, STORE_METRICS, store.metricSets);
  return new AdminServer({
    logger: options.logger,
    token: options.config.admin.token,
    actions: {
      metrics: async () => ({ text: await registry.metrics(), type: registry.contentType }),
      readiness: () => ({
        // A balancer should send no more clients here once the drain has begun.
        isReady: (store.state === 'online' || store.state === 'readonly') && !proxy.services.load.isDraining,
        detail: {
          store: store.state,
          devices: store.status.map(({ path, state, reason }) => ({ path, state, reason })),
          draining: proxy.services.load.isDraining,
        },
      }),
      purge: (named, isSoft) => proxy.services.purger.purge(named, isSoft),
      purges: () => proxy.services.purger.list(),
      findPurge: (id) => proxy.services.purger.find(id),
      devices: () => store.status,
      origins: () => proxy.abilities.list(),
      attachDevice: (path) => store.attach(path),
    },
  });
}

async function listenAdmin(admin: AdminServer, place: { readonly host: string; readonly port: number }): Promise<AddressInfo> {
  try {
    return await admin.listen(place);
  } catch (cause) {
    throw listenError(place, cause);
  }
}

/** Top-down: no new requests, then no origin, then no store, and health to the last. */
async function closeAll(parts: {
  proxy: AssembledProxy;
  listeners: ListenerSet;
  store: DeviceSet;
  codec: ThreadCodec;
  admin: AdminServer | undefined;
  drainMs: number;
}): Promise<void> {
  await parts.listeners.close(parts.drainMs);
  await parts.proxy.close();
  await parts.store.close();
  await parts.codec.close();
  await parts.admin?.close();
}
