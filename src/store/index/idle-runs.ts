/**
 * Free room that was left alone for a while and that the device has not been told of, lent run by run to be discarded. It is kept in granules
 * of 1 MiB with a byte for each, so that a device of 10 TB takes 10 MB. A granule is passed in two rounds before it is lent, and is not lent
 * again until one of its blocks was used:
 *
 *   recent --passed--> settled --lent--> recent --discarded--> known        any --a block is taken or freed--> recent
 *
 * What is lent is reserved meanwhile: nobody writes there. Called by trimmer.ts; told by block-allocator.ts of every block taken or freed.
 */
import { assert } from '../../base/assert.ts';
import { divCeil, divFloor, MIB } from '../../base/units.ts';
import type { BlockAllocator, BlockRun } from './block-allocator.ts';

/** At most this share of the free blocks is lent, so that writes find room beside it. */
const LENT_SHARE = 1 / 4;
/** Granules looked at in one go. */
const GRANULES_PER_TURN = 65_536;

const RECENT = 0;
const SETTLED = 1;
const KNOWN = 2;

/** One per store that tells its device of free room; everything is recent at first. */
export class IdleRuns {
  readonly #allocator: BlockAllocator;
  readonly #states: Uint8Array;
  readonly #granuleBlocks: number;
  /** Granules do not cross a group's end, as runs do not: the last of a group may be shorter. */
  readonly #granulesPerGroup: number;
  #cursor = 0;

  constructor(allocator: BlockAllocator, blockSizeBytes: number) {
    const { blockCount, groupBlocks } = allocator.shape;
    this.#allocator = allocator;
    this.#granuleBlocks = Math.min(groupBlocks, MIB / blockSizeBytes);
    this.#granulesPerGroup = divCeil(groupBlocks, this.#granuleBlocks);
    this.#states = new Uint8Array(this.#granuleAt(blockCount - 1) + 1).fill(RECENT);
    allocator.observe((block, blocks) => this.#touch(block - allocator.firstBlock, blocks));
  }

  /** Whether the present round has passed everything. */
  get isRoundOver(): boolean {
    return this.#cursor >= this.#states.length;
  }

  /** Begins a round, which passes everything once. */
  beginRound(): void {
    this.#cursor = 0;
  }

  /** Goes on with the round. @returns at most `blocksMax` blocks that are now the caller's until takeBack, or undefined when this turn met none */
  lend(blocksMax: number): BlockRun | undefined {
    const most = Math.min(blocksMax, Math.floor(this.#allocator.freeBlocks * LENT_SHARE));
    for (let turn = 0; turn < GRANULES_PER_TURN && !this.isRoundOver; turn += 1) {
      const first = this.#cursor;
      this.#cursor += 1;
      if (this.#states[first] === RECENT) this.#states[first] = SETTLED;
      else if (this.#isIdle(first)) {
        const run = this.#runFrom(first, most);
        if (run !== undefined) return run;
      }
    }
    return undefined;
  }

  /** The run is free again; `isDiscarded`: the device knows of it. */
  takeBack(run: BlockRun, isDiscarded: boolean): void {
    const { block, blocks } = run;
    this.#allocator.forfeit(block, blocks);
    if (!isDiscarded) return;
    const first = this.#granuleAt(block - this.#allocator.firstBlock);
    this.#states.fill(KNOWN, first, this.#granuleAt(block - this.#allocator.firstBlock + blocks - 1) + 1);
  }

  /** Takes the granule and those after it that are idle as well; none when the first alone is too much. */
  #runFrom(first: number, blocksMax: number): BlockRun | undefined {
    const block = this.#startOf(first);
    const groupEnd = (divFloor(first, this.#granulesPerGroup) + 1) * this.#granulesPerGroup;
    let end = block;
    let granule = first;
    for (; granule < Math.min(groupEnd, this.#states.length) && this.#isIdle(granule); granule += 1) {
      if (this.#endOf(granule) - block > blocksMax) break;
      end = this.#endOf(granule);
    }
    if (end === block) return undefined;
    this.#cursor = granule;
    const run = { block: block + this.#allocator.firstBlock, blocks: end - block };
    assert(this.#allocator.tryReserveRun(run.block, run.blocks), 'what is idle is free');
    return run;
  }

  #isIdle(granule: number): boolean {
    if (this.#states[granule] !== SETTLED) return false;
    const start = this.#startOf(granule);
    return this.#allocator.isFree(start + this.#allocator.firstBlock, this.#endOf(granule) - start);
  }

  #touch(start: number, blocks: number): void {
    this.#states.fill(RECENT, this.#granuleAt(start), this.#granuleAt(start + blocks - 1) + 1);
  }

  #granuleAt(block: number): number {
    const group = divFloor(block, this.#allocator.shape.groupBlocks);
    return group * this.#granulesPerGroup + divFloor(block - group * this.#allocator.shape.groupBlocks, this.#granuleBlocks);
  }

  #startOf(granule: number): number {
    const group = divFloor(granule, this.#granulesPerGroup);
    return group * this.#allocator.shape.groupBlocks + (granule - group * this.#granulesPerGroup) * this.#granuleBlocks;
  }

  #endOf(granule: number): number {
    const { groupBlocks, blockCount } = this.#allocator.shape;
    const groupEnd = (divFloor(granule, this.#granulesPerGroup) + 1) * groupBlocks;
    return Math.min(this.#startOf(granule) + this.#granuleBlocks, groupEnd, blockCount);
  }
}
