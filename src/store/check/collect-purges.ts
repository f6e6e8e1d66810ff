/**
 * The purges that a device still knows by what they cover: those of its checkpoint, and those in any whole block of its journal, used by a
 * replay or not. Called by `rawslice inspect purges` and by the rebuild, for which a purge that is only numbered is no known purge.
 */
import { CHECKPOINT_KINDS } from '../../format/checkpoint-part.ts';
import { JOURNAL_TYPES } from '../../format/journal-block.ts';
import { type Purge, purgeOfEntry, purgeOfRecord } from '../purges/purge.ts';
import type { DeviceRoot } from '../recovery/root-area.ts';
import type { ScanSource } from './read-copy.ts';
import { scanCheckpoint } from './scan-checkpoint.ts';
import { scanJournal } from './scan-journal.ts';

/** What is known of purges. */
export interface PurgeKnowledge {
  /** In the order of their coming. */
  readonly purges: readonly Purge[];
  /** Sequence of the newest of which anything on the device tells. */
  readonly newest: number;
}

/** Reads the checkpoint and the whole journal. */
export async function collectPurges(view: ScanSource & { readonly root: DeviceRoot }): Promise<PurgeKnowledge> {
  const { format, superblock } = view.root;
  const purges = new Map<number, Purge>();
  let newest = Math.max(superblock.purgeSequence, superblock.checkpoint.purgeSequence, superblock.previous.purgeSequence);
  const add = (purge: Purge | undefined): void => {
    if (purge === undefined) return;
    newest = Math.max(newest, purge.sequence);
    purges.set(purge.sequence, purge);
  };
  for (const reference of [superblock.previous, superblock.checkpoint]) {
    for await (const part of scanCheckpoint(view, format, reference)) {
      // Those of a checkpoint that came to nothing were ordered all the same.
      if (part.kind === 'part' || part.kind === 'other')
        for (const entry of part.entries) if (entry.kind === CHECKPOINT_KINDS.purge) add(purgeOfEntry(entry)?.purge);
    }
  }
  for await (const place of scanJournal(view, format, { first: 0, count: format.geometry.journalBlocks })) {
    if (place.kind !== 'block') continue;
    newest = Math.max(newest, place.header.purgeSequence);
    for (const record of place.records) if (record.type === JOURNAL_TYPES.purge) add(purgeOfRecord(record));
  }
  return { purges: [...purges.values()].sort((left, right) => left.sequence - right.sequence), newest };
}
