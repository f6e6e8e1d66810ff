/** Many clients of the real program at once: one copy from the origin, nobody waits for somebody slower, nothing is held afterwards. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { MIB } from '../../src/base/units.ts';
import { bodyBytes } from '../helpers/body.ts';
import { CACHE_PLACES } from '../helpers/cache-place.ts';
import { stall } from '../helpers/client.ts';
import { heavyUnlessFirst, lightSkip } from '../helpers/heavy.ts';
import { Origin } from '../helpers/origin.ts';
import { type Scrape, startRawslice } from '../helpers/rawslice-process.ts';
import { temporaryDirectory } from '../helpers/temp.ts';
import { unwinding } from '../helpers/unwinding.ts';

const HELD_SERIES = [
  'rawslice_arena_fill_bytes',
  'rawslice_arena_device_read_bytes',
  'rawslice_http_pinned_slots',
  'rawslice_http_requests_in_flight',
  'rawslice_fill_runs_active',
  'rawslice_upstream_requests_in_flight',
];

function isNothingHeld(scrape: Scrape): boolean {
  return HELD_SERIES.every((series) => scrape.get(series) === 0);
}

for (const { megabytes, skip } of [
  { megabytes: 4, skip: false },
  { megabytes: 32, skip: lightSkip },
]) {
  for (const place of CACHE_PLACES) {
    const name = `a hundred downloads of one cold object of ${megabytes} MiB cost the origin one copy, on ${place.name}`;
    test(name, { skip: place.skip || skip || heavyUnlessFirst(place) }, async (context) => {
      const lengthBytes = megabytes * MIB;
      await using origin = await Origin.start();
      const original = bodyBytes(origin.setObject('/cold.iso', { lengthBytes, cacheControl: 'max-age=3600' }), 0, lengthBytes);
      const { device, flags } = await place.make(context, 256 * MIB);
      const rawslice = await startRawslice(context, { upstream: origin.url, device, flags, set: { 'memory.arena': '64MiB' } });
      const download = async (): Promise<number> => {
        let isRight = true;
        const onBytes = (bytes: Buffer, offset: number): void => {
          isRight &&= original.compare(bytes, 0, bytes.length, offset, offset + bytes.length) === 0;
        };
        const answer = await rawslice.get('/cold.iso', {}, { onBytes });
        assert.ok(isRight, 'every byte is right');
        assert.equal(answer.error, undefined);
        assert.ok(answer.isComplete);
        return answer.bodyBytes;
      };
      const lengths = await Promise.all(Array.from({ length: 100 }, download));
      assert.deepEqual(new Set(lengths), new Set([lengthBytes]));
      const sentBytes = origin.bytesSent('/cold.iso');
      assert.ok(sentBytes <= lengthBytes * 1.01, `the origin sent ${sentBytes} bytes for ${lengthBytes}`);
      await rawslice.untilMetrics('an end of all work', isNothingHeld);
    });
  }
}

/** Every fourth of the stalled clients is on an object of its own, so that they compete for slots; the rest on the one that the fast client wants. */
async function stallBeside(context: TestContext, count: number, arena: string): Promise<void> {
  const lengthBytes = 24 * MIB;
  await using origin = await Origin.start();
  const directory = await temporaryDirectory(unwinding(context));
  const device = path.join(directory, 'cache');
  const rawslice = await startRawslice(context, {
    upstream: origin.url,
    device,
    flags: ['--size', '512MiB'],
    set: { 'memory.arena': arena },
  });
  const fast = origin.setObject('/fast.iso', { lengthBytes, cacheControl: 'max-age=3600' });
  const paths = Array.from({ length: count }, (_, index) => (index % 4 === 0 ? `/own-${index}.iso` : '/fast.iso'));
  for (const own of paths) if (own !== '/fast.iso') origin.setObject(own, { lengthBytes, cacheControl: 'max-age=3600' });
  const stalled = await Promise.all(paths.map((target) => stall({ port: rawslice.port, path: target })));
  await rawslice.untilMetrics('all requests', (scrape) => scrape.get('rawslice_http_requests_in_flight') === count);

  for (const start of [0, 10 * MIB]) {
    const answer = await rawslice.get('/fast.iso', { Range: `bytes=${start}-` }, { expect: { ...fast, start } });
    assert.deepEqual([answer.status, answer.wrongAt, answer.isComplete, answer.bodyBytes], [206, -1, true, lengthBytes - start]);
  }
  const other = origin.setObject('/other.iso', { lengthBytes: 3 * MIB, cacheControl: 'max-age=3600' });
  const small = await rawslice.get('/other.iso', {}, { expect: other });
  assert.deepEqual([small.status, small.wrongAt, small.isComplete], [200, -1, true]);

  for (const client of stalled) client.destroy();
  await rawslice.untilMetrics('an end of all work', isNothingHeld);
  const lines = await rawslice.untilAccessLines(count + 3);
  assert.equal(lines.filter((line) => line.aborted === true).length, count);
}

test('forty stalled clients hold up nobody in an arena of 16 MiB, and nothing is held when they have left', (context) =>
  stallBeside(context, 40, '16MiB'));

test(
  'two hundred stalled clients hold up nobody in an arena of 64 MiB, and nothing is held when they have left',
  {
    skip: lightSkip,
  },
  (context) => stallBeside(context, 200, '64MiB'),
);

test('a new cold object does not wait for stalled clients that take up every connection to the origin', {
  skip: lightSkip,
}, async (context) => {
  await using origin = await Origin.start();
  const directory = await temporaryDirectory(unwinding(context));
  const device = path.join(directory, 'cache');
  const set = { 'memory.arena': '64MiB', 'upstream.connections': '8' };
  const rawslice = await startRawslice(context, { upstream: origin.url, device, flags: ['--size', '512MiB'], set });
  const paths = Array.from({ length: 16 }, (_, index) => `/own-${index}.iso`);
  for (const own of paths) origin.setObject(own, { lengthBytes: 48 * MIB, cacheControl: 'max-age=3600' });
  await Promise.all(paths.map((target) => stall({ port: rawslice.port, path: target })));
  await rawslice.untilMetrics('a run for each connection', (scrape) => scrape.get('rawslice_upstream_requests_in_flight') === 8);
  const other = origin.setObject('/other.iso', { lengthBytes: 3 * MIB, cacheControl: 'max-age=3600' });
  const { status, wrongAt } = await rawslice.get('/other.iso', {}, { expect: other });
  assert.deepEqual([status, wrongAt], [200, -1]);
  const yielded = (await rawslice.scrape()).get('rawslice_fill_connections_yielded_total') ?? 0;
  assert.ok(yielded > 0, 'a transfer that stood still gave its connection up');
});

test('a client at the far end of a cold object does not wait for a slow one at its start', async (context) => {
  const lengthBytes = 64 * MIB;
  await using origin = await Origin.start();
  const identity = origin.setObject('/large.iso', { lengthBytes, cacheControl: 'max-age=3600' });
  const directory = await temporaryDirectory(unwinding(context));
  const rawslice = await startRawslice(context, {
    upstream: origin.url,
    device: path.join(directory, 'cache'),
    flags: ['--size', '256MiB'],
  });
  // Each response trickles: at this rate the far end is more than ten seconds away from the start.
  origin.misbehave('/large.iso', { bytesPerSecond: 5 * MIB });
  const slow = await stall({ port: rawslice.port, path: '/large.iso' });
  await origin.waitForRequest('/large.iso');
  const start = lengthBytes - 100_000;
  const answer = await rawslice.get('/large.iso', { Range: `bytes=${start}-` }, { expect: { ...identity, start } });
  assert.deepEqual([answer.status, answer.wrongAt, answer.isComplete, answer.bodyBytes], [206, -1, true, 100_000]);
  assert.ok(answer.totalMs < 3000, `it took ${Math.round(answer.totalMs)} ms`);
  slow.destroy();
  await rawslice.untilMetrics('an end of all work', isNothingHeld);
});
