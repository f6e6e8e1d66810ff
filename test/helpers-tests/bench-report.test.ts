import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inTurn } from '../../bench/harness/benchmark.ts';
import { digest, download, LoadConnection } from '../../bench/harness/load.ts';
import { median, quantile, Report } from '../../bench/harness/report.ts';
import { Origin } from '../helpers/origin.ts';

test('median() and quantile() of odd, even and no samples', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.equal(median([]), Number.NaN);
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
  assert.deepEqual([quantile(hundred, 0.5), quantile(hundred, 0.99), quantile(hundred, 1)], [50, 99, 100]);
});

test('a report gives medians as multiples of nginx and the facts of the run', () => {
  const report = new Report();
  const speed = { name: 'cold', unit: 'MB/s' } as const;
  report.add(speed, 'nginx', 100, 300, 200);
  report.add({ name: 'other', unit: 'ms' }, 'nginx', 1);
  report.add(speed, 'rawslice', 500);
  const facts = { bench: 'b', preset: 'short', systems: { nginx: 'nginx/1' }, skipped: {}, origin: 'o', pinned: true, date: 'd' } as const;
  const lines = report.jsonLines(facts).map((line): unknown => JSON.parse(line));
  assert.equal(lines.length, 3);
  assert.partialDeepStrictEqual(lines[0], { quantity: 'cold', system: 'nginx', median: 200, least: 100, greatest: 300, samples: 3 });
  assert.partialDeepStrictEqual(lines[1], { quantity: 'cold', system: 'rawslice', median: 500, ofNginx: 2.5, node: process.version });
  assert.match(report.table(), /^cold +rawslice +500 MB\/s +500 \.\. 500 +1 +2\.50x$/m);
});

test('inTurn() lets each be first once', () => {
  assert.deepEqual(
    [0, 1, 2, 3].map((round) => inTurn(['a', 'b', 'c'], round)[0]),
    ['a', 'b', 'c', 'a'],
  );
});

test('the load counts bodies, notices early ends and stalls at the head', async (context) => {
  const origin = await Origin.start();
  context.after(() => origin.close());
  origin.setObject('/a', { lengthBytes: 2_000_000 });
  assert.partialDeepStrictEqual(await download(origin.port, '/a'), { status: 200, bodyBytes: 2_000_000, isComplete: true });
  assert.equal(await digest(origin.port, '/a'), await digest(origin.port, '/a'));
  origin.misbehave('/a', { closeAfterBytes: 1_000_000 }, 1);
  assert.partialDeepStrictEqual(await download(origin.port, '/a'), { bodyBytes: 1_000_000, isComplete: false });
  origin.misbehave('/a', { pauseAfterBytes: 10 }, 1);
  assert.partialDeepStrictEqual(await download(origin.port, '/a', 30), { bodyBytes: 10, isComplete: false });
  await assert.rejects(download(origin.port, '/none'), /answered 404/);

  const connection = await LoadConnection.open(origin.port);
  const samples = [await connection.get('/a'), await connection.get('/a')];
  assert.deepEqual(
    samples.map(({ isComplete }) => isComplete),
    [true, true],
  );
  connection.destroy();
  origin.setObject('/big', { lengthBytes: 64 * 1024 * 1024 });
  const stalled = await LoadConnection.open(origin.port);
  assert.equal(await stalled.stall('/big', 5000), true);
  await download(origin.port, '/a');
  assert.ok(origin.bytesSent('/big') < 32 * 1024 * 1024);
  stalled.destroy();
});
