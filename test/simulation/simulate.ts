/** `npm run sim`: plays a seed again, or many seeds, and says what came of it. */
import { parseArgs } from 'node:util';
import { runPlay } from './play.ts';
import { PROFILES, type Profile } from './profiles.ts';
import { makeStage } from './world.ts';

const USAGE = `npm run sim -- [--seed N] [--seeds COUNT] [--steps M] [--profile ${PROFILES.join('|')}] [--verbose]\n`;

/** @returns the exit code: 0 fine, 3 a violation was found, 2 wrong usage */
export async function simulate(words: readonly string[], write: (text: string) => void): Promise<number> {
  const { values } = parseArgs({
    args: [...words],
    options: {
      seed: { type: 'string', default: '1' },
      seeds: { type: 'string', default: '1' },
      steps: { type: 'string', default: '400' },
      profile: { type: 'string' },
      verbose: { type: 'boolean', default: false },
    },
  });
  const [seed, seeds, steps] = [values.seed, values.seeds, values.steps].map(Number);
  const profile = PROFILES.find((name) => name === values.profile) as Profile | undefined;
  if (![seed, seeds, steps].every((value) => Number.isSafeInteger(value)) || (values.profile !== undefined && profile === undefined)) {
    write(USAGE);
    return 2;
  }
  const stage = makeStage();
  const log = values.verbose ? (line: string) => write(`${line}\n`) : undefined;
  for (let at = seed ?? 1; at < (seed ?? 1) + (seeds ?? 1); at += 1) {
    try {
      const report = await runPlay({ seed: at, steps: steps ?? 1, stage, profile, log });
      write(`${JSON.stringify(report)}\n`);
    } catch (error) {
      write(`${error instanceof Error ? (values.verbose ? error.stack : error.message) : String(error)}\n`);
      if (values.verbose && error instanceof Error && error.cause instanceof Error) write(`${error.cause.stack}\n`);
      return 3;
    }
  }
  return 0;
}

if (import.meta.main) process.exitCode = await simulate(process.argv.slice(2), (text) => void process.stdout.write(text));
