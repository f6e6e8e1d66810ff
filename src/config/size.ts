/**
 * Sizes as operators write them: `100GiB`, `64MiB`, `512k`, `1500000`. IEC units and bare letters count in 1024 (as nginx and systemd users
 * mean them), `KB MB GB TB` in 1000, a plain integer is bytes. Inside the program there are only bytes.
 */
import { GIB, KIB, MIB, TIB } from '../base/units.ts';
import { invalid, type Parsed, parsed, quoteText } from './parsed.ts';

const UNIT_BYTES = new Map([
  ['', 1],
  ['b', 1],
  ['k', KIB],
  ['m', MIB],
  ['g', GIB],
  ['t', TIB],
  ['kib', KIB],
  ['mib', MIB],
  ['gib', GIB],
  ['tib', TIB],
  ['kb', 1000],
  ['mb', 1000 ** 2],
  ['gb', 1000 ** 3],
  ['tb', 1000 ** 4],
]);

const PRINTED_UNITS = [
  ['TiB', TIB],
  ['GiB', GIB],
  ['MiB', MIB],
  ['KiB', KIB],
] as const;

/**
 * Reads a size.
 *
 * @param text digits, at most one decimal point, then a unit; space between them is allowed, upper and lower case are the same
 * @returns whole bytes, 0 to 2^53 - 1
 */
export function parseSize(text: string): Parsed<number> {
  const match = /^(\d{1,16}(?:\.\d{1,9})?)\s*([a-z]*)$/i.exec(text.trim());
  const unitBytes = UNIT_BYTES.get(match?.[2]?.toLowerCase() ?? '-');
  if (match === null || unitBytes === undefined) return invalid(`must be a size such as 64MiB, 100GiB or 512k, not ${quoteText(text)}`);
  const bytes = Number(match[1]) * unitBytes;
  if (!Number.isSafeInteger(bytes)) return invalid(`must come to a whole number of bytes below 8PiB, not ${quoteText(text)}`);
  return parsed(bytes);
}

/** The shortest exact form that parseSize() reads back: `64MiB`, or plain bytes where no unit divides it. */
export function formatSize(bytes: number): string {
  for (const [unit, unitBytes] of PRINTED_UNITS) {
    if (bytes >= unitBytes && bytes % unitBytes === 0) return `${bytes / unitBytes}${unit}`;
  }
  return String(bytes);
}
