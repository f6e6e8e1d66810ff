/**
 * Writes packed extents, header blocks and payloads in one transfer. It knows nothing of the index and of free blocks: where an extent goes,
 * and what a failed write means, is decided by the caller (slice-writer).
 */

import { assert, must } from '../../base/assert.ts';
import type { Clock } from '../../base/clock.ts';
import type { BlockDevice } from '../../device/block-device.ts';
import { CODECS, EXTENT_KINDS, type ExtentIdentity, encodeExtentHeader } from '../../format/extent-header.ts';
import type { ExtentPlace } from '../index/slice-index.ts';
import type { PackedExtent } from './extent-packer.ts';

/** An extent that has its place. */
export interface PlacedExtent {
  readonly packed: PackedExtent;
  readonly place: ExtentPlace;
}

/** Writes extents to one device. */
export class ExtentWriter {
  readonly #device: BlockDevice;
  readonly #clock: Clock;
  readonly #identity: ExtentIdentity;
  readonly #epoch: number;
  readonly blockSizeBytes: number;
  readonly #newestPurge: () => number;

  constructor(options: {
    readonly device: BlockDevice;
    readonly clock: Clock;
    readonly identity: ExtentIdentity;
    /** Of this mount. */
    readonly epoch: number;
    readonly blockSizeBytes: number;
    readonly newestPurge: () => number;
  }) {
    this.#device = options.device;
    this.#clock = options.clock;
    this.#identity = options.identity;
    this.#epoch = options.epoch;
    this.blockSizeBytes = options.blockSizeBytes;
    this.#newestPurge = options.newestPurge;
  }

  /**
   * Writes extents that lie one behind the other, in one transfer.
   *
   * @throws EdgeError DEVICE_FAULT; what lies on the blocks is unknown then
   */
  async write(extents: readonly PlacedExtent[]): Promise<void> {
    const first = must(extents[0], 'a write has at least one extent');
    let nextBlock = first.place.block;
    const buffers: Buffer[] = [];
    for (const extent of extents) {
      assert(extent.place.block === nextBlock, 'extents of one write lie one behind the other');
      nextBlock += extent.place.blocks;
      this.#encode(extent);
      buffers.push(...piecesOf(extent.packed));
    }
    await this.#device.write(buffers, first.place.block * this.blockSizeBytes);
  }

  #encode({ packed, place }: PlacedExtent): void {
    const { content, header, payload, storedBytes, chunkLengths } = packed;
    const allocatedBytes = place.blocks * this.blockSizeBytes;
    assert(header.length + payload.length === allocatedBytes, 'the extent is as long as its place');
    payload.fill(0, storedBytes);
    const fields = {
      ...content,
      kind: EXTENT_KINDS[content.kind],
      codec: CODECS[packed.codec],
      ownBlock: place.block,
      writeSequence: place.writeSequence,
      rawBytes: packed.rawBytes,
      storedBytes,
      allocatedBytes,
      epoch: this.#epoch,
      writtenAtMs: this.#clock.wallMs(),
      purgeSequence: this.#newestPurge(),
    };
    encodeExtentHeader(fields, this.#identity, { target: header, payload: payload.subarray(0, storedBytes), chunkLengths });
  }
}

/** One piece where header and payload lie one behind the other. */
function piecesOf({ header, payload }: PackedExtent): readonly Buffer[] {
  const { buffer, byteOffset, length } = header;
  const isJoined = payload.buffer === buffer && payload.byteOffset === byteOffset + length;
  return isJoined ? [Buffer.from(buffer, byteOffset, length + payload.length)] : [header, payload];
}
