/**
 * A set of half-open intervals of numbers: sorted, none empty, no two of them touching. The runs that fill slices keep in it which bytes of
 * a slice are there. Adding at the end of the last interval, which is what nearly every call does, costs nothing.
 */
import { assert } from './assert.ts';

/** [start, end) with start < end. */
export interface Interval {
  readonly start: number;
  readonly end: number;
}

/** What is there, and what is missing. */
export class IntervalSet {
  #intervals: Interval[] = [];

  /** In rising order. */
  get intervals(): readonly Interval[] {
    return this.#intervals;
  }

  /** Numbers in the set. */
  get total(): number {
    let total = 0;
    for (const { start, end } of this.#intervals) total += end - start;
    return total;
  }

  /** Adds [start, end); nothing when it is empty. */
  add(start: number, end: number): void {
    assert(start <= end, 'an interval does not end before it starts');
    if (start === end) return;
    const last = this.#intervals.at(-1);
    if (last?.end === start) {
      this.#intervals[this.#intervals.length - 1] = { start: last.start, end };
      return;
    }
    const merged = { start, end };
    const before: Interval[] = [];
    const after: Interval[] = [];
    for (const interval of this.#intervals) {
      if (interval.end < start) before.push(interval);
      else if (interval.start > end) after.push(interval);
      else {
        merged.start = Math.min(merged.start, interval.start);
        merged.end = Math.max(merged.end, interval.end);
      }
    }
    this.#intervals = [...before, merged, ...after];
  }

  /** The interval that holds `position`, if any. */
  at(position: number): Interval | undefined {
    return this.#intervals.find(({ start, end }) => start <= position && position < end);
  }

  /** Whether all of [start, end) is in the set. */
  covers(start: number, end: number): boolean {
    return start >= end || (this.at(start)?.end ?? start) >= end;
  }

  /** The widest interval around `position` that lies in [0, limit) and outside the set; undefined when `position` is in the set. */
  gapAt(position: number, limit: number): Interval | undefined {
    let start = 0;
    for (const interval of this.#intervals) {
      if (interval.start > position) return { start, end: Math.min(interval.start, limit) };
      if (position < interval.end) return undefined;
      start = interval.end;
    }
    return { start, end: limit };
  }

  clear(): void {
    this.#intervals = [];
  }
}
