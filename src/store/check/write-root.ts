/**
 * Makes an index that was repaired or rebuilt the one that counts: both checkpoint zones, one after the other, each with a superblock that
 * names it, and a journal that begins behind everything that was ever in it. A crash between leaves the device as it was, or repaired.
 * Called by repair-device.ts and rebuild-index.ts.
 */
import type { Clock } from '../../base/clock.ts';
import type { BlockDevice } from '../../device/block-device.ts';
import type { CheckpointEntry } from '../../format/checkpoint-part.ts';
import { encodeFormatBlock } from '../../format/format-block.ts';
import type { CheckpointReference, Superblock } from '../../format/superblock.ts';
import { encodeSuperblock } from '../../format/superblock.ts';
import type { Arena } from '../../memory/arena.ts';
import { withStaging } from '../device-io.ts';
import type { BlockAllocator } from '../index/block-allocator.ts';
import type { SliceIndex } from '../index/slice-index.ts';
import { purgeEntry } from '../purges/purge.ts';
import type { RememberedPurges } from '../purges/purge-memory.ts';
import { badRunEntries, writeCheckpoint } from '../recovery/checkpoint.ts';
import { type DeviceRoot, RootArea, superblockOffset } from '../recovery/root-area.ts';
import type { LabelBlock } from './scan-labels.ts';

/** A device that this process holds alone. */
export interface WritableSource {
  readonly device: BlockDevice;
  readonly arena: Arena;
  readonly clock: Clock;
}

/** What is to count. */
export interface NewRoot {
  readonly index: SliceIndex;
  readonly allocator: BlockAllocator;
  readonly purges: RememberedPurges;
  /** Sequence of the next journal block, above every one that the ring holds. */
  readonly journalStart: number;
  readonly generationFloor: number;
  readonly writeSequenceFloor: number;
}

/** Writes checkpoints and superblocks; the device is closed in order afterwards. @throws EdgeError DEVICE_FAULT, STORE_UNAVAILABLE */
export async function writeRoot(source: WritableSource, root: DeviceRoot, next: NewRoot): Promise<void> {
  const { device, arena } = source;
  const { geometry, deviceUuid } = root.format;
  const place = { device, arena, geometry, deviceTag: deviceUuid.subarray(0, 8) };
  const area = new RootArea({ ...source, root });
  const { journalStart, purges } = next;
  const checkpointSource = { index: next.index, besides: besidesOf(next, geometry.purgesMax) };
  for (let round = 0; round < 2; round += 1) {
    const previous = area.current.checkpoint;
    const target = { zone: previous.zone === 0 ? 1 : 0, sequence: previous.sequence + 1 };
    const written = await writeCheckpoint(place, checkpointSource, target);
    await device.flush();
    const position = { journalStart, journalPreviousCrc: 0, purgeSequence: purges.newestSequence };
    const checkpoint: CheckpointReference = { ...target, ...written, ...position };
    await area.commit(() => ({ ...changesOf(next), checkpoint, previous, isClean: true, epoch: root.superblock.epoch + 1 }));
  }
}

function changesOf({ journalStart, purges, generationFloor, writeSequenceFloor, allocator }: NewRoot): Partial<Superblock> {
  return {
    journalHead: journalStart,
    purgeSequence: purges.newestSequence,
    purgedGeneration: purges.purgedGeneration,
    generationFloor,
    writeSequenceFloor,
    badBlocks: allocator.badBlocks,
  };
}

/** Purges in force first, then the last of the others, for devices that were away, then bad blocks. */
function besidesOf({ purges, allocator }: NewRoot, purgesMax: number): CheckpointEntry[] {
  const active = purges.epochs.slice(-purgesMax);
  const held = new Set(active.map(({ sequence }) => sequence));
  const recent = purges.recent.filter(({ sequence }) => !held.has(sequence)).sort((left, right) => left.sequence - right.sequence);
  const room = purgesMax - active.length;
  return [
    ...active.map((purge) => purgeEntry(purge, false)),
    ...(room === 0 ? [] : recent.slice(-room)).map((purge) => purgeEntry(purge, true)),
    ...badRunEntries(allocator),
  ];
}

/**
 * Writes blocks of labels: format blocks from the good one that was found, superblocks from whatever label holds the same, and zeros where
 * none does. Flushed. @returns places that the device did not take
 */
export async function restoreLabels(
  source: WritableSource,
  root: DeviceRoot,
  damaged: readonly LabelBlock[],
  copies: readonly Superblock[],
): Promise<number> {
  const { device, arena } = source;
  const { format } = root;
  const { geometry, deviceUuid, macKey } = format;
  await withStaging(arena, geometry.blockSizeBytes, async (bytes) => {
    for (const { labelNumber, place, offsetBytes } of damaged) {
      const copy = copies.find(({ sequence }) => superblockOffset(format, labelNumber, sequence) === offsetBytes);
      bytes.fill(0);
      if (place === 0) encodeFormatBlock({ ...format, labelNumber }, bytes);
      else if (copy !== undefined) encodeSuperblock(copy, { ownOffset: offsetBytes, deviceUuid, macKey }, bytes);
      await device.write([bytes], offsetBytes);
    }
  });
  await device.flush();
  return damaged.length;
}

/** Writes zeros over single blocks; flushed. */
export async function clearBlocks(source: WritableSource, root: DeviceRoot, offsets: readonly number[]): Promise<void> {
  if (offsets.length === 0) return;
  await withStaging(source.arena, root.format.geometry.blockSizeBytes, async (bytes) => {
    bytes.fill(0);
    for (const offsetBytes of offsets) await source.device.write([bytes], offsetBytes);
  });
  await source.device.flush();
}
