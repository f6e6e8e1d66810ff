/** `rawslice inspect checkpoint`: the parts of a checkpoint and, on request, their entries in words. */
import { countText } from '../../src/base/count-text.ts';
import { scanCheckpoint, scanContents } from '../../src/store/check/scan-checkpoint.ts';
import { readRoot } from '../../src/store/recovery/root-area.ts';
import type { CommandIo } from '../command-io.ts';
import type { ReadableDevice } from '../device-view.ts';
import { ListWriter } from './list-writer.ts';
import { entryWords } from './record-words.ts';

/** What to show. */
export interface CheckpointWishes {
  /** The one before the newest. */
  readonly isPrevious: boolean;
  readonly hasEntries: boolean;
  readonly limit: number;
  readonly isJson: boolean;
}

/** Prints parts, or entries. */
export async function showCheckpoint(io: CommandIo, { device, arena }: ReadableDevice, wishes: CheckpointWishes): Promise<void> {
  const { format, superblock } = await readRoot(device, arena);
  const reference = wishes.isPrevious ? superblock.previous : superblock.checkpoint;
  const name = wishes.hasEntries ? 'entries' : 'parts';
  const list = new ListWriter(io.terminal, { name, limit: wishes.limit, isJson: wishes.isJson });
  let damaged = 0;
  let entries = 0;
  let isWanted = true;
  for await (const part of scanCheckpoint({ device, arena }, format, reference)) {
    if (part.kind !== 'part') damaged += 1;
    const { partNumber, offsetBytes, kind } = part;
    const found = part.kind === 'part' ? part.entries : [];
    const words = kind === 'other' ? 'of another checkpoint, that came to nothing' : kind;
    entries += found.length;
    if (!wishes.hasEntries) {
      const state = kind === 'part' ? countText(found.length, 'entry', 'entries') : words;
      isWanted = list.add({ partNumber, offsetBytes, kind, entries: found.length }, `part ${partNumber} at ${offsetBytes}  ${state}`);
    } else for (const entry of found) if (isWanted) isWanted = list.add(entry, entryWords(entry));
    if (!isWanted) break;
  }
  const contents = await scanContents({ device, arena }, format, reference);
  list.end(reference.sequence === 0 ? 'there is no such checkpoint yet' : 'the checkpoint has no entries', {
    checkpoint: reference,
    damagedParts: damaged,
    contents: contents.kind,
  });
  if (wishes.isJson || reference.sequence === 0) return;
  const { sequence, parts, journalStart, zone } = reference;
  const vouched = `${countText(reference.entries, 'entry', 'entries')} in ${countText(parts, 'part')}`;
  io.terminal.note(`checkpoint ${sequence} in zone ${'AB'[zone] ?? '?'}: ${vouched}, then the journal from block ${journalStart}`);
  io.terminal.note(`table of contents: ${contents.kind}`);
  if (damaged > 0)
    io.terminal.note(
      `${countText(damaged, 'part')} cannot be used; ${countText(Math.max(0, reference.entries - entries), 'entry', 'entries')} of it ${isWanted ? 'are forgotten' : 'may be forgotten'}`,
    );
}
