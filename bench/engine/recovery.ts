/**
 * How soon a large device serves again after a kill: a sparse file of 10 TB with a checkpoint of 9.5 million synthetic records and a journal
 * half full, both through the product's own writers, and two real objects: one whose entries come first in the checkpoint, among objects and
 * among slices, and one whose come last. Then the store is opened as after kill -9, and asked for both all the while.
 */
import { strict as assert } from 'node:assert';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { SystemClock } from '../../src/base/clock.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { MetricSet } from '../../src/base/metrics.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { GIB, MIB } from '../../src/base/units.ts';
import type { BlockDevice } from '../../src/device/block-device.ts';
import { openDirectDevice } from '../../src/device/direct-device.ts';
import { hashOfGeneration, hashOfTag } from '../../src/format/checkpoint-order.ts';
import { EMPTY_RECORD, JOURNAL_TYPES, journalRecordsPerBlock } from '../../src/format/journal-block.ts';
import type { ObjectHash } from '../../src/format/manifest.ts';
import { Arena } from '../../src/memory/arena.ts';
import { formatDevice } from '../../src/store/device-format.ts';
import { createStore, type DeviceStore, openStore } from '../../src/store/device-store.ts';
import type { BlockAllocator } from '../../src/store/index/block-allocator.ts';
import { NO_SLOT, objectTag, type SliceIndex } from '../../src/store/index/slice-index.ts';
import { type CheckpointPlace, writeCheckpoint } from '../../src/store/recovery/checkpoint.ts';
import { Journal } from '../../src/store/recovery/journal.ts';
import { recoverState } from '../../src/store/recovery/recovery.ts';
import { RootArea, readRoot } from '../../src/store/recovery/root-area.ts';
import { DEFAULT_STORE_LIMITS } from '../../src/store/store-limits.ts';
import { STORE_METRICS } from '../../src/store/store-metrics.ts';
import type { EngineBenchContext, EngineBenchmark, EngineFigure } from './engine-benchmark.ts';

const ARENA_BYTES = 64 * MIB;
const SLICE_BYTES = MIB;
const BLOCKS = 257;
/** Of the device that the records fill at most. */
const FILLED_SHARE = 0.9;
const SLICES_PER_OBJECT = 19;
/** Share of the order of a checkpoint that counts as its beginning, or as its end. */
const EDGE = 0.01;
const clock = new SystemClock();
const logger = createSilentLogger();

/** See the file's head. */
export const recovery: EngineBenchmark = {
  name: 'recovery',
  question: 'how soon after a kill does a 10 TB device serve its first hit, and when is its whole index loaded?',
  run,
};

/** How large the device is that a kill is survived on. */
export interface RecoverySize {
  readonly capacityBytes: number;
  readonly records: number;
}

/** What a start took. */
export interface RecoveryTimes {
  /** From opening to the first hit, for an object whose entries stand first in the checkpoint and one whose stand last. */
  readonly firstHitMs: readonly number[];
  readonly figures: readonly EngineFigure[];
}

async function run({ directory, isShort, say }: EngineBenchContext): Promise<readonly EngineFigure[]> {
  const size = isShort ? { capacityBytes: 1024 * GIB, records: 950_000 } : { capacityBytes: 10_000 * 1000 ** 3, records: 9_500_000 };
  return (await timeRecovery(directory, size, say)).figures;
}

/** Makes such a device in `directory`, opens it as after a kill and asks for both objects. */
export async function timeRecovery(directory: string, size: RecoverySize, say: (line: string) => void): Promise<RecoveryTimes> {
  const file = path.join(directory, `cache-${size.records}.img`);
  const handle = await open(file, 'wx');
  await handle.truncate(size.capacityBytes - (size.capacityBytes % MIB));
  await handle.close();
  const objects = await store(file, size.records);
  say('two objects are stored; adding synthetic records');
  const written = await synthesize(file, size);
  say(`checkpoint and journal are written (${written.checkpointMs.toFixed(0)} ms)`);
  const { firstHitMs, figures } = await measure(file, objects);
  return { firstHitMs, figures: [...figuresOf('checkpoint', written), ...figures] };
}

function openFile(file: string, arena: Arena): Promise<BlockDevice> {
  return openDirectDevice({ path: file, access: 'read-write', arena, clock, logger });
}

/** @returns the object whose entries will come first, and the one whose will come last */
async function store(file: string, records: number): Promise<readonly ObjectHash[]> {
  const arena = new Arena({ sizeBytes: ARENA_BYTES, clock });
  const device = await openFile(file, arena);
  await formatDevice(device, { clock, random: new SeededRandom(1), parameters: { entryCount: Math.ceil(records * 1.15) } });
  const opened = await openStore({ device, arena, clock, logger });
  const random = new SeededRandom(2);
  const objects = [(share: number) => share < EDGE, (share: number) => share > 1 - EDGE].map((isThere) => {
    let generation = opened.nextGeneration();
    while (!isThere(hashOfGeneration(generation) / 2 ** 32)) generation = opened.nextGeneration();
    let objectHash = nextHash(random);
    while (!isThere(hashOfTag(objectTag(objectHash)) / 2 ** 32)) objectHash = nextHash(random);
    return { objectHash, generation };
  });
  for (const { objectHash, generation } of objects) {
    const shape = { status: 200, fields: [], tags: [], lengthBytes: SLICE_BYTES, sliceSizeBytes: SLICE_BYTES } as const;
    const freshness = { receivedAtMs: clock.wallMs(), initialAgeSeconds: 0, freshUntilMs: clock.wallMs() };
    opened.offerManifest({ ...shape, ...freshness, generation, objectHash, keyText: `bench/${objectHash}` }, opened.purgeSequence);
    const lease = await arena.lease('fill', SLICE_BYTES, { waitMs: 60_000 });
    assert.ok(lease !== undefined);
    assert.equal(opened.offerSlice({ objectHash, generation, sliceNumber: 0, lease, lengthBytes: SLICE_BYTES }).kind, 'admitted');
    lease.end();
    await opened.drain();
  }
  await opened.close();
  return objects.map(({ objectHash }) => objectHash);
}

function nextHash(random: SeededRandom): ObjectHash {
  return Buffer.from(random.bytes(16)).toString('hex') as ObjectHash;
}

/** Fills the device's index through the codecs; leaves it as a kill does. */
async function synthesize(file: string, { records, capacityBytes }: RecoverySize): Promise<{ checkpointMs: number; pauseMs: number }> {
  const arena = new Arena({ sizeBytes: ARENA_BYTES, clock });
  const device = await openFile(file, arena);
  const root = await readRoot(device, arena);
  const { geometry, deviceUuid } = root.format;
  const place: CheckpointPlace = { device, arena, geometry, deviceTag: deviceUuid.subarray(0, 8) };
  const { index, allocator, journal: position } = await recoverState(place, root);
  const journalled = Math.floor((geometry.journalBlocks / 2) * journalRecordsPerBlock(geometry.blockSizeBytes));
  const numbers = { generation: 1000, writeSequence: 1000 };
  // Four times as many records on the same device are of slices a quarter as large.
  const blocks = Math.min(BLOCKS, Math.floor((FILLED_SHARE * capacityBytes) / records / geometry.blockSizeBytes));
  while (index.recordCount < records) addObject(index, allocator, { numbers, blocks });
  const area = new RootArea({ device, arena, clock, root });
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const startedAtMs = performance.now();
  const written = await writeCheckpoint(place, { index, besides: [] }, { zone: 1, sequence: root.superblock.checkpoint.sequence + 1 });
  const checkpointMs = performance.now() - startedAtMs;
  delay.disable();
  const { nextSequence: journalStart, previousCrc: journalPreviousCrc } = position;
  const checkpoint = {
    zone: 1,
    sequence: root.superblock.checkpoint.sequence + 1,
    ...written,
    journalStart,
    journalPreviousCrc,
    purgeSequence: 0,
  };
  const floors = { generationFloor: numbers.generation + 2 ** 23, writeSequenceFloor: numbers.writeSequence + 2 ** 23 };
  await area.commit(() => ({ checkpoint, isClean: false, epoch: root.superblock.epoch + 1, ...floors }));
  const journal = new Journal({
    device,
    arena,
    clock,
    limits: DEFAULT_STORE_LIMITS,
    metrics: new MetricSet(STORE_METRICS),
    geometry,
    deviceTag: place.deviceTag,
    epoch: root.superblock.epoch + 1,
    position,
    startSequence: position.nextSequence,
    purgeSequence: 0,
    onCrowded: () => undefined,
    onFailure: (_operation, error) => {
      throw error;
    },
  });
  for (let count = 0; count < journalled; count += 1) {
    numbers.writeSequence += 1;
    const { generation, sliceNumber } = {
      generation: 1000 + Math.floor(count / SLICES_PER_OBJECT),
      sliceNumber: count % SLICES_PER_OBJECT,
    };
    const slot = index.findSlice(generation, sliceNumber);
    const target = slot === NO_SLOT ? undefined : index.place(slot);
    if (target === undefined) continue;
    const record = { ...EMPTY_RECORD, type: JOURNAL_TYPES.put, generation, sliceNumber, ...target, writeSequence: numbers.writeSequence };
    assert.ok(journal.append(record));
    if (count % 8192 === 8191) await journal.flush();
  }
  await journal.flush();
  journal.stop();
  await device.close();
  return { checkpointMs, pauseMs: delay.max / 1e6 };
}

function addObject(
  index: SliceIndex,
  allocator: BlockAllocator,
  { numbers, blocks }: { readonly numbers: { generation: number; writeSequence: number }; readonly blocks: number },
): void {
  const { generation } = numbers;
  numbers.generation += 1;
  const row = index.putManifest({ tagLow: Math.imul(generation, 0x9e3779b1) >>> 0, tagHigh: generation }, generation);
  const place = (count: number, kind: 'manifest' | 'large') => {
    const block = allocator.reserve(count, kind);
    assert.ok(block !== undefined, 'the device has room for its records');
    numbers.writeSequence += 1;
    return { block, blocks: count, writeSequence: numbers.writeSequence, flags: 0 };
  };
  index.setPlace(index.recordOf(row), place(2, 'manifest'));
  for (let sliceNumber = 0; sliceNumber < SLICES_PER_OBJECT; sliceNumber += 1)
    index.putSlice(generation, sliceNumber, place(blocks, 'large'));
}

async function measure(file: string, objects: readonly ObjectHash[]): Promise<RecoveryTimes> {
  const arena = new Arena({ sizeBytes: ARENA_BYTES, clock });
  collectGarbage();
  const before = process.memoryUsage().rss;
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const startedAtMs = performance.now();
  const device = await openFile(file, arena);
  const opened = await createStore({ device, arena, clock, logger });
  delay.enable();
  const cpu = process.cpuUsage();
  const recovering = opened.recover().then((report) => ({ report, onlineMs: performance.now() - startedAtMs }));
  const hits = await Promise.all(objects.map((objectHash) => firstHit(opened, objectHash, startedAtMs)));
  const { report, onlineMs } = await recovering;
  const { user, system } = process.cpuUsage(cpu);
  delay.disable();
  const memoryBytes = process.memoryUsage().rss - before;
  await opened.close();
  const figure = (what: string, number: number, unit: string): EngineFigure => ({
    what,
    value: `${number.toFixed(number < 100 ? 1 : 0)} ${unit}`,
    number,
    unit,
  });
  const figures = [
    figure('records in the index', report.records, ''),
    figure('journal records replayed', report.journalRecords, ''),
    figure('open to the first hit, entries at the start of the checkpoint', hits[0] ?? 0, 'ms'),
    figure('open to the first hit, entries at its end', hits[1] ?? 0, 'ms'),
    figure('open to online', onlineMs, 'ms'),
    figure('CPU of that, all threads', (user + system) / 1000, 'ms'),
    figure('longest pause of the event loop while loading', delay.max / 1e6, 'ms'),
    figure('mean pause', delay.mean / 1e6, 'ms'),
    figure('memory', memoryBytes / MIB, 'MiB'),
  ];
  return { firstHitMs: hits, figures };
}

/** What was used to make the device must not count, nor be freed in the middle. */
function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}

/** Asks every few milliseconds, as clients do. */
async function firstHit(opened: DeviceStore, objectHash: ObjectHash, startedAtMs: number): Promise<number> {
  for (;;) {
    const verdict = await opened.readManifest(objectHash);
    if (verdict.kind === 'hit') {
      const { generation } = verdict.manifest;
      const slice = await opened.readSlice({ objectHash, generation, sliceNumber: 0, startBytes: 0, endBytes: SLICE_BYTES });
      if (slice.kind === 'hit') {
        slice.lease.end();
        return performance.now() - startedAtMs;
      }
    }
    await clock.sleep(5);
  }
}

function figuresOf(what: string, { checkpointMs, pauseMs }: { checkpointMs: number; pauseMs: number }): EngineFigure[] {
  return [
    { what: `${what} written in`, value: `${checkpointMs.toFixed(0)} ms`, number: checkpointMs, unit: 'ms' },
    { what: `longest pause of the event loop beside it`, value: `${pauseMs.toFixed(1)} ms`, number: pauseMs, unit: 'ms' },
  ];
}
