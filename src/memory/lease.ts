/**
 * A lease is a counted right to use one slot of the arena. Whoever needs the bytes for longer than the current call holds a lease of its
 * own and ends it exactly once; the slot is free again when its last lease has ended.
 */
import { assert } from '../base/assert.ts';
import type { SlotClass } from './slot-class.ts';

/** What a lease needs from the arena; the arena is the only implementer. */
export interface SlotOwner {
  freeSlot(slot: Slot): void;
  changeClass(slot: Slot, slotClass: SlotClass): void;
}

/** One run of pages. Only the arena and leases touch it. */
export interface Slot {
  readonly page: number;
  readonly sizeBytes: number;
  readonly bytes: Buffer;
  slotClass: SlotClass;
  leaseCount: number;
}

/** A right to read (and, for the one who acquired it, to write) `bytes` until `end`. */
export class Lease {
  readonly #owner: SlotOwner;
  readonly #slot: Slot;
  #hasEnded = false;

  constructor(owner: SlotOwner, slot: Slot) {
    this.#owner = owner;
    this.#slot = slot;
    slot.leaseCount += 1;
  }

  /** The whole slot: page-aligned, a power of two of pages long, shared memory. */
  get bytes(): Buffer {
    assert(!this.#hasEnded, 'lease used after its end');
    return this.#slot.bytes;
  }

  get sizeBytes(): number {
    return this.#slot.sizeBytes;
  }

  /** Whether others hold the slot too. */
  get isShared(): boolean {
    return this.#slot.leaseCount > 1;
  }

  /** A second lease on the same slot, ended separately. */
  share(): Lease {
    assert(!this.#hasEnded, 'lease shared after its end');
    return new Lease(this.#owner, this.#slot);
  }

  /** Counts the slot under another class, for example when a filled slot becomes resident. */
  moveTo(slotClass: SlotClass): void {
    assert(!this.#hasEnded, 'lease moved after its end');
    this.#owner.changeClass(this.#slot, slotClass);
  }

  /** Ends the lease; the slot is free when this was the last one. @throws AssertionFailure at a second end */
  end(): void {
    assert(!this.#hasEnded, 'lease ended twice');
    this.#hasEnded = true;
    this.#slot.leaseCount -= 1;
    if (this.#slot.leaseCount === 0) this.#owner.freeSlot(this.#slot);
  }
}
