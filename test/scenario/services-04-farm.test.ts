/**
 * A farm of origins under load: nodes die and come back, slow down, flap, break off and lie, several at a time, while one at least is healthy. Every client gets
 * every byte, whatever the balancer.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB } from '../../src/base/units.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import type { Misbehaviour } from '../helpers/origin-script.ts';

const OBJECT = { lengthBytes: 200 * KIB + 77, cacheControl: 'max-age=60' };
const CLIENTS = 8;
const REQUESTS_PER_TURN = 20;

/** What a node may do wrong with a response; each is visible to who looks at framing, status and validators. */
const FAULTS: readonly (readonly [what: string, misbehaviour: Misbehaviour])[] = [
  ['resets at once', { raw: '', rawThen: 'reset' }],
  ['closes at once', { raw: '' }],
  ['fails', { status: 503 }],
  ['is no server of HTTP', { raw: 'SSH-2.0-OpenSSH\r\n' }],
  ['breaks off', { resetAfterBytes: 70 * KIB }],
  ['ends early', { closeAfterBytes: 130 * KIB }],
  ['lies about ranges', { contentRange: 'wrong-start' }],
  ['lies about lengths', { partLengthDeltaBytes: -5 }],
  ['sends parts that nobody asked for', { interval: (asked) => (asked === undefined ? { start: 0, end: 100 } : undefined) }],
  ['sends ranges that cannot be read', { contentRange: 'garbage' }],
  ['ignores ranges', { ignoreRange: true }],
  ['is slow', { bytesPerSecond: 2_000_000 }],
];

/** A node whose present fault holds for whatever it is asked. */
class FarmNode {
  fault: Misbehaviour = {};
  isDead = false;
  readonly #origin: Promise<Origin>;

  constructor() {
    this.#origin = Origin.start({ resolve: () => OBJECT, improvise: () => this.fault });
  }

  get origin(): Promise<Origin> {
    return this.#origin;
  }

  async turn(isHealthy: boolean, random: SeededRandom): Promise<void> {
    const origin = await this.#origin;
    const isDead = !isHealthy && random.integerBelow(4) === 0;
    this.fault = isHealthy ? {} : (FAULTS[random.integerBelow(FAULTS.length)]?.[1] ?? {});
    if (isDead && !this.isDead) await origin.stop();
    if (!isDead && this.isDead) await origin.start();
    this.isDead = isDead;
  }
}

/** The load of all clients together. */
interface Progress {
  /** By client. */
  readonly answered: number[];
  isOver: boolean;
}

/** Waits until every request is over that was under way, so that none has tried a node as it was before; and some more. */
async function untilAnswered(progress: Progress, failed: Promise<unknown>): Promise<void> {
  const before = [...progress.answered];
  const isDone = (): boolean => {
    const more = progress.answered.map((count, client) => count - (before[client] ?? 0));
    return more.every((count) => count >= 2) && more.reduce((sum, count) => sum + count, 0) >= REQUESTS_PER_TURN;
  };
  await Promise.race([failed, eventually(isDone, { what: 'requests', deadlineMs: 60_000 })]);
}

async function loadUntilOver(edge: TestEdge, progress: Progress, client: number, reference: Origin): Promise<void> {
  for (let count = 0; !progress.isOver; count += 1) {
    const path = `/${client}/${count}`;
    const isPart = count % 3 === 0;
    const start = isPart ? 100 * KIB : 0;
    const expect = { ...reference.setObject(path, OBJECT), start };
    const answer = await edge.get(path, isPart ? { range: `bytes=${start}-` } : {}, { expect });
    assert.deepEqual(
      [answer.status, answer.wrongAt, answer.isComplete, answer.bodyBytes],
      [isPart ? 206 : 200, -1, true, OBJECT.lengthBytes - start],
      `${path}: ${answer.error ?? ''} ${answer.headers['cache-status'] ?? ''} ${answer.headers['proxy-status'] ?? ''}`,
    );
    progress.answered[client] = count + 1;
  }
}

for (const balance of ['round-robin', 'random', 'two-choices', 'least-connections', 'ketama', 'rendezvous']) {
  test(`no request fails while one node of four is healthy (${balance})`, async (context) => {
    const seed = new SystemSeed().value;
    context.diagnostic(`seed ${seed}`);
    const random = new SeededRandom(seed);
    const nodes = Array.from({ length: 4 }, () => new FarmNode());
    const origins = await Promise.all(nodes.map(({ origin }) => origin));
    const reference = await Origin.start();
    const list = origins.map(({ url }) => `      - { url: "${url}" }`).join('\n');
    const yaml = `upstreams:\n  - name: farm\n    balance: ${balance}\n    retries: 3\n    retryBudget: 300\n    headTimeout: 5s\n    outlier: { rest: 300ms, restMax: 1s }\n    healthCheck: { type: tcp, interval: 20ms, timeout: 1s }\n    nodes:\n${list}\n`;
    const edge = await startEdge({ yaml });
    const progress: Progress = { answered: Array.from({ length: CLIENTS }, () => 0), isOver: false };
    try {
      const clients = Array.from({ length: CLIENTS }, (_, client) => loadUntilOver(edge, progress, client, reference));
      const failed = Promise.all(clients);
      for (let turn = 0; turn < 5; turn += 1) {
        // The next healthy node is well before the last one goes: a request that has tried the one finds the other.
        const next = random.integerBelow(nodes.length);
        await nodes[next]?.turn(true, random);
        await untilAnswered(progress, failed);
        const others = nodes.filter((_, index) => index !== next && random.integerBelow(3) > 0);
        await Promise.all(others.map((node) => node.turn(false, random)));
        await untilAnswered(progress, failed);
      }
      progress.isOver = true;
      await failed;
    } finally {
      progress.isOver = true;
      for (const node of nodes) node.fault = {};
      await edge[Symbol.asyncDispose]();
      await Promise.all([...origins, reference].map((origin) => origin.close()));
    }
  });
}

/** A seed of this run's own. */
class SystemSeed {
  readonly value = Math.floor(new SystemClock().wallMs() % 2 ** 31);
}
