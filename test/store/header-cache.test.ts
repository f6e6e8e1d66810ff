/** Headers that are kept: one read of the device for each part of a slice, and no part that does not prove itself. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSilentLogger } from '../../src/base/log.ts';
import { MetricSet } from '../../src/base/metrics.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB, SECOND_MS } from '../../src/base/units.ts';
import type { ExtentHeader } from '../../src/format/extent-header.ts';
import { CHUNK_BYTES } from '../../src/format/geometry.ts';
import type { Manifest } from '../../src/format/manifest.ts';
import { Arena } from '../../src/memory/arena.ts';
import { checkDevice } from '../../src/store/check/check-device.ts';
import { openStore } from '../../src/store/device-store.ts';
import { HeaderCache } from '../../src/store/extents/header-cache.ts';
import { DEFAULT_STORE_LIMITS } from '../../src/store/store-limits.ts';
import { STORE_METRICS } from '../../src/store/store-metrics.ts';
import { emptyResident } from '../contract/slice-store.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { VirtualClock } from '../simulation/virtual-clock.ts';
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

const SEED = 71;
const SLICE = MIB;
const BLOCK = 4 * KIB;
const MODES = ['off', 'auto'] as const;

interface Transfer {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

interface Stage extends Bench {
  readonly disk: SimulatedDisk;
  /** What the device was asked to read since the last call. */
  readonly takeReads: () => Transfer[];
  readonly reopen: () => Promise<Stage>;
}

async function stageOn(disk: SimulatedDisk, reads: Transfer[], options: BenchOptions): Promise<Stage> {
  const bench = await openBench(disk.open(), { arenaBytes: 32 * MIB, ...options });
  const reopen = async (): Promise<Stage> => {
    await bench.store.close();
    return stageOn(disk, reads, options);
  };
  return { ...bench, disk, reopen, takeReads: () => reads.splice(0) };
}

async function makeStage(options: BenchOptions): Promise<Stage> {
  const reads: Transfer[] = [];
  const delay = async (operation: string, offsetBytes: number, lengthBytes: number): Promise<void> => {
    if (operation === 'read') reads.push({ offsetBytes, lengthBytes });
  };
  const disk = new SimulatedDisk({ capacityBytes: 24 * MIB, random: new SeededRandom(SEED), delay });
  const device = disk.open();
  await formatTiny(device, { ...tinyParameters(), groupBytes: 4 * MIB });
  await device.close();
  return stageOn(disk, reads, options);
}

/** Half text, half noise, so that every chunk shrinks and none is stored like another. */
function mixedBytes(lengthBytes: number): Buffer {
  const random = new SeededRandom(SEED);
  const bytes = Buffer.alloc(lengthBytes, 'the quick brown fox jumps over the lazy dog; ');
  for (let at = 0; at < lengthBytes; at += 8 * KIB) bytes.set(random.bytes(Math.min(4 * KIB, lengthBytes - at)), at);
  return bytes;
}

/** Stores `bytes` as the one slice of an object; more than 64 KiB, so that it does not ride in the record of the object. */
async function storeSlice(
  stage: Bench,
  key: string,
  bytes: Buffer,
  present?: { readonly startBytes: number; readonly endBytes: number },
): Promise<Manifest> {
  const manifest = makeManifest(key, stage.store.nextGeneration(), bytes.length, { sliceSizeBytes: SLICE });
  const { objectHash, generation } = manifest;
  assert.deepEqual(stage.store.offerManifest(manifest, stage.store.purgeSequence), { kind: 'admitted' });
  const lease = stage.arena.tryLease('fill', bytes.length);
  assert.ok(lease !== undefined);
  bytes.copy(lease.bytes);
  const verdict = stage.store.offerSlice({ objectHash, generation, sliceNumber: 0, lease, lengthBytes: bytes.length, present });
  assert.deepEqual(verdict, { kind: 'admitted' });
  lease.end();
  await stage.store.drain();
  emptyResident(stage.arena);
  return manifest;
}

async function read(stage: Bench, manifest: Manifest, startBytes: number, endBytes: number): Promise<Buffer | string> {
  const { objectHash, generation } = manifest;
  const verdict = await stage.store.readSlice({ objectHash, generation, sliceNumber: 0, startBytes, endBytes });
  if (verdict.kind !== 'hit') return verdict.kind;
  const bytes = Buffer.from(verdict.bytes);
  verdict.lease.end();
  emptyResident(stage.arena);
  return bytes;
}

/** Reads chunk `number` and compares it. */
async function readChunk(stage: Bench, manifest: Manifest, bytes: Buffer, number: number): Promise<void> {
  const [start, end] = [number * CHUNK_BYTES, Math.min((number + 1) * CHUNK_BYTES, bytes.length)];
  assert.deepEqual(await read(stage, manifest, start, end), bytes.subarray(start, end), `chunk ${number}`);
}

async function placeOf(stage: Stage, manifest: Manifest): Promise<{ offsetBytes: number; allocatedBytes: number }> {
  const [place] = await slicePlaces(stage.disk.open('read-only'), manifest.objectHash);
  assert.ok(place !== undefined);
  stage.takeReads();
  return place;
}

async function close(stage: Stage): Promise<void> {
  assert.equal(stage.store.findContradiction(), undefined);
  assertNoLeases(stage.arena);
  await stage.store.close();
}

for (const compression of MODES) {
  test(`each part of a slice after the first costs one read, of the blocks of its chunks (compression ${compression})`, async () => {
    let stage = await makeStage({ compression });
    const bytes = mixedBytes(SLICE);
    const manifest = await storeSlice(stage, 'parts', bytes);
    stage = await stage.reopen();
    const { offsetBytes } = await placeOf(stage, manifest);
    await stage.store.readManifest(manifest.objectHash);
    stage.takeReads();
    await readChunk(stage, manifest, bytes, 3);
    const first = stage.takeReads();
    assert.deepEqual([first.length, first[0]], [2, { offsetBytes, lengthBytes: BLOCK }]);
    for (const number of [0, 3, 9, 15]) {
      await readChunk(stage, manifest, bytes, number);
      const [only, ...more] = stage.takeReads();
      assert.ok(only !== undefined && more.length === 0, `${more.length + 1} reads`);
      assert.ok(only.offsetBytes > offsetBytes, 'the header is not read');
      if (compression === 'off')
        assert.deepEqual(only, { offsetBytes: offsetBytes + BLOCK + number * CHUNK_BYTES, lengthBytes: CHUNK_BYTES });
      else assert.ok(only.lengthBytes <= 48 * KIB, `${only.lengthBytes} bytes for a chunk of about 34 KiB`);
    }
    assert.equal(stage.store.metrics.value('headerReads', 'device'), 1);
    assert.equal(stage.store.metrics.value('headerReads', 'memory'), 4);
    // A whole slice comes with its header, in one read, whatever is known.
    assert.deepEqual(await read(stage, manifest, 0, SLICE), bytes);
    assert.deepEqual(
      stage.takeReads().map((transfer) => transfer.offsetBytes),
      [offsetBytes],
    );
    await close(stage);
  });

  test(`a damaged chunk is found under a header that is kept, and a read that went astray once is not held against it (${compression})`, async () => {
    const stage = await makeStage({ compression });
    const bytes = mixedBytes(SLICE);
    const manifest = await storeSlice(stage, 'rot', bytes);
    const { offsetBytes } = await placeOf(stage, manifest);
    await readChunk(stage, manifest, bytes, 1);
    stage.disk.addFault({ operation: 'read', effect: { kind: 'misdirected', aim: BLOCK }, times: 1 });
    await readChunk(stage, manifest, bytes, 2);
    assert.equal(stage.store.metrics.value('headerReads', 'doubted'), 1);
    assert.equal(stage.store.faults.corrupt, 0);
    stage.disk.flipBit(offsetBytes + BLOCK + 100, 3);
    await readChunk(stage, manifest, bytes, 15);
    assert.equal(await read(stage, manifest, 0, 10), 'corrupt');
    assert.equal(await read(stage, manifest, 0, 10), 'absent');
    assert.equal(stage.store.metrics.value('reads', 'corrupt'), 1);
    await close(stage);
  });

  test(`blocks that hold another record do not pass (${compression})`, async () => {
    const stage = await makeStage({ compression });
    const bytes = mixedBytes(SLICE);
    // One byte of a chunk is different, so that everything lies alike.
    const others = Buffer.from(bytes);
    others.writeUInt8(bytes.readUInt8(5) ^ 1, 5);
    const [one, other] = [await storeSlice(stage, 'one', bytes), await storeSlice(stage, 'other', others)];
    const [to, from] = [await placeOf(stage, one), await placeOf(stage, other)];
    assert.equal(to.allocatedBytes, from.allocatedBytes);
    await readChunk(stage, one, bytes, 1);
    stage.disk.poke(to.offsetBytes, stage.disk.peek(from.offsetBytes, from.allocatedBytes));
    assert.equal(await read(stage, one, 0, 10), 'corrupt');
    assert.equal(stage.store.metrics.value('headerReads', 'doubted'), 1);
    await readChunk(stage, other, others, 0);
    await close(stage);
  });

  test(`chunks prove themselves under a header that was damaged meanwhile; who reads it finds that out (${compression})`, async () => {
    const stage = await makeStage({ compression });
    const bytes = mixedBytes(SLICE);
    const manifest = await storeSlice(stage, 'header', bytes);
    const { offsetBytes } = await placeOf(stage, manifest);
    await readChunk(stage, manifest, bytes, 1);
    stage.disk.poke(offsetBytes, Buffer.alloc(BLOCK, 7));
    await readChunk(stage, manifest, bytes, 2);
    const source = { device: stage.disk.open('read-only'), arena: new Arena({ sizeBytes: 32 * MIB, clock }) };
    const { check } = await checkDevice(source, { level: 'full', isInUse: false });
    assert.ok(check.notes.some(({ code }) => code.startsWith('extent-')));
    assert.equal(await read(stage, manifest, 0, SLICE), 'corrupt');
    assert.equal(await read(stage, manifest, CHUNK_BYTES, 2 * CHUNK_BYTES), 'absent');
    await close(stage);
  });

  test(`the device's errors and purges mean what they mean without kept headers (${compression})`, async () => {
    const stage = await makeStage({ compression });
    const bytes = mixedBytes(SLICE);
    const [bad, purged] = [await storeSlice(stage, 'bad', bytes), await storeSlice(stage, 'purged', bytes)];
    const { offsetBytes: startBytes, allocatedBytes } = await placeOf(stage, bad);
    for (const manifest of [bad, purged]) await readChunk(stage, manifest, bytes, 1);
    stage.disk.addFault({ operation: 'read', effect: { kind: 'error', errno: 'EIO' }, startBytes, endBytes: startBytes + allocatedBytes });
    assert.equal(await read(stage, bad, 0, 10), 'corrupt');
    assert.equal(await read(stage, bad, 0, 10), 'absent');
    assert.ok(stage.store.metrics.value('badBlocks') > 0);
    await stage.store.purge({ kind: 'object', objectHash: purged.objectHash });
    stage.takeReads();
    assert.equal(await read(stage, purged, 0, 10), 'absent');
    assert.deepEqual(stage.takeReads(), []);
    await close(stage);
  });
}

test('of a compressed slice of up to 256 KiB all is read at once, then what is needed', async () => {
  let stage = await makeStage({ compression: 'auto' });
  const bytes = mixedBytes(400 * KIB);
  const manifest = await storeSlice(stage, 'small', bytes);
  stage = await stage.reopen();
  const place = await placeOf(stage, manifest);
  assert.ok(place.allocatedBytes > 2 * CHUNK_BYTES && place.allocatedBytes <= BLOCK + 256 * KIB, `${place.allocatedBytes} bytes`);
  await stage.store.readManifest(manifest.objectHash);
  stage.takeReads();
  await readChunk(stage, manifest, bytes, 4);
  assert.deepEqual(stage.takeReads(), [{ offsetBytes: place.offsetBytes, lengthBytes: place.allocatedBytes }]);
  await readChunk(stage, manifest, bytes, 5);
  const [only, ...more] = stage.takeReads();
  assert.ok(only !== undefined && more.length === 0 && only.lengthBytes <= 48 * KIB);
  await close(stage);
});

test('a part of a slice that is there in part costs one read, and what lies outside of it none', async () => {
  const stage = await makeStage({ compression: 'off' });
  const bytes = mixedBytes(SLICE);
  const manifest = await storeSlice(stage, 'partial', bytes, { startBytes: 2 * CHUNK_BYTES, endBytes: 12 * CHUNK_BYTES });
  await readChunk(stage, manifest, bytes, 3);
  stage.takeReads();
  await readChunk(stage, manifest, bytes, 11);
  assert.equal(stage.takeReads().length, 1);
  assert.equal(await read(stage, manifest, 11 * CHUNK_BYTES, 13 * CHUNK_BYTES), 'absent');
  assert.equal(await read(stage, manifest, 0, 10), 'absent');
  assert.deepEqual(stage.takeReads(), []);
  await close(stage);
});

test('the scrubber looks at the header on the device', async () => {
  const time = new VirtualClock();
  const disk = new SimulatedDisk({ capacityBytes: 24 * MIB, random: new SeededRandom(SEED) });
  const device = disk.open();
  await formatTiny(device, { ...tinyParameters(), groupBytes: 4 * MIB });
  await device.close();
  const arena = new Arena({ sizeBytes: 32 * MIB, clock: time });
  const options = { device: disk.open(), arena, clock: time, logger: createSilentLogger(), scrubPeriodMs: 600 * SECOND_MS };
  const store = await time.wait(openStore(options), 'opening', SECOND_MS);
  const bench = { store, arena };
  const bytes = mixedBytes(SLICE);
  const manifest = await time.wait(storeSlice(bench, 'scrubbed', bytes), 'storing', 60 * SECOND_MS);
  const [place] = await slicePlaces(disk.open('read-only'), manifest.objectHash);
  assert.ok(place !== undefined);
  await time.wait(readChunk(bench, manifest, bytes, 1), 'reading', SECOND_MS);
  disk.poke(place.offsetBytes, Buffer.alloc(BLOCK, 7));
  await time.wait(readChunk(bench, manifest, bytes, 2), 'reading', SECOND_MS);
  for (let minutes = 0; store.metrics.value('scrubbed', 'lost') === 0; minutes += 1) {
    assert.ok(minutes < 30, 'it is found within a few cycles');
    await time.wait(time.sleep(60 * SECOND_MS), 'time', 120 * SECOND_MS);
  }
  assert.equal(store.metrics.value('scrubbed', 'lost'), 1);
  assert.equal(store.hasSlice(manifest.generation, 0), false);
  await time.wait(store.close(), 'closing', SECOND_MS);
});

test('a store with room for one header reads the others again, and says so', async () => {
  const stage = await makeStage({ compression: 'off', limits: { headersKept: 1 } });
  const bytes = mixedBytes(SLICE);
  const manifests = [await storeSlice(stage, 'a', bytes), await storeSlice(stage, 'b', bytes)];
  for (let round = 0; round < 3; round += 1) for (const manifest of manifests) await readChunk(stage, manifest, bytes, 1);
  assert.equal(stage.store.metrics.value('headerReads', 'memory'), 0);
  assert.equal(stage.store.metrics.value('headerReads', 'device'), 6);
  assert.equal(stage.store.metrics.value('headersGivenUp'), 5);
  await close(stage);
});

test('headers are kept up to a number of them and of their chunks', () => {
  const metrics = new MetricSet(STORE_METRICS);
  const cache = new HeaderCache({ ...DEFAULT_STORE_LIMITS, headersKept: 4, headerChunksKept: 32 }, metrics);
  const keep = (writeSequence: number, chunkCount: number): void => {
    const header = { writeSequence, rawBytes: chunkCount * CHUNK_BYTES, keyText: 'k'.repeat(3000) } as ExtentHeader;
    cache.keep({ header, chunks: Array.from({ length: chunkCount }, () => 1) });
  };
  const known = (): number[] => [1, 2, 3, 4, 5, 6].filter((number) => cache.find(number) !== undefined);
  for (let number = 1; number <= 5; number += 1) keep(number, 1);
  assert.deepEqual(known(), [2, 3, 4, 5]);
  keep(6, 30);
  assert.deepEqual(known(), [4, 5, 6]);
  assert.equal(metrics.value('headersGivenUp'), 3);
  assert.ok(!('keyText' in (cache.find(6)?.header ?? {})), 'the key is not kept');
  cache.doubt(6);
  assert.equal(cache.find(6), undefined);
  keep(1, 33);
  assert.equal(cache.find(1), undefined, 'what is larger than the bound is not kept');
});
