/**
 * How many connections to one origin there may be, whoever opens them: the lane and undici's pool share it. Whoever finds it used up waits
 * in line, and those who hold idle connections are asked for one.
 */

/** A place in the line. */
interface Waiter {
  readonly grant: () => void;
}

/** One per origin. */
export class ConnectionBudget {
  readonly #max: number;
  readonly #waiting: Waiter[] = [];
  #taken = 0;
  /** Set by whoever keeps idle connections. @returns whether one was closed, which gives its place back */
  reclaim: () => boolean = () => false;

  constructor(max: number) {
    this.#max = max;
  }

  /** How many wait for a place. */
  get waitingCount(): number {
    return this.#waiting.length;
  }

  /** Takes a place if there is one and nobody waits for it. */
  tryTake(): boolean {
    if (this.#taken >= this.#max || this.#waiting.length > 0) return false;
    this.#taken += 1;
    return true;
  }

  /** Calls `grant` when there is a place, which is then taken. @returns a function that gives up the wait; it does nothing after the grant */
  take(grant: () => void): () => void {
    if (this.tryTake()) {
      grant();
      return () => undefined;
    }
    const waiter: Waiter = { grant };
    this.#waiting.push(waiter);
    this.reclaim();
    return () => {
      const index = this.#waiting.indexOf(waiter);
      if (index >= 0) this.#waiting.splice(index, 1);
    };
  }

  giveBack(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#taken -= 1;
    else next.grant();
  }
}
