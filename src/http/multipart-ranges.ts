/**
 * The body of a multipart/byteranges answer (RFC 9110 s14.6, s15.3.7.2; RFC 2046 s5.1.1), laid out before its first byte is sent: the head of
 * each part, the closing line, and the length of it all. Pure; the planner makes it, delivery sends the heads between the bytes.
 *
 *   CRLF --boundary CRLF Content-Type Content-Range CRLF CRLF bytes ... CRLF --boundary-- CRLF
 *
 * The CRLF before the first delimiter is an empty preamble: it belongs to every delimiter, and clients have met it from all big servers.
 */
import { assert } from '../base/assert.ts';
import type { FieldList } from './header-fields.ts';
import { formatContentRange } from './range.ts';
import type { ByteRange } from './range-set.ts';

/** One part: what goes before its bytes, and which bytes. */
export interface MultipartPart extends ByteRange {
  readonly head: Buffer;
}

/** A body that is made of parts. */
export interface MultipartLayout {
  /** Value of the message's own Content-Type. */
  readonly contentType: string;
  readonly parts: readonly MultipartPart[];
  /** After the last part. */
  readonly tail: Buffer;
  /** Of the whole body. */
  readonly lengthBytes: number;
}

/** What a layout is made from. */
export interface MultipartBody {
  readonly ranges: readonly ByteRange[];
  /** Of the whole representation. */
  readonly lengthBytes: number;
  /** Fields of each part beside Content-Range: those that say how its bytes are to be read. */
  readonly partFields: FieldList;
  /** 1 to 70 letters and digits that the representation does not contain: long and random. */
  readonly boundary: string;
}

/** @returns undefined when the body would be longer than 2^53 - 1 bytes */
export function layoutMultipart({ ranges, lengthBytes, partFields, boundary }: MultipartBody): MultipartLayout | undefined {
  assert(/^[0-9A-Za-z]{1,70}$/.test(boundary), 'a boundary is 1 to 70 letters and digits');
  const shared = partFields.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  const parts: MultipartPart[] = [];
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`, 'latin1');
  let total = tail.length;
  for (const { start, end } of ranges) {
    const text = `\r\n--${boundary}\r\n${shared}Content-Range: ${formatContentRange(start, end, lengthBytes)}\r\n\r\n`;
    const head = Buffer.from(text, 'latin1');
    total += head.length + (end - start);
    parts.push({ start, end, head });
  }
  if (!Number.isSafeInteger(total)) return undefined;
  return { contentType: `multipart/byteranges; boundary=${boundary}`, parts, tail, lengthBytes: total };
}
