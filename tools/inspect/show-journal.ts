/** `rawslice inspect journal`: the blocks of the ring with their records in words, along the chain and behind its end. */
import { countText } from '../../src/base/count-text.ts';
import { followChain, type JournalPlace, scanJournal } from '../../src/store/check/scan-journal.ts';
import { viewDevice } from '../../src/store/inspect-device.ts';
import type { CommandIo } from '../command-io.ts';
import type { ReadableDevice } from '../device-view.ts';
import { ListWriter } from './list-writer.ts';
import { recordWords } from './record-words.ts';

/** What to show. */
export interface JournalWishes {
  /** Sequences of the first block and the one behind the last; undefined for the chain, and what lies behind its end. */
  readonly from: number | undefined;
  readonly to: number | undefined;
  readonly limit: number;
  readonly isJson: boolean;
}

/** Prints blocks. What a start would do with each stands beside it: `replayed`, `old` (a checkpoint has it), `behind` the end of the chain. */
export async function showJournal(io: CommandIo, readable: ReadableDevice, wishes: JournalWishes): Promise<void> {
  const { device, arena } = readable;
  const { root, state } = await viewDevice(device, arena);
  const { journalBlocks } = root.format.geometry;
  const { checkpoint, previous } = root.superblock;
  const reference = state.report.usedPrevious ? previous : checkpoint;
  const chain = { start: reference.journalStart, end: await followChain(readable, root.format, reference) };
  const first = Math.max(0, wishes.from ?? chain.start);
  const end = Math.min(wishes.to ?? Number.POSITIVE_INFINITY, first + journalBlocks);
  const list = new ListWriter(io.terminal, { name: 'blocks', limit: wishes.limit, isJson: wishes.isJson });
  let sequence = first;
  let unused = 0;
  for await (const place of scanJournal({ device, arena }, root.format, {
    first: first % journalBlocks,
    count: Math.max(0, end - first),
  })) {
    const part = partOf(place, sequence, chain);
    sequence += 1;
    // Behind the end everything that is not later than it is an earlier lap of the ring.
    if (part === 'earlier' && (wishes.from === undefined || place.kind !== 'block')) {
      unused += 1;
      continue;
    }
    if (!list.add({ ...place, part }, ...blockLines(place, sequence - 1, part))) break;
  }
  list.end('the journal is empty: the checkpoint has everything', { chainStart: chain.start, chainEnd: chain.end, journalBlocks });
  if (!wishes.isJson) {
    const used = `a start replays ${countText(chain.end - chain.start, 'block')}, ${chain.start} to ${chain.end - 1}`;
    io.terminal.note(
      `${chain.end > chain.start ? used : `the next block is ${chain.end}`}; ${countText(journalBlocks, 'block')} in the ring${unused === 0 ? '' : `, ${unused} unused`}`,
    );
  }
}

type Part = 'replayed' | 'old' | 'behind' | 'earlier';

function partOf(place: JournalPlace, sequence: number, chain: { readonly start: number; readonly end: number }): Part {
  if (place.kind === 'blank' || place.kind === 'foreign') return 'earlier';
  if (place.kind !== 'block') return sequence < chain.start ? 'old' : 'behind';
  if (place.header.sequence < sequence) return 'earlier';
  if (place.header.sequence < chain.start) return 'old';
  return place.header.sequence < chain.end ? 'replayed' : 'behind';
}

function blockLines(place: JournalPlace, sequence: number, part: Part): string[] {
  if (place.kind !== 'block') return [`block ${sequence} at ${place.offsetBytes}  ${place.kind}, ${part}`];
  const { header, records } = place;
  const facts = `${countText(records.length, 'record')}, mount ${header.epoch}, purges before ${header.purgeSequence}`;
  return [`block ${header.sequence} at ${place.offsetBytes}  ${part}, ${facts}`, ...records.map((record) => `  ${recordWords(record)}`)];
}
