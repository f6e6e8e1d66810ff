/**
 * Waits for a state without guessing how long it takes: looks again after each turn of the event loop until it holds or a deadline passes.
 */
import { setImmediate } from 'node:timers/promises';
import { type Clock, SystemClock } from '../../src/base/clock.ts';

/** How long to look, and by whose clock. */
export interface EventuallyOptions {
  /** Default 10 s. */
  readonly deadlineMs?: number | undefined;
  /** What is awaited, for the failure's text. */
  readonly what?: string | undefined;
  readonly clock?: Clock | undefined;
}

/**
 * Resolves to the first result of `probe` that is neither false nor undefined.
 *
 * @param probe looked at once per turn of the event loop; what it throws is taken as *not yet*, and is the cause of the failure
 * @throws Error at the deadline
 */
export async function eventually<Result>(
  probe: () => Result | false | undefined | Promise<Result | false | undefined>,
  options: EventuallyOptions = {},
): Promise<Result> {
  const { deadlineMs = 10_000, what = 'the condition', clock = new SystemClock() } = options;
  const endMs = clock.monotonicMs() + deadlineMs;
  for (;;) {
    let cause: unknown;
    try {
      const result = await probe();
      if (result !== false && result !== undefined) return result;
    } catch (error) {
      cause = error;
    }
    if (clock.monotonicMs() >= endMs) throw new Error(`${what} did not come within ${deadlineMs} ms`, { cause });
    await setImmediate();
  }
}
