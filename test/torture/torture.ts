/**
 * Torture: the assembled proxy over the real store on a small simulated disk that evicts all the time, many clients that ask for everything
 * in every way, an origin that misbehaves, changes and purges at random, restarts and power failures. Every byte is judged; after each
 * round nothing may be left.
 *
 *   node test/torture/torture.ts --seed 1 --seconds 60 --size 2
 */

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { SystemClock } from '../../src/base/clock.ts';
import { createLogger, type Logger } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import type { NamedPurge } from '../../src/cache/named-purge.ts';
import { formatDevice } from '../../src/store/device-format.ts';
import { type DeviceStore, openStore } from '../../src/store/device-store.ts';
import { request } from '../helpers/client.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { type ClientsOptions, newTally, runClient, sweep, type Tally } from './torture-client.ts';
import { World } from './torture-world.ts';

export interface TortureOptions {
  readonly seed: number;
  readonly seconds: number;
  /** Clients are 12 times this, objects 10 times. */
  readonly size: number;
  readonly report?: ((line: string) => void) | undefined;
}

export interface TortureResult {
  readonly complaints: readonly string[];
  readonly tally: Tally;
  readonly rounds: number;
}

/** Plays for about `seconds`. */
export async function torture(options: TortureOptions): Promise<TortureResult> {
  const play = await Play.start(options);
  const onRejection = (error: unknown): void =>
    play.complain(`unhandled rejection: ${error instanceof Error ? error.stack : String(error)}`);
  process.on('unhandledRejection', onRejection);
  process.on('uncaughtException', onRejection);
  try {
    const endMs = performance.now() + options.seconds * 1000;
    while (performance.now() < endMs && play.complaints.length < 5) await play.round(Math.min(endMs - performance.now(), 3000));
  } finally {
    process.off('unhandledRejection', onRejection);
    process.off('uncaughtException', onRejection);
    await play.world.origin.close();
  }
  return { complaints: play.complaints, tally: play.tally, rounds: play.rounds };
}

/** Lines of the access log that are kept for each path, to explain a complaint. */
const ACCOUNTS_MAX = 12;

class Play {
  readonly world: World;
  readonly complaints: string[] = [];
  readonly tally = newTally();
  rounds = 0;
  readonly #options: TortureOptions;
  readonly #random: SeededRandom;
  readonly #disk: SimulatedDisk;
  readonly #shape: { readonly sliceBytes: number; readonly arenaBytes: number };
  readonly #clock = new SystemClock();
  readonly #logger: Logger;
  /** The last lines of the access log by path. */
  readonly #accounts = new Map<string, string[]>();
  #hasCrashed = false;

  private constructor(
    options: TortureOptions,
    parts: { world: World; random: SeededRandom; disk: SimulatedDisk; sliceBytes: number; arenaBytes: number },
  ) {
    this.#options = options;
    this.world = parts.world;
    this.#random = parts.random;
    this.#disk = parts.disk;
    this.#shape = parts;
    this.#logger = createLogger({ level: 'info', stream: { write: (line) => this.#onLog(line) } });
  }

  static async start(options: TortureOptions): Promise<Play> {
    const random = new SeededRandom(options.seed);
    const sliceBytes = [64, 64, 64, 128, 256][random.integerBelow(5)]! * KIB;
    const arenaBytes = [4, 4, 5, 8, 16][random.integerBelow(5)]! * MIB;
    const capacityBytes = [8, 12, 16, 32][random.integerBelow(4)]! * MIB;
    const turns = async (): Promise<void> => {
      for (let left = random.integerBelow(4); left > 0; left -= 1) await new Promise((resolve) => setImmediate(resolve));
    };
    const disk = new SimulatedDisk({ capacityBytes, random, delay: turns });
    const device = disk.open();
    const parameters = {
      labelBytes: 32 * KIB,
      journalBytes: 256 * KIB,
      groupBytes: 2 * MIB,
      entryCount: [64, 512, 2048][random.integerBelow(3)]!,
    };
    await formatDevice(device, { clock: new SystemClock(), random, parameters });
    await device.close();
    const slicesMax = [6, 20, 60][random.integerBelow(3)]!;
    options.report?.(
      `seed ${options.seed}: slices of ${sliceBytes / KIB} KiB, arena ${arenaBytes / MIB} MiB, disk ${capacityBytes / MIB} MiB, ${parameters.entryCount} entries, objects of up to ${slicesMax} slices`,
    );
    const world = await World.start({ random, sliceBytes, subjects: 10 * options.size, slicesMax });
    return new Play(options, { world, random, disk, sliceBytes, arenaBytes });
  }

  complain(what: string): void {
    const text = `seed ${this.#options.seed}, round ${this.rounds}: ${what}`;
    this.complaints.push(text);
    this.#options.report?.(text);
  }

  /** The life of one process: load, then rest and a clean end, or a crash in the middle of it. */
  async round(loadMs: number): Promise<void> {
    this.rounds += 1;
    const { world } = this;
    this.#hasCrashed = false;
    world.faultsPerMille = [0, 20, 100, 300][this.#random.integerBelow(4)]!;
    const edge = await this.#startEdge();
    const options: ClientsOptions = {
      world,
      port: edge.port,
      tally: this.tally,
      complain: (what) => this.complain(what),
      accounts: (path) => this.#accounts.get(path) ?? [],
    };
    const endMs = performance.now() + Math.max(300, loadMs);
    const isOver = (): boolean => performance.now() >= endMs || this.complaints.length > 4;
    const clients = Array.from({ length: 12 * this.#options.size }, () => runClient(options, isOver));
    const doesCrash = this.#random.integerBelow(3) === 0;
    await this.#disturb(edge, isOver, doesCrash ? performance.now() + this.#random.integerBelow(loadMs) : Number.POSITIVE_INFINITY);
    await Promise.all(clients);
    world.faultsPerMille = 0;
    if (!this.#hasCrashed && this.complaints.length === 0) await sweep(options);
    await this.#rest(edge);
    world.origin.forgetRequests();
    this.#reportMemory();
  }

  #startEdge(): Promise<TestEdge> {
    return startEdge({
      origin: this.world.origin,
      arenaBytes: this.#shape.arenaBytes,
      logger: this.#logger,
      set: {
        'log.access': 'true',
        'slice.size': `${this.#shape.sliceBytes / KIB}KiB`,
        'upstream.bodyTimeout': '3s',
        'upstream.headTimeout': '5s',
        'upstream.connections': `${[4, 64][this.#random.integerBelow(2)]!}`,
        'limits.clientStall': '6s',
        'purge.allow': '127.0.0.1',
        'cache.staleIfError': this.#random.integerBelow(2) === 0 ? '0s' : '1h',
      },
      makeStore: (arena) =>
        openStore({
          device: this.#disk.open(),
          arena,
          clock: this.#clock,
          logger: this.#logger,
          admission: [undefined, { writeBudgetBytes: undefined }, { writeBudgetBytes: 64 * MIB }][this.#random.integerBelow(3)],
          limits: {
            journalBatchMs: 5,
            journalFlushMs: 100,
            checkpointMs: 300,
            slotWaitMs: 20,
            queueSlices: [4, 64][this.#random.integerBelow(2)]!,
          },
        }),
    });
  }

  /** Changes and purges while clients are at work; a crash when its time comes. */
  async #disturb(edge: TestEdge, isOver: () => boolean, crashMs: number): Promise<void> {
    const { world } = this;
    const purges: Promise<void>[] = [];
    while (!isOver()) {
      await sleep(5 + this.#random.integerBelow(60));
      const subject = world.pick(world.subjects);
      if (world.faultsPerMille > 0 && world.chance(250)) world.change(subject);
      if (world.chance(250)) purges.push(this.#purge(edge, subject));
      if (performance.now() >= crashMs && !this.#hasCrashed) {
        this.#hasCrashed = true;
        this.#disk.crash(this.#random);
      }
    }
    await Promise.all(purges);
  }

  async #purge(edge: TestEdge, subject: World['subjects'][number]): Promise<void> {
    const choice = this.#random.integerBelow(8);
    const prefix = subject.path.slice(0, 1 + this.#random.integerBelow(subject.path.length));
    const named: NamedPurge =
      choice === 0 ? { kind: 'everything' } : choice < 4 ? { kind: 'prefix', prefix } : { kind: 'url', url: subject.path };
    const covered = this.world.subjects.filter(({ path }) => {
      if (named.kind === 'url') return path === subject.path;
      return named.kind === 'everything' || path.startsWith(prefix);
    });
    const present = covered.map((other) => this.world.current(other).number);
    try {
      if (named.kind === 'url' && choice < 6) {
        const { status } = await request({ port: edge.port, method: 'PURGE', path: named.url });
        // Without its device the store cannot forget for certain, and says so.
        if (status === 503 || (status >= 500 && this.#hasCrashed)) return;
        assert.equal(status, 200, 'a purge on the port of the clients');
      } else {
        await edge.services.purger.purge(named, false);
      }
      for (const [at, other] of covered.entries()) other.oldestServable = Math.max(other.oldestServable, present[at] ?? 0);
    } catch (error) {
      const isUnavailable =
        error instanceof Error && 'code' in error && (error.code === 'STORE_UNAVAILABLE' || error.code === 'DEVICE_FAULT');
      if (!isUnavailable) this.complain(`the purge failed: ${error instanceof Error ? error.stack : String(error)}`);
    }
  }

  /** When everybody has gone nothing may be left. */
  async #rest(edge: TestEdge): Promise<void> {
    const { arena, services, resolver } = edge;
    const store = edge.store as DeviceStore;
    const busy = (): string =>
      `requests ${services.load.requests}, live ${resolver.liveCount}, pins ${services.pins.taken}, fill ${arena.usedBytes('fill')}, read ${arena.usedBytes('device-read')}, staging ${arena.usedBytes('staging')}`;
    try {
      await eventually(() => services.load.requests === 0 && resolver.liveCount === 0 && services.pins.taken === 0, {
        what: 'an idle edge',
        deadlineMs: 15_000,
      });
      await store.drain();
      await eventually(() => arena.usedBytes('fill') + arena.usedBytes('device-read') + arena.usedBytes('staging') === 0, {
        what: 'the end of all leases',
      });
      const contradiction = store.findContradiction();
      if (contradiction !== undefined) this.complain(`the store contradicts itself: ${contradiction}`);
      if (!this.#hasCrashed && store.state !== 'online') this.complain(`the store is ${store.state}`);
      await this.world.origin.waitForIdle();
      await edge[Symbol.asyncDispose]();
      assert.equal(arena.leasedSlots, 0, 'no slot is left after the store was closed');
    } catch (error) {
      this.complain(`no rest: ${error instanceof Error ? error.message : String(error)}; ${busy()}`);
    }
  }

  #onLog(line: string): void {
    const { level, 'url.path': path } = JSON.parse(line) as { level: string | number; 'url.path'?: string };
    if (path !== undefined) return this.#noteAccount(path, line.trim());
    if (level === 'info' || level === 'warn' || Number(level) < 50) return;
    // Once the power has failed the device's own errors are to be expected.
    if (this.#hasCrashed && /degraded|DEVICE_FAULT|checkpoint|cleanly|durable/.test(line)) return;
    this.complain(`logged: ${line.trim()}`);
  }

  #noteAccount(path: string, line: string): void {
    const lines = this.#accounts.get(path) ?? [];
    lines.push(line);
    this.#accounts.set(path, lines.slice(-ACCOUNTS_MAX));
  }

  #reportMemory(): void {
    globalThis.gc?.();
    const { heapUsed, external } = process.memoryUsage();
    this.#options.report?.(
      `round ${this.rounds}: ${this.tally.requests} requests, ${Math.round(this.tally.bytes / MIB)} MiB, broken ${this.tally.broken}, soft ${this.tally.soft}, heap ${(heapUsed / MIB).toFixed(1)} MiB, external ${(external / MIB).toFixed(1)} MiB`,
    );
  }
}

async function main(words: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...words],
    options: { seed: { type: 'string', default: '1' }, seconds: { type: 'string', default: '10' }, size: { type: 'string', default: '1' } },
  });
  const report = (line: string): void => void process.stdout.write(`${line}\n`);
  const result = await torture({ seed: Number(values.seed), seconds: Number(values.seconds), size: Number(values.size), report });
  const { tally, rounds, complaints } = result;
  report(
    `${rounds} rounds, ${tally.requests} requests, ${Math.round(tally.bytes / MIB)} MiB, ${tally.aborted} aborted, ${tally.broken} broken (${tally.soft} soft)`,
  );
  report(JSON.stringify([...tally.statuses]));
  report(JSON.stringify([...tally.stories].sort((one, other) => other[1] - one[1]).slice(0, 14)));
  process.exitCode = complaints.length > 0 ? 1 : 0;
}

if (import.meta.main) await main(process.argv.slice(2));
