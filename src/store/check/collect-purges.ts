/**
 * The purges that a device still knows by what they cover: those of its checkpoint, and those in any whole block of its journal, used by a
 * replay or not. Called by `rawslice inspect purges` and by the rebuild, for which a purge that is only numbered is no known purge.
 */
import { CHECKPOINT_KINDS, type CheckpointEntry } from '../../format/checkpoint-part.ts';
import { PURGE_KINDS, PURGE_SOFT } from '../../format/entry-flags.ts';
import { JOURNAL_TYPES, type JournalRecord } from '../../format/journal-block.ts';
import type { DeviceRoot } from '../root-area.ts';
import type { ScanSource } from './read-copy.ts';
import { scanCheckpoint } from './scan-checkpoint.ts';
import { scanJournal } from './scan-journal.ts';

/** One purge. */
export interface KnownPurge {
  readonly sequence: number;
  /** PURGE_KINDS, perhaps with PURGE_SOFT. */
  readonly flags: number;
  /** First 128 bits of the SHA-256 of what is purged, in hexadecimal; zeros for everything. */
  readonly hash: string;
  /** Length of a prefix; 0 for the other kinds. */
  readonly prefixBytes: number;
  /** The first generation that it does not cover. */
  readonly generation: number;
  readonly atMs: number;
  /** The index holds nothing any more that it covers; free blocks still may. */
  readonly isRetired: boolean;
}

/** What is known of purges. */
export interface PurgeKnowledge {
  /** In the order of their coming. */
  readonly purges: readonly KnownPurge[];
  /** Sequence of the newest of which anything on the device tells. */
  readonly newest: number;
  /** A block of the journal, or a part of a checkpoint, that may have told of more cannot be used. */
  readonly isIncomplete: boolean;
}

/** Reads the checkpoint and the whole journal. */
export async function collectPurges(view: ScanSource & { readonly root: DeviceRoot }): Promise<PurgeKnowledge> {
  const { format, superblock } = view.root;
  const purges = new Map<number, KnownPurge>();
  const retired = new Set<number>();
  let newest = Math.max(superblock.purgeSequence, superblock.checkpoint.purgeSequence, superblock.previous.purgeSequence);
  let isIncomplete = false;
  const add = (purge: KnownPurge): void => {
    newest = Math.max(newest, purge.sequence);
    purges.set(purge.sequence, purge);
  };
  for (const reference of [superblock.previous, superblock.checkpoint]) {
    for await (const part of scanCheckpoint(view, format, reference)) {
      if (part.kind !== 'part') isIncomplete = true;
      else for (const entry of part.entries) if (entry.kind === CHECKPOINT_KINDS.purge) add(purgeOfEntry(entry));
    }
  }
  for await (const place of scanJournal(view, format, { first: 0, count: format.geometry.journalBlocks })) {
    if (place.kind === 'damaged' || place.kind === 'unreadable') isIncomplete = true;
    if (place.kind !== 'block') continue;
    newest = Math.max(newest, place.header.purgeSequence);
    for (const record of place.records) {
      if (record.type === JOURNAL_TYPES.purge) add(purgeOfRecord(record));
      else if (record.type === JOURNAL_TYPES.retire) retired.add(record.receivedAtMs);
    }
  }
  const known = [...purges.values()].map((purge) => ({ ...purge, isRetired: retired.has(purge.sequence) }));
  return { purges: known.sort((left, right) => left.sequence - right.sequence), newest, isIncomplete };
}

function purgeOfEntry(entry: CheckpointEntry): KnownPurge {
  const hash = hexOf([entry.sliceNumber, entry.tagLow, entry.tagHigh, entry.initialAgeSeconds]);
  return {
    sequence: entry.writeSequence,
    flags: entry.flags,
    hash,
    prefixBytes: entry.blocks,
    generation: entry.generation,
    atMs: entry.receivedAtMs,
    isRetired: false,
  };
}

function purgeOfRecord(record: JournalRecord): KnownPurge {
  const hash = hexOf([record.tagLow, record.tagHigh, record.restLow, record.restHigh]);
  return {
    sequence: record.receivedAtMs,
    flags: record.flags,
    hash,
    prefixBytes: record.flags % PURGE_SOFT === PURGE_KINDS.prefix ? record.sliceNumber : 0,
    generation: record.generation,
    atMs: record.freshUntilMs,
    isRetired: false,
  };
}

function hexOf(words: readonly number[]): string {
  const bytes = new DataView(new ArrayBuffer(4 * words.length));
  for (const [index, word] of words.entries()) bytes.setUint32(index * 4, word, true);
  return Buffer.from(bytes.buffer).toString('hex');
}
