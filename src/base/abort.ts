/** Waiting for something on behalf of a client that may leave meanwhile. */
import { EdgeError } from './errors.ts';

/**
 * The promise's own outcome, or CLIENT_GONE as soon as `signal` aborts. What the promise brings later is dropped, its failure included, so
 * whoever made it must be able to do without this waiter.
 */
export function unlessGone<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(new EdgeError('CLIENT_GONE'));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort);
    const settle = <Outcome>(conclude: (outcome: Outcome) => void) => {
      return (outcome: Outcome): void => {
        signal.removeEventListener('abort', onAbort);
        conclude(outcome);
      };
    };
    promise.then(settle(resolve), settle(reject));
  });
}
