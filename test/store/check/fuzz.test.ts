/**
 * Random bytes over any part of a device: no tool and no server crashes, hangs or takes memory beyond its bounds, no store serves a wrong
 * byte, and what fsck repaired is clean. Structure-aware: besides noise, fields are set to extremes and checksums made right again, so
 * that damage passes the first checks. `CI=true` plays more rounds; a failing round is played again with `FUZZ_SEED=N`.
 */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { EdgeError } from '../../../src/base/errors.ts';
import { type Random, SeededRandom } from '../../../src/base/random.ts';
import { KIB, MIB } from '../../../src/base/units.ts';
import { CONTENTS_ENTRY, CONTENTS_HEADER, CONTENTS_MAGIC } from '../../../src/format/checkpoint-contents.ts';
import { CHECKPOINT_ENTRY, CHECKPOINT_HEADER, CHECKPOINT_MAGIC } from '../../../src/format/checkpoint-part.ts';
import { crc32Around, macOf } from '../../../src/format/checksum.ts';
import { EXTENT_HEADER, EXTENT_MAGIC } from '../../../src/format/extent-header.ts';
import type { Field } from '../../../src/format/field-layout.ts';
import { FORMAT_BLOCK } from '../../../src/format/format-block.ts';
import { CHECKPOINT_PART_BYTES } from '../../../src/format/geometry.ts';
import { JOURNAL_HEADER, JOURNAL_MAGIC, JOURNAL_RECORD } from '../../../src/format/journal-block.ts';
import { SUPERBLOCK, SUPERBLOCK_MAGIC } from '../../../src/format/superblock.ts';
import { Arena } from '../../../src/memory/arena.ts';
import { checkDevice } from '../../../src/store/check/check-device.ts';
import { collectPurges } from '../../../src/store/check/collect-purges.ts';
import { rebuildIndex } from '../../../src/store/check/rebuild-index.ts';
import { repairDevice } from '../../../src/store/check/repair-device.ts';
import { growDevice } from '../../../src/store/grow-device.ts';
import { listObjects, measureUsage, viewDevice } from '../../../src/store/inspect-device.ts';
import { dumpLines, nameFields } from '../../../tools/inspect/annotated-dump.ts';
import { SimulatedDisk } from '../../simulation/simulated-device.ts';
import { assertNoLeases, clock, makeManifest, offerOne, openBench, readAndCheck, sliceCount } from '../store-bench.ts';
import { CAPACITY_BYTES, type Image, makeImage } from './damaged-image.ts';

const BLOCK = 4 * KIB;
const ROUNDS = process.env.CI === 'true' ? 400 : 40;
const ONLY = process.env.FUZZ_SEED === undefined ? undefined : Number(process.env.FUZZ_SEED);
/** Codes with which a device may be refused; anything else is a fault of the program. */
const REFUSALS: readonly string[] = ['FORMAT_DAMAGED', 'FORMAT_VERSION', 'DEVICE_TRUNCATED', 'DEVICE_UNSUITABLE', 'USAGE'];

const images: Image[] = [];
before(async () => {
  images.push(await makeImage('closed'), await makeImage('crashed'));
});

interface Structure {
  readonly magic: string;
  readonly magicAt: number;
  readonly lengthBytes: number;
  readonly fields: readonly Field[];
  readonly seal: (bytes: Buffer, macKey: Uint8Array) => void;
}

function rows(layout: Readonly<Record<string, Field>>, at: number, count: number, rowBytes: number): Field[] {
  return Array.from({ length: count }, (_, row) =>
    Object.values(layout).map((field) => ({ ...field, offset: field.offset + at + row * rowBytes })),
  ).flat();
}

function sealCrc(field: Field, lengthBytes: number): Structure['seal'] {
  return (bytes) => bytes.writeUInt32LE(crc32Around(bytes, lengthBytes, field), field.offset);
}

const STRUCTURES: readonly Structure[] = [
  {
    magic: 'RSFORMAT',
    magicAt: FORMAT_BLOCK.magic.offset,
    lengthBytes: BLOCK,
    fields: Object.values(FORMAT_BLOCK),
    seal: sealCrc(FORMAT_BLOCK.crc, 512),
  },
  {
    magic: SUPERBLOCK_MAGIC,
    magicAt: 0,
    lengthBytes: BLOCK,
    fields: Object.values(SUPERBLOCK),
    seal: (bytes, macKey) => {
      bytes.set(macOf(macKey, bytes.subarray(0, SUPERBLOCK.crc.offset)), SUPERBLOCK.mac.offset);
      sealCrc(SUPERBLOCK.crc, 512)(bytes, macKey);
    },
  },
  {
    magic: JOURNAL_MAGIC,
    magicAt: 0,
    lengthBytes: BLOCK,
    fields: [...Object.values(JOURNAL_HEADER), ...rows(JOURNAL_RECORD, 64, 4, 64)],
    seal: sealCrc(JOURNAL_HEADER.crc, BLOCK),
  },
  {
    magic: CHECKPOINT_MAGIC,
    magicAt: 0,
    lengthBytes: CHECKPOINT_PART_BYTES,
    fields: [...Object.values(CHECKPOINT_HEADER), ...rows(CHECKPOINT_ENTRY, 64, 8, 48)],
    seal: sealCrc(CHECKPOINT_HEADER.crc, CHECKPOINT_PART_BYTES),
  },
  {
    magic: CONTENTS_MAGIC,
    magicAt: 0,
    lengthBytes: CHECKPOINT_PART_BYTES,
    fields: [...Object.values(CONTENTS_HEADER), ...rows(CONTENTS_ENTRY, 64, 8, 8)],
    seal: sealCrc(CONTENTS_HEADER.crc, CHECKPOINT_PART_BYTES),
  },
  {
    magic: EXTENT_MAGIC,
    magicAt: 0,
    lengthBytes: BLOCK,
    fields: Object.values(EXTENT_HEADER),
    seal: (bytes, macKey) => {
      const headerBytes = Math.min(BLOCK, Math.max(256, bytes.readUInt16LE(EXTENT_HEADER.headerBytes.offset)));
      bytes.set(macOf(macKey, bytes.subarray(0, EXTENT_HEADER.crc.offset), bytes.subarray(256, headerBytes)), EXTENT_HEADER.mac.offset);
      sealCrc(EXTENT_HEADER.crc, BLOCK)(bytes, macKey);
    },
  },
];

function pick<Item>(random: Random, items: readonly Item[]): Item {
  const item = items[random.integerBelow(items.length)];
  assert.ok(item !== undefined);
  return item;
}

/** Noise of any length at any place; the ends and the front, where the structures are, more often. */
function addNoise(disk: SimulatedDisk, random: Random): void {
  const front = random.integerBelow(3) > 0 ? 640 * KIB : CAPACITY_BYTES;
  const lengthBytes = 1 + random.integerBelow(random.integerBelow(4) === 0 ? 64 * KIB : 40);
  const start = random.integerBelow(8) === 0 ? CAPACITY_BYTES - 64 * KIB : 0;
  const at = Math.min(CAPACITY_BYTES - lengthBytes, start + random.integerBelow(front - start > 0 ? front - start : 64 * KIB));
  disk.poke(at, random.bytes(lengthBytes));
}

/** A field of some structure becomes an extreme, and the structure proves itself all the same. */
function twistField(disk: SimulatedDisk, random: Random, macKey: Uint8Array): void {
  const structure = pick(random, STRUCTURES);
  const found: number[] = [];
  for (let at = 0; at < CAPACITY_BYTES; at += BLOCK)
    if (disk.peek(at + structure.magicAt, structure.magic.length).toString('latin1') === structure.magic) found.push(at);
  if (found.length === 0) return;
  const at = pick(random, found);
  const bytes = disk.peek(at, structure.lengthBytes);
  for (let count = 1 + random.integerBelow(3); count > 0; count -= 1) {
    const field = pick(random, structure.fields);
    const value = Buffer.from(pick(random, [random.bytes(field.size), new Uint8Array(field.size), new Uint8Array(field.size).fill(0xff)]));
    if (random.integerBelow(3) === 0) bytes.writeUInt8(random.integerBelow(256), field.offset);
    else bytes.set(value, field.offset);
  }
  structure.seal(bytes, macKey);
  disk.poke(at, bytes);
}

/** What refuses a device says why; whatever else is thrown is a fault. */
async function refusable<T>(act: () => Promise<T>): Promise<T | undefined> {
  try {
    return await act();
  } catch (error) {
    if (error instanceof EdgeError && REFUSALS.includes(error.code)) return undefined;
    throw error;
  }
}

async function lookAtAll(disk: SimulatedDisk, arena: Arena): Promise<void> {
  const device = disk.open('read-only');
  await refusable(async () => {
    const view = await viewDevice(device, arena);
    measureUsage(view);
    for await (const verdict of listObjects(view)) assert.ok(verdict.kind.length > 0);
    await collectPurges(view);
  });
  for (const level of ['quick', 'full', 'deep'] as const)
    await refusable(() => checkDevice({ device, arena }, { level, isInUse: level === 'full' }));
  for (let at = 0; at < CAPACITY_BYTES; at += 37 * BLOCK) {
    const block = disk.peek(at, BLOCK);
    for (const line of dumpLines(block, at, nameFields(block))) assert.ok(line.length < 400);
  }
  await device.close();
}

async function serve(disk: SimulatedDisk, image: Image): Promise<void> {
  const device = disk.open();
  const bench = await refusable(() => openBench(device));
  if (bench === undefined) return device.close();
  for (const manifest of image.manifests) {
    const verdict = await bench.store.readManifest(manifest.objectHash);
    if (verdict.kind !== 'hit' || verdict.manifest.generation !== manifest.generation) continue;
    for (let number = 0; number < sliceCount(manifest); number += 1) await readAndCheck(bench.store, manifest, number);
  }
  // It goes on working, whatever numbers it was made to believe; a full journal or an exhausted disk may decline.
  const manifest = makeManifest('fuzz', bench.store.nextGeneration(), 500);
  if (bench.store.offerManifest(manifest, bench.store.purgeSequence).kind === 'admitted') {
    offerOne(bench, manifest, 0);
    await bench.store.drain();
    await readAndCheck(bench.store, manifest, 0);
  }
  assert.equal(bench.store.findContradiction(), undefined);
  await bench.store.close();
  assertNoLeases(bench.arena);
}

async function repair(disk: SimulatedDisk, arena: Arena): Promise<void> {
  const device = disk.open();
  const found = await refusable(() => checkDevice({ device, arena }, { level: 'deep', isInUse: false }));
  if (found?.findings !== undefined) {
    await repairDevice({ device, arena, clock }, found.findings);
    const { check } = await checkDevice({ device, arena }, { level: 'deep', isInUse: false });
    assert.deepEqual(check.notes, []);
  }
  await device.close();
}

async function change(disk: SimulatedDisk, arena: Arena, act: 'rebuild' | 'grow'): Promise<void> {
  const device = disk.open();
  await refusable<unknown>(() => (act === 'rebuild' ? rebuildIndex({ device, arena, clock }, {}) : growDevice({ device, arena })));
  await device.close();
}

async function playRound(seed: number): Promise<void> {
  const random = new SeededRandom(seed);
  const image = pick(random, images);
  const disk = new SimulatedDisk({ capacityBytes: CAPACITY_BYTES, random });
  disk.restore(image.snapshot);
  const { macKey } = (await viewDevice(disk.open('read-only'), new Arena({ sizeBytes: 4 * MIB, clock }))).root.format;
  for (let count = 1 + random.integerBelow(6); count > 0; count -= 1) {
    if (random.integerBelow(2) === 0) addNoise(disk, random);
    else twistField(disk, random, macKey);
  }
  const harmed = disk.snapshot();
  // All that a tool may hold at a time; more would fail.
  const arena = new Arena({ sizeBytes: 32 * MIB, clock });
  await lookAtAll(disk, arena);
  await serve(disk, image);
  disk.restore(harmed);
  await repair(disk, arena);
  await serve(disk, image);
  for (const act of ['rebuild', 'grow'] as const) {
    disk.restore(harmed);
    await change(disk, arena, act);
    await serve(disk, image);
  }
  assertNoLeases(arena);
}

test('random bytes anywhere: refused or worked around, never believed', { timeout: 600_000 }, async (context) => {
  const seeds = ONLY === undefined ? Array.from({ length: ROUNDS }, (_, round) => 9000 + round) : [ONLY];
  context.diagnostic(`seeds ${seeds[0]} to ${seeds.at(-1)}`);
  for (const seed of seeds) {
    try {
      await playRound(seed);
    } catch (error) {
      throw new Error(`play it again with FUZZ_SEED=${seed}`, { cause: error });
    }
  }
});
