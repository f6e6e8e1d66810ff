/**
 * Time for the simulation: it stands still until somebody asks for the next event. Every timer, deferred call and device operation of a
 * play goes through here, one at a time and in an order that depends on nothing but the play, so that a seed replays to the byte.
 */
import { assert } from '../../src/base/assert.ts';
import type { Clock, Timer } from '../../src/base/clock.ts';

/** 2024-01-01T00:00:00Z: what wallMs() says at the start. */
const WALL_START_MS = 1_704_067_200_000;
const EVENTS_PER_WAIT_MAX = 1_000_000;

interface Event {
  readonly atMs: number;
  callback: (() => void) | undefined;
}

/** A clock that moves from event to event. */
export class VirtualClock implements Clock {
  #nowMs = 0;
  /** Sorted, the next one last. */
  #events: Event[] = [];

  monotonicMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return WALL_START_MS + Math.floor(this.#nowMs);
  }

  startTimer(delayMs: number, callback: () => void): Timer {
    return this.#add(delayMs, callback);
  }

  startInterval(periodMs: number, callback: () => void): Timer {
    let current: Timer;
    let isStopped = false;
    const tick = (): void => {
      callback();
      if (!isStopped) current = this.#add(periodMs, tick);
    };
    current = this.#add(periodMs, tick);
    return {
      stop: () => {
        isStopped = true;
        current.stop();
      },
    };
  }

  defer(callback: () => void): void {
    this.#add(0, callback);
  }

  sleep(delayMs: number, signal?: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted === true) return resolve();
      const timer = this.#add(delayMs, () => done());
      const done = (): void => {
        timer.stop();
        signal?.removeEventListener('abort', done);
        resolve();
      };
      signal?.addEventListener('abort', done);
    });
  }

  /** Lets the program run until it waits for time, then makes the next event happen. @returns false when there is none */
  async step(): Promise<boolean> {
    await settle();
    const event = this.#next();
    if (event === undefined) return false;
    this.#nowMs = Math.max(this.#nowMs, event.atMs);
    event.callback?.();
    await settle();
    return true;
  }

  /**
   * Steps until `promise` has settled.
   *
   * @throws Error when it has not within `limitMs` of virtual time: nothing may wait for ever
   */
  async wait<T>(promise: Promise<T>, what: string, limitMs: number): Promise<T> {
    let isSettled = false;
    const note = (): void => {
      isSettled = true;
    };
    promise.then(note, note);
    const endMs = this.#nowMs + limitMs;
    await settle();
    for (let steps = 0; !isSettled; steps += 1) {
      if (this.#nowMs > endMs || steps > EVENTS_PER_WAIT_MAX || !(await this.step())) throw new Error(`${what} waits for ever`);
    }
    return promise;
  }

  /** Forgets every event and starts anew: for the next play on the same arena. */
  reset(): void {
    this.#nowMs = 0;
    this.#events = [];
  }

  #add(delayMs: number, callback: () => void): Timer {
    assert(delayMs >= 0, 'VirtualClock: time does not run backwards');
    const event: Event = { atMs: this.#nowMs + delayMs, callback };
    let low = 0;
    let high = this.#events.length;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const other = this.#events[middle];
      if (other !== undefined && other.atMs > event.atMs) low = middle + 1;
      else high = middle;
    }
    // Equal times: the one that was added first happens first, so a new one goes in front of its equals.
    this.#events.splice(low, 0, event);
    return {
      stop: () => {
        event.callback = undefined;
      },
    };
  }

  #next(): Event | undefined {
    for (let event = this.#events.pop(); event !== undefined; event = this.#events.pop()) if (event.callback !== undefined) return event;
    return undefined;
  }
}

/** Resolves when every promise that could settle has. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
