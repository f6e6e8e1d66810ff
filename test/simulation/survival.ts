/**
 * `npm run survival`: the whole proof within a budget, and a report of what was survived, which README.md shows. Mutants, crash states and
 * sweeps and kill -9 take what they take, some minutes; plays have the rest of the time, and a quarter of it at least. Everything is tried
 * whatever fails; a run in which anything fails names all of it and writes no report.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { type Clock, SystemClock } from '../../src/base/clock.ts';
import { describeVerdict, isAsExpected, runMutants } from './mutant-run.ts';
import { type PlayReport, runPlay } from './play.ts';
import { makeStage } from './world.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const REPORT = path.join(import.meta.dirname, 'report.json');
const STEPS = 400;
const MINUTE_MS = 60_000;
/** Plays catch what they catch by the third seed; those that nothing may catch are played to the end. */
const MUTANT_BUDGET = { seeds: 15, steps: 300 };
/** Of the time, for plays at least. */
const PLAY_SHARE = 1 / 4;
/** Tests that count what they survived in a line `survived: {...}`. */
const COUNTING_TESTS = [
  'test/store/crash-sweep.test.ts',
  'test/store/root-area.test.ts',
  'test/store/root-keeper.test.ts',
  'test/store/journal.test.ts',
  'test/process/crash.test.ts',
];
const NOTHING_COUNTED = { sweptCrashPoints: 0, crashStates: 0, killRounds: 0 };
type Counted = typeof NOTHING_COUNTED;

/** What README.md shows; written by a run, never by hand. */
export interface SurvivalReport {
  readonly date: string;
  readonly commit: string;
  readonly minutes: number;
  readonly firstSeed: number;
  readonly seeds: number;
  readonly steps: number;
  readonly operations: number;
  readonly crashes: number;
  readonly recoveries: number;
  readonly foundAgain: number;
  readonly purges: number;
  readonly hits: number;
  readonly bytesChecked: number;
  readonly sweptCrashPoints: number;
  readonly crashStates: number;
  readonly killRounds: number;
  readonly mutants: number;
  readonly mutantsCaught: number;
  readonly mutantsRedundant: number;
  readonly faults: Readonly<Record<string, number>>;
  /** A run that finds one of these writes no report. */
  readonly wrongBytes: 0;
  readonly resurrectedPurges: 0;
  readonly lostDurable: 0;
}

interface Totals {
  seeds: number;
  steps: number;
  operations: number;
  crashes: number;
  recoveries: number;
  foundAgain: number;
  purges: number;
  hits: number;
  bytesChecked: number;
  readonly faults: Map<string, number>;
}

/** What a run is given. */
export interface SurvivalOptions {
  readonly minutes: number;
  readonly firstSeed: number;
  readonly clock: Clock;
}

/** @returns what failed; the report is written when nothing did */
export async function survive(options: SurvivalOptions, write: (text: string) => void): Promise<readonly string[]> {
  const { clock, minutes, firstSeed } = options;
  const failures: string[] = [];
  const fail = (text: string): void => {
    failures.push(text);
    write(`FAILED: ${text}\n`);
  };
  const startedAtMs = clock.monotonicMs();
  const verdicts = await runMutants(MUTANT_BUDGET, (verdict) => {
    if (isAsExpected(verdict)) write(`${describeVerdict(verdict)}\n`);
    else fail(`mutant ${describeVerdict(verdict)}`);
  });
  const counted = runCountingTests(write, fail);
  const leftMs = startedAtMs + minutes * MINUTE_MS - clock.monotonicMs();
  const playMs = Math.max(leftMs, minutes * MINUTE_MS * PLAY_SHARE);
  const totals = emptyTotals();
  await playFor({ playMs, firstSeed, clock }, totals, write).catch((error: unknown) => fail(String(error)));
  if (failures.length > 0) return failures;
  const { faults, ...sums } = totals;
  const report: SurvivalReport = {
    date: new Date(clock.wallMs()).toISOString().slice(0, 10),
    commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT, encoding: 'utf8' }).trim(),
    minutes,
    firstSeed,
    ...sums,
    ...counted,
    mutants: verdicts.length,
    mutantsCaught: verdicts.filter(({ isCaught }) => isCaught).length,
    mutantsRedundant: verdicts.filter(({ isCaught }) => !isCaught).length,
    faults: Object.fromEntries([...faults].sort(([left], [right]) => (left < right ? -1 : 1))),
    wrongBytes: 0,
    resurrectedPurges: 0,
    lostDurable: 0,
  };
  writeFileSync(REPORT, `${JSON.stringify(report, null, 2)}\n`);
  write(`${JSON.stringify(report, null, 2)}\n`);
  return [];
}

/** @throws Violation */
async function playFor(
  { playMs, firstSeed, clock }: { readonly playMs: number; readonly firstSeed: number; readonly clock: Clock },
  totals: Totals,
  write: (text: string) => void,
): Promise<void> {
  const endMs = clock.monotonicMs() + playMs;
  const stage = makeStage();
  for (let seed = firstSeed; clock.monotonicMs() < endMs; seed += 1) {
    addPlay(totals, await runPlay({ seed, steps: STEPS, stage }));
    if (totals.seeds % 50 === 0) write(`${totals.seeds} seeds, ${totals.crashes} crashes\n`);
  }
}

/** Nothing played yet. */
export function emptyTotals(): Totals {
  return {
    seeds: 0,
    steps: 0,
    operations: 0,
    crashes: 0,
    recoveries: 0,
    foundAgain: 0,
    purges: 0,
    hits: 0,
    bytesChecked: 0,
    faults: new Map(),
  };
}

/** Adds what one play counted. */
export function addPlay(totals: Totals, report: PlayReport): void {
  totals.seeds += 1;
  for (const name of ['steps', 'operations', 'crashes', 'recoveries', 'foundAgain', 'purges', 'hits', 'bytesChecked'] as const) {
    totals[name] += report[name];
  }
  for (const [name, count] of Object.entries(report.struck)) totals.faults.set(name, (totals.faults.get(name) ?? 0) + count);
}

function runCountingTests(write: (text: string) => void, fail: (text: string) => void): Counted {
  const counted = { ...NOTHING_COUNTED };
  for (const file of COUNTING_TESTS) {
    write(`${file}\n`);
    const run = spawnSync(process.execPath, ['--test', file], { cwd: ROOT, encoding: 'utf8', env: { ...process.env, CI: 'true' } });
    if (run.status !== 0) fail(`${file}:\n${run.stdout.slice(-4000)}`);
    for (const [, text] of run.stdout.matchAll(/survived: (\{.*\})/g)) {
      const counts: Partial<Counted> = JSON.parse(text ?? '{}');
      for (const name of Object.keys(NOTHING_COUNTED) as (keyof Counted)[]) counted[name] += counts[name] ?? 0;
    }
  }
  return counted;
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { minutes: { type: 'string', default: '10' }, seed: { type: 'string', default: '1' } } });
  const options = { minutes: Number(values.minutes), firstSeed: Number(values.seed), clock: new SystemClock() };
  const failures = await survive(options, (text) => void process.stdout.write(text));
  // Here rather than behind it in package.json: npm hands its arguments to the last command of a line.
  if (failures.length === 0) execFileSync(process.execPath, ['tools/update-docs.ts'], { cwd: ROOT, stdio: 'inherit' });
  else {
    process.stdout.write(`\nNo report is written. ${failures.length} failed:\n${failures.map((text) => `- ${text}\n`).join('')}`);
    process.exitCode = 1;
  }
}
