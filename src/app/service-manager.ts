/**
 * Tells systemd how the program is (sd_notify(3)): ready, reloading, stopping, and alive. Node has no datagrams over Unix sockets, so
 * systemd's own `systemd-notify` sends them; the unit wants NotifyAccess=all. Without a service manager all of this does nothing. Used by `serve`.
 */
import { spawn } from 'node:child_process';
import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';

/** Assignments of sd_notify(3), such as `READY=1`. */
type Assignment = `${string}=${string}`;

/** What a notifier works with. */
export interface ServiceManagerOptions {
  /** NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are looked at. */
  readonly environment: Readonly<NodeJS.ProcessEnv>;
  readonly pid: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Longest that a message may take; systemd-notify waits until it was received. */
const SEND_DEADLINE_MS = 5000;

/** The service manager of this process, if it has one. */
export class ServiceManager {
  readonly #options: ServiceManagerOptions;
  /** Messages arrive in the order in which they were sent. */
  #last: Promise<void> = Promise.resolve();
  #watchdog: Timer | undefined;
  #hasFailed = false;
  #isSigning = false;

  constructor(options: ServiceManagerOptions) {
    this.#options = options;
  }

  /** Requests are served. The process is the main one from now on, whoever was before. */
  ready(status: string): Promise<void> {
    this.#startWatchdog();
    return this.#send([`MAINPID=${this.#options.pid}`, 'READY=1', `STATUS=${status}`]);
  }

  status(text: string): Promise<void> {
    return this.#send([`STATUS=${text}`]);
  }

  /** Draining; no more signs of life are due. */
  stopping(): Promise<void> {
    this.#watchdog?.stop();
    return this.#send(['STOPPING=1']);
  }

  /** Another process is the main one: this one says nothing more. */
  resign(): void {
    this.#watchdog?.stop();
  }

  /** Twice as often as asked for; a loop that hangs says nothing, and is restarted. */
  #startWatchdog(): void {
    const { environment, pid, clock } = this.#options;
    const periodMs = Number(environment.WATCHDOG_USEC ?? 0) / 1000;
    const isMeant = environment.WATCHDOG_PID === undefined || Number(environment.WATCHDOG_PID) === pid;
    if (this.#watchdog !== undefined || !(periodMs > 0) || !isMeant) return;
    this.#watchdog = clock.startInterval(periodMs / 2, () => void this.#signLife());
  }

  /** One at a time: where a message takes longer than the period, a row of them would hold up what comes after. */
  async #signLife(): Promise<void> {
    if (this.#isSigning) return;
    this.#isSigning = true;
    await this.#send(['WATCHDOG=1']);
    this.#isSigning = false;
  }

  #send(assignments: readonly Assignment[]): Promise<void> {
    if ((this.#options.environment.NOTIFY_SOCKET ?? '') === '') return Promise.resolve();
    this.#last = this.#last.then(() => this.#run(assignments));
    return this.#last;
  }

  #run(assignments: readonly Assignment[]): Promise<void> {
    const { environment, logger } = this.#options;
    return new Promise((resolve) => {
      const child = spawn('systemd-notify', assignments, { stdio: 'ignore', timeout: SEND_DEADLINE_MS, env: { ...environment } });
      const end = (problem: string | undefined): void => {
        // Once: the watchdog would say it for ever.
        if (problem !== undefined && !this.#hasFailed)
          logger.warn({ problem }, 'The service manager cannot be told; is systemd-notify there?');
        this.#hasFailed ||= problem !== undefined;
        resolve();
      };
      child.once('error', (error) => end(error.message));
      child.once('exit', (code, signal) => end(code === 0 ? undefined : `it ended with ${code ?? signal}`));
    });
  }
}
