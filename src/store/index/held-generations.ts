/**
 * Generations that somebody reads now, and what purges have to know of them. One that is replaced or dropped meanwhile stays readable until its
 * last reader lets go of it: catalogue.ts keeps its slices then. Only in memory; a start knows of none. One per store, called by
 * device-store.ts, mounted-store.ts and purge-desk.ts.
 */
import type { Manifest } from '../../format/manifest.ts';
import type { Coverable } from '../purges/purge.ts';

/** What is held, and by how many. */
interface Hold {
  readonly object: Coverable;
  readers: number;
}

/** At most `countMax` generations, each held any number of times. */
export class HeldGenerations {
  readonly #countMax: number;
  readonly #holds = new Map<number, Hold>();

  constructor(countMax: number) {
    this.#countMax = countMax;
  }

  get count(): number {
    return this.#holds.size;
  }

  /** One more reader. @returns false when too many generations are held already */
  hold({ generation, objectHash, keyText, tags }: Manifest): boolean {
    const known = this.#holds.get(generation);
    if (known !== undefined) known.readers += 1;
    else if (this.#holds.size >= this.#countMax) return false;
    else this.#holds.set(generation, { object: { objectHash, keyText, tags }, readers: 1 });
    return true;
  }

  /** A reader for whom hold() was true is gone. @returns whether it was the last one */
  release(generation: number): boolean {
    const hold = this.#holds.get(generation);
    if (hold === undefined) return false;
    hold.readers -= 1;
    if (hold.readers > 0) return false;
    this.#holds.delete(generation);
    return true;
  }

  /** The object that a held generation is of. */
  find(generation: number): Coverable | undefined {
    return this.#holds.get(generation)?.object;
  }
}
