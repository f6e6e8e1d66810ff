/** Builds everything above the store from a configuration: groups, fills, pipeline, listeners. Used by edge.ts, and by tests with a store of their own. */
import type { Registry } from 'prom-client';
import { must } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { MetricSet, registerSets } from '../base/metrics.ts';
import type { Random } from '../base/random.ts';
import { PartMemory } from '../cache/part-memory.ts';
import type { EdgeConfig } from '../config/edge-config.ts';
import { FILL_METRICS } from '../fill/fill-metrics.ts';
import { ObjectResolver } from '../fill/object-resolver.ts';
import { Purger } from '../fill/purger.ts';
import { StandingTransfers } from '../fill/standing-transfers.ts';
import type { Arena } from '../memory/arena.ts';
import { CopyPool } from '../proxy/copy-pool.ts';
import { Listener } from '../proxy/listener.ts';
import { PinBudget } from '../proxy/pin-budget.ts';
import { PROXY_METRICS, ROUTE_METRICS } from '../proxy/proxy-metrics.ts';
import { PurgeGate } from '../proxy/purge-gate.ts';
import type { ProxyServices, Service } from '../proxy/services.ts';
import { siteDirectory } from '../proxy/site-directory.ts';
import { SurplusBudget } from '../proxy/surplus-budget.ts';
import type { SliceStore } from '../store/slice-store.ts';
import { GROUP_METRICS, NODE_METRICS } from '../upstream/node-metrics.ts';
import { OriginAbilities } from '../upstream/origin-abilities.ts';
import { UPSTREAM_METRICS } from '../upstream/upstream-metrics.ts';
import { assembleServices, RouteCounts } from './site-assembly.ts';
import { UpstreamDoor } from './upstream-assembly.ts';

/** Share of the arena that writes to clients may hold. */
const PINNED_SHARE = 0.25;

/** What the proxy stands on. */
export interface ProxyBase {
  readonly config: EdgeConfig;
  readonly store: SliceStore;
  readonly arena: Arena;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** What belongs to the program, whatever its configuration says. */
type Common = Omit<ProxyServices, 'service' | 'purgeGate' | 'limits' | 'logsAccess' | 'showsCacheKey'>;

/** A proxy whose listeners can be made. Built bottom-up; nothing is connected yet. */
export class AssembledProxy {
  readonly abilities: OriginAbilities;
  readonly upstreamMetrics = new MetricSet(UPSTREAM_METRICS);
  readonly #proxyMetrics = new MetricSet(PROXY_METRICS);
  readonly #fillMetrics = new MetricSet(FILL_METRICS);
  readonly #counts = new RouteCounts();
  readonly #doors: ReadonlyMap<string, UpstreamDoor>;
  readonly #services: ReadonlyMap<string, ProxyServices>;
  readonly #config: EdgeConfig;

  constructor(base: ProxyBase) {
    const { config, clock } = base;
    this.#config = config;
    this.abilities = new OriginAbilities(clock, this.upstreamMetrics);
    this.#doors = new Map(config.groups.map((group) => [group.name, new UpstreamDoor(group, { clock, metrics: this.upstreamMetrics })]));
    const common = this.#common(base);
    const services = assembleServices(config, this.#doors, this.#counts);
    this.#services = new Map(services.map((service) => [service.name, servicesOf(common, config, service)]));
  }

  /** What the first service answers with; what is not its own is that of all. */
  get services(): ProxyServices {
    const [first] = this.#services.values();
    return must(first, 'a configuration has a service');
  }

  get metricSets(): readonly { register(registry: Registry): void }[] {
    const groups = [...this.#doors.values()].map(({ group }) => group);
    const nodes = groups.flatMap(({ name, nodes: all }) => all.map((node) => [[name, node.origin], node.metrics] as const));
    const byRoute = { labels: RouteCounts.labels, sets: () => this.#counts.list() };
    const byGroup = { labels: ['group'], sets: () => groups.map(({ name, metrics }) => [[name], metrics] as const) };
    const byNode = { labels: ['group', 'node'], sets: () => nodes };
    return [
      this.upstreamMetrics,
      this.#fillMetrics,
      this.#proxyMetrics,
      { register: (registry) => registerSets(registry, ROUTE_METRICS, byRoute) },
      { register: (registry) => registerSets(registry, GROUP_METRICS, byGroup) },
      { register: (registry) => registerSets(registry, NODE_METRICS, byNode) },
    ];
  }

  /** A listener of a service; it listens when it is told where. */
  createListener(serviceName: string): Listener {
    const { limits, expressLane } = this.#config;
    return new Listener(must(this.#services.get(serviceName), 'there is such a service'), limits, { hasExpressLane: expressLane });
  }

  /** Closes every connection to origins. */
  async close(): Promise<void> {
    await Promise.all([...this.#doors.values()].map((door) => door.close()));
  }

  #common({ config, store, arena, clock, random, logger }: ProxyBase): Common {
    const fillMetrics = this.#fillMetrics;
    const proxyMetrics = this.#proxyMetrics;
    const partMemory = new PartMemory(() => fillMetrics.add('evictedParts'));
    fillMetrics.setGauge('partMemoryBytes', () => partMemory.sizeBytes);
    const { abilities } = this;
    const standing = new StandingTransfers(clock, fillMetrics);
    const { variantsMax } = config.limits;
    const { staleIfErrorMs } = config.cache;
    const resolver = new ObjectResolver({
      store,
      arena,
      clock,
      metrics: fillMetrics,
      standing,
      abilities,
      partMemory,
      variantsMax,
      staleIfErrorMs,
    });
    const sites = siteDirectory(() => [...this.#services.values()].map(({ service }) => service.router));
    const sliceBytesMax = Math.max(...config.routes.map(({ sliceSizeBytes }) => sliceSizeBytes));
    const pins = new PinBudget(Math.max(2, Math.floor((arena.sizeBytes * PINNED_SHARE) / sliceBytesMax)));
    const surplus = new SurplusBudget({ clock, metrics: proxyMetrics, bytesPerMinute: config.limits.clientSurplusBytes });
    const load = { requests: 0, connections: 0, isDraining: false };
    proxyMetrics.setGauge('surplusClients', () => surplus.clientCount);
    proxyMetrics.setGauge('inFlight', () => load.requests);
    proxyMetrics.setGauge('connections', () => load.connections);
    proxyMetrics.setGauge('pinnedSlots', () => pins.taken);
    return {
      store,
      resolver,
      purger: new Purger({ store, resolver, sites, metrics: fillMetrics }),
      clock,
      logger,
      metrics: proxyMetrics,
      pins,
      copies: new CopyPool(),
      surplus,
      random,
      loopId: `rawslice-${Buffer.from(random.bytes(4)).toString('hex')}`,
      load,
    };
  }
}

function servicesOf(common: Common, config: EdgeConfig, service: Service): ProxyServices {
  return {
    ...common,
    service,
    purgeGate: new PurgeGate(config.purge),
    limits: config.limits,
    logsAccess: config.log.access,
    showsCacheKey: config.cacheStatus.key,
  };
}
