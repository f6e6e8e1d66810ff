/** HTTP/2 frame by frame: what breaks the protocol, what floods, what stalls, and that a response which breaks off never looks whole (RFC 9113). */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { MIB } from '../../src/base/units.ts';
import { certificateFiles } from '../helpers/certificate.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { block, CODE, FLAG, FRAME, frame, getFrame, head, PREFACE, RawHttp2, settings, uint32 } from '../helpers/http2-frames.ts';
import { Origin } from '../helpers/origin.ts';
import { temporaryDirectory } from '../helpers/temp.ts';

const LENGTH = 200_000;
const FRESH = { lengthBytes: LENGTH, cacheControl: 'max-age=600' };
/** SETTINGS_INITIAL_WINDOW_SIZE. */
const WINDOW = 4;
const LARGE = { [WINDOW]: 2 ** 30 };

function start(origin: Origin, set: Readonly<Record<string, string>> = {}, arenaBytes?: number): Promise<TestEdge> {
  return startEdge({ origin, set, arenaBytes, yaml: 'services:\n  - { name: edge, listen: "127.0.0.1:0", http2: true }\n' });
}

/** One service without TLS and, where openssl is installed, one with it. */
async function startBoth(context: TestContext, origin: Origin): Promise<{ edge: TestEdge; places: { port: number; isSecure: boolean }[] }> {
  const files = certificateFiles(await temporaryDirectory(context), 'edge', ['a.test']);
  const list = files === undefined ? '' : `[{ cert: "${files.cert}", key: "${files.key}" }]`;
  const secure = files === undefined ? '' : `  - { name: tls, listen: "127.0.0.1:0", certificates: ${list} }\n`;
  const edge = await startEdge({ origin, yaml: `services:\n  - { name: edge, listen: "127.0.0.1:0", http2: true }\n${secure}` });
  return { edge, places: [...edge.ports.values()].map((port, index) => ({ port, isSecure: index === 1 })) };
}

function limits(edge: TestEdge, limit: string): Promise<number> {
  return edge.metric(`rawslice_stream_limits_total{limit="${limit}"}`);
}

/** What still holds after whatever happened on another connection. */
async function assertServes(edge: TestEdge): Promise<void> {
  using fresh = await RawHttp2.open(edge.port);
  fresh.send(getFrame(1, [[':method', 'HEAD']]));
  assert.equal(await fresh.status(1), 200);
}

/** All bytes of a stream's body that have come. */
function bodyOf(connection: RawHttp2, stream: number): Buffer {
  return Buffer.concat(connection.of(FRAME.data, stream).map(({ payload }) => payload));
}

/** Waits until a number has not grown for a while: the kernel's buffers are full, and nothing says so. */
async function untilStill(read: () => number): Promise<void> {
  const clock = new SystemClock();
  let [seen, sinceMs] = [read(), clock.monotonicMs()];
  await eventually(
    () => {
      if (read() !== seen) [seen, sinceMs] = [read(), clock.monotonicMs()];
      return seen > 0 && clock.monotonicMs() - sinceMs > 300;
    },
    { what: 'no more' },
  );
}

const OK = FLAG.endStream | FLAG.endHeaders;

type Case = readonly [what: string, frames: readonly Buffer[], end: { readonly goaway?: number; readonly reset?: number }];

/** RFC 9113 by section: what ends the connection, and what ends the stream. */
const BROKEN: readonly Case[] = [
  ['s5.1 DATA on an idle stream', [frame(FRAME.data, 0, 1)], { goaway: CODE.protocol }],
  ['s5.1 RST_STREAM on an idle stream', [frame(FRAME.reset, 0, 1, uint32(8))], { goaway: CODE.protocol }],
  ['s5.1 WINDOW_UPDATE on an idle stream', [frame(FRAME.windowUpdate, 0, 1, uint32(8))], { goaway: CODE.protocol }],
  ['s5.1.1 an even stream', [getFrame(2)], { goaway: CODE.protocol }],
  // nghttp2 cannot tell it from the trailers of a stream that it has reset.
  ['s5.1.1 a stream below another is ignored', [getFrame(5), getFrame(3)], {}],
  ['s4.1 a reserved type is ignored', [frame(0x42, 0, 0, Buffer.from('x')), getFrame(1)], {}],
  ['s4.2 a frame beyond SETTINGS_MAX_FRAME_SIZE', [frame(FRAME.headers, OK, 1, Buffer.alloc(20_000))], { goaway: CODE.frameSize }],
  ['s4.3 a header block that is none', [frame(FRAME.headers, OK, 1, Buffer.from([0xff, 0xff, 0xff, 0xff]))], { goaway: CODE.compression }],
  ['s6.1 DATA on stream 0', [frame(FRAME.data, 0, 0, Buffer.from('x'))], { goaway: CODE.protocol }],
  [
    's6.1 padding beyond the frame',
    [frame(FRAME.headers, FLAG.endHeaders, 1, head([[':method', 'POST']])), frame(FRAME.data, FLAG.padded, 1, Buffer.from([200, 1]))],
    { goaway: CODE.protocol },
  ],
  ['s6.2 HEADERS on stream 0', [frame(FRAME.headers, OK, 0, head())], { goaway: CODE.protocol }],
  ['s6.4 RST_STREAM of 3 bytes', [getFrame(1), frame(FRAME.reset, 0, 1, Buffer.alloc(3))], { goaway: CODE.frameSize }],
  ['s6.5 SETTINGS on a stream', [frame(FRAME.settings, 0, 1)], { goaway: CODE.protocol }],
  ['s6.5 SETTINGS of 5 bytes', [frame(FRAME.settings, 0, 0, Buffer.alloc(5))], { goaway: CODE.frameSize }],
  ['s6.5 SETTINGS ACK with content', [frame(FRAME.settings, FLAG.ack, 0, Buffer.alloc(6))], { goaway: CODE.frameSize }],
  ['s6.5.2 a window beyond 2^31-1', [settings({ [WINDOW]: 2 ** 31 })], { goaway: CODE.flowControl }],
  ['s6.5.2 ENABLE_PUSH of 2', [settings({ 2: 2 })], { goaway: CODE.protocol }],
  ['s6.5.2 MAX_FRAME_SIZE of 1', [settings({ 5: 1 })], { goaway: CODE.protocol }],
  ['s6.6 PUSH_PROMISE of a client', [getFrame(1), frame(FRAME.push, FLAG.endHeaders, 1, uint32(2))], { goaway: CODE.protocol }],
  ['s6.7 PING on a stream', [frame(FRAME.ping, 0, 1, Buffer.alloc(8))], { goaway: CODE.protocol }],
  ['s6.7 PING of 7 bytes', [frame(FRAME.ping, 0, 0, Buffer.alloc(7))], { goaway: CODE.frameSize }],
  ['s6.8 GOAWAY on a stream', [frame(FRAME.goaway, 0, 1, Buffer.alloc(8))], { goaway: CODE.protocol }],
  ['s6.9 WINDOW_UPDATE of 0', [frame(FRAME.windowUpdate, 0, 0, uint32(0))], { goaway: CODE.protocol }],
  ['s6.9 WINDOW_UPDATE of 0 on a stream', [getFrame(1), frame(FRAME.windowUpdate, 0, 1, uint32(0))], { goaway: CODE.protocol }],
  ['s6.9.1 a window beyond 2^31-1', [frame(FRAME.windowUpdate, 0, 0, uint32(2 ** 31 - 1))], { goaway: CODE.flowControl }],
  ['s6.10 CONTINUATION of nothing', [frame(FRAME.continuation, FLAG.endHeaders, 1, head())], { goaway: CODE.protocol }],
  [
    's6.10 another frame inside of a block',
    [frame(FRAME.headers, FLAG.endStream, 1, head()), frame(FRAME.ping, 0, 0, Buffer.alloc(8))],
    { goaway: CODE.protocol },
  ],
  ['s8.2.1 a name in upper case', [getFrame(1, [['X-A', 'b']])], { reset: CODE.protocol }],
  ['s8.2.1 a field whose value has a line break is left out by node', [getFrame(1, [['x-a', 'b\r\nc: d']])], {}],
  ['s8.2.2 Connection', [getFrame(1, [['connection', 'x-a']])], { reset: CODE.protocol }],
  ['s8.2.2 Transfer-Encoding', [getFrame(1, [['transfer-encoding', 'chunked']])], { reset: CODE.protocol }],
  ['s8.2.2 TE but for trailers', [getFrame(1, [['te', 'gzip']])], { reset: CODE.protocol }],
  ['s8.3 an unknown pseudo-field', [getFrame(1, [[':evil', 'x']])], { reset: CODE.protocol }],
  ['s8.3 a pseudo-field of responses', [getFrame(1, [[':status', '200']])], { reset: CODE.protocol }],
  [
    's8.3 a pseudo-field behind a field',
    [
      frame(
        FRAME.headers,
        OK,
        1,
        block([
          ['x-a', 'b'],
          [':method', 'GET'],
        ]),
      ),
    ],
    { reset: CODE.protocol },
  ],
  [
    's8.3.1 no path',
    [
      frame(
        FRAME.headers,
        OK,
        1,
        block([
          [':method', 'GET'],
          [':scheme', 'http'],
        ]),
      ),
    ],
    { reset: CODE.protocol },
  ],
  ['s8.3.1 an empty path', [getFrame(1, [[':path', '']])], { reset: CODE.protocol }],
  [
    's8.3.1 two methods',
    [
      frame(
        FRAME.headers,
        OK,
        1,
        block([
          [':method', 'GET'],
          [':method', 'GET'],
          [':scheme', 'http'],
          [':path', '/a'],
        ]),
      ),
    ],
    { reset: CODE.protocol },
  ],
  [
    's8.1.1 less content than its length',
    [
      frame(
        FRAME.headers,
        FLAG.endHeaders,
        1,
        head([
          [':method', 'POST'],
          ['content-length', '5'],
        ]),
      ),
      frame(FRAME.data, FLAG.endStream, 1, Buffer.from('abc')),
    ],
    { reset: CODE.protocol },
  ],
];

test('HTTP/2 (RFC 9113): what breaks the protocol ends the stream or the connection with its code, and nobody else', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  await using edge = await start(origin);
  await edge.get('/a');
  for (const [what, frames, { goaway, reset }] of BROKEN) {
    using connection = await RawHttp2.open(edge.port);
    await connection.until(FRAME.settings);
    connection.send(...frames);
    if (goaway !== undefined) {
      assert.equal(await connection.goawayCode(), goaway, what);
      await eventually(() => connection.hasEnded, { what: `the end of the connection: ${what}` });
      continue;
    }
    if (reset !== undefined) assert.equal(await connection.resetCode(1), reset, what);
    connection.send(getFrame(101, [[':method', 'HEAD']]));
    assert.equal(await connection.status(101), 200, what);
  }
  using mute = await RawHttp2.open(edge.port, { isMute: true });
  mute.send(PREFACE, getFrame(1, []));
  assert.equal(await mute.goawayCode(), CODE.protocol, 's3.4 no SETTINGS first');
  await assertServes(edge);
  assert((await limits(edge, 'protocol')) >= BROKEN.filter(([, , { goaway }]) => goaway !== undefined).length);
});

test('HTTP/2 (S10): a body that breaks off ends in a reset, with what was right of it before, and never in END_STREAM', async (context) => {
  await using origin = await Origin.start();
  const { edge, places } = await startBoth(context, origin);
  await using _ = edge;
  let cuts = 0;
  for (const { port, isSecure } of places) {
    for (const cut of [{ closeAfterBytes: 100_000 }, { resetAfterBytes: 100_000 }, { chunked: true, closeAfterBytes: 100_000 }]) {
      for (const cacheControl of ['no-store', 'max-age=60']) {
        origin.behave();
        const path = `/a${cuts}`;
        cuts += 1;
        origin.setObject(path, { lengthBytes: LENGTH, cacheControl, etag: 'none', lastModified: 'none' });
        origin.misbehave(path, cut);
        using connection = await RawHttp2.open(port, { hello: LARGE, isSecure });
        connection.send(frame(FRAME.windowUpdate, 0, 0, uint32(2 ** 30)));
        connection.send(getFrame(1, cacheControl === 'no-store' ? [['authorization', 'x']] : [], path));
        assert.equal(await connection.resetCode(1), CODE.internal);
        assert.deepEqual([connection.isWhole(1), bodyOf(connection, 1).length <= 100_000], [false, true]);
      }
    }
  }
});

test('HTTP/2 (S10): a whole response ends in END_STREAM, and no reset overtakes it, however busy the connection is', async () => {
  await using origin = await Origin.start({ resolve: () => ({ ...FRESH, lengthBytes: 100_000 }) });
  await using edge = await start(origin);
  const streams = Array.from({ length: 60 }, (_, index) => 2 * index + 1);
  for (const method of ['GET', 'POST', 'HEAD']) {
    using connection = await RawHttp2.open(edge.port, { hello: LARGE });
    await connection.until(FRAME.settings);
    // The connection's window opens bit by bit, as the client takes what comes.
    const open = (bytes: Buffer): unknown => connection.send(frame(FRAME.windowUpdate, 0, 0, uint32(bytes.length)));
    connection.socket.on('data', open);
    connection.send(...streams.map((stream) => getFrame(stream, [[':method', method]], `/x${stream}`)));
    const hasEnded = (stream: number): boolean => connection.isWhole(stream) || connection.of(FRAME.reset, stream).length > 0;
    await eventually(() => streams.every(hasEnded), { what: 'all ends' });
    assert.deepEqual(
      streams.filter((stream) => !connection.isWhole(stream)),
      [],
      method,
    );
  }
});

test('HTTP/2 (S10): a window that does not open: the client is cut off after limits.clientStall, holds no slot, and others go on', async () => {
  await using origin = await Origin.start({ resolve: () => ({ ...FRESH, lengthBytes: 4 * MIB }) });
  await using edge = await start(origin, { 'limits.clientStall': '1s' });
  using connection = await RawHttp2.open(edge.port, { hello: { [WINDOW]: 1000 } });
  connection.send(getFrame(1), getFrame(3, [], '/b'));
  await eventually(() => bodyOf(connection, 1).length === 1000 && bodyOf(connection, 3).length === 1000, {
    what: 'what the windows let through',
  });
  assert.equal(edge.services.pins.taken, 0);
  connection.send(frame(FRAME.windowUpdate, 0, 3, uint32(8 * MIB)), frame(FRAME.windowUpdate, 0, 0, uint32(8 * MIB)));
  assert.equal(await connection.resetCode(1), CODE.internal);
  await eventually(() => connection.isWhole(3), { what: 'the whole of the other' });
  assert.deepEqual([connection.isWhole(1), bodyOf(connection, 3).length], [false, 4 * MIB]);
  assert.equal(edge.services.metrics.value('stalled'), 1);
  await edge.settle();
  assert.equal(edge.services.pins.taken, 0);
});

test('HTTP/2: a client that reads nothing at all is let go, whatever its windows say', async () => {
  await using origin = await Origin.start({ resolve: () => ({ ...FRESH, lengthBytes: 64 * MIB }) });
  await using edge = await start(origin, { 'limits.clientStall': '1s' });
  using connection = await RawHttp2.open(edge.port, { hello: LARGE });
  await connection.until(FRAME.settings);
  connection.socket.pause();
  connection.send(frame(FRAME.windowUpdate, 0, 0, uint32(2 ** 30)), getFrame(1), getFrame(3, [], '/b'));
  await eventually(() => edge.services.metrics.value('stalled') === 2, { what: 'both streams stalled' });
  await eventually(() => edge.services.load.requests === 0, { what: 'the end of both requests' });
  assert.equal(edge.services.copies.takenCount, 0);
  await eventually(() => edge.services.load.connections === 0, { what: 'the end of the connection' });
  assert.equal(await limits(edge, 'unread'), 1);
});

test('HTTP/2: bytes that were on their way when a stream was reset are those of its object, whatever their place is used for since', async (context) => {
  await using origin = await Origin.start({ resolve: () => ({ ...FRESH, lengthBytes: 16 * MIB }) });
  const { edge, places } = await startBoth(context, origin);
  await using _ = edge;
  const whole = await edge.get('/a');
  for (const place of places) {
    using connection = await RawHttp2.open(place.port, { hello: LARGE, isSecure: place.isSecure });
    await connection.until(FRAME.settings);
    connection.send(frame(FRAME.windowUpdate, 0, 0, uint32(2 ** 30)));
    connection.socket.pause();
    connection.send(getFrame(1));
    await untilStill(() => edge.services.metrics.value('copiedWrites'));
    assert.equal(edge.services.copies.takenCount, 2);
    connection.send(frame(FRAME.reset, 0, 1, uint32(CODE.cancel)));
    await eventually(() => edge.services.copies.takenCount === 0, { what: 'the copies given back' });
    // What was given back is used for others.
    const others = [65_536, 65_536, 65_536, 65_536, 262_144, 262_144].map((bytes) => edge.services.copies.take(bytes));
    for (const other of others) other.bytes.fill(0xee);
    for (const other of others) other.end();
    connection.socket.resume();
    connection.send(frame(FRAME.ping, 0, 0, Buffer.alloc(8)));
    await connection.until(FRAME.ping);
    const came = bodyOf(connection, 1);
    assert(came.length > 0 && whole.body.subarray(0, came.length).equals(came), place.isSecure ? 'TLS' : 'without TLS');
  }
});

test('HTTP/2 (CVE-2023-44487): streams that are opened and reset end the connection, and cost the origin nothing much', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  await using edge = await start(origin);
  await edge.get('/a');
  for (const isOnePacket of [true, false]) {
    using connection = await RawHttp2.open(edge.port);
    await connection.until(FRAME.settings);
    const pairs = Array.from({ length: 600 }, (_, index) => [
      getFrame(2 * index + 1, [], `/r${index}`),
      frame(FRAME.reset, 0, 2 * index + 1, uint32(8)),
    ]);
    for (const pair of pairs) {
      connection.send(...pair);
      if (!isOnePacket) await new Promise((resolve) => setImmediate(resolve));
    }
    // Within one packet node counts by itself.
    assert.equal(await connection.goawayCode(), isOnePacket ? CODE.internal : CODE.calm);
    await eventually(() => connection.hasEnded, { what: 'the end of the connection' });
  }
  assert.deepEqual([await limits(edge, 'resets'), await limits(edge, 'protocol')], [1, 1]);
  assert(origin.requests.length < 300, `${origin.requests.length} requests reached the origin`);
  await edge.settle();
  await assertServes(edge);
});

test('HTTP/2: a browser that leaves a page with all its streams open keeps its connection', async () => {
  await using origin = await Origin.start({
    resolve: () => ({ ...FRESH, cacheControl: 'no-store' }),
    improvise: () => ({ holdHead: true }),
  });
  await using edge = await start(origin, { 'limits.streams': '100' });
  using connection = await RawHttp2.open(edge.port);
  const streams = Array.from({ length: 100 }, (_, index) => 2 * index + 1);
  connection.send(...streams.map((stream) => getFrame(stream, [], `/r${stream}`)));
  await eventually(() => edge.services.load.requests === 100, { what: 'all requests' });
  assert.equal(await limits(edge, 'streams'), 1);
  connection.send(...streams.map((stream) => frame(FRAME.reset, 0, stream, uint32(8))));
  await eventually(() => edge.services.load.requests === 0, { what: 'no request' });
  connection.send(frame(FRAME.ping, 0, 0, Buffer.alloc(8)));
  await connection.until(FRAME.ping);
  origin.release();
});

test('HTTP/2: more streams than limits.streams are refused, one by one', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH, improvise: () => ({ holdHead: true }) });
  await using edge = await start(origin, { 'limits.streams': '2' });
  using connection = await RawHttp2.open(edge.port);
  const { payload } = await connection.until(FRAME.settings);
  assert(payload.includes(Buffer.from([0, 3, 0, 0, 0, 2])), 'the client is told');
  // The limit holds from the moment on in which the client has acknowledged it.
  connection.send(frame(FRAME.ping, 0, 0, Buffer.alloc(8)));
  await connection.until(FRAME.ping);
  connection.send(getFrame(1), getFrame(3, [], '/b'), getFrame(5, [], '/c'));
  await eventually(() => connection.of(FRAME.reset, 5).length + connection.of(FRAME.goaway).length > 0, { what: 'the refusal' });
  origin.release();
});

test('HTTP/2: heads that are too large get 431, or a reset, or the end of the connection where they do not end', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  await using edge = await start(origin, { 'limits.headerBytes': '8KiB' });
  await edge.get('/a');
  {
    using connection = await RawHttp2.open(edge.port);
    connection.send(getFrame(1, [['x-large', 'x'.repeat(10_000)]]));
    assert.equal(await connection.status(1), 431);
    connection.send(
      getFrame(
        3,
        Array.from({ length: 200 }, (_, index) => [`x-${index}`, ''] as const),
      ),
    );
    assert.equal(await connection.status(3), 200);
    connection.send(
      getFrame(
        5,
        Array.from({ length: 300 }, () => ['a', ''] as const),
      ),
    );
    assert.equal(await connection.status(5), 431);
    assert.equal(edge.services.metrics.value('refused', 'head-size') + edge.services.metrics.value('refused', 'field-count'), 2);
    const parts = Array.from({ length: 4 }, () => block([['x-large', 'x'.repeat(10_000)]]));
    connection.send(
      frame(FRAME.headers, FLAG.endStream, 7, head()),
      ...parts.map((part, index) => frame(FRAME.continuation, index === 3 ? FLAG.endHeaders : 0, 7, part)),
    );
    assert.equal(await connection.resetCode(7), CODE.calm);
  }
  using flood = await RawHttp2.open(edge.port);
  await flood.until(FRAME.settings);
  flood.send(frame(FRAME.headers, FLAG.endStream, 1, head()), ...Array.from({ length: 1000 }, () => frame(FRAME.continuation, 0, 1)));
  await eventually(() => flood.hasEnded, { what: 'the end of the connection' });
  await assertServes(edge);
});

test('HTTP/2: floods of PING, of SETTINGS and of empty DATA end the connection', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  await using edge = await start(origin);
  await edge.get('/a');
  const post = frame(FRAME.headers, FLAG.endHeaders, 1, head([[':method', 'POST']]));
  const floods: readonly (readonly Buffer[])[] = [
    Array.from({ length: 2000 }, () => frame(FRAME.ping, 0, 0, Buffer.alloc(8))),
    Array.from({ length: 2000 }, () => settings({ [WINDOW]: 65_535 })),
    [post, ...Array.from({ length: 5000 }, () => frame(FRAME.data, 0, 1))],
  ];
  for (const flood of floods) {
    using connection = await RawHttp2.open(edge.port);
    await connection.until(FRAME.settings);
    connection.send(...flood);
    await eventually(() => connection.hasEnded, { what: 'the end of the connection' });
  }
  assert.equal(await limits(edge, 'control'), 2);
  await assertServes(edge);
});

test('HTTP/2: who says nothing, or no more, is let go', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  await using edge = await start(origin, { 'limits.headerTimeout': '200ms' });
  using silent = await RawHttp2.open(edge.port, { isMute: true });
  using half = await RawHttp2.open(edge.port, { isMute: true });
  half.send(PREFACE);
  await eventually(() => silent.hasEnded && half.hasEnded, { what: 'the end of both' });
  assert.deepEqual([await edge.metric('rawslice_http_connections_refused_total{reason="slow"}'), await limits(edge, 'slow')], [1, 1]);
  // Nor does one that has closed the connection in its direction: it can open no window any more.
  using closing = await RawHttp2.open(edge.port);
  closing.send(getFrame(1));
  await closing.until(FRAME.data, 1);
  closing.socket.end();
  await eventually(() => edge.services.load.connections === 0, { what: 'no connection' });
});
