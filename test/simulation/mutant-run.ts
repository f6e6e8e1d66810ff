/**
 * Plays against each mutant in a copy of the project, a few copies at a time. A mutant is caught when some play finds a violation within the
 * budget; a process that ends in any other way (a syntax error, say) is an error of the table.
 */
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Change, MUTANTS, type Mutant } from './mutants.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const CAUGHT = 3;
/** A mutant that is no program proves nothing. */
const DOES_NOT_RUN = /SyntaxError|ReferenceError|ERR_MODULE_NOT_FOUND/;

/** What came of one mutant. */
export interface MutantVerdict {
  readonly mutant: Mutant;
  readonly isCaught: boolean;
  /** What was found, or that nothing was. */
  readonly finding: string;
}

/** How much to play against each. */
export interface MutantBudget {
  readonly seeds: number;
  readonly steps: number;
}

/** Every change of a mutant. */
export function changesOf(mutant: Mutant): readonly Change[] {
  return [mutant, ...(mutant.and ?? [])];
}

/** Whether it came out as the table says: caught, or not because another rule does the same work. */
export function isAsExpected({ mutant, isCaught }: MutantVerdict): boolean {
  return isCaught === (mutant.redundant === undefined);
}

/** A line that says what came of one. */
export function describeVerdict(verdict: MutantVerdict): string {
  const { mutant, isCaught, finding } = verdict;
  if (isCaught) return `${isAsExpected(verdict) ? 'caught' : 'CAUGHT, AND IS CALLED REDUNDANT'}: ${mutant.name}: ${finding.slice(0, 200)}`;
  return `${isAsExpected(verdict) ? 'survives, as it should' : 'NOT CAUGHT'}: ${mutant.name}: ${mutant.redundant ?? finding}`;
}

/** How often the text of a change stands in its file: has to be once. */
export function countText(change: Change): number {
  return readFileSync(path.join(ROOT, change.file), 'utf8').split(change.text).length - 1;
}

/** Plays against `mutants`, two at a time. */
export async function runMutants(
  budget: MutantBudget,
  onVerdict: (verdict: MutantVerdict) => void,
  mutants: readonly Mutant[] = MUTANTS,
): Promise<MutantVerdict[]> {
  const queue = [...mutants];
  const verdicts: MutantVerdict[] = [];
  const work = async (): Promise<void> => {
    const folder = copyProject();
    try {
      for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
        const verdict = await tryMutant(folder, mutant, budget);
        verdicts.push(verdict);
        onVerdict(verdict);
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  };
  await Promise.all([work(), work()]);
  return verdicts;
}

function copyProject(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'rawslice-mutant-'));
  for (const name of ['src', 'test', 'package.json']) {
    cpSync(path.join(ROOT, name), path.join(folder, name), { recursive: true });
  }
  symlinkSync(path.join(ROOT, 'node_modules'), path.join(folder, 'node_modules'));
  return folder;
}

async function tryMutant(folder: string, mutant: Mutant, budget: MutantBudget): Promise<MutantVerdict> {
  const originals = new Map<string, string>();
  for (const { file, text, instead } of changesOf(mutant)) {
    const source = readFileSync(path.join(folder, file), 'utf8');
    const parts = source.split(text);
    if (parts.length !== 2) throw new Error(`${mutant.name}: its text stands ${parts.length - 1} times in ${file}`);
    if (!originals.has(file)) originals.set(file, source);
    writeFileSync(path.join(folder, file), parts.join(instead));
  }
  try {
    const hunt = ['test/simulation/simulate.ts', '--hunt', '--seeds', String(budget.seeds), '--steps', String(budget.steps)];
    const words = mutant.test === undefined ? hunt : ['--test', mutant.test];
    const { status, output } = await run(folder, words);
    if (DOES_NOT_RUN.test(output)) throw new Error(`${mutant.name}: does not run: ${output.slice(-2000)}`);
    const last = output.trimEnd().split('\n').at(-1) ?? '';
    if (mutant.test !== undefined) {
      const failed = /^✖ (.+) \([\d.]+ms\)$/m.exec(output)?.[1];
      if (status !== 0 && failed === undefined) throw new Error(`${mutant.name}: ${mutant.test} does not run: ${output.slice(-2000)}`);
      return { mutant, isCaught: status !== 0, finding: failed === undefined ? 'nothing' : `${mutant.test}: ${failed}` };
    }
    if (status !== 0 && status !== CAUGHT) throw new Error(`${mutant.name}: does not run: ${output.slice(-2000)}`);
    return { mutant, isCaught: status === CAUGHT, finding: status === CAUGHT ? last : 'nothing' };
  } finally {
    for (const [file, source] of originals) writeFileSync(path.join(folder, file), source);
  }
}

function run(cwd: string, words: readonly string[]): Promise<{ status: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    // Else node:test in a test takes itself for a part of that, and runs nothing.
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const child = spawn(process.execPath, words, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (bytes: Buffer) => {
      output += bytes.toString();
    });
    child.stderr.on('data', (bytes: Buffer) => {
      output += bytes.toString();
    });
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, output }));
  });
}
