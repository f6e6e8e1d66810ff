/**
 * Samples in, a table for people and JSON lines for programs out: medians with their spread, ratios between systems, and where, when and
 * on what they were taken.
 */
import { spawnSync } from 'node:child_process';
import { cpus, release } from 'node:os';

/** What is measured, e.g. `cold stream`; the unit says how to read it. */
export interface Quantity {
  readonly name: string;
  readonly unit: 'MB/s' | 'ms' | 's/GiB' | 'MB' | '%' | 'x' | 'clients' | 's';
}

/** The `fraction` quantile (0..1) by the nearest rank; NaN for no samples. */
export function quantile(samples: readonly number[], fraction: number): number {
  const sorted = [...samples].sort((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(fraction * sorted.length) - 1))] ?? Number.NaN;
}

/** The middle sample, or the mean of the two middle ones; NaN for no samples. */
export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

interface Series {
  readonly quantity: Quantity;
  readonly system: string;
  readonly samples: number[];
}

/** Facts of a run that every JSON line carries. */
export interface RunFacts {
  readonly bench: string;
  readonly preset: 'short' | 'full';
  readonly systems: Readonly<Record<string, string>>;
  readonly skipped: Readonly<Record<string, string>>;
  readonly origin: string;
  readonly pinned: boolean;
  /** ISO 8601. */
  readonly date: string;
}

/** Collects the samples of one benchmark. */
export class Report {
  readonly #series: Series[] = [];

  add(quantity: Quantity, system: string, ...samples: readonly number[]): void {
    let series = this.#series.find((other) => other.quantity.name === quantity.name && other.system === system);
    if (series === undefined) {
      series = { quantity, system, samples: [] };
      this.#series.push(series);
    }
    series.samples.push(...samples);
  }

  /** A row per quantity and system: median, least and greatest sample, count, and the median as a multiple of nginx's. */
  table(): string {
    const rows = this.#sorted().map(({ quantity, system, samples }) => {
      const ratio = this.#ratio(quantity, system);
      return [
        quantity.name,
        system,
        `${format(median(samples))} ${quantity.unit}`,
        `${format(Math.min(...samples))} .. ${format(Math.max(...samples))}`,
        String(samples.length),
        ratio === undefined ? '' : `${ratio.toFixed(2)}x`,
      ];
    });
    const lines = [['quantity', 'system', 'median', 'least .. greatest', 'samples', 'of nginx'], ...rows];
    const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
    return lines
      .map((line) =>
        line
          .map((cell, column) => cell.padEnd(widths[column]!))
          .join('  ')
          .trimEnd(),
      )
      .join('\n');
  }

  /** One JSON object per quantity and system. */
  jsonLines(facts: RunFacts): string[] {
    const machine = machineFacts();
    return this.#sorted().map(({ quantity, system, samples }) =>
      JSON.stringify({
        bench: facts.bench,
        quantity: quantity.name,
        unit: quantity.unit,
        system,
        median: round(median(samples)),
        least: round(Math.min(...samples)),
        greatest: round(Math.max(...samples)),
        samples: samples.length,
        ofNginx: round(this.#ratio(quantity, system)),
        preset: facts.preset,
        description: facts.systems[system],
        origin: facts.origin,
        skipped: facts.skipped,
        pinned: facts.pinned,
        date: facts.date,
        ...machine,
      }),
    );
  }

  /** Quantities in the order first seen, the systems of each together. */
  #sorted(): Series[] {
    const names = [...new Set(this.#series.map(({ quantity }) => quantity.name))];
    return names.flatMap((name) => this.#series.filter(({ quantity }) => quantity.name === name));
  }

  #ratio(quantity: Quantity, system: string): number | undefined {
    if (system === 'nginx') return undefined;
    const base = this.#series.find((other) => other.quantity.name === quantity.name && other.system === 'nginx');
    const own = this.#series.find((other) => other.quantity.name === quantity.name && other.system === system);
    if (base === undefined || own === undefined || median(base.samples) === 0) return undefined;
    return median(own.samples) / median(base.samples);
  }
}

function machineFacts(): Record<string, string | number> {
  const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: import.meta.dirname, encoding: 'utf8' }).stdout?.trim() ?? '';
  return { machine: cpus()[0]?.model ?? 'unknown', cores: cpus().length, kernel: release(), node: process.version, commit };
}

function format(value: number): string {
  if (!Number.isFinite(value)) return '-';
  return value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(2) : value.toFixed(3);
}

function round(value: number | undefined): number | undefined {
  return value === undefined || !Number.isFinite(value) ? undefined : Number(value.toPrecision(5));
}
