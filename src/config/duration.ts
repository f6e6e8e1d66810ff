/**
 * Durations as operators write them: `500ms`, `30s`, `1h30m`, `1d 12h`, `1y` (365 days). A bare number is refused, because seconds and
 * milliseconds are both usual; only 0 needs no unit. Inside the program there are only milliseconds.
 */
import { SECOND_MS } from '../base/units.ts';
import { invalid, type Parsed, parsed, quoteText } from './parsed.ts';

/** Descending; also the order in which formatDuration() prints. */
const UNITS_MS = [
  ['y', 365 * 86_400 * SECOND_MS],
  ['w', 7 * 86_400 * SECOND_MS],
  ['d', 86_400 * SECOND_MS],
  ['h', 3600 * SECOND_MS],
  ['m', 60 * SECOND_MS],
  ['s', SECOND_MS],
  ['ms', 1],
] as const;
const UNIT_MS = new Map<string, number>(UNITS_MS);

/**
 * Reads a duration.
 *
 * @param text one or more pairs of number and unit (ms s m h d w y), each unit once and the larger first; a decimal point is allowed
 * @returns whole milliseconds, 0 to 2^53 - 1
 */
export function parseDuration(text: string): Parsed<number> {
  const trimmed = text.trim();
  if (trimmed === '0') return parsed(0);
  if (/^\d+(\.\d+)?$/.test(trimmed)) return invalid(`needs a unit (ms, s, m, h, d, w, y): ${quoteText(`${trimmed}s`)} or the like`);
  const malformed = invalid(`must be a duration such as 500ms, 30s, 1h30m or 7d, not ${quoteText(text)}`);
  if (!/^(?:\d{1,15}(?:\.\d{1,9})?\s*[a-z]{1,2}\s*){1,7}$/.test(trimmed)) return malformed;
  let totalMs = 0;
  let previousMs = Number.POSITIVE_INFINITY;
  for (const [, count, unit] of trimmed.matchAll(/(\d+(?:\.\d+)?)\s*([a-z]+)/g)) {
    const unitMs = UNIT_MS.get(unit ?? '');
    if (unitMs === undefined || unitMs >= previousMs) return malformed;
    previousMs = unitMs;
    totalMs += Number(count) * unitMs;
  }
  if (!Number.isSafeInteger(totalMs)) return invalid(`must come to a whole number of milliseconds, not ${quoteText(text)}`);
  return parsed(totalMs);
}

/** The shortest exact form that parseDuration() reads back: `1h30m`, `0`. */
export function formatDuration(durationMs: number): string {
  let restMs = durationMs;
  let text = '';
  for (const [unit, unitMs] of UNITS_MS) {
    const count = Math.floor(restMs / unitMs);
    if (count > 0) text += `${count}${unit}`;
    restMs -= count * unitMs;
  }
  return text === '' ? '0' : text;
}
