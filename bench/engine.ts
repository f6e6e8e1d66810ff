/**
 * `npm run bench:engine -- [NAME...] [--short] [--json] [--directory DIR]`: runs the benchmarks of the storage engine one after the other and
 * prints a table of each (or JSON lines). Nothing is left behind.
 */
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { compression } from './engine/compression.ts';
import { deviceIo } from './engine/device-io.ts';
import { diskHits } from './engine/disk-hits.ts';
import type { EngineBenchmark, EngineFigure } from './engine/engine-benchmark.ts';
import { eviction } from './engine/eviction.ts';
import { indexSpeed } from './engine/index-speed.ts';
import { recovery } from './engine/recovery.ts';
import { utilisation } from './engine/utilisation.ts';

const BENCHMARKS: readonly EngineBenchmark[] = [compression, deviceIo, diskHits, eviction, indexSpeed, recovery, utilisation];

async function main(words: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...words],
    allowPositionals: true,
    options: {
      short: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      directory: { type: 'string', default: tmpdir() },
    },
  });
  const unknown = positionals.filter((name) => !BENCHMARKS.some((bench) => bench.name === name));
  if (unknown.length > 0) {
    process.stderr.write(`Not known: ${unknown.join(', ')}; benchmarks are ${BENCHMARKS.map(({ name }) => name).join(', ')}\n`);
    return 2;
  }
  for (const bench of BENCHMARKS) {
    if (positionals.length > 0 && !positionals.includes(bench.name)) continue;
    const directory = await mkdtemp(path.join(values.directory, 'rawslice-engine-'));
    const onSignal = (): void => {
      rmSync(directory, { recursive: true, force: true });
      process.exit(130);
    };
    process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
    try {
      const say = (line: string): void => void process.stderr.write(`  ${line}\n`);
      process.stderr.write(`${bench.name}: ${bench.question}\n`);
      const figures = await bench.run({ directory, isShort: values.short, say });
      print(bench, figures, values.json);
    } finally {
      process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
      rmSync(directory, { recursive: true, force: true });
    }
  }
  return 0;
}

function print(bench: EngineBenchmark, figures: readonly EngineFigure[], isJson: boolean): void {
  if (isJson) {
    for (const { what, number, unit } of figures)
      process.stdout.write(`${JSON.stringify({ benchmark: bench.name, what, number, unit })}\n`);
    return;
  }
  process.stdout.write(`\n| \`${bench.name}\` | |\n|---|---|\n`);
  for (const { what, value } of figures) process.stdout.write(`| ${what} | ${value} |\n`);
  process.stdout.write('\n');
}

process.exitCode = await main(process.argv.slice(2));
