/** What fsck found and did, in lines for a person. */
import { countText } from '../src/base/count-text.ts';
import { formatBytes } from '../src/base/units.ts';
import type { DeviceCheck } from '../src/store/check/check-device.ts';
import { DAMAGE_KINDS } from '../src/store/check/check-log.ts';
import type { RebuildReport } from '../src/store/check/rebuild-index.ts';
import type { RepairReport } from '../src/store/check/repair-device.ts';
import type { Terminal } from './terminal.ts';

/** Places of one kind that are shown to a person; whoever wants more takes --json. */
const SHOWN_MAX = 10;

/** Notes by kind, each with what it costs and what to do; then what is on the device. */
export function* describeCheck(terminal: Terminal, check: DeviceCheck): Generator<string> {
  for (const { code, findings, remarks } of check.counts) {
    const notes = check.notes.filter((note) => note.code === code).slice(0, SHOWN_MAX);
    for (const { kind, message, offsetBytes } of notes) {
      const word = kind === 'finding' ? terminal.style('red', 'damage') : terminal.style('dim', 'remark');
      const place = offsetBytes === undefined ? '' : ` (at byte ${offsetBytes})`;
      yield `${word}  ${message}${place}`;
    }
    if (findings + remarks > notes.length) yield `        and ${findings + remarks - notes.length} more of them`;
    if (findings > 0) yield `        [${code}] it costs: ${DAMAGE_KINDS[code].cost}. To do: ${DAMAGE_KINDS[code].cure}`;
  }
  const { usage } = check;
  if (usage === undefined) return;
  const entries = `${usage.entriesUsed} of ${countText(usage.entriesMax, 'entry', 'entries')}`;
  const things = `${countText(usage.objects, 'object')}, ${countText(usage.slices, 'slice')}`;
  yield `${things}, ${formatBytes(usage.usedBytes)} used, ${formatBytes(usage.freeBytes)} free, ${entries}`;
  if (check.level !== 'quick') yield `${check.level} check: ${countText(check.extents, 'extent')} read`;
}

/** What a repair did. */
export function describeRepair(report: RepairReport): readonly string[] {
  const { droppedEntries, badBlocks, labelBlocks, journalBlocks } = report;
  const done = [
    droppedEntries === 0 ? '' : `${countText(droppedEntries, 'entry', 'entries')} dropped`,
    badBlocks === 0 ? '' : `${countText(badBlocks, 'block')} put out of use`,
    labelBlocks === 0 ? '' : `${countText(labelBlocks, 'block')} of labels written anew`,
    journalBlocks === 0 ? '' : `${countText(journalBlocks, 'block')} of the journal cleared`,
    'both checkpoints written anew',
  ];
  return [`repair: ${done.filter((text) => text !== '').join(', ')}`];
}

/** What a rebuild found. */
export function describeRebuild(report: RebuildReport): readonly string[] {
  const { found, objects, slices, recovered, purged, superseded, refusal } = report;
  const kept = `${countText(objects, 'object')} and ${countText(slices, 'slice')} kept`;
  const lines = [
    `rebuild: ${countText(found, 'extent')} found, ${kept}, ${recovered} of them new to the index`,
    `  left out: ${purged} that were purged or may have been, ${superseded} that something newer replaced or whose object is gone`,
  ];
  if (refusal !== undefined) lines.push(`  nothing was kept but what the index knew: purges may be missing (${refusal})`);
  return lines;
}
