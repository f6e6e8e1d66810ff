/**
 * The one way to purge, for both ports: through the store, so that it stays purged over a crash, and through what is being filled and asked
 * for, so that nobody joins it. It remembers the last purges, whose counts grow while the index is walked.
 */
import { EdgeError } from '../base/errors.ts';
import type { MetricSet } from '../base/metrics.ts';
import type { InvalidationCause } from '../cache/invalidation.ts';
import { type NamedPurge, type ResolvedPurge, resolvePurges, type SiteDirectory } from '../cache/named-purge.ts';
import type { PurgeTarget, SliceStore } from '../store/slice-store.ts';
import type { FILL_METRICS } from './fill-metrics.ts';
import type { ObjectResolver } from './object-resolver.ts';

/** What a purge did. */
export interface PurgeReport {
  /** Its number; later ones are higher. */
  readonly id: number;
  readonly kind: NamedPurge['kind'];
  /** The key, the beginning of keys, or the tag (behind a site's name and a colon where it is not about all); empty for everything. Of several sites each, with a space between them. */
  readonly key: string;
  /** It made stale instead of forgetting. */
  readonly isSoft: boolean;
  /** Stored objects that it has dropped or made stale so far; one that lies on several devices counts on each. */
  readonly objects: number;
  /** Nothing that it covers is left in the index. Until then it is absent already, and counted when it is met. */
  readonly isDone: boolean;
}

/** Purges that are remembered. */
const REPORTS_MAX = 256;

/** Several that are named at once, on each site that they reach: each is a record in the journal of every device. */
const PURGES_AT_ONCE_MAX = 256;

/** Dependencies of a purger. */
export interface PurgerOptions {
  readonly store: SliceStore;
  readonly resolver: ObjectResolver;
  readonly sites: SiteDirectory;
  readonly metrics: MetricSet<typeof FILL_METRICS>;
}

/** As the store told at last. */
interface PurgePart {
  readonly sequence: number;
  readonly objects: number;
  readonly isDone: boolean;
}

interface Purge {
  readonly report: PurgeReport;
  /** One for each site. */
  readonly parts: readonly PurgePart[];
}

/** One per program. */
export class Purger {
  readonly #options: PurgerOptions;
  /** Oldest first. */
  readonly #purges = new Map<number, Purge>();

  constructor(options: PurgerOptions) {
    this.#options = options;
  }

  /**
   * Forgets for good, or makes stale: when this resolves, no request that comes later is answered with what is covered before the origin was
   * asked, crash or no crash.
   *
   * @param within the sites that it may reach; all where it is left out
   * @throws EdgeError REQUEST_INVALID, STORE_UNAVAILABLE
   */
  async purge(named: NamedPurge, isSoft: boolean, within?: SiteDirectory): Promise<PurgeReport> {
    return this.#purge(named, isSoft, resolvePurges(named, this.#options.sites, within));
  }

  async #purge(named: NamedPurge, isSoft: boolean, resolved: readonly ResolvedPurge[]): Promise<PurgeReport> {
    const { metrics } = this.#options;
    metrics.add('purges', 1, isSoft ? `soft-${named.kind}` : named.kind);
    const parts = await Promise.all(resolved.map(({ target }) => this.#purgeOne(target, isSoft)));
    const key = resolved.map((part) => part.key).join(' ');
    const report: PurgeReport = {
      id: Math.max(...parts.map(({ sequence }) => sequence)),
      kind: named.kind,
      key,
      isSoft,
      objects: 0,
      isDone: false,
    };
    const purge = { report: { ...report, ...sumOf(parts) }, parts };
    this.#remember(purge);
    return purge.report;
  }

  async #purgeOne(target: PurgeTarget, isSoft: boolean): Promise<PurgePart> {
    const { store, resolver } = this.#options;
    resolver.forget(target, isSoft);
    const purging = store.purge(target, { isSoft });
    // Also what was given out in the same moment, and what a full table of purges made wait.
    return purging.finally(() => resolver.forget(target, isSoft));
  }

  /** As purge(), for several at a time, which share the flushes of the devices. @throws EdgeError when any of them could not be kept */
  async purgeAll(named: readonly NamedPurge[], isSoft: boolean, within: SiteDirectory): Promise<readonly PurgeReport[]> {
    const resolved = named.map((one) => ({ one, parts: resolvePurges(one, this.#options.sites, within) }));
    const count = resolved.reduce((sum, { parts }) => sum + parts.length, 0);
    if (named.length > 1 && count > PURGES_AT_ONCE_MAX)
      throw new EdgeError(
        'REQUEST_INVALID',
        `Name fewer: it takes ${count} purges, since each is one for each site, and ${PURGES_AT_ONCE_MAX} go at once`,
      );
    return Promise.all(resolved.map(({ one, parts }) => this.#purge(one, isSoft, parts)));
  }

  /**
   * Something was changed at the origin: from the call on what is stored of the target is forgotten and what was asked for before is not taken.
   *
   * @returns undefined where nothing can be stored; else a promise, never rejected, that holds over a crash too from when it resolves. Where
   *   that cannot be had it is counted.
   */
  invalidate(target: PurgeTarget, cause: InvalidationCause): Promise<void> | undefined {
    const { store, resolver, metrics } = this.#options;
    resolver.forget(target);
    // Most of what is sent to an origin is about nothing that is stored; a purge of that would cost a write each.
    if (target.kind === 'object' && !store.mayHold(target.objectHash)) return undefined;
    metrics.add('invalidations', 1, cause);
    return store.purge(target).then(
      () => resolver.forget(target),
      () => metrics.add('invalidationsFailed'),
    );
  }

  /** More was to be invalidated by one answer than is. */
  countExcess(count: number): void {
    if (count > 0) this.#options.metrics.add('invalidationsFailed', count);
  }

  /** A purge of this process as it is now; undefined when it is too old. */
  find(id: number): PurgeReport | undefined {
    const purge = this.#purges.get(id);
    return purge === undefined ? undefined : this.#renewed(purge);
  }

  /** The last purges, the newest first. */
  list(): readonly PurgeReport[] {
    return [...this.#purges.values()].reverse().map((purge) => this.#renewed(purge));
  }

  #remember(purge: Purge): void {
    this.#purges.set(purge.report.id, purge);
    if (this.#purges.size <= REPORTS_MAX) return;
    for (const oldest of this.#purges.keys()) {
      this.#purges.delete(oldest);
      return;
    }
  }

  #renewed({ report, parts }: Purge): PurgeReport {
    return { ...report, ...sumOf(parts.map((part) => ({ ...part, ...this.#options.store.purgeProgress(part.sequence) }))) };
  }
}

function sumOf(parts: readonly PurgePart[]): Pick<PurgeReport, 'objects' | 'isDone'> {
  return { objects: parts.reduce((sum, part) => sum + part.objects, 0), isDone: parts.every((part) => part.isDone) };
}
