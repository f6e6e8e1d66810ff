/**
 * Decides which extents of a scan a purge may cover. Each header names the newest purge when it was written. Those that came later are
 * missed purges: an extent passes when all of them are known by what they cover, and none covers it. An object's purge is known only while
 * its record stands in the journal, so a device with many purges gives little back: a cache may forget, but must not bring back what was
 * purged. Called by rebuild-index.ts.
 */
import type { ExtentHeader } from '../../format/extent-header.ts';
import type { Manifest } from '../../format/manifest.ts';
import { U48_MAX } from '../../format/manifest-record.ts';
import { type Coverable, type Purge, purgeHash, tagHash } from '../purges/purge.ts';
import type { DeviceRoot } from '../recovery/root-area.ts';
import { collectPurges } from './collect-purges.ts';
import type { ScanSource } from './read-copy.ts';
import { scanJournal } from './scan-journal.ts';
import { scanLabel } from './scan-labels.ts';

/** Journal blocks of one write: so many may have been cut off together. */
const BATCH_BLOCKS = 16;

/** Reads what the device knows of purges. */
export async function preparePurgeFilter(source: ScanSource & { readonly root: DeviceRoot }): Promise<PurgeFilter> {
  const { purges, newest } = await collectPurges(source);
  return new PurgeFilter(purges, {
    newest,
    purgedGeneration: source.root.superblock.purgedGeneration,
    refusal: await findRefusal(source),
  });
}

/** See preparePurgeFilter. */
export class PurgeFilter {
  /** Why purges may be missing of which nothing tells; then nothing can be kept that only the scan finds. */
  readonly refusal: string | undefined;
  readonly #purges: ReadonlyMap<number, Purge>;
  readonly #purgedGeneration: number;
  #newest: number;

  constructor(
    purges: readonly Purge[],
    facts: { readonly newest: number; readonly purgedGeneration: number; readonly refusal: string | undefined },
  ) {
    this.#purges = new Map(purges.map((purge) => [purge.sequence, purge]));
    this.#newest = facts.newest;
    this.#purgedGeneration = facts.purgedGeneration;
    this.refusal = facts.refusal;
  }

  /** Purges that are known by what they cover. */
  get purges(): readonly Purge[] {
    return [...this.#purges.values()];
  }

  /** Generations below it were forgotten by a purge of everything. */
  get purgedGeneration(): number {
    const all = this.purges.filter(({ kind, isSoft }) => kind === 'everything' && !isSoft);
    return Math.max(this.#purgedGeneration, ...all.map(({ generation }) => generation));
  }

  /** Sequence of the newest purge of which anything tells. */
  get newest(): number {
    return this.#newest;
  }

  /** A header tells of purges up to this one. */
  witness(purgeSequence: number): void {
    if (purgeSequence <= U48_MAX) this.#newest = Math.max(this.#newest, purgeSequence);
  }

  /** Whether a known purge that the extent missed covers it. @param manifest of its object; undefined for a slice, which follows its manifest */
  covers(header: ExtentHeader, manifest: Manifest | undefined): boolean {
    if (header.generation < this.#purgedGeneration) return true;
    for (const purge of this.#purges.values()) {
      if (purge.sequence > header.purgeSequence && coversExtent(purge, header, manifest)) return true;
    }
    return false;
  }

  /** From this sequence on every purge is known by what it covers: what was written before missed one that is not. Ask after the scan. */
  surelySince(): number {
    let sequence = this.#newest;
    while (sequence > 0 && this.#purges.has(sequence)) sequence -= 1;
    return sequence;
  }
}

function coversExtent(purge: Purge, header: ExtentHeader, manifest: Manifest | undefined): boolean {
  // What a soft purge covers is stale, as all is that a scan finds.
  if (purge.isSoft || header.generation >= purge.generation) return false;
  const object: Coverable = { objectHash: header.objectHash, keyText: header.keyText, tags: manifest?.tags ?? [] };
  const key = Buffer.from(object.keyText, 'utf8');
  const keyPrefix = key.subarray(0, purge.prefixBytes);
  if (keyPrefix.length < purge.prefixBytes) return false;
  switch (purge.kind) {
    case 'object':
      return purge.hash === object.objectHash;
    case 'prefix':
      return purgeHash(keyPrefix) === purge.hash;
    case 'tag':
      return object.tags.some((tag) => tagHash(keyPrefix, tag) === purge.hash);
    case 'everything':
      return true;
  }
}

/** Whether the last purges may have left no trace. */
async function findRefusal(source: ScanSource & { readonly root: DeviceRoot }): Promise<string | undefined> {
  const { format, superblock } = source.root;
  const { superblockCount, journalBlocks, labelOffsets } = format.geometry;
  const nextPlace = 1 + ((superblock.sequence + 1) % superblockCount);
  for (let labelNumber = 0; labelNumber < labelOffsets.length; labelNumber += 1) {
    for await (const block of scanLabel(source, format, labelNumber)) {
      const isLost = block.kind === 'damaged' || block.kind === 'unreadable';
      if (isLost && block.place === nextPlace) return `the newest superblock of label ${labelNumber} is ${block.kind}`;
    }
  }
  // A superblock of an orderly end knows of every purge.
  if (superblock.isClean) return undefined;
  let last = superblock.journalHead - 1;
  for await (const place of scanJournal(source, format, { first: 0, count: journalBlocks }))
    if (place.kind === 'block') last = Math.max(last, place.header.sequence);
  const range = { first: (last + 1) % journalBlocks, count: Math.min(BATCH_BLOCKS, journalBlocks) };
  for await (const place of scanJournal(source, format, range))
    if (place.kind === 'damaged' || place.kind === 'unreadable') return `the end of the journal is ${place.kind}`;
  return undefined;
}
