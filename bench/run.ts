/**
 * `npm run bench -- [QUESTION...] [--short] [--systems a,b] [--directory DIR] [--output DIR] [--record]`: answers the questions one after
 * the other, prints tables and verdicts, writes JSON and an SVG, and leaves nothing else behind: every process is ended and every
 * directory removed, also after a failure or Ctrl-C.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { SystemClock } from '../src/base/clock.ts';
import { drawChart } from './harness/chart.ts';
import { Field } from './harness/field.ts';
import { choosePinning, type Pinning, pinSelf } from './harness/pinning.ts';
import type { Question, QuestionContext } from './harness/question.ts';
import { formatTable, Report } from './harness/report.ts';
import { machineFacts, type Result } from './harness/result.ts';
import { judge } from './harness/target.ts';
import { QUESTIONS } from './questions/all.ts';
import { record } from './record.ts';
import { SYSTEM_KINDS } from './systems/all.ts';

/** Asked once: the sources of this run are those of its start. */
const MACHINE = machineFacts();

interface RunOptions {
  readonly isShort: boolean;
  readonly wanted: readonly string[];
  /** Where the directories of a run are made: the file system that is measured. */
  readonly parentDirectory: string;
  readonly pinning: Pinning | undefined;
}

const USAGE = `npm run bench -- [QUESTION...] [options]
  QUESTION...       ${QUESTIONS.map(({ id }) => id).join(', ')} (default: those with a number)
  --short           everything within ten minutes
  --systems A,B     of ${SYSTEM_KINDS.map(({ name }) => name).join(', ')}
  --directory DIR   the file system to measure (default: the directory for temporary files)
  --output DIR      where results.json and chart.svg go (default: bench/results)
  --record          keep the results in bench/measured.json, and write README.md's table and its chart from it
`;

async function main(words: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...words],
    allowPositionals: true,
    options: {
      short: { type: 'boolean', default: false },
      systems: { type: 'string' },
      directory: { type: 'string', default: tmpdir() },
      output: { type: 'string', default: path.join(import.meta.dirname, 'results') },
      record: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const known = SYSTEM_KINDS.map(({ name }) => name);
  const wanted = values.systems?.split(',') ?? known;
  const unknown = [
    ...positionals.filter((id) => !QUESTIONS.some((question) => question.id === id)),
    ...wanted.filter((name) => !known.includes(name)),
  ];
  if (values.help || unknown.length > 0) {
    process.stderr.write(`${unknown.length > 0 ? `Not known: ${unknown.join(', ')}\n` : ''}${USAGE}`);
    return values.help ? 0 : 2;
  }
  const pinning = choosePinning();
  if (pinning !== undefined) pinSelf(pinning.load);
  const options = { isShort: values.short, wanted, parentDirectory: values.directory, pinning };
  const results: Result[] = [];
  let failed = 0;
  for (const question of QUESTIONS.filter(({ id, isExtra }) => (positionals.length === 0 ? isExtra !== true : positionals.includes(id)))) {
    const result = await tryAnswer(question, options);
    if (result === undefined) failed += 1;
    else results.push(result);
    writeResults(values.output, results);
    if (values.record && result !== undefined) record([result]);
  }
  process.stdout.write(`${summary(results)}\nJSON and chart: ${values.output}\n`);
  return failed > 0 ? 1 : 0;
}

/** A question that fails must not keep the others from being answered. */
async function tryAnswer(question: Question, options: RunOptions): Promise<Result | undefined> {
  try {
    return await answer(question, options);
  } catch (error) {
    process.stderr.write(`${question.id} failed: ${error instanceof Error ? error.stack : String(error)}\n`);
    return undefined;
  }
}

async function answer(question: Question, options: RunOptions): Promise<Result> {
  const startedAtMs = performance.now();
  process.stdout.write(`\n${question.id}: ${question.text}\n`);
  const loadBefore = loadavg()[0] ?? 0;
  const report = new Report();
  const facts = { systems: {} as Record<string, string>, skipped: {} as Record<string, string>, notes: new Set<string>() };
  await question.run(makeContext(question, { options, report, facts }));
  facts.notes.add(
    options.pinning === undefined
      ? 'nothing is pinned'
      : `server on core ${options.pinning.server}, load and origin on ${options.pinning.load}`,
  );
  facts.notes.add(describeLoad(loadBefore));
  const result: Result = {
    id: question.id,
    text: question.text,
    preset: options.isShort ? 'short' : 'full',
    date: new Date(new SystemClock().wallMs()).toISOString(),
    machine: MACHINE,
    systems: facts.systems,
    skipped: facts.skipped,
    notes: [...facts.notes],
    judgements: judge(question.targets, report),
    summaries: report.summaries(),
    curves: report.curves,
    charts: question.charts,
  };
  const lines = [
    ...Object.entries(result.systems).map(([name, description]) => `${name}: ${description}`),
    ...Object.entries(result.skipped).map(([name, reason]) => `${name}: skipped, ${reason}`),
    ...result.notes,
  ];
  process.stdout.write(`${lines.join('\n')}\n\n${formatTable(result.summaries)}\n\n${summary([result])}`);
  process.stderr.write(`${question.id}: ${Math.round((performance.now() - startedAtMs) / 1000)} s\n`);
  return result;
}

/** The first thing to look at before a figure is believed. */
function describeLoad(load: number): string {
  const words = `the machine's load was ${load.toFixed(1)} before`;
  return load > 0.5 ? `${words}: other work ran beside this, and the figures say less than their digits` : words;
}

interface Collected {
  readonly options: RunOptions;
  readonly report: Report;
  readonly facts: { readonly systems: Record<string, string>; readonly skipped: Record<string, string>; readonly notes: Set<string> };
}

function makeContext(question: Question, { options, report, facts }: Collected): QuestionContext {
  const say = (line: string): void => void process.stderr.write(`${question.id}: ${line}\n`);
  return {
    report,
    isShort: options.isShort,
    wanted: options.wanted,
    say,
    note: (line) => void facts.notes.add(line),
    withField: async (fieldOptions, act) => {
      const field = await Field.open(fieldOptions, { ...options, say });
      try {
        for (const { name, description } of field.systems) facts.systems[name] = description;
        Object.assign(facts.skipped, field.skipped);
        facts.notes.add(`origin: ${field.origin.description}`);
        await act(field);
      } finally {
        await field.close();
      }
    },
    withDirectory: async (act) => {
      const directory = await mkdtemp(path.join(options.parentDirectory, 'rawslice-bench-'));
      const remove = (): void => rmSync(directory, { recursive: true, force: true });
      const onSignal = (): void => {
        remove();
        process.exit(130);
      };
      process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
      try {
        await act(directory);
      } finally {
        process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
        remove();
      }
    },
  };
}

/** A line for each target. */
function summary(results: readonly Result[]): string {
  return results.flatMap(({ id, judgements }) => judgements.map(({ target, line }) => `${id.toUpperCase()} ${target}: ${line}\n`)).join('');
}

function writeResults(directory: string, results: readonly Result[]): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(path.join(directory, 'results.json'), `${JSON.stringify(results, undefined, 1)}\n`);
  const { processor, cores } = MACHINE;
  writeFileSync(path.join(directory, 'chart.svg'), drawChart(results, `rawslice beside its peers, ${cores} cores of ${processor}`));
}

process.exitCode = await main(process.argv.slice(2));
