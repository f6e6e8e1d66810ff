import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AssertionFailure } from '../../src/base/assert.ts';
import { BufferPool } from '../../src/memory/buffer-pool.ts';

test('a buffer is used again when its last hold has ended, and not before', () => {
  const pool = new BufferPool({ sizeBytes: 4096, keptMax: 4 });
  const first = pool.take();
  first.share();
  first.end();
  assert.notEqual(pool.take().bytes, first.bytes);
  first.end();
  assert.equal(pool.take().bytes, first.bytes);
  assert.throws(() => first.end(), AssertionFailure);
  assert.throws(() => first.share(), AssertionFailure);
});

test('as many are kept as may be, whatever was in use', () => {
  const pool = new BufferPool({ sizeBytes: 4096, keptMax: 2 });
  const taken = Array.from({ length: 5 }, () => pool.take());
  assert.deepEqual([pool.takenCount, pool.heldBytes], [5, 5 * 4096]);
  for (const buffer of taken) buffer.end();
  assert.deepEqual([pool.takenCount, pool.heldBytes], [0, 2 * 4096]);
});

test('a buffer that somebody may still write into is nobody else’s', () => {
  const pool = new BufferPool({ sizeBytes: 4096, keptMax: 2 });
  const buffer = pool.take();
  buffer.share();
  buffer.abandon();
  buffer.end();
  assert.equal(pool.takenCount, 0);
  assert.notEqual(pool.take().bytes, buffer.bytes);
});
