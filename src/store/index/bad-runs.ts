/**
 * Runs of blocks that are out of use for good: disjoint, in order, of a bounded number. Called by block-allocator.ts, which alone knows what
 * lies on a block.
 */
import { partitionPoint } from '../../base/partition-point.ts';

/** Blocks [start, end). */
export interface BadRun {
  readonly start: number;
  readonly end: number;
}

/** At most `runsMax` runs. */
export class BadRuns {
  readonly #runsMax: number;
  readonly #runs: BadRun[] = [];
  #blocks = 0;

  constructor(runsMax: number) {
    this.#runsMax = runsMax;
  }

  /** Blocks in all runs together. */
  get blocks(): number {
    return this.#blocks;
  }

  /** All runs, in order. */
  get runs(): readonly BadRun[] {
    return this.#runs;
  }

  /** The parts of [start, end) that are bad. */
  within(start: number, end: number): BadRun[] {
    const found: BadRun[] = [];
    for (let at = this.#firstEndingBehind(start); at < this.#runs.length; at += 1) {
      const run = this.#runs[at];
      if (run === undefined || run.start >= end) break;
      found.push({ start: Math.max(start, run.start), end: Math.min(end, run.end) });
    }
    return found;
  }

  /** Adds what is not bad yet of [start, end). @returns false (and nothing is added) when that would be a run too many */
  tryAdd(start: number, end: number): boolean {
    const added = gapsBetween(this.within(start, end), start, end);
    if (this.#runs.length + added.length > this.#runsMax) return false;
    for (const run of added) {
      this.#runs.splice(this.#firstEndingBehind(run.start), 0, run);
      this.#blocks += run.end - run.start;
    }
    return true;
  }

  #firstEndingBehind(block: number): number {
    return partitionPoint(this.#runs.length, (index) => (this.#runs[index]?.end ?? 0) <= block);
  }
}

/** The parts of [start, end) that none of `runs` covers; they are in order, disjoint and inside. */
export function gapsBetween(runs: readonly BadRun[], start: number, end: number): BadRun[] {
  const gaps: BadRun[] = [];
  let at = start;
  for (const run of runs) {
    if (run.start > at) gaps.push({ start: at, end: run.start });
    at = run.end;
  }
  if (at < end) gaps.push({ start: at, end });
  return gaps;
}
