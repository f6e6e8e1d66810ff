/** What `rawslice format` is about to do: decided from the path and the flags before anything is changed, and told in words. */
import { EdgeError } from '../src/base/errors.ts';
import { alignDown, formatBytes, MIB } from '../src/base/units.ts';
import { defaultFileSizeBytes } from '../src/device/create-file.ts';
import { type GuardVerdict, mayCreateFile, mayFormat } from '../src/device/guard.ts';
import { type DeviceProbe, probeDevice } from '../src/device/probe.ts';
import { computeGeometry, DEVICE_MIN_BYTES, defaultParameters, type Geometry } from '../src/format/geometry.ts';
import { indexMemoryBytes } from '../src/store/index/slice-index.ts';

/** What was asked for. */
export interface FormatWishes {
  readonly path: string;
  /** Size of a file to be created; undefined for the default. */
  readonly sizeBytes: number | undefined;
  /** Undefined for the default. */
  readonly entryCount: number | undefined;
  /** Whether foreign data may be overwritten. */
  readonly mayDestroy: boolean;
}

/** A format that is allowed. */
export interface FormatPlan {
  readonly path: string;
  readonly kind: 'block device' | 'file';
  readonly isNewFile: boolean;
  readonly sizeBytes: number;
  readonly entryCount: number | undefined;
  /** What will be lost, in words; undefined when there is nothing. */
  readonly overwrites: string | undefined;
  readonly geometry: Geometry;
}

/** Looks at the path and decides. @throws EdgeError of the guard (DEVICE_*), and USAGE */
export async function planFormat(wishes: FormatWishes): Promise<FormatPlan> {
  const { path, entryCount } = wishes;
  const probe = await probeDevice(path);
  if (probe.kind === 'absent') return planNewFile(wishes, probe);
  const overwrites = allowedOrThrow(mayFormat(probe, { force: wishes.mayDestroy, minSizeBytes: DEVICE_MIN_BYTES }));
  if (wishes.sizeBytes !== undefined) {
    throw new EdgeError('USAGE', `--size is for files that are created; ${path} exists and has ${formatBytes(probe.sizeBytes)}`);
  }
  const kind = probe.kind === 'block' ? 'block device' : 'file';
  const geometry = geometryOrThrow(path, probe, entryCount);
  return { path, kind, isNewFile: false, sizeBytes: probe.sizeBytes, entryCount, overwrites, geometry };
}

/** The plan in lines for a person. */
export function describePlan(plan: FormatPlan): readonly string[] {
  const { geometry, overwrites } = plan;
  const { labelBytes, journalBytes, checkpointBytes, blockSizeBytes, entryCount } = geometry;
  const groupsBytes = geometry.groupsBlocks * blockSizeBytes;
  const size = `${formatBytes(plan.sizeBytes)} (${plan.sizeBytes} bytes)`;
  return [
    `${plan.isNewFile ? 'a new file' : `the ${plan.kind}`} ${plan.path} becomes a rawslice cache`,
    `  size     ${size}, blocks of ${formatBytes(blockSizeBytes)}`,
    `  zones    labels 4 x ${formatBytes(labelBytes)}, journal ${formatBytes(journalBytes)}, checkpoints 2 x ${formatBytes(checkpointBytes)}, objects ${formatBytes(groupsBytes)}`,
    `  entries  ${entryCount}, which take ${formatBytes(indexMemoryBytes(entryCount))} of memory while it is served`,
    overwrites === undefined ? '  lost     nothing, it is blank' : `  lost     ${overwrites}, with everything in it`,
  ].filter((line) => !plan.isNewFile || !line.startsWith('  lost'));
}

async function planNewFile(wishes: FormatWishes, probe: DeviceProbe): Promise<FormatPlan> {
  const { path, entryCount } = wishes;
  allowedOrThrow(mayCreateFile(probe));
  const wantedBytes = wishes.sizeBytes ?? (await defaultFileSizeBytes(path));
  const sizeBytes = alignDown(wantedBytes, MIB);
  if (sizeBytes < DEVICE_MIN_BYTES) {
    throw new EdgeError(
      'DEVICE_TOO_SMALL',
      `--size is ${formatBytes(wantedBytes)}; the smallest cache has ${formatBytes(DEVICE_MIN_BYTES)}`,
    );
  }
  const geometry = geometryOrThrow(path, { sizeBytes, blockSizeBytes: probe.blockSizeBytes }, entryCount);
  return { path, kind: 'file', isNewFile: true, sizeBytes, entryCount, overwrites: undefined, geometry };
}

function geometryOrThrow(
  path: string,
  device: Pick<DeviceProbe, 'sizeBytes' | 'blockSizeBytes'>,
  entryCount: number | undefined,
): Geometry {
  const { sizeBytes, blockSizeBytes } = device;
  const capacityBytes = alignDown(sizeBytes, blockSizeBytes);
  const geometry = computeGeometry(defaultParameters({ blockSizeBytes, capacityBytes }, entryCount === undefined ? {} : { entryCount }));
  if (geometry !== undefined) return geometry;
  if (entryCount === undefined) throw new EdgeError('DEVICE_TOO_SMALL', `${path} has ${formatBytes(sizeBytes)}, too little for a cache`);
  throw new EdgeError('USAGE', `${entryCount} entries are too many for ${formatBytes(sizeBytes)}; take fewer, or leave --entries out`);
}

/** @returns what will be overwritten */
function allowedOrThrow(verdict: GuardVerdict): string | undefined {
  if (verdict.kind === 'refused') throw verdict.error;
  return verdict.overwrites;
}
