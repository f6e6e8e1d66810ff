/**
 * Walks the index for what purges of everything, by prefix and by tag cover: reads the records that it must, drops what is covered, makes
 * stale what is to be. It works beside traffic, at a bounded rate, and begins again when an epoch came while it was under way. Nothing of it
 * is journalled: the epochs stay in force until a checkpoint holds what it has done.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import type { MetricSet } from '../../base/metrics.ts';
import { MANIFEST_NUMBER } from '../../format/journal-block.ts';
import type { Manifest } from '../../format/manifest.ts';
import { decodeManifestRecord } from '../../format/manifest-record.ts';
import type { ExtentReader } from '../extents/extent-reader.ts';
import type { Catalogue } from '../index/catalogue.ts';
import type { ManifestShelf } from '../index/manifest-shelf.ts';
import type { ExtentPlace } from '../index/slice-index.ts';
import type { StoreLimits } from '../store-limits.ts';
import type { STORE_METRICS } from '../store-metrics.ts';
import type { PurgeMemory } from './purge-memory.ts';

/** Entries looked at before others have their turn. */
const ENTRIES_PER_TURN = 2048;
const ATTEMPTS = 2;

/** Dependencies of a walker. */
export interface PurgeWalkerOptions {
  readonly catalogue: Catalogue;
  readonly shelf: ManifestShelf;
  readonly extents: ExtentReader;
  readonly purges: PurgeMemory;
  readonly clock: Clock;
  readonly limits: StoreLimits;
  readonly metrics: MetricSet<typeof STORE_METRICS>;
  /** Whether the index may be changed; a walk that meets false ends, and its epochs stay in force. */
  readonly isOnline: () => boolean;
}

/** One per mounted store. */
export class PurgeWalker {
  readonly #options: PurgeWalkerOptions;
  #walking: Promise<void> | undefined;
  #isStopped = false;
  #position = 0;
  #end = 0;
  /** Purges up to these numbers are to be walked for, and were. */
  #wantedSequence = 0;
  #doneSequence = 0;
  #pause: { readonly timer: Timer; readonly end: () => void } | undefined;

  constructor(options: PurgeWalkerOptions) {
    this.#options = options;
  }

  /** Entries that the walk under way has yet to look at; 0 when there is none. */
  get remainingEntries(): number {
    return this.#end - this.#position;
  }

  /** Sees to it that the index is walked for every purge up to now. */
  start(): void {
    this.#wantedSequence = this.#options.purges.newestSequence;
    if (this.#walking !== undefined || this.#isStopped) return;
    this.#walking = this.#walk().finally(() => {
      this.#walking = undefined;
      this.#position = 0;
      this.#end = 0;
      // A purge may have come in the moment of its end.
      if (this.#doneSequence < this.#wantedSequence && this.#mayGoOn) this.start();
    });
  }

  /** Ends the walk and resolves when nothing of it is at the device any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#pause?.timer.stop();
    this.#pause?.end();
    await this.#walking;
  }

  /** Resolves when no walk is under way. */
  async idle(): Promise<void> {
    await this.#walking;
  }

  get #mayGoOn(): boolean {
    return !this.#isStopped && this.#options.isOnline();
  }

  async #walk(): Promise<void> {
    const { purges, metrics } = this.#options;
    while (this.#doneSequence < this.#wantedSequence && this.#mayGoOn) {
      // Whatever comes later is of a generation that these do not cover.
      const sequence = this.#wantedSequence;
      this.#position = 0;
      this.#end = this.#options.catalogue.index.slotLimit;
      const isWhole = await this.#pass();
      if (!isWhole) {
        await this.#rest();
        continue;
      }
      purges.markWalked(sequence);
      this.#doneSequence = sequence;
      metrics.add('purgeWalks');
    }
  }

  /** @returns false when a record could not be looked at for want of memory, or the walk was ended */
  async #pass(): Promise<boolean> {
    const { limits } = this.#options;
    let isWhole = true;
    while (this.#position < this.#end) {
      if (!this.#mayGoOn) return false;
      const suspects = this.#nextSuspects();
      const seen = await Promise.all(suspects.map((slot) => this.#look(slot)));
      if (seen.includes(false)) isWhole = false;
      if (suspects.length >= limits.purgeWalkReads) await this.#rest();
      else await new Promise<void>((resolve) => this.#options.clock.defer(resolve));
    }
    return isWhole && this.#mayGoOn;
  }

  /** Drops what needs no reading on the way, and comes back with records that do: at most limits.purgeWalkReads. */
  #nextSuspects(): number[] {
    const { catalogue, purges, limits, metrics } = this.#options;
    const { index } = catalogue;
    const suspects: number[] = [];
    const end = Math.min(this.#end, this.#position + ENTRIES_PER_TURN);
    for (; this.#position < end && suspects.length < limits.purgeWalkReads; this.#position += 1) {
      const slot = this.#position;
      if (index.kind(slot) !== 'manifest') continue;
      const generation = index.generation(slot);
      if (purges.isForgotten(generation)) {
        catalogue.dropObject(index.tagSlotOf(slot), 'purge');
        purges.countForgotten();
        metrics.add('purgedObjects', 1, 'walk');
      } else if (purges.isSuspect(generation) && index.blocks(slot) > 0 && !catalogue.isRetired(generation)) suspects.push(slot);
    }
    return suspects;
  }

  /** @returns false when it has to be looked at again */
  async #look(slot: number): Promise<boolean> {
    const { catalogue, purges, metrics } = this.#options;
    const { index } = catalogue;
    const generation = index.generation(slot);
    const place = index.place(slot);
    const manifest = await this.#read(generation, place);
    if (manifest === 'busy') return false;
    // Gone, or rewritten with the manifest in hand, which no epoch covered.
    if (index.findManifest(generation) !== slot || index.writeSequence(slot) !== place.writeSequence) return true;
    // Retired meanwhile: it was held against purges then.
    if (catalogue.isRetired(generation)) return true;
    const tagSlot = index.tagSlotOf(slot);
    const verdict = manifest === undefined ? undefined : purges.judgeStored(manifest);
    if (verdict === undefined || verdict.kind === 'covered') {
      if (manifest !== undefined) this.#options.shelf.forget(manifest.objectHash);
      catalogue.dropObject(tagSlot, verdict === undefined ? 'other' : 'purge');
      if (verdict === undefined) return true;
      purges.ledger.count(verdict.sequence, 1);
      metrics.add('purgedObjects', 1, 'walk');
      return true;
    }
    if (verdict.kind === 'stale' && catalogue.makeStale(tagSlot, verdict.atMs)) purges.ledger.count(verdict.sequence, 1);
    purges.clear(generation);
    return true;
  }

  /** @returns undefined for a record that cannot be read or proves to be something else: nobody could be served from it */
  async #read(generation: number, place: ExtentPlace): Promise<Manifest | 'busy' | undefined> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const outcome = await this.#options.extents.read({ place, kind: 'manifest', generation, sliceNumber: MANIFEST_NUMBER });
      if (outcome.kind === 'busy') return 'busy';
      if (outcome.kind !== 'loaded') continue;
      const manifest = decodeManifestRecord(outcome.lease.bytes.subarray(outcome.header.presentEnd, outcome.header.rawBytes));
      outcome.lease.end();
      return manifest?.generation === generation ? manifest : undefined;
    }
    return undefined;
  }

  #rest(): Promise<void> {
    if (this.#isStopped) return Promise.resolve();
    return new Promise((resolve) => {
      const end = (): void => {
        this.#pause = undefined;
        resolve();
      };
      this.#pause = { timer: this.#options.clock.startTimer(this.#options.limits.purgeWalkPauseMs, end), end };
    });
  }
}
