/**
 * Conditional requests against one stored representation (RFC 9110 s13). The caller has made sure that the representation may be used
 * (fresh or validated) and that the answer would be a 2xx without the conditions. Malformed conditions are ignored where the RFC says so.
 */
import { matchesStrongly, matchesWeakly, parseEntityTag, parseEntityTagList } from './entity-tag.ts';
import { type FieldList, fieldValue } from './header-fields.ts';
import { parseHttpDate } from './http-date.ts';

/** A request's conditions and what they are evaluated against. */
export interface Preconditions {
  readonly method: string;
  readonly requestFields: FieldList;
  /** The stored ETag field, as text. */
  readonly entityTag: string | undefined;
  /** The stored Last-Modified field, as text. */
  readonly lastModified: string | undefined;
  /** Where there is no Last-Modified, If-Modified-Since is held against this: Date, or when it was received (RFC 9111 s4.3.2). */
  readonly recordedMs: number;
}

/** What to answer: as if there were no conditions, 304, or 412. */
export type PreconditionVerdict = 'proceed' | 'not-modified' | 'precondition-failed';

/** An If-Range field and what it is compared with. */
export interface IfRangeCondition {
  /** The request's If-Range, undefined when absent. */
  readonly ifRange: string | undefined;
  readonly entityTag: string | undefined;
  readonly lastModified: string | undefined;
  /** The stored Date, which decides whether Last-Modified is a strong validator. */
  readonly dateMs: number | undefined;
}

/** How long after Last-Modified a response must have been made for that to be a strong validator (RFC 9110 s8.8.2.2). */
export const STRONG_DATE_DISTANCE_MS = 1000;

/**
 * Evaluates all conditions but If-Range, in the order of RFC 9110 s13.2.2. Ranges come afterwards, so a 304 wins over a 206.
 */
export function evaluatePreconditions(conditions: Preconditions): PreconditionVerdict {
  const { requestFields } = conditions;
  const ifMatch = fieldValue(requestFields, 'if-match');
  // Steps 1 and 2: If-Unmodified-Since counts only without If-Match (s13.1.4).
  if (ifMatch !== undefined) {
    if (!isMatched(ifMatch, conditions.entityTag)) return 'precondition-failed';
  } else if (isModifiedSince(conditions, 'if-unmodified-since', undefined) === true) {
    return 'precondition-failed';
  }
  const ifNoneMatch = fieldValue(requestFields, 'if-none-match');
  const isReading = conditions.method === 'GET' || conditions.method === 'HEAD';
  // Steps 3 and 4: If-Modified-Since counts only without If-None-Match, and for GET and HEAD (s13.1.3).
  if (ifNoneMatch !== undefined) {
    if (isNoneMatched(ifNoneMatch, conditions.entityTag)) return 'proceed';
    return isReading ? 'not-modified' : 'precondition-failed';
  }
  return isReading && isModifiedSince(conditions, 'if-modified-since', conditions.recordedMs) === false ? 'not-modified' : 'proceed';
}

/**
 * Whether the Range field counts (RFC 9110 s13.1.5). False means: answer 200 with the whole representation. True without If-Range.
 */
export function isRangeAllowedByIfRange({ ifRange, entityTag, lastModified, dateMs }: IfRangeCondition): boolean {
  if (ifRange === undefined) return true;
  const wantedTag = parseEntityTag(ifRange);
  if (wantedTag !== undefined) {
    const storedTag = entityTag === undefined ? undefined : parseEntityTag(entityTag);
    return storedTag !== undefined && matchesStrongly(wantedTag, storedTag);
  }
  const wantedMs = parseHttpDate(ifRange);
  const lastModifiedMs = lastModified === undefined ? undefined : parseHttpDate(lastModified);
  if (wantedMs === undefined || wantedMs !== lastModifiedMs) return false;
  return isStrongDate(lastModifiedMs, dateMs);
}

/** Whether Last-Modified is a strong validator: the response was made a second or more after it (RFC 9110 s8.8.2.2). */
export function isStrongDate(lastModifiedMs: number, dateMs: number | undefined): boolean {
  return dateMs !== undefined && dateMs - lastModifiedMs >= STRONG_DATE_DISTANCE_MS;
}

/** RFC 9110 s13.1.1: `*` is true because there is a representation; tags are compared strongly. */
function isMatched(ifMatch: string, entityTag: string | undefined): boolean {
  const wanted = parseEntityTagList(ifMatch);
  if (wanted === '*') return true;
  const stored = entityTag === undefined ? undefined : parseEntityTag(entityTag);
  return stored !== undefined && wanted.some((tag) => matchesStrongly(tag, stored));
}

/** RFC 9110 s13.1.2: `*` is false because there is a representation; tags are compared weakly. */
function isNoneMatched(ifNoneMatch: string, entityTag: string | undefined): boolean {
  const wanted = parseEntityTagList(ifNoneMatch);
  if (wanted === '*') return false;
  const stored = entityTag === undefined ? undefined : parseEntityTag(entityTag);
  return stored === undefined || !wanted.some((tag) => matchesWeakly(tag, stored));
}

/** Undefined when the condition is absent or to be ignored: no valid date on one of the two sides. */
function isModifiedSince({ requestFields, lastModified }: Preconditions, name: string, instead: number | undefined): boolean | undefined {
  const since = fieldValue(requestFields, name);
  const sinceMs = since === undefined ? undefined : parseHttpDate(since);
  const lastModifiedMs = lastModified === undefined ? instead : parseHttpDate(lastModified);
  return sinceMs === undefined || lastModifiedMs === undefined ? undefined : lastModifiedMs > sinceMs;
}
