/** Samples in; medians, spread and ratios out, as a table for people and as records for programs. */

/** What is measured, e.g. `cold stream`; the unit says how to read it. */
export interface Quantity {
  readonly name: string;
  readonly unit: string;
}

/** One quantity of one system, summed up. */
export interface Summary {
  readonly quantity: string;
  readonly unit: string;
  readonly system: string;
  readonly median: number;
  readonly least: number;
  readonly greatest: number;
  readonly samples: number;
  /** The median as a multiple of nginx's, where it was measured. */
  readonly ofNginx?: number | undefined;
}

/** Something over time, for one system: `[seconds, value]`. */
export interface Curve {
  readonly quantity: string;
  readonly unit: string;
  readonly system: string;
  readonly points: readonly (readonly [number, number])[];
}

interface Series {
  readonly quantity: Quantity;
  readonly system: string;
  readonly samples: number[];
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

/** Collects the samples of one question. */
export class Report {
  readonly curves: Curve[] = [];
  readonly #series: Series[] = [];

  add(quantity: Quantity, system: string, ...samples: readonly number[]): void {
    let series = this.#find(quantity.name, system);
    if (series === undefined) {
      series = { quantity, system, samples: [] };
      this.#series.push(series);
    }
    series.samples.push(...samples);
  }

  /** The median of a quantity, or undefined when it was not measured. */
  value(quantity: string, system: string): number | undefined {
    const series = this.#find(quantity, system);
    return series === undefined ? undefined : median(series.samples);
  }

  /** The medians of a quantity by system, in the order of measurement. */
  values(quantity: string): ReadonlyMap<string, number> {
    const all = this.#series.filter((series) => series.quantity.name === quantity);
    return new Map(all.map(({ system, samples }) => [system, median(samples)]));
  }

  /** A row per quantity and system: quantities in the order first seen, the systems of each together. */
  summaries(): Summary[] {
    const names = [...new Set(this.#series.map(({ quantity }) => quantity.name))];
    const sorted = names.flatMap((name) => this.#series.filter(({ quantity }) => quantity.name === name));
    return sorted.map(({ quantity, system, samples }) => ({
      quantity: quantity.name,
      unit: quantity.unit,
      system,
      median: round(median(samples)),
      least: round(Math.min(...samples)),
      greatest: round(Math.max(...samples)),
      samples: samples.length,
      ofNginx: this.#ofNginx(quantity.name, system),
    }));
  }

  #find(quantity: string, system: string): Series | undefined {
    return this.#series.find((series) => series.quantity.name === quantity && series.system === system);
  }

  #ofNginx(quantity: string, system: string): number | undefined {
    const [own, base] = [this.value(quantity, system), this.value(quantity, 'nginx')];
    return system === 'nginx' || own === undefined || base === undefined || base === 0 ? undefined : round(own / base);
  }
}

/** Summaries as a table: median, least and greatest sample, count, and the median as a multiple of nginx's. */
export function formatTable(summaries: readonly Summary[]): string {
  const rows = summaries.map(({ quantity, unit, system, median: middle, least, greatest, samples, ofNginx }) => [
    quantity,
    system,
    `${formatNumber(middle)} ${unit}`.trim(),
    `${formatNumber(least)} .. ${formatNumber(greatest)}`,
    String(samples),
    ofNginx === undefined ? '' : `${ofNginx.toFixed(2)}x`,
  ]);
  const lines = [['quantity', 'system', 'median', 'least .. greatest', 'samples', 'of nginx'], ...rows];
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  const pad = (line: readonly string[]): string => line.map((cell, column) => cell.padEnd(widths[column]!)).join('  ');
  return lines.map((line) => pad(line).trimEnd()).join('\n');
}

/** Three digits that matter, or all of a large number. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '-';
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en-US');
  return Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 1 ? value.toFixed(2) : value.toFixed(3);
}

function round(value: number): number {
  return Number.isFinite(value) ? Number(value.toPrecision(5)) : value;
}
