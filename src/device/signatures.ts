/**
 * Says what the edges of a device look like: a rawslice cache, nothing, or somebody else's data, by name where the signature is known.
 * Pure: probe.ts reads the bytes. A foreign signature wins over a rawslice label, because somebody may have made a file system on a former
 * cache; formatting therefore wipes both edges first (wipe.ts).
 */
import { alignDown, isAligned, KIB, MIB, PAGE_BYTES } from '../base/units.ts';

/** The format block at offset 0 of every label begins with a line of plain ASCII that begins with this. */
export const RAWSLICE_MAGIC_LINE = 'rawslice cache device';

/** Bytes at either end of a device that are looked at here, and wiped before formatting. */
export const EDGE_BYTES = 2 * MIB;

/** What a device holds. `unknown data` is the name for bytes that no signature explains. */
export type SignatureVerdict =
  | { readonly kind: 'rawslice' }
  | { readonly kind: 'blank' }
  | { readonly kind: 'foreign'; readonly name: string };

/** The first and last EDGE_BYTES of a device (overlapping, or the whole, where it is smaller). */
export interface DeviceEdges {
  readonly head: Buffer;
  readonly tail: Buffer;
  readonly sizeBytes: number;
}

/** Judges `edges`. Never throws, whatever the bytes. */
export function identifySignature(edges: DeviceEdges): SignatureVerdict {
  const name = findForeignName(edges);
  if (name !== undefined) return { kind: 'foreign', name };
  if (holdsLabel(edges.head) || holdsLabel(edges.tail)) return { kind: 'rawslice' };
  const isBlank = isZero(edges.head.subarray(0, MIB)) && isZero(edges.tail.subarray(Math.max(0, edges.tail.length - MIB)));
  return isBlank ? { kind: 'blank' } : { kind: 'foreign', name: 'unknown data' };
}

/** A fixed text at a fixed place of the head. */
interface Magic {
  readonly name: string;
  readonly offsetBytes: number;
  /** Latin-1. */
  readonly text: string;
}

// Specific ones first: a FAT or NTFS boot sector also ends like an MBR. Source: libblkid's superblock probers and the on-disk format of each.
const MAGICS: readonly Magic[] = [
  { name: 'LUKS1', offsetBytes: 0, text: 'LUKS\xba\xbe\x00\x01' },
  { name: 'LUKS2', offsetBytes: 0, text: 'LUKS\xba\xbe\x00\x02' },
  { name: 'LUKS2', offsetBytes: 16 * KIB, text: 'SKUL\xba\xbe\x00\x02' },
  { name: 'xfs', offsetBytes: 0, text: 'XFSB' },
  { name: 'btrfs', offsetBytes: 64 * KIB + 64, text: '_BHRfS_M' },
  { name: 'NTFS', offsetBytes: 3, text: 'NTFS    ' },
  { name: 'exFAT', offsetBytes: 3, text: 'EXFAT   ' },
  { name: 'BitLocker', offsetBytes: 3, text: '-FVE-FS-' },
  { name: 'FAT', offsetBytes: 54, text: 'FAT12   ' },
  { name: 'FAT', offsetBytes: 54, text: 'FAT16   ' },
  { name: 'FAT', offsetBytes: 82, text: 'FAT32   ' },
  { name: 'squashfs', offsetBytes: 0, text: 'hsqs' },
  { name: 'squashfs', offsetBytes: 0, text: 'sqsh' },
  { name: 'iso9660', offsetBytes: 32 * KIB + 1, text: 'CD001' },
  { name: 'UDF', offsetBytes: 32 * KIB + 1, text: 'BEA01' },
  { name: 'F2FS', offsetBytes: 1024, text: '\x10\x20\xf5\xf2' },
  { name: 'erofs', offsetBytes: 1024, text: '\xe2\xe1\xf5\xe0' },
  { name: 'HFS+', offsetBytes: 1024, text: 'H+\x00\x04' },
  { name: 'JFS', offsetBytes: 32 * KIB, text: 'JFS1' },
  { name: 'ReiserFS', offsetBytes: 64 * KIB + 52, text: 'ReIsEr' },
  { name: 'bcache', offsetBytes: 4 * KIB + 24, text: '\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81' },
  { name: 'bcachefs', offsetBytes: 4 * KIB + 24, text: '\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef' },
  { name: 'Ceph BlueStore', offsetBytes: 0, text: 'bluestore block device' },
  ...[4, 8, 16, 64].flatMap((pageKiB) =>
    ['SWAPSPACE2', 'SWAP-SPACE', 'S1SUSPEND\x00', 'S2SUSPEND\x00'].map((text) => ({ name: 'swap', offsetBytes: pageKiB * KIB - 10, text })),
  ),
  { name: 'GPT', offsetBytes: 512, text: 'EFI PART' },
  { name: 'GPT', offsetBytes: 4 * KIB, text: 'EFI PART' },
];

function findForeignName(edges: DeviceEdges): string | undefined {
  const magic = MAGICS.find((row) => hasText(edges.head, row.offsetBytes, row.text));
  if (magic !== undefined) return magic.name;
  const finders = [findExt, findMdRaid, findLvm, findZfs, findBackupGpt, findMbr];
  for (const find of finders) {
    const name = find(edges);
    if (name !== undefined) return name;
  }
  return undefined;
}

function findExt({ head }: DeviceEdges): string | undefined {
  const superblock = 1024;
  if (head.length < superblock + 1024 || head.readUInt16LE(superblock + 56) !== 0xef53) return undefined;
  // Two bytes prove little; a plausible inode count, block size and revision prove the rest.
  const isPlausible =
    head.readUInt32LE(superblock) > 0 && head.readUInt32LE(superblock + 24) <= 6 && head.readUInt32LE(superblock + 76) <= 1;
  if (!isPlausible) return undefined;
  const compatible = head.readUInt32LE(superblock + 92);
  const incompatible = head.readUInt32LE(superblock + 96);
  // Bits: has_journal 0x4; extents 0x40, 64bit 0x80, flex_bg 0x200. Source: ext4's on-disk super block page of the kernel documentation.
  if (hasBit(incompatible, 0x40) || hasBit(incompatible, 0x80) || hasBit(incompatible, 0x200)) return 'ext4';
  return hasBit(compatible, 0x4) ? 'ext3' : 'ext2';
}

function findMdRaid(edges: DeviceEdges): string | undefined {
  const isMdAt = (offsetBytes: number, major: number): boolean => {
    const bytes = bytesAt(edges, offsetBytes, 8);
    if (bytes === undefined) return false;
    const [magic, version] = [bytes.readUInt32LE(0), bytes.readUInt32LE(4)];
    return magic === 0xa92b4efc && version === major;
  };
  const { sizeBytes } = edges;
  if (isMdAt(0, 1)) return 'md raid (1.1)';
  if (isMdAt(4 * KIB, 1)) return 'md raid (1.2)';
  if (isMdAt(alignDown(sizeBytes, 512) - 8 * KIB - (alignDown(sizeBytes, 512) % (4 * KIB)), 1)) return 'md raid (1.0)';
  if (isMdAt(alignDown(sizeBytes, 64 * KIB) - 64 * KIB, 0)) return 'md raid (0.90)';
  return undefined;
}

function findLvm({ head }: DeviceEdges): string | undefined {
  for (let offset = 0; offset < 2 * KIB; offset += 512) {
    if (hasText(head, offset, 'LABELONE') && hasText(head, offset + 24, 'LVM2 001')) return 'LVM2 physical volume';
  }
  return undefined;
}

function findZfs(edges: DeviceEdges): string | undefined {
  // Four labels of 256 KiB, two at each end; the upper half of each is a ring of uberblocks on 1 KiB boundaries.
  const end = alignDown(edges.sizeBytes, 256 * KIB);
  for (const label of [0, 256 * KIB, end - 512 * KIB, end - 256 * KIB]) {
    for (let offset = label + 128 * KIB; offset < label + 256 * KIB; offset += KIB) {
      const bytes = bytesAt(edges, offset, 8);
      if (bytes !== undefined && (bytes.readBigUInt64LE() === 0x00bab10cn || bytes.readBigUInt64BE() === 0x00bab10cn)) return 'ZFS';
    }
  }
  return undefined;
}

function findBackupGpt(edges: DeviceEdges): string | undefined {
  // It may lie in a last sector outside the last whole block, where wiping does not reach; a table that is in use has its first copy too.
  if (hasText(edges.head, 0, RAWSLICE_MAGIC_LINE)) return undefined;
  for (const sectorBytes of [512, 4 * KIB]) {
    const bytes = bytesAt(edges, alignDown(edges.sizeBytes, sectorBytes) - sectorBytes, 8);
    if (bytes !== undefined && hasText(bytes, 0, 'EFI PART')) return 'GPT';
  }
  return undefined;
}

function findMbr({ head }: DeviceEdges): string | undefined {
  if (!hasText(head, 510, '\x55\xaa')) return undefined;
  for (let entry = 446; entry < 510; entry += 16) {
    const [flag, type, sectors] = [head.readUInt8(entry), head.readUInt8(entry + 4), head.readUInt32LE(entry + 12)];
    if ((flag === 0 || flag === 0x80) && type !== 0 && sectors > 0) return 'MBR partition table';
  }
  return undefined;
}

/** Whether a label begins on any page of `edge`: one that survived is enough to say whose device it is. */
function holdsLabel(edge: Buffer): boolean {
  for (let offset = 0; offset < edge.length; offset += PAGE_BYTES) {
    if (hasText(edge, offset, RAWSLICE_MAGIC_LINE)) return true;
  }
  return false;
}

function bytesAt(edges: DeviceEdges, offsetBytes: number, lengthBytes: number): Buffer | undefined {
  const { head, tail, sizeBytes } = edges;
  if (offsetBytes < 0) return undefined;
  if (offsetBytes + lengthBytes <= head.length) return head.subarray(offsetBytes, offsetBytes + lengthBytes);
  const start = offsetBytes - (sizeBytes - tail.length);
  return start >= 0 && start + lengthBytes <= tail.length ? tail.subarray(start, start + lengthBytes) : undefined;
}

function hasText(bytes: Buffer, offsetBytes: number, text: string): boolean {
  return bytes.length >= offsetBytes + text.length && bytes.toString('latin1', offsetBytes, offsetBytes + text.length) === text;
}

function hasBit(flags: number, bit: number): boolean {
  return !isAligned(Math.floor(flags / bit), 2);
}

function isZero(bytes: Buffer): boolean {
  return bytes.equals(new Uint8Array(bytes.length));
}
