/**
 * Says of an extent whether it proves itself, and if not, in which way it fails: what fsck names and `rawslice inspect` shows. Any bytes are
 * fine. The reader of the store (slice-reader.ts) asks the same questions, but only wants to know whether or not.
 */
import { crc32Around } from '../../format/checksum.ts';
import { decodeExtentHeader, EXTENT_HEADER, EXTENT_MAGIC, type ExtentHeader, type ExtentIdentity } from '../../format/extent-header.ts';
import { getBytes, getNumber, isAscii } from '../../format/field-layout.ts';

/**
 * What the first block of an extent is. `none`: no header at all; `damaged`: one whose checksum does not fit; `foreign`: of another cache;
 * `forged`: whole, but without the key's proof, such as a client may have put it there; `misplaced`: sound, and at home elsewhere.
 */
export type HeaderVerdict =
  | { readonly kind: 'sound' | 'misplaced'; readonly header: ExtentHeader }
  | { readonly kind: 'none' | 'damaged' | 'foreign' | 'forged' | 'unreadable' };

/** Judges the block that was read at block number `block`; undefined stands for one that cannot be read. */
export function judgeHeader(bytes: Buffer | undefined, identity: ExtentIdentity, block: number): HeaderVerdict {
  if (bytes === undefined) return { kind: 'unreadable' };
  const header = decodeExtentHeader(bytes, identity);
  if (header !== undefined) return { kind: header.ownBlock === block ? 'sound' : 'misplaced', header };
  if (!isAscii(bytes, 0, EXTENT_HEADER.magic, EXTENT_MAGIC)) return { kind: 'none' };
  if (getNumber(bytes, 0, EXTENT_HEADER.crc) !== crc32Around(bytes, bytes.length, EXTENT_HEADER.crc)) return { kind: 'damaged' };
  const isOurs = Buffer.compare(getBytes(bytes, 0, EXTENT_HEADER.cacheUuid), identity.cacheUuid) === 0;
  return { kind: isOurs ? 'forged' : 'foreign' };
}
