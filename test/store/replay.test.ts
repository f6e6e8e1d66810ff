/** What replay makes of records that contradict each other: the newer one counts, in whatever order they are met. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import { EMPTY_RECORD, JOURNAL_TYPES, type JournalRecord, MANIFEST_NUMBER, sealJournalBlock } from '../../src/format/journal-block.ts';
import { NO_SLOT, objectTag } from '../../src/store/index/slice-index.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { formatDisk, leaveRoot, lookAtRoot, mountRoot, putObject, type RootBench } from './root-bench.ts';
import { hashOf } from './store-bench.ts';

async function makeDisk(seed: number): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk({ capacityBytes: 4 * MIB, random: new SeededRandom(seed) });
  await formatDisk(disk);
  return disk;
}

function putManifest(key: string, numbers: Pick<JournalRecord, 'generation' | 'writeSequence' | 'block' | 'blocks'>): JournalRecord {
  return { ...EMPTY_RECORD, type: JOURNAL_TYPES.put, ...objectTag(hashOf(key)), sliceNumber: MANIFEST_NUMBER, ...numbers };
}

function putSlice(
  numbers: Pick<JournalRecord, 'generation' | 'writeSequence' | 'block' | 'blocks'> & { readonly sliceNumber?: number },
): JournalRecord {
  return { ...EMPTY_RECORD, type: JOURNAL_TYPES.put, sliceNumber: 0, ...numbers };
}

/** Writes the records and leaves as a kill does. */
async function journalAll({ journal }: RootBench, records: readonly JournalRecord[]): Promise<void> {
  for (const record of records) assert.ok(journal.append(record));
  await journal.flush();
}

test('of two records that claim a block, the newer has it, and the older is forgotten', async () => {
  const disk = await makeDisk(91);
  const bench = await mountRoot(disk);
  const first = bench.catalogue.allocator.firstBlock;
  // The old one's delete was dropped, as a crowded journal may; its blocks were given to the new one.
  await journalAll(bench, [
    putManifest('old', { generation: 1, writeSequence: 1, block: first, blocks: 4 }),
    putManifest('beside', { generation: 2, writeSequence: 2, block: first + 4, blocks: 1 }),
    putManifest('new', { generation: 3, writeSequence: 3, block: first + 2, blocks: 2 }),
  ]);
  await leaveRoot(bench);
  const { state } = await lookAtRoot(disk);
  const found = ['old', 'beside', 'new'].filter((key) => state.index.findTag(objectTag(hashOf(key))) !== NO_SLOT);
  assert.deepEqual([found, state.report.overlaps], [['beside', 'new'], 1]);
  assert.deepEqual([state.allocator.isFree(first, 2), state.allocator.isFree(first + 2, 1)], [true, false]);
});

for (const order of ['older first', 'newer first'] as const) {
  test(`of two records of one slice the newer counts, ${order}`, async () => {
    const disk = await makeDisk(92);
    const bench = await mountRoot(disk);
    const first = bench.catalogue.allocator.firstBlock;
    const older = putSlice({ generation: 1, writeSequence: 2, block: first + 10, blocks: 3 });
    const newer = putSlice({ generation: 1, writeSequence: 3, block: first + 20, blocks: 4 });
    await journalAll(bench, [
      putManifest('x', { generation: 1, writeSequence: 1, block: first, blocks: 1 }),
      ...(order === 'older first' ? [older, newer] : [newer, older]),
    ]);
    await leaveRoot(bench);
    const { state } = await lookAtRoot(disk);
    const slot = state.index.findSlice(1, 0);
    assert.notEqual(slot, NO_SLOT);
    assert.deepEqual(state.index.place(slot), { block: first + 20, blocks: 4, writeSequence: 3, flags: 0 });
    assert.deepEqual([state.allocator.isFree(first + 10, 3), state.allocator.isFree(first + 20, 1)], [true, false]);
  });
}

test('a delete counts for the record that it names and for older ones, not for one that came after it', async () => {
  const disk = await makeDisk(94);
  const bench = await mountRoot(disk);
  const first = bench.catalogue.allocator.firstBlock;
  const slice = { generation: 1, block: first + 10, blocks: 3 };
  const deletion = { ...EMPTY_RECORD, type: JOURNAL_TYPES.delete, generation: 1, writeSequence: 3 };
  const manifest = (key: string): JournalRecord => ({ ...deletion, ...objectTag(hashOf(key)), sliceNumber: MANIFEST_NUMBER });
  await journalAll(bench, [
    putManifest('kept', { generation: 1, writeSequence: 1, block: first, blocks: 1 }),
    putManifest('gone', { generation: 2, writeSequence: 2, block: first + 1, blocks: 1 }),
    putSlice({ ...slice, writeSequence: 3 }),
    putSlice({ ...slice, sliceNumber: 1, block: first + 20, writeSequence: 4 }),
    deletion,
    { ...deletion, sliceNumber: 1 },
    { ...manifest('gone'), generation: 2 },
    // Of an older generation than the one that stands there.
    { ...manifest('kept'), generation: 0 },
  ]);
  await leaveRoot(bench);
  const { index, allocator } = (await lookAtRoot(disk)).state;
  assert.deepEqual([index.findSlice(1, 0), index.findTag(objectTag(hashOf('gone')))], [NO_SLOT, NO_SLOT]);
  assert.notEqual(index.findSlice(1, 1), NO_SLOT, 'it is newer than its delete');
  assert.notEqual(index.findTag(objectTag(hashOf('kept'))), NO_SLOT);
  assert.deepEqual([allocator.isFree(first + 10, 3), allocator.isFree(first + 1, 1), allocator.isFree(first + 20, 1)], [true, true, false]);
});

test('a block behind the end of the chain speaks of purges if the last writer wrote it, and of nothing if an older one did', async () => {
  const disk = await makeDisk(93);
  const bench = await mountRoot(disk);
  putObject(bench.catalogue, 'x', 1);
  await bench.keeper.checkpoint();
  await leaveRoot(bench);
  const image = disk.snapshot();
  const { root, state } = await lookAtRoot(disk);
  const { geometry, deviceUuid } = root.format;
  const { epoch } = root.superblock;
  const outcomes: boolean[] = [];
  for (const writer of [epoch - 1, epoch]) {
    disk.restore(image);
    // The block before it was lost with the purge; this one says that there was one.
    const sequence = state.journal.nextSequence + 1;
    const ownOffset = geometry.journalOffset + (sequence % geometry.journalBlocks) * geometry.blockSizeBytes;
    const block = Buffer.alloc(geometry.blockSizeBytes);
    const header = { epoch: writer, count: 0, previousCrc: 12_345, purgeSequence: 99 };
    sealJournalBlock(block, { sequence, ownOffset, deviceTag: deviceUuid.subarray(0, 8) }, header);
    disk.poke(ownOffset, block);
    outcomes.push((await lookAtRoot(disk)).state.report.isForgotten);
  }
  assert.deepEqual(outcomes, [false, true]);
});
