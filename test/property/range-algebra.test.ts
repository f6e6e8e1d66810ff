/** Ranges and slice plans: what is parsed, resolved, planned and written again is the same bytes. Oracle: range-parser. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import rangeParser from 'range-parser';
import { planSlices, sliceCount } from '../../src/cache/slice-plan.ts';
import {
  formatContentRange,
  formatRangeHeader,
  formatSuffixRangeHeader,
  parseContentRange,
  parseRangeHeader,
  resolveRange,
} from '../../src/http/range.ts';

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
