/** Journal records and checkpoint entries in words. */

import { countText } from '../../src/base/count-text.ts';
import { CHECKPOINT_KINDS, type CheckpointEntry } from '../../src/format/checkpoint-part.ts';
import { ENTRY_FLAGS, PURGE_KINDS, PURGE_SOFT } from '../../src/format/entry-flags.ts';
import { JOURNAL_TYPES, type JournalRecord, MANIFEST_NUMBER } from '../../src/format/journal-block.ts';
import { timeText } from './describe-device.ts';

/** A record in one line. */
export function recordWords(record: JournalRecord): string {
  const { type, block, blocks, generation, writeSequence } = record;
  const what = `${numberWords(record.sliceNumber)} of generation ${generation}`;
  const fresh = `received ${timeText(record.receivedAtMs)}, fresh until ${timeText(record.freshUntilMs)}`;
  switch (type) {
    case JOURNAL_TYPES.put: {
      const place = `${countText(blocks, 'block')} at ${block}, write ${writeSequence}${flagWords(record.flags)}`;
      return record.sliceNumber === MANIFEST_NUMBER
        ? `put      ${what}, object ${hexWords(record).slice(0, 16)}, ${place}, ${fresh}`
        : `put      ${what}, ${place}`;
    }
    case JOURNAL_TYPES.delete:
      return `delete   ${what}, write ${writeSequence}`;
    case JOURNAL_TYPES.refresh:
      return `refresh  generation ${generation}, ${fresh}`;
    case JOURNAL_TYPES.purge:
      return `purge    ${purgeWords(record.flags)} ${hexWords(record)}, number ${record.receivedAtMs}, generations below ${generation}`;
    case JOURNAL_TYPES.epoch:
      return 'mount';
    case JOURNAL_TYPES.badBlock:
      return `bad      ${countText(blocks, 'block')} at ${block}`;
    default:
      return `unknown type ${type}`;
  }
}

/** An entry in one line. */
export function entryWords(entry: CheckpointEntry): string {
  const { kind, block, blocks, generation, writeSequence } = entry;
  if (kind === CHECKPOINT_KINDS.badRun) return `bad       ${countText(blocks, 'block')} at ${block}`;
  if (kind === CHECKPOINT_KINDS.purge)
    return `purge     ${purgeWords(entry.flags)}, number ${writeSequence}, generations below ${generation}`;
  if (kind !== CHECKPOINT_KINDS.slice && kind !== CHECKPOINT_KINDS.manifest) return `unknown kind ${kind}`;
  const word = kind === CHECKPOINT_KINDS.slice ? 'slice   ' : 'manifest';
  const what = `${numberWords(entry.sliceNumber)} of generation ${generation}`;
  return `${word}  ${what}, ${countText(blocks, 'block')} at ${block}, write ${writeSequence}${flagWords(entry.flags)}`;
}

/** Name of a purge's kind from its flags. */
export function purgeWords(flags: number): string {
  const kind = flags % PURGE_SOFT;
  const name = Object.entries(PURGE_KINDS).find(([, value]) => value === kind)?.[0] ?? `kind ${kind}`;
  return flags >= PURGE_SOFT ? `soft ${name}` : name;
}

/** What the flags of a stored record say, with commas before it; empty when there are none. */
export function flagWords(flags: number): string {
  const words = [
    [ENTRY_FLAGS.lz4, 'compressed'],
    [ENTRY_FLAGS.partial, 'in part'],
    [ENTRY_FLAGS.body, 'with body'],
    [ENTRY_FLAGS.visited, 'read lately'],
    [ENTRY_FLAGS.unproved, 'unproved'],
  ] as const;
  return words.map(([bit, word]) => ((flags & bit) === 0 ? '' : `, ${word}`)).join('');
}

/** `manifest` or `slice N`. */
export function numberWords(sliceNumber: number): string {
  return sliceNumber === MANIFEST_NUMBER ? 'manifest' : `slice ${sliceNumber}`;
}

/** The hash of a record in hexadecimal, as it stands on the disk. */
export function hexWords(record: JournalRecord): string {
  const words = Buffer.from(new ArrayBuffer(16));
  for (const [index, word] of [record.tagLow, record.tagHigh, record.restLow, record.restHigh].entries())
    words.writeUInt32LE(word, index * 4);
  return words.toString('hex');
}
