/**
 * Reads one extent, or some of its chunks, and lets it prove itself: header checksum, MAC, own address, length, kind, generation, number and
 * write sequence, and the checksum of every chunk that is handed out. It knows nothing of the index: what a mismatch means is decided by
 * those who call it (slice-reader and whoever checks a device).
 */
import { EdgeError } from '../base/errors.ts';
import { alignDown, alignUp, divFloor } from '../base/units.ts';
import type { BlockDevice, TransferOptions } from '../device/block-device.ts';
import { CODECS, decodeExtentHeader, EXTENT_KINDS, type ExtentHeader, type ExtentIdentity, verifyChunks } from '../format/extent-header.ts';
import { CHUNK_BYTES } from '../format/geometry.ts';
import type { Arena } from '../memory/arena.ts';
import type { Lease } from '../memory/lease.ts';
import type { ExtentPlace } from './slice-index.ts';

/** Bytes of a payload, as it was before encoding; half-open. */
export interface PayloadRange {
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
  /** Wanted part of the payload; the whole when undefined. */
  readonly range?: PayloadRange | undefined;
}

/** An extent that proved itself. The caller ends `lease`: payload bytes from `startBytes` on, whole chunks of them, at least to what was wanted. */
export interface LoadedExtent {
  readonly kind: 'loaded';
  readonly header: ExtentHeader;
  readonly lease: Lease;
  /** Of the payload; a multiple of CHUNK_BYTES. */
  readonly startBytes: number;
}

/** `mismatch`: something else lies there, or it is damaged. `failed`: the device said so. `busy`: no slot, or no turn at the device, in time. */
export type ExtentOutcome =
  | LoadedExtent
  | { readonly kind: 'mismatch' }
  | { readonly kind: 'failed'; readonly error: EdgeError }
  | { readonly kind: 'busy' };

/** Reads extents of one device. */
export class ExtentReader {
  readonly #device: BlockDevice;
  readonly #arena: Arena;
  readonly #identity: ExtentIdentity;
  readonly #blockSizeBytes: number;
  readonly #slotWaitMs: number;
  readonly #transferOptions: TransferOptions;

  constructor(options: {
    readonly device: BlockDevice;
    readonly arena: Arena;
    readonly identity: ExtentIdentity;
    readonly blockSizeBytes: number;
    readonly slotWaitMs: number;
    readonly transferOptions?: TransferOptions;
  }) {
    this.#device = options.device;
    this.#arena = options.arena;
    this.#identity = options.identity;
    this.#blockSizeBytes = options.blockSizeBytes;
    this.#slotWaitMs = options.slotWaitMs;
    this.#transferOptions = options.transferOptions ?? {};
  }

  /** Reads and verifies, once. Never throws on what the device does or holds. */
  async read(request: ExtentRequest): Promise<ExtentOutcome> {
    const payloadBytes = (request.place.blocks - 1) * this.#blockSizeBytes;
    const wanted = request.range ?? { startBytes: 0, endBytes: payloadBytes };
    const startBytes = alignDown(wanted.startBytes, CHUNK_BYTES);
    const endBytes = Math.min(alignUp(wanted.endBytes, CHUNK_BYTES), payloadBytes);
    if (endBytes <= startBytes) return { kind: 'mismatch' };
    const header = await this.#lease(this.#blockSizeBytes);
    if (header === undefined) return { kind: 'busy' };
    try {
      const lease = await this.#lease(endBytes - startBytes);
      if (lease === undefined) return { kind: 'busy' };
      const buffers = {
        headerBlock: header.bytes.subarray(0, this.#blockSizeBytes),
        payload: lease.bytes.subarray(0, endBytes - startBytes),
      };
      const outcome = await this.#readRaw(request, startBytes, buffers);
      if ('ownBlock' in outcome) return { kind: 'loaded', header: outcome, lease, startBytes };
      lease.end();
      return outcome;
    } finally {
      header.end();
    }
  }

  async #readRaw(
    request: ExtentRequest,
    startBytes: number,
    buffers: { readonly headerBlock: Buffer; readonly payload: Buffer },
  ): Promise<ExtentHeader | Exclude<ExtentOutcome, LoadedExtent>> {
    const { headerBlock, payload } = buffers;
    const offsetBytes = request.place.block * this.#blockSizeBytes;
    const error =
      startBytes === 0
        ? await this.#transfer([{ buffers: [headerBlock, payload], offsetBytes }])
        : await this.#transfer([
            { buffers: [headerBlock], offsetBytes },
            { buffers: [payload], offsetBytes: offsetBytes + this.#blockSizeBytes + startBytes },
          ]);
    if (error?.code === 'DEVICE_BUSY') return { kind: 'busy' };
    if (error !== undefined) return { kind: 'failed', error };
    const header = this.#verifyHeader(request, headerBlock);
    if (header === undefined) return { kind: 'mismatch' };
    const chunks = { firstChunk: divFloor(startBytes, CHUNK_BYTES), bytes: payload };
    return verifyChunks(headerBlock, header, chunks) ? header : { kind: 'mismatch' };
  }

  /** @returns the error of the device, if there was one */
  async #transfer(reads: readonly { readonly buffers: readonly Buffer[]; readonly offsetBytes: number }[]): Promise<EdgeError | undefined> {
    const results = await Promise.allSettled(reads.map((read) => this.#device.read(read.buffers, read.offsetBytes, this.#transferOptions)));
    // All of them must have ended before the slots may be given back.
    for (const result of results) {
      if (result.status === 'fulfilled') continue;
      const reason: unknown = result.reason;
      if (reason instanceof EdgeError && reason.source === 'device') return reason;
      throw reason;
    }
    return undefined;
  }

  #verifyHeader(request: ExtentRequest, headerBlock: Buffer): ExtentHeader | undefined {
    const { place, kind, generation, sliceNumber } = request;
    const header = decodeExtentHeader(headerBlock, this.#identity);
    if (header === undefined) return undefined;
    const isPlace = header.ownBlock === place.block && header.allocatedBytes === place.blocks * this.#blockSizeBytes;
    const isRecord = header.writeSequence === place.writeSequence && header.kind === EXTENT_KINDS[kind] && header.codec === CODECS.raw;
    const isSlice = header.generation === generation && header.sliceNumber === sliceNumber;
    const isLength = header.storedBytes === header.rawBytes && header.rawBytes <= (place.blocks - 1) * this.#blockSizeBytes;
    const presentBytes = header.presentEnd - header.presentStart;
    const isPart = header.presentStart === 0 && (kind === 'slice' ? presentBytes === header.rawBytes : presentBytes < header.rawBytes);
    return isPlace && isRecord && isSlice && isLength && isPart ? header : undefined;
  }

  #lease(lengthBytes: number): Promise<Lease | undefined> {
    return this.#arena.lease('device-read', lengthBytes, { waitMs: this.#slotWaitMs });
  }
}
