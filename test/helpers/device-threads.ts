/** The threads that a device starts, as Node announces them: for tests that have to know that they are at work, or to end them. */
import type { Worker } from 'node:worker_threads';

/** Runs `act` and waits until every thread that it started is ready. */
export async function withReadyThreads<T>(act: () => Promise<T>): Promise<{ readonly result: T; readonly workers: readonly Worker[] }> {
  const workers: Worker[] = [];
  const ready: Promise<void>[] = [];
  const note = (worker: Worker): void => {
    workers.push(worker);
    ready.push(
      new Promise((resolve, reject) => {
        worker.once('message', () => resolve());
        worker.once('exit', () => reject(new Error('a thread ended before it was ready')));
      }),
    );
  };
  process.on('worker', note);
  try {
    const result = await act();
    // Node announces a thread a tick after it was started.
    await new Promise((resolve) => setImmediate(resolve));
    await Promise.all(ready);
    return { result, workers };
  } finally {
    process.off('worker', note);
  }
}
