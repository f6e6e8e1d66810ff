/** The transport for origins of HTTP/2, against an origin that is played frame by frame: what ends a body, what only looks like it, and what is asked again. */
import assert from 'node:assert/strict';
import { createServer, type Server, type Socket } from 'node:net';
import { test } from 'node:test';
import { SystemClock, type Timer } from '../../src/base/clock.ts';
import type { EdgeError } from '../../src/base/errors.ts';
import { MetricSet } from '../../src/base/metrics.ts';
import { KIB } from '../../src/base/units.ts';
import type { FieldList } from '../../src/http/header-fields.ts';
import { Http2Transport } from '../../src/upstream/http2-transport.ts';
import { UPSTREAM_METRICS } from '../../src/upstream/upstream-metrics.ts';
import type { BodySink, ResponseReceiver, UpstreamHead } from '../../src/upstream/upstream-transport.ts';
import { eventually } from '../helpers/eventually.ts';
import { block, CODE, FLAG, FRAME, frame, RawHttp2, uint32 } from '../helpers/http2-frames.ts';

const END = FLAG.endHeaders | FLAG.endStream;

/** Takes one answer. */
class Receiver implements ResponseReceiver, BodySink {
  head: UpstreamHead | undefined;
  error: EdgeError | undefined;
  trailers: FieldList | undefined;
  body = '';
  readonly interim: number[] = [];
  /** Bytes that it takes yet. */
  roomBytes = Number.POSITIVE_INFINITY;
  readonly #room = Buffer.alloc(7);

  onInterim({ status }: UpstreamHead): void {
    this.interim.push(status);
  }

  onHead(head: UpstreamHead): BodySink {
    this.head = head;
    return this;
  }

  onFailure(error: EdgeError): void {
    this.onError(error);
  }

  room(): Uint8Array | undefined {
    return this.roomBytes > 0 ? this.#room.subarray(0, Math.min(7, this.roomBytes)) : undefined;
  }

  onBytes(count: number): void {
    this.body += this.#room.toString('latin1', 0, count);
    this.roomBytes -= count;
  }

  onEnd(trailers: FieldList): void {
    assert(this.trailers === undefined && this.error === undefined, 'one end');
    this.trailers = trailers;
  }

  onError(error: EdgeError): void {
    assert(this.trailers === undefined && this.error === undefined, 'one end');
    this.error = error;
  }

  /** Waits for the end. @returns the error's code, or `whole` */
  async end(): Promise<string> {
    return eventually(() => this.error?.code ?? (this.trailers === undefined ? undefined : 'whole'), { what: 'the end of the answer' });
  }
}

/** What is due every so often is due when the test says so. */
class SteppedClock extends SystemClock {
  readonly #intervals = new Set<() => void>();

  override startInterval(_periodMs: number, callback: () => void): Timer {
    this.#intervals.add(callback);
    return { stop: () => this.#intervals.delete(callback) };
  }

  step(): void {
    for (const callback of [...this.#intervals]) callback();
  }
}

/** An origin and a transport to it. */
class Stage implements AsyncDisposable {
  readonly connections: RawHttp2[] = [];
  readonly metrics = new MetricSet(UPSTREAM_METRICS);
  readonly clock = new SteppedClock();
  readonly transport: Http2Transport;
  readonly #server: Server;

  private constructor(server: Server, port: number, hello: Readonly<Record<number, number>>) {
    this.#server = server;
    server.on('connection', (socket: Socket) => this.connections.push(RawHttp2.accept(socket, hello)));
    this.transport = new Http2Transport({
      origin: `http://127.0.0.1:${port}`,
      connectTimeoutMs: 1000,
      headTimeoutMs: 400,
      bodyTimeoutMs: 400,
      connectionsMax: 2,
      headBytesMax: 64 * KIB,
      protocol: 'h2',
      clock: this.clock,
      metrics: this.metrics,
    });
  }

  static async open(hello: Readonly<Record<number, number>> = {}): Promise<Stage> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    assert(address !== null && typeof address === 'object');
    return new Stage(server, address.port, hello);
  }

  get(more: FieldList = [], body?: AsyncIterable<Uint8Array>): { receiver: Receiver; transfer: ReturnType<Http2Transport['start']> } {
    const receiver = new Receiver();
    const fields: FieldList = [['host', 'a.test'], ...more];
    const method = body === undefined ? 'GET' : 'PUT';
    return { receiver, transfer: this.transport.start({ method, path: '/a', fields, body }, receiver) };
  }

  /** The origin's side of a connection, once a request has come on this stream of it. */
  async asked(stream: number, number = 0): Promise<RawHttp2> {
    await eventually(() => (this.connections[number]?.of(FRAME.headers, stream).length ?? 0) > 0, {
      what: `a request on stream ${stream}`,
    });
    const connection = this.connections[number];
    assert(connection !== undefined);
    return connection;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.transport.close();
    for (const { socket } of this.connections) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
    assert(this.transport.isIdle && this.transport.waitingRequests === 0);
  }
}

function head(stream: number, fields: readonly (readonly [string, string])[] = [], flags: number = FLAG.endHeaders): Buffer {
  return frame(FRAME.headers, flags, stream, block([[':status', '200'], ...fields]));
}

function data(stream: number, text: string, flags = 0): Buffer {
  return frame(FRAME.data, flags, stream, Buffer.from(text));
}

const LENGTH = [['content-length', '10']] as const;
const goaway = (code: number): Buffer => frame(FRAME.goaway, 0, 0, Buffer.concat([uint32(1), uint32(code)]));
const reset = (stream: number, code: number): Buffer => frame(FRAME.reset, 0, stream, uint32(code));

test('HTTP/2 to origins (S10): only what ends a stream ends a body', async () => {
  const cases: readonly (readonly [what: string, frames: (stream: number) => readonly Buffer[], expected: string])[] = [
    ['END_STREAM with the data', (id) => [head(id), data(id, '0123456789', FLAG.endStream)], 'whole'],
    ['END_STREAM alone', (id) => [head(id, LENGTH), data(id, '0123456789'), data(id, '', FLAG.endStream)], 'whole'],
    ['END_STREAM with the head', (id) => [head(id, [], END)], 'whole'],
    ['trailers', (id) => [head(id), data(id, '0123456789'), frame(FRAME.headers, END, id, block([['x-sum', '1']]))], 'whole'],
    ['a reset with NO_ERROR', (id) => [head(id), data(id, '01234'), reset(id, CODE.noError)], 'UPSTREAM_BROKEN'],
    ['the same, with a length', (id) => [head(id, LENGTH), data(id, '01234'), reset(id, CODE.noError)], 'UPSTREAM_BROKEN'],
    ['a reset with an error', (id) => [head(id), data(id, '01234'), reset(id, CODE.internal)], 'UPSTREAM_BROKEN'],
    ['a reset with CANCEL', (id) => [head(id), data(id, '01234'), reset(id, CODE.cancel)], 'UPSTREAM_BROKEN'],
    ['END_STREAM before the length', (id) => [head(id, LENGTH), data(id, '01234', FLAG.endStream)], 'UPSTREAM_BROKEN'],
    ['more than the length', (id) => [head(id, LENGTH), data(id, '0123456789ab', FLAG.endStream)], 'UPSTREAM_BROKEN'],
    ['a GOAWAY with an error', (id) => [head(id), data(id, '01234'), goaway(CODE.internal)], 'UPSTREAM_BROKEN'],
    ['a frame that is none', (id) => [head(id), data(id, '01234'), frame(FRAME.ping, 0, 0)], 'UPSTREAM_BROKEN'],
    ['a reset before the head', (id) => [reset(id, CODE.internal)], 'UPSTREAM_BROKEN'],
    ['a head that is none', (id) => [head(id, [['Upper', 'x']], END)], 'UPSTREAM_INVALID'],
  ];
  for (const [what, frames, expected] of cases) {
    await using stage = await Stage.open();
    const { receiver } = stage.get();
    (await stage.asked(1)).send(...frames(1));
    assert.equal(await receiver.end(), expected, what);
    if (expected === 'whole' && what !== 'END_STREAM with the head') assert.equal(receiver.body, '0123456789', what);
    if (what === 'trailers') assert.deepEqual(receiver.trailers, [['x-sum', '1']]);
  }
  await using stage = await Stage.open();
  const { receiver } = stage.get();
  const origin = await stage.asked(1);
  origin.send(head(1), data(1, '01234'));
  await eventually(() => receiver.body === '01234', { what: 'the beginning' });
  origin.socket.destroy();
  assert.equal(await receiver.end(), 'UPSTREAM_BROKEN');
});

test('HTTP/2 to origins: a request is pseudo-fields, its own fields and te; interim heads come before the final one, and not without end', async () => {
  await using stage = await Stage.open();
  const { receiver } = stage.get([
    ['x-a', 'b'],
    ['x-a', 'c'],
    ['connection', 'x'],
  ]);
  const origin = await stage.asked(1);
  const interim = frame(FRAME.headers, FLAG.endHeaders, 1, block([[':status', '103']]));
  origin.send(interim, interim, head(1), data(1, 'x', FLAG.endStream));
  assert.equal(await receiver.end(), 'whole');
  assert.deepEqual([receiver.interim, receiver.head?.status], [[103, 103], 200]);
  const endless = stage.get();
  await stage.asked(3);
  origin.send(...Array.from({ length: 40 }, () => frame(FRAME.headers, FLAG.endHeaders, 3, block([[':status', '103']]))));
  assert.equal(await endless.receiver.end(), 'UPSTREAM_INVALID');
});

test('HTTP/2 to origins: a receiver without room stops the origin, and time runs only while it waits for bytes', async () => {
  await using stage = await Stage.open();
  const { receiver, transfer } = stage.get();
  const origin = await stage.asked(1);
  receiver.roomBytes = 5;
  origin.send(head(1), data(1, '0123456789'));
  await eventually(() => receiver.body === '01234', { what: 'what there was room for' });
  await new SystemClock().sleep(600);
  assert.equal(receiver.error, undefined);
  receiver.roomBytes = 100;
  transfer.resume();
  assert.equal(receiver.body, '0123456789');
  assert.equal(await receiver.end(), 'UPSTREAM_TIMEOUT');
  assert.equal(await origin.resetCode(1), CODE.cancel);
  const silent = stage.get();
  await stage.asked(3);
  assert.equal(await silent.receiver.end(), 'UPSTREAM_TIMEOUT');
});

test('HTTP/2 to origins: what an origin has not looked at is asked once more, and of another connection when it leaves', async () => {
  await using stage = await Stage.open();
  const { receiver } = stage.get();
  const first = await stage.asked(1);
  first.send(reset(1, CODE.refused));
  await stage.asked(3);
  first.send(head(3), data(3, 'x', FLAG.endStream));
  assert.equal(await receiver.end(), 'whole');
  const leaving = stage.get();
  await stage.asked(5);
  // A graceful end: the streams that it names are answered yet, others go elsewhere.
  first.send(frame(FRAME.goaway, 0, 0, Buffer.concat([uint32(5), uint32(CODE.noError)])));
  first.send(head(5), data(5, 'y', FLAG.endStream));
  assert.equal(await leaving.receiver.end(), 'whole');
  const next = stage.get();
  const second = await stage.asked(1, 1);
  second.socket.destroy();
  const third = await stage.asked(1, 2);
  third.send(head(1), data(1, 'z', FLAG.endStream));
  assert.deepEqual([await next.receiver.end(), next.receiver.body], ['whole', 'z']);
  assert.equal(stage.metrics.value('retries'), 2);
});

test('HTTP/2 to origins: who finds all streams of all connections in use waits in line', async () => {
  await using stage = await Stage.open({ 3: 1 });
  const [one] = [stage.get()];
  const first = await stage.asked(1);
  await eventually(() => first.frames.some(({ type, flags }) => type === FRAME.settings && flags === FLAG.ack), {
    what: 'the acknowledgement',
  });
  const two = stage.get();
  const second = await stage.asked(1, 1);
  await eventually(() => second.frames.some(({ type, flags }) => type === FRAME.settings && flags === FLAG.ack), {
    what: 'the acknowledgement',
  });
  const three = stage.get();
  assert.equal(stage.transport.waitingRequests, 1);
  first.send(head(1), data(1, 'x', FLAG.endStream));
  assert.equal(await one?.receiver.end(), 'whole');
  await stage.asked(3);
  first.send(head(3), data(3, 'x', FLAG.endStream));
  second.send(head(1), data(1, 'x', FLAG.endStream));
  assert.deepEqual([await two.receiver.end(), await three.receiver.end()], ['whole', 'whole']);
});

test('HTTP/2 to origins (S10): content that breaks off ends in a reset, and never in END_STREAM', async () => {
  await using stage = await Stage.open();
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('begin');
    await new SystemClock().sleep(50);
    throw new Error('the client is gone');
  }
  const { receiver } = stage.get([], broken());
  const origin = await stage.asked(1);
  assert.equal(await origin.resetCode(1), CODE.cancel);
  assert.equal(origin.isWhole(1), false);
  assert.notEqual(await receiver.end(), 'whole');
  async function* whole(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('all');
  }
  const good = stage.get([], whole());
  await stage.asked(3);
  await eventually(() => origin.isWhole(3), { what: 'the end of the content' });
  origin.send(head(3, [], END));
  assert.equal(await good.receiver.end(), 'whole');
  // An answer before the content has come, and a reset that saves the rest of it (RFC 9113 s8.1).
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (;;) {
      yield Buffer.alloc(1000);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  const early = stage.get([], endless());
  await stage.asked(5);
  origin.send(head(5, [['content-length', '2']]), data(5, 'no', FLAG.endStream), reset(5, CODE.noError));
  assert.deepEqual([await early.receiver.end(), early.receiver.body], ['whole', 'no']);
});

test('HTTP/2 to origins: a stream of gRPC may be silent as long as the origin answers PINGs', async () => {
  await using stage = await Stage.open();
  async function* open(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('message');
    await new Promise(() => undefined);
  }
  const { receiver } = stage.get([['content-type', 'application/grpc']], open());
  const origin = await stage.asked(1);
  origin.send(head(1, [['content-type', 'application/grpc']]), data(1, 'answer'));
  await eventually(() => receiver.body === 'answer', { what: 'the answer' });
  stage.clock.step();
  const { payload } = await origin.until(FRAME.ping);
  origin.send(frame(FRAME.ping, FLAG.ack, 0, payload), data(1, '!'));
  await eventually(() => receiver.body === 'answer!', { what: 'more' });
  // Longer than the body of anything else may pause, and then nobody is there.
  await new SystemClock().sleep(600);
  assert.equal(receiver.error, undefined);
  stage.clock.step();
  await eventually(() => origin.of(FRAME.ping).length === 2, { what: 'the second PING' });
  assert.equal(await receiver.end(), 'UPSTREAM_TIMEOUT');
});

test('HTTP/2 to origins: nobody there, and somebody who says nothing', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stage = await Stage.open();
  await stage[Symbol.asyncDispose]();
  const late = stage.get();
  assert.equal(await late.receiver.end(), 'UPSTREAM_BROKEN');
  const address = server.address();
  assert(address !== null && typeof address === 'object');
  await new Promise((resolve) => server.close(resolve));
  const options = { connectTimeoutMs: 1000, headTimeoutMs: 300, bodyTimeoutMs: 300, connectionsMax: 1, headBytesMax: KIB };
  const metrics = new MetricSet(UPSTREAM_METRICS);
  const transport = new Http2Transport({ ...options, origin: `http://127.0.0.1:${address.port}`, clock: new SystemClock(), metrics });
  const receiver = new Receiver();
  transport.start({ method: 'GET', path: '/', fields: [] }, receiver);
  assert.equal(await receiver.end(), 'UPSTREAM_UNREACHABLE');
  await transport.close();
});
