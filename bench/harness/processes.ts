/**
 * Starting, pinning, measuring and ending the processes of a benchmark. Each is the leader of a process group of its own, so that ending
 * it ends its workers too and nothing else; `ProcessPool.close` ends all that are left, also after a failure or Ctrl-C.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import net from 'node:net';
import { type Clock, SystemClock } from '../../src/base/clock.ts';

/** USER_HZ of Linux on every architecture that Node runs on; /proc counts in it. */
const TICKS_PER_SECOND = 100;
const READY_DEADLINE_MS = 20_000;
const STOP_DEADLINE_MS = 5_000;
const POLL_MS = 20;
/** Long enough for a tenth of it to be several ticks. */
const QUIET_WINDOW_MS = 400;

/** Which cores are whose, as lists for taskset; undefined where nothing can be pinned (one core, or no taskset). */
export interface Pinning {
  readonly server: string;
  readonly load: string;
}

/** The first core that this process may use for the server, the others for load and origin. To be asked before `pinSelf`. */
export function choosePinning(): Pinning | undefined {
  const [first, ...others] = allowedCores();
  if (first === undefined || others.length === 0 || findProgram('taskset') === undefined) return undefined;
  return { server: String(first), load: others.join(',') };
}

/** Pins this process, with all its threads. */
export function pinSelf(cores: string): void {
  spawnSync('taskset', ['-a', '-c', '-p', cores, String(process.pid)], { stdio: 'ignore' });
}

/** The path of a program, or undefined when it is not installed. */
export function findProgram(name: string): string | undefined {
  const directories = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/usr/local/sbin', '/usr/bin'];
  return directories.map((directory) => `${directory}/${name}`).find((file) => existsSync(file));
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

/** What a process and its children have used so far. */
export interface ProcessUsage {
  /** User and system time of all threads, ended children included. */
  readonly cpuSeconds: number;
  /** Resident memory of the processes alive. */
  readonly residentBytes: number;
}

/** What to start. */
export interface ProcessOptions {
  readonly command: string;
  readonly words: readonly string[];
  readonly cores?: string | undefined;
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
    const { command, words, cores, logPath } = options;
    const [program, ...args] = cores === undefined ? [command, ...words] : ['taskset', '-c', cores, command, ...words];
    const log = openSync(logPath, 'w');
    this.#child = spawn(program ?? command, args, { stdio: ['ignore', log, log], detached: true });
    closeSync(log);
    if (this.#child.pid === undefined) throw new Error(`${command} does not start; is it installed and executable?`);
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

  /** The last 2000 characters of its output. */
  logEnd(): string {
    return readFileSync(this.#options.logPath, 'utf8').slice(-2000);
  }

  /** CPU time and memory of the process and its children. */
  usage(): ProcessUsage {
    const own = processUsage(this.pid, { withEndedChildren: true });
    const children = childrenOf(this.pid).map((pid) => processUsage(pid, { withEndedChildren: false }));
    return {
      cpuSeconds: [own, ...children].reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0),
      residentBytes: [own, ...children].reduce((sum, { residentBytes }) => sum + residentBytes, 0),
    };
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

/** Cores that this process may run on, from a list such as `0-3,6`. */
function allowedCores(): number[] {
  const list = /^Cpus_allowed_list:\s+(\S+)/m.exec(readProc('/proc/self/status'))?.[1] ?? '0';
  return list.split(',').flatMap((part) => {
    const [first = 0, last = first] = part.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

function childrenOf(pid: number): number[] {
  const text = readProc(`/proc/${pid}/task/${pid}/children`);
  return text
    .split(' ')
    .filter((word) => word !== '')
    .map(Number);
}

function processUsage(pid: number, { withEndedChildren }: { readonly withEndedChildren: boolean }): ProcessUsage {
  const stat = readProc(`/proc/${pid}/stat`);
  // The name in parentheses may hold blanks; what follows it starts with field 3 of proc_pid_stat(5).
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
  const [utime = 0, stime = 0, cutime = 0, cstime = 0] = fields.slice(11, 15);
  const residentKib = /^VmRSS:\s+(\d+) kB/m.exec(readProc(`/proc/${pid}/status`))?.[1] ?? '0';
  const ticks = utime + stime + (withEndedChildren ? cutime + cstime : 0);
  return { cpuSeconds: ticks / TICKS_PER_SECOND, residentBytes: Number(residentKib) * 1024 };
}

/** A file of /proc, empty when the process has gone meanwhile. */
function readProc(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}
