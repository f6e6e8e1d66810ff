/**
 * How much of what goes to a group may be retries: a share of the requests, and what was saved up of that. Without it a group that fails as a whole would be
 * asked several times as much just then. One per group.
 */

/** What can be saved up, and is there at the start: a node that dies takes the requests with it that are in flight there, all at once. */
const SAVED_RETRIES_MAX = 100;

/** The budget of one group. */
export class RetryBudget {
  readonly #perRequest: number;
  #saved = SAVED_RETRIES_MAX;

  /** @param percent of the requests */
  constructor(percent: number) {
    this.#perRequest = percent / 100;
  }

  /** A request came. */
  noteRequest(): void {
    this.#saved = Math.min(SAVED_RETRIES_MAX, this.#saved + this.#perRequest);
  }

  /** Takes one retry. @returns false when there is none */
  tryTake(): boolean {
    if (this.#saved < 1) return false;
    this.#saved -= 1;
    return true;
  }
}
