/**
 * The index: what is stored where. Flat typed arrays on shared memory with one writer, a fixed number of entries, 36 bytes an entry plus a
 * flag byte and its hash bucket; no JavaScript object per slice. It knows nothing of blocks being free, of the journal or of memory.
 *
 * An object takes two entries: its record (kind `manifest`, found by generation, in eviction order like a slice) and its tag entry (found
 * by the first 64 bits of the object hash; freshness and count of slices). A slice is found by generation and slice number. A manifest
 * with 0 blocks is offered but not yet written.
 *
 *   word        0           1                    2             3      4       5       6      7       8
 *   record   generation  gen.high|seq.high  sequence low    block  blocks  number  chain  newer   older     number: of slice; tag entry
 *   tag      tag low     tag high           record's slot   slices recv.   age     chain  fresh   fresh.high|recv.high
 */
import { assert } from '../base/assert.ts';
import { powerOfTwoCeil } from '../base/units.ts';
import { ENTRY_FLAGS } from '../format/entry-flags.ts';
import { MANIFEST_NUMBER } from '../format/journal-block.ts';
import type { ManifestFreshness } from '../format/manifest.ts';
import { storedTime, U48_MAX } from '../format/manifest-record.ts';

/** No entry. */
export const NO_SLOT = 2 ** 32 - 1;
const WORDS = 9;
const GENERATION = 0;
const HIGHS = 1;
const SEQUENCE = 2;
const BLOCK = 3;
const BLOCKS = 4;
const NUMBER = 5;
const CHAIN = 6;
const NEWER = 7;
const OLDER = 8;
const TAG_LOW = 0;
const TAG_HIGH = 1;
const RECORD = 2;
const SLICES = 3;
const RECEIVED = 4;
const AGE = 5;
const FRESH = 7;
const TIME_HIGHS = 8;

/** An entry's byte: ENTRY_FLAGS in the low five bits, above them its kind. */
const KIND_SHIFT = 5;
const KIND_FREE = 0;
const KIND_SLICE = 1 << KIND_SHIFT;
const KIND_MANIFEST = 2 << KIND_SHIFT;
const KIND_TAG = 3 << KIND_SHIFT;
const KIND_MASK = 3 << KIND_SHIFT;
const VISITED = ENTRY_FLAGS.visited;
const UNPROVED = ENTRY_FLAGS.unproved;
/** Flags that say how a record is stored; they change with its place. */
const STORED_FLAGS = ENTRY_FLAGS.lz4 + ENTRY_FLAGS.partial + ENTRY_FLAGS.body;

/** What an entry is. */
export type EntryKind = 'free' | 'slice' | 'manifest' | 'tag';
const KIND_NAMES: readonly EntryKind[] = ['free', 'slice', 'manifest', 'tag'];

/** First 64 bits of an object hash, in halves. */
export interface ObjectTag {
  readonly tagLow: number;
  readonly tagHigh: number;
}

/** Where a record lies. */
export interface ExtentPlace {
  readonly block: number;
  readonly blocks: number;
  readonly writeSequence: number;
  /** How it is stored: ENTRY_FLAGS lz4, partial and body. */
  readonly flags: number;
}

/** Memory that an index of `entryCount` entries takes. */
export function indexMemoryBytes(entryCount: number): number {
  return entryCount * (WORDS * 4 + 1) + powerOfTwoCeil(entryCount) * 4;
}

/** Fixed-size index; `entryCount` >= 2. */
export class SliceIndex {
  /** Entries that may be used when nothing is being recovered. */
  readonly entryCount: number;
  readonly #slotCount: number;
  readonly #words: Uint32Array;
  readonly #flags: Uint8Array;
  readonly #buckets: Uint32Array;
  /** Slots that were given back, chained; beyond #slotLimit none was ever used, and its memory never touched. */
  #freeHead = NO_SLOT;
  #slotLimit = 0;
  #used = 0;
  #newest = NO_SLOT;
  #oldest = NO_SLOT;
  #hand = NO_SLOT;

  /** @param spareEntries room beyond `entryCount` for the states that replay passes through; memory that is not used is not touched */
  constructor(entryCount: number, spareEntries = 0) {
    assert(entryCount >= 2 && entryCount + spareEntries < NO_SLOT, 'SliceIndex: entry count is in range');
    this.entryCount = entryCount;
    this.#slotCount = entryCount + spareEntries;
    this.#words = new Uint32Array(new SharedArrayBuffer(this.#slotCount * WORDS * 4));
    this.#flags = new Uint8Array(new SharedArrayBuffer(this.#slotCount));
    this.#buckets = new Uint32Array(new SharedArrayBuffer(powerOfTwoCeil(entryCount) * 4)).fill(NO_SLOT);
  }

  get usedEntries(): number {
    return this.#used;
  }

  /** No slot from here on was ever used; a walk over slots ends here. */
  get slotLimit(): number {
    return this.#slotLimit;
  }

  /** Negative while replay uses spare ones. */
  get freeEntries(): number {
    return this.entryCount - this.#used;
  }

  findSlice(generation: number, sliceNumber: number): number {
    return this.#findRecord(generation, sliceNumber, KIND_SLICE);
  }

  /** The record entry of the manifest with this generation. */
  findManifest(generation: number): number {
    return this.#findRecord(generation, MANIFEST_NUMBER, KIND_MANIFEST);
  }

  /** The tag entry of an object. */
  findTag(tag: ObjectTag): number {
    let slot = this.#buckets[this.#tagBucket(tag.tagLow, tag.tagHigh)] ?? NO_SLOT;
    while (slot !== NO_SLOT) {
      const at = slot * WORDS;
      const isTag = ((this.#flags[slot] ?? 0) & KIND_MASK) === KIND_TAG;
      if (isTag && this.#words[at + TAG_LOW] === tag.tagLow && this.#words[at + TAG_HIGH] === tag.tagHigh) return slot;
      slot = this.#words[at + CHAIN] ?? NO_SLOT;
    }
    return NO_SLOT;
  }

  /** Adds a slice, newest in eviction order; the key must be absent. @returns its slot, or NO_SLOT when the index is full */
  putSlice(generation: number, sliceNumber: number, place: ExtentPlace): number {
    assert(sliceNumber < MANIFEST_NUMBER, 'slice number is below the manifest number');
    assert(this.findSlice(generation, sliceNumber) === NO_SLOT, 'slice is put once');
    const slot = this.#takeSlot(KIND_SLICE);
    if (slot === NO_SLOT) return NO_SLOT;
    this.#fillRecord(slot, generation, sliceNumber);
    this.setPlace(slot, place);
    return slot;
  }

  /** Adds an object (two entries) without an extent; tag and generation must be absent. @returns its tag slot, or NO_SLOT when full */
  putManifest(tag: ObjectTag, generation: number): number {
    assert(this.findTag(tag) === NO_SLOT, 'tag is put once');
    assert(this.findManifest(generation) === NO_SLOT, 'manifest is put once');
    if (this.#used + 2 > this.#slotCount) return NO_SLOT;
    const record = this.#takeSlot(KIND_MANIFEST);
    const tagSlot = this.#takeSlot(KIND_TAG);
    this.#fillRecord(record, generation, MANIFEST_NUMBER);
    this.#words[record * WORDS + NUMBER] = tagSlot;
    const at = tagSlot * WORDS;
    this.#words[at + TAG_LOW] = tag.tagLow;
    this.#words[at + TAG_HIGH] = tag.tagHigh;
    this.#words[at + RECORD] = record;
    this.#chain(tagSlot, this.#tagBucket(tag.tagLow, tag.tagHigh));
    return tagSlot;
  }

  /** Removes a slice. */
  removeSlice(slot: number): void {
    assert(this.kind(slot) === 'slice', 'removeSlice: slot holds a slice');
    this.#unchain(slot, this.#recordBucket(this.generation(slot), this.sliceNumber(slot)));
    this.#unlink(slot);
    this.#giveSlot(slot);
  }

  /** Removes an object's two entries; its slices stay as orphans unless removed before. */
  removeManifest(tagSlot: number): void {
    assert(this.kind(tagSlot) === 'tag', 'removeManifest: slot holds a tag');
    const record = this.recordOf(tagSlot);
    this.#unchain(record, this.#recordBucket(this.generation(record), MANIFEST_NUMBER));
    this.#unchain(tagSlot, this.#tagBucket(this.#words[tagSlot * WORDS + TAG_LOW] ?? 0, this.#words[tagSlot * WORDS + TAG_HIGH] ?? 0));
    this.#unlink(record);
    this.#giveSlot(record);
    this.#giveSlot(tagSlot);
  }

  kind(slot: number): EntryKind {
    return KIND_NAMES[(this.#flags[slot] ?? 0) >> KIND_SHIFT] ?? 'free';
  }

  generation(slot: number): number {
    const at = slot * WORDS;
    return (this.#words[at + GENERATION] ?? 0) + ((this.#words[at + HIGHS] ?? 0) % 65536) * 2 ** 32;
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
    return this.#words[slot * WORDS + BLOCKS] ?? 0;
  }

  writeSequence(slot: number): number {
    const at = slot * WORDS;
    return (this.#words[at + SEQUENCE] ?? 0) + Math.floor((this.#words[at + HIGHS] ?? 0) / 65536) * 2 ** 32;
  }

  setPlace(slot: number, place: ExtentPlace): void {
    assert(place.writeSequence <= U48_MAX, 'write sequence has 48 bits');
    const at = slot * WORDS;
    const words = this.#words;
    words[at + HIGHS] = ((words[at + HIGHS] ?? 0) % 65536) + Math.floor(place.writeSequence / 2 ** 32) * 65536;
    words[at + SEQUENCE] = place.writeSequence % 2 ** 32;
    words[at + BLOCK] = place.block;
    words[at + BLOCKS] = place.blocks;
    this.#flags[slot] = ((this.#flags[slot] ?? 0) & (KIND_MASK + VISITED)) + (place.flags & STORED_FLAGS);
  }

  /** ENTRY_FLAGS of a record. */
  flags(slot: number): number {
    return (this.#flags[slot] ?? 0) & (KIND_SLICE - 1);
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
    return ((this.#flags[slot] ?? 0) & VISITED) !== 0;
  }

  markVisited(slot: number): void {
    this.#flags[slot] = (this.#flags[slot] ?? 0) | VISITED;
  }

  /** Whether the entry comes from before an unclean end and nothing read since proves that its blocks are still its own. */
  isUnproved(slot: number): boolean {
    return ((this.#flags[slot] ?? 0) & UNPROVED) !== 0;
  }

  markUnproved(slot: number): void {
    this.#flags[slot] = (this.#flags[slot] ?? 0) | UNPROVED;
  }

  markProved(slot: number): void {
    this.#flags[slot] = (this.#flags[slot] ?? 0) & ~UNPROVED;
  }

  /** Record entry of a tag entry. */
  recordOf(tagSlot: number): number {
    return this.#words[tagSlot * WORDS + RECORD] ?? NO_SLOT;
  }

  /** Tag entry of a manifest's record entry. */
  tagSlotOf(record: number): number {
    assert(this.kind(record) === 'manifest', 'tagSlotOf: slot holds a manifest');
    return this.#words[record * WORDS + NUMBER] ?? NO_SLOT;
  }

  tag(tagSlot: number): ObjectTag {
    return { tagLow: this.#words[tagSlot * WORDS + TAG_LOW] ?? 0, tagHigh: this.#words[tagSlot * WORDS + TAG_HIGH] ?? 0 };
  }

  slices(tagSlot: number): number {
    return this.#words[tagSlot * WORDS + SLICES] ?? 0;
  }

  addSlices(tagSlot: number, amount: number): void {
    const count = this.slices(tagSlot) + amount;
    assert(count >= 0, 'count of slices is not negative');
    this.#words[tagSlot * WORDS + SLICES] = count;
  }

  freshness(tagSlot: number): ManifestFreshness {
    const at = tagSlot * WORDS;
    const highs = this.#words[at + TIME_HIGHS] ?? 0;
    return {
      receivedAtMs: (this.#words[at + RECEIVED] ?? 0) + Math.floor(highs / 65536) * 2 ** 32,
      initialAgeSeconds: this.#words[at + AGE] ?? 0,
      freshUntilMs: (this.#words[at + FRESH] ?? 0) + (highs % 65536) * 2 ** 32,
    };
  }

  setFreshness(tagSlot: number, freshness: ManifestFreshness): void {
    const received = storedTime(freshness.receivedAtMs);
    const fresh = storedTime(freshness.freshUntilMs);
    const at = tagSlot * WORDS;
    this.#words[at + RECEIVED] = received % 2 ** 32;
    this.#words[at + FRESH] = fresh % 2 ** 32;
    this.#words[at + TIME_HIGHS] = Math.floor(received / 2 ** 32) * 65536 + Math.floor(fresh / 2 ** 32);
    this.#words[at + AGE] = storedTime(freshness.initialAgeSeconds, 2 ** 32 - 1);
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
    for (let steps = 2 * this.#used; steps >= 0 && slot !== NO_SLOT; steps -= 1) {
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
    return Uint32Array.from(this.records());
  }

  /** Puts the eviction order in order of write sequence: entries come out of recovery in no order. */
  sortByWriteSequence(): void {
    const sorted = this.#sortedRecords();
    this.#newest = NO_SLOT;
    this.#oldest = NO_SLOT;
    this.#hand = NO_SLOT;
    for (const slot of sorted) this.#linkNewest(slot);
  }

  /** Radix sort, 16 bits a pass: ten million entries take well under a second, comparing ones would take ten. */
  #sortedRecords(): Uint32Array {
    let from: Uint32Array = this.recordSlots();
    let to: Uint32Array = new Uint32Array(from.length);
    for (const divisor of [1, 2 ** 16, 2 ** 32]) {
      const starts = new Uint32Array(65537);
      const digit = (slot: number): number => Math.floor(this.writeSequence(slot) / divisor) % 65536;
      for (const slot of from) starts[digit(slot) + 1] = (starts[digit(slot) + 1] ?? 0) + 1;
      for (let value = 0; value < 65536; value += 1) starts[value + 1] = (starts[value + 1] ?? 0) + (starts[value] ?? 0);
      for (const slot of from) {
        const value = digit(slot);
        const at = starts[value] ?? 0;
        to[at] = slot;
        starts[value] = at + 1;
      }
      [from, to] = [to, from];
    }
    return from;
  }

  #isVictim(slot: number): boolean {
    const flags = this.#flags[slot] ?? 0;
    if ((flags & KIND_MASK) === KIND_MANIFEST) {
      if (this.blocks(slot) === 0 || (this.slices(this.tagSlotOf(slot)) > 0 && !this.hasBody(slot))) return false;
    } else if (this.findManifest(this.generation(slot)) === NO_SLOT) return true;
    if ((flags & VISITED) === 0) return true;
    this.#flags[slot] = flags & ~VISITED;
    return false;
  }

  #findRecord(generation: number, sliceNumber: number, kind: number): number {
    const low = generation % 2 ** 32;
    const high = Math.floor(generation / 2 ** 32);
    let slot = this.#buckets[this.#recordBucket(generation, sliceNumber)] ?? NO_SLOT;
    while (slot !== NO_SLOT) {
      const at = slot * WORDS;
      if (((this.#flags[slot] ?? 0) & KIND_MASK) === kind && this.#words[at + GENERATION] === low) {
        const isSame =
          (this.#words[at + HIGHS] ?? 0) % 65536 === high && (kind === KIND_MANIFEST || this.#words[at + NUMBER] === sliceNumber);
        if (isSame) return slot;
      }
      slot = this.#words[at + CHAIN] ?? NO_SLOT;
    }
    return NO_SLOT;
  }

  #fillRecord(slot: number, generation: number, sliceNumber: number): void {
    assert(generation >= 1 && generation <= U48_MAX, 'generation has 48 bits');
    const at = slot * WORDS;
    this.#words[at + GENERATION] = generation % 2 ** 32;
    this.#words[at + HIGHS] = Math.floor(generation / 2 ** 32);
    this.#words[at + NUMBER] = sliceNumber;
    this.#chain(slot, this.#recordBucket(generation, sliceNumber));
    this.#linkNewest(slot);
  }

  #takeSlot(kind: number): number {
    if (this.#used === this.#slotCount) return NO_SLOT;
    const isNew = this.#freeHead === NO_SLOT;
    const slot = isNew ? this.#slotLimit : this.#freeHead;
    const at = slot * WORDS;
    if (isNew) this.#slotLimit += 1;
    else this.#freeHead = this.#words[at + CHAIN] ?? NO_SLOT;
    this.#words.fill(0, at, at + WORDS);
    this.#flags[slot] = kind;
    this.#used += 1;
    return slot;
  }

  #giveSlot(slot: number): void {
    this.#flags[slot] = KIND_FREE;
    this.#words[slot * WORDS + CHAIN] = this.#freeHead;
    this.#freeHead = slot;
    this.#used -= 1;
  }

  #recordBucket(generation: number, sliceNumber: number): number {
    let hash = Math.imul(generation % 2 ** 32, 0x9e3779b1) ^ Math.imul(Math.floor(generation / 2 ** 32) + 1, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) ^ Math.imul(sliceNumber + 1, 0xc2b2ae35);
    hash = Math.imul(hash ^ (hash >>> 13), 0x297a2d39);
    return ((hash ^ (hash >>> 16)) >>> 0) & (this.#buckets.length - 1);
  }

  #tagBucket(tagLow: number, tagHigh: number): number {
    return (Math.imul(tagLow ^ tagHigh, 0x9e3779b1) >>> 0) & (this.#buckets.length - 1);
  }

  #chain(slot: number, bucket: number): void {
    this.#words[slot * WORDS + CHAIN] = this.#buckets[bucket] ?? NO_SLOT;
    this.#buckets[bucket] = slot;
  }

  #unchain(slot: number, bucket: number): void {
    const next = this.#words[slot * WORDS + CHAIN] ?? NO_SLOT;
    let at = this.#buckets[bucket] ?? NO_SLOT;
    if (at === slot) {
      this.#buckets[bucket] = next;
      return;
    }
    while (this.#words[at * WORDS + CHAIN] !== slot) {
      assert(at !== NO_SLOT, 'entry is in its chain');
      at = this.#words[at * WORDS + CHAIN] ?? NO_SLOT;
    }
    this.#words[at * WORDS + CHAIN] = next;
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

/** The tag of an object hash. */
export function objectTag(objectHash: string): ObjectTag {
  const bytes = Buffer.from(objectHash.slice(0, 16), 'hex');
  return { tagLow: bytes.readUInt32LE(0), tagHigh: bytes.readUInt32LE(4) };
}
