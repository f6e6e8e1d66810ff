/**
 * Tells a device that blocks hold nothing any more, by util-linux programs in a child process, since Node has no ioctl(2) and no
 * fallocate(2): `blkdiscard -f` for a block device (without -f it wants the O_EXCL that we hold), `fallocate --punch-hole` for a file. The
 * child gets the open device itself, not its path, which may name something else by now. Used by direct-device.ts.
 *
 * It is a favour to the device: a program that is missing or a device that cannot is said once and not tried again.
 */
import { spawn } from 'node:child_process';
import { systemErrorCode } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { MetricSet } from '../base/metrics.ts';
import type { DiscardOutcome } from './block-device.ts';
import type { DEVICE_METRICS } from './device-metrics.ts';

/** The first descriptor after the standard ones, as the child sees it. */
const CHILD_PATH = '/proc/self/fd/3';
/** Characters kept of what a program says about its failure. */
const REASON_MAX = 500;

/** What a Discarder needs of its device. */
export interface DiscarderOptions {
  readonly path: string;
  readonly fd: number;
  readonly isBlock: boolean;
  readonly logger: Logger;
  readonly metrics: MetricSet<typeof DEVICE_METRICS>;
}

/** One at a time: a device that is slow to discard is asked less. */
export class Discarder {
  readonly #options: DiscarderOptions;
  #running: Promise<string | undefined> | undefined;
  #isUnable = false;

  constructor(options: DiscarderOptions) {
    this.#options = options;
  }

  /** See BlockDevice. */
  async discard(offsetBytes: number, lengthBytes: number): Promise<DiscardOutcome> {
    const { path, fd, isBlock, logger, metrics } = this.#options;
    if (this.#isUnable) return 'unable';
    if (this.#running !== undefined) return 'busy';
    const [program, mode] = isBlock ? ['blkdiscard', '--force'] : ['fallocate', '--punch-hole'];
    this.#running = runProgram(program, [mode, '--offset', String(offsetBytes), '--length', String(lengthBytes), CHILD_PATH], fd);
    const failure = await this.#running;
    this.#running = undefined;
    if (failure === undefined) {
      metrics.add('discards');
      metrics.add('discardedBytes', lengthBytes);
      return 'done';
    }
    this.#isUnable = true;
    metrics.add('errors', 1, 'discard');
    logger.warn({ path, program, reason: failure }, 'the device is not told of free blocks, since that cannot be done here');
    return 'unable';
  }

  /** Resolves when no discard is under way. */
  async idle(): Promise<void> {
    await this.#running;
  }
}

/** @returns why it failed; undefined when it did not */
function runProgram(program: string, words: readonly string[], fd: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(program, words, { stdio: ['ignore', 'ignore', 'pipe', fd] });
    let reason = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      reason = (reason + text).slice(0, REASON_MAX);
    });
    child.on('error', (error) => resolve(systemErrorCode(error) === 'ENOENT' ? `${program} is not installed` : String(error)));
    child.on('close', (code, signal) => resolve(code === 0 ? undefined : reason.trim() || `it ended with ${String(code ?? signal)}`));
  });
}
