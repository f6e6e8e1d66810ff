/**
 * Checkpoints and the journal between them, each of several parts and blocks: at whatever moment the power fails, everything that a flush of
 * the journal covered is found again.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB, MIB } from '../../src/base/units.ts';
import { CHECKPOINT_PART_ENTRIES } from '../../src/format/geometry.ts';
import { NO_SLOT, objectTag } from '../../src/store/index/slice-index.ts';
import { purgeRecord, scopeOf } from '../../src/store/purges/purge.ts';
import { CrashStates } from './crash-states.ts';
import { formatDisk, leaveRoot, lookAtRoot, mountRoot, putObject } from './root-bench.ts';
import { hashOf, tinyParameters } from './store-bench.ts';

/** Two parts of a checkpoint, and some. */
const OBJECTS = CHECKPOINT_PART_ENTRIES + 200;
const MORE = 100;
const ROUNDS = 3;

test('a crash at any moment around checkpoints costs nothing that was durable', async (context) => {
  const states = new CrashStates({ capacityBytes: 12 * MIB, seed: 81 });
  // A ring of few blocks, so that it comes round: what a checkpoint has covered is written over.
  await formatDisk(states.disk, { ...tinyParameters({ entryCount: 4 * OBJECTS, journalBlocks: 36 }), groupBytes: 512 * KIB });
  const bench = await mountRoot(states.disk);
  const { catalogue, journal, keeper } = bench;
  let count = 0;
  let durable = 0;
  const add = async (objects: number): Promise<void> => {
    for (let left = objects; left > 0; left -= 1) {
      count += 1;
      putObject(catalogue, `key-${count}`, count, 1);
    }
    const target = count;
    await journal.flush();
    durable = target;
  };
  await add(OBJECTS);
  await states.judgeAll(
    async () => {
      for (let round = 0; round < ROUNDS; round += 1) {
        // Half of the round's records come while the checkpoint is written.
        await add(MORE / 2);
        await Promise.all([keeper.checkpoint(), add(MORE / 2)]);
      }
    },
    async (disk, title, expected) => {
      const { state } = await lookAtRoot(disk);
      assert.equal(state.report.isForgotten, false, title);
      for (let number = 1; number <= expected; number += 1)
        assert.notEqual(state.index.findTag(objectTag(hashOf(`key-${number}`))), NO_SLOT, `${title}: object ${number} of ${expected}`);
    },
    () => durable,
  );
  assert.equal(bench.metrics.value('journalDropped'), 0);
  await leaveRoot(bench);
  context.diagnostic(`survived: ${JSON.stringify({ crashStates: states.judged })}`);
});

test('a start speaks of nothing that the disk may yet forget: a purge whose flush had failed, read, and then lost by a crash', async () => {
  const states = new CrashStates({ capacityBytes: 4 * MIB, seed: 82 });
  await formatDisk(states.disk);
  const bench = await mountRoot(states.disk, { mayFail: true });
  putObject(bench.catalogue, 'kept', 1, 1);
  await bench.journal.flush();
  const mend = states.disk.addFault({ operation: 'flush', effect: { kind: 'error', errno: 'EIO' } });
  const purged = scopeOf({ kind: 'object', objectHash: hashOf('purged') });
  bench.journal.append(purgeRecord({ ...purged, isSoft: false, generation: 2, sequence: 1, atMs: 1 }));
  await assert.rejects(bench.journal.flush(), { code: 'STORE_UNAVAILABLE' });
  mend();
  await leaveRoot(bench);
  assert.ok(states.disk.unflushedWrites > 0, 'the purge is where a crash may lose it');
  await states.judgeAll(
    async () => leaveRoot(await mountRoot(states.disk)),
    async (disk, title) => {
      const { state } = await lookAtRoot(disk);
      assert.equal(state.report.isForgotten, false, title);
      assert.notEqual(state.index.findTag(objectTag(hashOf('kept'))), NO_SLOT, title);
    },
  );
});
