/**
 * Question: how fast does one client get one large object through each system, cold (not stored; stored while it streams) and warm, what
 * does a GiB cost in CPU, and how long is the wait for the first byte of a small object, missed and hit?
 *
 * Cold: a fresh name each time. Warm: the same name again. The origin behind (`direct`) shows what load and origin can do at most. A
 * server that is busy for much less than 100 % was waiting for load or origin, or for its disk.
 */
import type { BenchContext, Benchmark } from './harness/benchmark.ts';
import { inTurn } from './harness/benchmark.ts';
import { download, LoadConnection } from './harness/load.ts';
import { quantile } from './harness/report.ts';
import type { System } from './harness/systems.ts';

const MIB = 1024 * 1024;
const STREAM = '256MiB';
const SMALL = '4KiB';

interface Plan {
  readonly rounds: number;
  readonly warmStreams: number;
  readonly smallRequests: number;
}

const SHORT: Plan = { rounds: 3, warmStreams: 3, smallRequests: 300 };
const FULL: Plan = { rounds: 9, warmStreams: 5, smallRequests: 1000 };

export const coldWarm: Benchmark = {
  name: 'cold-warm',
  question: 'One stream of 256 MiB cold and warm, its CPU time, and the first byte of 4 KiB missed and hit',
  sizes: { [STREAM]: 256 * MIB, [SMALL]: 4096 },
  deviceBytes: 8 * 1024 * MIB,
  run: async (context) => {
    const plan = context.isShort ? SHORT : FULL;
    for (let round = 0; round < plan.rounds; round += 1) {
      context.say(`round ${round + 1} of ${plan.rounds}`);
      for (const system of inTurn(context.systems, round)) {
        context.flush();
        await measureStream(context, system, { kind: 'cold', name: `stream-${round}`, count: 1 });
        await measureStream(context, system, { kind: 'warm', name: `stream-${round}`, count: plan.warmStreams });
        await measureSmall(context, system, { kind: 'miss', count: plan.smallRequests, name: (index) => `small-${round}-${index}` });
        await measureSmall(context, system, { kind: 'hit', count: plan.smallRequests, name: () => `small-${round}-0` });
      }
    }
    for (const { name, process } of context.systems) {
      if (process !== undefined)
        context.report.add({ name: 'resident memory at the end', unit: 'MB' }, name, process.usage().residentBytes / 1e6);
    }
  },
};

async function measureStream(
  { report }: BenchContext,
  system: System,
  stream: { readonly kind: 'cold' | 'warm'; readonly name: string; readonly count: number },
): Promise<void> {
  const before = system.process?.usage().cpuSeconds ?? 0;
  let totalBytes = 0;
  let totalMs = 0;
  for (let index = 0; index < stream.count; index += 1) {
    const sample = await download(system.port, `/bytes/${STREAM}/${stream.name}`);
    if (!sample.isComplete) throw new Error(`${system.name} ended a ${stream.kind} stream after ${sample.bodyBytes} bytes`);
    report.add({ name: `${stream.kind} stream`, unit: 'MB/s' }, system.name, sample.bodyBytes / 1e3 / sample.totalMs);
    report.add({ name: `${stream.kind} stream, first byte`, unit: 'ms' }, system.name, sample.ttfbMs);
    totalBytes += sample.bodyBytes;
    totalMs += sample.totalMs;
  }
  if (system.process === undefined) return;
  // Per group of streams: one alone is too few ticks of 10 ms.
  const cpuSeconds = system.process.usage().cpuSeconds - before;
  report.add({ name: `${stream.kind} stream, CPU`, unit: 's/GiB' }, system.name, cpuSeconds / (totalBytes / 1024 ** 3));
  report.add({ name: `${stream.kind} stream, server busy`, unit: '%' }, system.name, (cpuSeconds / totalMs) * 1e5);
}

async function measureSmall(
  { report }: BenchContext,
  system: System,
  small: { readonly kind: 'miss' | 'hit'; readonly count: number; readonly name: (index: number) => string },
): Promise<void> {
  const connection = await LoadConnection.open(system.port);
  const samplesMs: number[] = [];
  for (let index = 0; index < small.count; index += 1) {
    const sample = await connection.get(`/bytes/${SMALL}/${small.name(index)}`);
    if (sample.status !== 200 || !sample.isComplete)
      throw new Error(`${system.name} answered ${sample.status} to a ${small.kind} of ${SMALL}`);
    samplesMs.push(sample.ttfbMs);
  }
  connection.destroy();
  // One p50 and one p99 per round: their median and spread over the rounds are what is shown.
  report.add({ name: `${SMALL} ${small.kind}, first byte p50`, unit: 'ms' }, system.name, quantile(samplesMs, 0.5));
  report.add({ name: `${SMALL} ${small.kind}, first byte p99`, unit: 'ms' }, system.name, quantile(samplesMs, 0.99));
}
