/**
 * Byte ranges (RFC 9110 s14). Inside the program a range is `start` inclusive, `end` exclusive; this file alone knows HTTP's inclusive
 * last-byte-pos. Ranges address the bytes of the representation as stored. Called by the planner downstream and the fetcher upstream.
 */
import { assert } from '../base/assert.ts';

/** What one member of a Range field asks for, as written: `first-`, `first-last` (inclusive) or `-suffix`. */
export type RangeSpec = { readonly first: number; readonly last: number | undefined } | { readonly suffix: number };

/** A spec against a known length. */
export type ResolvedRange =
  | { readonly kind: 'satisfiable'; readonly start: number; readonly end: number }
  | { readonly kind: 'unsatisfiable' };

/** A parsed Content-Range; `lengthBytes` is undefined where it says `*`. */
export type ContentRange =
  | { readonly kind: 'range'; readonly start: number; readonly end: number; readonly lengthBytes: number | undefined }
  | { readonly kind: 'unsatisfied'; readonly lengthBytes: number | undefined };

/** A longer field is ignored; room for a thousand ranges of a large object, far below what costs anything to parse. */
const MAX_RANGE_TEXT = 32 * 1024;

const RANGE_SPEC = /^(?:(\d+)-(\d*)|-(\d+))$/;
const CONTENT_RANGE = /^bytes (?:(\d+)-(\d+)|\*)\/(\d+|\*)$/i;

/**
 * The ranges that a client asks for. A number beyond 2^53 - 1 counts as that: it lies past the end of every object, and clients that write
 * 2^63 - 1 for "to the end" get what they mean.
 *
 * @param value the Range field, undefined when absent
 * @returns undefined when the field is absent or to be ignored (RFC 9110 s14.2): another unit, malformed (s14.1.1: last before first
 *   counts), too long; else at least one spec, in the order asked. How many are too many is the caller's to say
 */
export function parseRangeHeader(value: string | undefined): readonly RangeSpec[] | undefined {
  if (value === undefined || value.length > MAX_RANGE_TEXT || !/^bytes=/i.test(value)) return undefined;
  const members = value.slice('bytes='.length).split(',');
  const specs: RangeSpec[] = [];
  for (const member of members) {
    const text = member.trim();
    // Empty members are allowed in any list (RFC 9110 s5.6.1.2).
    if (text === '') continue;
    const spec = parseSpec(text);
    if (spec === undefined) return undefined;
    specs.push(spec);
  }
  return specs.length === 0 ? undefined : specs;
}

/**
 * Applies a spec to a representation. Callers answer a request on an empty one with a plain 200 instead: a Content-Range cannot express
 * an empty range.
 *
 * @param lengthBytes of the whole representation
 * @returns `satisfiable` with 0 <= start < end <= lengthBytes
 * Source: RFC 9110 s14.1.2
 */
export function resolveRange(spec: RangeSpec, lengthBytes: number): ResolvedRange {
  if ('suffix' in spec) {
    if (spec.suffix === 0 || lengthBytes === 0) return { kind: 'unsatisfiable' };
    return { kind: 'satisfiable', start: Math.max(0, lengthBytes - spec.suffix), end: lengthBytes };
  }
  if (spec.first >= lengthBytes) return { kind: 'unsatisfiable' };
  const last = spec.last === undefined ? lengthBytes - 1 : Math.min(spec.last, lengthBytes - 1);
  return { kind: 'satisfiable', start: spec.first, end: last + 1 };
}

/** A Range value for [start, end), or from `start` to wherever the object ends. */
export function formatRangeHeader(start: number, end: number | undefined): string {
  assert(Number.isSafeInteger(start) && start >= 0, 'formatRangeHeader: start is not an offset');
  assert(end === undefined || end > start, 'formatRangeHeader: range is empty');
  return `bytes=${start}-${end === undefined ? '' : end - 1}`;
}

/** A Range value for the last `suffixBytes` bytes (> 0). */
export function formatSuffixRangeHeader(suffixBytes: number): string {
  assert(Number.isSafeInteger(suffixBytes) && suffixBytes > 0, 'formatSuffixRangeHeader: suffix is empty');
  return `bytes=-${suffixBytes}`;
}

/**
 * @returns undefined when the value is malformed or contradicts itself (last before first, length not past last), or a number is beyond
 *   2^53 - 1: RFC 9110 s14.4 says not to recombine such a part
 */
export function parseContentRange(value: string): ContentRange | undefined {
  const match = CONTENT_RANGE.exec(value);
  if (match === null) return undefined;
  const lengthBytes = match[3] === '*' ? undefined : Number(match[3]);
  if (lengthBytes !== undefined && !Number.isSafeInteger(lengthBytes)) return undefined;
  if (match[1] === undefined) return { kind: 'unsatisfied', lengthBytes };
  const start = Number(match[1]);
  const last = Number(match[2]);
  if (last < start || !Number.isSafeInteger(last + 1) || (lengthBytes !== undefined && last >= lengthBytes)) return undefined;
  return { kind: 'range', start, end: last + 1, lengthBytes };
}

/** A Content-Range value for [start, end) of `lengthBytes`; `*` when that is not known yet. */
export function formatContentRange(start: number, end: number, lengthBytes: number | undefined): string {
  assert(start >= 0 && start < end, 'formatContentRange: range is empty');
  assert(lengthBytes === undefined || end <= lengthBytes, 'formatContentRange: range ends past the object');
  return `bytes ${start}-${end - 1}/${lengthBytes ?? '*'}`;
}

/** The Content-Range of a 416 (RFC 9110 s15.5.17). */
export function formatUnsatisfiedContentRange(lengthBytes: number): string {
  return `bytes */${lengthBytes}`;
}

function parseSpec(text: string): RangeSpec | undefined {
  const match = RANGE_SPEC.exec(text);
  if (match === null) return undefined;
  const [, first = '', last = '', suffix] = match;
  if (suffix !== undefined) return { suffix: saturate(suffix) };
  if (last === '') return { first: saturate(first), last: undefined };
  // Compared before they are cut to 2^53 - 1, where two different numbers may become one.
  if (BigInt(last) < BigInt(first)) return undefined;
  return { first: saturate(first), last: saturate(last) };
}

function saturate(digits: string): number {
  return Math.min(Number(digits), Number.MAX_SAFE_INTEGER);
}
