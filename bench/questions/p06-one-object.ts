/**
 * P6: 100 clients ask for one object that is not stored. Does the origin send it once, do all get it as fast as a client alone, and does
 * nobody wait for the first byte? The origin is behind a line of 10 MB/s, so that a hundred copies are less than what servers can send.
 *
 * A hundred copies of that line are all that one core of load can take in, and a client that is late then says nothing of the server. So
 * the wait for the first byte is asked apart, several times, with a line of 1 MB/s.
 */
import { GIB, MIB } from '../../src/base/units.ts';
import type { Field } from '../harness/field.ts';
import { LoadConnection, type LoadSample } from '../harness/load.ts';
import { type Question, type QuestionContext, withEffort } from '../harness/question.ts';
import { quantile } from '../harness/report.ts';
import { own } from '../harness/target.ts';
import type { System } from '../systems/system.ts';

const CLIENTS = 100;
const SYSTEMS = ['rawslice', 'nginx', 'nginx-slice', 'varnish', 'trafficserver', 'trafficserver-slice', 'squid'];
const LINE_BYTES_PER_SECOND = 10_000_000;
const SLOW_LINE_BYTES_PER_SECOND = 1_000_000;
const CROWDS = 3;
const DEADLINE_MS = 240_000;
const SENT = 'bytes from the origin, of the object';
const LAST = 'time of the last client, of one alone';
const FOLLOWER = "first byte after the leader's, p99";

/** See the file's head. */
export const oneObject: Question = {
  id: 'p6',
  text: `${CLIENTS} clients ask for one cold object: what does the origin send, and how long do they wait?`,
  targets: [
    { what: 'bytes from the origin, of the object', sense: 'at most', wanted: 1.01, unit: '', reached: own(SENT) },
    { what: 'time of the last client, of one alone', sense: 'at most', wanted: 1.1, unit: '', reached: own(LAST) },
    { what: "a follower's first byte after the leader's, p99", sense: 'at most', wanted: 5, unit: 'ms', reached: own(FOLLOWER) },
  ],
  charts: [LAST, FOLLOWER],
  run: async (context) => {
    await context.withField(
      {
        systems: SYSTEMS,
        needs: { objectBytes: MIB },
        sizes: { '1MiB': MIB, '64KiB': 64 * 1024 },
        checked: ['64KiB'],
        memoryBytes: 512 * MIB,
        deviceBytes: 2 * GIB,
        originBytesPerSecond: SLOW_LINE_BYTES_PER_SECOND,
      },
      async (field) => {
        for (let crowd = 0; crowd < CROWDS; crowd += 1)
          for (const system of field.inTurn(crowd)) await measureFirstBytes(context, system, crowd);
      },
    );
    const { sizeMib, rounds } = context.isShort ? { sizeMib: 8, rounds: 1 } : { sizeMib: 256, rounds: 1 };
    const size = `${sizeMib}MiB`;
    return context.withField(
      {
        systems: SYSTEMS,
        needs: { objectBytes: sizeMib * MIB },
        sizes: { [size]: sizeMib * MIB, '64KiB': 64 * 1024 },
        checked: ['64KiB'],
        memoryBytes: 512 * MIB,
        deviceBytes: 2 * GIB,
        originBytesPerSecond: LINE_BYTES_PER_SECOND,
      },
      async (field) => {
        context.note(`one object of ${size}, through a line of ${LINE_BYTES_PER_SECOND / 1e6} MB/s`);
        for (let round = 0; round < rounds; round += 1) {
          for (const system of field.inTurn(round)) {
            context.say(`round ${round + 1} of ${rounds}: ${system.name}`);
            await measure(context, field, { system, size, bytes: sizeMib * MIB, round });
          }
        }
      },
    );
  },
};

async function measure(
  { report, note }: QuestionContext,
  field: Field,
  { system, size, bytes, round }: { readonly system: System; readonly size: string; readonly bytes: number; readonly round: number },
): Promise<void> {
  const [alone] = await getAll(system, `/bytes/${size}/alone-${round}`, 1);
  await field.origin.count();
  const { result: samples, effort } = await withEffort(system, () => getAll(system, `/bytes/${size}/crowd-${round}`, CLIENTS));
  const { bodyBytes, requests } = await field.origin.count();
  const broken = samples.filter((sample) => sample.status !== 200 || sample.bodyBytes !== bytes).length;
  if (broken > 0) note(`${system.name}: ${broken} of ${CLIENTS} clients did not get the whole object`);
  report.add({ name: SENT, unit: 'x' }, system.name, bodyBytes / bytes);
  report.add({ name: 'requests to the origin', unit: '' }, system.name, requests);
  report.add({ name: LAST, unit: 'x' }, system.name, Math.max(...samples.map(({ totalMs }) => totalMs)) / (alone?.totalMs ?? Number.NaN));
  report.add({ name: 'CPU', unit: 's/GiB' }, system.name, effort.cpuSeconds / ((CLIENTS * bytes) / GIB));
}

async function measureFirstBytes({ report }: QuestionContext, system: System, crowd: number): Promise<void> {
  // The first crowd finds what compiles itself as it runs, and counts for the median alone.
  const samples = await getAll(system, `/bytes/1MiB/first-${crowd}`, CLIENTS);
  const firstMs = samples.map(({ startMs, ttfbMs }) => startMs + ttfbMs).sort((one, other) => one - other);
  const behindMs = firstMs.slice(1).map((atMs) => atMs - (firstMs[0] ?? 0));
  report.add({ name: FOLLOWER, unit: 'ms' }, system.name, quantile(behindMs, 0.99));
  report.add({ name: "first byte after the leader's, p50", unit: 'ms' }, system.name, quantile(behindMs, 0.5));
}

async function getAll(system: System, path: string, count: number): Promise<LoadSample[]> {
  const connections = await Promise.all(Array.from({ length: count }, () => LoadConnection.open(system.port)));
  const samples = await Promise.all(connections.map((connection) => connection.get(path, { deadlineMs: DEADLINE_MS })));
  for (const connection of connections) connection.destroy();
  return samples;
}
