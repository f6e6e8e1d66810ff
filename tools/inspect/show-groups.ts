/** `rawslice inspect groups`: how full and how splintered each allocation group is. */
import { formatBytes } from '../../src/base/units.ts';
import { type GroupReport, reportGroups } from '../../src/store/check/extent-order.ts';
import { outOfUse, viewDevice } from '../../src/store/inspect-device.ts';
import type { CommandIo } from '../command-io.ts';
import type { ReadableDevice } from '../device-view.ts';
import { ListWriter } from './list-writer.ts';

/** Prints one line for each group. */
export async function showGroups(
  io: CommandIo,
  readable: ReadableDevice,
  wishes: { readonly limit: number; readonly isJson: boolean },
): Promise<void> {
  const view = await viewDevice(readable.device, readable.arena);
  const { geometry } = view.root.format;
  const head = ` group  first block        used        free  largest run  free runs  splintered  manifests  slices  belongs to`;
  const list = new ListWriter(io.terminal, { name: 'groups', ...wishes, head });
  for (const group of reportGroups(geometry, view.state.index, outOfUse(view))) {
    const fragmentation = fragmentationOf(group);
    if (!list.add({ ...group, fragmentation }, groupLine(group, geometry.blockSizeBytes))) break;
  }
  list.end('no groups');
}

/** How much of the free room is outside of the longest free run: 0 when it is one run. */
function fragmentationOf({ freeBlocks, largestFreeRun }: GroupReport): number {
  return freeBlocks === 0 ? 0 : 1 - largestFreeRun / freeBlocks;
}

const BAND_WORDS = { manifest: 'manifests', small: 'small slices', large: 'large slices' } as const;

function groupLine(group: GroupReport, blockSizeBytes: number): string {
  const size = (blocks: number): string => formatBytes(blocks * blockSizeBytes);
  return [
    String(group.group).padStart(6),
    String(group.startBlock).padStart(11),
    size(group.usedBlocks).padStart(10),
    size(group.freeBlocks).padStart(10),
    size(group.largestFreeRun).padStart(11),
    String(group.freeRuns).padStart(9),
    `${(fragmentationOf(group) * 100).toFixed(1)}%`.padStart(10),
    String(group.manifests).padStart(9),
    String(group.slices).padStart(6),
    group.band === undefined ? 'nobody' : BAND_WORDS[group.band],
  ].join('  ');
}
