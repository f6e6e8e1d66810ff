/**
 * The check of a device (`rawslice fsck`), which reads only. `quick`: labels, checkpoints and journal, and what recovery makes of them;
 * `full`: the header of every extent, too, and all of the journal; `deep`: every byte. What a crash leaves behind is a remark; what should
 * not be there is a finding.
 */
import { EdgeError } from '../../base/errors.ts';
import { type DeviceUsage, type DeviceView, measureUsage, viewDevice } from '../inspect-device.ts';
import type { RecoveryReport } from '../recovery/recovery.ts';
import { checkExtents, type ExtentCheck } from './check-extents.ts';
import { type CheckCount, CheckLog, type CheckNote } from './check-log.ts';
import { checkRoot, type DamagedPlaces } from './check-root.ts';
import type { ScanSource } from './read-copy.ts';

/** How far a check goes. */
export type CheckLevel = 'quick' | 'full' | 'deep';

/** Wishes of whoever checks. */
export interface CheckOptions {
  readonly level: CheckLevel;
  /** A server is writing to the device meanwhile. */
  readonly isInUse: boolean;
  readonly signal?: AbortSignal | undefined;
  /** How far the reading of extents is: extents (`full`) or bytes (`deep`). */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Outcome of a check. `usage` and `recovery` are undefined when nothing of the device can be read. */
export interface DeviceCheck {
  readonly level: CheckLevel;
  readonly notes: readonly CheckNote[];
  readonly counts: readonly CheckCount[];
  readonly findings: number;
  /** Extents whose header, or every byte, was read. */
  readonly extents: number;
  readonly usage: DeviceUsage | undefined;
  readonly recovery: Readonly<RecoveryReport> | undefined;
}

/** What a repair goes on from. */
export interface Findings {
  readonly view: DeviceView;
  readonly places: DamagedPlaces;
  /** Undefined after a quick check. */
  readonly extents: ExtentCheck | undefined;
}

/**
 * Checks a device. Damage is an outcome, not an error.
 *
 * @returns `findings` is undefined when nothing of the device can be read
 * @throws EdgeError FORMAT_VERSION, DEVICE_UNSUITABLE, STORE_UNAVAILABLE: it cannot be checked by this program, here
 */
export async function checkDevice(
  source: ScanSource,
  options: CheckOptions,
): Promise<{ readonly check: DeviceCheck; readonly findings: Findings | undefined }> {
  const log = new CheckLog(options.isInUse);
  const view = await tryView(source, log);
  if (view === undefined) return { check: summarize(log, options.level), findings: undefined };
  const places = await checkRoot(view, log, options.level === 'quick');
  const extents = options.level === 'quick' ? undefined : await checkExtents(view, log, { ...options, isDeep: options.level === 'deep' });
  const check = {
    ...summarize(log, options.level),
    extents: extents?.extents ?? 0,
    usage: measureUsage(view),
    recovery: view.state.report,
  };
  return { check, findings: { view, places, extents } };
}

async function tryView(source: ScanSource, log: CheckLog): Promise<DeviceView | undefined> {
  try {
    return await viewDevice(source.device, source.arena);
  } catch (error) {
    if (!(error instanceof EdgeError) || (error.code !== 'FORMAT_DAMAGED' && error.code !== 'DEVICE_TRUNCATED')) throw error;
    log.findSure(error.code === 'FORMAT_DAMAGED' ? 'no-label' : 'truncated', error.message);
    return undefined;
  }
}

function summarize(log: CheckLog, level: CheckLevel): DeviceCheck {
  return { level, notes: log.notes, counts: log.counts, findings: log.findings, extents: 0, usage: undefined, recovery: undefined };
}
