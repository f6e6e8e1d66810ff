/** A checkpoint can be asked before it is loaded: whatever is asked for, its part comes next, each part comes once, and nothing else is believed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { CONTENTS_MAGIC } from '../../src/format/checkpoint-contents.ts';
import { hashOfGeneration } from '../../src/format/checkpoint-order.ts';
import { CHECKPOINT_KINDS, type CheckpointEntry, EMPTY_ENTRY } from '../../src/format/checkpoint-part.ts';
import { CHECKPOINT_PART_BYTES, CHECKPOINT_PART_ENTRIES, computeGeometry } from '../../src/format/geometry.ts';
import type { CheckpointReference } from '../../src/format/superblock.ts';
import { Arena } from '../../src/memory/arena.ts';
import type { ObjectTag } from '../../src/store/index/object-table.ts';
import { SliceIndex } from '../../src/store/index/slice-index.ts';
import { type CheckpointPlace, partOffset, writeCheckpoint } from '../../src/store/recovery/checkpoint.ts';
import { CheckpointLoader, type CheckpointReport } from '../../src/store/recovery/checkpoint-loader.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { clock, tinyParameters } from './store-bench.ts';

const CAPACITY_BYTES = 64 * MIB;
const ENTRIES = 16 * CHECKPOINT_PART_ENTRIES;
const ZONE = 1;
const SEQUENCE = 7;
const arena = new Arena({ sizeBytes: 8 * MIB, clock });

interface StoredObject {
  readonly tag: ObjectTag;
  readonly generation: number;
  readonly slices: number;
}

interface Image {
  readonly disk: SimulatedDisk;
  readonly place: CheckpointPlace;
  readonly reference: CheckpointReference;
  readonly objects: readonly StoredObject[];
  /** Offsets of what was read, in order. */
  readonly reads: number[];
  /** Reads wait for it; none when undefined. */
  gate: (() => Promise<void>) | undefined;
}

/** Purges, bad blocks, and objects of no slice up to more than a part has. */
async function makeImage(seed: number): Promise<Image> {
  const random = new SeededRandom(seed);
  const fixed = { blockSizeBytes: 4 * KIB, capacityBytes: CAPACITY_BYTES, journalBytes: 0, labelBytes: 0, groupBytes: 0 };
  const geometry = computeGeometry({ ...fixed, ...tinyParameters(), entryCount: ENTRIES });
  assert.ok(geometry !== undefined);
  const index = new SliceIndex(ENTRIES, 1000);
  const objects: StoredObject[] = [];
  const next = (): number => random.integerBelow(2 ** 32);
  let generation = 0;
  const sizes = [CHECKPOINT_PART_ENTRIES * 3, 1, 0, 40];
  while (index.freeEntries > 4500) {
    generation += 1 + random.integerBelow(9);
    const tag = { tagLow: next(), tagHigh: next() };
    const slices = sizes.shift() ?? random.integerBelow(12);
    const place = { block: 1, blocks: 1, writeSequence: 1, flags: 0 };
    index.setPlace(index.recordOf(index.putManifest(tag, generation)), place);
    for (let number = 0; number < slices; number += 1) index.putSlice(generation, number, place);
    objects.push({ tag, generation, slices });
  }
  const reads: number[] = [];
  const image: { gate: Image['gate'] } = { gate: undefined };
  const delay = async (operation: string, offsetBytes: number): Promise<void> => {
    if (operation !== 'read') return;
    reads.push(offsetBytes);
    await image.gate?.();
  };
  const disk = new SimulatedDisk({ capacityBytes: CAPACITY_BYTES, random, delay });
  const place = { device: disk.open(), arena, geometry, deviceTag: new Uint8Array(8) };
  const besides = [
    ...Array.from({ length: 20 }, (_, number) => ({ ...EMPTY_ENTRY, kind: CHECKPOINT_KINDS.purge, writeSequence: number + 1 })),
    { ...EMPTY_ENTRY, kind: CHECKPOINT_KINDS.badRun, block: 9, blocks: 1 },
  ];
  const target = { zone: ZONE, sequence: SEQUENCE };
  const written = await writeCheckpoint(place, { index, besides }, target);
  const reference = { ...target, ...written, journalStart: 1, journalPreviousCrc: 0, purgeSequence: 20 };
  return Object.assign(image, { disk, place, reference, objects, reads });
}

/** Everything that was taken, and that nothing was twice. */
class Taken {
  readonly keys = new Set<string>();
  arePurgesTaken = false;

  take(entry: CheckpointEntry): void {
    const key = `${entry.kind} ${entry.generation}/${entry.sliceNumber} ${entry.writeSequence} ${entry.block}`;
    assert.ok(!this.keys.has(key), `${key} came twice`);
    this.keys.add(key);
  }

  hasObject({ generation }: StoredObject): boolean {
    return this.keys.has(`${CHECKPOINT_KINDS.manifest} ${generation}/${2 ** 32 - 1} 1 1`);
  }

  hasSlice({ generation }: StoredObject, number: number): boolean {
    return this.keys.has(`${CHECKPOINT_KINDS.slice} ${generation}/${number} 1 1`);
  }
}

/** Begins to load; resolves when the purges have come, with reads of four parts waiting behind the gate. */
async function begin(
  image: Image,
): Promise<{ taken: Taken; loader: CheckpointLoader; loading: Promise<CheckpointReport>; open: () => void }> {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  const taken = new Taken();
  image.reads.length = 0;
  let loading: Promise<CheckpointReport> | undefined;
  const loader = await new Promise<CheckpointLoader>((resolve) => {
    const made = new CheckpointLoader(image.place, image.reference, {
      take: (entry) => taken.take(entry),
      onPurgesTaken: () => {
        assert.equal(taken.keys.size, 20, 'all purges came before');
        taken.arePurgesTaken = true;
        image.gate = () => opened;
        resolve(made);
      },
    });
    loading = made.load();
    // Where no purge is believed it ends without a word.
    void loading.then(() => resolve(made));
  });
  assert.ok(loading !== undefined);
  return { taken, loader, loading, open };
}

const partsRead = ({ reads, place, reference }: Image): number[] =>
  reads.map((offset) => (offset - partOffset(place.geometry, reference.zone, 0)) / CHECKPOINT_PART_BYTES);

test('every object and every slice is there when it was asked for, and each part is read once', async () => {
  const image = await makeImage(640);
  const { reference, objects } = image;
  assert.ok(reference.parts >= 10, `${reference.parts} parts`);
  const { taken, loader, loading, open } = await begin(image);
  open();
  const random = new SeededRandom(641);
  for (let round = 0; round < 200; round += 1) {
    const object = objects[random.integerBelow(objects.length)] ?? objects[0];
    assert.ok(object !== undefined);
    await loader.bringObject(object.tag);
    assert.ok(taken.hasObject(object), `object ${object.generation}`);
    const firstSlice = random.integerBelow(object.slices + 1);
    const count = object.slices - firstSlice;
    await loader.bringSlices({ generation: object.generation, firstSlice, count });
    for (let number = firstSlice; number < object.slices; number += 1)
      assert.ok(taken.hasSlice(object, number), `slice ${object.generation}/${number}`);
  }
  const report = await loading;
  assert.deepEqual(report, { entries: reference.entries, damagedParts: 0, isWhole: true, arePurgesWhole: true });
  assert.equal(taken.keys.size, reference.entries);
  const parts = partsRead(image);
  assert.equal(parts.length, reference.parts + 1);
  assert.equal(new Set(parts).size, parts.length);
  await loader.bringObject({ tagLow: 1, tagHigh: 2 });
  assert.equal(image.reads.length, parts.length, 'nothing is read when all is taken');
});

test('what is asked for comes before what nobody asked for', async () => {
  const image = await makeImage(642);
  const { reference, objects } = image;
  const { taken, loader, loading, open } = await begin(image);
  const byHash = [...objects].sort((left, right) => hashOfGeneration(right.generation) - hashOfGeneration(left.generation));
  // In the last part, and not so near the end that its slice comes after the last place, which is the first.
  const last = byHash.find(({ generation, slices }) => slices > 0 && hashOfGeneration(generation) / 2 ** 32 < 0.99);
  assert.ok(last !== undefined);
  const answer = loader.bringSlices({ generation: last.generation, firstSlice: 0, count: 1 });
  assert.equal(taken.hasSlice(last, 0), false);
  open();
  await answer;
  assert.equal(taken.hasSlice(last, 0), true);
  // The table of contents, the part with the purges, four that were on their way; then the one that was asked for.
  const parts = partsRead(image);
  assert.deepEqual(parts.slice(0, 7), [reference.parts, 0, 1, 2, 3, 4, reference.parts - 1]);
  await loading;
  assert.equal(taken.keys.size, reference.entries);
});

test('a table of contents of something else, damaged or not, is not believed; all parts come from the front', async () => {
  for (const harm of ['flip', 'gone', 'unreadable', 'foreign'] as const) {
    const image = await makeImage(644);
    const { disk, place, reference } = image;
    const at = partOffset(place.geometry, ZONE, reference.parts);
    assert.equal(disk.peek(at, 8).toString('latin1'), CONTENTS_MAGIC);
    const bytes = disk.peek(at, CHECKPOINT_PART_BYTES);
    if (harm === 'flip') bytes.writeUInt8(bytes.readUInt8(70) ^ 1, 70);
    else if (harm === 'gone') bytes.fill(0);
    // Of a checkpoint of the same number that came to nothing: as many parts, another content.
    else if (harm === 'foreign') await makeImage(645).then((other) => other.disk.peek(at, bytes.length).copy(bytes));
    disk.poke(at, bytes);
    if (harm === 'unreadable')
      disk.addFault({ operation: 'read', effect: { kind: 'error', errno: 'EIO' }, startBytes: at, endBytes: at + CHECKPOINT_PART_BYTES });
    const { taken, loader, loading, open } = await begin(image);
    const answers = image.objects.slice(-9).map(({ tag }) => loader.bringObject(tag));
    answers.push(loader.bringSlices({ generation: 1, firstSlice: 0, count: 9 }));
    open();
    await Promise.all(answers);
    const report = await loading;
    assert.equal(report.isWhole, true, harm);
    assert.equal(taken.keys.size, reference.entries, harm);
    const parts = partsRead(image).filter((part) => part !== reference.parts);
    assert.deepEqual(
      parts,
      [...parts].sort((left, right) => left - right),
      harm,
    );
  }
});

test('a part that verifies and is not the one of the table is damaged, and whoever waits for one that cannot be read is answered', async () => {
  const image = await makeImage(646);
  const { disk, place, reference, objects } = image;
  const other = await makeImage(647);
  const stale = 2;
  const at = partOffset(place.geometry, ZONE, stale);
  disk.poke(at, other.disk.peek(at, CHECKPOINT_PART_BYTES));
  const lost = reference.parts - 1;
  const lostAt = partOffset(place.geometry, ZONE, lost);
  disk.addFault({ operation: 'read', effect: { kind: 'error', errno: 'EIO' }, startBytes: lostAt, endBytes: lostAt + 1 });
  const { taken, loader, loading, open } = await begin(image);
  open();
  for (const { tag } of objects) await loader.bringObject(tag);
  for (const { generation } of objects) await loader.bringSlices({ generation, firstSlice: 0, count: 1 });
  const report = await loading;
  assert.deepEqual([report.damagedParts, report.isWhole, report.arePurgesWhole], [2, false, true]);
  const known = new Set(objects.map(({ generation }) => generation));
  for (const key of taken.keys) {
    const generation = Number(key.split(/[ /]/)[1]);
    assert.ok(generation === 0 || known.has(generation), `${key} is of the other checkpoint`);
  }
});

test('a zone without room for the table of contents has none, and is loaded as before', async () => {
  // An index without objects, and everything that is set apart: not an entry is to spare.
  const fixed = { blockSizeBytes: 4 * KIB, capacityBytes: CAPACITY_BYTES, journalBytes: 0, labelBytes: 0, groupBytes: 0 };
  const geometry = computeGeometry({ ...fixed, ...tinyParameters(), entryCount: 4 * CHECKPOINT_PART_ENTRIES });
  assert.ok(geometry !== undefined);
  const index = new SliceIndex(geometry.entryCount);
  for (let number = 0; index.freeEntries > 0; number += 1) index.putSlice(1, number, { block: 1, blocks: 1, writeSequence: 1, flags: 0 });
  const disk = new SimulatedDisk({ capacityBytes: CAPACITY_BYTES, random: new SeededRandom(1) });
  const place = { device: disk.open(), arena, geometry, deviceTag: new Uint8Array(8) };
  const setApart = 2 * geometry.purgesMax;
  const besides = Array.from({ length: setApart }, (_, number) => ({ ...EMPTY_ENTRY, kind: CHECKPOINT_KINDS.badRun, block: number }));
  const target = { zone: ZONE, sequence: SEQUENCE };
  const written = await writeCheckpoint(place, { index, besides }, target);
  assert.equal(written.parts * CHECKPOINT_PART_BYTES, geometry.checkpointBytes);
  const reference = { ...target, ...written, journalStart: 1, journalPreviousCrc: 0, purgeSequence: 0 };
  let count = 0;
  const loader = new CheckpointLoader(place, reference, {
    take: () => {
      count += 1;
    },
  });
  const loading = loader.load();
  await loader.bringSlices({ generation: 1, firstSlice: 0, count: 1 });
  assert.equal((await loading).isWhole, true);
  assert.equal(count, geometry.entryCount + setApart);
});
