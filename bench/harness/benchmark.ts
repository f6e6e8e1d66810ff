/**
 * What a benchmark is to the runner: a question, a plan for its size, and a function that fills a report.
 */
import type { Report } from './report.ts';
import type { BenchOrigin, System } from './systems.ts';

/** What a benchmark gets to work with: the systems are running, and all serve the same bytes. */
export interface BenchContext {
  readonly systems: readonly System[];
  readonly origin: BenchOrigin;
  readonly report: Report;
  readonly isShort: boolean;
  /** Has the kernel write out what earlier turns left dirty, so that no system pays for another's writes. */
  readonly flush: () => void;
  /** A line about what is going on. */
  readonly say: (line: string) => void;
}

/** One benchmark. */
export interface Benchmark {
  readonly name: string;
  /** The one question that it answers. */
  readonly question: string;
  /** Sizes asked for, by the name used in paths (`/bytes/SIZE/NAME`), in bytes. */
  readonly sizes: Readonly<Record<string, number>>;
  /** Room for rawslice's device and nginx's cache, in bytes: more than a run stores. */
  readonly deviceBytes: number;
  /** rawslice's `--arena`; its default when undefined. */
  readonly arena?: string | undefined;
  run(context: BenchContext): Promise<void>;
}

/** The systems in an order that turns by one each round, so that none is always first. */
export function inTurn<Item>(items: readonly Item[], round: number): Item[] {
  const first = items.length === 0 ? 0 : round % items.length;
  return [...items.slice(first), ...items.slice(0, first)];
}
