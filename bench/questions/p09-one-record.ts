/**
 * P9: what do a revalidation and a purge of an object of 10,000 slices cost? The object is stored, grows stale after a second, and is asked
 * for whole: how many requests reach the origin? Then it is purged: how long does that take beyond a flush of the same disk, and how many
 * records does it write? rawslice has slices of 64 KiB here; the peers that slice have 1 MiB, a sixteenth as many.
 */
import { open } from 'node:fs/promises';
import path from 'node:path';
import { SystemClock } from '../../src/base/clock.ts';
import { GIB, KIB, MIB } from '../../src/base/units.ts';
import type { Field } from '../harness/field.ts';
import { download, LoadConnection } from '../harness/load.ts';
import type { Question, QuestionContext } from '../harness/question.ts';
import { excessOver, own } from '../harness/target.ts';
import type { System } from '../systems/system.ts';

const SIZE = '625MiB';
const SLICE_BYTES = 64 * KIB;
const STALE_AFTER_MS = 1_500;
const QUIET_DEADLINE_MS = 10_000;
const DEADLINE_MS = 60_000;
const DOWNLOADS_MAX = 5;
const FLUSHES = 20;
const WARM_UP_PURGES = 40;
/** Of nothing, right before what is measured: what was compiled minutes ago is cold again by then. */
const PRELUDE_PURGES = 20;
const REQUESTS = 'requests to the origin for one revalidation';
const PURGE = 'purge';
const RECORDS = 'journal records of a purge';

/** See the file's head. */
export const oneRecord: Question = {
  id: 'p9',
  text: 'What do a revalidation and a purge of an object of 10,000 slices cost?',
  targets: [
    { what: REQUESTS, sense: 'at most', wanted: 1, unit: '', reached: own(REQUESTS) },
    { what: RECORDS, sense: 'at most', wanted: 1, unit: '', reached: own(RECORDS) },
    { what: 'time of a purge beyond a flush of the disk', sense: 'at most', wanted: 1, unit: 'ms', reached: excessOver(PURGE, 'flush') },
  ],
  charts: [REQUESTS],
  run: (context) =>
    context.withField(
      {
        systems: ['rawslice', 'nginx-slice', 'trafficserver-slice'],
        needs: { objectBytes: 625 * MIB, disk: true },
        sizes: { [SIZE]: 625 * MIB, '1MiB': MIB },
        checked: ['1MiB'],
        memoryBytes: 128 * MIB,
        deviceBytes: 4 * GIB,
        sliceBytes: SLICE_BYTES,
        originMaxAgeSeconds: 1,
      },
      async (field) => {
        const rounds = context.isShort ? 1 : 5;
        for (const system of field.systems) if (system.adminPort !== undefined) await warm(system, system.adminPort);
        for (let round = 0; round < rounds; round += 1) {
          context.say(`round ${round + 1} of ${rounds}`);
          for (const system of field.inTurn(round)) {
            await measureRevalidation(context, field, { system, round });
            if (system.adminPort !== undefined) await measurePurge(context, { system, adminPort: system.adminPort, round });
          }
          context.report.add({ name: PURGE, unit: 'ms' }, 'flush', ...(await timeFlushes(field.directory)));
        }
      },
    ),
};

/** What compiles itself as it runs has done so: small objects are stored and purged. */
async function warm(system: System, adminPort: number): Promise<void> {
  const connection = await LoadConnection.open(adminPort);
  for (let index = 0; index < WARM_UP_PURGES; index += 1) {
    await download(system.port, `/bytes/1MiB/warm-${index}`);
    await connection.get(`/purge?url=/bytes/1MiB/warm-${index}`, { method: 'POST' });
  }
  connection.destroy();
}

async function measureRevalidation(
  { report, note }: QuestionContext,
  field: Field,
  { system, round }: { readonly system: System; readonly round: number },
): Promise<void> {
  const target = `/bytes/${SIZE}/object-${round}`;
  report.add({ name: 'downloads until all is kept', unit: '' }, system.name, await store(field, system, target));
  await system.process?.waitUntilQuiet(QUIET_DEADLINE_MS);
  await new SystemClock().sleep(STALE_AFTER_MS);
  await field.origin.count();
  const sample = await download(system.port, target, DEADLINE_MS);
  if (!sample.isComplete) throw new Error(`${system.name} ended after ${sample.bodyBytes} bytes`);
  const { requests, bodyBytes } = await field.origin.count();
  report.add({ name: REQUESTS, unit: '' }, system.name, requests);
  report.add({ name: 'whole object, stale, asked for again', unit: 'ms' }, system.name, sample.totalMs);
  if (bodyBytes > 0) note(`${system.name} fetched ${bodyBytes} bytes again`);
}

/** A slice whose write was declined, since the disk was behind, comes with the next download. @returns downloads until the origin sent none */
async function store(field: Field, system: System, target: string): Promise<number> {
  for (let downloads = 1; ; downloads += 1) {
    await field.origin.count();
    await download(system.port, target, DEADLINE_MS);
    if ((await field.origin.count()).bodyBytes === 0 || downloads === DOWNLOADS_MAX) return downloads - 1;
    await system.process?.waitUntilQuiet(QUIET_DEADLINE_MS);
  }
}

async function measurePurge(
  { report }: QuestionContext,
  { system, adminPort, round }: { readonly system: System; readonly adminPort: number; readonly round: number },
): Promise<void> {
  await system.process?.waitUntilQuiet(QUIET_DEADLINE_MS);
  const connection = await LoadConnection.open(adminPort);
  // The connection, and the code behind it, have served before.
  for (let index = 0; index < PRELUDE_PURGES; index += 1) await connection.get(`/purge?url=/bytes/1MiB/none-${index}`, { method: 'POST' });
  const before = await journalRecords(adminPort);
  const sample = await connection.get(`/purge?url=/bytes/${SIZE}/object-${round}`, { method: 'POST' });
  connection.destroy();
  if (sample.status !== 200) throw new Error(`The purge was answered ${sample.status}`);
  report.add({ name: PURGE, unit: 'ms' }, system.name, sample.totalMs);
  report.add({ name: RECORDS, unit: '' }, system.name, (await journalRecords(adminPort)) - before);
}

async function journalRecords(adminPort: number): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text();
  return Number(/^rawslice_store_journal_records_total\S* (\d+)$/m.exec(text)?.[1] ?? Number.NaN);
}

/** A block written and flushed, on the same disk. */
async function timeFlushes(directory: string): Promise<number[]> {
  const handle = await open(path.join(directory, 'flush'), 'w');
  const block = Buffer.alloc(4 * KIB, 1);
  const timesMs: number[] = [];
  for (let count = 0; count < FLUSHES; count += 1) {
    const startMs = performance.now();
    await handle.write(block, 0, block.length, count * block.length);
    await handle.datasync();
    timesMs.push(performance.now() - startMs);
  }
  await handle.close();
  return timesMs;
}
