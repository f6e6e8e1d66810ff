/** Keeps results in bench/measured.json, the newest of each question, and writes README.md's table and bench/measured.svg from it. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { drawChart } from './harness/chart.ts';
import { formatNumber } from './harness/report.ts';
import type { Result } from './harness/result.ts';
import { QUESTIONS } from './questions/all.ts';

const ROOT = path.resolve(import.meta.dirname, '..');
const MEASURED = path.join(import.meta.dirname, 'measured.json');
const CHART = path.join(import.meta.dirname, 'measured.svg');
const README = path.join(ROOT, 'README.md');
const START = '<!-- measured by npm run bench -- --record -->';
const END = '<!-- end of measured part -->';

/** Adds results to what is kept and writes what is made from it. */
export function record(results: readonly Result[]): void {
  const before = existsSync(MEASURED) ? (JSON.parse(readFileSync(MEASURED, 'utf8')) as Result[]) : [];
  const kept = QUESTIONS.map(({ id }) => [...results, ...before].find((result) => result.id === id)).filter(
    (result) => result !== undefined,
  );
  writeFileSync(MEASURED, `${JSON.stringify(kept, undefined, 1)}\n`);
  const { processor, cores } = kept[0]!.machine;
  writeFileSync(CHART, drawChart(kept, `rawslice beside its peers, ${cores} cores of ${processor}`));
  const page = readFileSync(README, 'utf8');
  const [start, end] = [page.indexOf(START), page.indexOf(END)];
  if (start < 0 || end < start) throw new Error(`README.md has no part between ${START} and ${END}`);
  writeFileSync(README, `${page.slice(0, start)}${START}\n${renderMeasured(kept)}${page.slice(end)}`);
}

/** The part of README.md: when and on what, and a row for each target with what came of it. */
export function renderMeasured(results: readonly Result[]): string {
  const rows = results.flatMap((result) =>
    result.judgements.map(({ target, wanted, reached, verdict }, index) => {
      const figure = reached === undefined ? '-' : formatNumber(reached);
      return `| ${index === 0 ? result.id.toUpperCase() : ''} | ${target} | ${wanted} | ${figure} | ${verdict} |\n`;
    }),
  );
  return `${describeRuns(results)}\n\n| | Target | Wanted | Measured | |\n|---|---|--:|--:|---|\n${rows.join('')}`;
}

/** One sentence for the questions that were answered on the same day with the same preset. */
function describeRuns(results: readonly Result[]): string {
  const groups = Map.groupBy(results, ({ date, preset, machine }) => `${date.slice(0, 10)}, ${preset} preset, commit ${machine.commit}`);
  const { processor, cores, memoryGib, kernel, node } = results[0]!.machine;
  const runs = [...groups].map(([run, members]) =>
    groups.size === 1 ? run : `${run} (${members.map(({ id }) => id.toUpperCase()).join(', ')})`,
  );
  return `${runs.join('; ')}; ${cores} cores of ${processor}, ${memoryGib} GiB, Linux ${kernel}, Node ${node}.`;
}
