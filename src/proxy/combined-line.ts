/**
 * A request as a line of the *combined* format that Apache and nginx made common, for GoAccess and its like:
 * `192.0.2.1 - - [29/Nov/2026:05:28:15 +0000] "GET /a?b HTTP/1.1" 200 5120 "referer" "agent"`. Pure.
 */
import type { AccessRecord } from './access-log.ts';

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** @param endedMs of the wall, when the response had ended; the line says when the request came, as the others do */
export function formatCombined(record: AccessRecord, endedMs: number): string {
  const { clientAddress, method, path, query, httpVersion, status, sentBytes, referer, userAgent } = record;
  const target = query === undefined ? (path ?? '-') : `${path}?${query}`;
  const requestLine = escapeQuoted(`${method} ${target} HTTP/${httpVersion}`);
  const when = formatTime(endedMs - record.durationMs);
  // 499: the client left before anything was sent, as nginx says it.
  const size = sentBytes === 0 ? '-' : String(sentBytes);
  return `${clientAddress ?? '-'} - - [${when}] "${requestLine}" ${status ?? 499} ${size} "${quoted(referer)}" "${quoted(userAgent)}"\n`;
}

/** In UTC. */
function formatTime(ms: number): string {
  const date = new Date(ms);
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${two(date.getUTCDate())}/${MONTHS[date.getUTCMonth()]}/${date.getUTCFullYear()}`;
  return `${day}:${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())} +0000`;
}

function quoted(text: string | undefined): string {
  return text === undefined || text === '' ? '-' : escapeQuoted(text);
}

/** A client must not be able to end the line, or the quotes around its own words. */
function escapeQuoted(text: string): string {
  return text.replace(/["\\]|[^\x20-\x7e]/g, (character) => {
    if (character === '"' || character === '\\') return `\\${character}`;
    return [...Buffer.from(character, 'latin1')].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
  });
}
