/**
 * Reads in progress by key, so that several readers of the same bytes share one. Each reader has its own deadline and abort signal and may
 * leave early; the load itself goes on to its end, because the device writes into its slot until then.
 */
import type { Clock, Timer } from '../../base/clock.ts';

interface Load<Outcome> {
  readonly readers: Set<(outcome: Outcome) => void>;
}

/** What one reader brings. `take` turns the shared outcome into the reader's own (sharing a lease); it runs only for those still there. */
export interface Join<Outcome, Verdict> {
  readonly key: string;
  readonly load: () => Promise<Outcome>;
  readonly take: (outcome: Outcome) => Verdict;
  /** Verdict of a reader that left early or was not let in. */
  readonly busy: Verdict;
  readonly signal?: AbortSignal | undefined;
}

/** At most `loadsMax` loads at a time; `dispose` ends what an outcome still holds after every reader took its share. */
export class LoadTable<Outcome> {
  readonly #loads = new Map<string, Load<Outcome>>();
  readonly #clock: Clock;
  readonly #loadsMax: number;
  readonly #deadlineMs: number;
  readonly #dispose: (outcome: Outcome) => void;
  readonly #idlers: (() => void)[] = [];

  constructor(options: { clock: Clock; loadsMax: number; deadlineMs: number; dispose: (outcome: Outcome) => void }) {
    this.#clock = options.clock;
    this.#loadsMax = options.loadsMax;
    this.#deadlineMs = options.deadlineMs;
    this.#dispose = options.dispose;
  }

  /** Whether a load of `key` is in progress. */
  has(key: string): boolean {
    return this.#loads.has(key);
  }

  /** Joins the load of `key`, beginning it when there is none. `load` must not throw. */
  join<Verdict>(join: Join<Outcome, Verdict>): Promise<Verdict> {
    const existing = this.#loads.get(join.key);
    if (join.signal?.aborted === true || (existing === undefined && this.#loads.size >= this.#loadsMax)) return Promise.resolve(join.busy);
    const load = existing ?? { readers: new Set() };
    return new Promise((resolve) => {
      let timer: Timer | undefined;
      const settle = (verdict: Verdict): void => {
        timer?.stop();
        join.signal?.removeEventListener('abort', leave);
        load.readers.delete(reader);
        resolve(verdict);
      };
      const reader = (outcome: Outcome): void => settle(join.take(outcome));
      const leave = (): void => settle(join.busy);
      load.readers.add(reader);
      timer = this.#clock.startTimer(this.#deadlineMs, leave);
      join.signal?.addEventListener('abort', leave);
      if (existing === undefined) {
        this.#loads.set(join.key, load);
        void this.#run(join.key, load, join.load);
      }
    });
  }

  /** Resolves when no load is in progress. */
  async idle(): Promise<void> {
    while (this.#loads.size > 0) await new Promise<void>((resolve) => this.#idlers.push(resolve));
  }

  async #run(key: string, load: Load<Outcome>, begin: () => Promise<Outcome>): Promise<void> {
    const outcome = await begin();
    this.#loads.delete(key);
    for (const reader of [...load.readers]) reader(outcome);
    this.#dispose(outcome);
    if (this.#loads.size === 0) for (const resolve of this.#idlers.splice(0)) resolve();
  }
}
