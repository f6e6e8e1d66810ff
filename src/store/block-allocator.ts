/**
 * Which blocks of the allocation groups are free: a bitmap, derived from the index at start and never trusted from disk, and for each
 * group its free count and an upper bound of its longest free run. A run never crosses a group's end.
 *
 *   reserve -> acquire -> release        a record that was written, and later dropped
 *   reserve -> forfeit                   a write that failed or was overtaken
 *
 * Best fit among the next 16 free runs from a cursor: the evictor frees in write order, so holes are refilled in order. Large and small
 * extents have cursors of their own, to splinter less.
 */
import { assert } from '../base/assert.ts';
import { divCeil, divFloor } from '../base/units.ts';

const WORD_BITS = 32;
const FULL_WORD = 2 ** 32 - 1;
/** Free runs looked at before the best is taken. Source: reference/engine.md s3, simulated utilisation 95.5-97 %. */
const RUNS_CONSIDERED = 16;
/** Extents of up to so many blocks use the cursor of small ones. */
const SMALL_BLOCKS_MAX = 16;

const RUN_MEASURED_MAX = 4096;

/** Which blocks an allocator has: counts, and the device-wide number of the first. */
export interface BlockAllocatorShape {
  readonly firstBlock: number;
  readonly blockCount: number;
  readonly groupBlocks: number;
}

/** Blocks `firstBlock` (device-wide number) to `firstBlock + blockCount`, in groups of `groupBlocks`. */
export class BlockAllocator {
  readonly firstBlock: number;
  readonly blockCount: number;
  readonly #groupBlocks: number;
  readonly #bitmap: Uint32Array;
  readonly #groupFree: Uint32Array;
  readonly #groupRunMax: Uint32Array;
  readonly #cursors = { small: 0, large: 0 };
  #freeBlocks: number;
  #reservedBlocks = 0;

  constructor(options: BlockAllocatorShape) {
    this.firstBlock = options.firstBlock;
    this.blockCount = options.blockCount;
    this.#groupBlocks = options.groupBlocks;
    assert(this.blockCount >= 1 && this.#groupBlocks >= 1, 'BlockAllocator: at least one block');
    this.#bitmap = new Uint32Array(new SharedArrayBuffer(divCeil(this.blockCount, WORD_BITS) * 4));
    const groups = divCeil(this.blockCount, this.#groupBlocks);
    this.#groupFree = new Uint32Array(groups);
    for (let group = 0; group < groups; group += 1) this.#groupFree[group] = this.#groupEnd(group) - group * this.#groupBlocks;
    this.#groupRunMax = Uint32Array.from(this.#groupFree);
    this.#freeBlocks = this.blockCount;
  }

  /** What another allocator of the same blocks is made from. */
  get shape(): BlockAllocatorShape {
    return { firstBlock: this.firstBlock, blockCount: this.blockCount, groupBlocks: this.#groupBlocks };
  }

  get freeBlocks(): number {
    return this.#freeBlocks;
  }

  get reservedBlocks(): number {
    return this.#reservedBlocks;
  }

  /** Takes a run of `blocks` for a record about to be written. @returns its first block, or undefined when no run fits */
  reserve(blocks: number): number | undefined {
    assert(blocks >= 1, 'reserve: at least one block');
    if (blocks > this.#freeBlocks || blocks > this.#groupBlocks) return undefined;
    const band = blocks <= SMALL_BLOCKS_MAX ? 'small' : 'large';
    const start = this.#findRun(blocks, this.#cursors[band]);
    if (start === undefined) return undefined;
    this.#mark(start, blocks, true);
    this.#reservedBlocks += blocks;
    this.#cursors[band] = (start + blocks) % this.blockCount;
    return start + this.firstBlock;
  }

  /** The reserved run is now in the index. */
  acquire(block: number, blocks: number): void {
    assert(this.isUsed(block, blocks), 'acquire: blocks are reserved');
    assert(this.#reservedBlocks >= blocks, 'acquire: as many blocks are reserved');
    this.#reservedBlocks -= blocks;
  }

  /** The reserved run is given back unused. */
  forfeit(block: number, blocks: number): void {
    assert(this.#reservedBlocks >= blocks, 'forfeit: as many blocks are reserved');
    this.#reservedBlocks -= blocks;
    this.#free(block, blocks);
  }

  /** A run that was in the index no longer is. */
  release(block: number, blocks: number): void {
    this.#free(block, blocks);
  }

  /** Takes a run that the index names at start. @returns false (and nothing is taken) when it is out of bounds or overlaps another */
  tryClaim(block: number, blocks: number): boolean {
    const start = block - this.firstBlock;
    if (blocks < 1 || start < 0 || start + blocks > this.blockCount) return false;
    if (divFloor(start, this.#groupBlocks) !== divFloor(start + blocks - 1, this.#groupBlocks)) return false;
    for (let at = start; at < start + blocks; at += 1) if (this.#isBitSet(at)) return false;
    this.#mark(start, blocks, true);
    return true;
  }

  /** Whether every block of the run is taken. */
  isUsed(block: number, blocks: number): boolean {
    for (let at = block - this.firstBlock; at < block - this.firstBlock + blocks; at += 1) if (!this.#isBitSet(at)) return false;
    return true;
  }

  #free(block: number, blocks: number): void {
    assert(this.isUsed(block, blocks), 'freed blocks were used');
    const start = block - this.firstBlock;
    this.#mark(start, blocks, false);
    const group = divFloor(start, this.#groupBlocks);
    const free = this.#groupFree[group] ?? 0;
    const known = this.#groupRunMax[group] ?? 0;
    if (known >= free) return;
    // An upper bound is enough, so a long run is not measured to its ends.
    const floor = Math.max(group * this.#groupBlocks, start - RUN_MEASURED_MAX);
    let from = start;
    while (from > floor && !this.#isBitSet(from - 1)) from -= 1;
    const behind = this.#runLength(start + blocks, this.#groupEnd(group), RUN_MEASURED_MAX);
    const isLong = behind >= RUN_MEASURED_MAX || start - from >= RUN_MEASURED_MAX;
    this.#groupRunMax[group] = isLong ? free : Math.max(known, start - from + blocks + behind);
  }

  #groupEnd(group: number): number {
    return Math.min(this.blockCount, (group + 1) * this.#groupBlocks);
  }

  #findRun(blocks: number, cursor: number): number | undefined {
    const groups = this.#groupFree.length;
    const first = divFloor(cursor, this.#groupBlocks);
    const search = { blocks, best: -1, bestLength: Number.POSITIVE_INFINITY, seen: 0 };
    // The cursor's group comes twice: first from the cursor on, at the end as a whole.
    for (let step = 0; step <= groups && search.seen < RUNS_CONSIDERED; step += 1) {
      const group = (first + step) % groups;
      if ((this.#groupRunMax[group] ?? 0) < blocks) continue;
      const start = step === 0 ? cursor : group * this.#groupBlocks;
      const longest = this.#searchGroup(search, start, this.#groupEnd(group));
      if (longest !== undefined && start === group * this.#groupBlocks) this.#groupRunMax[group] = longest;
    }
    return search.best < 0 ? undefined : search.best;
  }

  /** Looks at the free runs in [start, end). @returns the longest of them, or undefined when it stopped before the end */
  #searchGroup(search: { blocks: number; best: number; bestLength: number; seen: number }, start: number, end: number): number | undefined {
    // Beyond this length a run is as good as any; measuring it further costs more than it tells.
    const enough = Math.max(4 * search.blocks, 1024);
    let longest = 0;
    for (let at = this.#nextFree(start, end); at < end; ) {
      const length = this.#runLength(at, end, enough);
      longest = Math.max(longest, length);
      if (length >= search.blocks) {
        search.seen += 1;
        if (length < search.bestLength) {
          search.best = at;
          search.bestLength = length;
        }
        if (length === search.blocks || length >= enough) search.seen = RUNS_CONSIDERED;
        if (search.seen >= RUNS_CONSIDERED) return undefined;
      }
      at = this.#nextFree(at + length, end);
    }
    return longest;
  }

  #nextFree(from: number, end: number): number {
    let at = from;
    while (at < end) {
      if (at % WORD_BITS === 0 && this.#bitmap[at / WORD_BITS] === FULL_WORD) at += WORD_BITS;
      else if (this.#isBitSet(at)) at += 1;
      else return at;
    }
    return end;
  }

  #runLength(from: number, end: number, limit: number): number {
    let at = from;
    while (at < end && at - from < limit) {
      if (at % WORD_BITS === 0 && this.#bitmap[at / WORD_BITS] === 0) at += WORD_BITS;
      else if (this.#isBitSet(at)) break;
      else at += 1;
    }
    return Math.min(at, end) - from;
  }

  #isBitSet(at: number): boolean {
    return ((this.#bitmap[divFloor(at, WORD_BITS)] ?? 0) & (1 << (at % WORD_BITS))) !== 0;
  }

  #mark(start: number, blocks: number, isUsed: boolean): void {
    for (let at = start; at < start + blocks; at += 1) {
      const word = divFloor(at, WORD_BITS);
      const bit = 1 << (at % WORD_BITS);
      const value = this.#bitmap[word] ?? 0;
      assert(((value & bit) !== 0) !== isUsed, 'block changes its state');
      this.#bitmap[word] = isUsed ? value | bit : value & ~bit;
    }
    const group = divFloor(start, this.#groupBlocks);
    const change = isUsed ? -blocks : blocks;
    this.#groupFree[group] = (this.#groupFree[group] ?? 0) + change;
    this.#freeBlocks += change;
  }
}
