/** What a running program is doing, as `GET /state` tells it: what it is, how busy it is, what it serves and by which ways. Used by admin-assembly.ts. */
import packageInfo from '../../package.json' with { type: 'json' };
import type { Clock } from '../base/clock.ts';
import type { EdgeConfig } from '../config/edge-config.ts';
import { formatListenAddress } from '../config/listen-address.ts';
import type { DeviceSet } from '../store/devices/device-set.ts';
import type { ListenerSet } from './listener-set.ts';
import type { AssembledProxy } from './proxy-assembly.ts';
import type { Reloader } from './reloader.ts';

/** What is described. */
export interface StateParts {
  readonly clock: Clock;
  /** When the program began, on the monotonic clock. */
  readonly startedMs: number;
  readonly proxy: AssembledProxy;
  readonly listeners: ListenerSet;
  readonly store: DeviceSet;
  readonly reloader: Reloader | undefined;
  readonly logLevel: string;
}

/** As of now; plain data. */
export function describeState({
  clock,
  startedMs,
  proxy,
  listeners,
  store,
  reloader,
  logLevel,
}: StateParts): Readonly<Record<string, unknown>> {
  const upMs = clock.monotonicMs() - startedMs;
  const { requests, connections, tunnels, isDraining } = proxy.services.load;
  return {
    version: packageInfo.version,
    node: process.versions.node,
    pid: process.pid,
    startedAt: new Date(clock.wallMs() - upMs).toISOString(),
    uptimeSeconds: Math.floor(upMs / 1000),
    draining: isDraining,
    load: { requests, connections, tunnels },
    log: { level: logLevel, configured: proxy.config.log.level },
    ...describeServed(proxy.config, listeners),
    groups: proxy.upstreams,
    store: store.state,
    devices: store.status,
    ...(reloader?.last === undefined ? {} : { reload: reloader.last }),
  };
}

function describeServed({ services, routes }: EdgeConfig, listeners: ListenerSet): Readonly<Record<string, unknown>> {
  const addressesOf = (name: string): readonly string[] =>
    listeners.open
      .filter(({ service }) => service === name)
      .map(({ address }) => (typeof address === 'string' ? address : formatListenAddress({ host: address.address, port: address.port })));
  return {
    services: services.map(({ name, routes: names, certificates, takesProxyProtocol }) => {
      return { name, listeners: addressesOf(name), tls: certificates.length > 0, proxyProtocol: takesProxyProtocol, routes: names };
    }),
    routes: routes.map(({ name, hosts, path, methods, group, rules, upgrades }) => {
      const where = path.kind === 'pattern' ? { match: path.pattern.source } : path.kind === 'any' ? {} : { [path.kind]: path.path };
      return { name, hosts, ...where, methods, group, rules: rules.map((rule) => rule.name), upgrades };
    }),
  };
}
