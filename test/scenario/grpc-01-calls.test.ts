/**
 * gRPC end to end over HTTP/2, with its own client and server for Node and no protobuf: a message is its bytes. What is told apart: all four kinds of
 * calls, trailers, deadlines, cancels, errors of the server and errors of ours.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import grpc from '@grpc/grpc-js';
import { certificateFiles } from '../helpers/certificate.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { temporaryDirectory } from '../helpers/temp.ts';

const bytes = (message: Buffer): Buffer => message;
const kind = (requestStream: boolean, responseStream: boolean) => ({
  requestStream,
  responseStream,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
});
const SERVICE = {
  unary: { path: '/test.Echo/Unary', ...kind(false, false) },
  collect: { path: '/test.Echo/Collect', ...kind(true, false) },
  repeat: { path: '/test.Echo/Repeat', ...kind(false, true) },
  chat: { path: '/test.Echo/Chat', ...kind(true, true) },
  fail: { path: '/test.Echo/Fail', ...kind(false, false) },
  hang: { path: '/test.Echo/Hang', ...kind(false, false) },
} as const;

/** What the server saw. */
interface Seen {
  cancelled: number;
  metadata: grpc.Metadata | undefined;
  deadlineMs: number | undefined;
}

async function startServer(): Promise<{ port: number; seen: Seen; close(): void }> {
  const seen: Seen = { cancelled: 0, metadata: undefined, deadlineMs: undefined };
  const server = new grpc.Server();
  server.addService(SERVICE, {
    unary: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
      seen.metadata = call.metadata;
      const trailer = new grpc.Metadata();
      trailer.set('x-trailer', 'end');
      done(null, call.request, trailer);
    },
    collect: (call: grpc.ServerReadableStream<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
      const pieces: Buffer[] = [];
      call.on('data', (piece: Buffer) => pieces.push(piece));
      call.on('end', () => done(null, Buffer.concat(pieces)));
    },
    repeat: (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
      for (let index = 0; index < 20; index += 1) call.write(call.request);
      call.end();
    },
    chat: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      call.on('data', (piece: Buffer) => call.write(piece));
      call.on('end', () => call.end());
      call.on('cancelled', () => {
        seen.cancelled += 1;
      });
    },
    fail: (_call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
      done({ code: grpc.status.FAILED_PRECONDITION, details: 'nicht möglich' });
    },
    hang: (call: grpc.ServerUnaryCall<Buffer, Buffer>) => {
      seen.deadlineMs = Number(call.getDeadline());
      call.on('cancelled', () => {
        seen.cancelled += 1;
      });
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, chosen) => (error ? reject(error) : resolve(chosen)));
  });
  return { port, seen, close: () => server.forceShutdown() };
}

/** A client of the service on a port; closed after the test. */
function openClient(context: TestContext, port: number) {
  const Client = grpc.makeGenericClientConstructor(SERVICE, 'Echo');
  const client = new Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
  context.after(() => client.close());
  return client;
}

type EchoClient = ReturnType<typeof openClient>;

interface Ended {
  readonly code: number;
  readonly details: string;
  readonly metadata: grpc.Metadata;
}

function call(client: EchoClient, name: string) {
  const method = client[name];
  assert(typeof method === 'function');
  return method.bind(client) as (...words: unknown[]) => grpc.ClientDuplexStream<Buffer, Buffer>;
}

/** What a call ends with. */
function statusOf(running: grpc.ClientDuplexStream<Buffer, Buffer>): Promise<Ended> {
  return new Promise((resolve) => running.on('status', resolve));
}

/** A call with one message each way. @returns the answer, or what the call ended with */
function callUnary(
  client: EchoClient,
  name: string,
  message: Buffer,
  options: grpc.CallOptions = {},
): Promise<{ answer?: Buffer | undefined; ended: Ended }> {
  return new Promise((resolve) => {
    let answer: Buffer | undefined;
    const running = call(client, name)(message, new grpc.Metadata(), options, (_error: unknown, received: Buffer | undefined) => {
      answer = received;
    });
    running.on('status', (ended: Ended) => setImmediate(() => resolve({ answer, ended })));
  });
}

async function startGateway(serverPort: number, more = ''): Promise<TestEdge> {
  return startEdge({
    yaml: [
      'services:',
      '  - { name: grpc, listen: "127.0.0.1:0", http2: true }',
      'upstreams:',
      `  - { name: echo, protocol: h2, nodes: [{ url: "http://127.0.0.1:${serverPort}" }]${more} }\n`,
    ].join('\n'),
  });
}

test('gRPC: unary, collecting, repeating and in both directions at once, with metadata and trailers', async (context) => {
  const server = await startServer();
  context.after(() => server.close());
  await using edge = await startGateway(server.port);
  const client = openClient(context, edge.port);
  const { answer, ended } = await callUnary(client, 'unary', Buffer.from('hello'));
  assert.deepEqual([answer?.toString(), ended.code, ended.metadata.get('x-trailer')], ['hello', 0, ['end']]);
  assert.deepEqual(server.seen.metadata?.get('via'), ['2.0 rawslice']);
  const large = Buffer.alloc(3_000_000, 'x');
  assert.equal((await callUnary(client, 'unary', large)).answer?.equals(large), true);

  const collected = Promise.withResolvers<Buffer>();
  const collecting = call(
    client,
    'collect',
  )((error: Error | null, received: Buffer) => (error ? collected.reject(error) : collected.resolve(received)));
  for (let index = 0; index < 50; index += 1) collecting.write(Buffer.from(`${index} `));
  collecting.end();
  assert.equal((await collected.promise).toString(), Array.from({ length: 50 }, (_, index) => `${index} `).join(''));

  const repeating = call(client, 'repeat')(Buffer.from('again'));
  const pieces: string[] = [];
  for await (const piece of repeating) pieces.push(String(piece));
  assert.deepEqual(
    pieces,
    Array.from({ length: 20 }, () => 'again'),
  );

  // Each message is sent after the answer to the one before has come: nothing is held back on the way.
  const chat = call(client, 'chat')();
  for (let index = 0; index < 10; index += 1) {
    chat.write(Buffer.from(`message ${index}`));
    const [heard] = (await once(chat, 'data')) as [Buffer];
    assert.equal(heard.toString(), `message ${index}`);
  }
  chat.end();
  assert.equal((await statusOf(chat)).code, 0);
});

test('gRPC: errors of the server pass as they are, deadlines are passed on, and who cancels is heard at the server', async (context) => {
  const server = await startServer();
  context.after(() => server.close());
  await using edge = await startGateway(server.port);
  const client = openClient(context, edge.port);
  const failed = await callUnary(client, 'fail', Buffer.from('x'));
  assert.deepEqual([failed.ended.code, failed.ended.details], [grpc.status.FAILED_PRECONDITION, 'nicht möglich']);
  const late = await callUnary(client, 'hang', Buffer.from('x'), { deadline: Date.now() + 500 });
  assert.equal(late.ended.code, grpc.status.DEADLINE_EXCEEDED);
  assert(server.seen.deadlineMs !== undefined && Number.isFinite(server.seen.deadlineMs));
  await eventually(() => server.seen.cancelled === 1, { what: 'the first cancel' });
  const chat = call(client, 'chat')();
  chat.on('error', () => undefined);
  chat.write(Buffer.from('x'));
  await once(chat, 'data');
  chat.cancel();
  await eventually(() => server.seen.cancelled === 2, { what: 'the second cancel' });
  await edge.settle();
});

test('gRPC: errors of ours have a status of gRPC; a server that dies in the middle is no end of a stream', async (context) => {
  const server = await startServer();
  await using edge = await startGateway(server.port, ', connectTimeout: 1s');
  const client = openClient(context, edge.port);
  const chat = call(client, 'chat')();
  const ended = statusOf(chat);
  chat.on('error', () => undefined);
  chat.write(Buffer.from('x'));
  await once(chat, 'data');
  server.close();
  assert.notEqual((await ended).code, 0);
  const { ended: gone } = await callUnary(client, 'unary', Buffer.from('x'));
  assert.equal(gone.code, grpc.status.UNAVAILABLE);
  assert.match(gone.details, /cannot be reached|broke off/);
  assert.equal(edge.services.service.router.routes[0]?.metrics.value('failures'), 2);
});

test('gRPC over TLS both ways', async (context) => {
  const directory = await temporaryDirectory(context);
  const files = certificateFiles(directory, 'edge', ['localhost']);
  if (files === undefined) return context.skip('openssl is not installed');
  const server = await startServer();
  context.after(() => server.close());
  await using inner = await startEdge({
    yaml: `services:\n  - { name: tls, listen: "127.0.0.1:0", certificates: [{ cert: "${files.cert}", key: "${files.key}" }] }\nupstreams:\n  - { name: echo, protocol: h2, nodes: [{ url: "http://127.0.0.1:${server.port}" }] }\n`,
  });
  await using outer = await startEdge({
    yaml: `services:\n  - { name: edge, listen: "127.0.0.1:0", http2: true }\nupstreams:\n  - { name: inner, protocol: h2, nodes: [{ url: "https://127.0.0.1:${inner.port}", verifyCertificate: false }] }\n`,
  });
  const client = openClient(context, outer.port);
  const { answer, ended } = await callUnary(client, 'unary', Buffer.from('hello'));
  assert.deepEqual([answer?.toString(), ended.code], ['hello', 0]);
  const chat = call(client, 'chat')();
  chat.write(Buffer.from('x'));
  await once(chat, 'data');
  chat.end();
  assert.equal((await statusOf(chat)).code, 0);
});
