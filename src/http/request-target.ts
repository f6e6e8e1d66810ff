/**
 * The request target (RFC 9112 s3.2) in the one form that the program goes on with: for the key, for rules, and for the request to the
 * origin. Only transformations that RFC 3986 s6.2.2 calls equivalent are made (unreserved characters decoded, hexadecimal digits in upper
 * case, dot segments removed), and the origin is asked for the normalised form, so two resources of the origin never share a key.
 */

/** A target after normalisation, or why it is refused (400). */
export type RequestTarget =
  | {
      readonly kind: 'ok';
      /** Begins with `/`; no dot segments. */
      readonly path: string;
      /** Behind the first `?`, without it; undefined when there is none, which is not the same as an empty one. */
      readonly query: string | undefined;
      /** Lower-case, without a default port; undefined when the request names none (HTTP/1.0). */
      readonly host: string | undefined;
    }
  | { readonly kind: 'invalid'; readonly why: TargetFault };

/** Why a target is refused. */
export type TargetFault = 'too-long' | 'form' | 'character' | 'percent-encoding' | 'host';

/** RFC 9110 s4.1 asks for at least 8,000 octets. */
export const MAX_TARGET_BYTES = 8 * 1024;

/** Nothing in it can need normalisation: the fast road for nearly every request. */
const PLAIN_PATH = /^(?:\/(?!\.)[\w\-.~!$&'()*+,;=:@]*)+$/;
/** Control characters, SP, DEL, `#`, and what is not a byte. */
const REFUSED = /[\0-\x20\x7f#\u0100-\uffff]/;
const BAD_ENCODING = /%(?![0-9A-Fa-f]{2})/;
const ABSOLUTE_FORM = /^(https?):\/\/([^/?]*)(.*)$/is;
/** A name, IPv4 or bracketed IPv6 address, and a port that may be empty. No user information: it has no business here (RFC 9110 s4.2.4). */
const HOST = /^([a-z0-9\-._~!$&'()*+;=%]+|\[[0-9a-f:.]+\])(?::(\d{0,5}))?$/;

/**
 * @param target     origin-form or absolute-form as received, one character per byte (node's Latin-1 strings)
 * @param hostHeader the Host field, undefined when absent; absolute-form overrides it (RFC 9112 s3.2.2)
 */
export function parseRequestTarget(target: string, hostHeader: string | undefined): RequestTarget {
  if (target.length > MAX_TARGET_BYTES) return { kind: 'invalid', why: 'too-long' };
  if (REFUSED.test(target)) return { kind: 'invalid', why: 'character' };
  const absolute = target.startsWith('/') ? null : ABSOLUTE_FORM.exec(target);
  if (absolute === null && !target.startsWith('/')) return { kind: 'invalid', why: 'form' };
  const authority = absolute === null ? hostHeader : (absolute[2] ?? '');
  const host = authority === undefined ? undefined : normaliseHost(authority, absolute?.[1]);
  if (authority !== undefined && host === undefined) return { kind: 'invalid', why: 'host' };

  const relative = absolute === null ? target : (absolute[3] ?? '');
  const mark = relative.indexOf('?');
  const rawPath = mark < 0 ? relative : relative.slice(0, mark);
  const query = mark < 0 ? undefined : normaliseQuery(relative.slice(mark + 1));
  if (BAD_ENCODING.test(rawPath)) return { kind: 'invalid', why: 'percent-encoding' };
  return { kind: 'ok', path: normalisePath(rawPath === '' ? '/' : rawPath), query, host };
}

/** Lower case, without an empty or default port; undefined when it is not a host. `scheme` is undefined for origin-form. */
function normaliseHost(authority: string, scheme: string | undefined): string | undefined {
  const match = HOST.exec(authority.toLowerCase());
  if (match === null) return undefined;
  // The dot that ends a name written out in full, and zeros before a port, make no other host.
  const [, name = '', port = ''] = match;
  const host = name.length > 1 && name.endsWith('.') ? name.slice(0, -1) : name;
  const defaultPort = scheme?.toLowerCase() === 'https' ? 443 : 80;
  return port === '' || Number(port) === defaultPort ? host : `${host}:${Number(port)}`;
}

function normalisePath(path: string): string {
  if (PLAIN_PATH.test(path)) return path;
  return removeDotSegments(normaliseEncoding(path));
}

/** A query with a stray `%` is left as it is: many origins take it literally, and no well-formed query can turn into it. */
function normaliseQuery(query: string): string {
  return BAD_ENCODING.test(query) ? query : normaliseEncoding(query);
}

/** RFC 3986 s6.2.2.1 and s6.2.2.2. Raw bytes above 0x7f, which a URI cannot contain but curl sends, become what they stand for. */
function normaliseEncoding(text: string): string {
  return text
    .replace(/%([0-9A-Fa-f]{2})/g, (encoded, digits: string) => {
      const character = String.fromCharCode(Number.parseInt(digits, 16));
      return /[A-Za-z0-9\-._~]/.test(character) ? character : encoded.toUpperCase();
    })
    .replace(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** RFC 3986 s5.2.4. Runs after decoding, so that `%2e%2e` is caught too. */
function removeDotSegments(path: string): string {
  const kept: string[] = [];
  const segments = path.slice(1).split('/');
  for (const [index, segment] of segments.entries()) {
    const isLast = index === segments.length - 1;
    if (segment === '..') kept.pop();
    if (segment !== '.' && segment !== '..') kept.push(segment);
    else if (isLast) kept.push('');
  }
  return `/${kept.join('/')}`;
}
