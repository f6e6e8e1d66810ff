/**
 * How many objects each of the last purges forgot or made stale, and whether that is all: purges by prefix and tag and of everything find
 * what they cover little by little. An object counts once, at the newest purge that covers it when it is met; one that was stale already does
 * not count for a soft purge. Counted by the desk, for what is known at once or read later, and by the walker.
 */

/** What a purge has done so far; all of it when `isDone`. */
export interface PurgeProgress {
  /** Objects forgotten, or made stale. One that lies on several devices counts on each. */
  readonly objects: number;
  readonly isDone: boolean;
}

/** Purges that are counted for; of an older one nothing is known any more. */
const TALLIES_MAX = 1024;

/** One per store. */
export class PurgeLedger {
  /** By the purge's number, oldest first. */
  readonly #tallies = new Map<number, PurgeProgress>();

  /** A purge begins to count. @param isDone whether nothing will be left for the walk */
  open(sequence: number, isDone: boolean): void {
    this.#tallies.set(sequence, { objects: 0, isDone });
    if (this.#tallies.size <= TALLIES_MAX) return;
    for (const oldest of this.#tallies.keys()) {
      this.#tallies.delete(oldest);
      return;
    }
  }

  count(sequence: number, objects: number): void {
    const tally = this.#tallies.get(sequence);
    if (tally !== undefined) this.#tallies.set(sequence, { ...tally, objects: tally.objects + objects });
  }

  /** The index was walked for every purge up to `sequence`. */
  close(sequence: number): void {
    for (const [key, tally] of this.#tallies) if (key <= sequence && !tally.isDone) this.#tallies.set(key, { ...tally, isDone: true });
  }

  /** @returns undefined for a purge that is too old, came before the store was opened, or never was */
  find(sequence: number): PurgeProgress | undefined {
    return this.#tallies.get(sequence);
  }
}
