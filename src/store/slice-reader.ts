/**
 * Reads the slices and manifests that the index names (extent-reader does it and says what it found) and decides what a mismatch means: it
 * is read once more, then compared with the index again; changed meanwhile or from before a crash means stale, a plain miss, the rest is
 * corrupt. Either way the entry goes, so that no fault is met twice. Readers of the same bytes share one read.
 */
import type { Clock } from '../base/clock.ts';
import type { EdgeError } from '../base/errors.ts';
import type { MetricSet } from '../base/metrics.ts';
import { alignDown, alignUp } from '../base/units.ts';
import { CHUNK_BYTES } from '../format/geometry.ts';
import { MANIFEST_NUMBER } from '../format/journal-block.ts';
import type { Manifest, ObjectHash } from '../format/manifest.ts';
import { decodeManifestRecord } from '../format/manifest-record.ts';
import type { Lease } from '../memory/lease.ts';
import type { Catalogue } from './catalogue.ts';
import type { ExtentReader, LoadedExtent, PayloadRange } from './extent-reader.ts';
import { LoadTable } from './load-table.ts';
import { type ExtentPlace, NO_SLOT } from './slice-index.ts';
import type { ManifestVerdict, SliceAddress, SliceRead, SliceVerdict } from './slice-store.ts';
import type { StoreLimits } from './store-limits.ts';
import type { STORE_METRICS } from './store-metrics.ts';

type Miss = { readonly kind: 'absent' | 'corrupt' | 'busy' };
type SliceOutcome = { readonly kind: 'loaded'; readonly lease: Lease; readonly startBytes: number; readonly lengthBytes: number } | Miss;
type ManifestOutcome = { readonly kind: 'loaded'; readonly manifest: Manifest } | Miss;

/** Dependencies of a reader. */
export interface SliceReaderOptions {
  readonly extents: ExtentReader;
  readonly clock: Clock;
  readonly limits: StoreLimits;
  readonly metrics: MetricSet<typeof STORE_METRICS>;
  readonly catalogue: Catalogue;
  readonly blockSizeBytes: number;
  readonly onError: (error: unknown) => void;
  /** An object's record was dropped. */
  readonly onManifestLost: (objectHash: ObjectHash) => void;
}

/** The way of slices and manifests from the device; one per mounted store. */
export class SliceReader {
  readonly #options: SliceReaderOptions;
  readonly #slices: LoadTable<SliceOutcome>;
  readonly #manifests: LoadTable<ManifestOutcome>;

  constructor(options: SliceReaderOptions) {
    this.#options = options;
    const shared = { clock: options.clock, loadsMax: options.limits.readsMax, deadlineMs: options.limits.readDeadlineMs };
    this.#slices = new LoadTable({ ...shared, dispose: (outcome) => (outcome.kind === 'loaded' ? outcome.lease.end() : undefined) });
    this.#manifests = new LoadTable({ ...shared, dispose: () => undefined });
  }

  /** Reads a slice that the index names. Most of it wanted: it is read whole and stays in the RAM tier. */
  readSlice(read: SliceRead, slot: number, signal: AbortSignal | undefined): Promise<SliceVerdict> {
    const { catalogue, metrics, blockSizeBytes } = this.#options;
    const payloadBytes = (catalogue.index.blocks(slot) - 1) * blockSizeBytes;
    if (read.endBytes > payloadBytes) return Promise.resolve({ kind: 'absent' });
    const wholeKey = `${read.generation}/${read.sliceNumber}`;
    const isWhole = (read.endBytes - read.startBytes) * 2 > payloadBytes || this.#slices.has(wholeKey);
    const range = isWhole
      ? { startBytes: 0, endBytes: payloadBytes }
      : {
          startBytes: alignDown(read.startBytes, CHUNK_BYTES),
          endBytes: Math.min(alignUp(read.endBytes, CHUNK_BYTES), payloadBytes),
        };
    const key = isWhole ? wholeKey : `${wholeKey}/${range.startBytes}-${range.endBytes}`;
    if (this.#slices.has(key)) metrics.add('collapsedReads');
    return this.#slices.join({
      key,
      load: () => this.#loadSlice(read, slot, { ...range, isWhole }),
      take: (outcome): SliceVerdict => this.#takeSlice(read, outcome),
      busy: { kind: 'busy' },
      signal,
    });
  }

  /** Reads the record of an object that the index names. */
  readManifest(objectHash: ObjectHash, tagSlot: number, signal: AbortSignal | undefined): Promise<ManifestVerdict> {
    const generation = this.#options.catalogue.generationOf(tagSlot);
    return this.#manifests.join({
      key: `${objectHash}/${generation}`,
      load: () => this.#loadManifest(objectHash, generation),
      take: (outcome): ManifestVerdict => this.#takeManifest(outcome),
      busy: { kind: 'busy' },
      signal,
    });
  }

  /** Resolves when no read is in progress at the device. */
  async idle(): Promise<void> {
    await this.#slices.idle();
    await this.#manifests.idle();
  }

  #takeSlice(read: SliceRead, outcome: SliceOutcome): SliceVerdict {
    if (outcome.kind !== 'loaded') return outcome;
    // A purge may have come while the device was reading.
    if (this.#options.catalogue.index.findManifest(read.generation) === NO_SLOT) return { kind: 'absent' };
    if (read.endBytes > outcome.lengthBytes) return { kind: 'absent' };
    const lease = outcome.lease.share();
    const bytes = lease.bytes.subarray(read.startBytes - outcome.startBytes, read.endBytes - outcome.startBytes);
    return { kind: 'hit', lease, bytes, tier: 'device' };
  }

  #takeManifest(outcome: ManifestOutcome): ManifestVerdict {
    if (outcome.kind !== 'loaded') return outcome;
    const { catalogue } = this.#options;
    const tagSlot = catalogue.findCurrent(outcome.manifest.objectHash, outcome.manifest.generation);
    if (tagSlot === NO_SLOT) return { kind: 'absent' };
    return { kind: 'hit', manifest: { ...outcome.manifest, ...catalogue.index.freshness(tagSlot) } };
  }

  async #loadSlice(address: SliceAddress, slot: number, range: PayloadRange & { readonly isWhole: boolean }): Promise<SliceOutcome> {
    const { catalogue } = this.#options;
    const outcome = await this.#loadExtent(address, slot, range);
    if (outcome.kind !== 'loaded') return outcome;
    const { lease, header, startBytes } = outcome;
    const { generation, sliceNumber } = address;
    const now = catalogue.index.findSlice(generation, sliceNumber);
    if (range.isWhole && now !== NO_SLOT && catalogue.index.writeSequence(now) === header.writeSequence) catalogue.index.markProved(now);
    const isCurrent = catalogue.index.findManifest(generation) !== NO_SLOT;
    if (range.isWhole && isCurrent && catalogue.resident.find(generation, sliceNumber) === undefined) {
      catalogue.addResident({ generation, sliceNumber, lengthBytes: header.presentEnd, lease: lease.share() });
      lease.moveTo('resident');
    }
    return { kind: 'loaded', lease, startBytes, lengthBytes: header.presentEnd };
  }

  async #loadManifest(objectHash: ObjectHash, generation: number): Promise<ManifestOutcome> {
    const { catalogue } = this.#options;
    const tagSlot = catalogue.findCurrent(objectHash, generation);
    if (tagSlot === NO_SLOT) return { kind: 'absent' };
    const record = catalogue.index.recordOf(tagSlot);
    const outcome = await this.#loadExtent({ objectHash, generation, sliceNumber: MANIFEST_NUMBER }, record);
    if (outcome.kind !== 'loaded') return outcome;
    const manifest = decodeManifestRecord(outcome.lease.bytes.subarray(outcome.header.presentEnd, outcome.header.rawBytes));
    outcome.lease.end();
    if (manifest?.objectHash === objectHash && manifest.generation === generation) return { kind: 'loaded', manifest };
    const now = catalogue.findCurrent(objectHash, generation);
    if (now !== NO_SLOT && catalogue.index.writeSequence(catalogue.index.recordOf(now)) === outcome.header.writeSequence)
      this.#drop(catalogue.index.recordOf(now), objectHash);
    return { kind: 'corrupt' };
  }

  /** Reads and verifies; a failing entry is tried twice, then dropped. On `loaded` the caller ends the lease. */
  async #loadExtent(address: SliceAddress, slot: number, range?: PayloadRange): Promise<LoadedExtent | Miss> {
    const { catalogue, extents, metrics } = this.#options;
    const { generation, sliceNumber } = address;
    const kind = sliceNumber === MANIFEST_NUMBER ? 'manifest' : 'slice';
    const place = catalogue.index.place(slot);
    const isUnproved = catalogue.index.isUnproved(slot);
    let hasFailed = false;
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const outcome = await extents.read({ place, kind, generation, sliceNumber, range });
      if (outcome.kind === 'busy') return outcome;
      if (outcome.kind === 'loaded') {
        if (outcome.header.objectHash === address.objectHash) return outcome;
        // Sound, but of another object than the caller thinks: two hashes may share a tag.
        outcome.lease.end();
        return { kind: 'absent' };
      }
      hasFailed = outcome.kind === 'failed';
      if (outcome.kind === 'failed') this.#countFailure(outcome.error);
      if (this.#findUnchanged(address, place) === NO_SLOT) {
        metrics.add('reads', 1, 'stale');
        return { kind: 'absent' };
      }
    }
    const current = this.#findUnchanged(address, place);
    if (current !== NO_SLOT) this.#drop(current, address.objectHash);
    if (!isUnproved || hasFailed) return { kind: 'corrupt' };
    metrics.add('reads', 1, 'stale');
    return { kind: 'absent' };
  }

  #countFailure(error: EdgeError): void {
    this.#options.metrics.add('deviceErrors', 1, 'read');
    this.#options.onError(error);
  }

  /** The entry if it still names the same extent. */
  #findUnchanged(address: SliceAddress, place: ExtentPlace): number {
    const { index } = this.#options.catalogue;
    const isManifest = address.sliceNumber === MANIFEST_NUMBER;
    const slot = isManifest ? index.findManifest(address.generation) : index.findSlice(address.generation, address.sliceNumber);
    if (slot === NO_SLOT || index.writeSequence(slot) !== place.writeSequence || index.block(slot) !== place.block) return NO_SLOT;
    return slot;
  }

  #drop(slot: number, objectHash: ObjectHash): void {
    const { catalogue, onManifestLost } = this.#options;
    if (catalogue.index.kind(slot) !== 'manifest') {
      catalogue.dropSlice(slot);
      return;
    }
    onManifestLost(objectHash);
    catalogue.dropObject(catalogue.index.tagSlotOf(slot), 'other');
  }
}
