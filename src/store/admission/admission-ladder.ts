/**
 * The policy of a cache: a ladder whose first step that fits decides.
 *
 *   the device is not full, or a rule says `always`     admit
 *   nobody asked for the object twice lately,
 *   and the slice was not evicted lately                not-admitted: it lives in memory until its slot is needed
 *   the write budget is used up                         write-budget
 *   else                                                admit
 *
 * *Lately* is one to two times the while in which the device's capacity is fetched anew: what would live longer than that in a cache which
 * keeps everything is worth its write.
 *
 * Most objects of most caches are asked for once; not writing them spares the device most of its writes and what is stored most of its
 * evictions. Numbers of bench/engine/eviction.ts are in DECISIONS.md.
 */
import type { Clock } from '../../base/clock.ts';
import type { ObjectTag } from '../index/object-table.ts';
import type { AdmissionCandidate, AdmissionPolicy, AdmissionVerdict } from './admission-policy.ts';
import { GhostRing } from './ghost-ring.ts';
import { RequestMemory } from './request-memory.ts';
import { WriteBudget } from './write-budget.ts';

/** Keys of one filter of requests for each index entry. */
const REQUESTS_PER_ENTRY = 0.5;
/** Evicted slices remembered for each index entry. */
const GHOSTS_PER_ENTRY = 0.05;

/** What a ladder is built from. */
export interface AdmissionLadderOptions {
  readonly clock: Clock;
  /** Entries of the index, by which the memories are measured. */
  readonly entryCount: number;
  /** What the device holds. When as much was offered, requests from before that are on their way to be forgotten. */
  readonly capacityBytes: number;
  /** Bytes a day that a full device may be written; undefined for no limit. */
  readonly writeBudgetBytes: number | undefined;
}

/** Second request, ghosts, budget. */
export class AdmissionLadder implements AdmissionPolicy {
  readonly #requests: RequestMemory;
  readonly #ghosts: GhostRing;
  readonly #budget: WriteBudget | undefined;
  readonly #capacityBytes: number;
  #offeredBytes = 0;

  constructor({ clock, entryCount, capacityBytes, writeBudgetBytes }: AdmissionLadderOptions) {
    this.#capacityBytes = capacityBytes;
    this.#requests = new RequestMemory(Math.max(1, Math.floor(entryCount * REQUESTS_PER_ENTRY)));
    this.#ghosts = new GhostRing(Math.max(1, Math.floor(entryCount * GHOSTS_PER_ENTRY)));
    this.#budget = writeBudgetBytes === undefined ? undefined : new WriteBudget({ clock, bytesPerDay: writeBudgetBytes });
  }

  get requestsFill(): number {
    return this.#requests.fill;
  }

  get budgetBytes(): number {
    return this.#budget?.balanceBytes ?? 0;
  }

  noteRequest(tag: ObjectTag, startBytes: number): boolean {
    const isWantedNow = this.#requests.note(tag, startBytes);
    if (this.#requests.fill === 1) this.#turn();
    return isWantedNow;
  }

  noteOffer(lengthBytes: number): void {
    this.#offeredBytes += lengthBytes;
    if (this.#offeredBytes >= this.#capacityBytes) this.#turn();
  }

  noteEvicted(tag: ObjectTag, sliceNumber: number): void {
    this.#ghosts.add(tag, sliceNumber);
  }

  judge({ tag, sliceNumber, admission, isFull }: AdmissionCandidate): AdmissionVerdict {
    if (!isFull || admission === 'always') return 'admit';
    if (!this.#requests.isWanted(tag) && !this.#ghosts.has(tag, sliceNumber)) return 'not-admitted';
    return this.#budget === undefined || this.#budget.balanceBytes > 0 ? 'admit' : 'write-budget';
  }

  /** Filling an empty device is no wear to speak of, so only writes to a full one count. */
  noteAdmitted({ isFull }: AdmissionCandidate, lengthBytes: number): void {
    if (isFull) this.#budget?.spend(lengthBytes);
  }

  #turn(): void {
    this.#offeredBytes = 0;
    this.#requests.turn();
  }
}
