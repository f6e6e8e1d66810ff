/** A few seconds of torture with a fresh seed, which is printed; `node test/torture/torture.ts --seed N` plays it longer. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SystemRandom } from '../../src/base/random.ts';
import { torture } from './torture.ts';

test('no wrong byte, no lie and nothing left under random load, faults, purges and crashes', { timeout: 60_000 }, async (context) => {
  const seed = new SystemRandom().integerBelow(1_000_000);
  context.diagnostic(`seed ${seed}`);
  const { complaints, tally } = await torture({ seed, seconds: 2, size: 1 });
  assert.deepEqual(complaints, [], `seed ${seed}`);
  assert.ok(tally.requests > 0);
});
