/**
 * References in header fields (Location, Content-Location), resolved against the target of the request that they answer (RFC 3986 s5.2), in the
 * same form as request targets: what a reference names and what a client asks for can be compared.
 */
import { parseRequestTarget, type RequestTarget } from './request-target.ts';

const HTTP_SCHEME = /^https?:\/\//i;
/** RFC 3986 s3.1. A colon in the first segment of a relative reference is not allowed (s4.2). */
const ANY_SCHEME = /^[a-z][a-z0-9+.-]*:/i;

/**
 * @param reference one line of a field; a fragment does not count
 * @param base      the normalised target of the request
 * @returns host undefined where the reference names none, so that it is the base's; undefined for what is no http resource or malformed
 */
export function resolveReference(
  reference: string,
  base: { readonly path: string; readonly query: string | undefined },
): Extract<RequestTarget, { kind: 'ok' }> | undefined {
  const text = (reference.split('#', 1)[0] ?? '').trim();
  if (ANY_SCHEME.test(text) && !HTTP_SCHEME.test(text)) return undefined;
  const target = parseRequestTarget(absolute(text, base), undefined);
  return target.kind === 'ok' ? target : undefined;
}

/** As a request target in origin-form or absolute-form. */
function absolute(text: string, base: { readonly path: string; readonly query: string | undefined }): string {
  if (text.startsWith('//')) return `http:${text}`;
  if (text.startsWith('/') || HTTP_SCHEME.test(text)) return text;
  if (text === '') return base.query === undefined ? base.path : `${base.path}?${base.query}`;
  if (text.startsWith('?')) return base.path + text;
  return base.path.slice(0, base.path.lastIndexOf('/') + 1) + text;
}
