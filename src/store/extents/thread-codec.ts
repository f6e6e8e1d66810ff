/**
 * A codec with two threads, one that compresses and one that decompresses, so that a reader never waits behind a writer and the event loop
 * for neither. Jobs under way are bounded; beyond that the codec says that it is busy and its callers do without. A thread starts with its
 * first job. One that fails is not started again: from then on slices are stored raw and decoded by the caller.
 *
 * Why threads and not the library's own asynchronous calls: DECISIONS.md, "Compression has threads of its own".
 */
import { Worker } from 'node:worker_threads';
import { assert } from '../../base/assert.ts';
import type { Logger } from '../../base/log.ts';
import { KIB } from '../../base/units.ts';
import { type ChunkCodec, INLINE_CODEC } from './chunk-codec.ts';
import type { CodecJob, CodecResult, CodecWorkerData } from './codec-worker.ts';

/** What is this short is compressed at once: handing it over takes more of the caller's time (DECISIONS.md 63). */
const INLINE_BYTES_MAX = 16 * KIB;
/** Slices under way at a time; at 3 ms each the compressor is a few hundredths of a second behind then. */
const COMPRESSIONS_MAX = 8;
const DECOMPRESSIONS_MAX = 16;

/** What a job is without its number. */
type Work = Omit<CodecJob, 'number'>;

/** See ChunkCodec; one per process. All buffers lie in one arena. */
export class ThreadCodec implements ChunkCodec {
  readonly #compressor: CodecThread;
  readonly #decompressor: CodecThread;

  constructor(logger: Logger) {
    this.#compressor = new CodecThread(COMPRESSIONS_MAX, logger);
    this.#decompressor = new CodecThread(DECOMPRESSIONS_MAX, logger);
  }

  get isCompressorBusy(): boolean {
    return this.#compressor.isBusy;
  }

  get isDecompressorBusy(): boolean {
    return this.#decompressor.isBusy;
  }

  async compress(source: Buffer, target: Buffer): Promise<readonly number[] | undefined> {
    if (source.length <= INLINE_BYTES_MAX) return INLINE_CODEC.compress(source, target);
    const result = await this.#compressor.run(source.buffer, places(source, target));
    return result?.lengths;
  }

  async decompress(source: Buffer, lengths: readonly number[], target: Buffer): Promise<boolean> {
    const result = await this.#decompressor.run(source.buffer, { ...places(source, target), lengths });
    return result?.isDone === true;
  }

  async close(): Promise<void> {
    await Promise.all([this.#compressor.close(), this.#decompressor.close()]);
  }
}

function places(source: Buffer, target: Buffer): Work {
  assert(source.buffer === target.buffer, 'both pieces lie in the arena');
  return {
    sourceAt: source.byteOffset,
    sourceBytes: source.length,
    targetAt: target.byteOffset,
    targetBytes: target.length,
  };
}

/** One thread and the jobs that it has. */
class CodecThread {
  readonly #jobsMax: number;
  readonly #logger: Logger;
  readonly #jobs = new Map<number, (result: CodecResult | undefined) => void>();
  #worker: Worker | undefined;
  #memory: ArrayBufferLike | undefined;
  #isGone = false;
  #lastNumber = 0;

  constructor(jobsMax: number, logger: Logger) {
    this.#jobsMax = jobsMax;
    this.#logger = logger;
  }

  get isBusy(): boolean {
    return this.#isGone || this.#jobs.size >= this.#jobsMax;
  }

  /** Never rejects. @returns undefined when the thread is gone */
  run(memory: ArrayBufferLike, work: Work): Promise<CodecResult | undefined> {
    if (this.#isGone) return Promise.resolve(undefined);
    const worker = this.#worker ?? this.#start(memory);
    assert(memory === this.#memory, 'a codec serves one arena');
    this.#lastNumber += 1;
    const number = this.#lastNumber;
    // A job under way keeps the process alive, an idle thread does not.
    worker.ref();
    return new Promise((resolve) => {
      this.#jobs.set(number, resolve);
      worker.postMessage({ number, ...work } satisfies CodecJob);
    });
  }

  async close(): Promise<void> {
    this.#isGone = true;
    await this.#worker?.terminate();
  }

  #start(memory: ArrayBufferLike): Worker {
    assert(memory instanceof SharedArrayBuffer, 'the arena is shared memory');
    this.#memory = memory;
    const worker = new Worker(new URL('./codec-worker.ts', import.meta.url), { workerData: { memory } satisfies CodecWorkerData });
    this.#worker = worker;
    worker.on('message', (result: CodecResult) => this.#settle(result));
    worker.on('error', (error) => this.#logger.error({ err: error }, 'A thread of the codec failed; slices are stored raw from now on'));
    worker.on('exit', () => this.#end());
    return worker;
  }

  #settle(result: CodecResult): void {
    const resolve = this.#jobs.get(result.number);
    this.#jobs.delete(result.number);
    if (this.#jobs.size === 0) this.#worker?.unref();
    resolve?.(result);
  }

  #end(): void {
    this.#isGone = true;
    for (const resolve of this.#jobs.values()) resolve(undefined);
    this.#jobs.clear();
  }
}
