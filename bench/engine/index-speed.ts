/** What the index costs with ten million entries: memory, time to build it, time to find a slice that is there and one that is not. */
import assert from 'node:assert/strict';
import { SeededRandom } from '../../src/base/random.ts';
import { NO_SLOT, SliceIndex } from '../../src/store/index/slice-index.ts';
import type { EngineBenchContext, EngineBenchmark, EngineFigure } from './engine-benchmark.ts';

const SLICES_PER_OBJECT = 8;
const LOOKUPS = 2_000_000;

/** See the file's head. */
export const indexSpeed: EngineBenchmark = {
  name: 'index',
  question: 'how much memory does an entry take, and how fast are entries made and found?',
  run: (context) => Promise.resolve(run(context)),
};

function run({ isShort, say }: EngineBenchContext): EngineFigure[] {
  const entries = isShort ? 1_000_000 : 10_000_000;
  const figures: EngineFigure[] = [];
  const rate = (what: string, count: number, startedAtMs: number): void => {
    const number = (1000 * count) / (performance.now() - startedAtMs);
    figures.push({ what, value: `${(number / 1e6).toFixed(2)} M/s`, number, unit: '1/s' });
  };
  const bytes = (what: string, number: number): void => {
    figures.push({ what, value: `${number.toFixed(1)} B`, number, unit: 'B' });
  };

  say(`slices: ${entries}`);
  let before = memoryBytes();
  let startedAtMs = performance.now();
  const index = new SliceIndex(entries);
  for (let count = 0; count < entries; count += 1) {
    index.putSlice(1 + Math.floor(count / SLICES_PER_OBJECT), count % SLICES_PER_OBJECT, {
      block: count,
      blocks: 257,
      writeSequence: count,
      flags: 0,
    });
  }
  rate('slices put', entries, startedAtMs);
  bytes('memory of a slice, index full of slices', (memoryBytes() - before) / entries);

  const random = new SeededRandom(81);
  startedAtMs = performance.now();
  for (let count = 0; count < LOOKUPS; count += 1) {
    const slice = random.integerBelow(entries);
    assert.ok(index.findSlice(1 + Math.floor(slice / SLICES_PER_OBJECT), slice % SLICES_PER_OBJECT) !== NO_SLOT);
  }
  rate('lookups of slices that are there, at random', LOOKUPS, startedAtMs);
  startedAtMs = performance.now();
  for (let count = 0; count < LOOKUPS; count += 1) {
    assert.ok(index.findSlice(1 + random.integerBelow(entries), SLICES_PER_OBJECT) === NO_SLOT);
  }
  rate('lookups of slices that are not', LOOKUPS, startedAtMs);
  startedAtMs = performance.now();
  index.sortByWriteSequence();
  rate('entries put in order of write sequence', entries, startedAtMs);

  const objects = entries / 2;
  say(`objects: ${objects}`);
  before = memoryBytes();
  startedAtMs = performance.now();
  const other = new SliceIndex(entries);
  for (let count = 0; count < objects; count += 1)
    other.putManifest({ tagLow: Math.imul(count, 0x9e3779b1) >>> 0, tagHigh: count }, 1 + count);
  rate('objects put', objects, startedAtMs);
  bytes('memory of an object, index full of objects', (memoryBytes() - before) / objects);
  return figures;
}

function memoryBytes(): number {
  return process.memoryUsage().rss;
}
