/**
 * The discoveries of a configuration, one for each group whose nodes are found. One that is configured as before goes on over a reload; one that asks another way for the
 * same begins with what the old one found. Owned by upstream-assembly.ts.
 */
import { BlockList } from 'node:net';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import type { ConfigDiscovery, ConfigGroup } from '../config/edge-config.ts';
import type { Network } from '../config/network.ts';
import { Discovery } from '../upstream/discovery/discovery.ts';
import { refuseNode } from '../upstream/discovery/node-list.ts';
import { makeDiscoverySource } from './discovery-sources.ts';

/** Pause after a failure, and the longest. */
const RETRY_MS = 500;
const RETRY_MS_MAX = 30_000;

/** What discoveries are made with. */
export interface DiscoveryBase {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** By the name of their group. */
export type Discoveries = ReadonlyMap<string, Discovery>;

/** The discoveries of one program. */
export class DiscoverySet {
  readonly #base: DiscoveryBase;
  readonly #configs = new WeakMap<Discovery, ConfigDiscovery>();
  #current: Discoveries = new Map();

  constructor(base: DiscoveryBase) {
    this.#base = base;
  }

  get current(): Discoveries {
    return this.#current;
  }

  /** Those of a configuration; new ones begin to ask. @throws EdgeError CONFIG_INVALID for files that cannot be used */
  prepare(groups: readonly ConfigGroup[]): Discoveries {
    const found = new Map<string, Discovery>();
    for (const { name, discovery } of groups) if (discovery !== undefined) found.set(name, this.#findOrMake(name, discovery));
    for (const discovery of found.values()) discovery.start();
    return found;
  }

  /** Waits for the first answer of each, as long as its group says. */
  async awaitNodes(groups: readonly ConfigGroup[], discoveries: Discoveries): Promise<void> {
    const waits = groups.map(async ({ name, discovery: config }) => {
      const discovery = discoveries.get(name);
      if (config === undefined || discovery === undefined || config.waitMs === 0) return;
      const over = new AbortController();
      await Promise.race([discovery.answered, this.#base.clock.sleep(config.waitMs, over.signal)]);
      over.abort();
    });
    await Promise.all(waits);
  }

  /** These are the current ones; others end. */
  commit(discoveries: Discoveries): void {
    const kept = new Set(discoveries.values());
    for (const discovery of this.#current.values()) if (!kept.has(discovery)) void discovery.close();
    this.#current = discoveries;
  }

  /** They were prepared in vain. */
  discard(discoveries: Discoveries): void {
    const current = new Set(this.#current.values());
    for (const discovery of discoveries.values()) if (!current.has(discovery)) void discovery.close();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#current.values()].map((discovery) => discovery.close()));
  }

  #findOrMake(group: string, config: ConfigDiscovery): Discovery {
    const known = this.#current.get(group);
    const before = known && this.#configs.get(known);
    if (known !== undefined && JSON.stringify(before) === JSON.stringify(config)) return known;
    const asksForTheSame = before !== undefined && questionOf(before) === questionOf(config);
    const { clock, random, logger } = this.#base;
    const allowed = config.networks && blockListOf(config.networks);
    const discovery = new Discovery({
      ...{ group, clock, random, logger, retryMs: RETRY_MS, retryMsMax: RETRY_MS_MAX },
      source: makeDiscoverySource(config, this.#base),
      takesEmpty: config.takesEmpty,
      refuse: (node) => refuseNode(node, allowed),
      known:
        asksForTheSame && known?.hasAnswer === true ? known.nodes.filter((node) => refuseNode(node, allowed) === undefined) : undefined,
    });
    this.#configs.set(discovery, config);
    return discovery;
  }
}

/** What is asked for, however it is asked. */
function questionOf(config: ConfigDiscovery): string {
  if (config.kind === 'dns') return JSON.stringify([config.kind, config.name, config.isService, config.port]);
  return JSON.stringify([config.kind, config.service, config.tags, config.datacenter]);
}

function blockListOf(networks: readonly Network[]): BlockList {
  const list = new BlockList();
  for (const { address, prefixBits, family } of networks) list.addSubnet(address, prefixBits, family);
  return list;
}
