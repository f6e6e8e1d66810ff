/** A checkpoint is written beside traffic; however the index grows meanwhile, it stays in its zone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { computeGeometry } from '../../src/format/geometry.ts';
import { Arena } from '../../src/memory/arena.ts';
import { NO_SLOT, SliceIndex } from '../../src/store/index/slice-index.ts';
import { writeCheckpoint } from '../../src/store/recovery/checkpoint.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { clock, tinyParameters } from './store-bench.ts';

test('a checkpoint of an index that grows while it is written takes no part more than its zone has', async () => {
  const entryCount = 1024;
  const capacityBytes = 16 * MIB;
  const geometry = computeGeometry({
    blockSizeBytes: 4 * KIB,
    capacityBytes,
    journalBytes: 0,
    labelBytes: 0,
    groupBytes: 0,
    ...tinyParameters(),
    entryCount,
  });
  assert.ok(geometry !== undefined);
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
  const disk = new SimulatedDisk({ capacityBytes, random: new SeededRandom(1), delay });
  const place = { device: disk.open(), arena: new Arena({ sizeBytes: 4 * MIB, clock }), geometry, deviceTag: new Uint8Array(8) };
  const written = await writeCheckpoint(place, { index, besides: [] }, { zone: 1, sequence: 1 });
  assert.equal(written.entries, 900);
  const [, start] = geometry.checkpointOffsets;
  assert.ok(offsets.length > 0 && offsets.every((offset) => offset >= start && offset < start + geometry.checkpointBytes), offsets.join());
});
