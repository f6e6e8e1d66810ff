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
import { withModule } from '../helpers/module-file.ts';
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

test('gRPC: what middlewares answer has a status of gRPC, and their fields are metadata', async (context) => {
  const server = await startServer();
  context.after(() => server.close());
  const members = `create: () => ({
    onRequest: (exchange) => {
      const status = Number(exchange.field('x-status') ?? 0);
      if (status === 0) return undefined;
      if (status === 1) return { status: 200, fields: [['content-type', 'application/grpc'], ['grpc-status', '9'], ['grpc-message', 'own']] };
      return status === 503 ? { status, fields: [['content-type', 'text/html']], text: '<p>down' } : { status, text: 'schön ' + status + '\\n' };
    },
  })`;
  await withModule(members, async ({ file }) => {
    await using edge = await startEdge({
      yaml: `
middlewares:
  - { name: any, use: "${file}" }
  - { name: keys, use: bearer, options: { tokens: { shop: correct-horse } } }
  - { name: few, use: rateLimit, options: { requests: 2, per: 1h } }
  - { name: far, use: access, options: { allow: 203.0.113.0/24 } }
services:
  - { name: open, listen: "127.0.0.1:0", http2: true, middlewares: [any, keys, few] }
  - { name: closed, listen: "127.0.0.1:0", http2: true, middlewares: far }
upstreams: [{ name: echo, protocol: h2, nodes: [{ url: "http://127.0.0.1:${server.port}" }] }]
`,
    });
    const client = openClient(context, edge.ports.get('open') ?? 0);
    const ask = (fields: Record<string, string>, through = client): Promise<Ended> =>
      new Promise((resolve) => {
        const metadata = new grpc.Metadata();
        for (const [name, value] of Object.entries(fields)) metadata.set(name, value);
        const running = call(through, 'unary')(Buffer.from('x'), metadata, {}, () => undefined);
        running.on('status', resolve);
      });
    const { code, details, metadata } = await ask({});
    assert.deepEqual([code, details], [grpc.status.UNAUTHENTICATED, 'Credentials are needed here']);
    assert.match(String(metadata.get('www-authenticate')), /^Bearer realm=/);
    const key = { authorization: 'Bearer correct-horse' };
    for (const name of ['first', 'second']) assert.equal((await ask(key)).code, grpc.status.OK, name);
    const limited = await ask(key);
    assert.equal(limited.code, grpc.status.RESOURCE_EXHAUSTED);
    assert.match(String(limited.metadata.get('retry-after')), /^\d+$/);
    const refused = await ask({}, openClient(context, edge.ports.get('closed') ?? 0));
    assert.equal(refused.code, grpc.status.PERMISSION_DENIED);
    for (const [status, expected, message] of [
      ['404', grpc.status.UNIMPLEMENTED, 'schön 404'],
      ['302', grpc.status.UNKNOWN, 'schön 302'],
      ['503', grpc.status.UNAVAILABLE, 'Status 503 of HTTP'],
      ['1', grpc.status.FAILED_PRECONDITION, 'own'],
    ] as const) {
      const ended = await ask({ ...key, 'x-status': status });
      assert.deepEqual([ended.code, ended.details], [expected, message], status);
    }
    // A call with content on its way, which nobody takes.
    const chat = call(openClient(context, edge.ports.get('closed') ?? 0), 'chat')();
    chat.on('error', () => undefined);
    const ended = statusOf(chat);
    chat.write(Buffer.alloc(100_000));
    assert.equal((await ended).code, grpc.status.PERMISSION_DENIED);
    await edge.settle();
  });
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
