/**
 * What a benchmark of the storage engine is to its runner (bench/engine.ts): a question, and a function that answers it in rows. Unlike the
 * benchmarks of bench/run.ts it starts no servers: it calls the engine, on a file or a loop device in the run's directory.
 */

/** What a benchmark gets to work with. */
export interface EngineBenchContext {
  /** A directory of its own on the file system that is measured; removed afterwards. */
  readonly directory: string;
  /** Small sizes, for a run of seconds. */
  readonly isShort: boolean;
  /** A line about what is going on. */
  readonly say: (line: string) => void;
}

/** One figure. */
export interface EngineFigure {
  /** What was measured, in words. */
  readonly what: string;
  /** As it should be printed, with its unit: `512 MB/s`. */
  readonly value: string;
  /** The bare number, for programs. */
  readonly number: number;
  readonly unit: string;
}

/** One benchmark. */
export interface EngineBenchmark {
  readonly name: string;
  /** The one question that it answers. */
  readonly question: string;
  run(context: EngineBenchContext): Promise<readonly EngineFigure[]>;
}
