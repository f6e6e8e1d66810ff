/** What a status code means for storing (RFC 9110 s15, RFC 9111 s3). Pure tables; response-policy.ts, freshness.ts and the fill ask here. */

/**
 * Never stored. 205 is about the document that a request came from, not the resource; 304 and 412 answer a condition, 416 a range, not the resource; 428, 429, 431 and 511 say so themselves (RFC 6585 s3 to s6).
 * A 206 is stored as the part of a 200 that it is.
 */
const NEVER_STORED: ReadonlySet<number> = new Set([205, 304, 412, 416, 428, 429, 431, 511]);

/** RFC 9110 s15.1: without a word about freshness these may be given some by heuristic. */
const HEURISTIC: ReadonlySet<number> = new Set([200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501]);

/** Codes of the registry whose requirements on caching are met here, for must-understand (RFC 9111 s5.2.2.3). */
const UNDERSTOOD: ReadonlySet<number> = new Set([
  ...[200, 201, 202, 203, 204, 206, 207, 208, 226],
  ...[300, 301, 302, 303, 305, 307, 308],
  ...[400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 413, 414, 415, 417, 421, 422, 423, 424, 425, 426, 451],
  ...[500, 501, 502, 503, 504, 505, 506, 507, 508, 510],
]);

/** Whether a response of this status, whatever its fields say, is kept from the store. */
export function isNeverStored(status: number): boolean {
  return status < 200 || status > 599 || NEVER_STORED.has(status);
}

/** Whether heuristic freshness is allowed without `public` (RFC 9111 s4.2.2). */
export function isHeuristicallyCacheable(status: number): boolean {
  return HEURISTIC.has(status);
}

/** Whether must-understand lets the response be stored. */
export function isUnderstood(status: number): boolean {
  return UNDERSTOOD.has(status);
}

/** Whether the stored response has ranges and can be confirmed by a 304: both speak of a 200 only (RFC 9110 s14.2, s15.4.5). */
export function isSliced(status: number): boolean {
  return status === 200;
}

/** Whether conditions of a request are weighed against it (RFC 9110 s13.2.1). */
export function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}

/** Whether the origin says that there is nothing here. */
export function isMissing(status: number): boolean {
  return status === 404 || status === 410;
}
