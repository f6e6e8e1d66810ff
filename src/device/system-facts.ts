/**
 * What the kernel tells of a block device or file through sysfs and procfs: size, block sizes, partitions, holders, mounts. All of it is
 * read-only and best effort: in a container these trees may be missing, then the facts are empty and the exclusive open has the last word.
 */
import type { Stats } from 'node:fs';
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { isPowerOfTwo, KIB, PAGE_BYTES } from '../base/units.ts';

/** A device number as the kernel prints it: `8:1`. */
export type DeviceNumber = `${number}:${number}`;

/** The kernel counts sectors of this size in sysfs, whatever the device's own. */
const SYSFS_SECTOR_BYTES = 512;
/** A larger physical block is a drive's fancy (some USB bridges report megabytes), not a unit of writing. */
const BLOCK_SIZE_MAX_BYTES = 64 * KIB;

/** Splits st_rdev or st_dev. Source: gnu_dev_major and gnu_dev_minor of glibc, with divisions in the place of shifts. */
export function deviceNumber(dev: number): DeviceNumber {
  const major = Math.floor(dev / 2 ** 8) % 2 ** 12;
  const minor = (dev % 2 ** 8) + (Math.floor(dev / 2 ** 20) % 2 ** 24) * 2 ** 8;
  return `${major}:${minor}`;
}

/** The unit of I/O for a block device: 4 KiB, or its logical or physical block where that is larger. */
export async function readBlockSizeBytes(device: DeviceNumber): Promise<number> {
  const folder = await queueFolder(device);
  let blockSizeBytes = PAGE_BYTES;
  for (const name of ['logical_block_size', 'physical_block_size']) {
    const value = await readNumber(path.join(folder, name));
    if (value !== undefined && isPowerOfTwo(value) && value <= BLOCK_SIZE_MAX_BYTES) blockSizeBytes = Math.max(blockSizeBytes, value);
  }
  return blockSizeBytes;
}

/** Bytes of a block device, or undefined when sysfs does not tell. */
export async function readSizeBytes(device: DeviceNumber): Promise<number | undefined> {
  const sectors = await readNumber(path.join(sysfsFolder(device), 'size'));
  return sectors === undefined ? undefined : sectors * SYSFS_SECTOR_BYTES;
}

/** Whether the kernel refuses writes to a block device (`blockdev --setro`, a write-protect switch). */
export async function readIsWriteProtected(device: DeviceNumber): Promise<boolean> {
  return (await readNumber(path.join(sysfsFolder(device), 'ro'))) === 1;
}

/** The device itself and, for a whole disk, its partitions. */
export async function readFamily(device: DeviceNumber): Promise<readonly DeviceNumber[]> {
  const folder = sysfsFolder(device);
  const family: DeviceNumber[] = [device];
  for (const name of await listFolder(folder)) {
    if ((await readNumber(path.join(folder, name, 'partition'))) === undefined) continue;
    const text = await readText(path.join(folder, name, 'dev'));
    const match = /^(\d+):(\d+)$/.exec(text?.trim() ?? '');
    if (match !== null) family.push(`${Number(match[1])}:${Number(match[2])}`);
  }
  return family;
}

/** Names of kernel devices built on `device` or its partitions: `dm-0`, `md127`. */
export async function readHolders(family: readonly DeviceNumber[]): Promise<readonly string[]> {
  const holders = new Set<string>();
  for (const member of family) {
    for (const name of await listFolder(path.join(sysfsFolder(member), 'holders'))) holders.add(name);
  }
  return [...holders].sort();
}

/** Names of loop devices that a regular file backs: `loop0`. */
export async function readLoopHolders(filePath: string): Promise<readonly string[]> {
  const holders: string[] = [];
  for (const name of await listFolder('/sys/block')) {
    if (!name.startsWith('loop')) continue;
    const backing = await readText(`/sys/block/${name}/loop/backing_file`);
    if (backing?.replace(/\n$/, '') === filePath) holders.push(name);
  }
  return holders;
}

/** Where a member of `family` is mounted, or undefined. Looks at device numbers and, for file systems that hide theirs, at mount sources. */
export async function findMountPoint(family: readonly DeviceNumber[]): Promise<string | undefined> {
  const text = (await readText('/proc/self/mountinfo')) ?? '';
  for (const line of text.split('\n')) {
    // `36 35 98:0 /root /mount/point options [tags...] - type source options`. Source: proc_pid_mountinfo(5).
    const [fields = '', filesystem = ''] = line.split(' - ');
    const [, , device, , mountPoint] = fields.split(' ');
    if (device === undefined || mountPoint === undefined) continue;
    const isMember = family.some((member) => member === device);
    if (isMember || (await isSameDevice(filesystem.split(' ')[1] ?? '', family))) return unescapeOctal(mountPoint);
  }
  return undefined;
}

/** Whether the kernel swaps to a member of `family`, or to the file with this inode. */
export async function isSwap(subject: { family: readonly DeviceNumber[] } | { dev: number; ino: number }): Promise<boolean> {
  const lines = ((await readText('/proc/swaps')) ?? '').split('\n').slice(1);
  for (const line of lines) {
    const swapPath = unescapeOctal(line.split(/\s/)[0] ?? '');
    if (!swapPath.startsWith('/')) continue;
    if ('family' in subject) {
      if (await isSameDevice(swapPath, subject.family)) return true;
    } else {
      const facts = await tryOrUndefined(stat(swapPath));
      if (facts?.dev === subject.dev && facts.ino === subject.ino) return true;
    }
  }
  return false;
}

/** The process that holds an exclusive flock on the file or device node with these facts; undefined when none does or it is hidden from us. */
export async function findLockOwner(facts: Stats): Promise<number | undefined> {
  const [major = 0, minor = 0] = deviceNumber(facts.dev).split(':').map(Number);
  const hex = (value: number): string => value.toString(16).padStart(2, '0');
  const inode = `${hex(major)}:${hex(minor)}:${facts.ino}`;
  for (const line of ((await readText('/proc/locks')) ?? '').split('\n')) {
    // `1: FLOCK  ADVISORY  WRITE 1234 08:02:5678 0 EOF`. Source: proc_locks(5).
    const [, kind, , mode, owner, place] = line.split(/\s+/);
    if (kind === 'FLOCK' && mode === 'WRITE' && place === inode && Number(owner) > 0) return Number(owner);
  }
  return undefined;
}

async function isSameDevice(devicePath: string, family: readonly DeviceNumber[]): Promise<boolean> {
  if (!devicePath.startsWith('/dev/')) return false;
  const facts = await tryOrUndefined(stat(unescapeOctal(devicePath)));
  return facts?.isBlockDevice() === true && family.includes(deviceNumber(facts.rdev));
}

/** A partition has no queue of its own; its disk's folder is the parent of its real folder. */
async function queueFolder(device: DeviceNumber): Promise<string> {
  const own = sysfsFolder(device);
  if ((await readNumber(path.join(own, 'partition'))) === undefined) return path.join(own, 'queue');
  const real = await tryOrUndefined(realpath(own));
  return path.join(real ?? own, '..', 'queue');
}

function sysfsFolder(device: DeviceNumber): string {
  return `/sys/dev/block/${device}`;
}

async function readNumber(file: string): Promise<number | undefined> {
  const text = (await readText(file))?.trim();
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

function readText(file: string): Promise<string | undefined> {
  return tryOrUndefined(readFile(file, 'utf8'));
}

async function listFolder(folder: string): Promise<readonly string[]> {
  return (await tryOrUndefined(readdir(folder))) ?? [];
}

/** A fact that cannot be had is no fact; the callers say what its absence means. */
async function tryOrUndefined<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch {
    return undefined;
  }
}

function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
