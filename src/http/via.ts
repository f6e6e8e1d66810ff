/**
 * Traces that a proxy leaves: Via (RFC 9110 s7.6.3) says which versions were spoken, CDN-Loop (RFC 8586) finds requests that come round
 * again. Clients may send anything in both; only a member that is exactly ours counts.
 */
import { splitList } from './header-fields.ts';

/** Our name in Via and Cache-Status. */
export const PROXY_PSEUDONYM = 'rawslice';

/**
 * @param existing    the message's Via, undefined when absent
 * @param httpVersion of the message as received: `1.1`
 * @returns the Via to send on
 */
export function appendVia(existing: string | undefined, httpVersion: string): string {
  return appendMember(existing, `${httpVersion} ${PROXY_PSEUDONYM}`);
}

/**
 * @param value the request's CDN-Loop, undefined when absent
 * @param id    this cache's own identifier, a token: the same in all its processes, different from every other cache's
 * @returns the CDN-Loop to send on
 */
export function appendCdnLoop(value: string | undefined, id: string): string {
  return appendMember(value, id);
}

/** How often the request has passed through the cache called `id`; parameters of a member do not matter (RFC 8586 s2). */
export function countCdnLoop(value: string | undefined, id: string): number {
  if (value === undefined) return 0;
  const wanted = id.toLowerCase();
  return splitList(value).filter((member) => member.split(';', 1)[0]?.trim().toLowerCase() === wanted).length;
}

function appendMember(list: string | undefined, member: string): string {
  return list === undefined || list === '' ? member : `${list}, ${member}`;
}
