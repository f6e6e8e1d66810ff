/**
 * The answers of a store whose index is loaded: what is stored is looked up in the catalogue, read by the reader and offered to the gate. Purges
 * are asked at every way out. device-store.ts asks it, and decides in which state the device is.
 */
import { assert } from '../base/assert.ts';
import type { MetricSet } from '../base/metrics.ts';
import { extentBlocks, PAYLOAD_BYTES_MAX } from '../format/extent-header.ts';
import type { Geometry } from '../format/geometry.ts';
import { MANIFEST_NUMBER } from '../format/journal-block.ts';
import type { Manifest, ManifestFreshness, ObjectHash } from '../format/manifest.ts';
import { isSliceSize, manifestRecordBytes } from '../format/manifest-record.ts';
import type { Lease } from '../memory/lease.ts';
import type { Catalogue } from './index/catalogue.ts';
import type { HeldGenerations } from './index/held-generations.ts';
import type { ManifestShelf } from './index/manifest-shelf.ts';
import { NO_SLOT, objectTag } from './index/slice-index.ts';
import { type PurgeDesk, staleFrom } from './purges/purge-desk.ts';
import type { PurgeMemory } from './purges/purge-memory.ts';
import type { PersistentCounter } from './recovery/persistent-counter.ts';
import type {
  DeclineReason,
  ManifestEntry,
  ManifestVerdict,
  OfferVerdict,
  PartVerdict,
  SliceAddress,
  SliceOffer,
  SliceRead,
  SliceVerdict,
  StoreState,
} from './slice-store.ts';
import type { STORE_METRICS } from './store-metrics.ts';
import type { StoreParts } from './store-parts.ts';

/** Dependencies of a mounted store. */
export interface MountedStoreOptions {
  readonly parts: StoreParts;
  readonly shelf: ManifestShelf;
  readonly holds: HeldGenerations;
  readonly purges: PurgeMemory;
  readonly desk: PurgeDesk;
  readonly generations: PersistentCounter;
  readonly geometry: Geometry;
  readonly metrics: MetricSet<typeof STORE_METRICS>;
  /** Asked anew after every wait. */
  readonly state: () => StoreState;
}

/** The questions of SliceStore that need the index; see there. */
export class MountedStore {
  readonly #options: MountedStoreOptions;
  readonly #parts: StoreParts;
  readonly #ramReads: number;

  constructor(options: MountedStoreOptions) {
    this.#options = options;
    this.#parts = options.parts;
    this.#ramReads = options.metrics.cell('reads', 'ram');
  }

  /** Generation of the object in the index, purged or not; 0 when there is none. */
  generationOf(objectHash: ObjectHash): number {
    const catalogue = this.#readable()?.catalogue;
    const tagSlot = catalogue?.findObject(objectHash) ?? NO_SLOT;
    return catalogue === undefined || tagSlot === NO_SLOT ? 0 : catalogue.generationOf(tagSlot);
  }

  /** Freshness of the object's generation as the index has it. */
  freshnessOf(objectHash: ObjectHash, generation: number): ManifestFreshness | undefined {
    const catalogue = this.#readable()?.catalogue;
    const tagSlot = catalogue?.findCurrent(objectHash, generation) ?? NO_SLOT;
    return catalogue === undefined || tagSlot === NO_SLOT ? undefined : catalogue.index.freshness(tagSlot);
  }

  /** Whether readSlice may find the slice here; unlike hasSlice it does not ask purges. */
  mayHoldSlice(generation: number, sliceNumber: number): boolean {
    const parts = this.#readable();
    if (parts === undefined) return false;
    const { catalogue, sliceParts } = parts;
    if (catalogue.resident.find(generation, sliceNumber) !== undefined || sliceParts.has(generation, sliceNumber)) return true;
    return catalogue.findStored(generation, sliceNumber) !== NO_SLOT;
  }

  /** An object has become worth its writes. */
  onWanted(objectHash: ObjectHash): void {
    this.#readable()?.gate.onWanted(objectHash);
  }

  findManifest(objectHash: ObjectHash): ManifestEntry | undefined {
    const catalogue = this.#readable()?.catalogue;
    const tagSlot = catalogue?.findObject(objectHash) ?? NO_SLOT;
    if (catalogue === undefined || tagSlot === NO_SLOT) return undefined;
    const generation = catalogue.generationOf(tagSlot);
    return this.#isHidden(generation) ? undefined : { generation, storedSlices: catalogue.index.slices(tagSlot) };
  }

  tryReadManifest(objectHash: ObjectHash): Manifest | undefined {
    const parts = this.#readable();
    const tagSlot = parts?.catalogue.findObject(objectHash) ?? NO_SLOT;
    if (parts === undefined || tagSlot === NO_SLOT) return undefined;
    const generation = parts.catalogue.generationOf(tagSlot);
    const known = this.#options.shelf.find(objectHash, generation);
    if (known === undefined || this.#options.purges.isForgotten(generation)) return undefined;
    const { index } = parts.catalogue;
    index.markVisited(index.recordOf(tagSlot));
    // Purges take what they cover out of memory at once, so what is there is not covered.
    this.#options.purges.clear(generation);
    this.#options.metrics.addAt(this.#ramReads, 1);
    return known;
  }

  async readManifest(objectHash: ObjectHash, signal?: AbortSignal | undefined): Promise<ManifestVerdict> {
    const known = this.tryReadManifest(objectHash);
    if (known !== undefined) return { kind: 'hit', manifest: known };
    const parts = this.#readable();
    const tagSlot = parts?.catalogue.findObject(objectHash) ?? NO_SLOT;
    if (parts === undefined || tagSlot === NO_SLOT) return this.#miss('absent');
    const { index } = parts.catalogue;
    if (this.#options.purges.isForgotten(parts.catalogue.generationOf(tagSlot))) return this.#miss('absent');
    index.markVisited(index.recordOf(tagSlot));
    // Offered, not written, and no longer in memory: nothing is left of it.
    if (index.blocks(index.recordOf(tagSlot)) === 0) return this.#miss('absent');
    const verdict = await parts.reader.readManifest(objectHash, tagSlot, signal);
    if (verdict.kind !== 'hit') return this.#miss(verdict.kind);
    const manifest = this.#options.desk.admit(verdict.manifest);
    if (manifest === undefined) return this.#miss('absent');
    this.#options.metrics.add('reads', 1, 'device');
    // What was offered while the device was reading is newer.
    const newer = this.#options.shelf.find(objectHash, manifest.generation);
    if (newer !== undefined) return { kind: 'hit', manifest: newer };
    this.#options.shelf.keep(manifest);
    return { kind: 'hit', manifest };
  }

  offerManifest(offered: Manifest, purgeSequence: number): OfferVerdict {
    const { objectHash, generation } = offered;
    assert(isSliceSize(offered.sliceSizeBytes), 'slice size is a power of two, 64 KiB to 8 MiB');
    const parts = this.#writable();
    const isCurrent = parts !== undefined && parts.catalogue.findCurrent(objectHash, generation) !== NO_SLOT;
    const isStored = isCurrent && !this.#isHidden(generation);
    const verdict = this.#options.purges.judgeOffer({ ...offered, purgeSequence, isStored });
    if (verdict.kind === 'covered') return this.#decline('purged');
    if (parts === undefined) return this.#decline('unavailable');
    const manifest = verdict.kind === 'stale' ? staleFrom(offered, verdict.atMs) : offered;
    const isGrowing = manifest.lengthBytes === undefined;
    if (manifestRecordBytes(manifest) === undefined) return this.#decline('too-large');
    if (parts.journal.isFull) return this.#decline('journal-full');
    const { catalogue, writer } = parts;
    let tagSlot = catalogue.findObject(objectHash);
    const known = tagSlot === NO_SLOT ? 0 : catalogue.generationOf(tagSlot);
    if (known > generation || catalogue.isRetired(generation)) return this.#decline('superseded');
    if (!writer.hasRoom(0) || !this.#makePendingRoom(objectHash, catalogue)) return this.#decline('queue-full');
    if (known !== generation) {
      // Also when the index knows nothing: an evicted object may have left its manifest waiting.
      this.#options.shelf.forget(objectHash);
      if (tagSlot !== NO_SLOT) this.#putAway(catalogue, objectHash, tagSlot);
      if (!catalogue.reserveEntries(2) || catalogue.index.findManifest(generation) !== NO_SLOT) return this.#decline('no-space');
      tagSlot = catalogue.index.putManifest(objectTag(objectHash), generation);
    }
    // Where devices share a counter, this one may not have given it; a purge that comes next has to cover it.
    this.#options.generations.skipTo(generation + 1);
    this.#options.purges.clear(generation);
    catalogue.setFreshness(tagSlot, manifest);
    const pending = this.#options.shelf.pending(objectHash) ?? this.#options.shelf.addPending(manifest);
    pending.manifest = manifest;
    if (isGrowing) {
      // Its slices are written meanwhile; without a record they are orphans after a crash, as a body that broke off must be.
      pending.state = 'growing';
      return { kind: 'admitted' };
    }
    if (pending.state === 'growing') pending.state = 'waiting';
    const isDue = manifest.lengthBytes === 0 || catalogue.isWritten(tagSlot);
    if (pending.state === 'waiting' && isDue) writer.enqueueManifest(pending);
    return { kind: 'admitted' };
  }

  refreshManifest(objectHash: ObjectHash, generation: number, freshness: ManifestFreshness): void {
    const catalogue = this.#readable()?.catalogue;
    const tagSlot = catalogue?.findCurrent(objectHash, generation) ?? NO_SLOT;
    if (catalogue === undefined || tagSlot === NO_SLOT || this.#isHidden(generation)) return;
    catalogue.setFreshness(tagSlot, freshness);
    const known = this.#options.shelf.find(objectHash, generation);
    const { receivedAtMs, initialAgeSeconds, freshUntilMs } = freshness;
    if (known !== undefined) this.#options.shelf.keep({ ...known, receivedAtMs, initialAgeSeconds, freshUntilMs });
  }

  dropManifest(objectHash: ObjectHash, generation: number | undefined): void {
    const catalogue = this.#readable()?.catalogue;
    const tagSlot = catalogue?.findObject(objectHash) ?? NO_SLOT;
    if (catalogue === undefined || tagSlot === NO_SLOT) return;
    if (generation !== undefined && catalogue.generationOf(tagSlot) !== generation) return;
    this.#options.shelf.forget(objectHash);
    this.#putAway(catalogue, objectHash, tagSlot);
  }

  /** Nobody reads the generation any more. */
  dropRetired(generation: number): void {
    this.#readable()?.catalogue.dropRetired(generation, 'other');
  }

  hasSlice(generation: number, sliceNumber: number): boolean {
    const catalogue = this.#readable()?.catalogue;
    if (catalogue === undefined || this.#isHidden(generation) || catalogue.index.findManifest(generation) === NO_SLOT) return false;
    if (catalogue.resident.find(generation, sliceNumber) !== undefined) return true;
    return catalogue.isStored(generation, sliceNumber);
  }

  tryReadResident(read: SliceRead): { readonly lease: Lease; readonly bytes: Buffer } | undefined {
    assert(read.startBytes >= 0 && read.startBytes < read.endBytes, 'a read wants at least a byte');
    const parts = this.#readable();
    const slice = parts?.catalogue.resident.find(read.generation, read.sliceNumber);
    if (parts === undefined || slice === undefined || read.endBytes > slice.lengthBytes) return undefined;
    if (this.#isHidden(read.generation)) return undefined;
    const { catalogue, gate } = parts;
    if (catalogue.findReadable(read.objectHash, read.generation) === NO_SLOT) return undefined;
    slice.isVisited = true;
    gate.onRead(slice);
    const slot = catalogue.findStored(read.generation, read.sliceNumber);
    if (slot !== NO_SLOT) catalogue.index.markVisited(slot);
    this.#options.metrics.addAt(this.#ramReads, 1);
    const lease = slice.lease.share();
    return { lease, bytes: lease.bytes.subarray(read.startBytes, read.endBytes) };
  }

  hasPart(generation: number, sliceNumber: number): boolean {
    const parts = this.#readable();
    if (parts === undefined || this.#isHidden(generation) || parts.catalogue.index.findManifest(generation) === NO_SLOT) return false;
    return parts.sliceParts.has(generation, sliceNumber);
  }

  async readPart(address: SliceAddress, signal?: AbortSignal | undefined): Promise<PartVerdict> {
    const obstacle = await this.#lookAt(address, signal);
    const parts = this.#readable();
    if (obstacle !== undefined) return this.#miss(obstacle);
    if (parts === undefined || parts.catalogue.findReadable(address.objectHash, address.generation) === NO_SLOT)
      return this.#miss('absent');
    const verdict = await parts.sliceParts.read(address, signal);
    if (verdict.kind !== 'hit') return this.#miss(verdict.kind);
    // A purge may have come while the device was reading.
    const late = await this.#lookAt(address, signal);
    if (late === undefined && parts.catalogue.findReadable(address.objectHash, address.generation) !== NO_SLOT) {
      this.#options.metrics.add('reads', 1, 'device');
      return verdict;
    }
    verdict.lease.end();
    return this.#miss(late ?? 'absent');
  }

  async readSlice(read: SliceRead, signal?: AbortSignal | undefined): Promise<SliceVerdict> {
    const resident = this.tryReadResident(read);
    if (resident !== undefined) return { kind: 'hit', ...resident, tier: 'ram' };
    const obstacle = await this.#lookAt(read, signal);
    if (obstacle !== undefined) return this.#miss(obstacle);
    const parts = this.#readable();
    if (parts === undefined || parts.catalogue.findReadable(read.objectHash, read.generation) === NO_SLOT) return this.#miss('absent');
    const waiting = parts.sliceParts.tryRead(read);
    if (waiting !== undefined) {
      this.#options.metrics.addAt(this.#ramReads, 1);
      return { kind: 'hit', ...waiting, tier: 'ram' };
    }
    const slot = parts.catalogue.findStored(read.generation, read.sliceNumber);
    if (slot === NO_SLOT) return this.#miss('absent');
    parts.catalogue.index.markVisited(slot);
    const lengthBytes = this.#sliceLength(read);
    const { index } = parts.catalogue;
    const isRiding = index.kind(slot) === 'manifest';
    const verdict = isRiding
      ? await parts.reader.readBody(read, index.tagSlotOf(slot), signal)
      : await parts.reader.readSlice(read, slot, { lengthBytes, signal });
    if (verdict.kind !== 'hit') return this.#miss(verdict.kind);
    // A purge may have come while the device was reading.
    const late = await this.#lookAt(read, signal);
    if (late === undefined) {
      this.#options.metrics.add('reads', 1, 'device');
      return verdict;
    }
    verdict.lease.end();
    return this.#miss(late);
  }

  offerSlice(offer: SliceOffer): OfferVerdict {
    const { objectHash, generation, sliceNumber, lengthBytes } = offer;
    assert(lengthBytes > 0 && lengthBytes <= offer.lease.sizeBytes, 'an offered slice lies in its slot');
    assert(sliceNumber >= 0 && sliceNumber < MANIFEST_NUMBER, 'slice number is in range');
    const parts = this.#writable();
    if (parts === undefined) return this.#decline('unavailable');
    const { blockSizeBytes, groupBytes } = this.#options.geometry;
    const isTooLarge = lengthBytes > PAYLOAD_BYTES_MAX || extentBlocks(lengthBytes, blockSizeBytes) * blockSizeBytes > groupBytes;
    if (isTooLarge) return this.#decline('too-large');
    const { catalogue, gate } = parts;
    if (catalogue.findCurrent(objectHash, generation) === NO_SLOT || this.#isHidden(generation)) return this.#decline('superseded');
    this.#assertWhole(offer);
    const known = catalogue.resident.find(generation, sliceNumber);
    if (known?.isQueued === true) return { kind: 'admitted' };
    const stored = catalogue.findStored(generation, sliceNumber);
    const isStored = catalogue.isStored(generation, sliceNumber);
    if (isStored && !catalogue.index.isUnproved(stored)) return { kind: 'admitted' };
    if (offer.present !== undefined) {
      const obstacle = known === undefined && !isStored ? parts.sliceParts.offer(offer) : undefined;
      return obstacle === undefined ? { kind: 'admitted' } : this.#decline(obstacle);
    }
    // An unproved one is from before a crash, its data may never have arrived; these bytes are sure and replace it once written.
    const lease = offer.lease.share();
    const slice = known ?? catalogue.addResident({ generation, sliceNumber, lengthBytes, lease });
    const reason = gate.offer(slice, { objectHash, admission: offer.admission ?? 'auto' });
    // Either way it stays readable; a declined one until its slot is needed.
    if (known !== undefined) lease.end();
    else if (reason !== undefined) lease.moveTo('resident');
    return reason === undefined ? { kind: 'admitted' } : this.#decline(reason);
  }

  /** What the index knows of a slice's extent, or of the manifest's when `sliceNumber` is undefined (S6); for the simulation. */
  extentState(generation: number, sliceNumber?: number | undefined): 'absent' | 'unproved' | 'sure' {
    const { catalogue } = this.#parts;
    const { index } = catalogue;
    const slot = sliceNumber === undefined ? index.findManifest(generation) : catalogue.findStored(generation, sliceNumber);
    if (slot === NO_SLOT || index.blocks(slot) === 0) return 'absent';
    return index.isUnproved(slot) ? 'unproved' : 'sure';
  }

  #readable(): StoreParts | undefined {
    const state = this.#options.state();
    return state === 'online' || state === 'readonly' ? this.#parts : undefined;
  }

  #writable(): StoreParts | undefined {
    return this.#options.state() === 'online' ? this.#parts : undefined;
  }

  /** An object is not current any more: it goes, or is kept for those who read it. */
  #putAway(catalogue: Catalogue, objectHash: ObjectHash, tagSlot: number): void {
    const { holds, purges } = this.#options;
    const generation = catalogue.generationOf(tagSlot);
    const held = holds.find(generation);
    // A purge by prefix or tag that its record was not yet held against is decided on now: nobody looks at the record again.
    const isKept =
      held?.objectHash === objectHash &&
      catalogue.index.slices(tagSlot) > 0 &&
      purges.judgeStored({ ...held, generation }).kind !== 'covered';
    if (isKept) catalogue.retireObject(tagSlot);
    else catalogue.dropObject(tagSlot, 'other');
  }

  /** Whether a purge covers the generation, or may: until its record was looked at. One that is kept for its readers was. */
  #isHidden(generation: number): boolean {
    if (this.#parts.catalogue.isRetired(generation)) return false;
    return this.#options.purges.isForgotten(generation) || this.#options.purges.isSuspect(generation);
  }

  /** Reads an object's record if a purge may cover it. @returns why nothing of it may be handed out, or undefined */
  async #lookAt({ objectHash, generation }: SliceAddress, signal: AbortSignal | undefined): Promise<'absent' | 'busy' | undefined> {
    if (this.#options.purges.isForgotten(generation)) return 'absent';
    if (!this.#isHidden(generation)) return undefined;
    const verdict = await this.readManifest(objectHash, signal);
    if (verdict.kind === 'busy') return 'busy';
    return verdict.kind === 'hit' && verdict.manifest.generation === generation && !this.#isHidden(generation) ? undefined : 'absent';
  }

  /** A slice that is shorter than its manifest says could never be read and would never heal. */
  #assertWhole(offer: SliceOffer): void {
    const expected = this.#sliceLength(offer) ?? offer.lengthBytes;
    assert(offer.lengthBytes === expected, () => `slice ${offer.sliceNumber} is offered whole: ${offer.lengthBytes} of ${expected} bytes`);
  }

  /** Bytes of a slice, as far as its manifest is in memory and says. */
  #sliceLength(address: SliceAddress): number | undefined {
    const manifest = this.#options.shelf.find(address.objectHash, address.generation);
    if (manifest?.lengthBytes === undefined) return undefined;
    return Math.min(manifest.sliceSizeBytes, manifest.lengthBytes - address.sliceNumber * manifest.sliceSizeBytes);
  }

  #miss<Kind extends 'absent' | 'corrupt' | 'busy'>(kind: Kind): { readonly kind: Kind } {
    this.#options.metrics.add('reads', 1, kind);
    return { kind };
  }

  #decline(reason: DeclineReason): OfferVerdict {
    this.#options.metrics.add('declined', 1, reason);
    return { kind: 'declined', reason };
  }

  /** Room for one more manifest in memory; the one that waits longest for its first slice gives way. */
  #makePendingRoom(objectHash: ObjectHash, catalogue: Catalogue): boolean {
    if (!this.#options.shelf.isPendingFull || this.#options.shelf.pending(objectHash) !== undefined) return true;
    const oldest = this.#options.shelf.oldestWaiting();
    if (oldest === undefined) return false;
    this.dropManifest(oldest.objectHash, oldest.generation);
    this.#options.shelf.forget(oldest.objectHash);
    assert(catalogue.findCurrent(oldest.objectHash, oldest.generation) === NO_SLOT, 'a manifest that gave way is gone');
    return true;
  }
}
