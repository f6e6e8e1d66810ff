/**
 * The index in the order of the device: where extents lie, what is free between them, how each allocation group looks. Takes four bytes
 * for each record. Called by `rawslice inspect groups, extents, map and block`, and by the check, which reads in this order.
 */
import { partitionPoint } from '../../base/partition-point.ts';
import { divFloor } from '../../base/units.ts';
import type { Geometry } from '../../format/geometry.ts';
import { type Band, bandOf } from '../index/block-allocator.ts';
import type { SliceIndex } from '../index/slice-index.ts';

/** A run of blocks; `end` is not part of it. */
export interface BlockRun {
  readonly start: number;
  readonly end: number;
}

/** One allocation group. */
export interface GroupReport {
  readonly group: number;
  readonly startBlock: number;
  readonly endBlock: number;
  readonly manifests: number;
  readonly slices: number;
  /** The band whose extents hold the most of its blocks: a start gives the group to it; undefined when it is empty. */
  readonly band: Band | undefined;
  readonly usedBlocks: number;
  readonly freeBlocks: number;
  /** Free runs, and the longest of them in blocks. */
  readonly freeRuns: number;
  readonly largestFreeRun: number;
}

/** Slots of all records, by their first block. */
export function slotsByBlock(index: SliceIndex): Uint32Array {
  return index
    .recordSlots()
    .filter((slot) => index.blocks(slot) > 0)
    .sort((left, right) => index.block(left) - index.block(right));
}

/** Where the first extent lies that ends behind `block`; `sorted.length` when there is none. */
export function firstEndingBehind(index: SliceIndex, sorted: Uint32Array, block: number): number {
  return partitionPoint(sorted.length, (place) => {
    const slot = sorted[place] ?? 0;
    return index.block(slot) + index.blocks(slot) <= block;
  });
}

/** First and last (not included) block of an allocation group. */
export function groupRun(geometry: Geometry, group: number): BlockRun {
  const first = divFloor(geometry.groupsOffset, geometry.blockSizeBytes);
  const perGroup = divFloor(geometry.groupBytes, geometry.blockSizeBytes);
  return { start: first + group * perGroup, end: Math.min(first + geometry.groupsBlocks, first + (group + 1) * perGroup) };
}

/** Every allocation group, in order. `outOfUse`: runs of bad blocks, sorted. */
export function* reportGroups(geometry: Geometry, index: SliceIndex, outOfUse: readonly BlockRun[]): Generator<GroupReport> {
  const sorted = slotsByBlock(index);
  let at = 0;
  for (let group = 0; group < geometry.groupCount; group += 1) {
    const run = groupRun(geometry, group);
    const counts = { manifests: 0, slices: 0 };
    const claimed: Record<Band, number> = { manifest: 0, small: 0, large: 0 };
    const taken: BlockRun[] = outOfUse.filter(({ start }) => start >= run.start && start < run.end);
    for (; at < sorted.length && index.block(sorted[at] ?? 0) < run.end; at += 1) {
      const slot = sorted[at] ?? 0;
      const kind = index.kind(slot) === 'manifest' ? 'manifest' : 'slice';
      if (kind === 'manifest') counts.manifests += 1;
      else counts.slices += 1;
      claimed[bandOf(kind, index.blocks(slot))] += index.blocks(slot);
      taken.push({ start: index.block(slot), end: index.block(slot) + index.blocks(slot) });
    }
    yield { group, startBlock: run.start, endBlock: run.end, ...counts, band: largestOf(claimed), ...measureFree(run, taken) };
  }
}

function largestOf(claimed: Readonly<Record<Band, number>>): Band | undefined {
  let largest: Band | undefined;
  for (const band of ['manifest', 'small', 'large'] as const)
    if (claimed[band] > 0 && (largest === undefined || claimed[band] > claimed[largest])) largest = band;
  return largest;
}

function measureFree(
  run: BlockRun,
  taken: readonly BlockRun[],
): Pick<GroupReport, 'usedBlocks' | 'freeBlocks' | 'freeRuns' | 'largestFreeRun'> {
  let freeBlocks = 0;
  let freeRuns = 0;
  let largestFreeRun = 0;
  let from = run.start;
  const gap = (end: number): void => {
    if (end <= from) return;
    freeRuns += 1;
    freeBlocks += end - from;
    largestFreeRun = Math.max(largestFreeRun, end - from);
  };
  for (const { start, end } of taken.toSorted((left, right) => left.start - right.start)) {
    gap(start);
    from = Math.max(from, end);
  }
  gap(run.end);
  return { usedBlocks: run.end - run.start - freeBlocks, freeBlocks, freeRuns, largestFreeRun };
}
