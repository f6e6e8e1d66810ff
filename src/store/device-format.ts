/**
 * Writes an empty cache onto a device: four labels and the beginning of the journal. Called by `rawslice format` (after device/guard said
 * that it may) and by the server for its own default file.
 */
import type { Clock } from '../base/clock.ts';
import { EdgeError } from '../base/errors.ts';
import type { Random } from '../base/random.ts';
import { formatBytes, KIB } from '../base/units.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { MAC_KEY_BYTES } from '../format/checksum.ts';
import { encodeFormatBlock, type FormatBlock, formatUuid } from '../format/format-block.ts';
import { computeGeometry, DEVICE_MIN_BYTES, defaultParameters, type FormatParameters, type Geometry } from '../format/geometry.ts';
import { type CheckpointReference, encodeSuperblock, NO_MOUNT_ID, type Superblock } from '../format/superblock.ts';
import { Arena } from '../memory/arena.ts';
import { withStaging } from './device-io.ts';
import { superblockOffset } from './recovery/root-area.ts';

const ARENA_BYTES = 4 * 1024 * KIB;
const WRITE_BYTES = 128 * KIB;
/** Journal blocks that are zeroed; the rest is recognised as foreign by its device tag. */
const JOURNAL_BYTES_ZEROED = 64 * KIB;

/** What to write. `parameters` other than `entryCount` are for tests, which use tiny devices. */
export interface FormatOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly parameters?: Partial<FormatParameters> | undefined;
  /** The cache that the device joins; a cache of its own when undefined. */
  readonly cacheUuid?: Uint8Array | undefined;
}

/** What was written. */
export interface FormatSummary {
  readonly deviceUuid: string;
  readonly cacheUuid: string;
  readonly geometry: Geometry;
}

/**
 * Formats `device`; everything on it is lost. The caller has made sure that it may.
 *
 * @throws EdgeError DEVICE_TOO_SMALL below 64 MiB (unless the label size was chosen), DEVICE_FAULT
 */
export async function formatDevice(device: BlockDevice, options: FormatOptions): Promise<FormatSummary> {
  const chosen = options.parameters ?? {};
  const isTiny = chosen.labelBytes !== undefined;
  const geometry = computeGeometry(defaultParameters(device, chosen));
  if (geometry === undefined || (!isTiny && device.capacityBytes < DEVICE_MIN_BYTES)) {
    const text = `${device.path} has ${formatBytes(device.capacityBytes)}, a cache needs at least ${formatBytes(DEVICE_MIN_BYTES)} and room for its index; take a larger device or fewer entries`;
    throw new EdgeError('DEVICE_TOO_SMALL', text, { context: { capacityBytes: device.capacityBytes } });
  }
  const { random, clock } = options;
  const format: FormatBlock = {
    labelNumber: 0,
    deviceUuid: makeUuid(random),
    cacheUuid: options.cacheUuid ?? makeUuid(random),
    macKeyId: random.bytes(8),
    macKey: random.bytes(MAC_KEY_BYTES),
    createdAtMs: clock.wallMs(),
    geometry,
  };
  const arena = new Arena({ sizeBytes: ARENA_BYTES, clock });
  await zero(device, arena, {
    startBytes: geometry.journalOffset,
    endBytes: geometry.journalOffset + Math.min(geometry.journalBytes, JOURNAL_BYTES_ZEROED),
  });
  for (const [labelNumber, labelOffset] of geometry.labelOffsets.entries()) {
    await zero(device, arena, { startBytes: labelOffset, endBytes: labelOffset + geometry.labelBytes });
    await writeLabel(device, arena, { ...format, labelNumber });
  }
  await device.flush();
  return { deviceUuid: formatUuid(format.deviceUuid), cacheUuid: formatUuid(format.cacheUuid), geometry };
}

async function writeLabel(device: BlockDevice, arena: Arena, format: FormatBlock): Promise<void> {
  const { geometry, labelNumber } = format;
  await withStaging(arena, geometry.blockSizeBytes, async (bytes) => {
    const ownOffset = superblockOffset(format, labelNumber, FIRST_SUPERBLOCK.sequence);
    const place = { ownOffset, deviceUuid: format.deviceUuid, macKey: format.macKey };
    encodeSuperblock({ ...FIRST_SUPERBLOCK, writtenAtMs: format.createdAtMs }, place, bytes);
    await device.write([bytes], ownOffset);
    encodeFormatBlock(format, bytes);
    await device.write([bytes], geometry.labelOffsets[labelNumber] ?? 0);
  });
}

async function zero(device: BlockDevice, arena: Arena, range: { readonly startBytes: number; readonly endBytes: number }): Promise<void> {
  await withStaging(arena, WRITE_BYTES, async (bytes) => {
    bytes.fill(0);
    for (let at = range.startBytes; at < range.endBytes; at += bytes.length) {
      await device.write([bytes.subarray(0, Math.min(bytes.length, range.endBytes - at))], at);
    }
  });
}

/** 16 random bytes marked as a version 4 UUID. Source: RFC 9562 s5.4. */
export function makeUuid(random: Random): Uint8Array {
  const uuid = random.bytes(16);
  uuid[6] = ((uuid[6] ?? 0) % 16) + 0x40;
  uuid[8] = ((uuid[8] ?? 0) % 64) + 0x80;
  return uuid;
}

const NO_CHECKPOINT: CheckpointReference = {
  zone: 1,
  sequence: 0,
  entries: 0,
  parts: 0,
  crc: 0,
  journalStart: 1,
  journalPreviousCrc: 0,
  purgeSequence: 0,
};

const FIRST_SUPERBLOCK: Superblock = {
  sequence: 1,
  epoch: 0,
  isClean: true,
  checkpoint: NO_CHECKPOINT,
  previous: NO_CHECKPOINT,
  journalHead: 1,
  generationFloor: 1,
  writeSequenceFloor: 1,
  purgeSequence: 0,
  writtenBytes: 0,
  mounts: 0,
  badBlocks: 0,
  writtenAtMs: 0,
  purgedGeneration: 0,
  mountId: NO_MOUNT_ID,
  earlierMountIds: [],
};
