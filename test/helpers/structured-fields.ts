/**
 * A strict parser of structured-field lists (RFC 9651 s4.2.1), to read what the proxy says about itself: independent of `src/http`, which
 * writes it. Inner lists, byte sequences and dates do not occur there and are refused.
 */

/** A bare item; a token is told from a string by its wrapper. */
export type BareItem = number | boolean | string | { readonly token: string };

/** One member of a list. */
export interface ListMember {
  readonly value: BareItem;
  readonly parameters: Readonly<Record<string, BareItem>>;
}

/** @throws Error where the text is no list */
export function parseStructuredList(text: string): ListMember[] {
  const reader = new Reader(text.replace(/^ +| +$/g, ''));
  const members: ListMember[] = [];
  while (!reader.isAtEnd) {
    members.push(readMember(reader));
    reader.take(/[ \t]*/y);
    if (reader.isAtEnd) break;
    reader.need(/,/y, 'a comma');
    reader.take(/[ \t]*/y);
    if (reader.isAtEnd) throw new Error(`a comma ends the list ${JSON.stringify(text)}`);
  }
  return members;
}

class Reader {
  readonly text: string;
  #at = 0;

  constructor(text: string) {
    this.text = text;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.text.length;
  }

  /** The text that `pattern` (sticky) matches here, or undefined. */
  take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.text)?.[0];
    this.#at += found?.length ?? 0;
    return found;
  }

  need(pattern: RegExp, what: string): string {
    const found = this.take(pattern);
    if (found === undefined) throw new Error(`${what} is missing at ${this.#at} of ${JSON.stringify(this.text)}`);
    return found;
  }
}

function readMember(reader: Reader): ListMember {
  const value = readItem(reader);
  const parameters: Record<string, BareItem> = {};
  while (reader.take(/;/y) !== undefined) {
    reader.take(/ */y);
    const key = reader.need(/[a-z*][a-z0-9_\-.*]*/y, 'a key');
    parameters[key] = reader.take(/=/y) === undefined ? true : readItem(reader);
  }
  return { value, parameters };
}

function readItem(reader: Reader): BareItem {
  const decimal = reader.take(/-?\d{1,12}\.\d{1,3}(?!\d)/y) ?? reader.take(/-?\d{1,15}(?![\d.])/y);
  if (decimal !== undefined) return Number(decimal);
  const boolean = reader.take(/\?[01]/y);
  if (boolean !== undefined) return boolean === '?1';
  const string = reader.take(/"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"/y);
  if (string !== undefined) return string.slice(1, -1).replace(/\\(.)/g, '$1');
  return { token: reader.need(/[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*/y, 'an item') };
}
