/** A checkpoint is written beside traffic; however the index grows and changes meanwhile, it stays in its zone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { hashOfGeneration } from '../../src/format/checkpoint-order.ts';
import { CHECKPOINT_PART_ENTRIES, computeGeometry, type Geometry } from '../../src/format/geometry.ts';
import { Arena } from '../../src/memory/arena.ts';
import { NO_SLOT, SliceIndex } from '../../src/store/index/slice-index.ts';
import { writeCheckpoint } from '../../src/store/recovery/checkpoint.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { clock, tinyParameters } from './store-bench.ts';

const CAPACITY_BYTES = 24 * MIB;
/** Of the index that changes. */
const ENTRIES = 6 * CHECKPOINT_PART_ENTRIES;

function geometryOf(entryCount: number): Geometry {
  const fixed = { blockSizeBytes: 4 * KIB, capacityBytes: CAPACITY_BYTES, journalBytes: 0, labelBytes: 0, groupBytes: 0 };
  const geometry = computeGeometry({ ...fixed, ...tinyParameters(), entryCount });
  assert.ok(geometry !== undefined);
  return geometry;
}

test('a checkpoint of an index that grows while it is written takes no part more than its zone has', async () => {
  const entryCount = 1024;
  const geometry = geometryOf(entryCount);
  const index = new SliceIndex(entryCount);
  let count = 0;
  const putOne = (): void => {
    count += 1;
    const slot = index.putSlice(count, 0, { block: count, blocks: 1, writeSequence: count, flags: 0 });
    assert.notEqual(slot, NO_SLOT);
  };
  while (count < 900) putOne();
  const offsets: number[] = [];
  const delay = async (_operation: string, offsetBytes: number): Promise<void> => {
    offsets.push(offsetBytes);
    if (count < entryCount) putOne();
  };
  const disk = new SimulatedDisk({ capacityBytes: CAPACITY_BYTES, random: new SeededRandom(1), delay });
  const place = { device: disk.open(), arena: new Arena({ sizeBytes: 4 * MIB, clock }), geometry, deviceTag: new Uint8Array(8) };
  const written = await writeCheckpoint(place, { index, besides: [] }, { zone: 1, sequence: 1 });
  assert.equal(written.entries, 900);
  const [, start] = geometry.checkpointOffsets;
  assert.ok(offsets.length > 0 && offsets.every((offset) => offset >= start && offset < start + geometry.checkpointBytes), offsets.join());
});

/** An index that is full all the while: with each part that is written records before that give way for others behind it. */
async function writeChanging(endSequence: number | undefined): Promise<Awaited<ReturnType<typeof writeCheckpoint>>> {
  const index = new SliceIndex(ENTRIES);
  let newest = 0;
  const putOne = (): void => {
    const slot = index.putSlice(newest, 0, { block: newest, blocks: 1, writeSequence: newest, flags: 0 });
    assert.notEqual(slot, NO_SLOT);
  };
  for (newest = 1; newest <= ENTRIES; newest += 1) putOne();
  const inOrder = Array.from({ length: ENTRIES }, (_, number) => number + 1).sort(
    (left, right) => hashOfGeneration(left) - hashOfGeneration(right),
  );
  const delay = async (): Promise<void> => {
    for (const generation of inOrder.splice(0, ENTRIES / 6)) {
      index.removeSlice(index.findSlice(generation, 0));
      while (hashOfGeneration(newest) / 2 ** 32 < 0.9) newest += 1;
      putOne();
      newest += 1;
    }
  };
  const disk = new SimulatedDisk({ capacityBytes: CAPACITY_BYTES, random: new SeededRandom(1), delay });
  const arena = new Arena({ sizeBytes: 4 * MIB, clock });
  const place = { device: disk.open(), arena, geometry: geometryOf(ENTRIES), deviceTag: new Uint8Array(8) };
  return writeCheckpoint(place, { index, besides: [], endSequence }, { zone: 1, sequence: 1 });
}

test('what is newer than the beginning of a checkpoint is left to the journal', async () => {
  const { entries, parts } = await writeChanging(ENTRIES + 1);
  assert.ok(entries > (ENTRIES * 2) / 3 && entries <= ENTRIES, `${entries} entries`);
  assert.ok(parts <= 6);
});

test('a checkpoint that would leave its zone is given up', async () => {
  await assert.rejects(writeChanging(undefined), { code: 'STORE_UNAVAILABLE' });
});
