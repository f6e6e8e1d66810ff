/**
 * What an origin's answer to a fill can be used for. Pure: a response head and what was asked go in, a verdict comes out.
 * Source: RFC 9110 s14.4, s15.3.7; design page HTTP, *What makes an origin's 206 usable*.
 */
import { type ContentCoding, contentCodingOf } from '../http/content-coding.ts';
import { fieldLines, fieldValue } from '../http/header-fields.ts';
import { parseContentRange } from '../http/range.ts';
import type { UpstreamHead } from '../upstream/upstream-transport.ts';

/** What was asked for: everything, bytes from `start` on (to `end`, exclusive, if given), or the last `suffixBytes`. */
export type Asked =
  | { readonly kind: 'whole' }
  | { readonly kind: 'range'; readonly start: number; readonly end: number | undefined }
  | { readonly kind: 'suffix'; readonly suffixBytes: number };

/**
 * `part`: bytes [start, end) of `lengthBytes`, which is undefined where the origin does not tell it; not always what was asked for.
 * `whole`: all bytes; length undefined when the framing does not tell.
 */
export type Usable =
  | {
      readonly kind: 'part';
      readonly start: number;
      readonly end: number;
      readonly lengthBytes: number | undefined;
      /** Whether Content-Length agrees; without it only exactly what was asked for is believed. */
      readonly isMeasured: boolean;
    }
  | { readonly kind: 'whole'; readonly lengthBytes: number | undefined }
  | { readonly kind: 'unusable'; readonly why: string };

/** With these the origin says that the object, or this part of it, is there no more; any other error may pass (429, 503 ...). */
export const GONE_STATUSES: ReadonlySet<number> = new Set([404, 410, 416]);

/**
 * Judges the head of a response that may be stored: any status but 206 is one whole body. Content-Range counts in a 206 only (RFC 9110 s14.4).
 *
 * @param codings that were asked for: another one makes other bytes of it (RFC 9110 s8.4)
 */
export function checkResponse(head: UpstreamHead, codings: readonly ContentCoding[]): Usable {
  const contentLength = contentLengthOf(head);
  if (contentLength === 'invalid') return unusable('Content-Length is not one number');
  const coding = contentCodingOf(head.fields);
  if (coding === undefined || !codings.includes(coding)) return unusable('the content is not encoded as it was asked for');
  // A 204 has no content, whatever its fields say (RFC 9110 s15.3.5).
  if (head.status !== 206) return { kind: 'whole', lengthBytes: head.status === 204 ? 0 : contentLength };
  return checkPart(head, contentLength);
}

/** The bytes that were asked for, as far as the object has them. @param lengthBytes undefined while it is not known */
export function wantedInterval(asked: Asked, lengthBytes: number | undefined): { readonly start: number; readonly end: number } {
  const end = lengthBytes ?? Number.POSITIVE_INFINITY;
  if (asked.kind === 'whole') return { start: 0, end };
  if (asked.kind === 'range') return { start: asked.start, end: Math.min(asked.end ?? end, end) };
  return { start: lengthBytes === undefined ? 0 : Math.max(0, lengthBytes - asked.suffixBytes), end };
}

/** A server may answer a range with another one that it likes better (RFC 9110 s15.3.7.2): what came is what Content-Range says. */
function checkPart(head: UpstreamHead, contentLength: number | undefined): Usable {
  if (fieldValue(head.fields, 'content-type')?.toLowerCase().startsWith('multipart/byteranges') === true) {
    return unusable('multipart answer to one range');
  }
  const lines = fieldLines(head.fields, 'content-range');
  const range = lines.length === 1 ? parseContentRange(lines[0] ?? '') : undefined;
  if (range === undefined || range.kind !== 'range') return unusable('206 without a Content-Range that can be read');
  const { start, end, lengthBytes } = range;
  if (contentLength !== undefined && contentLength !== end - start) return unusable('Content-Length and Content-Range differ');
  return { kind: 'part', start, end, lengthBytes, isMeasured: contentLength !== undefined };
}

/** The one value of Content-Length; repeated equal values count as one (RFC 9110 s8.6). */
export function contentLengthOf(head: UpstreamHead): number | undefined | 'invalid' {
  const text = fieldValue(head.fields, 'content-length');
  if (text === undefined) return undefined;
  const lines = text.includes(',') ? text.split(',').map((part) => part.trim()) : [text];
  const [first = ''] = lines;
  if (!lines.every((line) => line === first) || !/^\d{1,16}$/.test(first)) return 'invalid';
  const value = Number(first);
  return Number.isSafeInteger(value) ? value : 'invalid';
}

function unusable(why: string): Usable {
  return { kind: 'unusable', why };
}
