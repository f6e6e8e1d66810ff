/**
 * Question: how much of its speed does a fast client keep when 200 clients have asked for large objects and read nothing, with 64 MiB of
 * arena? The target is at least half. nginx stands beside it as it is, without a limit on memory.
 *
 * Each stalled client has an object of its own and stops reading at its head; the kernel's buffers fill, and then the server's. Once the
 * server has come to rest (nginx first fetches each whole object into its cache, whether its client reads or not), the fast client downloads
 * fresh objects and then a stored one. It did the same alone before, in the same round.
 */
import type { BenchContext, Benchmark } from './harness/benchmark.ts';
import { inTurn } from './harness/benchmark.ts';
import { download, LoadConnection } from './harness/load.ts';
import { median } from './harness/report.ts';
import type { System } from './harness/systems.ts';

const MIB = 1024 * 1024;
const FAST_SIZE = '64MiB';
/** More than the kernel buffers for one connection (4 to 8 MiB on loopback), little enough for a server that fetches it all the same. */
const STALLED_SIZE = '16MiB';
const STALLED_COUNT = 200;
const HEAD_DEADLINE_MS = 5_000;
/** A fast client that is starved counts with the bytes that it got until then. */
const FAST_DEADLINE_MS = 5_000;
const QUIET_DEADLINE_MS = 20_000;
const FAST_COUNT = 2;

export const stalledClients: Benchmark = {
  name: 'stalled-clients',
  question: `The speed of one client alone and beside ${STALLED_COUNT} that read nothing, arena 64 MiB`,
  sizes: { [FAST_SIZE]: 64 * MIB, [STALLED_SIZE]: 16 * MIB },
  deviceBytes: 16 * 1024 * MIB,
  arena: '64MiB',
  run: async (context) => {
    const rounds = context.isShort ? 2 : 5;
    const systems = context.systems.filter(({ process }) => process !== undefined);
    for (let round = 0; round < rounds; round += 1) {
      for (const system of inTurn(systems, round)) {
        context.say(`round ${round + 1} of ${rounds}: ${system.name}`);
        await measureRound(context, system, round);
      }
    }
  },
};

async function measureRound(context: BenchContext, system: System, round: number): Promise<void> {
  const { report } = context;
  context.flush();
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
    context.flush();
    const beside = await measureFast(context, system, { label: 'beside stalled', name: `beside-${round}` });
    report.add({ name: 'cold, beside / alone', unit: 'x' }, system.name, beside.cold / alone.cold);
    report.add({ name: 'warm, beside / alone', unit: 'x' }, system.name, beside.warm / alone.warm);
    const residentBytes = system.process?.usage().residentBytes ?? 0;
    report.add({ name: 'resident memory beside stalled', unit: 'MB' }, system.name, residentBytes / 1e6);
  } finally {
    for (const connection of connections) connection.destroy();
  }
}

/** Speeds in MB/s: the median over fresh objects, and over repeats of the first of them. */
async function measureFast(
  { report }: BenchContext,
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
