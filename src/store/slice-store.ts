/**
 * The door of the storage engine: what the layers above may ask of it. Calls pass numbers (generation, slice number) and leases, so that
 * the engine can move to a thread of its own. Every outcome that a device, a full queue or a crash can bring about is a verdict: a cache
 * may forget. Implemented by device-store.ts; test/contract/slice-store.ts says in tests what every implementation must do.
 */
import type { Manifest, ManifestFreshness, ObjectHash } from '../format/manifest.ts';
import type { Lease } from '../memory/lease.ts';
import type { Admission } from './admission/admission-policy.ts';
import type { PurgeProgress } from './purges/purge-ledger.ts';

/** `loading`: index not yet complete; what of it was not touched since its checkpoint can be read, nothing is taken. `readonly`: hits only. `failed`: nothing. `closed`: after close(). */
export type StoreState = 'loading' | 'online' | 'readonly' | 'failed' | 'closed';

/** What the index knows of an object without reading the device. */
export interface ManifestEntry {
  readonly generation: number;
  /** Slices of this generation that are stored or resident. */
  readonly storedSlices: number;
}

/** Outcome of reading a manifest. `corrupt`: the record was dropped and counted; the object is absent now. `busy`: not in time. */
export type ManifestVerdict = { readonly kind: 'hit'; readonly manifest: Manifest } | { readonly kind: 'absent' | 'corrupt' | 'busy' };

/** Outcome of reading a slice. On `hit` the caller owns `lease` and must end it; `bytes` is exactly what was asked for. */
export type SliceVerdict =
  | { readonly kind: 'hit'; readonly lease: Lease; readonly bytes: Buffer; readonly tier: 'ram' | 'device' }
  | { readonly kind: 'absent' | 'corrupt' | 'busy' };

/** Outcome of reading what there is of a slice: `bytes` is [startBytes, endBytes) of it. On `hit` the caller owns `lease` and must end it. */
export type PartVerdict =
  | {
      readonly kind: 'hit';
      readonly lease: Lease;
      readonly bytes: Buffer;
      readonly startBytes: number;
      readonly endBytes: number;
    }
  | { readonly kind: 'absent' | 'corrupt' | 'busy' };

/** Why the store would not keep what it was offered. */
export const DECLINE_REASONS = [
  'not-admitted',
  'write-budget',
  'queue-full',
  'no-space',
  'superseded',
  'purged',
  'unavailable',
  'too-large',
  'journal-full',
  'partial',
] as const;
/** One of DECLINE_REASONS. */
export type DeclineReason = (typeof DECLINE_REASONS)[number];

/** Outcome of an offer. `admitted` means queued for writing and readable at once, not yet durable. */
export type OfferVerdict = { readonly kind: 'admitted' } | { readonly kind: 'declined'; readonly reason: DeclineReason };

/** A slice's place: which object, which version of it, which part. */
export interface SliceAddress {
  readonly objectHash: ObjectHash;
  readonly generation: number;
  /** 0 is the object's first slice. */
  readonly sliceNumber: number;
}

/** A wanted part of one slice: `startBytes` inclusive, `endBytes` exclusive, both relative to the slice's start. */
export interface SliceRead extends SliceAddress {
  readonly startBytes: number;
  readonly endBytes: number;
}

/**
 * A slice, ready to be kept: the first `lengthBytes` of `lease.bytes`, or a part of them. The store takes its own share of the lease; nobody
 * writes to the slot any more.
 */
export interface SliceOffer extends SliceAddress {
  readonly lease: Lease;
  /** The slice size, or less for the object's last slice; > 0. */
  readonly lengthBytes: number;
  /** The part that is there, at its place in the slot; all of the slice when undefined. */
  readonly present?: { readonly startBytes: number; readonly endBytes: number } | undefined;
  /** What rules say about keeping it; undefined is `auto`. */
  readonly admission?: Admission | undefined;
}

/** What a purge covers: one object, those whose key text begins so, those that carry a tag, all. */
export type PurgeTarget =
  | { readonly kind: 'object'; readonly objectHash: ObjectHash }
  | { readonly kind: 'prefix'; readonly keyPrefix: string }
  /** `keyPrefix`: of those only whose key begins so. */
  | { readonly kind: 'tag'; readonly tag: string; readonly keyPrefix?: string | undefined }
  | { readonly kind: 'everything' };

/** How to purge. */
export interface PurgeOptions {
  /** Makes stale instead of forgetting: the next request asks the origin first. */
  readonly isSoft?: boolean | undefined;
  /** Its number, where several devices number purges alike: above `purgeSequence` of each. The next one when undefined. */
  readonly sequence?: number | undefined;
  /** Generations below it are covered, where several devices share their counter: above every one that was given. This device's own when undefined. */
  readonly generation?: number | undefined;
}

/** What a purge did at once; others that it covers are absent already, and dropped in the background until `isDone`. */
export interface PurgeResult extends PurgeProgress {
  /** Its number, by which purgeProgress() tells how it goes on. */
  readonly sequence: number;
}

/** Slices on one device, with the RAM tier in front. */
export interface SliceStore {
  readonly state: StoreState;

  /** Sequence of the newest purge. A fill notes it before its request to the origin and hands it in with the manifest. */
  readonly purgeSequence: number;

  /** The next number of the cache's one counter; never given twice, crash or no crash. */
  nextGeneration(): number;

  /**
   * Takes note of a client's request, hit or miss: once for each, before anything is looked up. A full device keeps what is asked for again.
   *
   * @param startBytes offset in the object at which the request begins
   */
  noteRequest(objectHash: ObjectHash, startBytes: number): void;

  /**
   * What the index knows of the object; no I/O. Manifests that were offered count at once. One that a purge by prefix or tag may cover is
   * absent here, as are its slices in hasSlice and tryReadResident, until readManifest or readSlice has looked at its record.
   */
  findManifest(objectHash: ObjectHash): ManifestEntry | undefined;

  /** The object's manifest if it is in memory and readManifest would hand it out; no I/O, no promise. A read like any other. */
  tryReadManifest(objectHash: ObjectHash): Manifest | undefined;

  /** The object's manifest, from memory or the device. */
  readManifest(objectHash: ObjectHash, signal?: AbortSignal | undefined): Promise<ManifestVerdict>;

  /**
   * Offers a manifest. It replaces an older generation of the same object, whose slices become unreachable but for those who hold it. It is written together with its
   * first slice (at once when the object has no bytes). One without a length is *growing*: it stays in memory, its slices are taken, and it
   * is written when it is offered again with its length, or dropped when the body breaks off. Offering a generation again rewrites its
   * record and keeps its slices.
   *
   * @param purgeSequence as noted before the request that brought it; refused (`purged`) when a purge of the object came later
   */
  offerManifest(manifest: Manifest, purgeSequence: number): OfferVerdict;

  /** Renews freshness after a 304 or the like: one journal record, no rewrite. A no-op when the generation is not the current one. */
  refreshManifest(objectHash: ObjectHash, generation: number, freshness: ManifestFreshness): void;

  /**
   * Forgets the object and its slices if `generation` is still the current one, or whichever is when it is undefined; not flushed (the object
   * merely turned out unusable).
   */
  dropManifest(objectHash: ObjectHash, generation: number | undefined): void;

  /**
   * Forgets what the target covers for good, or makes it stale: from the call on nothing of it is handed out, and no answer that was asked for
   * before is taken. Resolves when that is flushed to the device.
   *
   * @throws EdgeError REQUEST_INVALID (longer than any key or tag), STORE_UNAVAILABLE when it cannot be made durable (it holds in memory all the
   *   same), or when too many purges by prefix and tag are in force (nothing was done)
   */
  purge(target: PurgeTarget, options?: PurgeOptions): Promise<PurgeResult>;

  /** Whether a purge of the object may find something: false only when all that is stored is known and the object is not. A hint, no I/O. */
  mayHold(objectHash: ObjectHash): boolean;

  /** How far a purge of this process has come, of the last thousand or so. */
  purgeProgress(sequence: number): PurgeProgress | undefined;

  /**
   * Somebody reads this generation. When another one takes its place, or it is dropped, what is stored of it stays for hasSlice, hasPart and
   * the reads until the last of its readers has called what this returns (once or more). It is kept in memory and on the device like anything
   * else, so that it may be evicted; nothing is added to it; a purge that covers it, and the end of the process, end it at once. A no-op,
   * counted, when too many generations are held.
   *
   * @param manifest of the generation; its key and tags say which purges cover it
   */
  holdGeneration(manifest: Manifest): () => void;

  /** Whether the slice is resident, queued or on the device; a hint, no I/O. */
  hasSlice(generation: number, sliceNumber: number): boolean;

  /** A lease on the bytes if the whole slice is in memory now (resident or queued); no I/O, no promise. */
  tryReadResident(read: SliceRead): { readonly lease: Lease; readonly bytes: Buffer } | undefined;

  /** The wanted bytes, from memory or the device; part of a slice costs the chunks that it touches. */
  readSlice(read: SliceRead, signal?: AbortSignal | undefined): Promise<SliceVerdict>;

  /**
   * Offers a slice. Refused (`superseded`) when its generation has no current manifest. Never waits. One that is declined as not worth a
   * write, or for want of room, is readable from memory all the same until its slot is needed, and is decided on again before that.
   *
   * A part is joined with what is stored of the slice, and decided on once; declined (`partial`) when it is not worth a record, when one of
   * the slice waits for its write, or when the object's length is not known. It does not make hasSlice true.
   */
  offerSlice(offer: SliceOffer): OfferVerdict;

  /** Whether some of the slice is kept, and not all of it: readSlice brings what lies inside. A hint, no I/O. */
  hasPart(generation: number, sliceNumber: number): boolean;

  /** All that is kept of a slice of which hasPart is true. */
  readPart(address: SliceAddress, signal?: AbortSignal | undefined): Promise<PartVerdict>;

  /** Resolves when everything admitted so far has been written (or dropped) and the journal is flushed. For tools and tests. */
  drain(): Promise<void>;

  /** Drains, writes a checkpoint and a clean superblock, lets go of the device. Idempotent. */
  close(): Promise<void>;
}
