/**
 * Device I/O in threads of its own: some read, others write and flush, so that neither waits for the other, and nothing else in the process
 * waits for the device. Requests go through shared memory (thread-ring.ts); one message tells of all that is done since the last. Reads
 * that lie side by side are one request (joined-reads.ts).
 *
 * A thread that dies fails what it was doing; when the last one of a lane has died, libuv's pool takes over what waits and what comes. A thread that hangs in the
 * kernel cannot be ended by anybody and takes nothing but its own room. Made by direct-device.ts.
 */
import { getSystemErrorName } from 'node:util';
import { Worker } from 'node:worker_threads';
import { must } from '../base/assert.ts';
import type { Logger } from '../base/log.ts';
import type { MetricSet } from '../base/metrics.ts';
import type { DEVICE_METRICS } from './device-metrics.ts';
import { type IoEngine, IoError, type MoveOperation } from './io-engine.ts';
import { JoinedReads, type ReadPlace } from './joined-reads.ts';
import { PoolEngine } from './pool-engine.ts';
import { LANE_SLOTS, REQUEST_BUFFERS_MAX, type RequestOperation, type ThreadAssignment, ThreadRing } from './thread-ring.ts';
import type { LaneName, LaneWidth } from './transfer-queue.ts';

/** What an engine with threads needs. */
export interface ThreadEngineOptions {
  readonly path: string;
  readonly fd: number;
  /** The arena's; buffers that lie elsewhere go through libuv's pool. */
  readonly memory: SharedArrayBuffer;
  readonly logger: Logger;
  readonly metrics: MetricSet<typeof DEVICE_METRICS>;
  /** Threads by lane; DEFAULT_THREADS when undefined. */
  readonly threads?: Readonly<Record<LaneName, number>> | undefined;
}

/** Threads of one device. */
export const DEFAULT_THREADS: Readonly<Record<LaneName, number>> = { read: 4, write: 2 };

/** A thread holds no objects to speak of; a small heap keeps its room small. */
const HEAP_LIMITS = { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 2 };

interface Thread {
  readonly lane: LaneName;
  readonly worker: Worker;
  state: 'starting' | 'ready' | 'ended';
}

/** What a caller waits for. */
interface Call extends ReadPlace {
  readonly resolve: (result: number | Promise<number>) => void;
  readonly reject: (error: IoError) => void;
  /** Does it without a thread, for a request that no thread has begun. */
  readonly fallBack: () => Promise<number>;
}

/** See IoEngine. */
export class ThreadEngine implements IoEngine {
  readonly kind = 'threads';
  readonly lanes: IoEngine['lanes'];
  readonly buffersMax = REQUEST_BUFFERS_MAX;
  readonly #options: ThreadEngineOptions;
  readonly #ring = new ThreadRing();
  readonly #threads: Thread[] = [];
  /** By slot; several where reads were joined. */
  readonly #calls = new Map<number, readonly Call[]>();
  readonly #reads = new JoinedReads<Call>({ buffersMax: REQUEST_BUFFERS_MAX, submit: (run) => this.#put('read', 'read', run) });
  readonly #fallback: PoolEngine;
  #isClosing = false;

  /** Starts the threads, and waits for none: until one of a lane is ready, libuv's pool does its work. */
  constructor(options: ThreadEngineOptions) {
    this.#options = options;
    this.#fallback = new PoolEngine(options.fd);
    const { read, write } = options.threads ?? DEFAULT_THREADS;
    const widthOf = (lane: LaneName, threads: number): LaneWidth => {
      return { atOnceMax: LANE_SLOTS[lane], threads, busyThreads: () => this.#ring.takenSlots(lane) };
    };
    this.lanes = { read: widthOf('read', read), write: widthOf('write', write) };
    for (const lane of ['read', 'write'] as const) {
      for (let count = 0; count < this.lanes[lane].threads; count += 1) this.#start(lane);
    }
  }

  move(operation: MoveOperation, buffers: readonly Buffer[], offsetBytes: number): Promise<number> {
    // Formatting has a small arena of its own; the threads know the program's only.
    const isOurs = buffers.every(({ buffer }) => buffer === this.#options.memory);
    const fallBack = (): Promise<number> => this.#fallback.move(operation, buffers, offsetBytes);
    if (!isOurs || !this.#hasThread(operation)) return fallBack();
    const lengthBytes = buffers.reduce((sum, { length }) => sum + length, 0);
    return new Promise((resolve, reject) => {
      const call = { buffers, offsetBytes, lengthBytes, fallBack, resolve, reject };
      if (operation === 'read') this.#reads.add(call);
      else this.#put('write', 'write', [call]);
    });
  }

  async flush(): Promise<void> {
    const fallBack = (): Promise<number> => this.#fallback.flush().then(() => 0);
    if (!this.#hasThread('write')) await fallBack();
    else {
      await new Promise<number>((resolve, reject) => {
        this.#put('write', 'flush', [{ buffers: [], offsetBytes: 0, lengthBytes: 0, fallBack, resolve, reject }]);
      });
    }
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    this.#ring.stop();
    const ends = this.#threads.map(({ worker, state }) => {
      if (state === 'ended') return undefined;
      if (state === 'starting') return worker.terminate();
      worker.ref();
      return new Promise((resolve) => worker.once('exit', resolve));
    });
    await Promise.all(ends);
  }

  #hasThread(lane: LaneName): boolean {
    return this.#threads.some((thread) => thread.lane === lane && thread.state === 'ready');
  }

  #start(lane: LaneName): void {
    const { fd, memory, path, logger, metrics } = this.#options;
    const { shared: ring, layout } = this.#ring;
    const number = this.#threads.length;
    const workerData: ThreadAssignment = { ring, layout, memory, fd, lane, thread: number };
    const options = { workerData, name: `device ${lane}`, env: {}, execArgv: [], resourceLimits: HEAP_LIMITS };
    let worker: Worker;
    try {
      worker = new Worker(new URL('./io-worker.mjs', import.meta.url), options);
    } catch (error) {
      logger.error({ err: error, path, lane }, 'a thread of the device cannot be started; the others, or else the pool, do its work');
      return;
    }
    const thread: Thread = { lane, worker, state: 'starting' };
    this.#threads.push(thread);
    metrics.add('ioThreads', 1);
    worker.once('message', () => {
      thread.state = 'ready';
      this.#holdProcess(this.#calls.size > 0);
    });
    worker.on('message', () => this.#collect());
    worker.on('error', (error) => logger.error({ err: error, path, lane }, 'a thread of the device failed'));
    worker.on('exit', () => this.#onExit(thread, number));
  }

  /** One request; of several calls they are reads that lie side by side. A lane has a slot for each call that it lets in. */
  #put(lane: LaneName, operation: RequestOperation, calls: readonly Call[]): void {
    const offsetBytes = calls[0]?.offsetBytes ?? 0;
    this.#calls.set(this.#ring.put(lane, operation, { buffers: calls.flatMap(({ buffers }) => buffers), offsetBytes }), calls);
    if (calls.length > 1) this.#options.metrics.add('joinedReads', calls.length);
    if (this.#calls.size === 1) this.#holdProcess(true);
  }

  #collect(): void {
    // All callers are taken out first: what is read again goes into slots that have just become free.
    const ended = this.#ring.collect().map(({ slot, result }) => ({ calls: this.#remove(slot), result }));
    for (const { calls, result } of ended) this.#settle(calls, result);
  }

  #settle(calls: readonly Call[], result: number): void {
    const isJoined = calls.length > 1;
    // What is wrong with one of them is nobody else's failure: each is read alone.
    if (isJoined && result !== calls.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0)) {
      for (const call of calls) this.#put('read', 'read', [call]);
      return;
    }
    for (const { resolve, reject, lengthBytes } of calls) {
      if (result >= 0) resolve(isJoined ? lengthBytes : result);
      else reject(new IoError(getSystemErrorName(result), `the system call failed with errno ${-result}`));
    }
  }

  #remove(slot: number): readonly Call[] {
    const calls = must(this.#calls.get(slot), 'a slot that is done has a caller');
    this.#calls.delete(slot);
    if (this.#calls.size === 0) this.#holdProcess(false);
    return calls;
  }

  /** A device at work keeps the process alive, an idle one does not. A thread that starts does; the end of one is waited for by close(). */
  #holdProcess(isHeld: boolean): void {
    // A thread that gets ready, or ends its last request, while it is being stopped must not be let go: close() waits for its end.
    if (this.#isClosing) return;
    for (const { worker, state } of this.#threads) {
      if (state !== 'ready') continue;
      if (isHeld) worker.ref();
      else worker.unref();
    }
  }

  #onExit(thread: Thread, number: number): void {
    thread.state = 'ended';
    this.#options.metrics.add('ioThreads', -1);
    if (this.#isClosing) return;
    this.#collect();
    const isLast = !this.#threads.some(({ lane, state }) => lane === thread.lane && state !== 'ended');
    for (const slot of this.#ring.abandon(thread.lane, number)) {
      for (const { reject } of this.#remove(slot)) reject(new IoError(THREAD_ENDED, 'the thread ended while it had the request'));
    }
    if (isLast) {
      for (const slot of this.#ring.withdraw(thread.lane)) {
        for (const { resolve, fallBack } of this.#remove(slot)) resolve(fallBack());
      }
    }
    this.#ring.wake(thread.lane);
    const { path, logger } = this.#options;
    const consequence = isLast ? "libuv's pool does its work" : 'the others go on';
    logger.error({ path, lane: thread.lane }, `a thread of the device ended; ${consequence}`);
  }
}

/** In the place of an errno. */
const THREAD_ENDED = 'THREAD_ENDED';
