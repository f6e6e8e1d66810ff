/**
 * Cache-Control (RFC 9111 s5.2), of requests and responses. Any text gives a result: what cannot be understood is read as the stricter of
 * its meanings, so a malformed lifetime is zero, a malformed `private="..."` is plain `private`, and an unclosed quote hides nothing.
 */
import { type FieldList, fieldValue, isToken, parseQuotedString, splitList } from './header-fields.ts';

/** RFC 9111 s1.2.2: a larger number, or one that overflows, counts as this. */
export const MAX_DELTA_SECONDS = 2 ** 31;

/** A directive's name up to its argument, if any. */
const DIRECTIVE = /^([^\s=,"]+)(?:=(.*))?$/s;

/** A parsed Cache-Control field; names are lower-case. */
export class CacheControl {
  readonly #directives: ReadonlyMap<string, string | true>;

  /** @param directives name to argument (quotes removed), or `true` without one */
  constructor(directives: ReadonlyMap<string, string | true>) {
    this.#directives = directives;
  }

  /** Whether the directive is there in any form. */
  has(name: string): boolean {
    return this.#directives.has(name);
  }

  /** The argument without quotes, `true` when the directive has none, undefined when it is absent. */
  get(name: string): string | true | undefined {
    return this.#directives.get(name);
  }

  /** Names of all directives, in the order of their first appearance. */
  names(): readonly string[] {
    return [...this.#directives.keys()];
  }

  /**
   * The directive's argument in seconds, 0 to 2^31: undefined when absent; 0 when missing or malformed, since RFC 9111 s4.2.1 encourages
   * to treat such a response as stale.
   */
  seconds(name: string): number | undefined {
    const value = this.#directives.get(name);
    if (value === undefined) return undefined;
    return value === true ? 0 : (parseDeltaSeconds(value) ?? 0);
  }

  /**
   * The field names (lower-case) that a qualified `no-cache="..."` or `private="..."` is limited to; undefined when the directive is
   * absent, has no argument, or an argument that is not a list of names: then it holds for the whole response.
   */
  fieldNames(name: string): readonly string[] | undefined {
    const value = this.#directives.get(name);
    if (value === undefined || value === true) return undefined;
    const names = splitList(value.toLowerCase());
    return names.length > 0 && names.every(isToken) ? names : undefined;
  }

  /** Whether the directive is there and holds for the whole response, not only for fields that it names. */
  isUnqualified(name: string): boolean {
    return this.#directives.has(name) && this.fieldNames(name) === undefined;
  }
}

const NO_DIRECTIVES = new CacheControl(new Map());

/** Parses all Cache-Control lines of a message. */
export function cacheControlOf(fields: FieldList): CacheControl {
  return parseCacheControl(fieldValue(fields, 'cache-control'));
}

/**
 * Parses a Cache-Control value. Of a directive given twice the first argument counts (RFC 9111 s4.2.1), except that a form without
 * argument wins over a qualified one, and that lists of field names add up.
 */
export function parseCacheControl(value: string | undefined): CacheControl {
  if (value === undefined || value === '') return NO_DIRECTIVES;
  const directives = new Map<string, string | true>();
  for (const member of splitList(value)) {
    const match = DIRECTIVE.exec(member);
    // A malformed member such as `no-store foo` or `max-age =3` still counts by its first word.
    const name = (match?.[1] ?? member.split(/[\s="]/, 1)[0] ?? '').toLowerCase();
    if (!isToken(name)) continue;
    const argument = match === null ? member.slice(name.length) : match[2];
    const parsed = argument === undefined ? true : (parseQuotedString(argument) ?? argument);
    const earlier = directives.get(name);
    directives.set(name, earlier === undefined ? parsed : joinDirectives(name, earlier, parsed));
  }
  return new CacheControl(directives);
}

/** A non-negative integer in seconds, cut at 2^31 (RFC 9111 s1.2.2); undefined for anything else, `7200.0` and `-1` included. */
export function parseDeltaSeconds(text: string): number | undefined {
  return /^\d+$/.test(text) ? Math.min(Number(text), MAX_DELTA_SECONDS) : undefined;
}

function joinDirectives(name: string, earlier: string | true, later: string | true): string | true {
  if (name !== 'no-cache' && name !== 'private') return earlier;
  return earlier === true || later === true ? true : `${earlier}, ${later}`;
}
