/**
 * Parts of slices: what a transfer brought of a slice before it ended. The device holds one record per slice, so a part that is offered is
 * joined with the one that is stored where they touch, replaces it where it covers it, and of two that do not touch the longer is kept. A part that
 * came to be all of its slice is a slice like any other. Parts never enter the RAM tier; one that waits for its write is read from its slot.
 */
import { assert } from '../../base/assert.ts';
import type { MetricSet } from '../../base/metrics.ts';
import { alignUp, SECOND_MS } from '../../base/units.ts';
import { CHUNK_BYTES } from '../../format/geometry.ts';
import type { Manifest } from '../../format/manifest.ts';
import type { Arena } from '../../memory/arena.ts';
import type { Lease } from '../../memory/lease.ts';
import type { SliceGate } from '../admission/slice-gate.ts';
import { leaseStaging } from '../device-io.ts';
import type { Catalogue } from '../index/catalogue.ts';
import type { ManifestShelf } from '../index/manifest-shelf.ts';
import { NO_SLOT } from '../index/slice-index.ts';
import type { DeclineReason, PartVerdict, SliceAddress, SliceOffer, SliceRead } from '../slice-store.ts';
import type { STORE_METRICS } from '../store-metrics.ts';
import type { ExtentPacker, PackedExtent } from './extent-packer.ts';
import type { WriteVerdict } from './record-writer.ts';
import type { SliceReader } from './slice-reader.ts';
import type { SliceWriter } from './slice-writer.ts';

/** Less is fetched again sooner than it is worth a record. */
const PART_BYTES_MIN = CHUNK_BYTES;
const STAGING_WAIT_MS = SECOND_MS;

/** Bytes [startBytes, endBytes) of a slice; the slot is laid out as the slice is. */
interface Part {
  readonly lease: Lease;
  readonly startBytes: number;
  readonly endBytes: number;
}

/** A part that waits for its write. */
interface PendingPart extends Part {
  readonly address: SliceAddress;
  readonly manifest: Manifest;
  /** Of the slice. */
  readonly lengthBytes: number;
  /** What is on the device is worth more, and cannot be joined with it. */
  isOutdone: boolean;
}

/** Dependencies. */
export interface SlicePartsOptions {
  readonly catalogue: Catalogue;
  readonly shelf: ManifestShelf;
  readonly gate: SliceGate;
  readonly reader: SliceReader;
  readonly writer: SliceWriter;
  readonly packer: ExtentPacker;
  readonly arena: Arena;
  readonly metrics: MetricSet<typeof STORE_METRICS>;
}

/** Parts of slices; one per mounted store. Bounded by the write queue. */
export class SliceParts {
  readonly #options: SlicePartsOptions;
  readonly #pending = new Map<string, PendingPart>();

  constructor(options: SlicePartsOptions) {
    this.#options = options;
  }

  /** Whether a part of the slice, and not all of it, is on the device or on its way there. */
  has(generation: number, sliceNumber: number): boolean {
    const { catalogue } = this.#options;
    if (this.#pending.has(keyOf(generation, sliceNumber))) return true;
    const slot = catalogue.index.findSlice(generation, sliceNumber);
    return slot !== NO_SLOT && catalogue.index.isPartial(slot);
  }

  /** Takes a part of a slice of the current generation, which is not there whole. @returns why not, or undefined: it is queued */
  offer(offer: SliceOffer): DeclineReason | undefined {
    const { shelf, gate, metrics } = this.#options;
    const { objectHash, generation, sliceNumber, lengthBytes, present } = offer;
    assert(present !== undefined && present.startBytes >= 0 && present.endBytes <= lengthBytes, 'a part lies in its slice');
    const manifest = shelf.find(objectHash, generation);
    const key = keyOf(generation, sliceNumber);
    const partBytes = present.endBytes - present.startBytes;
    if (manifest?.lengthBytes === undefined || partBytes < PART_BYTES_MIN || this.#pending.has(key)) return 'partial';
    const reason = gate.admitPart(offer, partBytes);
    if (reason !== undefined) return reason;
    const part: PendingPart = {
      address: { objectHash, generation, sliceNumber },
      lease: offer.lease.share(),
      ...present,
      manifest,
      lengthBytes,
      isOutdone: false,
    };
    this.#pending.set(key, part);
    metrics.add('partsAdmitted');
    this.#enqueue(key, part);
    return undefined;
  }

  /** The wanted bytes if a part that waits for its write holds them. */
  tryRead(read: SliceRead): { readonly lease: Lease; readonly bytes: Buffer } | undefined {
    const part = this.#pending.get(keyOf(read.generation, read.sliceNumber));
    if (part === undefined || read.startBytes < part.startBytes || read.endBytes > part.endBytes) return undefined;
    const lease = part.lease.share();
    return { lease, bytes: lease.bytes.subarray(read.startBytes, read.endBytes) };
  }

  /** All that is kept of a slice that is there in part. */
  read(address: SliceAddress, signal: AbortSignal | undefined): Promise<PartVerdict> {
    const { catalogue, reader } = this.#options;
    const part = this.#pending.get(keyOf(address.generation, address.sliceNumber));
    if (part !== undefined) {
      const { startBytes, endBytes } = part;
      const lease = part.lease.share();
      return Promise.resolve({ kind: 'hit', lease, bytes: lease.bytes.subarray(startBytes, endBytes), startBytes, endBytes });
    }
    const slot = catalogue.index.findSlice(address.generation, address.sliceNumber);
    if (slot === NO_SLOT || !catalogue.index.isPartial(slot)) return Promise.resolve({ kind: 'absent' });
    catalogue.index.markVisited(slot);
    return reader.readPart(address, slot, signal);
  }

  #enqueue(key: string, part: PendingPart): void {
    const { catalogue, writer } = this.#options;
    const { objectHash, generation } = part.address;
    writer.enqueuePart(objectHash, {
      lengthBytes: part.endBytes - part.startBytes,
      isWanted: () => !part.isOutdone && catalogue.findCurrent(objectHash, generation) !== NO_SLOT,
      pack: () => this.#pack(part),
      settle: (verdict) => {
        this.#pending.delete(key);
        this.#settle(part, verdict);
        part.lease.end();
      },
    });
  }

  async #pack(part: PendingPart): Promise<PackedExtent | undefined> {
    const { packer, writer } = this.#options;
    const whole = await this.#join(part);
    if (whole === undefined) return undefined;
    // Records begin at a chunk, so that a chunk of the extent is one of the slice.
    const startBytes = alignUp(whole.startBytes, CHUNK_BYTES);
    const { endBytes } = whole;
    part.isOutdone = endBytes - startBytes < PART_BYTES_MIN;
    if (part.isOutdone) {
      whole.lease.end();
      return undefined;
    }
    const { keyText } = part.manifest;
    const isPartial = startBytes > 0 || endBytes < part.lengthBytes;
    const content = { kind: 'slice', ...part.address, keyText, presentStart: startBytes, presentEnd: endBytes, isPartial } as const;
    const raw = { content, slot: whole.lease.bytes.subarray(startBytes), lengthBytes: endBytes - startBytes };
    const packed = await packer.pack(raw, { manifest: part.manifest, isBehind: writer.isBehind });
    if (packed === undefined) {
      whole.lease.end();
      return undefined;
    }
    const end = (): void => {
      packed.end();
      whole.lease.end();
    };
    return { ...packed, end };
  }

  /** The part with what is stored of the slice; undefined when there is no slot in time, or what is stored is worth more. Its lease is the caller's. */
  async #join(part: PendingPart): Promise<Part | undefined> {
    const { catalogue, reader } = this.#options;
    const { generation, sliceNumber } = part.address;
    const { startBytes, endBytes } = part;
    const alone = (): Part => ({ lease: part.lease.share(), startBytes, endBytes });
    const slot = catalogue.index.findSlice(generation, sliceNumber);
    if (slot === NO_SLOT || !catalogue.index.isPartial(slot)) return alone();
    const old = await reader.readPart(part.address, slot, undefined);
    if (old.kind !== 'hit') return alone();
    try {
      if (startBytes <= old.startBytes && endBytes >= old.endBytes) return alone();
      const isInside = startBytes >= old.startBytes && endBytes <= old.endBytes;
      const isApart = startBytes > old.endBytes || endBytes < old.startBytes;
      part.isOutdone = isInside || (isApart && old.endBytes - old.startBytes >= endBytes - startBytes);
      if (part.isOutdone) return undefined;
      if (isApart) return alone();
      return await this.#merge(part, old);
    } finally {
      old.lease.end();
    }
  }

  async #merge(part: PendingPart, old: Extract<PartVerdict, { kind: 'hit' }>): Promise<Part | undefined> {
    const startBytes = Math.min(part.startBytes, old.startBytes);
    const endBytes = Math.max(part.endBytes, old.endBytes);
    const lease = await leaseStaging(this.#options.arena, endBytes, STAGING_WAIT_MS);
    if (lease === undefined) return undefined;
    old.bytes.copy(lease.bytes, old.startBytes);
    part.lease.bytes.copy(lease.bytes, part.startBytes, part.startBytes, part.endBytes);
    this.#options.metrics.add('partsJoined');
    return { lease, startBytes, endBytes };
  }

  #settle(part: PendingPart, verdict: WriteVerdict): void {
    const { catalogue, metrics } = this.#options;
    const { objectHash, generation, sliceNumber } = part.address;
    if (verdict.kind === 'dropped') {
      metrics.add('dropped', 1, verdict.reason);
      return;
    }
    const stored = catalogue.index.findSlice(generation, sliceNumber);
    const isOvertaken = stored !== NO_SLOT && !catalogue.index.isPartial(stored);
    if (isOvertaken || catalogue.findCurrent(objectHash, generation) === NO_SLOT) {
      catalogue.allocator.forfeit(verdict.place.block, verdict.place.blocks);
    } else if (!catalogue.putSlice(generation, sliceNumber, verdict.place)) metrics.add('dropped', 1, 'no-space');
  }
}

function keyOf(generation: number, sliceNumber: number): string {
  return `${generation}/${sliceNumber}`;
}
