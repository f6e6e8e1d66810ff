/**
 * The body of a multipart/byteranges response: the parts in the order asked, with their heads between them. Parts in the same or neighbouring
 * slices are read by one source, so that a slice is fetched and read once for all of them; sources of the next clusters stand open and have
 * asked for what they miss, so that small parts far apart do not wait for the origin one after the other.
 */
import { clusterRanges, type RangeCluster, spanOf } from '../cache/range-plan.ts';
import type { MultipartLayout, MultipartPart } from '../http/multipart-ranges.ts';
import { isAscending } from '../http/range-set.ts';
import { PARTS_AHEAD } from './fill-context.ts';
import type { LiveObject } from './live-object.ts';
import type { Piece } from './piece.ts';
import { SliceSource } from './slice-source.ts';

/** How the parts are fetched. */
export interface PartsOptions {
  /** What is missing is asked for as it is, past the cache, one request for each part. */
  readonly isExact: boolean;
  readonly signal: AbortSignal;
}

/** Reads the parts of a layout of one generation. */
export class PartsSource {
  readonly #object: LiveObject;
  readonly #layout: MultipartLayout;
  readonly #options: PartsOptions;
  /** Those to come, the first of them as far as `#open` goes already open. */
  readonly #clusters: RangeCluster[];
  /** Sources of the first clusters: the one that is read, and those that have asked ahead. */
  readonly #open: SliceSource[] = [];
  /** Parts begun, over the whole layout and in the present cluster. */
  #begun = 0;
  #begunInCluster = 0;
  #isInPart = false;
  #isTailSent = false;
  /** The first bytes of the first part, while its head goes before them. */
  #first: Piece | undefined;

  constructor(object: LiveObject, layout: MultipartLayout, options: PartsOptions) {
    this.#object = object;
    this.#layout = layout;
    this.#options = options;
    this.#clusters = clustersFor(object, layout, options);
    this.#openAhead();
  }

  /**
   * The next bytes of the body, at most `limitBytes` of them unless they are a part's head; undefined at the end.
   *
   * @throws EdgeError as SliceSource
   */
  async next(limitBytes: number): Promise<Piece | undefined> {
    if (this.#isInPart) {
      const piece = this.#first ?? (await this.#open[0]?.next(limitBytes));
      this.#first = undefined;
      if (piece !== undefined) return piece;
      this.#endPart();
    }
    const part = this.#layout.parts[this.#begun];
    if (part !== undefined) return this.#beginPart(part, limitBytes);
    if (this.#isTailSent) return undefined;
    this.#isTailSent = true;
    return { bytes: this.#layout.tail, lease: undefined, tier: 'multipart' };
  }

  /** The client stands still: what is held for its next pieces is worth more to others. */
  letGo(): void {
    this.#open[0]?.letGo();
  }

  /** Lets go of everything; idempotent. */
  close(): void {
    this.#first?.lease?.end();
    this.#first?.buffer?.end();
    this.#first = undefined;
    for (const source of this.#open.splice(0)) source.close();
  }

  async #beginPart(part: MultipartPart, limitBytes: number): Promise<Piece> {
    const source = this.#open[0];
    this.#isInPart = true;
    this.#begunInCluster += 1;
    source?.pick(part);
    // Nothing is sent before there is something to send: until then the request may still be answered in another way.
    if (this.#begun === 0) this.#first = await source?.next(limitBytes);
    this.#begun += 1;
    return { bytes: part.head, lease: undefined, tier: 'multipart' };
  }

  #endPart(): void {
    this.#isInPart = false;
    if (this.#begunInCluster < (this.#clusters[0]?.ranges.length ?? 0)) return;
    this.#begunInCluster = 0;
    this.#clusters.shift();
    this.#open.shift()?.close();
    this.#openAhead();
  }

  #openAhead(): void {
    const { signal, isExact } = this.#options;
    for (const cluster of this.#clusters.slice(this.#open.length, 1 + PARTS_AHEAD)) {
      const source = new SliceSource(this.#object, { start: cluster.start, end: cluster.end, isExact, isWaitingItsTurn: true }, signal);
      this.#open.push(source);
      source.askAhead();
    }
  }
}

function clustersFor(object: LiveObject, { parts }: MultipartLayout, { isExact }: PartsOptions): RangeCluster[] {
  // One response brings all bytes in order, and what nobody waits for may be gone: one reader stands for all parts, from the first on.
  if (!object.isResumable && isAscending(parts)) return [spanOf(parts)];
  return isExact ? parts.map((part) => spanOf([part])) : clusterRanges(parts, object.sliceSizeBytes);
}
