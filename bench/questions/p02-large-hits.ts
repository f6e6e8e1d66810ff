/**
 * P2: what does a GiB of hits on objects of 64 MiB cost, from memory and from the disk? From memory: one object, over and over. From the
 * disk: eight objects in turn, three times what memory holds, with the kernel's page cache dropped before each turn (as root).
 */
import { GIB, MIB } from '../../src/base/units.ts';
import type { Field } from '../harness/field.ts';
import { LoadConnection } from '../harness/load.ts';
import { dropPageCache } from '../harness/page-cache.ts';
import { addResident, type Question, type QuestionContext, withEffort } from '../harness/question.ts';
import { ratioToBestPeer } from '../harness/target.ts';
import type { System } from '../systems/system.ts';

const SIZE = '64MiB';
const OBJECT_BYTES = 64 * MIB;
const MEMORY_BYTES = 160 * MIB;
const DISK_OBJECTS = 8;
const WARM_UP_HITS = 12;
const MEMORY = 'hits from memory';
const DISK = 'hits from disk';

/** See the file's head. */
export const largeHits: Question = {
  id: 'p2',
  text: 'What does a GiB of hits on objects of 64 MiB cost, from memory and from disk?',
  targets: [MEMORY, DISK].map((what) => ({
    what: `CPU per GiB of ${what}, of the best peer's`,
    sense: 'at most',
    wanted: 1,
    unit: '',
    reached: ratioToBestPeer(`${what}, CPU`, 'least'),
  })),
  charts: [`${MEMORY}, CPU`, `${DISK}, CPU`],
  run: (context) =>
    context.withField(
      { needs: { objectBytes: OBJECT_BYTES }, sizes: { [SIZE]: OBJECT_BYTES }, memoryBytes: MEMORY_BYTES, deviceBytes: 2 * GIB },
      async (field) => {
        const rounds = context.isShort ? 2 : 5;
        const disks = field.systems.filter(({ name }) => !['varnish', 'direct'].includes(name));
        context.note('varnish has no hits on disk here: what is beyond its memory is gone');
        const stored = Array.from({ length: DISK_OBJECTS }, (_, index) => `stored-${index}`);
        for (const system of disks) await get(system, stored);
        for (const system of field.systems) await warm(system, disks.includes(system) ? stored : []);
        for (let round = 0; round < rounds; round += 1) {
          context.say(`round ${round + 1} of ${rounds}`);
          for (const system of field.inTurn(round)) {
            const hot = Array.from({ length: context.isShort ? 8 : 32 }, () => 'hot');
            await get(system, ['hot', 'hot']);
            await measure(context, field, { system, what: MEMORY, names: hot });
            if (!disks.includes(system)) continue;
            if (!dropPageCache(field.directory))
              context.note('the page cache was not dropped, which takes root: the peers had hits in memory');
            await measure(context, field, { system, what: DISK, names: stored });
          }
        }
        addResident(context, field);
      },
    ),
};

/** What compiles itself as it runs has done so: three quarters of a GiB from memory, and half a GiB from disk. */
async function warm(system: System, stored: readonly string[]): Promise<void> {
  await get(system, [...Array.from({ length: WARM_UP_HITS }, () => 'hot'), ...stored]);
}

async function get(system: System, names: readonly string[]): Promise<void> {
  const connection = await LoadConnection.open(system.port);
  for (const name of names) {
    const sample = await connection.get(`/bytes/${SIZE}/${name}`);
    if (sample.status !== 200 || !sample.isComplete)
      throw new Error(`${system.name} answered ${sample.status} and ${sample.bodyBytes} bytes of ${name}`);
  }
  connection.destroy();
}

async function measure(
  { report, note }: QuestionContext,
  field: Field,
  { system, what, names }: { readonly system: System; readonly what: string; readonly names: readonly string[] },
): Promise<void> {
  await field.origin.count();
  const { effort } = await withEffort(system, () => get(system, names));
  const bytes = names.length * OBJECT_BYTES;
  report.add({ name: what, unit: 'MB/s' }, system.name, bytes / 1e6 / effort.seconds);
  if (system.process === undefined) return;
  report.add({ name: `${what}, CPU`, unit: 's/GiB' }, system.name, effort.cpuSeconds / (bytes / GIB));
  const { bodyBytes } = await field.origin.count();
  if (bodyBytes > bytes / 100)
    note(`${system.name} asked the origin for ${Math.round((100 * bodyBytes) / bytes)} % of what should have been ${what}`);
}
