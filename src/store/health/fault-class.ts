/**
 * What a failed operation says about the device. The errno decides, and for the full file system under a sparse file the operation. Used by
 * device-health.ts; the names are a metric's label.
 */
import { EdgeError } from '../../base/errors.ts';

/**
 * `own`: the kernel calls the request invalid, our own error. `media`: the device could not do it. `gone`: there is no device any more.
 * `unwritable`: it takes no writes, reads may go on. `stalled`: no answer in time. `corrupt`: it answered with other bytes than were written.
 */
export const FAULT_CLASSES = ['own', 'media', 'gone', 'unwritable', 'stalled', 'corrupt'] as const;
/** One of FAULT_CLASSES. */
export type FaultClass = (typeof FAULT_CLASSES)[number];

/** What a store asks of a device. */
export type StoreOperation = 'read' | 'write' | 'flush';

const OWN = new Set(['EINVAL', 'EFAULT', 'EBADF']);
const GONE = new Set(['ENXIO', 'ENODEV', 'ENOMEDIUM', 'ESTALE', 'ENOTCONN', 'ESHUTDOWN']);
const UNWRITABLE = new Set(['EROFS', 'EPERM', 'EACCES', 'ENOSPC', 'EDQUOT', 'EFBIG']);
const STALLED = new Set(['ETIMEDOUT', 'EAGAIN', 'EINTR', 'ENOMEM']);

/** @returns undefined when the error is none of the device's (it did not begin, or it is foreign) */
export function classifyFault(operation: StoreOperation, error: unknown): FaultClass | undefined {
  if (!(error instanceof EdgeError) || error.code !== 'DEVICE_FAULT') return undefined;
  const errno = String(error.context.errno);
  if (OWN.has(errno)) return 'own';
  if (GONE.has(errno)) return 'gone';
  if (STALLED.has(errno)) return 'stalled';
  return operation !== 'read' && UNWRITABLE.has(errno) ? 'unwritable' : 'media';
}
