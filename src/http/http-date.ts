/**
 * HTTP dates in the three forms that recipients must accept (RFC 9110 s5.6.7). Strict on purpose: a date that is not exactly right is
 * undefined, and every caller takes the safe side then (already expired, condition ignored, validator weak).
 */

const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'] as const;
const SHORT_DAYS = DAYS.map((name) => name.slice(0, 3));
const MONTHS: readonly string[] = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** Of `Sun, 06 Nov 1994 08:49:37 GMT`, which nearly all dates are: it is read in place, without a copy of its parts. */
const IMF_LENGTH = 29;
/** `Sunday, 06-Nov-94 08:49:37 GMT` */
const RFC_850 = /^([A-Z][a-z]+), (\d{2})-([A-Z][a-z]{2})-(\d{2}) (\d{2}):(\d{2}):(\d{2}) GMT$/;
/** `Sun Nov  6 08:49:37 1994` */
const ASCTIME = /^([A-Z][a-z]{2}) ([A-Z][a-z]{2}) ([ \d]\d) (\d{2}):(\d{2}):(\d{2}) (\d{4})$/;

/**
 * Two-digit years from here are of the 1900s. RFC 9110 wants the century chosen by what is now; this form has been obsolete since 1995 and
 * the fixed choice needs no clock: it goes wrong only for dates after 2069, and then the day of the week will not fit.
 */
const FIRST_YEAR_OF_1900S = 70;
const FEBRUARY = 1;
const DAYS_OF_MONTHS: readonly number[] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const DAY_MS = 24 * 3600 * 1000;
/** 1 January 1970 was a Thursday. */
const WEEKDAY_OF_1970 = 4;
const ZERO = 48;
const LATEST_MS = Date.UTC(9999, 11, 31, 23, 59, 59);

interface DateParts {
  readonly dayName: string;
  readonly day: number;
  /** From 0; -1 for none. */
  readonly month: number;
  readonly year: number;
  readonly hours: number;
  readonly minutes: number;
  readonly seconds: number;
}

/**
 * @returns milliseconds since 1970, or undefined for anything that is not one of the three forms or not a real moment: wrong case, wrong
 *   day of the week, another time zone, 31 February
 */
export function parseHttpDate(text: string): number | undefined {
  if (text.length === IMF_LENGTH && text.endsWith(' GMT') && text.startsWith(', ', 3)) return parseImfFixdate(text);
  const rfc850 = RFC_850.exec(text);
  if (rfc850 !== null) {
    const [, dayName = '', day, month = '', shortYear, ...time] = rfc850;
    const short = Number(shortYear);
    const year = short + (short >= FIRST_YEAR_OF_1900S ? 1900 : 2000);
    return toMoment({ dayName, day: Number(day), month: MONTHS.indexOf(month), year, ...timeOf(time) }, DAYS);
  }
  const asctime = ASCTIME.exec(text);
  if (asctime === null) return undefined;
  const [, dayName = '', month = '', day, hours, minutes, seconds, year] = asctime;
  const time = timeOf([hours, minutes, seconds]);
  return toMoment({ dayName, day: Number(day), month: MONTHS.indexOf(month), year: Number(year), ...time }, SHORT_DAYS);
}

/** The moment as IMF-fixdate, cut to whole seconds; kept within the years 1970 to 9999, which is all that the form can say. */
export function formatHttpDate(timeMs: number): string {
  const clampedMs = Number.isNaN(timeMs) ? 0 : Math.min(Math.max(timeMs, 0), LATEST_MS);
  return new Date(clampedMs).toUTCString();
}

function parseImfFixdate(text: string): number | undefined {
  const areDivided = text[7] === ' ' && text[11] === ' ' && text[16] === ' ' && text[19] === ':' && text[22] === ':';
  const day = digitsAt(text, 5, 2);
  const year = digitsAt(text, 12, 4);
  const hours = digitsAt(text, 17, 2);
  const minutes = digitsAt(text, 20, 2);
  const seconds = digitsAt(text, 23, 2);
  if (!areDivided || day < 0 || year < 0 || hours < 0 || minutes < 0 || seconds < 0) return undefined;
  const month = MONTHS.indexOf(text.slice(8, 11));
  return toMoment({ dayName: text.slice(0, 3), day, month, year, hours, minutes, seconds }, SHORT_DAYS);
}

/** The number that `count` digits are, or -1. */
function digitsAt(text: string, start: number, count: number): number {
  let value = 0;
  for (let index = start; index < start + count; index += 1) {
    const digit = text.charCodeAt(index) - ZERO;
    if (!(digit >= 0 && digit <= 9)) return -1;
    value = value * 10 + digit;
  }
  return value;
}

function timeOf([hours, minutes, seconds]: readonly (string | undefined)[]): Pick<DateParts, 'hours' | 'minutes' | 'seconds'> {
  return { hours: Number(hours), minutes: Number(minutes), seconds: Number(seconds) };
}

/** @param dayNames from Sunday on */
function toMoment({ dayName, day, month, year, hours, minutes, seconds }: DateParts, dayNames: readonly string[]): number | undefined {
  // A leap second is the only 60 there is; it counts as the second that follows.
  const isLeapSecond = seconds === 60 && minutes === 59 && hours === 23;
  if (month < 0 || hours > 23 || minutes > 59 || (seconds > 59 && !isLeapSecond)) return undefined;
  // Date.UTC takes years of two digits for those of the 1900s.
  if (day < 1 || day > daysIn(month, year) || year < 100) return undefined;
  const midnightMs = Date.UTC(year, month, day);
  const weekday = (((midnightMs / DAY_MS + WEEKDAY_OF_1970) % 7) + 7) % 7;
  if (dayNames[weekday] !== dayName) return undefined;
  return midnightMs + ((hours * 60 + minutes) * 60 + seconds) * 1000;
}

function daysIn(month: number, year: number): number {
  if (month !== FEBRUARY) return DAYS_OF_MONTHS[month] ?? 0;
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
}
