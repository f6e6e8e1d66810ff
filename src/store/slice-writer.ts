/**
 * Writes what was admitted: a bounded queue, a few writes at a time, header block and payload in one transfer. A record enters the index
 * only after its write; what was dropped, purged or overtaken meanwhile is forfeited. A slice stays readable from memory all the while.
 */
import { assert } from '../base/assert.ts';
import { BoundedQueue } from '../base/bounded-queue.ts';
import type { Clock } from '../base/clock.ts';
import type { MetricSet } from '../base/metrics.ts';
import { alignUp, SECOND_MS } from '../base/units.ts';
import { extentBlocks } from '../format/extent-header.ts';
import { MANIFEST_NUMBER } from '../format/journal-block.ts';
import type { ObjectHash } from '../format/manifest.ts';
import { encodeManifestRecord } from '../format/manifest-record.ts';
import type { Arena } from '../memory/arena.ts';
import type { Lease } from '../memory/lease.ts';
import type { Catalogue } from './catalogue.ts';
import { leaseStaging } from './device-io.ts';
import type { ExtentBuffers, ExtentContent, ExtentWriter } from './extent-writer.ts';
import type { ManifestShelf, PendingManifest } from './manifest-shelf.ts';
import type { PersistentCounter } from './persistent-counter.ts';
import type { ResidentSlice } from './resident-tier.ts';
import { type ExtentPlace, NO_SLOT } from './slice-index.ts';
import type { StoreLimits } from './store-limits.ts';
import type { STORE_METRICS } from './store-metrics.ts';

const STAGING_WAIT_MS = SECOND_MS;

type Job =
  | { readonly kind: 'slice'; readonly slice: ResidentSlice; readonly objectHash: ObjectHash }
  | { readonly kind: 'manifest'; readonly pending: PendingManifest };

/** Why a record was not kept. */
type DropReason = 'forfeited' | 'no-space' | 'no-slot' | 'error' | 'unavailable';
type WriteVerdict = { readonly kind: 'written'; readonly place: ExtentPlace } | { readonly kind: 'dropped'; readonly reason: DropReason };

/** An extent to write, and where its payload lies. */
interface Extent {
  readonly content: ExtentContent;
  readonly lease: Lease;
  readonly lengthBytes: number;
}

/** Dependencies of a writer. */
export interface SliceWriterOptions {
  readonly extents: ExtentWriter;
  readonly arena: Arena;
  readonly clock: Clock;
  readonly limits: StoreLimits;
  readonly metrics: MetricSet<typeof STORE_METRICS>;
  readonly catalogue: Catalogue;
  readonly shelf: ManifestShelf;
  readonly blockSizeBytes: number;
  readonly writeSequences: PersistentCounter;
  /** False once the device takes no more writes. */
  readonly isWritable: () => boolean;
  readonly onError: (error: unknown) => void;
  /** A write ended and the queue is half empty, or emptier. */
  readonly onRoom: () => void;
}

/** The way of slices and manifests to the device; one per mounted store. */
export class SliceWriter {
  readonly #options: SliceWriterOptions;
  readonly #capacity: number;
  readonly #queue: BoundedQueue<Job>;
  readonly #idlers: (() => void)[] = [];
  #queuedSlices = 0;
  #queuedBytes = 0;
  #active = 0;
  #isPumpDue = false;

  constructor(options: SliceWriterOptions) {
    this.#options = options;
    this.#capacity = options.limits.queueSlices + options.limits.pendingManifests;
    this.#queue = new BoundedQueue(this.#capacity);
  }

  get queuedSlices(): number {
    return this.#queuedSlices;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Whether a slice of `lengthBytes` and its manifest find room. Manifests that were purged keep their place until their turn. */
  hasRoom(lengthBytes: number): boolean {
    const { limits } = this.#options;
    if (this.#queue.length + 2 > this.#capacity) return false;
    return this.#queuedSlices < limits.queueSlices && this.#queuedBytes + lengthBytes <= limits.queueBytes;
  }

  /** Queues a slice that is in the RAM tier, after its manifest if that still waits. The caller asked hasRoom. */
  enqueueSlice(slice: ResidentSlice, objectHash: ObjectHash): void {
    const pending = this.#options.shelf.pending(objectHash);
    if (pending?.state === 'waiting') this.enqueueManifest(pending);
    slice.isQueued = true;
    this.#queuedSlices += 1;
    this.#queuedBytes += slice.lengthBytes;
    this.#push({ kind: 'slice', slice, objectHash });
  }

  /** Queues a manifest. The caller asked hasRoom. */
  enqueueManifest(pending: PendingManifest): void {
    pending.state = 'queued';
    this.#push({ kind: 'manifest', pending });
  }

  /** Resolves when nothing is queued or being written. */
  async idle(): Promise<void> {
    while (this.#active > 0 || this.#queue.length > 0) await new Promise<void>((resolve) => this.#idlers.push(resolve));
  }

  #push(job: Job): void {
    assert(this.#queue.tryPush(job), 'the write queue was asked for room');
    if (this.#isPumpDue) return;
    // Those who wait for the slice's bytes come first: encoding and the call to the device are nobody's first byte.
    this.#isPumpDue = true;
    this.#options.clock.defer(() => {
      this.#isPumpDue = false;
      this.#pump();
    });
  }

  #pump(): void {
    while (this.#active < this.#options.limits.writesMax) {
      const job = this.#queue.shift();
      if (job === undefined) break;
      this.#active += 1;
      void this.#run(job).finally(() => {
        this.#active -= 1;
        if (this.#isHalfEmpty) this.#options.onRoom();
        this.#pump();
        if (this.#active === 0 && this.#queue.length === 0) for (const resolve of this.#idlers.splice(0)) resolve();
      });
    }
  }

  get #isHalfEmpty(): boolean {
    const { limits } = this.#options;
    return this.#queuedSlices * 2 <= limits.queueSlices && this.#queuedBytes * 2 <= limits.queueBytes;
  }

  async #run(job: Job): Promise<void> {
    if (job.kind === 'slice') await this.#writeSlice(job.slice, job.objectHash);
    else await this.#writeManifest(job.pending);
  }

  async #writeSlice(slice: ResidentSlice, objectHash: ObjectHash): Promise<void> {
    const { catalogue, shelf, metrics } = this.#options;
    const { generation, sliceNumber, lengthBytes, lease } = slice;
    const keyText = shelf.find(objectHash, generation)?.keyText ?? '';
    const present = { presentStart: 0, presentEnd: lengthBytes };
    const content: ExtentContent = { kind: 'slice', objectHash, keyText, generation, sliceNumber, ...present };
    const verdict = await this.#writeExtent({ content, lease, lengthBytes }, () => !slice.isForfeited);
    this.#queuedSlices -= 1;
    this.#queuedBytes -= lengthBytes;
    if (verdict.kind === 'dropped') metrics.add('dropped', 1, verdict.reason);
    else if (slice.isForfeited) this.#forfeit(verdict.place);
    else if (!catalogue.putSlice(generation, sliceNumber, verdict.place)) metrics.add('dropped', 1, 'no-space');
    // From here on the slot may be reclaimed at any moment, so nothing may follow.
    slice.isQueued = false;
    if (slice.isForfeited) lease.end();
    else lease.moveTo('resident');
  }

  async #writeManifest(pending: PendingManifest): Promise<void> {
    const { shelf, catalogue, metrics } = this.#options;
    const { manifest } = pending;
    const { objectHash, generation } = manifest;
    pending.state = 'writing';
    const isWanted = (): boolean => shelf.pending(objectHash) === pending && catalogue.findCurrent(objectHash, generation) !== NO_SLOT;
    const verdict = await this.#writeRecord(pending, isWanted);
    if (!isWanted()) {
      if (verdict.kind === 'written') this.#forfeit(verdict.place);
      if (shelf.pending(objectHash) === pending) shelf.removePending(objectHash);
      return;
    }
    const tagSlot = catalogue.findCurrent(objectHash, generation);
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
    const hasChanged = pending.manifest.fields !== manifest.fields;
    if (hasChanged && verdict.kind === 'written' && this.hasRoom(0)) {
      this.enqueueManifest(pending);
      return;
    }
    shelf.removePending(objectHash);
    shelf.keep(pending.manifest);
  }

  async #writeRecord(pending: PendingManifest, isWanted: () => boolean): Promise<WriteVerdict> {
    const { arena, blockSizeBytes } = this.#options;
    const { manifest } = pending;
    const record = encodeManifestRecord(manifest);
    if (record === undefined) return { kind: 'dropped', reason: 'error' };
    const lease = await leaseStaging(arena, alignUp(record.length, blockSizeBytes), STAGING_WAIT_MS);
    if (lease === undefined) return { kind: 'dropped', reason: 'no-slot' };
    lease.bytes.set(record);
    const { objectHash, keyText, generation } = manifest;
    const present = { presentStart: 0, presentEnd: 0 };
    const content: ExtentContent = { kind: 'manifest', objectHash, keyText, generation, sliceNumber: MANIFEST_NUMBER, ...present };
    try {
      return await this.#writeExtent({ content, lease, lengthBytes: record.length }, isWanted);
    } finally {
      lease.end();
    }
  }

  /** Reserves blocks and writes; the blocks of a `written` verdict are still only reserved. Never throws on what the device does. */
  async #writeExtent(extent: Extent, isWanted: () => boolean): Promise<WriteVerdict> {
    const { arena, catalogue, isWritable, writeSequences, blockSizeBytes } = this.#options;
    if (!isWanted()) return { kind: 'dropped', reason: 'forfeited' };
    if (!isWritable() || !writeSequences.isCovered) return { kind: 'dropped', reason: 'unavailable' };
    const alignedBytes = alignUp(extent.lengthBytes, blockSizeBytes);
    const needsCopy = extent.lease.sizeBytes < alignedBytes;
    const header = await leaseStaging(arena, blockSizeBytes + (needsCopy ? alignedBytes : 0), STAGING_WAIT_MS);
    if (header === undefined) return { kind: 'dropped', reason: 'no-slot' };
    try {
      if (!isWanted()) return { kind: 'dropped', reason: 'forfeited' };
      const blocks = extentBlocks(extent.lengthBytes, blockSizeBytes);
      const block = catalogue.reserveBlocks(blocks);
      if (block === undefined) return { kind: 'dropped', reason: 'no-space' };
      const place = { block, blocks, writeSequence: writeSequences.take(), flags: 0 };
      const payload = needsCopy
        ? header.bytes.subarray(blockSizeBytes, blockSizeBytes + alignedBytes)
        : extent.lease.bytes.subarray(0, alignedBytes);
      if (needsCopy) payload.set(extent.lease.bytes.subarray(0, extent.lengthBytes));
      const target = header.bytes.subarray(0, blockSizeBytes);
      return await this.#transfer(extent.content, place, { header: target, payload, lengthBytes: extent.lengthBytes });
    } finally {
      header.end();
    }
  }

  async #transfer(content: ExtentContent, place: ExtentPlace, buffers: ExtentBuffers): Promise<WriteVerdict> {
    const { extents, metrics, blockSizeBytes, onError } = this.#options;
    try {
      await extents.write(content, place, buffers);
    } catch (error) {
      this.#forfeit(place);
      metrics.add('deviceErrors', 1, 'write');
      onError(error);
      return { kind: 'dropped', reason: 'error' };
    }
    metrics.add('writtenRecords');
    metrics.add('writtenBytes', place.blocks * blockSizeBytes);
    return { kind: 'written', place };
  }

  #forfeit(place: ExtentPlace): void {
    this.#options.catalogue.allocator.forfeit(place.block, place.blocks);
  }
}
