/**
 * Nodes by DNS: the addresses of a name, or its SRV records (RFC 2782) and the addresses of what they name. Asked again when the first of the records that
 * were used runs out. Made by app/discovery-set.ts.
 */
import type { SrvAnswer } from 'dns-packet';
import type { Clock } from '../../base/clock.ts';
import type { Random } from '../../base/random.ts';
import { type DiscoveredNode, type DiscoveryFailure, type DiscoverySource, type DiscoveryVerdict, failed } from './discovery-source.ts';
import { DnsClient } from './dns-client.ts';
import type { DnsServer } from './dns-exchange.ts';
import { isHostName } from './node-list.ts';

/** What is asked for. */
export interface DnsSourceOptions {
  readonly name: string;
  /** Whether the name has SRV records; else it has addresses, of servers that listen on `port`. */
  readonly isService: boolean;
  readonly families: readonly ('A' | 'AAAA')[];
  readonly port: number;
  readonly servers: readonly DnsServer[];
  readonly timeoutMs: number;
  /** How long an answer holds, whatever its TTL. */
  readonly ttlMsMin: number;
  readonly ttlMsMax: number;
  readonly clock: Clock;
  readonly random: Random;
}

/** Hosts of a service that are looked up: as many as a group may have nodes. */
const TARGETS_MAX = 1024;
/** Characters of a name that are shown where it is none. */
const SHOWN_MAX = 60;
/** Hosts that are looked up at a time. */
const TARGETS_AT_ONCE = 8;

interface Addresses {
  readonly kind: 'addresses';
  readonly addresses: readonly string[];
  /** Infinity where there are none. */
  readonly ttlMs: number;
}

/** Asks DNS. */
export class DnsSource implements DiscoverySource {
  readonly about: string;
  readonly #options: DnsSourceOptions;
  readonly #client: DnsClient;

  constructor(options: DnsSourceOptions) {
    this.#options = options;
    this.#client = new DnsClient(options);
    this.about = `dns ${options.isService ? 'SRV ' : ''}${options.name}`;
  }

  ask(signal: AbortSignal): Promise<DiscoveryVerdict> {
    return this.#options.isService ? this.#askService(signal) : this.#askAddresses(signal);
  }

  async close(): Promise<void> {}

  async #askAddresses(signal: AbortSignal): Promise<DiscoveryVerdict> {
    const { name, port } = this.#options;
    const found = await this.#lookUp(name, signal);
    if (found.kind === 'failed') return found;
    const nodes = found.addresses.map((host) => ({ host, port, name, weight: 1, isBackup: false }));
    return { kind: 'nodes', nodes, unusable: [], againInMs: this.#clamp(found.ttlMs) };
  }

  /** The lowest priority is the first choice (RFC 2782); all others are backups. */
  async #askService(signal: AbortSignal): Promise<DiscoveryVerdict> {
    const verdict = await this.#client.ask({ name: this.#options.name, kind: 'SRV' }, signal);
    if (verdict.kind === 'failed') return verdict;
    // A target that is the root says that the service is not offered.
    const records = verdict.records.flatMap((record) => (record.type === 'SRV' && record.data.target !== '.' ? record : []));
    const first = Math.min(...records.map(({ data }) => data.priority ?? 0));
    // Nothing is asked for what an answer only calls a name.
    const hosts = await this.#lookUpAll([...new Set(records.map(targetOf))].filter(isHostName), signal);
    if (hosts.kind === 'failed') return hosts;
    let ttlMs = verdict.ttlMs ?? Number.POSITIVE_INFINITY;
    const unusable: string[] = [];
    const nodes = records.flatMap((record): readonly DiscoveredNode[] => {
      const name = targetOf(record);
      const host = hosts.found.get(name);
      if (host === undefined) unusable.push(`${JSON.stringify(name.slice(0, SHOWN_MAX))} is no name of a host`);
      else if (host.addresses.length === 0) unusable.push(`${name} has no address`);
      ttlMs = Math.min(ttlMs, host?.ttlMs ?? Number.POSITIVE_INFINITY);
      const { port, priority = 0, weight = 0 } = record.data;
      const shared = { port, name, weight: Math.max(1, weight), isBackup: priority > first };
      return (host?.addresses ?? []).map((address) => ({ host: address, ...shared }));
    });
    return { kind: 'nodes', nodes, unusable, againInMs: this.#clamp(ttlMs) };
  }

  async #lookUpAll(
    names: readonly string[],
    signal: AbortSignal,
  ): Promise<{ readonly kind: 'found'; readonly found: ReadonlyMap<string, Addresses> } | DiscoveryFailure> {
    if (names.length > TARGETS_MAX) return failed('invalid', `${this.about} names ${names.length} hosts; the limit is ${TARGETS_MAX}`);
    const found = new Map<string, Addresses>();
    for (let start = 0; start < names.length; start += TARGETS_AT_ONCE) {
      const batch = names.slice(start, start + TARGETS_AT_ONCE);
      const answers = await Promise.all(batch.map((name) => this.#lookUp(name, signal)));
      for (const [index, answer] of answers.entries()) {
        if (answer.kind === 'failed') return answer;
        found.set(batch[index] ?? '', answer);
      }
    }
    return { kind: 'found', found };
  }

  /** Of all families, or none: half an answer would take nodes away. */
  async #lookUp(name: string, signal: AbortSignal): Promise<Addresses | DiscoveryFailure> {
    const verdicts = await Promise.all(this.#options.families.map((kind) => this.#client.ask({ name, kind }, signal)));
    let ttlMs = Number.POSITIVE_INFINITY;
    const addresses: string[] = [];
    for (const verdict of verdicts) {
      if (verdict.kind === 'failed') return verdict;
      ttlMs = Math.min(ttlMs, verdict.ttlMs ?? Number.POSITIVE_INFINITY);
      for (const record of verdict.records) if (record.type !== 'SRV') addresses.push(record.data);
    }
    return { kind: 'addresses', addresses, ttlMs };
  }

  /** What has no TTL, because it is not there, is looked for again soon. */
  #clamp(ttlMs: number): number {
    const { ttlMsMin, ttlMsMax } = this.#options;
    return Number.isFinite(ttlMs) ? Math.min(ttlMsMax, Math.max(ttlMsMin, ttlMs)) : ttlMsMin;
  }
}

function targetOf({ data }: SrvAnswer): string {
  return data.target.toLowerCase().replace(/\.$/, '');
}
