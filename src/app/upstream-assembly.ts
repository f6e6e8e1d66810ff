/**
 * Builds the ways to origins from a configuration: a door to each upstream group, and to the origins that redirects lead to. Who was given a door keeps it:
 * what a reload changes about a group changes behind it. Used by proxy-assembly.ts.
 */
import { must } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { EdgeError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { MetricSet } from '../base/metrics.ts';
import type { Random } from '../base/random.ts';
import { KIB } from '../base/units.ts';
import type { ConfigGroup, ConfigModule } from '../config/edge-config.ts';
import type { RedirectRule } from '../http/redirect-target.ts';
import { lookupPublic } from '../upstream/address-guard.ts';
import { type Balancer, LeastConnections, RandomBalancer, SmoothRoundRobin, TwoChoices } from '../upstream/balancer.ts';
import type { OwnBalancer } from '../upstream/balancer-module.ts';
import type { Discovery } from '../upstream/discovery/discovery.ts';
import { GroupTransport } from '../upstream/group-transport.ts';
import { GuardedBalancer } from '../upstream/guarded-balancer.ts';
import { HashBalancer, ketamaOrder, rendezvousOrder } from '../upstream/hash-balancer.ts';
import { GROUP_METRICS } from '../upstream/node-metrics.ts';
import { OriginTransport } from '../upstream/origin-transport.ts';
import { RedirectTransport } from '../upstream/redirect-transport.ts';
import { TransportPool } from '../upstream/transport-pool.ts';
import type { UPSTREAM_METRICS } from '../upstream/upstream-metrics.ts';
import { UpstreamNode } from '../upstream/upstream-node.ts';
import type { ResponseReceiver, Transfer, UpstreamRequest, UpstreamTransport } from '../upstream/upstream-transport.ts';
import { type Discoveries, DiscoverySet } from './discovery-set.ts';
import { type GroupNode, groupNodes, originOf } from './group-nodes.ts';
import { MODULES } from './module-catalogue.ts';

/** Largest response head that is taken from an origin. */
const UPSTREAM_HEAD_BYTES_MAX = 64 * KIB;

/** What groups are built with. */
export interface UpstreamBase {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: MetricSet<typeof UPSTREAM_METRICS>;
}

/** Doors that are ready, and are not in use yet; discoveries, which look for nodes already. */
export interface PreparedDoors {
  /** By the name of their group. */
  readonly doors: ReadonlyMap<string, UpstreamDoor>;
  readonly discoveries: Discoveries;
}

/** Something with connections that nobody new uses. */
interface Retired {
  readonly isIdle: boolean;
  close(): Promise<void>;
}

const FRACTION = 2 ** 32;

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
  readonly #discoveries: DiscoverySet;
  #drainMs = 0;

  constructor(base: UpstreamBase) {
    this.#base = base;
    this.#discoveries = new DiscoverySet(base);
  }

  /** By the name of their group, for those whose nodes are found. */
  get discoveries(): ReadonlyMap<string, Discovery> {
    return this.#discoveries.current;
  }

  /** By the name of their group. */
  get doors(): ReadonlyMap<string, UpstreamDoor> {
    return this.#doors;
  }

  /** Doors for groups, those that lead to the same place as now included. Nothing changes yet, but nodes are looked for. @throws EdgeError CONFIG_INVALID */
  prepare(groups: readonly ConfigGroup[]): PreparedDoors {
    for (const group of groups) if (group.balancer !== undefined) makeOwnBalancer(group, group.balancer, this.#base);
    const discoveries = this.#discoveries.prepare(groups);
    const onGone = (gone: readonly Retired[]): void => {
      for (const parts of gone) this.#retire(parts, this.#drainMs, false);
    };
    const doors = new Map(
      groups.map((group) => {
        const known = this.#doors.get(group.name);
        const base = { ...this.#base, onGone };
        return [group.name, known?.leadsTo(group) === true ? known : new UpstreamDoor(group, discoveries.get(group.name), base)];
      }),
    );
    return { doors, discoveries };
  }

  /** Waits for the first nodes of these groups, each as long as it says. */
  awaitNodes(groups: readonly ConfigGroup[], { discoveries }: PreparedDoors): Promise<void> {
    return this.#discoveries.awaitNodes(groups, discoveries);
  }

  /** What was prepared is not wanted. */
  discard({ discoveries }: PreparedDoors): void {
    this.#discoveries.discard(discoveries);
  }

  /** From now on these are the doors; what is not used any more is closed when it is idle, or after `drainMs`. */
  commit(groups: readonly ConfigGroup[], { doors, discoveries }: PreparedDoors, drainMs: number): void {
    this.#drainMs = drainMs;
    const gone = [...this.#doors].filter(([name, door]) => doors.get(name) !== door).map(([, door]) => door);
    const replaced = groups.flatMap((group) => doors.get(group.name)?.change(group, discoveries.get(group.name)) ?? []);
    this.#doors = doors;
    for (const door of doors.values()) door.open();
    for (const door of gone) door.retire();
    for (const door of gone) this.#retire(door, drainMs, true);
    for (const parts of replaced) this.#retire(parts, drainMs, false);
    this.#discoveries.commit(discoveries);
  }

  async close(): Promise<void> {
    await this.#discoveries.close();
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

/** What a door tells of itself: parts that it does not use any more. */
interface DoorBase extends UpstreamBase {
  readonly onGone: (gone: readonly Retired[]) => void;
}

/** The door to one group. */
export class UpstreamDoor implements UpstreamTransport {
  readonly #base: DoorBase;
  readonly #groupMetrics = new MetricSet(GROUP_METRICS);
  #config: ConfigGroup;
  #discovery: Discovery | undefined;
  /** Undefined until the door is open, and without discovery. */
  #unsubscribe: (() => void) | undefined;
  #isRetired = false;
  #nodes: ReadonlyMap<string, UpstreamNode>;
  #group: GroupTransport;
  #pool: TransportPool;

  constructor(config: ConfigGroup, discovery: Discovery | undefined, base: DoorBase) {
    this.#base = base;
    this.#config = config;
    this.#discovery = discovery;
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

  /** The way that follows redirects as a rule says. @param ownFields names of fields that other origins are not sent */
  follow(rule: RedirectRule, ownFields: ReadonlySet<string> = new Set()): UpstreamTransport {
    const origin = originOf(this.#config);
    const own = this.#config.hostHeader === undefined ? [] : [`${new URL(origin).protocol}//${this.#config.hostHeader}`];
    const originsNow = (): readonly string[] => this.#group.nodes.map((node) => node.origin).filter((other) => other !== origin);
    const aliases = this.#discovery === undefined ? [...originsNow(), ...own] : undefined;
    const options = {
      ...{ first: this, origin, ownFields, pool: this.#pool, metrics: this.#base.metrics },
      get aliases() {
        return aliases ?? [...originsNow(), ...own];
      },
    };
    return new RedirectTransport(options, rule);
  }

  /** Whether whoever has this door may find the group behind it: requests are written with its path, its hosts and its name. */
  leadsTo(group: ConfigGroup): boolean {
    return placeOf(group) === placeOf(this.#config);
  }

  /** The group is this from now on. @returns what it does not use any more */
  change(config: ConfigGroup, discovery: Discovery | undefined): readonly Retired[] {
    if (JSON.stringify(config) === JSON.stringify(this.#config) && discovery === this.#discovery) return [];
    const [oldPool, old] = [this.#pool, this.#config];
    if (discovery !== this.#discovery) {
      this.#unsubscribe?.();
      this.#unsubscribe = undefined;
    }
    this.#config = config;
    this.#discovery = discovery;
    const gone = this.#replaceNodes();
    this.#group = this.#makeGroup();
    if (JSON.stringify(limitsOf(old)) === JSON.stringify(limitsOf(config))) return gone;
    this.#pool = this.#makePool();
    return [...gone, { isIdle: false, close: () => oldPool.close() }];
  }

  /** Nodes are checked, and follow their discovery; harmless when it is so already. */
  open(): void {
    for (const node of this.#group.nodes) node.begin();
    if (this.#unsubscribe !== undefined || this.#discovery === undefined) return;
    this.#unsubscribe = this.#discovery.subscribe(() => this.#onFound());
    // What was found since the door was made.
    this.#onFound();
  }

  /** Nodes are not checked any more; what is in progress goes on, and may ask the nodes that are found yet. */
  retire(): void {
    this.#isRetired = true;
    for (const node of this.#group.nodes) node.retire();
  }

  async close(): Promise<void> {
    this.#unsubscribe?.();
    await this.#pool.close();
    await this.#group.close();
  }

  /** Other nodes were found: those that stay are as they were, the others end what they have begun. */
  #onFound(): void {
    const gone = this.#replaceNodes();
    this.#group.replaceNodes([...this.#nodes.values()], this.#makeBalancer());
    if (!this.#isRetired) this.open();
    this.#base.onGone(gone);
  }

  /** @returns the nodes that are none any more */
  #replaceNodes(): readonly UpstreamNode[] {
    const before = this.#nodes;
    this.#nodes = this.#makeNodes(before);
    const kept = new Set(this.#nodes.values());
    const gone = [...before.values()].filter((node) => !kept.has(node));
    for (const node of gone) node.retire();
    return gone;
  }

  /** A node that is reached as before keeps its connections, and what is known of it; its weight may be another. */
  #makeNodes(known: ReadonlyMap<string, UpstreamNode>): ReadonlyMap<string, UpstreamNode> {
    return new Map(
      groupNodes(this.#config, this.#discovery?.nodes ?? []).map((node) => {
        const { weight, isBackup, ...way } = node;
        const key = JSON.stringify([way, limitsOf(this.#config), healthOf(this.#config)]);
        const same = known.get(key);
        same?.reweigh({ weight, isBackup });
        return [key, same ?? this.#makeNode(node)];
      }),
    );
  }

  #makeNode({ origin, authority, weight, sni, verifiesCertificate, isBackup }: GroupNode): UpstreamNode {
    const { name, slowStartMs, outlier, nodes, healthCheck, hostHeader } = this.#config;
    const { clock, metrics, logger } = this.#base;
    const tls = { servername: sni, verifies: verifiesCertificate };
    // Answers are looked at byte by byte, as Latin-1.
    const body = healthCheck?.body === undefined ? undefined : Buffer.from(healthCheck.body).toString('latin1');
    const check = healthCheck && { ...healthCheck, body, host: healthCheck.host ?? hostHeader ?? authority };
    // Of a node that stands alone everybody hears by its requests.
    const isTold = nodes.length > 1 || healthCheck !== undefined || this.#discovery !== undefined;
    return new UpstreamNode({
      ...{ weight, isBackup, slowStartMs, outlier, check, authority },
      transport: { ...limitsOf(this.#config), clock, metrics, origin, tls },
      onState: (node, state, why) => {
        if (isTold) logger[state === 'well' ? 'info' : 'warn']({ group: name, node, state, why }, 'a node changed its state');
      },
    });
  }

  #makeGroup(): GroupTransport {
    const { name, retriesMax, retryBudgetPercent, panicPercent, outlier, hostHeader, preservesHost } = this.#config;
    return new GroupTransport({
      name,
      nodes: [...this.#nodes.values()],
      discovery: this.#discovery === undefined ? undefined : () => this.#describeDiscovery(),
      balancer: this.#makeBalancer(),
      retriesMax,
      retryBudgetPercent,
      panicPercent,
      comparesLatency: outlier.slowFactor > 0,
      clock: this.#base.clock,
      sendsNodeHost: hostHeader === undefined && !preservesHost,
      metrics: this.#groupMetrics,
    });
  }

  #makeBalancer(): Balancer<UpstreamNode> {
    const { balance, balancer } = this.#config;
    return balancer === undefined ? BALANCERS[balance](this.#config, this.#base.random) : this.#makeOwn(balancer);
  }

  /** That it can be made was tried when the configuration was prepared; what fails now must not end a change that has begun. */
  #makeOwn(config: ConfigModule): Balancer<UpstreamNode> {
    const { logger } = this.#base;
    const { name: group } = this.#config;
    try {
      return new GuardedBalancer<UpstreamNode>(makeOwnBalancer(this.#config, config, this.#base), {
        group,
        metrics: this.#groupMetrics,
        logger,
      });
    } catch (cause) {
      logger.error({ group, err: cause }, 'the balancer of a group cannot be made; its nodes are asked in turn');
      return new SmoothRoundRobin();
    }
  }

  #describeDiscovery(): string {
    const { source = '', problem = 'there was no answer yet' } = this.#discovery?.facts ?? {};
    return `its discovery (${source}) has found none; ${this.#discovery?.hasAnswer === true ? 'that is the answer' : problem}`;
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

/** @throws EdgeError CONFIG_INVALID when its module cannot make it */
function makeOwnBalancer({ name: group }: ConfigGroup, { use, options }: ConfigModule, { clock, random }: UpstreamBase): OwnBalancer {
  const services = { group, monotonicMs: () => clock.monotonicMs(), random: () => random.integerBelow(FRACTION) / FRACTION };
  try {
    return must(MODULES.balancer(use), 'its module is gone').create(options, services);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new EdgeError('CONFIG_INVALID', `The balancer of the group ${group} cannot be made: ${why}`, { cause });
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
