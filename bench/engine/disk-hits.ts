/**
 * How fast verified slices come from the device through the whole engine, beside what fio reads from the same file in the same minute. The
 * bodies do not compress and the arena is small, so that nearly every read goes to the device; both sides read with O_DIRECT.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { SystemClock } from '../../src/base/clock.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { GIB, KIB, MIB } from '../../src/base/units.ts';
import { createSparseFile } from '../../src/device/create-file.ts';
import { openDirectDevice } from '../../src/device/direct-device.ts';
import type { ObjectHash } from '../../src/format/manifest.ts';
import { Arena } from '../../src/memory/arena.ts';
import { formatDevice } from '../../src/store/device-format.ts';
import { type DeviceStore, openStore } from '../../src/store/device-store.ts';
import { findProgram } from '../harness/pinning.ts';
import type { EngineBenchContext, EngineBenchmark, EngineFigure } from './engine-benchmark.ts';

const ARENA_BYTES = 64 * MIB;
const SLICE_BYTES = MIB;
const OBJECT_SLICES = 64;
const SEED = 20_261_121;

/** One way to read. */
interface Shape {
  readonly what: string;
  readonly readBytes: number;
  readonly depth: number;
}

const SHAPES: readonly Shape[] = [
  { what: 'whole slices of 1 MiB, 8 at a time', readBytes: SLICE_BYTES, depth: 8 },
  { what: 'whole slices of 1 MiB, one at a time', readBytes: SLICE_BYTES, depth: 1 },
  { what: 'ranges of 64 KiB, 16 at a time', readBytes: 64 * KIB, depth: 16 },
];

/** See the file's head. */
export const diskHits: EngineBenchmark = {
  name: 'disk-hits',
  question: 'How fast do verified slices come from the device, against fio on the same file?',
  run,
};

interface Filled {
  readonly store: DeviceStore;
  readonly file: string;
  readonly objects: readonly { readonly objectHash: ObjectHash; readonly generation: number }[];
}

interface Sample {
  readonly bytesPerSecond: number;
  readonly cpuSecondsPerGib: number;
  readonly missed: number;
}

async function run(context: EngineBenchContext): Promise<readonly EngineFigure[]> {
  const storedBytes = context.isShort ? 256 * MIB : GIB;
  const rounds = context.isShort ? 1 : 3;
  context.say(`storing ${storedBytes / MIB} MiB`);
  const filled = await fill(path.join(context.directory, 'cache.img'), storedBytes);
  const figures: EngineFigure[] = [];
  try {
    for (const [turn, shape] of SHAPES.entries()) {
      const ours: Sample[] = [];
      const fio: number[] = [];
      for (let round = 0; round < rounds; round += 1) {
        ours.push(
          await readThroughStore(filled, shape, {
            totalBytes: context.isShort ? 128 * MIB : 512 * MIB,
            seed: SEED + turn * rounds + round,
          }),
        );
        const bytesPerSecond = readWithFio(filled.file, shape, context.isShort ? 1 : 3);
        if (bytesPerSecond !== undefined) fio.push(bytesPerSecond);
      }
      figures.push(...describe(shape, ours, fio));
    }
  } finally {
    await filled.store.close();
  }
  return figures;
}

async function fill(file: string, storedBytes: number): Promise<Filled> {
  const clock = new SystemClock();
  const logger = createSilentLogger();
  const arena = new Arena({ sizeBytes: ARENA_BYTES, clock });
  await createSparseFile(file, storedBytes + 512 * MIB);
  const device = await openDirectDevice({ path: file, access: 'read-write', arena, clock, logger });
  const random = new SeededRandom(SEED);
  await formatDevice(device, { clock, random });
  const store = await openStore({ device, arena, clock, logger });
  const noise = Buffer.from(random.bytes(SLICE_BYTES));
  const objects: Filled['objects'][number][] = [];
  for (let number = 0; number < storedBytes / SLICE_BYTES / OBJECT_SLICES; number += 1) {
    // The index knows objects by the first half of their hash.
    const objectHash = (number + 1).toString(16).padStart(16, '0').padEnd(32, '0') as ObjectHash;
    const generation = store.nextGeneration();
    objects.push({ objectHash, generation });
    const shape = { status: 200, fields: [], tags: [], lengthBytes: OBJECT_SLICES * SLICE_BYTES, sliceSizeBytes: SLICE_BYTES } as const;
    const freshness = { receivedAtMs: clock.wallMs(), initialAgeSeconds: 0, freshUntilMs: clock.wallMs() };
    store.offerManifest({ ...shape, ...freshness, generation, objectHash, keyText: `bench/${number}` }, store.purgeSequence);
    for (let sliceNumber = 0; sliceNumber < OBJECT_SLICES; sliceNumber += 1) {
      const lease = await arena.lease('fill', SLICE_BYTES, { waitMs: 60_000 });
      if (lease === undefined) throw new Error('No slot within a minute');
      noise.writeUInt32LE(number * OBJECT_SLICES + sliceNumber, 0);
      lease.bytes.set(noise);
      const verdict = store.offerSlice({ objectHash, generation, sliceNumber, lease, lengthBytes: SLICE_BYTES });
      lease.end();
      if (verdict.kind === 'declined' || sliceNumber % 8 === 7) await store.drain();
      if (verdict.kind === 'declined') throw new Error(`A slice was declined: ${verdict.reason}`);
    }
  }
  await store.drain();
  return { store, file, objects };
}

async function readThroughStore(
  { store, objects }: Filled,
  shape: Shape,
  { totalBytes, seed }: { readonly totalBytes: number; readonly seed: number },
): Promise<Sample> {
  const random = new SeededRandom(seed);
  const clock = new SystemClock();
  let left = Math.floor(totalBytes / shape.readBytes);
  const count = left;
  let missed = 0;
  const usageBefore = process.cpuUsage();
  const startedMs = clock.monotonicMs();
  const reader = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const object = objects[random.integerBelow(objects.length)];
      if (object === undefined) throw new Error('No objects');
      const startBytes = random.integerBelow(SLICE_BYTES / shape.readBytes) * shape.readBytes;
      const sliceNumber = random.integerBelow(OBJECT_SLICES);
      const verdict = await store.readSlice({ ...object, sliceNumber, startBytes, endBytes: startBytes + shape.readBytes });
      if (verdict.kind === 'hit') verdict.lease.end();
      else missed += 1;
    }
  };
  await Promise.all(Array.from({ length: shape.depth }, reader));
  const seconds = (clock.monotonicMs() - startedMs) / 1000;
  const { user, system } = process.cpuUsage(usageBefore);
  const bytes = (count - missed) * shape.readBytes;
  return { bytesPerSecond: bytes / seconds, cpuSecondsPerGib: (user + system) / 1e6 / (bytes / GIB), missed };
}

/** @returns bytes per second, or undefined where fio is not installed */
function readWithFio(file: string, shape: Shape, seconds: number): number | undefined {
  const program = findProgram('fio');
  if (program === undefined) return undefined;
  const words = ['--name=hits', `--filename=${file}`, '--readonly', '--direct=1', '--rw=randread', '--ioengine=libaio', '--time_based'];
  const sizes = [`--bs=${shape.readBytes}`, `--iodepth=${shape.depth}`, `--runtime=${seconds}`, '--output-format=json'];
  const { stdout, status } = spawnSync(program, [...words, ...sizes], { encoding: 'utf8' });
  if (status !== 0) return undefined;
  const report = JSON.parse(stdout) as { jobs: readonly { read: { bw_bytes: number } }[] };
  return report.jobs[0]?.read.bw_bytes;
}

function describe(shape: Shape, ours: readonly Sample[], fio: readonly number[]): EngineFigure[] {
  const speed = median(ours.map(({ bytesPerSecond }) => bytesPerSecond)) / 1e6;
  const cpu = median(ours.map(({ cpuSecondsPerGib }) => cpuSecondsPerGib));
  const missed = ours.reduce((sum, sample) => sum + sample.missed, 0);
  const figures: EngineFigure[] = [
    { what: shape.what, value: `${Math.round(speed)} MB/s`, number: speed, unit: 'MB/s' },
    { what: `${shape.what}: CPU`, value: `${cpu.toFixed(2)} s/GiB`, number: cpu, unit: 's/GiB' },
  ];
  if (missed > 0) figures.push({ what: `${shape.what}: not read`, value: `${missed}`, number: missed, unit: 'reads' });
  if (fio.length === 0) return [...figures, { what: `${shape.what}: fio`, value: 'not installed', number: Number.NaN, unit: 'MB/s' }];
  const peer = median(fio) / 1e6;
  return [
    ...figures,
    { what: `${shape.what}: fio (libaio)`, value: `${Math.round(peer)} MB/s`, number: peer, unit: 'MB/s' },
    { what: `${shape.what}: ratio to fio`, value: (speed / peer).toFixed(2), number: speed / peer, unit: 'ratio' },
  ];
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
