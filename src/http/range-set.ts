/**
 * What a Range field comes to against one representation of known length (RFC 9110 s14.2, s15.3.7.2): nothing, one range, or several in the
 * order asked. Ranges that overlap become one, so that no byte is sent twice and no set of ranges brings more content than the whole;
 * ranges that do not overlap stay apart, side by side or not, because clients find their parts by what they asked for. Called by the
 * planner of a request.
 */
import { type RangeSpec, resolveRange } from './range.ts';

/** Bytes [start, end); never empty. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** `ranges`: at least one, disjoint, in the order asked. `isMerged`: some of them overlapped. */
export type RangeSet =
  | { readonly kind: 'satisfiable'; readonly ranges: readonly ByteRange[]; readonly isMerged: boolean }
  | { readonly kind: 'unsatisfiable' };

/**
 * Resolves specs and merges what overlaps; a merged range stands where the first of its members stood. Unsatisfiable specs are left out.
 *
 * @param lengthBytes of the whole representation
 * Cost: n log n
 */
export function resolveRangeSet(specs: readonly RangeSpec[], lengthBytes: number): RangeSet {
  const asked: (ByteRange & { readonly place: number })[] = [];
  for (const [place, spec] of specs.entries()) {
    const resolved = resolveRange(spec, lengthBytes);
    if (resolved.kind === 'satisfiable') asked.push({ start: resolved.start, end: resolved.end, place });
  }
  if (asked.length === 0) return { kind: 'unsatisfiable' };
  asked.sort((one, other) => one.start - other.start);
  const merged: (ByteRange & { readonly place: number })[] = [];
  for (const range of asked) {
    const last = merged.at(-1);
    if (last === undefined || range.start >= last.end) merged.push(range);
    else merged[merged.length - 1] = { start: last.start, end: Math.max(last.end, range.end), place: Math.min(last.place, range.place) };
  }
  merged.sort((one, other) => one.place - other.place);
  return { kind: 'satisfiable', ranges: merged.map(({ start, end }) => ({ start, end })), isMerged: merged.length < asked.length };
}

/** Whether each range begins behind the one before. */
export function isAscending(ranges: readonly ByteRange[]): boolean {
  return ranges.every((range, index) => index === 0 || range.start >= (ranges[index - 1]?.end ?? 0));
}
