/** Builds the ways to origins from a configuration: to the configured one, and to those that its redirects lead to. Used by proxy-assembly.ts. */
import type { Clock } from '../base/clock.ts';
import type { MetricSet } from '../base/metrics.ts';
import { KIB } from '../base/units.ts';
import type { EdgeConfig } from '../config/edge-config.ts';
import type { RedirectRule } from '../http/redirect-target.ts';
import { lookupPublic } from '../upstream/address-guard.ts';
import { OriginAbilities } from '../upstream/origin-abilities.ts';
import { OriginTransport } from '../upstream/origin-transport.ts';
import { RedirectTransport } from '../upstream/redirect-transport.ts';
import { TransportPool } from '../upstream/transport-pool.ts';
import type { UPSTREAM_METRICS } from '../upstream/upstream-metrics.ts';
import type { UpstreamTransport } from '../upstream/upstream-transport.ts';

/** Largest response head that is taken from an origin. */
const UPSTREAM_HEAD_BYTES_MAX = 64 * KIB;

/** The ways to origins. */
export interface AssembledUpstream {
  readonly transport: UpstreamTransport;
  readonly follow: (rule: RedirectRule) => UpstreamTransport;
  readonly abilities: OriginAbilities;
  close(): Promise<void>;
}

/** Nothing is connected yet. */
export function assembleUpstream({ upstream }: EdgeConfig, clock: Clock, metrics: MetricSet<typeof UPSTREAM_METRICS>): AssembledUpstream {
  const shared = {
    connectTimeoutMs: upstream.connectTimeoutMs,
    headTimeoutMs: upstream.headTimeoutMs,
    bodyTimeoutMs: upstream.bodyTimeoutMs,
    connectionsMax: upstream.connectionsMax,
    headBytesMax: UPSTREAM_HEAD_BYTES_MAX,
    clock,
    metrics,
  };
  const { origin } = upstream;
  const transport = new OriginTransport({ ...shared, origin });
  const pool = new TransportPool(
    (key) => new OriginTransport({ ...shared, origin: key.origin, lookup: key.isGuarded ? lookupPublic : undefined }),
  );
  const close = async (): Promise<void> => {
    await pool.close();
    await transport.close();
  };
  return {
    transport,
    follow: (rule) => new RedirectTransport({ first: transport, origin, pool, metrics }, rule),
    abilities: new OriginAbilities(clock, metrics),
    close,
  };
}
