/**
 * What an I/O thread runs: it takes requests from the ring, makes one system call for each, and says so. It sleeps in Atomics.wait, never in
 * an event loop. Started by thread-engine.ts; ends when the ring stops, or with an error that is our own.
 */
import { fdatasyncSync, readvSync, writevSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { must } from '../base/assert.ts';
import { type Request, type ThreadAssignment, ThreadRing } from './thread-ring.ts';

function serve({ ring: shared, memory, fd, lane, thread }: ThreadAssignment): void {
  const port = must(parentPort ?? undefined, 'io-worker: runs in a thread');
  const ring = new ThreadRing(shared);
  port.postMessage('ready');
  for (let slot = ring.take(lane, thread); slot !== undefined; slot = ring.take(lane, thread)) {
    if (ring.finish(slot, perform(fd, memory, ring.requestIn(slot)))) port.postMessage('done');
  }
}

/** @returns bytes moved, or a negative errno */
function perform(fd: number, memory: SharedArrayBuffer, request: Request): number {
  const buffers = request.buffers.map(({ byteOffset, lengthBytes }) => new Uint8Array(memory, byteOffset, lengthBytes));
  try {
    switch (request.operation) {
      case 'read':
        return readvSync(fd, buffers, request.offsetBytes);
      case 'write':
        return writevSync(fd, buffers, request.offsetBytes);
      case 'flush':
        fdatasyncSync(fd);
        return 0;
    }
  } catch (error) {
    if (error instanceof Error && 'errno' in error && typeof error.errno === 'number' && error.errno < 0) return error.errno;
    throw error;
  }
}

serve(workerData);
