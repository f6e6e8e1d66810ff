/**
 * Rebuilds the index from a scan of every block of the allocation groups (`rawslice fsck --rebuild`): what proves itself by MAC is taken in,
 * the newest write wins where two claim a block, and nothing that was purged comes back (purge-filter.ts). What the index that is there
 * knows stays as it is; what only the scan finds is stale until its origin confirms it, since a refresh or a drop may have been lost. Memory
 * is that of two indexes. The caller holds the device alone.
 */
import { EdgeError } from '../../base/errors.ts';
import { divFloor, MIB, SECOND_MS } from '../../base/units.ts';
import { ENTRY_FLAGS } from '../../format/entry-flags.ts';
import { CODECS, EXTENT_KINDS, type ExtentHeader } from '../../format/extent-header.ts';
import { MANIFEST_NUMBER } from '../../format/journal-block.ts';
import type { Manifest, ManifestFreshness } from '../../format/manifest.ts';
import { decodeManifestRecord } from '../../format/manifest-record.ts';
import { ExtentReader } from '../extents/extent-reader.ts';
import { bandOf } from '../index/block-allocator.ts';
import { EXTENT_BLOCKS_MAX, type ExtentPlace, NO_SLOT, objectTag, SliceIndex } from '../index/slice-index.ts';
import { viewDevice } from '../inspect-device.ts';
import { makeAllocator, NUMBER_MAX, type RecoveredState, recoverState } from '../recovery/recovery.ts';
import { type DeviceRoot, readRoot } from '../recovery/root-area.ts';
import { CheckLog } from './check-log.ts';
import { checkRoot } from './check-root.ts';
import { judgeHeader } from './judge-extent.ts';
import { type PurgeFilter, preparePurgeFilter } from './purge-filter.ts';
import { tryReadCopy } from './read-copy.ts';
import { repairDevice } from './repair-device.ts';
import { scanJournal } from './scan-journal.ts';
import { type WritableSource, writeRoot } from './write-root.ts';

const READ_BYTES = MIB;
const SLOT_WAIT_MS = 30 * SECOND_MS;
/** When the index is full, one of so many entries, the oldest ones, gives way to what the scan finds next. */
const ROOM_SHARE = 8;

/** Wishes of whoever rebuilds. */
export interface RebuildOptions {
  readonly signal?: AbortSignal | undefined;
  /** Bytes scanned so far, and in all. */
  readonly onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
}

/** What was found and kept. */
export interface RebuildReport {
  /** Extents that proved themselves. */
  readonly found: number;
  readonly objects: number;
  readonly slices: number;
  /** Of those, the ones that the old index did not know. */
  readonly recovered: number;
  /** Left out because a purge covers them, or one that is not known may. */
  readonly purged: number;
  /** Left out because something newer lies there, or their object is not there. */
  readonly superseded: number;
  /** Why nothing was kept, where purges cannot be known. */
  readonly refusal: string | undefined;
  readonly badBlocks: number;
}

/** Rebuilds. @throws EdgeError FORMAT_DAMAGED (no label can be read), DEVICE_FAULT; what `signal` aborts with, nothing being changed then */
export async function rebuildIndex(source: WritableSource, options: RebuildOptions): Promise<RebuildReport> {
  const root = await readRoot(source.device, source.arena);
  const { geometry, deviceUuid } = root.format;
  const known = await recoverState({ ...source, geometry, deviceTag: deviceUuid.subarray(0, 8) }, root);
  const filter = await preparePurgeFilter({ ...source, root });
  const rebuild = new Rebuild(source, root, { known, filter });
  await rebuild.scan(options);
  const report = await rebuild.finish();
  // What is damaged of labels and journal would be found by the next check.
  const view = await viewDevice(source.device, source.arena);
  const places = await checkRoot(view, new CheckLog(false), false);
  if (places.labelBlocks.length > 0 || places.journalOffsets.length > 0) await repairDevice(source, { view, places, extents: undefined });
  return report;
}

class Rebuild {
  readonly #source: WritableSource;
  readonly #root: DeviceRoot;
  readonly #known: RecoveredState;
  readonly #filter: PurgeFilter;
  readonly #index: SliceIndex;
  readonly #allocator: ReturnType<typeof makeAllocator>;
  readonly #extents: ExtentReader;
  /** By slot: the newest purge when it was written; infinite for what the old index knows, which no unknown purge covers. */
  readonly #purgeSequences: Float64Array;
  /** By slot: the part of the slice that is held; for a manifest the object's length, and the exponent of its slice size. */
  readonly #starts: Uint32Array;
  readonly #ends: Float64Array;
  readonly #sliceSizes: Uint8Array;
  #generation: number;
  #writeSequence: number;
  #found = 0;
  #purged = 0;
  #superseded = 0;

  constructor(source: WritableSource, root: DeviceRoot, parts: { readonly known: RecoveredState; readonly filter: PurgeFilter }) {
    this.#source = source;
    this.#root = root;
    this.#known = parts.known;
    this.#filter = parts.filter;
    const { geometry } = root.format;
    this.#index = new SliceIndex(geometry.entryCount);
    this.#purgeSequences = new Float64Array(geometry.entryCount);
    this.#starts = new Uint32Array(geometry.entryCount);
    this.#ends = new Float64Array(geometry.entryCount);
    this.#sliceSizes = new Uint8Array(geometry.entryCount);
    this.#allocator = makeAllocator(geometry);
    for (const { block, blocks } of parts.known.allocator.badRuns) this.#allocator.markBad(block, blocks);
    this.#extents = new ExtentReader({
      ...source,
      identity: root.format,
      blockSizeBytes: geometry.blockSizeBytes,
      slotWaitMs: SLOT_WAIT_MS,
    });
    this.#generation = parts.known.generation;
    this.#writeSequence = parts.known.writeSequence;
  }

  /** Looks at every block. */
  async scan(options: RebuildOptions): Promise<void> {
    const { blockSizeBytes, groupsOffset, groupsBlocks } = this.#root.format.geometry;
    const totalBytes = groupsBlocks * blockSizeBytes;
    for (let doneBytes = 0; doneBytes < totalBytes; doneBytes += READ_BYTES) {
      options.signal?.throwIfAborted();
      const lengthBytes = Math.min(READ_BYTES, totalBytes - doneBytes);
      const offsetBytes = groupsOffset + doneBytes;
      const bytes = await tryReadCopy(this.#source, offsetBytes, lengthBytes);
      for (let at = 0; at < lengthBytes; at += blockSizeBytes) {
        const block = divFloor(offsetBytes + at, blockSizeBytes);
        // One bad block must not hide its neighbours.
        const own = bytes?.subarray(at, at + blockSizeBytes) ?? (await tryReadCopy(this.#source, offsetBytes + at, blockSizeBytes));
        if (own === undefined) this.#allocator.markBad(block, 1);
        else await this.#look(own, block);
      }
      options.onProgress?.(doneBytes + lengthBytes, totalBytes);
    }
  }

  /** Settles who has which block, and makes the result count. */
  async finish(): Promise<RebuildReport> {
    const { refusal } = this.#filter;
    this.#dropUnsure(refusal === undefined ? this.#filter.surelySince() : Number.POSITIVE_INFINITY);
    this.#settle();
    let journalSequence = this.#root.superblock.journalHead;
    const { geometry } = this.#root.format;
    for await (const place of scanJournal(this.#source, this.#root.format, { first: 0, count: geometry.journalBlocks }))
      if (place.kind === 'block') journalSequence = Math.max(journalSequence, place.header.sequence + 1);
    const { purges } = this.#known;
    await writeRoot(this.#source, this.#root, {
      index: this.#index,
      allocator: this.#allocator,
      purges: {
        // What the old index knows may still have to be held against them.
        epochs: purges.epochs,
        recent: this.#filter.purges,
        newestSequence: Math.max(purges.newestSequence, this.#filter.newest),
        purgedGeneration: this.#filter.purgedGeneration,
      },
      journalStart: Math.max(journalSequence, this.#known.journal.nextSequence),
      generationFloor: this.#generation,
      writeSequenceFloor: this.#writeSequence,
    });
    return this.#report(refusal);
  }

  #report(refusal: string | undefined): RebuildReport {
    let objects = 0;
    let slices = 0;
    let recovered = 0;
    for (const slot of this.#index.records()) {
      if (this.#index.kind(slot) === 'manifest') objects += 1;
      else slices += 1;
      if (Number.isFinite(this.#purgeSequences[slot] ?? 0)) recovered += 1;
    }
    const [found, purged, superseded] = [this.#found, this.#purged, this.#superseded];
    return { found, objects, slices, recovered, purged, superseded, refusal, badBlocks: this.#allocator.badBlocks };
  }

  async #look(bytes: Buffer, block: number): Promise<void> {
    const verdict = judgeHeader(bytes, this.#root.format, block);
    if (verdict.kind !== 'sound' || !this.#isPossible(verdict.header)) return;
    const { header } = verdict;
    this.#found += 1;
    this.#filter.witness(header.purgeSequence);
    this.#generation = Math.max(this.#generation, header.generation + 1);
    this.#writeSequence = Math.max(this.#writeSequence, header.writeSequence + 1);
    const isManifest = header.kind === EXTENT_KINDS.manifest;
    const manifest = isManifest ? await this.#readManifest(header) : undefined;
    if (isManifest && manifest === undefined) return;
    const isKnown = this.#isKnown(header);
    if (!isKnown && this.#filter.covers(header, manifest)) {
      this.#purged += 1;
      return;
    }
    const slot = manifest === undefined ? this.#putSlice(header) : this.#putManifest(header, manifest, isKnown);
    if (slot === NO_SLOT) {
      this.#superseded += 1;
      return;
    }
    this.#purgeSequences[slot] = isKnown ? Number.POSITIVE_INFINITY : header.purgeSequence;
    this.#starts[slot] = header.presentStart;
    this.#ends[slot] = manifest === undefined ? header.presentEnd : (manifest.lengthBytes ?? 0);
    this.#sliceSizes[slot] = manifest === undefined ? 0 : Math.log2(manifest.sliceSizeBytes);
  }

  #isPossible(header: ExtentHeader): boolean {
    const { blockSizeBytes } = this.#root.format.geometry;
    const isNumbered = header.generation >= 1 && header.generation <= NUMBER_MAX && header.writeSequence <= NUMBER_MAX;
    const isKind =
      header.kind === EXTENT_KINDS.manifest
        ? header.sliceNumber === MANIFEST_NUMBER
        : header.kind === EXTENT_KINDS.slice && header.sliceNumber < MANIFEST_NUMBER;
    const blocks = header.allocatedBytes / blockSizeBytes;
    return isNumbered && isKind && Number.isInteger(blocks) && blocks >= 1 && blocks <= EXTENT_BLOCKS_MAX;
  }

  #placeOf(header: ExtentHeader): ExtentPlace {
    const { blockSizeBytes } = this.#root.format.geometry;
    const hasBody = header.kind === EXTENT_KINDS.manifest && header.presentEnd > header.presentStart;
    // Whether a slice is held in part is known when its object is (#fitsObject).
    const flags = (header.codec === CODECS.raw ? 0 : ENTRY_FLAGS.lz4) + (hasBody ? ENTRY_FLAGS.body : 0);
    return { block: header.ownBlock, blocks: header.allocatedBytes / blockSizeBytes, writeSequence: header.writeSequence, flags };
  }

  /** Whether the old index names this very extent. */
  #isKnown(header: ExtentHeader): boolean {
    const { index } = this.#known;
    const isManifest = header.kind === EXTENT_KINDS.manifest;
    const slot = isManifest ? index.findManifest(header.generation) : index.findSlice(header.generation, header.sliceNumber);
    return slot !== NO_SLOT && index.writeSequence(slot) === header.writeSequence && index.block(slot) === header.ownBlock;
  }

  async #readManifest(header: ExtentHeader): Promise<Manifest | undefined> {
    const { generation, sliceNumber } = header;
    const outcome = await this.#extents.read({ place: this.#placeOf(header), kind: 'manifest', generation, sliceNumber });
    if (outcome.kind === 'busy') throw new EdgeError('STORE_UNAVAILABLE', 'No memory was free to read a record');
    if (outcome.kind !== 'loaded') return undefined;
    const manifest = decodeManifestRecord(outcome.lease.bytes.subarray(header.presentEnd, header.rawBytes));
    outcome.lease.end();
    return manifest?.generation === generation && manifest.objectHash === header.objectHash ? manifest : undefined;
  }

  /** @returns NO_SLOT when something newer has its place */
  #putSlice(header: ExtentHeader): number {
    const { generation, sliceNumber } = header;
    const slot = this.#index.findSlice(generation, sliceNumber);
    if (slot === NO_SLOT) {
      this.#makeRoom(1);
      return this.#index.putSlice(generation, sliceNumber, this.#placeOf(header));
    }
    this.#superseded += 1;
    if (this.#index.writeSequence(slot) >= header.writeSequence) return slot;
    this.#index.setPlace(slot, this.#placeOf(header));
    return slot;
  }

  #putManifest(header: ExtentHeader, manifest: Manifest, isKnown: boolean): number {
    const index = this.#index;
    const tag = objectTag(manifest.objectHash);
    const other = index.findTag(tag);
    if (other !== NO_SLOT) {
      const record = index.recordOf(other);
      const isNewer =
        index.generation(record) < header.generation ||
        (index.generation(record) === header.generation && index.writeSequence(record) < header.writeSequence);
      if (!isNewer) return NO_SLOT;
      index.removeManifest(other);
      this.#superseded += 1;
    }
    if (index.findManifest(header.generation) !== NO_SLOT) return NO_SLOT;
    this.#makeRoom(2);
    const tagSlot = index.putManifest(tag, header.generation);
    const record = index.recordOf(tagSlot);
    index.setPlace(record, this.#placeOf(header));
    index.setFreshness(tagSlot, isKnown ? this.#knownFreshness(header.generation) : { ...manifest, freshUntilMs: 0 });
    return record;
  }

  #knownFreshness(generation: number): ManifestFreshness {
    const { index } = this.#known;
    return index.freshness(index.tagSlotOf(index.findManifest(generation)));
  }

  /** Lets the oldest entries go when there is no room for `count` more. */
  #makeRoom(count: number): void {
    const index = this.#index;
    if (index.freeEntries >= count) return;
    index.sortByWriteSequence();
    const slots = index.recordSlots();
    for (const slot of slots.subarray(0, Math.max(1, divFloor(slots.length, ROOM_SHARE)))) {
      this.#remove(slot);
      this.#superseded += 1;
    }
  }

  #remove(slot: number): void {
    if (this.#index.kind(slot) === 'manifest') this.#index.removeManifest(this.#index.tagSlotOf(slot));
    else this.#index.removeSlice(slot);
  }

  /** Drops what was written before purges that are not known by what they cover. */
  #dropUnsure(sinceSequence: number): void {
    for (const slot of this.#index.recordSlots()) {
      if ((this.#purgeSequences[slot] ?? 0) >= sinceSequence) continue;
      this.#remove(slot);
      this.#purged += 1;
    }
  }

  #settle(): void {
    const index = this.#index;
    index.sortByWriteSequence();
    for (const slot of index.recordSlots().reverse()) {
      const kind = index.kind(slot) === 'manifest' ? 'manifest' : 'slice';
      const blocks = index.blocks(slot);
      if (this.#allocator.tryClaim(index.block(slot), blocks, bandOf(kind, blocks))) continue;
      this.#remove(slot);
      this.#superseded += 1;
    }
    for (const slot of index.recordSlots()) {
      if (index.kind(slot) !== 'slice' || this.#fitsObject(slot)) continue;
      this.#allocator.release(index.block(slot), index.blocks(slot));
      this.#remove(slot);
      this.#superseded += 1;
    }
    // It proved its header only; its chunks are proved when they are read.
    for (const slot of index.recordSlots()) if (Number.isFinite(this.#purgeSequences[slot] ?? 0)) index.markUnproved(slot);
  }

  /** Whether the slice's object is there and reaches so far; marks it as partial where only a part of it is held. */
  #fitsObject(slot: number): boolean {
    const index = this.#index;
    const record = index.findManifest(index.generation(slot));
    if (record === NO_SLOT) return false;
    const sliceBytes = 2 ** (this.#sliceSizes[record] ?? 0);
    const lengthBytes = Math.min(sliceBytes, (this.#ends[record] ?? 0) - index.sliceNumber(slot) * sliceBytes);
    const end = this.#ends[slot] ?? 0;
    if (end > lengthBytes) return false;
    const isPartial = (this.#starts[slot] ?? 0) > 0 || end < lengthBytes;
    if (isPartial) index.setPlace(slot, { ...index.place(slot), flags: index.place(slot).flags + ENTRY_FLAGS.partial });
    return true;
  }
}
