/**
 * A purge as it is remembered, journalled, kept in checkpoints and told to devices that were away. It covers by what stands in it alone: the
 * hash of what was named and the first generation that is not covered, so that nothing depends on the order in which purges are met.
 */
import { hash } from 'node:crypto';
import { CHECKPOINT_KINDS, type CheckpointEntry, EMPTY_ENTRY } from '../../format/checkpoint-part.ts';
import { PURGE_KINDS, PURGE_SOFT } from '../../format/entry-flags.ts';
import { KEY_BYTES_MAX } from '../../format/extent-header.ts';
import { EMPTY_RECORD, JOURNAL_TYPES, type JournalRecord, MANIFEST_NUMBER } from '../../format/journal-block.ts';
import type { ObjectHash } from '../../format/manifest.ts';
import { U48_MAX } from '../../format/manifest-record.ts';
import type { PurgeTarget } from '../slice-store.ts';

/** What a purge covers. */
export type PurgeKind = keyof typeof PURGE_KINDS;
/** Every kind, by its number on disk. */
const KIND_NAMES: readonly PurgeKind[] = ['object', 'prefix', 'tag', 'everything'];
const HASH_DIGITS = 32;
const NO_HASH = '0'.repeat(HASH_DIGITS);

/** What a purge is about. */
export interface PurgeScope {
  readonly kind: PurgeKind;
  /** First 128 bits of the SHA-256 of key, prefix or tag, in hexadecimal; zeros for everything. Of a tag below a prefix: of both, with a space between. */
  readonly hash: string;
  /** Length of a prefix, or of the one that a tag is looked for below; 0 for none. */
  readonly prefixBytes: number;
}

/** What a purge is about, and what it does to that. */
export interface PurgeOrder extends PurgeScope {
  /** It makes stale instead of forgetting. */
  readonly isSoft: boolean;
}

/** What decides whether a purge covers an object. */
export interface Coverable {
  readonly objectHash: ObjectHash;
  readonly keyText: string;
  readonly tags: readonly string[];
}

/** One purge. */
export interface Purge extends PurgeOrder {
  /** The first generation that it does not cover. */
  readonly generation: number;
  /** Its number; later ones are higher. */
  readonly sequence: number;
  /** When it came, wall-clock milliseconds. */
  readonly atMs: number;
}

/** Hash of a key, a prefix of one, or a tag. */
export function purgeHash(bytes: string | Uint8Array): string {
  return hash('sha256', bytes, 'hex').slice(0, HASH_DIGITS);
}

/** Hash of a tag among the keys that begin alike. @param keyPrefix empty for all */
export function tagHash(keyPrefix: Uint8Array, tag: string): string {
  return purgeHash(keyPrefix.length === 0 ? tag : Buffer.concat([keyPrefix, Buffer.from(` ${tag}`, 'utf8')]));
}

/** The scope of what a caller names. */
export function scopeOf(target: PurgeTarget): PurgeScope {
  switch (target.kind) {
    case 'object':
      return { kind: 'object', hash: target.objectHash, prefixBytes: 0 };
    case 'prefix':
      return { kind: 'prefix', hash: purgeHash(target.keyPrefix), prefixBytes: Buffer.byteLength(target.keyPrefix) };
    case 'tag': {
      const keyPrefix = Buffer.from(target.keyPrefix ?? '', 'utf8');
      return { kind: 'tag', hash: tagHash(keyPrefix, target.tag), prefixBytes: keyPrefix.length };
    }
    case 'everything':
      return { kind: 'everything', hash: NO_HASH, prefixBytes: 0 };
  }
}

/** Tells whether an object lies in what a caller names, whatever its generation. */
export function matcherOf(target: PurgeTarget): (object: Coverable) => boolean {
  switch (target.kind) {
    case 'object':
      return ({ objectHash }) => objectHash === target.objectHash;
    case 'prefix':
      return ({ keyText }) => keyText.startsWith(target.keyPrefix);
    case 'tag': {
      const { tag, keyPrefix = '' } = target;
      return ({ tags, keyText }) => tags.includes(tag) && keyText.startsWith(keyPrefix);
    }
    case 'everything':
      return () => true;
  }
}

/** Whether the index has to be walked for it: objects are found by their hash, and everything is a floor of generations. */
export function isEpoch(purge: PurgeOrder): boolean {
  return purge.kind === 'prefix' || purge.kind === 'tag' || (purge.kind === 'everything' && purge.isSoft);
}

/** As a record of the journal. */
export function purgeRecord(purge: Purge): JournalRecord {
  return {
    ...EMPTY_RECORD,
    type: JOURNAL_TYPES.purge,
    flags: flagsOf(purge),
    generation: purge.generation,
    ...wordsOf(purge.hash),
    sliceNumber: purge.kind === 'object' ? MANIFEST_NUMBER : purge.prefixBytes,
    receivedAtMs: purge.sequence,
    freshUntilMs: purge.atMs,
  };
}

/** The purge in a journal record of that type; undefined when it says what cannot be. */
export function purgeOfRecord(record: JournalRecord): Purge | undefined {
  const { flags, generation, receivedAtMs, freshUntilMs, sliceNumber } = record;
  const kind = record.flags % PURGE_SOFT;
  const prefixBytes = kind === PURGE_KINDS.prefix || kind === PURGE_KINDS.tag ? sliceNumber : 0;
  return soundPurge(flags, { hash: hashOf(record), prefixBytes, generation, sequence: receivedAtMs, atMs: freshUntilMs });
}

/** As an entry of a checkpoint. @param isDone whether it is there only for devices that were away: nothing in the image is covered by it */
export function purgeEntry(purge: Purge, isDone: boolean): CheckpointEntry {
  const { tagLow, tagHigh, restLow, restHigh } = wordsOf(purge.hash);
  return {
    ...EMPTY_ENTRY,
    kind: CHECKPOINT_KINDS.purge,
    flags: flagsOf(purge),
    blocks: purge.prefixBytes,
    block: isDone ? 1 : 0,
    generation: purge.generation,
    writeSequence: purge.sequence,
    sliceNumber: tagLow,
    tagLow: tagHigh,
    tagHigh: restLow,
    initialAgeSeconds: restHigh,
    receivedAtMs: purge.atMs,
  };
}

/** The purge in a checkpoint's entry of that kind; undefined when it says what cannot be. */
export function purgeOfEntry(entry: CheckpointEntry): { readonly purge: Purge; readonly isDone: boolean } | undefined {
  const words = { tagLow: entry.sliceNumber, tagHigh: entry.tagLow, restLow: entry.tagHigh, restHigh: entry.initialAgeSeconds };
  const { flags, blocks, generation, writeSequence, receivedAtMs } = entry;
  const rest = { hash: hashOf(words), prefixBytes: blocks, generation, sequence: writeSequence, atMs: receivedAtMs };
  const purge = soundPurge(flags, rest);
  return purge === undefined ? undefined : { purge, isDone: entry.block === 1 };
}

function soundPurge(flags: number, rest: Omit<Purge, 'kind' | 'isSoft'>): Purge | undefined {
  const kind = KIND_NAMES[flags % PURGE_SOFT];
  const isInRange = rest.generation <= U48_MAX && rest.sequence <= U48_MAX && rest.atMs <= U48_MAX && rest.prefixBytes <= KEY_BYTES_MAX;
  return kind === undefined || !isInRange ? undefined : { ...rest, kind, isSoft: flags >= PURGE_SOFT };
}

function flagsOf(purge: Purge): number {
  return PURGE_KINDS[purge.kind] + (purge.isSoft ? PURGE_SOFT : 0);
}

interface HashWords {
  readonly tagLow: number;
  readonly tagHigh: number;
  readonly restLow: number;
  readonly restHigh: number;
}

function wordsOf(text: string): HashWords {
  const bytes = Buffer.from(text, 'hex');
  return {
    tagLow: bytes.readUInt32LE(0),
    tagHigh: bytes.readUInt32LE(4),
    restLow: bytes.readUInt32LE(8),
    restHigh: bytes.readUInt32LE(12),
  };
}

function hashOf(words: HashWords): string {
  const bytes = Buffer.from(new ArrayBuffer(16));
  bytes.writeUInt32LE(words.tagLow, 0);
  bytes.writeUInt32LE(words.tagHigh, 4);
  bytes.writeUInt32LE(words.restLow, 8);
  bytes.writeUInt32LE(words.restHigh, 12);
  return bytes.toString('hex');
}
