/**
 * Makes of a payload in memory what one write takes: a header block, and the payload in whole blocks, compressed where that pays. When no
 * slot or no thread is free for compressing, the payload is stored as it came: it never holds up the queue behind it.
 */
import type { MetricSet } from '../../base/metrics.ts';
import { alignUp, divCeil, SECOND_MS } from '../../base/units.ts';
import { ENTRY_FLAGS } from '../../format/entry-flags.ts';
import type { CODECS, EXTENT_KINDS } from '../../format/extent-header.ts';
import type { Manifest, ObjectHash } from '../../format/manifest.ts';
import type { Arena } from '../../memory/arena.ts';
import type { Lease } from '../../memory/lease.ts';
import { leaseStaging } from '../device-io.ts';
import type { STORE_METRICS } from '../store-metrics.ts';
import type { ChunkCodec } from './chunk-codec.ts';
import type { CompressionPolicy } from './compression-policy.ts';

const STAGING_WAIT_MS = SECOND_MS;
/** What is left must be at most so much of what it was, and a block less. */
const GAIN = 7 / 8;

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
  /** That part is not the whole slice. */
  readonly isPartial?: boolean | undefined;
}

/** An extent in memory, ready for its place. Whoever packed it calls `end` once the write is over. */
export interface PackedExtent {
  readonly content: ExtentContent;
  readonly codec: keyof typeof CODECS;
  /** Among which it is placed: bare manifests are kept apart, so that listing them reads little. */
  readonly band: 'slice' | 'manifest';
  /** ENTRY_FLAGS of its index entry that follow from how it is stored. */
  readonly flags: number;
  /** One block of memory for the header. */
  readonly header: Buffer;
  /** The stored payload in whole blocks; what lies behind `storedBytes` is not yet zero. */
  readonly payload: Buffer;
  readonly rawBytes: number;
  readonly storedBytes: number;
  /** Stored length of each chunk; undefined when raw. */
  readonly chunkLengths: readonly number[] | undefined;
  readonly end: () => void;
}

/** A payload as it came. */
export interface RawExtent {
  readonly content: ExtentContent;
  /** From the payload's first byte, which lies on a page, to the end of its slot. */
  readonly slot: Buffer;
  /** The block before it, where that is the caller's too: then the extent is one piece of memory, and takes no slot of its own. */
  readonly header?: Buffer | undefined;
  readonly lengthBytes: number;
}

/** Packs for one store. */
export class ExtentPacker {
  readonly #arena: Arena;
  readonly #codec: ChunkCodec;
  readonly #policy: CompressionPolicy;
  readonly #metrics: MetricSet<typeof STORE_METRICS>;
  readonly #blockSizeBytes: number;

  constructor(options: {
    readonly arena: Arena;
    readonly codec: ChunkCodec;
    readonly policy: CompressionPolicy;
    readonly metrics: MetricSet<typeof STORE_METRICS>;
    readonly blockSizeBytes: number;
  }) {
    this.#arena = options.arena;
    this.#codec = options.codec;
    this.#policy = options.policy;
    this.#metrics = options.metrics;
    this.#blockSizeBytes = options.blockSizeBytes;
  }

  /** As it came. @returns undefined when there is no slot in time */
  packRaw(raw: RawExtent): PackedExtent | undefined | Promise<PackedExtent | undefined> {
    const { header, slot, lengthBytes } = raw;
    const alignedBytes = alignUp(lengthBytes, this.#blockSizeBytes);
    // A slot of pages may be shorter than a block.
    if (header !== undefined && slot.length >= alignedBytes) {
      return asItCame(raw, { header, payload: slot.subarray(0, alignedBytes), end: () => undefined });
    }
    return this.#packBesides(raw, alignedBytes);
  }

  async #packBesides(raw: RawExtent, alignedBytes: number): Promise<PackedExtent | undefined> {
    const blockSizeBytes = this.#blockSizeBytes;
    const needsCopy = raw.slot.length < alignedBytes;
    const staging = await leaseStaging(this.#arena, blockSizeBytes + (needsCopy ? alignedBytes : 0), STAGING_WAIT_MS);
    if (staging === undefined) return undefined;
    const payload = (needsCopy ? staging.bytes.subarray(blockSizeBytes) : raw.slot).subarray(0, alignedBytes);
    if (needsCopy) raw.slot.copy(payload, 0, 0, raw.lengthBytes);
    return asItCame(raw, { header: staging.bytes.subarray(0, blockSizeBytes), payload, end: () => staging.end() });
  }

  /**
   * Compressed where that pays, else as it came.
   *
   * @param options.isBehind the device waits: no time for compressing
   * @returns undefined when there is no slot in time
   */
  pack(
    raw: RawExtent,
    options: { readonly manifest: Manifest | undefined; readonly isBehind: boolean },
  ): PackedExtent | undefined | Promise<PackedExtent | undefined> {
    const decision = this.#policy.decide(raw.content, options.manifest);
    if (decision === 'off') return this.packRaw(raw);
    if (decision !== 'try') return this.#skip(raw, decision);
    // It cannot become a block less.
    if (raw.lengthBytes <= this.#blockSizeBytes) return this.#skip(raw, 'probe');
    if (options.isBehind || this.#codec.isCompressorBusy) return this.#skip(raw, 'load');
    const staging = this.#arena.tryLease('staging', this.#blockSizeBytes + alignUp(raw.lengthBytes, this.#blockSizeBytes));
    return staging === undefined ? this.#skip(raw, 'load') : this.#tryPack(raw, staging);
  }

  async #tryPack(raw: RawExtent, staging: Lease): Promise<PackedExtent | undefined> {
    const packed = await this.#compress(raw, staging);
    this.#policy.remember(raw.content.generation, packed !== undefined);
    if (packed === undefined) {
      staging.end();
      return this.#skip(raw, 'probe');
    }
    this.#metrics.add('compression', 1, 'compressed');
    this.#metrics.add('compressionBytes', raw.lengthBytes, 'before');
    this.#metrics.add('compressionBytes', packed.storedBytes, 'after');
    return packed;
  }

  #skip(raw: RawExtent, reason: 'type' | 'memory' | 'probe' | 'load'): ReturnType<ExtentPacker['packRaw']> {
    this.#metrics.add('compression', 1, reason);
    return this.packRaw(raw);
  }

  async #compress(raw: RawExtent, staging: Lease): Promise<PackedExtent | undefined> {
    const { content, lengthBytes } = raw;
    const blockSizeBytes = this.#blockSizeBytes;
    const target = staging.bytes.subarray(blockSizeBytes);
    const chunkLengths = await this.#codec.compress(raw.slot.subarray(0, lengthBytes), target);
    if (chunkLengths === undefined) return undefined;
    const storedBytes = chunkLengths.reduce((sum, length) => sum + length, 0);
    const storedBlocks = divCeil(storedBytes, blockSizeBytes);
    if (storedBytes > lengthBytes * GAIN || storedBlocks >= divCeil(lengthBytes, blockSizeBytes)) return undefined;
    return {
      content,
      codec: 'lz4',
      band: bandOf(content),
      flags: flagsOf(content) + ENTRY_FLAGS.lz4,
      header: staging.bytes.subarray(0, blockSizeBytes),
      payload: target.subarray(0, storedBlocks * blockSizeBytes),
      rawBytes: lengthBytes,
      storedBytes,
      chunkLengths,
      end: () => staging.end(),
    };
  }
}

function asItCame({ content, lengthBytes }: RawExtent, memory: Pick<PackedExtent, 'header' | 'payload' | 'end'>): PackedExtent {
  return {
    content,
    codec: 'raw',
    band: bandOf(content),
    flags: flagsOf(content),
    rawBytes: lengthBytes,
    storedBytes: lengthBytes,
    chunkLengths: undefined,
    ...memory,
  };
}

/** Whether a manifest's extent begins with the object's one slice. */
function hasBody({ kind, presentEnd }: ExtentContent): boolean {
  return kind === 'manifest' && presentEnd > 0;
}

function bandOf(content: ExtentContent): PackedExtent['band'] {
  return hasBody(content) ? 'slice' : content.kind;
}

function flagsOf(content: ExtentContent): number {
  return (hasBody(content) ? ENTRY_FLAGS.body : 0) + (content.isPartial === true ? ENTRY_FLAGS.partial : 0);
}
