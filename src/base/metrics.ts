/**
 * Metrics that cost an addition. Each layer declares its metrics in one table (`*-metrics.ts`: name, kind, help, label values); counting
 * writes into a typed array; prom-client sees the numbers only when somebody scrapes. Label values are listed in the table, so the number
 * of series is bounded and a misspelt one does not compile.
 */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { assert, must } from './assert.ts';

/** One metric of a table. `labels` names one label and lists all of its values. */
export interface MetricRow {
  readonly kind: 'counter' | 'gauge' | 'histogram';
  /** Prometheus name with unit suffix: `_total`, `_bytes`, `_seconds`. */
  readonly name: string;
  readonly help: string;
  readonly label?: string | undefined;
  readonly values?: readonly string[] | undefined;
  /** Upper bounds of a histogram, ascending. */
  readonly buckets?: readonly number[] | undefined;
}

/** A layer's metrics by the name that the code uses. */
export type MetricTable = Readonly<Record<string, MetricRow>>;

type LabelOf<Row extends MetricRow> = Row extends { readonly values: readonly (infer V extends string)[] } ? V : undefined;

/** Counts for one table; one instance per owner (a store, a proxy), registered once. */
export class MetricSet<Table extends MetricTable> {
  readonly #table: Table;
  readonly #cells: Float64Array;
  readonly #places = new Map<keyof Table, MetricPlace>();
  readonly #gauges = new Map<keyof Table, () => number>();

  constructor(table: Table) {
    this.#table = table;
    let cells = 0;
    for (const [key, row] of Object.entries(table) as [keyof Table, MetricRow][]) {
      const first = cells;
      this.#places.set(key, { row, first, labelled: new Map(row.values?.map((label, index) => [label, first + index])) });
      cells += cellCount(row);
    }
    this.#cells = new Float64Array(cells);
  }

  /** Adds `amount` (default 1) to a counter or a stored gauge. */
  add<Key extends keyof Table>(key: Key, amount = 1, label?: LabelOf<Table[Key]>): void {
    const cell = this.#cell(key, label);
    this.#cells[cell] = (this.#cells[cell] ?? 0) + amount;
  }

  /** Where a counter stands, for whoever counts so often that the look-up by name shows; it stays the same. */
  cell<Key extends keyof Table>(key: Key, label?: LabelOf<Table[Key]>): number {
    return this.#cell(key, label);
  }

  /** Adds `amount` to what stands at `cell`, which is one of this set. */
  addAt(cell: number, amount: number): void {
    this.#cells[cell] = (this.#cells[cell] ?? 0) + amount;
  }

  /** Records one observation (in the unit of the name) in a histogram. */
  observe<Key extends keyof Table>(key: Key, value: number): void {
    this.observeAt(this.histogramCell(key), value);
  }

  /** Where a histogram stands, as `cell` says it of a counter. */
  histogramCell<Key extends keyof Table>(key: Key): HistogramCell {
    const { row, first: base } = must(this.#places.get(key), 'unknown metric');
    return { base, buckets: must(row.buckets, 'metric has no buckets') };
  }

  /** Records one observation in the histogram that stands there, which is one of this set. */
  observeAt({ base, buckets }: HistogramCell, value: number): void {
    let bucket = 0;
    while (bucket < buckets.length && value > (buckets[bucket] ?? 0)) bucket += 1;
    this.#cells[base + bucket] = (this.#cells[base + bucket] ?? 0) + 1;
    const sum = base + buckets.length + 1;
    this.#cells[sum] = (this.#cells[sum] ?? 0) + value;
  }

  /** Gives a gauge its source; read at each scrape. */
  setGauge<Key extends keyof Table>(key: Key, read: () => number): void {
    assert(this.#table[key]?.kind === 'gauge', 'setGauge: metric is not a gauge');
    this.#gauges.set(key, read);
  }

  /** The present value of a counter or gauge, for tests and summaries. */
  value<Key extends keyof Table>(key: Key, label?: LabelOf<Table[Key]>): number {
    const gauge = this.#gauges.get(key);
    return gauge === undefined ? (this.#cells[this.#cell(key, label)] ?? 0) : gauge();
  }

  /** A histogram's observations by bucket, the last one without bound, and their sum. */
  histogram<Key extends keyof Table>(key: Key): { readonly counts: Float64Array; readonly sum: number } {
    const { first: base } = must(this.#places.get(key), 'unknown metric');
    const buckets = must(this.#table[key]?.buckets, 'histogram without buckets').length;
    return { counts: this.#cells.subarray(base, base + buckets + 1), sum: this.#cells[base + buckets + 1] ?? 0 };
  }

  /** Adds this set's metrics to `registry`; the numbers are copied at each scrape. */
  register(registry: Registry): void {
    registerSets(registry, this.#table, { labels: [], sets: () => [[[], this]] });
  }

  #cell(key: keyof Table, label: string | undefined): number {
    const { row, first, labelled } = must(this.#places.get(key), 'unknown metric');
    if (row.values === undefined) return first;
    const cell = labelled.get(label ?? '');
    assert(cell !== undefined, () => `metric ${row.name} has no ${row.label ?? 'label'} ${String(label)}`);
    return cell;
  }
}

/** Where a histogram stands. */
export interface HistogramCell {
  readonly base: number;
  readonly buckets: readonly number[];
}

/** Where a metric's cells are. */
interface MetricPlace {
  readonly row: MetricRow;
  readonly first: number;
  readonly labelled: ReadonlyMap<string, number>;
}

/** Sets of one table, each with the values of the labels that tell them apart. Asked for at each scrape; they must be few. */
export interface LabelledSets<Table extends MetricTable> {
  readonly labels: readonly string[];
  /** As many values as there are labels; no two sets have the same. */
  readonly sets: () => Iterable<readonly [values: readonly string[], set: MetricSet<Table>]>;
}

/** Adds the metrics of a table to `registry`, which several sets count. */
export function registerSets<Table extends MetricTable>(registry: Registry, table: Table, { labels, sets }: LabelledSets<Table>): void {
  for (const [key, row] of Object.entries(table) as [keyof Table & string, MetricRow][]) {
    if (row.kind === 'histogram')
      registerHistogram(registry, row, { labels, read: () => [...sets()].map(([values, set]) => [values, set.histogram(key)]) });
    else
      registerNumber(registry, row, {
        labels,
        read: () => [...sets()].map(([values, set]) => [values, (name) => set.value(key, name as never)]),
      });
  }
}

interface Readings<Reading> {
  readonly labels: readonly string[];
  readonly read: () => readonly (readonly [values: readonly string[], reading: Reading])[];
}

function labelsOf(labels: readonly string[], values: readonly string[]): Record<string, string> {
  return Object.fromEntries(labels.map((label, index) => [label, values[index] ?? '']));
}

function registerNumber(registry: Registry, row: MetricRow, { labels, read }: Readings<(name: string | undefined) => number>): void {
  const labelNames = [...labels, row.label].filter((name) => name !== undefined);
  const shared = { name: row.name, help: row.help, labelNames, registers: [registry] };
  const copy = (metric: Counter<string> | Gauge<string>, set: (labels: Record<string, string>, value: number) => void): void => {
    metric.reset();
    for (const [values, readValue] of read()) {
      const own = labelsOf(labels, values);
      if (row.values === undefined) set(own, readValue(undefined));
      else for (const name of row.values) set({ ...own, [row.label ?? '']: name }, readValue(name));
    }
  };
  if (row.kind === 'counter') {
    const counter: Counter<string> = new Counter<string>({
      ...shared,
      collect: () => copy(counter, (names, value) => counter.inc(names, value)),
    });
  } else {
    const gauge: Gauge<string> = new Gauge<string>({ ...shared, collect: () => copy(gauge, (names, value) => gauge.set(names, value)) });
  }
}

function registerHistogram(
  registry: Registry,
  row: MetricRow,
  { labels: labelNames, read }: Readings<{ readonly counts: Float64Array; readonly sum: number }>,
): void {
  const buckets = must(row.buckets, 'histogram without buckets');
  const shared = { name: row.name, help: row.help, labelNames: [...labelNames], registers: [registry] };
  const histogram = new Histogram({ ...shared, buckets: [...buckets] });
  const collect = async (): Promise<object> => {
    const values: { labels: Record<string, string | number>; value: number; metricName: string }[] = [];
    for (const [own, { counts, sum }] of read()) {
      const labels = labelsOf(labelNames, own);
      let total = 0;
      for (const [index, count] of counts.entries()) {
        total += count;
        values.push({ labels: { ...labels, le: buckets[index] ?? '+Inf' }, value: total, metricName: `${row.name}_bucket` });
      }
      values.push({ labels, value: sum, metricName: `${row.name}_sum` }, { labels, value: total, metricName: `${row.name}_count` });
    }
    return { name: row.name, help: row.help, type: 'histogram', values, aggregator: 'sum' };
  };
  // prom-client has no door for ready-made bucket counts, so the metric answers its registry itself: `get` for JSON, the other for text.
  Object.assign(histogram, { get: collect, getForPromString: collect });
}

function cellCount(row: MetricRow): number {
  if (row.kind === 'histogram') return must(row.buckets, 'histogram without buckets').length + 2;
  return row.values?.length ?? 1;
}
