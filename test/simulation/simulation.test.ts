/** A share of the simulation: some seeds here, many more where CI=true, all that time allows with `npm run survival`. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { test } from 'node:test';
import { isHeavy } from '../helpers/heavy.ts';
import { runPlay } from './play.ts';
import { PROFILES } from './profiles.ts';
import { simulate } from './simulate.ts';
import { addPlay, emptyTotals } from './survival.ts';
import { makeStage } from './world.ts';

const stage = makeStage();
const STEPS = 300;
const SEEDS_PER_PROFILE = isHeavy ? 24 : 3;

for (const profile of PROFILES) {
  test(`${SEEDS_PER_PROFILE} plays on a disk that is ${profile}`, async (context) => {
    let foundAgain = 0;
    let crashes = 0;
    for (let seed = 1; seed <= SEEDS_PER_PROFILE; seed += 1) {
      const report = await runPlay({ seed, steps: STEPS, profile, stage });
      assert.ok(report.hits > 0 && report.operations > STEPS / 4, `seed ${seed} does something`);
      foundAgain += report.foundAgain;
      crashes += report.crashes;
    }
    assert.ok(crashes > 0);
    // A store that forgets everything would be legal without this.
    if (profile === 'honest') assert.ok(foundAgain > 50 * SEEDS_PER_PROFILE, `only ${foundAgain} records had to be found again`);
    context.diagnostic(`${crashes} crashes, ${foundAgain} records found again`);
  });
}

test('a seed is played the same way every time, in a process of its own too', async () => {
  const first = await runPlay({ seed: 5, steps: 60, stage });
  assert.deepEqual(await runPlay({ seed: 5, steps: 60, stage }), first);
  assert.notEqual((await runPlay({ seed: 6, steps: 60, stage })).traceHash, first.traceHash);
  const run = spawnSync(process.execPath, [path.join(import.meta.dirname, 'simulate.ts'), '--seed', '5', '--steps', '60'], {
    encoding: 'utf8',
  });
  assert.deepEqual([run.status, JSON.parse(run.stdout)], [0, first], run.stderr);
});

test('a report adds up what plays counted', async () => {
  const totals = emptyTotals();
  const report = await runPlay({ seed: 7, steps: 40, stage });
  addPlay(totals, report);
  addPlay(totals, report);
  assert.deepEqual([totals.seeds, totals.steps, totals.crashes], [2, 80, 2 * report.crashes]);
  for (const [name, count] of totals.faults) assert.equal(count, 2 * (report.struck[name] ?? 0), name);
});

test('the command refuses what it does not understand', async () => {
  const lines: string[] = [];
  assert.equal(await simulate(['--seed', 'x'], (text) => void lines.push(text)), 2);
  assert.equal(await simulate(['--profile', 'kind'], (text) => void lines.push(text)), 2);
  assert.match(lines.join(''), /npm run sim/);
});
