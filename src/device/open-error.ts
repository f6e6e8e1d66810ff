/** Turns what the kernel says when a device is opened into an EdgeError that says what to do. Called by direct-device.ts and probe.ts. */
import { stat } from 'node:fs/promises';
import { EdgeError, systemErrorCode } from '../base/errors.ts';
import { findLockOwner } from './system-facts.ts';

/** The EdgeError for a failed stat(2) or open(2) of `path`: DEVICE_ABSENT, _NOT_PERMITTED, _HELD, _UNSUITABLE or _FAULT. */
export async function openError(path: string, cause: unknown): Promise<EdgeError> {
  const errno = systemErrorCode(cause) ?? String(cause);
  const options = { context: { path, operation: 'open', errno }, cause };
  switch (errno) {
    case 'ENOENT':
    case 'ENXIO':
    case 'ENODEV':
    case 'ENOMEDIUM':
      return new EdgeError('DEVICE_ABSENT', `${path} does not exist, or nothing is in it (${errno})`, options);
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new EdgeError(
        'DEVICE_NOT_PERMITTED',
        `${path} may not be opened so by this user (${errno}); look at its owner and write protection`,
        options,
      );
    case 'EBUSY':
    case 'ETXTBSY':
      return heldError(path, cause);
    case 'EISDIR':
    case 'ENOTDIR':
    case 'ELOOP':
    case 'ENAMETOOLONG':
      return new EdgeError('DEVICE_UNSUITABLE', `${path} is neither a block device nor a regular file (${errno})`, options);
    default:
      return new EdgeError('DEVICE_FAULT', `${path} cannot be opened (${errno}); look at the kernel log`, options);
  }
}

/** DEVICE_HELD, naming the process that holds the lock where the kernel tells. */
export async function heldError(path: string, cause: unknown): Promise<EdgeError> {
  const owner = await findClaimant(path);
  const advice =
    owner === undefined
      ? 'held by another process, mounted or part of another device; free it first'
      : `held by process ${owner}; stop it first`;
  return new EdgeError('DEVICE_HELD', `${path} is ${advice}`, { context: { path, processId: owner }, cause });
}

/** The process that has claimed the device at `path`; undefined when none has, or the kernel does not tell. */
export function findClaimant(path: string): Promise<number | undefined> {
  return stat(path).then(findLockOwner, () => undefined);
}
