/** What is kept of a run: a record for each question, with where, when and on what it was measured. */
import { spawnSync } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';
import type { Curve, Summary } from './report.ts';
import type { Judgement } from './target.ts';

/** One question's outcome. */
export interface Result {
  readonly id: string;
  readonly text: string;
  readonly preset: 'short' | 'full';
  /** ISO 8601. */
  readonly date: string;
  readonly machine: Machine;
  /** Descriptions of the systems that took part, by name. */
  readonly systems: Readonly<Record<string, string>>;
  /** Why the others did not. */
  readonly skipped: Readonly<Record<string, string>>;
  readonly notes: readonly string[];
  readonly judgements: readonly Judgement[];
  readonly summaries: readonly Summary[];
  readonly curves: readonly Curve[];
  readonly charts: readonly string[];
}

/** Where and on what. */
export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly kernel: string;
  readonly node: string;
  readonly commit: string;
}

/** The machine and the state of the sources. */
export function machineFacts(): Machine {
  const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: import.meta.dirname, encoding: 'utf8' }).stdout?.trim() ?? '';
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    commit,
  };
}
