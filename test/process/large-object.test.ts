/** An object many times the arena and larger than the device: every byte right, memory flat, in bounded time. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { formatBytes, GIB, MIB } from '../../src/base/units.ts';
import { verifyBody } from '../helpers/body.ts';
import { CACHE_PLACES, type CachePlace } from '../helpers/cache-place.ts';
import { lightSkip } from '../helpers/heavy.ts';
import { Origin } from '../helpers/origin.ts';
import { startRawslice } from '../helpers/rawslice-process.ts';

const ARENA_BYTES = 64 * MIB;
/** The program itself, six threads of the device (50 MiB) and two of the codec (20 MiB). */
const RSS_MAX_BYTES = ARENA_BYTES + 330 * MIB;
/** How much more may be resident in the second half of the transfer than in the first. */
const GROWTH_MAX_BYTES = 40 * MIB;

interface Sizes {
  readonly lengthBytes: number;
  readonly deviceBytes: number;
}

async function streamLarge(context: TestContext, place: CachePlace, { lengthBytes, deviceBytes }: Sizes): Promise<void> {
  await using origin = await Origin.start();
  const identity = origin.setObject('/large.iso', { lengthBytes, cacheControl: 'max-age=3600' });
  const { device, flags } = await place.make(context, deviceBytes);
  const rawslice = await startRawslice(context, { upstream: origin.url, device, flags, set: { 'memory.arena': String(ARENA_BYTES) } });
  const samples: { offset: number; residentBytes: number }[] = [];
  let wrongAt = -1;
  let nextSample = 0;
  const onBytes = (bytes: Buffer, offset: number): void => {
    if (wrongAt === -1) {
      const wrong = verifyBody(bytes, identity, offset);
      if (wrong !== -1) wrongAt = offset + wrong;
    }
    if (offset < nextSample) return;
    nextSample = offset + lengthBytes / 200;
    samples.push({ offset, residentBytes: rawslice.residentBytes() });
  };
  const startMs = new SystemClock().monotonicMs();
  const answer = await rawslice.get('/large.iso', {}, { onBytes });
  const tookMs = new SystemClock().monotonicMs() - startMs;
  assert.deepEqual([answer.status, wrongAt, answer.isComplete, answer.bodyBytes], [200, -1, true, lengthBytes]);
  assert.equal(origin.bytesSent(), lengthBytes);

  const peakOf = (from: number, to: number): number =>
    Math.max(...samples.filter(({ offset }) => offset >= from && offset < to).map(({ residentBytes }) => residentBytes));
  // The first quarter warms up: code is compiled, the arena is touched for the first time.
  const early = peakOf(lengthBytes / 4, lengthBytes / 2);
  const late = peakOf(lengthBytes / 2, lengthBytes);
  context.diagnostic(`${Math.round(tookMs)} ms; resident ${formatBytes(early)}, then ${formatBytes(late)}`);
  assert.ok(Math.max(early, late) < RSS_MAX_BYTES, `${formatBytes(late)} resident with an arena of ${formatBytes(ARENA_BYTES)}`);
  assert.ok(late - early < GROWTH_MAX_BYTES, `resident memory grew from ${formatBytes(early)} to ${formatBytes(late)}`);

  // The end of the object is what the device still holds; the beginning had to make room.
  const start = lengthBytes - 3 * MIB - 5;
  await rawslice.untilStored();
  const tail = await rawslice.get('/large.iso', { Range: `bytes=${start}-` }, { expect: { ...identity, start } });
  assert.deepEqual([tail.status, tail.wrongAt, tail.isComplete], [206, -1, true]);
  const scrape = await rawslice.scrape();
  assert.ok((scrape.get('rawslice_store_evicted_total{reason="blocks"}') ?? 0) > 0, 'the device was too small for the object');
}

const [file, loopDevice] = CACHE_PLACES;

test('3 GiB pass through an arena of 64 MiB and a loop device of 512 MiB', { skip: loopDevice.skip || lightSkip }, (context) =>
  streamLarge(context, loopDevice, { lengthBytes: 3 * GIB, deviceBytes: 512 * MIB }),
);

test('256 MiB pass through an arena of 64 MiB and a device of 96 MiB', (context) =>
  streamLarge(context, file, { lengthBytes: 256 * MIB, deviceBytes: 96 * MIB }));
