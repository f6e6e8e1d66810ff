/** Several ranges as slices: clusters, where a fill begins, and what it costs the origin. Slices of 100 bytes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterRanges, openingRange, rangeCost, spanOf } from '../../src/cache/range-plan.ts';
import type { SliceStep } from '../../src/cache/slice-plan.ts';
import { parseRangeHeader } from '../../src/http/range.ts';
import type { ByteRange } from '../../src/http/range-set.ts';

function ranges(text: string): ByteRange[] {
  return text.split(',').map((part) => {
    const [start = 0, end = 0] = part.split('-').map(Number);
    return { start, end };
  });
}

const CLUSTERS: readonly (readonly [name: string, text: string, spans: readonly string[]])[] = [
  ['one slice', '0-5,10-15,90-100', ['0-100']],
  ['the next slice belongs to it', '0-5,100-101,199-200', ['0-200']],
  ['a slice in between parts them', '0-5,200-201', ['0-5', '200-201']],
  ['up to the end of a slice, then the next one', '0-100,100-101', ['0-101']],
  ['up to the end of a slice, then the one after', '0-100,200-201', ['0-100', '200-201']],
  ['backwards', '250-260,0-5,10-20', ['250-260', '0-20']],
  ['backwards within a slice', '10-20,0-5', ['10-20', '0-5']],
];
for (const [name, text, spans] of CLUSTERS) {
  test(`clusterRanges(): ${name}`, () => {
    const list = ranges(text);
    const clusters = clusterRanges(list, 100);
    assert.deepEqual(
      clusters.map(({ start, end }) => `${start}-${end}`),
      spans,
    );
    assert.deepEqual(
      clusters.flatMap((cluster) => cluster.ranges),
      list,
    );
  });
}

test('spanOf() takes what lies between for part of it', () => {
  const { start, end } = spanOf(ranges('5-10,900-901'));
  assert.deepEqual([start, end], [5, 901]);
});

const OPENING: readonly (readonly [text: string, opening: string | undefined])[] = [
  ['5-9', '5-9'],
  ['50-59,5-9', '5-9'],
  ['0-4,-5', '0-4'],
  ['50-59,-500,-5', '-5'],
  ['9999-,-0', '9999-'],
  ['-0', undefined],
];
for (const [text, opening] of OPENING) {
  test(`row 5: a fill for bytes=${text} begins with ${opening ?? 'everything'}`, () => {
    const expected = opening === undefined ? undefined : parseRangeHeader(`bytes=${opening}`)?.[0];
    assert.deepEqual(openingRange(parseRangeHeader(`bytes=${text}`) ?? []), expected);
  });
}

test('without ranges there is none to begin with', () => assert.equal(openingRange([]), undefined));

const COSTS: readonly (readonly [
  name: string,
  text: string,
  missing: 'all' | readonly number[],
  surplus: number,
  missingRanges: number,
])[] = [
  ['a byte costs the rest of its slice', '0-1', 'all', 99, 1],
  ['whole slices cost nothing', '100-300', 'all', 0, 1],
  ['both edges count', '50-250', 'all', 100, 1],
  ['two parts of a slice share it', '0-10,50-60', 'all', 80, 2],
  ['the last slice is short', '900-901', 'all', 49, 1],
  ['what is stored costs nothing', '0-1,150-151', [0], 99, 1],
  ['nothing missing', '0-1', [], 0, 0],
];
for (const [name, text, missing, surplusBytes, missingRanges] of COSTS) {
  test(`row 11: rangeCost(): ${name} (9110 s17.15)`, () => {
    const shape = { lengthBytes: 950, sliceSizeBytes: 100 };
    const isMissing = ({ sliceNumber }: SliceStep): boolean => missing === 'all' || missing.includes(sliceNumber);
    assert.deepEqual(rangeCost(ranges(text), shape, isMissing), { surplusBytes, missingRanges });
  });
}
