/**
 * The quick check of a device (`rawslice fsck`): labels, superblocks, checkpoint and journal, and whether they agree. It reads only. What a
 * crash leaves behind is a remark; what should not be there is a finding. Slices prove themselves when they are read, so they are not read
 * here.
 */
import { EdgeError } from '../base/errors.ts';
import type { BlockDevice } from '../device/block-device.ts';
import type { Arena } from '../memory/arena.ts';
import { type DeviceUsage, type DeviceView, measureUsage, viewDevice } from './inspect-device.ts';
import type { RecoveryReport } from './recovery.ts';
import type { DeviceRoot } from './root-area.ts';

/** Something on the device. `finding`: damage; `remark`: worth knowing, and no damage. */
export interface CheckNote {
  readonly kind: 'finding' | 'remark';
  /** For programs, such as `label-damaged`. */
  readonly code: string;
  readonly message: string;
}

/** Outcome of a check. `usage` and `recovery` are undefined when nothing of the device can be read. */
export interface DeviceCheck {
  readonly notes: readonly CheckNote[];
  readonly usage: DeviceUsage | undefined;
  readonly recovery: Readonly<RecoveryReport> | undefined;
}

/** Copies of a superblock are written in two steps; between them, and after a crash there, they differ by one. */
const SEQUENCE_LAG_MAX = 1;

/**
 * Checks `device`. Damage is an outcome, not an error.
 *
 * @throws EdgeError FORMAT_VERSION, DEVICE_UNSUITABLE, STORE_UNAVAILABLE: it cannot be checked by this program, here
 */
export async function checkDeviceQuick(device: BlockDevice, arena: Arena): Promise<DeviceCheck> {
  let view: DeviceView;
  try {
    view = await viewDevice(device, arena);
  } catch (error) {
    if (!(error instanceof EdgeError) || (error.code !== 'FORMAT_DAMAGED' && error.code !== 'DEVICE_TRUNCATED')) throw error;
    const code = error.code === 'FORMAT_DAMAGED' ? 'no-label' : 'truncated';
    return { notes: [{ kind: 'finding', code, message: error.message }], usage: undefined, recovery: undefined };
  }
  const { report } = view.state;
  const { isClean } = view.root.superblock;
  const notes = [...checkLabels(view.root), ...checkRecovery(report, isClean)];
  if (!isClean) {
    const message = 'it was not closed in order: a server is running on it, or the last one was killed; the journal makes up for that';
    notes.push({ kind: 'remark', code: 'not-closed', message });
  }
  return { notes, usage: measureUsage(view), recovery: report };
}

function checkLabels(root: DeviceRoot): CheckNote[] {
  const notes: CheckNote[] = [];
  for (const { labelNumber, format, newestSequence } of root.labels) {
    if (format !== 'valid') {
      notes.push({ kind: 'finding', code: 'label-damaged', message: `label ${labelNumber} is ${format}; the other copies serve` });
    } else if (newestSequence + SEQUENCE_LAG_MAX < root.superblock.sequence) {
      const message = `label ${labelNumber} ends with superblock ${newestSequence}, the newest is ${root.superblock.sequence}`;
      notes.push({ kind: 'finding', code: 'superblock-lost', message });
    }
  }
  return notes;
}

function checkRecovery(report: Readonly<RecoveryReport>, isClean: boolean): CheckNote[] {
  const notes: CheckNote[] = [];
  const find = (code: string, count: number, message: string): void => {
    if (count > 0) notes.push({ kind: 'finding', code, message });
  };
  find(
    'checkpoint-part-damaged',
    report.damagedParts,
    `${report.damagedParts} parts of the checkpoint are damaged; what they name is forgotten`,
  );
  const isTorn = !report.isCheckpointWhole && report.damagedParts === 0;
  find('checkpoint-incomplete', Number(isTorn), 'the checkpoint is not the one that the superblock vouches for');
  find('checkpoint-replaced', Number(report.usedPrevious), 'the newest checkpoint cannot be read; the one before it serves');
  find('entry-invalid', report.invalid, `${report.invalid} entries name what cannot be; they are ignored`);
  find(
    'forgotten',
    Number(report.isForgotten),
    'a purge may be missing from the journal; everything is forgotten, so that nothing purged comes back',
  );
  if (report.overlaps > 0) {
    // After a crash an entry may have survived the record that dropped it.
    const message = `${report.overlaps} entries claim blocks of newer ones; they are dropped`;
    notes.push({ kind: isClean ? 'finding' : 'remark', code: 'overlap', message });
  }
  if (report.onBadBlocks > 0) {
    const message = `${report.onBadBlocks} entries lie on blocks that were put out of use; they are dropped`;
    notes.push({ kind: 'remark', code: 'on-bad-blocks', message });
  }
  if (report.orphans > 0) {
    notes.push({
      kind: 'remark',
      code: 'orphan',
      message: `${report.orphans} slices have no object (it was never finished); their blocks are free`,
    });
  }
  return notes;
}
