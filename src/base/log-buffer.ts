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

/** For standard output to be taken by its reader at the end. */
const CLOSE_WAIT_MS = 1000;

/** A destination of a logger. */
export class LogBuffer implements DestinationStream {
  readonly #clock: Clock;
  readonly #stream: ReturnType<typeof destination>;
  #lines = '';
  #isWaiting = false;
  #isClosed = false;

  /** @param fd where the lines go: 1 is standard output */
  constructor(fd: number, clock: Clock) {
    this.#clock = clock;
    // It would gather by itself, and let what came during a write lie until the next line.
    this.#stream = destination({ dest: fd, sync: false, minLength: 0 });
  }

  write(line: string): void {
    if (this.#isClosed) return;
    this.#lines += line;
    if (this.#lines.length >= ENOUGH_CHARACTERS) return this.#hand();
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    this.#clock.startTimer(WAIT_MS, () => {
      this.#isWaiting = false;
      this.#hand();
    });
  }

  /** Writes what is left and waits until it is written, a moment at most: nobody may be reading. For the end of a process in good order. */
  async close(): Promise<void> {
    this.#hand();
    this.#isClosed = true;
    const closed = new Promise<void>((resolve) => this.#stream.once('close', () => resolve()));
    this.#stream.end();
    const wait = new AbortController();
    await Promise.race([closed, this.#clock.sleep(CLOSE_WAIT_MS, wait.signal)]);
    wait.abort();
  }

  /** Writes what is left, at once; for any other end. What was being written just now may be lost. */
  flushNow(): void {
    if (this.#isClosed) return;
    this.#hand();
    this.#stream.flushSync();
  }

  #hand(): void {
    if (this.#lines === '') return;
    this.#stream.write(this.#lines);
    this.#lines = '';
  }
}
