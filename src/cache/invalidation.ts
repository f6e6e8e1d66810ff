/**
 * What a request that may have changed something leaves invalid in the cache (RFC 9111 s4.4): the target, and what Location and
 * Content-Location name at the same host. Pure. Called once for each response that passed through.
 */
import { type FieldList, fieldLines } from '../http/header-fields.ts';
import { resolveReference } from '../http/uri-reference.ts';

/** Why something is invalid. */
export const INVALIDATION_CAUSES = ['target', 'location', 'content-location', 'group'] as const;
/** One of INVALIDATION_CAUSES. */
export type InvalidationCause = (typeof INVALIDATION_CAUSES)[number];

/** A resource of the site, as in a key. */
export interface InvalidResource {
  readonly cause: Exclude<InvalidationCause, 'group'>;
  readonly path: string;
  readonly query: string | undefined;
}

/** What an origin calls itself and its paths. */
export interface NamedOrigin {
  /** `host[:port]`. */
  readonly authority: string;
  /** Other nodes that answer alike. */
  readonly otherAuthorities?: readonly string[] | undefined;
  /** What goes before every path there. */
  readonly basePath: string;
  /** What goes before every path here. */
  readonly stripPrefix?: string | undefined;
}

/** A response and the request that it answers. */
export interface PassedExchange {
  readonly method: string;
  /** Normalised; `host` undefined when the request names none. */
  readonly target: { readonly path: string; readonly query: string | undefined; readonly host: string | undefined };
  readonly status: number;
  readonly fields: FieldList;
  readonly origin: NamedOrigin;
}

/** Registered as safe by RFC 9110 s9.2.1, RFC 4918, RFC 3253, RFC 5323 and the QUERY method; whatever is not known to be safe is not. */
const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PROPFIND', 'REPORT', 'SEARCH', 'QUERY']);

/** Whether the method only asks. */
export function isSafeMethod(method: string): boolean {
  return SAFE_METHODS.has(method);
}

/** At most five resources. None after a safe method, and none after an error, which changed nothing that is known of. */
export function invalidResources(exchange: PassedExchange): readonly InvalidResource[] {
  const { method, status, target, fields } = exchange;
  if (isSafeMethod(method) || status < 200 || status >= 400) return [];
  const found: InvalidResource[] = [{ cause: 'target', path: target.path, query: target.query }];
  for (const cause of ['location', 'content-location'] as const) {
    const reference = fieldLines(fields, cause)[0];
    if (reference !== undefined) for (const { path, query } of namedHere(reference, exchange)) found.push({ cause, path, query });
  }
  return found;
}

/**
 * What a reference names of this site; nothing at another host, which this response has no say over. The keys know no scheme, so http and
 * https of one host are one. The origin may name what it knows, with the base path, or what clients know.
 */
function namedHere(reference: string, { target, origin }: PassedExchange): readonly { path: string; query: string | undefined }[] {
  const named = resolveReference(reference, target);
  if (named === undefined) return [];
  const { path, query, host } = named;
  const { authority, otherAuthorities = [], basePath, stripPrefix = '' } = origin;
  const isOrigin = (name: string): boolean => [authority, ...otherAuthorities].some((known) => known.toLowerCase() === name);
  if (host !== undefined && host !== target.host && !isOrigin(host)) return [];
  const isRewritten = basePath !== '' || stripPrefix !== '';
  if (!isRewritten || (basePath !== '' && !path.startsWith(`${basePath}/`))) return [{ path, query }];
  return [
    { path, query },
    { path: stripPrefix + path.slice(basePath.length), query },
  ];
}
