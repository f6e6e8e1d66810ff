/** The allocator against an array of blocks, over random steps; bands and their groups; bad blocks. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SeededRandom } from '../../src/base/random.ts';
import { type Band, BlockAllocator, type BlockRun, bandOf } from '../../src/store/index/block-allocator.ts';
import { BlockBitmap } from '../../src/store/index/block-bitmap.ts';

const BANDS: readonly Band[] = ['manifest', 'small', 'large'];
const FIRST = 1000;

/** What each block is, the slow way. */
class Model {
  readonly blocks: { isUsed: boolean; isBad: boolean }[];
  readonly held: (BlockRun & { isReserved: boolean })[] = [];
  readonly shape: { firstBlock: number; blockCount: number; groupBlocks: number; badRunsMax: number };

  constructor(shape: Model['shape']) {
    this.shape = shape;
    this.blocks = Array.from({ length: shape.blockCount }, () => ({ isUsed: false, isBad: false }));
  }

  set(run: BlockRun, isUsed: boolean): void {
    for (const block of this.blocks.slice(run.block - FIRST, run.block - FIRST + run.blocks)) {
      assert.equal(block.isUsed, !isUsed, 'a block is taken once, and freed once');
      block.isUsed = isUsed;
    }
  }

  isFree(block: { isUsed: boolean; isBad: boolean }): boolean {
    return !block.isUsed && !block.isBad;
  }

  count(of: (block: { isUsed: boolean; isBad: boolean }) => boolean): number {
    return this.blocks.filter(of).length;
  }

  fits(blocks: number): boolean {
    let run = 0;
    return this.blocks.some((block, at) => {
      if (at % this.shape.groupBlocks === 0) run = 0;
      run = this.isFree(block) ? run + 1 : 0;
      return run >= blocks;
    });
  }

  agree(allocator: BlockAllocator): void {
    assert.equal(
      allocator.freeBlocks,
      this.count((block) => this.isFree(block)),
    );
    assert.equal(
      allocator.badBlocks,
      this.count((block) => block.isBad),
    );
    assert.equal(
      allocator.idleBadBlocks,
      this.count((block) => block.isBad && !block.isUsed),
    );
    assert.equal(
      allocator.reservedBlocks,
      this.held.reduce((sum, run) => sum + (run.isReserved ? run.blocks : 0), 0),
    );
  }
}

type Step =
  | { readonly kind: 'reserve'; readonly blocks: number; readonly band: Band; readonly isKept: boolean }
  | { readonly kind: 'free'; readonly which: number }
  | { readonly kind: 'claim' | 'bad'; readonly at: number; readonly blocks: number };

const stepOf: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('reserve' as const),
      blocks: fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 90 })),
      band: fc.constantFrom(...BANDS),
      isKept: fc.boolean(),
    }),
  },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('free' as const), which: fc.nat(10_000) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constantFrom('claim' as const, 'bad' as const),
      at: fc.integer({ min: -3, max: 1003 }),
      blocks: fc.integer({ min: 0, max: 40 }),
    }),
  },
);

function reserve(model: Model, allocator: BlockAllocator, step: Extract<Step, { kind: 'reserve' }>): void {
  const fits = model.fits(step.blocks);
  const block = allocator.reserve(step.blocks, step.band);
  assert.equal(block !== undefined, fits, 'a run that exists is found: neither a hint nor a band hides it');
  if (block === undefined) return;
  const run = { block, blocks: step.blocks, isReserved: !step.isKept };
  const start = block - FIRST;
  const { groupBlocks } = model.shape;
  assert.equal(Math.floor(start / groupBlocks), Math.floor((start + step.blocks - 1) / groupBlocks), 'within one group');
  assert.ok(model.blocks.slice(start, start + step.blocks).every((each) => model.isFree(each)));
  model.set(run, true);
  model.held.push(run);
  if (step.isKept) allocator.acquire(block, step.blocks);
}

function free(model: Model, allocator: BlockAllocator, which: number): void {
  const [run] = model.held.splice(which % Math.max(1, model.held.length), 1);
  if (run === undefined) return;
  if (run.isReserved) allocator.forfeit(run.block, run.blocks);
  else allocator.release(run.block, run.blocks);
  model.set(run, false);
}

function claimOrMark(model: Model, allocator: BlockAllocator, step: Extract<Step, { kind: 'claim' | 'bad' }>): void {
  const { blockCount, groupBlocks, badRunsMax } = model.shape;
  const { at, blocks } = step;
  const isInside =
    blocks >= 1 && at >= 0 && at + blocks <= blockCount && Math.floor(at / groupBlocks) === Math.floor((at + blocks - 1) / groupBlocks);
  const covered = isInside ? model.blocks.slice(at, at + blocks) : [];
  if (step.kind === 'claim') {
    const isClaimed = allocator.tryClaim(FIRST + at, blocks, bandOf('slice', blocks));
    assert.equal(isClaimed, isInside && covered.every((block) => model.isFree(block)));
    if (!isClaimed) return;
    const run = { block: FIRST + at, blocks, isReserved: false };
    model.set(run, true);
    model.held.push(run);
    return;
  }
  const isMarked = allocator.markBad(FIRST + at, blocks);
  assert.ok(isMarked ? isInside : !isInside || allocator.badRuns.length + blocks > badRunsMax, 'refused for a reason only');
  if (isMarked) for (const block of covered) block.isBad = true;
}

test('the allocator agrees with an array, never overlaps, and finds every run', () => {
  const shapes = fc.constantFrom([1000, 300], [1000, 128], [64, 64], [997, 1000]);
  const property = fc.property(shapes, fc.array(stepOf, { maxLength: 400 }), ([blockCount = 0, groupBlocks = 0], steps) => {
    const model = new Model({ firstBlock: FIRST, blockCount, groupBlocks, badRunsMax: 6 });
    const allocator = new BlockAllocator(model.shape);
    for (const step of steps) {
      if (step.kind === 'reserve') reserve(model, allocator, step);
      else if (step.kind === 'free') free(model, allocator, step.which);
      else claimOrMark(model, allocator, step);
      model.agree(allocator);
    }
    for (const run of model.held) assert.ok(allocator.isUsed(run.block, run.blocks));
  });
  fc.assert(property, { seed: 52, numRuns: 200 });
});

test('runs are found in groups of many segments', () => {
  const random = new SeededRandom(54);
  for (let round = 0; round < 6; round += 1) {
    const model = new Model({ firstBlock: FIRST, blockCount: 70_000, groupBlocks: 30_000, badRunsMax: 6 });
    const allocator = new BlockAllocator(model.shape);
    for (let step = 0; step < 500; step += 1) {
      const most = random.integerBelow(3) === 0 ? 6000 : 700;
      const band = BANDS[random.integerBelow(3)] ?? 'large';
      const isReserving = random.integerBelow(5) < 3;
      if (isReserving) reserve(model, allocator, { kind: 'reserve', blocks: 1 + random.integerBelow(most), band, isKept: true });
      else free(model, allocator, random.integerBelow(1000));
    }
    model.agree(allocator);
  }
});

test('the bitmap agrees with an array of booleans', () => {
  const runs = fc.array(fc.tuple(fc.nat(199), fc.integer({ min: 1, max: 70 })), { maxLength: 40 });
  const property = fc.property(runs, (steps) => {
    const bitmap = new BlockBitmap(200);
    const model = new Array<boolean>(200).fill(false);
    for (const [start, length] of steps) {
      const end = Math.min(200, start + length);
      const part = model.slice(start, end);
      assert.equal(bitmap.isFree(start, end - start), !part.includes(true));
      assert.equal(bitmap.isUsed(start, end - start), !part.includes(false));
      const find = (isUsed: boolean): number => (part.includes(isUsed) ? start + part.indexOf(isUsed) : end);
      assert.deepEqual([bitmap.nextFree(start, end), bitmap.nextUsed(start, end)], [find(false), find(true)]);
      assert.equal(bitmap.freeRunStart(end, start), start + part.lastIndexOf(true) + 1);
      if (!part.includes(true)) bitmap.take(start, end - start);
      else if (!part.includes(false)) bitmap.give(start, end - start);
      else continue;
      model.fill(!part.includes(true), start, end);
    }
  });
  fc.assert(property, { seed: 53, numRuns: 300 });
});

test('blocks beyond 2^31 are blocks like others', () => {
  const bitmap = new BlockBitmap(2 ** 32 - 1);
  const start = 2 ** 32 - 40;
  bitmap.take(start, 39);
  assert.equal(bitmap.nextUsed(start - 100, 2 ** 32 - 1), start);
  assert.equal(bitmap.freeRunStart(start, start - 100), start - 100);
  bitmap.give(start, 39);
  assert.equal(bitmap.isFree(2 ** 31 - 50, 100), true);
  assert.equal(bitmap.nextUsed(start, 2 ** 32 - 1), 2 ** 32 - 1);
});

test('bands have groups of their own while there are groups, share when there are none, and give empty ones back', () => {
  const allocator = new BlockAllocator({ firstBlock: FIRST, blockCount: 400, groupBlocks: 100, badRunsMax: 1 });
  const groupOf = (block: number | undefined): number => Math.floor(((block ?? -1) - FIRST) / 100);
  const manifest = allocator.reserve(2, 'manifest') ?? 0;
  const groups = [manifest, allocator.reserve(3, 'small'), allocator.reserve(90, 'large'), allocator.reserve(90, 'large')].map(groupOf);
  assert.deepEqual([...groups].sort(), [0, 1, 2, 3], 'each of the four has a group of its own');
  assert.deepEqual(
    BANDS.map((band) => allocator.groupsOf(band)),
    [1, 1, 2],
  );
  assert.equal(groupOf(allocator.reserve(90, 'large')), groups[1], 'no group is left: that of small extents is shared');
  assert.equal(groupOf(allocator.reserve(1, 'manifest')), groups[0]);
  assert.equal(groupOf(allocator.reserve(90, 'large')), groups[0]);
  assert.equal(allocator.reserve(90, 'large'), undefined);
  const other = new BlockAllocator(allocator.shape);
  const first = other.reserve(5, 'manifest') ?? 0;
  assert.equal(other.groupsOf('manifest'), 1);
  other.forfeit(first, 5);
  assert.equal(other.groupsOf('manifest'), 0, 'a group that came free belongs to nobody');
});

test('after a start a group belongs to the band with most of its blocks', () => {
  const allocator = new BlockAllocator({ firstBlock: FIRST, blockCount: 200, groupBlocks: 100, badRunsMax: 1 });
  allocator.tryClaim(FIRST + 90, 8, 'small');
  for (let at = 0; at < 10; at += 2) allocator.tryClaim(FIRST + at, 2, 'manifest');
  assert.deepEqual(
    BANDS.map((band) => allocator.groupsOf(band)),
    [1, 0, 0],
  );
  assert.equal(allocator.reserve(3, 'manifest'), FIRST + 10);
  assert.equal(allocator.reserve(3, 'small'), FIRST + 100);
});
