/** A map for what comes and goes: as a Map, but what is deleted is not kept alive by what came after it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { TurnoverMap } from '../../src/base/turnover-map.ts';

test('it is a map', () => {
  const map = new TurnoverMap<string, number>();
  map.set('one', 1);
  map.set('two', 2);
  map.set('one', 3);
  assert.deepEqual([map.size, map.get('one'), map.has('two'), map.get('three')], [2, 3, true, undefined]);
  const before = map.entries();
  assert.equal(map.delete('one'), true);
  assert.equal(map.delete('one'), false);
  assert.deepEqual(
    [before, map.entries()],
    [
      [
        ['one', 3],
        ['two', 2],
      ],
      [['two', 2]],
    ],
  );
});

test('what was deleted goes with the next collections of the young generation', async () => {
  setFlagsFromString('--expose-gc');
  const collect: (options: { type: 'minor' }) => void = runInNewContext('gc');
  const map = new TurnoverMap<number, object>();
  const deleted: WeakRef<object>[] = [];
  for (let round = 0; round < 60; round += 1) {
    for (let number = 0; number < 40; number += 1) {
      const key = round * 40 + number;
      const value = { key };
      map.set(key, value);
      // All but the last rounds, which may not have been looked at twice.
      if (round < 50) deleted.push(new WeakRef(value));
      map.delete(key - 8);
    }
    // A value that was looked at through a WeakRef stays until the end of the turn.
    await nextTurn();
    collect({ type: 'minor' });
  }
  // A few get old, since they are in the map at two collections; a Map would keep nearly all.
  const kept = deleted.filter((value) => value.deref() !== undefined).length;
  assert.ok(kept < deleted.length / 10, `${kept} of ${deleted.length} values are alive`);
});
