/** `npm run sim`: plays a seed again, or many seeds, or against the mutants, and says what came of it. */
import { parseArgs } from 'node:util';
import { describeVerdict, isAsExpected, runMutants } from './mutant-run.ts';
import { MUTANTS } from './mutants.ts';
import { runPlay } from './play.ts';
import { PROFILES, type Profile } from './profiles.ts';
import { makeStage } from './world.ts';

const USAGE = `npm run sim -- [--seed N] [--seeds COUNT] [--steps M] [--profile ${PROFILES.join('|')}] [--verbose]
npm run sim -- --mutants [--seeds COUNT] [--steps M] [--only WORDS]     breaks the engine in every way that it knows (or whose name has
                                                       these words), and says who notices
`;
const VIOLATION = 3;
/** Enough for every mutant that is caught at all, several times over. */
const MUTANT_SEEDS = '15';

interface Options {
  readonly seed: number;
  readonly seeds: number;
  readonly steps: number;
  readonly profile: Profile | undefined;
  readonly isVerbose: boolean;
  /** No more words than the finding; for mutants, whose every failure is one. */
  readonly isHunt: boolean;
  /** Of mutants: part of the name. */
  readonly only: string;
}

/** @returns the exit code: 0 fine, 3 a violation was found, 2 wrong usage */
export async function simulate(words: readonly string[], write: (text: string) => void): Promise<number> {
  const { values } = parseArgs({
    args: [...words],
    options: {
      seed: { type: 'string', default: '1' },
      seeds: { type: 'string' },
      steps: { type: 'string', default: '400' },
      profile: { type: 'string' },
      verbose: { type: 'boolean', default: false },
      mutants: { type: 'boolean', default: false },
      hunt: { type: 'boolean', default: false },
      only: { type: 'string', default: '' },
    },
  });
  const [seed, seeds, steps] = [values.seed, values.seeds ?? (values.mutants ? MUTANT_SEEDS : '1'), values.steps].map(Number);
  const profile = PROFILES.find((name) => name === values.profile);
  const areNumbers = [seed, seeds, steps].every((value) => Number.isSafeInteger(value));
  if (!areNumbers || (values.profile !== undefined && profile === undefined)) {
    write(USAGE);
    return 2;
  }
  const { verbose: isVerbose, hunt: isHunt, only } = values;
  const options = { seed: seed ?? 1, seeds: seeds ?? 1, steps: steps ?? 1, profile, isVerbose, isHunt, only };
  return values.mutants ? huntMutants(options, write) : playSeeds(options, write);
}

async function playSeeds(options: Options, write: (text: string) => void): Promise<number> {
  const { seed, seeds, steps, profile, isVerbose, isHunt } = options;
  const stage = makeStage();
  const log = isVerbose ? (line: string) => write(`${line}\n`) : undefined;
  for (let at = seed; at < seed + seeds; at += 1) {
    try {
      const report = await runPlay({ seed: at, steps, stage, profile, log });
      if (!isHunt) write(`${JSON.stringify(report)}\n`);
    } catch (error) {
      write(`${describe(error, isVerbose)}\n`);
      return VIOLATION;
    }
  }
  return 0;
}

async function huntMutants(options: Options, write: (text: string) => void): Promise<number> {
  const mutants = MUTANTS.filter(({ name }) => name.includes(options.only));
  const verdicts = await runMutants(options, (verdict) => write(`${describeVerdict(verdict)}\n`), mutants);
  const caught = verdicts.filter(({ isCaught }) => isCaught).length;
  write(`${caught} of ${verdicts.length} mutants were caught\n`);
  return verdicts.every(isAsExpected) ? 0 : VIOLATION;
}

function describe(error: unknown, isVerbose: boolean): string {
  if (!(error instanceof Error)) return String(error);
  if (!isVerbose) return error.message;
  return error.cause instanceof Error ? `${error.stack}\n${error.cause.stack}` : String(error.stack);
}

if (import.meta.main) process.exitCode = await simulate(process.argv.slice(2), (text) => void process.stdout.write(text));
