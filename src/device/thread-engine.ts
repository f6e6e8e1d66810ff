/**
 * Device I/O in threads of its own: some read, others write and flush, so that neither waits for the other, and nothing else in the process
 * waits for the device. Requests go through shared memory (thread-ring.ts); one message tells of all that is done since the last.
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
import { PoolEngine } from './pool-engine.ts';
import { LANE_SLOTS, REQUEST_BUFFERS_MAX, type ThreadAssignment, ThreadRing } from './thread-ring.ts';
import type { LaneName } from './transfer-queue.ts';

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

interface Call {
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
  readonly #calls = new Map<number, Call>();
  readonly #fallback: PoolEngine;
  #isClosing = false;

  /** Starts the threads, and waits for none: until one of a lane is ready, libuv's pool does its work. */
  constructor(options: ThreadEngineOptions) {
    this.#options = options;
    this.#fallback = new PoolEngine(options.fd);
    const { read, write } = options.threads ?? DEFAULT_THREADS;
    this.lanes = { read: { atOnceMax: LANE_SLOTS.read, threads: read }, write: { atOnceMax: LANE_SLOTS.write, threads: write } };
    for (const lane of ['read', 'write'] as const) {
      for (let count = 0; count < this.lanes[lane].threads; count += 1) this.#start(lane);
    }
  }

  move(operation: MoveOperation, buffers: readonly Buffer[], offsetBytes: number): Promise<number> {
    // Formatting has a small arena of its own; the threads know the program's only.
    const isOurs = buffers.every(({ buffer }) => buffer === this.#options.memory);
    const fallBack = (): Promise<number> => this.#fallback.move(operation, buffers, offsetBytes);
    if (!isOurs || !this.#hasThread(operation)) return fallBack();
    return this.#call(this.#ring.put(operation, operation, { buffers, offsetBytes }), fallBack);
  }

  async flush(): Promise<void> {
    const fallBack = (): Promise<number> => this.#fallback.flush().then(() => 0);
    if (this.#hasThread('write')) await this.#call(this.#ring.put('write', 'flush', { buffers: [], offsetBytes: 0 }), fallBack);
    else await fallBack();
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

  #call(slot: number, fallBack: Call['fallBack']): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#calls.set(slot, { resolve, reject, fallBack });
      if (this.#calls.size === 1) this.#holdProcess(true);
    });
  }

  #collect(): void {
    for (const { slot, result } of this.#ring.collect()) {
      const call = this.#remove(slot);
      if (result >= 0) call.resolve(result);
      else call.reject(new IoError(getSystemErrorName(result), `the system call failed with errno ${-result}`));
    }
  }

  #remove(slot: number): Call {
    const call = must(this.#calls.get(slot), 'a slot that is done has a caller');
    this.#calls.delete(slot);
    if (this.#calls.size === 0) this.#holdProcess(false);
    return call;
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
      this.#remove(slot).reject(new IoError(THREAD_ENDED, 'the thread ended while it had the request'));
    }
    if (isLast) {
      for (const slot of this.#ring.withdraw(thread.lane)) {
        const { resolve, fallBack } = this.#remove(slot);
        resolve(fallBack());
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
