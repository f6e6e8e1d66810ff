/**
 * A map for what comes and goes all the time and hangs on to much: requests under way and what they work on. What is deleted lets go of its value
 * at once.
 *
 * A Map alone does not. V8 puts a new table in the place of one that is full of deleted entries, and leaves in the old one, with all that it held,
 * a link to the new. A table that had grown old enough for the old generation keeps the next one alive, and that the next, so that whatever
 * was under way at such a moment stays until the whole heap is looked through (DECISIONS.md 63 has the numbers).
 */

/** Keys in the order in which they were set first. */
export class TurnoverMap<Key, Value> {
  readonly #cells = new Map<Key, Cell<Value>>();

  get size(): number {
    return this.#cells.size;
  }

  get(key: Key): Value | undefined {
    return this.#cells.get(key)?.value;
  }

  has(key: Key): boolean {
    return this.#cells.has(key);
  }

  set(key: Key, value: Value): void {
    const cell = this.#cells.get(key);
    if (cell === undefined) this.#cells.set(key, { value });
    else cell.value = value;
  }

  delete(key: Key): boolean {
    const cell = this.#cells.get(key);
    if (cell !== undefined) cell.value = undefined;
    return this.#cells.delete(key);
  }

  /** What is there now; what is deleted meanwhile is in it all the same. */
  entries(): readonly (readonly [Key, Value])[] {
    const entries: (readonly [Key, Value])[] = [];
    for (const [key, { value }] of this.#cells) if (value !== undefined) entries.push([key, value]);
    return entries;
  }
}

interface Cell<Value> {
  value: Value | undefined;
}
