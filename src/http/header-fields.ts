/**
 * Header fields as every layer above sees them: a flat list of [lower-case name, trimmed value], order and repetitions kept, because
 * several lines of one field are one list (RFC 9110 s5.3) and Set-Cookie is not. The parsers of node and undici have checked the syntax
 * of names; nothing here throws whatever they hand in.
 */

/** One message's fields: [lower-case name, value without surrounding white space] in the order received. */
export type FieldList = readonly (readonly [name: string, value: string])[];

/** RFC 9110 s5.6.2. */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** RFC 9110 s5.5. */
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** What must not reach a peer inside a value (RFC 9110 s5.5: reject, or replace by SP). */
const DANGEROUS = /[\0\r\n]/g;

/** Fields of a connection of HTTP/1.1: what HTTP/2 must not carry (RFC 9113 s8.2.2); node's http2 throws at each of them. */
export const CONNECTION_FIELDS: ReadonlySet<string> = new Set([
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
]);
/** Fields of one connection even when Connection does not name them (RFC 9110 s7.6.1; Trailer and Proxy-* by RFC 2616 s13.5.1). */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  ...CONNECTION_FIELDS,
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-authorization',
  'trailer',
]);

/** Whether `text` is a token (RFC 9110 s5.6.2), as field names, methods and directive names are. */
export function isToken(text: string): boolean {
  return TOKEN.test(text);
}

/** Whether `text` can be a field's value as it is: VCHAR, obs-text, SP and HTAB only (RFC 9110 s5.5). */
export function isFieldValue(text: string): boolean {
  return VALUE.test(text);
}

/** All lines of field `name` (lower-case), in order; empty when it is absent. */
export function fieldLines(fields: FieldList, name: string): string[] {
  const lines: string[] = [];
  for (const field of fields) if (field[0] === name) lines.push(field[1]);
  return lines;
}

/** The value of field `name` (lower-case): its lines joined with ", " (RFC 9110 s5.3), or undefined when it is absent. */
export function fieldValue(fields: FieldList, name: string): string | undefined {
  let value: string | undefined;
  for (const field of fields) if (field[0] === name) value = value === undefined ? field[1] : `${value}, ${field[1]}`;
  return value;
}

/** Whether field `name` (lower-case) is present, even with an empty value. */
export function hasField(fields: FieldList, name: string): boolean {
  return fields.some((field) => field[0] === name);
}

/**
 * The list in node's and undici's raw form as fields.
 *
 * @param rawPairs name, value, name, value ...; buffers are read as Latin-1, so that any byte survives a round trip through node
 * @returns fields; a pair whose name is not a token and a name without a value are left out, CR, LF and NUL in a value become SP
 */
export function parseRawFields(rawPairs: readonly (string | Buffer)[]): FieldList {
  const fields: [string, string][] = [];
  for (let index = 0; index + 1 < rawPairs.length; index += 2) {
    const name = toText(rawPairs[index]).toLowerCase();
    if (isToken(name)) fields.push([name, trimWhitespace(toText(rawPairs[index + 1]).replace(DANGEROUS, ' '))]);
  }
  return fields;
}

/**
 * The fields that may be stored and forwarded: without those of this connection and without every field that Connection names.
 * Source: RFC 9110 s7.6.1
 */
export function endToEndFields(fields: FieldList): FieldList {
  const connection = fieldValue(fields, 'connection');
  const named = connection === undefined ? [] : splitList(connection.toLowerCase());
  return fields.filter((field) => !HOP_BY_HOP.has(field[0]) && !named.includes(field[0]));
}

/** What the fields take in a message, or a little more: name, value as UTF-8, and 4 bytes for ": " and CRLF each. */
export function fieldsSizeBytes(fields: FieldList): number {
  let sizeBytes = 0;
  for (const [name, value] of fields) sizeBytes += name.length + Buffer.byteLength(value) + 4;
  return sizeBytes;
}

/**
 * The members of a comma-separated list, trimmed, empty ones left out (RFC 9110 s5.6.1.2). Commas inside a quoted string do not separate;
 * a quote that is never closed is an ordinary character, so that it cannot hide the members behind it.
 */
export function splitList(value: string): string[] {
  if (!value.includes(',')) {
    const member = trimWhitespace(value);
    return member === '' ? [] : [member];
  }
  const members: string[] = [];
  let memberStart = 0;
  let index = 0;
  // After one quote that is never closed no other is looked at: this keeps hostile values linear.
  let isQuoteClosed = true;
  while (index <= value.length) {
    const character = value[index];
    if (character === ',' || index === value.length) {
      const member = trimWhitespace(value.slice(memberStart, index));
      if (member !== '') members.push(member);
      memberStart = index + 1;
    }
    const quotedEnd = character === '"' && isQuoteClosed ? quotedStringEnd(value, index) : undefined;
    if (character === '"' && quotedEnd === undefined) isQuoteClosed = false;
    index = quotedEnd ?? index + 1;
  }
  return members;
}

/** The text inside a quoted string, escapes resolved (RFC 9110 s5.6.4), or undefined when `text` is not one. */
export function parseQuotedString(text: string): string | undefined {
  if (!text.startsWith('"') || quotedStringEnd(text, 0) !== text.length) return undefined;
  return text.slice(1, -1).replace(/\\(.)/g, '$1');
}

/** Without SP and HTAB at both ends (OWS of RFC 9110 s5.6.3); unlike trim() it leaves NBSP alone, which Latin-1 values may contain. */
export function trimWhitespace(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isWhitespace(text[start])) start += 1;
  while (end > start && isWhitespace(text[end - 1])) end -= 1;
  return text.slice(start, end);
}

function isWhitespace(character: string | undefined): boolean {
  return character === ' ' || character === '\t';
}

/** Index behind the quoted string that opens at `open`; undefined when it is never closed. */
function quotedStringEnd(text: string, open: number): number | undefined {
  for (let index = open + 1; index < text.length; index += 1) {
    if (text[index] === '\\') index += 1;
    else if (text[index] === '"') return index + 1;
  }
  return undefined;
}

function toText(raw: string | Buffer | undefined): string {
  if (raw === undefined) return '';
  return typeof raw === 'string' ? raw : raw.toString('latin1');
}
