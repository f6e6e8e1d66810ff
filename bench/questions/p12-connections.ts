/**
 * P12: under steady load of misses, how many requests reach the origin on a connection that was there before? 16 clients, objects of 4 KiB
 * that nobody has asked for yet; counted by the origin, after two seconds of warming up.
 */
import { GIB, KIB, MIB } from '../../src/base/units.ts';
import type { Field } from '../harness/field.ts';
import { hammer } from '../harness/hammer.ts';
import { type Question, type QuestionContext, withEffort } from '../harness/question.ts';
import { own } from '../harness/target.ts';
import type { System } from '../systems/system.ts';

const REUSE = 'requests on a kept connection';
const CONNECTIONS = 16;
const WARM_UP_SECONDS = 2;
/** More than anything serves in the time. */
const NAMES_PER_TURN = 10_000_000;

/** See the file's head. */
export const connections: Question = {
  id: 'p12',
  text: 'How many misses reach the origin on a connection that was there before?',
  targets: [{ what: 'requests on a kept connection', sense: 'at least', wanted: 99.9, unit: '%', reached: own(REUSE) }],
  charts: [REUSE, 'misses per second'],
  run: (context) =>
    context.withField(
      { needs: { objectBytes: 4 * KIB }, sizes: { '4KiB': 4 * KIB }, memoryBytes: 128 * MIB, deviceBytes: 2 * GIB },
      async (field) => {
        const { rounds, seconds } = context.isShort ? { rounds: 1, seconds: 3 } : { rounds: 3, seconds: 10 };
        for (let round = 0; round < rounds; round += 1) {
          context.say(`round ${round + 1} of ${rounds}`);
          for (const system of field.inTurn(round)) {
            if (system.process !== undefined) await measure(context, field, { system, round, seconds });
          }
        }
      },
    ),
};

async function measure(
  { report }: QuestionContext,
  field: Field,
  { system, round, seconds }: { readonly system: System; readonly round: number; readonly seconds: number },
): Promise<void> {
  const load = (turn: string, time: number) =>
    hammer(field, system.port, {
      connections: CONNECTIONS,
      seconds: time,
      prefix: `/bytes/4KiB/${turn}-${round}-`,
      count: NAMES_PER_TURN,
    });
  await load('warm', WARM_UP_SECONDS);
  await field.origin.count();
  const { result, effort } = await withEffort(system, () => load('steady', seconds));
  const { requests, opened } = await field.origin.count();
  report.add({ name: REUSE, unit: '%' }, system.name, 100 * (1 - opened / requests));
  report.add({ name: 'connections opened', unit: '' }, system.name, opened);
  report.add({ name: 'misses per second', unit: '/s' }, system.name, result.requests / result.seconds);
  report.add({ name: 'misses, CPU', unit: 's/1000' }, system.name, (1000 * effort.cpuSeconds) / result.requests);
}
