/**
 * Answers to what is asked for again and again: head and body in one piece, as the express lane hands them to the kernel in one write. One holds
 * as long as its head does, a second at most; then whoever sends it asks the store anew and writes it again. Bounded in bytes: an
 * answer gives way to another once it was not written for a while, and until then there is no room for more, so that a working set
 * larger than the shelf does not push itself through it.
 */
import { assert } from '../base/assert.ts';
import type { MetricSet } from '../base/metrics.ts';
import { KIB, MIB } from '../base/units.ts';
import type { PROXY_METRICS } from './proxy-metrics.ts';

/** Larger bodies go from their slots: copying them once a second for a few requests is no gain. */
export const ANSWER_BODY_BYTES_MAX = 64 * KIB;
/** 240 answers of 64 KiB, or thousands of small ones. */
const SHELF_BYTES = 16 * MIB;
/** An answer that was not written for so long gives way. */
const KEPT_MS = 10_000;
/** Answers looked at for one that gives way. */
const STEPS_MAX = 8;

const NO_BYTES = Buffer.alloc(0);

/** One answer. Whoever hands it to the kernel and is not done at once holds it meanwhile: it is not written anew then. */
export class ShelvedAnswer {
  #bytes: Buffer;
  readonly lengthBytes: number;
  /** When it was written, on the wall clock. */
  writtenMs: number;
  #holds = 0;
  #isShelved = true;
  readonly #onFree: (lengthBytes: number) => void;

  constructor(lengthBytes: number, nowMs: number, onFree: (lengthBytes: number) => void) {
    this.#bytes = Buffer.allocUnsafeSlow(lengthBytes);
    this.lengthBytes = lengthBytes;
    this.writtenMs = nowMs;
    this.#onFree = onFree;
  }

  /** None once it has left the shelf, so that whoever still knows it keeps no memory. */
  get bytes(): Buffer {
    return this.#bytes;
  }

  /** Whether it is on the shelf. */
  get isShelved(): boolean {
    return this.#isShelved;
  }

  /** Whether it is on the shelf, and nobody is being sent it. */
  get isWritable(): boolean {
    return this.#isShelved && this.#holds === 0;
  }

  /** It is being sent, until giveBack(). */
  hold(): void {
    this.#holds += 1;
  }

  giveBack(): void {
    assert(this.#holds > 0, 'an answer is given back once');
    this.#holds -= 1;
    this.#free();
  }

  /** It has left the shelf. */
  leave(): void {
    this.#isShelved = false;
    this.#free();
  }

  #free(): void {
    if (this.#isShelved || this.#holds > 0) return;
    this.#bytes = NO_BYTES;
    this.#onFree(this.lengthBytes);
  }
}

/** All answers of a process. */
export class AnswerShelf {
  readonly #metrics: MetricSet<typeof PROXY_METRICS>;
  readonly #sizeBytes: number;
  /** The one that was looked at longest ago comes first. */
  readonly #answers = new Set<ShelvedAnswer>();
  #shelvedBytes = 0;
  #heldBytes = 0;
  readonly #onFree = (lengthBytes: number): void => {
    this.#heldBytes -= lengthBytes;
  };

  constructor(metrics: MetricSet<typeof PROXY_METRICS>, sizeBytes = SHELF_BYTES) {
    this.#metrics = metrics;
    this.#sizeBytes = sizeBytes;
  }

  /** Memory of all answers, with those that left the shelf and are still being sent. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Whether nobody is being sent one. */
  get isIdle(): boolean {
    return this.#heldBytes === this.#shelvedBytes && [...this.#answers].every(({ isWritable }) => isWritable);
  }

  /** An answer to be written now. @param nowMs of the wall; @returns undefined when there is no room */
  tryAdd(lengthBytes: number, nowMs: number): ShelvedAnswer | undefined {
    if (!this.#makeRoom(lengthBytes, nowMs)) {
      this.#metrics.add('answersDeclined');
      return undefined;
    }
    const answer = new ShelvedAnswer(lengthBytes, nowMs, this.#onFree);
    this.#answers.add(answer);
    this.#shelvedBytes += lengthBytes;
    this.#heldBytes += lengthBytes;
    return answer;
  }

  /** Nobody wants it any more. */
  remove(answer: ShelvedAnswer): void {
    if (!this.#answers.delete(answer)) return;
    this.#shelvedBytes -= answer.lengthBytes;
    answer.leave();
  }

  #makeRoom(lengthBytes: number, nowMs: number): boolean {
    let steps = 0;
    for (const answer of this.#answers) {
      if (this.#shelvedBytes + lengthBytes <= this.#sizeBytes || steps === STEPS_MAX) break;
      steps += 1;
      if (Math.abs(nowMs - answer.writtenMs) > KEPT_MS) this.remove(answer);
      else if (this.#answers.delete(answer)) this.#answers.add(answer);
    }
    return this.#shelvedBytes + lengthBytes <= this.#sizeBytes;
  }
}
