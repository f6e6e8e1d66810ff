/**
 * The only door to time. Everything above takes a Clock, so that tests and the simulation run on a virtual one; a tidy test forbids
 * Date.now, setTimeout and their kin elsewhere.
 */

// As a global it would be looked for by a getter each time.
import { performance } from 'node:perf_hooks';

/** A timer that was started and can be stopped; stopping twice is harmless. */
export interface Timer {
  stop(): void;
}

/** Monotonic and wall time, and timers. */
export interface Clock {
  /** Milliseconds from an arbitrary start, never going back; for durations and deadlines. */
  monotonicMs(): number;
  /** Milliseconds since 1970-01-01T00:00:00Z; for HTTP dates and what is written to disk. */
  wallMs(): number;
  /** Calls `callback` once after `delayMs`; does not keep the process alive. */
  startTimer(delayMs: number, callback: () => void): Timer;
  /** Calls `callback` every `periodMs` until stopped; does not keep the process alive. */
  startInterval(periodMs: number, callback: () => void): Timer;
  /** Calls `callback` soon, after what is going on now and the I/O that is ready: for work that nobody waits for. */
  defer(callback: () => void): void;
  /** Resolves after `delayMs`, or at once when `signal` aborts (the caller looks at the signal). */
  sleep(delayMs: number, signal?: AbortSignal | undefined): Promise<void>;
}

/** The clock of the operating system. */
export class SystemClock implements Clock {
  monotonicMs(): number {
    return performance.now();
  }

  wallMs(): number {
    return Date.now();
  }

  startTimer(delayMs: number, callback: () => void): Timer {
    const timer = setTimeout(callback, delayMs);
    timer.unref();
    return { stop: () => clearTimeout(timer) };
  }

  startInterval(periodMs: number, callback: () => void): Timer {
    const timer = setInterval(callback, periodMs);
    timer.unref();
    return { stop: () => clearInterval(timer) };
  }

  defer(callback: () => void): void {
    setImmediate(callback);
  }

  sleep(delayMs: number, signal?: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted === true) return resolve();
      // A sleeper is being awaited, so unlike a timer it keeps the process alive.
      const timer = setTimeout(done, delayMs);
      function done(): void {
        clearTimeout(timer);
        signal?.removeEventListener('abort', done);
        resolve();
      }
      signal?.addEventListener('abort', done);
    });
  }
}
