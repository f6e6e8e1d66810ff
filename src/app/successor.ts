/**
 * A restart that no client notices: this process starts the next one with its listening sockets, serves until that one does, then drains and
 * gives the devices up, for which the next one waits. Both sides are here: who hands over, and who takes over. Used by `serve`.
 *
 *   old                                   new
 *   spawn, sockets inherited  ---------->  starts, listens, passes through: the devices are held
 *                             <-- ready --
 *   accepts nothing more, drains, closes
 *                             - released ->  attaches the devices
 *   exits
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Clock } from '../base/clock.ts';
import { EdgeError } from '../base/errors.ts';
import { HANDOVER_VARIABLE, type NamedSocket } from './inherited-sockets.ts';

/** What the two tell each other. */
type Message = { readonly rawslice: 'ready' | 'released' };

/** Standard streams and the channel come first. */
const FIRST_FD = 4;

/** How it is started. */
export interface SuccessorOptions {
  readonly clock: Clock;
  /** Of this process. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** For it to serve. */
  readonly deadlineMs: number;
}

/** The process that takes over. */
export class Successor {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /**
   * Starts this program once more, as it was started, and waits until it serves.
   *
   * @throws EdgeError LISTEN_FAILED when it ends, or does not serve in time; nothing has changed then
   */
  static async start(sockets: readonly NamedSocket[], options: SuccessorOptions): Promise<Successor> {
    const { clock, deadlineMs, environment } = options;
    const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...sockets.map(({ fd }) => fd)],
      env: { ...environment, [HANDOVER_VARIABLE]: [process.pid, FIRST_FD, ...sockets.map(({ name }) => name)].join(':') },
    });
    const answer = Promise.withResolvers<string | undefined>();
    const timer = clock.startTimer(deadlineMs, () => answer.resolve('it did not serve in time'));
    child.on('message', (message) => {
      if (isMessage(message) && message.rawslice === 'ready') answer.resolve(undefined);
    });
    child.once('error', (error) => answer.resolve(error.message));
    child.once('exit', (code, signal) => answer.resolve(`it ended with ${code ?? signal}`));
    const problem = await answer.promise;
    timer.stop();
    if (problem === undefined) return new Successor(child);
    child.kill('SIGKILL');
    throw new EdgeError('LISTEN_FAILED', `The next process does not take over: ${problem}; this one goes on`);
  }

  /** The devices are free. */
  async release(): Promise<void> {
    const message: Message = { rawslice: 'released' };
    await new Promise<void>((resolve) => {
      this.#child.send(message, () => resolve());
    });
    if (this.#child.connected) this.#child.disconnect();
    this.#child.unref();
  }
}

/** The process that this one takes over from. */
export class Predecessor {
  readonly #released = Promise.withResolvers<void>();

  constructor() {
    process.on('message', (message) => {
      if (isMessage(message) && message.rawslice === 'released') this.#released.resolve();
    });
    // It may die instead: its locks are gone with it.
    process.once('disconnect', () => this.#released.resolve());
  }

  /** Resolves when it has given the devices up, or is gone. */
  get released(): Promise<void> {
    return this.#released.promise;
  }

  /** This process serves. */
  announceReady(): void {
    const message: Message = { rawslice: 'ready' };
    process.send?.(message);
  }
}

function isMessage(message: unknown): message is Message {
  return typeof message === 'object' && message !== null && 'rawslice' in message;
}
