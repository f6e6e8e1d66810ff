/**
 * Caches of slices as eviction.ts compares them: what is in, and what gives way. They know sizes only; nothing is stored. SIEVE is the
 * product's own index; the others are the textbook.
 */
import { must } from '../../src/base/assert.ts';
import type { ObjectTag } from '../../src/store/index/object-table.ts';
import { NO_SLOT, SliceIndex } from '../../src/store/index/slice-index.ts';

const NONE = 2 ** 32 - 1;

/** A slice as a cache sees it. */
export interface CachedSlice {
  /** Number among all slices of the trace. */
  readonly id: number;
  readonly object: number;
  readonly sliceNumber: number;
  readonly lengthBytes: number;
}

/** A cache that is told of every access. */
export interface ModelCache {
  readonly usedBytes: number;
  /** Whether the slice is in; a hit is noted. @param nextUse number of the access at which it is asked for again, Infinity for never */
  hit(slice: CachedSlice, nextUse: number): boolean;
  /** Whether the slice would be put in at all. */
  wants(slice: CachedSlice, nextUse: number): boolean;
  insert(slice: CachedSlice, nextUse: number): void;
  /** Takes one out. @returns its id */
  evict(): number;
}

/** Ids in order, by links in typed arrays. */
class IdList {
  readonly #newer: Uint32Array;
  readonly #older: Uint32Array;
  newest = NONE;
  oldest = NONE;

  constructor(ids: number) {
    this.#newer = new Uint32Array(ids).fill(NONE);
    this.#older = new Uint32Array(ids).fill(NONE);
  }

  add(id: number): void {
    this.#older[id] = this.newest;
    this.#newer[id] = NONE;
    if (this.newest === NONE) this.oldest = id;
    else this.#newer[this.newest] = id;
    this.newest = id;
  }

  remove(id: number): void {
    const newer = this.#newer[id] ?? NONE;
    const older = this.#older[id] ?? NONE;
    if (newer === NONE) this.newest = older;
    else this.#older[newer] = older;
    if (older === NONE) this.oldest = newer;
    else this.#newer[older] = newer;
  }
}

/** FIFO, or exact LRU when hits move to the newest end. */
export class QueueCache implements ModelCache {
  readonly #isIn: Uint8Array;
  readonly #sizes: Uint32Array;
  readonly #list: IdList;
  readonly #movesOnHit: boolean;
  usedBytes = 0;

  constructor(sizes: Uint32Array, movesOnHit: boolean) {
    this.#sizes = sizes;
    this.#isIn = new Uint8Array(sizes.length);
    this.#list = new IdList(sizes.length);
    this.#movesOnHit = movesOnHit;
  }

  hit({ id }: CachedSlice): boolean {
    if (this.#isIn[id] !== 1) return false;
    if (this.#movesOnHit) {
      this.#list.remove(id);
      this.#list.add(id);
    }
    return true;
  }

  wants(): boolean {
    return true;
  }

  insert({ id, lengthBytes }: CachedSlice): void {
    this.#isIn[id] = 1;
    this.#list.add(id);
    this.usedBytes += lengthBytes;
  }

  evict(): number {
    const id = this.#list.oldest;
    this.#list.remove(id);
    this.#isIn[id] = 0;
    this.usedBytes -= this.#sizes[id] ?? 0;
    return id;
  }
}

const SMALL = 1;
const MAIN = 2;
const SMALL_SHARE = 0.1;

/** S3-FIFO (SOSP '23): a tenth is the small queue, two hits promote, the ghost is as long as what is in the main queue. */
export class S3FifoCache implements ModelCache {
  readonly #sizes: Uint32Array;
  readonly #capacityBytes: number;
  readonly #place: Uint8Array;
  readonly #hits: Uint8Array;
  readonly #small: IdList;
  readonly #main: IdList;
  /** In order of their eviction; deleting and adding again moves to the end. */
  readonly #ghosts = new Set<number>();
  #smallBytes = 0;
  #mainCount = 0;
  usedBytes = 0;

  constructor(sizes: Uint32Array, capacityBytes: number) {
    this.#sizes = sizes;
    this.#capacityBytes = capacityBytes;
    this.#place = new Uint8Array(sizes.length);
    this.#hits = new Uint8Array(sizes.length);
    this.#small = new IdList(sizes.length);
    this.#main = new IdList(sizes.length);
  }

  hit({ id }: CachedSlice): boolean {
    if (this.#place[id] === 0) return false;
    this.#hits[id] = Math.min(3, (this.#hits[id] ?? 0) + 1);
    return true;
  }

  wants(): boolean {
    return true;
  }

  insert({ id, lengthBytes }: CachedSlice): void {
    this.#hits[id] = 0;
    this.usedBytes += lengthBytes;
    if (this.#ghosts.delete(id)) this.#addMain(id);
    else {
      this.#place[id] = SMALL;
      this.#small.add(id);
      this.#smallBytes += lengthBytes;
    }
  }

  evict(): number {
    for (;;) {
      const isSmallDue = this.#smallBytes > this.#capacityBytes * SMALL_SHARE || this.#mainCount === 0;
      const victim = isSmallDue ? this.#evictSmall() : this.#evictMain();
      if (victim === undefined) continue;
      this.#place[victim] = 0;
      this.usedBytes -= this.#sizes[victim] ?? 0;
      return victim;
    }
  }

  #addMain(id: number): void {
    this.#place[id] = MAIN;
    this.#main.add(id);
    this.#mainCount += 1;
  }

  #evictSmall(): number | undefined {
    const id = this.#small.oldest;
    this.#small.remove(id);
    this.#smallBytes -= this.#sizes[id] ?? 0;
    if ((this.#hits[id] ?? 0) > 1) {
      this.#hits[id] = 0;
      this.#addMain(id);
      return undefined;
    }
    this.#ghosts.add(id);
    if (this.#ghosts.size > Math.max(1, this.#mainCount)) for (const oldest of this.#ghosts) return this.#forgetGhost(oldest, id);
    return id;
  }

  #forgetGhost(ghost: number, victim: number): number {
    this.#ghosts.delete(ghost);
    return victim;
  }

  #evictMain(): number | undefined {
    const id = this.#main.oldest;
    this.#main.remove(id);
    if ((this.#hits[id] ?? 0) > 0) {
      this.#hits[id] = (this.#hits[id] ?? 0) - 1;
      this.#main.add(id);
      return undefined;
    }
    this.#mainCount -= 1;
    return id;
  }
}

/** SIEVE as the product has it: SliceIndex with its order, its hand and its visited bits. Manifests are entries and cost no bytes here. */
export class SieveCache implements ModelCache {
  readonly #index: SliceIndex;
  readonly #sizes: Uint32Array;
  readonly #firstSlice: Uint32Array;
  usedBytes = 0;

  /** @param firstSlice of each object among all slices */
  constructor(sizes: Uint32Array, firstSlice: Uint32Array) {
    this.#sizes = sizes;
    this.#firstSlice = firstSlice;
    // Bytes are the limit, not entries: room for every slice and every object.
    this.#index = new SliceIndex(sizes.length + 2 * firstSlice.length);
  }

  hit({ object, sliceNumber }: CachedSlice): boolean {
    const slot = this.#index.findSlice(object + 1, sliceNumber);
    if (slot === NO_SLOT) return false;
    this.#index.markVisited(slot);
    return true;
  }

  wants(): boolean {
    return true;
  }

  insert({ object, sliceNumber, lengthBytes }: CachedSlice): void {
    const index = this.#index;
    const place = { block: 0, blocks: 1, writeSequence: 1, flags: 0 };
    let manifest = index.findManifest(object + 1);
    if (manifest === NO_SLOT) {
      manifest = index.recordOf(index.putManifest(tagOf(object), object + 1));
      index.setPlace(manifest, place);
    }
    index.putSlice(object + 1, sliceNumber, place);
    index.addSlices(index.tagSlotOf(manifest), 1);
    this.usedBytes += lengthBytes;
  }

  evict(): number {
    const index = this.#index;
    for (;;) {
      const victim = index.nextVictim();
      if (index.kind(victim) === 'manifest') {
        index.removeManifest(index.tagSlotOf(victim));
        continue;
      }
      const object = index.generation(victim) - 1;
      const id = (this.#firstSlice[object] ?? 0) + index.sliceNumber(victim);
      index.addSlices(index.tagSlotOf(index.findManifest(object + 1)), -1);
      index.removeSlice(victim);
      this.usedBytes -= this.#sizes[id] ?? 0;
      return id;
    }
  }
}

/** Belady: gives up what is asked for again the latest, and takes nothing that is asked for later than all that is in. */
export class BeladyCache implements ModelCache {
  readonly #sizes: Uint32Array;
  readonly #capacityBytes: number;
  /** When each slice that is in is asked for again; 0: not in. */
  readonly #nextUse: Float64Array;
  /** A heap of [next use, id], the latest first; entries whose slice has moved on are passed over. */
  readonly #heapUses: number[] = [];
  readonly #heapIds: number[] = [];
  usedBytes = 0;

  constructor(sizes: Uint32Array, capacityBytes: number) {
    this.#sizes = sizes;
    this.#capacityBytes = capacityBytes;
    this.#nextUse = new Float64Array(sizes.length);
  }

  hit({ id }: CachedSlice, nextUse: number): boolean {
    if (this.#nextUse[id] === 0) return false;
    this.#set(id, nextUse);
    return true;
  }

  wants({ lengthBytes }: CachedSlice, nextUse: number): boolean {
    if (nextUse === Number.POSITIVE_INFINITY) return false;
    if (this.usedBytes + lengthBytes <= this.#capacityBytes) return true;
    this.#dropOutdated();
    return nextUse < (this.#heapUses[0] ?? Number.POSITIVE_INFINITY);
  }

  insert({ id, lengthBytes }: CachedSlice, nextUse: number): void {
    this.#set(id, nextUse);
    this.usedBytes += lengthBytes;
  }

  evict(): number {
    this.#dropOutdated();
    const id = must(this.#heapIds[0], 'something is in');
    this.#nextUse[id] = 0;
    this.#dropTop();
    this.usedBytes -= this.#sizes[id] ?? 0;
    return id;
  }

  #set(id: number, nextUse: number): void {
    this.#nextUse[id] = nextUse;
    let at = this.#heapUses.length;
    for (; at > 0; ) {
      const parent = Math.floor((at - 1) / 2);
      if ((this.#heapUses[parent] ?? 0) >= nextUse) break;
      this.#move(parent, at);
      at = parent;
    }
    this.#heapUses[at] = nextUse;
    this.#heapIds[at] = id;
  }

  #dropOutdated(): void {
    while (this.#heapIds.length > 0 && this.#nextUse[this.#heapIds[0] ?? 0] !== this.#heapUses[0]) this.#dropTop();
  }

  #dropTop(): void {
    const use = this.#heapUses.pop() ?? 0;
    const id = this.#heapIds.pop() ?? 0;
    const length = this.#heapUses.length;
    if (length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= length) break;
      if (child + 1 < length && (this.#heapUses[child + 1] ?? 0) > (this.#heapUses[child] ?? 0)) child += 1;
      if ((this.#heapUses[child] ?? 0) <= use) break;
      this.#move(child, at);
      at = child;
    }
    this.#heapUses[at] = use;
    this.#heapIds[at] = id;
  }

  #move(from: number, to: number): void {
    this.#heapUses[to] = this.#heapUses[from] ?? 0;
    this.#heapIds[to] = this.#heapIds[from] ?? 0;
  }
}

/** A tag for an object of a trace, as well mixed as the hash that it stands for. */
export function tagOf(object: number): ObjectTag {
  return { tagLow: Math.imul(object + 1, 0x9e3779b1) >>> 0, tagHigh: Math.imul(object + 7, 0x85ebca6b) >>> 0 };
}
