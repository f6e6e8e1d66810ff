/**
 * Reads the slices and manifests that the index names (extent-reader does it and says what it found) and decides what a mismatch means: it
 * is read once more, then compared with the index again; changed meanwhile or from before a crash means stale, a plain miss, the rest is
 * corrupt. Either way the entry goes, so that no fault is met twice. Readers of the same bytes share one read.
 */
import type { Clock } from '../../base/clock.ts';
import type { EdgeError } from '../../base/errors.ts';
import type { MetricSet } from '../../base/metrics.ts';
import { alignDown, alignUp } from '../../base/units.ts';
import { ENTRY_FLAGS } from '../../format/entry-flags.ts';
import type { ExtentHeader } from '../../format/extent-header.ts';
import { CHUNK_BYTES } from '../../format/geometry.ts';
import { MANIFEST_NUMBER } from '../../format/journal-block.ts';
import type { Manifest, ObjectHash } from '../../format/manifest.ts';
import { decodeManifestRecord } from '../../format/manifest-record.ts';
import type { Lease } from '../../memory/lease.ts';
import { classifyFault } from '../health/fault-class.ts';
import type { Catalogue } from '../index/catalogue.ts';
import { type ExtentPlace, NO_SLOT } from '../index/slice-index.ts';
import type { ManifestVerdict, PartVerdict, SliceAddress, SliceRead, SliceVerdict } from '../slice-store.ts';
import type { StoreLimits } from '../store-limits.ts';
import type { STORE_METRICS } from '../store-metrics.ts';
import type { ExtentReader, LoadedExtent, SliceRange } from './extent-reader.ts';
import { LoadTable } from './load-table.ts';

type Miss = { readonly kind: 'absent' | 'corrupt' | 'busy' };
type SliceOutcome = { readonly kind: 'loaded'; readonly lease: Lease; readonly startBytes: number; readonly endBytes: number } | Miss;
type ManifestOutcome = { readonly kind: 'loaded'; readonly manifest: Manifest; readonly body: LoadedBody | undefined } | Miss;

/** The slice that rides in a manifest's record, from its first byte on. */
interface LoadedBody {
  readonly lease: Lease;
  readonly lengthBytes: number;
}

/** Dependencies of a reader. */
export interface SliceReaderOptions {
  readonly extents: ExtentReader;
  readonly clock: Clock;
  readonly limits: StoreLimits;
  readonly metrics: MetricSet<typeof STORE_METRICS>;
  readonly catalogue: Catalogue;
  readonly blockSizeBytes: number;
  /** A record that was read twice is not what was written; the device is to blame. */
  readonly onCorrupt: () => void;
  /** An object's record was dropped. */
  readonly onManifestLost: (objectHash: ObjectHash) => void;
}

/** A record in the index; whose it is, where the caller knows. */
type RecordAddress = Omit<SliceAddress, 'objectHash'> & { readonly objectHash: ObjectHash | undefined };

/** The way of slices and manifests from the device; one per mounted store. */
export class SliceReader {
  readonly #options: SliceReaderOptions;
  readonly #slices: LoadTable<SliceOutcome>;
  readonly #manifests: LoadTable<ManifestOutcome>;

  constructor(options: SliceReaderOptions) {
    this.#options = options;
    const shared = { clock: options.clock, loadsMax: options.limits.readsMax, deadlineMs: options.limits.readDeadlineMs };
    this.#slices = new LoadTable({ ...shared, dispose: (outcome) => (outcome.kind === 'loaded' ? outcome.lease.end() : undefined) });
    this.#manifests = new LoadTable({
      ...shared,
      dispose: (outcome) => (outcome.kind === 'loaded' ? outcome.body?.lease.end() : undefined),
    });
  }

  /**
   * Reads a slice that the index names. Most of it wanted: it is read whole and stays in the RAM tier.
   *
   * @param options.lengthBytes of the slice, where the caller knows it
   */
  readSlice(
    read: SliceRead,
    slot: number,
    options: { readonly lengthBytes: number | undefined; readonly signal: AbortSignal | undefined },
  ): Promise<SliceVerdict> {
    const { catalogue, metrics, blockSizeBytes } = this.#options;
    const payloadBytes = (catalogue.index.blocks(slot) - 1) * blockSizeBytes;
    const isPartial = catalogue.index.isPartial(slot);
    const isCompressed = (catalogue.index.flags(slot) & ENTRY_FLAGS.lz4) !== 0;
    if (read.endBytes > payloadBytes && !isCompressed && !isPartial) return Promise.resolve({ kind: 'absent' });
    const wholeKey = wholeKeyOf(read);
    if (isPartial) return this.#readInPart(read, slot, options.signal);
    const isWhole = (read.endBytes - read.startBytes) * 2 > (options.lengthBytes ?? payloadBytes) || this.#slices.has(wholeKey);
    const range = { startBytes: alignDown(read.startBytes, CHUNK_BYTES), endBytes: alignUp(read.endBytes, CHUNK_BYTES) };
    const key = isWhole ? wholeKey : `${wholeKey}/${range.startBytes}-${range.endBytes}`;
    if (this.#slices.has(key)) metrics.add('collapsedReads');
    return this.#slices.join({
      key,
      load: () => this.#loadSlice(read, slot, isWhole ? undefined : range),
      take: (outcome): SliceVerdict => this.#takeSlice(read, outcome),
      busy: { kind: 'busy' },
      signal: options.signal,
    });
  }

  /** Reads all that the index names of a slice that is there in part. It does not stay in the RAM tier. */
  readPart(address: SliceAddress, slot: number, signal: AbortSignal | undefined): Promise<PartVerdict> {
    return this.#slices.join<PartVerdict>({
      key: `${wholeKeyOf(address)}/part`,
      load: () => this.#loadPart(address, slot),
      take: (outcome) => {
        if (outcome.kind !== 'loaded') return outcome;
        const { startBytes, endBytes } = outcome;
        const lease = outcome.lease.share();
        return { kind: 'hit', lease, bytes: lease.bytes.subarray(0, endBytes - startBytes), startBytes, endBytes };
      },
      busy: { kind: 'busy' },
      signal,
    });
  }

  /** Reads the record of an object that the index names. A slice that rides in it stays in the RAM tier. */
  readManifest(objectHash: ObjectHash, tagSlot: number, signal: AbortSignal | undefined): Promise<ManifestVerdict> {
    return this.#joinManifest(objectHash, tagSlot, { take: (outcome): ManifestVerdict => this.#takeManifest(outcome), signal });
  }

  /** Reads the slice that rides in the record of an object that the index names. */
  readBody(read: SliceRead, tagSlot: number, signal: AbortSignal | undefined): Promise<SliceVerdict> {
    return this.#joinManifest(read.objectHash, tagSlot, { take: (outcome): SliceVerdict => this.#takeBody(read, outcome), signal });
  }

  /**
   * Reads the whole record in `slot`, which nobody asked for, and lets it prove itself; one that does not is dropped as by a reader.
   *
   * @param extents reads with its own priority; the one of clients when undefined
   * @returns `lost`: it was dropped and the device is to blame; `gone`: it was stale, or changed meanwhile
   */
  async check(slot: number, extents = this.#options.extents): Promise<'sound' | 'lost' | 'gone' | 'busy'> {
    const { index } = this.#options.catalogue;
    const record = { generation: index.generation(slot), sliceNumber: index.sliceNumber(slot), objectHash: undefined };
    const place = index.place(slot);
    const outcome = await this.#loadExtent(record, slot, { extents });
    if (outcome.kind === 'busy') return 'busy';
    if (outcome.kind !== 'loaded') return outcome.kind === 'corrupt' ? 'lost' : 'gone';
    outcome.lease.end();
    const now = this.#findUnchanged(record, place);
    if (now !== NO_SLOT) index.markProved(now);
    return now === NO_SLOT ? 'gone' : 'sound';
  }

  /** Resolves when no read is in progress at the device. */
  async idle(): Promise<void> {
    await this.#slices.idle();
    await this.#manifests.idle();
  }

  /** The wanted bytes if the part that is stored holds them all. */
  #readInPart(read: SliceRead, slot: number, signal: AbortSignal | undefined): Promise<SliceVerdict> {
    const { startBytes, endBytes } = read;
    return this.#slices.join({
      key: `${wholeKeyOf(read)}/part/${startBytes}-${endBytes}`,
      load: async () => this.#loadExtent(read, slot, { range: { startBytes, endBytes }, isExact: true }),
      take: (outcome): SliceVerdict => this.#takeSlice(read, outcome),
      busy: { kind: 'busy' },
      signal,
    });
  }

  async #loadPart(address: SliceAddress, slot: number): Promise<SliceOutcome> {
    const outcome = await this.#loadExtent(address, slot);
    if (outcome.kind === 'loaded')
      this.#prove(this.#options.catalogue.index.findSlice(address.generation, address.sliceNumber), outcome.header);
    return outcome;
  }

  #joinManifest<Verdict>(
    objectHash: ObjectHash,
    tagSlot: number,
    join: { readonly take: (outcome: ManifestOutcome) => Verdict; readonly signal: AbortSignal | undefined },
  ): Promise<Verdict | { readonly kind: 'busy' }> {
    const { catalogue, metrics } = this.#options;
    const generation = catalogue.generationOf(tagSlot);
    const key = `${objectHash}/${generation}`;
    if (this.#manifests.has(key)) metrics.add('collapsedReads');
    return this.#manifests.join<Verdict | { readonly kind: 'busy' }>({
      ...join,
      key,
      load: () => this.#loadManifest(objectHash, generation),
      busy: { kind: 'busy' },
    });
  }

  #takeSlice(read: SliceRead, outcome: SliceOutcome): SliceVerdict {
    if (outcome.kind !== 'loaded') return outcome;
    // A purge may have come while the device was reading.
    if (this.#options.catalogue.index.findManifest(read.generation) === NO_SLOT) return { kind: 'absent' };
    if (read.startBytes < outcome.startBytes || read.endBytes > outcome.endBytes) return { kind: 'absent' };
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

  #takeBody(read: SliceRead, outcome: ManifestOutcome): SliceVerdict {
    if (outcome.kind !== 'loaded') return outcome;
    const { body } = outcome;
    if (body === undefined || this.#options.catalogue.index.findManifest(read.generation) === NO_SLOT) return { kind: 'absent' };
    return this.#takeSlice(read, { kind: 'loaded', lease: body.lease, startBytes: 0, endBytes: body.lengthBytes });
  }

  /** @param range of the slice; the whole when undefined, which then stays in memory */
  async #loadSlice(address: SliceAddress, slot: number, range: SliceRange | undefined): Promise<SliceOutcome> {
    const { catalogue } = this.#options;
    const outcome = await this.#loadExtent(address, slot, { range });
    if (outcome.kind !== 'loaded') return outcome;
    const { lease, header, startBytes, endBytes } = outcome;
    const { generation, sliceNumber } = address;
    if (range === undefined) {
      this.#prove(catalogue.index.findSlice(generation, sliceNumber), header);
      this.#keepResident({ generation, sliceNumber, lengthBytes: header.presentEnd }, lease);
    }
    return { kind: 'loaded', lease, startBytes, endBytes };
  }

  /** All of the extent was read and is sound. */
  #prove(slot: number, header: Pick<ExtentHeader, 'writeSequence'>): void {
    const { index } = this.#options.catalogue;
    if (slot !== NO_SLOT && index.writeSequence(slot) === header.writeSequence) index.markProved(slot);
  }

  #keepResident(slice: { readonly generation: number; readonly sliceNumber: number; readonly lengthBytes: number }, lease: Lease): void {
    const { catalogue } = this.#options;
    const isCurrent = catalogue.index.findManifest(slice.generation) !== NO_SLOT;
    if (!isCurrent || catalogue.resident.find(slice.generation, slice.sliceNumber) !== undefined) return;
    catalogue.addResident({ ...slice, lease: lease.share() });
    lease.moveTo('resident');
  }

  async #loadManifest(objectHash: ObjectHash, generation: number): Promise<ManifestOutcome> {
    const { catalogue } = this.#options;
    const tagSlot = catalogue.findReadable(objectHash, generation);
    if (tagSlot === NO_SLOT) return { kind: 'absent' };
    const record = catalogue.index.recordOf(tagSlot);
    const outcome = await this.#loadExtent({ objectHash, generation, sliceNumber: MANIFEST_NUMBER }, record);
    if (outcome.kind !== 'loaded') return outcome;
    const { header, lease } = outcome;
    const lengthBytes = header.presentEnd;
    const manifest = decodeManifestRecord(lease.bytes.subarray(lengthBytes, header.rawBytes));
    const isSound = manifest?.objectHash === objectHash && manifest.generation === generation;
    if (isSound) this.#prove(catalogue.index.findManifest(generation), header);
    if (isSound && lengthBytes > 0) {
      this.#keepResident({ generation, sliceNumber: 0, lengthBytes }, lease);
      return { kind: 'loaded', manifest, body: { lease, lengthBytes } };
    }
    lease.end();
    if (isSound) return { kind: 'loaded', manifest, body: undefined };
    const now = catalogue.findReadable(objectHash, generation);
    if (now !== NO_SLOT && catalogue.index.writeSequence(catalogue.index.recordOf(now)) === header.writeSequence)
      this.#drop(catalogue.index.recordOf(now), objectHash);
    return this.#blame();
  }

  /** Reads and verifies; a failing entry is tried twice, then dropped. On `loaded` the caller ends the lease. */
  async #loadExtent(
    address: RecordAddress,
    slot: number,
    want: { readonly range?: SliceRange | undefined; readonly isExact?: boolean; readonly extents?: ExtentReader } = {},
  ): Promise<LoadedExtent | Miss> {
    const { catalogue, metrics } = this.#options;
    const { range, isExact, extents = this.#options.extents } = want;
    const { generation, sliceNumber } = address;
    const kind = sliceNumber === MANIFEST_NUMBER ? 'manifest' : 'slice';
    const place = catalogue.index.place(slot);
    const isUnproved = catalogue.index.isUnproved(slot);
    let failure: EdgeError | undefined;
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const outcome = await extents.read({ place, kind, generation, sliceNumber, range, isExact });
      if (outcome.kind === 'busy') return outcome;
      if (outcome.kind === 'loaded') {
        if (address.objectHash === undefined || outcome.header.objectHash === address.objectHash) return outcome;
        // Sound, but of another object than the caller thinks: two hashes may share a tag.
        outcome.lease.end();
        return { kind: 'absent' };
      }
      if (outcome.kind === 'outside') return { kind: 'absent' };
      failure = outcome.kind === 'failed' ? outcome.error : undefined;
      // It had no time to begin; nothing is known of the record.
      if (failure !== undefined && classifyFault('read', failure) === undefined) return { kind: 'busy' };
      if (this.#findUnchanged(address, place) === NO_SLOT) {
        metrics.add('reads', 1, 'stale');
        return { kind: 'absent' };
      }
    }
    const current = this.#findUnchanged(address, place);
    if (current !== NO_SLOT) this.#drop(current, address.objectHash);
    if (failure !== undefined) {
      // Nothing is written where reading fails; the entry is gone, so that its blocks belong to nobody.
      if (classifyFault('read', failure) === 'media') catalogue.quarantine(place);
      return { kind: 'corrupt' };
    }
    if (!isUnproved) return this.#blame();
    metrics.add('reads', 1, 'stale');
    return { kind: 'absent' };
  }

  #blame(): Miss {
    this.#options.onCorrupt();
    return { kind: 'corrupt' };
  }

  /** The entry if it still names the same extent. */
  #findUnchanged(address: RecordAddress, place: ExtentPlace): number {
    const { index } = this.#options.catalogue;
    const isManifest = address.sliceNumber === MANIFEST_NUMBER;
    const slot = isManifest ? index.findManifest(address.generation) : index.findSlice(address.generation, address.sliceNumber);
    if (slot === NO_SLOT || index.writeSequence(slot) !== place.writeSequence || index.block(slot) !== place.block) return NO_SLOT;
    return slot;
  }

  #drop(slot: number, objectHash: ObjectHash | undefined): void {
    const { catalogue, onManifestLost } = this.#options;
    if (catalogue.index.kind(slot) !== 'manifest') {
      catalogue.dropSlice(slot);
      return;
    }
    // A retired one has nothing left in memory but slices; what else is there belongs to its successor.
    if (objectHash !== undefined && !catalogue.isRetired(catalogue.index.generation(slot))) onManifestLost(objectHash);
    catalogue.dropObject(catalogue.index.tagSlotOf(slot), 'other');
  }
}

function wholeKeyOf({ generation, sliceNumber }: SliceAddress): string {
  return `${generation}/${sliceNumber}`;
}
