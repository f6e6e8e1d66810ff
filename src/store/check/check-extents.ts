/**
 * Checks the extents that the index names: every header (`full`), or every byte (`deep`). Manifests first, then slices against them, each in
 * the order of the device. Memory: ten bytes for each entry of the index. Called by check-device.ts.
 */
import { EdgeError } from '../../base/errors.ts';
import { alignUp, SECOND_MS } from '../../base/units.ts';
import { ENTRY_FLAGS } from '../../format/entry-flags.ts';
import {
  CODECS,
  decodeChunkTable,
  EXTENT_KINDS,
  type ExtentHeader,
  extentBlocks,
  storedChunks,
  verifyChunks,
} from '../../format/extent-header.ts';
import { CHUNK_BYTES } from '../../format/geometry.ts';
import type { Manifest } from '../../format/manifest.ts';
import { decodeManifestRecord, MANIFEST_RECORD_BYTES_MAX } from '../../format/manifest-record.ts';
import { withStaging } from '../device-io.ts';
import { ExtentReader } from '../extents/extent-reader.ts';
import { NO_SLOT, objectTag } from '../index/slice-index.ts';
import type { DeviceView } from '../inspect-device.ts';
import type { CheckLog, DamageCode } from './check-log.ts';
import { type BlockRun, slotsByBlock } from './extent-order.ts';
import { type HeaderVerdict, judgeHeader } from './judge-extent.ts';
import { isZero, tryReadCopy } from './read-copy.ts';

/** Extents at the device at a time; a disk with a queue is read several times faster than one by one. */
const READS_MAX = 8;
const SLOT_WAIT_MS = 30 * SECOND_MS;

/** How to check. */
export interface ExtentCheckOptions {
  readonly isDeep: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Bytes checked so far, and in all (with `full`, extents). */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** What was found, for a repair. */
export interface ExtentCheck {
  /** 1 for each slot of the index whose entry is to be dropped. */
  readonly isBad: Uint8Array;
  /** Blocks that the device cannot read. */
  readonly badBlocks: readonly BlockRun[];
  /** Extents that were looked at. */
  readonly extents: number;
}

/** Checks every extent. @throws EdgeError STORE_UNAVAILABLE (no slot); what `signal` aborts with */
export async function checkExtents(view: DeviceView, log: CheckLog, options: ExtentCheckOptions): Promise<ExtentCheck> {
  return new ExtentChecker(view, log, options).run();
}

/** What is wrong with one extent. */
interface Fault {
  readonly code: DamageCode;
  readonly message: string;
}

class ExtentChecker {
  readonly #view: DeviceView;
  readonly #log: CheckLog;
  readonly #options: ExtentCheckOptions;
  readonly #extents: ExtentReader;
  readonly #isBad: Uint8Array;
  /** Of each manifest's record slot: the object's length, and the exponent of its slice size (0: unknown). */
  readonly #lengths: Float64Array;
  readonly #sliceSizes: Uint8Array;
  readonly #badBlocks: BlockRun[] = [];
  #done = 0;
  #total = 0;

  constructor(view: DeviceView, log: CheckLog, options: ExtentCheckOptions) {
    this.#view = view;
    this.#log = log;
    this.#options = options;
    const { format } = view.root;
    const { blockSizeBytes } = format.geometry;
    this.#extents = new ExtentReader({ ...view, identity: format, blockSizeBytes, slotWaitMs: SLOT_WAIT_MS });
    const entries = view.state.index.slotLimit;
    this.#isBad = new Uint8Array(entries);
    this.#lengths = new Float64Array(entries);
    this.#sliceSizes = new Uint8Array(entries);
  }

  async run(): Promise<ExtentCheck> {
    const { index } = this.#view.state;
    const sorted = slotsByBlock(index);
    this.#total = sorted.reduce((sum, slot) => sum + this.#weight(slot), 0);
    for (const kind of ['manifest', 'slice'] as const) {
      const slots = sorted.filter((slot) => index.kind(slot) === kind);
      let next = 0;
      const work = async (): Promise<void> => {
        while (next < slots.length) {
          this.#options.signal?.throwIfAborted();
          const slot = slots[next] ?? 0;
          next += 1;
          await this.#check(slot);
          this.#done += this.#weight(slot);
          this.#options.onProgress?.(this.#done, this.#total);
        }
      };
      await Promise.all(Array.from({ length: READS_MAX }, work));
    }
    this.#badBlocks.sort((left, right) => left.start - right.start);
    return { isBad: this.#isBad, badBlocks: this.#badBlocks, extents: sorted.length };
  }

  /** What an extent counts in the progress. */
  #weight(slot: number): number {
    return this.#options.isDeep ? this.#view.state.index.blocks(slot) * this.#view.root.format.geometry.blockSizeBytes : 1;
  }

  async #check(slot: number): Promise<void> {
    const { index } = this.#view.state;
    const { blockSizeBytes } = this.#view.root.format.geometry;
    const fault = index.kind(slot) === 'manifest' ? await this.#checkManifest(slot) : await this.#checkSlice(slot);
    if (fault === undefined) return;
    this.#isBad[slot] = 1;
    const block = index.block(slot);
    const what = index.kind(slot) === 'manifest' ? 'the manifest' : `slice ${index.sliceNumber(slot)}`;
    const message = `${what} of generation ${index.generation(slot)} at block ${block}: ${fault.message}`;
    const isSure = fault.code === 'extent-unreadable' || fault.code === 'extent-forged' || fault.code === 'extent-foreign';
    if (index.isUnproved(slot) && !isSure) {
      const why = 'its entry is from before an unclean end, and its data may never have arrived';
      this.#log.remark(fault.code, `${message}; ${why}`, block * blockSizeBytes);
    } else this.#log.find(fault.code, message, block * blockSizeBytes);
  }

  async #checkManifest(slot: number): Promise<Fault | undefined> {
    const { index } = this.#view.state;
    const { blockSizeBytes } = this.#view.root.format.geometry;
    // The longest record, behind an object of a chunk that rides with it.
    const blocksMax = extentBlocks(CHUNK_BYTES + MANIFEST_RECORD_BYTES_MAX, blockSizeBytes);
    if (index.blocks(slot) > blocksMax) return { code: 'extent-shape', message: `${index.blocks(slot)} blocks are too many for it` };
    // Without its record nothing can be said of its slices, so that is read whole in either case.
    const read = await this.#readWhole(slot);
    if ('code' in read) return read;
    const manifest = read.manifest;
    if (manifest === undefined) return { code: 'manifest-damaged', message: 'its record cannot be decoded' };
    const tag = objectTag(manifest.objectHash);
    const known = index.tag(index.tagSlotOf(slot));
    if (manifest.generation !== index.generation(slot) || tag.tagLow !== known.tagLow || tag.tagHigh !== known.tagHigh)
      return { code: 'manifest-damaged', message: 'its record is of another object' };
    this.#lengths[slot] = manifest.lengthBytes ?? 0;
    this.#sliceSizes[slot] = Math.log2(manifest.sliceSizeBytes);
    return undefined;
  }

  async #checkSlice(slot: number): Promise<Fault | undefined> {
    const read = this.#options.isDeep ? await this.#readWhole(slot) : await this.#readHeader(slot);
    return 'code' in read ? read : this.#compareWithManifest(slot, read.header);
  }

  #compareWithManifest(slot: number, header: ExtentHeader): Fault | undefined {
    const { index } = this.#view.state;
    const record = index.findManifest(index.generation(slot));
    if (record === NO_SLOT) return undefined;
    const tag = objectTag(header.objectHash);
    const known = index.tag(index.tagSlotOf(record));
    if (tag.tagLow !== known.tagLow || tag.tagHigh !== known.tagHigh)
      return { code: 'slice-object', message: 'its header names another object than its generation belongs to' };
    const exponent = this.#sliceSizes[record] ?? 0;
    if (exponent === 0) return undefined;
    const sliceBytes = 2 ** exponent;
    const lengthBytes = Math.min(sliceBytes, (this.#lengths[record] ?? 0) - index.sliceNumber(slot) * sliceBytes);
    if (lengthBytes <= 0)
      return { code: 'slice-beyond-end', message: `the object ends before it, after ${this.#lengths[record] ?? 0} bytes` };
    const isPartial = header.presentStart > 0 || header.presentEnd < lengthBytes;
    if (header.presentEnd > lengthBytes || (isPartial && (index.flags(slot) & ENTRY_FLAGS.partial) === 0))
      return { code: 'slice-length', message: `it holds bytes ${header.presentStart} to ${header.presentEnd} of ${lengthBytes}` };
    return undefined;
  }

  async #readHeader(slot: number): Promise<{ readonly header: ExtentHeader } | Fault> {
    const { blockSizeBytes } = this.#view.root.format.geometry;
    const block = this.#view.state.index.block(slot);
    const bytes = await tryReadCopy(this.#view, block * blockSizeBytes, blockSizeBytes);
    if (bytes === undefined) await this.#findBadBlocks({ start: block, end: block + 1 });
    return this.#judge(slot, judgeHeader(bytes, this.#view.root.format, block));
  }

  /** Reads and checks every byte of an extent. */
  async #readWhole(slot: number): Promise<{ readonly header: ExtentHeader; readonly manifest: Manifest | undefined } | Fault> {
    const { index } = this.#view.state;
    const { format } = this.#view.root;
    const { blockSizeBytes } = format.geometry;
    const { block, blocks } = index.place(slot);
    const read = await this.#withExtent(block, blocks, (bytes) => {
      const headerBlock = bytes.subarray(0, blockSizeBytes);
      const judged = this.#judge(slot, judgeHeader(headerBlock, format, block));
      if ('code' in judged) return judged;
      return findPayloadFault(headerBlock, judged.header, bytes.subarray(blockSizeBytes)) ?? judged;
    });
    if (read === undefined) {
      await this.#findBadBlocks({ start: block, end: block + blocks });
      return { code: 'extent-unreadable', message: 'the device cannot read it' };
    }
    if ('code' in read) return read;
    const isManifest = read.header.kind === EXTENT_KINDS.manifest;
    return isManifest || read.header.codec !== CODECS.raw ? this.#decode(slot, read.header) : { header: read.header, manifest: undefined };
  }

  /** Reads it as the store does: what is stored right may still be no right payload. */
  async #decode(
    slot: number,
    header: ExtentHeader,
  ): Promise<{ readonly header: ExtentHeader; readonly manifest: Manifest | undefined } | Fault> {
    const { index } = this.#view.state;
    const isManifest = index.kind(slot) === 'manifest';
    const kind = isManifest ? 'manifest' : 'slice';
    const outcome = await this.#extents.read({
      place: index.place(slot),
      kind,
      generation: index.generation(slot),
      sliceNumber: index.sliceNumber(slot),
    });
    if (outcome.kind === 'busy') throw new EdgeError('STORE_UNAVAILABLE', 'No memory was free to check an extent');
    if (outcome.kind !== 'loaded') return { code: 'payload-undecodable', message: 'its payload does not decode to what its header says' };
    const manifest = isManifest ? decodeManifestRecord(outcome.lease.bytes.subarray(header.presentEnd, header.rawBytes)) : undefined;
    outcome.lease.end();
    return { header, manifest };
  }

  #judge(slot: number, verdict: HeaderVerdict): { readonly header: ExtentHeader } | Fault {
    const { index } = this.#view.state;
    const { blockSizeBytes } = this.#view.root.format.geometry;
    if (verdict.kind !== 'sound') return HEADER_FAULTS[verdict.kind];
    const { header } = verdict;
    const { blocks, writeSequence } = index.place(slot);
    const isRecord =
      header.writeSequence === writeSequence &&
      header.generation === index.generation(slot) &&
      header.sliceNumber === index.sliceNumber(slot) &&
      header.kind === EXTENT_KINDS[index.kind(slot) === 'manifest' ? 'manifest' : 'slice'];
    if (!isRecord)
      return { code: 'extent-other', message: `write ${header.writeSequence} lies there, the entry is of write ${writeSequence}` };
    const isShape = header.allocatedBytes === blocks * blockSizeBytes && header.storedBytes <= (blocks - 1) * blockSizeBytes;
    const isInterval = header.presentStart <= header.presentEnd && header.presentEnd - header.presentStart <= header.rawBytes;
    if (!isShape || !isInterval) return { code: 'extent-shape', message: 'its lengths contradict each other' };
    return { header };
  }

  async #withExtent<T>(block: number, blocks: number, act: (bytes: Buffer) => T): Promise<T | undefined> {
    const { device, arena, root } = this.#view;
    const { blockSizeBytes } = root.format.geometry;
    return withStaging(arena, blocks * blockSizeBytes, async (bytes) => {
      try {
        await device.read([bytes], block * blockSizeBytes);
      } catch (error) {
        if (error instanceof EdgeError && error.source === 'device') return undefined;
        throw error;
      }
      return act(bytes);
    });
  }

  /** Which blocks of `run` the device cannot read. */
  async #findBadBlocks(run: BlockRun): Promise<void> {
    const { blockSizeBytes } = this.#view.root.format.geometry;
    for (let block = run.start; block < run.end; block += 1) {
      if ((await tryReadCopy(this.#view, block * blockSizeBytes, blockSizeBytes)) !== undefined) continue;
      const last = this.#badBlocks.at(-1);
      if (last?.end === block) this.#badBlocks[this.#badBlocks.length - 1] = { start: last.start, end: block + 1 };
      else this.#badBlocks.push({ start: block, end: block + 1 });
    }
  }
}

const HEADER_FAULTS = {
  none: { code: 'extent-missing', message: 'no header is there' },
  damaged: { code: 'extent-damaged', message: 'its header is damaged' },
  foreign: { code: 'extent-foreign', message: 'the header there is of another cache' },
  forged: { code: 'extent-forged', message: 'the header there lacks the proof of the key: it was not written by rawslice' },
  misplaced: { code: 'extent-misplaced', message: 'the header there belongs to another block' },
  unreadable: { code: 'extent-unreadable', message: 'the device cannot read it' },
} as const satisfies Record<Exclude<HeaderVerdict['kind'], 'sound'>, Fault>;

/** Checks stored bytes chunk by chunk, and the zeros behind them. */
function findPayloadFault(headerBlock: Buffer, header: ExtentHeader, payload: Buffer): Fault | undefined {
  const chunks = decodeChunkTable(headerBlock, header);
  const { writeSequence } = header;
  let startBytes = 0;
  for (const [firstChunk, lengthBytes] of storedChunks(chunks, { firstChunk: 0, endChunk: chunks.length }).lengths.entries()) {
    const bytes = payload.subarray(startBytes, startBytes + lengthBytes);
    if (!verifyChunks(chunks, { writeSequence, firstChunk, bytes }))
      return { code: 'chunk-damaged', message: `chunk ${firstChunk} is damaged` };
    startBytes += lengthBytes;
  }
  const endBytes = alignUp(header.storedBytes, headerBlock.length);
  if (!isZero(payload.subarray(header.storedBytes, endBytes)))
    return { code: 'padding-damaged', message: 'the zeros behind its payload are not zero' };
  return undefined;
}
