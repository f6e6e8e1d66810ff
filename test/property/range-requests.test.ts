/** Random sets of ranges and random condition fields against the real edge: the bytes are the origin's, and nothing ends the program. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import rangeParser from 'range-parser';
import { KIB } from '../../src/base/units.ts';
import { bodyBytes } from '../helpers/body.ts';
import { exchange } from '../helpers/client.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { MemoryStore } from '../helpers/memory-store.ts';
import { parseMultipart } from '../helpers/multipart-parser.ts';
import { Origin } from '../helpers/origin.ts';

const SEED = 20_261_121;
const SLICE = 64 * KIB;
const LENGTH = 6 * SLICE + 1234;

/** Places that matter: slice boundaries and their neighbours, and anything else. */
const place = fc.oneof(
  fc.tuple(fc.nat({ max: 6 }), fc.integer({ min: -2, max: 2 })).map(([slice, delta]) => Math.max(0, slice * SLICE + delta)),
  fc.nat({ max: LENGTH + 100 }),
);
const size = fc.oneof(fc.nat({ max: 20 }), fc.nat({ max: 2 * SLICE }));
const spec = fc.oneof(
  { weight: 8, arbitrary: fc.tuple(place, size).map(([first, more]) => `${first}-${first + more}`) },
  { weight: 1, arbitrary: place.map((first) => `${first}-`) },
  // range-parser calls a suffix longer than the object unsatisfiable; the rows of http-01 have those.
  { weight: 1, arbitrary: fc.integer({ min: 1, max: LENGTH }).map((suffix) => `-${suffix}`) },
);

interface Expected {
  readonly start: number;
  readonly end: number;
}

/** The ranges after merging overlaps, by another library's reading of the field; in the order of bytes. */
function expectedRanges(value: string): Expected[] {
  const parsed = rangeParser(LENGTH, value);
  if (!Array.isArray(parsed)) return [];
  const sorted = parsed.map(({ start, end }) => ({ start, end: end + 1 })).sort((one, other) => one.start - other.start);
  const merged: Expected[] = [];
  for (const range of sorted) {
    const last = merged.at(-1);
    if (last !== undefined && range.start < last.end) merged[merged.length - 1] = { start: last.start, end: Math.max(last.end, range.end) };
    else merged.push(range);
  }
  return merged;
}

async function check(edge: TestEdge, origin: Origin, path: string, value: string): Promise<void> {
  const answer = await edge.get(path, { range: value });
  const expected = expectedRanges(value);
  assert.equal(answer.isComplete, true);
  assert.equal(Number(answer.headers['content-length']), answer.body.length);
  const body = origin.identity(path);
  if (expected.length === 0) {
    assert.deepEqual([answer.status, answer.headers['content-range']], [416, `bytes */${LENGTH}`]);
  } else if (answer.status === 200) {
    // Only where the heads of the parts make it the shorter answer.
    const sentBytes = expected.reduce((sum, { start, end }) => sum + end - start, 0);
    assert.ok(expected.length > 1 && sentBytes + expected.length * 200 > LENGTH, value);
    assert.ok(answer.body.equals(bodyBytes(body, 0, LENGTH)));
  } else {
    const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(answer.headers['content-range'] ?? '');
    const single = { start: Number(match?.[1]), end: Number(match?.[2]) + 1, bytes: answer.body };
    const parts = match === null ? parseMultipart(answer.headers['content-type'], answer.body) : [single];
    assert.deepEqual(
      parts.map(({ start, end }) => ({ start, end })).sort((one, other) => one.start - other.start),
      expected,
    );
    for (const { start, end, bytes } of parts) assert.ok(bytes.equals(bodyBytes(body, start, end - start)), `${value}: ${start}`);
  }
}

for (const keeps of [true, false]) {
  test(`rows 3-11: random ranges of one object after the other, ${keeps ? 'kept' : 'not kept'} by the store (seed ${SEED})`, async () => {
    await using origin = await Origin.start();
    const makeStore = async (arena: ConstructorParameters<typeof MemoryStore>[0]): Promise<MemoryStore> => {
      const store = new MemoryStore(arena);
      store.declinesSlices = !keeps;
      return store;
    };
    await using edge = await startEdge({ origin, makeStore });
    let object = 0;
    const list = fc.array(spec, { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(fc.array(list, { minLength: 1, maxLength: 3 }), async (requests) => {
        object += 1;
        const path = `/object-${object}`;
        origin.setObject(path, { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
        // The first meets nothing, the others what the ones before have left.
        for (const specs of requests) await check(edge, origin, path, `bytes=${specs.join()}`);
      }),
      { seed: SEED, numRuns: 60 },
    );
  });
}

test(`row 2: random Range, If-Range, If-None-Match, If-Match and dates are answered, whatever they are (seed ${SEED})`, async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin });
  const body = origin.setObject('/a', { lengthBytes: 5000, cacheControl: 'max-age=60' });
  const { etag = '', lastModified = '' } = origin.validators('/a');
  const words = [
    'bytes',
    '=',
    '-',
    ',',
    ' ',
    '0',
    '9',
    '4999',
    '5000',
    '18446744073709551616',
    'W/',
    '"',
    '*',
    etag,
    lastModified,
    '\xe9',
    ';',
    '\t',
  ];
  const text = fc.array(fc.constantFrom(...words), { maxLength: 12 }).map((parts) => parts.join('').trim());
  const range = fc.oneof(
    text,
    text.map((rest) => `bytes=${rest}`),
    fc.constant('bytes=0-9'),
  );
  const names = ['If-Range', 'If-None-Match', 'If-Match', 'If-Modified-Since', 'If-Unmodified-Since'] as const;
  const fields = fc.array(fc.tuple(fc.constantFrom(...names), text), { maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(range, fields, async (value, more) => {
      const answer = await edge.get('/a', {}, { headers: [['Range', value], ...more] });
      assert.ok([200, 206, 304, 412, 416].includes(answer.status), `${answer.status} for ${value}`);
      assert.equal(answer.isComplete, true);
      if (answer.status === 200) assert.ok(answer.body.equals(bodyBytes(body, 0, 5000)));
    }),
    { seed: SEED, numRuns: 400 },
  );
});

test(`row 2: random bytes in Range and If-Range never end the program (seed ${SEED})`, async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin });
  origin.setObject('/a', { lengthBytes: 500, cacheControl: 'max-age=60' });
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ maxLength: 40 }), async (one, other) => {
      const request = ['GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nRange: bytes=', one, '\r\nIf-Range: ', other, '\r\n\r\n'];
      const bytes = Buffer.concat(request.map((part) => Buffer.from(part as string)));
      const received = await exchange({ port: edge.port, bytes, isEnough: (all) => all.includes('\r\n\r\n') });
      assert.match(received.toString('latin1'), /^HTTP\/1\.1 (200|206|400|416) /);
    }),
    { seed: SEED, numRuns: 150 },
  );
  assert.equal((await edge.get('/a')).status, 200);
});
