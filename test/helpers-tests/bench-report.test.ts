import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawChart } from '../../bench/harness/chart.ts';
import { digest, download, LoadConnection } from '../../bench/harness/load.ts';
import { formatTable, median, quantile, Report } from '../../bench/harness/report.ts';
import { machineFacts } from '../../bench/harness/result.ts';
import { judge, ratioTo, ratioToBestPeer } from '../../bench/harness/target.ts';
import { Origin } from '../helpers/origin.ts';

test('median() and quantile() of odd, even and no samples', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.equal(median([]), Number.NaN);
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
  assert.deepEqual([quantile(hundred, 0.5), quantile(hundred, 0.99), quantile(hundred, 1)], [50, 99, 100]);
});

test('a report gives medians as multiples of nginx, and a table of them', () => {
  const report = new Report();
  const speed = { name: 'cold', unit: 'MB/s' } as const;
  report.add(speed, 'nginx', 100, 300, 200);
  report.add({ name: 'other', unit: 'ms' }, 'nginx', 1);
  report.add(speed, 'rawslice', 500);
  const summaries = report.summaries();
  assert.equal(summaries.length, 3);
  assert.partialDeepStrictEqual(summaries[0], { quantity: 'cold', system: 'nginx', median: 200, least: 100, greatest: 300, samples: 3 });
  assert.partialDeepStrictEqual(summaries[1], { quantity: 'cold', system: 'rawslice', median: 500, ofNginx: 2.5 });
  assert.match(formatTable(summaries), /^cold +rawslice +500 MB\/s +500 \.\. 500 +1 +2\.50x$/m);
});

test('the judge holds medians against targets, and says when there is nothing to hold', () => {
  const report = new Report();
  const add = (system: string, value: number): void => report.add({ name: 'cold', unit: 'MB/s' }, system, value);
  add('rawslice', 80);
  add('nginx', 100);
  add('direct', 1000);
  const shared = { sense: 'at least', wanted: 1.5, unit: '' } as const;
  const [missed, best, absent] = judge(
    [
      { ...shared, what: 'a', reached: ratioTo('cold', 'nginx') },
      { ...shared, what: 'b', wanted: 0.8, reached: ratioToBestPeer('cold', 'greatest') },
      { ...shared, what: 'c', reached: ratioTo('cold', 'varnish') },
    ],
    report,
  );
  assert.partialDeepStrictEqual(missed, { verdict: 'missed', line: 'missed: 0.800, at least 1.50' });
  assert.partialDeepStrictEqual(best, { verdict: 'reached', reached: 0.8 });
  assert.partialDeepStrictEqual(absent, { verdict: 'not measured', line: 'not measured (at least 1.50)' });
});

test('the chart draws bars and curves, and escapes what it writes', () => {
  const report = new Report();
  report.add({ name: 'a < b', unit: 's' }, 'rawslice', 2);
  report.curves.push({
    quantity: 'memory',
    unit: 'MB',
    system: 'rawslice',
    points: [
      [0, 1],
      [1, 2],
    ],
  });
  const shared = { id: 'p0', text: '', preset: 'short', date: '', machine: machineFacts(), systems: {}, skipped: {}, notes: [] } as const;
  const result = { ...shared, judgements: [], summaries: report.summaries(), curves: report.curves, charts: ['a < b', 'absent'] };
  const chart = drawChart([result], 'title');
  assert.match(chart, /P0: a &lt; b, s/);
  assert.equal(chart.match(/<polyline/g)?.length, 1);
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
