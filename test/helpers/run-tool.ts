/**
 * Runs a program of the system (curl, apt-get, dpkg-deb, rawslice itself) to its end beside the test: never synchronously, because the
 * origin that it talks to lives in the test's own process. Ended by its process id at the deadline.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { SystemClock } from '../../src/base/clock.ts';

/** How to run. */
export interface ToolOptions {
  readonly cwd?: string | undefined;
  /** Replaces the environment; PATH is kept. */
  readonly environment?: Readonly<Record<string, string>> | undefined;
  /** Default 30 s. */
  readonly deadlineMs?: number | undefined;
  /** Called at once with the process, to end it early. */
  readonly onStart?: ((child: ChildProcess) => void) | undefined;
}

/** How it ended. */
export interface ToolRun {
  /** Exit code, or the name of the signal. */
  readonly exit: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `command` to its end; any exit is a result. @throws Error when it cannot be started or the deadline passes */
export function runTool(command: string, parameters: readonly string[], options: ToolOptions = {}): Promise<ToolRun> {
  const { deadlineMs = 30_000 } = options;
  const environment = { PATH: process.env.PATH ?? '', LC_ALL: 'C', ...options.environment };
  return new Promise((resolve, reject) => {
    const child = spawn(command, parameters, { cwd: options.cwd, env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
    const output = { stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output.stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      output.stderr += text;
    });
    const timer = new SystemClock().startTimer(deadlineMs, () => {
      child.kill('SIGKILL');
      reject(new Error(`${command} ${parameters.join(' ')} did not end within ${deadlineMs} ms\n${output.stdout}${output.stderr}`));
    });
    child.on('error', (error) => {
      timer.stop();
      reject(error);
    });
    child.on('close', (code, signal) => {
      timer.stop();
      resolve({ exit: code ?? signal ?? 'unknown', ...output });
    });
    options.onStart?.(child);
  });
}

/** The same where only success is of use. @returns standard output @throws Error with everything that was printed */
export async function mustRunTool(command: string, parameters: readonly string[], options: ToolOptions = {}): Promise<string> {
  const { exit, stdout, stderr } = await runTool(command, parameters, options);
  if (exit !== 0) throw new Error(`${command} ${parameters.join(' ')} ended with ${exit}\n${stdout}${stderr}`);
  return stdout;
}
