/** Sockets whose bytes are read into one buffer for all, and that are ordinary streams for everybody else. */
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { DirectSocket } from '../../src/proxy/express/direct-socket.ts';
import { eventually } from '../helpers/eventually.ts';
import { withTemporaryDirectory } from '../helpers/temp.ts';

const SHARED = Buffer.alloc(1024);

interface Place extends AsyncDisposable {
  readonly server: net.Server;
  readonly client: net.Socket;
  /** The server's side. */
  readonly socket: Socket;
}
type Socket = net.Socket;

async function connect(server: net.Server = net.createServer({ allowHalfOpen: true }), socketPath?: string): Promise<Place> {
  const accepted = new Promise<Socket>((resolve) => {
    server.removeAllListeners('connection');
    server.once('connection', (socket) => resolve(DirectSocket.adopt(socket, SHARED)));
  });
  await new Promise<void>((resolve) =>
    server.listen(socketPath === undefined ? { port: 0, host: '127.0.0.1' } : { path: socketPath }, resolve),
  );
  const address = server.address();
  assert.ok(address !== null);
  const place = typeof address === 'string' ? { path: address } : { port: address.port, host: '127.0.0.1' };
  const client = net.connect({ ...place, allowHalfOpen: true });
  const socket = await accepted;
  return {
    server,
    client,
    socket,
    [Symbol.asyncDispose]: async () => {
      client.destroy();
      socket.destroy();
      // It ends only when the server knows that the connection has.
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

test('what comes goes to the listener, in the buffer of all, and the connection counts as one', async () => {
  await using place = await connect();
  const { socket, client, server } = place;
  assert.ok(socket instanceof DirectSocket, 'this Node has what it takes');
  const received: string[] = [];
  socket.onBytes = (bytes, length) => {
    assert.equal(bytes, SHARED);
    received.push(bytes.toString('latin1', 0, length));
  };
  assert.equal(socket.remoteAddress, '127.0.0.1');
  client.write('one');
  await eventually(() => received.join('') === 'one', { what: 'the first bytes' });
  const connections = await new Promise((resolve) => server.getConnections((_error, count) => resolve(count)));
  assert.equal(connections, 1);
  let hasEnded = false;
  socket.on('end', () => {
    hasEnded = true;
  });
  client.end('two');
  await eventually(() => hasEnded, { what: 'the end' });
  assert.equal(received.join(''), 'onetwo');
  const answer: string[] = [];
  client.on('data', (bytes) => answer.push(String(bytes)));
  socket.end('still open');
  await eventually(() => client.closed, { what: 'the other end' });
  assert.equal(answer.join(''), 'still open');
});

test('a connection over a Unix socket is one too', async () => {
  await withTemporaryDirectory(async (folder) => {
    await using place = await connect(undefined, path.join(folder, 'socket'));
    const { socket, client } = place;
    assert.ok(socket instanceof DirectSocket);
    socket.onBytes = (bytes, length) => socket.end(bytes.toString('latin1', 0, length).toUpperCase());
    let answer = '';
    client.on('data', (bytes) => {
      answer += String(bytes);
    });
    client.write('abc');
    await eventually(() => answer === 'ABC', { what: 'the answer' });
  });
});

test('without a listener it is a stream, which nobody overwrites and which waits for its reader', async () => {
  await using place = await connect();
  const { socket, client } = place;
  const sent = Buffer.alloc(3_000_000);
  for (let index = 0; index < sent.length; index += 1) sent[index] = index % 251;
  socket.pause();
  client.write(sent);
  const received: Buffer[] = [];
  let length = 0;
  socket.on('data', (bytes: Buffer) => {
    received.push(bytes);
    length += bytes.length;
    socket.pause();
    setImmediate(() => socket.resume());
  });
  assert.ok(socket.readableLength <= socket.readableHighWaterMark + SHARED.length);
  socket.resume();
  await eventually(() => length === sent.length, { what: 'all bytes' });
  assert.ok(Buffer.concat(received).equals(sent));
});

test('node:http may have it after some of it was read', async () => {
  const general = http.createServer((request, response) => {
    let length = 0;
    request.on('data', (bytes: Buffer) => {
      length += bytes.length;
    });
    request.on('end', () => response.end(`${request.url} ${length}`));
  });
  const [own] = general.listeners('connection');
  await using place = await connect(general);
  const { socket, client } = place;
  assert.ok(socket instanceof DirectSocket && own !== undefined);
  let head = '';
  socket.onBytes = (bytes, length) => {
    head += bytes.toString('latin1', 0, length);
    if (!head.endsWith('\r\n\r\n')) return;
    socket.onBytes = undefined;
    socket.pause();
    socket.unshift(Buffer.from(head, 'latin1'));
    Reflect.apply(own, general, [socket]);
    socket.resume();
    client.write('x'.repeat(100_000));
  };
  let answer = '';
  client.on('data', (bytes) => {
    answer += String(bytes);
  });
  client.write('POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n');
  await eventually(() => answer.endsWith('/up 100000'), { what: 'the answer' });
  general.closeAllConnections();
});

test('a socket of another kind stays what it is', () => {
  const socket = new net.Socket();
  assert.equal(DirectSocket.adopt(socket, SHARED), socket);
});
