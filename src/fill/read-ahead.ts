/**
 * Stored slices behind the one that a client is being sent, which the device reads meanwhile. Several are asked for in one go, since those
 * that lie side by side are one request of the device then (device/joined-reads.ts). How many depends on what all responses together have
 * read ahead. Owned by slice-source.ts.
 */
import type { SliceRead, SliceStore, SliceVerdict } from '../store/slice-store.ts';

/** Slices that every response may read ahead. With one, a stream was as fast as one read at a time (DECISIONS 45). */
const AHEAD_ALWAYS = 2;
/** Slices of one that there is room for. More are asked for when no more than half of them are left: DECISIONS 65 has the numbers. */
const AHEAD_MAX = 6;

/** How much all responses may read ahead beyond what each of them always may. */
export class AheadBudget {
  readonly #limitBytes: number;
  #takenBytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** Bytes that are taken now. */
  get takenBytes(): number {
    return this.#takenBytes;
  }

  /** Whether so many bytes more were taken. */
  tryTake(bytes: number): boolean {
    if (this.#takenBytes + bytes > this.#limitBytes) return false;
    this.#takenBytes += bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#takenBytes -= bytes;
  }
}

/** A read that nobody waits for yet. */
interface AheadRead {
  readonly sliceNumber: number;
  readonly verdict: Promise<SliceVerdict>;
  readonly budgetBytes: number;
}

/** What a ReadAhead works with. */
export interface ReadAheadOptions {
  readonly store: SliceStore;
  readonly budget: AheadBudget;
  readonly sliceSizeBytes: number;
  /** How a slice is read, as far as it is wanted. */
  readonly readOf: (sliceNumber: number) => SliceRead;
  readonly signal: AbortSignal;
  /** There was no room for one that could have been read. */
  readonly onRefused: () => void;
}

/** The reads of one response, in the order of their slices. */
export class ReadAhead {
  readonly #options: ReadAheadOptions;
  readonly #reads: AheadRead[] = [];

  constructor(options: ReadAheadOptions) {
    this.#options = options;
  }

  /** The read of this slice, if it was begun; whoever takes it ends what it brings. Those of slices before it are let go. */
  take(sliceNumber: number): Promise<SliceVerdict> | undefined {
    this.#letGoBefore(sliceNumber);
    const [first] = this.#reads;
    if (first?.sliceNumber !== sliceNumber) return undefined;
    this.#reads.shift();
    this.#options.budget.giveBack(first.budgetBytes);
    return first.verdict;
  }

  /** Begins to read slices from `nextSlice` on, before `endSlice`, as far as they are stored one after the other. */
  begin(nextSlice: number, endSlice: number): void {
    // One that has ended lies in memory, where it was found.
    this.#letGoBefore(nextSlice);
    if (this.#reads.length > AHEAD_MAX / 2) return;
    const { store, readOf, signal } = this.#options;
    const end = Math.min(nextSlice + AHEAD_MAX, endSlice);
    for (let sliceNumber = Math.max(nextSlice, (this.#reads.at(-1)?.sliceNumber ?? -1) + 1); sliceNumber < end; sliceNumber += 1) {
      const read = readOf(sliceNumber);
      if (!store.hasSlice(read.generation, sliceNumber)) return;
      const resident = store.tryReadResident(read);
      resident?.lease.end();
      if (resident !== undefined) continue;
      const budgetBytes = this.#takeRoom();
      if (budgetBytes === undefined) return;
      this.#reads.push({ sliceNumber, verdict: store.readSlice(read, signal), budgetBytes });
    }
  }

  /** Gives up what was begun; idempotent. */
  letGo(): void {
    this.#letGoBefore(Number.POSITIVE_INFINITY);
  }

  #letGoBefore(sliceNumber: number): void {
    for (let [first] = this.#reads; first !== undefined && first.sliceNumber < sliceNumber; [first] = this.#reads) {
      this.#reads.shift();
      this.#options.budget.giveBack(first.budgetBytes);
      void first.verdict.then(endVerdict, () => undefined);
    }
  }

  /** Room for one more, in bytes of the budget. @returns undefined when there is none */
  #takeRoom(): number | undefined {
    const { budget, sliceSizeBytes, onRefused } = this.#options;
    if (this.#reads.length < AHEAD_ALWAYS) return 0;
    if (budget.tryTake(sliceSizeBytes)) return sliceSizeBytes;
    onRefused();
    return undefined;
  }
}

/** Nobody wants what was read. */
export function endVerdict(verdict: SliceVerdict): void {
  if (verdict.kind === 'hit') verdict.lease.end();
}
