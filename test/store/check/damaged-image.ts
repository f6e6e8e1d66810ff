/**
 * Small devices that are damaged in every way that fsck has a name for, one kind after the other or all together. An image is made once and
 * copied; each kind of damage changes bytes or entries of it and says by which code it must be named.
 */
import assert from 'node:assert/strict';
import { SeededRandom } from '../../../src/base/random.ts';
import { KIB, MIB } from '../../../src/base/units.ts';
import {
  CHECKPOINT_HEADER,
  CHECKPOINT_KINDS,
  type CheckpointEntry,
  EMPTY_ENTRY,
  sealCheckpointPart,
} from '../../../src/format/checkpoint-part.ts';
import { ENTRY_FLAGS } from '../../../src/format/entry-flags.ts';
import { CODECS, EXTENT_KINDS, type ExtentHeader, encodeExtentHeader } from '../../../src/format/extent-header.ts';
import { getNumber } from '../../../src/format/field-layout.ts';
import { CHECKPOINT_PART_BYTES } from '../../../src/format/geometry.ts';
import { MANIFEST_NUMBER } from '../../../src/format/journal-block.ts';
import type { Manifest } from '../../../src/format/manifest.ts';
import type { Superblock } from '../../../src/format/superblock.ts';
import { Arena } from '../../../src/memory/arena.ts';
import type { DamageCode } from '../../../src/store/check/check-log.ts';
import { NO_SLOT } from '../../../src/store/index/slice-index.ts';
import { type DeviceView, viewDevice } from '../../../src/store/inspect-device.ts';
import { writeCheckpoint } from '../../../src/store/recovery/checkpoint.ts';
import { RootArea } from '../../../src/store/recovery/root-area.ts';
import { type DiskSnapshot, SimulatedDisk } from '../../simulation/simulated-device.ts';
import { clock, formatTiny, hashOf, openBench, SLICE_BYTES, storeObject, tinyParameters } from '../store-bench.ts';

export const CAPACITY_BYTES = 6 * MIB;
const BLOCK = 4 * KIB;

/** A device with objects on it, and what was put there. */
export interface Image {
  readonly end: 'closed' | 'crashed';
  readonly snapshot: DiskSnapshot;
  readonly manifests: readonly Manifest[];
}

/** A copy of an image that may be damaged. */
export interface Patient {
  readonly disk: SimulatedDisk;
  view: DeviceView;
  readonly manifests: readonly Manifest[];
  /** Entries that stand in its checkpoint besides those of the index. */
  readonly forged: CheckpointEntry[];
  /** First of the free blocks at the end of the groups that no damage has used yet. */
  nextFreeBlock: number;
}

/** A way to harm a device, and the name that it must get. */
export interface Damage {
  readonly code: DamageCode;
  readonly name: string;
  /** Entries that were never made: they are written into a checkpoint before anything else is harmed. */
  readonly forge?: (patient: Patient) => void;
  /** Fields of a superblock that nobody should have written. */
  readonly pretend?: (superblock: Superblock) => Partial<Superblock>;
  readonly harm?: (patient: Patient) => void;
  /** The disk can read the block again once it was written. */
  readonly healsWhenWritten?: true;
}

/** Objects of 1 to 3 slices; closed in order, or with the power gone and part of it in the journal only. */
export async function makeImage(end: Image['end']): Promise<Image> {
  const disk = new SimulatedDisk({ capacityBytes: CAPACITY_BYTES, random: new SeededRandom(5) });
  const device = disk.open();
  // So many that a checkpoint's zone has room for a table of contents.
  await formatTiny(device, tinyParameters({ entryCount: 1400 }), 5);
  await device.close();
  const bench = await openBench(disk.open());
  const manifests: Manifest[] = [];
  const add = async (count: number): Promise<void> => {
    for (let number = 0; number < count; number += 1)
      manifests.push(await storeObject(bench, `site/object-${manifests.length}`, 2 * SLICE_BYTES + 1000 + manifests.length));
  };
  await add(2);
  await bench.store.checkpoint();
  await add(2);
  await bench.store.checkpoint();
  await add(end === 'closed' ? 6 : 8);
  if (end === 'closed') await bench.store.close();
  else {
    disk.crash(new SeededRandom(6), 'all');
    // The store meets a dead device and gives up; its timers end.
    await bench.store.close();
  }
  return { end, snapshot: disk.snapshot(), manifests };
}

/** A copy of `image`. */
export async function admitPatient(image: Image): Promise<Patient> {
  const disk = new SimulatedDisk({ capacityBytes: CAPACITY_BYTES, random: new SeededRandom(7) });
  disk.restore(image.snapshot);
  const view = await look(disk);
  const { geometry } = view.root.format;
  const endBlock = geometry.groupsOffset / BLOCK + geometry.groupsBlocks;
  return { disk, view, manifests: image.manifests, forged: [], nextFreeBlock: endBlock - 300 };
}

/** Harms a device in all the ways of `damages`. */
export async function harmPatient(patient: Patient, damages: readonly Damage[]): Promise<void> {
  for (const { forge } of damages) forge?.(patient);
  let pretended: Partial<Superblock> = {};
  for (const { pretend } of damages) pretended = { ...pretended, ...pretend?.(patient.view.root.superblock) };
  await commitForged(patient, pretended);
  patient.view = await look(patient.disk);
  for (const { harm } of damages) harm?.(patient);
}

function look(disk: SimulatedDisk): Promise<DeviceView> {
  return viewDevice(disk.open('read-only'), new Arena({ sizeBytes: 4 * MIB, clock }));
}

/** Writes what was forged into a checkpoint and a superblock that count, as a faulty program would. */
async function commitForged(patient: Patient, pretended: Partial<Superblock>): Promise<void> {
  const { view, forged, disk } = patient;
  if (forged.length === 0 && Object.keys(pretended).length === 0) return;
  const { root, state } = view;
  const device = disk.open();
  const arena = new Arena({ sizeBytes: 4 * MIB, clock });
  const place = { device, arena, geometry: root.format.geometry, deviceTag: root.format.deviceUuid.subarray(0, 8) };
  const area = new RootArea({ device, arena, clock, root });
  const { checkpoint } = root.superblock;
  const target = { zone: 1 - checkpoint.zone, sequence: checkpoint.sequence + 1 };
  const written = await writeCheckpoint(place, { index: state.index, besides: forged }, target);
  const { journalStart, journalPreviousCrc, purgeSequence } = checkpoint;
  const next = { ...target, ...written, journalStart, journalPreviousCrc, purgeSequence };
  await area.commit(() => ({ checkpoint: next, previous: checkpoint, ...pretended }));
  await device.close();
}

/** Where a record of an object lies. */
export function placeOf(
  patient: Patient,
  object: number,
  sliceNumber: number,
): { readonly slot: number; readonly offsetBytes: number; readonly lengthBytes: number } {
  const { index } = patient.view.state;
  const generation = patient.manifests[object]?.generation ?? 0;
  const slot = sliceNumber === MANIFEST_NUMBER ? index.findManifest(generation) : index.findSlice(generation, sliceNumber);
  assert.notEqual(slot, NO_SLOT, `object ${object} has ${sliceNumber}`);
  return { slot, offsetBytes: index.block(slot) * BLOCK, lengthBytes: index.blocks(slot) * BLOCK };
}

function flip(patient: Patient, offsetBytes: number): void {
  patient.disk.flipBit(offsetBytes, 3);
}

function zero(patient: Patient, offsetBytes: number, lengthBytes: number): void {
  patient.disk.poke(offsetBytes, new Uint8Array(lengthBytes));
}

/** Writes a raw extent with a header of any content over what lies there; payload is `payload`. */
function plant(
  patient: Patient,
  header: Partial<ExtentHeader> & { readonly ownBlock: number },
  payload: Buffer,
  key?: { readonly macKey?: Uint8Array; readonly cacheUuid?: Uint8Array },
): ExtentHeader {
  const { format } = patient.view.root;
  const target = Buffer.alloc(BLOCK);
  const whole: ExtentHeader = {
    kind: EXTENT_KINDS.slice,
    codec: CODECS.raw,
    writeSequence: 1_000,
    generation: patient.manifests[0]?.generation ?? 0,
    objectHash: patient.manifests[0]?.objectHash ?? hashOf(''),
    sliceNumber: 0,
    presentStart: 0,
    presentEnd: payload.length,
    rawBytes: payload.length,
    storedBytes: payload.length,
    allocatedBytes: BLOCK + Math.ceil(payload.length / BLOCK) * BLOCK,
    epoch: 1,
    writtenAtMs: 0,
    purgeSequence: 0,
    keyText: 'planted',
    ...header,
  };
  encodeExtentHeader(whole, { ...format, ...key }, { target, payload });
  patient.disk.poke(whole.ownBlock * BLOCK, target);
  patient.disk.poke((whole.ownBlock + 1) * BLOCK, Buffer.concat([payload, Buffer.alloc(whole.allocatedBytes - BLOCK - payload.length)]));
  return whole;
}

/** Replaces the extent of slice 0 of an object by one that differs from it in `changes` only. */
function replaceSlice(
  patient: Patient,
  object: number,
  changes: Partial<ExtentHeader>,
  key?: { readonly macKey?: Uint8Array; readonly cacheUuid?: Uint8Array },
): void {
  const { slot, offsetBytes } = placeOf(patient, object, 0);
  const { index } = patient.view.state;
  const manifest = patient.manifests[object];
  assert.ok(manifest);
  const facts = {
    ownBlock: offsetBytes / BLOCK,
    generation: manifest.generation,
    objectHash: manifest.objectHash,
    writeSequence: index.writeSequence(slot),
    ...changes,
  };
  plant(patient, facts, Buffer.alloc(SLICE_BYTES, 0x61), key);
}

/** Adds a slice with a sound header and an entry that the store never made. */
function forgeSlice(patient: Patient, header: Partial<ExtentHeader>, entry: Partial<CheckpointEntry> = {}, payloadBytes = 5000): void {
  const block = patient.nextFreeBlock;
  patient.nextFreeBlock += 20;
  const written = plant(patient, { ownBlock: block, writeSequence: 1_000 + block, ...header }, Buffer.alloc(payloadBytes, 0x62));
  const { generation, sliceNumber, writeSequence, allocatedBytes } = written;
  patient.forged.push({
    ...EMPTY_ENTRY,
    kind: CHECKPOINT_KINDS.slice,
    block,
    blocks: allocatedBytes / BLOCK,
    generation,
    sliceNumber,
    writeSequence,
    ...entry,
  });
}

const labelOffset = (patient: Patient, labelNumber: number): number => patient.view.root.format.geometry.labelOffsets[labelNumber] ?? 0;

const journalBlockOffset = (patient: Patient, sequence: number): number => {
  const { journalOffset, journalBlocks } = patient.view.root.format.geometry;
  return journalOffset + (sequence % journalBlocks) * BLOCK;
};

const checkpointOffset = (patient: Patient, which: 'checkpoint' | 'previous'): number =>
  patient.view.root.format.geometry.checkpointOffsets[patient.view.root.superblock[which].zone] ?? 0;

/** All entries are in one part, and the table of contents is behind it. */
const contentsOf = (patient: Patient, which: 'checkpoint' | 'previous'): number => checkpointOffset(patient, which) + CHECKPOINT_PART_BYTES;

/** What may be done to a device that was closed in order; all of them may be done to the same one. */
export const DAMAGES: readonly Damage[] = [
  ...[0, 1, 2].map(
    (labelNumber): Damage => ({
      code: 'label-damaged',
      name: `format block of label ${labelNumber}`,
      harm: (patient) => flip(patient, labelOffset(patient, labelNumber) + 200),
    }),
  ),
  {
    code: 'superblock-damaged',
    name: 'a torn superblock of label 1',
    harm: (patient) => {
      const { sequence } = patient.view.root.superblock;
      const { superblockCount } = patient.view.root.format.geometry;
      flip(patient, labelOffset(patient, 1) + (1 + (sequence % superblockCount)) * BLOCK + 60);
    },
  },
  { code: 'superblock-lost', name: 'the ring of label 3', harm: (patient) => zero(patient, labelOffset(patient, 3) + BLOCK, 7 * BLOCK) },
  {
    code: 'old-checkpoint-damaged',
    name: 'a part of the checkpoint before',
    harm: (patient) => flip(patient, checkpointOffset(patient, 'previous') + 500),
  },
  {
    code: 'checkpoint-contents-damaged',
    name: 'an entry of the table of contents',
    harm: (patient) => flip(patient, contentsOf(patient, 'checkpoint') + 70),
  },
  {
    code: 'old-checkpoint-damaged',
    name: 'the table of contents of the checkpoint before',
    harm: (patient) => flip(patient, contentsOf(patient, 'previous') + 3),
  },
  { code: 'journal-block-damaged', name: 'an old journal block', harm: (patient) => flip(patient, journalBlockOffset(patient, 2) + 77) },
  { code: 'manifest-damaged', name: 'a manifest record that was written damaged', harm: harmRecord },
  {
    code: 'extent-damaged',
    name: 'a manifest header',
    harm: (patient) => flip(patient, placeOf(patient, 1, MANIFEST_NUMBER).offsetBytes + 90),
  },
  {
    code: 'chunk-damaged',
    name: 'a manifest chunk',
    harm: (patient) => flip(patient, placeOf(patient, 2, MANIFEST_NUMBER).offsetBytes + BLOCK + 40),
  },
  {
    code: 'padding-damaged',
    name: 'manifest padding',
    harm: (patient) => flip(patient, placeOf(patient, 3, MANIFEST_NUMBER).offsetBytes + 2 * BLOCK - 1),
  },
  { code: 'extent-damaged', name: 'a slice header', harm: (patient) => flip(patient, placeOf(patient, 4, 0).offsetBytes + 100) },
  { code: 'chunk-damaged', name: 'a slice chunk', harm: (patient) => flip(patient, placeOf(patient, 4, 1).offsetBytes + BLOCK + 30_000) },
  { code: 'padding-damaged', name: 'slice padding', harm: (patient) => flip(patient, placeOf(patient, 4, 2).offsetBytes + 2 * BLOCK - 7) },
  {
    code: 'extent-misplaced',
    name: 'a slice written to a wrong place',
    harm: (patient) => {
      const from = placeOf(patient, 6, 1);
      patient.disk.poke(placeOf(patient, 5, 0).offsetBytes, patient.disk.peek(from.offsetBytes, from.lengthBytes));
    },
  },
  { code: 'extent-missing', name: 'a slice that is zero', harm: (patient) => zero(patient, placeOf(patient, 5, 1).offsetBytes, 8 * BLOCK) },
  {
    code: 'extent-forged',
    name: 'a frame planted by a client',
    harm: (patient) => replaceSlice(patient, 6, {}, { macKey: new Uint8Array(32) }),
  },
  {
    code: 'extent-foreign',
    name: 'a frame of another cache',
    harm: (patient) => replaceSlice(patient, 7, {}, { cacheUuid: new Uint8Array(16), macKey: new Uint8Array(32) }),
  },
  { code: 'extent-other', name: 'another write of the same slice', harm: (patient) => replaceSlice(patient, 8, { writeSequence: 3 }) },
  {
    code: 'extent-shape',
    name: 'lengths that contradict each other',
    harm: (patient) => replaceSlice(patient, 9, { presentStart: 10, presentEnd: 5 }),
  },
  {
    code: 'extent-unreadable',
    name: 'a block that the disk cannot read',
    harm: (patient) => {
      const startBytes = placeOf(patient, 9, 1).offsetBytes + 3 * BLOCK;
      patient.disk.addFault({ operation: 'read', effect: { kind: 'error', errno: 'EIO' }, startBytes, endBytes: startBytes + BLOCK });
    },
  },
  {
    code: 'slice-beyond-end',
    name: 'a slice behind the end of its object',
    forge: (patient) => forgeSlice(patient, { ...identityOf(patient, 9), sliceNumber: 7 }),
  },
  {
    code: 'slice-length',
    name: 'a slice that is too long',
    forge: (patient) => forgeSlice(patient, { ...identityOf(patient, 8), sliceNumber: 2 }, {}, 5000),
  },
  {
    code: 'slice-object',
    name: 'a slice that names another object',
    forge: (patient) => forgeSlice(patient, { ...identityOf(patient, 7), objectHash: hashOf('other'), sliceNumber: 9 }),
  },
  {
    code: 'entry-invalid',
    name: 'an entry out of range',
    forge: (patient) => forgeSlice(patient, { sliceNumber: 11 }, { block: 2 ** 31 }),
  },
  {
    code: 'entry-invalid',
    name: 'a slice with the number of a manifest',
    forge: (patient) => forgeSlice(patient, { sliceNumber: 12 }, { sliceNumber: MANIFEST_NUMBER }),
  },
  {
    code: 'entry-invalid',
    name: 'a generation that leaves no number to give',
    forge: (patient) => forgeSlice(patient, { sliceNumber: 13 }, { generation: 2 ** 48 - 1 }),
  },
  {
    code: 'overlap',
    name: 'an entry over the blocks of another',
    forge: (patient) =>
      forgeSlice(
        patient,
        { ...identityOf(patient, 5), sliceNumber: 12 },
        { block: placeOf(patient, 7, 1).offsetBytes / BLOCK, writeSequence: 1 },
      ),
  },
  { code: 'orphan', name: 'a slice without object', forge: (patient) => forgeSlice(patient, { generation: 4242, sliceNumber: 0 }) },
  {
    code: 'generation-above-floor',
    name: 'a generation that was never given',
    forge: (patient) => forgeSlice(patient, { generation: 2 ** 37, sliceNumber: 0 }),
  },
  {
    code: 'write-sequence-above-floor',
    name: 'a write that was never made',
    forge: (patient) => forgeSlice(patient, { generation: 4243, writeSequence: 2 ** 37 }),
  },
  {
    code: 'payload-undecodable',
    name: 'a compressed slice that does not decode',
    forge: (patient) =>
      forgeSlice(
        patient,
        { ...identityOf(patient, 3), sliceNumber: 30, codec: CODECS.lz4, rawBytes: SLICE_BYTES },
        { flags: ENTRY_FLAGS.lz4 },
      ),
  },
  {
    code: 'label-unreadable',
    name: 'a block of a label that cannot be read until it is written',
    healsWhenWritten: true,
    harm: (patient) => {
      const startBytes = labelOffset(patient, 2) + 4 * BLOCK;
      patient.disk.addFault({ operation: 'read', effect: { kind: 'error', errno: 'EIO' }, startBytes, endBytes: startBytes + BLOCK });
    },
  },
  {
    code: 'on-bad-blocks',
    name: 'an entry on blocks that are out of use',
    forge: (patient) => {
      const block = placeOf(patient, 8, 1).offsetBytes / BLOCK;
      patient.forged.push({ ...EMPTY_ENTRY, kind: CHECKPOINT_KINDS.badRun, block, blocks: 2 });
    },
  },
  { code: 'journal-short', name: 'a journal that had gone further', pretend: ({ journalHead }) => ({ journalHead: journalHead + 5 }) },
];

/** What makes others go unseen: each is shown alone. */
export const LONE_DAMAGES: readonly Damage[] = [
  {
    code: 'checkpoint-incomplete',
    name: 'a checkpoint that is not the one of the superblock',
    pretend: ({ checkpoint }) => ({ checkpoint: { ...checkpoint, crc: checkpoint.crc === 0 ? 1 : 0 } }),
  },
  {
    code: 'forgotten',
    name: 'a purge that the journal does not have',
    pretend: ({ purgeSequence }) => ({ purgeSequence: purgeSequence + 1 }),
  },
  {
    code: 'checkpoint-part-damaged',
    name: 'a part of a checkpoint that came to nothing',
    harm: (patient) => {
      const offset = checkpointOffset(patient, 'checkpoint');
      const part = patient.disk.peek(offset, CHECKPOINT_PART_BYTES);
      const count = getNumber(part, 0, CHECKPOINT_HEADER.count);
      const { sequence } = patient.view.root.superblock.checkpoint;
      const deviceTag = patient.view.root.format.deviceUuid.subarray(0, 8);
      sealCheckpointPart(part, { sequence, partNumber: 0, ownOffset: offset, deviceTag }, count - 1);
      patient.disk.poke(offset, part);
    },
  },
  {
    code: 'checkpoint-contents-damaged',
    name: 'a table of contents that cannot be read until it is written',
    healsWhenWritten: true,
    harm: (patient) => {
      const startBytes = contentsOf(patient, 'checkpoint');
      patient.disk.addFault({ operation: 'read', effect: { kind: 'error', errno: 'EIO' }, startBytes, endBytes: startBytes + BLOCK });
    },
  },
  {
    code: 'checkpoint-replaced',
    name: 'the newest checkpoint',
    harm: (patient) => flip(patient, checkpointOffset(patient, 'checkpoint') + 70),
  },
];

/** What may be done to a device whose power failed. */
export const CRASH_DAMAGES: readonly Damage[] = [
  {
    code: 'journal-gap',
    name: 'a journal block in the middle',
    harm: (patient) => flip(patient, journalBlockOffset(patient, patient.view.state.journalStart + 3) + 99),
  },
  {
    code: 'journal-torn',
    name: 'the last journal block',
    harm: (patient) => flip(patient, journalBlockOffset(patient, patient.view.state.journal.nextSequence - 1) + 99),
  },
  {
    code: 'checkpoint-part-damaged',
    name: 'a part of the newest checkpoint',
    harm: (patient) => flip(patient, checkpointOffset(patient, 'checkpoint') + 70),
  },
  {
    code: 'checkpoint-part-damaged',
    name: 'parts of both checkpoints',
    harm: (patient) => {
      flip(patient, checkpointOffset(patient, 'checkpoint') + 70);
      flip(patient, checkpointOffset(patient, 'previous') + 70);
    },
  },
  {
    code: 'superblock-damaged',
    name: 'the newest superblock in one label',
    harm: (patient) => {
      const { sequence } = patient.view.root.superblock;
      flip(patient, labelOffset(patient, 0) + (1 + (sequence % patient.view.root.format.geometry.superblockCount)) * BLOCK);
    },
  },
];

function identityOf(patient: Patient, object: number): Pick<ExtentHeader, 'generation' | 'objectHash'> {
  const manifest = patient.manifests[object];
  assert.ok(manifest);
  return { generation: manifest.generation, objectHash: manifest.objectHash };
}

/** A record whose chunks prove themselves, and which still is none. */
function harmRecord(patient: Patient): void {
  const { slot, offsetBytes } = placeOf(patient, 0, MANIFEST_NUMBER);
  const { index } = patient.view.state;
  const facts = {
    ...identityOf(patient, 0),
    ownBlock: offsetBytes / BLOCK,
    kind: EXTENT_KINDS.manifest,
    sliceNumber: MANIFEST_NUMBER,
    writeSequence: index.writeSequence(slot),
    presentEnd: 0,
  };
  plant(patient, facts, Buffer.alloc(216, 0x63));
}
