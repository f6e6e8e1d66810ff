/**
 * What every command gets from outside: where to write, the environment, time, and the exit code that it leaves behind. Tests build one
 * with streams of their own.
 */
import type { Clock } from '../src/base/clock.ts';
import type { ExitCode } from './exit-codes.ts';
import type { Terminal } from './terminal.ts';

/** One run of the program. A command sets `exitCode` where it is not 0; errors are thrown and caught in program.ts. */
export interface CommandIo {
  readonly terminal: Terminal;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  exitCode: ExitCode;
}
