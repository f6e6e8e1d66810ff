/**
 * Takes orders to purge: gives them a number, remembers them, and carries out at once what can be done without reading the device: one object
 * in the index, every manifest in memory. What is left hidden in the index is the walker's. Making an order durable is the store's.
 */
import type { Clock } from '../../base/clock.ts';
import { EdgeError } from '../../base/errors.ts';
import type { MetricSet } from '../../base/metrics.ts';
import { KEY_BYTES_MAX } from '../../format/extent-header.ts';
import type { Manifest, ObjectHash } from '../../format/manifest.ts';
import type { Catalogue } from '../index/catalogue.ts';
import type { HeldGenerations } from '../index/held-generations.ts';
import type { ManifestShelf } from '../index/manifest-shelf.ts';
import { NO_SLOT, objectTag } from '../index/slice-index.ts';
import type { PurgeOptions, PurgeTarget } from '../slice-store.ts';
import type { StoreLimits } from '../store-limits.ts';
import type { STORE_METRICS } from '../store-metrics.ts';
import { type Coverable, isEpoch, matcherOf, type Purge, type PurgeOrder, scopeOf } from './purge.ts';
import type { PurgeMemory, RememberedPurges } from './purge-memory.ts';

/** Longest tag, in bytes: what a manifest's record has room for. */
const TAG_BYTES_MAX = 65_535;

/** Purges that a device did not hear of while it was away. */
export interface MissedPurges {
  /** Number of the newest purge of the cache. */
  readonly newestSequence: number;
  /** `unknown`: they are no longer all remembered, so everything has to be forgotten. */
  readonly purges: readonly Purge[] | 'unknown';
  /** Whether they were numbered by others, so that a number says nothing about what this device has heard of. */
  readonly isForeign?: boolean | undefined;
}

/** Dependencies of a desk. */
export interface PurgeDeskOptions {
  readonly memory: PurgeMemory;
  readonly shelf: ManifestShelf;
  readonly holds: HeldGenerations;
  readonly clock: Clock;
  readonly limits: StoreLimits;
  readonly metrics: MetricSet<typeof STORE_METRICS>;
  /** The next generation that will be given. */
  readonly nextGeneration: () => number;
}

/** One per store; the index is attached when it is loaded. */
export class PurgeDesk {
  readonly #options: PurgeDeskOptions;
  #catalogue: Catalogue | undefined;
  /** Taken while the index was loading: to be carried out and journalled afterwards. */
  #held: Purge[] = [];

  constructor(options: PurgeDeskOptions) {
    this.#options = options;
  }

  /** What the caller wants, checked. @throws EdgeError REQUEST_INVALID */
  order(target: PurgeTarget, isSoft: boolean): PurgeOrder {
    const scope = scopeOf(target);
    if (scope.prefixBytes > KEY_BYTES_MAX) throw new EdgeError('REQUEST_INVALID', `No key is as long as the prefix to purge`);
    const isTagTooLong = target.kind === 'tag' && Buffer.byteLength(target.tag) > TAG_BYTES_MAX;
    if (isTagTooLong || (target.kind === 'tag' && target.tag === ''))
      throw new EdgeError('REQUEST_INVALID', 'No object can have such a tag');
    return { ...scope, isSoft };
  }

  /**
   * Takes an order: from here on nothing that it covers is handed out.
   *
   * @throws EdgeError STORE_UNAVAILABLE when there are too many epochs, or too many orders while the index is loading; nothing was done then
   */
  take(order: PurgeOrder, target: PurgeTarget, options: PurgeOptions): Purge {
    const { memory, metrics, clock, nextGeneration, limits } = this.#options;
    if (!memory.hasRoomFor(order) || this.#held.length >= limits.purgesRemembered) {
      metrics.add('purgesRefused', 1, 'full');
      const text = 'Too many purges are being carried out in the background; purge again in a moment, or everything';
      throw new EdgeError('STORE_UNAVAILABLE', text);
    }
    const sequence = Math.max(options.sequence ?? 0, memory.newestSequence + 1);
    const generation = Math.max(options.generation ?? 0, nextGeneration());
    const purge: Purge = { ...order, generation, sequence, atMs: clock.wallMs() };
    metrics.add('purges', 1, order.isSoft ? `soft-${order.kind}` : order.kind);
    memory.remember(purge);
    memory.ledger.open(sequence, purge.kind === 'object');
    if (this.#catalogue === undefined) this.#held.push(purge);
    this.#carryOut(purge, matcherOf(target));
    return purge;
  }

  /**
   * The index is loaded. Carries out what was ordered meanwhile and what the device missed.
   *
   * @returns purges that are to be journalled, oldest first
   */
  attach(catalogue: Catalogue, remembered: RememberedPurges, missed: MissedPurges | undefined): readonly Purge[] {
    const { memory } = this.#options;
    this.#catalogue = catalogue;
    const held = this.#held;
    this.#held = [];
    memory.restore(remembered);
    const journalled: Purge[] = [];
    for (const purge of [...this.#missed(missed, remembered.newestSequence), ...held]) {
      // Numbers that were given while loading may have been given before; no answer was asked for between two of them.
      const isNewer = purge.sequence > (journalled.at(-1)?.sequence ?? remembered.newestSequence);
      const numbered = isNewer ? purge : { ...purge, sequence: memory.newestSequence + 1 };
      memory.remember(numbered);
      if (purge.kind === 'object') this.#purgeObject(numbered);
      journalled.push(numbered);
    }
    // What was read while loading was held against purges, but what that meant was not noted in the index.
    memory.resuspect([]);
    return journalled;
  }

  /** A manifest was read from the device: what purges want of it is done. @returns it as it may be handed out, or undefined */
  admit(manifest: Manifest): Manifest | undefined {
    const { memory, shelf, metrics } = this.#options;
    const { objectHash, generation } = manifest;
    const tagSlot = this.#catalogue?.findCurrent(objectHash, generation) ?? NO_SLOT;
    if (this.#catalogue === undefined || tagSlot === NO_SLOT) return undefined;
    const verdict = memory.judgeStored(manifest);
    if (verdict.kind === 'covered') {
      shelf.forget(objectHash);
      this.#catalogue.dropObject(tagSlot, 'purge');
      memory.ledger.count(verdict.sequence, 1);
      metrics.add('purgedObjects', 1, 'read');
      return undefined;
    }
    if (verdict.kind === 'stale' && this.#catalogue.makeStale(tagSlot, verdict.atMs)) memory.ledger.count(verdict.sequence, 1);
    memory.clear(generation);
    return verdict.kind === 'stale' ? staleFrom(manifest, verdict.atMs) : manifest;
  }

  #missed(missed: MissedPurges | undefined, heardOf: number): readonly Purge[] {
    if (missed === undefined) return [];
    const { memory, clock, nextGeneration } = this.#options;
    if (missed.purges !== 'unknown') return missed.purges.filter(({ sequence }) => missed.isForeign === true || sequence > heardOf);
    memory.skipTo(missed.newestSequence);
    const scope = scopeOf({ kind: 'everything' });
    return [{ ...scope, isSoft: false, generation: nextGeneration(), sequence: memory.newestSequence, atMs: clock.wallMs() }];
  }

  #carryOut(purge: Purge, matches: (object: Coverable) => boolean): void {
    const { memory, shelf } = this.#options;
    if (!purge.isSoft) this.#dropRetired(matches);
    if (purge.kind === 'object') return this.#purgeObject(purge);
    const known = shelf.manifests();
    if (!isEpoch(purge)) {
      // The index is left to the walk: its generations say by themselves that they are over.
      for (const { objectHash } of known) shelf.forget(objectHash);
      this.#catalogue?.resident.removeAll();
      return;
    }
    for (const manifest of known) if (matches(manifest)) this.#purgeKnown(manifest.objectHash, purge);
    memory.resuspect(shelf.manifests().map(({ generation }) => generation));
  }

  /** Generations that were replaced and are kept for their readers: what is purged is handed out to nobody. */
  #dropRetired(matches: (object: Coverable) => boolean): void {
    for (const generation of this.#catalogue?.retiredGenerations() ?? []) {
      const held = this.#options.holds.find(generation);
      if (held === undefined || matches(held)) this.#catalogue?.dropRetired(generation, 'purge');
    }
  }

  #purgeObject(purge: Purge): void {
    const { shelf } = this.#options;
    const tagSlot = this.#catalogue?.index.findTag(objectTag(purge.hash)) ?? NO_SLOT;
    if (this.#catalogue === undefined || tagSlot === NO_SLOT || this.#catalogue.generationOf(tagSlot) >= purge.generation) {
      if (!purge.isSoft || this.#catalogue === undefined) shelf.forget(purge.hash as ObjectHash);
      return;
    }
    this.#purgeKnown(purge.hash as ObjectHash, purge);
  }

  #purgeKnown(objectHash: ObjectHash, purge: Purge): void {
    const { memory, shelf, metrics } = this.#options;
    const tagSlot = this.#catalogue?.findObject(objectHash) ?? NO_SLOT;
    // While the index is loading it is read anew, and found to be stale then.
    if (!purge.isSoft || this.#catalogue === undefined) shelf.forget(objectHash);
    if (this.#catalogue === undefined || tagSlot === NO_SLOT) return;
    if (purge.isSoft) {
      if (this.#catalogue.makeStale(tagSlot, purge.atMs)) memory.ledger.count(purge.sequence, 1);
      const known = shelf.find(objectHash, this.#catalogue.generationOf(tagSlot));
      if (known !== undefined) shelf.keep(staleFrom(known, purge.atMs));
      return;
    }
    this.#catalogue.dropObject(tagSlot, 'purge');
    memory.ledger.count(purge.sequence, 1);
    metrics.add('purgedObjects', 1, 'known');
  }
}

/** The manifest, stale from `atMs` on. */
export function staleFrom(manifest: Manifest, atMs: number): Manifest {
  return manifest.freshUntilMs <= atMs ? manifest : { ...manifest, freshUntilMs: atMs };
}
