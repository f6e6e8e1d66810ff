/**
 * Request ids (X-Request-ID): what tells one request from all others in the logs of everybody who has seen it. A trusted proxy's word is taken over, so that
 * its log and ours can be joined; anybody else's is not, since it could be that of another request. Used by pipeline.ts and the express lane.
 */
import type { Random } from '../base/random.ts';
import { type FieldList, fieldLines } from '../http/header-fields.ts';

/** Who is told the id, beside the log. `client`: the origin and the client. */
export type RequestIdAudience = 'off' | 'origin' | 'client';

/** The field. */
export const REQUEST_ID_FIELD = 'x-request-id';
/** What an id of somebody else may look like: nothing that means something in a log, a shell or a header field. */
const WELL_FORMED = /^[A-Za-z0-9._~+/=:@-]{1,128}$/;

const COUNT_MAX = 2 ** 32;
/** Of every id made here. */
export const REQUEST_ID_CHARACTERS = 24;

/** Makes ids, of one length: sixteen random digits for the process, and eight that count. */
export class RequestIds {
  readonly #prefix: string;
  #count = 0;

  constructor(random: Random) {
    this.#prefix = Buffer.from(random.bytes(8)).toString('hex');
  }

  /** That of a request. @param isTrusted whether the word of whoever sent it counts */
  idOf(fields: FieldList, isTrusted: boolean): string {
    const [given, ...others] = isTrusted ? fieldLines(fields, REQUEST_ID_FIELD) : [];
    return given !== undefined && others.length === 0 && WELL_FORMED.test(given) ? given : this.next();
  }

  /** Whether an id was made here. */
  isOwn(id: string): boolean {
    return id.length === REQUEST_ID_CHARACTERS && id.startsWith(this.#prefix);
  }

  /** A new one. */
  next(): string {
    this.#count = (this.#count + 1) % COUNT_MAX;
    return this.#prefix + (COUNT_MAX + this.#count).toString(16).slice(1);
  }
}
