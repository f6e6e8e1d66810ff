/**
 * Builds the ways to origins from a configuration: a door to each upstream group, and to the origins that redirects lead to. Who was given a door keeps it:
 * what a reload changes about a group changes behind it. Used by proxy-assembly.ts.
 */
import type { Clock } from '../base/clock.ts';
import type { MetricSet } from '../base/metrics.ts';
import { KIB } from '../base/units.ts';
import type { ConfigGroup } from '../config/edge-config.ts';
import type { RedirectRule } from '../http/redirect-target.ts';
import { lookupPublic } from '../upstream/address-guard.ts';
import { SmoothRoundRobin } from '../upstream/balancer.ts';
import { GroupTransport } from '../upstream/group-transport.ts';
import { OriginTransport } from '../upstream/origin-transport.ts';
import { RedirectTransport } from '../upstream/redirect-transport.ts';
import type { TransportOptions } from '../upstream/transport-options.ts';
import { TransportPool } from '../upstream/transport-pool.ts';
import type { UPSTREAM_METRICS } from '../upstream/upstream-metrics.ts';
import { UpstreamNode } from '../upstream/upstream-node.ts';
import type { ResponseReceiver, Transfer, UpstreamRequest, UpstreamTransport } from '../upstream/upstream-transport.ts';

/** Largest response head that is taken from an origin. */
const UPSTREAM_HEAD_BYTES_MAX = 64 * KIB;

/** What groups are built with. */
export interface UpstreamBase {
  readonly clock: Clock;
  readonly metrics: MetricSet<typeof UPSTREAM_METRICS>;
}

/** The door to one group. */
export class UpstreamDoor implements UpstreamTransport {
  /** What its nodes are reached with now. */
  readonly config: ConfigGroup;
  readonly group: GroupTransport;
  readonly #pool: TransportPool;
  readonly #metrics: MetricSet<typeof UPSTREAM_METRICS>;

  constructor(config: ConfigGroup, base: UpstreamBase) {
    this.config = config;
    this.#metrics = base.metrics;
    const { connectTimeoutMs, headTimeoutMs, bodyTimeoutMs, connectionsMax } = config;
    const shared = { connectTimeoutMs, headTimeoutMs, bodyTimeoutMs, connectionsMax, headBytesMax: UPSTREAM_HEAD_BYTES_MAX, ...base };
    this.group = makeGroup(config, shared);
    this.#pool = new TransportPool(
      (key) => new OriginTransport({ ...shared, origin: key.origin, lookup: key.isGuarded ? lookupPublic : undefined }),
    );
  }

  get waitingRequests(): number {
    return this.group.waitingRequests;
  }

  start(request: UpstreamRequest, receiver: ResponseReceiver): Transfer {
    return this.group.start(request, receiver);
  }

  /** The way that follows redirects as a rule says. */
  follow(rule: RedirectRule): UpstreamTransport {
    const [origin = '', ...others] = this.config.nodes.map((node) => node.origin);
    const { hostHeader } = this.config;
    const aliases = hostHeader === undefined ? others : [...others, `${new URL(origin).protocol}//${hostHeader}`];
    return new RedirectTransport({ first: this, origin, aliases, pool: this.#pool, metrics: this.#metrics }, rule);
  }

  async close(): Promise<void> {
    await this.#pool.close();
    await this.group.close();
  }
}

function makeGroup(config: ConfigGroup, shared: Omit<TransportOptions, 'origin'>): GroupTransport {
  const nodes = config.nodes.map(
    ({ origin, weight, sni, verifiesCertificate }) =>
      new UpstreamNode({ weight, transport: { ...shared, origin, tls: { servername: sni, verifies: verifiesCertificate } } }),
  );
  return new GroupTransport({
    name: config.name,
    nodes,
    balancer: new SmoothRoundRobin(),
    retriesMax: config.retriesMax,
    sendsNodeHost: config.hostHeader === undefined && !config.preservesHost,
  });
}
