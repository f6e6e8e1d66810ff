/**
 * Manifests in memory: those that were offered and are not yet written (bounded, never lost to the cache), and those decoded lately.
 */
import { LRUCache } from 'lru-cache';
import type { Manifest, ObjectHash } from '../../format/manifest.ts';
import type { StoreLimits } from '../store-limits.ts';
import type { ResidentSlice } from './resident-tier.ts';

/** An offered manifest on its way to the device. A later offer of the same generation replaces `manifest`. */
export interface PendingManifest {
  manifest: Manifest;
  /** `growing` until its length is known, `waiting` for its first slice, `queued` for its write, `writing`. */
  state: 'growing' | 'waiting' | 'queued' | 'writing';
  /** The object's one slice, which is to be written in the same record. */
  body: ResidentSlice | undefined;
}

/** Manifests by object; one per store. */
export class ManifestShelf {
  readonly #limits: StoreLimits;
  readonly #pending = new Map<ObjectHash, PendingManifest>();
  readonly #cache: LRUCache<ObjectHash, Manifest>;

  constructor(limits: StoreLimits) {
    this.#limits = limits;
    this.#cache = new LRUCache({
      max: limits.manifestCacheEntries,
      maxSize: limits.manifestCacheCharacters,
      sizeCalculation: (manifest) =>
        manifest.fields.reduce((sum, [name, value]) => sum + name.length + value.length, manifest.keyText.length + 256),
    });
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  get isPendingFull(): boolean {
    return this.#pending.size >= this.#limits.pendingManifests;
  }

  pending(objectHash: ObjectHash): PendingManifest | undefined {
    return this.#pending.get(objectHash);
  }

  addPending(manifest: Manifest): PendingManifest {
    const added: PendingManifest = { manifest, state: 'waiting', body: undefined };
    this.#pending.set(manifest.objectHash, added);
    return added;
  }

  removePending(objectHash: ObjectHash): void {
    this.#pending.delete(objectHash);
  }

  /** The manifest that waits for its first slice the longest. */
  oldestWaiting(): Manifest | undefined {
    for (const pending of this.#pending.values()) if (pending.state === 'waiting') return pending.manifest;
    return undefined;
  }

  /** The manifest of this generation, if it is in memory. */
  find(objectHash: ObjectHash, generation: number): Manifest | undefined {
    const manifest = this.#pending.get(objectHash)?.manifest ?? this.#cache.get(objectHash);
    return manifest?.generation === generation ? manifest : undefined;
  }

  /** Keeps a decoded manifest, or replaces what is known of it after a refresh. */
  keep(manifest: Manifest): void {
    const pending = this.#pending.get(manifest.objectHash);
    if (pending?.manifest.generation === manifest.generation) pending.manifest = manifest;
    else this.#cache.set(manifest.objectHash, manifest);
  }

  /** Every manifest in memory; the shelf may change meanwhile only by what the caller takes out. */
  manifests(): readonly Manifest[] {
    return [...[...this.#pending.values()].map(({ manifest }) => manifest), ...this.#cache.values()];
  }

  clear(): void {
    this.#pending.clear();
    this.#cache.clear();
  }

  forget(objectHash: ObjectHash): void {
    this.#pending.delete(objectHash);
    this.#cache.delete(objectHash);
  }
}
