/**
 * P8: how much memory does a record of the index take, and how soon after a kill does a large device serve its first hit? Asked of the engine
 * itself (bench/engine), on a sparse file of 10 TB whose checkpoint and half-full journal the product's own writers made. Two objects are
 * asked for, whose entries stand first and last in the checkpoint; the slower one counts.
 */

import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { timeRecovery } from '../engine/recovery.ts';
import type { Question } from '../harness/question.ts';
import { own } from '../harness/target.ts';

const ENGINE_DEADLINE_MS = 120_000;
/** As disks are sold. */
const TB = 1000 ** 4;
const MEMORY = 'memory of a record of a slice';
const FIRST_HIT = 'first hit after a kill';
const SHORT_RECORDS = [950_000];
const FULL_RECORDS = [9_500_000, 40_000_000];

const firstHit = (records: number): string => `${FIRST_HIT}, ${records / 1e6} M records`;

/** See the file's head. */
export const index: Question = {
  id: 'p8',
  text: 'How much memory does the index take, and how soon after a kill is the first hit served?',
  targets: [
    { what: MEMORY, sense: 'at most', wanted: 32, unit: 'bytes', reached: own(MEMORY) },
    ...FULL_RECORDS.map(
      (records) => ({ what: firstHit(records), sense: 'at most', wanted: 2, unit: 's', reached: own(firstHit(records)) }) as const,
    ),
  ],
  charts: [],
  run: async ({ report, isShort, say, note, withDirectory }) => {
    report.add({ name: MEMORY, unit: 'bytes' }, 'rawslice', memoryOfRecord(isShort));
    for (const records of isShort ? SHORT_RECORDS : FULL_RECORDS) {
      await withDirectory(async (directory) => {
        say(`${records} records`);
        const { firstHitMs, figures } = await timeRecovery(directory, { capacityBytes: isShort ? TB : 10 * TB, records }, say);
        report.add({ name: firstHit(records), unit: 's' }, 'rawslice', Math.max(...firstHitMs) / 1000);
        for (const { what, number, unit } of figures) report.add({ name: `${records / 1e6} M records: ${what}`, unit }, 'rawslice', number);
      });
    }
    if (isShort) note('the short preset has a tenth of the records on a tenth of the device, which no target is for');
  },
};

/** In a process of its own: in this one memory of earlier questions would be used again, and nothing grow. */
function memoryOfRecord(isShort: boolean): number {
  const words = [path.join(import.meta.dirname, '../engine.ts'), 'index', '--json', ...(isShort ? ['--short'] : [])];
  const { stdout, status } = spawnSync(process.execPath, words, { encoding: 'utf8', timeout: ENGINE_DEADLINE_MS });
  const figures = stdout.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as { what: string; number: number }]));
  const found = figures.find(({ what }) => what.startsWith('memory of a slice'));
  if (status !== 0 || found === undefined) throw new Error(`bench/engine.ts index ended with ${status} and without the figure`);
  return found.number;
}
