/**
 * P7: how much memory does a server take while 100 clients, every other one at 1 MB/s and the rest as fast as they can, download different
 * objects of 1 GiB, and does it grow? Resident memory of all its processes, four times a second; the systems run one after the other. The
 * page cache that a peer fills is not in it.
 */
import { SystemClock } from '../../src/base/clock.ts';
import { GIB, MIB } from '../../src/base/units.ts';
import { DEFAULT_THREADS } from '../../src/device/thread-engine.ts';
import type { Field } from '../harness/field.ts';
import { LoadConnection } from '../harness/load.ts';
import type { Question, QuestionContext } from '../harness/question.ts';
import { median } from '../harness/report.ts';
import { own } from '../harness/target.ts';
import type { System } from '../systems/system.ts';

const CLIENTS = 100;
const SLOW_BYTES_PER_SECOND = 1_000_000;
const SAMPLE_MS = 250;
const ARENA_BYTES = 256 * MIB;
const DEVICE_THREADS = DEFAULT_THREADS.read + DEFAULT_THREADS.write;
/** What the target allows. */
const ALLOWED_MB = ARENA_BYTES / 1e6 + 150 + 10 * DEVICE_THREADS;
const PEAK = 'most resident memory';
const GROWTH = 'memory in the last quarter, of the second';

/** See the file's head. */
export const memory: Question = {
  id: 'p7',
  text: `How much memory do ${CLIENTS} slow and fast downloads of different objects of 1 GiB take?`,
  targets: [
    {
      what: `resident memory (arena, 150 MB and 10 MB for each of ${DEVICE_THREADS} device threads)`,
      sense: 'at most',
      wanted: ALLOWED_MB,
      unit: 'MB',
      reached: own(PEAK),
    },
    { what: GROWTH, sense: 'at most', wanted: 1.05, unit: '', reached: own(GROWTH) },
  ],
  charts: [PEAK],
  run: async (context) => {
    const seconds = context.isShort ? 8 : 60;
    context.note(`${CLIENTS} clients for ${seconds} s, half of them at ${SLOW_BYTES_PER_SECOND / 1e6} MB/s`);
    for (const name of context.wanted) {
      if (['haproxy', 'direct', 'nginx'].includes(name)) continue;
      await context.withField(
        {
          systems: [name],
          needs: { objectBytes: GIB },
          sizes: { '1GiB': GIB, '1MiB': MIB },
          checked: ['1MiB'],
          memoryBytes: ARENA_BYTES,
          deviceBytes: 8 * GIB,
        },
        async (field) => {
          for (const system of field.systems) await measure(context, field, { system, seconds });
        },
      );
    }
    context.note('nginx without slices is left out: it fetches each whole object for its file, 100 GiB here');
  },
};

async function measure(
  context: QuestionContext,
  field: Field,
  { system, seconds }: { readonly system: System; readonly seconds: number },
): Promise<void> {
  context.say(system.name);
  const clock = new SystemClock();
  const connections = await Promise.all(
    Array.from({ length: CLIENTS }, (_, index) =>
      LoadConnection.open(system.port, index % 2 === 0 ? { bytesPerSecond: SLOW_BYTES_PER_SECOND } : {}),
    ),
  );
  await field.origin.count();
  const startMs = performance.now();
  const downloads = connections.map((connection, index) => connection.get(`/bytes/1GiB/client-${index}`, { deadlineMs: seconds * 1000 }));
  const points: [number, number][] = [];
  for (let elapsedMs = 0; elapsedMs < seconds * 1000; elapsedMs = performance.now() - startMs) {
    points.push([elapsedMs / 1000, (system.process?.usage().residentBytes ?? 0) / 1e6]);
    await clock.sleep(SAMPLE_MS);
  }
  const samples = await Promise.all(downloads);
  for (const connection of connections) connection.destroy();
  describe(context, { system, points, bytes: samples.map(({ bodyBytes }) => bodyBytes), seconds });
}

function describe(
  { report }: QuestionContext,
  run: {
    readonly system: System;
    readonly points: readonly (readonly [number, number])[];
    readonly bytes: readonly number[];
    readonly seconds: number;
  },
): void {
  const { name } = run.system;
  const residents = run.points.map(([, megabytes]) => megabytes);
  const quarter = (number: number): number =>
    median(residents.slice((number * residents.length) / 4, ((number + 1) * residents.length) / 4));
  report.curves.push({
    quantity: 'resident memory',
    unit: 'MB',
    system: name,
    points: run.points.map(([at, value]) => [round(at), round(value)]),
  });
  report.add({ name: PEAK, unit: 'MB' }, name, Math.max(...residents));
  report.add({ name: GROWTH, unit: 'x' }, name, quarter(3) / quarter(1));
  const total = (isSlow: boolean): number =>
    run.bytes.filter((_, index) => (index % 2 === 0) === isSlow).reduce((sum, bytes) => sum + bytes, 0);
  report.add({ name: 'fast clients together', unit: 'MB/s' }, name, total(false) / 1e6 / run.seconds);
  report.add({ name: 'a slow client, of its rate', unit: 'x' }, name, total(true) / (CLIENTS / 2) / run.seconds / SLOW_BYTES_PER_SECOND);
  report.add({ name: 'clients that got nothing', unit: '' }, name, run.bytes.filter((bytes) => bytes === 0).length);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
