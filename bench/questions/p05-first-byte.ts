/**
 * P5: how long is the wait for the first byte, missed (beyond what the origin takes itself), hit in memory, and hit on the device? One
 * connection, one request at a time. For hits on disk three times the memory is stored; what was stored first is asked for, each object
 * once, with the kernel's page cache dropped before (as root), so that the peers read their disk too.
 */
import { GIB, KIB, MIB } from '../../src/base/units.ts';
import type { Field } from '../harness/field.ts';
import { LoadConnection } from '../harness/load.ts';
import { dropPageCache } from '../harness/page-cache.ts';
import { addResident, type Question, type QuestionContext } from '../harness/question.ts';
import { quantile } from '../harness/report.ts';
import { excessOver, own } from '../harness/target.ts';
import type { System } from '../systems/system.ts';

const SMALL = '4KiB';
const STORED = '64KiB';
const MEMORY_BYTES = 64 * MIB;
const STORED_COUNT = (3 * MEMORY_BYTES) / (64 * KIB);
const FILL_CONNECTIONS = 4;
const WARM_UP_COUNT = 800;
/** Of the objects that were stored last, which no short round asks for. */
const WARM_UP_STORED = 600;

const percentile = (what: string, share: 50 | 99): string => `first byte, ${what}, p${share}`;
const MISS = 'missed';
const HIT = 'hit in memory';
const DISK = 'hit on disk';

/** See the file's head. */
export const firstByte: Question = {
  id: 'p5',
  text: 'How long is the wait for the first byte, missed and hit?',
  targets: ([50, 99] as const).flatMap((share) => [
    {
      what: `first byte of a miss beyond the origin's, p${share}`,
      sense: 'at most',
      wanted: 1,
      unit: 'ms',
      reached: excessOver(percentile(MISS, share), 'direct'),
    } as const,
    {
      what: `first byte of a hit in memory, p${share}`,
      sense: 'at most',
      wanted: 0.3,
      unit: 'ms',
      reached: own(percentile(HIT, share)),
    } as const,
    {
      what: `first byte of a hit on disk, p${share}`,
      sense: 'at most',
      wanted: 2,
      unit: 'ms',
      reached: own(percentile(DISK, share)),
    } as const,
  ]),
  charts: [percentile(MISS, 50), percentile(HIT, 50), percentile(DISK, 50)],
  run: (context) =>
    context.withField(
      { needs: { objectBytes: 64 * KIB }, sizes: { [SMALL]: 4 * KIB, [STORED]: 64 * KIB }, memoryBytes: MEMORY_BYTES, deviceBytes: GIB },
      async (field) => {
        const { rounds, count } = context.isShort ? { rounds: 2, count: 300 } : { rounds: 5, count: 600 };
        const disks = field.systems.filter(({ name }) => !['varnish', 'haproxy', 'direct'].includes(name));
        context.note('varnish and haproxy have no hits on disk here: what is beyond their memory is gone');
        for (const system of disks) await fill(system);
        for (const system of field.systems) await warm(system, disks.includes(system));
        for (let round = 0; round < rounds; round += 1) {
          context.say(`round ${round + 1} of ${rounds}`);
          for (const system of field.inTurn(round)) {
            await measure(context, system, { what: MISS, count, path: (index) => `/bytes/${SMALL}/miss-${round}-${index}` });
            await measure(context, system, { what: HIT, count, path: () => `/bytes/${SMALL}/miss-${round}-0` });
            if (disks.includes(system)) await measureDisk(context, field, { system, round, count });
          }
        }
        addResident(context, field);
      },
    ),
};

async function fill(system: System): Promise<void> {
  let next = 0;
  const client = async (): Promise<void> => {
    const connection = await LoadConnection.open(system.port);
    while (next < STORED_COUNT) {
      next += 1;
      await connection.get(`/bytes/${STORED}/stored-${next - 1}`);
    }
    connection.destroy();
  };
  await Promise.all(Array.from({ length: FILL_CONNECTIONS }, client));
}

/** What compiles itself as it runs has done so: the same work as in a round, unmeasured. */
async function warm(system: System, hasDisk: boolean): Promise<void> {
  const connection = await LoadConnection.open(system.port);
  for (let index = 0; index < WARM_UP_COUNT; index += 1) {
    await connection.get(`/bytes/${SMALL}/warm-${index}`);
    await connection.get(`/bytes/${SMALL}/warm-0`);
    if (hasDisk) await connection.get(`/bytes/${STORED}/stored-${STORED_COUNT - 1 - (index % WARM_UP_STORED)}`);
  }
  connection.destroy();
}

/** Each round asks for objects of its own: the round before brought the others into memory. */
async function measureDisk(
  context: QuestionContext,
  field: Field,
  { system, round, count }: { readonly system: System; readonly round: number; readonly count: number },
): Promise<void> {
  if (!dropPageCache(field.directory))
    context.note('the page cache was not dropped, which takes root: the peers had hits in memory instead');
  await field.origin.count();
  await measure(context, system, {
    what: DISK,
    count,
    path: (index) => `/bytes/${STORED}/stored-${(round * count + index) % STORED_COUNT}`,
  });
  const { requests } = await field.origin.count();
  if (requests > 0) context.note(`${system.name} had not kept ${requests} of ${count} objects that should have been hits on disk`);
}

async function measure(
  { report }: QuestionContext,
  system: System,
  { what, count, path }: { readonly what: string; readonly count: number; readonly path: (index: number) => string },
): Promise<void> {
  const connection = await LoadConnection.open(system.port);
  const samplesMs: number[] = [];
  for (let index = 0; index < count; index += 1) {
    const sample = await connection.get(path(index));
    if (sample.status !== 200 || !sample.isComplete) throw new Error(`${system.name} answered ${sample.status} to ${path(index)}`);
    samplesMs.push(sample.ttfbMs);
  }
  connection.destroy();
  // One p50 and one p99 per round: their median and spread over the rounds are what is shown.
  for (const share of [50, 99] as const)
    report.add({ name: percentile(what, share), unit: 'ms' }, system.name, quantile(samplesMs, share / 100));
}
