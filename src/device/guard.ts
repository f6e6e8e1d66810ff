/**
 * Decides from a probe whether a device may be formatted, opened or created. A mounted or held device and a write-protected one are refused
 * always; foreign data is overwritten by force only. The opening itself (direct-device.ts) claims the device, so what changes between probe
 * and opening is still caught there. Called by the tools and by app.
 */
import { resolve } from 'node:path';
import { EdgeError, type ErrorCode } from '../base/errors.ts';
import { formatBytes } from '../base/units.ts';
import type { DeviceAccess } from './direct-device.ts';
import type { DeviceProbe } from './probe.ts';

/** A decision. `overwrites` names what a format would destroy, for the question to the user; undefined when there is nothing. */
export type GuardVerdict =
  | { readonly kind: 'allowed'; readonly overwrites: string | undefined }
  | { readonly kind: 'refused'; readonly error: EdgeError };

/**
 * Whether `probe`'s device may be formatted.
 *
 * @param options.force overwrite foreign data
 * @param options.minSizeBytes smallest device that the format allows
 * @returns refused with DEVICE_ABSENT, _UNSUITABLE, _MOUNTED, _HELD, _NOT_PERMITTED, _TOO_SMALL or _FOREIGN
 */
export function mayFormat(probe: DeviceProbe, options: { force: boolean; minSizeBytes: number }): GuardVerdict {
  const error = findObstacle(probe, 'read-write');
  if (error !== undefined) return { kind: 'refused', error };
  const { path, sizeBytes, signature } = probe;
  if (sizeBytes < options.minSizeBytes) {
    const sizes = `${formatBytes(sizeBytes)}; the smallest device is ${formatBytes(options.minSizeBytes)}`;
    return refuse('DEVICE_TOO_SMALL', `${path} has ${sizes}`, probe);
  }
  if (signature?.kind === 'rawslice') return { kind: 'allowed', overwrites: 'a rawslice cache' };
  if (signature?.kind !== 'foreign') return { kind: 'allowed', overwrites: undefined };
  if (options.force) return { kind: 'allowed', overwrites: signature.name };
  return refuse('DEVICE_FOREIGN', `${path} holds ${signature.name}; add --force to destroy it`, probe);
}

/**
 * Whether `probe`'s device may be opened as a cache.
 *
 * @param access `read-only` is for looking at a device beside a running server and cares less about who uses it
 * @returns refused with DEVICE_ABSENT, _UNSUITABLE, _MOUNTED, _HELD, _NOT_PERMITTED, _BLANK or _FOREIGN
 */
export function mayOpen(probe: DeviceProbe, access: DeviceAccess): GuardVerdict {
  const error = findObstacle(probe, access);
  if (error !== undefined) return { kind: 'refused', error };
  const { path, signature } = probe;
  if (signature?.kind === 'blank') {
    return refuse('DEVICE_BLANK', `${path} is blank; format it: tools/rawslice format ${quote(path)} --yes`, probe);
  }
  if (signature?.kind === 'foreign') {
    return refuse('DEVICE_FOREIGN', `${path} holds ${signature.name}, not a rawslice cache; give the path of another device`, probe);
  }
  return { kind: 'allowed', overwrites: undefined };
}

/**
 * Whether a file may be created at `probe`'s path to serve as a device. Never below /dev, where a misspelt device name would become a file
 * in memory (/dev/shm is meant for files).
 *
 * @returns refused with DEVICE_ABSENT (below /dev) or DEVICE_UNSUITABLE (something is there already)
 */
export function mayCreateFile(probe: DeviceProbe): GuardVerdict {
  if (probe.kind !== 'absent') return refuse('DEVICE_UNSUITABLE', `${probe.path} exists already; it is not created anew`, probe);
  if (isBelowDev(probe.path)) return { kind: 'refused', error: absentError(probe) };
  return { kind: 'allowed', overwrites: undefined };
}

function findObstacle(probe: DeviceProbe, access: DeviceAccess): EdgeError | undefined {
  const { path } = probe;
  if (probe.kind === 'absent') return absentError(probe);
  if (probe.kind === 'other') {
    return errorFor('DEVICE_UNSUITABLE', `${path} is ${probe.otherName ?? 'something else'}; give a block device or a regular file`, probe);
  }
  if (access === 'read-write') {
    if (probe.isMounted) {
      const message =
        probe.mountPoint === 'swap' ? `is in use as swap; swapoff it first` : `is mounted at ${probe.mountPoint}; unmount it first`;
      return errorFor('DEVICE_MOUNTED', `${path} ${message}`, probe);
    }
    if (probe.holders.length > 0) {
      return errorFor('DEVICE_HELD', `${path} is part of ${probe.holders.join(', ')}; take it out of there first`, probe);
    }
    if (probe.isWriteProtected) {
      return errorFor(
        'DEVICE_NOT_PERMITTED',
        `${path} is write-protected; blockdev --setrw lifts that where it was set by software`,
        probe,
      );
    }
  }
  if (probe.permission === 'nothing' || (access === 'read-write' && probe.permission === 'read')) {
    const act = access === 'read-write' ? 'read and write' : 'read';
    return errorFor('DEVICE_NOT_PERMITTED', `This user may not ${act} ${path}; change its owner or join its group (often 'disk')`, probe);
  }
  return undefined;
}

function absentError(probe: DeviceProbe): EdgeError {
  const hint = isBelowDev(probe.path)
    ? 'lsblk lists the block devices; names like /dev/disk/by-id/... stay the same over reboots'
    : 'give the path of a block device or of a file made by format';
  return errorFor('DEVICE_ABSENT', `${probe.path} does not exist; ${hint}`, probe);
}

function isBelowDev(path: string): boolean {
  const absolute = resolve(path);
  return absolute.startsWith('/dev/') && !absolute.startsWith('/dev/shm/');
}

function refuse(code: ErrorCode, message: string, probe: DeviceProbe): GuardVerdict {
  return { kind: 'refused', error: errorFor(code, message, probe) };
}

function errorFor(code: ErrorCode, message: string, probe: DeviceProbe): EdgeError {
  const found = probe.signature?.kind === 'foreign' ? probe.signature.name : probe.signature?.kind;
  return new EdgeError(code, message, { context: { path: probe.path, kind: probe.kind, sizeBytes: probe.sizeBytes, found } });
}

/** For a shell, so that the line can be copied. */
function quote(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
