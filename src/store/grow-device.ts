/**
 * Makes a cache larger in place, after its device or file has become larger: more blocks behind the allocation groups, the last two labels at
 * the new end; journal, checkpoints, entries and everything stored stay. The cache can be opened whenever it is broken off:
 *
 *   1  new labels 2 and 3 behind the old end, flushed          label 0 still tells the old size; nobody looks there
 *   2  format block of label 0, flushed                        from here on it has the new size
 *   3  format block of label 1, flushed
 *   4  zeros over the old labels 2 and 3, now free blocks
 *
 * Called by `rawslice format --grow`, which holds the device alone.
 */
import { EdgeError } from '../base/errors.ts';
import { alignDown, formatBytes, KIB } from '../base/units.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { encodeFormatBlock, type FormatBlock } from '../format/format-block.ts';
import { computeGeometry, type Geometry } from '../format/geometry.ts';
import { encodeSuperblock } from '../format/superblock.ts';
import type { Arena } from '../memory/arena.ts';
import { scanLabel } from './check/scan-labels.ts';
import { withStaging } from './device-io.ts';
import { type DeviceRoot, readRoot, superblockOffset } from './recovery/root-area.ts';

const WRITE_BYTES = 128 * KIB;

/** What was done. `isFinished`: nothing but what an earlier growth had left to do. */
export interface GrowSummary {
  readonly before: Geometry;
  readonly after: Geometry;
  readonly isFinished: boolean;
}

/** Where to write. */
export interface GrowSource {
  readonly device: BlockDevice;
  readonly arena: Arena;
}

/**
 * Takes the whole of the device in.
 *
 * @throws EdgeError USAGE (nothing to take in, or too little), DEVICE_UNSUITABLE (too large for its block size), FORMAT_*, DEVICE_FAULT
 */
export async function growDevice(source: GrowSource): Promise<GrowSummary> {
  const root = await readRoot(source.device, source.arena);
  const before = root.format.geometry;
  const after = grownGeometry(source.device, before);
  const isFinished = after.capacityBytes === before.capacityBytes;
  const format = { ...root.format, geometry: after };
  const stale = isFinished ? await findStaleLabels(source, format) : [0, 1];
  if (stale.length === 0) {
    const advice = 'make the partition, volume or file larger first (a file also with --size)';
    throw new EdgeError('USAGE', `${source.device.path} is used to its end, ${formatBytes(after.capacityBytes)}; ${advice}`);
  }
  if (!isFinished) await writeEndLabels(source, root, format);
  for (const labelNumber of stale) {
    await writeFormatBlock(source, { ...format, labelNumber });
    await source.device.flush();
  }
  if (!isFinished) {
    const startBytes = before.labelOffsets[2];
    await zero(source, { startBytes, endBytes: startBytes + 2 * before.labelBytes });
    await source.device.flush();
  }
  return { before, after, isFinished };
}

/** Labels that an earlier growth did not reach, or that are damaged. */
async function findStaleLabels(source: GrowSource, format: FormatBlock): Promise<number[]> {
  const stale: number[] = [];
  for (const labelNumber of format.geometry.labelOffsets.keys()) {
    for await (const { kind } of scanLabel(source, format, labelNumber)) {
      if (kind !== 'format') stale.push(labelNumber);
      break;
    }
  }
  return stale;
}

function grownGeometry(device: BlockDevice, before: Geometry): Geometry {
  const capacityBytes = alignDown(device.capacityBytes, before.blockSizeBytes);
  if (capacityBytes === before.capacityBytes) return before;
  const leastBytes = before.capacityBytes + 2 * before.labelBytes;
  if (capacityBytes < leastBytes) {
    const sizes = `${formatBytes(capacityBytes)}, of which ${formatBytes(before.capacityBytes)} are used`;
    throw new EdgeError('USAGE', `${device.path} has ${sizes}; growing takes ${formatBytes(2 * before.labelBytes)} more at least`);
  }
  const after = computeGeometry({ ...before, capacityBytes });
  if (after !== undefined) return after;
  const advice = 'format it anew to use all of it';
  throw new EdgeError('DEVICE_UNSUITABLE', `${device.path} is too large for blocks of ${formatBytes(before.blockSizeBytes)}; ${advice}`);
}

/** Whole labels behind the old end, with the newest superblock. */
async function writeEndLabels(source: GrowSource, root: DeviceRoot, format: FormatBlock): Promise<void> {
  const { device, arena } = source;
  const { geometry, deviceUuid, macKey } = format;
  await zero(source, { startBytes: geometry.labelOffsets[2], endBytes: geometry.labelOffsets[2] + 2 * geometry.labelBytes });
  for (const labelNumber of [2, 3]) {
    await withStaging(arena, geometry.blockSizeBytes, async (bytes) => {
      const ownOffset = superblockOffset(format, labelNumber, root.superblock.sequence);
      encodeSuperblock(root.superblock, { ownOffset, deviceUuid, macKey }, bytes);
      await device.write([bytes], ownOffset);
    });
    await writeFormatBlock(source, { ...format, labelNumber });
  }
  await device.flush();
}

async function writeFormatBlock({ device, arena }: GrowSource, format: FormatBlock): Promise<void> {
  await withStaging(arena, format.geometry.blockSizeBytes, async (bytes) => {
    encodeFormatBlock(format, bytes);
    await device.write([bytes], format.geometry.labelOffsets[format.labelNumber] ?? 0);
  });
}

async function zero({ device, arena }: GrowSource, range: { readonly startBytes: number; readonly endBytes: number }): Promise<void> {
  await withStaging(arena, WRITE_BYTES, async (bytes) => {
    bytes.fill(0);
    for (let at = range.startBytes; at < range.endBytes; at += bytes.length)
      await device.write([bytes.subarray(0, Math.min(bytes.length, range.endBytes - at))], at);
  });
}
