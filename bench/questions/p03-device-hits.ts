/**
 * P3: how fast do hits come from the disk when what is asked for is several times the memory allowed? Objects of 1 MiB at random, eight
 * connections. Every system has the same limit of memory, its page cache included (cgroup, as root), and fio reads a file on the same disk
 * with the same block size and depth, in the same rounds. Where memory cannot be limited, the page cache is dropped before each turn.
 */
import path from 'node:path';
import { SeededRandom } from '../../src/base/random.ts';
import { GIB, MIB } from '../../src/base/units.ts';
import { runFio } from '../engine/fio.ts';
import type { Field } from '../harness/field.ts';
import { LoadConnection } from '../harness/load.ts';
import { memoryGroupObstacle } from '../harness/memory-group.ts';
import { dropPageCache } from '../harness/page-cache.ts';
import { type Question, type QuestionContext, withEffort } from '../harness/question.ts';
import { ratioTo, ratioToBestPeer } from '../harness/target.ts';
import type { System } from '../systems/system.ts';

const SIZE = '1MiB';
const DEPTH = 8;
const LIMIT_BYTES = 512 * MIB;
const MEMORY_BYTES = 128 * MIB;
const FIO_FILE_BYTES = GIB;
const SEED = 3;
const PASSES_MAX = 3;
const QUIET_DEADLINE_MS = 10_000;
const SPEED = 'hits from disk, memory limited';

interface Plan {
  readonly objects: number;
  readonly rounds: number;
  readonly milliseconds: number;
}

const SHORT: Plan = { objects: 1024, rounds: 2, milliseconds: 1500 };
const FULL: Plan = { objects: 3072, rounds: 3, milliseconds: 8000 };

/** See the file's head. */
export const deviceHits: Question = {
  id: 'p3',
  text: 'How fast are hits from the disk, with several times as much stored as memory is allowed?',
  targets: [
    { what: "speed of hits from disk, of fio's", sense: 'at least', wanted: 0.9, unit: '', reached: ratioTo(SPEED, 'fio') },
    {
      what: "speed of hits from disk, of the best peer's",
      sense: 'at least',
      wanted: 1,
      unit: '',
      reached: ratioToBestPeer(SPEED, 'greatest'),
    },
  ],
  charts: [SPEED, `${SPEED}, CPU`],
  run: (context) => {
    const plan = context.isShort ? SHORT : FULL;
    const obstacle = memoryGroupObstacle();
    context.note(
      obstacle === undefined ? `memory limit ${LIMIT_BYTES / MIB} MiB, page cache included` : `memory is not limited: ${obstacle}`,
    );
    context.note(`${plan.objects} objects of ${SIZE} at random, ${DEPTH} connections, seed ${SEED}`);
    return context.withField(
      {
        systems: ['rawslice', 'nginx', 'nginx-slice', 'varnish', 'trafficserver', 'trafficserver-slice', 'squid'],
        needs: { objectBytes: MIB, disk: true },
        sizes: { [SIZE]: MIB },
        memoryBytes: MEMORY_BYTES,
        deviceBytes: 2 * plan.objects * MIB,
        memoryLimitBytes: obstacle === undefined ? LIMIT_BYTES : undefined,
      },
      (field) => measureAll(context, field, plan),
    );
  },
};

async function measureAll(context: QuestionContext, field: Field, plan: Plan): Promise<void> {
  for (const system of field.systems) {
    context.say(`storing ${plan.objects} MiB in ${system.name}`);
    context.report.add({ name: 'passes until all is kept', unit: '' }, system.name, await store(field, system, plan.objects));
  }
  // What compiles itself as it runs has done so.
  for (const system of field.systems) await load(system, counted(plan.objects / 4));
  for (let round = 0; round < plan.rounds; round += 1) {
    context.say(`round ${round + 1} of ${plan.rounds}`);
    for (const system of field.inTurn(round)) await measure(context, field, { system, round, plan });
    const file = path.join(field.directory, 'fio');
    const fio = runFio({
      path: file,
      operation: 'read',
      lengthBytes: MIB,
      depth: DEPTH,
      sizeBytes: FIO_FILE_BYTES,
      milliseconds: plan.milliseconds,
    });
    if (fio === undefined) context.note('fio is not installed (Debian: fio)');
    else context.report.add({ name: SPEED, unit: 'MB/s' }, 'fio', fio / 1e6);
  }
  for (const system of field.systems)
    if (Number.isFinite(field.peakBytes(system)))
      context.report.add({ name: 'most memory, page cache included', unit: 'MB' }, system.name, field.peakBytes(system) / 1e6);
}

function counted(count: number): () => string | undefined {
  let next = 0;
  return () => (next < count ? `stored-${next++}` : undefined);
}

/** What was declined, since the disk was behind, comes with the next pass. @returns passes that brought something */
async function store(field: Field, system: System, objects: number): Promise<number> {
  for (let passes = 0; ; passes += 1) {
    await field.origin.count();
    await load(system, counted(objects));
    if ((await field.origin.count()).bodyBytes < (objects * MIB) / 100 || passes === PASSES_MAX) return passes;
    await system.process?.waitUntilQuiet(QUIET_DEADLINE_MS);
  }
}

async function measure(
  { report, note }: QuestionContext,
  field: Field,
  { system, round, plan }: { readonly system: System; readonly round: number; readonly plan: Plan },
): Promise<void> {
  field.flush();
  if (!Number.isFinite(field.peakBytes(system))) dropPageCache(field.directory);
  await field.origin.count();
  const random = new SeededRandom(SEED + round);
  const endMs = performance.now() + plan.milliseconds;
  const { result: bytes, effort } = await withEffort(system, () =>
    load(system, () => (performance.now() < endMs ? `stored-${random.integerBelow(plan.objects)}` : undefined)),
  );
  const { bodyBytes } = await field.origin.count();
  report.add({ name: SPEED, unit: 'MB/s' }, system.name, (bytes - bodyBytes) / 1e6 / effort.seconds);
  report.add({ name: `${SPEED}, CPU`, unit: 's/GiB' }, system.name, effort.cpuSeconds / (bytes / GIB));
  report.add({ name: 'bytes from the origin meanwhile', unit: '%' }, system.name, (100 * bodyBytes) / bytes);
  if (bodyBytes > bytes / 20) note(`${system.name} had not kept all: what it fetched again is not counted as hits`);
}

/** Eight connections that ask for what `nextName` gives until it gives nothing. @returns bytes received */
async function load(system: System, nextName: () => string | undefined): Promise<number> {
  let bytes = 0;
  const client = async (): Promise<void> => {
    const connection = await LoadConnection.open(system.port);
    for (let name = nextName(); name !== undefined; name = nextName()) {
      const sample = await connection.get(`/bytes/${SIZE}/${name}`);
      if (sample.status !== 200 || !sample.isComplete)
        throw new Error(`${system.name} answered ${sample.status} and ${sample.bodyBytes} bytes of ${name}`);
      bytes += sample.bodyBytes;
    }
    connection.destroy();
  };
  await Promise.all(Array.from({ length: DEPTH }, client));
  return bytes;
}
