/**
 * Lines of the log on their way to standard output: gathered for a moment, since a write for each line costs a busy thread as much as a small
 * response does (DECISIONS 45). What is gathered is written when it is much, when it has waited, and at the end of the process. Used by `serve`.
 */
import { type DestinationStream, destination } from 'pino';
import type { Clock } from './clock.ts';
import { KIB } from './units.ts';

/** So much is written at once, however short it has waited. */
const ENOUGH_CHARACTERS = 8 * KIB;
/** How long a line may wait. */
const WAIT_MS = 50;

/** A destination of a logger. */
export class LogBuffer implements DestinationStream {
  readonly #clock: Clock;
  readonly #stream: ReturnType<typeof destination>;
  #lines = '';
  #isWaiting = false;

  /** @param fd where the lines go: 1 is standard output */
  constructor(fd: number, clock: Clock) {
    this.#clock = clock;
    // It would gather by itself, and let what came during a write lie until the next line.
    this.#stream = destination({ dest: fd, sync: false, minLength: 0 });
  }

  write(line: string): void {
    this.#lines += line;
    if (this.#lines.length >= ENOUGH_CHARACTERS) return this.#hand();
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    this.#clock.startTimer(WAIT_MS, () => {
      this.#isWaiting = false;
      this.#hand();
    });
  }

  /** Writes what is left, at once; for the end of the process. */
  flushNow(): void {
    this.#hand();
    this.#stream.flushSync();
  }

  #hand(): void {
    if (this.#lines === '') return;
    this.#stream.write(this.#lines);
    this.#lines = '';
  }
}
