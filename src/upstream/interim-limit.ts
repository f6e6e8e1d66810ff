/** How many interim responses (1xx) an origin may send before the final one: each puts off the time-out, so there has to be an end to them. */
import { EdgeError } from '../base/errors.ts';

const INTERIM_MAX = 32;

/** Counts the interim responses of one request. */
export class InterimLimit {
  #count = 0;

  /** @throws EdgeError UPSTREAM_INVALID beyond the limit */
  count(): void {
    this.#count += 1;
    if (this.#count > INTERIM_MAX) throw new EdgeError('UPSTREAM_INVALID', `The origin sent more than ${INTERIM_MAX} interim responses`);
  }
}
