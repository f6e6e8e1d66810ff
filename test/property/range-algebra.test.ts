/** Ranges and slice plans: what is parsed, resolved, planned and written again is the same bytes. Oracle: range-parser. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import rangeParser from 'range-parser';
import { clusterRanges, openingRange, rangeCost } from '../../src/cache/range-plan.ts';
import { planSlices, sliceCount } from '../../src/cache/slice-plan.ts';
import { layoutMultipart } from '../../src/http/multipart-ranges.ts';
import {
  formatContentRange,
  formatRangeHeader,
  formatSuffixRangeHeader,
  parseContentRange,
  parseRangeHeader,
  resolveRange,
} from '../../src/http/range.ts';
import { type ByteRange, isAscending, resolveRangeSet } from '../../src/http/range-set.ts';
import { parseMultipart } from '../helpers/multipart-parser.ts';

const SEED = 20_261_121;
const RUNS = { seed: SEED, numRuns: 500 };
const offset = fc.oneof(fc.nat({ max: 40 }), fc.maxSafeNat());

test(`a range that we write is the range that we read (9110 s14.2, seed ${SEED})`, () => {
  fc.assert(
    fc.property(offset, offset, offset, (a, b, c) => {
      const [start = 0, end = 0, lengthBytes = 0] = [a, b, c].sort((one, other) => one - other);
      fc.pre(start < end);
      const spec = parseRangeHeader(formatRangeHeader(start, end))?.[0];
      assert.ok(spec !== undefined);
      assert.deepEqual(resolveRange(spec, lengthBytes), { kind: 'satisfiable', start, end });
      const open = parseRangeHeader(formatRangeHeader(start, undefined))?.[0];
      assert.ok(open !== undefined);
      assert.deepEqual(resolveRange(open, lengthBytes), { kind: 'satisfiable', start, end: lengthBytes });
      assert.deepEqual(parseContentRange(formatContentRange(start, end, lengthBytes)), { kind: 'range', start, end, lengthBytes });
    }),
    RUNS,
  );
});

test(`a suffix is the end of the object, never more than all of it (9110 s14.1.2, seed ${SEED})`, () => {
  fc.assert(
    fc.property(offset, offset, (suffix, lengthBytes) => {
      fc.pre(suffix > 0 && lengthBytes > 0);
      const spec = parseRangeHeader(formatSuffixRangeHeader(suffix))?.[0];
      assert.ok(spec !== undefined);
      const start = suffix > lengthBytes ? 0 : lengthBytes - suffix;
      assert.deepEqual(resolveRange(spec, lengthBytes), { kind: 'satisfiable', start, end: lengthBytes });
    }),
    RUNS,
  );
});

const small = fc.nat({ max: 30 });
const specText = fc.oneof(
  fc.tuple(small, small).map(([first, more]) => `${first}-${first + more}`),
  small.map((first) => `${first}-`),
  small.map((suffix) => `-${suffix}`),
);

/** What range-parser makes of a value, with exclusive ends; [] where it says unsatisfiable. */
function oracle(sizeBytes: number, text: string): { start: number; end: number }[] | 'malformed' {
  const result = rangeParser(sizeBytes, text);
  if (result === -2) return 'malformed';
  return result === -1 ? [] : [...result].map(({ start, end }) => ({ start, end: end + 1 }));
}

test(`rows 3-7, 9: resolved as range-parser does, but for suffixes longer than the object (9110 s14.1.2, seed ${SEED})`, () => {
  fc.assert(
    fc.property(fc.array(specText, { minLength: 1, maxLength: 4 }), fc.integer({ min: 1, max: 40 }), (texts, lengthBytes) => {
      // range-parser calls `-50` of 10 bytes unsatisfiable; the RFC says that it is the whole.
      fc.pre(texts.every((text) => !text.startsWith('-') || Number(text.slice(1)) <= lengthBytes));
      const value = `bytes=${texts.join(', ')}`;
      const resolved = (parseRangeHeader(value) ?? []).map((spec) => resolveRange(spec, lengthBytes));
      const satisfied = resolved.flatMap((range) => (range.kind === 'satisfiable' ? [{ start: range.start, end: range.end }] : []));
      assert.deepEqual(satisfied, oracle(lengthBytes, value));
    }),
    RUNS,
  );
});

test(`row 2: what we take range-parser takes (9110 s14.1.1, seed ${SEED})`, () => {
  const text = fc
    .array(fc.constantFrom('0', '1', '9', '-', ',', ' ', 'x', '=', '+'), { maxLength: 8 })
    .map((parts) => `bytes=${parts.join('')}`);
  fc.assert(
    fc.property(text, (value) => {
      // An empty member is malformed to range-parser, but allowed in any list (9110 s5.6.1.2).
      const hasEmptyMember = value
        .slice('bytes='.length)
        .split(',')
        .some((member) => member.trim() === '');
      if (parseRangeHeader(value) !== undefined && !hasEmptyMember) assert.notEqual(oracle(100, value), 'malformed', value);
    }),
    RUNS,
  );
});

test('where we differ from range-parser, and the RFC is with us', () => {
  const whole = parseRangeHeader('bytes=-50')?.[0];
  assert.ok(whole !== undefined);
  // Row 5, 9110 s14.1.2: a suffix longer than the representation is the whole of it.
  assert.deepEqual(oracle(10, 'bytes=-50'), []);
  assert.deepEqual(resolveRange(whole, 10), { kind: 'satisfiable', start: 0, end: 10 });
  // Row 6, 9110 s14.1.1: last before first is invalid, so the field is ignored; range-parser makes a 416 of it.
  assert.deepEqual(oracle(10, 'bytes=5-4'), []);
  assert.equal(parseRangeHeader('bytes=5-4'), undefined);
  // Row 2, 9110 s14.1: white space inside a spec, and other units, are not byte ranges.
  assert.notEqual(oracle(10, 'bytes=0 - 4'), 'malformed');
  assert.equal(parseRangeHeader('bytes=0 - 4'), undefined);
  assert.equal(parseRangeHeader('items=0-4'), undefined);
});

test(`a slice plan covers its range, no byte less or twice (seed ${SEED})`, () => {
  const shape = fc.record({
    sliceSizeBytes: fc.integer({ min: 1, max: 2 ** 23 }),
    lengthBytes: fc.maxSafeNat(),
    from: fc.nat(),
    size: fc.nat(),
  });
  fc.assert(
    fc.property(shape, fc.boolean(), ({ sliceSizeBytes, lengthBytes, from, size }, isAtEnd) => {
      // At most about 20 slices, near either end of the object.
      const wantedBytes = Math.min(size % (20 * sliceSizeBytes), lengthBytes);
      const start = isAtEnd ? lengthBytes - wantedBytes : Math.min(from, lengthBytes - wantedBytes);
      const end = start + wantedBytes;
      const plan = planSlices({ start, end, lengthBytes, sliceSizeBytes });
      let position = start;
      for (let sliceNumber = plan.firstSlice; sliceNumber < plan.endSlice; sliceNumber += 1) {
        const { startBytes, endBytes } = plan.step(sliceNumber);
        assert.equal(sliceNumber * sliceSizeBytes + startBytes, position);
        assert.ok(startBytes < endBytes && endBytes <= plan.sliceLengthBytes(sliceNumber));
        position = sliceNumber * sliceSizeBytes + endBytes;
      }
      assert.equal(position, end);
      assert.ok(plan.endSlice <= sliceCount(lengthBytes, sliceSizeBytes));
    }),
    RUNS,
  );
});

test(`the slices of an object add up to it (seed ${SEED})`, () => {
  fc.assert(
    fc.property(fc.nat({ max: 1000 }), fc.integer({ min: 1, max: 64 }), (lengthBytes, sliceSizeBytes) => {
      const plan = planSlices({ start: 0, end: lengthBytes, lengthBytes, sliceSizeBytes });
      const count = sliceCount(lengthBytes, sliceSizeBytes);
      assert.equal(plan.endSlice, count);
      let total = 0;
      for (let sliceNumber = 0; sliceNumber < count; sliceNumber += 1) total += plan.sliceLengthBytes(sliceNumber);
      assert.equal(total, lengthBytes);
    }),
    RUNS,
  );
});

const specTexts = fc.array(specText, { minLength: 1, maxLength: 12 });

/** The satisfiable ranges of a list as the grammar of RFC 9110 s14.1.2 has them, each a set of byte numbers: slow, and unlike the program. */
function askedBytes(texts: readonly string[], lengthBytes: number): Set<number>[] {
  const numbers = Array.from({ length: lengthBytes }, (_unused, index) => index);
  const sets = texts.map((text) => {
    const [first = '', last = ''] = text.split('-');
    if (first === '') return new Set(numbers.slice(Math.max(0, lengthBytes - Number(last))));
    return new Set(numbers.filter((index) => index >= Number(first) && (last === '' || index <= Number(last))));
  });
  return sets.filter((set) => set.size > 0);
}

function mustResolve(texts: readonly string[], lengthBytes: number): readonly ByteRange[] {
  const set = resolveRangeSet(parseRangeHeader(`bytes=${texts.join()}`) ?? [], lengthBytes);
  return set.kind === 'satisfiable' ? set.ranges : [];
}

test(`rows 9-11: a set of ranges is all bytes that were asked for, none twice, in the order asked (9110 s15.3.7.2, seed ${SEED})`, () => {
  fc.assert(
    fc.property(specTexts, fc.integer({ min: 1, max: 60 }), (texts, lengthBytes) => {
      const asked = askedBytes(texts, lengthBytes);
      const ranges = mustResolve(texts, lengthBytes);
      const sent = ranges.flatMap(({ start, end }) => Array.from({ length: end - start }, (_unused, index) => start + index));
      assert.equal(new Set(sent).size, sent.length, 'no byte twice');
      assert.deepEqual(
        sent.toSorted((one, other) => one - other),
        [...new Set(asked.flatMap((set) => [...set]))].sort((one, other) => one - other),
      );
      // Each range stands where the first one that it answers stood.
      const places = ranges.map(({ start, end }) => asked.findIndex((set) => [...set].some((byte) => byte >= start && byte < end)));
      assert.deepEqual(
        places,
        places.toSorted((one, other) => one - other),
      );
      // Only what overlaps is merged: no range can be cut in two without cutting one that was asked for.
      for (const { start, end } of ranges) {
        for (let cut = start + 1; cut < end; cut += 1) assert.ok(asked.some((set) => set.has(cut - 1) && set.has(cut)));
      }
    }),
    RUNS,
  );
});

test(`row 9: a multipart body, parsed by another parser, is the bytes; its length is known before (9110 s14.6, seed ${SEED})`, () => {
  const bytes = fc.uint8Array({ minLength: 1, maxLength: 200 });
  const type = fc.constantFrom(undefined, 'text/plain', 'multipart/byteranges; boundary=xyz', 'a/b; c="d, e"');
  fc.assert(
    fc.property(bytes, specTexts, type, (content, texts, contentType) => {
      const ranges = mustResolve(texts, content.length);
      fc.pre(ranges.length > 0);
      const partFields = contentType === undefined ? [] : [['Content-Type', contentType] as const];
      const layout = layoutMultipart({ ranges, lengthBytes: content.length, partFields, boundary: '0123456789abcdef' });
      assert.ok(layout !== undefined);
      const pieces = layout.parts.flatMap(({ head, start, end }) => [head, Buffer.from(content.subarray(start, end))]);
      const body = Buffer.concat([...pieces, layout.tail]);
      assert.equal(body.length, layout.lengthBytes);
      const parts = parseMultipart(layout.contentType, body);
      assert.deepEqual(
        parts.map(({ start, end, total, headers }) => [start, end, total, headers['content-type']]),
        ranges.map(({ start, end }) => [start, end, content.length, contentType]),
      );
      for (const part of parts) assert.deepEqual(new Uint8Array(part.bytes), content.slice(part.start, part.end));
    }),
    RUNS,
  );
});

test(`row 9: clusters are the ranges again, each ascending and without a slice that nobody wants in between (seed ${SEED})`, () => {
  fc.assert(
    fc.property(specTexts, fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 9 }), (texts, lengthBytes, sliceSizeBytes) => {
      const ranges = mustResolve(texts, lengthBytes);
      const clusters = clusterRanges(ranges, sliceSizeBytes);
      assert.deepEqual(
        clusters.flatMap((cluster) => cluster.ranges),
        ranges,
      );
      for (const cluster of clusters) {
        assert.ok(isAscending(cluster.ranges));
        assert.deepEqual([cluster.start, cluster.end], [cluster.ranges[0]?.start, cluster.ranges.at(-1)?.end]);
        const wanted = new Set<number>();
        for (const { start, end } of cluster.ranges)
          for (let byte = start; byte < end; byte += 1) wanted.add(Math.floor(byte / sliceSizeBytes));
        const first = Math.floor(cluster.start / sliceSizeBytes);
        const last = Math.floor((cluster.end - 1) / sliceSizeBytes);
        assert.equal(wanted.size, last - first + 1);
      }
    }),
    RUNS,
  );
});

test(`row 11: the cost of ranges is what whole missing slices have beside them (9110 s17.15, seed ${SEED})`, () => {
  const missingSlices = fc.uniqueArray(fc.nat({ max: 60 }));
  fc.assert(
    fc.property(
      specTexts,
      fc.integer({ min: 1, max: 60 }),
      fc.integer({ min: 1, max: 9 }),
      missingSlices,
      (texts, lengthBytes, size, missing) => {
        const ranges = mustResolve(texts, lengthBytes);
        const wanted = new Set(ranges.flatMap(({ start, end }) => Array.from({ length: end - start }, (_unused, index) => start + index)));
        const fetched = new Set([...wanted].map((byte) => Math.floor(byte / size)).filter((slice) => missing.includes(slice)));
        let surplusBytes = 0;
        for (let byte = 0; byte < lengthBytes; byte += 1) if (fetched.has(Math.floor(byte / size)) && !wanted.has(byte)) surplusBytes += 1;
        const cost = rangeCost(ranges, { lengthBytes, sliceSizeBytes: size }, (step) => missing.includes(step.sliceNumber));
        assert.equal(cost.surplusBytes, surplusBytes);
      },
    ),
    RUNS,
  );
});

test(`row 5: the range with which a fill begins is satisfiable if any is (seed ${SEED})`, () => {
  fc.assert(
    fc.property(specTexts, fc.integer({ min: 1, max: 60 }), (texts, lengthBytes) => {
      const specs = parseRangeHeader(`bytes=${texts.join()}`) ?? [];
      const opening = openingRange(specs);
      const isAny = specs.some((spec) => resolveRange(spec, lengthBytes).kind === 'satisfiable');
      assert.equal(opening !== undefined && resolveRange(opening, lengthBytes).kind === 'satisfiable', isAny);
    }),
    RUNS,
  );
});
