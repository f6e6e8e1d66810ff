/**
 * The head of an HTTP/1 response and what frames the content behind it (RFC 9112 s4, s5, s6). Strict: whatever two readers could understand
 * differently is refused, because a cache that guesses where a response ends gives the rest to somebody else (s11.2). Pure; the transport that
 * reads sockets itself calls it once per response.
 */
import { type FieldList, fieldLines, fieldValue, isFieldValue, isToken, splitList, trimWhitespace } from './header-fields.ts';

/** A response head as received; `status` may be an interim one. */
export interface ResponseHead {
  readonly minorVersion: 0 | 1;
  readonly status: number;
  readonly fields: FieldList;
}

/** Why a head or its framing is refused. */
export type HeadFault =
  | 'status-line'
  | 'field-line'
  | 'field-name'
  | 'field-value'
  | 'too-many-fields'
  | 'content-length'
  | 'transfer-encoding';

/** A head, or why it is none. */
export type ResponseHeadVerdict =
  | { readonly kind: 'head'; readonly head: ResponseHead }
  | { readonly kind: 'invalid'; readonly why: HeadFault };

/** Where the content ends. `close`: at the end of the connection. */
export type Framing =
  | { readonly kind: 'length'; readonly lengthBytes: number }
  | { readonly kind: 'chunked' }
  | { readonly kind: 'close' }
  | { readonly kind: 'invalid'; readonly why: HeadFault };

/** No content follows them, whatever is said (RFC 9110 s6.4.1, s15.3.6). */
export const BODILESS_STATUSES: ReadonlySet<number> = new Set([204, 205, 304]);

/** Fields of one head; node:http stops at 2,000 too. */
const FIELDS_MAX = 2000;
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const NO_CONTENT: Framing = { kind: 'length', lengthBytes: 0 };

/**
 * Reads a head.
 *
 * @param text Latin-1, one character per byte, from the status line to the last field line; without the CRLFs that end it
 */
export function parseResponseHead(text: string): ResponseHeadVerdict {
  const lines = text.split('\r\n');
  const status = STATUS_LINE.exec(lines[0] ?? '');
  if (status === null) return invalid('status-line');
  if (lines.length - 1 > FIELDS_MAX) return invalid('too-many-fields');
  const fields: [string, string][] = [];
  for (let index = 1; index < lines.length; index += 1) {
    const field = parseFieldLine(lines[index] ?? '');
    if (field.kind === 'invalid') return field;
    fields.push([field.name, field.value]);
  }
  return { kind: 'head', head: { minorVersion: status[1] === '0' ? 0 : 1, status: Number(status[2]), fields } };
}

/** Reads one field line, of a head or of a trailer section; the name comes out lower-case. */
export function parseFieldLine(
  line: string,
): { readonly kind: 'field'; readonly name: string; readonly value: string } | { readonly kind: 'invalid'; readonly why: HeadFault } {
  const colon = line.indexOf(':');
  // A line that begins with white space would go on with the one before (obs-fold, s5.2); few know how, so it is refused.
  if (colon <= 0) return invalid('field-line');
  const name = line.slice(0, colon);
  if (!isToken(name)) return invalid('field-name');
  const value = line.slice(colon + 1);
  return isFieldValue(value) ? { kind: 'field', name: name.toLowerCase(), value: trimWhitespace(value) } : invalid('field-value');
}

/** Where the content of a final response to `method` ends (RFC 9112 s6.3). */
export function framingOf(method: string, head: ResponseHead): Framing {
  const encoding = fieldValue(head.fields, 'transfer-encoding');
  const lengths = fieldLines(head.fields, 'content-length');
  const length = lengths.length === 0 ? undefined : oneLength(lengths);
  if (lengths.length > 0 && length === undefined) return invalid('content-length');
  // Both: one of the two readers on the way may believe the other one.
  if (encoding !== undefined && (length !== undefined || head.minorVersion === 0)) return invalid('transfer-encoding');
  if (method === 'HEAD' || head.status === 204 || head.status === 304) return NO_CONTENT;
  if (encoding !== undefined) return encoding.toLowerCase() === 'chunked' ? { kind: 'chunked' } : invalid('transfer-encoding');
  return length === undefined ? { kind: 'close' } : { kind: 'length', lengthBytes: length };
}

/** Whether another request may follow on the connection (RFC 9112 s9.3), as far as the head says. */
export function isKeptAlive(head: ResponseHead, framing: Framing): boolean {
  if (framing.kind === 'close' || framing.kind === 'invalid') return false;
  const options = splitList((fieldValue(head.fields, 'connection') ?? '').toLowerCase());
  if (options.includes('close')) return false;
  return head.minorVersion === 1 || options.includes('keep-alive');
}

/** The one value of all lines and list members (RFC 9110 s8.6); undefined when they differ, or are no length that we can count. */
function oneLength(lines: readonly string[]): number | undefined {
  const [only = ''] = lines;
  const members = lines.length === 1 && !only.includes(',') ? lines : lines.flatMap((line) => line.split(',').map(trimWhitespace));
  const [first = ''] = members;
  if (!/^\d{1,16}$/.test(first) || members.some((member) => member !== first)) return undefined;
  const length = Number(first);
  return Number.isSafeInteger(length) ? length : undefined;
}

function invalid(why: HeadFault): { readonly kind: 'invalid'; readonly why: HeadFault } {
  return { kind: 'invalid', why };
}
