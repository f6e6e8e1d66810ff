/** The slice plan: arithmetic only. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planSlices, type SliceStep, sliceCount } from '../../src/cache/slice-plan.ts';

function stepsOf(start: number, end: number, lengthBytes: number): SliceStep[] {
  const plan = planSlices({ start, end, lengthBytes, sliceSizeBytes: 10 });
  return Array.from({ length: plan.endSlice - plan.firstSlice }, (_, index) => plan.step(plan.firstSlice + index));
}
const step = (sliceNumber: number, startBytes: number, endBytes: number): SliceStep => ({ sliceNumber, startBytes, endBytes });

const PLANS: readonly (readonly [string, number, number, number, readonly SliceStep[]])[] = [
  ['one byte', 0, 1, 25, [step(0, 0, 1)]],
  ['one whole slice', 10, 20, 25, [step(1, 0, 10)]],
  ['across a boundary', 9, 11, 25, [step(0, 9, 10), step(1, 0, 1)]],
  ['the whole object', 0, 25, 25, [step(0, 0, 10), step(1, 0, 10), step(2, 0, 5)]],
  ['a suffix', 22, 25, 25, [step(2, 2, 5)]],
  ['an object that ends with its slice', 15, 20, 20, [step(1, 5, 10)]],
  ['row 8: an empty object', 0, 0, 0, []],
  ['nothing in the middle', 15, 15, 25, []],
];
for (const [name, start, end, lengthBytes, steps] of PLANS) {
  test(`planSlices() covers ${name} exactly`, () => assert.deepEqual(stepsOf(start, end, lengthBytes), steps));
}

test('row 57: a plan for 8 PiB costs nothing and stays exact', () => {
  const lengthBytes = Number.MAX_SAFE_INTEGER;
  const sliceSizeBytes = 2 ** 20;
  const plan = planSlices({ start: lengthBytes - 1, end: lengthBytes, lengthBytes, sliceSizeBytes });
  assert.equal(plan.endSlice, 2 ** 33);
  assert.deepEqual(plan.step(2 ** 33 - 1), step(2 ** 33 - 1, sliceSizeBytes - 2, sliceSizeBytes - 1));
  assert.equal(plan.sliceLengthBytes(2 ** 33 - 1), sliceSizeBytes - 1);
});

test('sliceLengthBytes() is short for the last slice only', () => {
  const plan = planSlices({ start: 0, end: 1, lengthBytes: 25, sliceSizeBytes: 10 });
  assert.deepEqual(
    [0, 1, 2].map((number) => plan.sliceLengthBytes(number)),
    [10, 10, 5],
  );
  assert.throws(() => plan.sliceLengthBytes(3), { name: 'AssertionFailure' });
  assert.throws(() => plan.step(1), { name: 'AssertionFailure' });
});

test('planSlices() refuses a range outside the object', () => {
  for (const [start, end] of [
    [-1, 1],
    [2, 1],
    [0, 26],
    [0.5, 1],
    [Number.NaN, 1],
  ] as const) {
    assert.throws(() => planSlices({ start, end, lengthBytes: 25, sliceSizeBytes: 10 }), { name: 'AssertionFailure' });
  }
});

test('sliceCount()', () => {
  assert.deepEqual(
    [0, 1, 10, 11].map((lengthBytes) => sliceCount(lengthBytes, 10)),
    [0, 1, 1, 2],
  );
});
