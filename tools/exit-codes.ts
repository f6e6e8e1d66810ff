/**
 * Exit codes of every command, as README lists them. systemd reads 78: with RestartPreventExitStatus=78 a wrong configuration does not
 * make it start the program again and again.
 */
import type { EdgeError } from '../src/base/errors.ts';

/** Exit codes by meaning. `partial`: some of what was asked for was done. */
export const EXIT_CODES = { ok: 0, failure: 1, usage: 2, partial: 4, configuration: 78 } as const;
/**
 * Exit codes of fsck, as every fsck has them (fsck(8)): bits, of which `findings` means *left uncorrected*. `partly` is repaired and
 * findings together. No other command has them.
 */
export const FSCK_EXIT_CODES = { clean: 0, repaired: 1, findings: 4, partly: 5, operational: 8, usage: 16, cancelled: 32 } as const;
/** What the program may end with. */
export type ExitCode = (typeof EXIT_CODES)[keyof typeof EXIT_CODES] | (typeof FSCK_EXIT_CODES)[keyof typeof FSCK_EXIT_CODES];

/** The exit code of a command that ended with `error`, unless it has codes of its own. */
export function exitCodeFor(error: EdgeError): ExitCode {
  if (error.code === 'CONFIG_INVALID') return EXIT_CODES.configuration;
  if (error.code === 'USAGE') return EXIT_CODES.usage;
  return EXIT_CODES.failure;
}
