/** What is remembered of purges, for late answers and for devices that were away. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Purge, purgeEntry, purgeOfEntry, purgeOfRecord, purgeRecord, scopeOf } from '../../src/store/purges/purge.ts';
import { PurgeMemory } from '../../src/store/purges/purge-memory.ts';
import type { PurgeTarget } from '../../src/store/slice-store.ts';
import { hashOf } from './store-bench.ts';

const object = (key: string): PurgeTarget => ({ kind: 'object', objectHash: hashOf(key) });

function purgeOf(target: PurgeTarget, sequence: number, isSoft = false): Purge {
  return { ...scopeOf(target), isSoft, generation: 10 * sequence, sequence, atMs: 1000 + sequence };
}

function offer(memory: PurgeMemory, key: string, purgeSequence: number, generation: number, tags: readonly string[] = []): string {
  const about = { objectHash: hashOf(key), keyText: key, tags, purgeSequence, generation, isStored: false };
  return memory.judgeOffer(about).kind;
}

test('answers from before a purge are refused, whatever their tags; beyond the memory every older one is suspicious', () => {
  const memory = new PurgeMemory({ scopesMax: 2, epochsMax: 2, clearedMax: 2 });
  for (const [at, key] of ['a', 'b', 'c'].entries()) memory.remember(purgeOf(object(key), at + 1));
  assert.equal(offer(memory, 'b', 1, 99), 'covered');
  assert.equal(offer(memory, 'b', 2, 99), 'clear');
  assert.equal(offer(memory, 'b', 2, 19), 'covered');
  assert.equal(offer(memory, 'x', 0, 99), 'covered');
  assert.equal(offer(memory, 'x', 1, 99), 'clear');
  memory.remember(purgeOf({ kind: 'tag', tag: 'red' }, 4));
  assert.equal(offer(memory, 'x', 3, 99, ['blue', 'red']), 'covered');
  assert.equal(offer(memory, 'x', 3, 99, ['blue']), 'clear');
  memory.remember(purgeOf({ kind: 'prefix', keyPrefix: 'äx/' }, 5));
  const tagged = new PurgeMemory({ scopesMax: 3, epochsMax: 3, clearedMax: 2 });
  tagged.remember(purgeOf({ kind: 'tag', tag: 'red', keyPrefix: 'äx/' }, 4));
  assert.equal(offer(tagged, 'äx/y', 3, 99, ['blue', 'red']), 'covered');
  for (const [key, tag] of [
    ['äx/y', 'blue'],
    ['äxy', 'red'],
    ['ä', 'red'],
  ] as const)
    assert.equal(offer(tagged, key, 3, 99, [tag]), 'clear');
  assert.equal(offer(memory, 'äx/y', 4, 99), 'covered');
  assert.equal(offer(memory, 'äx', 4, 99), 'clear');
  memory.remember(purgeOf({ kind: 'everything' }, 6));
  assert.equal(offer(memory, 'anything', 5, 99), 'covered');
  assert.equal(offer(memory, 'anything', 6, 59), 'covered');
  assert.equal(offer(memory, 'anything', 6, 60), 'clear');
});

test('beyond the memory an object of an index that is loading is not handed out if any purge of before may be of it', () => {
  for (const isSoft of [false, true]) {
    const memory = new PurgeMemory({ scopesMax: 2, epochsMax: 2, clearedMax: 2 });
    for (const [at, key] of ['a', 'b', 'c'].entries()) memory.remember(purgeOf(object(key), at + 1, isSoft));
    const judge = (key: string, generation: number): string =>
      memory.judgeLoading({ objectHash: hashOf(key), keyText: key, tags: [], generation }).kind;
    assert.deepEqual(
      [judge('a', 9), judge('x', 9), judge('x', 10), judge('c', 29)],
      ['covered', 'covered', 'clear', isSoft ? 'stale' : 'covered'],
    );
  }
});

test('an object of the index is suspect from an epoch on until it was looked at, or the index was walked', () => {
  const memory = new PurgeMemory({ scopesMax: 9, epochsMax: 9, clearedMax: 2 });
  memory.remember(purgeOf({ kind: 'tag', tag: 'red' }, 1));
  memory.resuspect([3]);
  assert.deepEqual([memory.isSuspect(3), memory.isSuspect(4), memory.isSuspect(10)], [false, true, false]);
  const about = (generation: number, tags: readonly string[]) => ({ objectHash: hashOf('a'), keyText: 'a', tags, generation });
  assert.equal(memory.judgeStored(about(4, ['red'])).kind, 'covered');
  assert.equal(memory.judgeStored(about(4, ['blue'])).kind, 'clear');
  assert.equal(memory.judgeStored(about(10, ['red'])).kind, 'clear');
  for (const generation of [4, 5]) memory.clear(generation);
  assert.deepEqual([memory.isSuspect(3), memory.isSuspect(4), memory.isSuspect(5)], [true, false, false], 'what is known is bounded');
  memory.remember(purgeOf({ kind: 'prefix', keyPrefix: 'a' }, 2, true));
  memory.resuspect([]);
  assert.deepEqual(memory.judgeStored(about(4, [])), { kind: 'stale', atMs: 1002, sequence: 2 });
  memory.markWalked(1);
  assert.deepEqual([memory.activeEpochs, memory.retiringEpochs], [1, 1]);
  const { active, recent, retired } = memory.forCheckpoint();
  assert.deepEqual([active.map(({ sequence }) => sequence), recent.map(({ sequence }) => sequence), retired.length], [[2], [1], 1]);
  memory.markWalked(2);
  assert.equal(memory.isSuspect(4), false);
  memory.retire(retired);
  assert.equal(memory.retiringEpochs, 1, 'the second was walked after that checkpoint began');
});

test('of two soft purges of one scope the first says since when what both cover is stale, in whichever order they are met', () => {
  const red: PurgeTarget = { kind: 'tag', tag: 'red' };
  const about = { objectHash: hashOf('a'), keyText: 'a', tags: ['red'], generation: 4 };
  for (const order of [
    [1, 2],
    [2, 1],
  ]) {
    const memory = new PurgeMemory({ scopesMax: 9, epochsMax: 9, clearedMax: 2 });
    for (const sequence of order) memory.remember(purgeOf(red, sequence, true));
    assert.deepEqual(memory.judgeStored(about), { kind: 'stale', atMs: 1001, sequence: 2 });
    assert.deepEqual(memory.judgeStored({ ...about, generation: 19 }).kind, 'stale');
    assert.deepEqual(memory.judgeStored({ ...about, generation: 20 }).kind, 'clear');
    assert.equal(memory.activeEpochs, 1);
    assert.deepEqual(memory.judgeOffer({ ...about, purgeSequence: 0, isStored: true }), { kind: 'stale', atMs: 1001 });
  }
});

test('the last purges are told one by one, without a gap, or not at all', () => {
  const memory = new PurgeMemory({ scopesMax: 9, epochsMax: 3, clearedMax: 2 });
  for (let sequence = 1; sequence <= 5; sequence += 1) memory.remember(purgeOf(object(`k${sequence % 2}`), sequence));
  const numbers = (since: number): unknown => {
    const purges = memory.since(since);
    return purges === 'unknown' ? purges : purges.map(({ sequence }) => sequence);
  };
  assert.deepEqual([numbers(1), numbers(2), numbers(4), numbers(5)], ['unknown', [3, 4, 5], [5], []]);
  const { recent } = memory.forCheckpoint();
  const restored = new PurgeMemory({ scopesMax: 9, epochsMax: 3, clearedMax: 2 });
  const gone = recent.filter(({ sequence }) => sequence !== 4);
  restored.restore({ epochs: [], recent: gone, newestSequence: 5, purgedGeneration: 7 });
  assert.equal(restored.since(3), 'unknown');
  assert.deepEqual(restored.since(4), [purgeOf(object('k1'), 5)]);
  assert.deepEqual([restored.newestSequence, restored.isForgotten(6), restored.isForgotten(7)], [5, true, false]);
});

test('journal and checkpoint bring back each purge as it was', () => {
  const targets: readonly PurgeTarget[] = [
    object('a'),
    { kind: 'prefix', keyPrefix: 'site/long/prefix' },
    { kind: 'tag', tag: 't' },
    { kind: 'tag', tag: 't', keyPrefix: 'site/' },
    { kind: 'everything' },
  ];
  for (const target of targets) {
    for (const isSoft of [false, true]) {
      const purge = purgeOf(target, 2 ** 33, isSoft);
      assert.deepEqual(purgeOfRecord(purgeRecord(purge)), purge);
      for (const isDone of [false, true]) assert.deepEqual(purgeOfEntry(purgeEntry(purge, isDone)), { purge, isDone });
    }
  }
  const odd = { ...purgeRecord(purgeOf(targets[0]!, 1)), flags: 77 };
  assert.equal(purgeOfRecord(odd), undefined);
});
