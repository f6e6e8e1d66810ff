/** Ranges of objects beyond 4 GiB, up to 2^53 bytes: a few bytes are asked for, and only their slices move (row 57). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { GIB, KIB, MIB, TIB } from '../../src/base/units.ts';
import type { Arena } from '../../src/memory/arena.ts';
import { openStore } from '../../src/store/device-store.ts';
import type { SliceStore } from '../../src/store/slice-store.ts';
import { bodyBytes } from '../helpers/body.ts';
import { startEdge } from '../helpers/edge.ts';
import { parseMultipart } from '../helpers/multipart-parser.ts';
import { Origin } from '../helpers/origin.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { formatTiny } from '../store/store-bench.ts';

const SLICE = 64 * KIB;
const PATH = '/large';

async function makeStore(arena: Arena): Promise<SliceStore> {
  const disk = new SimulatedDisk({ capacityBytes: 16 * MIB, random: new SeededRandom(1) });
  const device = disk.open();
  await formatTiny(device);
  await device.close();
  return openStore({ device: disk.open(), arena, clock: new SystemClock(), logger: createSilentLogger(), compression: 'auto' });
}

const LENGTHS: readonly (readonly [name: string, lengthBytes: number, isKept: boolean])[] = [
  ['5 GiB', 5 * GIB, true],
  ['20 TB and a byte', 20e12 + 1, true],
  ['as long as 2^32 - 1 slices', (2 ** 32 - 1) * SLICE, true],
  ['a byte longer than that', (2 ** 32 - 1) * SLICE + 1, false],
  ['2^32 slices', 2 ** 32 * SLICE, false],
  ['1024 TiB', 1024 * TIB, false],
  ['2^53 - 1 bytes', Number.MAX_SAFE_INTEGER, false],
];
for (const [name, lengthBytes, isKept] of LENGTHS) {
  test(`row 57 (RFC 9110 s14.1.2): an object of ${name}: ranges at its ends and across 4 GiB, ${isKept ? 'from slices' : 'past the cache'}`, async () => {
    await using origin = await Origin.start();
    const body = origin.setObject(PATH, { lengthBytes, cacheControl: 'max-age=60' });
    await using edge = await startEdge({ origin, makeStore });
    const places: readonly (readonly [range: string, start: number, end: number])[] = [
      [`${4 * GIB - 5}-${4 * GIB + 4}`, 4 * GIB - 5, 4 * GIB + 5],
      [`${lengthBytes - 10}-`, lengthBytes - 10, lengthBytes],
      [`${lengthBytes - 1}-${lengthBytes + 5}`, lengthBytes - 1, lengthBytes],
      ['-7', lengthBytes - 7, lengthBytes],
      ['0-9', 0, 10],
      [
        `${Math.floor(lengthBytes / SLICE / 2) * SLICE - 3}-${Math.floor(lengthBytes / SLICE / 2) * SLICE + 3}`,
        Math.floor(lengthBytes / SLICE / 2) * SLICE - 3,
        Math.floor(lengthBytes / SLICE / 2) * SLICE + 4,
      ],
    ];
    for (const isWarm of [false, true]) {
      for (const [range, start, end] of places) {
        const answer = await edge.get(PATH, { range: `bytes=${range}` }, { expect: { ...body, start } });
        assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes, answer.isComplete], [206, -1, end - start, true], range);
        assert.equal(answer.headers['content-range'], `bytes ${start}-${end - 1}/${lengthBytes}`);
        if (isWarm && isKept) assert.equal(answer.headers['x-cache'], 'HIT', range);
        await edge.settle();
      }
      await edge.store.drain();
    }
    if (isKept) {
      const answer = await edge.get(PATH, { range: `bytes=${4 * GIB - 5}-${4 * GIB + 4},-7,0-9` });
      for (const part of parseMultipart(answer.headers['content-type'], answer.body))
        assert.ok(part.bytes.equals(bodyBytes(body, part.start, part.end - part.start)));
      const head = await edge.get(PATH, {}, { method: 'HEAD' });
      assert.equal(head.headers['content-length'], String(lengthBytes));
      const past = await edge.get(PATH, { range: `bytes=${lengthBytes}-` });
      assert.deepEqual([past.status, past.headers['content-range']], [416, `bytes */${lengthBytes}`]);
      assert.ok(origin.bytesSent(PATH) <= 10 * SLICE, `${origin.bytesSent(PATH)} bytes came from the origin`);
    }
  });
}
