/** Builds the admin port: what it can ask of the program, and every metric. Used by edge.ts. */
import type { AddressInfo } from 'node:net';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { type AdminPlace, AdminServer } from '../admin/admin-server.ts';
import { EdgeError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { registerSets } from '../base/metrics.ts';
import type { Arena } from '../memory/arena.ts';
import { listenError } from '../proxy/listener.ts';
import type { DeviceSet } from '../store/devices/device-set.ts';
import { STORE_METRICS } from '../store/store-metrics.ts';
import type { AssembledProxy } from './proxy-assembly.ts';
import type { ReloadCause, Reloader, ReloadReport } from './reloader.ts';

/** What the admin port tells of and acts on. */
export interface AdminParts {
  readonly logger: Logger;
  readonly foundation: {
    readonly arena: Arena;
    readonly store: DeviceSet;
    readonly deviceMetrics: { register(registry: Registry): void };
  };
  readonly proxy: AssembledProxy;
  readonly reloader: Reloader | undefined;
}

/** A server that does not listen yet. */
export function createAdmin({ logger, foundation, proxy, reloader }: AdminParts): AdminServer {
  const { store } = foundation;
  const registry = createRegistry({ foundation, proxy, reloader });
  return new AdminServer({
    logger,
    token: () => proxy.config.admin.token,
    actions: {
      metrics: async () => ({ text: await registry.metrics(), type: registry.contentType }),
      readiness: () => ({
        // A balancer should send no more clients here once the drain has begun.
        isReady: (store.state === 'online' || store.state === 'readonly') && !proxy.services.load.isDraining,
        detail: {
          store: store.state,
          devices: store.status.map(({ path, state, reason }) => ({ path, state, reason })),
          draining: proxy.services.load.isDraining,
          ...(proxy.discoveries.length === 0 ? {} : { discovery: proxy.discoveries }),
          ...(reloader?.last === undefined ? {} : { reload: forAnyone(reloader.last) }),
        },
      }),
      purge: (named, isSoft) => proxy.services.purger.purge(named, isSoft),
      purges: () => proxy.services.purger.list(),
      findPurge: (id) => proxy.services.purger.find(id),
      devices: () => store.status,
      origins: () => proxy.abilities.list(),
      upstreams: () => proxy.upstreams,
      attachDevice: (path) => store.attach(path),
      reload: () => reloadOrFail(reloader, 'admin'),
    },
  });
}

/** Nobody needs a token to read this, and a line of the file may have one. */
function forAnyone(report: ReloadReport): ReloadReport {
  return { ...report, problems: report.problems.map((problem) => problem.split('\n', 1)[0] ?? '') };
}

/** @throws EdgeError LISTEN_FAILED */
export async function listenAdmin(admin: AdminServer | undefined, place: AdminPlace): Promise<AddressInfo | undefined> {
  try {
    return await admin?.listen(place);
  } catch (cause) {
    throw listenError(place, cause);
  }
}

/** @throws EdgeError STORE_UNAVAILABLE */
export async function reloadOrFail(reloader: Reloader | undefined, cause: ReloadCause): Promise<ReloadReport> {
  if (reloader === undefined)
    throw new EdgeError('STORE_UNAVAILABLE', 'This program was started without a configuration that can be read again');
  return reloader.reload(cause);
}

function createRegistry({ foundation, proxy, reloader }: Omit<AdminParts, 'logger'>): Registry {
  const { arena, store, deviceMetrics } = foundation;
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: 'rawslice_' });
  for (const set of [arena.metrics, deviceMetrics, ...proxy.metricSets, ...(reloader === undefined ? [] : [reloader.metrics])])
    set.register(registry);
  registerSets(registry, STORE_METRICS, store.metricSets);
  return registry;
}
