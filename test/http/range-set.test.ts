/** Several ranges against one length (RFC 9110 s14.2, s15.3.7.2). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRangeHeader } from '../../src/http/range.ts';
import { isAscending, resolveRangeSet } from '../../src/http/range-set.ts';

/** Of an object of 100 bytes; ends are exclusive. */
const ROWS: readonly (readonly [string, string, readonly (readonly [number, number])[], boolean])[] = [
  ['one', '0-9', [[0, 10]], false],
  [
    'row 9: in the order asked',
    '50-59,0-9,20-29',
    [
      [50, 60],
      [0, 10],
      [20, 30],
    ],
    false,
  ],
  [
    'row 9: side by side stays apart',
    '0-9,10-19',
    [
      [0, 10],
      [10, 20],
    ],
    false,
  ],
  ['row 10: one satisfiable of three', '100-,5-6,200-300', [[5, 7]], false],
  ['row 11: an overlap of one byte', '0-10,10-19', [[0, 20]], true],
  ['row 11: one inside the other', '0-99,5-6', [[0, 100]], true],
  ['row 11: a chain', '0-10,20-30,10-20', [[0, 31]], true],
  [
    'row 11: the place of the first member',
    '60-69,0-9,30-39,65-74,5-14',
    [
      [60, 75],
      [0, 15],
      [30, 40],
    ],
    true,
  ],
  ['row 11: a start and a suffix that meet', '40-,-61', [[39, 100]], true],
  ['row 11: the same, many times', Array(50).fill('7-7').join(), [[7, 8]], true],
];
for (const [name, text, expected, isMerged] of ROWS) {
  test(`resolveRangeSet(): ${name}`, () => {
    const set = resolveRangeSet(parseRangeHeader(`bytes=${text}`) ?? [], 100);
    assert.deepEqual(set, { kind: 'satisfiable', ranges: expected.map(([start, end]) => ({ start, end })), isMerged });
  });
}

test('row 7: resolveRangeSet(): nothing satisfiable', () => {
  assert.deepEqual(resolveRangeSet(parseRangeHeader('bytes=100-,-0') ?? [], 100), { kind: 'unsatisfiable' });
});

test('isAscending() is about places, not about gaps', () => {
  assert.equal(isAscending([]), true);
  assert.equal(
    isAscending([
      { start: 0, end: 5 },
      { start: 5, end: 6 },
      { start: 90, end: 91 },
    ]),
    true,
  );
  assert.equal(
    isAscending([
      { start: 10, end: 15 },
      { start: 0, end: 5 },
    ]),
    false,
  );
  assert.equal(
    isAscending([
      { start: 0, end: 5 },
      { start: 4, end: 6 },
    ]),
    false,
  );
});
