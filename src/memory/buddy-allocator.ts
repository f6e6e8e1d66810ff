/**
 * A buddy allocator over page numbers: power-of-two runs of pages, split on demand and joined when both halves are free. It knows nothing
 * of bytes, leases or waiting; the arena does.
 *
 *   order 2  |       0        |       4        |     runs of 4 pages, aligned to 4
 *   order 1  |   0   |   2    |   4   |   6    |
 *   order 0  | 0 | 1 | 2 | 3  | 4 | 5 | 6 | 7  |
 *
 * Free runs of one order are a doubly linked list in typed arrays; the state of a run stands at its first page.
 */
import { assert } from '../base/assert.ts';

const NONE = -1;
const STATE_INNER = 0;
const STATE_FREE = 1;
const STATE_USED = 2;

/** Allocates runs of 2^order pages out of `pageCount` pages. */
export class BuddyAllocator {
  readonly pageCount: number;
  readonly #orderMax: number;
  readonly #state: Uint8Array;
  readonly #order: Uint8Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #heads: Int32Array;
  #freePages = 0;

  constructor(pageCount: number) {
    assert(Number.isSafeInteger(pageCount) && pageCount >= 1, 'BuddyAllocator: at least one page');
    this.pageCount = pageCount;
    this.#orderMax = Math.floor(Math.log2(pageCount));
    this.#state = new Uint8Array(pageCount);
    this.#order = new Uint8Array(pageCount);
    this.#next = new Int32Array(pageCount).fill(NONE);
    this.#previous = new Int32Array(pageCount).fill(NONE);
    this.#heads = new Int32Array(this.#orderMax + 1).fill(NONE);
    this.#cutIntoRuns();
  }

  get freePages(): number {
    return this.#freePages;
  }

  /** First page of a run of 2^order pages, or undefined when none is free. */
  tryAllocate(order: number): number | undefined {
    assert(order >= 0, 'tryAllocate: order is not negative');
    let found = order;
    while (found <= this.#orderMax && this.#heads[found] === NONE) found += 1;
    if (found > this.#orderMax) return undefined;
    const page = this.#heads[found] ?? NONE;
    this.#unlink(page, found);
    while (found > order) {
      found -= 1;
      this.#link(page + 2 ** found, found);
    }
    this.#state[page] = STATE_USED;
    this.#order[page] = order;
    this.#freePages -= 2 ** order;
    return page;
  }

  /** Gives back the run that starts at `page`, as tryAllocate returned it. */
  free(page: number): void {
    assert(this.#state[page] === STATE_USED, () => `free: page ${page} does not start a used run`);
    let order = this.#order[page] ?? 0;
    let start = page;
    this.#freePages += 2 ** order;
    this.#state[start] = STATE_INNER;
    while (order < this.#orderMax) {
      const size = 2 ** order;
      const buddy = start % (size * 2) === 0 ? start + size : start - size;
      if (buddy + size > this.pageCount || this.#state[buddy] !== STATE_FREE || this.#order[buddy] !== order) break;
      this.#unlink(buddy, order);
      start = Math.min(start, buddy);
      order += 1;
    }
    this.#link(start, order);
  }

  #cutIntoRuns(): void {
    let page = 0;
    while (page < this.pageCount) {
      let order = this.#orderMax;
      while (page % 2 ** order !== 0 || page + 2 ** order > this.pageCount) order -= 1;
      this.#link(page, order);
      page += 2 ** order;
    }
    this.#freePages = this.pageCount;
  }

  #link(page: number, order: number): void {
    const head = this.#heads[order] ?? NONE;
    this.#state[page] = STATE_FREE;
    this.#order[page] = order;
    this.#next[page] = head;
    this.#previous[page] = NONE;
    if (head !== NONE) this.#previous[head] = page;
    this.#heads[order] = page;
  }

  #unlink(page: number, order: number): void {
    const next = this.#next[page] ?? NONE;
    const previous = this.#previous[page] ?? NONE;
    if (previous === NONE) this.#heads[order] = next;
    else this.#next[previous] = next;
    if (next !== NONE) this.#previous[next] = previous;
    this.#state[page] = STATE_INNER;
  }
}
