/** One run of the program `rawslice` in this process, with streams that are kept; commands cannot tell it from the real thing. */
import { PassThrough } from 'node:stream';
import { SystemClock } from '../../src/base/clock.ts';
import { runProgram } from '../../tools/program.ts';
import { Terminal } from '../../tools/terminal.ts';
import { CapturedStream } from './captured-stream.ts';

/** What a run left behind. */
export interface ProgramRun {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a run may have besides its words. */
export interface ProgramSurroundings {
  readonly environment?: Readonly<Record<string, string>> | undefined;
  /** What comes on standard input. */
  readonly input?: string | undefined;
  /** A person types the input and looks at standard error. */
  readonly isTTY?: boolean | undefined;
}

/** Runs `words`, as behind `rawslice` on a command line. */
export async function runWords(words: readonly string[], surroundings: ProgramSurroundings = {}): Promise<ProgramRun> {
  const { environment = {}, input = '', isTTY = false } = surroundings;
  const stdout = new CapturedStream();
  const stderr = new CapturedStream({ isTTY });
  const stdin = Object.assign(new PassThrough(), { isTTY });
  stdin.end(input);
  const terminal = new Terminal({ stdin, stdout, stderr }, environment);
  const code = await runProgram(words, { terminal, environment, clock: new SystemClock(), exitCode: 0 });
  return { code, stdout: stdout.text, stderr: stderr.text };
}
