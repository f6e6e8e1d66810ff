/**
 * Writes one extent: header block and payload in one transfer. It knows nothing of the index and of free blocks: where the extent goes, and
 * what a failed write means, is decided by the caller (slice-writer).
 */

import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { alignUp } from '../base/units.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { CODECS, EXTENT_KINDS, type ExtentIdentity, encodeExtentHeader } from '../format/extent-header.ts';
import type { ObjectHash } from '../format/manifest.ts';
import type { ExtentPlace } from './slice-index.ts';

/** What an extent is to hold. */
export interface ExtentContent {
  readonly kind: keyof typeof EXTENT_KINDS;
  readonly objectHash: ObjectHash;
  /** May be empty in a slice. */
  readonly keyText: string;
  readonly generation: number;
  /** MANIFEST_NUMBER for a manifest. */
  readonly sliceNumber: number;
  /** The part of the slice that the payload begins with (see FORMAT.md, "Extent header"). */
  readonly presentStart: number;
  readonly presentEnd: number;
}

/** Memory of one write: whole blocks, page-aligned, the caller's until the write has ended. */
export interface ExtentBuffers {
  /** One block; becomes the header. */
  readonly header: Buffer;
  /** The payload, padded to a block; what lies behind `lengthBytes` becomes zero. */
  readonly payload: Buffer;
  readonly lengthBytes: number;
}

/** Writes extents to one device. */
export class ExtentWriter {
  readonly #device: BlockDevice;
  readonly #clock: Clock;
  readonly #identity: ExtentIdentity;
  readonly #epoch: number;
  readonly #blockSizeBytes: number;
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
    this.#blockSizeBytes = options.blockSizeBytes;
    this.#newestPurge = options.newestPurge;
  }

  /** @throws EdgeError DEVICE_FAULT; what lies on the blocks is unknown then */
  async write(content: ExtentContent, place: ExtentPlace, buffers: ExtentBuffers): Promise<void> {
    const { header, payload, lengthBytes } = buffers;
    const allocatedBytes = place.blocks * this.#blockSizeBytes;
    assert(
      header.length === this.#blockSizeBytes && payload.length === alignUp(lengthBytes, this.#blockSizeBytes),
      'buffers are whole blocks',
    );
    assert(header.length + payload.length === allocatedBytes, 'the extent is as long as its place');
    payload.fill(0, lengthBytes);
    const fields = {
      ...content,
      kind: EXTENT_KINDS[content.kind],
      codec: CODECS.raw,
      ownBlock: place.block,
      writeSequence: place.writeSequence,
      rawBytes: lengthBytes,
      storedBytes: lengthBytes,
      allocatedBytes,
      epoch: this.#epoch,
      writtenAtMs: this.#clock.wallMs(),
      purgeSequence: this.#newestPurge(),
    };
    encodeExtentHeader(fields, this.#identity, { target: header, payload: payload.subarray(0, lengthBytes) });
    await this.#device.write([header, payload], place.block * this.#blockSizeBytes);
  }
}
