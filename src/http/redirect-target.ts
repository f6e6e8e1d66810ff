/**
 * Where a redirect leads (RFC 9110 s10.2.2, s15.4), and whether a rule lets a cache go there by itself. What a Location names is the word of
 * whoever answered, so it is followed to the hosts that the operator named and nowhere else. Pure; addresses are judged where a connection
 * is made.
 */

/** What a rule says about redirects. */
export interface RedirectRule {
  /** Redirects in a row that are followed; > 0. */
  readonly hopsMax: number;
  /**
   * Hosts beside the configured origin: `host` and `*.suffix` on the scheme's own port, `host:port`, and `*` for every host. Lower-case.
   * Only `host:port` may have a private address: an operator who writes it out means it.
   */
  readonly hosts: readonly string[];
}

/** What is asked next: an origin (`https://host[:port]`, normalised) and the target there. */
export interface RedirectTarget {
  readonly origin: string;
  /** `host[:port]`, for the Host field. */
  readonly authority: string;
  /** Path and query, without fragment. */
  readonly path: string;
  /** Whether it may be at a loopback, private or otherwise special address. */
  readonly mayBePrivate: boolean;
}

/** Follow, or why not. */
export type RedirectVerdict =
  | { readonly kind: 'follow'; readonly target: RedirectTarget }
  | { readonly kind: 'refused'; readonly why: 'malformed' | 'scheme' | 'host' };

/** Statuses whose Location says where the same request may be answered. For GET and HEAD 303 is no different (RFC 9110 s15.4.4). */
const REDIRECT_STATUSES: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
/** Characters of a Location that is looked at. */
export const LOCATION_LENGTH_MAX = 8 * 1024;

/** Whether a response of this status redirects. */
export function isRedirect(status: number): boolean {
  return REDIRECT_STATUSES.has(status);
}

/**
 * Judges a Location.
 *
 * @param from.url        of the request that was redirected, absolute
 * @param from.configured the configured origin, `scheme://host[:port]`: always allowed
 */
export function judgeRedirect(
  location: string,
  from: { readonly url: string; readonly configured: string },
  rule: RedirectRule,
): RedirectVerdict {
  const url = location.length > LOCATION_LENGTH_MAX ? null : URL.parse(location, from.url);
  if (url === null || url.username !== '' || url.password !== '') return { kind: 'refused', why: 'malformed' };
  const isSecure = url.protocol === 'https:';
  // What began encrypted and authenticated does not go on in the open.
  if (!isSecure && (url.protocol !== 'http:' || from.url.startsWith('https:'))) return { kind: 'refused', why: 'scheme' };
  const isConfigured = url.origin === new URL(from.configured).origin;
  const isNamedOut = rule.hosts.includes(`${url.hostname}:${portOf(url)}`);
  if (!isConfigured && !isNamedOut && !isAllowedHost(url, rule)) return { kind: 'refused', why: 'host' };
  const target = { origin: url.origin, authority: url.host, path: url.pathname + url.search, mayBePrivate: isConfigured || isNamedOut };
  return { kind: 'follow', target };
}

/** On the scheme's own port: a named host is no permission for whatever else listens there. */
function isAllowedHost(url: URL, { hosts }: RedirectRule): boolean {
  if (url.port !== '') return false;
  return hosts.some((host) => host === '*' || host === url.hostname || (host.startsWith('*.') && url.hostname.endsWith(host.slice(1))));
}

function portOf(url: URL): string {
  return url.port === '' ? (url.protocol === 'https:' ? '443' : '80') : url.port;
}
