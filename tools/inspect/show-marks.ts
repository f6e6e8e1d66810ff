/** `rawslice inspect bad` and `rawslice inspect purges`: blocks out of use, and the purges that the device still knows. */
import { countText } from '../../src/base/count-text.ts';
import { formatBytes } from '../../src/base/units.ts';
import { collectPurges } from '../../src/store/check/collect-purges.ts';
import { outOfUse, viewDevice } from '../../src/store/inspect-device.ts';
import type { CommandIo } from '../command-io.ts';
import type { ReadableDevice } from '../device-view.ts';
import { timeText } from './describe-device.ts';
import { ListWriter } from './list-writer.ts';

interface ListWishes {
  readonly limit: number;
  readonly isJson: boolean;
}

/** Prints runs of blocks. */
export async function showBadBlocks(io: CommandIo, readable: ReadableDevice, wishes: ListWishes): Promise<void> {
  const view = await viewDevice(readable.device, readable.arena);
  const { blockSizeBytes, badRunsMax } = view.root.format.geometry;
  const list = new ListWriter(io.terminal, { name: 'runs', ...wishes });
  for (const { start, end } of outOfUse(view)) {
    const blocks = end - start;
    const line = `${countText(blocks, 'block')} at ${start}, ${formatBytes(blocks * blockSizeBytes)} from byte ${start * blockSizeBytes}`;
    if (!list.add({ block: start, blocks }, line)) break;
  }
  list.end('no block is out of use', { runsMax: badRunsMax });
}

/** Prints purges, the newest last: in force, or kept for devices that were away, or in the journal still. */
export async function showPurges(io: CommandIo, { device, arena }: ReadableDevice, wishes: ListWishes): Promise<void> {
  const view = await viewDevice(device, arena);
  const { purges, newest } = await collectPurges(view);
  const active = new Set(view.state.purges.epochs.map(({ sequence }) => sequence));
  const list = new ListWriter(io.terminal, { name: 'purges', ...wishes });
  for (const purge of purges) {
    const { sequence, kind, isSoft, hash, prefixBytes, generation, atMs } = purge;
    const isActive = active.has(sequence);
    const what =
      kind === 'everything'
        ? kind
        : `${kind} ${hash}${prefixBytes > 0 ? `${kind === 'tag' ? ' below a prefix' : ''} of ${countText(prefixBytes, 'byte')}` : ''}`;
    const state = isActive ? 'in force' : 'done';
    const line = `${sequence}  ${isSoft ? 'soft ' : ''}${what}, generations below ${generation}, ${timeText(atMs)}, ${state}`;
    if (!list.add({ ...purge, isActive }, line)) break;
  }
  list.end('no purge is remembered', { newest, purgesMax: view.root.format.geometry.purgesMax });
}
