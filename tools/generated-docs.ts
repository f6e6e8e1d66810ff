/**
 * The generated parts of the documentation: tables of options, rule keys, errors and metrics, made from the tables in the code. They stand
 * between markers in README.md and METRICS.md; update-docs.ts writes them, and a parity test says when somebody forgot.
 */
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { ERRORS } from '../src/base/errors.ts';
import type { MetricRow } from '../src/base/metrics.ts';
import { DISCOVER_KEYS } from '../src/config/discovery-table.ts';
import { environmentName } from '../src/config/environment.ts';
import { CHECK_KEYS, GROUP_KEYS, NODE_KEYS, OUTLIER_KEYS } from '../src/config/group-table.ts';
import { configJsonSchema } from '../src/config/json-schema.ts';
import { listOptions, type OptionRow } from '../src/config/options.ts';
import { MIDDLEWARE_KEYS, ROUTE_KEYS, SERVICE_KEYS } from '../src/config/service-tables.ts';
import { RULE_KEYS } from '../src/config/site-rules.ts';
import { SHIPPED, SHIPPED_OPTIONS } from '../src/middleware/shipped/shipped.ts';

/** Pages with generated parts, relative to the root of the project. */
export const GENERATED_PAGES = ['README.md', 'METRICS.md'] as const;

/** The JSON Schema of configurations, for editors that open one of the files beside it. */
export const SCHEMA_FILE = 'config/schema.json';

/** The text of that file. */
export function renderSchema(): string {
  return `${JSON.stringify(configJsonSchema(SHIPPED_OPTIONS), undefined, 2)}\n`;
}

/** Metric tables by the folder of their layer. */
export type MetricTables = ReadonlyMap<string, readonly MetricRow[]>;

/** The generated parts by their marker's name. */
export function renderParts(metrics: MetricTables): ReadonlyMap<string, string> {
  return new Map([
    ['options', renderOptions()],
    ['service-keys', renderKeys(SERVICE_KEYS)],
    ['route-keys', renderKeys(ROUTE_KEYS)],
    ['group-keys', renderKeys(GROUP_KEYS)],
    ['node-keys', renderKeys(NODE_KEYS)],
    ['check-keys', renderKeys(CHECK_KEYS)],
    ['outlier-keys', renderKeys(OUTLIER_KEYS)],
    ['discover-keys', renderKeys(DISCOVER_KEYS)],
    ['rule-keys', renderKeys(RULE_KEYS)],
    ['middleware-keys', renderKeys(MIDDLEWARE_KEYS)],
    ['middleware-options', renderMiddlewares()],
    ['errors', renderErrors()],
    ['metrics', renderMetrics(metrics)],
    ['survived', renderSurvived(path.resolve(import.meta.dirname, '..'))],
  ]);
}

/** `page` with every generated part replaced; what stands outside of the markers is kept. A marker without part stays as it is. */
export function updatePage(page: string, parts: ReadonlyMap<string, string>): string {
  return page.replace(/(<!-- generated: ([a-z-]+) -->\n)[\s\S]*?(<!-- end of generated part -->)/g, (whole, begin, name, end) => {
    const part = parts.get(name);
    return part === undefined ? whole : `${begin}${part}\n${end}`;
  });
}

/** Every table that a `*-metrics.ts` file exports. @param root folder of the project */
export async function collectMetrics(root: string): Promise<MetricTables> {
  const tables = new Map<string, readonly MetricRow[]>();
  for (const file of globSync('src/**/*-metrics.ts', { cwd: root }).sort()) {
    const exported: Record<string, unknown> = await import(pathToFileURL(path.join(root, file)).href);
    const rows = Object.values(exported).flatMap((value) => (typeof value === 'object' && value !== null ? Object.values(value) : []));
    const folder = path.dirname(file);
    tables.set(folder, [...(tables.get(folder) ?? []), ...rows.filter(isMetricRow)]);
  }
  return tables;
}

function isMetricRow(value: unknown): value is MetricRow {
  return typeof value === 'object' && value !== null && 'kind' in value && 'name' in value && 'help' in value;
}

function renderOptions(): string {
  const rows = listOptions().map(([key, row]) => [
    `\`${key}\``,
    describeValue(row),
    describeDefault(row),
    row.description,
    `\`${environmentName(key)}\``,
  ]);
  return renderTable(['Option', 'Value', 'Default', 'Meaning', 'Variable'], rows);
}

function describeValue(row: OptionRow): string {
  if (row.choices !== undefined) return row.choices.join(', ');
  return row.min === undefined ? row.kind : `${row.kind}, ${row.min} to ${row.max}`;
}

function describeDefault(row: OptionRow): string {
  if (row.default !== undefined) return `\`${row.default}\``;
  return row.isRequired === true ? 'required' : 'none';
}

function renderKeys(keys: Readonly<Record<string, string>>): string {
  return renderTable(
    ['Key', 'Meaning'],
    Object.entries(keys).map(([key, meaning]) => [`\`${key}\``, meaning]),
  );
}

function renderMiddlewares(): string {
  const rows = [...SHIPPED].flatMap(([word, { options, events = [] }]) =>
    Object.entries(options).map(([name, option], index) => [
      index === 0 ? `\`${word}\`` : '',
      `\`${name}\``,
      option.choices?.join(', ') ?? option.kind,
      option.default === undefined ? (option.isRequired === true ? 'required' : 'none') : `\`${option.default}\``,
      option.meaning,
      index === 0 ? events.join(', ') : '',
    ]),
  );
  return renderTable(['`use`', 'Option', 'Value', 'Default', 'Meaning', 'Events'], rows);
}

function renderErrors(): string {
  const rows = Object.entries(ERRORS).map(([code, row]) => [`\`${code}\``, row.source, String(row.httpStatus), row.retry, row.sentence]);
  return renderTable(['Code', 'Source', 'Status', 'Retry', 'Meaning'], rows);
}

function renderMetrics(metrics: MetricTables): string {
  const rows = [...metrics].flatMap(([folder, table]) =>
    table.map((row) => [`\`${row.name}\``, row.kind, describeLabel(row), row.help, `\`${folder}\``]),
  );
  return renderTable(['Metric', 'Kind', 'Label', 'Meaning', 'Layer'], rows);
}

function describeLabel(row: MetricRow): string {
  return row.label === undefined ? '' : `${row.label}: ${(row.values ?? []).join(', ')}`;
}

/** Figures of the last recorded run of `npm run survival`. */
function renderSurvived(root: string): string {
  const report: Record<string, unknown> = JSON.parse(readFileSync(path.join(root, 'test/simulation/report.json'), 'utf8'));
  const number = (name: string): string => Number(report[name]).toLocaleString('en');
  const faults = Object.entries(report.faults ?? {}).map(([name, count]) => `${name} ${Number(count).toLocaleString('en')}`);
  const mutants = `${number('mutantsCaught')} of ${number('mutants')}; ${number('mutantsRedundant')} break what another rule does as well`;
  const rows = [
    ['Run', `${String(report.date)}, commit ${String(report.commit)}, ${number('seeds')} seeds from ${number('firstSeed')}`],
    ['Steps of random work; operations of the disk', `${number('steps')}; ${number('operations')}`],
    ['Crashes; starts that were verified', `${number('crashes')}; ${number('recoveries')}`],
    ['Crash points swept one by one', number('sweptCrashPoints')],
    ['States that a crash may leave, each started from', number('crashStates')],
    ['kill -9 of the real program under load', number('killRounds')],
    ['Faults that struck', faults.join(', ')],
    ['Durable records looked for after a start; lost', `${number('foundAgain')}; ${number('lostDurable')}`],
    ['Purges acknowledged; come back', `${number('purges')}; ${number('resurrectedPurges')}`],
    ['Bytes compared; wrong', `${number('bytesChecked')}; ${number('wrongBytes')}`],
    ['Broken variants of the engine that were caught', mutants],
  ];
  return renderTable(['What', 'How much'], rows);
}

function renderTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n');
}
