/**
 * Renews stale objects behind the backs of the clients that were served them (RFC 5861 s3): one renewal at a time for each object, however
 * many requests find it stale, a bounded number in all, and none for a while after the origin failed. Used by object-resolver.ts.
 */
import { KeyMarks } from '../cache/key-marks.ts';
import { openingRange } from '../cache/range-plan.ts';
import type { ObjectHash } from '../format/manifest.ts';
import { type RangeSpec, resolveRange } from '../http/range.ts';
import { BACKGROUND_RENEWALS_MAX, FAILED_RENEWAL_MARK_MS, type FillContext, RUN_BYTES_MAX, UNSTORABLE_MARKS_MAX } from './fill-context.ts';
import type { LiveObject } from './live-object.ts';
import { SliceSource } from './slice-source.ts';

/** What asking the origin brought. `overtaken`: the object was purged or replaced meanwhile, so that the answer is about nothing any more. */
export type RenewalResult = 'renewed' | 'replaced' | 'overtaken' | 'failed';

/** The renewals of one proxy. */
export class BackgroundRenewals {
  readonly #context: FillContext;
  readonly #active = new Set<ObjectHash>();
  readonly #failedLately: KeyMarks;

  constructor(context: FillContext) {
    this.#context = context;
    this.#failedLately = new KeyMarks({ clock: context.clock, lifeMs: FAILED_RENEWAL_MARK_MS, countMax: UNSTORABLE_MARKS_MAX });
  }

  /** Renewals under way. */
  get count(): number {
    return this.#active.size;
  }

  /** Begins one, unless the object has one, too many are under way, or the last one failed just now. @param renew asks; may throw */
  begin(objectHash: ObjectHash, renew: () => Promise<RenewalResult>): void {
    const { metrics } = this.#context;
    if (this.#active.has(objectHash)) return;
    if (this.#failedLately.has(objectHash)) return metrics.add('backgroundRenewals', 1, 'held-off');
    if (this.#active.size >= BACKGROUND_RENEWALS_MAX) return metrics.add('backgroundRenewals', 1, 'limit');
    this.#active.add(objectHash);
    metrics.add('backgroundRenewalsActive');
    void this.#run(objectHash, renew);
  }

  async #run(objectHash: ObjectHash, renew: () => Promise<RenewalResult>): Promise<void> {
    // Nobody waits for it: an error of the origin is a result like another.
    const result = await renew().catch((): RenewalResult => 'failed');
    if (result === 'failed') this.#failedLately.add(objectHash);
    this.#active.delete(objectHash);
    const { metrics } = this.#context;
    metrics.add('backgroundRenewalsActive', -1);
    metrics.add('backgroundRenewals', 1, result);
  }
}

/**
 * Takes what a request would take of an object that has just changed, so that the next one finds it: the range at which the
 * origin's answer begins, up to what one run brings.
 *
 * @param attached called when the reader is there
 * @throws EdgeError as the origin fails
 */
export async function readForNext(object: LiveObject, ranges: readonly RangeSpec[], attached: () => void): Promise<void> {
  const wanted = wantedBytes(object, openingRange(ranges));
  if (wanted === undefined) return;
  // Nobody can abort it but the origin and its time-outs.
  const source = new SliceSource(object, wanted, new AbortController().signal);
  attached();
  try {
    for (let takenBytes = 0; takenBytes < RUN_BYTES_MAX; ) {
      const piece = await source.next(Number.POSITIVE_INFINITY);
      if (piece === undefined) return;
      takenBytes += piece.bytes.length;
      piece.lease?.end();
      piece.buffer?.end();
    }
  } finally {
    source.close();
  }
}

/** Undefined where there is nothing to read. */
function wantedBytes({ manifest }: LiveObject, range: RangeSpec | undefined): { start: number; end: number | undefined } | undefined {
  const { lengthBytes } = manifest;
  if (lengthBytes === undefined) return { start: 0, end: undefined };
  const resolved = range === undefined || lengthBytes === 0 ? undefined : resolveRange(range, lengthBytes);
  if (resolved?.kind === 'unsatisfiable') return undefined;
  const { start, end } = resolved ?? { start: 0, end: lengthBytes };
  return start === end ? undefined : { start, end };
}
