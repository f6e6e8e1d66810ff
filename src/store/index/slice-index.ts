/**
 * The index: what is stored where. Flat typed arrays on shared memory with one writer, a fixed number of entries; no JavaScript object per
 * slice. It knows nothing of blocks being free, of the journal or of memory. 34 bytes a slice: an entry of 32 and half a bucket.
 *
 * An object takes two entries: its record (kind `manifest`, found by generation, in eviction order like a slice) and a row of the object
 * table (found by tag). A slice is found by generation and slice number. A manifest with 0 blocks is offered but not yet written.
 *
 *   word        0            1            2       3        4       5       6        7
 *   entry   generation   sequence low   block   number   chain   newer   older   highs      number: of the slice; of the object's row
 *
 *   highs   write sequence 6 bits | generation 6 bits | blocks 12 bits | kind 3 bits, flags 5 bits
 *
 * The lowest byte of `highs` is also reached by itself (memory is little-endian on every machine that this runs on), so that a hit marks an
 * entry by a plain store of a byte.
 */
import { assert } from '../../base/assert.ts';
import { divFloor } from '../../base/units.ts';
import { hashOfGeneration, stepOfSlice } from '../../format/checkpoint-order.ts';
import { ENTRY_FLAGS } from '../../format/entry-flags.ts';
import { MANIFEST_NUMBER } from '../../format/journal-block.ts';
import type { ManifestFreshness } from '../../format/manifest.ts';
import { BUCKET_BYTES_PER_ROW, BucketTable } from './bucket-table.ts';
import { OBJECT_BYTES, ObjectTable, type ObjectTag } from './object-table.ts';

/** No entry. */
export const NO_SLOT = 2 ** 32 - 1;
/** Largest generation and write sequence. A store that has used them up is read-only: FORMAT.md, "Numbers". */
export const COUNTER_MAX = 2 ** 38 - 1;
/** Most blocks of an extent; the largest that is written takes 2,049. */
export const EXTENT_BLOCKS_MAX = 4095;

const WORDS = 8;
const GENERATION = 0;
const SEQUENCE = 1;
const BLOCK = 2;
const NUMBER = 3;
const CHAIN = 4;
const NEWER = 5;
const OLDER = 6;
const HIGHS = 7;
const FLAG_BYTE = HIGHS * 4;
const BLOCKS_SHIFT = 8;
const GENERATION_SHIFT = 20;
const SEQUENCE_SHIFT = 26;
const HIGH_MASK = 63;

/** The lowest byte: ENTRY_FLAGS in the low five bits, above them its kind. */
const KIND_SHIFT = 5;
const KIND_FREE = 0;
const KIND_SLICE = 1 << KIND_SHIFT;
const KIND_MANIFEST = 2 << KIND_SHIFT;
const KIND_MASK = 3 << KIND_SHIFT;
const VISITED = ENTRY_FLAGS.visited;
const UNPROVED = ENTRY_FLAGS.unproved;
/** Flags that say how a record is stored; they change with its place. */
const STORED_FLAGS = ENTRY_FLAGS.lz4 + ENTRY_FLAGS.partial + ENTRY_FLAGS.body;

/** What an entry is. */
export type EntryKind = 'free' | 'slice' | 'manifest';
const KIND_NAMES: readonly EntryKind[] = ['free', 'slice', 'manifest'];

/** Bits of a write sequence that one pass of the sort looks at; three passes see all 38. */
const DIGIT_BITS = 13;
const DIGITS = 2 ** DIGIT_BITS;
const PASSES = 3;
/** A long walk hands over after so many entries. */
const WALK_PIECE = 16384;

/** Where a record lies. */
export interface ExtentPlace {
  readonly block: number;
  readonly blocks: number;
  readonly writeSequence: number;
  /** How it is stored: ENTRY_FLAGS lz4, partial and body. */
  readonly flags: number;
}

/** Memory that an index of `entryCount` entries takes at most: when half of them are objects. */
export function indexMemoryBytes(entryCount: number): number {
  return entryCount * BUCKET_BYTES_PER_ROW + divFloor(entryCount, 2) * (WORDS * 4 + OBJECT_BYTES);
}

/** Fixed-size index; `entryCount` >= 2. */
export class SliceIndex {
  /** Entries that may be used when nothing is being recovered. */
  readonly entryCount: number;
  readonly #slotCount: number;
  readonly #words: Uint32Array;
  readonly #bytes: Uint8Array;
  readonly #buckets: BucketTable;
  readonly #objects: ObjectTable;
  /** Slots that were given back, chained; beyond #slotLimit none was ever used, and its memory never touched. */
  #freeHead = NO_SLOT;
  #slotLimit = 0;
  #records = 0;
  #newest = NO_SLOT;
  #oldest = NO_SLOT;
  #hand = NO_SLOT;

  /** @param spareEntries room beyond `entryCount` for the states that replay passes through; memory that is not used is not touched */
  constructor(entryCount: number, spareEntries = 0) {
    assert(entryCount >= 2 && entryCount + spareEntries < NO_SLOT, 'SliceIndex: entry count is in range');
    this.entryCount = entryCount;
    this.#slotCount = entryCount + spareEntries;
    this.#words = new Uint32Array(new SharedArrayBuffer(this.#slotCount * WORDS * 4));
    this.#bytes = new Uint8Array(this.#words.buffer);
    this.#buckets = new BucketTable(entryCount, { words: this.#words, stride: WORDS, chain: CHAIN });
    this.#objects = new ObjectTable(divFloor(this.#slotCount, 2));
  }

  /** One a slice, two an object. */
  get usedEntries(): number {
    return this.#records + this.#objects.used;
  }

  /** Slices and manifests. */
  get recordCount(): number {
    return this.#records;
  }

  /** No slot from here on was ever used; a walk over slots ends here. */
  get slotLimit(): number {
    return this.#slotLimit;
  }

  /** Places of objects and of slices, in the order of a checkpoint (checkpoint-order.ts). */
  get places(): { readonly objectPlaces: number; readonly slicePlaces: number } {
    return { objectPlaces: this.#objects.places, slicePlaces: this.#buckets.count };
  }

  /** Row of the first object that is found in a place, or NO_SLOT. Objects that no tag finds are in none. */
  firstObjectAt(place: number): number {
    return this.#objects.firstAt(place);
  }

  /** The one behind it. */
  nextObjectOf(tagSlot: number): number {
    return this.#objects.nextOf(tagSlot);
  }

  /** Slot of the first record in a place of slices, where those of manifests are too; or NO_SLOT. */
  firstRecordAt(place: number): number {
    return this.#buckets.first(place);
  }

  /** The one behind it. */
  nextRecordOf(slot: number): number {
    return this.#buckets.next(slot);
  }

  /** Negative while replay uses spare ones. */
  get freeEntries(): number {
    return this.entryCount - this.usedEntries;
  }

  findSlice(generation: number, sliceNumber: number): number {
    return this.#findRecord(generation, sliceNumber, KIND_SLICE);
  }

  /** The record entry of the manifest with this generation. */
  findManifest(generation: number): number {
    return this.#findRecord(generation, MANIFEST_NUMBER, KIND_MANIFEST);
  }

  /** The row of an object. */
  findTag(tag: ObjectTag): number {
    return this.#objects.find(tag);
  }

  /** Adds a slice, newest in eviction order; the key must be absent. @returns its slot, or NO_SLOT when the index is full */
  putSlice(generation: number, sliceNumber: number, place: ExtentPlace): number {
    assert(this.findSlice(generation, sliceNumber) === NO_SLOT, 'slice is put once');
    const slot = this.ensureSlice(generation, sliceNumber);
    if (slot !== NO_SLOT) this.setPlace(slot, place);
    return slot;
  }

  /** The slice's slot; if it was absent, a new one without blocks, which the caller gives a place at once. NO_SLOT when the index is full. */
  ensureSlice(generation: number, sliceNumber: number): number {
    assert(sliceNumber < MANIFEST_NUMBER, 'slice number is below the manifest number');
    const known = this.findSlice(generation, sliceNumber);
    if (known !== NO_SLOT || this.usedEntries >= this.#slotCount) return known;
    return this.#addRecord(KIND_SLICE, generation, sliceNumber);
  }

  /** Adds an object (two entries) without an extent; tag and generation must be absent. @returns its row, or NO_SLOT when full */
  putManifest(tag: ObjectTag, generation: number): number {
    assert(this.findManifest(generation) === NO_SLOT, 'manifest is put once');
    if (this.usedEntries + 2 > this.#slotCount) return NO_SLOT;
    const record = this.#addRecord(KIND_MANIFEST, generation, MANIFEST_NUMBER);
    const row = this.#objects.put(tag, record);
    this.#words[record * WORDS + NUMBER] = row;
    return row;
  }

  /** Removes a slice. */
  removeSlice(slot: number): void {
    assert(this.kind(slot) === 'slice', 'removeSlice: slot holds a slice');
    this.#removeRecord(slot);
  }

  /** Removes an object's two entries; its slices stay as orphans unless removed before. */
  removeManifest(tagSlot: number): void {
    const record = this.recordOf(tagSlot);
    assert(this.kind(record) === 'manifest' && this.tagSlotOf(record) === tagSlot, 'removeManifest: row belongs to a manifest');
    this.#removeRecord(record);
    this.#objects.remove(tagSlot);
  }

  /** The object is not found by its tag any more, so that another generation may take that; its entries stay, found by generation. */
  hideManifest(tagSlot: number): void {
    this.#objects.hide(tagSlot);
  }

  /** Whether the object is the one that its tag finds. */
  isFoundByTag(tagSlot: number): boolean {
    return this.#objects.isFound(tagSlot);
  }

  kind(slot: number): EntryKind {
    return KIND_NAMES[(this.#flagByte(slot) & KIND_MASK) >> KIND_SHIFT] ?? 'free';
  }

  generation(slot: number): number {
    return (this.#words[slot * WORDS + GENERATION] ?? 0) + ((this.#highs(slot) >>> GENERATION_SHIFT) & HIGH_MASK) * 2 ** 32;
  }

  /** The slice number, or MANIFEST_NUMBER. */
  sliceNumber(slot: number): number {
    return this.kind(slot) === 'manifest' ? MANIFEST_NUMBER : (this.#words[slot * WORDS + NUMBER] ?? 0);
  }

  place(slot: number): ExtentPlace {
    const flags = this.flags(slot) & STORED_FLAGS;
    return { block: this.block(slot), blocks: this.blocks(slot), writeSequence: this.writeSequence(slot), flags };
  }

  block(slot: number): number {
    return this.#words[slot * WORDS + BLOCK] ?? 0;
  }

  /** 0 for a manifest that is not yet written. */
  blocks(slot: number): number {
    return (this.#highs(slot) >>> BLOCKS_SHIFT) & EXTENT_BLOCKS_MAX;
  }

  writeSequence(slot: number): number {
    return (this.#words[slot * WORDS + SEQUENCE] ?? 0) + (this.#highs(slot) >>> SEQUENCE_SHIFT) * 2 ** 32;
  }

  setPlace(slot: number, place: ExtentPlace): void {
    assert(place.writeSequence <= COUNTER_MAX, 'write sequence has 38 bits');
    assert(place.blocks <= EXTENT_BLOCKS_MAX, 'length of an extent has 12 bits');
    const at = slot * WORDS;
    const words = this.#words;
    const high = Math.floor(place.writeSequence / 2 ** 32);
    const kept = this.#highs(slot) & ((HIGH_MASK << GENERATION_SHIFT) | KIND_MASK | VISITED);
    words[at + SEQUENCE] = place.writeSequence % 2 ** 32;
    words[at + BLOCK] = place.block;
    words[at + HIGHS] = kept | (high << SEQUENCE_SHIFT) | (place.blocks << BLOCKS_SHIFT) | (place.flags & STORED_FLAGS);
  }

  /** ENTRY_FLAGS of a record. */
  flags(slot: number): number {
    return this.#flagByte(slot) & (KIND_SLICE - 1);
  }

  /** Whether a manifest's record holds the object's one slice as well. */
  hasBody(record: number): boolean {
    return (this.flags(record) & ENTRY_FLAGS.body) !== 0 && this.kind(record) === 'manifest';
  }

  /** Whether the record holds a part of its slice only. */
  isPartial(slot: number): boolean {
    return (this.flags(slot) & ENTRY_FLAGS.partial) !== 0 && this.kind(slot) === 'slice';
  }

  isVisited(slot: number): boolean {
    return (this.#flagByte(slot) & VISITED) !== 0;
  }

  markVisited(slot: number): void {
    this.#bytes[slot * WORDS * 4 + FLAG_BYTE] = this.#flagByte(slot) | VISITED;
  }

  /** Whether the entry comes from before an unclean end and nothing read since proves that its blocks are still its own. */
  isUnproved(slot: number): boolean {
    return (this.#flagByte(slot) & UNPROVED) !== 0;
  }

  markUnproved(slot: number): void {
    this.#bytes[slot * WORDS * 4 + FLAG_BYTE] = this.#flagByte(slot) | UNPROVED;
  }

  markProved(slot: number): void {
    this.#bytes[slot * WORDS * 4 + FLAG_BYTE] = this.#flagByte(slot) & ~UNPROVED;
  }

  /** Record entry of an object's row. */
  recordOf(tagSlot: number): number {
    return this.#objects.recordOf(tagSlot);
  }

  /** Row of a manifest's record entry. */
  tagSlotOf(record: number): number {
    assert(this.kind(record) === 'manifest', 'tagSlotOf: slot holds a manifest');
    return this.#words[record * WORDS + NUMBER] ?? NO_SLOT;
  }

  tag(tagSlot: number): ObjectTag {
    return this.#objects.tag(tagSlot);
  }

  slices(tagSlot: number): number {
    return this.#objects.slices(tagSlot);
  }

  addSlices(tagSlot: number, amount: number): void {
    this.#objects.addSlices(tagSlot, amount);
  }

  freshness(tagSlot: number): ManifestFreshness {
    return this.#objects.freshness(tagSlot);
  }

  setFreshness(tagSlot: number, freshness: ManifestFreshness): void {
    this.#objects.setFreshness(tagSlot, freshness);
  }

  /**
   * The entry that SIEVE gives up next: from the hand towards newer ones, the first that was not visited since the hand last passed.
   * Orphans go at once; a manifest is passed over while slices of it exist (but for the one that its own record holds) or it is not yet
   * written.
   *
   * @returns a slice's or a manifest's slot, still in the index; NO_SLOT when everything is held
   */
  nextVictim(): number {
    let slot = this.#hand === NO_SLOT ? this.#oldest : this.#hand;
    // The first round may clear every visited bit; the second then finds one.
    for (let steps = 2 * this.#records; steps >= 0 && slot !== NO_SLOT; steps -= 1) {
      if (this.#isVictim(slot)) {
        this.#hand = slot;
        return slot;
      }
      const newer = this.#words[slot * WORDS + NEWER] ?? NO_SLOT;
      slot = newer === NO_SLOT ? this.#oldest : newer;
    }
    return NO_SLOT;
  }

  /** Slots of all records (slices and manifests), oldest first; the index must not change meanwhile. */
  *records(): Generator<number> {
    for (let slot = this.#oldest; slot !== NO_SLOT; slot = this.#words[slot * WORDS + NEWER] ?? NO_SLOT) yield slot;
  }

  /** The same as an array of its own, for walks that change the index. */
  recordSlots(): Uint32Array {
    const slots = new Uint32Array(this.#records);
    let count = 0;
    for (let slot = this.#oldest; slot !== NO_SLOT; slot = this.#words[slot * WORDS + NEWER] ?? NO_SLOT) {
      slots[count] = slot;
      count += 1;
    }
    return slots;
  }

  /** Puts the eviction order in order of write sequence: entries come out of recovery in no order. @returns their slots in that order */
  sortByWriteSequence(): Uint32Array {
    const steps = this.sortInPieces();
    for (;;) {
      const step = steps.next();
      if (step.done === true) return step.value;
    }
  }

  /** The same in pieces, for whoever has to let others run between them; until it is through the index may be searched, not changed. */
  *sortInPieces(): Generator<void, Uint32Array> {
    const sorted = yield* this.#sortedRecords();
    this.#newest = NO_SLOT;
    this.#oldest = NO_SLOT;
    this.#hand = NO_SLOT;
    for (let at = 0; at < sorted.length; at += 1) {
      this.#linkNewest(sorted[at] ?? NO_SLOT);
      if (at % WALK_PIECE === WALK_PIECE - 1) yield;
    }
    return sorted;
  }

  /** Radix sort; the keys move with the slots, because looking them up again would cost most of the time. */
  *#sortedRecords(): Generator<void, Uint32Array> {
    let from = makeKeys(this.#records);
    let count = 0;
    for (let slot = 0; slot < this.#slotLimit; slot += 1) {
      if (slot % WALK_PIECE === WALK_PIECE - 1) yield;
      if ((this.#flagByte(slot) & KIND_MASK) === KIND_FREE) continue;
      from.slots[count] = slot;
      from.lows[count] = this.#words[slot * WORDS + SEQUENCE] ?? 0;
      from.highs[count] = this.#highs(slot) >>> SEQUENCE_SHIFT;
      count += 1;
    }
    assert(count === this.#records, 'a walk over slots meets every record');
    let to = makeKeys(count);
    for (let pass = 0; pass < PASSES; pass += 1) {
      if (yield* sortPass(from, to, pass)) [from, to] = [to, from];
    }
    return from.slots;
  }

  #isVictim(slot: number): boolean {
    const flags = this.#flagByte(slot);
    if ((flags & KIND_MASK) === KIND_MANIFEST) {
      if (this.blocks(slot) === 0 || (this.slices(this.tagSlotOf(slot)) > 0 && !this.hasBody(slot))) return false;
    } else if (this.findManifest(this.generation(slot)) === NO_SLOT) return true;
    if ((flags & VISITED) === 0) return true;
    this.#bytes[slot * WORDS * 4 + FLAG_BYTE] = flags & ~VISITED;
    return false;
  }

  #findRecord(generation: number, sliceNumber: number, kind: number): number {
    const words = this.#words;
    const low = generation % 2 ** 32;
    const high = Math.floor(generation / 2 ** 32);
    for (let slot = this.#buckets.first(this.#bucketOf(generation, sliceNumber)); slot !== NO_SLOT; ) {
      const at = slot * WORDS;
      if (words[at + GENERATION] === low && (kind === KIND_MANIFEST || words[at + NUMBER] === sliceNumber)) {
        const highs = words[at + HIGHS] ?? 0;
        if ((highs & KIND_MASK) === kind && ((highs >>> GENERATION_SHIFT) & HIGH_MASK) === high) return slot;
      }
      slot = words[at + CHAIN] ?? NO_SLOT;
    }
    return NO_SLOT;
  }

  /** The slices of an object lie in buckets one behind the other, its manifest before them: whoever wants one wants the next. */
  #bucketOf(generation: number, sliceNumber: number): number {
    return this.#buckets.bucketOf(hashOfGeneration(generation), sliceNumber === MANIFEST_NUMBER ? 0 : stepOfSlice(sliceNumber));
  }

  #addRecord(kind: number, generation: number, sliceNumber: number): number {
    assert(generation >= 1 && generation <= COUNTER_MAX, 'generation has 38 bits');
    const isNew = this.#freeHead === NO_SLOT;
    const slot = isNew ? this.#slotLimit : this.#freeHead;
    const at = slot * WORDS;
    if (isNew) this.#slotLimit += 1;
    else this.#freeHead = this.#words[at + CHAIN] ?? NO_SLOT;
    this.#words.fill(0, at, at + WORDS);
    this.#words[at + GENERATION] = generation % 2 ** 32;
    this.#words[at + NUMBER] = sliceNumber;
    this.#words[at + HIGHS] = (Math.floor(generation / 2 ** 32) << GENERATION_SHIFT) | kind;
    this.#buckets.add(this.#bucketOf(generation, sliceNumber), slot);
    this.#linkNewest(slot);
    this.#records += 1;
    return slot;
  }

  #removeRecord(slot: number): void {
    this.#buckets.remove(this.#bucketOf(this.generation(slot), this.sliceNumber(slot)), slot);
    this.#unlink(slot);
    this.#words[slot * WORDS + HIGHS] = KIND_FREE;
    this.#words[slot * WORDS + CHAIN] = this.#freeHead;
    this.#freeHead = slot;
    this.#records -= 1;
  }

  #highs(slot: number): number {
    return this.#words[slot * WORDS + HIGHS] ?? 0;
  }

  #flagByte(slot: number): number {
    return this.#bytes[slot * WORDS * 4 + FLAG_BYTE] ?? 0;
  }

  #linkNewest(slot: number): void {
    const at = slot * WORDS;
    this.#words[at + NEWER] = NO_SLOT;
    this.#words[at + OLDER] = this.#newest;
    if (this.#newest === NO_SLOT) this.#oldest = slot;
    else this.#words[this.#newest * WORDS + NEWER] = slot;
    this.#newest = slot;
  }

  #unlink(slot: number): void {
    const newer = this.#words[slot * WORDS + NEWER] ?? NO_SLOT;
    const older = this.#words[slot * WORDS + OLDER] ?? NO_SLOT;
    if (this.#hand === slot) this.#hand = newer;
    if (newer === NO_SLOT) this.#newest = older;
    else this.#words[newer * WORDS + OLDER] = older;
    if (older === NO_SLOT) this.#oldest = newer;
    else this.#words[older * WORDS + NEWER] = newer;
  }
}

/** Slots with their write sequences. */
interface SortKeys {
  readonly slots: Uint32Array;
  readonly lows: Uint32Array;
  readonly highs: Uint8Array;
}

function makeKeys(count: number): SortKeys {
  return { slots: new Uint32Array(count), lows: new Uint32Array(count), highs: new Uint8Array(count) };
}

function digitOf(low: number, high: number, pass: number): number {
  if (pass === 0) return low % DIGITS;
  return pass === 1 ? (low >>> DIGIT_BITS) % DIGITS : (low >>> (2 * DIGIT_BITS)) + high * 2 ** (32 - 2 * DIGIT_BITS);
}

/** Puts `from` into `to` in order of one digit. @returns false when all have the same: nothing was done then */
function* sortPass(from: SortKeys, to: SortKeys, pass: number): Generator<void, boolean> {
  const { slots, lows, highs } = from;
  const count = slots.length;
  const starts = new Uint32Array(DIGITS + 1);
  for (let at = 0; at < count; at += 1) {
    if (at % WALK_PIECE === WALK_PIECE - 1) yield;
    const next = digitOf(lows[at] ?? 0, highs[at] ?? 0, pass) + 1;
    starts[next] = (starts[next] ?? 0) + 1;
  }
  if (count === 0 || starts[digitOf(lows[0] ?? 0, highs[0] ?? 0, pass) + 1] === count) return false;
  for (let value = 0; value < DIGITS; value += 1) starts[value + 1] = (starts[value + 1] ?? 0) + (starts[value] ?? 0);
  for (let at = 0; at < count; at += 1) {
    if (at % WALK_PIECE === WALK_PIECE - 1) yield;
    const value = digitOf(lows[at] ?? 0, highs[at] ?? 0, pass);
    const target = starts[value] ?? 0;
    starts[value] = target + 1;
    to.slots[target] = slots[at] ?? 0;
    to.lows[target] = lows[at] ?? 0;
    to.highs[target] = highs[at] ?? 0;
  }
  return true;
}

/** The tag of an object hash, which is lower-case hexadecimal. Asked for several times with each hit, so no buffer is made. */
export function objectTag(objectHash: string): ObjectTag {
  return { tagLow: wordAt(objectHash, 0), tagHigh: wordAt(objectHash, 8) };
}

/** Eight digits, the least significant pair first. */
function wordAt(digits: string, start: number): number {
  let word = 0;
  for (let pair = start + 6; pair >= start; pair -= 2)
    word = word * 256 + digitValue(digits.charCodeAt(pair)) * 16 + digitValue(digits.charCodeAt(pair + 1));
  return word;
}

function digitValue(code: number): number {
  return code < 0x3a ? code - 0x30 : code - 0x57;
}
