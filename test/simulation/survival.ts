/**
 * `npm run survival`: the whole proof within a budget, and a report of what was survived, which README.md shows. Plays take half of the time;
 * mutants, crash sweep, faults, golden images and kill -9 take what they take.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { SystemClock } from '../../src/base/clock.ts';
import { SECOND_MS } from '../../src/base/units.ts';
import { runMutants } from './mutant-run.ts';
import { type PlayReport, runPlay } from './play.ts';
import { makeStage } from './world.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const REPORT = path.join(import.meta.dirname, 'report.json');
const STEPS = 400;
/** The mutant that takes longest is caught by the 29th seed. */
const MUTANT_BUDGET = { seeds: 45, steps: 300 };
/** Tests that count what they survived in a line `survived: {...}`. */
const COUNTING_TESTS = ['test/store/crash-sweep.test.ts', 'test/process/crash.test.ts'];

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
  readonly killRounds: number;
  readonly mutants: number;
  readonly mutantsCaught: number;
  readonly mutantsRedundant: number;
  readonly mutantsOpen: number;
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

/** @throws Violation, or an error that names the test that failed */
export async function survive(
  options: { readonly minutes: number; readonly firstSeed: number },
  write: (text: string) => void,
): Promise<void> {
  const totals = await playUntil(options, write);
  const verdicts = await runMutants(MUTANT_BUDGET, ({ mutant, isCaught }) =>
    write(`${isCaught ? 'caught' : 'survived'}: ${mutant.name}\n`),
  );
  const wrong = verdicts.find(({ mutant, isCaught }) => !isCaught && (mutant.redundant ?? mutant.open) === undefined);
  if (wrong !== undefined) throw new Error(`nobody caught the mutant: ${wrong.mutant.name}`);
  const counted = runCountingTests(write);
  const { faults, ...sums } = totals;
  const report: SurvivalReport = {
    date: new Date().toISOString().slice(0, 10),
    commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT, encoding: 'utf8' }).trim(),
    minutes: options.minutes,
    firstSeed: options.firstSeed,
    ...sums,
    ...counted,
    mutants: verdicts.length,
    mutantsCaught: verdicts.filter(({ isCaught }) => isCaught).length,
    mutantsRedundant: verdicts.filter(({ isCaught, mutant }) => !isCaught && mutant.redundant !== undefined).length,
    mutantsOpen: verdicts.filter(({ isCaught, mutant }) => !isCaught && mutant.open !== undefined).length,
    faults: Object.fromEntries([...faults].sort(([left], [right]) => (left < right ? -1 : 1))),
    wrongBytes: 0,
    resurrectedPurges: 0,
    lostDurable: 0,
  };
  writeFileSync(REPORT, `${JSON.stringify(report, null, 2)}\n`);
  write(`${JSON.stringify(report, null, 2)}\n`);
}

async function playUntil(
  options: { readonly minutes: number; readonly firstSeed: number },
  write: (text: string) => void,
): Promise<Totals> {
  const clock = new SystemClock();
  const endMs = clock.monotonicMs() + options.minutes * 30 * SECOND_MS;
  const totals = emptyTotals();
  const stage = makeStage();
  for (let seed = options.firstSeed; clock.monotonicMs() < endMs; seed += 1) {
    addPlay(totals, await runPlay({ seed, steps: STEPS, stage }));
    if (totals.seeds % 50 === 0) write(`${totals.seeds} seeds, ${totals.crashes} crashes\n`);
  }
  return totals;
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

function runCountingTests(write: (text: string) => void): { sweptCrashPoints: number; killRounds: number } {
  const counted = { sweptCrashPoints: 0, killRounds: 0 };
  for (const file of COUNTING_TESTS) {
    write(`${file}\n`);
    const run = spawnSync(process.execPath, ['--test', file], { cwd: ROOT, encoding: 'utf8', env: { ...process.env, CI: 'true' } });
    if (run.status !== 0) throw new Error(`${file} failed:\n${run.stdout.slice(-4000)}`);
    for (const [, text] of run.stdout.matchAll(/survived: (\{.*\})/g)) {
      const counts: Partial<typeof counted> = JSON.parse(text ?? '{}');
      counted.sweptCrashPoints += counts.sweptCrashPoints ?? 0;
      counted.killRounds += counts.killRounds ?? 0;
    }
  }
  return counted;
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { minutes: { type: 'string', default: '10' }, seed: { type: 'string', default: '1' } } });
  await survive({ minutes: Number(values.minutes), firstSeed: Number(values.seed) }, (text) => void process.stdout.write(text));
  // Here rather than behind it in package.json: npm hands its arguments to the last command of a line.
  execFileSync(process.execPath, ['tools/update-docs.ts'], { cwd: ROOT, stdio: 'inherit' });
}
