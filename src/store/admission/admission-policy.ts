/**
 * The question of admission: is a slice worth a write? A policy sees every request and every eviction, and is asked once for each slice
 * that could be written. It knows neither queues nor devices, so that bench/engine/eviction.ts replays traces against the same code.
 * slice-gate.ts asks; admission-ladder.ts answers.
 */
import type { ObjectTag } from '../index/object-table.ts';

/** What rules say: `auto` leaves it to the policy, `always` admits at the first request. */
export type Admission = 'auto' | 'always';

/** A slice that could be written now. */
export interface AdmissionCandidate {
  readonly tag: ObjectTag;
  readonly sliceNumber: number;
  readonly admission: Admission;
  /** Whether something must be evicted for it. */
  readonly isFull: boolean;
}

/** `not-admitted`: nobody has asked twice; `write-budget`: enough was written for now. */
export type AdmissionVerdict = 'admit' | 'not-admitted' | 'write-budget';

/** A way to decide. */
export interface AdmissionPolicy {
  /** A client asks for an object, from `startBytes` on. @returns whether that makes slices worth a write that were not before */
  noteRequest(tag: ObjectTag, startBytes: number): boolean;
  /** A slice was fetched that the device does not hold, `lengthBytes` long there; once for each, before it is judged. */
  noteOffer(lengthBytes: number): void;
  /** A slice gave way to others. */
  noteEvicted(tag: ObjectTag, sliceNumber: number): void;
  judge(candidate: AdmissionCandidate): AdmissionVerdict;
  /** An admitted slice takes the way to the device, `lengthBytes` long there. */
  noteAdmitted(candidate: AdmissionCandidate, lengthBytes: number): void;
  /** For gauges: how far the memory of requests is on its way to its next turn (0 to 1), and what the write budget has left. */
  readonly requestsFill: number;
  readonly budgetBytes: number;
}

/** The policy of stores that are filled on purpose: everything is worth it. */
export const ADMIT_EVERYTHING: AdmissionPolicy = {
  noteRequest: () => false,
  noteOffer: () => undefined,
  noteEvicted: () => undefined,
  judge: () => 'admit',
  noteAdmitted: () => undefined,
  requestsFill: 0,
  budgetBytes: 0,
};
