/**
 * Starting, measuring and ending the processes of a benchmark. Each is the leader of a process group of its own, so that ending it ends its
 * workers too and nothing else; `ProcessPool.close` ends all that are left, also after a failure or Ctrl-C.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import net from 'node:net';
import { type Clock, SystemClock } from '../../src/base/clock.ts';
import { type ProcessUsage, treeUsage } from './process-usage.ts';

const READY_DEADLINE_MS = 30_000;
const STOP_DEADLINE_MS = 5_000;
const POLL_MS = 20;
/** Long enough for a tenth of it to be several ticks. */
const QUIET_WINDOW_MS = 400;

/** What to start. */
export interface ProcessOptions {
  readonly command: string;
  readonly words: readonly string[];
  /** For taskset; anywhere when undefined. */
  readonly cores?: string | undefined;
  /** `cgroup.procs` of the group that it starts in; the one of this process when undefined. */
  readonly groupFile?: string | undefined;
  readonly environment?: Readonly<Record<string, string>> | undefined;
  /** Where its output goes; the end of it is shown when it fails. */
  readonly logPath: string;
}

/** One process under measurement. */
export class BenchProcess {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #options: ProcessOptions;
  readonly #clock: Clock;

  constructor(options: ProcessOptions, clock: Clock) {
    const [program, ...args] = commandLine(options);
    const log = openSync(options.logPath, 'w');
    const env = { ...process.env, ...options.environment };
    this.#child = spawn(program ?? options.command, args, { stdio: ['ignore', log, log], detached: true, env });
    closeSync(log);
    if (this.#child.pid === undefined) throw new Error(`${options.command} does not start; is it installed and executable?`);
    this.pid = this.#child.pid;
    this.#options = options;
    this.#clock = clock;
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Waits until `probe` answers true. @throws Error with the end of the log when the process ends or takes too long */
  async waitUntilReady(probe: () => Promise<boolean>): Promise<void> {
    const endMs = this.#clock.monotonicMs() + READY_DEADLINE_MS;
    while (!(await probe())) {
      if (this.hasEnded || this.#clock.monotonicMs() > endMs) {
        const reason = this.hasEnded ? 'ended' : `was not ready after ${READY_DEADLINE_MS} ms`;
        throw new Error(`${this.#options.command} ${reason}:\n${this.logEnd()}`);
      }
      await this.#clock.sleep(POLL_MS);
    }
  }

  /** Waits until it has ended by itself. @returns its exit code; NaN after a signal */
  async waitUntilEnded(): Promise<number> {
    if (!this.hasEnded) await new Promise((resolve) => this.#child.once('exit', resolve));
    return this.#child.exitCode ?? Number.NaN;
  }

  /** The last 2000 characters of its output. */
  logEnd(): string {
    return readFileSync(this.#options.logPath, 'utf8').slice(-2000);
  }

  /** CPU time and memory of the process and its children. */
  usage(): ProcessUsage {
    return treeUsage(this.pid);
  }

  /**
   * Waits until the process uses less than a tenth of a core, so that what it does afterwards is not what it began before.
   *
   * @returns seconds waited, at most `deadlineMs`
   */
  async waitUntilQuiet(deadlineMs: number): Promise<number> {
    const startMs = this.#clock.monotonicMs();
    let before = this.usage().cpuSeconds;
    while (this.#clock.monotonicMs() - startMs < deadlineMs) {
      await this.#clock.sleep(QUIET_WINDOW_MS);
      const after = this.usage().cpuSeconds;
      if ((after - before) * 1000 < QUIET_WINDOW_MS / 10) break;
      before = after;
    }
    return (this.#clock.monotonicMs() - startMs) / 1000;
  }

  /** Asks the process to end, and makes it when it does not. */
  async stop(): Promise<void> {
    if (this.hasEnded) return;
    const ended = new Promise<void>((resolve) => this.#child.once('exit', () => resolve()));
    this.#child.kill('SIGTERM');
    const timer = this.#clock.startTimer(STOP_DEADLINE_MS, () => this.kill());
    await ended;
    timer.stop();
    this.kill();
  }

  /** Ends the process and its children at once. */
  kill(): void {
    try {
      process.kill(-this.pid, 'SIGKILL');
    } catch {
      // The group is empty: everything has ended already.
    }
  }
}

/** All processes of one benchmark run. */
export class ProcessPool {
  readonly #processes: BenchProcess[] = [];
  readonly #clock: Clock = new SystemClock();

  start(options: ProcessOptions): BenchProcess {
    const child = new BenchProcess(options, this.#clock);
    this.#processes.push(child);
    return child;
  }

  /** Ends every process, in the order opposite to starting. */
  async close(): Promise<void> {
    for (const child of this.#processes.splice(0).reverse()) await child.stop();
  }

  /** For signal handlers: ends every process without waiting. */
  killAll(): void {
    for (const child of this.#processes) child.kill();
  }
}

/** A port of 127.0.0.1 that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('The system gave no port');
  return address.port;
}

/** Whether something accepts connections on a port. */
export function acceptsConnections(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ port, host: '127.0.0.1' });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function commandLine({ command, words, cores, groupFile }: ProcessOptions): readonly string[] {
  const pinned = cores === undefined ? [command, ...words] : ['taskset', '-c', cores, command, ...words];
  // The shell joins the group and becomes the program, so that not even its first page is counted elsewhere.
  return groupFile === undefined ? pinned : ['sh', '-c', 'echo $$ > "$0" && exec "$@"', groupFile, ...pinned];
}
