/** `rawslice inspect bad` and `rawslice inspect purges`: blocks out of use, and the purges that the device still knows. */
import { countText } from '../../src/base/count-text.ts';
import { formatBytes } from '../../src/base/units.ts';
import { collectPurges } from '../../src/store/check/collect-purges.ts';
import { outOfUse, viewDevice } from '../../src/store/inspect-device.ts';
import type { CommandIo } from '../command-io.ts';
import type { ReadableDevice } from '../device-view.ts';
import { timeText } from './describe-device.ts';
import { ListWriter } from './list-writer.ts';
import { purgeWords } from './record-words.ts';

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

/** Prints purges, the newest last. Those of single objects stand in the journal only, until a checkpoint has their effect. */
export async function showPurges(io: CommandIo, { device, arena }: ReadableDevice, wishes: ListWishes): Promise<void> {
  const view = await viewDevice(device, arena);
  const known = await collectPurges(view);
  const list = new ListWriter(io.terminal, { name: 'purges', ...wishes });
  for (const purge of known.purges.filter(({ isRetired }) => !isRetired)) {
    const { sequence, flags, hash, prefixBytes, generation, atMs } = purge;
    const prefix = prefixBytes === 0 ? '' : ` of ${countText(prefixBytes, 'byte')}`;
    const when = atMs === 0 ? '' : `, ${timeText(atMs)}`;
    const line = `${sequence}  ${purgeWords(flags)}${prefix}  ${hash}  generations below ${generation}${when}`;
    if (!list.add({ ...purge, kind: purgeWords(flags) }, line)) break;
  }
  list.end('no purge is left to remember', { newest: known.newest, purgesMax: view.root.format.geometry.purgesMax });
}
