/**
 * The program `rawslice`: its commands, its common options, and the one place where errors become a line and an exit code. Each command is
 * a file in tools/commands that adds itself. Called by cli.ts and by tests.
 */
import { Command, CommanderError } from 'commander';
import { type EdgeError, toEdgeError } from '../src/base/errors.ts';
import type { CommandIo } from './command-io.ts';
import { addConfigCommand } from './commands/config.ts';
import { addDrainCommand } from './commands/drain.ts';
import { addFormatCommand } from './commands/format.ts';
import { addFsckCommand } from './commands/fsck.ts';
import { addInspectCommand } from './commands/inspect.ts';
import { addLogLevelCommand } from './commands/log-level.ts';
import { addPrewarmCommand } from './commands/prewarm.ts';
import { addPurgeCommand } from './commands/purge.ts';
import { addReloadCommand } from './commands/reload.ts';
import { addRulesCommand } from './commands/rules.ts';
import { addServeCommand } from './commands/serve.ts';
import { addStateCommand } from './commands/state.ts';
import { addVersionCommand } from './commands/version.ts';
import { EXIT_CODES, type ExitCode, exitCodeFor, FSCK_EXIT_CODES } from './exit-codes.ts';

/**
 * Runs one command line.
 *
 * @param words without the names of the interpreter and the program
 * @returns the exit code; never throws
 */
export async function runProgram(words: readonly string[], io: CommandIo): Promise<ExitCode> {
  try {
    await createProgram(io).parseAsync([...words], { from: 'user' });
    return io.exitCode;
  } catch (error) {
    // Commander has written its message already; help and the like end with 0.
    if (error instanceof CommanderError) return usageExitCode(error);
    const edgeError = toEdgeError(error);
    io.terminal.complain(describeError(edgeError));
    return exitCodeFor(edgeError);
  }
}

function createProgram(io: CommandIo): Command {
  const program = new Command('rawslice');
  program
    .description('A mirror and CDN edge cache that keeps slices of HTTP objects on a raw disk')
    .option('-q, --quiet', 'no notes and no progress, only answers and errors')
    .showSuggestionAfterError(true)
    .showHelpAfterError('(rawslice help shows what there is)')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.terminal.print(text.trimEnd()),
      writeErr: (text) => io.terminal.complain(text.trimEnd()),
      outputError: (text, write) => write(text.replace(/^error: /, 'rawslice: ')),
    })
    .hook('preAction', () => {
      if (program.opts<{ readonly quiet?: true }>().quiet === true) io.terminal.silenceNotes();
    });
  addConfigCommand(program, io);
  addRulesCommand(program, io);
  addServeCommand(program, io);
  addFormatCommand(program, io);
  addInspectCommand(program, io);
  addFsckCommand(program, io);
  addPrewarmCommand(program, io);
  addPurgeCommand(program, io);
  addReloadCommand(program, io);
  addDrainCommand(program, io);
  addLogLevelCommand(program, io);
  addStateCommand(program, io);
  addVersionCommand(program, io);
  return program;
}

/** A command with codes of its own (fsck) has put its code into the error. */
function usageExitCode(error: CommanderError): ExitCode {
  if (error.exitCode === 0) return EXIT_CODES.ok;
  return error.exitCode === FSCK_EXIT_CODES.usage ? FSCK_EXIT_CODES.usage : EXIT_CODES.usage;
}

/** The message; for an internal error also where it came from, because that is a fault of the program and will be reported. */
function describeError(error: EdgeError): string {
  const stack = error.code === 'INTERNAL' && error.cause instanceof Error ? `\n${error.cause.stack ?? ''}` : '';
  return `rawslice: ${error.message}${stack}`;
}
