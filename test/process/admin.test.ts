/** The second port of the real program, and its log: health, readiness, metrics that a scraper can read, purge, one line per request. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { MIB } from '../../src/base/units.ts';
import { request } from '../helpers/client.ts';
import { Origin } from '../helpers/origin.ts';
import { startRawslice } from '../helpers/rawslice-process.ts';
import { temporaryDirectory } from '../helpers/temp.ts';
import { unwinding } from '../helpers/unwinding.ts';

test('health, readiness, metrics, purge and the access log of a running program', async (context) => {
  await using origin = await Origin.start();
  const lengthBytes = 2 * MIB + 1;
  const identity = origin.setObject('/a.iso', { lengthBytes, cacheControl: 'max-age=3600' });
  const directory = await temporaryDirectory(unwinding(context));
  const start = { upstream: origin.url, device: path.join(directory, 'cache'), flags: ['--size', '64MiB'] };
  const rawslice = await startRawslice(context, start);
  const sent = await Promise.all([
    rawslice.get('/a.iso?b=c', { 'User-Agent': 'one "quoted"\tagent' }),
    rawslice.get('/missing'),
    rawslice.get('/a.iso', {}, { method: 'HEAD' }),
    rawslice.get('/a.iso', {}, { method: 'DELETE' }),
  ]);
  for (const _ of ['miss or collapsed', 'hit']) sent.push(await rawslice.get('/a.iso', { Range: 'bytes=5-9' }));

  const health = await rawslice.admin('/healthz');
  assert.deepEqual([health.status, JSON.parse(health.body.toString())], [200, { status: 'ok' }]);
  const ready = await rawslice.admin('/readyz');
  assert.deepEqual([ready.status, JSON.parse(ready.body.toString()).status], [200, 'ready']);
  assert.equal((await rawslice.admin('/')).status, 404);
  const [place] = JSON.parse((await rawslice.admin('/origins')).body.toString()).origins;
  assert.match(place.place, /^127\.0\.0\.1:\d+\/$/);
  assert.ok(place.answers > 0, 'answers were counted');
  assert.equal((await rawslice.admin('/purge?url=/a.iso')).status, 405);
  assert.equal((await rawslice.admin('/purge', 'POST')).status, 400);
  assert.equal((await rawslice.admin('/purge?url=/a.iso?x=1&y=2', 'POST')).status, 400, 'the & is not escaped');
  const plus = await rawslice.admin('/purge?url=/libstdc%2B%2B/g++.deb', 'POST');
  assert.match(JSON.parse(plus.body.toString()).key, /\/libstdc\+\+\/g\+\+\.deb$/, 'a plus is no space');

  await context.test('one line of JSON for each request', async () => {
    assert.equal((await rawslice.untilAccessLines(sent.length)).length, sent.length);
    const lineOf = (url: string, method = 'GET'): Record<string, unknown> | undefined =>
      rawslice.accessLines.find((line) => line['url.path'] === url && line['http.request.method'] === method);
    assert.equal(lineOf('/missing')?.['http.response.status_code'], 404);
    assert.equal(lineOf('/a.iso')?.['http.response.status_code'], 200);
    assert.equal(lineOf('/a.iso', 'HEAD')?.['http.response.body.size'], 0);
    for (const line of rawslice.accessLines) assert.ok(Number(line.duration_ms) >= 0 && !Number.isNaN(Date.parse(String(line.time))));
  });

  await context.test('metrics are Prometheus text and count what happened', async () => {
    const answer = await rawslice.admin('/metrics');
    assert.match(answer.headers['content-type'] ?? '', /^text\/plain; version=0\.0\.4/);
    const scrape = await rawslice.scrape();
    const count = scrape.get('rawslice_http_first_byte_seconds_count') ?? 0;
    assert.ok(count >= sent.length - 1, `${count} first bytes were timed`);
    assert.equal(scrape.get('rawslice_http_first_byte_seconds_bucket{le="+Inf"}'), count);
    assert.ok((scrape.get('rawslice_http_first_byte_seconds_sum') ?? 0) > 0);
    const total = [...scrape].reduce(
      (sum, [series, value]) => (series.startsWith('rawslice_http_responses_total{') ? sum + value : sum),
      0,
    );
    assert.equal(total, sent.length);
    assert.equal(scrape.get('rawslice_upstream_received_bytes_total'), origin.bytesSent());
    assert.ok((scrape.get('rawslice_device_open') ?? 0) === 1);
  });

  await context.test('purges are listed with their counts; PURGE is refused unless it is configured', async () => {
    const { id } = await rawslice.purge('/none');
    const listed = JSON.parse((await rawslice.admin('/purges')).body.toString()).purges;
    assert.deepEqual([listed[0].id, listed[0].objects, listed[0].isDone], [id, 0, true]);
    assert.deepEqual(JSON.parse((await rawslice.admin(`/purges?id=${id}`)).body.toString()), listed[0]);
    assert.equal((await rawslice.get('/a.iso', {}, { method: 'PURGE' })).status, 403);
  });

  await context.test('a purged object is fetched anew, also after kill -9', async () => {
    await rawslice.untilStored();
    assert.equal((await rawslice.purge('/a.iso')).objects, 1);
    assert.equal((await rawslice.purge('/a.iso')).objects, 0);
    await rawslice.kill();
    const again = await startRawslice(context, { upstream: start.upstream, device: start.device });
    const answer = await again.get('/a.iso', {}, { expect: identity });
    assert.deepEqual([answer.headers['x-cache'], answer.wrongAt, answer.isComplete], ['MISS', -1, true]);
  });
});

test('a server that drains says that it is not ready', async (context) => {
  await using origin = await Origin.start();
  origin.setObject('/slow', { lengthBytes: 64 * 1024, cacheControl: 'no-store' });
  origin.misbehave('/slow', { holdHead: true });
  const directory = await temporaryDirectory(unwinding(context));
  const rawslice = await startRawslice(context, {
    upstream: origin.url,
    device: path.join(directory, 'cache'),
    flags: ['--size', '64MiB'],
  });
  const slow = rawslice.get('/slow');
  await origin.waitForHeld('/slow');
  const end = rawslice.stop();
  // As with Ctrl-C under npm, which passes on what the terminal has sent to all: it is no second wish.
  process.kill(rawslice.processId, 'SIGINT');
  await rawslice.untilAdmin('/readyz', ({ status }) => status === 503);
  const { status, draining } = JSON.parse((await rawslice.admin('/readyz')).body.toString());
  assert.deepEqual([status, draining], ['not ready', true]);
  origin.release('/slow');
  assert.equal((await slow).isComplete, true);
  assert.equal(await end, 0);
});

test('metrics and purge want the token, health does not', async (context) => {
  await using origin = await Origin.start();
  const directory = await temporaryDirectory(unwinding(context));
  const device = path.join(directory, 'cache');
  const rawslice = await startRawslice(context, {
    upstream: origin.url,
    device,
    flags: ['--size', '64MiB'],
    set: { 'admin.token': 'secret-word' },
  });
  const statusOf = async (target: string, method: string, authorization: string): Promise<number> => {
    const headers = authorization === '' ? {} : { Authorization: authorization };
    return (await request({ port: rawslice.adminPort, path: target, method, headers })).status;
  };
  for (const authorization of ['', 'Bearer wrong-word!', 'Basic secret-word']) {
    assert.equal(await statusOf('/healthz', 'GET', authorization), 200);
    assert.equal(await statusOf('/readyz', 'GET', authorization), 200);
    assert.equal(await statusOf('/metrics', 'GET', authorization), 401);
    assert.equal(await statusOf('/purge?url=/a', 'POST', authorization), 401);
  }
  assert.equal(await statusOf('/metrics', 'GET', 'Bearer secret-word'), 200);
  assert.equal(await statusOf('/purge?url=/a', 'POST', 'Bearer secret-word'), 200);
  assert.ok(!rawslice.report().includes('secret-word'), 'the token is in no log');
});
