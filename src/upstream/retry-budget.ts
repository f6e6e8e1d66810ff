/**
 * How much of what goes to a group may be retries: a fifth of the requests, and what was saved up of that. Without it a group that fails as a whole would be
 * asked several times as much just then. One per group.
 */

/** What each request adds. */
const RETRIES_PER_REQUEST = 0.2;
/** What can be saved up, and is there at the start: a node that dies takes the requests with it that are in flight there, all at once. */
const SAVED_RETRIES_MAX = 100;

/** The budget of one group. */
export class RetryBudget {
  #saved = SAVED_RETRIES_MAX;

  /** A request came. */
  noteRequest(): void {
    this.#saved = Math.min(SAVED_RETRIES_MAX, this.#saved + RETRIES_PER_REQUEST);
  }

  /** Takes one retry. @returns false when there is none */
  tryTake(): boolean {
    if (this.#saved < 1) return false;
    this.#saved -= 1;
    return true;
  }
}
