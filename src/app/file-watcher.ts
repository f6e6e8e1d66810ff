/**
 * Tells when a file has changed and stands still again. It looks at what the path leads to from time to time, so it sees a file that an editor has
 * replaced and a link that leads elsewhere, on any file system. Used by edge.ts.
 */
import { stat } from 'node:fs/promises';
import type { Clock, Timer } from '../base/clock.ts';

/** What is watched, and how often. */
export interface WatchOptions {
  readonly clock: Clock;
  readonly file: string;
  /** 0: not at all, until every() says otherwise. */
  readonly intervalMs: number;
  readonly onChange: () => void;
}

/** Watches one file until it is stopped. */
export class FileWatcher {
  readonly #options: WatchOptions;
  #timer: Timer | undefined;
  #intervalMs = 0;
  /** As it was when it was told of last; what it is at the first look counts as that. */
  #told: string | undefined;
  #seen: string | undefined;
  #isLooking = false;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.every(options.intervalMs);
  }

  /** Looks so often from now on; 0 for never. */
  every(intervalMs: number): void {
    if (intervalMs === this.#intervalMs) return;
    this.#intervalMs = intervalMs;
    this.#timer?.stop();
    this.#timer = undefined;
    if (intervalMs === 0) return;
    this.#timer = this.#options.clock.startInterval(intervalMs, () => void this.#look());
    void this.#look();
  }

  stop(): void {
    this.every(0);
  }

  async #look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    const seen = await describe(this.#options.file);
    this.#isLooking = false;
    const isStill = seen === this.#seen;
    this.#seen = seen;
    this.#told ??= seen;
    // Half of what is being written may be valid, too.
    if (!isStill || seen === this.#told) return;
    this.#told = seen;
    this.#options.onChange();
  }
}

async function describe(file: string): Promise<string> {
  try {
    const { ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true });
    return [ino, size, mtimeNs, ctimeNs].join(' ');
  } catch {
    // Gone, or not to be read: a state like others, which the reload then explains.
    return 'absent';
  }
}
