/**
 * Structured fields (RFC 9651): Lists and Dictionaries as section 4.2 parses them. Strict, as the RFC wants it: one octet out of place and the
 * whole field is undefined. Parameters are parsed and let go, since no field that is read here defines any.
 */

/** A bare item of a type that some field read here uses. `date`, `bytes` and `display` are told apart and not decoded. */
export type StructuredItem =
  | { readonly kind: 'integer' | 'decimal' | 'date'; readonly value: number }
  | { readonly kind: 'string' | 'token'; readonly value: string }
  | { readonly kind: 'boolean'; readonly value: boolean }
  | { readonly kind: 'bytes' | 'display' };

/** A member of a List or a Dictionary. */
export type StructuredMember = StructuredItem | { readonly kind: 'inner-list'; readonly items: readonly StructuredItem[] };

/**
 * A Dictionary (s4.2.2); of a key given twice the last value counts.
 *
 * @param text the field's lines joined with commas (s4.2); an empty one is an empty Dictionary
 * @returns undefined when the text is not a Dictionary
 */
export function parseStructuredDictionary(text: string): ReadonlyMap<string, StructuredMember> | undefined {
  const reader = new Reader(text);
  const members = new Map<string, StructuredMember>();
  const isWhole = readMembers(reader, () => {
    const key = reader.take(KEY);
    if (key === undefined) return false;
    const member: StructuredMember | undefined = reader.skip('=') ? readMember(reader) : { kind: 'boolean', value: true };
    if (member === undefined || !skipParameters(reader)) return false;
    // A Map would keep the place of the first one.
    members.delete(key);
    members.set(key, member);
    return true;
  });
  return isWhole ? members : undefined;
}

/** A List (s4.2.1), in the same way. */
export function parseStructuredList(text: string): readonly StructuredMember[] | undefined {
  const reader = new Reader(text);
  const members: StructuredMember[] = [];
  const isWhole = readMembers(reader, () => {
    const member = readMember(reader);
    if (member === undefined || !skipParameters(reader)) return false;
    members.push(member);
    return true;
  });
  return isWhole ? members : undefined;
}

const KEY = /[a-z*][a-z0-9_\-.*]*/y;
const NUMBER = /-?(?:\d{1,12}\.\d{1,3}|\d{1,15})(?![\d.])/y;
const DATE = /@(-?\d{1,15})(?![\d.])/y;
const STRING = /"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"/y;
const TOKEN = /[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*/y;
const BYTES = /:[A-Za-z0-9+/=]*:/y;
const BOOLEAN = /\?[01]/y;
const DISPLAY = /%"(?:[\x20\x21\x23\x24\x26-\x7e]|%[0-9a-f]{2})*"/y;
const SPACES = / */y;
const WHITESPACE = /[ \t]*/y;

/** A place in a text, moved on by what is taken there. */
class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#text.length;
  }

  /** What the sticky pattern matches here, or undefined. */
  take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (match === null) return undefined;
    this.#at += match[0].length;
    return match[0];
  }

  /** Steps over a character, if it is the next one. */
  skip(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at += 1;
    return true;
  }
}

/** Members with commas between them and none behind the last; SP alone may surround all of it. */
function readMembers(reader: Reader, readOne: () => boolean): boolean {
  reader.take(SPACES);
  while (!reader.isAtEnd) {
    if (!readOne()) return false;
    // Trailing SP is stripped before the text is parsed; a HTAB there makes it fail.
    reader.take(SPACES);
    if (reader.isAtEnd) return true;
    reader.take(WHITESPACE);
    if (!reader.skip(',')) return false;
    reader.take(WHITESPACE);
    if (reader.isAtEnd) return false;
  }
  return true;
}

function readMember(reader: Reader): StructuredMember | undefined {
  if (!reader.skip('(')) return readItem(reader);
  const items: StructuredItem[] = [];
  for (;;) {
    const gap = reader.take(SPACES);
    if (reader.skip(')')) return { kind: 'inner-list', items };
    if (items.length > 0 && gap === '') return undefined;
    const item = readItem(reader);
    if (item === undefined || !skipParameters(reader)) return undefined;
    items.push(item);
  }
}

function readItem(reader: Reader): StructuredItem | undefined {
  const number = reader.take(NUMBER);
  if (number !== undefined) return { kind: number.includes('.') ? 'decimal' : 'integer', value: Number(number) };
  const string = reader.take(STRING);
  if (string !== undefined) return { kind: 'string', value: string.slice(1, -1).replace(/\\(.)/g, '$1') };
  const token = reader.take(TOKEN);
  if (token !== undefined) return { kind: 'token', value: token };
  const boolean = reader.take(BOOLEAN);
  if (boolean !== undefined) return { kind: 'boolean', value: boolean === '?1' };
  const date = reader.take(DATE);
  if (date !== undefined) return { kind: 'date', value: Number(date.slice(1)) };
  if (reader.take(BYTES) !== undefined) return { kind: 'bytes' };
  return reader.take(DISPLAY) === undefined ? undefined : { kind: 'display' };
}

/** s4.2.3.2. @returns false when they are malformed */
function skipParameters(reader: Reader): boolean {
  while (reader.skip(';')) {
    reader.take(SPACES);
    if (reader.take(KEY) === undefined) return false;
    if (reader.skip('=') && readItem(reader) === undefined) return false;
  }
  return true;
}
