/** Many clients of the real program at once: one copy from the origin, nobody waits for somebody slower, nothing is held afterwards. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { MIB } from '../../src/base/units.ts';
import { bodyBytes } from '../helpers/body.ts';
import { CACHE_PLACES } from '../helpers/cache-place.ts';
import { stall } from '../helpers/client.ts';
import { eventually } from '../helpers/eventually.ts';
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

for (const place of CACHE_PLACES) {
  test(`a hundred downloads of one cold object cost the origin one copy, on ${place.name}`, { skip: place.skip }, async (context) => {
    const lengthBytes = 32 * MIB;
    await using origin = await Origin.start();
    const original = bodyBytes(origin.setObject('/cold.iso', { lengthBytes, cacheControl: 'max-age=3600' }), 0, lengthBytes);
    const { device, flags } = await place.make(context, 256 * MIB);
    const rawslice = await startRawslice(context, { upstream: origin.url, device, flags, set: { 'memory.arena': '64MiB' } });
    const download = async (): Promise<number> => {
      let isRight = true;
      const onBytes = (bytes: Buffer, offset: number): void => {
        isRight &&= bytes.compare(original, offset, offset + bytes.length) === 0;
      };
      const answer = await rawslice.get('/cold.iso', {}, { onBytes });
      assert.ok(isRight, 'every byte is right');
      assert.ok(answer.isComplete, answer.error);
      return answer.bodyBytes;
    };
    const lengths = await Promise.all(Array.from({ length: 100 }, download));
    assert.deepEqual(new Set(lengths), new Set([lengthBytes]));
    const sentBytes = origin.bytesSent('/cold.iso');
    assert.ok(sentBytes <= lengthBytes * 1.01, `the origin sent ${sentBytes} bytes for ${lengthBytes}`);
    await rawslice.untilMetrics('an end of all work', isNothingHeld);
  });
}

test('two hundred stalled clients hold up nobody, and nothing is held when they have left', async (context) => {
  const lengthBytes = 48 * MIB;
  await using origin = await Origin.start();
  const directory = await temporaryDirectory(unwinding(context));
  const rawslice = await startRawslice(context, {
    upstream: origin.url,
    device: path.join(directory, 'cache'),
    flags: ['--size', '512MiB'],
    set: { 'memory.arena': '64MiB' },
  });
  // Half of them on objects of their own, so that they compete for slots; half on the one that the fast client wants.
  const fast = origin.setObject('/fast.iso', { lengthBytes, cacheControl: 'max-age=3600' });
  const paths = Array.from({ length: 200 }, (_, index) => (index % 2 === 0 ? '/fast.iso' : `/own-${index}.iso`));
  for (const own of paths) if (own !== '/fast.iso') origin.setObject(own, { lengthBytes, cacheControl: 'max-age=3600' });
  const stalled = await Promise.all(paths.map((target) => stall({ port: rawslice.port, path: target })));
  await rawslice.untilMetrics('two hundred requests', (scrape) => scrape.get('rawslice_http_requests_in_flight') === 200);

  for (const start of [0, 20 * MIB]) {
    const headers = { Range: `bytes=${start}-` };
    const answer = await rawslice.get('/fast.iso', headers, { expect: { ...fast, start } });
    assert.deepEqual([answer.status, answer.wrongAt, answer.isComplete, answer.bodyBytes], [206, -1, true, lengthBytes - start]);
  }
  const other = origin.setObject('/other.iso', { lengthBytes: 3 * MIB, cacheControl: 'max-age=3600' });
  const small = await rawslice.get('/other.iso', {}, { expect: other });
  assert.deepEqual([small.status, small.wrongAt, small.isComplete], [200, -1, true]);

  for (const client of stalled) client.destroy();
  await rawslice.untilMetrics('an end of all work', isNothingHeld);
  await eventually(() => rawslice.accessLines.length === 203, { what: 'a line for every request' });
  assert.equal(rawslice.accessLines.filter((line) => line.aborted === true).length, 200);
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
