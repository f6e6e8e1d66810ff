/**
 * Builds the ways to origins from a configuration: a door to each upstream group, and to the origins that redirects lead to. Who was given a door keeps it:
 * what a reload changes about a group changes behind it. Used by proxy-assembly.ts.
 */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { MetricSet } from '../base/metrics.ts';
import type { Random } from '../base/random.ts';
import { KIB } from '../base/units.ts';
import type { ConfigGroup, ConfigNode } from '../config/edge-config.ts';
import type { RedirectRule } from '../http/redirect-target.ts';
import { lookupPublic } from '../upstream/address-guard.ts';
import { type Balancer, LeastConnections, RandomBalancer, SmoothRoundRobin, TwoChoices } from '../upstream/balancer.ts';
import { GroupTransport } from '../upstream/group-transport.ts';
import { HashBalancer, ketamaOrder, rendezvousOrder } from '../upstream/hash-balancer.ts';
import { GROUP_METRICS } from '../upstream/node-metrics.ts';
import { OriginTransport } from '../upstream/origin-transport.ts';
import { RedirectTransport } from '../upstream/redirect-transport.ts';
import { TransportPool } from '../upstream/transport-pool.ts';
import type { UPSTREAM_METRICS } from '../upstream/upstream-metrics.ts';
import { UpstreamNode } from '../upstream/upstream-node.ts';
import type { ResponseReceiver, Transfer, UpstreamRequest, UpstreamTransport } from '../upstream/upstream-transport.ts';

/** Largest response head that is taken from an origin. */
const UPSTREAM_HEAD_BYTES_MAX = 64 * KIB;

/** What groups are built with. */
export interface UpstreamBase {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: MetricSet<typeof UPSTREAM_METRICS>;
}

/** Something with connections that nobody new uses. */
interface Retired {
  readonly isIdle: boolean;
  close(): Promise<void>;
}

/** How often it is looked whether what nobody uses any more can be closed. */
const RETIRED_CHECK_MS = 250;

type MakeBalancer = (config: ConfigGroup, random: Random) => Balancer<UpstreamNode>;

/** A balancer for each word of `balance`. */
const BALANCERS: Readonly<Record<ConfigGroup['balance'], MakeBalancer>> = {
  'round-robin': () => new SmoothRoundRobin(),
  random: (_config, random) => new RandomBalancer(random),
  'two-choices': (_config, random) => new TwoChoices(random),
  'least-connections': () => new LeastConnections(),
  ketama: ({ boundedLoadPercent }) => new HashBalancer(ketamaOrder(), boundedLoadPercent),
  rendezvous: ({ boundedLoadPercent }) => new HashBalancer(rendezvousOrder(), boundedLoadPercent),
};

/** Whether a balancer looks at what requests have in common. */
export function isHashed(balance: ConfigGroup['balance']): boolean {
  return balance === 'ketama' || balance === 'rendezvous';
}

/** The doors to all groups of a configuration. */
export class DoorSet {
  readonly #base: UpstreamBase;
  #doors: ReadonlyMap<string, UpstreamDoor> = new Map();
  readonly #retired = new Set<Retired>();

  constructor(base: UpstreamBase) {
    this.#base = base;
  }

  /** By the name of their group. */
  get doors(): ReadonlyMap<string, UpstreamDoor> {
    return this.#doors;
  }

  /** Doors for groups, those that lead to the same place as now included. Nothing changes yet. */
  prepare(groups: readonly ConfigGroup[]): ReadonlyMap<string, UpstreamDoor> {
    return new Map(
      groups.map((group) => {
        const known = this.#doors.get(group.name);
        return [group.name, known?.leadsTo(group) === true ? known : new UpstreamDoor(group, this.#base)];
      }),
    );
  }

  /** From now on these are the doors; what is not used any more is closed when it is idle, or after `drainMs`. */
  commit(groups: readonly ConfigGroup[], doors: ReadonlyMap<string, UpstreamDoor>, drainMs: number): void {
    const gone = [...this.#doors].filter(([name, door]) => doors.get(name) !== door).map(([, door]) => door);
    const replaced = groups.flatMap((group) => doors.get(group.name)?.change(group) ?? []);
    this.#doors = doors;
    for (const door of doors.values()) for (const node of door.group.nodes) node.begin();
    for (const door of gone) for (const node of door.group.nodes) node.retire();
    for (const door of gone) this.#retire(door, drainMs, true);
    for (const parts of replaced) this.#retire(parts, drainMs, false);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#doors.values(), ...this.#retired].map((each) => each.close()));
  }

  /** @param staysOpen until the deadline: objects that are being read may yet ask through a door */
  #retire(retired: Retired, drainMs: number, staysOpen: boolean): void {
    const { clock } = this.#base;
    const deadlineMs = clock.monotonicMs() + drainMs;
    this.#retired.add(retired);
    const timer = clock.startInterval(RETIRED_CHECK_MS, () => {
      const isOver = clock.monotonicMs() >= deadlineMs;
      if (!isOver && (staysOpen || !retired.isIdle)) return;
      timer.stop();
      this.#retired.delete(retired);
      void retired.close();
    });
  }
}

/** The door to one group. */
export class UpstreamDoor implements UpstreamTransport {
  readonly #base: UpstreamBase;
  readonly #groupMetrics = new MetricSet(GROUP_METRICS);
  #config: ConfigGroup;
  #nodes: ReadonlyMap<string, UpstreamNode>;
  #group: GroupTransport;
  #pool: TransportPool;

  constructor(config: ConfigGroup, base: UpstreamBase) {
    this.#base = base;
    this.#config = config;
    this.#nodes = this.#makeNodes(new Map());
    this.#group = this.#makeGroup();
    this.#pool = this.#makePool();
  }

  /** The group as it is now. */
  get group(): GroupTransport {
    return this.#group;
  }

  get nodeCount(): number {
    return this.#group.nodeCount;
  }

  get waitingRequests(): number {
    return this.#group.waitingRequests;
  }

  get isIdle(): boolean {
    return this.#group.isIdle;
  }

  start(request: UpstreamRequest, receiver: ResponseReceiver): Transfer {
    return this.#group.start(request, receiver);
  }

  /** The way that follows redirects as a rule says. */
  follow(rule: RedirectRule): UpstreamTransport {
    const { hostHeader, nodes } = this.#config;
    const [origin = '', ...others] = nodes.map((node) => node.origin);
    const aliases = hostHeader === undefined ? others : [...others, `${new URL(origin).protocol}//${hostHeader}`];
    return new RedirectTransport({ first: this, origin, aliases, pool: this.#pool, metrics: this.#base.metrics }, rule);
  }

  /** Whether whoever has this door may find the group behind it: requests are written with its path, its hosts and its name. */
  leadsTo(group: ConfigGroup): boolean {
    return placeOf(group) === placeOf(this.#config);
  }

  /** The group is this from now on. @returns what it does not use any more */
  change(config: ConfigGroup): readonly Retired[] {
    if (JSON.stringify(config) === JSON.stringify(this.#config)) return [];
    const [oldNodes, oldPool, old] = [this.#nodes, this.#pool, this.#config];
    this.#config = config;
    this.#nodes = this.#makeNodes(oldNodes);
    this.#group = this.#makeGroup();
    const kept = new Set(this.#nodes.values());
    const gone = [...oldNodes.values()].filter((node) => !kept.has(node));
    for (const node of gone) node.retire();
    if (JSON.stringify(limitsOf(old)) === JSON.stringify(limitsOf(config))) return gone;
    this.#pool = this.#makePool();
    return [...gone, { isIdle: false, close: () => oldPool.close() }];
  }

  async close(): Promise<void> {
    await this.#pool.close();
    await this.#group.close();
  }

  /** A node that is configured as before keeps its connections, and what is known of it. */
  #makeNodes(known: ReadonlyMap<string, UpstreamNode>): ReadonlyMap<string, UpstreamNode> {
    return new Map(
      this.#config.nodes.map((node) => {
        const key = JSON.stringify([node, limitsOf(this.#config), healthOf(this.#config)]);
        return [key, known.get(key) ?? this.#makeNode(node)];
      }),
    );
  }

  #makeNode({ origin, weight, sni, verifiesCertificate, isBackup }: ConfigNode): UpstreamNode {
    const { name, slowStartMs, outlier, nodes, healthCheck, hostHeader } = this.#config;
    const { clock, metrics, logger } = this.#base;
    const tls = { servername: sni, verifies: verifiesCertificate };
    // Answers are looked at byte by byte, as Latin-1.
    const body = healthCheck?.body === undefined ? undefined : Buffer.from(healthCheck.body).toString('latin1');
    const check = healthCheck && { ...healthCheck, body, host: healthCheck.host ?? hostHeader };
    // Of a node that stands alone everybody hears by its requests.
    const isTold = nodes.length > 1 || healthCheck !== undefined;
    return new UpstreamNode({
      ...{ weight, isBackup, slowStartMs, outlier, check },
      transport: { ...limitsOf(this.#config), clock, metrics, origin, tls },
      onState: (node, state, why) => {
        if (isTold) logger[state === 'well' ? 'info' : 'warn']({ group: name, node, state, why }, 'a node changed its state');
      },
    });
  }

  #makeGroup(): GroupTransport {
    const { name, balance, retriesMax, retryBudgetPercent, panicPercent, outlier, hostHeader, preservesHost } = this.#config;
    return new GroupTransport({
      name,
      nodes: [...this.#nodes.values()],
      balancer: BALANCERS[balance](this.#config, this.#base.random),
      retriesMax,
      retryBudgetPercent,
      panicPercent,
      comparesLatency: outlier.slowFactor > 0,
      clock: this.#base.clock,
      sendsNodeHost: hostHeader === undefined && !preservesHost,
      metrics: this.#groupMetrics,
    });
  }

  #makePool(): TransportPool {
    const { clock, metrics } = this.#base;
    // Where a redirect leads nothing is known of.
    const shared = { ...limitsOf(this.#config), clock, metrics, protocol: 'http/1.1' as const };
    return new TransportPool(
      (key) => new OriginTransport({ ...shared, origin: key.origin, lookup: key.isGuarded ? lookupPublic : undefined }),
    );
  }
}

function limitsOf({ connectTimeoutMs, headTimeoutMs, bodyTimeoutMs, connectionsMax, protocol }: ConfigGroup) {
  return { protocol, connectTimeoutMs, headTimeoutMs, bodyTimeoutMs, connectionsMax, headBytesMax: UPSTREAM_HEAD_BYTES_MAX };
}

/** What a node knows of its group, beside its limits. */
function healthOf({ name, slowStartMs, outlier, healthCheck }: ConfigGroup): unknown {
  return [name, slowStartMs, outlier, healthCheck];
}

/** Nodes may come and go under a name; an origin that is a name by itself may not. */
function placeOf({ name, isNamedByOrigin, nodes, basePath, hostHeader, preservesHost }: ConfigGroup): string {
  return JSON.stringify([name, isNamedByOrigin ? nodes : [], basePath, hostHeader, preservesHost]);
}
