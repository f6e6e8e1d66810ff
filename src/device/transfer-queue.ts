/**
 * Whose turn it is at the device. Reads have one lane and writes and flushes another, so that neither waits for the other; in a lane clients
 * go before writes and writes before background work. An operation begins when its lane has room at the engine, or waits in a bounded line;
 * one that finds the line full, or does not begin in time, fails with DEVICE_BUSY. Used by direct-device.ts.
 *
 *   run() --- room ---------------------------------------> act()
 *       \---- client | write | background (bounded) ---/  \--> DEVICE_BUSY when full, late, or given up at closing
 *
 * It watches what is under way too: the kernel cannot be asked to stop, so an operation that does not return keeps its room, and is counted.
 */
import { assert } from '../base/assert.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { EdgeError } from '../base/errors.ts';
import type { MetricSet } from '../base/metrics.ts';
import { SECOND_MS } from '../base/units.ts';
import { TRANSFER_PRIORITIES, type TransferPriority } from './block-device.ts';
import type { DEVICE_METRICS } from './device-metrics.ts';

/** `write` is the lane of writes and flushes. */
export type LaneName = 'read' | 'write';

/** How wide a lane is. */
export interface LaneWidth {
  /** Operations at the engine at a time. */
  readonly atOnceMax: number;
  /** Of them, those that the kernel works on at a time. */
  readonly threads: number;
  /** Threads that have something to do now, where that is known: several operations may be one request of a thread. */
  readonly busyThreads?: (() => number) | undefined;
}

/** What wants a turn. */
export interface Turn {
  readonly lane: LaneName;
  readonly priority: TransferPriority;
  /** See TransferOptions. */
  readonly beginWithinMs?: number | undefined;
}

/**
 * Operations that may wait, by priority. A disk that does 150 reads a second needs 3.4 s for 512, less than a client is kept waiting;
 * the store itself has fewer writes than that at a time.
 */
export const WAITING_MAX: Readonly<Record<TransferPriority, number>> = { client: 512, write: 256, background: 64 };
/** How often background work may be passed over before it is its turn: a busy device is scrubbed slowly, not never. */
const PASSED_OVER_MAX = 32;
/** An operation that takes longer than this is taken to hang: a disk that retries a bad sector takes 7 s or less with usual settings. */
export const HUNG_AFTER_MS = 10 * SECOND_MS;
const SWEEP_MS = SECOND_MS / 4;

interface Waiter {
  readonly sinceMs: number;
  readonly deadlineMs: number;
  readonly begin: () => void;
  readonly refuse: (reason: EdgeError) => void;
}

interface Lane {
  readonly width: LaneWidth;
  readonly waiting: Readonly<Record<TransferPriority, Waiter[]>>;
  /** When each operation at the engine began. */
  readonly underWay: Set<{ readonly sinceMs: number }>;
  /** Operations that were given room, and those of them in the background. */
  atOnce: number;
  inBackground: number;
  passedOver: number;
  hung: number;
}

/** Dependencies of a TransferQueue. */
export interface TransferQueueOptions {
  readonly path: string;
  readonly lanes: Readonly<Record<LaneName, LaneWidth>>;
  readonly clock: Clock;
  readonly metrics: MetricSet<typeof DEVICE_METRICS>;
  /** Called when the number of threads that hang in a lane has changed. */
  readonly onHung: (lane: LaneName, threads: number) => void;
}

/** The lanes of one device. */
export class TransferQueue {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #metrics: MetricSet<typeof DEVICE_METRICS>;
  readonly #onHung: TransferQueueOptions['onHung'];
  readonly #lanes: Readonly<Record<LaneName, Lane>>;
  readonly #idlers: (() => void)[] = [];
  #sweeper: Timer | undefined;

  constructor(options: TransferQueueOptions) {
    this.#path = options.path;
    this.#clock = options.clock;
    this.#metrics = options.metrics;
    this.#onHung = options.onHung;
    this.#lanes = { read: makeLane(options.lanes.read), write: makeLane(options.lanes.write) };
  }

  /** Whether nothing waits and nothing is under way. */
  get isIdle(): boolean {
    return LANE_NAMES.every((name) => this.#lanes[name].atOnce === 0 && waitingCount(this.#lanes[name]) === 0);
  }

  /**
   * Runs `act` when it is its turn; its outcome is the outcome.
   *
   * @throws EdgeError DEVICE_BUSY when `act` was not and will not be called
   */
  async run<T>(turn: Turn, act: () => Promise<T>): Promise<T> {
    const lane = this.#lanes[turn.lane];
    // Nobody waits while there is room, so that whoever comes now passes nobody.
    if (hasRoom(lane, turn.priority)) takeRoom(lane, turn.priority);
    else await this.#wait(lane, turn);
    const entry = { sinceMs: this.#clock.monotonicMs() };
    lane.underWay.add(entry);
    this.#metrics.add('inFlight', 1);
    this.#watch();
    try {
      return await act();
    } finally {
      lane.underWay.delete(entry);
      leaveRoom(lane, turn.priority);
      this.#metrics.add('inFlight', -1);
      this.#giveTurns(lane);
      if (lane.hung > 0) this.#countHung(turn.lane);
      if (this.isIdle) for (const resolve of this.#idlers.splice(0)) resolve();
    }
  }

  /** Resolves when nothing waits or is under way, however long that takes. */
  async idle(): Promise<void> {
    if (!this.isIdle) await new Promise<void>((resolve) => this.#idlers.push(resolve));
  }

  /** Fails what waits. @returns how many operations are at the engine and will not be waited for */
  giveUp(): number {
    for (const name of LANE_NAMES) {
      for (const priority of TRANSFER_PRIORITIES) {
        for (const waiter of this.#lanes[name].waiting[priority].splice(0)) {
          this.#leave(waiter, priority);
          waiter.refuse(this.#busy('is being closed'));
        }
      }
    }
    this.#sweeper?.stop();
    return LANE_NAMES.reduce((count, name) => count + this.#lanes[name].atOnce, 0);
  }

  #wait(lane: Lane, turn: Turn): Promise<void> {
    const { priority, beginWithinMs = Number.POSITIVE_INFINITY } = turn;
    const line = lane.waiting[priority];
    if (line.length >= WAITING_MAX[priority]) {
      this.#metrics.add('busy', 1, `${priority}-line`);
      return Promise.reject(this.#busy(`has ${line.length} ${priority} operations waiting`));
    }
    this.#metrics.add('waiting', 1, priority);
    this.#watch();
    const sinceMs = this.#clock.monotonicMs();
    return new Promise((begin, refuse) => {
      line.push({ sinceMs, deadlineMs: sinceMs + beginWithinMs, begin, refuse });
    });
  }

  #giveTurns(lane: Lane): void {
    for (let priority = nextPriority(lane); priority !== undefined; priority = nextPriority(lane)) {
      const waiter = lane.waiting[priority].shift();
      assert(waiter !== undefined, 'a priority whose turn it is has somebody waiting');
      this.#leave(waiter, priority);
      if (waiter.deadlineMs <= this.#clock.monotonicMs()) {
        this.#refuseLate(waiter);
        continue;
      }
      // Background work that is passed over often enough goes first, once.
      lane.passedOver = priority === 'background' ? 0 : lane.passedOver + Math.sign(lane.waiting.background.length);
      takeRoom(lane, priority);
      waiter.begin();
    }
  }

  #leave(waiter: Waiter, priority: TransferPriority): void {
    this.#metrics.add('waiting', -1, priority);
    this.#metrics.add('waitSeconds', (this.#clock.monotonicMs() - waiter.sinceMs) / 1000, priority);
  }

  #refuseLate(waiter: Waiter): void {
    this.#metrics.add('busy', 1, 'deadline');
    waiter.refuse(this.#busy('did not begin an operation in time'));
  }

  /** One timer at a time looks after what waits and what is under way; none runs while the device is idle. */
  #watch(): void {
    this.#sweeper ??= this.#clock.startTimer(SWEEP_MS, () => {
      this.#sweeper = undefined;
      for (const name of LANE_NAMES) {
        this.#expire(this.#lanes[name]);
        this.#countHung(name);
      }
      if (!this.isIdle) this.#watch();
    });
  }

  #expire(lane: Lane): void {
    const nowMs = this.#clock.monotonicMs();
    for (const priority of TRANSFER_PRIORITIES) {
      const line = lane.waiting[priority];
      if (!line.some((waiter) => waiter.deadlineMs <= nowMs)) continue;
      for (const waiter of line.splice(0)) {
        if (waiter.deadlineMs > nowMs) line.push(waiter);
        else {
          this.#leave(waiter, priority);
          this.#refuseLate(waiter);
        }
      }
    }
  }

  #countHung(name: LaneName): void {
    const lane = this.#lanes[name];
    const limitMs = this.#clock.monotonicMs() - HUNG_AFTER_MS;
    let late = 0;
    for (const { sinceMs } of lane.underWay) if (sinceMs <= limitMs) late += 1;
    // Behind threads that all hang, others are late without having begun.
    const hung = late === 0 ? 0 : Math.min(late, lane.width.threads, lane.width.busyThreads?.() ?? late);
    if (hung === lane.hung) return;
    this.#metrics.add('hungThreads', hung - lane.hung);
    lane.hung = hung;
    this.#onHung(name, hung);
  }

  #busy(reason: string): EdgeError {
    return new EdgeError('DEVICE_BUSY', `${this.#path} ${reason}`, { context: { path: this.#path } });
  }
}

const LANE_NAMES: readonly LaneName[] = ['read', 'write'];

function makeLane(width: LaneWidth): Lane {
  assert(width.threads >= 1 && width.atOnceMax >= width.threads, 'TransferQueue: a lane has threads, and room for each');
  const waiting = { client: [], write: [], background: [] };
  return { width, waiting, underWay: new Set(), atOnce: 0, inBackground: 0, passedOver: 0, hung: 0 };
}

function waitingCount(lane: Lane): number {
  return lane.waiting.client.length + lane.waiting.write.length + lane.waiting.background.length;
}

function hasRoom(lane: Lane, priority: TransferPriority): boolean {
  if (lane.atOnce >= lane.width.atOnceMax) return false;
  return priority !== 'background' || lane.inBackground < backgroundMax(lane);
}

/** So that a client never finds every thread at work for nobody. */
function backgroundMax(lane: Lane): number {
  return Math.max(1, Math.floor(lane.width.threads / 4));
}

function takeRoom(lane: Lane, priority: TransferPriority): void {
  lane.atOnce += 1;
  if (priority === 'background') lane.inBackground += 1;
}

function leaveRoom(lane: Lane, priority: TransferPriority): void {
  lane.atOnce -= 1;
  if (priority === 'background') lane.inBackground -= 1;
}

/** Whose turn it is; undefined when nobody waits or there is no room. */
function nextPriority(lane: Lane): TransferPriority | undefined {
  const mayBegin = (priority: TransferPriority): boolean => lane.waiting[priority].length > 0 && hasRoom(lane, priority);
  if (lane.passedOver >= PASSED_OVER_MAX && mayBegin('background')) return 'background';
  return TRANSFER_PRIORITIES.find(mayBegin);
}
