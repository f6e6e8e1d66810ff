/**
 * Makes the regular file that stands in for a device, sparse, exclusive, never over something that exists; and makes it longer. Called by the tools and app
 * after guard.ts allowed it.
 */
import { type FileHandle, mkdir, open, rm, statfs } from 'node:fs/promises';
import path from 'node:path';
import { assert } from '../base/assert.ts';
import { EdgeError, systemErrorCode } from '../base/errors.ts';
import { alignDown, formatBytes, GIB, MIB } from '../base/units.ts';

/** Upper limit of a default size: a first run should not fill a disk. */
export const DEFAULT_FILE_MAX_BYTES = 10 * GIB;
/** Lower limit of a default size: the smallest device that the format allows. */
export const DEFAULT_FILE_MIN_BYTES = 64 * MIB;

/**
 * Creates a file of `sizeBytes` zeros that takes no room yet, readable by its owner only. Missing folders are made; after a failure none
 * of it remains.
 *
 * @throws EdgeError DEVICE_UNSUITABLE when the path exists or the file system has no files of this size; DEVICE_NOT_PERMITTED
 */
export async function createSparseFile(filePath: string, sizeBytes: number): Promise<void> {
  assert(Number.isSafeInteger(sizeBytes) && sizeBytes > 0, () => `createSparseFile: ${sizeBytes} is no size`);
  let madeFolder: string | undefined;
  let file: FileHandle | undefined;
  try {
    madeFolder = await mkdir(path.dirname(path.resolve(filePath)), { recursive: true });
    file = await open(filePath, 'wx', 0o600);
    await file.truncate(sizeBytes);
    await file.sync();
    await file.close();
  } catch (cause) {
    // The file is ours to remove only when the exclusive creation succeeded.
    if (file !== undefined) {
      await file.close();
      await rm(filePath, { force: true });
    }
    if (madeFolder !== undefined) await rm(madeFolder, { recursive: true, force: true });
    throw creationError(filePath, sizeBytes, cause);
  }
}

/**
 * Makes a file longer, by a hole.
 *
 * @throws EdgeError USAGE when it is as long already; DEVICE_UNSUITABLE when its file system has no files of this size; DEVICE_NOT_PERMITTED
 */
export async function lengthenFile(filePath: string, sizeBytes: number): Promise<void> {
  let file: FileHandle | undefined;
  try {
    file = await open(filePath, 'r+');
    const facts = await file.stat();
    if (facts.size >= sizeBytes)
      throw new EdgeError('USAGE', `${filePath} has ${formatBytes(facts.size)} already; --size makes it larger only`);
    await file.truncate(sizeBytes);
    await file.sync();
  } catch (cause) {
    if (cause instanceof EdgeError) throw cause;
    const errno = systemErrorCode(cause) ?? String(cause);
    const code = errno === 'EACCES' || errno === 'EPERM' || errno === 'EROFS' ? 'DEVICE_NOT_PERMITTED' : 'DEVICE_UNSUITABLE';
    throw new EdgeError(code, `${filePath} cannot be made ${formatBytes(sizeBytes)} long (${errno})`, { cause });
  } finally {
    await file?.close();
  }
}

/**
 * A sensible size for a new file at `filePath`: half of what is free there, at most DEFAULT_FILE_MAX_BYTES, in whole MiB.
 *
 * @throws EdgeError DEVICE_TOO_SMALL when that is less than DEFAULT_FILE_MIN_BYTES; DEVICE_UNSUITABLE when no folder above can be looked at
 */
export async function defaultFileSizeBytes(filePath: string): Promise<number> {
  const freeBytes = await freeBytesAbove(path.dirname(path.resolve(filePath)));
  const sizeBytes = alignDown(Math.min(DEFAULT_FILE_MAX_BYTES, freeBytes / 2), MIB);
  if (sizeBytes < DEFAULT_FILE_MIN_BYTES) {
    const message = `Only ${formatBytes(freeBytes)} are free for ${filePath}; free ${formatBytes(2 * DEFAULT_FILE_MIN_BYTES)} or give another path`;
    throw new EdgeError('DEVICE_TOO_SMALL', message, { context: { path: filePath, freeBytes } });
  }
  return sizeBytes;
}

/** Free bytes of the file system that holds the nearest folder that exists. */
async function freeBytesAbove(folder: string): Promise<number> {
  try {
    const facts = await statfs(folder);
    return facts.bavail * facts.bsize;
  } catch (cause) {
    const parent = path.dirname(folder);
    if (systemErrorCode(cause) === 'ENOENT' && parent !== folder) return freeBytesAbove(parent);
    throw new EdgeError(
      'DEVICE_UNSUITABLE',
      `The file system of ${folder} cannot be looked at (${systemErrorCode(cause) ?? String(cause)})`,
      { cause },
    );
  }
}

function creationError(filePath: string, sizeBytes: number, cause: unknown): EdgeError {
  const errno = systemErrorCode(cause) ?? String(cause);
  const context = { path: filePath, sizeBytes, errno };
  if (errno === 'EACCES' || errno === 'EPERM' || errno === 'EROFS') {
    return new EdgeError('DEVICE_NOT_PERMITTED', `${filePath} may not be created by this user (${errno})`, { context, cause });
  }
  const reason = errno === 'EEXIST' ? 'it exists already' : `${errno}, wanted ${formatBytes(sizeBytes)}`;
  return new EdgeError('DEVICE_UNSUITABLE', `${filePath} cannot be created (${reason})`, { context, cause });
}
