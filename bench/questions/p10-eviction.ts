/**
 * P10: what does a full cache miss and write? Replays made-up profiles (bench/engine/eviction-traces.ts) against the product's own index
 * (SIEVE) with its admission ladder, and against other policies of equal capacity that admit everything. The worst profile counts.
 */
import { type Replayed, replayProfiles } from '../engine/eviction.ts';
import type { Question } from '../harness/question.ts';
import type { Report } from '../harness/report.ts';
import type { Target } from '../harness/target.ts';

const LRU = 'LRU';
const S3_FIFO = 'S3-FIFO';
const MISSED = 'requests missed';
const WRITTEN = 'bytes written per byte asked for';

/** See the file's head. */
export const eviction: Question = {
  id: 'p10',
  text: 'What does a full cache miss and write, beside LRU and S3-FIFO of the same size?',
  targets: [
    target('requests missed, of LRU, worst profile', 0.9, (report) =>
      worst(report, MISSED, (ours, name) => ours / (report.value(name, LRU) ?? Number.NaN)),
    ),
    target('points above S3-FIFO, worst profile', 2, (report) =>
      worst(report, MISSED, (ours, name) => 100 * (ours - (report.value(name, S3_FIFO) ?? Number.NaN))),
    ),
    target('bytes written, of the lesser of LRU and S3-FIFO, worst profile', 1, (report) =>
      worst(
        report,
        WRITTEN,
        (ours, name) => ours / Math.min(report.value(name, LRU) ?? Number.NaN, report.value(name, S3_FIFO) ?? Number.NaN),
      ),
    ),
  ],
  charts: ['mirror, 10 %: requests missed', 'mirror, 10 %: bytes written per byte asked for'],
  run: async ({ report, isShort, say, note }) => {
    for (const replayed of await replayProfiles({ isShort, say })) {
      const { profile, capacityShare, outcome } = replayed;
      const add = (what: string, value: number): void =>
        report.add({ name: `${profile}, ${100 * capacityShare} %: ${what}`, unit: '' }, nameOf(replayed), value);
      add(MISSED, outcome.objectMisses);
      add('bytes missed', outcome.byteMisses);
      add(WRITTEN, outcome.written);
    }
    note('rawslice is SIEVE with the admission ladder; the percentage is the capacity, of what is asked for at least once');
    if (isShort) note('the short preset replays a twentieth of the requests');
  },
};

function nameOf({ eviction: policy, admission }: Replayed): string {
  if (admission === 'everything') return policy;
  return policy === 'SIEVE' ? 'rawslice' : `${policy} + ladder`;
}

function target(what: string, wanted: number, reached: Target['reached']): Target {
  return { what, sense: 'at most', wanted, unit: '', reached };
}

/** The greatest of what `compare` makes of each profile's figure. */
function worst(report: Report, what: string, compare: (ours: number, quantity: string) => number): number | undefined {
  const names = [...new Set(report.summaries().map(({ quantity }) => quantity))].filter((name) => name.endsWith(`: ${what}`));
  return names.length === 0 ? undefined : Math.max(...names.map((name) => compare(report.value(name, 'rawslice') ?? Number.NaN, name)));
}
