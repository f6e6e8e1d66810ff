/**
 * How much of its speed does a fast client keep when 200 clients have asked for large objects and read nothing, with 64 MiB of arena? The
 * target is at least half. nginx stands beside it as it is, without a limit on memory.
 *
 * Each stalled client has an object of its own and stops reading at its head; the kernel's buffers fill, and then the server's. Once the
 * server has come to rest (nginx first fetches each whole object into its cache, whether its client reads or not), the fast client downloads
 * fresh objects and then a stored one. It did the same alone before, in the same round.
 */
import { GIB, MIB } from '../../src/base/units.ts';
import type { Field } from '../harness/field.ts';
import { download, LoadConnection } from '../harness/load.ts';
import type { Question, QuestionContext } from '../harness/question.ts';
import { median } from '../harness/report.ts';
import { own } from '../harness/target.ts';
import type { System } from '../systems/system.ts';

const FAST_SIZE = '64MiB';
/** More than the kernel buffers for one connection (4 to 8 MiB on loopback), little enough for a server that fetches it all the same. */
const STALLED_SIZE = '16MiB';
const STALLED_COUNT = 200;
const HEAD_DEADLINE_MS = 5_000;
/** A fast client that is starved counts with the bytes that it got until then. */
const FAST_DEADLINE_MS = 5_000;
const QUIET_DEADLINE_MS = 20_000;
const FAST_COUNT = 2;
const COLD = 'cold, beside / alone';
const WARM = 'warm, beside / alone';

/** See the file's head. */
export const stalledClients: Question = {
  id: 'stalled',
  isExtra: true,
  text: `How fast is one client beside ${STALLED_COUNT} that read nothing, arena 64 MiB?`,
  targets: [
    { what: 'cold stream beside stalled clients, of alone', sense: 'at least', wanted: 0.5, unit: '', reached: own(COLD) },
    { what: 'warm stream beside stalled clients, of alone', sense: 'at least', wanted: 0.5, unit: '', reached: own(WARM) },
  ],
  charts: [],
  run: (context) =>
    context.withField(
      {
        systems: ['rawslice', 'nginx-slice'],
        needs: { objectBytes: 64 * MIB },
        sizes: { [FAST_SIZE]: 64 * MIB, [STALLED_SIZE]: 16 * MIB },
        memoryBytes: 64 * MIB,
        deviceBytes: 16 * GIB,
      },
      async (field) => {
        const rounds = context.isShort ? 1 : 5;
        for (let round = 0; round < rounds; round += 1) {
          context.say(`round ${round + 1} of ${rounds}`);
          for (const system of field.inTurn(round)) await measureRound(context, field, { system, round });
        }
      },
    ),
};

async function measureRound(
  context: QuestionContext,
  field: Field,
  { system, round }: { readonly system: System; readonly round: number },
): Promise<void> {
  const { report } = context;
  field.flush();
  const alone = await measureFast(context, system, { label: 'alone', name: `alone-${round}` });
  const connections: LoadConnection[] = [];
  try {
    const answered = await Promise.all(
      Array.from({ length: STALLED_COUNT }, async (_, index) => {
        const connection = await LoadConnection.open(system.port);
        connections.push(connection);
        return connection.stall(`/bytes/${STALLED_SIZE}/stalled-${round}-${index}`, HEAD_DEADLINE_MS);
      }),
    );
    report.add({ name: 'stalled clients with a head', unit: 'clients' }, system.name, answered.filter((hasHead) => hasHead).length);
    report.add({ name: 'at rest after', unit: 's' }, system.name, (await system.process?.waitUntilQuiet(QUIET_DEADLINE_MS)) ?? 0);
    field.flush();
    const beside = await measureFast(context, system, { label: 'beside stalled', name: `beside-${round}` });
    report.add({ name: COLD, unit: 'x' }, system.name, beside.cold / alone.cold);
    report.add({ name: WARM, unit: 'x' }, system.name, beside.warm / alone.warm);
    const residentBytes = system.process?.usage().residentBytes ?? 0;
    report.add({ name: 'resident memory beside stalled', unit: 'MB' }, system.name, residentBytes / 1e6);
  } finally {
    for (const connection of connections) connection.destroy();
  }
}

/** Speeds in MB/s: the median over fresh objects, and over repeats of the first of them. */
async function measureFast(
  { report }: QuestionContext,
  system: System,
  fast: { readonly label: string; readonly name: string },
): Promise<{ readonly cold: number; readonly warm: number }> {
  const speeds: { readonly cold: number[]; readonly warm: number[] } = { cold: [], warm: [] };
  for (let index = 0; index < FAST_COUNT; index += 1) speeds.cold.push(await fastSpeed(system, `${fast.name}-${index}`));
  for (let index = 0; index < FAST_COUNT; index += 1) speeds.warm.push(await fastSpeed(system, `${fast.name}-0`));
  report.add({ name: `fast client cold, ${fast.label}`, unit: 'MB/s' }, system.name, ...speeds.cold);
  report.add({ name: `fast client warm, ${fast.label}`, unit: 'MB/s' }, system.name, ...speeds.warm);
  return { cold: median(speeds.cold), warm: median(speeds.warm) };
}

async function fastSpeed(system: System, name: string): Promise<number> {
  const { bodyBytes, totalMs } = await download(system.port, `/bytes/${FAST_SIZE}/${name}`, FAST_DEADLINE_MS);
  return bodyBytes / 1e3 / totalMs;
}
