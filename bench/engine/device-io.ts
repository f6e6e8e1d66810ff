/**
 * How fast, and at what CPU, does the device layer read and write with threads of its own, with libuv's pool, and what does fio reach on the
 * same place? A file with O_DIRECT and, as root, a loop device; the two take turns, several rounds, medians.
 */
import path from 'node:path';
import { compress as compressChunk } from 'lz4-napi';
import { SystemClock } from '../../src/base/clock.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { GIB, KIB, MIB } from '../../src/base/units.ts';
import type { BlockDevice } from '../../src/device/block-device.ts';
import { createSparseFile } from '../../src/device/create-file.ts';
import { openDirectDevice } from '../../src/device/direct-device.ts';
import { Arena } from '../../src/memory/arena.ts';
import { withReadyThreads } from '../../test/helpers/device-threads.ts';
import { attach, loopObstacle } from '../../test/helpers/loop-device.ts';
import type { EngineBenchContext, EngineBenchmark, EngineFigure } from './engine-benchmark.ts';
import { runFio } from './fio.ts';

interface Load {
  readonly operation: 'read' | 'write';
  readonly lengthBytes: number;
  readonly depth: number;
}

/** Loads that run beside each other; the first is the one that is looked at. */
interface Case {
  readonly name: string;
  readonly loads: readonly [Load, ...Load[]];
  /** Compressions of a chunk under way in libuv's pool meanwhile; none when undefined. */
  readonly compressions?: number;
}

interface Sample {
  readonly bytesPerSecond: number;
  /** Of the whole process, and of the thread that everything else in the program runs on. */
  readonly cpuPerGib: number;
  readonly mainCpuPerGib: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

type Io = 'pool' | 'threads';

const READS: readonly Load[] = [
  { operation: 'read', lengthBytes: 4 * KIB, depth: 1 },
  { operation: 'read', lengthBytes: 4 * KIB, depth: 16 },
  { operation: 'read', lengthBytes: 4 * KIB, depth: 64 },
  { operation: 'read', lengthBytes: MIB, depth: 1 },
  { operation: 'read', lengthBytes: MIB, depth: 4 },
  { operation: 'read', lengthBytes: MIB, depth: 16 },
];
const WRITES: Load = { operation: 'write', lengthBytes: MIB, depth: 4 };
const CASES: readonly Case[] = [
  ...[...READS, WRITES].map((load): Case => ({ name: `${nameOf(load)}`, loads: [load] })),
  {
    name: 'random reads of 64 KiB at depth 4 beside writes of 1 MiB at depth 4',
    loads: [{ operation: 'read', lengthBytes: 64 * KIB, depth: 4 }, WRITES],
  },
  {
    name: 'random reads of 64 KiB at depth 4 beside 32 compressions of 64 KiB',
    loads: [{ operation: 'read', lengthBytes: 64 * KIB, depth: 4 }],
    compressions: 32,
  },
];
const IOS: readonly Io[] = ['pool', 'threads'];
const clock = new SystemClock();

/** See the header. */
export const deviceIo: EngineBenchmark = {
  name: 'device-io',
  question: "Threads of its own or libuv's pool: which reads and writes faster, at what CPU, and how near to fio?",
  async run(context) {
    const sizeBytes = context.isShort ? 256 * MIB : GIB;
    const file = path.join(context.directory, 'device');
    await createSparseFile(file, sizeBytes);
    const figures = await measurePlace(context, { name: 'file', path: file, sizeBytes });
    const obstacle = loopObstacle();
    if (obstacle !== undefined) {
      context.say(`no loop device: ${obstacle}`);
      return figures;
    }
    const { loop, detach } = attach(sizeBytes);
    try {
      return [...figures, ...(await measurePlace(context, { name: 'loop device', path: loop.path, sizeBytes }))];
    } finally {
      detach();
    }
  },
};

interface Place {
  readonly name: string;
  readonly path: string;
  readonly sizeBytes: number;
}

async function measurePlace(context: EngineBenchContext, place: Place): Promise<readonly EngineFigure[]> {
  const arena = new Arena({ sizeBytes: 128 * MIB, clock });
  const milliseconds = context.isShort ? 300 : 1000;
  await withDevice(arena, place.path, 'pool', (device) => fill(device, arena));
  const figures: EngineFigure[] = [];
  for (const one of CASES) {
    context.say(`${place.name}: ${one.name}`);
    const samples: Record<Io, Sample[]> = { pool: [], threads: [] };
    const fio: number[] = [];
    for (let round = 0; round < (context.isShort ? 3 : 5); round += 1) {
      for (const io of round % 2 === 0 ? IOS : [...IOS].reverse()) {
        const sample = await withDevice(arena, place.path, io, (device) => measure(device, arena, { one, milliseconds, seed: round + 1 }));
        samples[io].push(sample);
      }
      const reached =
        one.loads.length === 1 && one.compressions === undefined ? runFio({ ...one.loads[0], ...place, milliseconds }) : undefined;
      if (reached !== undefined) fio.push(reached);
    }
    figures.push(...figuresOf(`${place.name}, ${one.name}`, samples, fio));
  }
  return figures;
}

async function withDevice<T>(arena: Arena, devicePath: string, io: Io, act: (device: BlockDevice) => Promise<T>): Promise<T> {
  const open = () => openDirectDevice({ path: devicePath, access: 'read-write', io, arena, clock, logger: createSilentLogger() });
  const { result: device } = await withReadyThreads(open);
  try {
    return await act(device);
  } finally {
    await device.close();
  }
}

/** Bytes that no layer below can compress or leave out as holes. */
async function fill(device: BlockDevice, arena: Arena): Promise<void> {
  const random = new SeededRandom(1);
  const bytes = mustLease(arena, 4 * MIB);
  for (let at = 0; at < device.capacityBytes; at += 4 * MIB) {
    bytes.bytes.set(random.bytes(64 * KIB), ((at / MIB / 4) % 64) * 64 * KIB);
    await device.write([bytes.bytes], at);
  }
  await device.flush();
  bytes.end();
}

async function measure(
  device: BlockDevice,
  arena: Arena,
  turn: { readonly one: Case; readonly milliseconds: number; readonly seed: number },
): Promise<Sample> {
  const random = new SeededRandom(turn.seed);
  const latencies: number[] = [];
  let doneBytes = 0;
  const startMs = clock.monotonicMs();
  const [cpu, mainCpu] = [process.cpuUsage(), process.threadCpuUsage()];
  const lane = async (load: Load, isFirst: boolean): Promise<void> => {
    const lease = mustLease(arena, load.lengthBytes);
    while (clock.monotonicMs() - startMs < turn.milliseconds) {
      const offsetBytes = random.integerBelow(device.capacityBytes / load.lengthBytes) * load.lengthBytes;
      const beganMs = clock.monotonicMs();
      await device[load.operation]([lease.bytes.subarray(0, load.lengthBytes)], offsetBytes);
      if (isFirst) latencies.push(clock.monotonicMs() - beganMs);
      doneBytes += load.lengthBytes;
    }
    lease.end();
  };
  const compress = async (): Promise<void> => {
    const chunk = Buffer.from(random.bytes(64 * KIB));
    while (clock.monotonicMs() - startMs < turn.milliseconds) await compressChunk(chunk);
  };
  await Promise.all([
    ...turn.one.loads.flatMap((load, index) => Array.from({ length: load.depth }, () => lane(load, index === 0))),
    ...Array.from({ length: turn.one.compressions ?? 0 }, compress),
  ]);
  const seconds = (clock.monotonicMs() - startMs) / 1000;
  const [used, mainUsed] = [process.cpuUsage(cpu), process.threadCpuUsage(mainCpu)];
  latencies.sort((a, b) => a - b);
  return {
    bytesPerSecond: doneBytes / seconds,
    cpuPerGib: (used.user + used.system) / 1e6 / (doneBytes / GIB),
    mainCpuPerGib: (mainUsed.user + mainUsed.system) / 1e6 / (doneBytes / GIB),
    p50Ms: latencies[Math.floor(latencies.length / 2)] ?? Number.NaN,
    p99Ms: latencies[Math.floor(latencies.length * 0.99)] ?? Number.NaN,
  };
}

function figuresOf(name: string, samples: Readonly<Record<Io, readonly Sample[]>>, fio: readonly number[]): readonly EngineFigure[] {
  const middle = (io: Io, key: keyof Sample): number => median(samples[io].map((sample) => sample[key]));
  const row = (what: string, number: number, unit: string): EngineFigure => ({
    what: `${name}: ${what}`,
    value: `${number.toPrecision(3)} ${unit}`,
    number,
    unit,
  });
  const rows: EngineFigure[] = [];
  const isMixed = fio.length === 0;
  for (const io of IOS) {
    rows.push(row(io, middle(io, 'bytesPerSecond') / 1e6, 'MB/s'));
    rows.push(
      row(`${io}, CPU`, middle(io, 'cpuPerGib'), 's/GiB'),
      row(`${io}, CPU of the main thread`, middle(io, 'mainCpuPerGib'), 's/GiB'),
    );
    if (isMixed) rows.push(row(`${io}, p50`, middle(io, 'p50Ms'), 'ms'), row(`${io}, p99`, middle(io, 'p99Ms'), 'ms'));
  }
  if (fio.length === 0) return rows;
  const best = Math.max(...IOS.map((io) => middle(io, 'bytesPerSecond')));
  return [...rows, row('fio', median(fio) / 1e6, 'MB/s'), row('ratio of the better to fio', best / median(fio), '')];
}

function mustLease(arena: Arena, lengthBytes: number) {
  const lease = arena.tryLease('fill', lengthBytes);
  if (lease === undefined) throw new Error('The arena of the benchmark is too small');
  return lease;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function nameOf({ operation, lengthBytes, depth }: Load): string {
  const size = lengthBytes >= MIB ? `${lengthBytes / MIB} MiB` : `${lengthBytes / KIB} KiB`;
  return `random ${operation}s of ${size} at depth ${depth}`;
}
