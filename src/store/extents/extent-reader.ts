/**
 * Reads one extent, or some of its chunks, lets it prove itself and decodes it: header checksum, MAC, own address, length, kind, generation,
 * number and write sequence, and the checksum of every stored chunk before it is decoded. It knows nothing of the index: what a mismatch
 * means is decided by those who call it (slice-reader and whoever checks a device).
 */
import { EdgeError } from '../../base/errors.ts';
import type { MetricSet } from '../../base/metrics.ts';
import { alignDown, alignUp, divCeil, divFloor } from '../../base/units.ts';
import type { BlockDevice, TransferOptions } from '../../device/block-device.ts';
import { ENTRY_FLAGS } from '../../format/entry-flags.ts';
import {
  CODECS,
  decodeChunkTable,
  decodeExtentHeader,
  EXTENT_KINDS,
  type ExtentIdentity,
  PAYLOAD_BYTES_MAX,
  storedChunks,
  verifyChunks,
} from '../../format/extent-header.ts';
import { CHUNK_BYTES } from '../../format/geometry.ts';
import type { Arena } from '../../memory/arena.ts';
import { Lease } from '../../memory/lease.ts';
import type { ExtentPlace } from '../index/slice-index.ts';
import type { STORE_METRICS } from '../store-metrics.ts';
import { type ChunkCodec, INLINE_CODEC } from './chunk-codec.ts';
import type { HeaderCache, KnownHeader } from './header-cache.ts';

/** Up to so many stored bytes an extent is read at once, whatever is wanted of it. */
const ONE_READ_BYTES = CHUNK_BYTES;
/** The same for one whose layout only its header tells; of a longer one the header is read first, then the blocks that are needed. */
const SHAPED_ONE_READ_BYTES = 4 * CHUNK_BYTES;
/** So much is decoded at once: handing it to a thread and back costs the event loop as much (DECISIONS.md). */
const INLINE_BYTES = CHUNK_BYTES;
/** Entries of which the blocks alone do not tell where which byte of the slice lies. */
const SHAPED_FLAGS = ENTRY_FLAGS.lz4 + ENTRY_FLAGS.partial;

/** Bytes of a slice; half-open. */
export interface SliceRange {
  readonly startBytes: number;
  readonly endBytes: number;
}

/** What is looked for, and where. */
export interface ExtentRequest {
  readonly place: ExtentPlace;
  readonly kind: keyof typeof EXTENT_KINDS;
  readonly generation: number;
  /** MANIFEST_NUMBER for a manifest. */
  readonly sliceNumber: number;
  /** Wanted part of the slice, as far as the extent reaches; the whole payload when undefined. */
  readonly range?: SliceRange | undefined;
  /** Nothing is wanted where the extent does not reach to the range's end. */
  readonly isExact?: boolean | undefined;
}

/** An extent that proved itself. The caller ends `lease`: whole chunks, decoded, at least all that was wanted. */
export interface LoadedExtent {
  readonly kind: 'loaded';
  readonly header: KnownHeader['header'];
  readonly lease: Lease;
  /** Which part of the slice the lease holds from its first byte on; of a manifest's extent which part of the payload. */
  readonly startBytes: number;
  readonly endBytes: number;
}

/**
 * `mismatch`: something else lies there, or it is damaged. `outside`: sound, but it does not hold all that is wanted. `failed`: the device
 * said so. `busy`: no slot, or no turn at the device, in time.
 */
export type ExtentOutcome =
  | LoadedExtent
  | { readonly kind: 'mismatch' }
  | { readonly kind: 'outside'; readonly header: KnownHeader['header'] }
  | { readonly kind: 'failed'; readonly error: EdgeError }
  | { readonly kind: 'busy' };

type NotLoaded = Exclude<ExtentOutcome, LoadedExtent>;

/** Bytes of the stored payload in memory; `bytes` begins at `startBytes` of it. */
interface StoredBytes {
  readonly lease: Lease;
  readonly startBytes: number;
  readonly bytes: Buffer;
}

/** Chunks of an extent, in bytes of the payload before encoding and as it is stored. */
interface ChunkRun {
  readonly firstChunk: number;
  readonly rawStart: number;
  readonly rawEnd: number;
  readonly storedStart: number;
  readonly storedEnd: number;
  readonly lengths: readonly number[];
}

/** Dependencies of a reader. */
export interface ExtentReaderOptions {
  readonly device: BlockDevice;
  readonly arena: Arena;
  readonly identity: ExtentIdentity;
  readonly blockSizeBytes: number;
  readonly slotWaitMs: number;
  /** Of every read of the device. */
  readonly transferOptions?: TransferOptions | undefined;
  /** Decodes what is long; INLINE_CODEC when undefined. */
  readonly codec?: ChunkCodec | undefined;
  readonly metrics?: MetricSet<typeof STORE_METRICS> | undefined;
  /** Saves reading a header again for each part of a slice; for those who need not know that it still lies there. */
  readonly headers?: HeaderCache | undefined;
}

/** Reads extents of one device. */
export class ExtentReader {
  readonly #options: ExtentReaderOptions;
  readonly #codec: ChunkCodec;

  constructor(options: ExtentReaderOptions) {
    this.#options = options;
    this.#codec = options.codec ?? INLINE_CODEC;
  }

  /** Reads, verifies and decodes, once. Never throws on what the device does or holds. */
  async read(request: ExtentRequest): Promise<ExtentOutcome> {
    const leases = new Set<Lease>();
    try {
      const outcome = (await this.#readKnown(request, leases)) ?? (await this.#read(request, leases));
      if (outcome.kind === 'loaded') leases.delete(outcome.lease);
      return outcome;
    } finally {
      for (const lease of leases) lease.end();
    }
  }

  /**
   * Reads a part of a slice whose header is known: its chunks alone, which must be those that the header names.
   *
   * @returns undefined when the header is not known, or what lies there is something else: that is judged by what the device holds
   */
  async #readKnown(request: ExtentRequest, leases: Set<Lease>): Promise<ExtentOutcome | undefined> {
    const { headers } = this.#options;
    if (headers === undefined || request.range === undefined) return undefined;
    const known = headers.find(request.place.writeSequence);
    if (known === undefined || !this.#isWanted(request, known.header)) return undefined;
    const outcome = await this.#load(request, known, leases);
    if (outcome.kind !== 'mismatch') return outcome;
    headers.doubt(request.place.writeSequence);
    for (const lease of leases) lease.end();
    leases.clear();
    return undefined;
  }

  /** Reads the header and what is wanted. Every slot that it takes is put into `leases`. */
  async #read(request: ExtentRequest, leases: Set<Lease>): Promise<ExtentOutcome> {
    const { place } = request;
    const { blockSizeBytes, identity, headers } = this.#options;
    // A damaged index may name what no extent is: every one has a payload.
    if (place.blocks < 2) return { kind: 'mismatch' };
    const headerLease = await this.#lease(blockSizeBytes, leases);
    if (headerLease === undefined) return { kind: 'busy' };
    const block = headerLease.bytes.subarray(0, blockSizeBytes);
    const beside = storedBeside(request, (place.blocks - 1) * blockSizeBytes);
    const stored = beside === undefined ? undefined : await this.#leaseStored(beside, leases);
    if (beside !== undefined && stored === undefined) return { kind: 'busy' };
    const error = await this.#transfer(place, block, stored);
    if (error !== undefined) return withoutBytes(error);
    const header = decodeExtentHeader(block, identity);
    if (header === undefined || !this.#isWanted(request, header)) return { kind: 'mismatch' };
    const known = { header, chunks: decodeChunkTable(block, header) };
    if (request.kind === 'slice') headers?.keep(known);
    return this.#load(request, known, leases, stored);
  }

  /** Reads what is wanted, unless it is `inMemory`, verifies and decodes it. */
  async #load(request: ExtentRequest, known: KnownHeader, leases: Set<Lease>, inMemory?: StoredBytes): Promise<ExtentOutcome> {
    const { header, chunks } = known;
    const run = findChunks(known, request.range);
    if (run === undefined || (request.isExact === true && (request.range?.endBytes ?? 0) > header.presentEnd))
      return { kind: 'outside', header };
    const stored = inMemory ?? (await this.#leaseStored({ startBytes: run.storedStart, endBytes: run.storedEnd }, leases));
    if (stored === undefined) return { kind: 'busy' };
    const error = inMemory === undefined ? await this.#transfer(request.place, undefined, stored) : undefined;
    if (error !== undefined) return withoutBytes(error);
    const bytes = stored.bytes.subarray(run.storedStart - stored.startBytes, run.storedEnd - stored.startBytes);
    if (bytes.length < run.storedEnd - run.storedStart) return { kind: 'mismatch' };
    if (!verifyChunks(chunks, { writeSequence: header.writeSequence, firstChunk: run.firstChunk, bytes })) return { kind: 'mismatch' };
    const lease = header.codec === CODECS.raw ? stored.lease : await this.#decode(bytes, run, leases);
    if (!(lease instanceof Lease)) return lease;
    const origin = request.kind === 'slice' ? header.presentStart : 0;
    return { kind: 'loaded', header, lease, startBytes: origin + run.rawStart, endBytes: origin + run.rawEnd };
  }

  async #decode(bytes: Buffer, run: ChunkRun, leases: Set<Lease>): Promise<Lease | NotLoaded> {
    const { metrics } = this.#options;
    const lengthBytes = run.rawEnd - run.rawStart;
    const lease = await this.#lease(lengthBytes, leases);
    if (lease === undefined) return { kind: 'busy' };
    const target = lease.bytes.subarray(0, lengthBytes);
    const isInline = lengthBytes <= INLINE_BYTES || this.#codec.isDecompressorBusy;
    metrics?.add('decompressedBytes', lengthBytes, isInline ? 'inline' : 'thread');
    const isDone = await (isInline ? INLINE_CODEC : this.#codec).decompress(bytes, run.lengths, target);
    return isDone ? lease : { kind: 'mismatch' };
  }

  /** Reads the header block, if wanted, and stored bytes, if any. @returns the error of the device, if there was one */
  async #transfer(place: ExtentPlace, block: Buffer | undefined, stored: StoredBytes | undefined): Promise<EdgeError | undefined> {
    const { device, blockSizeBytes, transferOptions } = this.#options;
    const offsetBytes = place.block * blockSizeBytes;
    const reads: Promise<void>[] = [];
    const isOneRun = block !== undefined && stored?.startBytes === 0;
    if (block !== undefined) reads.push(device.read(isOneRun ? [block, stored.bytes] : [block], offsetBytes, transferOptions));
    if (stored !== undefined && !isOneRun)
      reads.push(device.read([stored.bytes], offsetBytes + blockSizeBytes + stored.startBytes, transferOptions));
    // All of them must have ended before the slots may be given back.
    for (const result of await Promise.allSettled(reads)) {
      if (result.status === 'fulfilled') continue;
      const reason: unknown = result.reason;
      if (reason instanceof EdgeError && reason.source === 'device') return reason;
      throw reason;
    }
    return undefined;
  }

  /** Whether a sound header is that of the extent that is looked for. */
  #isWanted(request: ExtentRequest, header: KnownHeader['header']): boolean {
    const { place, kind, generation, sliceNumber } = request;
    const { blockSizeBytes } = this.#options;
    const isPlace = header.ownBlock === place.block && header.allocatedBytes === place.blocks * blockSizeBytes;
    const isCodec = header.codec === ((place.flags & ENTRY_FLAGS.lz4) === 0 ? CODECS.raw : CODECS.lz4);
    const isRecord = header.writeSequence === place.writeSequence && header.kind === EXTENT_KINDS[kind] && isCodec;
    const isSlice = header.generation === generation && header.sliceNumber === sliceNumber;
    const isLength = header.rawBytes <= PAYLOAD_BYTES_MAX && header.storedBytes <= (place.blocks - 1) * blockSizeBytes;
    return isPlace && isRecord && isSlice && isLength && isPartSound(header, kind);
  }

  /** Slots for whole blocks around `range` of the stored payload. */
  async #leaseStored(range: SliceRange, leases: Set<Lease>): Promise<StoredBytes | undefined> {
    const { blockSizeBytes } = this.#options;
    const startBytes = alignDown(range.startBytes, blockSizeBytes);
    const lengthBytes = alignUp(range.endBytes, blockSizeBytes) - startBytes;
    const lease = await this.#lease(lengthBytes, leases);
    return lease === undefined ? undefined : { lease, startBytes, bytes: lease.bytes.subarray(0, lengthBytes) };
  }

  async #lease(lengthBytes: number, leases: Set<Lease>): Promise<Lease | undefined> {
    const { arena, slotWaitMs } = this.#options;
    const lease = await arena.lease('device-read', lengthBytes, { waitMs: slotWaitMs });
    if (lease !== undefined) leases.add(lease);
    return lease;
  }
}

/**
 * Which part of the stored payload is read together with the header: all that is wanted where the blocks tell where it lies, everything
 * where that is little; else nothing, the header comes first.
 */
function storedBeside(request: ExtentRequest, payloadBytes: number): SliceRange | undefined {
  const { range, place } = request;
  const isShaped = (place.flags & SHAPED_FLAGS) !== 0;
  if (range === undefined || payloadBytes <= (isShaped ? SHAPED_ONE_READ_BYTES : ONE_READ_BYTES))
    return { startBytes: 0, endBytes: payloadBytes };
  if (isShaped) return undefined;
  const startBytes = alignDown(range.startBytes, CHUNK_BYTES);
  const endBytes = Math.min(alignUp(range.endBytes, CHUNK_BYTES), payloadBytes);
  return startBytes < endBytes ? { startBytes, endBytes } : undefined;
}

/** The chunks around `range` of the slice, as far as the extent reaches; undefined when it does not hold the range's first byte. */
function findChunks({ header, chunks }: KnownHeader, range: SliceRange | undefined): ChunkRun | undefined {
  const wanted = range ?? { startBytes: header.presentStart, endBytes: header.presentStart + header.rawBytes };
  const start = wanted.startBytes - header.presentStart;
  if (start < 0 || start >= header.rawBytes) return undefined;
  const firstChunk = divFloor(start, CHUNK_BYTES);
  const rawEnd = Math.min(alignUp(wanted.endBytes - header.presentStart, CHUNK_BYTES), header.rawBytes);
  const stored = storedChunks(chunks, { firstChunk, endChunk: divCeil(rawEnd, CHUNK_BYTES) });
  return {
    firstChunk,
    rawStart: firstChunk * CHUNK_BYTES,
    rawEnd,
    storedStart: stored.startBytes,
    storedEnd: stored.endBytes,
    lengths: stored.lengths,
  };
}

/** A device that is busy has not failed. */
function withoutBytes(error: EdgeError): NotLoaded {
  return error.code === 'DEVICE_BUSY' ? { kind: 'busy' } : { kind: 'failed', error };
}

/** A slice's payload is the part that is present; a manifest's begins with it. */
function isPartSound(header: KnownHeader['header'], kind: keyof typeof EXTENT_KINDS): boolean {
  const presentBytes = header.presentEnd - header.presentStart;
  if (presentBytes < 0) return false;
  return kind === 'slice' ? presentBytes === header.rawBytes : header.presentStart === 0 && presentBytes < header.rawBytes;
}
