/**
 * Tells when a file has changed and stands still again. It looks at what the path leads to from time to time, so it sees a file that an editor has
 * replaced and a link that leads elsewhere, on any file system. Used by edge.ts.
 */
import { type BigIntStats, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Clock, Timer } from '../base/clock.ts';

/** What is watched, and how often. */
export interface WatchOptions {
  readonly clock: Clock;
  readonly file: string;
  readonly onChange: () => void;
}

/** Watches one file from every() until it is stopped. Made before the file is read, so that what comes in between is a change. */
export class FileWatcher {
  readonly #options: WatchOptions;
  #timer: Timer | undefined;
  #intervalMs = 0;
  /** As it was when it was told of last, or read. */
  #told: string;
  #seen: string | undefined;
  #isLooking = false;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#told = describeNow(options.file);
  }

  /** The file is going to be read for another reason: what it is now need not be told. */
  noteRead(): void {
    this.#told = describeNow(this.#options.file);
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
    // Half of what is being written may be valid, too.
    if (!isStill || seen === this.#told) return;
    this.#told = seen;
    this.#options.onChange();
  }
}

/** Gone, or not to be read: a state like others, which the reload then explains. */
const ABSENT = 'absent';

async function describe(file: string): Promise<string> {
  return await stat(file, { bigint: true }).then(textOf, () => ABSENT);
}

function describeNow(file: string): string {
  try {
    return textOf(statSync(file, { bigint: true }));
  } catch {
    return ABSENT;
  }
}

function textOf({ ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [ino, size, mtimeNs, ctimeNs].join(' ');
}
