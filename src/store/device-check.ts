/**
 * The quick check of `rawslice fsck`: labels, superblocks, checkpoint, journal chain, and whether the index that they give can stand. Reads
 * no extent and changes nothing. Beside a running server some findings of severity `note` come and go.
 */
import { SystemClock } from '../base/clock.ts';
import { EdgeError } from '../base/errors.ts';
import { MIB } from '../base/units.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { Arena } from '../memory/arena.ts';
import { recoverState } from './recovery.ts';
import { type DeviceRoot, type LabelReport, readRoot } from './root-area.ts';

const ARENA_BYTES = 8 * MIB;

/** `error`: the device cannot serve as it is; `warning`: something was lost and the cache goes on; `note`: worth knowing. */
export type FindingSeverity = 'error' | 'warning' | 'note';
/** Where a finding lies. */
export type FindingZone = 'device' | 'label' | 'checkpoint' | 'journal' | 'index';

/** One thing that the check found. `code` is stable, for scripts; `text` is for people. */
export interface Finding {
  readonly severity: FindingSeverity;
  readonly code: FindingCode;
  readonly zone: FindingZone;
  readonly text: string;
}

/** What can be found. */
export type FindingCode =
  | 'format-unreadable'
  | 'device-unreadable'
  | 'label-damaged'
  | 'superblock-missing'
  | 'superblock-behind'
  | 'unclean-end'
  | 'checkpoint-damaged'
  | 'checkpoint-lost'
  | 'journal-purge-lost'
  | 'entry-invalid'
  | 'extents-overlap'
  | 'slices-orphaned';

/** Checks a device that is open read-only (or not in use). Never throws on what the device holds; a device error is a finding. */
export async function checkDeviceQuick(device: BlockDevice): Promise<readonly Finding[]> {
  const arena = new Arena({ sizeBytes: ARENA_BYTES, clock: new SystemClock() });
  try {
    const root = await readRoot(device, arena);
    return [...labelFindings(root), ...(await indexFindings(device, arena, root))];
  } catch (error) {
    if (!(error instanceof EdgeError)) throw error;
    const code = error.code === 'DEVICE_FAULT' ? 'device-unreadable' : 'format-unreadable';
    return [{ severity: 'error', code, zone: 'device', text: error.message }];
  }
}

function labelFindings(root: DeviceRoot): Finding[] {
  const findings: Finding[] = [];
  for (const label of root.labels) findings.push(...oneLabelFindings(label, root.superblock.sequence));
  if (!root.superblock.isClean) {
    const text = 'The store was not closed in order, or is open now; its journal is replayed at the next start';
    findings.push({ severity: 'note', code: 'unclean-end', zone: 'label', text });
  }
  return findings;
}

function oneLabelFindings(label: LabelReport, newest: number): Finding[] {
  const findings: Finding[] = [];
  const name = `Label ${label.labelNumber}`;
  if (label.format !== 'valid') {
    findings.push({ severity: 'warning', code: 'label-damaged', zone: 'label', text: `${name}: its format block is ${label.format}` });
  }
  if (label.superblocks === 0) {
    findings.push({
      severity: 'warning',
      code: 'superblock-missing',
      zone: 'label',
      text: `${name}: it holds no superblock that verifies`,
    });
  } else if (label.newestSequence < newest) {
    const text = `${name}: its newest superblock is ${label.newestSequence}, the device's is ${newest}`;
    // A crash between the two pairs of copies leaves them one apart.
    findings.push({ severity: newest - label.newestSequence > 1 ? 'warning' : 'note', code: 'superblock-behind', zone: 'label', text });
  }
  return findings;
}

async function indexFindings(device: BlockDevice, arena: Arena, root: DeviceRoot): Promise<Finding[]> {
  const { format } = root;
  const place = { device, arena, geometry: format.geometry, deviceTag: format.deviceUuid.subarray(0, 8) };
  const { report } = await recoverState(place, root);
  const findings: Finding[] = [];
  const add = (severity: FindingSeverity, code: FindingCode, zone: FindingZone, text: string): void => {
    findings.push({ severity, code, zone, text });
  };
  if (report.usedPrevious)
    add('warning', 'checkpoint-lost', 'checkpoint', 'No part of the newest checkpoint can be read; the older one serves');
  else if (!report.isCheckpointWhole) {
    add(
      'warning',
      'checkpoint-damaged',
      'checkpoint',
      `${report.damagedParts} parts of the checkpoint cannot be read; their entries are forgotten`,
    );
  }
  if (report.isForgotten) {
    add('warning', 'journal-purge-lost', 'journal', 'A purge may lie in an unreadable part of the journal; the cache starts empty');
  }
  if (report.invalid > 0) add('warning', 'entry-invalid', 'index', `${report.invalid} entries name what cannot be`);
  if (report.overlaps > 0) add('note', 'extents-overlap', 'index', `${report.overlaps} older records overlap newer ones and are dropped`);
  if (report.orphans > 0) add('note', 'slices-orphaned', 'index', `${report.orphans} slices have no manifest and are dropped`);
  return findings;
}
