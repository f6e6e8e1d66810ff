/** `rawslice inspect labels`: the four labels, and on request every superblock of their rings. */

import { countText } from '../../src/base/count-text.ts';
import { formatUuid } from '../../src/format/format-block.ts';
import type { Superblock } from '../../src/format/superblock.ts';
import { type LabelBlock, scanLabel } from '../../src/store/check/scan-labels.ts';
import { readRoot } from '../../src/store/recovery/root-area.ts';
import type { CommandIo } from '../command-io.ts';
import type { ReadableDevice } from '../device-view.ts';
import { timeText } from './describe-device.ts';
import { ListWriter } from './list-writer.ts';

/** What to show. */
export interface LabelWishes {
  /** Every superblock, not only the newest of each label. */
  readonly isRing: boolean;
  readonly limit: number;
  readonly isJson: boolean;
}

/** Prints the labels; a superblock that the others do not have, too, is an item as well. */
export async function showLabels(io: CommandIo, { device, arena }: ReadableDevice, wishes: LabelWishes): Promise<void> {
  const { format } = await readRoot(device, arena);
  const list = new ListWriter(io.terminal, { name: wishes.isRing ? 'blocks' : 'labels', limit: wishes.limit, isJson: wishes.isJson });
  let hasMore = true;
  for (let labelNumber = 0; labelNumber < format.geometry.labelOffsets.length && hasMore; labelNumber += 1) {
    let newest: Superblock | undefined;
    const counts = { superblock: 0, blank: 0, damaged: 0, unreadable: 0, format: 0 };
    let formatBlock: LabelBlock['kind'] = 'unreadable';
    for await (const block of scanLabel({ device, arena }, format, labelNumber)) {
      if (block.place === 0) formatBlock = block.kind;
      else counts[block.kind] += 1;
      if (block.kind === 'superblock' && (newest === undefined || block.superblock.sequence > newest.sequence)) newest = block.superblock;
      if (wishes.isRing && block.kind !== 'blank') hasMore = list.add(block, ringLine(block));
      if (!hasMore) break;
    }
    if (wishes.isRing) continue;
    const offsetBytes = format.geometry.labelOffsets[labelNumber];
    const json = { labelNumber, offsetBytes, formatBlock: wordOf(formatBlock), ...counts, newest };
    list.add(json, ...labelLines(labelNumber, { offsetBytes, formatBlock, counts, newest }));
  }
  list.end('no labels', { deviceUuid: formatUuid(format.deviceUuid), superblocksPerLabel: format.geometry.superblockCount });
}

function wordOf(kind: LabelBlock['kind']): string {
  return kind === 'format' ? 'valid' : kind;
}

function labelLines(
  labelNumber: number,
  label: {
    readonly offsetBytes: number | undefined;
    readonly formatBlock: LabelBlock['kind'];
    readonly counts: Readonly<Record<'superblock' | 'blank' | 'damaged' | 'unreadable', number>>;
    readonly newest: Superblock | undefined;
  },
): string[] {
  const { counts, newest } = label;
  const lost = counts.damaged + counts.unreadable;
  const ring = `${countText(counts.superblock, 'superblock')}, ${counts.blank} blank${lost === 0 ? '' : `, ${lost} damaged`}`;
  const lines = [`label ${labelNumber}  at ${label.offsetBytes ?? 0}, format block ${wordOf(label.formatBlock)}, ${ring}`];
  if (newest !== undefined) lines.push(`  newest  ${superblockText(newest)}`);
  return lines;
}

function ringLine(block: LabelBlock): string {
  const place = `label ${block.labelNumber} place ${String(block.place).padStart(3)} at ${block.offsetBytes}`;
  return `${place}  ${block.kind === 'superblock' ? superblockText(block.superblock) : `${block.place === 0 ? 'format block ' : ''}${wordOf(block.kind)}`}`;
}

function superblockText(superblock: Superblock): string {
  const { sequence, epoch, isClean, checkpoint, purgeSequence, writtenAtMs } = superblock;
  const zone = checkpoint.sequence === 0 ? 'none' : `${checkpoint.sequence} in ${'AB'[checkpoint.zone] ?? '?'}`;
  const journal = `journal from ${checkpoint.journalStart}`;
  return `number ${sequence}, ${timeText(writtenAtMs)}, mount ${epoch}, ${isClean ? 'clean' : 'in use'}, checkpoint ${zone}, ${journal}, purges ${purgeSequence}`;
}
