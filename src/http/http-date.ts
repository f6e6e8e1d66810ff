/**
 * HTTP dates in the three forms that recipients must accept (RFC 9110 s5.6.7). Strict on purpose: a date that is not exactly right is
 * undefined, and every caller takes the safe side then (already expired, condition ignored, validator weak).
 */

const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'] as const;
const MONTHS: readonly string[] = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `Sun, 06 Nov 1994 08:49:37 GMT` */
const IMF_FIXDATE = /^([A-Z][a-z]{2}), (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT$/;
/** `Sunday, 06-Nov-94 08:49:37 GMT` */
const RFC_850 = /^([A-Z][a-z]+), (\d{2})-([A-Z][a-z]{2})-(\d{2}) (\d{2}):(\d{2}):(\d{2}) GMT$/;
/** `Sun Nov  6 08:49:37 1994` */
const ASCTIME = /^([A-Z][a-z]{2}) ([A-Z][a-z]{2}) ([ \d]\d) (\d{2}):(\d{2}):(\d{2}) (\d{4})$/;

/**
 * Two-digit years from here are of the 1900s. RFC 9110 wants the century chosen by what is now; this form has been obsolete since 1995 and
 * the fixed choice needs no clock: it goes wrong only for dates after 2069, and then the day of the week will not fit.
 */
const FIRST_YEAR_OF_1900S = 70;
const LATEST_MS = Date.UTC(9999, 11, 31, 23, 59, 59);

interface DateParts {
  readonly dayName: string | undefined;
  readonly day: string | undefined;
  readonly month: string | undefined;
  readonly year: number;
  readonly time: readonly (string | undefined)[];
}

/**
 * @returns milliseconds since 1970, or undefined for anything that is not one of the three forms or not a real moment: wrong case, wrong
 *   day of the week, another time zone, 31 February
 */
export function parseHttpDate(text: string): number | undefined {
  const imf = IMF_FIXDATE.exec(text);
  if (imf !== null) return toMoment({ dayName: imf[1], day: imf[2], month: imf[3], year: Number(imf[4]), time: imf.slice(5, 8) }, 3);
  const rfc850 = RFC_850.exec(text);
  if (rfc850 !== null) {
    const short = Number(rfc850[4]);
    const year = short + (short >= FIRST_YEAR_OF_1900S ? 1900 : 2000);
    return toMoment({ dayName: rfc850[1], day: rfc850[2], month: rfc850[3], year, time: rfc850.slice(5, 8) }, undefined);
  }
  const asctime = ASCTIME.exec(text);
  if (asctime === null) return undefined;
  return toMoment({ dayName: asctime[1], day: asctime[3], month: asctime[2], year: Number(asctime[7]), time: asctime.slice(4, 7) }, 3);
}

/** The moment as IMF-fixdate, cut to whole seconds; kept within the years 1970 to 9999, which is all that the form can say. */
export function formatHttpDate(timeMs: number): string {
  const clampedMs = Number.isNaN(timeMs) ? 0 : Math.min(Math.max(timeMs, 0), LATEST_MS);
  return new Date(clampedMs).toUTCString();
}

function toMoment(parts: DateParts, dayNameLength: number | undefined): number | undefined {
  const month = MONTHS.indexOf(parts.month ?? '');
  const day = Number(parts.day);
  const [hours = 0, minutes = 0, seconds = 0] = parts.time.map(Number);
  // A leap second is the only 60 there is; it counts as the second that follows.
  const isLeapSecond = seconds === 60 && minutes === 59 && hours === 23;
  if (month < 0 || hours > 23 || minutes > 59 || (seconds > 59 && !isLeapSecond)) return undefined;
  const midnight = new Date(Date.UTC(parts.year, month, day));
  const isRealDay = midnight.getUTCFullYear() === parts.year && midnight.getUTCMonth() === month && midnight.getUTCDate() === day;
  if (!isRealDay || DAYS[midnight.getUTCDay()]?.slice(0, dayNameLength) !== parts.dayName) return undefined;
  return midnight.getTime() + ((hours * 60 + minutes) * 60 + seconds) * 1000;
}
