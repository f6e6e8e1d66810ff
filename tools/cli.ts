/** Entry point of `rawslice`: connects the process (arguments, streams, environment, exit code) with the program. */
import { SystemClock } from '../src/base/clock.ts';
import { systemErrorCode } from '../src/base/errors.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { runProgram } from './program.ts';
import { Terminal } from './terminal.ts';

// `rawslice ... | head` closes our standard output; that is no failure worth a stack trace.
process.stdout.on('error', (error) => {
  if (systemErrorCode(error) !== 'EPIPE') throw error;
  process.exit(EXIT_CODES.failure);
});

const terminal = new Terminal({ stdin: process.stdin, stdout: process.stdout, stderr: process.stderr }, process.env);
process.exitCode = await runProgram(process.argv.slice(2), {
  terminal,
  environment: process.env,
  clock: new SystemClock(),
  exitCode: EXIT_CODES.ok,
});
