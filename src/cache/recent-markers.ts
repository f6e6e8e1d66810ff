/**
 * Markers of varying resources in memory: the newest state of those that are in use, and those that no store would take. Bounded in number.
 * fill/variant-markers.ts holds them against the store.
 */
import { LRUCache } from 'lru-cache';
import type { ObjectHash } from '../format/manifest.ts';
import type { VariantMarker } from './variant-marker.ts';

/** A marker as it is remembered. */
export interface RecentMarker {
  readonly marker: VariantMarker;
  /** Of the resource. */
  readonly keyText: string;
  readonly isStored: boolean;
  /** Variants that were asked for since one of them last had to go; among those that the marker knows. */
  readonly used: Set<ObjectHash>;
}

/** A table of markers by the hash of their resource's key; the one asked for longest ago is forgotten first. */
export class RecentMarkers {
  readonly #markers: LRUCache<ObjectHash, RecentMarker>;

  constructor(countMax: number) {
    this.#markers = new LRUCache({ max: countMax });
  }

  find(objectHash: ObjectHash): RecentMarker | undefined {
    return this.#markers.get(objectHash);
  }

  set(objectHash: ObjectHash, recent: RecentMarker): void {
    this.#markers.set(objectHash, recent);
  }

  delete(objectHash: ObjectHash): void {
    this.#markers.delete(objectHash);
  }

  /** Forgets the resources that match. */
  deleteAll(matches: (resource: { readonly objectHash: ObjectHash; readonly keyText: string }) => boolean): void {
    for (const [objectHash, { keyText }] of [...this.#markers.entries()])
      if (matches({ objectHash, keyText })) this.#markers.delete(objectHash);
  }
}
