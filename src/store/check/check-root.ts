/** Checks what a device begins with: labels, checkpoints, journal, and what recovery made of them. Called by check-device.ts. */
import { countText } from '../../base/count-text.ts';
import type { DeviceView } from '../inspect-device.ts';
import type { CheckLog } from './check-log.ts';
import { type CheckpointPart, scanCheckpoint, scanContents } from './scan-checkpoint.ts';
import { followChain, type JournalPlace, scanJournal } from './scan-journal.ts';
import { type LabelBlock, scanLabel } from './scan-labels.ts';

/** Journal places behind the end of the chain that a quick check looks at. */
const QUICK_PLACES = 1024;

/** Places that a repair writes: blocks of labels, and blocks of the journal. */
export interface DamagedPlaces {
  readonly labelBlocks: readonly LabelBlock[];
  /** Offsets of journal blocks that are not whole. */
  readonly journalOffsets: readonly number[];
  /** Highest sequence of any journal block of this device. */
  readonly journalSequence: number;
}

/** Checks them all. @param isQuick only the part of the journal that a start looks at */
export async function checkRoot(view: DeviceView, log: CheckLog, isQuick: boolean): Promise<DamagedPlaces> {
  const labelBlocks = await checkLabels(view, log);
  await checkCheckpoints(view, log);
  const journal = await checkJournal(view, log, isQuick);
  checkRecovery(view, log);
  if (!view.root.superblock.isClean) {
    const message = 'it was not closed in order: a server is running on it, or the last one was killed; the journal makes up for that';
    log.remark('not-closed', message);
  }
  return { labelBlocks, ...journal };
}

async function checkLabels(view: DeviceView, log: CheckLog): Promise<LabelBlock[]> {
  const { format, superblock } = view.root;
  const damaged: LabelBlock[] = [];
  for (let labelNumber = 0; labelNumber < format.geometry.labelOffsets.length; labelNumber += 1) {
    let newest = 0;
    let newestUnreadable = false;
    for await (const block of scanLabel(view, format, labelNumber)) {
      if (block.kind === 'superblock') newest = Math.max(newest, block.superblock.sequence);
      if (block.kind === 'format' || block.kind === 'superblock' || (block.kind === 'blank' && block.place > 0)) continue;
      damaged.push(block);
      if (block.kind === 'unreadable') newestUnreadable = true;
      logLabelBlock(view, log, block);
    }
    // Copies are written in two steps; between them, and after a crash there, they differ by one.
    const lag = superblock.isClean ? 0 : 1;
    if (newest + lag < superblock.sequence && !newestUnreadable) {
      log.find('superblock-lost', `label ${labelNumber} ends with superblock ${newest}, the newest is ${superblock.sequence}`);
    }
  }
  return damaged;
}

function logLabelBlock({ root }: DeviceView, log: CheckLog, block: LabelBlock): void {
  const { labelNumber, place, offsetBytes, kind } = block;
  if (kind === 'unreadable') {
    log.findSure('label-unreadable', `block ${place} of label ${labelNumber} cannot be read`, offsetBytes);
    return;
  }
  if (place === 0) {
    log.findSure('label-damaged', `the format block of label ${labelNumber} is ${kind}`, offsetBytes);
    return;
  }
  // The next one may have been on its way when the power failed.
  const nextPlace = 1 + ((root.superblock.sequence + 1) % root.format.geometry.superblockCount);
  const message = `superblock place ${place} of label ${labelNumber} is damaged`;
  if (place === nextPlace && !root.superblock.isClean) log.remark('superblock-damaged', `${message}: its write was cut off`, offsetBytes);
  else log.find('superblock-damaged', message, offsetBytes);
}

const ZONES = ['A', 'B'];
/** What the message about a part says of it. */
const PART_WORDS: Readonly<Record<Exclude<CheckpointPart['kind'], 'part'>, string>> = {
  damaged: 'damaged',
  unreadable: 'unreadable',
  other: 'of another checkpoint, that came to nothing',
};

async function checkCheckpoints(view: DeviceView, log: CheckLog): Promise<void> {
  const { superblock, format } = view.root;
  const name = `checkpoint ${ZONES[superblock.checkpoint.zone] ?? '?'}`;
  for await (const part of scanCheckpoint(view, format, superblock.checkpoint)) {
    if (part.kind === 'part') continue;
    log.find('checkpoint-part-damaged', `part ${part.partNumber} of ${name} is ${PART_WORDS[part.kind]}`, part.offsetBytes);
  }
  const contents = await scanContents(view, format, superblock.checkpoint);
  if (contents.kind === 'damaged' || contents.kind === 'unreadable')
    log.find('checkpoint-contents-damaged', `the table of contents of ${name} is ${contents.kind}`, contents.offsetBytes);
  await checkPrevious(view, log);
}

async function checkPrevious(view: DeviceView, log: CheckLog): Promise<void> {
  const { superblock, format } = view.root;
  const name = `the checkpoint before, in zone ${ZONES[superblock.previous.zone] ?? '?'},`;
  const note = (what: string, offsetBytes: number): void => {
    // Without a clean end the next checkpoint may have been under way there.
    if (superblock.isClean) log.find('old-checkpoint-damaged', what, offsetBytes);
    else log.remark('old-checkpoint-damaged', `${what}, or was about to be replaced`, offsetBytes);
  };
  for await (const part of scanCheckpoint(view, format, superblock.previous)) {
    if (part.kind !== 'part') note(`part ${part.partNumber} of ${name} is ${PART_WORDS[part.kind]}`, part.offsetBytes);
  }
  const contents = await scanContents(view, format, superblock.previous);
  if (contents.kind === 'damaged' || contents.kind === 'unreadable')
    note(`the table of contents of ${name} is ${contents.kind}`, contents.offsetBytes);
}

async function checkJournal(
  view: DeviceView,
  log: CheckLog,
  isQuick: boolean,
): Promise<{ readonly journalOffsets: readonly number[]; readonly journalSequence: number }> {
  const { root, state } = view;
  const { journalBlocks } = root.format.geometry;
  const { checkpoint, previous } = root.superblock;
  const end = await followChain(view, root.format, state.report.usedPrevious ? previous : checkpoint);
  const count = isQuick ? Math.min(QUICK_PLACES, journalBlocks) : journalBlocks;
  const journalOffsets: number[] = [];
  /** Damaged places since the end, until something whole comes: a torn last write, unless a later block follows. */
  let torn: JournalPlace[] = [];
  let later = 0;
  let journalSequence = end - 1;
  let distance = 0;
  for await (const place of scanJournal(view, root.format, { first: end % journalBlocks, count })) {
    const isContiguous = torn.length === distance;
    distance += 1;
    if (place.kind === 'block') {
      journalSequence = Math.max(journalSequence, place.header.sequence);
      if (place.header.sequence >= end && place.header.epoch >= root.superblock.epoch) later += 1;
    } else if (place.kind === 'damaged' || place.kind === 'unreadable') {
      journalOffsets.push(place.offsetBytes);
      if (isContiguous) torn.push(place);
      else logJournalBlock(log, place);
    }
  }
  if (later > 0 || root.superblock.isClean) {
    for (const place of torn) logJournalBlock(log, place);
    torn = [];
  }
  for (const { offsetBytes } of torn) log.remark('journal-torn', 'the last write to the journal was cut off', offsetBytes);
  if (later > 0)
    log.find('journal-gap', `the journal breaks off before block ${end}, and ${countText(later, 'block')} behind it cannot be used`);
  else if (root.superblock.journalHead > end)
    log.find('journal-short', `the journal ends before block ${end}, it had reached ${root.superblock.journalHead}`);
  return { journalOffsets, journalSequence };
}

function logJournalBlock(log: CheckLog, place: JournalPlace): void {
  log.find('journal-block-damaged', `the journal block in place ${place.place} is ${place.kind}`, place.offsetBytes);
}

function checkRecovery({ root, state }: DeviceView, log: CheckLog): void {
  const { report } = state;
  const { isClean, generationFloor, writeSequenceFloor } = root.superblock;
  if (!report.isCheckpointWhole && report.damagedParts === 0)
    log.find('checkpoint-incomplete', 'the checkpoint is not the one that the superblock vouches for');
  if (report.usedPrevious) log.find('checkpoint-replaced', 'the newest checkpoint cannot be read');
  if (report.invalid > 0) log.find('entry-invalid', `${countText(report.invalid, 'entry names', 'entries name')} what cannot be`);
  if (report.isForgotten) log.find('forgotten', 'a purge may be missing from the journal, so everything is forgotten');
  if (state.generation > generationFloor)
    log.find('generation-above-floor', `generation ${state.generation - 1} is in use, numbers below ${generationFloor} were given`);
  if (state.writeSequence > writeSequenceFloor)
    log.find('write-sequence-above-floor', `write ${state.writeSequence - 1} is in use, numbers below ${writeSequenceFloor} were given`);
  if (report.overlaps > 0) {
    const message = `${countText(report.overlaps, 'entry claims', 'entries claim')} blocks of newer ones`;
    // After a crash an entry may have survived the record that dropped it.
    if (isClean) log.find('overlap', message);
    else log.remark('overlap', message);
  }
  if (report.onBadBlocks > 0)
    log.remark('on-bad-blocks', `${countText(report.onBadBlocks, 'entry lies', 'entries lie')} on blocks that were put out of use`);
  if (report.orphans > 0) log.remark('orphan', `${countText(report.orphans, 'slice has', 'slices have')} no object: it was never finished`);
}
