/**
 * Where everything lies on a device, computed from a handful of parameters that are fixed at format. Geometry stands on the device: a
 * changed configuration never reinterprets it.
 *
 *   label 0 | label 1 | journal | checkpoint A | checkpoint B | allocation groups ............ | label 2 | label 3
 */
import { assert } from '../base/assert.ts';
import { alignDown, alignUp, divCeil, divFloor, GIB, isAligned, isPowerOfTwo, KIB, MIB, PAGE_BYTES } from '../base/units.ts';

/** Unit of checksum, compression and partial read. */
export const CHUNK_BYTES = 64 * KIB;
/** Bytes of one checksummed part of a checkpoint. */
export const CHECKPOINT_PART_BYTES = 64 * KIB;
/** A part begins with a header of so many bytes. */
export const CHECKPOINT_PART_HEADER_BYTES = 64;
/** Bytes of one entry of a part. */
export const CHECKPOINT_ENTRY_BYTES = 48;
/** Entries that one part holds. */
export const CHECKPOINT_PART_ENTRIES = divFloor(CHECKPOINT_PART_BYTES - CHECKPOINT_PART_HEADER_BYTES, CHECKPOINT_ENTRY_BYTES);

/** The smallest device that `format` takes (tests with a tiny geometry go lower). */
export const DEVICE_MIN_BYTES = 64 * MIB;
/** Block addresses are 32 bits. */
const BLOCK_COUNT_MAX = 2 ** 32 - 1;
/** Expected size of a record; sets the default number of index entries. */
const EXPECTED_RECORD_BYTES = 128 * KIB;
const ENTRIES_MIN = 8192;
const LABEL_BYTES = MIB;
const GROUP_BYTES = GIB;
const JOURNAL_BYTES_MAX = 256 * MIB;
const JOURNAL_BYTES_MIN = MIB;
/** Checkpoint entries set apart for bad blocks and for purges, each: a share of the index entries within bounds. */
const SET_APART_MIN = 32;
const SET_APART_MAX = 4096;
const ENTRIES_PER_SET_APART = 16;
/** Labels at either end of the device. */
export const LABEL_COUNT = 4;

/** What is chosen at format; everything else follows. All bytes are multiples of `blockSizeBytes`. */
export interface FormatParameters {
  readonly blockSizeBytes: number;
  readonly capacityBytes: number;
  readonly labelBytes: number;
  readonly journalBytes: number;
  readonly groupBytes: number;
  /** Index entries: one a slice, two an object. */
  readonly entryCount: number;
}

/** The parameters and where the zones begin (bytes from the start of the device). */
export interface Geometry extends FormatParameters {
  readonly labelOffsets: readonly [number, number, number, number];
  /** Superblocks in each label: all of its blocks but the first. */
  readonly superblockCount: number;
  readonly journalOffset: number;
  readonly journalBlocks: number;
  readonly checkpointOffsets: readonly [number, number];
  readonly checkpointBytes: number;
  /** Runs of bad blocks that are remembered at most, and purges; a checkpoint has room for them beside the index. */
  readonly badRunsMax: number;
  readonly purgesMax: number;
  readonly groupsOffset: number;
  /** Blocks in all allocation groups together; the last group may be smaller. */
  readonly groupsBlocks: number;
  readonly groupCount: number;
}

/** Parameters for a device of `capacityBytes`, where the caller does not choose them. */
export function defaultParameters(
  device: { readonly blockSizeBytes: number; readonly capacityBytes: number },
  chosen: Partial<FormatParameters> = {},
): FormatParameters {
  let blockSizeBytes = Math.max(PAGE_BYTES, chosen.blockSizeBytes ?? device.blockSizeBytes);
  while (device.capacityBytes / blockSizeBytes > BLOCK_COUNT_MAX) blockSizeBytes *= 2;
  const capacityBytes = alignDown(chosen.capacityBytes ?? device.capacityBytes, blockSizeBytes);
  const journal = Math.min(JOURNAL_BYTES_MAX, Math.max(JOURNAL_BYTES_MIN, divFloor(capacityBytes, 64)));
  return {
    blockSizeBytes,
    capacityBytes,
    labelBytes: chosen.labelBytes ?? alignUp(LABEL_BYTES, blockSizeBytes),
    journalBytes: chosen.journalBytes ?? alignUp(journal, blockSizeBytes),
    groupBytes: chosen.groupBytes ?? GROUP_BYTES,
    entryCount: chosen.entryCount ?? Math.max(ENTRIES_MIN, divFloor(capacityBytes, EXPECTED_RECORD_BYTES)),
  };
}

/**
 * Lays the zones out.
 *
 * @returns undefined when the parameters contradict each other or leave no room for allocation groups; never throws, since they may
 *   come from a damaged device
 */
export function computeGeometry(parameters: FormatParameters): Geometry | undefined {
  const { blockSizeBytes, capacityBytes, labelBytes, journalBytes, groupBytes, entryCount } = parameters;
  for (const value of [blockSizeBytes, capacityBytes, labelBytes, journalBytes, groupBytes, entryCount]) {
    if (!Number.isSafeInteger(value) || value <= 0) return undefined;
  }
  if (!isPowerOfTwo(blockSizeBytes) || blockSizeBytes < PAGE_BYTES || blockSizeBytes > CHUNK_BYTES) return undefined;
  for (const bytes of [capacityBytes, labelBytes, journalBytes, groupBytes]) if (!isAligned(bytes, blockSizeBytes)) return undefined;
  if (capacityBytes / blockSizeBytes > BLOCK_COUNT_MAX || labelBytes < 2 * blockSizeBytes || journalBytes < 8 * blockSizeBytes)
    return undefined;
  if (entryCount > capacityBytes / blockSizeBytes + ENTRIES_MIN) return undefined;
  const journalOffset = 2 * labelBytes;
  const setApart = Math.min(SET_APART_MAX, Math.max(SET_APART_MIN, divFloor(entryCount, ENTRIES_PER_SET_APART)));
  const checkpointBytes = divCeil(entryCount + 2 * setApart, CHECKPOINT_PART_ENTRIES) * CHECKPOINT_PART_BYTES;
  const checkpointA = journalOffset + journalBytes;
  const checkpointB = checkpointA + checkpointBytes;
  const groupsOffset = checkpointB + checkpointBytes;
  const groupsEnd = capacityBytes - 2 * labelBytes;
  const groupsBlocks = divFloor(groupsEnd - groupsOffset, blockSizeBytes);
  if (groupsBlocks < 2) return undefined;
  assert(isAligned(groupsOffset, blockSizeBytes), 'groups begin on a block');
  return {
    blockSizeBytes,
    capacityBytes,
    labelBytes,
    journalBytes,
    groupBytes,
    entryCount,
    labelOffsets: [0, labelBytes, groupsEnd, groupsEnd + labelBytes],
    superblockCount: divFloor(labelBytes, blockSizeBytes) - 1,
    journalOffset,
    journalBlocks: divFloor(journalBytes, blockSizeBytes),
    checkpointOffsets: [checkpointA, checkpointB],
    checkpointBytes,
    badRunsMax: setApart,
    purgesMax: setApart,
    groupsOffset,
    groupsBlocks,
    groupCount: divCeil(groupsBlocks * blockSizeBytes, groupBytes),
  };
}
