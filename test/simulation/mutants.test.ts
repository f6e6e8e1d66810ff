/** The canaries: their texts stand in the source, and plays notice when the engine is broken. `npm run sim -- --mutants` runs them all. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lightSkip } from '../helpers/heavy.ts';
import { changesOf, countText, describeVerdict, isAsExpected, runMutants } from './mutant-run.ts';
import { MUTANTS } from './mutants.ts';

/** Plays catch these at their first seed, each by several violations: a trace that changes does not change that. */
const PLAYED = [
  'replay ignores purges',
  'the bitmap is not derived',
  'generations are given again',
  'a purge that is acknowledged before its flush',
];

test('every mutant breaks a text that stands in the source once', () => {
  assert.ok(MUTANTS.filter(({ redundant }) => redundant === undefined).length >= 20);
  assert.equal(new Set(MUTANTS.map(({ name }) => name)).size, MUTANTS.length);
  for (const mutant of MUTANTS)
    for (const change of changesOf(mutant)) assert.equal(countText(change), 1, `${mutant.name}: ${change.text}`);
});

const DIRECTED = MUTANTS.filter(({ test }) => test !== undefined);

for (const [who, mutants] of [
  ['the test that is about it', DIRECTED],
  ['plays', MUTANTS.filter(({ name }) => PLAYED.includes(name))],
] as const) {
  test(`a broken engine is noticed by ${who}`, { skip: lightSkip }, async (context) => {
    assert.ok(mutants.length >= PLAYED.length);
    const verdicts = await runMutants({ seeds: 10, steps: 300 }, () => undefined, mutants);
    for (const verdict of verdicts) context.diagnostic(describeVerdict(verdict));
    assert.deepEqual(verdicts.filter((verdict) => !isAsExpected(verdict)).map(describeVerdict), []);
  });
}
