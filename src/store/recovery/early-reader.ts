/**
 * Hits while the index is still loading. The journal was looked through first: an object that no record of it names is as the checkpoint says,
 * and is handed out, unless a purge covers it; the part of the checkpoint that its entry is in is loaded next, whatever its turn. Slices prove themselves by their headers. Nothing is changed here:
 * a mismatch is a miss, and what the layers above drop is remembered until the index is whole.
 */
import type { Clock } from '../../base/clock.ts';
import type { MetricSet } from '../../base/metrics.ts';
import { divCeil } from '../../base/units.ts';
import { MANIFEST_NUMBER } from '../../format/journal-block.ts';
import type { Manifest, ObjectHash } from '../../format/manifest.ts';
import { decodeManifestRecord } from '../../format/manifest-record.ts';
import type { Lease } from '../../memory/lease.ts';
import type { BloomFilter } from '../admission/bloom-filter.ts';
import type { ExtentReader } from '../extents/extent-reader.ts';
import { LoadTable } from '../extents/load-table.ts';
import type { ManifestShelf } from '../index/manifest-shelf.ts';
import { NO_SLOT, objectTag, type SliceIndex } from '../index/slice-index.ts';
import type { Purge } from '../purges/purge.ts';
import { staleFrom } from '../purges/purge-desk.ts';
import type { PurgeMemory } from '../purges/purge-memory.ts';
import type { ManifestEntry, ManifestVerdict, SliceRead, SliceVerdict } from '../slice-store.ts';
import type { StoreLimits } from '../store-limits.ts';
import type { STORE_METRICS } from '../store-metrics.ts';
import type { CheckpointLoader } from './checkpoint-loader.ts';

/** What can be looked up in an index that is still loading. */
export interface LoadingView {
  /** It fills. */
  readonly index: SliceIndex;
  /** Fills it, and first with what is asked for. */
  readonly loader: Pick<CheckpointLoader, 'bringObject' | 'bringSlices'>;
  /** Tags of objects that the journal has a record of, and perhaps some others. */
  readonly named: BloomFilter;
  /** Purges in force, of checkpoint and journal. */
  readonly epochs: readonly Purge[];
  readonly purgedGeneration: number;
}

type Miss = { readonly kind: 'absent' | 'busy' };
type SliceOutcome = { readonly kind: 'loaded'; readonly lease: Lease; readonly startBytes: number; readonly endBytes: number } | Miss;

/** Dependencies of an early reader. */
export interface EarlyReaderOptions {
  readonly view: LoadingView;
  /** Objects that were dropped since loading began. */
  readonly dropped: ReadonlySet<ObjectHash>;
  readonly extents: ExtentReader;
  readonly shelf: ManifestShelf;
  readonly purges: PurgeMemory;
  readonly clock: Clock;
  readonly limits: StoreLimits;
  readonly metrics: MetricSet<typeof STORE_METRICS>;
}

/** One per store that is loading. */
export class EarlyReader {
  readonly #options: EarlyReaderOptions;
  readonly #manifests: LoadTable<ManifestVerdict>;
  readonly #slices: LoadTable<SliceOutcome>;
  /** Generations whose record was read and held against the purges. */
  readonly #admitted = new Map<number, ObjectHash>();
  #isEnded = false;

  constructor(options: EarlyReaderOptions) {
    this.#options = options;
    const shared = { clock: options.clock, loadsMax: options.limits.readsMax, deadlineMs: options.limits.readDeadlineMs };
    this.#manifests = new LoadTable({ ...shared, dispose: () => undefined });
    this.#slices = new LoadTable({ ...shared, dispose: (outcome) => (outcome.kind === 'loaded' ? outcome.lease.end() : undefined) });
  }

  /** An object whose record was read already. */
  findManifest(objectHash: ObjectHash): ManifestEntry | undefined {
    const tagSlot = this.#find(objectHash);
    if (tagSlot === NO_SLOT) return undefined;
    const { index } = this.#options.view;
    const generation = index.generation(index.recordOf(tagSlot));
    return this.#admitted.has(generation) ? { generation, storedSlices: index.slices(tagSlot) } : undefined;
  }

  readManifest(objectHash: ObjectHash, signal: AbortSignal | undefined): Promise<ManifestVerdict> {
    return this.#manifests.join<ManifestVerdict>({
      key: objectHash,
      load: () => this.#loadManifest(objectHash),
      take: (outcome) => (outcome.kind === 'hit' ? this.#admit(outcome.manifest) : outcome),
      busy: { kind: 'busy' },
      signal,
    });
  }

  hasSlice(generation: number, sliceNumber: number): boolean {
    const slot = this.#admitted.has(generation) ? this.#findSlice(generation, sliceNumber) : NO_SLOT;
    return slot !== NO_SLOT && !this.#options.view.index.isPartial(slot);
  }

  async readSlice(read: SliceRead, signal: AbortSignal | undefined): Promise<SliceVerdict> {
    const { generation, objectHash, sliceNumber, startBytes, endBytes } = read;
    if (this.#admitted.get(generation) !== objectHash) {
      const verdict = await this.readManifest(objectHash, signal);
      if (verdict.kind !== 'hit') return verdict;
    }
    return this.#slices.join<SliceVerdict>({
      key: `${generation}/${sliceNumber}/${startBytes}-${endBytes}`,
      load: () => this.#loadSlice(read),
      take: (outcome) => this.#takeSlice(read, outcome),
      busy: { kind: 'busy' },
      signal,
    });
  }

  /** What was purged or dropped has left the shelf: only what is still there is sure. */
  onPurge(): void {
    for (const [generation, objectHash] of [...this.#admitted]) {
      if (this.#options.shelf.find(objectHash, generation) === undefined) this.#admitted.delete(generation);
    }
  }

  /** From here on the index answers, or another reader. What is still being read must not reach the shelf: it may be stale since. */
  end(): void {
    this.#isEnded = true;
  }

  /** Resolves when no read is in progress at the device. */
  async idle(): Promise<void> {
    await this.#manifests.idle();
    await this.#slices.idle();
  }

  /** The object's entry, unless something besides the checkpoint speaks of it. */
  #find(objectHash: ObjectHash): number {
    return this.#isDoubtful(objectHash) ? NO_SLOT : this.#options.view.index.findTag(objectTag(objectHash));
  }

  #isDoubtful(objectHash: ObjectHash): boolean {
    const { tagLow, tagHigh } = objectTag(objectHash);
    return this.#options.dropped.has(objectHash) || this.#options.view.named.has(tagLow, tagHigh);
  }

  /** The slice's entry, or that of the manifest in whose extent it rides. */
  #findSlice(generation: number, sliceNumber: number): number {
    const { index } = this.#options.view;
    const slot = index.findSlice(generation, sliceNumber);
    if (slot !== NO_SLOT || sliceNumber !== 0) return slot;
    const record = index.findManifest(generation);
    return record !== NO_SLOT && index.hasBody(record) ? record : NO_SLOT;
  }

  async #loadManifest(objectHash: ObjectHash): Promise<ManifestVerdict> {
    const { extents, view } = this.#options;
    if (!this.#isDoubtful(objectHash)) await view.loader.bringObject(objectTag(objectHash));
    const tagSlot = this.#find(objectHash);
    if (tagSlot === NO_SLOT) return { kind: 'absent' };
    const record = view.index.recordOf(tagSlot);
    const generation = view.index.generation(record);
    const freshness = view.index.freshness(tagSlot);
    const place = view.index.place(record);
    const outcome = await extents.read({ place, kind: 'manifest', generation, sliceNumber: MANIFEST_NUMBER });
    if (outcome.kind === 'busy') return outcome;
    if (outcome.kind !== 'loaded') return { kind: 'absent' };
    const manifest = decodeManifestRecord(outcome.lease.bytes.subarray(outcome.header.presentEnd, outcome.header.rawBytes));
    outcome.lease.end();
    if (manifest?.objectHash !== objectHash || manifest.generation !== generation) return { kind: 'absent' };
    // So that hasSlice knows of them.
    const count = divCeil(manifest.lengthBytes ?? 0, manifest.sliceSizeBytes);
    await view.loader.bringSlices({ generation, firstSlice: 0, count });
    return { kind: 'hit', manifest: { ...manifest, ...freshness } };
  }

  /** In the turn in which it is handed out: a purge may have come while the device was reading. */
  #admit(manifest: Manifest): ManifestVerdict {
    if (this.#isEnded) return { kind: 'absent' };
    const { purges, shelf, limits } = this.#options;
    const { objectHash, generation } = manifest;
    const verdict = purges.judgeLoading(manifest);
    if (verdict.kind === 'covered' || this.#options.dropped.has(objectHash)) return { kind: 'absent' };
    const admitted = verdict.kind === 'stale' ? staleFrom(manifest, verdict.atMs) : manifest;
    shelf.keep(admitted);
    this.#admitted.set(generation, objectHash);
    if (this.#admitted.size > limits.purgeClearedObjects) {
      for (const oldest of this.#admitted.keys()) {
        this.#admitted.delete(oldest);
        break;
      }
    }
    return { kind: 'hit', manifest: admitted };
  }

  async #loadSlice({ objectHash, generation, sliceNumber, startBytes, endBytes }: SliceRead): Promise<SliceOutcome> {
    const { extents, view } = this.#options;
    await view.loader.bringSlices({ generation, firstSlice: sliceNumber, count: 1 });
    const slot = this.#findSlice(generation, sliceNumber);
    if (slot === NO_SLOT) return { kind: 'absent' };
    const isRiding = view.index.kind(slot) === 'manifest';
    const place = view.index.place(slot);
    const outcome = isRiding
      ? await extents.read({ place, kind: 'manifest', generation, sliceNumber: MANIFEST_NUMBER })
      : await extents.read({ place, kind: 'slice', generation, sliceNumber, range: { startBytes, endBytes } });
    if (outcome.kind === 'busy') return outcome;
    if (outcome.kind !== 'loaded') return { kind: 'absent' };
    const { lease, header } = outcome;
    if (header.objectHash === objectHash) {
      return { kind: 'loaded', lease, startBytes: outcome.startBytes, endBytes: isRiding ? header.presentEnd : outcome.endBytes };
    }
    lease.end();
    return { kind: 'absent' };
  }

  #takeSlice(read: SliceRead, outcome: SliceOutcome): SliceVerdict {
    if (outcome.kind !== 'loaded') return outcome;
    const isInside = read.startBytes >= outcome.startBytes && read.endBytes <= outcome.endBytes;
    if (!isInside || this.#admitted.get(read.generation) !== read.objectHash) return { kind: 'absent' };
    const lease = outcome.lease.share();
    const bytes = lease.bytes.subarray(read.startBytes - outcome.startBytes, read.endBytes - outcome.startBytes);
    this.#options.metrics.add('loadingHits');
    return { kind: 'hit', lease, bytes, tier: 'device' };
  }
}
