/**
 * The gate between memory and device: every slice that could be written passes here, when it is offered and again later. What is declined
 * stays in memory until its slot is needed, and is offered again before that: when the queue has room again, if that was what it lacked;
 * when it is read; and when a request makes its object wanted. So a fast origin over a slow disk leaves no holes, and what is asked for
 * once lives in memory only.
 *
 * It holds nothing but notes on slices that are in memory, so the arena bounds it. One per mounted store.
 */
import type { MetricSet } from '../../base/metrics.ts';
import { extentBlocks } from '../../format/extent-header.ts';
import type { ObjectHash } from '../../format/manifest.ts';
import type { SliceWriter } from '../extents/slice-writer.ts';
import type { Catalogue } from '../index/catalogue.ts';
import type { ResidentSlice } from '../index/resident-tier.ts';
import { NO_SLOT, objectTag } from '../index/slice-index.ts';
import type { DeclineReason, SliceOffer } from '../slice-store.ts';
import type { STORE_METRICS } from '../store-metrics.ts';
import type { Admission, AdmissionPolicy } from './admission-policy.ts';

/** What the gate must know of a slice to decide on it again. */
export interface GateTicket {
  readonly objectHash: ObjectHash;
  readonly admission: Admission;
}

/** What made the gate look again. */
type Occasion = 'room' | 'read' | 'request';

/** Dependencies of a gate. */
export interface SliceGateOptions {
  readonly catalogue: Catalogue;
  readonly writer: SliceWriter;
  readonly policy: AdmissionPolicy;
  readonly metrics: MetricSet<typeof STORE_METRICS>;
  readonly blockSizeBytes: number;
  /** Whether the store takes offers. */
  readonly isOpen: () => boolean;
}

/** Lets slices through to the writer, or declines them. */
export class SliceGate {
  readonly #options: SliceGateOptions;
  /** Declined slices that are still in memory. */
  readonly #declined = new Map<ResidentSlice, GateTicket>();
  /** Those of them that only lacked room, longest first. */
  readonly #roomless = new Set<ResidentSlice>();

  constructor(options: SliceGateOptions) {
    this.#options = options;
  }

  get declinedCount(): number {
    return this.#declined.size;
  }

  /** Decides on a slice that is in the RAM tier and not queued. @returns why it is declined, or undefined: it is queued for its write */
  offer(slice: ResidentSlice, ticket: GateTicket): DeclineReason | undefined {
    this.#options.policy.noteOffer(this.#lengthOnDevice(slice));
    const reason = this.#tryEnqueue(slice, ticket);
    this.#note(slice, ticket, reason);
    return reason;
  }

  /** Decides once on a part of a slice, which is not in the RAM tier. @returns why it is declined */
  admitPart(offer: SliceOffer, lengthBytes: number): DeclineReason | undefined {
    const { objectHash, sliceNumber, admission } = offer;
    this.#options.policy.noteOffer(this.#lengthOnDevice({ lengthBytes }));
    return this.#admit({ objectHash, sliceNumber, admission: admission ?? 'auto' }, lengthBytes);
  }

  /** A reader took bytes of the slice from memory. */
  onRead(slice: ResidentSlice): void {
    if (this.#declined.size > 0) this.#offerAgain(slice, 'read');
  }

  /** A request made the object worth a write. */
  onWanted(objectHash: ObjectHash): void {
    const { catalogue } = this.#options;
    const tagSlot = this.#declined.size === 0 ? NO_SLOT : catalogue.findObject(objectHash);
    if (tagSlot === NO_SLOT) return;
    for (const slice of catalogue.resident.slicesOf(catalogue.generationOf(tagSlot))) this.#offerAgain(slice, 'request');
  }

  /** The queue is half empty. */
  onRoom(): void {
    if (!this.#options.isOpen()) return;
    for (const slice of this.#roomless) if (!this.#offerAgain(slice, 'room')) return;
  }

  /** The slice left the RAM tier. */
  forget(slice: ResidentSlice): void {
    if (!this.#declined.delete(slice)) return;
    this.#roomless.delete(slice);
    this.#options.metrics.add('declinedLost');
  }

  /** @returns false while there is no room, and nothing else need be tried */
  #offerAgain(slice: ResidentSlice, occasion: Occasion): boolean {
    const ticket = this.#declined.get(slice);
    const { catalogue, metrics, isOpen } = this.#options;
    if (ticket === undefined || !isOpen() || catalogue.findCurrent(ticket.objectHash, slice.generation) === NO_SLOT) return true;
    const reason = this.#tryEnqueue(slice, ticket);
    if (reason === undefined) metrics.add('readmitted', 1, occasion);
    this.#note(slice, ticket, reason);
    return !isRoomless(reason);
  }

  #tryEnqueue(slice: ResidentSlice, { objectHash, admission }: GateTicket): DeclineReason | undefined {
    const { writer, metrics } = this.#options;
    const reason = this.#admit({ objectHash, sliceNumber: slice.sliceNumber, admission }, slice.lengthBytes);
    if (reason !== undefined) return reason;
    writer.enqueueSlice(slice, objectHash);
    metrics.add('admitted');
    return undefined;
  }

  #admit(
    wish: { readonly objectHash: ObjectHash; readonly sliceNumber: number; readonly admission: Admission },
    lengthBytes: number,
  ): DeclineReason | undefined {
    const { catalogue, writer, policy } = this.#options;
    const { sliceNumber, admission } = wish;
    const candidate = { tag: objectTag(wish.objectHash), sliceNumber, admission, isFull: catalogue.isFull };
    const verdict = policy.judge(candidate);
    if (verdict !== 'admit') return verdict;
    if (catalogue.journal.isFull) return 'journal-full';
    if (!writer.hasRoom(lengthBytes)) return 'queue-full';
    policy.noteAdmitted(candidate, this.#lengthOnDevice({ lengthBytes }));
    return undefined;
  }

  /** Before compression. */
  #lengthOnDevice({ lengthBytes }: { readonly lengthBytes: number }): number {
    const { blockSizeBytes } = this.#options;
    return extentBlocks(lengthBytes, blockSizeBytes) * blockSizeBytes;
  }

  #note(slice: ResidentSlice, ticket: GateTicket, reason: DeclineReason | undefined): void {
    if (reason === undefined) this.#declined.delete(slice);
    else this.#declined.set(slice, ticket);
    if (isRoomless(reason)) this.#roomless.add(slice);
    else this.#roomless.delete(slice);
  }
}

function isRoomless(reason: DeclineReason | undefined): boolean {
  return reason === 'queue-full' || reason === 'journal-full';
}
