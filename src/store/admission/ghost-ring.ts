/**
 * Slices that were evicted lately, by 64 bits of hash: one that is asked for again soon after was evicted too early, and is admitted at
 * once. A table of small rings: a key belongs to one ring of eight, where it takes the place of the oldest; no list, no chain, a fixed
 * 8 bytes a ghost. Used by admission-ladder.ts.
 */
import { assert } from '../../base/assert.ts';
import { divCeil } from '../../base/units.ts';
import type { ObjectTag } from '../index/object-table.ts';
import { placeHash } from './place-hash.ts';

const RING_GHOSTS = 8;

/** What was evicted lately. */
export class GhostRing {
  readonly #rings: number;
  /** Two words a ghost; 0 in both is none. */
  readonly #words: Uint32Array;
  readonly #next: Uint8Array;

  /** @param ghosts evicted slices to remember, >= 1; rounded up to whole rings */
  constructor(ghosts: number) {
    assert(ghosts >= 1, 'GhostRing: it remembers a ghost or more');
    this.#rings = divCeil(ghosts, RING_GHOSTS);
    this.#words = new Uint32Array(this.#rings * RING_GHOSTS * 2);
    this.#next = new Uint8Array(this.#rings);
  }

  add(tag: ObjectTag, sliceNumber: number): void {
    if (this.has(tag, sliceNumber)) return;
    const { tagLow, tagHigh } = placeHash(tag, sliceNumber);
    const ring = this.#ringOf(tagLow);
    const place = this.#next[ring] ?? 0;
    const at = (ring * RING_GHOSTS + place) * 2;
    this.#words[at] = tagLow;
    this.#words[at + 1] = tagHigh;
    this.#next[ring] = (place + 1) % RING_GHOSTS;
  }

  has(tag: ObjectTag, sliceNumber: number): boolean {
    const { tagLow, tagHigh } = placeHash(tag, sliceNumber);
    const start = this.#ringOf(tagLow) * RING_GHOSTS * 2;
    for (let at = start; at < start + RING_GHOSTS * 2; at += 2) {
      if (this.#words[at] === tagLow && this.#words[at + 1] === tagHigh) return true;
    }
    return false;
  }

  #ringOf(low: number): number {
    return Math.floor((low / 2 ** 32) * this.#rings);
  }
}
