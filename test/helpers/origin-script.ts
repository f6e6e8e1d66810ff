/**
 * The words of a play for the scripted origin: what an object is, and what the origin does wrong with it. Only data; `origin-answer.ts`
 * turns it into a response and `origin.ts` plays it. A path's steps are used in the order written, each for its number of requests.
 */
import type { BodyIdentity } from './body.ts';

/** Field names and values in the order sent; a record where no name repeats. */
export type FieldLines = Readonly<Record<string, string>> | readonly (readonly [name: string, value: string])[];

/** One object of the origin, as an honest server would have it. */
export interface ObjectDefinition {
  /** Length in bytes, 0 included; left out when `body` is given. */
  readonly lengthBytes?: number | undefined;
  /** The literal body, for objects whose content matters; else the bytes are computed from path and version. */
  readonly body?: Uint8Array | undefined;
  /** Number of the version, from 0; part of the body and of the tag. Default 1. */
  readonly version?: number | undefined;
  /** Kind of ETag sent; default strong. */
  readonly etag?: 'strong' | 'weak' | 'none' | undefined;
  /** The HTTP-date sent, or `none`; default one second later per version. A text given here stays when the object changes. */
  readonly lastModified?: string | undefined;
  readonly cacheControl?: string | undefined;
  readonly expires?: string | undefined;
  /** Default application/octet-stream. */
  readonly contentType?: string | undefined;
  /** Request fields (lower-case) on whose values, as they come, body and tag depend; Vary names them. */
  readonly varyOn?: readonly string[] | undefined;
  /** Further fields of 200, 206 and 304. */
  readonly headers?: FieldLines | undefined;
}

/** What a request brought, as far as scripts and records look at it. */
export interface OriginRequest {
  readonly method: string;
  /** The target as received, with its query. */
  readonly target: string;
  /** The target without its query. */
  readonly path: string;
  /** Lower-case names; repeated fields joined with `, `. */
  readonly headers: Readonly<Record<string, string>>;
  /** The field lines as received. */
  readonly rawHeaders: readonly (readonly [name: string, value: string])[];
}

/** [start, end) of an object. */
export interface ByteInterval {
  readonly start: number;
  readonly end: number;
}

/** What goes wrong with one response; the fields combine. Counts of bytes are counted in this response's body. */
export interface Misbehaviour {
  /** Takes this step only for requests that answer true; others look at the next step. */
  readonly when?: ((request: OriginRequest) => boolean) | undefined;

  // What the head says.
  /** 200 with everything, whatever Range asks. */
  readonly ignoreRange?: boolean | undefined;
  /** Neither tag nor date; only weak tags and no date; another strong tag each time and no date. */
  readonly validators?: 'none' | 'weak' | 'changing' | undefined;
  /** Conditions are not looked at: never 304 or 412, If-Range always holds. */
  readonly ignoreConditions?: boolean | undefined;
  /** What is wrong with Content-Range of a 206. `unknown-total` is allowed by RFC 9110, the others are not. */
  readonly contentRange?: 'missing' | 'unknown-total' | 'wrong-start' | 'wrong-end' | 'wrong-total' | 'garbage' | undefined;
  /** Added to the body and Content-Length of a 206 (negative: taken away), whose Content-Range stays as asked. */
  readonly partLengthDeltaBytes?: number | undefined;
  /** Answers with this interval of the object as a 206, whatever is asked, also without Range; undefined: as asked. */
  readonly interval?: ByteInterval | ((asked: ByteInterval | undefined) => ByteInterval | undefined) | undefined;
  /** A multipart/byteranges answer with one part to a request for one range. */
  readonly multipart?: boolean | undefined;
  /** This status with a short text instead of the object. */
  readonly status?: number | undefined;
  /** The text sent with `status`; default the status and a newline. */
  readonly statusBody?: string | undefined;
  /** Location of a redirect, 302 unless `status` says otherwise. */
  readonly redirectTo?: string | undefined;
  /** Appended to the fields (Set-Cookie, Vary ...). */
  readonly headers?: FieldLines | undefined;
  /** Fields with these names are replaced, or added when absent; last of all, so it can lie about length. */
  readonly replaceHeaders?: Readonly<Record<string, string>> | undefined;
  /** Fields with these names, in any case, are left out. */
  readonly dropHeaders?: readonly string[] | undefined;
  /** Gzip, with a tag of its own: always, or when Accept-Encoding names gzip (then with Vary). Objects of up to 16 MiB. */
  readonly gzip?: 'always' | 'if-accepted' | undefined;
  /** 1xx heads sent before the real one. */
  readonly interim?: readonly number[] | undefined;
  /** Fields of each of them. */
  readonly interimHeaders?: FieldLines | undefined;
  /** The content of the request is not waited for: no 100, and the answer comes before it; the connection ends then. */
  readonly answersUnread?: boolean | undefined;
  /** The content is read without a 100, whatever was expected. */
  readonly omitsContinue?: boolean | undefined;
  /** Pads the head with fields of 1000 bytes until it has at least this size. */
  readonly headBytes?: number | undefined;

  // How the bytes are framed and paced.
  /** Transfer-Encoding: chunked without a length; the number is the bytes per chunk (true: 16 KiB). */
  readonly chunked?: boolean | number | undefined;
  /** Trailer fields after the last chunk. */
  readonly trailers?: FieldLines | undefined;
  /** HTTP/1.0 without length, ended by closing. */
  readonly closeDelimited?: boolean | undefined;
  /** The head waits for `origin.release(path)`. */
  readonly holdHead?: boolean | undefined;
  /** The head comes byte by byte, each in a write of its own. */
  readonly splitHead?: boolean | undefined;
  /** After this many bytes of body the origin waits for `origin.release(path)`. */
  readonly pauseAfterBytes?: number | undefined;
  readonly bytesPerSecond?: number | undefined;

  // How it ends; a cut beyond the end of the body does nothing.
  /** A TCP reset after this many bytes; the kernel may deliver fewer. */
  readonly resetAfterBytes?: number | undefined;
  /** An orderly close after exactly this many bytes, although the head promised more. */
  readonly closeAfterBytes?: number | undefined;
  /** This many bytes more than the head promised. */
  readonly extraBytes?: number | undefined;
  /** After this many bytes the object changes (as by `origin.change`) and the body goes on with the new version's bytes. */
  readonly changeAfterBytes?: number | undefined;
  /** Says `Connection: close` and does it. */
  readonly connectionClose?: boolean | undefined;
  /** Closes the connection after the response without having said so. */
  readonly dropAfterResponse?: boolean | undefined;
  /** Instead of any response: exactly these bytes (may be none), then `rawThen`. */
  readonly raw?: Uint8Array | string | undefined;
  /** What follows `raw`; default close. */
  readonly rawThen?: 'close' | 'reset' | 'keep' | undefined;
}

/** Field lines as a list of pairs. */
export function fieldPairs(fields: FieldLines | undefined): (readonly [string, string])[] {
  if (fields === undefined) return [];
  return isPairList(fields) ? [...fields] : Object.entries(fields);
}

function isPairList(fields: FieldLines): fields is readonly (readonly [string, string])[] {
  return Array.isArray(fields);
}

/** The origin's object in its present state. */
export interface StoredObject {
  readonly definition: ObjectDefinition;
  readonly identity: BodyIdentity;
}

/** The steps of each path (`*` for every path without a step left), in order. */
export class OriginScript {
  readonly #steps = new Map<string, { readonly misbehaviour: Misbehaviour; timesLeft: number }[]>();

  /** Adds a step for the next `times` requests that reach it. */
  add(path: string, misbehaviour: Misbehaviour, times: number): void {
    const steps = this.#steps.get(path) ?? [];
    steps.push({ misbehaviour, timesLeft: times });
    this.#steps.set(path, steps);
  }

  /** Forgets the steps of a path, or of all. */
  clear(path?: string | undefined): void {
    if (path === undefined) this.#steps.clear();
    else this.#steps.delete(path);
  }

  /** The step for this request, used up by one; undefined when none is left. */
  take(request: OriginRequest): Misbehaviour | undefined {
    for (const path of new Set([request.target, request.path, '*'])) {
      const steps = this.#steps.get(path) ?? [];
      const step = steps.find(({ misbehaviour, timesLeft }) => timesLeft > 0 && (misbehaviour.when?.(request) ?? true));
      if (step === undefined) continue;
      step.timesLeft -= 1;
      if (step.timesLeft === 0) steps.splice(steps.indexOf(step), 1);
      return step.misbehaviour;
    }
    return undefined;
  }
}
