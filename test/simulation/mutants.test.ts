/** The canaries: their texts stand in the source, and plays notice when the engine is broken. `npm run sim -- --mutants` runs them all. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isHeavy, lightSkip } from '../helpers/heavy.ts';
import { changesOf, countText, runMutants } from './mutant-run.ts';
import { MUTANTS } from './mutants.ts';

/** Some that are found quickly, one of each kind. */
const SAMPLE = ['superblocks are not flushed', 'replay ignores purges', 'the bitmap is not derived', 'generations are given again'];

test('every mutant breaks a text that stands in the source once', () => {
  assert.ok(MUTANTS.filter(({ redundant }) => redundant === undefined).length >= 20);
  assert.equal(new Set(MUTANTS.map(({ name }) => name)).size, MUTANTS.length);
  for (const mutant of MUTANTS)
    for (const change of changesOf(mutant)) assert.equal(countText(change), 1, `${mutant.name}: ${change.text}`);
});

test('plays notice a broken engine', { skip: lightSkip }, async (context) => {
  const sample = MUTANTS.filter(({ name }) => SAMPLE.includes(name));
  assert.equal(sample.length, SAMPLE.length);
  const verdicts = await runMutants({ seeds: isHeavy ? 30 : 10, steps: 300 }, () => undefined, sample);
  for (const { mutant, isCaught, finding } of verdicts) {
    context.diagnostic(`${mutant.name}: ${finding.slice(0, 200)}`);
    assert.equal(isCaught, true, mutant.name);
  }
});
