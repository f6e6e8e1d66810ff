import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IntervalSet } from '../../src/base/interval-set.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import { PartMemory } from '../../src/cache/part-memory.ts';

const LENGTH = 40;

test('intervals and parts agree with an array of bytes, whatever is added', () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const random = new SeededRandom(seed);
    const known = new IntervalSet();
    const memory = new PartMemory(() => assert.fail('nothing is evicted'));
    const bytes = Buffer.from(random.bytes(LENGTH));
    const isThere = new Array<boolean>(LENGTH).fill(false);
    for (let step = 0; step < 8; step += 1) {
      const start = random.integerBelow(LENGTH);
      const end = start + random.integerBelow(LENGTH - start + 1);
      known.add(start, end);
      memory.add(1, 2, { start, bytes: bytes.subarray(start, end) });
      isThere.fill(true, start, end);
      const count = isThere.filter(Boolean).length;
      assert.equal(known.total, count);
      assert.equal(memory.sizeBytes, count);
      for (let position = 0; position < LENGTH; position += 1) {
        const lastThere = isThere.indexOf(false, position);
        const thereEnd = lastThere < 0 ? LENGTH : lastThere;
        const context = `seed ${seed} step ${step} position ${position}`;
        assert.equal(known.at(position)?.end, isThere[position] === true ? thereEnd : undefined, context);
        assert.deepEqual(
          memory.tryRead(1, 2, { start: position, end: LENGTH }),
          isThere[position] === true ? bytes.subarray(position, thereEnd) : undefined,
          context,
        );
        const gapEnd = isThere.indexOf(true, position);
        const gapStart = isThere.lastIndexOf(true, position) + 1;
        const gap = { start: gapStart, end: gapEnd < 0 ? LENGTH : gapEnd };
        assert.deepEqual(known.gapAt(position, LENGTH), isThere[position] === true ? undefined : gap, context);
      }
    }
  }
});

test('parts belong to one slice of one generation, and are copies', () => {
  const memory = new PartMemory(() => undefined);
  const bytes = Buffer.from('abc');
  memory.add(7, 0, { start: 4, bytes });
  bytes.fill(0);
  assert.equal(memory.tryRead(7, 0, { start: 4, end: 6 })?.toString(), 'ab');
  assert.deepEqual([memory.has(7, 0), memory.has(7, 1), memory.has(8, 0)], [true, false, false]);
  assert.deepEqual([memory.covers(7, 0, { start: 5, end: 7 }), memory.covers(7, 0, { start: 5, end: 8 })], [true, false]);
  memory.delete(7, 0);
  assert.equal(memory.sizeBytes, 0);
});

test('the least recently used slice makes room, and is counted', () => {
  let evicted = 0;
  const memory = new PartMemory(() => {
    evicted += 1;
  });
  for (let slice = 0; slice < 8; slice += 1) memory.add(1, slice, { start: 0, bytes: Buffer.alloc(MIB) });
  memory.list(1, 0);
  memory.add(1, 8, { start: 0, bytes: Buffer.alloc(1) });
  assert.deepEqual([evicted, memory.has(1, 0), memory.has(1, 1), memory.has(1, 8)], [1, true, false, true]);
});
