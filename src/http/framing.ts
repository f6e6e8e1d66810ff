/**
 * Whether a request's content is framed so that every recipient on the way sees the same end of it (RFC 9112 s6, s11.2). node:http has refused
 * what its parser refuses; this is what is left. Pure; admit.ts asks it for every request.
 */
import { type FieldList, fieldLines, splitList } from './header-fields.ts';

/** `faulty`: two recipients could disagree on where the request ends. `coding`: content in a coding that cannot be passed on. */
export type FramingVerdict = { readonly kind: 'ok' } | { readonly kind: 'faulty' | 'coding'; readonly why: string };

const OK: FramingVerdict = { kind: 'ok' };

/** @param httpVersion of the request: `1.1` */
export function judgeFraming(fields: FieldList, httpVersion: string): FramingVerdict {
  const lengths = fieldLines(fields, 'content-length');
  if (lengths.length > 1) return { kind: 'faulty', why: 'it has more than one Content-Length' };
  // A length that a number cannot hold would be sent on as another one.
  if (lengths[0] !== undefined && (!/^\d+$/.test(lengths[0]) || !Number.isSafeInteger(Number(lengths[0]))))
    return { kind: 'faulty', why: 'its Content-Length is no number that can be counted to' };
  const encodings = fieldLines(fields, 'transfer-encoding');
  if (encodings.length === 0) return OK;
  if (lengths.length > 0) return { kind: 'faulty', why: 'it has both Content-Length and Transfer-Encoding' };
  // RFC 9112 s6.1: in HTTP/1.0 the field means that somebody on the way did not understand it.
  if (httpVersion === '1.0') return { kind: 'faulty', why: 'Transfer-Encoding does not exist in HTTP/1.0' };
  const codings = splitList(encodings.join(',').toLowerCase());
  if (codings.at(-1) !== 'chunked' || codings.indexOf('chunked') < codings.length - 1)
    return { kind: 'faulty', why: 'its Transfer-Encoding does not end in one chunked' };
  // Sent on without the coding, the content would be taken for something else.
  return codings.length === 1 ? OK : { kind: 'coding', why: 'only chunked is understood in Transfer-Encoding' };
}
