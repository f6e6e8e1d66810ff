/**
 * The rest of a response straight from the origin, through a private buffer and not stored: for a client that found no free slot. It must
 * be the same version, since the response has begun. When it breaks off, its reader asks for the rest as after a run. Called by slice-source.ts.
 */
import { unlessGone } from '../base/abort.ts';
import { EdgeError } from '../base/errors.ts';
import { sameRepresentation } from '../cache/validators.ts';
import type { FieldList } from '../http/header-fields.ts';
import { formatRangeHeader } from '../http/range.ts';
import type { BodySink, UpstreamHead } from '../upstream/upstream-transport.ts';
import { BodyReader } from './body-reader.ts';
import type { LiveObject } from './live-object.ts';
import type { Piece } from './piece.ts';
import { checkResponse, GONE_STATUSES, type Usable } from './response-check.ts';
import type { StandingTransfer, StandingTransfers } from './standing-transfers.ts';

type Part = Extract<Usable, { kind: 'part' }>;

/** A private transfer of one range. */
export interface PrivateStream {
  /** Whether the rest must be asked for again: it let its connection go while its client stood still, or the origin sent less than asked. */
  readonly isOver: boolean;
  /** The next bytes; undefined when there are no more. @throws EdgeError UPSTREAM_* */
  next(): Promise<Piece | undefined>;
  abort(): void;
}

/**
 * Asks the origin for [start, end) of the same version; to its end when that is not known yet. Another version ends the generation.
 *
 * @throws EdgeError UPSTREAM_CHANGED, UPSTREAM_INVALID, CLIENT_GONE when the signal aborts, or what the transport met
 */
export async function openPrivateStream(
  object: LiveObject,
  range: { start: number; end: number | undefined },
  signal: AbortSignal,
): Promise<PrivateStream> {
  const fields = [...object.target.fields, ['range', formatRangeHeader(range.start, range.end)] as const];
  const opened = Promise.withResolvers<PrivateStream>();
  const transfer = object.target.transport.start(
    { method: 'GET', path: object.target.upstreamPath, fields, affinity: object.target.affinity, watch: object.target.watch },
    {
      onFailure: opened.reject,
      onHead: (head, running) => {
        const rest = judgeRest(object, range, head);
        if (rest instanceof EdgeError) {
          opened.reject(rest);
          return undefined;
        }
        const stream = new PrivateRange(new BodyReader(running, object.context.buffers), object.context.standing, rest.end - rest.start);
        opened.resolve(stream);
        return stream;
      },
    },
  );
  object.context.standing.onRequest(object.target.transport);
  try {
    return await unlessGone(opened.promise, signal);
  } catch (error) {
    transfer.abort();
    throw error;
  }
}

/** The part of the same version that the answer brings, from where it was asked for; else why it cannot be used. */
function judgeRest(object: LiveObject, range: { start: number; end: number | undefined }, head: UpstreamHead): Part | EdgeError {
  const { status } = head;
  if (status >= 400 && !GONE_STATUSES.has(status)) {
    return new EdgeError('UPSTREAM_INVALID', `The origin answered ${status} to a request for the rest`, { context: { status } });
  }
  if (status !== 200 && status !== 206) return object.endAsChanged(`the origin answers ${status} now`);
  const usable = checkResponse(head, [object.coding]);
  if (usable.kind === 'unusable') return new EdgeError('UPSTREAM_INVALID', `The origin's answer cannot be used: ${usable.why}`);
  const { fields, lengthBytes } = object.manifest;
  const isSame = sameRepresentation(fields, head.fields) && (usable.lengthBytes ?? lengthBytes) === (lengthBytes ?? usable.lengthBytes);
  if (!isSame) {
    if (object.mayAskAnotherNode()) return new EdgeError('UPSTREAM_INVALID', 'A node of the origin has another version');
    return object.endAsChanged('the origin has another version now');
  }
  object.noteOwnVersion();
  if (usable.kind === 'whole') return refuseWhole(object);
  const wantedEnd = range.end ?? usable.lengthBytes ?? Number.POSITIVE_INFINITY;
  // Less than was asked for is believed when Content-Length agrees.
  const isUsable = usable.start === range.start && usable.end <= wantedEnd && (usable.isMeasured || usable.end === wantedEnd);
  return isUsable ? usable : new EdgeError('UPSTREAM_INVALID', 'The origin did not send the part that was asked for');
}

/** The origin has stopped answering ranges: from now on one run brings everything, and the reader follows that. */
function refuseWhole(object: LiveObject): EdgeError {
  const { context, target } = object;
  context.abilities.noteRange(target.place, false);
  object.markRangeless();
  return new EdgeError('UPSTREAM_INVALID', 'The origin answered a request for a part with everything');
}

/** The reader's own sink, which notes when the client stands still. */
class PrivateRange implements PrivateStream, BodySink, StandingTransfer {
  readonly #reader: BodyReader;
  readonly #standing: StandingTransfers;
  #leftBytes: number;
  #isGivenUp = false;

  constructor(reader: BodyReader, standing: StandingTransfers, lengthBytes: number) {
    this.#reader = reader;
    this.#standing = standing;
    this.#leftBytes = lengthBytes;
  }

  get isOver(): boolean {
    return this.#isGivenUp || this.#leftBytes === 0;
  }

  room(): Uint8Array | undefined {
    const room = this.#reader.room();
    if (room === undefined) this.#standing.add(this);
    return room;
  }

  onBytes(count: number): void {
    this.#reader.onBytes(count);
  }

  onEnd(trailers: FieldList): void {
    this.#standing.delete(this);
    this.#reader.onEnd(trailers);
  }

  onError(error: EdgeError): void {
    this.#standing.delete(this);
    this.#reader.onError(error);
  }

  async next(): Promise<Piece | undefined> {
    this.#standing.delete(this);
    const piece = await this.#reader.next();
    if (piece === undefined || piece.bytes.length > this.#leftBytes) {
      piece?.buffer?.end();
      this.abort();
      throw new EdgeError('UPSTREAM_BROKEN', 'The origin sent another number of bytes than it had announced');
    }
    this.#leftBytes -= piece.bytes.length;
    return piece;
  }

  tryGiveUp(): boolean {
    this.#isGivenUp = true;
    this.abort();
    return true;
  }

  abort(): void {
    this.#standing.delete(this);
    this.#reader.abort();
  }
}
