/** Several ranges in one request: multipart/byteranges exact to the byte, from nothing, from slices, and from both (rows 9, 10, 11). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB, MIB } from '../../src/base/units.ts';
import { bodyBytes } from '../helpers/body.ts';
import type { ClientResponse } from '../helpers/client.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { MemoryStore } from '../helpers/memory-store.ts';
import { type ParsedPart, parseMultipart } from '../helpers/multipart-parser.ts';
import { Origin } from '../helpers/origin.ts';

const SLICE = 64 * KIB;
const LENGTH = 20 * SLICE + 123;
const PATH = '/a.iso';
const TYPE = 'application/x-thing; v="1"';

async function start(
  set: Record<string, string> = {},
  lengthBytes = LENGTH,
): Promise<{ origin: Origin; edge: TestEdge; store: MemoryStore }> {
  const origin = await Origin.start();
  origin.setObject(PATH, { lengthBytes, cacheControl: 'max-age=60', contentType: TYPE });
  let store: MemoryStore | undefined;
  const edge = await startEdge({
    origin,
    set,
    makeStore: async (arena) => {
      store = new MemoryStore(arena);
      return store;
    },
  });
  assert.ok(store !== undefined);
  return { origin, edge, store };
}

/** The parts, each compared with the origin's bytes; and what holds for every such answer. */
function partsOf(origin: Origin, answer: ClientResponse, lengthBytes = LENGTH): ParsedPart[] {
  assert.deepEqual([answer.status, answer.isComplete], [206, true]);
  assert.equal(Number(answer.headers['content-length']), answer.body.length);
  assert.equal(answer.headers['content-range'], undefined, 'none in the top header');
  const parts = parseMultipart(answer.headers['content-type'], answer.body);
  for (const part of parts) {
    assert.deepEqual([part.headers['content-type'], part.total], [TYPE, lengthBytes]);
    assert.ok(part.bytes.equals(bodyBytes(origin.identity(PATH), part.start, part.end - part.start)), `bytes of ${part.start}-${part.end}`);
  }
  return parts;
}

function places(parts: readonly ParsedPart[]): [number, number][] {
  return parts.map(({ start, end }) => [start, end]);
}

const SETS: readonly (readonly [name: string, range: string, expected: readonly (readonly [number, number])[]])[] = [
  [
    'two of one slice',
    '0-9,100-109',
    [
      [0, 10],
      [100, 110],
    ],
  ],
  [
    'side by side stay apart',
    '0-9,10-19',
    [
      [0, 10],
      [10, 20],
    ],
  ],
  [
    'across slices',
    `0-0,${SLICE - 1}-${SLICE},${5 * SLICE}-${7 * SLICE + 5}`,
    [
      [0, 1],
      [SLICE - 1, SLICE + 1],
      [5 * SLICE, 7 * SLICE + 6],
    ],
  ],
  [
    'in the order asked, not in the order of bytes',
    `${9 * SLICE}-${9 * SLICE + 9},5-9,${3 * SLICE}-${3 * SLICE + 1},0-1`,
    [
      [9 * SLICE, 9 * SLICE + 10],
      [5, 10],
      [3 * SLICE, 3 * SLICE + 2],
      [0, 2],
    ],
  ],
  [
    'a suffix and a start',
    '0-4,-5',
    [
      [0, 5],
      [LENGTH - 5, LENGTH],
    ],
  ],
  [
    'a suffix first',
    '-5,0-4',
    [
      [LENGTH - 5, LENGTH],
      [0, 5],
    ],
  ],
  [
    'an open end',
    `0-4,${LENGTH - 7}-`,
    [
      [0, 5],
      [LENGTH - 7, LENGTH],
    ],
  ],
  [
    'an end past the object',
    `0-4,${LENGTH - 7}-99999999999`,
    [
      [0, 5],
      [LENGTH - 7, LENGTH],
    ],
  ],
  [
    'one of them past the object',
    `0-4,${LENGTH}-,10-14,-0`,
    [
      [0, 5],
      [10, 15],
    ],
  ],
  [
    'overlaps become one, where the first stood',
    '500-599,0-9,590-699,5-14',
    [
      [500, 700],
      [0, 15],
    ],
  ],
  [
    'white space and empty members',
    '0-4 ,, \t10-14 ,',
    [
      [0, 5],
      [10, 15],
    ],
  ],
  [
    'large parts',
    `100-${6 * SLICE},${8 * SLICE + 1}-${15 * SLICE}`,
    [
      [100, 6 * SLICE + 1],
      [8 * SLICE + 1, 15 * SLICE + 1],
    ],
  ],
];

for (const [name, range, expected] of SETS) {
  test(`row 9 (RFC 9110 s15.3.7.2): ${name}: cold, warm, and over a mixture of hits and misses`, async () => {
    const { origin, edge } = await start();
    await using _ = edge;
    await using __ = origin;
    const headers = { range: `bytes=${range}` };
    const cold = await edge.get(PATH, headers);
    assert.deepEqual(places(partsOf(origin, cold)), expected);
    await edge.settle();
    origin.forgetRequests();
    const warm = await edge.get(PATH, headers);
    assert.deepEqual(places(partsOf(origin, warm)), expected);
    assert.deepEqual([warm.headers['x-cache'], origin.requests.length], ['HIT', 0]);
    assert.notEqual(warm.headers['content-type'], cold.headers['content-type'], 'each answer has a boundary of its own');

    const mixed = await start();
    await using ___ = mixed.edge;
    await using ____ = mixed.origin;
    for (const slice of [0, 3, 6, 10]) await mixed.edge.get(PATH, { range: `bytes=${slice * SLICE}-${slice * SLICE + 10}` });
    await mixed.edge.settle();
    assert.deepEqual(places(partsOf(mixed.origin, await mixed.edge.get(PATH, headers))), expected);
  });
}

test('row 9 (RFC 9110 s15.3.7.2): parts of one slice fetch it once; slices in between are not fetched', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  const inSlice = (slice: number): string[] =>
    Array.from({ length: 20 }, (_unused, index) => `${slice * SLICE + index * 100}-${slice * SLICE + index * 100 + 9}`);
  const range = [...inSlice(2), ...inSlice(3), ...inSlice(9)].join();
  const parts = partsOf(origin, await edge.get(PATH, { range: `bytes=${range}` }));
  assert.equal(parts.length, 60);
  await edge.settle();
  assert.equal(origin.bytesSent(PATH), 3 * SLICE);
  const asked = origin
    .requestsFor(PATH)
    .map((request) => request.headers.range)
    .sort();
  assert.deepEqual(asked, [
    `bytes=${2 * SLICE}-${3 * SLICE - 1}`,
    `bytes=${3 * SLICE}-${4 * SLICE - 1}`,
    `bytes=${9 * SLICE}-${10 * SLICE - 1}`,
  ]);
});

test('row 9: small parts far apart are asked for side by side, a bounded number of them', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  // The object is known, its slices are not.
  await edge.get(PATH, { range: 'bytes=0-0' });
  await edge.settle();
  origin.forgetRequests();
  origin.misbehave(PATH, { holdHead: true });
  const slices = [2, 4, 6, 8, 10, 12, 14, 16];
  const pending = edge.get(PATH, { range: `bytes=${slices.map((slice) => `${slice * SLICE}-${slice * SLICE + 9}`).join()}` });
  // One that is waited for and four ahead of it.
  await origin.waitForHeld(PATH, 5);
  assert.equal(origin.requestsFor(PATH).length, 5);
  origin.behave();
  origin.release();
  assert.equal(partsOf(origin, await pending).length, 8);
  await edge.settle();
  assert.equal(origin.bytesSent(PATH), 8 * SLICE);
});

test('row 9: the boundary does not stand in the object, and is one that every client can read', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  const seen = new Set<string>();
  for (let turn = 0; turn < 5; turn += 1) {
    const answer = await edge.get(PATH, { range: 'bytes=0-0,2-2' });
    const boundary = /boundary=([0-9a-f]{32})$/.exec(answer.headers['content-type'] ?? '')?.[1];
    assert.ok(boundary !== undefined);
    assert.equal(answer.body.toString('latin1').split(boundary).length, 4);
    seen.add(boundary);
  }
  assert.equal(seen.size, 5);
});

test('row 9: an object without Content-Type has parts without', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  origin.misbehave(PATH, { dropHeaders: ['content-type'] });
  const answer = await edge.get(PATH, { range: 'bytes=0-0,2-2' });
  const parts = parseMultipart(answer.headers['content-type'], answer.body);
  assert.deepEqual(
    parts.map((part) => Object.keys(part.headers)),
    [['content-range'], ['content-range']],
  );
});

const SINGLE: readonly (readonly [name: string, range: string, start: number, end: number])[] = [
  ['one of two is satisfiable', `10-19,${LENGTH}-`, 10, 20],
  ['overlapping ones become one', '10-19,15-29,12-13', 10, 30],
  ['all of it, twice', '0-,0-', 0, LENGTH],
  ['an empty member beside one', ',10-19,', 10, 20],
];
for (const [name, range, start_, end] of SINGLE) {
  test(`row 10 (RFC 9110 s15.3.7.2): ${name}: a plain 206, cold and warm`, async () => {
    const { origin, edge } = await start();
    await using _ = edge;
    await using __ = origin;
    for (const word of ['MISS', 'HIT']) {
      const answer = await edge.get(PATH, { range: `bytes=${range}` }, { expect: { ...origin.identity(PATH), start: start_ } });
      assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes, answer.isComplete], [206, -1, end - start_, true]);
      assert.deepEqual([answer.headers['content-range'], answer.headers['content-type']], [`bytes ${start_}-${end - 1}/${LENGTH}`, TYPE]);
      assert.equal(answer.headers['x-cache'], word);
      await edge.settle();
    }
  });
}

test('row 7 (RFC 9110 s15.5.17): none of several satisfiable is 416 with the length, cold and warm', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  const headers = { range: `bytes=${LENGTH}-,${LENGTH + 5}-${LENGTH + 9},-0` };
  for (const isWarm of [false, true]) {
    if (isWarm) await edge.get(PATH);
    const answer = await edge.get(PATH, headers);
    assert.deepEqual([answer.status, answer.headers['content-range'], answer.bodyBytes], [416, `bytes */${LENGTH}`, 0]);
  }
});

test('row 11 (RFC 9110 s14.2): more ranges than limits.ranges are answered with everything, as many with parts', async () => {
  const { origin, edge } = await start({ 'limits.ranges': '3' });
  await using _ = edge;
  await using __ = origin;
  const three = await edge.get(PATH, { range: 'bytes=0-0,2-2,4-4' });
  assert.equal(partsOf(origin, three).length, 3);
  const four = await edge.get(PATH, { range: 'bytes=0-0,2-2,4-4,6-6' }, { expect: origin.identity(PATH) });
  assert.deepEqual([four.status, four.wrongAt, four.bodyBytes], [200, -1, LENGTH]);
  assert.equal(edge.services.metrics.value('rangeLimits', 'count'), 1);
});

test('row 11 (RFC 9110 s17.15): no set of ranges brings more bytes than the object', async () => {
  const lengthBytes = 8 * KIB;
  const { origin, edge } = await start({}, lengthBytes);
  await using _ = edge;
  await using __ = origin;
  // Overlapping 200 times over: one copy.
  const overlapping = await edge.get(PATH, { range: `bytes=${Array(200).fill('0-').join()}` }, { expect: origin.identity(PATH) });
  assert.deepEqual([overlapping.status, overlapping.wrongAt, overlapping.bodyBytes], [206, -1, lengthBytes]);
  assert.equal(edge.services.metrics.value('rangeLimits', 'overlap'), 1);
  // Small and apart: the heads of the parts would be more than the object.
  const tiny = Array.from({ length: 200 }, (_unused, index) => `${index * 10}-${index * 10}`).join();
  const whole = await edge.get(PATH, { range: `bytes=${tiny}` }, { expect: origin.identity(PATH) });
  assert.deepEqual([whole.status, whole.wrongAt, whole.bodyBytes], [200, -1, lengthBytes]);
  assert.equal(edge.services.metrics.value('rangeLimits', 'length'), 1);
  // A few of a small object are as good as asked for.
  assert.equal(partsOf(origin, await edge.get(PATH, { range: 'bytes=0-0,2-2,4-4' }), lengthBytes).length, 3);
});

test('row 9: an object of unknown length is answered with everything, then with parts', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  origin.misbehave(PATH, { chunked: true, ignoreRange: true }, 1);
  const headers = { range: 'bytes=0-9,100000-100009' };
  const growing = await edge.get(PATH, headers, { expect: origin.identity(PATH) });
  assert.deepEqual([growing.status, growing.wrongAt, growing.bodyBytes, growing.isComplete], [200, -1, LENGTH, true]);
  assert.deepEqual(places(partsOf(origin, await edge.get(PATH, headers))), [
    [0, 10],
    [100_000, 100_010],
  ]);
});

test('row 15: an origin without ranges and validators is read once for ascending parts; others are answered with everything', async () => {
  const { origin, edge, store } = await start();
  await using _ = edge;
  await using __ = origin;
  // What the store does not keep is there for its readers alone.
  store.declinesSlices = true;
  origin.misbehave(PATH, { ignoreRange: true, validators: 'none' });
  const ascending = await edge.get(PATH, { range: `bytes=5-9,${7 * SLICE}-${7 * SLICE + 9},${15 * SLICE}-${15 * SLICE + 9}` });
  const expected = [5, 7 * SLICE, 15 * SLICE];
  assert.deepEqual(
    partsOf(origin, ascending).map((part) => part.start),
    expected,
  );
  assert.equal(origin.requestsFor(PATH).length, 1);
  await edge.settle();
  const unordered = await edge.get(PATH, { range: `bytes=${15 * SLICE}-${15 * SLICE + 9},0-9` }, { expect: origin.identity(PATH) });
  assert.deepEqual([unordered.status, unordered.wrongAt, unordered.bodyBytes], [200, -1, LENGTH]);
  assert.equal(edge.services.metrics.value('rangeLimits', 'order'), 1);
});

test('row 15: an origin with validators that ignores ranges is found out on the way, in any order', async () => {
  for (const isKept of [true, false]) {
    const { origin, edge, store } = await start();
    await using _ = edge;
    await using __ = origin;
    store.declinesSlices = !isKept;
    origin.misbehave(PATH, { ignoreRange: true });
    const range = [15, 0, 7, 3, 19, 12, 1].map((slice) => `${slice * SLICE + 5}-${slice * SLICE + 9}`).join();
    assert.equal(partsOf(origin, await edge.get(PATH, { range: `bytes=${range}` })).length, 7);
  }
});

test('row 9: a store that keeps nothing serves parts, in any order', async () => {
  const { origin, edge, store } = await start();
  await using _ = edge;
  await using __ = origin;
  store.declinesSlices = true;
  const range = [12, 3, 17, 3.5, 9, 1, 12.5, 0, 6].map((slice) => `${slice * SLICE}-${slice * SLICE + 99}`).join();
  assert.equal(partsOf(origin, await edge.get(PATH, { range: `bytes=${range}` })).length, 9);
});

test('row 9: without room in memory the parts come past the cache', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  await edge.get(PATH, { range: 'bytes=0-0' });
  await edge.settle();
  // Fills find no slot.
  const leases = [];
  for (let lease = edge.arena.tryLease('fill', SLICE); lease !== undefined; lease = edge.arena.tryLease('fill', SLICE)) leases.push(lease);
  const range = [2, 4, 4.25, 8].map((slice) => `${slice * SLICE}-${slice * SLICE + 99}`).join();
  const parts = partsOf(origin, await edge.get(PATH, { range: `bytes=${range}` }));
  for (const lease of leases) lease.end();
  assert.equal(parts.length, 4);
});

test('row 48: a change at the origin between two parts breaks the answer off, and the next one is whole', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  const old = origin.identity(PATH);
  await edge.get(PATH, { range: 'bytes=0-9' });
  await edge.settle();
  origin.change(PATH);
  const range = { range: `bytes=0-9,${9 * SLICE}-${9 * SLICE + 9}` };
  const cut = await edge.get(PATH, range);
  assert.equal(cut.isComplete, false);
  assert.ok(cut.body.length < Number(cut.headers['content-length']));
  assert.ok(cut.body.length === 0 || cut.body.includes(bodyBytes(old, 0, 10)));
  await edge.settle();
  assert.equal(partsOf(origin, await edge.get(PATH, range)).length, 2);
});

test('row 9: a change at the origin before the first byte is answered with the new version', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  await edge.get(PATH, { range: 'bytes=0-9' });
  await edge.settle();
  origin.change(PATH);
  const answer = await edge.get(PATH, { range: `bytes=${9 * SLICE}-${9 * SLICE + 9},0-9` });
  assert.deepEqual(places(partsOf(origin, answer)), [
    [9 * SLICE, 9 * SLICE + 10],
    [0, 10],
  ]);
});

test('row 49: a client that leaves between parts leaves nothing behind', async () => {
  const { origin, edge } = await start({}, 4 * MIB);
  await using _ = edge;
  await using __ = origin;
  const range = [0, 10, 20, 30, 40, 50].map((slice) => `${slice * SLICE}-${slice * SLICE + SLICE - 1}`).join();
  await edge.get(PATH, { range: `bytes=${range}` }, { abortAfterBytes: SLICE + 500 });
  await edge.settle();
});
