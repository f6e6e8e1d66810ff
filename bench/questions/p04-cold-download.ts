/**
 * P4: how fast does one client get a large object that is not stored yet, while it is being stored, and what does that cost? Fresh names
 * each time, 256 MiB. Then the same through an origin behind a line of 40 MB/s: how much of the line is left?
 *
 * The CPU counted is the server's, with all its threads. The kernel's own writing of a peer's dirty pages is in nobody's figure.
 */
import { GIB, MIB } from '../../src/base/units.ts';
import type { Field } from '../harness/field.ts';
import { download } from '../harness/load.ts';
import { addResident, type Question, type QuestionContext, withEffort } from '../harness/question.ts';
import { ratioTo } from '../harness/target.ts';
import type { System } from '../systems/system.ts';

const SIZE = '256MiB';
const OBJECT_BYTES = 256 * MIB;
const LIMITED_SIZE = '64MiB';
const LINE_BYTES_PER_SECOND = 40_000_000;
const SPEED = 'cold stream';
const CPU = 'cold stream, CPU';
const WARM_UP_STREAMS = 3;
const LIMITED = 'cold stream from a line of 40 MB/s';

/** See the file's head. */
export const coldDownload: Question = {
  id: 'p4',
  text: 'How fast is one cold download, stored while it streams, and what does it cost?',
  targets: [
    { what: "speed, of nginx-slice's", sense: 'at least', wanted: 2, unit: '', reached: ratioTo(SPEED, 'nginx-slice') },
    { what: "CPU per GiB, of nginx-slice's", sense: 'at most', wanted: 0.85, unit: '', reached: ratioTo(CPU, 'nginx-slice') },
    {
      what: 'speed through a limited line, of a direct download',
      sense: 'at least',
      wanted: 0.95,
      unit: '',
      reached: ratioTo(LIMITED, 'direct'),
    },
  ],
  charts: [SPEED, CPU],
  run: async (context) => {
    const rounds = context.isShort ? 2 : 5;
    await context.withField(
      { needs: { objectBytes: 256 * MIB }, sizes: { [SIZE]: 256 * MIB }, memoryBytes: 512 * MIB, deviceBytes: 8 * GIB },
      async (field) => {
        for (const system of field.systems) await warm(system);
        for (let round = 0; round < rounds; round += 1) {
          context.say(`round ${round + 1} of ${rounds}`);
          for (const system of field.inTurn(round)) await measure(context, field, { system, round, streams: context.isShort ? 1 : 3 });
        }
        addResident(context, field);
      },
    );
    await context.withField(
      {
        systems: ['rawslice', 'nginx', 'nginx-slice', 'direct'],
        needs: { objectBytes: 64 * MIB },
        sizes: { [LIMITED_SIZE]: 64 * MIB },
        checked: [],
        memoryBytes: 256 * MIB,
        deviceBytes: 2 * GIB,
        originBytesPerSecond: LINE_BYTES_PER_SECOND,
      },
      async (field) => {
        for (let round = 0; round < rounds; round += 1)
          for (const system of field.inTurn(round)) await measureLimited(context, system, round);
      },
    );
  },
};

/** What compiles itself as it runs has done so. */
async function warm(system: System): Promise<void> {
  for (let stream = 0; stream < WARM_UP_STREAMS; stream += 1) await download(system.port, `/bytes/${SIZE}/warm-${stream}`);
  await system.process?.waitUntilQuiet(5000);
}

async function measure(
  { report, note }: QuestionContext,
  field: Field,
  { system, round, streams }: { readonly system: System; readonly round: number; readonly streams: number },
): Promise<void> {
  field.flush();
  await field.origin.count();
  const { effort } = await withEffort(system, async () => {
    for (let stream = 0; stream < streams; stream += 1) {
      const sample = await download(system.port, `/bytes/${SIZE}/cold-${round}-${stream}`);
      if (!sample.isComplete) throw new Error(`${system.name} ended a cold stream after ${sample.bodyBytes} bytes`);
      report.add({ name: SPEED, unit: 'MB/s' }, system.name, sample.bodyBytes / 1e3 / sample.totalMs);
    }
    // What is still to be written belongs to the download.
    await system.process?.waitUntilQuiet(5000);
  });
  if (system.process === undefined) return;
  const bytes = streams * OBJECT_BYTES;
  report.add({ name: CPU, unit: 's/GiB' }, system.name, effort.cpuSeconds / (bytes / GIB));
  report.add({ name: 'bytes from the origin, of those sent', unit: 'x' }, system.name, (await field.origin.count()).bodyBytes / bytes);
  // Speed counts only where the object was kept.
  await download(system.port, `/bytes/${SIZE}/cold-${round}-${streams - 1}`);
  const again = (await field.origin.count()).bodyBytes / OBJECT_BYTES;
  report.add({ name: 'share that was not kept', unit: 'x' }, system.name, again);
  if (again > 0.01) note(`${system.name} had not kept all of what it had sent`);
}

async function measureLimited({ report }: QuestionContext, system: System, round: number): Promise<void> {
  const sample = await download(system.port, `/bytes/${LIMITED_SIZE}/limited-${round}`);
  if (!sample.isComplete) throw new Error(`${system.name} ended a limited stream after ${sample.bodyBytes} bytes`);
  report.add({ name: LIMITED, unit: 'MB/s' }, system.name, sample.bodyBytes / 1e3 / sample.totalMs);
}
