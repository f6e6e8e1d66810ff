/** Every structure comes back as it went, and any bytes at all are refused without an exception. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 as zlibCrc32 } from 'node:zlib';
import { SeededRandom } from '../../src/base/random.ts';
import { GIB, KIB, MIB, TIB } from '../../src/base/units.ts';
import { CONTENTS_PART_ENTRIES, decodeContentsPart, encodeContentsPart } from '../../src/format/checkpoint-contents.ts';
import { hashOfGeneration, hashOfTag, placeOfHash, stepOfSlice } from '../../src/format/checkpoint-order.ts';
import {
  decodeCheckpointEntry,
  encodeCheckpointEntry,
  sealCheckpointPart,
  verifyCheckpointPart,
} from '../../src/format/checkpoint-part.ts';
import { crc32 } from '../../src/format/checksum.ts';
import {
  decodeChunkTable,
  decodeExtentHeader,
  EXTENT_KINDS,
  encodeExtentHeader,
  extentBlocks,
  verifyChunks,
} from '../../src/format/extent-header.ts';
import { decodeFormatBlock, encodeFormatBlock, FORMAT_FIRST_WORDS } from '../../src/format/format-block.ts';
import { CHECKPOINT_PART_BYTES, computeGeometry, defaultParameters } from '../../src/format/geometry.ts';
import {
  decodeJournalHeader,
  decodeJournalRecord,
  EMPTY_RECORD,
  encodeJournalRecord,
  JOURNAL_HEADER_BYTES,
  journalRecordsPerBlock,
  sealJournalBlock,
} from '../../src/format/journal-block.ts';
import { decodeManifestRecord, encodeManifestRecord, MANIFEST_RECORD_BYTES_MAX, U48_MAX } from '../../src/format/manifest-record.ts';
import { decodeSuperblock, encodeSuperblock, type Superblock } from '../../src/format/superblock.ts';
import { hashOf, makeManifest } from '../store/store-bench.ts';

const random = new SeededRandom(41);
const identity = { cacheUuid: random.bytes(16), macKey: random.bytes(32) };
const deviceTag = random.bytes(8);

/** Flips single bits and puts noise in; `decode` must refuse (return undefined) or return what `isSame` accepts. */
function fuzz(source: Buffer, significantBytes: number, decode: (bytes: Buffer) => unknown): void {
  for (let round = 0; round < 300; round += 1) {
    const bytes = Buffer.from(source);
    const at = random.integerBelow(significantBytes);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << random.integerBelow(8));
    assert.equal(decode(bytes), undefined, `a flipped bit in byte ${at} is noticed`);
  }
  for (let round = 0; round < 50; round += 1) {
    const noise = Buffer.from(random.bytes(source.length));
    if (round % 2 === 0) source.copy(noise, 0, 0, 16);
    assert.equal(decode(noise), undefined);
    assert.equal(decode(noise.subarray(0, random.integerBelow(64))), undefined);
  }
}

test('crc32 has the values of zlib, in one piece and in two', () => {
  const bytes = Buffer.from(random.bytes(1000));
  assert.equal(crc32(bytes), zlibCrc32(bytes));
  assert.equal(crc32(bytes.subarray(300), crc32(bytes.subarray(0, 300))), zlibCrc32(bytes));
});

test('geometry: zones follow each other without gap or overlap, from 64 MiB to 10 TiB', () => {
  for (const capacityBytes of [64 * MIB, 100 * MIB + 12_345, GIB, 10 * TIB, 20 * TIB]) {
    const geometry = computeGeometry(defaultParameters({ blockSizeBytes: 4 * KIB, capacityBytes }));
    assert.ok(geometry !== undefined);
    assert.deepEqual(geometry.labelOffsets.slice(0, 2), [0, MIB]);
    assert.equal(geometry.superblockCount, MIB / geometry.blockSizeBytes - 1);
    assert.equal(geometry.journalOffset, 2 * MIB);
    assert.equal(geometry.checkpointOffsets[0], geometry.journalOffset + geometry.journalBytes);
    assert.equal(geometry.checkpointOffsets[1], geometry.checkpointOffsets[0] + geometry.checkpointBytes);
    assert.equal(geometry.groupsOffset, geometry.checkpointOffsets[1] + geometry.checkpointBytes);
    assert.ok(geometry.groupsOffset + geometry.groupsBlocks * geometry.blockSizeBytes <= geometry.labelOffsets[2]);
    assert.ok(geometry.labelOffsets[3] + MIB <= capacityBytes);
    assert.ok(geometry.capacityBytes / geometry.blockSizeBytes < 2 ** 32);
  }
  assert.equal(
    computeGeometry({ blockSizeBytes: 4096, capacityBytes: 8 * MIB, labelBytes: MIB, journalBytes: 1, groupBytes: MIB, entryCount: 5 }),
    undefined,
  );
});

test('format block', () => {
  const geometry = computeGeometry(defaultParameters({ blockSizeBytes: 4096, capacityBytes: GIB }));
  assert.ok(geometry !== undefined);
  const format = {
    labelNumber: 2,
    deviceUuid: random.bytes(16),
    macKeyId: random.bytes(8),
    createdAtMs: 1_700_000_000_000,
    geometry,
    ...identity,
  };
  const bytes = Buffer.alloc(4096, 1);
  encodeFormatBlock(format, bytes);
  assert.ok(bytes.toString('latin1').startsWith(FORMAT_FIRST_WORDS));
  const verdict = decodeFormatBlock(bytes);
  assert.deepEqual(verdict, { kind: 'valid', block: format });
  fuzz(bytes, 512, (noise) => (decodeFormatBlock(noise).kind === 'valid' ? noise : undefined));
});

test('superblock', () => {
  const checkpoint = { zone: 1, sequence: 8, entries: 9, parts: 10, crc: 11, journalStart: 12, journalPreviousCrc: 13, purgeSequence: 14 };
  const superblock: Superblock = {
    sequence: 2 ** 40,
    epoch: 2,
    isClean: true,
    checkpoint,
    previous: { ...checkpoint, zone: 0, sequence: 7 },
    journalHead: 15,
    generationFloor: U48_MAX,
    writeSequenceFloor: 16,
    purgeSequence: 17,
    writtenBytes: 18,
    mounts: 19,
    badBlocks: 20,
    writtenAtMs: 21,
    purgedGeneration: 22,
    mountId: '0123456789abcdef',
    earlierMountIds: ['00000000000000ff', 'ff00000000000000'],
  };
  const place = { ownOffset: 4096, deviceUuid: random.bytes(16), macKey: identity.macKey };
  const bytes = Buffer.alloc(4096, 1);
  encodeSuperblock(superblock, place, bytes);
  assert.deepEqual(decodeSuperblock(bytes, place), superblock);
  assert.equal(decodeSuperblock(bytes, { ...place, ownOffset: 8192 }), undefined);
  assert.equal(decodeSuperblock(bytes, { ...place, macKey: random.bytes(32) }), undefined);
  assert.equal(decodeSuperblock(bytes, { ...place, deviceUuid: random.bytes(16) }), undefined);
  fuzz(bytes, 512, (noise) => decodeSuperblock(noise, place));
});

test('journal block and records', () => {
  const block = Buffer.alloc(4096, 1);
  const count = journalRecordsPerBlock(4096);
  assert.equal(count, 63);
  const record = {
    ...EMPTY_RECORD,
    type: 1,
    blocks: 257,
    block: 2 ** 32 - 1,
    generation: U48_MAX,
    writeSequence: 2 ** 47,
    tagLow: 5,
    tagHigh: 2 ** 32 - 1,
    restLow: 8,
    restHigh: 2 ** 32 - 2,
    sliceNumber: 7,
    initialAgeSeconds: 8,
    receivedAtMs: 9,
    freshUntilMs: U48_MAX,
  };
  for (let index = 0; index < count; index += 1) encodeJournalRecord({ ...record, block: index }, block, JOURNAL_HEADER_BYTES + index * 64);
  const place = { sequence: 99, ownOffset: 12_288, deviceTag };
  const crc = sealJournalBlock(block, place, { epoch: 3, count, previousCrc: 4, purgeSequence: 5 });
  assert.deepEqual(decodeJournalHeader(block, place), { sequence: 99, epoch: 3, count, previousCrc: 4, purgeSequence: 5, crc });
  assert.deepEqual(decodeJournalRecord(block, JOURNAL_HEADER_BYTES + 62 * 64), { ...record, block: 62 });
  assert.equal(decodeJournalHeader(block, { ...place, ownOffset: 4096 }), undefined);
  assert.equal(decodeJournalHeader(block, { ...place, deviceTag: random.bytes(8) }), undefined);
  fuzz(block, 4096, (noise) => decodeJournalHeader(noise, place));
});

test('checkpoint part and entries', () => {
  const part = Buffer.alloc(CHECKPOINT_PART_BYTES, 1);
  const entry = {
    kind: 2,
    flags: 3,
    blocks: 2049,
    block: 2 ** 32 - 1,
    generation: U48_MAX,
    writeSequence: U48_MAX,
    sliceNumber: 2 ** 32 - 1,
    tagLow: 1,
    tagHigh: 2,
    initialAgeSeconds: 3,
    receivedAtMs: U48_MAX,
    freshUntilMs: 4,
  };
  encodeCheckpointEntry(entry, part, 0);
  encodeCheckpointEntry({ ...entry, kind: 1 }, part, 1);
  const place = { sequence: 5, partNumber: 6, ownOffset: 65_536, deviceTag };
  const crc = sealCheckpointPart(part, place, 2);
  assert.deepEqual(verifyCheckpointPart(part, place), { count: 2, crc });
  assert.deepEqual(decodeCheckpointEntry(part, 0), entry);
  assert.equal(verifyCheckpointPart(part, { ...place, partNumber: 7 }), undefined);
  fuzz(part, CHECKPOINT_PART_BYTES, (noise) => verifyCheckpointPart(noise, place));
});

test('table of contents of a checkpoint', () => {
  const part = Buffer.alloc(CHECKPOINT_PART_BYTES, 1);
  const entries = Array.from({ length: CONTENTS_PART_ENTRIES }, (_, number) => ({ firstOrder: number * 3, crc: 2 ** 32 - 1 - number }));
  const content = { places: { objectPlaces: 1, slicePlaces: 2 ** 31 }, entries };
  const place = { sequence: 5, ownOffset: 65_536, deviceTag, firstPart: CONTENTS_PART_ENTRIES };
  encodeContentsPart(part, place, content);
  assert.deepEqual(decodeContentsPart(part, place), content);
  assert.equal(decodeContentsPart(part, { ...place, firstPart: 0 }), undefined);
  assert.equal(decodeContentsPart(part, { ...place, sequence: 6 }), undefined);
  fuzz(part, CHECKPOINT_PART_BYTES, (noise) => decodeContentsPart(noise, place));
  encodeContentsPart(part, place, { ...content, places: { objectPlaces: 0, slicePlaces: 1 } });
  assert.equal(decodeContentsPart(part, place), undefined);
});

test('the order of a checkpoint is the one of FORMAT.md', () => {
  const mul = (left: number, right: number): number => Number((BigInt(left) * BigInt(right)) % 2n ** 32n);
  const xor = (left: number, right: number): number => (left ^ right) >>> 0;
  for (let round = 0; round < 1000; round += 1) {
    const generation = random.integerBelow(2 ** 38);
    const [tagLow, tagHigh] = [random.integerBelow(2 ** 32), random.integerBelow(2 ** 32)];
    const places = 1 + random.integerBelow(2 ** 31 - 1);
    const step = random.integerBelow(places);
    const x = xor(mul(generation % 2 ** 32, 0x9e3779b1), mul(Math.floor(generation / 2 ** 32) + 1, 0x85ebca6b));
    const y = mul(xor(x, x >>> 15), 0x2c1b3c6d);
    const z = mul(xor(y, y >>> 13), 0x297a2d39);
    assert.equal(hashOfGeneration(generation), xor(z, z >>> 16));
    assert.equal(hashOfTag({ tagLow, tagHigh }), mul(xor(tagLow, tagHigh), 0x9e3779b1));
    const hash = random.integerBelow(2 ** 32);
    assert.equal(placeOfHash(hash, places, stepOfSlice(step)), (Math.floor(hash * (places / 2 ** 32)) + step + 1) % places);
  }
  assert.equal(placeOfHash(2 ** 32 - 1, 2 ** 31), 2 ** 31 - 1);
});

test('extent header with the longest key and the most chunks, and every chunk checked', () => {
  const payload = Buffer.from(random.bytes(1000)).toString('latin1').repeat(8389);
  const bytes = Buffer.from(payload, 'latin1').subarray(0, 8 * MIB);
  const header = {
    kind: EXTENT_KINDS.slice,
    codec: 0,
    ownBlock: 77,
    writeSequence: 2 ** 33 + 1,
    generation: U48_MAX,
    objectHash: hashOf('k'),
    sliceNumber: 3,
    presentStart: 0,
    presentEnd: bytes.length,
    rawBytes: bytes.length,
    storedBytes: bytes.length,
    allocatedBytes: extentBlocks(bytes.length, 4096) * 4096,
    epoch: 1,
    writtenAtMs: 2,
    purgeSequence: 3,
    keyText: 'k'.repeat(3072),
  };
  const block = Buffer.alloc(4096, 1);
  encodeExtentHeader(header, identity, { target: block, payload: bytes });
  assert.deepEqual(decodeExtentHeader(block, identity), header);
  assert.equal(decodeExtentHeader(block, { ...identity, macKey: random.bytes(32) }), undefined);
  assert.equal(decodeExtentHeader(block, { ...identity, cacheUuid: random.bytes(16) }), undefined);
  const chunks = decodeChunkTable(block, header);
  const { writeSequence } = header;
  assert.ok(verifyChunks(chunks, { writeSequence, firstChunk: 0, bytes }));
  assert.ok(verifyChunks(chunks, { writeSequence, firstChunk: 100, bytes: bytes.subarray(100 * 64 * KIB, 102 * 64 * KIB) }));
  assert.ok(!verifyChunks(chunks, { writeSequence, firstChunk: 99, bytes: bytes.subarray(100 * 64 * KIB, 102 * 64 * KIB) }));
  assert.ok(!verifyChunks(chunks, { writeSequence: 1, firstChunk: 0, bytes }));
  bytes[5 * MIB] = (bytes[5 * MIB] ?? 0) ^ 1;
  assert.ok(!verifyChunks(chunks, { writeSequence, firstChunk: 0, bytes }));
  fuzz(block, 4096, (noise) => decodeExtentHeader(noise, identity));
});

test('manifest record', () => {
  const manifest = makeManifest('http://ü/ö?x=1', U48_MAX, Number.MAX_SAFE_INTEGER, {
    fields: [
      ['set-cookie', 'a'],
      ['set-cookie', 'b'],
      ['x-latin', 'caf\u00e9'],
      ['empty', ''],
    ],
    tags: ['release', 'caf\u00e9', ''],
    sliceSizeBytes: 8 * MIB,
    freshUntilMs: U48_MAX,
  });
  const record = encodeManifestRecord(manifest);
  assert.ok(record !== undefined);
  assert.deepEqual(decodeManifestRecord(record), manifest);
  assert.deepEqual(decodeManifestRecord(Buffer.concat([record, Buffer.alloc(4096 - record.length)])), manifest);
  const endless = encodeManifestRecord({ ...manifest, freshUntilMs: Number.POSITIVE_INFINITY, receivedAtMs: -5, initialAgeSeconds: 1.5 });
  assert.ok(endless !== undefined);
  const stored = decodeManifestRecord(endless);
  assert.deepEqual([stored?.freshUntilMs, stored?.receivedAtMs, stored?.initialAgeSeconds], [U48_MAX, 0, 1]);
  assert.equal(encodeManifestRecord({ ...manifest, fields: [['x', 'v'.repeat(MANIFEST_RECORD_BYTES_MAX)]] }), undefined);
  assert.equal(encodeManifestRecord({ ...manifest, fields: [['x', 'v'.repeat(70_000)]] }), undefined);
  assert.equal(encodeManifestRecord({ ...manifest, keyText: 'k'.repeat(3073) }), undefined);
  fuzz(record, record.length, decodeManifestRecord);
});
