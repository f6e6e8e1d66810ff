/**
 * Answers that stand ready are written anew, change their version and give way while slow readers are being sent them: each response is one
 * version of one object from its head to its last byte, and has an id of its own.
 */
import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB } from '../../src/base/units.ts';
import { DirectSocket } from '../../src/proxy/express/direct-socket.ts';
import { ExpressLane } from '../../src/proxy/express/express-lane.ts';
import { type BodyIdentity, verifyBody } from '../helpers/body.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import { type ResponseHead, ResponseParser } from '../helpers/response-parser.ts';
import { tinyDevice } from '../helpers/tiny-device.ts';

const SEED = 20_261_130;
const LISTENING = { connectionsMax: 1000, streamsMax: 100, headerBytesMax: 16 * KIB, headerTimeoutMs: 10_000, hasExpressLane: true };
const PATHS = ['/a', '/b', '/c'] as const;
/** Of all versions, so that one fits where another was. */
const LENGTHS = { '/a': 60_000, '/b': 60_000, '/c': 700 } as const;
const EPOCHS = 6;
const SECONDS = 4;
const READERS = 4;
/** More than the kernel's buffers take, and not more than node:http waits with. */
const ASKED = 120;

/** A wall that is put forward by hand; what is measured goes on as ever. */
class WallClock extends SystemClock {
  aheadMs = 0;

  override wallMs(): number {
    return super.wallMs() + this.aheadMs;
  }
}

/** A client that checks what it reads, and reads as much as it is told to. */
class Reader {
  readonly ids: string[] = [];
  readonly ages: number[] = [];
  readonly statuses: number[] = [];
  readonly versions = new Set<string>();
  readonly socket: net.Socket;
  readonly #asked: string[] = [];
  #parser: ResponseParser | undefined;
  #head: ResponseHead | undefined;
  #offset = 0;
  #allowance = 0;

  constructor(port: number) {
    this.socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    this.socket.on('error', () => undefined);
    this.socket.on('data', (bytes: Buffer) => this.#take(bytes));
    this.socket.pause();
  }

  get isThrough(): boolean {
    return this.#asked.length === 0;
  }

  ask(paths: readonly string[], fields = ''): void {
    this.#asked.push(...paths);
    this.socket.write(paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n${fields}\r\n`).join(''));
  }

  read(bytes: number): void {
    this.#allowance = bytes;
    this.socket.resume();
  }

  #take(bytes: Buffer): void {
    this.#allowance -= bytes.length;
    if (this.#allowance <= 0) this.socket.pause();
    for (let rest = bytes; rest.length > 0; ) {
      this.#parser ??= this.#newParser();
      rest = this.#parser.feed(rest);
    }
  }

  #newParser(): ResponseParser {
    return new ResponseParser('GET', {
      onInterim: () => assert.fail('nothing is in between'),
      onTrailer: () => assert.fail('nothing comes behind'),
      onHead: (head) => {
        this.#head = head;
        this.#offset = 0;
        this.statuses.push(head.status);
      },
      onBody: (bytes) => {
        assert.equal(verifyBody(bytes, this.#identity(), this.#offset), -1, `${this.#asked[0]} at ${this.#offset}`);
        this.#offset += bytes.length;
      },
      onEnd: () => {
        const { version } = this.#identity();
        const { headers } = this.#head ?? assert.fail('a head comes first');
        assert.equal(headers['x-version'], String(version));
        assert.equal(this.#offset, LENGTHS[this.#asked[0] as '/a']);
        assert.equal(headers['content-length'], String(this.#offset));
        assert.match(headers['cache-status'] ?? '', /^rawslice; (hit; ttl=\d+|fwd=.*)$/);
        this.ages.push(Number(headers.age ?? 0));
        this.versions.add(`${this.#asked[0]} ${version}`);
        if (headers['x-request-id'] !== undefined) this.ids.push(headers['x-request-id']);
        this.#asked.shift();
        this.#parser = undefined;
      },
    });
  }

  #identity(): BodyIdentity {
    const name = this.#asked[0] ?? assert.fail('nothing comes that was not asked for');
    return { name, version: Number(this.#head?.headers['x-version']) };
  }
}

/** A lane whose server's sockets are at hand. */
async function openLane(services: TestEdge['services']): Promise<OpenLane> {
  const lane = new ExpressLane({
    services,
    isOpen: true,
    headerBytesMax: 8192,
    headerTimeoutMs: 10_000,
    keepAliveMs: 10_000,
    checkMs: 1000,
    toGeneral: () => assert.fail('nothing goes to node:http'),
    refuse: () => assert.fail('nothing is refused'),
  });
  const buffer = Buffer.alloc(64 * KIB);
  const accepted: net.Socket[] = [];
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const direct = DirectSocket.adopt(socket, buffer);
    accepted.push(direct);
    lane.accept(direct);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  return {
    async connect() {
      const client = new Reader(address.port);
      client.read(Number.POSITIVE_INFINITY);
      const socket = await eventually(() => accepted.shift(), { what: 'the connection' });
      return { client, socket };
    },
    async [Symbol.asyncDispose]() {
      lane.close();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

interface OpenLane extends AsyncDisposable {
  connect(): Promise<{ readonly client: Reader; readonly socket: net.Socket }>;
}

function setVersion(origin: Origin, version: number): void {
  const headers = { 'X-Version': String(version) };
  for (const path of PATHS) origin.setObject(path, { lengthBytes: LENGTHS[path], version, headers, cacheControl: 'max-age=100000' });
}

function useClock(edge: TestEdge): WallClock {
  const clock = new WallClock();
  for (const listener of edge.listeners) listener.use({ ...edge.services, clock }, LISTENING);
  return clock;
}

/** A client that takes whatever comes at once, so that what it asks for stands ready. */
function quickReader(edge: TestEdge): Reader {
  const reader = new Reader(edge.port);
  reader.read(Number.POSITIVE_INFINITY);
  return reader;
}

/** Seconds pass, in each of which everything is asked for again and again; the slow ones read some in between. */
async function passSeconds(count: number, { quick, slow, clock, random }: Play): Promise<void> {
  for (let second = 0; second < count; second += 1) {
    clock.aheadMs += 1000;
    quick.ask(Array.from({ length: 30 }, (_none, index) => PATHS[index % PATHS.length] ?? '/a'));
    for (const reader of slow) if (random.integerBelow(3) === 0) reader.read(random.integerBelow(400_000));
    await eventually(() => quick.isThrough, { what: 'the quick client' });
  }
}

interface Play {
  readonly quick: Reader;
  readonly slow: readonly Reader[];
  readonly clock: WallClock;
  readonly random: SeededRandom;
}

async function readAll(readers: readonly Reader[]): Promise<void> {
  for (const reader of readers) reader.read(Number.POSITIVE_INFINITY);
  await eventually(() => readers.every(({ isThrough }) => isThrough), { what: 'the end of all' });
  for (const { socket, statuses } of readers) {
    assert.ok(statuses.every((status) => status === 200));
    socket.destroy();
  }
}

test(`slow readers get one version from head to end while versions change, seed ${SEED}`, async () => {
  const random = new SeededRandom(SEED);
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin, makeStore: tinyDevice });
  const clock = useClock(edge);
  const quick: Reader[] = [];
  const slow: Reader[] = [];
  for (let version = 1; version <= EPOCHS; version += 1) {
    setVersion(origin, version);
    await edge.services.purger.purge({ kind: 'everything' }, version % 3 === 0);
    for (const path of PATHS) await edge.get(path);
    // Who has met a purge is with node:http afterwards.
    quick.push(quickReader(edge));
    for (let index = 0; index < READERS; index += 1) {
      const reader = new Reader(edge.port);
      slow.push(reader);
      reader.ask(Array.from({ length: ASKED }, () => PATHS[random.integerBelow(PATHS.length)] ?? '/a'));
    }
    await passSeconds(SECONDS, { quick: quick.at(-1) ?? assert.fail(), slow, clock, random });
  }
  await readAll([...quick, ...slow]);
  assert.ok(
    slow.some(({ versions }) => versions.size > PATHS.length),
    'some have seen a change',
  );
  assert.ok(edge.services.answers.heldBytes > 0);
});

test('what stands ready of a version that was replaced makes room at once', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin, makeStore: tinyDevice });
  const held: number[] = [];
  for (let version = 1; version <= 5; version += 1) {
    setVersion(origin, version);
    await edge.services.purger.purge({ kind: 'everything' }, false);
    for (const path of PATHS) await edge.get(path);
    await edge.settle();
    const quick = quickReader(edge);
    quick.ask(PATHS.flatMap((path) => Array.from({ length: 20 }, () => path)));
    await readAll([quick]);
    held.push(edge.services.answers.heldBytes);
  }
  const [first = 0] = held;
  assert.ok(first > 0);
  // The heads may differ by some digits.
  assert.ok(
    held.every((bytes) => Math.abs(bytes - first) < 100),
    held.join(),
  );
});

test('what waits for the kernel is what it was when it was asked for, whatever is sent to others meanwhile', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({ origin, makeStore: tinyDevice, set: { requestId: 'client' } });
  setVersion(origin, 1);
  for (const path of PATHS) await edge.get(path);
  await edge.settle();
  const clock = new WallClock();
  await using lane = await openLane({ ...edge.services, clock });
  const [waiting, quick] = [await lane.connect(), await lane.connect()];
  for (const path of PATHS) {
    waiting.client.ask([path, path, path]);
    await eventually(() => waiting.client.isThrough, { what: 'its first answers' });
    // As if the kernel took nothing.
    waiting.socket.cork();
    waiting.client.ask([path]);
    await eventually(() => edge.services.load.requests === 1, { what: 'the response that waits' });
    const told = new Set(waiting.client.ids);
    for (let second = 0; second < 3; second += 1) {
      quick.client.ask([path, path, path]);
      await eventually(() => quick.client.isThrough, { what: 'the answers of the other' });
      clock.aheadMs += 1000;
    }
    waiting.socket.uncork();
    await eventually(() => waiting.client.isThrough, { what: 'the answer that waited' });
    const id = waiting.client.ids.at(-1) ?? '';
    assert.ok(!told.has(id) && !quick.client.ids.includes(id), `${path} has an id of its own`);
    assert.ok((waiting.client.ages.at(-1) ?? 9) < (quick.client.ages.at(-1) ?? 0), 'it is as old as it was then');
    assert.equal(edge.services.answers.isIdle, true);
  }
});
