/**
 * P1: how many hits of 4 KiB and of 64 KiB, kept in memory, does a core serve? 16 connections, 64 objects of each size in turn.
 *
 * What is judged is requests per second of the server's CPU: that is what one core does. It is the rate itself where the server was busy
 * all the time, and does not depend on how fast the load is where it was not.
 */

import { GIB, KIB, MIB } from '../../src/base/units.ts';
import type { Field } from '../harness/field.ts';
import { hammer, hammerName } from '../harness/hammer.ts';
import { LoadConnection } from '../harness/load.ts';
import { addResident, type Question, type QuestionContext, withEffort } from '../harness/question.ts';
import { ratioTo, ratioToBestPeer } from '../harness/target.ts';
import type { System } from '../systems/system.ts';

const SIZES = { '4KiB': 4 * KIB, '64KiB': 64 * KIB };
const OBJECTS = 64;
const CONNECTIONS = 16;

const perCore = (size: string): string => `${size} hits per second of CPU`;

/** See the file's head. */
export const memoryHits: Question = {
  id: 'p1',
  text: 'How many hits of 4 KiB and 64 KiB from memory does a core serve?',
  targets: Object.keys(SIZES).flatMap((size) => [
    {
      what: `${size} hits per core, of nginx's`,
      sense: 'at least',
      wanted: 1.5,
      unit: '',
      reached: ratioTo(perCore(size), 'nginx'),
    } as const,
    {
      what: `${size} hits per core, of the best peer's`,
      sense: 'at least',
      wanted: 1.3,
      unit: '',
      reached: ratioToBestPeer(perCore(size), 'greatest'),
    } as const,
  ]),
  charts: Object.keys(SIZES).map(perCore),
  run: (context) =>
    context.withField({ needs: { objectBytes: 64 * KIB }, sizes: SIZES, memoryBytes: 256 * MIB, deviceBytes: GIB }, async (field) => {
      context.note(`the load is ${hammerName()}, ${CONNECTIONS} connections`);
      const { rounds, seconds } = context.isShort ? { rounds: 2, seconds: 1 } : { rounds: 5, seconds: 4 };
      for (const system of field.systems) await warm(field, system);
      for (let round = 0; round < rounds; round += 1) {
        context.say(`round ${round + 1} of ${rounds}`);
        for (const system of field.inTurn(round))
          for (const size of Object.keys(SIZES)) await measure(context, field, { system, size, seconds });
      }
      addResident(context, field);
    }),
};

/** Everything is stored, and what compiles itself as it runs has had a second for it. */
async function warm(field: Field, system: System): Promise<void> {
  for (const size of Object.keys(SIZES)) {
    const connection = await LoadConnection.open(system.port);
    for (let pass = 0; pass < 2; pass += 1)
      for (let index = 0; index < OBJECTS; index += 1) await connection.get(`/bytes/${size}/hot-${index}`);
    connection.destroy();
    if (system.process !== undefined)
      await hammer(field, system.port, { connections: CONNECTIONS, seconds: 1, prefix: `/bytes/${size}/hot-`, count: OBJECTS });
  }
}

async function measure(
  { report }: QuestionContext,
  field: Field,
  { system, size, seconds }: { readonly system: System; readonly size: string; readonly seconds: number },
): Promise<void> {
  const load = { connections: CONNECTIONS, seconds, prefix: `/bytes/${size}/hot-`, count: OBJECTS };
  await field.origin.count();
  const { result, effort } = await withEffort(system, () => hammer(field, system.port, load));
  report.add({ name: `${size} hits per second`, unit: '/s' }, system.name, result.requests / result.seconds);
  if (system.process === undefined) return;
  const { requests } = await field.origin.count();
  if (requests > result.requests / 100) throw new Error(`${system.name} asked the origin ${requests} times during ${result.requests} hits`);
  report.add({ name: perCore(size), unit: '/s' }, system.name, result.requests / effort.cpuSeconds);
  report.add({ name: `${size} hits, CPU`, unit: 's/1000' }, system.name, (1000 * effort.cpuSeconds) / result.requests);
  report.add({ name: `${size} hits, server busy`, unit: '%' }, system.name, (100 * effort.cpuSeconds) / effort.seconds);
  report.add({ name: `${size} hits, p99`, unit: 'ms' }, system.name, result.p99Ms);
}
