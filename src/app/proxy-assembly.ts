/** Builds everything above the store from a configuration: groups, fills, pipeline, listeners. Used by edge.ts, and by tests with a store of their own. */
import type { Registry } from 'prom-client';
import { must } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { MetricSet, registerSets } from '../base/metrics.ts';
import type { Random } from '../base/random.ts';
import { PartMemory } from '../cache/part-memory.ts';
import type { EdgeConfig } from '../config/edge-config.ts';
import { PRIVATE_BUFFER_BYTES, PRIVATE_BUFFERS_KEPT_MAX } from '../fill/fill-context.ts';
import { FILL_METRICS } from '../fill/fill-metrics.ts';
import { ObjectResolver } from '../fill/object-resolver.ts';
import { Purger } from '../fill/purger.ts';
import { AheadBudget } from '../fill/read-ahead.ts';
import { StandingTransfers } from '../fill/standing-transfers.ts';
import type { Arena } from '../memory/arena.ts';
import { BufferPool } from '../memory/buffer-pool.ts';
import { AnswerShelf } from '../proxy/answer-shelf.ts';
import { CopyPool } from '../proxy/copy-pool.ts';
import { Listener, type ListenerOptions } from '../proxy/listener.ts';
import { PinBudget } from '../proxy/pin-budget.ts';
import { PROXY_METRICS, ROUTE_METRICS } from '../proxy/proxy-metrics.ts';
import { PurgeGate } from '../proxy/purge-gate.ts';
import { RequestIds } from '../proxy/request-id.ts';
import type { ProxyServices } from '../proxy/services.ts';
import { siteDirectory } from '../proxy/site-directory.ts';
import { SurplusBudget } from '../proxy/surplus-budget.ts';
import { Tracing } from '../proxy/tracing.ts';
import type { SliceStore } from '../store/slice-store.ts';
import type { DiscoveryFacts } from '../upstream/discovery/discovery.ts';
import { DISCOVERY_METRICS } from '../upstream/discovery/discovery-metrics.ts';
import type { GroupTransport } from '../upstream/group-transport.ts';
import { GROUP_METRICS, NODE_METRICS } from '../upstream/node-metrics.ts';
import { OriginAbilities } from '../upstream/origin-abilities.ts';
import { UPSTREAM_METRICS } from '../upstream/upstream-metrics.ts';
import type { NodeFacts } from '../upstream/upstream-node.ts';
import { AccessOutputs } from './access-output.ts';
import { CertificateFiles } from './certificate-files.ts';
import { type MiddlewareLine, MiddlewareSet, NO_MIDDLEWARES } from './middleware-set.ts';
import { assembleServices, RouteCounts } from './site-assembly.ts';
import { DoorSet, type PreparedDoors } from './upstream-assembly.ts';

/** Share of the arena that writes to clients may hold. */
const PINNED_SHARE = 0.25;
/** Share of the arena that responses may read ahead into, beyond what each of them always may. */
const AHEAD_SHARE = 0.125;

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
type Common = Omit<
  ProxyServices,
  'service' | 'purgeGate' | 'limits' | 'logsAccess' | 'keepsAccounts' | 'requestIdAudience' | 'showsCacheKey' | 'surplus'
>;

/** A configuration that is ready to be served, and is not yet. */
export interface PreparedConfig {
  readonly config: EdgeConfig;
  readonly doors: PreparedDoors;
  /** By the name of the service. */
  readonly services: ReadonlyMap<string, ProxyServices>;
  /** Of the services that speak TLS, by name. */
  readonly certificates: ReadonlyMap<string, CertificateFiles>;
  readonly middlewares: MiddlewareLine;
}

/** A proxy whose listeners can be made, and whose configuration can be changed. Nothing is connected yet when it is built. */
export class AssembledProxy {
  readonly abilities: OriginAbilities;
  readonly upstreamMetrics = new MetricSet(UPSTREAM_METRICS);
  readonly #proxyMetrics = new MetricSet(PROXY_METRICS);
  readonly #fillMetrics = new MetricSet(FILL_METRICS);
  readonly #counts = new RouteCounts();
  readonly #clock: Clock;
  readonly #arena: Arena;
  readonly #doors: DoorSet;
  readonly #accessOutput: AccessOutputs;
  readonly #middlewares: MiddlewareSet;
  readonly #pins: PinBudget;
  readonly #common: Common;
  #surplus: SurplusBudget;
  #current: PreparedConfig;

  constructor(base: ProxyBase) {
    const { config, clock, arena } = base;
    this.#clock = clock;
    this.#arena = arena;
    this.abilities = new OriginAbilities(clock, this.upstreamMetrics);
    this.#doors = new DoorSet({ clock, random: base.random, logger: base.logger, metrics: this.upstreamMetrics });
    this.#accessOutput = new AccessOutputs(base.logger, clock);
    this.#middlewares = new MiddlewareSet({ clock, random: base.random, logger: base.logger });
    this.#pins = new PinBudget(pinnedSlotsMax(config, arena));
    this.#surplus = this.#makeSurplus(config);
    this.#current = {
      config,
      doors: { doors: new Map(), discoveries: new Map() },
      services: new Map(),
      certificates: new Map(),
      middlewares: NO_MIDDLEWARES,
    };
    this.#common = this.#makeCommon(base);
    this.#watchLoad();
    this.commit(this.prepare(config));
  }

  /** What is served. */
  get current(): PreparedConfig {
    return this.#current;
  }

  /** The configuration that is served. */
  get config(): EdgeConfig {
    return this.#current.config;
  }

  /** What the first service answers with; what is not its own is that of all. */
  get services(): ProxyServices {
    const [first] = this.#current.services.values();
    return must(first, 'a configuration has a service');
  }

  /** The upstream groups with their nodes, for people. */
  get upstreams(): readonly { readonly group: string; readonly nodes: readonly NodeFacts[]; readonly discovery?: DiscoveryFacts }[] {
    return [...this.#doors.doors].map(([group, door]) => {
      const nodes = door.group.nodes.map(({ facts }) => facts);
      const discovery = this.#doors.discoveries.get(group)?.facts;
      return discovery === undefined ? { group, nodes } : { group, nodes, discovery };
    });
  }

  /** How the discovery of nodes stands, group by group, without what a question for it might give away. */
  get discoveries(): readonly object[] {
    return [...this.#doors.discoveries].map(
      ([
        group,
        {
          facts: { nodes, ageMs, problem },
        },
      ]) => ({ group, nodes, ageMs, isCurrent: problem === undefined && ageMs !== undefined }),
    );
  }

  get metricSets(): readonly { register(registry: Registry): void }[] {
    const groups = (): readonly GroupTransport[] => [...this.#doors.doors.values()].map(({ group }) => group);
    const byRoute = { labels: RouteCounts.labels, sets: () => this.#counts.list() };
    const byGroup = { labels: ['group'], sets: () => groups().map(({ name, metrics }) => [[name], metrics] as const) };
    const byNode = {
      labels: ['group', 'node'],
      sets: () => groups().flatMap(({ name, nodes }) => nodes.map((node) => [[name, node.origin], node.metrics] as const)),
    };
    const byDiscovery = {
      labels: ['group'],
      sets: () => [...this.#doors.discoveries].map(([name, { metrics }]) => [[name], metrics] as const),
    };
    return [
      this.upstreamMetrics,
      this.#fillMetrics,
      this.#proxyMetrics,
      { register: (registry) => registerSets(registry, ROUTE_METRICS, byRoute) },
      { register: (registry) => registerSets(registry, GROUP_METRICS, byGroup) },
      { register: (registry) => registerSets(registry, NODE_METRICS, byNode) },
      { register: (registry) => registerSets(registry, DISCOVERY_METRICS, byDiscovery) },
      this.#middlewares,
    ];
  }

  /** Builds what a configuration needs beside what there is. Nothing changes until commit(). @throws EdgeError CONFIG_INVALID for certificates and middlewares */
  prepare(config: EdgeConfig): PreparedConfig {
    this.#accessOutput.check(config.log);
    const certificates = this.#readCertificates(config);
    const doors = this.#doors.prepare(config.groups);
    const middlewares = this.#prepareMiddlewares(config, doors);
    const { clientSurplusBytes } = this.config.limits;
    const surplus = config.limits.clientSurplusBytes === clientSurplusBytes ? this.#surplus : this.#makeSurplus(config);
    const services = assembleServices(config, { doors: doors.doors, counts: this.#counts, certificates, middlewares }).map(
      (service): [string, ProxyServices] => [
        service.name,
        {
          ...this.#common,
          service,
          surplus,
          purgeGate: new PurgeGate(config.purge),
          limits: config.limits,
          logsAccess: config.log.access,
          keepsAccounts: config.log.access || this.#common.tracing !== undefined,
          requestIdAudience: config.requestId,
          showsCacheKey: config.cacheStatus.key,
        },
      ],
    );
    return { config, doors, services: new Map(services), certificates, middlewares };
  }

  /** Waits until the groups whose nodes are found have some, each as long as it says. */
  awaitNodes({ config, doors }: PreparedConfig): Promise<void> {
    return this.#doors.awaitNodes(config.groups, doors);
  }

  #prepareMiddlewares({ middlewares }: EdgeConfig, doors: PreparedDoors): MiddlewareLine {
    try {
      return this.#middlewares.prepare(middlewares);
    } catch (error) {
      // Their nodes are being looked for already.
      this.#doors.discard(doors);
      throw error;
    }
  }

  /** What was prepared is not served after all. */
  discard({ doors, middlewares }: PreparedConfig): void {
    this.#doors.discard(doors);
    this.#middlewares.discard(middlewares);
  }

  /** From now on requests are answered with this; those in progress end as they began. */
  commit(prepared: PreparedConfig): void {
    const { config, doors, services, certificates, middlewares } = prepared;
    for (const files of this.#current.certificates.values()) files.stop();
    for (const files of certificates.values()) files.watch();
    this.#accessOutput.use(config.log);
    this.#doors.commit(config.groups, doors, config.shutdown.drainMs);
    this.#middlewares.commit(middlewares, config.shutdown.drainMs);
    this.#current = prepared;
    this.#surplus = this.services.surplus;
    this.#pins.limit = pinnedSlotsMax(config, this.#arena);
    this.#counts.keep([...services.values()].map(({ service }) => service));
  }

  /** A listener of a service; it listens when it is told where. */
  createListener(serviceName: string, { config, services } = this.#current): Listener {
    return new Listener(must(services.get(serviceName), 'there is such a service'), listenerOptions(config));
  }

  /** Closes every connection to origins. */
  async close(): Promise<void> {
    for (const files of this.#current.certificates.values()) files.stop();
    await this.#doors.close();
    await this.#accessOutput.close();
    await this.#middlewares.close();
  }

  #readCertificates({ services }: EdgeConfig): ReadonlyMap<string, CertificateFiles> {
    const onReplaced = (isTaken: boolean): void => this.#proxyMetrics.add('certificateChanges', 1, isTaken ? 'taken' : 'refused');
    const { clock, logger } = this.#common;
    const withTls = services.filter(({ certificates }) => certificates.length > 0);
    return new Map(
      withTls.map(({ name, certificates, tlsMinVersion }) => {
        const minVersion = tlsMinVersion === '1.3' ? 'TLSv1.3' : 'TLSv1.2';
        return [name, new CertificateFiles({ certificates, minVersion, clock, logger, onReplaced })];
      }),
    );
  }

  #makeSurplus({ limits }: EdgeConfig): SurplusBudget {
    return new SurplusBudget({ clock: this.#clock, metrics: this.#proxyMetrics, bytesPerMinute: limits.clientSurplusBytes });
  }

  #makeCommon({ store, arena, clock, random, logger }: ProxyBase): Common {
    const metrics = this.#fillMetrics;
    const partMemory = new PartMemory(() => metrics.add('evictedParts'));
    metrics.setGauge('partMemoryBytes', () => partMemory.sizeBytes);
    const { abilities } = this;
    const ahead = new AheadBudget(arena.sizeBytes * AHEAD_SHARE);
    metrics.setGauge('aheadBytes', () => ahead.takenBytes);
    const standing = new StandingTransfers(clock, metrics);
    const current = (): EdgeConfig => this.config;
    const buffers = new BufferPool({ sizeBytes: PRIVATE_BUFFER_BYTES, keptMax: PRIVATE_BUFFERS_KEPT_MAX });
    const resolver = new ObjectResolver({
      ...{ store, arena, buffers, clock, metrics, standing, abilities, partMemory, ahead },
      get variantsMax() {
        return current().limits.variantsMax;
      },
      get staleIfErrorMs() {
        return current().cache.staleIfErrorMs;
      },
    });
    const sites = siteDirectory(() => [...this.#current.services.values()].map(({ service }) => service.router));
    return {
      store,
      resolver,
      purger: new Purger({ store, resolver, sites, metrics }),
      clock,
      logger,
      metrics: this.#proxyMetrics,
      pins: this.#pins,
      copies: new CopyPool(),
      answers: new AnswerShelf(this.#proxyMetrics),
      buffers,
      random,
      accessOutput: this.#accessOutput,
      requestIds: new RequestIds(random),
      tracing: Tracing.find(),
      loopId: `rawslice-${Buffer.from(random.bytes(4)).toString('hex')}`,
      load: { requests: 0, connections: 0, tunnels: 0, http2Connections: 0, http2Streams: 0, isDraining: false },
    };
  }

  #watchLoad(): void {
    const { load, copies, answers, buffers } = this.#common;
    this.#proxyMetrics.setGauge('bufferBytes', () => copies.heldBytes + answers.heldBytes + buffers.heldBytes);
    this.#proxyMetrics.setGauge('surplusClients', () => this.#surplus.clientCount);
    this.#proxyMetrics.setGauge('inFlight', () => load.requests);
    this.#proxyMetrics.setGauge('tunnelsOpen', () => load.tunnels);
    this.#proxyMetrics.setGauge('connections', () => load.connections);
    this.#proxyMetrics.setGauge('http2Connections', () => load.http2Connections);
    this.#proxyMetrics.setGauge('http2Streams', () => load.http2Streams);
    this.#proxyMetrics.setGauge('pinnedSlots', () => this.#pins.taken);
    this.#proxyMetrics.setGauge('certificateValidTo', () => {
      const sets = [...this.#current.certificates.values()].map(({ set }) => set.validToMs / 1000);
      return sets.length === 0 ? 0 : Math.min(...sets);
    });
  }
}

function pinnedSlotsMax({ routes }: EdgeConfig, arena: Arena): number {
  const sliceBytesMax = Math.max(...routes.map(({ sliceSizeBytes }) => sliceSizeBytes));
  return Math.max(2, Math.floor((arena.sizeBytes * PINNED_SHARE) / sliceBytesMax));
}

/** What a configuration says of listeners. */
export function listenerOptions({ limits, expressLane }: EdgeConfig): ListenerOptions {
  return { ...limits, hasExpressLane: expressLane };
}
