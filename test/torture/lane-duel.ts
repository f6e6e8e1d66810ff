/**
 * The duel of the two lanes: two proxies in front of one origin, one with the express lane and one without, are sent the same bytes, and all that
 * comes back has to be the same but for the times. `npm run fuzz:lanes -- --seed N --count M` lets it last; a test runs a few seconds of it.
 */
import assert from 'node:assert/strict';
import net from 'node:net';
import { parseArgs } from 'node:util';
import { SystemClock } from '../../src/base/clock.ts';
import { SeededRandom, SystemRandom } from '../../src/base/random.ts';
import { KIB } from '../../src/base/units.ts';
import { HANDOVER_REASONS } from '../../src/proxy/proxy-metrics.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import type { ObjectDefinition } from '../helpers/origin-script.ts';
import { DUEL_PATHS, type LaneScript, makeScript } from './lane-script.ts';

/** What a duel came to. */
export interface DuelTally {
  connections: number;
  requests: number;
  bytes: number;
  express: number;
  general: number;
  readonly handovers: Record<string, number>;
  /** Times in which nothing came from either side until the client ended. */
  silences: number;
  /** Connections of which one side's answer was cut because the client sent more than was wanted. */
  resets: number;
  /** Connections whose last request line was called malformed by one side, and of an unknown method by the other. */
  lines: number;
}

/** How long both may say nothing before the client ends the connection. */
const SILENCE_MS = 1000;
/** The same when they differ after a silence: the machine may have been busy. */
const LONG_SILENCE_MS = 4000;
/** How long an end may take. */
const END_MS = 10_000;

const OBJECTS: Readonly<Record<(typeof DUEL_PATHS)[number], ObjectDefinition | undefined>> = {
  '/small': { lengthBytes: 700, cacheControl: 'max-age=86400' },
  '/empty': { lengthBytes: 0, cacheControl: 'max-age=86400' },
  '/one': { lengthBytes: 1, cacheControl: 'max-age=86400', headers: [['cache-status', 'parent; hit; ttl=7']] },
  '/slice': { lengthBytes: 64 * KIB, cacheControl: 'max-age=86400' },
  '/slice-and-one': {
    lengthBytes: 64 * KIB + 1,
    cacheControl: 'max-age=86400',
    headers: [
      ['content-md5', 'x'],
      ['via', '1.1 far'],
    ],
  },
  '/large': { lengthBytes: 200_000, cacheControl: 'max-age=86400, immutable' },
  '/weak': { lengthBytes: 900, etag: 'weak', cacheControl: 'max-age=86400' },
  '/dateless': { lengthBytes: 900, lastModified: 'none', cacheControl: 'max-age=86400' },
  '/untagged': { lengthBytes: 900, etag: 'none', lastModified: 'none', cacheControl: 'max-age=86400' },
  '/missing': undefined,
  '/moved': undefined,
  '/varied': { lengthBytes: 500, varyOn: ['accept-language'], cacheControl: 'max-age=86400' },
  '/private': { lengthBytes: 500, cacheControl: 'private' },
  '/stale': { lengthBytes: 500, cacheControl: 'max-age=0' },
  '/absent': undefined,
};

/** Some of the objects have a route with middlewares, which the lane does not know. */
const MIDDLEWARES = `
middlewares:
  - { name: marks, use: headers, options: { setResponse: { x-mark: yes }, removeResponse: [content-md5] } }
  - { name: browsers, use: cors, options: { origins: [http://x] } }
routes:
  - { name: with, match: "^/d[01]/(weak|slice-and-one)$", middlewares: [browsers, marks] }
  - { name: without }
`;

/** Runs connections until `isOver`. @throws AssertionError where the lanes differ; its message says how to see that again */
export async function duel(options: {
  readonly seed: number;
  readonly duellists: number;
  readonly isOver: (tally: DuelTally) => boolean;
  readonly onProgress?: ((tally: DuelTally) => void) | undefined;
}): Promise<DuelTally> {
  await using origin = await Origin.start();
  const set = { 'limits.headerTimeout': '1m' };
  await using express = await startEdge({ origin, set, yaml: MIDDLEWARES });
  await using general = await startEdge({ origin, set: { ...set, expressLane: 'false' }, yaml: MIDDLEWARES });
  const tally: DuelTally = {
    connections: 0,
    requests: 0,
    bytes: 0,
    express: 0,
    general: 0,
    handovers: {},
    silences: 0,
    resets: 0,
    lines: 0,
  };
  const run = async (duellist: number): Promise<void> => {
    const prefix = `/d${duellist}`;
    const tagOf = await prepare({ origin, edges: [express, general], prefix });
    for (let round = 0; !options.isOver(tally); round += 1) {
      const seed = options.seed + duellist * 2 ** 22 + round;
      const script = makeScript(new SeededRandom(seed), prefix, { tagOf, loopId: 'LOOP' });
      await runScript(script, { express, general, seed, tally });
      if (duellist === 0) options.onProgress?.(tally);
    }
  };
  await Promise.all(Array.from({ length: options.duellists }, (_none, duellist) => run(duellist)));
  for (const reason of HANDOVER_REASONS) tally.handovers[reason] = express.services.metrics.value('handovers', reason);
  tally.express = express.services.metrics.value('laneRequests', 'express');
  tally.general = express.services.metrics.value('laneRequests', 'general');
  assert.equal(general.services.metrics.value('laneRequests', 'express'), 0);
  return tally;
}

/** Both have every object that can be stored. */
async function prepare({
  origin,
  edges,
  prefix,
}: {
  origin: Origin;
  edges: readonly TestEdge[];
  prefix: string;
}): Promise<(path: string) => string> {
  const tags = new Map<string, string>();
  for (const path of DUEL_PATHS) {
    const object = OBJECTS[path];
    if (object !== undefined) origin.setObject(prefix + path, object);
    for (const edge of edges) {
      // Both are keys of their own.
      await edge.get(`${prefix}${path}?`);
      const { headers } = await edge.get(prefix + path);
      if (headers.etag !== undefined) tags.set(prefix + path, headers.etag);
      await edge.settle();
    }
  }
  return (path) => tags.get(path) ?? '"none"';
}

async function runScript(
  script: LaneScript,
  { express, general, seed, tally }: { express: TestEdge; general: TestEdge; seed: number; tally: DuelTally },
  silenceMs = SILENCE_MS,
): Promise<void> {
  const [one, other] = await Promise.all([talk(express, script, silenceMs), talk(general, script, silenceMs)]);
  tally.connections += 1;
  tally.requests += script.requests;
  tally.bytes += one.received.length;
  if (one.wasSilent) tally.silences += 1;
  if (one.received.equals(other.received)) return;
  const [left, right] = [comparable(one.received), comparable(other.received)];
  if (left === right) return;
  // Who goes on sending to a connection that was ended may lose what was on its way to him, on either side (RFC 9112 s9.6).
  const [shorter, longer] = left.length < right.length ? [one, other] : [other, one];
  if (shorter.wasReset) {
    tally.resets += 1;
    if (comparable(longer.received).startsWith(comparable(shorter.received))) return;
  }
  if (withoutMethod(left) === withoutMethod(right)) {
    tally.lines += 1;
    return;
  }
  if ((one.wasSilent || other.wasSilent) && silenceMs !== LONG_SILENCE_MS)
    return runScript(script, { express, general, seed, tally }, LONG_SILENCE_MS);
  const at = [...left].findIndex((character, index) => character !== right[index]);
  const from = Math.max(0, (at < 0 ? left.length : at) - 300);
  assert.fail(
    [
      `seed ${seed}: the lanes differ`,
      `sent: ${JSON.stringify(script.pieces.map((piece) => piece.toString('latin1').slice(0, 1500)))}`,
      `express (${left.length}): ${JSON.stringify(left.slice(from, from + 900))}`,
      `general (${right.length}): ${JSON.stringify(right.slice(from, from + 900))}`,
    ].join('\n'),
  );
}

/** Without times, and what is random. */
function comparable(received: Buffer): string {
  let text = received.toString('latin1');
  for (const [, boundary = ''] of text.matchAll(/boundary=([0-9a-f]{32})/g)) text = text.replaceAll(boundary, 'BOUNDARY');
  return text
    .replace(/\r\nage: \d+\r\n/g, '\r\nage: #\r\n')
    .replace(/; ttl=-?\d+/g, '; ttl=#')
    .replace(/\r\n(date|Date): [^\r]*\r\n/g, '\r\n$1: #\r\n')
    .replace(/rawslice-[0-9a-f]{8}/g, 'LOOP');
}

/**
 * With one refusal for a line that is none and for one of an unknown method. Node's parser shows no more of it than the packet in which it stopped,
 * and how much that is depends on what else was going on: also without the express lane.
 */
function withoutMethod(text: string): string {
  return text.replace(
    /HTTP\/1\.1 (?:400|501) [^\r]+\r\n(?:[^\r]+\r\n)*proxy-status: [^\r]+details="(?:REQUEST_INVALID|METHOD_UNSUPPORTED)"\r\n\r\n[^\r]*$/,
    'LINE',
  );
}

/** Sends a script and takes what comes until the connection has ended. */
async function talk(
  { port }: TestEdge,
  script: LaneScript,
  silenceMs: number,
): Promise<{ received: Buffer; wasSilent: boolean; wasReset: boolean }> {
  const clock = new SystemClock();
  const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
  const parts: Buffer[] = [];
  let wasSilent = false;
  let wasReset = false;
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  // How it ends is not compared, but what came before.
  socket.on('error', () => {
    wasReset = true;
  });
  let silence = clock.startTimer(END_MS, () => socket.destroy());
  const listen = (): void => {
    silence.stop();
    silence = clock.startTimer(silenceMs, () => {
      wasSilent = true;
      socket.end();
      silence = clock.startTimer(END_MS, () => socket.destroy(new Error('no end')));
    });
  };
  socket.on('data', (bytes: Buffer) => {
    parts.push(bytes);
    listen();
  });
  for (const piece of script.pieces) {
    if (socket.destroyed) break;
    socket.write(piece);
    if (script.pieces.length > 1) await new Promise<void>((resolve) => clock.defer(resolve));
  }
  listen();
  await closed;
  silence.stop();
  return { received: Buffer.concat(parts), wasSilent, wasReset };
}

const PROGRESS_MS = 10_000;

/** The duel for `--count` requests: prints the seed, how it goes, and what it came to. */
async function command(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: String(new SystemRandom().integerBelow(2 ** 20)) },
      count: { type: 'string', default: '100000' },
      duellists: { type: 'string', default: '8' },
    },
  });
  const clock = new SystemClock();
  const startedMs = clock.monotonicMs();
  let saidMs = startedMs;
  process.stdout.write(`seed ${values.seed}, ${values.count} requests\n`);
  const tally = await duel({
    seed: Number(values.seed),
    duellists: Number(values.duellists),
    isOver: ({ requests }) => requests >= Number(values.count),
    onProgress: ({ requests, connections }) => {
      if (clock.monotonicMs() - saidMs < PROGRESS_MS) return;
      saidMs = clock.monotonicMs();
      process.stdout.write(`${requests} requests on ${connections} connections\n`);
    },
  });
  process.stdout.write(`${JSON.stringify(tally)}, ${Math.round((clock.monotonicMs() - startedMs) / 1000)} s: no difference\n`);
}

if (import.meta.main) await command();
