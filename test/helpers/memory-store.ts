/**
 * A SliceStore without a device: the model that the contract tests compare with, and the store of scenarios in which the device does not
 * matter. It keeps everything that it admits, in plain buffers.
 */
import { SystemClock } from '../../src/base/clock.ts';
import { CHUNK_BYTES } from '../../src/format/geometry.ts';
import type { Manifest, ManifestFreshness, ObjectHash } from '../../src/format/manifest.ts';
import type { Arena } from '../../src/memory/arena.ts';
import { type Coverable, matcherOf } from '../../src/store/purges/purge.ts';
import type { PurgeProgress } from '../../src/store/purges/purge-ledger.ts';
import type {
  ManifestEntry,
  ManifestVerdict,
  OfferVerdict,
  PartVerdict,
  PurgeOptions,
  PurgeResult,
  PurgeTarget,
  SliceAddress,
  SliceOffer,
  SliceRead,
  SliceStore,
  SliceVerdict,
  StoreState,
} from '../../src/store/slice-store.ts';

/** Some of a slice, from `startBytes` of it on. */
interface Part {
  readonly startBytes: number;
  readonly bytes: Buffer;
}

/** Slices and manifests in maps. */
export class MemoryStore implements SliceStore {
  state: StoreState = 'online';
  purgeSequence = 0;
  /** When set, offers of slices are declined. */
  declinesSlices = false;
  readonly #arena: Arena;
  readonly #manifests = new Map<ObjectHash, Manifest>();
  readonly #slices = new Map<string, Buffer>();
  readonly #parts = new Map<string, Part>();
  readonly #purges: {
    readonly matches: (object: Coverable) => boolean;
    readonly sequence: number;
    readonly isSoft: boolean;
    readonly atMs: number;
  }[] = [];
  readonly #progress = new Map<number, PurgeProgress>();
  readonly #clock = new SystemClock();
  /** Readers of each generation that is held. */
  readonly #holds = new Map<number, number>();
  /** Dropped, and kept for those who hold them. */
  readonly #retired = new Map<number, Manifest>();
  #generation = 0;

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  nextGeneration(): number {
    this.#generation += 1;
    return this.#generation;
  }

  /** It keeps everything. */
  noteRequest(): void {}

  findManifest(objectHash: ObjectHash): ManifestEntry | undefined {
    const manifest = this.#manifests.get(objectHash);
    if (manifest === undefined) return undefined;
    let storedSlices = 0;
    for (const key of this.#slices.keys()) if (key.startsWith(`${manifest.generation}/`)) storedSlices += 1;
    return { generation: manifest.generation, storedSlices };
  }

  tryReadManifest(objectHash: ObjectHash): Manifest | undefined {
    return this.#manifests.get(objectHash);
  }

  async readManifest(objectHash: ObjectHash): Promise<ManifestVerdict> {
    const manifest = this.#manifests.get(objectHash);
    return manifest === undefined ? { kind: 'absent' } : { kind: 'hit', manifest };
  }

  offerManifest(offered: Manifest, purgeSequence: number): OfferVerdict {
    let manifest = offered;
    const old = this.#manifests.get(manifest.objectHash);
    for (const { matches, sequence, isSoft, atMs } of this.#purges) {
      if (sequence <= purgeSequence || !matches(offered)) continue;
      if (!isSoft || old?.generation !== offered.generation) return { kind: 'declined', reason: 'purged' };
      manifest = { ...manifest, freshUntilMs: Math.min(manifest.freshUntilMs, atMs) };
    }
    if (old !== undefined && old.generation !== manifest.generation) this.dropManifest(manifest.objectHash, old.generation);
    this.#manifests.set(manifest.objectHash, manifest);
    return { kind: 'admitted' };
  }

  refreshManifest(objectHash: ObjectHash, generation: number, freshness: ManifestFreshness): void {
    const manifest = this.#manifests.get(objectHash);
    if (manifest?.generation !== generation) return;
    const { receivedAtMs, initialAgeSeconds, freshUntilMs } = freshness;
    this.#manifests.set(objectHash, { ...manifest, receivedAtMs, initialAgeSeconds, freshUntilMs });
  }

  dropManifest(objectHash: ObjectHash, generation: number | undefined): void {
    const manifest = this.#manifests.get(objectHash);
    if (manifest === undefined || (generation !== undefined && manifest.generation !== generation)) return;
    this.#manifests.delete(objectHash);
    if (this.#holds.has(manifest.generation)) this.#retired.set(manifest.generation, manifest);
    else this.#forgetSlices(manifest.generation);
  }

  /** Generations that somebody holds. */
  get heldCount(): number {
    return this.#holds.size;
  }

  holdGeneration({ generation }: Manifest): () => void {
    this.#holds.set(generation, (this.#holds.get(generation) ?? 0) + 1);
    let isHeld = true;
    return () => {
      const left = (this.#holds.get(generation) ?? 0) - 1;
      if (!isHeld) return;
      isHeld = false;
      if (left > 0) this.#holds.set(generation, left);
      else this.#holds.delete(generation);
      if (left === 0 && this.#retired.delete(generation)) this.#forgetSlices(generation);
    };
  }

  async purge(target: PurgeTarget, options: PurgeOptions = {}): Promise<PurgeResult> {
    const isSoft = options.isSoft === true;
    const matches = matcherOf(target);
    const atMs = this.#clock.wallMs();
    this.purgeSequence = Math.max(this.purgeSequence + 1, options.sequence ?? 0);
    this.#purges.push({ matches, sequence: this.purgeSequence, isSoft, atMs });
    const covered = [...this.#manifests.values()].filter((manifest) => matches(manifest));
    for (const [generation, manifest] of [...this.#retired]) {
      if (isSoft || !matches(manifest)) continue;
      this.#retired.delete(generation);
      this.#forgetSlices(generation);
    }
    const objects = covered.filter(({ freshUntilMs }) => !isSoft || freshUntilMs > atMs).length;
    for (const manifest of covered) {
      const { objectHash, generation, freshUntilMs } = manifest;
      if (isSoft) this.#manifests.set(objectHash, { ...manifest, freshUntilMs: Math.min(freshUntilMs, atMs) });
      else {
        this.#manifests.delete(objectHash);
        this.#forgetSlices(generation);
      }
    }
    this.#progress.set(this.purgeSequence, { objects, isDone: true });
    return { sequence: this.purgeSequence, objects, isDone: true };
  }

  mayHold(objectHash: ObjectHash): boolean {
    return this.#manifests.has(objectHash);
  }

  purgeProgress(sequence: number): PurgeProgress | undefined {
    return this.#progress.get(sequence);
  }

  hasSlice(generation: number, sliceNumber: number): boolean {
    return this.#slices.has(`${generation}/${sliceNumber}`);
  }

  tryReadResident(): undefined {
    return undefined;
  }

  async readSlice(read: SliceRead): Promise<SliceVerdict> {
    const key = `${read.generation}/${read.sliceNumber}`;
    const part = this.#parts.get(key);
    const isInside = part !== undefined && read.startBytes >= part.startBytes && read.endBytes <= part.startBytes + part.bytes.length;
    const slice = this.#slices.get(key) ?? (isInside ? Buffer.concat([Buffer.alloc(part.startBytes), part.bytes]) : undefined);
    if (slice === undefined) return { kind: 'absent' };
    const lease = await this.#arena.lease('device-read', read.endBytes - read.startBytes, { waitMs: 50 });
    if (lease === undefined) return { kind: 'busy' };
    const count = slice.copy(lease.bytes, 0, read.startBytes, read.endBytes);
    return { kind: 'hit', lease, bytes: lease.bytes.subarray(0, count), tier: 'device' };
  }

  hasPart(generation: number, sliceNumber: number): boolean {
    const key = `${generation}/${sliceNumber}`;
    return this.#parts.has(key) && !this.#slices.has(key);
  }

  async readPart({ generation, sliceNumber }: SliceAddress): Promise<PartVerdict> {
    const part = this.#parts.get(`${generation}/${sliceNumber}`);
    if (part === undefined || !this.hasPart(generation, sliceNumber)) return { kind: 'absent' };
    const { startBytes, bytes } = part;
    const lease = await this.#arena.lease('device-read', bytes.length, { waitMs: 50 });
    if (lease === undefined) return { kind: 'busy' };
    bytes.copy(lease.bytes);
    return { kind: 'hit', lease, bytes: lease.bytes.subarray(0, bytes.length), startBytes, endBytes: startBytes + bytes.length };
  }

  offerSlice(offer: SliceOffer): OfferVerdict {
    if (this.#manifests.get(offer.objectHash)?.generation !== offer.generation) return { kind: 'declined', reason: 'superseded' };
    if (this.declinesSlices) return { kind: 'declined', reason: 'queue-full' };
    if (offer.present !== undefined) return this.#offerPart(offer, offer.present);
    this.#slices.set(`${offer.generation}/${offer.sliceNumber}`, Buffer.from(offer.lease.bytes.subarray(0, offer.lengthBytes)));
    return { kind: 'admitted' };
  }

  /** All that are stored. */
  get manifests(): readonly Manifest[] {
    return [...this.#manifests.values()];
  }

  /** Forgets one slice, as eviction does. */
  evict(generation: number, sliceNumber: number): void {
    this.#slices.delete(`${generation}/${sliceNumber}`);
  }

  async drain(): Promise<void> {}

  async close(): Promise<void> {
    this.state = 'closed';
  }

  #forgetSlices(generation: number): void {
    for (const kept of [this.#slices, this.#parts])
      for (const key of [...kept.keys()]) if (key.startsWith(`${generation}/`)) kept.delete(key);
  }

  #offerPart({ generation, sliceNumber, lengthBytes, lease }: SliceOffer, present: { startBytes: number; endBytes: number }): OfferVerdict {
    const key = `${generation}/${sliceNumber}`;
    const { startBytes, endBytes } = present;
    if (this.#slices.has(key)) return { kind: 'admitted' };
    if (endBytes - startBytes < CHUNK_BYTES) return { kind: 'declined', reason: 'partial' };
    const part = joinParts(this.#parts.get(key), { startBytes, bytes: Buffer.from(lease.bytes.subarray(startBytes, endBytes)) });
    if (part.bytes.length === lengthBytes) this.#slices.set(key, part.bytes);
    else this.#parts.set(key, part);
    return { kind: 'admitted' };
  }
}

/** Together where they touch, else the longer one. */
function joinParts(old: Part | undefined, fresh: Part): Part {
  if (old === undefined) return fresh;
  const [oldEnd, freshEnd] = [old.startBytes + old.bytes.length, fresh.startBytes + fresh.bytes.length];
  if (fresh.startBytes > oldEnd || freshEnd < old.startBytes) return old.bytes.length >= fresh.bytes.length ? old : fresh;
  const startBytes = Math.min(old.startBytes, fresh.startBytes);
  const bytes = Buffer.alloc(Math.max(oldEnd, freshEnd) - startBytes);
  old.bytes.copy(bytes, old.startBytes - startBytes);
  fresh.bytes.copy(bytes, fresh.startBytes - startBytes);
  return { startBytes, bytes };
}
