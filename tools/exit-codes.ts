/**
 * Exit codes of every command, as README lists them. systemd reads 78: with RestartPreventExitStatus=78 a wrong configuration does not
 * make it start the program again and again.
 */
import type { EdgeError } from '../src/base/errors.ts';

/** Exit codes by meaning. `partial`: some of what was asked for was done. */
export const EXIT_CODES = { ok: 0, failure: 1, usage: 2, partial: 4, configuration: 78 } as const;
/** One of EXIT_CODES. */
export type ExitCode = (typeof EXIT_CODES)[keyof typeof EXIT_CODES];

/** The exit code of a command that ended with `error`. */
export function exitCodeFor(error: EdgeError): ExitCode {
  if (error.code === 'CONFIG_INVALID') return EXIT_CODES.configuration;
  if (error.code === 'USAGE') return EXIT_CODES.usage;
  return EXIT_CODES.failure;
}
