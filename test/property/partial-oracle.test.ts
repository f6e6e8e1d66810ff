/**
 * Random ranges of an object whose origin answers each with a random legal interval, against the bytes themselves: every byte right, and
 * nothing asked for that had come before. Real sockets, model store.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { IntervalSet } from '../../src/base/interval-set.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import type { Arena } from '../../src/memory/arena.ts';
import { openStore } from '../../src/store/device-store.ts';
import type { SliceStore } from '../../src/store/slice-store.ts';
import { bodyBytes } from '../helpers/body.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import type { ByteInterval } from '../helpers/origin-script.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { formatTiny } from '../store/store-bench.ts';

const PATH = '/object';
const REQUESTS = 30;

/** Some interval of the object that has some of what was asked for; a small one now and then. */
function legalInterval(random: SeededRandom, asked: ByteInterval, lengthBytes: number): ByteInterval {
  const below = (limit: number): number => random.integerBelow(Math.max(1, limit));
  const inside = asked.start + below(asked.end - asked.start);
  switch (below(4)) {
    case 0:
      return asked;
    case 1:
      return { start: asked.start, end: inside + 1 };
    case 2:
      return { start: inside, end: inside + 1 + below(lengthBytes - inside) };
    default:
      return { start: below(asked.start + 1), end: inside + 1 + below(lengthBytes - inside) };
  }
}

for (let seed = 1; seed <= 12; seed += 1) {
  test(`row 14, 16 (RFC 9111 s3.4): random parts make the right bytes, each asked for once (seed ${seed})`, async () => {
    const random = new SeededRandom(seed);
    const below = (limit: number): number => random.integerBelow(Math.max(1, limit));
    const lengthBytes = seed % 3 === 0 ? 10 : 1 + below(300 * KIB);
    await using origin = await Origin.start();
    const identity = origin.setObject(PATH, { lengthBytes, cacheControl: 'max-age=600' });
    const sent = new IntervalSet();
    // A client that wants what lies before them does not wait for bytes that are on their way.
    const underWay: ByteInterval[] = [];
    const askedAgain: string[] = [];
    origin.misbehave(
      PATH,
      {
        interval: (asked) => {
          if (asked === undefined) return undefined;
          for (const { start, end } of sent.intervals) {
            if (start < asked.end && asked.start < end) askedAgain.push(`${asked.start}-${asked.end} although ${start}-${end}`);
          }
          const answer = legalInterval(random, asked, lengthBytes);
          underWay.push({ start: Math.max(answer.start, asked.start), end: Math.min(answer.end, asked.end) });
          return answer;
        },
      },
      10_000,
    );
    await using edge = await startEdge({ origin });
    const bytes = bodyBytes(identity, 0, lengthBytes);
    for (let request = 0; request < REQUESTS; request += 1) {
      const start = below(lengthBytes);
      const end = start + 1 + below(lengthBytes - start);
      const answer = await edge.get(PATH, { Range: `bytes=${start}-${end - 1}` });
      assert.equal(answer.status, 206);
      assert.ok(answer.body.equals(bytes.subarray(start, end)), `bytes ${start}-${end} of ${lengthBytes}`);
      await edge.settle();
      for (const interval of underWay.splice(0)) sent.add(interval.start, interval.end);
    }
    assert.deepEqual(askedAgain, []);
    const whole = await edge.get(PATH);
    assert.deepEqual([whole.status, whole.body.equals(bytes)], [200, true]);
  });
}

/** A store over a disk, which may be opened again. */
async function makeDisk(seed: number): Promise<(arena: Arena) => Promise<SliceStore>> {
  const disk = new SimulatedDisk({ capacityBytes: 16 * MIB, random: new SeededRandom(seed) });
  const device = disk.open();
  await formatTiny(device);
  await device.close();
  return (arena) => openStore({ device: disk.open(), arena, clock: new SystemClock(), logger: createSilentLogger(), compression: 'auto' });
}

for (let seed = 1; seed <= 4; seed += 1) {
  test(`row 14, 16 (RFC 9111 s3.4): parts on a device and in memory make the right bytes, also after restarts (seed ${seed})`, async () => {
    const random = new SeededRandom(seed);
    const below = (limit: number): number => random.integerBelow(Math.max(1, limit));
    const lengthBytes = 1 + below(3 * MIB);
    await using origin = await Origin.start();
    const identity = origin.setObject(PATH, { lengthBytes, cacheControl: 'max-age=600' });
    origin.misbehave(PATH, { interval: (asked) => asked && legalInterval(random, asked, lengthBytes) }, 10_000);
    const makeStore = await makeDisk(seed);
    const start = (): Promise<TestEdge> => startEdge({ origin, makeStore, arenaBytes: 32 * MIB, set: { 'slice.size': '1MiB' } });
    const bytes = bodyBytes(identity, 0, lengthBytes);
    for (let life = 0; life < 3; life += 1) {
      await using edge = await start();
      for (let request = 0; request < 8; request += 1) {
        const first = below(lengthBytes);
        const end = first + 1 + below(lengthBytes - first);
        const answer = await edge.get(PATH, { Range: `bytes=${first}-${end - 1}` });
        assert.equal(answer.status, 206);
        assert.ok(answer.body.equals(bytes.subarray(first, end)), `bytes ${first}-${end} of ${lengthBytes} in life ${life}`);
        await edge.settle();
        await edge.store.drain();
      }
    }
  });
}
