/**
 * Which blocks of the allocation groups are free: a bitmap, derived from the index at start and never trusted from disk, and for each
 * group its free count and an upper bound of its longest free run; for each segment of a group the same bound for runs that begin in it.
 * A run never crosses a group's end.
 *
 *   reserve -> acquire -> release        a record that was written, and later dropped
 *   reserve -> forfeit                   a write that failed or was overtaken, or free room that was lent to be discarded
 *
 * Best fit among the next 16 free runs from a cursor: the evictor frees in write order, so holes are refilled in order. Manifests, small and
 * large extents (bands) have cursors and groups of their own, so that a listing reads a small share of the device and large runs splinter
 * less. A band takes another group when its own have no room, and shares those of others when none is left; a group that came free returns.
 *
 * Bad blocks are used blocks that no record owns; what a record owns becomes so when it is released.
 */
import { assert } from '../../base/assert.ts';
import { divCeil, divFloor } from '../../base/units.ts';
import { BadRuns, gapsBetween } from './bad-runs.ts';
import { BlockBitmap } from './block-bitmap.ts';

/** Free runs looked at before the best is taken. Source: reference/engine.md s3, simulated utilisation 95.5-97 %. */
const RUNS_CONSIDERED = 16;
/** Extents of slices of up to so many blocks are small. */
const SMALL_BLOCKS_MAX = 16;
/** Longer runs are as good as one of this length: no extent is longer (8 MiB of payload in blocks of 4 KiB). */
const RUN_MEASURED_MAX = 4096;
/** Blocks of a segment: a group is searched segment by segment, and those without a run that is long enough are passed over. */
const SEGMENT_BLOCKS = 8192;
/** Slices leave this share of a group of manifests free, on a device with so many groups that it does not count. */
const MANIFEST_SLACK = 1 / 4;
const SLACK_GROUPS_MIN = 32;

/** Kinds of extents that are kept apart. */
export const BANDS = ['manifest', 'small', 'large'] as const;
/** One of them. */
export type Band = (typeof BANDS)[number];
/** Whose groups a band shares when it has no room left, in this order. */
const SHARES: Readonly<Record<Band, readonly Band[]>> = {
  manifest: ['small', 'large'],
  small: ['large', 'manifest'],
  large: ['small', 'manifest'],
};
const NO_OWNER = BANDS.length;

/** Band of an extent. */
export function bandOf(kind: 'slice' | 'manifest', blocks: number): Band {
  if (kind === 'manifest') return 'manifest';
  return blocks <= SMALL_BLOCKS_MAX ? 'small' : 'large';
}

/** Which blocks an allocator has: counts, and the device-wide number of the first. */
export interface BlockAllocatorShape {
  readonly firstBlock: number;
  readonly blockCount: number;
  readonly groupBlocks: number;
  /** Runs of bad blocks that are remembered at most. */
  readonly badRunsMax: number;
}

/** A run of blocks, by device-wide number. */
export interface BlockRun {
  readonly block: number;
  readonly blocks: number;
}

interface Search {
  readonly blocks: number;
  best: number;
  bestLength: number;
  seen: number;
}

/** Blocks `firstBlock` (device-wide number) to `firstBlock + blockCount`, in groups of `groupBlocks`. */
export class BlockAllocator {
  readonly shape: BlockAllocatorShape;
  readonly firstBlock: number;
  readonly blockCount: number;
  readonly #groupBlocks: number;
  readonly #bitmap: BlockBitmap;
  readonly #bad: BadRuns;
  readonly #groupFree: Uint32Array;
  readonly #groupRunMax: Uint16Array;
  readonly #segmentRunMax: Uint16Array;
  readonly #segmentsPerGroup: number;
  /** Band that a group belongs to, or NO_OWNER: then all of it is free, but for bad blocks. */
  readonly #groupOwner: Uint8Array;
  /** Blocks that each band claimed at start, group by group: a group belongs to the one with the most. */
  readonly #claimed: Uint32Array;
  readonly #groupBad: Uint32Array;
  readonly #cursors: Record<Band, number> = { manifest: 0, small: 0, large: 0 };
  /** No free run that the band may use is longer. */
  readonly #runBounds: Record<Band, number> = { manifest: 0, small: 0, large: 0 };
  #freeBlocks: number;
  #reservedBlocks = 0;
  #idleBadBlocks = 0;
  #observer: ((block: number, blocks: number) => void) | undefined;

  constructor(shape: BlockAllocatorShape) {
    this.shape = shape;
    this.firstBlock = shape.firstBlock;
    this.blockCount = shape.blockCount;
    this.#groupBlocks = shape.groupBlocks;
    assert(this.blockCount >= 1 && this.#groupBlocks >= 1, 'BlockAllocator: at least one block');
    this.#bitmap = new BlockBitmap(this.blockCount);
    this.#bad = new BadRuns(shape.badRunsMax);
    const groups = divCeil(this.blockCount, this.#groupBlocks);
    this.#groupFree = Uint32Array.from({ length: groups }, (_, group) => this.#groupEnd(group) - group * this.#groupBlocks);
    this.#groupRunMax = Uint16Array.from(this.#groupFree, (free) => Math.min(free, RUN_MEASURED_MAX));
    this.#segmentsPerGroup = divCeil(Math.min(this.#groupBlocks, this.blockCount), SEGMENT_BLOCKS);
    // Too high for a start: a search learns what is true, while claims would have to measure what each of them leaves.
    this.#segmentRunMax = new Uint16Array(groups * this.#segmentsPerGroup).fill(RUN_MEASURED_MAX);
    for (const band of BANDS) this.#runBounds[band] = this.#groupBlocks;
    this.#groupOwner = new Uint8Array(groups).fill(NO_OWNER);
    this.#claimed = new Uint32Array(groups * BANDS.length);
    this.#groupBad = new Uint32Array(groups);
    this.#freeBlocks = this.blockCount;
  }

  get freeBlocks(): number {
    return this.#freeBlocks;
  }

  get reservedBlocks(): number {
    return this.#reservedBlocks;
  }

  /** Blocks that are marked bad. */
  get badBlocks(): number {
    return this.#bad.blocks;
  }

  /** Those of them that no record owns: they are out of use. */
  get idleBadBlocks(): number {
    return this.#idleBadBlocks;
  }

  /** The bad blocks, in order. */
  get badRuns(): BlockRun[] {
    return this.#bad.runs.map(({ start, end }) => ({ block: start + this.firstBlock, blocks: end - start }));
  }

  /** Groups that belong to `band`. */
  groupsOf(band: Band): number {
    const owner = BANDS.indexOf(band);
    return this.#groupOwner.reduce((count, known) => count + Number(known === owner), 0);
  }

  /** Takes a run of `blocks` for a record about to be written. @returns its first block, or undefined when no run fits */
  reserve(blocks: number, band: Band): number | undefined {
    assert(blocks >= 1, 'reserve: at least one block');
    if (blocks > this.#runBounds[band]) return undefined;
    let start = this.#findRun(blocks, band, band) ?? this.#findInNewGroup(blocks, band);
    for (const owner of SHARES[band]) start ??= this.#findRun(blocks, band, owner);
    if (start === undefined) {
      this.#runBounds[band] = blocks - 1;
      return undefined;
    }
    this.#take(start, blocks);
    this.#reservedBlocks += blocks;
    this.#cursors[band] = (start + blocks) % this.blockCount;
    return start + this.firstBlock;
  }

  /** As reserve, for just this run, and wherever the cursors are. @returns false (and nothing is taken) when it is not free */
  tryReserveRun(block: number, blocks: number): boolean {
    const start = block - this.firstBlock;
    if (!this.#isWithinGroup(start, blocks) || !this.#bitmap.isFree(start, blocks)) return false;
    this.#take(start, blocks);
    this.#reservedBlocks += blocks;
    return true;
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
  tryClaim(block: number, blocks: number, band: Band): boolean {
    const start = block - this.firstBlock;
    if (!this.#isWithinGroup(start, blocks) || !this.#bitmap.isFree(start, blocks)) return false;
    this.#take(start, blocks);
    const group = divFloor(start, this.#groupBlocks);
    const mine = group * BANDS.length + BANDS.indexOf(band);
    const owner = this.#groupOwner[group] ?? NO_OWNER;
    this.#claimed[mine] = (this.#claimed[mine] ?? 0) + blocks;
    const isMost = owner === NO_OWNER || (this.#claimed[mine] ?? 0) > (this.#claimed[group * BANDS.length + owner] ?? 0);
    if (isMost) this.#groupOwner[group] = BANDS.indexOf(band);
    return true;
  }

  /** From now on `observer` is told of every run that is taken or becomes free, within one group each. One observer at most. */
  observe(observer: (block: number, blocks: number) => void): void {
    assert(this.#observer === undefined, 'observe: once');
    this.#observer = observer;
  }

  /** Whether no block of the run is taken. */
  isFree(block: number, blocks: number): boolean {
    return this.#bitmap.isFree(block - this.firstBlock, blocks);
  }

  /** Whether every block of the run is taken. */
  isUsed(block: number, blocks: number): boolean {
    return this.#bitmap.isUsed(block - this.firstBlock, blocks);
  }

  /**
   * Takes blocks out of use for good: free ones now, others when their record releases them.
   *
   * @returns false (and nothing is marked) when the run is out of bounds, or there are too many runs
   */
  markBad(block: number, blocks: number): boolean {
    const start = block - this.firstBlock;
    const end = start + blocks;
    if (!this.#isWithinGroup(start, blocks)) return false;
    const group = divFloor(start, this.#groupBlocks);
    const known = this.#bad.blocks;
    const added = gapsBetween(this.#bad.within(start, end), start, end);
    if (!this.#bad.tryAdd(start, end)) return false;
    this.#groupBad[group] = (this.#groupBad[group] ?? 0) + this.#bad.blocks - known;
    for (const gap of added) {
      for (let at = this.#bitmap.nextFree(gap.start, gap.end); at < gap.end; at = this.#bitmap.nextFree(at, gap.end)) {
        const idle = this.#bitmap.nextUsed(at, gap.end) - at;
        this.#take(at, idle);
        this.#idleBadBlocks += idle;
      }
    }
    return true;
  }

  /** Whether a block of the run is bad. */
  isBad(block: number, blocks: number): boolean {
    return this.#bad.within(block - this.firstBlock, block - this.firstBlock + blocks).length > 0;
  }

  #isWithinGroup(start: number, blocks: number): boolean {
    if (blocks < 1 || start < 0 || start + blocks > this.blockCount) return false;
    return divFloor(start, this.#groupBlocks) === divFloor(start + blocks - 1, this.#groupBlocks);
  }

  #take(start: number, blocks: number): void {
    this.#bitmap.take(start, blocks);
    this.#observer?.(start + this.firstBlock, blocks);
    const group = divFloor(start, this.#groupBlocks);
    this.#groupFree[group] = (this.#groupFree[group] ?? 0) - blocks;
    this.#freeBlocks -= blocks;
    // What is left of the run begins elsewhere now, perhaps in a segment that knows of no such run.
    const rest = start + blocks;
    const end = this.#groupEnd(group);
    if (rest < end && this.#segmentRunMax[this.#segmentOf(group, rest)] !== RUN_MEASURED_MAX) {
      this.#raiseRun(group, rest, this.#bitmap.nextUsed(rest, Math.min(end, rest + RUN_MEASURED_MAX)) - rest);
    }
  }

  #free(block: number, blocks: number): void {
    const start = block - this.firstBlock;
    const group = divFloor(start, this.#groupBlocks);
    if (this.#groupBad[group] === 0) this.#give(start, blocks);
    else {
      const bad = this.#bad.within(start, start + blocks);
      for (const run of bad) this.#idleBadBlocks += run.end - run.start;
      for (const gap of gapsBetween(bad, start, start + blocks)) this.#give(gap.start, gap.end - gap.start);
    }
    const usable = this.#groupEnd(group) - group * this.#groupBlocks - (this.#groupBad[group] ?? 0);
    if ((this.#groupFree[group] ?? 0) < usable) return;
    this.#groupOwner[group] = NO_OWNER;
    this.#claimed.fill(0, group * BANDS.length, (group + 1) * BANDS.length);
  }

  #give(start: number, blocks: number): void {
    this.#bitmap.give(start, blocks);
    this.#observer?.(start + this.firstBlock, blocks);
    const group = divFloor(start, this.#groupBlocks);
    const free = (this.#groupFree[group] ?? 0) + blocks;
    this.#groupFree[group] = free;
    this.#freeBlocks += blocks;
    const floor = Math.max(group * this.#groupBlocks, start - RUN_MEASURED_MAX);
    const ceiling = Math.min(this.#groupEnd(group), start + blocks + RUN_MEASURED_MAX);
    const from = this.#bitmap.freeRunStart(start, floor);
    // What begins further to the left is known to be longer than what counts.
    this.#raiseRun(group, from, this.#bitmap.nextUsed(start + blocks, ceiling) - from);
  }

  /** A free run of `group` has come up. */
  #raiseRun(group: number, start: number, blocks: number): void {
    const length = Math.min(blocks, RUN_MEASURED_MAX);
    const segment = this.#segmentOf(group, start);
    this.#segmentRunMax[segment] = Math.max(this.#segmentRunMax[segment] ?? 0, length);
    this.#groupRunMax[group] = Math.max(this.#groupRunMax[group] ?? 0, length);
    const bound = length === RUN_MEASURED_MAX ? this.#groupBlocks : length;
    for (const band of BANDS) this.#runBounds[band] = Math.max(this.#runBounds[band], bound);
  }

  #segmentOf(group: number, block: number): number {
    return group * this.#segmentsPerGroup + divFloor(block - group * this.#groupBlocks, SEGMENT_BLOCKS);
  }

  #groupEnd(group: number): number {
    return Math.min(this.blockCount, (group + 1) * this.#groupBlocks);
  }

  /** Looks for a run in the groups of `owner`, from the cursor of `band` on; with a run at hand not beyond its group. */
  #findRun(blocks: number, band: Band, owner: Band): number | undefined {
    const groups = this.#groupFree.length;
    const cursor = this.#cursors[band];
    const first = divFloor(cursor, this.#groupBlocks);
    const ownerNumber = BANDS.indexOf(owner);
    const wanted = Math.min(blocks, RUN_MEASURED_MAX);
    const slack = owner === 'manifest' && band !== owner && groups >= SLACK_GROUPS_MIN ? this.#groupBlocks * MANIFEST_SLACK : 0;
    // The cursor's group comes twice: first from the cursor on, at the end as a whole.
    for (let step = 0; step <= groups; step += 1) {
      const group = first + step < groups ? first + step : first + step - groups;
      if ((this.#groupRunMax[group] ?? 0) < wanted || this.#groupOwner[group] !== ownerNumber) continue;
      if ((this.#groupFree[group] ?? 0) < blocks + slack) continue;
      const found = this.#searchGroup(group, blocks, step === 0 ? cursor : group * this.#groupBlocks);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Looks for a run in a group that belongs to nobody, and gives that group to `band`. */
  #findInNewGroup(blocks: number, band: Band): number | undefined {
    const groups = this.#groupFree.length;
    const first = divFloor(this.#cursors[band], this.#groupBlocks);
    for (let step = 0; step < groups; step += 1) {
      const group = (first + step) % groups;
      if (this.#groupOwner[group] !== NO_OWNER || (this.#groupFree[group] ?? 0) < blocks) continue;
      const found = this.#searchGroup(group, blocks, group * this.#groupBlocks);
      if (found === undefined) continue;
      this.#groupOwner[group] = BANDS.indexOf(band);
      return found;
    }
    return undefined;
  }

  /** The best of the next runs from `from` on. Learns the bounds of the segments that it looks through. */
  #searchGroup(group: number, blocks: number, from: number): number | undefined {
    const groupStart = group * this.#groupBlocks;
    const wanted = Math.min(blocks, RUN_MEASURED_MAX);
    const search: Search = { blocks, best: -1, bestLength: Number.POSITIVE_INFINITY, seen: 0 };
    const firstSegment = divFloor(from - groupStart, SEGMENT_BLOCKS);
    for (let segment = firstSegment; segment < this.#segmentsPerGroup && search.seen < RUNS_CONSIDERED; segment += 1) {
      const at = group * this.#segmentsPerGroup + segment;
      if ((this.#segmentRunMax[at] ?? 0) < wanted) continue;
      const start = Math.max(from, groupStart + segment * SEGMENT_BLOCKS);
      const longest = this.#searchSegment(search, start, groupStart + (segment + 1) * SEGMENT_BLOCKS);
      if (longest !== undefined && start === groupStart + segment * SEGMENT_BLOCKS) this.#segmentRunMax[at] = longest;
    }
    if (search.best >= 0) return search.best;
    if (from === groupStart) {
      const segments = this.#segmentRunMax.subarray(group * this.#segmentsPerGroup, (group + 1) * this.#segmentsPerGroup);
      this.#groupRunMax[group] = segments.reduce((most, length) => Math.max(most, length), 0);
    }
    return undefined;
  }

  /** Looks at the free runs that begin in [start, end). @returns the longest of them, or undefined when it stopped before the end */
  #searchSegment(search: Search, start: number, end: number): number | undefined {
    const groupEnd = this.#groupEnd(divFloor(start, this.#groupBlocks));
    // Beyond this length a run is as good as any; measuring it further costs more than it tells.
    const enough = Math.max(4 * search.blocks, RUN_MEASURED_MAX);
    let longest = 0;
    for (let at = this.#bitmap.nextFree(start, groupEnd); at < Math.min(end, groupEnd); ) {
      const length = this.#bitmap.nextUsed(at, Math.min(groupEnd, at + enough)) - at;
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
      at = this.#bitmap.nextFree(at + length, groupEnd);
    }
    return Math.min(longest, RUN_MEASURED_MAX);
  }
}
