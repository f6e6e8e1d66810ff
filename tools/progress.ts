/**
 * Progress of a long command on standard error: a bar that is redrawn on a terminal, a plain line every ten seconds elsewhere, nothing
 * when quiet; with rate and estimated time. Time comes from a Clock.
 */
import type { Clock } from '../src/base/clock.ts';
import { formatBytes } from '../src/base/units.ts';
import type { Terminal } from './terminal.ts';

/** What is counted. */
export interface ProgressSubject {
  /** Goes before the figures, such as `checking`. */
  readonly label: string;
  readonly unit: 'bytes' | 'items';
  /** Undefined while nobody knows. */
  readonly total?: number | undefined;
}

const REDRAW_MS = 100;
const PLAIN_LINE_MS = 10_000;
const BAR_COLUMNS = 24;

/** One running count. */
export class Progress {
  readonly #terminal: Terminal;
  readonly #clock: Clock;
  readonly #subject: ProgressSubject;
  readonly #startMs: number;
  #shownMs: number;
  #done = 0;
  #detail = '';

  constructor(terminal: Terminal, clock: Clock, subject: ProgressSubject) {
    this.#terminal = terminal;
    this.#clock = clock;
    this.#subject = subject;
    this.#startMs = clock.monotonicMs();
    this.#shownMs = Number.NEGATIVE_INFINITY;
    if (!terminal.isInteractive) this.#shownMs = this.#startMs;
  }

  /**
   * @param done bytes or items so far, in all
   * @param detail words that follow the figures
   */
  update(done: number, detail = ''): void {
    this.#done = done;
    this.#detail = detail;
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#shownMs < (this.#terminal.isInteractive ? REDRAW_MS : PLAIN_LINE_MS)) return;
    this.#shownMs = nowMs;
    if (this.#terminal.isInteractive) this.#redraw(nowMs);
    else this.#terminal.note(this.#describe(nowMs));
  }

  /** Makes room for a line of something else; the next update draws the bar again. */
  clear(): void {
    if (!this.#terminal.isInteractive) return;
    this.#terminal.draw('\r\x1b[K');
    this.#shownMs = Number.NEGATIVE_INFINITY;
  }

  /** Shows the last figures and ends the line. */
  finish(): void {
    const nowMs = this.#clock.monotonicMs();
    this.clear();
    this.#terminal.note(this.#describe(nowMs));
  }

  #redraw(nowMs: number): void {
    const { total } = this.#subject;
    const filled = total === undefined || total <= 0 ? 0 : Math.round(Math.min(1, this.#done / total) * BAR_COLUMNS);
    const bar = total === undefined ? '' : ` [${'#'.repeat(filled)}${'.'.repeat(BAR_COLUMNS - filled)}]`;
    // A line that wraps could not be redrawn; the last column stays free because some terminals wrap when it is written.
    const line = this.#describe(nowMs, bar).slice(0, this.#terminal.columns - 1);
    this.#terminal.draw(`\r\x1b[K${line}`);
  }

  #describe(nowMs: number, bar = ''): string {
    const { label, total } = this.#subject;
    const seconds = (nowMs - this.#startMs) / 1000;
    const rate = seconds > 0 ? this.#done / seconds : 0;
    const parts = [`${label}${bar}`];
    if (total !== undefined && total > 0) parts.push(`${Math.floor((this.#done / total) * 100)}%`);
    parts.push(total === undefined ? this.#count(this.#done) : `${this.#count(this.#done)} of ${this.#count(total)}`);
    if (rate > 0) parts.push(`${this.#count(rate)}/s`);
    if (total !== undefined && rate > 0 && this.#done < total) parts.push(`${formatClock((total - this.#done) / rate)} left`);
    if (this.#detail !== '') parts.push(this.#detail);
    return parts.join('  ');
  }

  #count(amount: number): string {
    if (this.#subject.unit === 'bytes') return formatBytes(Math.round(amount));
    return amount < 10 ? String(Math.round(amount * 10) / 10) : String(Math.round(amount));
  }
}

/** `4:07` or `1:02:03`; rounded up, so that it does not say 0:00 while there is something left. */
function formatClock(durationSeconds: number): string {
  const seconds = Math.ceil(durationSeconds);
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  const rest = String(seconds % 60).padStart(2, '0');
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${rest}` : `${minutes}:${rest}`;
}
