/**
 * Repairs what a check found (`rawslice fsck --repair`): bad entries are dropped, blocks that cannot be read are put out of use, labels are
 * restored from each other, both checkpoints are written anew and the journal is closed off. Nothing of an object is ever made up: what is
 * damaged becomes a miss. The caller holds the device alone.
 */
import type { Superblock } from '../../format/superblock.ts';
import { NO_SLOT } from '../index/slice-index.ts';
import type { Findings } from './check-device.ts';
import type { BlockRun } from './extent-order.ts';
import { scanLabel } from './scan-labels.ts';
import { clearBlocks, restoreLabels, type WritableSource, writeRoot } from './write-root.ts';

/** What was done. */
export interface RepairReport {
  /** Entries that were dropped: damaged ones, and slices whose object was dropped. */
  readonly droppedEntries: number;
  readonly badBlocks: number;
  readonly labelBlocks: number;
  readonly journalBlocks: number;
}

/** Repairs. @throws EdgeError DEVICE_FAULT when the device does not take a write; a second run goes on from there */
export async function repairDevice(source: WritableSource, findings: Findings): Promise<RepairReport> {
  const { view, places, extents } = findings;
  const { root, state } = view;
  const droppedEntries = extents === undefined ? 0 : dropEntries(findings, extents.isBad);
  const badBlocks = extents === undefined ? 0 : markBad(findings, extents.badBlocks);
  const copies = places.labelBlocks.length === 0 ? [] : await collectSuperblocks(findings);
  await restoreLabels(source, root, places.labelBlocks, copies);
  await writeRoot(source, root, {
    index: state.index,
    allocator: state.allocator,
    purges: state.purges,
    journalStart: Math.max(places.journalSequence + 1, root.superblock.journalHead, state.journal.nextSequence),
    generationFloor: state.generation,
    writeSequenceFloor: state.writeSequence,
  });
  await clearBlocks(source, root, places.journalOffsets);
  return { droppedEntries, badBlocks, labelBlocks: places.labelBlocks.length, journalBlocks: places.journalOffsets.length };
}

/** @returns how many entries are gone */
function dropEntries({ view }: Findings, isBad: Uint8Array): number {
  const { index, allocator } = view.state;
  let dropped = 0;
  const drop = (slot: number): void => {
    allocator.release(index.block(slot), index.blocks(slot));
    dropped += 1;
    if (index.kind(slot) === 'manifest') index.removeManifest(index.tagSlotOf(slot));
    else index.removeSlice(slot);
  };
  const slots = index.recordSlots();
  for (const slot of slots) if (isBad[slot] === 1) drop(slot);
  for (const slot of slots) if (index.kind(slot) === 'slice' && index.findManifest(index.generation(slot)) === NO_SLOT) drop(slot);
  return dropped;
}

/** @returns blocks that are out of use now and were not before */
function markBad({ view }: Findings, runs: readonly BlockRun[]): number {
  const { allocator } = view.state;
  const before = allocator.badBlocks;
  // A run too many stays in use: reading it is a miss, every time.
  for (const { start, end } of runs) allocator.markBad(start, end - start);
  return allocator.badBlocks - before;
}

/** Every superblock that any label holds, one copy each. */
async function collectSuperblocks({ view }: Findings): Promise<readonly Superblock[]> {
  const { format } = view.root;
  const found = new Map<number, Superblock>();
  for (let labelNumber = 0; labelNumber < format.geometry.labelOffsets.length; labelNumber += 1)
    for await (const block of scanLabel(view, format, labelNumber))
      if (block.kind === 'superblock') found.set(block.superblock.sequence, block.superblock);
  return [...found.values()];
}
