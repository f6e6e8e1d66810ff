/** Builds everything above the store from a configuration: transport, fills, pipeline, listener. Used by edge.ts, and by tests with a store of their own. */
import { createHash } from 'node:crypto';
import type { Registry } from 'prom-client';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { MetricSet } from '../base/metrics.ts';
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
import { PROXY_METRICS } from '../proxy/proxy-metrics.ts';
import { PurgeGate } from '../proxy/purge-gate.ts';
import type { ProxyServices, Site } from '../proxy/services.ts';
import { SurplusBudget } from '../proxy/surplus-budget.ts';
import type { SliceStore } from '../store/slice-store.ts';
import type { OriginAbilities } from '../upstream/origin-abilities.ts';
import { UPSTREAM_METRICS } from '../upstream/upstream-metrics.ts';
import { type AssembledUpstream, assembleUpstream } from './upstream-assembly.ts';

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

/** A proxy that is ready to listen. */
export interface AssembledProxy {
  readonly listener: Listener;
  readonly services: ProxyServices;
  readonly transport: { close(): Promise<void> };
  readonly abilities: OriginAbilities;
  readonly upstreamMetrics: MetricSet<typeof UPSTREAM_METRICS>;
  readonly metricSets: readonly { register(registry: Registry): void }[];
}

/** Builds bottom-up; nothing listens yet. */
export function assembleProxy(base: ProxyBase): AssembledProxy {
  const { config, store, arena, clock, logger } = base;
  const upstreamMetrics = new MetricSet(UPSTREAM_METRICS);
  const fillMetrics = new MetricSet(FILL_METRICS);
  const proxyMetrics = new MetricSet(PROXY_METRICS);
  const upstream = assembleUpstream(config, clock, upstreamMetrics);
  const partMemory = new PartMemory(() => fillMetrics.add('evictedParts'));
  fillMetrics.setGauge('partMemoryBytes', () => partMemory.sizeBytes);
  const site = siteOf(config, upstream);
  const resolver = new ObjectResolver({
    store,
    arena,
    clock,
    metrics: fillMetrics,
    standing: new StandingTransfers(clock, fillMetrics),
    abilities: upstream.abilities,
    partMemory,
    sliceSizeBytes: config.slice.sizeBytes,
    variantsMax: config.limits.variantsMax,
    staleIfErrorMs: config.cache.staleIfErrorMs,
  });
  const purger = new Purger({ store, resolver, site, metrics: fillMetrics });
  const pins = new PinBudget(Math.max(2, Math.floor((arena.sizeBytes * PINNED_SHARE) / config.slice.sizeBytes)));
  const surplus = new SurplusBudget({ clock, metrics: proxyMetrics, bytesPerMinute: config.limits.clientSurplusBytes });
  proxyMetrics.setGauge('surplusClients', () => surplus.clientCount);
  const load = { requests: 0, isDraining: false };
  proxyMetrics.setGauge('inFlight', () => load.requests);
  proxyMetrics.setGauge('pinnedSlots', () => pins.taken);
  const services: ProxyServices = {
    site,
    store,
    resolver,
    purger,
    purgeGate: new PurgeGate(config.purge),
    clock,
    logger,
    metrics: proxyMetrics,
    limits: config.limits,
    pins,
    copies: new CopyPool(),
    surplus,
    random: base.random,
    loopId: `rawslice-${Buffer.from(base.random.bytes(4)).toString('hex')}`,
    logsAccess: config.log.access,
    showsCacheKey: config.cacheStatus.key,
    load,
  };
  const listener = new Listener(services, config.limits, { hasExpressLane: config.expressLane });
  return {
    listener,
    services,
    transport: upstream,
    abilities: upstream.abilities,
    upstreamMetrics,
    metricSets: [upstreamMetrics, fillMetrics, proxyMetrics],
  };
}

function siteOf(config: EdgeConfig, { transport, follow }: AssembledUpstream): Site {
  const { origin, basePath, preservesHost } = config.upstream;
  const authority = new URL(origin).host;
  return { name: siteName(origin, basePath), transport, follow, authority, basePath, preservesHost, rules: config.rules };
}

/**
 * The name in every key. It follows the origin, so that a device which fronted another mirror before never answers for this one; it has no
 * slash, so a base path is in it by its hash.
 */
export function siteName(origin: string, basePath: string): string {
  const { host } = new URL(origin);
  return basePath === '' ? host : `${host}~${createHash('sha256').update(basePath).digest('hex').slice(0, 8)}`;
}
