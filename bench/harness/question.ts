/** What a question is to the runner: its targets, what of it is drawn, and a function that fills a report. */

import type { System } from '../systems/system.ts';
import type { Field, FieldOptions } from './field.ts';
import type { BenchProcess } from './processes.ts';
import type { Report } from './report.ts';
import type { Target } from './target.ts';

/** What a question gets to work with. */
export interface QuestionContext {
  readonly report: Report;
  /** A run of a minute instead of one of minutes. */
  readonly isShort: boolean;
  /** A line about what is going on. */
  readonly say: (line: string) => void;
  /** A line that belongs to the result: what was left out, or how a figure is to be read. */
  readonly note: (line: string) => void;
  /** Names of the systems that take part. */
  readonly wanted: readonly string[];
  /** Sets up origin and systems, lets `act` measure them, and takes them down in every case. */
  withField(options: FieldOptions, act: (field: Field) => Promise<void>): Promise<void>;
  /** A directory on the file system that is measured, for `act` alone. */
  withDirectory(act: (directory: string) => Promise<void>): Promise<void>;
}

/** One question. */
export interface Question {
  /** `p4`; what the command line and the targets call it. */
  readonly id: string;
  /** The one question that it answers. */
  readonly text: string;
  readonly targets: readonly Target[];
  /** Asked only when it is named: none of the targets of the table. */
  readonly isExtra?: boolean;
  /** Quantities that are drawn as bars; curves are always drawn. */
  readonly charts: readonly string[];
  run(context: QuestionContext): Promise<void>;
}

/** What a server used while something was done. */
export interface Effort {
  readonly seconds: number;
  readonly cpuSeconds: number;
}

/** Measures the time and the server's CPU time of `act`; NaN for the CPU time of the origin itself. */
export async function withEffort<T>(system: System, act: () => Promise<T>): Promise<{ readonly result: T; readonly effort: Effort }> {
  const before = cpuSecondsOf(system.process);
  const startedAtMs = performance.now();
  const result = await act();
  const seconds = (performance.now() - startedAtMs) / 1000;
  return { result, effort: { seconds, cpuSeconds: cpuSecondsOf(system.process) - before } };
}

function cpuSecondsOf(process: BenchProcess | undefined): number {
  return process?.usage().cpuSeconds ?? Number.NaN;
}

/** Adds what systems hold in memory now. */
export function addResident(context: QuestionContext, field: Field): void {
  for (const { name, process } of field.systems)
    if (process !== undefined)
      context.report.add({ name: 'resident memory at the end', unit: 'MB' }, name, process.usage().residentBytes / 1e6);
}
