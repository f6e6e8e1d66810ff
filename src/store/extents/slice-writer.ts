/**
 * What is written, and what becomes of it: slices from the RAM tier, and manifests, each a job for record-writer. A record enters the index only
 * after its write; what was dropped, purged or overtaken meanwhile is forfeited. A slice stays readable from memory all the while.
 *
 * The one slice of a small object rides in its manifest's record: one extent, one write and one read for both. When such a manifest changes,
 * the slice goes along, from memory or read back; if neither can be had in time, the manifest goes without, and the slice is a miss.
 */
import type { Clock } from '../../base/clock.ts';
import type { MetricSet } from '../../base/metrics.ts';
import { alignUp, SECOND_MS } from '../../base/units.ts';
import { MANIFEST_NUMBER } from '../../format/journal-block.ts';
import type { Manifest, ObjectHash } from '../../format/manifest.ts';
import { BODY_BYTES_MAX, manifestRecordBytes, putManifestRecord } from '../../format/manifest-record.ts';
import type { Arena } from '../../memory/arena.ts';
import type { Lease } from '../../memory/lease.ts';
import { leaseStaging } from '../device-io.ts';
import type { Catalogue } from '../index/catalogue.ts';
import type { ManifestShelf, PendingManifest } from '../index/manifest-shelf.ts';
import type { ResidentSlice } from '../index/resident-tier.ts';
import { type ExtentPlace, NO_SLOT } from '../index/slice-index.ts';
import type { PersistentCounter } from '../recovery/persistent-counter.ts';
import type { StoreLimits } from '../store-limits.ts';
import type { STORE_METRICS } from '../store-metrics.ts';
import type { ExtentContent, ExtentPacker, PackedExtent } from './extent-packer.ts';
import type { ExtentWriter } from './extent-writer.ts';
import { type RecordJob, RecordWriter, type WriteVerdict } from './record-writer.ts';
import type { SliceReader } from './slice-reader.ts';

const STAGING_WAIT_MS = SECOND_MS;

/** Dependencies of a writer. */
export interface SliceWriterOptions {
  readonly extents: ExtentWriter;
  readonly packer: ExtentPacker;
  /** Reads back what rides in a manifest that is written anew. */
  readonly reader: SliceReader;
  readonly arena: Arena;
  readonly clock: Clock;
  readonly limits: StoreLimits;
  readonly metrics: MetricSet<typeof STORE_METRICS>;
  readonly catalogue: Catalogue;
  readonly shelf: ManifestShelf;
  readonly writeSequences: PersistentCounter;
  /** False once the device takes no more writes. */
  readonly isWritable: () => boolean;
  /** A write ended and the queue is half empty, or emptier. */
  readonly onRoom: () => void;
}

/** The bytes of the slice that rides in a manifest. Whoever got them ends the lease. */
interface Body {
  readonly lease: Lease;
  readonly lengthBytes: number;
}

/** The way of slices and manifests to the device; one per mounted store. */
export class SliceWriter {
  readonly #options: SliceWriterOptions;
  readonly #records: RecordWriter;
  #queuedSlices = 0;
  #queuedBytes = 0;

  constructor(options: SliceWriterOptions) {
    this.#options = options;
    const capacity = options.limits.queueSlices + options.limits.pendingManifests;
    this.#records = new RecordWriter({ ...options, capacity, onProgress: () => (this.isBehind ? undefined : options.onRoom()) });
  }

  get queuedSlices(): number {
    return this.#queuedSlices;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Whether more than half of the queue is taken. */
  get isBehind(): boolean {
    const { limits } = this.#options;
    return this.#queuedSlices * 2 > limits.queueSlices || this.#queuedBytes * 2 > limits.queueBytes;
  }

  /** Whether a slice of `lengthBytes` and its manifest find room. Manifests that were purged keep their place until their turn. */
  hasRoom(lengthBytes: number): boolean {
    const { limits } = this.#options;
    if (this.#records.room < 2) return false;
    return this.#queuedSlices < limits.queueSlices && this.#queuedBytes + lengthBytes <= limits.queueBytes;
  }

  /** Queues a slice that is in the RAM tier, in or after its manifest if that still waits. The caller asked hasRoom. */
  enqueueSlice(slice: ResidentSlice, objectHash: ObjectHash): void {
    slice.isQueued = true;
    this.#queuedSlices += 1;
    this.#queuedBytes += slice.lengthBytes;
    const carrier = this.#findCarrier(slice, objectHash);
    if (carrier !== undefined) carrier.body = slice;
    const pending = carrier ?? this.#options.shelf.pending(objectHash);
    if (pending?.state === 'waiting') this.enqueueManifest(pending);
    if (carrier !== undefined) return;
    this.#records.push({
      lengthBytes: slice.lengthBytes,
      isWanted: () => !slice.isForfeited,
      pack: () => this.#packSlice(slice, objectHash),
      settle: (verdict) => this.#settleSlice(slice, verdict),
    });
  }

  /** Queues a part of a slice, which is a job of its own kind, after its manifest if that still waits. The caller asked hasRoom. */
  enqueuePart(objectHash: ObjectHash, job: RecordJob): void {
    const pending = this.#options.shelf.pending(objectHash);
    if (pending?.state === 'waiting') this.enqueueManifest(pending);
    this.#queuedSlices += 1;
    this.#queuedBytes += job.lengthBytes;
    const settle = (verdict: WriteVerdict): void => {
      this.#queuedSlices -= 1;
      this.#queuedBytes -= job.lengthBytes;
      job.settle(verdict);
    };
    this.#records.push({ ...job, settle });
  }

  /** Queues a manifest. The caller asked hasRoom. */
  enqueueManifest(pending: PendingManifest): void {
    const { shelf, catalogue } = this.#options;
    const { objectHash, generation } = pending.manifest;
    pending.state = 'queued';
    // What is written; a later offer may bring another while it is.
    let written = pending.manifest;
    this.#records.push({
      lengthBytes: isSmall(written) ? (written.lengthBytes ?? 0) : 0,
      isWanted: () => shelf.pending(objectHash) === pending && catalogue.findCurrent(objectHash, generation) !== NO_SLOT,
      pack: () => {
        pending.state = 'writing';
        written = pending.manifest;
        return this.#packManifest(pending, written);
      },
      settle: (verdict) => this.#settleManifest(pending, written, verdict),
    });
  }

  /** Resolves when nothing is queued or being written. */
  idle(): Promise<void> {
    return this.#records.idle();
  }

  /** The manifest in whose record the slice is to be written, waiting or made to wait; undefined: the slice gets a record of its own. */
  #findCarrier(slice: ResidentSlice, objectHash: ObjectHash): PendingManifest | undefined {
    const { shelf } = this.#options;
    const manifest = shelf.find(objectHash, slice.generation);
    if (manifest === undefined || !isSmall(manifest)) return undefined;
    const pending = shelf.pending(objectHash);
    if (pending !== undefined) return pending.state === 'waiting' || pending.state === 'queued' ? pending : undefined;
    return shelf.isPendingFull ? undefined : shelf.addPending(manifest);
  }

  #packSlice(slice: ResidentSlice, objectHash: ObjectHash): ReturnType<RecordJob['pack']> {
    const { shelf, packer } = this.#options;
    const { generation, sliceNumber, lengthBytes, lease } = slice;
    const manifest = shelf.find(objectHash, generation);
    const present = { presentStart: 0, presentEnd: lengthBytes };
    const keyText = manifest?.keyText ?? '';
    const content: ExtentContent = { kind: 'slice', objectHash, keyText, generation, sliceNumber, ...present };
    return packer.pack({ content, slot: lease.bytes, lengthBytes }, { manifest, isBehind: this.isBehind });
  }

  #settleSlice(slice: ResidentSlice, verdict: WriteVerdict): void {
    const { catalogue, metrics } = this.#options;
    const { generation, sliceNumber } = slice;
    if (verdict.kind === 'dropped') metrics.add('dropped', 1, verdict.reason);
    else if (slice.isForfeited) this.#forfeit(verdict.place);
    else if (!catalogue.putSlice(generation, sliceNumber, verdict.place)) metrics.add('dropped', 1, 'no-space');
    this.#letGo(slice);
  }

  /** The slice's write is over. From here on its slot may be reclaimed at any moment. */
  #letGo(slice: ResidentSlice): void {
    this.#queuedSlices -= 1;
    this.#queuedBytes -= slice.lengthBytes;
    slice.isQueued = false;
    if (slice.isForfeited) slice.lease.end();
    else slice.lease.moveTo('resident');
  }

  /** Header, body and record lie in one slot, one behind the other. */
  async #packManifest(pending: PendingManifest, manifest: Manifest): Promise<PackedExtent | undefined> {
    const { arena, packer, extents } = this.#options;
    const { blockSizeBytes } = extents;
    const recordBytes = manifestRecordBytes(manifest);
    // Refused when it was offered; a renewal changes nothing that makes it longer.
    if (recordBytes === undefined) return undefined;
    const body = this.#bodyInMemory(pending, manifest) ?? (await this.#readBody(manifest));
    const presentEnd = body?.lengthBytes ?? 0;
    const lengthBytes = presentEnd + recordBytes;
    const lease = await leaseStaging(arena, blockSizeBytes + alignUp(lengthBytes, blockSizeBytes), STAGING_WAIT_MS);
    const slot = lease?.bytes.subarray(blockSizeBytes);
    if (slot !== undefined) body?.lease.bytes.copy(slot, 0, 0, presentEnd);
    body?.lease.end();
    if (lease === undefined || slot === undefined) return undefined;
    putManifestRecord(slot.subarray(presentEnd, lengthBytes), manifest);
    const { objectHash, keyText, generation } = manifest;
    const present = { presentStart: 0, presentEnd };
    const content: ExtentContent = { kind: 'manifest', objectHash, keyText, generation, sliceNumber: MANIFEST_NUMBER, ...present };
    const raw = { content, slot, header: lease.bytes.subarray(0, blockSizeBytes), lengthBytes };
    const { isBehind } = this;
    const packed = await (body === undefined ? packer.packRaw(raw) : packer.pack(raw, { manifest, isBehind }));
    if (packed === undefined) {
      lease.end();
      return undefined;
    }
    const end = (): void => {
      packed.end();
      lease.end();
    };
    return { ...packed, end };
  }

  /** What is to ride in the record: the slice that was queued for it, or what rides in the record that it replaces, if that is in memory. */
  #bodyInMemory(pending: PendingManifest, { generation, objectHash }: Manifest): Body | undefined {
    const { catalogue } = this.#options;
    const slice =
      pending.body ?? (this.#hasBody(catalogue.findCurrent(objectHash, generation)) ? catalogue.resident.find(generation, 0) : undefined);
    return slice === undefined ? undefined : { lease: slice.lease.share(), lengthBytes: slice.lengthBytes };
  }

  /** What rides in the record that is to be replaced. */
  async #readBody({ objectHash, generation, lengthBytes }: Manifest): Promise<Body | undefined> {
    const { catalogue, reader } = this.#options;
    const tagSlot = catalogue.findCurrent(objectHash, generation);
    if (lengthBytes === undefined || !this.#hasBody(tagSlot)) return undefined;
    const read = { objectHash, generation, sliceNumber: 0, startBytes: 0, endBytes: lengthBytes };
    const verdict = await reader.readBody(read, tagSlot, undefined);
    return verdict.kind === 'hit' ? { lease: verdict.lease, lengthBytes } : undefined;
  }

  #hasBody(tagSlot: number): boolean {
    const { index } = this.#options.catalogue;
    return tagSlot !== NO_SLOT && index.hasBody(index.recordOf(tagSlot));
  }

  #settleManifest(pending: PendingManifest, written: Manifest, verdict: WriteVerdict): void {
    const { body } = pending;
    pending.body = undefined;
    this.#putManifest(pending, written, verdict);
    if (body !== undefined) this.#letGo(body);
  }

  #putManifest(pending: PendingManifest, written: Manifest, verdict: WriteVerdict): void {
    const { shelf, catalogue, metrics } = this.#options;
    const { objectHash, generation } = written;
    const tagSlot = catalogue.findCurrent(objectHash, generation);
    if (shelf.pending(objectHash) !== pending || tagSlot === NO_SLOT) {
      if (verdict.kind === 'written') this.#forfeit(verdict.place);
      if (shelf.pending(objectHash) === pending) shelf.removePending(objectHash);
      return;
    }
    if (verdict.kind === 'written') catalogue.putManifest(tagSlot, verdict.place);
    else {
      metrics.add('dropped', 1, verdict.reason);
      // Without a record the object could not be found again after a restart; an older record of the same generation still serves.
      if (catalogue.index.blocks(catalogue.index.recordOf(tagSlot)) === 0) {
        shelf.forget(objectHash);
        catalogue.dropObject(tagSlot, 'other');
        return;
      }
    }
    const hasChanged = pending.manifest.fields !== written.fields;
    if (hasChanged && verdict.kind === 'written' && this.hasRoom(0)) {
      this.enqueueManifest(pending);
      return;
    }
    shelf.removePending(objectHash);
    shelf.keep(pending.manifest);
  }

  #forfeit(place: ExtentPlace): void {
    this.#options.catalogue.allocator.forfeit(place.block, place.blocks);
  }
}

/** Whether all of the object rides in its manifest's record. */
function isSmall({ lengthBytes }: Manifest): boolean {
  return lengthBytes !== undefined && lengthBytes > 0 && lengthBytes <= BODY_BYTES_MAX;
}
