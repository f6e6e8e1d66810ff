/**
 * The composition root: builds the program bottom-up from a configuration (arena, device, store, transport, fills, pipeline, listener, admin
 * port) and closes it top-down. Everything is handed its parts; nothing reaches for them. Used by `serve` and by `prewarm --device`.
 */
import type { AddressInfo } from 'node:net';
import type { AdminServer } from '../admin/admin-server.ts';
import type { Clock } from '../base/clock.ts';
import { EdgeError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { MetricSet } from '../base/metrics.ts';
import type { Random } from '../base/random.ts';
import type { EdgeConfig } from '../config/edge-config.ts';
import type { LoadResult } from '../config/load.ts';
import { DEVICE_METRICS } from '../device/device-metrics.ts';
import { Arena } from '../memory/arena.ts';
import type { ListenerEnd, ListenPlace } from '../proxy/listener.ts';
import { DeviceSet, openDeviceSet } from '../store/devices/device-set.ts';
import { ThreadCodec } from '../store/extents/thread-codec.ts';
import { DEFAULT_STORE_LIMITS } from '../store/store-limits.ts';
import { createAdmin, listenAdmin, reloadOrFail } from './admin-assembly.ts';
import { prepareCacheDevices } from './cache-device.ts';
import { FileWatcher } from './file-watcher.ts';
import { type InheritedSockets, type NamedSocket, NO_SOCKETS, socketName } from './inherited-sockets.ts';
import { ListenerSet } from './listener-set.ts';
import { AssembledProxy, type PreparedConfig } from './proxy-assembly.ts';
import { type ReloadCause, Reloader, type ReloadReport } from './reloader.ts';

/** A configuration that can be read again. */
export interface ConfigSource {
  readonly load: () => LoadResult;
  /** The file to watch for changes. */
  readonly file: string | undefined;
}

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
  /** Sockets that listen already, for services and the admin port. */
  readonly sockets?: InheritedSockets | undefined;
  /** The devices are held by the process that this one takes over from: until openDevices() the origin serves. */
  readonly isHandover?: boolean | undefined;
  /** The admin port; undefined for none. */
  readonly adminListen: { readonly host: string; readonly port: number } | undefined;
  /** Where the configuration comes from, for reloads; undefined: there are none. */
  readonly source?: ConfigSource | undefined;
  /** Whether a full device keeps whatever is fetched, for who fills it on purpose; else it chooses. */
  readonly admitsEverything?: boolean | undefined;
}

/** The lock of a process that is ending may be there a moment longer than its word. */
const HELD_RETRY_MS = 100;
const HELD_TRIES_MAX = 100;

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
  readonly #parts: EdgeParts;
  #closing: Promise<void> | undefined;

  private constructor(parts: EdgeParts, adminAddress: AddressInfo | undefined) {
    this.listeners = parts.listeners;
    this.adminAddress = adminAddress;
    this.formatted = parts.foundation.formatted;
    this.arena = parts.foundation.arena;
    this.store = parts.foundation.store;
    this.proxy = parts.proxy;
    this.#parts = parts;
  }

  /**
   * Opens the device, begins to listen, and recovers the index meanwhile.
   *
   * @throws EdgeError DEVICE_*, FORMAT_*, LISTEN_FAILED, CONFIG_INVALID; whatever was opened before is closed again
   */
  static async start(options: EdgeOptions): Promise<Edge> {
    const { config, clock, random, logger } = options;
    const watcher = createWatcher(options, () => void reloader?.reload('file'));
    const foundation = await layFoundation(options);
    const { arena, store, codec } = foundation;
    const proxy = new AssembledProxy({ config, store, arena, clock, random, logger });
    const listeners = new ListenerSet(proxy, { instead: options.listen, inherited: options.sockets ?? NO_SOCKETS });
    const reloader = createReloader(options, { proxy, listeners, watcher });
    const adminFd = options.sockets?.admin;
    const adminPlace = adminFd === undefined ? options.adminListen : { fd: adminFd };
    const admin = adminPlace === undefined ? undefined : createAdmin({ logger, clock, foundation, proxy, listeners, reloader });
    const parts: EdgeParts = { clock, foundation, proxy, listeners, reloader, admin, watcher };
    try {
      await proxy.awaitNodes(proxy.current);
      (await listeners.prepare(proxy.current))();
      const adminAddress = adminPlace === undefined ? undefined : await listenAdmin(admin, adminPlace);
      watcher?.every(config.reload.intervalMs);
      return new Edge(parts, adminAddress);
    } catch (error) {
      await closeAll({ proxy, listeners, reloader, store, codec, admin: undefined }, { deadlineMs: 0 });
      throw error;
    }
  }

  /** Where the first service listens: the path of a Unix socket, or an address with the port that the system chose. */
  get address(): AddressInfo | string {
    return this.listeners.open[0]?.address ?? '';
  }

  /** Loads the configuration again. @throws EdgeError STORE_UNAVAILABLE where there is nothing to load it from */
  reload(cause: ReloadCause): Promise<ReloadReport> {
    return reloadOrFail(this.#parts.reloader, cause);
  }

  /** Every socket that listens. @throws EdgeError LISTEN_FAILED for one that cannot be handed over */
  get sockets(): readonly NamedSocket[] {
    const sockets: NamedSocket[] = [];
    for (const [key, { service, listener, address, isOfService, placed }] of this.listeners.byKey) {
      const { fd } = listener;
      // Whoever made a Unix socket removes its path at the end.
      if (fd === undefined || (typeof address === 'string' && !isOfService && placed === undefined))
        throw new EdgeError('LISTEN_FAILED', `${key} cannot be handed over; let systemd own it (a socket unit), or use a TCP address`);
      sockets.push({ name: isOfService ? socketName('service', service) : socketName('address', key), fd });
    }
    const adminFd = this.#parts.admin?.fd;
    return adminFd === undefined ? sockets : [...sockets, { name: socketName('admin', ''), fd: adminFd }];
  }

  /**
   * The devices were given up by the process that had them: opens them as at a start, while the origin serves.
   *
   * @throws EdgeError DEVICE_*, FORMAT_* after some tries
   */
  async openDevices(): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      try {
        await this.store.open();
        return await this.store.recover();
      } catch (error) {
        if (tries === HELD_TRIES_MAX || !(error instanceof EdgeError) || error.code !== 'DEVICE_HELD') throw error;
        await this.#parts.clock.sleep(HELD_RETRY_MS);
      }
    }
  }

  /**
   * Finishes requests in progress within shutdown.drain, writes a checkpoint, lets go of the device. Idempotent.
   *
   * @param idleGraceMs see ListenerEnd; more than 0 says that another process listens on
   */
  close(idleGraceMs = 0): Promise<void> {
    const { foundation, proxy, watcher, ...others } = this.#parts;
    watcher?.stop();
    const { store, codec } = foundation;
    this.#closing ??= closeAll({ ...others, proxy, store, codec }, { deadlineMs: proxy.config.shutdown.drainMs, idleGraceMs });
    return this.#closing;
  }
}

/** What a running program is made of. */
interface EdgeParts {
  readonly clock: Clock;
  readonly foundation: Foundation;
  readonly proxy: AssembledProxy;
  readonly listeners: ListenerSet;
  readonly reloader: Reloader | undefined;
  readonly admin: AdminServer | undefined;
  readonly watcher: FileWatcher | undefined;
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
    const setOptions = { ...shared, devices: prepared.devices };
    if (options.isHandover === true) return { arena, deviceMetrics, formatted: [], store: new DeviceSet(setOptions), codec };
    const store = await openDeviceSet(setOptions);
    // Meanwhile, and whatever comes of it, the origin serves.
    void store.recover();
    return { arena, deviceMetrics, formatted: prepared.formatted, store, codec };
  } catch (error) {
    await codec.close();
    throw error;
  }
}

function createReloader(
  { source, clock, logger }: EdgeOptions,
  {
    proxy,
    listeners,
    watcher,
  }: { readonly proxy: AssembledProxy; readonly listeners: ListenerSet; readonly watcher: FileWatcher | undefined },
): Reloader | undefined {
  if (source === undefined) return undefined;
  const prepareListeners = async (prepared: PreparedConfig): Promise<() => void> => {
    try {
      await proxy.awaitNodes(prepared);
      return await listeners.prepare(prepared);
    } catch (error) {
      proxy.discard(prepared);
      throw error;
    }
  };
  const apply = async (config: EdgeConfig): Promise<void> => {
    const before = proxy.config.log.level;
    const prepared = proxy.prepare(config);
    const commitListeners = await prepareListeners(prepared);
    // In one turn: no request meets half of it.
    proxy.commit(prepared);
    commitListeners();
    // What was ordered through the admin port holds, unless the file has another word now.
    if (config.log.level !== before) logger.level = config.log.level;
    watcher?.every(config.reload.intervalMs);
  };
  const load = (): LoadResult => {
    watcher?.noteRead();
    return source.load();
  };
  return new Reloader({ load, current: () => proxy.config, apply, clock, logger });
}

/** @param onChange calls for a reload */
function createWatcher({ source, clock }: EdgeOptions, onChange: () => void): FileWatcher | undefined {
  return source?.file === undefined ? undefined : new FileWatcher({ clock, file: source.file, onChange });
}

/** What is closed. */
interface ClosedParts {
  readonly proxy: AssembledProxy;
  readonly listeners: ListenerSet;
  readonly reloader: Reloader | undefined;
  readonly store: DeviceSet;
  readonly codec: ThreadCodec;
  readonly admin: AdminServer | undefined;
}

/** Top-down: no new requests, then no origin, then no store, and health to the last, unless another process tells of its own by now. */
async function closeAll(parts: ClosedParts, end: ListenerEnd): Promise<void> {
  await parts.reloader?.close();
  if (end.idleGraceMs !== undefined && end.idleGraceMs > 0) await parts.admin?.close();
  await parts.listeners.close(end);
  await parts.proxy.close();
  await parts.store.close();
  await parts.codec.close();
  await parts.admin?.close();
}
