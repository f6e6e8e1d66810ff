/** Compressed slices: what is tried and what is not, right bytes whole and in part, reads of what is needed only, damage, threads. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compressSync } from 'lz4-napi';
import { createSilentLogger } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { CHUNK_BYTES } from '../../src/format/geometry.ts';
import type { HeaderField, Manifest } from '../../src/format/manifest.ts';
import { Arena } from '../../src/memory/arena.ts';
import { type ChunkCodec, INLINE_CODEC } from '../../src/store/extents/chunk-codec.ts';
import { CompressionPolicy } from '../../src/store/extents/compression-policy.ts';
import { compressChunks, decompressChunks, looksCompressible } from '../../src/store/extents/lz4-chunks.ts';
import { ThreadCodec } from '../../src/store/extents/thread-codec.ts';
import { emptyResident } from '../contract/slice-store.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import {
  assertNoLeases,
  type Bench,
  type BenchOptions,
  clock,
  formatTiny,
  makeManifest,
  openBench,
  slicePlaces,
  tinyParameters,
} from './store-bench.ts';

const SEED = 11;
const SLICE = MIB;

/** Half text, half noise in every 8 KiB, so that no two chunks are stored alike and every chunk shrinks to about a half. */
function mixedBytes(lengthBytes: number, seed = SEED): Buffer {
  const random = new SeededRandom(seed);
  const bytes = Buffer.alloc(lengthBytes, 'the quick brown fox jumps over the lazy dog; ');
  for (let at = 0; at < lengthBytes; at += 8 * KIB) bytes.set(random.bytes(Math.min(4 * KIB, lengthBytes - at)), at);
  return bytes;
}

function noise(lengthBytes: number): Buffer {
  return Buffer.from(new SeededRandom(SEED).bytes(lengthBytes));
}

interface Stage extends Bench {
  readonly disk: SimulatedDisk;
  /** Bytes that the device was asked to read since the last call. */
  readonly takeReadBytes: () => number;
  readonly reopen: () => Promise<Stage>;
}

async function stageOn(disk: SimulatedDisk, counter: { bytes: number }, options: BenchOptions): Promise<Stage> {
  const bench = await openBench(disk.open(), { compression: 'auto', arenaBytes: 32 * MIB, ...options });
  return {
    ...bench,
    disk,
    takeReadBytes: () => {
      const { bytes } = counter;
      counter.bytes = 0;
      return bytes;
    },
    reopen: async () => {
      await bench.store.close();
      return stageOn(disk, counter, options);
    },
  };
}

async function makeStage(options: BenchOptions = {}): Promise<Stage> {
  const counter = { bytes: 0 };
  const delay = async (operation: string, _offsetBytes: number, lengthBytes: number): Promise<void> => {
    if (operation === 'read') counter.bytes += lengthBytes;
  };
  const disk = new SimulatedDisk({ capacityBytes: 24 * MIB, random: new SeededRandom(SEED), delay });
  const device = disk.open();
  await formatTiny(device, { ...tinyParameters(), groupBytes: 4 * MIB });
  await device.close();
  return stageOn(disk, counter, options);
}

/** Stores `slices` as one object. */
async function storeBytes(stage: Bench, key: string, slices: readonly Buffer[], fields: readonly HeaderField[] = []): Promise<Manifest> {
  const lengthBytes = slices.reduce((sum, slice) => sum + slice.length, 0);
  const manifest = makeManifest(key, stage.store.nextGeneration(), lengthBytes, { sliceSizeBytes: SLICE, fields });
  const { objectHash, generation } = manifest;
  assert.deepEqual(stage.store.offerManifest(manifest, stage.store.purgeSequence), { kind: 'admitted' });
  for (const [sliceNumber, bytes] of slices.entries()) {
    const lease = stage.arena.tryLease('fill', bytes.length);
    assert.ok(lease !== undefined);
    bytes.copy(lease.bytes);
    stage.store.offerSlice({ objectHash, generation, sliceNumber, lease, lengthBytes: bytes.length });
    lease.end();
  }
  await stage.store.drain();
  emptyResident(stage.arena);
  return manifest;
}

async function read(stage: Bench, manifest: Manifest, startBytes: number, endBytes: number, sliceNumber = 0): Promise<Buffer | string> {
  const { objectHash, generation } = manifest;
  const verdict = await stage.store.readSlice({ objectHash, generation, sliceNumber, startBytes, endBytes });
  if (verdict.kind !== 'hit') return verdict.kind;
  const bytes = Buffer.from(verdict.bytes);
  verdict.lease.end();
  emptyResident(stage.arena);
  return bytes;
}

test('what shrinks is stored in fewer blocks, and every part of it comes back, also after a restart', async () => {
  let stage = await makeStage();
  const bytes = mixedBytes(SLICE);
  const tail = mixedBytes(300_001, 12);
  const before = stage.store.metrics.value('writtenBytes');
  const manifest = await storeBytes(stage, 'text', [bytes, tail]);
  const written = stage.store.metrics.value('writtenBytes') - before;
  assert.ok(written < (bytes.length + tail.length) * 0.7, `${written} bytes were written`);
  assert.equal(stage.store.metrics.value('compression', 'compressed'), 2);
  assert.equal(stage.store.metrics.value('compressionBytes', 'before'), bytes.length + tail.length);
  const ranges = [
    [0, 1],
    [65_535, 65_537],
    [500_000, 600_001],
    [SLICE - 1, SLICE],
    [0, SLICE],
    [10, SLICE - 10],
  ] as const;
  for (let round = 0; round < 2; round += 1) {
    for (const [start, end] of ranges)
      assert.deepEqual(await read(stage, manifest, start, end), bytes.subarray(start, end), `${start}-${end}`);
    assert.deepEqual(await read(stage, manifest, 0, tail.length, 1), tail);
    assert.deepEqual(await read(stage, manifest, 299_990, 300_001, 1), tail.subarray(299_990));
    assert.equal(await read(stage, manifest, 299_990, 300_002, 1), 'absent');
    assert.equal(stage.store.findContradiction(), undefined);
    stage = await stage.reopen();
  }
  assertNoLeases(stage.arena);
  await stage.store.close();
});

test('a part of a compressed slice costs the header and the blocks of its chunks', async () => {
  const stage = await makeStage();
  const manifest = await storeBytes(stage, 'parts', [mixedBytes(SLICE)]);
  stage.takeReadBytes();
  await read(stage, manifest, 5 * CHUNK_BYTES + 10, 6 * CHUNK_BYTES);
  const one = stage.takeReadBytes();
  assert.ok(one >= 4 * KIB + 32 * KIB && one <= 4 * KIB + 48 * KIB, `${one} bytes were read for one chunk of about 34 KiB`);
  await read(stage, manifest, 0, SLICE);
  const whole = stage.takeReadBytes();
  assert.ok(whole > 512 * KIB && whole < 640 * KIB, `${whole} bytes were read for a whole slice`);
  await stage.store.close();
});

test('what does not shrink is stored as it came, and after two slices the rest of the object is not tried', async () => {
  const stage = await makeStage({ limits: { writesMax: 1 } });
  const slices = [1, 2, 3, 4].map(() => noise(SLICE));
  const manifest = await storeBytes(stage, 'noise', slices);
  assert.equal(stage.store.metrics.value('compression', 'probe'), 2);
  assert.equal(stage.store.metrics.value('compression', 'memory'), 2);
  assert.deepEqual(await read(stage, manifest, 0, SLICE, 3), slices[3]);
  const small = await storeBytes(stage, 'small', [noise(60 * KIB)]);
  assert.equal(stage.store.metrics.value('compression', 'probe'), 3);
  assert.deepEqual(await read(stage, small, 0, 60 * KIB), noise(60 * KIB));
  await stage.store.close();
});

test('a chunk that does not shrink lies raw among those that do', async () => {
  const stage = await makeStage();
  const bytes = Buffer.concat([mixedBytes(3 * CHUNK_BYTES), noise(CHUNK_BYTES), mixedBytes(4 * CHUNK_BYTES)]);
  const manifest = await storeBytes(stage, 'islands', [bytes]);
  assert.equal(stage.store.metrics.value('compression', 'compressed'), 1);
  for (const [start, end] of [
    [0, bytes.length],
    [3 * CHUNK_BYTES, 4 * CHUNK_BYTES],
    [3 * CHUNK_BYTES - 1, 4 * CHUNK_BYTES + 1],
  ] as const)
    assert.deepEqual(await read(stage, manifest, start, end), bytes.subarray(start, end));
  await stage.store.close();
});

test('packed types and contents are not tried, with compression off nothing is', async () => {
  const stage = await makeStage();
  await storeBytes(stage, 'zip', [mixedBytes(SLICE)], [['content-type', 'Application/ZIP; x=y']]);
  await storeBytes(stage, 'br', [mixedBytes(SLICE)], [['content-encoding', 'br']]);
  assert.equal(stage.store.metrics.value('compression', 'type'), 2);
  assert.equal(stage.store.metrics.value('compression', 'compressed'), 0);
  await stage.store.close();
  const off = await makeStage({ compression: 'off' });
  await storeBytes(off, 'text', [mixedBytes(SLICE)]);
  for (const outcome of ['compressed', 'type', 'memory', 'probe', 'load'] as const)
    assert.equal(off.store.metrics.value('compression', outcome), 0);
  await off.store.close();
});

test('when the compressor is busy, slices are stored as they came', async () => {
  const busy: ChunkCodec = {
    isCompressorBusy: true,
    isDecompressorBusy: true,
    compress: () => assert.fail('a busy codec gets no job'),
    decompress: () => assert.fail('a busy codec gets no job'),
    close: () => Promise.resolve(),
  };
  const stage = await makeStage({ codec: busy });
  const manifest = await storeBytes(stage, 'busy', [mixedBytes(SLICE)]);
  assert.equal(stage.store.metrics.value('compression', 'load'), 1);
  assert.deepEqual(await read(stage, manifest, 0, SLICE), mixedBytes(SLICE));
  await stage.store.close();
});

test('when half of the write queue is taken, slices are stored as they came', async () => {
  const stage = await makeStage({ limits: { queueSlices: 4, writesMax: 1 } });
  await storeBytes(
    stage,
    'rush',
    [1, 2, 3, 4].map(() => mixedBytes(SLICE)),
  );
  assert.equal(stage.store.metrics.value('compression', 'load'), 2);
  assert.equal(stage.store.metrics.value('compression', 'compressed'), 2);
  await stage.store.close();
});

test('a flipped bit anywhere in a compressed extent is a miss, never a wrong byte', async () => {
  let stage = await makeStage();
  const random = new SeededRandom(SEED);
  const bytes = mixedBytes(SLICE);
  for (let round = 0; round < 30; round += 1) {
    const manifest = await storeBytes(stage, `flip-${round}`, [bytes]);
    const [place] = await slicePlaces(stage.disk.open('read-only'), manifest.objectHash);
    assert.ok(place !== undefined);
    // The last block has padding, which nothing vouches for.
    stage.disk.flipBit(place.offsetBytes + random.integerBelow(place.allocatedBytes - 4 * KIB), random.integerBelow(8));
    const got = await read(stage, manifest, 0, SLICE);
    assert.equal(got, 'corrupt', `round ${round} (seed ${SEED})`);
    assert.equal(await read(stage, manifest, 0, SLICE), 'absent');
    stage.store.dropManifest(manifest.objectHash, manifest.generation);
    // A device with so much damage at a time would be taken out of service.
    if (round % 4 === 3) stage = await stage.reopen();
  }
  await stage.store.drain();
  assertNoLeases(stage.arena);
  await stage.store.close();
});

test('chunks that pass their checksum and do not decode are a miss: a writer that was wrong', async () => {
  for (const forge of [
    (target: Buffer) => target.writeUInt32LE(0xffffffff, 0),
    (target: Buffer) => target.writeUInt32LE(CHUNK_BYTES - 1, 0),
    (target: Buffer) => target.fill(0xff, 4, 200),
  ]) {
    const wrong: ChunkCodec = {
      ...INLINE_CODEC,
      compress: (source, target) => {
        const lengths = compressChunks(source, target);
        forge(target);
        return Promise.resolve(lengths);
      },
    };
    const stage = await makeStage({ codec: wrong });
    const manifest = await storeBytes(stage, 'forged', [mixedBytes(SLICE)]);
    assert.equal(await read(stage, manifest, 0, SLICE), 'corrupt');
    await stage.store.drain();
    assertNoLeases(stage.arena);
    await stage.store.close();
  }
});

test('decompressChunks() takes only what compressChunks() made', () => {
  const raw = mixedBytes(2 * CHUNK_BYTES + 100);
  const target = Buffer.alloc(raw.length);
  const lengths = compressChunks(raw, target);
  const stored = target.subarray(
    0,
    lengths.reduce((sum, length) => sum + length, 0),
  );
  const out = Buffer.alloc(raw.length);
  assert.ok(decompressChunks(stored, lengths, out));
  assert.deepEqual(out, raw);
  assert.equal(compressSync(raw.subarray(0, CHUNK_BYTES)).readUInt32LE(0), CHUNK_BYTES, 'the library puts the raw length first');
  assert.equal(decompressChunks(stored, lengths, Buffer.alloc(raw.length - 1)), false);
  assert.equal(decompressChunks(stored, lengths, Buffer.alloc(raw.length + CHUNK_BYTES)), false);
  assert.equal(decompressChunks(stored.subarray(0, stored.length - 10), lengths, out), false);
  assert.equal(decompressChunks(stored, lengths.slice(0, 2), out), false);
  const random = new SeededRandom(SEED);
  for (let round = 0; round < 300; round += 1) {
    const broken = Buffer.from(stored);
    for (let flips = 0; flips < 3; flips += 1) broken[random.integerBelow(broken.length)] = random.integerBelow(256);
    decompressChunks(broken, lengths, out);
  }
});

test('samples tell what shrinks', () => {
  assert.equal(looksCompressible(mixedBytes(SLICE)), true);
  assert.equal(looksCompressible(noise(SLICE)), false);
  assert.equal(looksCompressible(noise(CHUNK_BYTES)), true, 'little is tried as a whole');
});

test('the policy forgets nothing that it should know and skips nothing that it should try', () => {
  const policy = new CompressionPolicy('auto');
  const about = (fields: readonly HeaderField[]): string =>
    policy.decide({ generation: 1, sliceNumber: 0 }, makeManifest('k', 1, 10, { fields }));
  for (const type of ['image/png', 'video/mp4', 'audio/ogg', 'application/zip', 'application/vnd.oasis.opendocument.text', 'font/woff2'])
    assert.equal(about([['content-type', type]]), 'type', type);
  for (const type of ['image/svg+xml', 'image/bmp', 'audio/midi', 'text/html', 'application/octet-stream', 'font/ttf', '', 'image'])
    assert.equal(about([['content-type', type]]), type === 'image' ? 'type' : 'try', type);
  assert.equal(about([['content-encoding', 'GZIP']]), 'type');
  assert.equal(about([['content-encoding', 'identity']]), 'try');
  assert.equal(policy.decide({ generation: 2, sliceNumber: 3 }, undefined), 'try');
  policy.remember(2, false);
  policy.remember(2, false);
  assert.equal(policy.decide({ generation: 2, sliceNumber: 3 }, undefined), 'memory');
  assert.equal(policy.decide({ generation: 2, sliceNumber: 32 }, undefined), 'try');
  policy.remember(2, true);
  assert.equal(policy.decide({ generation: 2, sliceNumber: 3 }, undefined), 'try');
});

test('threads compress and decompress in the arena, and say when they have enough to do', async () => {
  const arena = new Arena({ sizeBytes: 32 * MIB, clock });
  const codec = new ThreadCodec(createSilentLogger());
  const slot = (): Buffer => {
    const lease = arena.tryLease('fill', SLICE);
    assert.ok(lease !== undefined);
    return lease.bytes;
  };
  const [source, target, back, noisy] = [slot(), slot(), slot(), slot()];
  mixedBytes(SLICE).copy(source);
  noise(SLICE).copy(noisy);
  const lengths = await codec.compress(source, target);
  assert.ok(lengths !== undefined);
  assert.equal(await codec.decompress(target, lengths, back), true);
  assert.ok(back.equals(source));
  target.fill(0, 0, 10);
  assert.equal(await codec.decompress(target, lengths, back), false);
  assert.equal(await codec.compress(noisy, target), undefined);
  const jobs = Array.from({ length: 8 }, () => codec.compress(source, target));
  assert.equal(codec.isCompressorBusy, true);
  assert.equal(codec.isDecompressorBusy, false);
  await Promise.all(jobs);
  assert.equal(codec.isCompressorBusy, false);
  const late = Array.from({ length: 8 }, () => codec.compress(source, target));
  await codec.close();
  // Whoever waits for a thread that has ended goes without; those that were done before may have been told.
  for (const result of await Promise.all(late)) assert.ok(result === undefined || result.length === lengths.length);
  assert.equal(await codec.compress(source, target), undefined);
  assert.equal(codec.isCompressorBusy, true);
});

test('a store with threads serves what it compressed', async () => {
  const codec = new ThreadCodec(createSilentLogger());
  const stage = await makeStage({ codec });
  const manifest = await storeBytes(stage, 'threads', [mixedBytes(SLICE)]);
  assert.deepEqual(await read(stage, manifest, 0, SLICE), mixedBytes(SLICE));
  assert.deepEqual(await read(stage, manifest, 70_000, 80_000), mixedBytes(SLICE).subarray(70_000, 80_000));
  assert.equal(stage.store.metrics.value('decompressedBytes', 'thread'), SLICE);
  assert.equal(stage.store.metrics.value('decompressedBytes', 'inline'), CHUNK_BYTES);
  await stage.store.close();
  await codec.close();
});
