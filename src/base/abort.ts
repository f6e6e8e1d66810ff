/** Waiting for something on behalf of a client that may leave meanwhile. */
import { EdgeError } from './errors.ts';

/**
 * The promise's own outcome, or CLIENT_GONE as soon as `signal` aborts. What the promise brings later is dropped, its failure included, so
 * whoever made it must be able to do without this waiter.
 */
export async function unlessGone<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  const gone = Promise.withResolvers<never>();
  const onAbort = (): void => gone.reject(new EdgeError('CLIENT_GONE'));
  signal.addEventListener('abort', onAbort);
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([promise, gone.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
