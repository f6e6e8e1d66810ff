/**
 * Facts about a path that may be a device, gathered without writing and without claiming it: what it is, how large, who uses it, what it
 * holds. guard.ts turns them into decisions. Called by the tools and by app before a device is opened. Whether another process holds the
 * device is not asked here, since asking would claim it for a moment; opening it tells.
 */
import { constants as fsConstants, type Stats } from 'node:fs';
import { access, type FileHandle, open, realpath, stat } from 'node:fs/promises';
import { seekSync } from 'fs-ext';
import { EdgeError, systemErrorCode } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { openError } from './open-error.ts';
import { EDGE_BYTES, identifySignature, type SignatureVerdict } from './signatures.ts';
import {
  deviceNumber,
  findMountPoint,
  isSwap,
  readBlockSizeBytes,
  readFamily,
  readHolders,
  readIsWriteProtected,
  readLoopHolders,
  readSizeBytes,
} from './system-facts.ts';

/** What this user may do with the path. */
export type Permission = 'nothing' | 'read' | 'read-write';

/** What was found. Fields that do not apply (an absent path has no size) are 0, empty, false or undefined. */
export interface DeviceProbe {
  /** As given by the caller. */
  readonly path: string;
  /** Where symbolic links (`/dev/disk/by-id/...`) lead. */
  readonly realPath: string;
  readonly kind: 'block' | 'file' | 'absent' | 'other';
  /** What an `other` is, for people: `a directory`. */
  readonly otherName: string | undefined;
  /** Raw size, not rounded to blocks. */
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly permission: Permission;
  /** Whether the block device refuses every write. */
  readonly isWriteProtected: boolean;
  /** Whether it, or one of its partitions, is mounted or used as swap. */
  readonly isMounted: boolean;
  /** Where it is mounted, or `swap`. */
  readonly mountPoint: string | undefined;
  /** Kernel devices built on it: device mapper, md, or a loop device over a file. */
  readonly holders: readonly string[];
  /** Undefined when it could not be read. */
  readonly signature: SignatureVerdict | undefined;
}

/**
 * Looks at `path`.
 *
 * @throws EdgeError DEVICE_FAULT when the device cannot be read; DEVICE_NOT_PERMITTED when a folder on the way is closed to this user;
 *   DEVICE_UNSUITABLE when the path cannot be followed (a loop of links, a file in the place of a folder); DEVICE_ABSENT for a drive
 *   without a medium
 */
export async function probeDevice(path: string): Promise<DeviceProbe> {
  const facts = await tryStat(path);
  const nothing = {
    path,
    realPath: path,
    otherName: undefined,
    sizeBytes: 0,
    blockSizeBytes: PAGE_BYTES,
    permission: 'nothing',
    isWriteProtected: false,
    isMounted: false,
    mountPoint: undefined,
    holders: [],
    signature: undefined,
  } as const;
  if (facts === undefined) return { ...nothing, kind: 'absent' };
  const realPath = await realpath(path);
  if (!facts.isBlockDevice() && !facts.isFile()) return { ...nothing, realPath, kind: 'other', otherName: nameOfKind(facts) };
  const use = facts.isBlockDevice() ? await useOfBlockDevice(facts) : await useOfFile(facts, realPath);
  const permission = await permissionOf(realPath);
  const content = permission === 'nothing' ? undefined : await tryReadContent(path, realPath);
  // A device cgroup or a security module may refuse what the file mode allows.
  if (content === undefined) return { path, realPath, otherName: undefined, ...use, permission: 'nothing', signature: undefined };
  return { path, realPath, otherName: undefined, ...use, permission, ...content };
}

type Use = Pick<DeviceProbe, 'kind' | 'sizeBytes' | 'blockSizeBytes' | 'isWriteProtected' | 'isMounted' | 'mountPoint' | 'holders'>;

async function useOfBlockDevice(facts: Stats): Promise<Use> {
  const device = deviceNumber(facts.rdev);
  const family = await readFamily(device);
  const mountPoint = (await findMountPoint(family)) ?? ((await isSwap({ family })) ? 'swap' : undefined);
  return {
    kind: 'block',
    sizeBytes: (await readSizeBytes(device)) ?? 0,
    blockSizeBytes: await readBlockSizeBytes(device),
    isWriteProtected: await readIsWriteProtected(device),
    isMounted: mountPoint !== undefined,
    mountPoint,
    holders: await readHolders(family),
  };
}

async function useOfFile(facts: Stats, realPath: string): Promise<Use> {
  const isMounted = await isSwap({ dev: facts.dev, ino: facts.ino });
  return {
    kind: 'file',
    sizeBytes: facts.size,
    blockSizeBytes: PAGE_BYTES,
    isWriteProtected: false,
    isMounted,
    mountPoint: isMounted ? 'swap' : undefined,
    holders: await readLoopHolders(realPath),
  };
}

/** @returns undefined when reading is not permitted */
async function tryReadContent(path: string, realPath: string): Promise<Pick<DeviceProbe, 'sizeBytes' | 'signature'> | undefined> {
  const file = await tryOpen(path, realPath);
  if (file === undefined) return undefined;
  try {
    const sizeBytes = seekSync(file.fd, 0, 2);
    const lengthBytes = Math.min(EDGE_BYTES, sizeBytes);
    const head = await readFully(file, 0, lengthBytes);
    const tail = await readFully(file, sizeBytes - lengthBytes, lengthBytes);
    return { sizeBytes, signature: identifySignature({ head, tail, sizeBytes }) };
  } catch (cause) {
    const errno = systemErrorCode(cause) ?? String(cause);
    throw new EdgeError('DEVICE_FAULT', `${path} cannot be read (${errno}); look at the kernel log`, {
      context: { path, operation: 'read', errno },
      cause,
    });
  } finally {
    await file.close();
  }
}

async function tryOpen(path: string, realPath: string): Promise<FileHandle | undefined> {
  try {
    return await open(realPath, fsConstants.O_RDONLY);
  } catch (cause) {
    const error = await openError(path, cause);
    if (error.code === 'DEVICE_NOT_PERMITTED') return undefined;
    throw error;
  }
}

/** Fills a buffer from `offsetBytes`; what lies beyond the end stays zero. */
async function readFully(file: FileHandle, offsetBytes: number, lengthBytes: number): Promise<Buffer> {
  const bytes = Buffer.from(new ArrayBuffer(lengthBytes));
  let done = 0;
  while (done < lengthBytes) {
    const { bytesRead } = await file.read(bytes, done, lengthBytes - done, offsetBytes + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return bytes;
}

async function tryStat(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (cause) {
    if (systemErrorCode(cause) === 'ENOENT') return undefined;
    throw await openError(path, cause);
  }
}

async function permissionOf(path: string): Promise<Permission> {
  const permits = async (mode: number): Promise<boolean> =>
    access(path, mode).then(
      () => true,
      () => false,
    );
  if (!(await permits(fsConstants.R_OK))) return 'nothing';
  return (await permits(fsConstants.W_OK)) ? 'read-write' : 'read';
}

function nameOfKind(facts: Stats): string {
  if (facts.isDirectory()) return 'a directory';
  if (facts.isCharacterDevice()) return 'a character device';
  if (facts.isSocket()) return 'a socket';
  return facts.isFIFO() ? 'a named pipe' : 'of an unknown kind';
}
