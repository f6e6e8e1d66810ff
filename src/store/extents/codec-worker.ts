/**
 * The thread behind thread-codec.ts: compresses or decompresses where the bytes lie, in the arena's shared memory. Messages carry places,
 * never bytes.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { must } from '../../base/assert.ts';
import { compressChunks, decompressChunks, looksCompressible } from './lz4-chunks.ts';

/** What is to be done, in bytes of the arena. Without `lengths`: compress. */
export interface CodecJob {
  readonly number: number;
  readonly sourceAt: number;
  readonly sourceBytes: number;
  readonly targetAt: number;
  readonly targetBytes: number;
  /** Stored length of each chunk. */
  readonly lengths?: readonly number[];
}

/** What came of a job: stored length of each chunk that was compressed, whether it decoded. */
export interface CodecResult {
  readonly number: number;
  readonly lengths: readonly number[] | undefined;
  readonly isDone: boolean;
}

/** What the thread is given: the arena's memory. */
export interface CodecWorkerData {
  readonly memory: SharedArrayBuffer;
}

function serve(data: CodecWorkerData): void {
  const port = must(parentPort ?? undefined, 'codec-worker: runs in a thread');
  port.on('message', (job: CodecJob) => {
    const source = Buffer.from(data.memory, job.sourceAt, job.sourceBytes);
    const target = Buffer.from(data.memory, job.targetAt, job.targetBytes);
    port.postMessage({ number: job.number, ...work(job, source, target) } satisfies CodecResult);
  });
}

function work(job: CodecJob, source: Buffer, target: Buffer): Omit<CodecResult, 'number'> {
  if (job.lengths !== undefined) return { lengths: undefined, isDone: decompressChunks(source, job.lengths, target) };
  const lengths = looksCompressible(source) ? compressChunks(source, target) : undefined;
  return { lengths, isDone: lengths !== undefined };
}

serve(workerData);
