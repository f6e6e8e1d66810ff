/** The parts of the express lane by themselves: its parser, its stored heads' holes, its deadlines. */
import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { MIB } from '../../src/base/units.ts';
import { ExpressLane } from '../../src/proxy/express/express-lane.ts';
import { HeadParser } from '../../src/proxy/express/head-parser.ts';
import { KnownFields } from '../../src/proxy/express/known-fields.ts';
import { startEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';

const known = new KnownFields();

function newParser(bytesMax = 8192): HeadParser {
  return new HeadParser({ known, bytesMax, readsUserAgent: true });
}

/** Every way in which a parser may see the bytes: all at once, or with a cut anywhere. */
function verdicts(bytes: Buffer): Set<string> {
  const found = new Set<string>();
  for (let cut = 0; cut <= bytes.length; cut += 1) {
    const parser = newParser();
    const first = cut === 0 ? 'incomplete' : parser.parse(bytes.subarray(0, cut), 0, cut);
    const last = first === 'incomplete' ? parser.parse(bytes, 0, bytes.length) : first;
    found.add(
      last === 'foreign' ? `foreign ${parser.reason}` : last === 'complete' ? `complete ${parser.target} ${parser.endOffset}` : last,
    );
  }
  return found;
}

const HEADS: readonly (readonly [bytes: string, verdict: string])[] = [
  ['GET /a?b HTTP/1.1\r\nHost: x\r\nRange:bytes=1-2  \r\n\r\n', 'complete /a?b 49'],
  ['HEAD / HTTP/1.1\r\nhOsT:\tx\r\n\r\n', 'complete / 28'],
  ['GET / HTTP/1.1\r\n\r\n', 'foreign syntax'],
  ['GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n', 'foreign field'],
  ['GET / HTTP/1.1\r\nHost: x\r\nRange: a\r\nRange: b\r\n\r\n', 'foreign field'],
  ['GET / HTTP/1.1\r\nHost: x\r\nX-Other: b\r\n\r\n', 'foreign field'],
  ['GET / HTTP/1.1\r\nHost: x\r\nConnection: close, x\r\n\r\n', 'foreign field'],
  ['GET / HTTP/1.1\nHost: x\r\n\r\n', 'foreign version'],
  ['GET / HTTP/1.1\r\nHost: x\n\r\n', 'foreign syntax'],
  ['GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n', 'foreign syntax'],
  ['GET / HTTP/1.1\r\nHost : x\r\n\r\n', 'foreign syntax'],
  ['GET  / HTTP/1.1\r\nHost: x\r\n\r\n', 'foreign target'],
  ['GET /?? HTTP/1.1\r\nHost: x\r\n\r\n', 'foreign target'],
  ['POST / HTTP/1.1\r\nHost: x\r\n\r\n', 'foreign method'],
  ['\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n', 'foreign method'],
  ['GET / HTTP/1.0\r\nHost: x\r\n\r\n', 'foreign version'],
];

for (const [bytes, verdict] of HEADS) {
  test(`HeadParser, cut anywhere: ${JSON.stringify(bytes)} is ${verdict}`, () => {
    const found = verdicts(Buffer.from(bytes, 'latin1'));
    assert.deepEqual([...found], [verdict]);
  });
}

test('HeadParser gives up at the first byte that is not its own, and at its bounds', () => {
  for (const start of ['\x16', 'P', 'GET x', 'GET / HTTP/2', 'GET / HTTP/1.1\r\nCook\0', 'GET / HTTP/1.1\r\nHost: \x80'])
    assert.equal(newParser().parse(Buffer.from(start, 'latin1'), 0, start.length), 'foreign', JSON.stringify(start));
  const long = Buffer.from(`GET / HTTP/1.1\r\nHost: ${'x'.repeat(100)}`);
  assert.equal(newParser(long.length).parse(long, 0, long.length), 'incomplete');
  assert.equal(newParser(long.length - 1).parse(long, 0, long.length), 'foreign');
});

test('HeadParser reads one head after another', () => {
  const parser = newParser();
  const bytes = Buffer.from(
    'GET /1 HTTP/1.1\r\nHost: x\r\nRange: bytes=0-0\r\nUser-Agent: a b\r\n\r\nHEAD /2 HTTP/1.1\r\nHost: y\r\nConnection: close\r\n\r\n',
  );
  assert.equal(parser.parse(bytes, 0, bytes.length), 'complete');
  assert.deepEqual(
    [parser.isHead, parser.target, parser.host, parser.range, parser.userAgent, parser.isLast],
    [false, '/1', 'x', 'bytes=0-0', 'a b', false],
  );
  assert.equal(parser.parse(bytes, parser.endOffset, bytes.length), 'complete');
  assert.deepEqual(
    [parser.isHead, parser.target, parser.host, parser.range, parser.userAgent, parser.isLast],
    [true, '/2', 'y', undefined, undefined, true],
  );
  assert.equal(parser.endOffset, bytes.length);
});

test('HeadParser knows fields that it has just read, and no others', () => {
  const parser = newParser();
  const read = (text: string): string => {
    const bytes = Buffer.from(`${text}garbage`, 'latin1');
    const verdict = parser.parse(bytes, 0, text.length);
    return verdict === 'complete' ? `${parser.target} ${parser.host} ${parser.range} ${parser.userAgent} ${parser.endOffset}` : verdict;
  };
  for (const filling of ['', `Accept: ${'x'.repeat(300)}\r\n`, `Accept: ${'x'.repeat(3000)}\r\n`]) {
    const fields = `Host: x\r\nUser-Agent: a\r\n${filling}Range: bytes=0-0\r\n\r\n`;
    const length = `GET /1 HTTP/1.1\r\n${fields}`.length;
    for (const target of ['/1', '/2', '/2']) assert.equal(read(`GET ${target} HTTP/1.1\r\n${fields}`), `${target} x bytes=0-0 a ${length}`);
    assert.equal(read(`GET /1 HTTP/1.1\r\n${fields.replace('0-0', '0-1')}`), `/1 x bytes=0-1 a ${length}`);
    assert.equal(read(`GET /1 HTTP/1.1\r\n${fields.replace('x', 'y')}`), `/1 y bytes=0-0 a ${length}`);
    assert.equal(read(`GET /1 HTTP/1.1\r\nHost: x\r\n\r\n`), `/1 x undefined undefined 28`);
    assert.equal(read(`GET /1 HTTP/1.1\r\n${fields}`), `/1 x bytes=0-0 a ${length}`);
    // Cut anywhere, what was known before counts for nothing.
    for (let cut = 17; cut < length; cut += 7) {
      assert.equal(read(`GET /1 HTTP/1.1\r\n${fields}`.slice(0, cut)), 'incomplete');
      assert.equal(read(`GET /1 HTTP/1.1\r\n${fields}`), `/1 x bytes=0-0 a ${length}`);
    }
    parser.readsUserAgent = false;
    assert.equal(read(`GET /1 HTTP/1.1\r\n${fields}`), `/1 x bytes=0-0  ${length}`);
    parser.readsUserAgent = true;
    assert.equal(read(`GET /1 HTTP/1.1\r\n${fields}`), `/1 x bytes=0-0 a ${length}`);
    assert.equal(read(`GET /1 HTTP/1.1\r\n${fields.replace('Range', 'Rang\u00e9')}`), 'foreign');
  }
});

test('a head of which half was read on other terms is not known afterwards', () => {
  const parser = newParser();
  parser.readsUserAgent = false;
  const bytes = Buffer.from('GET / HTTP/1.1\r\nUser-Agent: a\r\nHost: x\r\n\r\n');
  assert.equal(parser.parse(bytes, 0, bytes.length - 4), 'incomplete');
  parser.readsUserAgent = true;
  assert.equal(parser.parse(bytes, 0, bytes.length), 'complete');
  assert.equal(parser.userAgent, '');
  assert.equal(parser.parse(bytes, 0, bytes.length), 'complete');
  assert.equal(parser.userAgent, 'a');
});

test('a silent connection, half a head and an idle connection are ended by the lane itself', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 10, cacheControl: 'max-age=600' });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  const refused: string[] = [];
  const sockets: net.Socket[] = [];
  const lane = new ExpressLane({
    services: edge.services,
    isOpen: true,
    headerBytesMax: 8192,
    headerTimeoutMs: 50,
    keepAliveMs: 200,
    checkMs: 10,
    toGeneral: () => assert.fail('nothing goes to node:http'),
    refuse: (kind, socket) => {
      refused.push(kind);
      socket.end();
    },
  });
  const server = net.createServer({ allowHalfOpen: true }, (socket) => lane.accept(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  for (const bytes of ['', 'GET /a HTTP/1.1\r\nHo', 'GET /a HTTP/1.1\r\nHost: x\r\n\r\n', 'GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET ']) {
    const socket = net.connect({ port: address.port, host: '127.0.0.1' });
    socket.resume();
    if (bytes !== '') socket.write(bytes);
    sockets.push(socket);
  }
  await eventually(() => sockets.every((socket) => socket.closed), { what: 'the end of all' });
  assert.deepEqual(refused, ['head-time', 'head-time', 'head-time']);
  lane.close();
  server.close();
});

/** Time that can be made to have passed. */
class JumpingClock extends SystemClock {
  aheadMs = 0;
  looks = 0;

  override monotonicMs(): number {
    this.looks += 1;
    return super.monotonicMs() + this.aheadMs;
  }
}

test('the last response of a connection may take as long as its client needs', async () => {
  const lengthBytes = 12 * MIB;
  await using origin = await Origin.start();
  origin.setObject('/large', { lengthBytes, cacheControl: 'max-age=600' });
  await using edge = await startEdge({ origin, arenaBytes: 64 * MIB });
  await edge.get('/large');
  const clock = new JumpingClock();
  const lane = new ExpressLane({
    services: { ...edge.services, clock },
    isOpen: true,
    headerBytesMax: 8192,
    headerTimeoutMs: 50,
    keepAliveMs: 200,
    checkMs: 10,
    toGeneral: () => assert.fail('nothing goes to node:http'),
    refuse: () => assert.fail('nothing is refused'),
  });
  const server = net.createServer({ allowHalfOpen: true }, (socket) => lane.accept(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const socket = net.connect({ port: address.port, host: '127.0.0.1' });
  let received = 0;
  socket.pause();
  socket.on('data', (bytes) => {
    received += bytes.length;
  });
  socket.pause();
  socket.write('GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  await eventually(() => edge.services.load.requests === 1, { what: 'the request' });
  clock.aheadMs += 20_000;
  const { looks } = clock;
  await eventually(() => clock.looks > looks + 5, { what: 'some checks' });
  socket.resume();
  await eventually(() => socket.closed, { what: 'the end of the response' });
  assert.ok(received > lengthBytes, `${received} bytes`);
  lane.close();
  server.close();
});
