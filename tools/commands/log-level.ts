/** `rawslice log-level [LEVEL]`: shows the lowest level that a running server logs, or sets it until its restart. */
import { Argument, type Command } from 'commander';
import { LOG_LEVELS } from '../../src/base/log.ts';
import { type AdminOptions, addAdminOptions, askServer } from '../admin-client.ts';
import type { CommandIo } from '../command-io.ts';

/** Adds the `log-level` command to the program. */
export function addLogLevelCommand(program: Command, io: CommandIo): void {
  const command = program
    .command('log-level')
    .description(
      'show the level of the log of a running server, or set it until the server restarts or its configuration names another one',
    )
    .addArgument(new Argument('[level]', 'lowest level that is logged').choices(LOG_LEVELS));
  addAdminOptions(command).action((level: string | undefined, options: AdminOptions) =>
    askServer(
      io,
      options,
      level === undefined
        ? { method: 'GET', path: '/log-level', describe }
        : { method: 'POST', path: `/log-level?level=${level}`, describe },
    ),
  );
}

function describe({ level, configured }: Readonly<Record<string, unknown>>): readonly string[] {
  return [level === configured ? String(level) : `${String(level)} (configured: ${String(configured)})`];
}
