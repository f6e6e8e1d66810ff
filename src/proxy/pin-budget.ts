/**
 * How many slots writes to clients may hold at a time. The kernel reads a slot until the client has taken the bytes, so a client that stops
 * reading would hold its slot for as long as it likes; past this budget a write goes through a private buffer and the slot is free at once.
 */
import { assert } from '../base/assert.ts';

/** A counter with a limit. */
export class PinBudget {
  #limit: number;
  #taken = 0;

  /** @param limit slots, at least 1 */
  constructor(limit: number) {
    assert(limit >= 1, 'a pin budget allows at least one slot');
    this.#limit = limit;
  }

  /** Another limit; what was taken past it is given back as ever. */
  set limit(limit: number) {
    assert(limit >= 1, 'a pin budget allows at least one slot');
    this.#limit = limit;
  }

  get taken(): number {
    return this.#taken;
  }

  tryTake(): boolean {
    if (this.#taken >= this.#limit) return false;
    this.#taken += 1;
    return true;
  }

  giveBack(): void {
    assert(this.#taken > 0, 'a pin is given back once');
    this.#taken -= 1;
  }
}
