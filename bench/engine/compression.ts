/**
 * What compression saves and what it costs: the same slices stored and read back with it and without, for text (the sources below
 * node_modules), for programs (this Node) and for noise. Slices are offered as fast as the store takes them without falling behind, so that
 * none is stored raw for want of time; reads go to the device.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
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
import { ThreadCodec } from '../../src/store/extents/thread-codec.ts';
import type { EngineBenchContext, EngineBenchmark, EngineFigure } from './engine-benchmark.ts';

const ARENA_BYTES = 64 * MIB;
const SLICE_BYTES = MIB;
const SEED = 20_261_121;
const MODES = ['auto', 'off'] as const;
type Mode = (typeof MODES)[number];

/** See the file's head. */
export const compression: EngineBenchmark = {
  name: 'compression',
  question: 'What does compression save on the device, and what does it cost writers and readers?',
  run,
};

interface Material {
  readonly name: string;
  readonly bytes: Buffer;
}

/** How long something took and what it burnt, of the event loop's thread and of all threads. */
interface Cost {
  readonly bytesPerSecond: number;
  readonly cpuPerGib: number;
  readonly loopCpuPerGib: number;
}

/** A store with one object of `slices` slices in it. */
interface Filled {
  readonly store: DeviceStore;
  readonly codec: ThreadCodec;
  readonly arena: Arena;
  readonly objectHash: ObjectHash;
  readonly generation: number;
  readonly slices: number;
}

async function run(context: EngineBenchContext): Promise<readonly EngineFigure[]> {
  const slices = context.isShort ? 256 : 1024;
  const figures: EngineFigure[] = [];
  for (const material of materials(64 * MIB)) {
    for (const mode of MODES) {
      context.say(`${material.name}, compression ${mode}`);
      figures.push(...(await measure(context, material, { mode, slices })));
    }
  }
  return figures;
}

async function measure(
  context: EngineBenchContext,
  material: Material,
  { mode, slices }: { readonly mode: Mode; readonly slices: number },
): Promise<readonly EngineFigure[]> {
  const file = path.join(context.directory, `${material.name}-${mode}.img`);
  const filled = await open(file, mode, slices);
  const { store, codec } = filled;
  const what = `${material.name}, ${mode}`;
  try {
    const writing = await cost(slices * SLICE_BYTES, () => write(filled, material));
    const stored = store.metrics.value('writtenBytes') / (slices * SLICE_BYTES);
    const whole = await cost(slices * SLICE_BYTES, () => read(filled, { readBytes: SLICE_BYTES, depth: 4, count: slices }));
    const count = slices * 2;
    const parts = await cost(count * 64 * KIB, () => read(filled, { readBytes: 64 * KIB, depth: 8, count }));
    return [
      { what: `${what}: bytes on the device`, value: `${(100 * stored).toFixed(1)} %`, number: stored, unit: 'ratio' },
      ...describe(`${what}: write`, writing),
      ...describe(`${what}: whole slices, 4 at a time`, whole),
      ...describe(`${what}: ranges of 64 KiB, 8 at a time`, parts),
    ];
  } finally {
    await store.close();
    await codec.close();
  }
}

async function open(file: string, mode: Mode, slices: number): Promise<Filled> {
  const clock = new SystemClock();
  const logger = createSilentLogger();
  const arena = new Arena({ sizeBytes: ARENA_BYTES, clock });
  await createSparseFile(file, slices * SLICE_BYTES + 512 * MIB);
  const device = await openDirectDevice({ path: file, access: 'read-write', arena, clock, logger });
  await formatDevice(device, { clock, random: new SeededRandom(SEED) });
  const codec = new ThreadCodec(logger);
  const store = await openStore({ device, arena, clock, logger, compression: mode, codec });
  const objectHash = '1'.padStart(32, '0') as ObjectHash;
  const generation = store.nextGeneration();
  const shape = { status: 200, fields: [], tags: [], lengthBytes: slices * SLICE_BYTES, sliceSizeBytes: SLICE_BYTES } as const;
  const freshness = { receivedAtMs: clock.wallMs(), initialAgeSeconds: 0, freshUntilMs: clock.wallMs() };
  store.offerManifest({ ...shape, ...freshness, generation, objectHash, keyText: 'bench' }, store.purgeSequence);
  return { store, codec, arena, objectHash, generation, slices };
}

async function write({ store, arena, objectHash, generation, slices }: Filled, material: Material): Promise<void> {
  const clock = new SystemClock();
  for (let sliceNumber = 0; sliceNumber < slices; sliceNumber += 1) {
    const lease = await arena.lease('fill', SLICE_BYTES, { waitMs: 60_000 });
    if (lease === undefined) throw new Error('No slot within a minute');
    material.bytes.copy(lease.bytes, 0, (sliceNumber * SLICE_BYTES) % material.bytes.length);
    const verdict = store.offerSlice({ objectHash, generation, sliceNumber, lease, lengthBytes: SLICE_BYTES });
    lease.end();
    if (verdict.kind === 'declined') throw new Error(`A slice was declined: ${verdict.reason}`);
    while (store.metrics.value('queuedSlices') >= 6) await new Promise<void>((resolve) => clock.startTimer(1, resolve));
  }
  await store.drain();
}

async function read(filled: Filled, shape: { readonly readBytes: number; readonly depth: number; readonly count: number }): Promise<void> {
  const { store, objectHash, generation, slices } = filled;
  const random = new SeededRandom(SEED);
  let left = shape.count;
  const reader = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const startBytes = random.integerBelow(SLICE_BYTES / shape.readBytes) * shape.readBytes;
      const sliceNumber = random.integerBelow(slices);
      const verdict = await store.readSlice({ objectHash, generation, sliceNumber, startBytes, endBytes: startBytes + shape.readBytes });
      if (verdict.kind !== 'hit') throw new Error(`A read brought ${verdict.kind}`);
      verdict.lease.end();
    }
  };
  await Promise.all(Array.from({ length: shape.depth }, reader));
}

async function cost(bytes: number, act: () => Promise<void>): Promise<Cost> {
  const clock = new SystemClock();
  const startedMs = clock.monotonicMs();
  const all = process.cpuUsage();
  const loop = process.threadCpuUsage();
  await act();
  const seconds = (clock.monotonicMs() - startedMs) / 1000;
  const perGib = (usage: NodeJS.CpuUsage): number => (usage.user + usage.system) / 1e6 / (bytes / GIB);
  return { bytesPerSecond: bytes / seconds, cpuPerGib: perGib(process.cpuUsage(all)), loopCpuPerGib: perGib(process.threadCpuUsage(loop)) };
}

function describe(what: string, { bytesPerSecond, cpuPerGib, loopCpuPerGib }: Cost): EngineFigure[] {
  const speed = bytesPerSecond / 1e6;
  return [
    { what, value: `${Math.round(speed)} MB/s`, number: speed, unit: 'MB/s' },
    { what: `${what}: CPU`, value: `${cpuPerGib.toFixed(2)} s/GiB`, number: cpuPerGib, unit: 's/GiB' },
    { what: `${what}: CPU of the event loop`, value: `${loopCpuPerGib.toFixed(2)} s/GiB`, number: loopCpuPerGib, unit: 's/GiB' },
  ];
}

function materials(bytesMax: number): readonly Material[] {
  const noise = Buffer.from(new SeededRandom(SEED).bytes(8 * MIB));
  return [
    { name: 'text', bytes: wholeSlices(readSources(path.resolve(import.meta.dirname, '../../node_modules'), bytesMax)) },
    { name: 'programs', bytes: wholeSlices(readFileSync(process.execPath).subarray(0, bytesMax)) },
    { name: 'noise', bytes: noise },
  ];
}

function wholeSlices(bytes: Buffer): Buffer {
  return bytes.subarray(0, Math.floor(bytes.length / SLICE_BYTES) * SLICE_BYTES);
}

/** Texts below `folder`, one behind the other. */
function readSources(folder: string, bytesMax: number): Buffer {
  const parts: Buffer[] = [];
  let left = bytesMax;
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()) {
    if (left <= 0) break;
    if (!/\.(js|mjs|cjs|ts|md|json|map)$/.test(name) || !statSync(path.join(folder, name)).isFile()) continue;
    const text = readFileSync(path.join(folder, name)).subarray(0, left);
    parts.push(text);
    left -= text.length;
  }
  return Buffer.concat(parts);
}
