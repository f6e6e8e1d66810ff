/** What `rawslice inspect` tells of labels, zones, usage and an object: as rows for people and as plain data for JSON. */

import { countText } from '../../src/base/count-text.ts';
import { formatBytes } from '../../src/base/units.ts';
import { printableKeyText } from '../../src/cache/variant-key.ts';
import { isMarker, markerOf } from '../../src/cache/variant-marker.ts';
import { formatUuid } from '../../src/format/format-block.ts';
import { indexMemoryBytes } from '../../src/store/index/slice-index.ts';
import type { DeviceUsage, StoredObject } from '../../src/store/inspect-device.ts';
import type { DeviceRoot } from '../../src/store/recovery/root-area.ts';
import type { TableRow } from './format-table.ts';

/** The same in both forms. */
export interface Description {
  readonly json: Readonly<Record<string, unknown>>;
  readonly rows: readonly TableRow[];
}

/** Who the device is and how it was left. */
export function describeIdentity(root: DeviceRoot): readonly TableRow[] {
  const { format, superblock } = root;
  return [
    ['device UUID', formatUuid(format.deviceUuid)],
    ['cache UUID', formatUuid(format.cacheUuid)],
    ['formatted', timeText(format.createdAtMs)],
    ['size', sizeText(format.geometry.capacityBytes)],
    ['closed in order', superblock.isClean ? 'yes' : 'no (a server is running on it, or was killed)'],
  ];
}

/** Identity and the newest superblock. The key of its MACs is left out. */
export function describeSuperblock(root: DeviceRoot): Description {
  const { format, superblock, labels } = root;
  const deviceUuid = formatUuid(format.deviceUuid);
  const cacheUuid = formatUuid(format.cacheUuid);
  const { checkpoint } = superblock;
  const checkpointText =
    checkpoint.sequence === 0
      ? 'none yet'
      : `number ${checkpoint.sequence} in zone ${'AB'[checkpoint.zone] ?? '?'}, ${countText(checkpoint.entries, 'entry', 'entries')}`;
  const rows: TableRow[] = [
    ...describeIdentity(root),
    ['superblock', `number ${superblock.sequence}, written ${timeText(superblock.writtenAtMs)}`],
    ['mounts', String(superblock.mounts)],
    ['written in all', sizeText(superblock.writtenBytes)],
    ['checkpoint', checkpointText],
    ['journal from block', String(checkpoint.journalStart)],
    ['purges', String(superblock.purgeSequence)],
    ['bad blocks', String(superblock.badBlocks)],
    ...labels.map(
      (label): TableRow => [
        `label ${label.labelNumber}`,
        `${label.format}, ${countText(label.superblocks, 'superblock')}, the newest is ${label.newestSequence}`,
      ],
    ),
  ];
  return {
    json: { deviceUuid, cacheUuid, createdAtMs: format.createdAtMs, capacityBytes: format.geometry.capacityBytes, ...superblock, labels },
    rows,
  };
}

/** Where everything lies. */
export function describeZones(root: DeviceRoot): Description {
  const { geometry } = root.format;
  const { labelBytes, labelOffsets, journalOffset, journalBytes, checkpointOffsets, checkpointBytes, groupsOffset } = geometry;
  const groupsBytes = geometry.groupsBlocks * geometry.blockSizeBytes;
  const zones = [
    { zone: 'label 0', offsetBytes: labelOffsets[0], lengthBytes: labelBytes },
    { zone: 'label 1', offsetBytes: labelOffsets[1], lengthBytes: labelBytes },
    { zone: 'journal', offsetBytes: journalOffset, lengthBytes: journalBytes },
    { zone: 'checkpoint A', offsetBytes: checkpointOffsets[0], lengthBytes: checkpointBytes },
    { zone: 'checkpoint B', offsetBytes: checkpointOffsets[1], lengthBytes: checkpointBytes },
    { zone: 'objects', offsetBytes: groupsOffset, lengthBytes: groupsBytes },
    { zone: 'label 2', offsetBytes: labelOffsets[2], lengthBytes: labelBytes },
    { zone: 'label 3', offsetBytes: labelOffsets[3], lengthBytes: labelBytes },
  ];
  const digits = String(geometry.capacityBytes).length;
  const rows: TableRow[] = [
    ...zones.map(
      ({ zone, offsetBytes, lengthBytes }): TableRow => [zone, `at ${String(offsetBytes).padStart(digits)}  ${sizeText(lengthBytes)}`],
    ),
    ['blocks', formatBytes(geometry.blockSizeBytes)],
    ['groups', `${geometry.groupCount} of up to ${formatBytes(geometry.groupBytes)}`],
    ['entries', `${geometry.entryCount}, ${formatBytes(indexMemoryBytes(geometry.entryCount))} of memory`],
  ];
  return {
    json: {
      blockSizeBytes: geometry.blockSizeBytes,
      capacityBytes: geometry.capacityBytes,
      groupBytes: geometry.groupBytes,
      groupCount: geometry.groupCount,
      entryCount: geometry.entryCount,
      zones,
    },
    rows,
  };
}

/** How full it is. */
export function describeUsage(usage: DeviceUsage): readonly TableRow[] {
  const totalBytes = usage.usedBytes + usage.freeBytes;
  return [
    ['objects', String(usage.objects)],
    ['slices', String(usage.slices)],
    ['used', `${sizeText(usage.usedBytes)}, ${percent(usage.usedBytes, totalBytes)} of the room for objects`],
    ['free', sizeText(usage.freeBytes)],
    ['entries', `${usage.entriesUsed} of ${usage.entriesMax}, ${percent(usage.entriesUsed, usage.entriesMax)}`],
    ['journal', `${usage.journalBlocksUsed} of ${usage.journalBlocksMax} blocks to replay at start`],
  ];
}

/** One object with its stored fields. @param nowMs wall clock, for how long it stays fresh */
export function describeObject(object: StoredObject, nowMs: number): Description {
  const { manifest, sliceCount, storedSlices } = object;
  if (isMarker(manifest)) return describeMarker(object);
  const leftSeconds = Math.floor((manifest.freshUntilMs - nowMs) / 1000);
  const rows: TableRow[] = [
    ['key', printableKeyText(manifest.keyText)],
    ['hash', manifest.objectHash],
    ['generation', String(manifest.generation)],
    ['status', String(manifest.status)],
    ['length', sizeText(manifest.lengthBytes ?? 0)],
    ['received', timeText(manifest.receivedAtMs)],
    ['fresh until', `${timeText(manifest.freshUntilMs)} (${leftSeconds >= 0 ? `${leftSeconds} s left` : `stale for ${-leftSeconds} s`})`],
    ['slices', `${storedSlices} of ${sliceCount} stored, ${formatBytes(manifest.sliceSizeBytes)} each`],
    ['record at', String(object.recordOffsetBytes)],
    ...manifest.fields.map(([name, value]): TableRow => [`  ${name}`, value]),
  ];
  return { json: { ...manifest, sliceCount, storedSlices, recordOffsetBytes: object.recordOffsetBytes }, rows };
}

/** What stands for a resource whose responses vary. */
function describeMarker({ manifest, recordOffsetBytes }: StoredObject): Description {
  const { generation, names, known, staleUntilMs } = markerOf(manifest);
  const variants = known.map(({ objectHash, coding }) => ({ hash: objectHash, coding }));
  const rows: TableRow[] = [
    ['key', printableKeyText(manifest.keyText)],
    ['hash', manifest.objectHash],
    ['generation', String(generation)],
    ['kind', `marker of variants (their keys begin with this one and ${generation})`],
    ['varies on', names.join(', ')],
    ...(staleUntilMs === 0 ? [] : [['made stale', timeText(staleUntilMs)] as const]),
    ['record at', String(recordOffsetBytes)],
    ...variants.map(({ hash, coding }): TableRow => ['  variant', `${hash}  ${coding}`]),
  ];
  const { keyText, objectHash } = manifest;
  return { json: { keyText, objectHash, generation, varyingFields: names, staleUntilMs, variants, recordOffsetBytes }, rows };
}

/** A moment in ISO 8601; whatever number stands on the disk. */
export function timeText(atMs: number): string {
  // An unusable date on the device must not end the command.
  const date = new Date(atMs);
  return Number.isNaN(date.getTime()) ? String(atMs) : date.toISOString();
}

function sizeText(bytes: number): string {
  return bytes < 1024 ? `${bytes} bytes` : `${formatBytes(bytes)} (${bytes} bytes)`;
}

function percent(part: number, whole: number): string {
  return whole === 0 ? '0%' : `${((part / whole) * 100).toFixed(1)}%`;
}
