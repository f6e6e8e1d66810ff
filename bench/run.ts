/**
 * `npm run bench -- [NAME...] [--short] [--systems a,b] [--directory DIR]`: runs the benchmarks, prints a table and JSON lines, and leaves
 * nothing behind: every process is ended and the directory removed, also after a failure or Ctrl-C.
 */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { SystemClock } from '../src/base/clock.ts';
import { coldWarm } from './cold-warm.ts';
import type { Benchmark } from './harness/benchmark.ts';
import { digest } from './harness/load.ts';
import { choosePinning, type Pinning, ProcessPool, pinSelf } from './harness/processes.ts';
import { Report } from './harness/report.ts';
import {
  type BenchOrigin,
  type Stage,
  SYSTEM_NAMES,
  type System,
  type SystemName,
  startOrigin,
  startSystem,
  whyAbsent,
} from './harness/systems.ts';
import { stalledClients } from './stalled-clients.ts';

const BENCHMARKS: readonly Benchmark[] = [coldWarm, stalledClients];

const FLUSH_DEADLINE_MS = 30_000;

interface RunOptions {
  readonly isShort: boolean;
  readonly systemNames: readonly SystemName[];
  /** Where the run's directory is made: the file system that is measured. */
  readonly parentDirectory: string;
  readonly pinning: Pinning | undefined;
}

async function main(words: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...words],
    allowPositionals: true,
    options: { short: { type: 'boolean', default: false }, systems: { type: 'string' }, directory: { type: 'string', default: tmpdir() } },
  });
  const wanted = values.systems?.split(',') ?? SYSTEM_NAMES;
  const unknown = [
    ...positionals.filter((name) => !BENCHMARKS.some((bench) => bench.name === name)),
    ...wanted.filter((name) => !SYSTEM_NAMES.some((known) => known === name)),
  ];
  if (unknown.length > 0) {
    const known = `benchmarks are ${BENCHMARKS.map(({ name }) => name).join(', ')}; systems are ${SYSTEM_NAMES.join(', ')}`;
    process.stderr.write(`Not known: ${unknown.join(', ')}; ${known}\n`);
    return 2;
  }
  const systemNames = SYSTEM_NAMES.filter((name) => wanted.includes(name));
  const pinning = choosePinning();
  if (pinning !== undefined) pinSelf(pinning.load);
  for (const bench of BENCHMARKS) {
    if (positionals.length > 0 && !positionals.includes(bench.name)) continue;
    await runBenchmark(bench, { isShort: values.short, systemNames, parentDirectory: values.directory, pinning });
  }
  return 0;
}

async function runBenchmark(bench: Benchmark, options: RunOptions): Promise<void> {
  const pool = new ProcessPool();
  const directory = await mkdtemp(path.join(options.parentDirectory, 'rawslice-bench-'));
  const onSignal = (): void => {
    pool.killAll();
    rmSync(directory, { recursive: true, force: true });
    process.exit(130);
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    await measure(bench, options, { pool, pinning: options.pinning, directory, deviceBytes: bench.deviceBytes, arena: bench.arena });
  } finally {
    await pool.close();
    rmSync(directory, { recursive: true, force: true });
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

async function measure(bench: Benchmark, options: RunOptions, stage: Stage): Promise<void> {
  const say = (line: string): void => void process.stderr.write(`${bench.name}: ${line}\n`);
  process.stdout.write(`\n${bench.name}: ${bench.question}\n`);
  const skipped: Record<string, string> = {};
  const systems: System[] = [];
  const origin = await startOrigin(stage, bench.sizes);
  for (const name of options.systemNames) {
    const reason = whyAbsent(name);
    if (reason !== undefined) skipped[name] = reason;
    else systems.push(await startSystem(name, stage, origin));
  }
  await checkBytes(systems, origin, Object.keys(bench.sizes));

  const report = new Report();
  const flush = (): void => void spawnSync('sync', ['-f', stage.directory], { timeout: FLUSH_DEADLINE_MS });
  await bench.run({ systems, origin, report, isShort: options.isShort, flush, say });
  const facts = {
    bench: bench.name,
    preset: options.isShort ? ('short' as const) : ('full' as const),
    systems: Object.fromEntries(systems.map(({ name, description }) => [name, description])),
    skipped,
    origin: origin.description,
    pinned: stage.pinning !== undefined,
    date: new Date(new SystemClock().wallMs()).toISOString(),
  };
  const notes = [
    ...systems.map(({ name, description }) => `${name}: ${description}`),
    ...Object.entries(skipped).map(([name, reason]) => `${name}: skipped, ${reason}`),
    `origin: ${origin.description}`,
    stage.pinning === undefined ? 'nothing is pinned' : `server on core ${stage.pinning.server}, load and origin on ${stage.pinning.load}`,
  ];
  process.stdout.write(`${notes.join('\n')}\n\n${report.table()}\n\n${report.jsonLines(facts).join('\n')}\n`);
}

/** Speed counts only for right bytes: each system must give what the origin gives, missed and hit. */
async function checkBytes(systems: readonly System[], origin: BenchOrigin, sizes: readonly string[]): Promise<void> {
  for (const size of sizes) {
    const target = `/bytes/${size}/check`;
    const expected = await digest(origin.port, target);
    if (!expected.startsWith('200 true')) throw new Error(`The origin answered ${expected} to ${target}`);
    for (const { name, port } of systems) {
      for (const turn of ['first', 'second']) {
        const got = await digest(port, target);
        if (got !== expected) throw new Error(`${name} gave other bytes than the origin the ${turn} time: ${got} instead of ${expected}`);
      }
    }
  }
}

process.exitCode = await main(process.argv.slice(2));
