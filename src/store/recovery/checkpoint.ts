/**
 * Checkpoints: the index as an image, A and B in turn, written beside traffic; checkpoint-loader.ts reads them. Entries are copied place by
 * place (format/checkpoint-order.ts) while the index goes on changing: replay of the journal from where it stood at the beginning makes up for
 * that, since records are upserts. What is newer than the beginning is left to the journal, so that the image of a full index stays in its zone.
 */
import { EdgeError } from '../../base/errors.ts';
import { divCeil } from '../../base/units.ts';
import type { BlockDevice } from '../../device/block-device.ts';
import { CONTENTS_PART_ENTRIES, type ContentsEntry, encodeContentsPart } from '../../format/checkpoint-contents.ts';
import { SLICE_ORDER } from '../../format/checkpoint-order.ts';
import {
  CHECKPOINT_KINDS,
  type CheckpointEntry,
  EMPTY_ENTRY,
  encodeCheckpointEntry,
  sealCheckpointPart,
} from '../../format/checkpoint-part.ts';
import { crc32 } from '../../format/checksum.ts';
import { CHECKPOINT_PART_BYTES, CHECKPOINT_PART_ENTRIES, type Geometry } from '../../format/geometry.ts';
import { MANIFEST_NUMBER } from '../../format/journal-block.ts';
import type { Arena } from '../../memory/arena.ts';
import { withStaging } from '../device-io.ts';
import type { BlockAllocator } from '../index/block-allocator.ts';
import { NO_SLOT, type SliceIndex } from '../index/slice-index.ts';

/** Places that are looked at in one turn; an index that has become empty is not walked through in one. */
const PLACES_PER_TURN = 65_536;

/** Where a checkpoint is written to or read from. */
export interface CheckpointPlace {
  readonly device: BlockDevice;
  readonly arena: Arena;
  readonly geometry: Geometry;
  readonly deviceTag: Uint8Array;
}

/** What a checkpoint is made of. */
export interface CheckpointSource {
  readonly index: SliceIndex;
  /** Entries besides those of the index; they come first, and of them the purges. At most as many as the geometry sets apart. */
  readonly besides: readonly CheckpointEntry[];
  /** Records of this write sequence and later ones are left to the journal; all are taken when undefined. */
  readonly endSequence?: number | undefined;
  /** Lets others run where a long stretch of places is empty. */
  readonly pause?: (() => Promise<void>) | undefined;
}

/** Bad blocks as entries of a checkpoint. */
export function badRunEntries(allocator: BlockAllocator): CheckpointEntry[] {
  return allocator.badRuns.map((run) => ({ ...EMPTY_ENTRY, kind: CHECKPOINT_KINDS.badRun, ...run }));
}

/**
 * Writes the index and what stands besides it into a zone; not flushed.
 *
 * @throws EdgeError DEVICE_FAULT, STORE_UNAVAILABLE (no slot, or the index was fuller than the zone)
 */
export async function writeCheckpoint(
  place: CheckpointPlace,
  source: CheckpointSource,
  target: { readonly zone: number; readonly sequence: number },
): Promise<{ readonly entries: number; readonly parts: number; readonly crc: number }> {
  const walk = new CheckpointWalk(source);
  const contents: ContentsEntry[] = [];
  const { geometry, device, arena, deviceTag } = place;
  let entries = 0;
  let crc = 0;
  while (!walk.isOver) {
    await withStaging(arena, CHECKPOINT_PART_BYTES, async (bytes) => {
      const { count, firstOrder } = await walk.fill(bytes);
      if (count === 0) return;
      const partNumber = contents.length;
      if ((partNumber + 1) * CHECKPOINT_PART_BYTES > geometry.checkpointBytes)
        throw new EdgeError(
          'STORE_UNAVAILABLE',
          'The index was too full for a checkpoint beside what came meanwhile; a later one tries again',
        );
      const ownOffset = partOffset(geometry, target.zone, partNumber);
      const partCrc = sealCheckpointPart(bytes, { sequence: target.sequence, partNumber, ownOffset, deviceTag }, count);
      await device.write([bytes], ownOffset);
      entries += count;
      crc = chainCrc(crc, partCrc);
      contents.push({ firstOrder, crc: partCrc });
    });
  }
  await writeContents(place, { ...target, places: source.index.places, contents });
  return { entries, parts: contents.length, crc };
}

/** Goes without where the zone has no room behind the parts: nothing is asked of the checkpoint then before it is loaded. */
async function writeContents(
  { geometry, device, arena, deviceTag }: CheckpointPlace,
  written: {
    readonly zone: number;
    readonly sequence: number;
    readonly places: SliceIndex['places'];
    readonly contents: readonly ContentsEntry[];
  },
): Promise<void> {
  const { zone, sequence, places, contents } = written;
  const parts = divCeil(contents.length, CONTENTS_PART_ENTRIES);
  if ((contents.length + parts) * CHECKPOINT_PART_BYTES > geometry.checkpointBytes) return;
  for (let firstPart = 0; firstPart < contents.length; firstPart += CONTENTS_PART_ENTRIES) {
    const ownOffset = contentsOffset(geometry, { zone, parts: contents.length }, firstPart);
    const entries = contents.slice(firstPart, firstPart + CONTENTS_PART_ENTRIES);
    await withStaging(arena, CHECKPOINT_PART_BYTES, async (bytes) => {
      encodeContentsPart(bytes, { sequence, ownOffset, deviceTag, firstPart }, { places, entries });
      await device.write([bytes], ownOffset);
    });
  }
}

/** Where a part of a checkpoint lies. */
export function partOffset(geometry: Geometry, zone: number, partNumber: number): number {
  return (geometry.checkpointOffsets[zone] ?? 0) + partNumber * CHECKPOINT_PART_BYTES;
}

/** Where the part of the table of contents lies that lists the parts from `firstPart` on. */
export function contentsOffset(
  geometry: Geometry,
  checkpoint: { readonly zone: number; readonly parts: number },
  firstPart: number,
): number {
  return partOffset(geometry, checkpoint.zone, checkpoint.parts + divCeil(firstPart, CONTENTS_PART_ENTRIES));
}

/** CRC over the CRCs of parts, one after the other. */
export function chainCrc(crc: number, partCrc: number): number {
  const word = new Uint8Array(4);
  new DataView(word.buffer).setUint32(0, partCrc, true);
  return crc32(word, crc);
}

/** An entry that a part had no room for. */
interface Waiting {
  readonly order: number;
  readonly entry: CheckpointEntry;
}

/** A walk over what a checkpoint is made of. All of a place is taken in one turn: what changes there later, the image has or has not. */
class CheckpointWalk {
  readonly #source: CheckpointSource;
  readonly #endSequence: number;
  readonly #objectPlaces: number;
  readonly #placesEnd: number;
  /** Objects' places, then those of slices. */
  #place = 0;
  #waiting: readonly Waiting[];
  /** The part that is being filled. */
  #bytes: Buffer | undefined;
  #count = 0;
  #firstOrder = 0;
  /** Of the place that it ended in. */
  #surplus: Waiting[] = [];

  constructor(source: CheckpointSource) {
    this.#source = source;
    this.#endSequence = source.endSequence ?? Number.POSITIVE_INFINITY;
    const { objectPlaces, slicePlaces } = source.index.places;
    this.#objectPlaces = objectPlaces;
    this.#placesEnd = objectPlaces + slicePlaces;
    this.#waiting = source.besides.map((entry) => ({ order: 0, entry }));
  }

  get isOver(): boolean {
    return this.#waiting.length === 0 && this.#place === this.#placesEnd;
  }

  /** Encodes the next entries. @returns how many, and the order of the first */
  async fill(bytes: Buffer): Promise<{ readonly count: number; readonly firstOrder: number }> {
    this.#bytes = bytes;
    this.#count = 0;
    this.#surplus = [];
    for (const { order, entry } of this.#waiting) this.#encode(order, entry);
    for (let looked = 1; this.#place < this.#placesEnd && this.#count < CHECKPOINT_PART_ENTRIES; looked += 1) {
      if (looked % PLACES_PER_TURN === 0) await this.#source.pause?.();
      this.#takePlace(this.#place);
      this.#place += 1;
    }
    this.#waiting = this.#surplus;
    return { count: this.#count, firstOrder: this.#firstOrder };
  }

  #takePlace(place: number): void {
    const { index } = this.#source;
    if (place < this.#objectPlaces) {
      for (let row = index.firstObjectAt(place); row !== NO_SLOT; row = index.nextObjectOf(row)) this.#take(index.recordOf(row), place);
      return;
    }
    const order = SLICE_ORDER + place - this.#objectPlaces;
    for (let slot = index.firstRecordAt(place - this.#objectPlaces); slot !== NO_SLOT; slot = index.nextRecordOf(slot))
      if (index.kind(slot) === 'slice') this.#take(slot, order);
  }

  #take(slot: number, order: number): void {
    const { index } = this.#source;
    if (index.blocks(slot) > 0 && index.writeSequence(slot) < this.#endSequence) this.#encode(order, checkpointEntry(index, slot));
  }

  #encode(order: number, entry: CheckpointEntry): void {
    if (this.#bytes === undefined || this.#count === CHECKPOINT_PART_ENTRIES) {
      this.#surplus.push({ order, entry });
      return;
    }
    if (this.#count === 0) this.#firstOrder = order;
    encodeCheckpointEntry(entry, this.#bytes, this.#count);
    this.#count += 1;
  }
}

const NO_TAG = { tagLow: 0, tagHigh: 0 };
const NO_FRESHNESS = { initialAgeSeconds: 0, receivedAtMs: 0, freshUntilMs: 0 };

function checkpointEntry(index: SliceIndex, slot: number): CheckpointEntry {
  const isManifest = index.kind(slot) === 'manifest';
  const tagSlot = isManifest ? index.tagSlotOf(slot) : NO_SLOT;
  const { tagLow, tagHigh } = isManifest ? index.tag(tagSlot) : NO_TAG;
  const { initialAgeSeconds, receivedAtMs, freshUntilMs } = isManifest ? index.freshness(tagSlot) : NO_FRESHNESS;
  return {
    kind: isManifest ? CHECKPOINT_KINDS.manifest : CHECKPOINT_KINDS.slice,
    flags: index.flags(slot),
    blocks: index.blocks(slot),
    block: index.block(slot),
    generation: index.generation(slot),
    writeSequence: index.writeSequence(slot),
    sliceNumber: isManifest ? MANIFEST_NUMBER : index.sliceNumber(slot),
    tagLow,
    tagHigh,
    initialAgeSeconds,
    receivedAtMs,
    freshUntilMs,
  };
}
