/** What prewarm shows: progress while it runs, each failure as it happens, a summary at the end, and the exit code that follows from it. */
import { formatBytes, SECOND_MS } from '../../src/base/units.ts';
import type { CommandIo } from '../command-io.ts';
import { EXIT_CODES, type ExitCode } from '../exit-codes.ts';
import { Progress } from '../progress.ts';
import type { WarmOutcome } from './warm-run.ts';

/** Failures that the JSON summary lists; all are counted, and all are shown on standard error. */
const LISTED_FAILURES_MAX = 1000;

interface Failure {
  readonly name: string;
  readonly reason: string;
}

/** How a run ended. */
export interface RunEnd {
  /** Whether a part of the list was not reached. */
  readonly isInterrupted: boolean;
  readonly isJson: boolean;
}

/** Counts outcomes. */
export class WarmReport {
  readonly #io: CommandIo;
  readonly #progress: Progress;
  readonly #startMs: number;
  readonly #failures: Failure[] = [];
  #fetched = 0;
  #cached = 0;
  #notKept = 0;
  #skipped = 0;
  #failed = 0;
  #bytes = 0;

  /** @param total items in the list, undefined where nobody knows */
  constructor(io: CommandIo, total: number | undefined) {
    this.#io = io;
    this.#startMs = io.clock.monotonicMs();
    this.#progress = new Progress(io.terminal, io.clock, { label: 'warming', unit: 'items', total });
  }

  addBytes(lengthBytes: number): void {
    this.#bytes += lengthBytes;
    this.#showProgress();
  }

  add(outcome: WarmOutcome): void {
    if (outcome.kind === 'skipped') this.#skipped += 1;
    else if (outcome.kind === 'failed') this.#addFailure(outcome);
    else if (outcome.isHit) this.#cached += 1;
    else {
      this.#fetched += 1;
      if (!outcome.isKept) this.#notKept += 1;
    }
    this.#showProgress();
  }

  /** Whether something that was asked for is in the cache. */
  get hasSuccess(): boolean {
    return this.#fetched + this.#cached + this.#skipped > 0;
  }

  /** A line on standard error, beside the progress. */
  complain(message: string): void {
    this.#progress.clear();
    this.#io.terminal.complain(`rawslice: ${message}`);
  }

  /** Ends the progress and prints the summary on standard output: in words, or as JSON. */
  print(end: RunEnd): void {
    const { terminal, clock } = this.#io;
    this.#progress.finish();
    const seconds = (clock.monotonicMs() - this.#startMs) / SECOND_MS;
    if (end.isJson) return terminal.printJson(this.#describe(end, seconds));
    const notKept = this.#notKept === 0 ? '' : `, ${this.#notKept} of which may not be stored`;
    const parts = [`${this.#fetched} fetched${notKept}`, `${this.#cached} already cached`];
    if (this.#skipped > 0) parts.push(`${this.#skipped} skipped as finished earlier`);
    if (this.#failed > 0) parts.push(`${this.#failed} failed`);
    const rate = seconds > 0 ? `, ${formatBytes(Math.round(this.#bytes / seconds))}/s` : '';
    terminal.print(`${parts.join(', ')}; ${formatBytes(this.#bytes)} in ${seconds.toFixed(1)} s${rate}`);
    if (end.isInterrupted) terminal.note('not at the end of the list; run it again to go on (--state remembers what is finished)');
  }

  /** @param isInterrupted whether a part of the list was not reached */
  exitCode(isInterrupted: boolean): ExitCode {
    if (this.#failed === 0 && !isInterrupted) return EXIT_CODES.ok;
    return this.hasSuccess ? EXIT_CODES.partial : EXIT_CODES.failure;
  }

  #addFailure({ name, reason }: Failure): void {
    this.#failed += 1;
    if (this.#failures.length < LISTED_FAILURES_MAX) this.#failures.push({ name, reason });
    this.complain(`${name}: ${reason}`);
  }

  #showProgress(): void {
    const items = this.#fetched + this.#cached + this.#skipped + this.#failed;
    this.#progress.update(items, formatBytes(this.#bytes));
  }

  #describe(end: RunEnd, seconds: number): unknown {
    return {
      fetched: this.#fetched,
      alreadyCached: this.#cached,
      notStorable: this.#notKept,
      skipped: this.#skipped,
      failed: this.#failed,
      bytes: this.#bytes,
      seconds: Number(seconds.toFixed(3)),
      interrupted: end.isInterrupted,
      failures: this.#failures,
    };
  }
}
